//! Whatever is done between two snapshots, the patch between them does it again.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::files::{Do, copy_files, read_files};
use crate::places::{Place, git_directory};
use crate::sandbox::{Sandbox, apply, patch, sandboxed, take_all};
use crate::untouched::Fingerprint;

const NAMES: &[&[u8]] = &[
    b"a",
    b"b c",
    b"d",
    b"d/e",
    b"d/e/f",
    b"d/g",
    b"h/\n",
    b"h/\"",
    b"-x",
    b"\xff\xfe",
    "\u{e4}/\u{f6}".as_bytes(),
    b"back\\slash",
    b"tab\t",
    b"cr\r",
    b" ",
    b"*",
    b":!a",
    b"a.b",
];

fn name() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(NAMES)
}

/// Where links point. To themselves they do not: where such a link makes way for a directory, git
/// apply stumbles, whatever the patch.
fn target() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![b"no/where".as_slice(), b"h", b"..", b".", b"\xfe\n"])
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        // Much alike, so that there are renames with changes.
        prop::collection::vec(0..12_u8, 1..20)
            .prop_map(|lines| lines.iter().flat_map(|n| format!("line {n}\n").into_bytes()).collect()),
        prop::collection::vec(any::<u8>(), 1..300),
        prop::sample::select(vec![
            b"x".to_vec(),
            b"x\n".to_vec(),
            b"y\n".to_vec(),
            b"x\r\n".to_vec(),
            b"\n\n".to_vec()
        ]),
    ]
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        5 => (name(), content()).prop_map(|(name, content)| Do::Write(name, content)),
        1 => (name(), any::<bool>()).prop_map(|(name, on)| Do::Executable(name, on)),
        1 => (name(), target()).prop_map(|(name, target)| Do::Link(name, target)),
        2 => name().prop_map(Do::Delete),
        2 => (name(), name()).prop_map(|(from, to)| Do::Rename(from, to)),
        1 => name().prop_map(Do::EmptyDirectory),
    ]
}

fn check(place: Place, start: &[Do], turns: &[Vec<Do>]) -> Result<(), TestCaseError> {
    let mut sandbox = Sandbox::new();
    place.prepare(&mut sandbox, start);
    let untouched = git_directory(&sandbox).map(|git| Fingerprint::of(&git));
    let mut snapshots = sandbox.open();
    let mut before = take_all(&mut snapshots);
    for (n, turn) in turns.iter().enumerate() {
        let copy = sandbox.spare.join(format!("copy{n}"));
        copy_files(&sandbox.work, &copy);
        for step in turn {
            step.run(&sandbox.work);
        }
        let after = take_all(&mut snapshots);
        let patch = patch(&snapshots, &before, &after);
        let end = read_files(&sandbox.work, &|_| false);
        prop_assert_eq!(sandbox.files_of(&after), end.clone());
        apply(&copy, &patch);
        prop_assert_eq!(read_files(&copy, &|_| false), end);
        before = after;
    }
    if let (Some(untouched), Some(git)) = (untouched, git_directory(&sandbox)) {
        untouched.check(&git);
    }
    Ok(())
}

sandboxed! {
    fn any_turn_can_be_done_again(_sandbox) {
        let places = prop::sample::select(vec![Place::Plain, Place::Committed, Place::Staged, Place::Hidden]);
        let steps = |most| prop::collection::vec(step(), 0..most);
        let cases = (places, steps(12), prop::collection::vec(steps(8), 1..3));
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        let result = TestRunner::new(config).run(&cases, |(place, start, turns)| check(place, &start, &turns));
        if let Err(error) = result {
            panic!("{error}");
        }
    }
}
