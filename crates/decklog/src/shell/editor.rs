//! Where lines come from: an editor on the terminal, or stdin cut into prompts.
//!
//! Either waits on a thread of its own, so that a signal is heard while nobody types.

use std::cell::Cell;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use decklog_journal::redact::Redactor;
use decklog_run::supervise::{Received, Signals};
use rustyline::completion::{Completer, Pair};
use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler, Helper,
    Hinter, KeyEvent, Modifiers, RepeatCount, Validator,
};

use super::line::COMMANDS;
use crate::render::Paint;

/// What came.
#[derive(Debug)]
pub(crate) enum Read {
    Line(String),
    /// Ctrl-C; whether something had been typed, which is now gone.
    Interrupt {
        typed: bool,
    },
    /// There is no more.
    End,
    /// It cannot be read.
    Failed(String),
    /// A signal that asks to leave came first.
    Signal(Received),
}

/// A source of lines on a thread of its own.
pub(crate) struct Lines {
    ask: Sender<String>,
    answers: Receiver<Read>,
    /// Whether a line is being waited for.
    waits: Cell<bool>,
}

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(100);

impl Lines {
    fn new(mut read: impl FnMut(&str) -> Read + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = channel::<String>();
        let (answer, answers) = channel();
        std::thread::Builder::new().spawn(move || {
            while let Ok(prompt) = asked.recv() {
                if answer.send(read(&prompt)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { ask, answers, waits: Cell::new(false) })
    }

    /// The next line.
    pub(crate) fn next(&self, prompt: &str, signals: &Signals) -> Read {
        // A signal may have come while somebody types: that line is still to come.
        if !self.waits.replace(true) && self.ask.send(prompt.to_owned()).is_err() {
            return Read::End;
        }
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(read) => {
                    self.waits.set(false);
                    return read;
                }
                Err(RecvTimeoutError::Disconnected) => return Read::End,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(signal) = signals.received() {
                        return Read::Signal(signal);
                    }
                }
            }
        }
    }

    /// Prompts on stdin, each ended by `delimiter`.
    pub(crate) fn piped(delimiter: Vec<u8>) -> io::Result<Self> {
        Self::new(move |_| match prompt_from(&mut io::stdin().lock(), &delimiter) {
            Ok(Some(prompt)) => match String::from_utf8(prompt) {
                Ok(prompt) => Read::Line(prompt),
                Err(_) => Read::Failed("a prompt on stdin is not UTF-8".into()),
            },
            Ok(None) => Read::End,
            Err(error) => Read::Failed(format!("stdin: {error}")),
        })
    }

    /// Lines typed at the terminal, with what was typed before kept in `history`, but for lines with a secret.
    pub(crate) fn typed(
        history: PathBuf,
        secrets: Redactor,
        agents: Vec<String>,
        cwd: PathBuf,
        paint: Paint,
    ) -> rustyline::Result<Self> {
        let config = Config::builder()
            .behavior(Behavior::PreferTerm)
            .completion_type(CompletionType::List)
            .auto_add_history(false)
            .history_ignore_space(false)
            .build();
        let mut editor: Editor<Help, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Help { agents, cwd, paint }));
        let typed = Arc::new(AtomicBool::new(false));
        let noting = EventHandler::Conditional(Box::new(Noting(typed.clone())));
        editor.bind_sequence(KeyEvent::ctrl('C'), noting);
        editor.bind_sequence(KeyEvent(rustyline::KeyCode::Enter, Modifiers::ALT), EventHandler::Simple(Cmd::Newline));
        // Stopped on this thread, the editor would come back to a terminal that is not its own.
        editor.bind_sequence(KeyEvent::ctrl('Z'), EventHandler::Simple(Cmd::Noop));
        // There is none before the first line.
        let _ = editor.load_history(&history);
        Self::new(move |prompt| match editor.readline(prompt) {
            Ok(line) => {
                // What holds a secret is not kept.
                let is_safe = secrets.redact_str(&line) == line;
                if is_safe && !line.trim().is_empty() && editor.add_history_entry(&line).unwrap_or(false) {
                    let _ = history.parent().map(std::fs::create_dir_all);
                    let _ = editor.append_history(&history);
                }
                Read::Line(line)
            }
            Err(ReadlineError::Interrupted) => Read::Interrupt { typed: typed.swap(false, Ordering::Relaxed) },
            Err(ReadlineError::Eof) => Read::End,
            Err(error) => Read::Failed(error.to_string()),
        })
        .map_err(Into::into)
    }
}

/// The next prompt, without its delimiter; the last one may lack it.
fn prompt_from(input: &mut impl BufRead, delimiter: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let Some(last) = delimiter.last() else { return Ok(None) };
    let mut prompt = Vec::new();
    loop {
        if input.read_until(*last, &mut prompt)? == 0 {
            return Ok((!prompt.is_empty()).then_some(prompt));
        }
        if prompt.ends_with(delimiter) {
            prompt.truncate(prompt.len() - delimiter.len());
            return Ok(Some(prompt));
        }
    }
}

/// A delimiter as written: `\n`, `\0`, `\t` and `\\` are what they are elsewhere.
pub(crate) fn parse_delimiter(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some('\\') => '\\',
                _ => return Err("after a backslash comes n, t, 0 or another backslash".into()),
            },
            c => c,
        };
        bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    if bytes.is_empty() { Err("it is empty: write a text, such as \\0 or ---\\n".into()) } else { Ok(bytes) }
}

