//! Asking whoever sits at the terminal whether an agent may do something.

use std::io::{self, Write};

use decklog_run::agents::{Asking, Leave};
use decklog_run::supervise::Signals;
use decklog_text::format::cut;
use decklog_text::visible;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::render::Paint;
use crate::terminal::wait_for_key;

/// Asks on the terminal, and waits for a key. A signal means no.
pub(crate) fn ask(agent: &str, asking: &Asking, paint: Paint, signals: &Signals) -> Leave {
    let input = match &asking.input {
        serde_json::Value::Null => String::new(),
        input => cut(&visible(&input.to_string()), 300),
    };
    let mut err = io::stderr().lock();
    let question = format!("{agent} asks to {}: {}", asking.kind.as_str(), cut(&visible(&asking.title), 300));
    let _ = writeln!(err, "{}", paint.warn(&question));
    if !input.is_empty() && !asking.title.contains(input.as_str()) {
        let _ = writeln!(err, "{}", paint.dim(&format!("  {input}")));
    }
    let always = if asking.can_always { ", [a]lways" } else { "" };
    let _ = write!(err, "allow it? [y]es{always}, [n]o ");
    let _ = err.flush();
    let leave = key(signals, asking.can_always);
    let word = match leave {
        Leave::Once => "yes",
        Leave::Always => "always",
        Leave::Never => "no",
    };
    let _ = writeln!(err, "{word}");
    leave
}

fn key(signals: &Signals, can_always: bool) -> Leave {
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else { return Leave::Never };
    // What was typed before the question was not meant for it.
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &keys(before.clone()));
    let leave = loop {
        if wait_for_key(&stdin, signals).is_none() {
            break Leave::Never;
        }
        let mut byte = [0];
        match rustix::io::read(&stdin, &mut byte) {
            Ok(1) => match byte[0] {
                b'y' | b'Y' => break Leave::Once,
                b'a' | b'A' if can_always => break Leave::Always,
                b'n' | b'N' | 0x1b => break Leave::Never,
                _ => {}
            },
            Err(rustix::io::Errno::INTR) => {}
            // Nobody is there any more.
            _ => break Leave::Never,
        }
    };
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    leave
}

/// Each key at once and unseen; Ctrl-C stays a signal.
fn keys(mut mode: Termios) -> Termios {
    mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    mode.special_codes[SpecialCodeIndex::VMIN] = 1;
    mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    mode
}
