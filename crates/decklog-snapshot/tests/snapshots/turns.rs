//! Turns an agent may take: what was there, what it did, what that is as changes.

use crate::files::Do::{self, Delete, EmptyDirectory, Executable, Link, Rename, Write};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) start: Vec<Do>,
    pub(crate) turn: Vec<Do>,
    pub(crate) changes: &'static [&'static str],
}

fn text(lines: u32) -> Vec<u8> {
    (0..lines).map(|n| format!("line {n}\n")).collect::<String>().into_bytes()
}

/// The same many lines, and nothing like them.
fn other(lines: u32) -> Vec<u8> {
    (0..lines).map(|n| format!("{} things {n}\n", "other".repeat(3))).collect::<String>().into_bytes()
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, start, turn, changes| Case { name, start, turn, changes };
    let binary = |n: u8| (0..2000_u32).map(|i| (i * u32::from(n) % 251) as u8).collect::<Vec<u8>>();
    vec![
        case("nothing at all", vec![], vec![], &[]),
        case("no change", vec![Write(b"a", text(3))], vec![], &[]),
        case("rewritten with the same", vec![Write(b"a", text(3))], vec![Write(b"a", text(3))], &[]),
        case("the first file", vec![], vec![Write(b"a", text(3))], &["A a +3 -0"]),
        case(
            "new, changed, deleted",
            vec![Write(b"a", text(3)), Write(b"b/c", text(2))],
            vec![Write(b"a", text(4)), Delete(b"b/c"), Write(b"d/e/f", other(1))],
            &["M a +1 -0", "D b/c +0 -2", "A d/e/f +1 -0"],
        ),
        case(
            "same size, same second",
            vec![Write(b"a", b"one\n".to_vec())],
            vec![Write(b"a", b"two\n".to_vec())],
            &["M a +1 -1"],
        ),
        case(
            "empty files",
            vec![Write(b"a", vec![]), Write(b"b", vec![])],
            vec![Delete(b"b"), Write(b"c/d", vec![]), Write(b"a", text(1))],
            &["M a +1 -0", "R c/d <- b +0 -0"],
        ),
        case(
            "no newline at the end",
            vec![Write(b"a", b"x".to_vec())],
            vec![Write(b"a", b"x\ny".to_vec())],
            &["M a +2 -1"],
        ),
        case(
            "line ends",
            vec![Write(b"a", b"x\r\ny\r\n".to_vec())],
            vec![Write(b"a", b"x\ny\r\nz\r".to_vec())],
            &["M a +2 -1"],
        ),
        case("renamed", vec![Write(b"old", text(20))], vec![Rename(b"old", b"sub/new")], &["R sub/new <- old +0 -0"]),
        case(
            "renamed and changed",
            vec![Write(b"old", text(20))],
            vec![Rename(b"old", b"new"), Write(b"new", text(21))],
            &["R new <- old +1 -0"],
        ),
        case(
            "swapped",
            vec![Write(b"a", text(20)), Write(b"b", binary(3))],
            vec![Rename(b"a", b"c"), Rename(b"b", b"a"), Rename(b"c", b"b")],
            &["M a -", "M b -"],
        ),
        case(
            "directory renamed",
            vec![Write(b"d/a", text(9)), Write(b"d/b", text(30))],
            vec![Rename(b"d", b"e")],
            &["R e/a <- d/a +0 -0", "R e/b <- d/b +0 -0"],
        ),
        case(
            "executable and back",
            vec![Write(b"a", text(1)), Write(b"b", text(2)), Executable(b"b", true)],
            vec![Executable(b"a", true), Executable(b"b", false)],
            &["M a +0 -0 100644 to 100755", "M b +0 -0 100755 to 100644"],
        ),
        case(
            "executable and changed",
            vec![Write(b"a", text(1))],
            vec![Write(b"a", text(2)), Executable(b"a", true)],
            &["M a +1 -0 100644 to 100755"],
        ),
        case(
            "binary",
            vec![Write(b"a", binary(3)), Write(b"b", binary(5))],
            vec![Write(b"a", binary(7)), Delete(b"b"), Write(b"c", binary(11))],
            &["M a -", "D b -", "A c -"],
        ),
        case("binary becomes text", vec![Write(b"a", binary(3))], vec![Write(b"a", text(3))], &["M a -"]),
        case(
            "links",
            vec![Write(b"a", text(1)), Link(b"l", b"a"), Link(b"dangling", b"no/where"), Link(b"gone", b"a")],
            vec![Link(b"l", b"b"), Delete(b"gone"), Link(b"loop", b"loop"), Link(b"up", b"../..")],
            &["D gone +0 -1", "M l +1 -1", "A loop +1 -0", "A up +1 -0"],
        ),
        case(
            "a link to a directory",
            vec![Write(b"d/a", text(1))],
            vec![Link(b"l", b"d"), Write(b"d/b", text(2))],
            &["A d/b +2 -0", "A l +1 -0"],
        ),
        case(
            "file becomes link",
            vec![Write(b"a", text(5)), Link(b"b", b"x")],
            vec![Link(b"a", b"b"), Write(b"b", text(5))],
            &["T a +1 -5 100644 to 120000", "T b +5 -1 120000 to 100644"],
        ),
        case(
            "directory becomes link",
            vec![Write(b"d/a", text(5)), Write(b"e/a", text(6))],
            vec![Link(b"d", b"e")],
            &["A d +1 -0", "D d/a +0 -5"],
        ),
        case(
            "link becomes directory",
            vec![Link(b"d", b"e"), Write(b"e/a", text(6))],
            vec![Write(b"d/a", text(5))],
            &["D d +0 -1", "A d/a +5 -0"],
        ),
        case(
            "link moves below itself",
            vec![Link(b"d/e", b"x"), Write(b"a", text(20))],
            vec![Rename(b"d/e", b"l"), Rename(b"l", b"d/e/f"), Rename(b"a", b"b")],
            &["R b <- a +0 -0", "R d/e/f <- d/e +0 -0"],
        ),
        case(
            "file becomes directory",
            vec![Write(b"a", text(5))],
            vec![Write(b"a/b/c", other(9))],
            &["D a +0 -5", "A a/b/c +9 -0"],
        ),
        case(
            "directory becomes file",
            vec![Write(b"a/b/c", other(9)), Write(b"a/d", text(3))],
            vec![Write(b"a", b"other\n".to_vec())],
            &["A a +1 -0", "D a/b/c +0 -9", "D a/d +0 -3"],
        ),
        case("directory emptied", vec![Write(b"d/a", text(3))], vec![Delete(b"d/a")], &["D d/a +0 -3"]),
        case(
            "directory removed",
            vec![Write(b"d/e/a", text(3)), Write(b"b", text(1))],
            vec![Delete(b"d")],
            &["D d/e/a +0 -3"],
        ),
        case("empty directories", vec![EmptyDirectory(b"d")], vec![EmptyDirectory(b"e/f"), Delete(b"d")], &[]),
        case(
            "all deleted",
            vec![Write(b"a", text(3)), Write(b"d/b", text(3))],
            vec![Delete(b"a"), Delete(b"d")],
            &["D a +0 -3", "D d/b +0 -3"],
        ),
        case(
            "odd names",
            vec![
                Write(b" lead", text(1)),
                Write(b"-rf", text(1)),
                Write(b"new\nline", text(1)),
                Write(b"quo\"te\\", text(1)),
                Write("\u{fc}n\u{ef}".as_bytes(), text(1)),
                Write(b"\xff\xfe", text(1)),
                Write(b"tab\t/x", text(1)),
                Write(b":(top)", text(1)),
                Write(b"[a]*?", text(1)),
                Write(b"\x01\x7f", text(1)),
            ],
            vec![
                Write(b" lead", text(2)),
                Write(b"-rf", text(2)),
                Write(b"new\nline", text(2)),
                Delete(b"quo\"te\\"),
                Write("\u{fc}n\u{ef}".as_bytes(), text(2)),
                Write(b"\xff\xfe", text(2)),
                Delete(b"tab\t/x"),
                Write(b":(top)", text(2)),
                Write(b"[a]*?", text(2)),
                Write(b"--", text(5)),
                Write(b"~", text(4)),
                Write(b"trail ", text(30)),
                Delete(b"\x01\x7f"),
            ],
            &[
                "D \\x01\\x7f +0 -1",
                "M  lead +1 -0",
                "A -- +5 -0",
                "M -rf +1 -0",
                "M :(top) +1 -0",
                "M [a]*? +1 -0",
                "M new\\nline +1 -0",
                "D quo\\\"te\\\\ +0 -1",
                "D tab\\t/x +0 -1",
                "A trail  +30 -0",
                "A ~ +4 -0",
                "M \\xc3\\xbcn\\xc3\\xaf +1 -0",
                "M \\xff\\xfe +1 -0",
            ],
        ),
        case(
            "ignored",
            vec![Write(b".gitignore", b"*.o\n/out/\n".to_vec()), Write(b"a.o", text(1)), Write(b"out/x", text(1))],
            vec![
                Write(b"a.o", text(2)),
                Write(b"out/y", text(1)),
                Write(b"b", text(4)),
                Write(b"sub/.gitignore", b"c\n".to_vec()),
                Write(b"sub/c", text(1)),
                Write(b"sub/d", text(5)),
            ],
            &["A b +4 -0", "A sub/.gitignore +1 -0", "A sub/d +5 -0"],
        ),
        case(
            "lines that look like a patch",
            vec![Write(b"a", b"diff --git a/x b/x\n--- a/x\n+++ b/x\n".to_vec())],
            vec![Write(b"a", b"diff --git a/y b/y\n@@ -1 +1 @@\n-- \n".to_vec())],
            &["M a +3 -3"],
        ),
        case("a large text", vec![Write(b"a", text(50_000))], vec![Write(b"a", text(50_001))], &["M a +1 -0"]),
    ]
}
