//! Which sessions: one set of criteria for listings, statistics, searches, exports and removals.
//!
//! Most criteria are decided by a head. Two need the journal: the full prompt and the files touched. An index may
//! decide any of them faster, and must decide them alike.
//!
//! Must not know: the present time, the user's time zone, where paths are relative to.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::event::EventBody;
use crate::head::PREVIEW;
use crate::read::{Item, JournalReader};
use crate::row::Row;
use crate::session::JOURNAL_FILE;
use crate::store::Listed;
use crate::words::{SessionKind, ShownOutcome, ShownStatus};

/// Bytes of a prompt's artifact that are looked through.
const MAX_PROMPT: u64 = 64 << 20;

/// Which sessions to take: those that meet every criterion. An empty list, and `None`, ask for nothing.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Only the newest so many of those that meet the rest.
    pub limit: Option<usize>,
    /// Shown with one of these.
    pub statuses: Vec<ShownStatus>,
    /// Came out in one of these ways.
    pub outcomes: Vec<ShownOutcome>,
    /// Of one of these kinds.
    pub kinds: Vec<SessionKind>,
    /// With one of these agents, letter case aside.
    pub agents: Vec<String>,
    /// With a model that one of these means; see [`is_model`].
    pub models: Vec<String>,
    /// In one of these projects: the name of the working directory, or, with a `/`, the path of a directory that it
    /// is or lies in.
    pub projects: Vec<String>,
    /// Begun at this time or later.
    pub after: Option<Timestamp>,
    /// Begun earlier.
    pub before: Option<Timestamp>,
    /// The full prompt contains this text, letter case aside.
    pub prompt: Option<String>,
    /// A turn changed a file that one of these names.
    pub touched: Vec<Touched>,
    /// The prompt has this hash; see [`crate::Head::prompt_hash`].
    pub prompt_hash: Option<String>,
    /// Cost at least so many US dollars, as far as agents told.
    pub min_cost: Option<f64>,
    /// Took longer than so many seconds, from its start to its end or its last event.
    pub longer_than: Option<f64>,
    /// Took at most so many seconds.
    pub at_most: Option<f64>,
    /// Has at least so many iterations, and at most so many.
    pub iterations: Option<(u32, u32)>,
    /// Began at such times.
    pub began: Option<Began>,
}

/// Times that come again and again. An empty list asks for nothing.
#[derive(Debug, Clone)]
pub struct Began {
    /// Where days and hours are told.
    pub zone: TimeZone,
    /// On one of these days.
    pub weekdays: Vec<Weekday>,
    /// In one of these hours of the day, from 0.
    pub hours: Vec<i8>,
}

impl Began {
    fn takes(&self, at: Timestamp) -> bool {
        let at = at.to_zoned(self.zone.clone());
        (self.weekdays.is_empty() || self.weekdays.contains(&at.weekday()))
            && (self.hours.is_empty() || self.hours.contains(&at.hour()))
    }
}

impl SessionFilter {
    /// Whether a head can decide: neither prompt nor touched files are asked for.
    #[must_use]
    pub fn needs_only_heads(&self) -> bool {
        self.prompt.is_none() && self.touched.is_empty()
    }

