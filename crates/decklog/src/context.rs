//! What a command runs in: environment, terminal, clock, configuration. Read once, here and nowhere else.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use decklog_journal::id::{Selector, SessionId};
use decklog_journal::redact::Redactor;
use decklog_journal::store::Listed;
use decklog_journal::time::Clock;
use decklog_journal::{Durability, SessionStore, SessionWriter, WriterOptions, files};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::{ColorChoice, Global};
use crate::config::{Config, Places};
use crate::error::{CliError, CliResult};
use crate::render::Paint;
use crate::render::patch::Ground;
use crate::terminal;

/// decklog's exit code for what failed.
const FAILED: i32 = 2;

/// How long a terminal is given to say what its background is.
const ANSWER: Duration = Duration::from_millis(250);

/// What a command runs in.
pub(crate) struct Context {
    pub(crate) cwd: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) zone: TimeZone,
    pub(crate) id_suffix: Option<u16>,
    pub(crate) out_is_terminal: bool,
    pub(crate) err_is_terminal: bool,
    pub(crate) in_is_terminal: bool,
    pub(crate) out_paint: Paint,
    pub(crate) err_paint: Paint,
    pub(crate) json: bool,
    session_root: Option<PathBuf>,
}

fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Colours for what goes to `stream`.
pub(crate) fn paint(choice: ColorChoice, stream: &impl IsTerminal) -> Paint {
    Paint(match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            stream.is_terminal() && var("NO_COLOR").is_none() && var("TERM").is_none_or(|term| term != "dumb")
        }
    })
}

impl Context {
    pub(crate) fn new(global: &Global, json: bool) -> Result<Self, CliError> {
        let cwd = std::env::current_dir()
            .map_err(|error| CliError::new(format!("the working directory is gone: {error}")))?;
        let (out_is_terminal, err_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        // For tests, as all of the DECKLOG_TEST_ variables: output that is the same each time.
        let clock = match var("DECKLOG_TEST_NOW") {
            Some(at) => Clock::fixed(at.to_string_lossy().parse::<Timestamp>()?),
            None => Clock::system(),
        };
        let zone = if clock.is_fixed() { TimeZone::UTC } else { TimeZone::system() };
        let id_suffix = var("DECKLOG_TEST_ID").and_then(|id| u16::from_str_radix(id.to_str()?, 16).ok());
        let session_root = global.session_root.as_ref().map(|root| cwd.join(root));
        Ok(Self {
            cwd,
            clock,
            zone,
            id_suffix,
            out_is_terminal,
            err_is_terminal,
            in_is_terminal: io::stdin().is_terminal(),
            out_paint: paint(global.color, &io::stdout()),
            err_paint: paint(global.color, &io::stderr()),
            json,
            session_root,
        })
    }

    fn home(&self) -> Option<PathBuf> {
        var("HOME").map(PathBuf::from)
    }

    fn base(&self, variable: &str, fallback: &str) -> Result<PathBuf, CliError> {
        var(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| self.home().map(|home| home.join(fallback)))
            .map(|base| base.join("decklog"))
            .ok_or_else(|| {
                CliError::new("HOME is not set").hint(format!("set HOME or {variable}, or give --session-root"))
            })
    }

    /// Where what can be made anew is kept. Without a home it is kept nowhere, which whoever uses it will say.
    pub(crate) fn cache(&self) -> PathBuf {
        self.base("XDG_CACHE_HOME", ".cache").unwrap_or_else(|_| PathBuf::from("/nonexistent"))
    }

    /// Where what is to be remembered is kept.
    pub(crate) fn state(&self) -> Result<PathBuf, CliError> {
        self.base("XDG_STATE_HOME", ".local/state")
    }

    /// What is known of agents' limits.
    pub(crate) fn ledger(&self) -> Result<crate::ledger::Ledger, CliError> {
        Ok(crate::ledger::Ledger::open(self.state()?))
    }

    /// Where configuration is looked for.
    pub(crate) fn places(&self) -> Result<Places, CliError> {
        // The top of the repository, by its `.git`: no git is run to read a configuration.
        let repository = self.cwd.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_owned);
        Ok(Places {
            global: self.base("XDG_CONFIG_HOME", ".config")?.join("config.toml"),
            repository,
            trusted: self.state()?.join("trusted"),
            conversations: self.state()?.join("builtin"),
            default_root: self.base("XDG_DATA_HOME", ".local/share")?.join("sessions"),
        })
    }

