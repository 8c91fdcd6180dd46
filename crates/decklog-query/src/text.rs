//! What of a session is text: its passages, one for each turn, with a text for each field.
//!
//! Searches of every sort take texts from here, so that they find the same. Must not know: what is searched for.

use std::path::Path;

use decklog_journal::event::{ArtifactRef, Event, EventBody};
use decklog_journal::filter::full_prompt;
use decklog_journal::verify::find_artifact;
use jiff::Timestamp;
use serde::Serialize;

use crate::words::BREAK;

/// Bytes of an artifact that are read.
const MAX_ARTIFACT: u64 = 64 << 20;

/// So much text makes a passage of its own, although its turn goes on.
const MAX_PASSAGE: usize = 4 << 20;

/// Where in a turn a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What was asked.
    Prompt,
    /// What the agent said, its plan, and what went wrong.
    Output,
    /// How it reasoned.
    Reasoning,
    /// What tools and checks were given and gave back.
    Tool,
    /// Lines that came or went.
    Diff,
    /// What a critic said.
    Feedback,
    /// Names of files that were changed, or that tools were given.
    File,
    /// Names and kinds of tools.
    Name,
}

impl Field {
    /// All of them, in the order of [`Passage::texts`].
    pub const ALL: [Self; 8] =
        [Self::Prompt, Self::Output, Self::Reasoning, Self::Tool, Self::Diff, Self::Feedback, Self::File, Self::Name];

    /// Its name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::Tool => "tool",
            Self::Diff => "diff",
            Self::Feedback => "feedback",
            Self::File => "file",
            Self::Name => "name",
        }
    }
}

/// The texts of a turn, or of a part of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The turn; 0 for a session without turns.
    pub turn: u32,
    /// When it began.
    pub at: Timestamp,
    /// Where its events begin in the journal, in bytes.
    pub from: u64,
    /// Where they end.
    pub to: u64,
    /// The text of each [`Field`]; what does not belong together is parted by [`BREAK`].
    pub texts: [String; 8],
    ended: bool,
    /// Whether the last thing said may go on.
    open: Option<Field>,
}

impl Passage {
    fn new(turn: u32, at: Timestamp, from: u64) -> Self {
        Self { turn, at, from, to: from, texts: Default::default(), ended: false, open: None }
    }

    /// The text of a field.
    #[must_use]
    pub fn text(&self, field: Field) -> &str {
        &self.texts[field as usize]
    }

    fn add(&mut self, field: Field, text: &str) {
        if text.is_empty() {
            return;
        }
        let all = &mut self.texts[field as usize];
        if !all.is_empty() {
            all.push(BREAK);
        }
        all.push_str(text);
        self.open = None;
    }

    fn say(&mut self, field: Field, text: &str, continued: bool) {
        if continued && self.open == Some(field) {
            self.texts[field as usize].push_str(text);
        } else {
            self.add(field, text);
        }
        self.open = Some(field);
    }

    fn size(&self) -> usize {
        self.texts.iter().map(String::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.texts.iter().all(String::is_empty)
    }
}

/// Makes passages of a session's events, in order.
pub struct Passages<'a> {
    dir: &'a Path,
    /// The session's prompt until a turn takes it, and where it stands.
    prompt: Option<(String, Passage)>,
    open: Vec<Passage>,
    size: usize,
    /// Files that turns changed, as they come.
    pub touched: Vec<String>,
}

impl<'a> Passages<'a> {
    /// For the session in `dir`.
    #[must_use]
    pub fn new(dir: &'a Path) -> Self {
        Self { dir, prompt: None, open: Vec::new(), size: 0, touched: Vec::new() }
    }

    /// Takes in the event whose line begins at `from` and ends at `to`. Gives the passages that ended before it: when
    /// there are any, reading can later begin at this event.
    pub fn event(&mut self, event: &Event, from: u64, to: u64) -> Vec<Passage> {
        let starts = matches!(event.body, EventBody::TurnStart(_));
        let rests = !self.open.is_empty() && self.open.iter().all(|passage| passage.ended);
        let done = if (starts && rests) || self.size >= MAX_PASSAGE { self.flush() } else { Vec::new() };
        self.take(event, from, to);
        done
    }

    /// The passages that are left.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Passage> {
        if let Some((prompt, mut passage)) = self.prompt.take() {
            passage.add(Field::Prompt, &prompt);
            self.open.push(passage);
        }
        self.flush()
    }

    fn flush(&mut self) -> Vec<Passage> {
        self.size = 0;
        let mut done = std::mem::take(&mut self.open);
        done.retain(|passage| !passage.is_empty());
        done
    }

    fn passage(&mut self, turn: u32, at: Timestamp, from: u64) -> &mut Passage {
        let place = self.open.iter().position(|passage| passage.turn == turn).unwrap_or_else(|| {
            self.open.push(Passage::new(turn, at, from));
            self.open.len() - 1
        });
        &mut self.open[place]
    }

    fn take(&mut self, event: &Event, from: u64, to: u64) {
        if let EventBody::SessionStart(start) = &event.body {
            let passage = Passage { to, ..Passage::new(0, event.timestamp, from) };
            self.prompt = Some((full_prompt(self.dir, start.clone()), passage));
            return;
        }
        let turn = match &event.body {
            EventBody::Iteration(_) => self.open.last().map_or(0, |passage| passage.turn),
            body => match body.turn() {
                Some(turn) => turn,
                None => return,
            },
        };
        let (dir, prompt) =
            (self.dir, matches!(event.body, EventBody::TurnStart(_)).then(|| self.prompt.take()).flatten());
        let begins = prompt.as_ref().map_or(from, |(_, passage)| passage.from);
        if let EventBody::TurnEnd(end) = &event.body {
            for file in &end.files {
                self.touched.extend([Some(file.path.clone()), file.old_path.clone()].into_iter().flatten());
            }
        }
        let passage = self.passage(turn, event.timestamp, begins);
        passage.to = to;
        let before = passage.size();
        fill(passage, &event.body, prompt.map(|(prompt, _)| prompt), dir);
        let grown = passage.size().saturating_sub(before);
        self.size += grown;
    }
}