    /// Whether any session is taken, but for the limit.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        let Self { statuses, outcomes, kinds, agents, models, projects, after, before, .. } = self;
        self.needs_only_heads()
            && statuses.is_empty()
            && outcomes.is_empty()
            && kinds.is_empty()
            && agents.is_empty()
            && models.is_empty()
            && projects.is_empty()
            && after.is_none()
            && before.is_none()
            && self.prompt_hash.is_none()
            && self.min_cost.is_none()
            && self.longer_than.is_none()
            && self.at_most.is_none()
            && self.iterations.is_none()
            && self.began.is_none()
    }

    /// Whether a session meets every criterion; reads its journal only when its head does not rule it out.
    #[must_use]
    pub fn takes(&self, listed: &Listed) -> bool {
        let row = listed.row();
        self.takes_row(&row) && self.takes_rest(&row, &listed.entry)
    }

    /// Whether a session meets the criteria that its head decides.
    #[must_use]
    pub fn takes_row(&self, row: &Row<'_>) -> bool {
        let within = |wanted: &[String], is: &dyn Fn(&str) -> bool| wanted.is_empty() || wanted.iter().any(|w| is(w));
        let any = |names: &[String], is: &dyn Fn(&str) -> bool| names.iter().any(|name| is(name));
        (self.statuses.is_empty() || self.statuses.contains(&row.status))
            && (self.outcomes.is_empty() || row.shown_outcome().is_some_and(|outcome| self.outcomes.contains(&outcome)))
            && (self.kinds.is_empty() || self.kinds.contains(&row.kind))
            && within(&self.agents, &|wanted| any(row.agents, &|name| same(name, wanted)))
            && within(&self.models, &|wanted| any(row.models, &|name| is_model(name, wanted)))
            && within(&self.projects, &|wanted| is_project(wanted, row.project, row.working_dir))
            && self.after.is_none_or(|after| row.started_at >= after)
            && self.before.is_none_or(|before| row.started_at < before)
            && self.prompt_hash.as_ref().is_none_or(|hash| hash == row.prompt_hash)
            && self.min_cost.is_none_or(|least| row.cost_usd.is_some_and(|cost| cost >= least))
            && self.longer_than.is_none_or(|limit| row.elapsed() > limit)
            && self.at_most.is_none_or(|limit| row.elapsed() <= limit)
            && self.iterations.is_none_or(|(least, most)| row.iterations.is_some_and(|it| (least..=most).contains(&it)))
            && self.began.as_ref().is_none_or(|began| began.takes(row.started_at))
    }

    /// Whether the session in `dir`, whose row is `row`, meets the criteria that [`Self::takes_row`] cannot decide. Its
    /// journal is read when it must be; one that cannot be read does not meet them.
    #[must_use]
    pub fn takes_rest(&self, row: &Row<'_>, dir: &Path) -> bool {
        let mut prompt = match &self.prompt {
            None => true,
            // A row has the beginning of the prompt; a short one is whole.
            Some(wanted) if fold(row.prompt).contains(&fold(wanted)) => true,
            Some(_) if row.prompt.chars().nth(PREVIEW - 1).is_none() => return false,
            Some(_) => false,
        };
        if prompt && self.touched.is_empty() {
            return true;
        }
        let Ok(reader) = JournalReader::open(&dir.join(JOURNAL_FILE)) else { return false };
        let mut touched = self.touched.is_empty();
        for item in reader {
            let Ok(item) = item else { break };
            match item {
                Item::Event(event) => match event.body {
                    EventBody::SessionStart(start) => {
                        if let Some(wanted) = &self.prompt
                            && !prompt
                        {
                            prompt = fold(&full_prompt(dir, start)).contains(&fold(wanted));
                        }
                    }
                    EventBody::TurnEnd(end) => {
                        touched |= end.files.iter().any(|file| {
                            self.touched.iter().any(|wanted| {
                                wanted.matches(&file.path) || file.old_path.as_ref().is_some_and(|p| wanted.matches(p))
                            })
                        });
                    }
                    _ => {}
                },
                Item::Fault(_) => {}
            }
            if !prompt || touched {
                break;
            }
        }
        prompt && touched
    }
}

/// The whole prompt, from its artifact when it is long.
#[must_use]
pub fn full_prompt(dir: &Path, start: crate::event::SessionStart) -> String {
    use std::io::Read;
    let Some(artifact) = &start.prompt_artifact else { return start.prompt };
    let mut bytes = Vec::new();
    let read = crate::verify::find_artifact(dir, &artifact.path)
        .and_then(|found| found.file.take(MAX_PROMPT).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => start.prompt,
    }
}

/// Whether `wanted` names the project of a session; see [`SessionFilter::projects`].
#[must_use]
pub fn is_project(wanted: &str, project: &str, working_dir: &str) -> bool {
    if !wanted.contains('/') {
        return wanted == project;
    }
    let wanted = if wanted.len() > 1 { wanted.trim_end_matches('/') } else { wanted };
    Path::new(working_dir).starts_with(wanted)
}

/// Whether `wanted` means the model `name`: it is a part of it, or the whole of it behind a `=`, letter case aside.
#[must_use]
pub fn is_model(name: &str, wanted: &str) -> bool {
    wanted.strip_prefix('=').map_or_else(|| fold(name).contains(&fold(wanted)), |wanted| same(name, wanted))
}

/// Whether two names are one, letter case aside.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && fold(a) == fold(b))
}

