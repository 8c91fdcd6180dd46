//! System calls that fail: which ones decklog's own process makes in a scene, and the command that makes one fail.
//!
//! strace lets go of what decklog starts (`-b execve`), so agents, git and the reaper work as ever.
//!
//! Must not know: scenes, verdicts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::World;
use crate::Result;

/// Calls and the errors that each of them gives in practice.
const CALLS: &[(&str, &[&str])] = &[
    ("openat", &["EMFILE", "EACCES", "EIO", "ENOSPC"]),
    ("write", &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    ("writev", &["ENOSPC", "EIO"]),
    ("pwrite64", &["ENOSPC", "EIO"]),
    ("read", &["EIO", "EINTR"]),
    ("pread64", &["EIO"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("fdatasync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("rename", &["EIO", "ENOSPC", "EACCES"]),
    ("renameat", &["EIO", "ENOSPC", "EACCES"]),
    ("renameat2", &["EIO", "ENOSPC", "EACCES"]),
    ("mkdir", &["ENOSPC", "EIO", "EACCES"]),
    ("mkdirat", &["ENOSPC", "EIO", "EACCES"]),
    ("unlink", &["EIO", "EACCES"]),
    ("unlinkat", &["EIO", "EACCES"]),
    ("rmdir", &["EIO", "EACCES"]),
    ("ftruncate", &["EIO"]),
    ("fallocate", &["ENOSPC", "EIO"]),
    ("flock", &["ENOLCK", "EINTR"]),
    ("clone", &["EAGAIN"]),
    ("clone3", &["EAGAIN"]),
    ("pipe2", &["EMFILE"]),
    ("socketpair", &["EMFILE"]),
    ("poll", &["EINTR", "EAGAIN"]),
    ("ppoll", &["EINTR", "EAGAIN"]),
    ("link", &["EIO"]),
    ("linkat", &["EIO", "ENOSPC"]),
    ("symlink", &["EIO", "ENOSPC"]),
    ("symlinkat", &["EIO", "ENOSPC"]),
    ("statx", &["EIO", "EACCES"]),
    ("newfstatat", &["EIO", "EACCES"]),
    ("getdents64", &["EIO"]),
    ("fchmod", &["EIO"]),
    ("copy_file_range", &["EIO"]),
    ("utimensat", &["EIO"]),
];

/// Calls after which the disk has another content: where a kill leaves something to be seen.
const CHANGING: &[&str] = &[
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "ftruncate",
    "fallocate",
    "symlink",
    "symlinkat",
    "linkat",
    "clone3",
];

/// How often the same call on the same file is tried, at most.
const SAME: usize = 2;

/// The call that fails, in strace's words: `CALL:ERROR:WHEN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) call: String,
    /// An error, or `SIGKILL`.
    pub(crate) error: String,
    /// Which of the calls: `3`, or `3+` for that one and all later ones.
    pub(crate) when: String,
}

impl Point {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':').map(str::to_owned);
        let point = Self { call: words.next()?, error: words.next()?, when: words.next()? };
        words.next().is_none().then_some(point)
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.call, self.error, self.when)
    }
}

fn strace(world: &World, calls: &str) -> Command {
    let mut command = world.command("strace");
    command.args(["-f", "-b", "execve", "-qq", "-y", "-s", "0", "-o"]).arg(world.io("trace"));
    command.arg("-e").arg(format!("trace={calls}"));
    command
}

/// decklog under strace, with nothing injected: for [`points`].
pub(crate) fn counting(world: &World) -> Command {
    let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    let mut command = strace(world, &names.join(","));
    command.arg(&world.program);
    command
}

/// decklog under strace, in which `point` fails.
pub(crate) fn failing(world: &World, point: &Point) -> Command {
    let mut command = strace(world, &point.call);
    let what = if point.error.starts_with("SIG") { "signal" } else { "error" };
    command.arg("-e").arg(format!("inject={}:{what}={}:when={}", point.call, point.error, point.when));
    command.arg(&world.program);
    command
}

/// What strace saw of the injected call.
pub(crate) enum Injected {
    No,
    /// It concerned stderr, where the program names failures.
    Muted,
    /// The first call that failed, as strace shows it.
    Yes(String),
}

pub(crate) fn injected(world: &World) -> Injected {
    let trace = fs::read_to_string(world.io("trace")).unwrap_or_default();
    let lines: Vec<&str> = trace.lines().filter(|line| line.contains("(INJECTED)")).collect();
    match lines.first() {
        None => Injected::No,
        Some(_) if lines.iter().any(|line| line.contains(".stderr>")) => Injected::Muted,
        Some(line) => Injected::Yes(line.split_once(' ').map_or("", |(_, call)| call.trim()).to_owned()),
    }
}

