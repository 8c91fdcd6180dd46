//! A conversation, and the file that keeps it.
//!
//! The file is JSON lines: one entry each, appended as it happens, for the owner alone. What a crash cut off is mended
//! when the conversation is taken up again, so that every call has its result.
//!
//! Must not know: how a provider writes any of this.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::TurnError;
use crate::secret::Secret;

/// Bytes of a conversation that are read.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// Random bytes of an id.
const ID_BYTES: usize = 16;
/// How long a conversation that nobody goes on with is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// What a call is answered that nobody lived to answer.
const INTERRUPTED: &str = "The turn was interrupted before this call ended. What it did is not known.";

/// What was said, or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A prompt.
    User {
        /// Its words.
        text: String,
    },
    /// The model's answer.
    Assistant {
        /// Who answered.
        model: String,
        /// Reasoning that the provider wants back as it was.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        thinking: Vec<Value>,
        /// Its words.
        text: String,
        /// What it asks for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<Call>,
    },
    /// The results of the calls before, in their order.
    Results {
        /// One for each call.
        results: Vec<CallResult>,
    },
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Map<String, Value>,
}

impl Call {
    /// Its bytes, about.
    pub(crate) fn size(&self) -> usize {
        let arguments = serde_json::to_string(&self.arguments).map_or(0, |text| text.len());
        self.id.len() + self.name.len() + arguments
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CallResult {
    pub(crate) id: String,
    pub(crate) output: String,
    #[serde(default)]
    pub(crate) is_error: bool,
}

/// A conversation being held.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) entries: Vec<Entry>,
    path: PathBuf,
    file: File,
    key: Option<Secret>,
}

impl Conversation {
    /// Begins one in `dir`, which is made if need be.
    ///
    /// # Errors
    /// [`TurnError::Conversation`] when no file can be made there.
    pub(crate) fn begin(dir: &Path, key: Option<&Secret>) -> Result<Self, TurnError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| trouble(dir, error))?;
        remove_old(dir);
        let mut random = [0; ID_BYTES];
        getrandom::fill(&mut random).map_err(|error| trouble(dir, error))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = path(dir, &id);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| trouble(&path, error))?;
        file.try_lock().map_err(|error| trouble(&path, error))?;
        Ok(Self { id, entries: Vec::new(), path, file, key: key.cloned() })
    }

    /// Takes up the one called `id`.
    ///
    /// # Errors
    /// [`TurnError::Gone`] when there is none, [`TurnError::Conversation`] when it cannot be read or is being held.
    pub(crate) fn resume(dir: &Path, id: &str, key: Option<&Secret>) -> Result<Self, TurnError> {
        if !is_id(id) {
            return Err(TurnError::Gone(id.chars().take(80).collect()));
        }
        let path = path(dir, id);
        let mut file = match OpenOptions::new().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(TurnError::Gone(id.to_owned())),
            Err(error) => return Err(trouble(&path, error)),
        };
        file.try_lock().map_err(|_| trouble(&path, "another turn holds it: wait until that is over"))?;
        let mut bytes = Vec::new();
        (&file).take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| trouble(&path, error))?;
        if bytes.len() as u64 == MAX_FILE {
            return Err(trouble(&path, "it is too long to go on with: begin a new one"));
        }
        // A line that a crash cut off goes, or the next one would be appended to it.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(|error| trouble(&path, error))?;
        file.seek(SeekFrom::End(0)).map_err(|error| trouble(&path, error))?;
        let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entries: Result<Vec<Entry>, _> = lines.map(serde_json::from_slice).collect();
        let entries = mend(entries.map_err(|error| trouble(&path, error))?);
        Ok(Self { id: id.to_owned(), entries, path, file, key: key.cloned() })
    }

    /// Adds an entry, and keeps it.
    ///
    /// # Errors
    /// [`TurnError::Conversation`] when it cannot be kept.
    pub(crate) fn push(&mut self, entry: Entry) -> Result<(), TurnError> {
        let mut line = serde_json::to_string(&entry).map_err(|error| trouble(&self.path, error))?;
        if let Some(key) = &self.key {
            key.keep_out_of(&mut line);
        }
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|error| trouble(&self.path, error))?;
        self.entries.push(entry);
        Ok(())
    }
}

fn is_id(id: &str) -> bool {
    id.len() == 2 * ID_BYTES && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Removes what nobody has gone on with for long. What cannot be removed is for the next time.
fn remove_old(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).is_some_and(is_id);
        let changed = entry.metadata().and_then(|meta| meta.modified());
        let is_old = changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT));
        if is_ours && is_old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.jsonl"))
}

fn trouble(path: &Path, error: impl std::fmt::Display) -> TurnError {
    TurnError::Conversation { path: path.display().to_string(), error: error.to_string() }
}