/// `text` with letter case out of the way: what two texts that differ in nothing else both become. Upper case first,
/// as letters that share it (`ß` and `ss`, `ς` and `σ`) are one.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Names files by path: a path in the repository, a directory above them, a name at any depth when nothing but its end is a
/// `/` (`./name` is one at the top), or a glob of these (`src/**/*.rs`).
#[derive(Debug, Clone)]
pub struct Touched {
    literal: String,
    at_any_depth: bool,
    globs: GlobSet,
}

impl Touched {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let literal = pattern.trim_start_matches("./").trim_end_matches('/').to_owned();
        let at_any_depth = !pattern.starts_with("./") && !literal.contains('/');
        if literal.is_empty() {
            return Err(format!("{pattern:?} names no file: give a path within the repository, or a glob"));
        }
        let mut globs = GlobSetBuilder::new();
        let mut add = |glob: &str| -> Result<(), globset::Error> {
            globs.add(GlobBuilder::new(glob).literal_separator(true).build()?);
            Ok(())
        };
        let anywhere = if at_any_depth { "**/" } else { "" };
        let added = add(&format!("{anywhere}{literal}")).and_then(|()| add(&format!("{anywhere}{literal}/**")));
        let globs = added.and_then(|()| globs.build());
        let globs = globs.map_err(|error| format!("{pattern:?} is no glob: {}", error.kind()))?;
        Ok(Self { literal, at_any_depth, globs })
    }

    /// Whether it names the file at `path`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        // Names such as `[id].tsx` are globs too, and mean themselves first.
        let is_literal = path.strip_prefix(&self.literal).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            || (self.at_any_depth && path.split('/').any(|part| part == self.literal));
        is_literal || self.globs.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_case_is_out_of_the_way_in_any_script() {
        for (a, b) in
            [("Ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"), ("Straße", "STRASSE"), ("ПРИВЕТ", "привет"), ("İ", "i̇"), ("漢字", "漢字")]
        {
            assert_eq!(fold(a), fold(b));
        }
    }

    #[test]
    fn a_model_is_meant_by_a_part_of_its_name_or_by_the_whole() {
        for (wanted, yes, no) in [
            ("gpt-5", &["gpt-5", "GPT-5-mini", "openai/gpt-5"][..], &["gpt-4"][..]),
            ("=gpt-5", &["gpt-5", "GPT-5"], &["gpt-5-mini", "=gpt-5"]),
        ] {
            assert!(yes.iter().all(|name| is_model(name, wanted)), "{wanted}");
            assert!(!no.iter().any(|name| is_model(name, wanted)), "{wanted}");
        }
    }

    #[test]
    fn files_are_named_by_path_directory_name_or_glob() {
        for (pattern, yes, no) in [
            ("src/auth.rs", &["src/auth.rs"][..], &["lib/src/auth.rs", "src/auth.rs.bak"][..]),
            ("./src/", &["src/auth.rs", "src/a/b.rs"], &["lib/src/auth.rs", "srcs/a"]),
            ("auth.rs", &["auth.rs", "src/deep/auth.rs"], &["src/xauth.rs"]),
            ("auth", &["src/auth/mod.rs", "auth/x"], &["src/author/mod.rs"]),
            ("*.rs", &["a.rs", "x/y/a.rs"], &["a.rs.txt"]),
            ("src/*.rs", &["src/a.rs"], &["src/x/a.rs"]),
            ("src/**/*.rs", &["src/a.rs", "src/x/y/a.rs"], &["a.rs"]),
            ("app/[id].tsx", &["app/[id].tsx", "app/i.tsx"], &["app/x.tsx"]),
            ("{a,b}.md", &["a.md", "d/b.md"], &["c.md"]),
        ] {
            let touched = Touched::new(pattern).expect("a pattern");
            for path in yes {
                assert!(touched.matches(path), "{pattern} names {path}");
            }
            for path in no {
                assert!(!touched.matches(path), "{pattern} does not name {path}");
            }
        }
        for wrong in ["", "./", "a[", "{a"] {
            assert!(Touched::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn projects_are_names_or_directories() {
        for (wanted, is) in
            [("app", true), ("ap", false), ("/home/me", true), ("/home/me/app/", true), ("/home/m", false), ("/", true)]
        {
            assert_eq!(is_project(wanted, "app", "/home/me/app"), is, "{wanted}");
        }
    }
}
