//! `ui --open`: the browser is handed the link in a file, as everybody on the machine can see the arguments of programs.

use std::os::unix::fs::PermissionsExt as _;

use super::server::Ui;
use crate::env::{TestEnv, eventually};

#[test]
fn the_browser_gets_the_link_in_a_file_of_the_users() {
    let mut env = TestEnv::new();
    let programs = env.home().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let opener = programs.join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\necho \"$@\" >\"$HOME/asked.new\"; mv \"$HOME/asked.new\" \"$HOME/asked\"\n")
        .unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    env.set("PATH", format!("{}:{path}", programs.display()));
    let ui = Ui::started(env.start(&["ui", "--open"]));
    let asked = eventually("the browser", || std::fs::read_to_string(env.home().join("asked")).ok());
    let file = std::path::Path::new(asked.trim());
    assert!(!asked.contains(ui.token()) && !asked.contains("http"), "{asked}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains(&format!("url={}", ui.link)), "{page}");
    let ran = ui.stop("INT");
    assert_eq!((ran.code, ran.stderr.as_str()), (130, ""));
    assert!(!file.exists(), "it goes with the server");
}

#[test]
fn who_has_no_browser_is_told_and_served() {
    let mut env = TestEnv::new();
    env.set("PATH", "/nonexistent");
    let ui = Ui::started(env.start(&["ui", "--open"]));
    ui.client().get("/").expect(200);
    let ran = ui.stop("TERM");
    assert_eq!(ran.code, 143);
    assert!(ran.stderr.contains("xdg-open is not installed"), "{}", ran.stderr);
}
