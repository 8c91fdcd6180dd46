//! The terminal while the picker has it: raw, on its second screen, and given back however the picker ends.
//!
//! Drawn on stderr: stdout is data.

use std::io::{self, BufWriter, Stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use decklog_run::supervise::CaughtSignals;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::SIGABRT;

/// The terminal, until it is dropped.
pub(crate) struct Screen {
    pub(crate) terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
    signals: CaughtSignals,
    /// Whether a thread panicked.
    aborted: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn open() -> io::Result<Self> {
        let (signals, aborted) = (CaughtSignals::install()?, Arc::new(AtomicBool::new(false)));
        // A panic, on whichever thread, tells its story on the screen that stays, and ends the picker.
        let (hook, abort) = (std::panic::take_hook(), Arc::clone(&aborted));
        std::panic::set_hook(Box::new(move |panic| {
            abort.store(true, Ordering::Relaxed);
            give_back();
            hook(panic);
        }));
        enable_raw_mode()?;
        let opened = execute!(io::stderr(), EnterAlternateScreen, EnableBracketedPaste)
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stderr()))));
        match opened {
            Ok(terminal) => Ok(Self { terminal, signals, aborted }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// The number of a signal that asks for the end.
    pub(crate) fn signal(&self) -> Option<i32> {
        if self.aborted.load(Ordering::Relaxed) { Some(SIGABRT) } else { self.signals.received() }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

fn give_back() {
    // Nothing is to be done about a terminal that is gone.
    let _ = execute!(io::stderr(), DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
