//! Long texts, from their artifacts back to where they belong.

use std::io::Read;
use std::path::Path;

use decklog_journal::event::{ArtifactRef, Iteration};
use decklog_journal::session::{Step, Turn};
use decklog_journal::verify::find_artifact;

use super::TurnTexts;

/// Bytes of one text that are read.
const MAX_TEXT: u64 = 64 << 20;

/// Replaces the beginning of a text by all of it.
pub(super) fn text(dir: &Path, text: &mut String, artifact: &mut Option<ArtifactRef>) {
    let Some(artifact) = artifact.take() else { return };
    match read(dir, &artifact) {
        Ok(whole) => *text = whole,
        Err(error) => *text += &format!("… ({} of {} bytes cannot be read: {error})", artifact.path, artifact.bytes),
    }
}

fn read(dir: &Path, artifact: &ArtifactRef) -> std::io::Result<String> {
    let found = find_artifact(dir, &artifact.path)?;
    let mut bytes = Vec::new();
    if found.compressed {
        zstd::Decoder::new(found.file)?.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    } else {
        found.file.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    }
    let is_cut = bytes.len() as u64 > MAX_TEXT;
    bytes.truncate(usize::try_from(MAX_TEXT).unwrap_or(usize::MAX));
    let mut text =
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    if is_cut {
        text += &format!("… (cut off: {} has {} bytes)", artifact.path, artifact.bytes);
    }
    Ok(text)
}

/// A text that stands in an artifact alone.
fn beside(dir: &Path, artifact: &mut Option<ArtifactRef>) -> Option<String> {
    artifact.as_ref()?;
    let mut whole = String::new();
    text(dir, &mut whole, artifact);
    Some(whole)
}

/// A text that stands in an artifact, or in its line where there is none.
fn either(dir: &Path, line: &mut String, artifact: &mut Option<ArtifactRef>) -> Option<String> {
    if artifact.is_none() && line.is_empty() {
        return None;
    }
    text(dir, line, artifact);
    Some(std::mem::take(line))
}

/// The same for all of a turn.
pub(super) fn turn(dir: &Path, turn: &mut Turn) -> TurnTexts {
    for step in &mut turn.steps {
        match step {
            Step::Message(said) | Step::Thought(said) => {
                // What a command printed to its end, of which the message is the beginning.
                let cut = said.cut_artifact.take();
                if cut.is_some() {
                    said.text_artifact = cut;
                }
                text(dir, &mut said.text, &mut said.text_artifact);
            }
            Step::Tool(tool) => {
                text(dir, &mut tool.output, &mut tool.output_artifact);
                if let Some(input) = beside(dir, &mut tool.input_artifact) {
                    tool.input = serde_json::from_str(&input).unwrap_or(serde_json::Value::String(input));
                }
            }
            Step::Notice(notice) => text(dir, &mut notice.text, &mut notice.text_artifact),
            Step::Plan { .. } => {}
        }
    }
    for check in &mut turn.validations {
        text(dir, &mut check.output, &mut check.output_artifact);
    }
    TurnTexts {
        prompt: either(dir, &mut turn.prompt, &mut turn.prompt_artifact),
        patch: either(dir, &mut turn.patch, &mut turn.patch_artifact),
    }
}

/// The same for an iteration.
pub(super) fn iteration(dir: &Path, iteration: &mut Iteration) {
    text(dir, &mut iteration.actor_output, &mut iteration.actor_output_artifact);
    text(dir, &mut iteration.actor_stderr, &mut iteration.actor_stderr_artifact);
    text(dir, &mut iteration.git_diff, &mut iteration.git_diff_artifact);
}
