//! The picker, on a terminal of its own.

use crate::env::{TestEnv, kill};
use crate::faults::hostile_session;
use crate::screen::Screen;

/// When the keys stand at the bottom, the terminal is raw and listens.
const READY: &str = "enter takes it";

fn three() -> TestEnv {
    let env = TestEnv::new();
    for word in ["one", "two", "three"] {
        env.decklog(&["run", "--", "echo", word]).expect(0);
    }
    env
}

#[test]
fn a_session_is_picked_by_typing() {
    let env = three();
    let mut screen = Screen::new(&env, "show");
    screen.wait_for(READY);
    screen.press("'two\r");
    let (after, code) = screen.end_of_picker();
    assert_eq!(code, 0, "{after}");
    assert!(after.contains("echo two") && !after.contains("echo one"), "{after}");
}

#[test]
fn a_session_is_picked_by_arrows_and_stdout_is_data() {
    let env = three();
    let mut screen = Screen::new(&env, "show --events > ../home/events");
    screen.wait_for(READY);
    // Only what is not blank is written.
    screen.wait_for("one");
    screen.press("\u{1b}[B\u{1b}[B\u{1b}[A\r");
    let (_, code) = screen.end_of_picker();
    assert_eq!(code, 0);
    let events = std::fs::read_to_string(env.home().join("events")).unwrap();
    assert!(events.starts_with("{\"seq\":0") && events.contains("echo two"), "{events}");
}

#[test]
fn leaving_picks_nothing() {
    let env = three();
    for key in ["\u{3}", "\u{7}", "\u{1b}"] {
        let mut screen = Screen::new(&env, "discard -y");
        screen.wait_for(READY);
        screen.press(key);
        let (after, code) = screen.end_of_picker();
        assert_eq!(code, 130, "{after}");
    }
    assert_eq!(env.sessions().len(), 3);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let env = three();
    let screen = Screen::new(&env, "watch");
    screen.wait_for(READY);
    // `timeout` hands the signal on.
    let pid = std::fs::read_to_string(env.home().join("pid")).unwrap();
    kill(pid.trim().parse().unwrap(), "TERM");
    let (_, code) = screen.end_of_picker();
    assert!(code == 143 || code == 124, "{code}");
}

#[test]
fn nothing_to_pick_from_and_nobody_to_ask() {
    let env = TestEnv::new();
    let screen = Screen::new(&env, "show");
    screen.wait_for("no sessions under");
    assert_eq!(screen.end().1, 2);
    for verb in ["show", "diff", "watch", "logs", "discard"] {
        let ran = env.decklog(&[verb]).expect(2);
        assert!(ran.stderr.contains("no session is named"), "{verb}: {}", ran.stderr);
    }
}

#[test]
fn a_hostile_record_does_not_act_on_the_picker() {
    let env = TestEnv::new();
    hostile_session(&env, "\\u001b]0;title\\u0007\\u001b[2J\\u009b5A\\u202e");
    let mut screen = Screen::new(&env, "show");
    screen.wait_for(READY);
    // The preview is there.
    screen.wait_for("started");
    screen.press("\u{3}");
    let text = screen.text();
    for nasty in ["\u{1b}]", "\u{7}", "\u{9b}", "\u{202e}"] {
        assert!(!text.contains(nasty), "{nasty:?} in {text:?}");
    }
    assert!(text.contains("␛]0;title"), "{text:?}");
    assert_eq!(screen.end_of_picker().1, 130);
}