/// Notes, at Ctrl-C, whether something had been typed.
struct Noting(Arc<AtomicBool>);

impl ConditionalEventHandler for Noting {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        self.0.store(!context.line().is_empty(), Ordering::Relaxed);
        Some(Cmd::Interrupt)
    }
}

/// What the editor offers.
#[derive(Helper, Hinter, Validator)]
struct Help {
    agents: Vec<String>,
    cwd: PathBuf,
    paint: Paint,
}

impl Highlighter for Help {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> std::borrow::Cow<'b, str> {
        self.paint.bold(prompt).into()
    }
}

impl Completer for Help {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (from, all) = completions(&line[..at], &self.agents, &self.cwd);
        Ok((from, all.into_iter().map(|(display, replacement)| Pair { display, replacement }).collect()))
    }
}

/// What can stand for the end of `line`: from where, and each as it is shown and as it is typed.
fn completions(line: &str, agents: &[String], cwd: &Path) -> (usize, Vec<(String, String)>) {
    let word_at = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &line[word_at..];
    let begins = |all: &[&str], from: &str, end: &str| -> Vec<(String, String)> {
        let fits = all.iter().filter(|one| one.starts_with(from));
        fits.map(|one| ((*one).to_owned(), format!("{one}{end}"))).collect()
    };
    if word_at == 0 && word.starts_with('/') {
        let names: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
        return (0, begins(&names, word, " "));
    }
    if let Some(path) = word.strip_prefix('@') {
        return (word_at + 1, paths(path, cwd));
    }
    let agents: Vec<&str> = agents.iter().map(String::as_str).collect();
    match line.split_whitespace().next() {
        Some("/use" | "/handoff") => (word_at, begins(&agents, word, " ")),
        Some("/order") => {
            let from = line.rfind([',', ' ']).map_or(word_at, |at| at + 1);
            (from, begins(&agents, &line[from..], ""))
        }
        Some("/permissions") => (word_at, begins(&["read-only", "edit", "full"], word, "")),
        _ => (line.len(), Vec::new()),
    }
}

/// Files and directories below `cwd` that `path` may become; hidden ones only when it says so.
fn paths(path: &str, cwd: &Path) -> Vec<(String, String)> {
    let (dir, begin) = path.rsplit_once('/').map_or(("", path), |(dir, begin)| (&path[..=dir.len()], begin));
    let Ok(entries) = std::fs::read_dir(cwd.join(dir)) else { return Vec::new() };
    let mut all: Vec<(String, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let is_wanted = name.starts_with(begin) && (begin.starts_with('.') || !name.starts_with('.'));
            // Nothing that would act on the terminal or end the word.
            let is_plain = !name.chars().any(|c| c.is_control() || c.is_whitespace());
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (is_wanted && is_plain).then(|| (format!("{name}{slash}"), format!("{dir}{name}{slash}")))
        })
        .collect();
    all.sort();
    all.truncate(200);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_offered() {
        let dir = tempfile::tempdir().expect("a directory");
        for file in ["notes.md", "nothing.rs", ".hidden", "odd name"] {
            std::fs::write(dir.path().join(file), "").expect("a file");
        }
        std::fs::create_dir_all(dir.path().join("src/deep")).expect("a directory");
        let agents = ["claude".to_owned(), "codex".to_owned()];
        for (line, from, all) in [
            ("/he", 0, &["/help "][..]),
            ("/h", 0, &["/handoff ", "/help "]),
            ("/use c", 5, &["claude ", "codex "]),
            ("/use ", 5, &["claude ", "codex "]),
            ("/order claude,co", 14, &["codex"]),
            ("/permissions r", 13, &["read-only"]),
            ("see @no", 5, &["notes.md", "nothing.rs"]),
            ("see @", 5, &["notes.md", "nothing.rs", "src/"]),
            ("see @.h", 5, &[".hidden"]),
            ("see @src/", 5, &["src/deep/"]),
            ("see @gone/", 5, &[]),
            ("say /he", 7, &[]),
            ("", 0, &[]),
        ] {
            let (at, offered) = completions(line, &agents, dir.path());
            let offered: Vec<String> = offered.into_iter().map(|(_, typed)| typed).collect();
            assert_eq!(offered, all, "{line:?}");
            assert!(offered.is_empty() || at == from, "{line:?}: {at}");
        }
    }

    #[test]
    fn stdin_is_cut_at_delimiters() {
        for (input, delimiter, prompts) in [
            ("one\ntwo\n", "\\n", &["one", "two"][..]),
            ("one\n\ntwo", "\\n", &["one", "", "two"]),
            ("one\nmore---\ntwo---\n", "---\\n", &["one\nmore", "two"]),
            ("one\0two", "\\0", &["one", "two"]),
            ("a-b--c", "--", &["a-b", "c"]),
            ("", "\\n", &[]),
        ] {
            let delimiter = parse_delimiter(delimiter).expect("a delimiter");
            let mut input = input.as_bytes();
            let mut all = Vec::new();
            while let Some(prompt) = prompt_from(&mut input, &delimiter).expect("bytes") {
                all.push(String::from_utf8(prompt).expect("text"));
            }
            assert_eq!(all, prompts);
        }
        assert!(parse_delimiter("").is_err() && parse_delimiter("\\x").is_err());
    }
}
