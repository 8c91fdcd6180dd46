//! Reads rule files: gitleaks' layout, with bounds. `rules.toml` and `gitleaks.toml` beside this file are built in.
//!
//! What it must not know: streams, and exact values.
//!
//! Where this reading is narrower than gitleaks', it is so that a verdict depends on a bounded piece of
//! the stream: a match begins with a keyword, every rule has a greatest length and a charset, and a regex
//! sees no further than those. What makes a second redaction find nothing: a regex that matches a piece also
//! matches whatever longer piece begins with it, or the rule is `whole`, which never matches before a marker.

use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input, util::syntax};
use serde::Deserialize;

use super::anchors::MIN_ANCHOR;
use super::dense::MIN_DENSE_ANCHOR;
use super::ranges::Rank;
use super::{MAX_HELD, credentials};

const DEFAULT_CHARSET: &str = "A-Za-z0-9_-";
const DEFAULT_MAX_LENGTH: usize = 512;
/// Longer windows of a rule must not overlap: a regex would run over the same bytes again and again.
const MAX_OVERLAPPING: usize = 512;
/// Entropy is measured over this many bytes: a longer or shorter secret must not change the verdict.
const ENTROPY_BYTES: usize = 20;

/// A set of rules.
#[derive(Clone, Debug)]
pub struct Rules(Vec<Arc<Rule>>);

/// Why a rule file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// It is not TOML, or not a rule file.
    #[error("not a rule file: {0}")]
    Syntax(#[from] toml::de::Error),
    /// One of its rules cannot be used.
    #[error("rule {id}: {problem}")]
    Rule {
        /// The rule's id.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    /// With one of them a match begins; of none, it begins where a long run of token characters does.
    pub(super) keywords: Vec<Vec<u8>>,
    pub(super) charset: Box<[bool; 256]>,
    pub(super) max_length: usize,
    pub(super) boundary: bool,
    pub(super) weak: bool,
    pub(super) dense: bool,
    whole: bool,
    check: Option<Check>,
    regex: Lazy,
    progress: OnceLock<Option<Progress>>,
    before: Option<Lazy>,
    group: usize,
    entropy: Option<f64>,
    allow: Vec<String>,
    needs: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    rules: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    regex: Option<String>,
    #[serde(default)]
    keywords: Vec<String>,
    secret_group: Option<usize>,
    entropy: Option<f64>,
    charset: Option<String>,
    max_length: Option<usize>,
    before: Option<String>,
    #[serde(default)]
    weak: bool,
    #[serde(default)]
    dense: bool,
    /// A match begins where a run of 84 or more token characters does, and with no keyword.
    #[serde(default)]
    run: bool,
    #[serde(default)]
    whole: bool,
    check: Option<Check>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    needs: String,
}

/// What a regex cannot say of a secret.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Check {
    /// It has a letter and a digit, and is no path.
    Mixed,
    /// It could be a password, and is no word or reference to a variable.
    Password,
    /// It is base64 of a user name, a colon and a password.
    UserPassword,
}

/// Says whether a longer window could change what a rule finds.
#[derive(Debug)]
struct Progress {
    dfa: DFA,
    cache: Mutex<Cache>,
}

/// Compiled at the first hit: most runs need none of the regexes.
#[derive(Debug)]
struct Lazy {
    source: String,
    regex: OnceLock<Result<Regex, regex::Error>>,
}

impl Rules {
    /// The rules decklog ships.
    pub fn built_in() -> Rules {
        static BUILT_IN: LazyLock<Rules> = LazyLock::new(|| {
            let mut all = Rules(Vec::new());
            for text in [include_str!("rules.toml"), include_str!("gitleaks.toml")] {
                match read(text) {
                    Ok(rules) => all.0.extend(rules),
                    Err(error) => unreachable!("the built-in rules are tested: {error}"),
                }
            }
            all
        });
        BUILT_IN.clone()
    }

    /// Reads a rule file.
    ///
    /// # Errors
    ///
    /// If it is not one, or a rule in it lacks what a bounded search needs.
    pub fn parse(text: &str) -> Result<Rules, RulesError> {
        let rules = read(text)?;
        for rule in &rules {
            for lazy in [Some(&rule.regex), rule.before.as_ref()].into_iter().flatten() {
                lazy.get().map_err(|error| problem(&rule.id, error.to_string()))?;
            }
        }
        Ok(Rules(rules))
    }

