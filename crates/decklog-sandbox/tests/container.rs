//! What a container does with podman, which is a script here that keeps what it was asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use decklog_sandbox::container::{Container, Plan};
use decklog_sandbox::image::{Capabilities, Image, Source};
use decklog_sandbox::podman::Podman;

/// Podman with one container, `decklog-s`, made for session `s` of the root that the file `root` names.
const PODMAN: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
echo "$1 $(cut -d' ' -f5 /proc/$$/stat) $$" >>asked
case $1 in
create)
    test -e there || exit 0
    echo 'Error: the container name "decklog-s" is already in use' >&2
    exit 125 ;;
ps) echo '[{"Id": "1", "Names": ["decklog-s"], "Labels": {"decklog.session": "s", "decklog.root": "'"$(cat root)"'"}}]' ;;
container) echo s ;;
rm) rm -f there ;;
esac
"#;

fn podman(dir: &Path, root: &str) -> Podman {
    let program = dir.join("podman");
    std::fs::write(&program, PODMAN).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("root"), root).unwrap();
    std::fs::write(dir.join("there"), "").unwrap();
    let mut path: Vec<PathBuf> = vec![dir.to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    Podman::new(vec![(OsString::from("PATH"), std::env::join_paths(path).unwrap())])
}

/// The verbs that podman was asked, each with whether it led a process group of its own.
fn asked(dir: &Path) -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(dir.join("asked")).unwrap();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].to_owned(), words[1] == words[2])
    };
    text.lines().map(line).collect()
}

#[test]
fn what_a_killed_recorder_left_makes_room_and_only_that() {
    let image = Image {
        name: "coding".into(),
        source: Source::Ready("coding".into()),
        workspace: "/workspace".into(),
        mounts: Vec::new(),
        capabilities: Capabilities::default(),
        servers: Vec::new(),
    };
    for (root, is_own) in [("/root", true), ("/other", false)] {
        let dir = tempfile::tempdir().unwrap();
        let podman = podman(dir.path(), root);
        let plan = Plan {
            session: "s",
            root: Path::new("/root"),
            image: &image,
            tag: "coding",
            working_dir: Path::new("/work"),
            writable: true,
            name_server: None,
            home: None,
            as_root: true,
        };
        let made = Container::create(&podman, &plan, &mut |_| {});
        assert_eq!(made.is_ok(), is_own, "{made:?}");
        assert_eq!(dir.path().join("there").exists(), !is_own);
        if let Ok(made) = made {
            made.remove().unwrap();
            // Ctrl-C on the terminal, which goes to the whole group, does not reach it.
            let asked = asked(dir.path());
            let verbs: Vec<&str> = asked.iter().map(|(verb, _)| verb.as_str()).collect();
            assert_eq!(verbs, ["create", "ps", "container", "rm", "create", "rm"]);
            assert!(asked.iter().all(|(verb, apart)| *apart == (verb == "rm")), "{asked:?}");
        }
    }
}
