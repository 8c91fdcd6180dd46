//! Long texts, from their artifacts back to where they belong.

use std::io::Read;
use std::path::Path;

use decklog_journal::event::{ArtifactRef, Iteration};
use decklog_journal::session::{Step, Turn};
use decklog_journal::verify::find_artifact;

use super::TurnTexts;

/// Bytes of one text that are read.
const MAX_TEXT: u64 = 64 << 20;

/// Reads the artifacts of one session.
pub(super) struct Inline<'a> {
    dir: &'a Path,
    /// What could not be read, as sentences.
    pub(super) unread: Vec<String>,
}

impl<'a> Inline<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self { dir, unread: Vec::new() }
    }

    /// Replaces the beginning of a text by all of it.
    pub(super) fn text(&mut self, text: &mut String, artifact: &mut Option<ArtifactRef>) {
        let Some(artifact) = artifact.take() else { return };
        match read(self.dir, &artifact) {
            Ok(whole) => *text = whole,
            Err(error) => {
                let unread = format!("{} of {} bytes cannot be read: {error}", artifact.path, artifact.bytes);
                *text += &format!("… ({unread})");
                self.unread.push(unread);
            }
        }
    }

    /// A text that is only in an artifact.
    fn beside(&mut self, artifact: &mut Option<ArtifactRef>) -> Option<String> {
        artifact.as_ref()?;
        let mut whole = String::new();
        self.text(&mut whole, artifact);
        Some(whole)
    }

    /// A text that is in an artifact, or in its line where there is none.
    fn either(&mut self, line: &mut String, artifact: &mut Option<ArtifactRef>) -> Option<String> {
        if artifact.is_none() && line.is_empty() {
            return None;
        }
        self.text(line, artifact);
        Some(std::mem::take(line))
    }

    /// The same for all of a turn.
    pub(super) fn turn(&mut self, turn: &mut Turn) -> TurnTexts {
        for step in &mut turn.steps {
            match step {
                Step::Message(said) | Step::Thought(said) => {
                    // What a command printed to its end, of which the message is the beginning.
                    let cut = said.cut_artifact.take();
                    if cut.is_some() {
                        said.text_artifact = cut;
                    }
                    self.text(&mut said.text, &mut said.text_artifact);
                }
                Step::Tool(tool) => {
                    self.text(&mut tool.output, &mut tool.output_artifact);
                    if let Some(input) = self.beside(&mut tool.input_artifact) {
                        tool.input = serde_json::from_str(&input).unwrap_or(serde_json::Value::String(input));
                    }
                }
                Step::Notice(notice) => self.text(&mut notice.text, &mut notice.text_artifact),
                Step::Plan { .. } => {}
            }
        }
        for check in &mut turn.validations {
            self.text(&mut check.output, &mut check.output_artifact);
        }
        TurnTexts {
            prompt: self.either(&mut turn.prompt, &mut turn.prompt_artifact),
            patch: self.either(&mut turn.patch, &mut turn.patch_artifact),
        }
    }

    /// The same for an iteration.
    pub(super) fn iteration(&mut self, iteration: &mut Iteration) {
        self.text(&mut iteration.actor_output, &mut iteration.actor_output_artifact);
        self.text(&mut iteration.actor_stderr, &mut iteration.actor_stderr_artifact);
        self.text(&mut iteration.git_diff, &mut iteration.git_diff_artifact);
    }
}

fn read(dir: &Path, artifact: &ArtifactRef) -> std::io::Result<String> {
    let found = find_artifact(dir, &artifact.path)?;
    let mut bytes = Vec::new();
    found.content(Some(artifact.bytes))?.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() as u64 > MAX_TEXT;
    bytes.truncate(usize::try_from(MAX_TEXT).unwrap_or(usize::MAX));
    let mut text =
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if is_cut {
        text += &format!("… (cut off: {} has {} bytes)", artifact.path, artifact.bytes);
    }
    Ok(text)
}
