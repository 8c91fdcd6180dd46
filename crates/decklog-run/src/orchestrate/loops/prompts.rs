//! What the actor and the critic are told. Every part has a budget of bytes, is cut at a line or at least at a character,
//! and says what was left out.
//!
//! Must not know: how agents are run, where texts come from.

use decklog_journal::words::Decision;

use crate::orchestrate::text::{Keep, cut, fenced, left_out, section};

/// Bytes of each part.
mod budget {
    pub(super) const TASK: usize = 64 * 1024;
    pub(super) const FEEDBACK: usize = 16 * 1024;
    pub(super) const CHECKS: usize = 16 * 1024;
    pub(super) const ACTOR_TEXT: usize = 16 * 1024;
    pub(super) const STDERR: usize = 4 * 1024;
    pub(super) const DIFF: usize = 64 * 1024;
    pub(super) const HISTORY: usize = 16 * 1024;
    pub(super) const OWN_WORDS: usize = 16 * 1024;
}

/// What a prompt is made of, besides what is asked.
#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    pub(super) task: &'a str,
    pub(super) iteration: u32,
    pub(super) max_iterations: u32,
    /// Of earlier iterations: number, decision, and feedback.
    pub(super) history: &'a [(u32, Decision, String)],
    /// Iterations in a row without a change, this one included.
    pub(super) unchanged: u32,
    /// How the actor failed in this iteration.
    pub(super) actor_failure: Option<&'a str>,
    pub(super) actor_text: &'a str,
    pub(super) actor_exit_code: Option<i32>,
    pub(super) actor_stderr: &'a str,
    /// What this iteration changed.
    pub(super) diff: Patch,
    /// What all of them changed.
    pub(super) whole_diff: Patch,
    /// What the checks said; absent without checks.
    pub(super) checked: Option<&'a Result<(), String>>,
}

/// A patch, or its beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Patch {
    pub(super) text: String,
    /// Bytes of the whole.
    pub(super) bytes: u64,
}

/// Bytes of a patch that a prompt has room for.
pub(super) const PATCH: usize = budget::DIFF;

/// What the actor is asked. With `fresh` it knows nothing of the iterations before.
pub(super) fn actor(facts: &Facts<'_>, fresh: bool) -> String {
    let task = cut(facts.task, budget::TASK, Keep::Beginning);
    let Some((_, decision, feedback)) = facts.history.last() else { return task };
    let mut prompt = String::new();
    if fresh {
        prompt.push_str(&section("Your task", &task));
        prompt.push_str(&section("What was done so far", &history(facts.history)));
        prompt.push_str("The files in the working directory are as the last attempt left them.\n\n");
    } else {
        prompt.push_str("A reviewer has looked at what you did. The task is not done yet. It was:\n\n");
        prompt.push_str(&(indented(&task) + "\n"));
    }
    let title = if *decision == Decision::Error { "What went wrong" } else { "What the reviewer wants" };
    prompt.push_str(&section(title, &cut(feedback, budget::FEEDBACK, Keep::Beginning)));
    if let Some(Err(failures)) = facts.checked
        && !feedback.contains(failures.as_str())
    {
        prompt.push_str(&section("Checks that fail", &cut(failures, budget::CHECKS, Keep::End)));
    }
    if facts.unchanged >= 2 {
        prompt.push_str(&format!(
            "The last {} iterations changed no file. If another one changes none either, the work ends here as failed. \
             Change what has to be changed, or say precisely what keeps you from it.\n\n",
            facts.unchanged
        ));
    }
    prompt.push_str("Mend this now, in the working directory, and say in the end what you did.\n");
    prompt
}

/// What the critic is asked.
pub(super) fn critic(facts: &Facts<'_>) -> String {
    let mut prompt = format!(
        "You review the work of a coding agent. It has had iteration {} of at most {} at the task below, in the directory \
         you are in. Judge what was really done: read the diff and, where need be, the files. Change nothing yourself.\n\n",
        facts.iteration, facts.max_iterations
    );
    prompt.push_str(&section("The task", &cut(facts.task, budget::TASK, Keep::Beginning)));
    if !facts.history.is_empty() {
        prompt.push_str(&section("Your decisions so far", &history(facts.history)));
    }
    let code = facts.actor_exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
    let how = facts.actor_failure.map_or_else(
        || format!("It came to its end ({code})."),
        |failure| format!("It did NOT come to its end: {failure} ({code})."),
    );
    prompt.push_str(&section("How the agent ended", &how));
    prompt.push_str(&section(
        "What the agent said in the end",
        &or_none(&cut(facts.actor_text, budget::ACTOR_TEXT, Keep::End)),
    ));
    if !facts.actor_stderr.trim().is_empty() {
        prompt.push_str(&section(
            "The end of its stderr",
            &fenced("", &cut(facts.actor_stderr, budget::STDERR, Keep::End)),
        ));
    }
    prompt.push_str(&section("What this iteration changed", &patch(&facts.diff)));
    if facts.whole_diff != facts.diff {
        prompt.push_str(&section("What all iterations changed together", &patch(&facts.whole_diff)));
    }
    if facts.unchanged >= 2 {
        prompt.push_str(&format!(
            "No file was changed in {} iterations in a row. If nothing is missing, the decision is DONE.\n\n",
            facts.unchanged
        ));
    }
    match facts.checked {
        Some(Ok(())) => prompt.push_str(&section("The checks", "All of them pass.")),
        Some(Err(failures)) => prompt.push_str(&section("The checks FAIL", &cut(failures, budget::CHECKS, Keep::End))),
        None => {}
    }
    prompt.push_str(&section("Your decision", FORMAT));
    prompt
}

