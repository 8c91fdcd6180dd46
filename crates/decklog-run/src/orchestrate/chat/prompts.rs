//! What speakers are told, and how their agreement is read.
//!
//! Must not know: how agents are run, where texts come from.

use crate::orchestrate::text::{Keep, cut, fenced, left_out, section};

/// Bytes of each part.
mod budget {
    pub(super) const TASK: usize = 64 * 1024;
    pub(super) const SAID: usize = 12 * 1024;
    pub(super) const ALL_SAID: usize = 48 * 1024;
    pub(super) const CHECKS: usize = 16 * 1024;
}

/// Bytes of a patch that a prompt has room for.
pub(super) const PATCH: usize = 48 * 1024;

/// What a prompt is made of.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) task: &'a str,
    pub(super) you: &'a str,
    pub(super) others: &'a [String],
    /// What was said since the speaker's last turn: turn, speaker, words.
    pub(super) said: &'a [(u32, String, String)],
    /// What was changed since, and bytes of the whole.
    pub(super) patch: (String, u64),
    /// Checks that failed when all agreed last.
    pub(super) failures: &'a str,
}

/// What a speaker is asked. With `fresh` it knows nothing of the chat yet.
pub(super) fn speaker(facts: &Facts<'_>, fresh: bool) -> String {
    let others = facts.others.join(", ");
    let mut prompt = String::new();
    if fresh {
        prompt.push_str(&format!(
            "You are {}, and work on a task together with {others}, in the directory you are in. You take turns: each sees \
             what the others said and changed, and does what brings the task further.\n\n",
            facts.you
        ));
        prompt.push_str(&section("The task", &cut(facts.task, budget::TASK, Keep::Beginning)));
    }
    if !facts.said.is_empty() {
        let since = if fresh { "What was said so far" } else { "What was said since your last turn" };
        let said: Vec<String> = facts
            .said
            .iter()
            .map(|(turn, who, words)| {
                format!("{who}, in turn {turn}:\n\n{}", cut(words.trim(), budget::SAID, Keep::End))
            })
            .collect();
        prompt.push_str(&section(since, &cut(&said.join("\n\n"), budget::ALL_SAID, Keep::End)));
        let since = if fresh { "What was changed so far" } else { "What was changed since your last turn" };
        let (patch, bytes) = &facts.patch;
        let more = *bytes - (patch.len() as u64).min(*bytes);
        let more = if more > 0 { format!("\n{}", left_out(more)) } else { String::new() };
        let changed = if *bytes == 0 { "Nothing.".to_owned() } else { fenced("diff", patch) + &more };
        prompt.push_str(&section(since, &changed));
    }
    if !facts.failures.is_empty() {
        prompt.push_str("All agreed, but these checks fail. Mend what they find.\n\n");
        prompt.push_str(&section("Checks that fail", &cut(facts.failures, budget::CHECKS, Keep::End)));
    }
    prompt.push_str(
        "Do your part now: change what has to be changed, look closely at what the others did, say what you think of it. \
         Then end with one line of its own:\n\n\
         AGREED\n\n\
         if the task is done as things stand and you want nothing changed, else\n\n\
         NOT AGREED: what remains to be done\n",
    );
    prompt
}

/// Whether a speaker agrees: what it says last about it, at the beginning of a line.
pub(super) fn agrees(said: &str) -> bool {
    let plain = |line: &str| line.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    let verdict = said.lines().rev().filter(|line| !line.trim().is_empty()).take(5).find_map(|line| {
        let line = plain(line);
        let begins =
            |word: &str| line.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
        if begins("not agreed") || begins("disagreed") { Some(false) } else { begins("agreed").then_some(true) }
    });
    verdict.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_read_where_it_was_asked_for() {
        for (said, agreed) in [
            ("All is well.\n\nAGREED", true),
            ("All is well.\n**AGREED**\n", true),
            ("AGREED.", true),
            ("`AGREED`\n\n", true),
            ("> agreed: nothing remains", true),
            ("Fine.\nAGREED\n\nThank you for the work.", true),
            ("AGREED\n\nWait.\nNOT AGREED: the test is missing", false),
            ("NOT AGREED: the test is missing", false),
            ("**NOT AGREED**: the test is missing", false),
            ("Not agreed, I'm afraid.\n", false),
            ("We agreed on tabs.\nMore to come.", false),
            ("Agreedness is a word.", false),
            ("I have not AGREED", false),
            ("", false),
            ("Done.", false),
        ] {
            assert_eq!(agrees(said), agreed, "{said:?}");
        }
    }

    #[test]
    fn a_speaker_is_told_what_is_new_to_it() {
        let others = ["codex".to_owned()];
        let said = [(2, "codex".to_owned(), "I wrote b.txt.\nNOT AGREED: test it".to_owned())];
        let facts = Facts {
            task: "Write b.txt.",
            you: "claude",
            others: &others,
            said: &said,
            patch: ("+b\n".into(), 100),
            failures: "`make` failed",
        };
        let fresh = speaker(&facts, true);
        let later = speaker(&facts, false);
        for told in ["codex, in turn 2", "I wrote b.txt.", "[… 97 bytes left out …]", "`make` failed", "\nAGREED\n"]
        {
            assert!(fresh.contains(told) && later.contains(told), "{told}: {fresh}\n{later}");
        }
        assert!(fresh.contains("Write b.txt.\n") && !later.contains("Write b.txt.\n"));
        let first = speaker(&Facts { task: "Write b.txt.", you: "claude", others: &others, ..Facts::default() }, true);
        assert!(!first.contains("What was"), "{first}");
    }
}
