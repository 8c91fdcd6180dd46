//! Whatever is changed in a finished record, `verify` finds.

use decklog_journal::session;
use decklog_journal::verify::verify;

use crate::world::{World, journal, lines, set_journal};

#[test]
fn a_flipped_bit_at_every_byte() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one", "two \u{6f22}\u{5b57}"]);
    let good = journal(&dir);
    assert!(verify(&dir).is_clean());
    for at in 0..good.len() {
        for bit in [0x01, 0x20, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            set_journal(&dir, &bad);
            assert!(!verify(&dir).is_clean(), "byte {at}, bit {bit:#x}: {}", String::from_utf8_lossy(&bad));
            // Only the line that was hit can be gone.
            if let Ok(loaded) = session::load(&dir) {
                assert!(!loaded.faults.is_empty(), "byte {at}: a reader sees it too");
                assert!(loaded.head.events >= 2, "byte {at}");
            }
        }
    }
    let dir = crate::story::write(&world, 2);
    let good = journal(&dir);
    for at in (0..good.len()).step_by(11).chain(good.len() - 60..good.len()) {
        let mut bad = good.clone();
        bad[at] = bad[at].wrapping_add(1);
        set_journal(&dir, &bad);
        assert!(!verify(&dir).is_clean(), "byte {at}");
    }
}

#[test]
fn lines_dropped_doubled_and_moved() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let good = journal(&dir);
    let all = lines(&good);
    let check = |what: &str, changed: Vec<&[u8]>| {
        set_journal(&dir, &changed.concat());
        assert!(!verify(&dir).is_clean(), "{what}");
    };
    for at in 0..all.len() {
        let mut dropped = all.clone();
        dropped.remove(at);
        check(&format!("line {at} dropped"), dropped);
        let mut doubled = all.clone();
        doubled.insert(at, all[at]);
        check(&format!("line {at} doubled"), doubled);
        for to in at + 1..all.len() {
            let mut swapped = all.clone();
            swapped.swap(at, to);
            check(&format!("lines {at} and {to} swapped"), swapped);
        }
    }
    check("all dropped", vec![]);
    check("all of it twice", [all.clone(), all.clone()].concat());
    check("as it was, and a line more", [all.clone(), vec![&b"{}\n"[..]]].concat());
    set_journal(&dir, &good);
    assert!(verify(&dir).is_clean());
}

#[test]
fn numbers_that_do_not_follow() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one", "two", "three"]);
    let good = journal(&dir);
    for wrong in [0, 2, 4, 5, u64::MAX] {
        // Somebody counted wrongly, and made the sums right.
        let (mut sum, mut bad) = (String::new(), String::new());
        for (at, line) in lines(&good).into_iter().enumerate() {
            let line = std::str::from_utf8(line).unwrap();
            let mut body = line[..line.rfind(",\"sum\"").unwrap()].to_owned();
            if at == 3 {
                body = body.replace("{\"seq\":3,", &format!("{{\"seq\":{wrong},"));
            }
            sum = decklog_journal::wire::chain(&sum, body.as_bytes());
            bad.push_str(&format!("{body},\"sum\":\"{sum}\"}}\n"));
        }
        set_journal(&dir, bad.as_bytes());
        let faults = session::load(&dir).unwrap().faults;
        let told = faults
            .iter()
            .any(|fault| fault.to_string().contains(&format!("out of sequence: seq is {wrong}, 3 was next")));
        assert!(told, "{wrong}: {faults:?}");
        assert!(!verify(&dir).is_clean());
        // Nor does it keep the session from being gone on with.
        drop(decklog_journal::SessionWriter::resume(&dir, crate::world::options(), None, "0.1.0").unwrap());
    }
}

#[test]
fn lines_of_another_session() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let (_, other) = world.crashed(2, &["one"]);
    let (mine, theirs) = (journal(&dir), journal(&other));
    let (mine, theirs) = (lines(&mine), lines(&theirs));
    for at in 1..theirs.len() {
        let mut mixed = mine.clone();
        mixed[at] = theirs[at];
        set_journal(&dir, &mixed.concat());
        assert!(!verify(&dir).is_clean(), "line {at}");
    }
}

#[test]
fn artifacts_that_are_gone_cut_or_elsewhere() {
    let world = World::new();
    let dir = crate::story::write(&world, 1);
    let outside = world.beside("outside");
    std::fs::write(&outside, "diff --git a/greet.sh b/greet.sh\n").unwrap();
    for name in ["turns/001.patch", "turns/001-prompt.md", "resume/001-codex.md", "turns/001-stream.jsonl"] {
        let path = dir.join(name);
        let good = std::fs::read(&path).unwrap();
        let found = |what: &str| {
            let report = verify(&dir);
            assert!(report.faults.len() == 1 && report.faults[0].place == name, "{name} {what}: {report:?}");
        };
        std::fs::write(&path, &good[1..]).unwrap();
        found("cut");
        std::fs::remove_file(&path).unwrap();
        found("gone");
        std::os::unix::fs::symlink(&outside, &path).unwrap();
        found("a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        found("a directory");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, &good).unwrap();
    }
    // Through a linked directory it is outside as well.
    std::fs::rename(dir.join("turns"), world.beside("turns")).unwrap();
    std::os::unix::fs::symlink(world.beside("turns"), dir.join("turns")).unwrap();
    assert_eq!(verify(&dir).faults.len(), 5);
}

#[test]
fn numbers_as_large_as_they_get() {
    let world = World::new();
    let (_, dir) = world.crashed(1, &["one"]);
    let mut bytes = journal(&dir);
    let most = u64::MAX;
    for _ in 0..2 {
        crate::world::push_line(
            &mut bytes,
            "usage",
            &format!(
                r#""turn":1,"tokens":{{"input":{most},"cached_input":{most},"output":{most},"reasoning":{most}}},"cost_usd":1e308"#
            ),
        );
        crate::world::push_line(
            &mut bytes,
            "turn_end",
            &format!(r#""turn":1,"outcome":"success","duration_secs":1e308,"files_changed":{most}"#),
        );
        crate::world::push_line(&mut bytes, "turn_start", r#""turn":4294967295,"agent":"claude","role":"solo""#);
        crate::world::push_line(
            &mut bytes,
            "iteration",
            r#""iteration_number":4294967295,"actor_output":"","actor_stderr":"","actor_exit_code":-2147483648,"actor_duration_secs":-1e308,"git_diff":"","git_files_changed":0,"critic_decision":"DONE""#,
        );
    }
    set_journal(&dir, &bytes);
    let loaded = session::load(&dir).unwrap();
    assert_eq!((loaded.head.files_changed, loaded.head.turns), (Some(most), u32::MAX));
    assert!(loaded.faults.is_empty());
    assert!(!verify(&dir).is_clean(), "the order is not one that a recorder makes");
}
