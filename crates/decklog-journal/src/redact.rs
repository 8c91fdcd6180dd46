//! Keeps secrets off the disk: exact values and well-known token shapes become `[redacted:NAME]`.
//!
//! What it must not know: the environment (it is handed names and values), files and the terminal.
//! The one thing it reads from is a [`Read`] that a caller hands to [`Redactor::find_in`].
//!
//! Three laws, each held by a property test:
//!
//! - *Splitting changes nothing.* However the input is cut into chunks, a [`RedactStream`] gives the
//!   bytes that [`Redactor::redact`] gives for the whole.
//! - *Once is enough.* Redacting what was redacted changes nothing.
//! - *JSON stays JSON.* A marker is safe inside a JSON string, and no replacement begins or ends
//!   inside an escape. (A secret that itself holds a double quote is the exception: where it stands
//!   raw, it is replaced whole.)
//!
//! # What is replaced
//!
//! Every place where an *anchor* (the keyword of a rule, the beginning of a value) stands is looked
//! at on its own, in a window whose end depends on the bytes alone: the first byte outside the
//! rule's charset, the first with which the rule's regex can find no more, or the rule's greatest length. The result is the union of what was found; pieces
//! that overlap share one marker, named after the leftmost (an exact value before a rule). What a
//! match has to its left is judged as it will stand in the output, so that a second pass sees the
//! same. A stream holds back from the first anchor whose window is still open, never more than
//! [`MAX_HELD`] bytes; without an anchor only a tail that could become one, a few bytes.
//!
//! Most rules are *dense*: their anchors count only where a long run of token characters follows, which is
//! how hundreds of them cost no more than a search for runs. Tokens in base64 are found the same way.
//!
//! A match longer than its rule's bound is replaced up to the bound.

mod anchors;
mod coded;
mod credentials;
mod dense;
mod edges;
mod encodings;
mod engine;
mod markers;
mod ranges;
mod rules;
mod state;
mod stream;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

pub use credentials::{credential_values, looks_like_credential};
pub use rules::{Rules, RulesError};
pub use stream::RedactStream;

use engine::{Engine, Piece};

/// The most bytes a [`RedactStream`] holds back between two pushes.
pub const MAX_HELD: usize = 64 * 1024;

/// Values shorter than this are not searched for: they would blot out ordinary text.
pub const MIN_VALUE: usize = 6;

/// A compiled set of secrets to look for. Cloning it is cheap.
#[derive(Clone)]
pub struct Redactor {
    /// `None` passes everything.
    engine: Option<Arc<Engine>>,
}

/// What [`Redactor::find`] came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the value, or the id of the rule.
    pub name: String,
    /// Where the secret stands.
    pub range: Range<usize>,
}

/// Collects what a [`Redactor`] is to look for.
#[derive(Clone)]
pub struct RedactorBuilder {
    values: Vec<(String, Vec<u8>)>,
    rules: Rules,
}

impl Redactor {
    /// A builder that has the built-in rules already.
    pub fn builder() -> RedactorBuilder {
        RedactorBuilder { values: Vec::new(), rules: Rules::built_in() }
    }

    /// A redactor that passes everything through.
    pub fn none() -> Redactor {
        Redactor { engine: None }
    }

    /// Whether this redactor looks for anything at all.
    pub fn is_none(&self) -> bool {
        self.engine.is_none()
    }

    /// Replaces every secret. Borrows when there is none.
    pub fn redact<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(engine) = self.engine.as_deref() else {
            return Cow::Borrowed(bytes);
        };
        if !engine.has_anchor(bytes) {
            return Cow::Borrowed(bytes);
        }
        let (mut out, mut clean) = (Vec::new(), 0);
        let mut changed = false;
        engine.run(&mut engine.state(false), bytes, true, &mut |piece| match piece {
            Piece::Text(text) if changed => out.extend_from_slice(text),
            Piece::Text(text) => clean += text.len(),
            Piece::Marker(marker) => {
                if !changed {
                    changed = true;
                    out.reserve(bytes.len());
                    out.extend_from_slice(&bytes[..clean]);
                }
                out.extend_from_slice(marker);
            }
        });
        if changed { Cow::Owned(out) } else { Cow::Borrowed(bytes) }
    }

    /// [`Redactor::redact`] for text. The text may be a JSON document, or a line of one.
    pub fn redact_str<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Only a value that is not UTF-8 itself can leave half a character behind.
            Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }

    /// The first secret in a file's content, if any.
    ///
    /// Rules marked `weak` (a URL's password, a JWT, an authorization header) are left aside here:
    /// they are worth a mask in a transcript, but examples of them stand in too many honest files.
    pub fn find(&self, bytes: &[u8]) -> Option<Finding> {
        let engine = self.engine.as_deref()?;
        let (name, range) = engine.find(bytes)?;
        Some(Finding { name: name.to_owned(), range })
    }

    /// [`Redactor::find`] over a reader, in bounded memory: the name of the first secret.
    pub fn find_in(&self, reader: &mut dyn Read) -> io::Result<Option<String>> {
        self.search(reader, true)
    }

    /// [`Redactor::find_in`] with the weak rules too: whether [`Redactor::redact`] would change anything.
    pub fn find_weak_in(&self, reader: &mut dyn Read) -> io::Result<Option<String>> {
        self.search(reader, false)
    }

    fn search(&self, reader: &mut dyn Read, strong_only: bool) -> io::Result<Option<String>> {
        if self.engine.is_none() {
            return Ok(None);
        }
        let mut stream = RedactStream::new(self, strong_only);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            stream.push_with(&buffer[..n], |_| {});
            if let Some(name) = stream.first_found() {
                return Ok(Some(name.to_owned()));
            }
        }
        stream.finish(&mut Vec::new());
        Ok(stream.first_found().map(str::to_owned))
    }

    /// Starts the redaction of a stream.
    pub fn stream(&self) -> RedactStream {
        RedactStream::new(self, false)
    }
}

impl RedactorBuilder {
    /// Adds an exact value to look for, as it is and as JSON, URLs and base64 would carry it.
    ///
    /// White space around it is not part of it. A value shorter than [`MIN_VALUE`] is passed over.
    /// In the name, what is not a letter, a digit, `_`, `.` or `-` becomes `_`.
    #[must_use]
    pub fn value(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.values.push((name.as_ref().to_owned(), value.as_ref().to_vec()));
        self
    }

    /// [`RedactorBuilder::value`] for each, as [`credential_values`] gives them.
    #[must_use]
    pub fn values<N: AsRef<str>, V: AsRef<[u8]>>(mut self, values: impl IntoIterator<Item = (N, V)>) -> Self {
        for (name, value) in values {
            self = self.value(name, value);
        }
        self
    }

    /// Adds rules; one with the id of an earlier rule takes its place.
    #[must_use]
    pub fn rules(mut self, rules: &Rules) -> Self {
        self.rules.merge(rules);
        self
    }

    /// Compiles the redactor.
    pub fn build(self) -> Redactor {
        Redactor { engine: Some(Arc::new(Engine::new(&self.values, &self.rules))) }
    }
}

impl fmt::Debug for RedactorBuilder {
    /// Says how much is looked for, never what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactorBuilder").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Redactor {
    /// Says how much is looked for, never what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (values, rules) = self.engine.as_deref().map_or((0, 0), Engine::counts);
        f.debug_struct("Redactor").field("values", &values).field("rules", &rules).finish()
    }
}