    /// Where agents and other tools keep their histories.
    pub(crate) fn homes(&self) -> Result<decklog_run::import::Homes, CliError> {
        let home = self.home().ok_or_else(|| CliError::new("HOME is not set").hint("set it, or name a path"))?;
        let absolute = |name: &str| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let repository = self.cwd.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(&self.cwd);
        Ok(decklog_run::import::Homes {
            data: absolute("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")),
            claude: absolute("CLAUDE_CONFIG_DIR"),
            codex: absolute("CODEX_HOME"),
            repository: repository.to_owned(),
            home,
        })
    }

    /// The configuration, after telling what of it was refused.
    pub(crate) fn config(&self) -> Result<Config, CliError> {
        let mut config = Config::load(&self.places()?)?;
        if let Some(root) = &self.session_root {
            config.session_root.value.clone_from(root);
            config.session_root.from = "--session-root".into();
        }
        for refused in &config.refused {
            self.warn(refused);
        }
        Ok(config)
    }

    /// The store.
    pub(crate) fn store(&self) -> Result<SessionStore, CliError> {
        // A root that was named needs no configuration.
        match &self.session_root {
            Some(root) => Ok(SessionStore::open(root)),
            None => Ok(SessionStore::open(self.config()?.session_root.value)),
        }
    }

    /// The session that `id` names; without one, that the user picks where there is somebody to ask.
    pub(crate) fn find(&self, store: &SessionStore, id: Option<&str>) -> Result<SessionId, CliError> {
        let Some(id) = id else {
            if self.in_is_terminal && self.err_is_terminal && var("TERM").is_some_and(|term| term != "dumb") {
                return crate::picker::pick(store, self);
            }
            return Err(CliError::new("no session is named")
                .hint("give an id, a unique part of one, or @ for the newest; `decklog ls` lists them"));
        };
        let selector: Selector = id
            .parse()
            .map_err(|error| CliError::new(error).hint("`decklog ls` lists the sessions there are; @ is the newest"))?;
        store.find(&selector).map_err(|error| {
            CliError::new(error)
                .hint(format!("looked under {}; `decklog ls` lists what is there", store.root().display()))
        })
    }

    /// A session directory: of the session that `id` names, or `dir` itself.
    pub(crate) fn session_dir(&self, id: Option<&str>, dir: Option<&Path>) -> Result<PathBuf, CliError> {
        match dir {
            Some(dir) => {
                let dir = self.cwd.join(dir);
                use decklog_journal::{head::HEAD_FILE, lock::LOCK_FILE, session::JOURNAL_FILE};
                let has = |name: &str| dir.join(name).symlink_metadata().is_ok();
                if ![JOURNAL_FILE, HEAD_FILE, LOCK_FILE].into_iter().any(has) {
                    return Err(CliError::new(format!("{} holds no session", dir.display())));
                }
                Ok(dir)
            }
            None => {
                let store = self.store()?;
                let id = self.find(&store, id)?;
                Ok(store.entry(&id))
            }
        }
    }

    /// Looks at one session by its directory.
    pub(crate) fn look(&self, dir: &Path) -> Result<Listed, CliError> {
        let head = decklog_journal::store::current_head(dir)
            .map_err(|error| CliError::new(format!("{}: {error}", dir.display())))?;
        Ok(decklog_journal::store::listed(head, dir.to_owned()))
    }

    /// Columns of characters that stdout has; `None` when it is no terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        if self.out_is_terminal { columns(io::stdout()) } else { None }
    }

    /// Columns of the terminal that stderr is, if it is one.
    pub(crate) fn err_width(&self) -> Option<usize> {
        if self.err_is_terminal { columns(io::stderr()) } else { None }
    }

    /// What colours stand on, for those that lean on it. The terminal is asked, and only where it can show them.
    pub(crate) fn ground(&self) -> Ground {
        use terminal_colorsaurus::{QueryOptions, ThemeMode, theme_mode};
        let many = var("COLORTERM").is_some_and(|colors| colors == "truecolor" || colors == "24bit");
        if !many || !self.out_paint.0 || !self.out_is_terminal || !self.in_is_terminal {
            return Ground::Unknown;
        }
        let mut options = QueryOptions::default();
        options.timeout = ANSWER;
        match theme_mode(options) {
            Ok(ThemeMode::Dark) => Ground::Dark,
            Ok(ThemeMode::Light) => Ground::Light,
            Err(_) => Ground::Unknown,
        }
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// Where the pipe is closed, one that is silent and leads to exit code 0: there is no reader any more.
    pub(crate) fn print(&self, data: impl AsRef<[u8]>) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match out.write_all(data.as_ref()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CliError::silent(0)),
            Err(_) if self.out_is_terminal && terminal::is_gone(io::stdout()) => Err(terminal::hangup()),
            Err(error) => Err(CliError::new(format!("stdout: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Prints the result of the session in `dir`, as JSON or as `text`, after its end is recorded; gives decklog's exit
    /// code, which is `exit_code` unless that fails. The record is then corrected. A closed pipe is no failure.
    pub(crate) fn print_result(
        &self,
        (dir, exit_code): (&Path, i32),
        result: &impl serde::Serialize,
        text: &str,
    ) -> CliResult {
        let mut bytes = text.as_bytes().to_vec();
        if self.json {
            bytes = serde_json::to_vec_pretty(result)?;
            bytes.push(b'\n');
        }
        let mut out = io::stdout().lock();
        let error = match out.write_all(&bytes).and_then(|()| out.flush()) {
            Ok(()) => return Ok(exit_code),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit_code),
            Err(_) if self.out_is_terminal && terminal::is_gone(io::stdout()) => return Ok(exit_code),
            Err(error) => error,
        };
        CliError::new(format!("the result could not be printed: stdout: {error}")).report(self.json, self.err_paint);
        if exit_code != 0 {
            return Ok(exit_code);
        }
        let (clock, durability) = (self.clock.clone(), Durability::Turn);
        let options = WriterOptions { clock, durability, redactor: Redactor::none() };
        if let Err(error) = SessionWriter::correct_end(dir, options, FAILED) {
            self.warn(&format!("the record says that this succeeded: {error}"));
        }
        Ok(FAILED)
    }

    /// Waits for `duration` between two outputs.
    ///
    /// # Errors
    /// When nothing can be shown any more: silently, with exit code 129 where stdout is a terminal and 0 where it is a pipe.
    pub(crate) fn wait(&self, duration: Duration) -> Result<(), CliError> {
        match terminal::wait_until_gone(io::stdout(), duration) {
            false => Ok(()),
            true if self.out_is_terminal => Err(terminal::hangup()),
            true => Err(CliError::silent(0)),
        }
    }

    /// Writes JSON to stdout.
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        self.print(text)
    }

    /// Begins a JSON array on stdout whose elements need not be in memory at once.
    pub(crate) fn json_list(&self) -> JsonList<'_> {
        JsonList { context: self, pending: b"[".to_vec(), empty: true }
    }

    /// Shows a text: through a pager when it goes to a terminal and does not fit.
    pub(crate) fn page(&self, text: &str) -> Result<(), CliError> {
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        let pager = var("DECKLOG_PAGER").or_else(|| var("PAGER")).unwrap_or_else(|| "less".into());
        if !self.out_is_terminal || text.lines().count() < rows || pager == "cat" {
            return self.print(text);
        }
        let spawned = Command::new("sh")
            .arg("-c")
            .arg(OsStr::from_bytes(pager.as_bytes()))
            .env("LESS", less_options(var("LESS")))
            .stdin(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return self.print(text) };
        // A pager may neither read on nor end when its terminal goes away.
        terminal::end_with_terminal(&child, io::stdout());
        if let Some(mut stdin) = child.stdin.take() {
            // The reader may quit before the end.
            let _ = stdin.write_all(text.as_bytes());
        }
        match child.wait() {
            _ if terminal::is_gone(io::stdout()) => Err(terminal::hangup()),
            Ok(status) if status.code() == Some(127) => self.print(text),
            _ => Ok(()),
        }
    }

    /// Says something on stderr.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
    }

    /// Warns on stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.say(format!("{} {}", self.err_paint.warn("warning:"), decklog_text::visible(text)));
    }

    /// Asks for a yes on the terminal.
    pub(crate) fn confirm(&self, question: &str, yes: bool) -> Result<bool, CliError> {
        if yes {
            return Ok(true);
        }
        if !self.in_is_terminal || !self.err_is_terminal {
            return Err(CliError::new("nobody is there to confirm it: nothing was changed")
                .hint("give -y to go ahead without asking"));
        }
        self.ask(question);
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        if !matches!(read, Ok(1..)) && terminal::is_gone(io::stdin()) {
            return Err(terminal::hangup());
        }
        read?;
        Ok(is_yes(&answer))
    }

    /// Puts a question to be answered by yes or no.
    pub(crate) fn ask(&self, question: &str) {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{question} [y/N] ");
        let _ = err.flush();
    }

    /// The environment agents get.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().filter(|(name, _)| !name.as_bytes().starts_with(b"DECKLOG_TEST_")).collect()
    }

    /// The name of this machine.
    pub(crate) fn host(&self) -> Option<String> {
        if self.clock.is_fixed() {
            return Some("host".into());
        }
        let name = files::read_limited(Path::new("/proc/sys/kernel/hostname"), 256).ok()?;
        Some(String::from_utf8_lossy(&name).trim().to_owned()).filter(|name| !name.is_empty())
    }
}