    /// The ids, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|rule| rule.id.as_str())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.0.iter()
    }

    pub(super) fn merge(&mut self, other: &Rules) {
        for new in &other.0 {
            match self.0.iter_mut().find(|old| old.id == new.id) {
                Some(old) => *old = Arc::clone(new),
                None => self.0.push(Arc::clone(new)),
            }
        }
    }
}

impl Rule {
    /// Whether what stands before the keyword allows a match.
    pub(super) fn allows_before(&self, left: &[u8]) -> bool {
        // A regex that does not compile, which the tests rule out, hides nothing.
        self.before.as_ref().is_none_or(|b| b.get().map_or(true, |regex| regex.is_match(left)))
    }

    /// The secret in a window, which begins with the keyword; `next` is the byte behind the window.
    pub(super) fn secret(&self, window: &[u8], next: Option<u8>) -> Option<std::ops::Range<usize>> {
        if !self.needs.is_empty() && memchr::memmem::find(window, self.needs.as_bytes()).is_none() {
            return None;
        }
        let Ok(regex) = self.regex.get() else {
            return Some(0..window.len());
        };
        let range = if self.group == 0 {
            regex.find(window)?.range()
        } else {
            regex.captures(window)?.get(self.group)?.range()
        };
        let secret = &window[range.clone()];
        let allowed = self.allow.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(secret));
        let random =
            self.entropy.is_none_or(|least| secret.get(..ENTROPY_BYTES).is_some_and(|head| entropy(head) >= least));
        let ends = !self.whole || window.get(range.end).copied().or(next).is_none_or(ends_secret);
        let checked = match self.check {
            None => true,
            Some(Check::Mixed) => credentials::is_mixed(secret),
            Some(Check::Password) => credentials::could_be_password(secret),
            Some(Check::UserPassword) => super::encodings::is_user_and_password(secret),
        };
        (!range.is_empty() && !allowed && random && ends && checked).then_some(range)
    }

    /// Whether more bytes behind a window, which begins with the keyword, could change what is found in it.
    pub(super) fn is_open(&self, window: &[u8]) -> bool {
        self.progress.get_or_init(|| Progress::new(&self.regex.source)).as_ref().is_none_or(|p| p.is_open(window))
    }

    pub(super) fn rank(&self) -> Rank {
        if self.whole { Rank::Name } else { Rank::Shape }
    }

    /// Whether the rule's tokens are looked for in base64 too: those that are secret as a whole.
    pub(super) fn has_coded_form(&self) -> bool {
        let own = self.group == 0 && self.before.is_none() && !matches!(self.check, Some(Check::Password));
        own && !self.weak && !self.whole
    }
}

/// Whether a byte may stand behind the secret of a rule that is `whole`. A bracket may not: markers begin with it.
fn ends_secret(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'`;\\<&,)}|]>#".contains(&byte) || !byte.is_ascii()
}

impl Progress {
    fn new(source: &str) -> Option<Progress> {
        let dfa = DFA::builder().syntax(syntax::Config::new().unicode(false).utf8(false)).build(source).ok()?;
        let cache = Mutex::new(dfa.create_cache());
        Some(Progress { dfa, cache })
    }

    /// Whatever it cannot tell is open.
    fn is_open(&self, window: &[u8]) -> bool {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let input = Input::new(window).anchored(Anchored::Yes);
        let Ok(mut state) = self.dfa.start_state_forward(&mut cache, &input) else { return true };
        for byte in window {
            let Ok(next) = self.dfa.next_state(&mut cache, state, *byte) else { return true };
            if next.is_dead() {
                return false;
            }
            state = next;
        }
        true
    }
}

impl Lazy {
    fn new(source: String) -> Lazy {
        Lazy { source, regex: OnceLock::new() }
    }

    fn get(&self) -> Result<&Regex, &regex::Error> {
        self.regex.get_or_init(|| RegexBuilder::new(&self.source).unicode(false).build()).as_ref()
    }
}

fn read(text: &str) -> Result<Vec<Arc<Rule>>, RulesError> {
    let file: File = toml::from_str(text)?;
    file.rules.into_iter().map(|entry| rule(entry).map(Arc::new)).collect()
}