/// Every point at which a call can fail, from the trace of a run without faults; `seed` chooses where there are too many
/// alike.
pub(crate) fn points(trace: &Path, seed: u64) -> Result<Vec<Point>> {
    let text = fs::read_to_string(trace)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut points = Vec::new();
    for ((call, _), numbers) in sites(&text) {
        let errors = CALLS.iter().find(|(name, _)| *name == call).map_or(&[][..], |(_, errors)| errors);
        let mut numbers = numbers;
        random.shuffle(&mut numbers);
        numbers.truncate(SAME);
        for number in numbers {
            let mut add = |error: &str, when: String| {
                points.push(Point { call: call.clone(), error: error.to_owned(), when });
            };
            // What a disk refuses, it refuses in several ways; elsewhere one error is like the other.
            let is_write =
                matches!(call.as_str(), "write" | "fsync" | "fdatasync" | "rename" | "renameat" | "renameat2");
            if is_write {
                errors.iter().for_each(|error| add(error, number.to_string()));
            } else if let Some(error) = random.choice(errors) {
                add(error, number.to_string());
            }
            let lasts = is_write || matches!(call.as_str(), "openat" | "mkdir" | "unlink" | "unlinkat" | "clone3");
            if lasts && random.u8(..3) == 0 {
                add(errors[0], format!("{number}+"));
            }
        }
    }
    points.sort();
    points.dedup();
    Ok(points)
}

/// Every point at which a kill leaves something to be seen.
pub(crate) fn kill_points(trace: &Path) -> Result<Vec<Point>> {
    let text = fs::read_to_string(trace)?;
    let mut points = Vec::new();
    for ((call, _), numbers) in sites(&text) {
        if CHANGING.contains(&call.as_str()) {
            let point = |number: usize| Point { call: call.clone(), error: "SIGKILL".into(), when: number.to_string() };
            points.extend(numbers.into_iter().map(point));
        }
    }
    points.sort();
    points.dedup();
    Ok(points)
}

/// The numbers of the calls by call and file. Numbers count for each thread, as strace does.
fn sites(trace: &str) -> BTreeMap<(String, String), Vec<usize>> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut sites: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if call.contains(' ') || call.starts_with(['+', '-', '<']) {
            continue;
        }
        let count = counts.entry((thread, call)).or_default();
        *count += 1;
        // The dynamic loader's own work is over before decklog begins.
        let is_loader = arguments.contains(".so") || arguments.contains("ld.so.cache") || arguments.contains("ELF");
        if !is_loader {
            sites.entry((call.to_owned(), normalize(arguments))).or_default().push(*count);
        }
    }
    for numbers in sites.values_mut() {
        numbers.sort_unstable();
        numbers.dedup();
    }
    sites
}

/// The paths of a call's arguments, without what differs from run to run.
fn normalize(arguments: &str) -> String {
    let mut text = String::new();
    for part in arguments.split(['<', '"']).skip(1) {
        let path = part.split(['>', '"']).next().unwrap_or_default();
        text.extend(path.chars().map(|c| if c.is_ascii_hexdigit() { '#' } else { c }));
        text.push(' ');
    }
    while text.contains("##") {
        text = text.replace("##", "#");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_grouped_by_file() {
        let trace = "7  openat(AT_FDCWD, \"/lib/libc.so.6\", O_RDONLY) = 3\n\
                     7  openat(AT_FDCWD, \"/x/20260501T134412-3f2a\", O_RDONLY) = 3</x>\n\
                     8  openat(AT_FDCWD, \"/x/20260501T134413-aaaa\", O_RDONLY) = 3</x>\n\
                     7  write(4</x/journal.jsonl>, \"\"..., 3) = 3\n7  +++ exited with 0 +++\n";
        let sites = sites(trace);
        let numbers: Vec<_> = sites.iter().map(|((call, _), numbers)| (call.as_str(), numbers.clone())).collect();
        assert_eq!(numbers, [("openat", vec![1, 2]), ("write", vec![1])]);
    }

    #[test]
    fn a_point_is_its_own_name() {
        let point = Point::parse("fsync:EIO:3+").expect("a point");
        assert_eq!(point.to_string(), "fsync:EIO:3+");
        assert_eq!(Point::parse("fsync:EIO"), None);
    }
}