/// Adds what an event says.
fn fill(passage: &mut Passage, body: &EventBody, session_prompt: Option<String>, dir: &Path) {
    let whole = |text: &str, artifact: &Option<ArtifactRef>| match artifact {
        Some(artifact) => read(dir, artifact).unwrap_or_else(|| text.to_owned()),
        None => text.to_owned(),
    };
    match body {
        EventBody::TurnStart(start) => {
            let sent = start.prompt_artifact.as_ref();
            // The first turn is mostly sent what the session was asked.
            let is_the_same = |prompt: &String| sent.is_none_or(|sent| sent.bytes == prompt.len() as u64);
            if let Some(prompt) = &session_prompt {
                passage.add(Field::Prompt, prompt);
            }
            if !session_prompt.as_ref().is_some_and(is_the_same)
                && let Some(prompt) = sent.and_then(|sent| read(dir, sent))
            {
                passage.add(Field::Prompt, &prompt);
            } else if sent.is_none() {
                passage.add(Field::Prompt, &start.prompt);
            }
        }
        EventBody::Message(e) => passage.say(Field::Output, &whole(&e.text, &e.text_artifact), e.continued),
        EventBody::Thought(e) => passage.say(Field::Reasoning, &whole(&e.text, &e.text_artifact), e.continued),
        EventBody::Plan(plan) => plan.entries.iter().for_each(|entry| passage.add(Field::Output, &entry.content)),
        EventBody::ToolCall(call) => {
            passage.add(Field::Name, &call.name);
            passage.add(Field::Name, call.kind.as_str());
            match &call.input_artifact {
                Some(artifact) => passage.add(Field::Tool, &read(dir, artifact).unwrap_or_default()),
                None => strings(None, &call.input, &mut |key, text| {
                    passage.add(Field::Tool, text);
                    if key.is_some_and(|key| PATH_KEYS.contains(&key)) {
                        passage.add(Field::File, text);
                    }
                }),
            }
            passage.add(Field::Tool, call.title.as_deref().unwrap_or_default());
        }
        EventBody::ToolResult(e) => passage.add(Field::Tool, &whole(&e.output, &e.output_artifact)),
        EventBody::Validation(e) => {
            passage.add(Field::Tool, &e.command);
            passage.add(Field::Tool, &whole(&e.output, &e.output_artifact));
        }
        EventBody::RateLimited(limit) => passage.add(Field::Output, &limit.message),
        EventBody::Notice(e) => passage.add(Field::Output, &whole(&e.text, &e.text_artifact)),
        EventBody::Iteration(e) => {
            for said in [&e.feedback, &e.summary].into_iter().flatten() {
                passage.add(Field::Feedback, said);
            }
        }
        EventBody::TurnEnd(end) => {
            passage.ended = true;
            passage.add(Field::Output, end.error.as_deref().unwrap_or_default());
            for file in &end.files {
                passage.add(Field::File, &file.path);
                passage.add(Field::File, file.old_path.as_deref().unwrap_or_default());
            }
            passage.add(Field::Diff, &changed_lines(&whole(&end.patch, &end.patch_artifact)));
        }
        _ => {}
    }
}

/// Keys of tools' arguments that name a file.
const PATH_KEYS: [&str; 7] =
    ["path", "file_path", "filePath", "absolute_path", "notebook_path", "file", "relative_workspace_path"];

/// Hands on every text in a JSON value with its key.
fn strings(key: Option<&str>, value: &serde_json::Value, each: &mut impl FnMut(Option<&str>, &str)) {
    match value {
        serde_json::Value::String(text) => each(key, text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(key, item, each)),
        serde_json::Value::Object(fields) => fields.iter().for_each(|(key, value)| strings(Some(key), value, each)),
        _ => {}
    }
}

/// The lines of a patch that came or went.
fn changed_lines(patch: &str) -> String {
    let mut lines = String::new();
    let mut in_hunk = false;
    for line in patch.lines() {
        match line.as_bytes().first() {
            Some(b'@') => in_hunk = true,
            Some(b'+' | b'-') if in_hunk => {
                lines.push_str(&line[1..]);
                lines.push('\n');
            }
            Some(b' ' | b'\\') | None => {}
            _ => in_hunk = false,
        }
    }
    lines
}

/// An artifact as text; `None` when it cannot be read.
fn read(dir: &Path, artifact: &ArtifactRef) -> Option<String> {
    use std::io::Read;
    let found = find_artifact(dir, &artifact.path).ok()?;
    let mut bytes = Vec::new();
    found.content(Some(artifact.bytes)).ok()?.take(MAX_ARTIFACT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_came_or_went() {
        let patch = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new\n--- odd\ndiff --git a/y b/y\n--- a/y\n+++ b/y\n@@ -0,0 +1 @@\n+more\n";
        assert_eq!(changed_lines(patch), "old\nnew\n-- odd\nmore\n");
    }
}