fn rule(mut entry: Entry) -> Result<Rule, RulesError> {
    let characters = || ('a'..='z').chain('A'..='Z').chain('0'..='9');
    entry.keywords = (entry.keywords.into_iter())
        .flat_map(|keyword| match keyword.strip_suffix('*') {
            Some(head) => characters().map(|c| format!("{head}{c}")).collect(),
            None => vec![keyword],
        })
        .collect();
    let Entry { id, .. } = &entry;
    let named = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if id.is_empty() || id.len() > super::markers::MAX_NAME || !id.chars().all(named) {
        return Err(problem(id, "an id is up to 64 letters, digits, `_`, `.` and `-`"));
    }
    let Some(source) = &entry.regex else {
        return Err(problem(id, "it has no regex"));
    };
    let (boundary, body) = match source.strip_prefix(r"\b") {
        Some(body) => (true, body),
        None => (false, source.as_str()),
    };
    if entry.keywords.is_empty() != entry.run || entry.keywords.iter().any(|k| k.len() < MIN_ANCHOR) {
        return Err(problem(id, "it needs keywords of three bytes or more, with which a match begins, or `run`"));
    }
    if entry.dense && entry.keywords.iter().any(|k| k.len() < MIN_DENSE_ANCHOR) {
        return Err(problem(id, "where it is dense, it needs keywords of four bytes or more"));
    }
    if entry.keywords.iter().any(|k| k.contains(['[', ']'])) {
        return Err(problem(id, "a keyword must not hold brackets"));
    }
    if entry.secret_group.is_none_or(|group| group == 0) && entry.keywords.iter().any(|k| k.contains(['\\', '"'])) {
        return Err(problem(id, "a keyword that is replaced must not hold quotes or backslashes"));
    }
    let charset = charset(entry.charset.as_deref().unwrap_or(DEFAULT_CHARSET)).map_err(|text| problem(id, text))?;
    let max_length = entry.max_length.unwrap_or(DEFAULT_MAX_LENGTH);
    if max_length > MAX_HELD {
        return Err(problem(id, format!("maxLength is at most {MAX_HELD}")));
    }
    let apart = entry.keywords.iter().all(|k| k.bytes().any(|b| !charset[usize::from(b)]));
    if max_length > MAX_OVERLAPPING && !boundary && !apart && entry.before.is_none() {
        return Err(problem(id, r"a maxLength above 512 needs a leading \b or `before`"));
    }
    Ok(Rule {
        id: entry.id,
        keywords: entry.keywords.into_iter().map(String::into_bytes).collect(),
        charset,
        max_length,
        boundary,
        weak: entry.weak,
        dense: entry.dense,
        whole: entry.whole,
        check: entry.check,
        regex: Lazy::new(format!(r"\A(?:{body})")),
        progress: OnceLock::new(),
        before: entry.before.map(|b| Lazy::new(format!(r"(?:{b})\z"))),
        group: entry.secret_group.unwrap_or(0),
        entropy: entry.entropy,
        allow: entry.allow,
        needs: entry.needs,
    })
}

/// Reads `A-Za-z0-9_\t`: ranges, and `\t \n \r \\` as usual. A hyphen at the end is itself.
fn charset(text: &str) -> Result<Box<[bool; 256]>, String> {
    let mut bytes = Vec::new(); // (byte, is an unescaped hyphen)
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b't') => (b'\t', false),
                Some(b'n') => (b'\n', false),
                Some(b'r') => (b'\r', false),
                Some(b'\\') => (b'\\', false),
                _ => return Err(format!("charset {text:?}: unknown escape")),
            },
            byte => (byte, byte == b'-'),
        });
    }
    let mut set = Box::new([false; 256]);
    let mut i = 0;
    while let Some(&(low, _)) = bytes.get(i) {
        let high = match (bytes.get(i + 1), bytes.get(i + 2)) {
            (Some((_, true)), Some(&(high, _))) => {
                i += 2;
                high
            }
            _ => low,
        };
        if high < low {
            return Err(format!("charset {text:?}: a range goes backwards"));
        }
        set[usize::from(low)..=usize::from(high)].fill(true);
        i += 1;
    }
    if set[usize::from(b'[')] || set[usize::from(b']')] {
        return Err(format!("charset {text:?} must not hold brackets: they enclose the markers"));
    }
    Ok(set)
}

fn problem(id: &str, problem: impl Into<String>) -> RulesError {
    RulesError::Rule { id: id.to_owned(), problem: problem.into() }
}

/// Shannon entropy, in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let total = bytes.len() as f64;
    let share = |n: u32| f64::from(n) / total;
    -counts.iter().filter(|n| **n > 0).map(|n| share(*n) * share(*n).log2()).sum::<f64>()
}