/// What a critic is asked whose decision could not be read: `said` when it does not remember.
pub(super) fn again(said: Option<&str>) -> String {
    let mut prompt = String::new();
    if let Some(said) = said {
        let said = cut(said, budget::OWN_WORDS, Keep::End);
        prompt.push_str(&section("What you wrote as the reviewer of a coding agent's work", &said));
    }
    prompt.push_str("Your decision could not be read. Give it once more, and nothing else.\n\n");
    prompt.push_str(FORMAT);
    prompt
}

const FORMAT: &str = "\
End with one JSON object, and nothing after it, of one of these three shapes:

{\"decision\": \"DONE\", \"summary\": \"what was done\", \"confidence\": 0.0 to 1.0}
{\"decision\": \"CONTINUE\", \"feedback\": \"what is missing or wrong, and what to do, precisely\", \"confidence\": 0.0 to 1.0}
{\"decision\": \"ERROR\", \"error\": \"what keeps the work from being done or judged\", \"recovery\": \"how to go on\"}

DONE is for a task that is done whole. Failing checks are never DONE.
";

fn or_none(text: &str) -> String {
    if text.trim().is_empty() { "(nothing)".into() } else { text.to_owned() }
}

fn patch(patch: &Patch) -> String {
    if patch.bytes == 0 {
        return "Nothing.".into();
    }
    let mut text = cut(&patch.text, budget::DIFF, Keep::Beginning);
    let more = patch.bytes.saturating_sub(patch.text.len() as u64);
    if more > 0 {
        text.push_str(&format!("\n{}", left_out(more)));
    }
    fenced("diff", &text)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Decisions, the newest whole where there is room.
fn history(all: &[(u32, Decision, String)]) -> String {
    let mut lines = Vec::new();
    let mut room = budget::HISTORY;
    for (number, decision, feedback) in all.iter().rev() {
        let line = format!("Iteration {number}: {decision}. {}", cut(feedback.trim(), room.min(4096), Keep::Beginning));
        room = room.saturating_sub(line.len());
        lines.push(line);
        if room == 0 {
            let more = all.len() - lines.len();
            if more > 0 {
                lines.push(format!("[… {more} earlier iterations left out …]"));
            }
            break;
        }
    }
    lines.reverse();
    lines.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            task: "Greet whoever is named.",
            iteration: 1,
            max_iterations: 5,
            actor_text: "I have done it.",
            actor_exit_code: Some(0),
            diff: Patch { text: "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+```\n".into(), bytes: 37 },
            whole_diff: Patch { text: "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+```\n".into(), bytes: 37 },
            ..Facts::default()
        }
    }

    #[test]
    fn the_first_prompts() {
        insta::assert_snapshot!(actor(&facts(), false) + "\n=====\n" + &critic(&facts()));
    }

    #[test]
    fn later_prompts() {
        let failures = Err("`make test` (exit code 2):\nassertion failed".to_owned());
        let history = [
            (1, Decision::Continue, "Nothing is greeted.\nMend it.".to_owned()),
            (2, Decision::Error, "The reviewer broke.".to_owned()),
        ];
        let later = Facts {
            iteration: 3,
            history: &history,
            unchanged: 2,
            actor_failure: Some("exit code 1"),
            actor_exit_code: Some(1),
            actor_stderr: "panicked\n",
            actor_text: "",
            diff: Patch::default(),
            checked: Some(&failures),
            ..facts()
        };
        let parts = [actor(&later, false), actor(&later, true), critic(&later), again(Some("Well…")), again(None)];
        insta::assert_snapshot!(parts.join("\n=====\n"));
    }

    #[test]
    fn no_prompt_grows_without_bound() {
        let long = "漢字 and more, without a line's end. ".repeat(100_000);
        let failures = Err(long.clone());
        let history: Vec<_> = (1..500).map(|number| (number, Decision::Continue, long.clone())).collect();
        let patch = Patch { text: long.clone(), bytes: u64::MAX };
        let all = Facts {
            task: &long,
            history: &history,
            actor_text: &long,
            actor_stderr: &long,
            diff: patch.clone(),
            whole_diff: Patch { bytes: 1 << 40, ..patch },
            checked: Some(&failures),
            ..facts()
        };
        for prompt in [actor(&all, true), actor(&all, false), critic(&all), again(Some(&long))] {
            assert!(prompt.len() < 400 * 1024, "{}", prompt.len());
        }
    }
}
