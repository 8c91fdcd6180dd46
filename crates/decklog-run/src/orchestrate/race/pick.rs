//! Who wins a race, and what a judge is asked: decided from what the racers came to.
//!
//! Must not know: how agents are run, worktrees, the record.

use serde_json::Value;

use crate::orchestrate::lenient;
use crate::orchestrate::text::{Keep, cut, fenced, left_out, section};

/// What of a racer decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// It came to its end, with a tree.
    pub(super) finished: bool,
    /// Every check passed; true without checks.
    pub(super) passed: bool,
    /// Lines added and removed.
    pub(super) lines: u64,
    pub(super) files: u64,
}

/// Those that can be picked as the best: they came to their end, changed something, and pass the checks.
pub(super) fn eligible(racers: &[Standing]) -> Vec<usize> {
    let good = |racer: &Standing| racer.finished && racer.passed && racer.files > 0;
    racers.iter().enumerate().filter(|(_, racer)| good(racer)).map(|(at, _)| at).collect()
}

/// The best: the judge's choice, else the smallest change, else who stands first.
pub(super) fn best(racers: &[Standing], judged: Option<usize>) -> Option<usize> {
    let eligible = eligible(racers);
    judged
        .filter(|at| eligible.contains(at))
        .or_else(|| eligible.into_iter().min_by_key(|at| (racers[*at].lines, racers[*at].files, *at)))
}

/// Bytes of each part of what a judge is told.
mod budget {
    pub(super) const TASK: usize = 32 * 1024;
    pub(super) const SAID: usize = 4 * 1024;
    pub(super) const ALL: usize = 96 * 1024;
}

/// What a judge is told of a racer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) said: String,
    /// Its patch, or the beginning of it, and bytes of the whole.
    pub(super) patch: (String, u64),
}

/// Bytes of a patch that there is room for among `count` entries.
pub(super) fn room(count: usize) -> usize {
    budget::ALL / count.max(1)
}

/// What a judge is asked. Entries go by letters, so that no name decides.
pub(super) fn prompt(task: &str, entries: &[Entry]) -> String {
    let mut prompt = String::from(
        "Several coding agents were given the same task, each in a copy of the directory you are in. Judge which of them did \
         it best: what is right and whole comes first, then what is simple and fits the code around it. Change nothing.\n\n",
    );
    prompt.push_str(&section("The task", &cut(task, budget::TASK, Keep::Beginning)));
    for (at, entry) in entries.iter().enumerate() {
        let (patch, bytes) = &entry.patch;
        let more = bytes.saturating_sub(patch.len() as u64);
        let more = if more > 0 { format!("\n{}", left_out(more)) } else { String::new() };
        let said = cut(entry.said.trim(), budget::SAID, Keep::End);
        let said =
            if said.is_empty() { String::new() } else { format!("It said in the end:\n\n{}\n\n", fenced("", &said)) };
        prompt.push_str(&section(&format!("Entry {}", letter(at)), &format!("{said}{}{more}", fenced("diff", patch))));
    }
    let letters: Vec<String> = (0..entries.len()).map(|at| letter(at).to_string()).collect();
    prompt.push_str(&format!(
        "Answer with one JSON object and nothing else, where the winner is one of {}:\n\n\
         {{\"winner\": \"A\", \"why\": \"in one or two sentences\"}}\n",
        letters.join(", ")
    ));
    prompt
}

fn letter(at: usize) -> char {
    char::from(b'A' + u8::try_from(at % 26).unwrap_or(0))
}

/// What a judge decided among `count` entries, and why; `None` when that cannot be read.
pub(super) fn verdict(said: &str, count: usize) -> Option<(usize, String)> {
    let read = |value: &Value| {
        let winner = value["winner"].as_str()?.trim().to_ascii_uppercase();
        let winner = winner.strip_prefix("ENTRY").unwrap_or(&winner).trim();
        let at = (0..count).find(|at| winner == letter(*at).to_string())?;
        Some((at, value["why"].as_str().unwrap_or_default().trim().to_owned()))
    };
    lenient::last_object(lenient::end_of(said), read).map(|(_, verdict)| verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Standing = Standing { finished: true, passed: true, lines: 10, files: 1 };

    #[test]
    fn checks_come_first_then_the_judge_then_the_smallest_change() {
        let failed = Standing { passed: false, lines: 1, ..GOOD };
        let crashed = Standing { finished: false, lines: 1, ..GOOD };
        let idle = Standing { lines: 0, files: 0, ..GOOD };
        let small = Standing { lines: 3, ..GOOD };
        for (racers, judged, best_at) in [
            (&[GOOD, small][..], None, Some(1)),
            (&[GOOD, small], Some(0), Some(0)),
            (&[failed, GOOD, crashed], None, Some(1)),
            (&[failed, GOOD, crashed], Some(0), Some(1)),
            (&[GOOD, GOOD], None, Some(0)),
            (&[idle, GOOD], None, Some(1)),
            (&[failed, crashed, idle], None, None),
            (&[], None, None),
        ] {
            assert_eq!(best(racers, judged), best_at, "{racers:?} {judged:?}");
        }
    }

    #[test]
    fn a_verdict_is_read_however_it_is_wrapped() {
        for (said, verdict_at) in [
            (r#"{"winner": "B", "why": "it is whole"}"#, Some(1)),
            ("I like A.\n```json\n{\"winner\": \"entry b\", \"why\": \"x\"}\n```", Some(1)),
            (r#"{"winner": "C"}"#, None),
            (r#"{"winner": ""}"#, None),
            ("B wins.", None),
            ("", None),
        ] {
            assert_eq!(verdict(said, 2).map(|(at, _)| at), verdict_at, "{said}");
        }
    }

    #[test]
    fn a_judge_sees_entries_and_not_names() {
        let entries = [
            Entry { said: "I wrote it.".into(), patch: ("+a\n".into(), 3) },
            Entry { said: String::new(), patch: ("+b\n".into(), 100) },
        ];
        let prompt = prompt("Write it.", &entries);
        for told in ["Write it.", "# Entry A", "I wrote it.", "# Entry B", "[… 97 bytes left out …]", "one of A, B"]
        {
            assert!(prompt.contains(told), "{told}: {prompt}");
        }
    }
}