/// Makes what was cut off whole: each call has a result, each result a call.
fn mend(entries: Vec<Entry>) -> Vec<Entry> {
    let mut mended: Vec<Entry> = Vec::new();
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        match entry {
            // Its calls took their results along.
            Entry::Results { .. } => {}
            Entry::Assistant { ref calls, .. } if !calls.is_empty() => {
                let mut told = match entries.peek() {
                    Some(Entry::Results { results }) => results.clone(),
                    _ => Vec::new(),
                };
                let results = calls.iter().map(|call| {
                    let at = told.iter().position(|result| result.id == call.id);
                    at.map(|at| told.swap_remove(at)).unwrap_or_else(|| CallResult {
                        id: call.id.clone(),
                        output: INTERRUPTED.to_owned(),
                        is_error: true,
                    })
                });
                let results = Entry::Results { results: results.collect() };
                mended.extend([entry.clone(), results]);
            }
            other => mended.push(other),
        }
    }
    mended
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn user(text: &str) -> Entry {
        Entry::User { text: text.into() }
    }

    fn asks(ids: &[&str]) -> Entry {
        let call = |id: &&str| Call { id: (*id).to_owned(), name: "tool".into(), arguments: Map::new() };
        let calls = ids.iter().map(call).collect();
        Entry::Assistant { model: "m".into(), thinking: Vec::new(), text: String::new(), calls }
    }

    fn results(of: &[(&str, &str)]) -> Entry {
        let result = |(id, output): &(&str, &str)| CallResult {
            id: (*id).to_owned(),
            output: (*output).to_owned(),
            is_error: *output == INTERRUPTED,
        };
        Entry::Results { results: of.iter().map(result).collect() }
    }

    #[test]
    fn what_was_cut_off_is_mended() {
        for (before, after) in [
            (vec![user("a"), asks(&["1"])], vec![user("a"), asks(&["1"]), results(&[("1", INTERRUPTED)])]),
            (
                vec![user("a"), asks(&["1", "2"]), results(&[("2", "two")]), user("b")],
                vec![user("a"), asks(&["1", "2"]), results(&[("1", INTERRUPTED), ("2", "two")]), user("b")],
            ),
            (vec![user("a"), results(&[("1", "one")]), asks(&[])], vec![user("a"), asks(&[])]),
        ] {
            assert_eq!(mend(before), after);
        }
    }

    #[test]
    fn it_is_kept_for_its_owner_and_taken_up_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("state/builtin");
        let mut conversation = Conversation::begin(&dir, None).expect("a conversation");
        conversation.push(user("a")).expect("kept");
        conversation.push(asks(&["1"])).expect("kept");
        let (id, path) = (conversation.id.clone(), conversation.path.clone());
        drop(conversation);
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.metadata().expect("a directory").permissions().mode() & 0o777, 0o700);

        // A crash in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        file.write_all(b"{\"type\":\"res").expect("written");
        let mut again = Conversation::resume(&dir, &id, None).expect("the conversation");
        assert_eq!(again.entries, [user("a"), asks(&["1"]), results(&[("1", INTERRUPTED)])]);
        let busy = Conversation::resume(&dir, &id, None).expect_err("it is held");
        assert!(busy.to_string().contains("another turn"), "{busy}");
        again.push(user("b")).expect("kept");
        drop(again);
        let again = Conversation::resume(&dir, &id, None).expect("the conversation");
        assert_eq!(again.entries.last(), Some(&user("b")));
    }

    #[test]
    fn old_ones_are_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = std::time::SystemTime::now() - KEPT - Duration::from_secs(60);
        let names = ["0".repeat(32), "1".repeat(32), "notes".to_owned()];
        for (name, is_old) in names.iter().zip([true, false, true]) {
            let file = File::create(path(dir.path(), name)).expect("a file");
            if is_old {
                file.set_modified(old).expect("its time");
            }
        }
        Conversation::begin(dir.path(), None).expect("a conversation");
        let there: Vec<bool> = names.iter().map(|name| path(dir.path(), name).exists()).collect();
        assert_eq!(there, [false, true, true]);
    }

    #[test]
    fn only_its_own_files_are_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("x.jsonl"), "").expect("written");
        for id in ["x", "../x", "", &"0".repeat(32), &"A".repeat(32)] {
            let error = Conversation::resume(dir.path(), id, None).expect_err("no conversation");
            assert!(matches!(error, TurnError::Gone(_)), "{id}: {error}");
            assert!(error.to_string().ends_with("is gone"));
        }
        std::fs::write(dir.path().join(format!("{}.jsonl", "0".repeat(32))), "no JSON\n").expect("written");
        let error = Conversation::resume(dir.path(), &"0".repeat(32), None).expect_err("it is damaged");
        assert!(matches!(error, TurnError::Conversation { .. }), "{error}");
    }
}
