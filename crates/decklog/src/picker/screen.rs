//! The terminal while the picker has it: raw, on its second screen, and given back however the picker ends.
//!
//! Drawn on stderr: stdout is data.

use std::io::{self, BufWriter, Stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGTERM};

/// The terminal, until it is dropped.
pub(crate) struct Screen {
    pub(crate) terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
    /// The signal that came, if one did.
    signal: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn open() -> io::Result<Self> {
        let (signal, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // Once the picker is over, a signal does again what it does to any program.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&over))?;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize)?;
        }
        // A panic, on whichever thread, tells its story on the screen that stays, and ends the picker.
        let (hook, abort) = (std::panic::take_hook(), Arc::clone(&signal));
        std::panic::set_hook(Box::new(move |panic| {
            abort.store(SIGABRT.unsigned_abs() as usize, Ordering::Relaxed);
            give_back();
            hook(panic);
        }));
        enable_raw_mode()?;
        let opened = execute!(io::stderr(), EnterAlternateScreen, EnableBracketedPaste)
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stderr()))));
        match opened {
            Ok(terminal) => Ok(Self { terminal, signal, over }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// The number of a signal that asks for the end.
    pub(crate) fn signal(&self) -> Option<i32> {
        i32::try_from(self.signal.load(Ordering::Relaxed)).ok().filter(|number| *number != 0)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        self.over.store(true, Ordering::Relaxed);
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