/// Whether an answer means yes.
pub(crate) fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes")
}

fn columns(terminal: impl std::os::fd::AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A JSON array on its way to stdout.
pub(crate) struct JsonList<'a> {
    context: &'a Context,
    pending: Vec<u8>,
    empty: bool,
}

impl JsonList<'_> {
    /// Adds an element.
    pub(crate) fn push(&mut self, element: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(element)?.replace('\n', "\n  ");
        let comma = if std::mem::take(&mut self.empty) { "" } else { "," };
        self.pending.extend_from_slice(format!("{comma}\n  {text}").as_bytes());
        if self.pending.len() > 64 * 1024 {
            self.context.print(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Ends the array.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.pending.extend_from_slice(if self.empty { b"]\n" } else { b"\n]\n" });
        self.context.print(&self.pending)
    }
}

/// Options for `less`: the user's own, and colours let through as what they are.
fn less_options(own: Option<OsString>) -> OsString {
    match own {
        Some(mut options) => {
            options.push(" -R");
            options
        }
        None => "FRX".into(),
    }
}

/// Finds `program` as a shell would.
pub(crate) fn find_program(program: &OsStr, env: &[(OsString, OsString)]) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone())?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| runs(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_lets_colours_through_whatever_it_is_told() {
        for (own, options) in [(None, "FRX"), (Some("FX"), "FX -R"), (Some("-i -M"), "-i -M -R")] {
            assert_eq!(less_options(own.map(OsString::from)), options);
        }
    }
}
