//! The verdict on one trial, from what the program said and what it left.
//!
//! Must not know: how a fault is injected; only whether the program was killed or printed into nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::record::Record;
use super::scenes::{Effect, Scene};
use super::world::{Ran, Tree, World, names, tree};
use crate::Result;

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The program exited with 0 and did what it promises.
    Done,
    /// The program failed or died and left no record.
    Refused,
    /// The program failed or died and the record shows it.
    Recorded,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The same words for the same kind.
    pub(crate) kind: String,
    pub(crate) detail: String,
}

/// The world before the trial.
pub(crate) struct Before {
    pub(crate) ids: Vec<String>,
    pub(crate) journals: BTreeMap<String, Vec<u8>>,
    bystander: Tree,
    git: Tree,
    pub(crate) work: Tree,
    outside: Tree,
}

/// What the trial without a fault left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Baseline {
    pub(crate) work: Tree,
    pub(crate) outside: Tree,
}

/// One trial to be judged.
pub(crate) struct Case<'a> {
    pub(crate) world: &'a World,
    pub(crate) scene: &'a Scene,
    pub(crate) before: &'a Before,
    pub(crate) baseline: Option<&'a Baseline>,
    pub(crate) ran: &'a Ran,
    /// A signal from the harness ended the program, or may have.
    pub(crate) killed: bool,
    /// stdout or stderr is what failed: the program cannot say so there.
    pub(crate) muted: bool,
    /// What a reader of the journals saw before the kill.
    pub(crate) seen: BTreeMap<String, Vec<u8>>,
    pub(crate) violations: Vec<Violation>,
}

impl Before {
    pub(crate) fn look(world: &World) -> Self {
        let ids = world.ids();
        let bystander = ids.first().map(|id| tree(&world.root().join(id), "")).unwrap_or_default();
        Self {
            journals: journals(world),
            bystander,
            git: tree(&world.path("work/.git"), "worktrees"),
            work: tree(&world.path("work"), ".git"),
            outside: tree(&world.path("outside"), ""),
            ids,
        }
    }
}

/// The bytes of every journal under the session root.
pub(crate) fn journals(world: &World) -> BTreeMap<String, Vec<u8>> {
    let read = |id: String| {
        let bytes = std::fs::read(world.root().join(&id).join("journal.jsonl")).ok()?;
        Some((id, bytes))
    };
    world.ids().into_iter().filter_map(read).collect()
}

impl Case<'_> {
    pub(crate) fn violation(&mut self, kind: &str, detail: impl Into<String>) {
        self.violations.push(Violation { kind: kind.to_owned(), detail: detail.into() });
    }

    /// Sessions that the trial made.
    pub(crate) fn new_ids(&self) -> Vec<String> {
        self.world.ids().into_iter().filter(|id| !self.before.ids.contains(id)).collect()
    }

    /// Judges the program's end and what it left.
    pub(crate) fn judge(&mut self) -> Result<Outcome> {
        self.ending();
        self.surroundings();
        let done = self.ran.code == Some(0);
        let outcome = match self.scene.effect {
            Effect::Records(turns) => self.recording(turns as usize)?,
            Effect::Continues(turns) => self.continuing(turns as usize)?,
            Effect::Removes(count) => self.removing(count, done),
            Effect::Imports(count) => self.importing(count, done),
            Effect::Restores => self.restoring(done)?,
            Effect::Exports => self.exporting(done)?,
        };
        self.readers()?;
        Ok(outcome)
    }

    /// What holds for every program that ends.
    fn ending(&mut self) {
        let ran = self.ran;
        if ran.hangs {
            self.violation("the program hangs", "");
        }
        if ran.stderr.contains("panicked") || ran.code == Some(101) {
            self.violation("panic", ran.stderr.clone());
        }
        if ran.signal.is_some() && !self.killed {
            self.violation("the program dies", format!("of signal {:?}: {}", ran.signal, ran.stderr));
        }
        let Some(code) = ran.code else { return };
        if code != 0 && !self.muted && !self.killed {
            let says = ["error", "not recorded", "incomplete", "not whole", "not discarded", "failed"];
            if !says.iter().any(|word| ran.stderr.contains(word)) {
                self.violation("stderr does not name the failure", format!("exit code {code}: {:?}", ran.stderr));
            }
            let wants_json = self.scene.arguments.contains(&"--json");
            let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            let errors = ran.stderr.lines().filter(|line| line.starts_with('{') && is_json(line)).count();
            if wants_json && !is_json(&ran.stdout) && errors == 0 {
                self.violation("a --json error is not JSON", format!("{:?} {:?}", ran.stdout, ran.stderr));
            }
        }
    }

    /// What the scene has nothing to do with.
    fn surroundings(&mut self) {
        let id = self.before.ids.first().cloned().unwrap_or_default();
        if tree(&self.world.root().join(&id), "") != self.before.bystander {
            self.violation("another session is changed", id);
        }
        let git = tree(&self.world.path("work/.git"), "worktrees");
        if git != self.before.git {
            self.violation("the repository's .git is changed", difference(&self.before.git, &git));
        }
        let work = tree(&self.world.path("work"), ".git");
        if let Some(baseline) = self.baseline {
            let is_known = |path: &&PathBuf| self.before.work.contains_key(*path) || baseline.work.contains_key(*path);
            let is_target = |path: &&PathBuf| path.components().count() > 1;
            let stray: Vec<_> = work.keys().filter(|path| !is_known(path) && !is_target(path)).collect();
            if !stray.is_empty() {
                self.violation("a stray file in the working tree", format!("{stray:?}"));
            }
            let outside = tree(&self.world.path("outside"), "");
            let stray: Vec<_> =
                self.before.outside.iter().filter(|(path, bytes)| outside.get(*path) != Some(bytes)).collect();
            if !stray.is_empty() {
                self.violation(
                    "something outside is changed",
                    format!("{:?}", stray.iter().map(|(path, _)| path).collect::<Vec<_>>()),
                );
            }
        }
    }

    /// A removal leaves a session whole or not at all.
    fn removing(&mut self, count: usize, done: bool) -> Outcome {
        let targets: Vec<String> = self.before.ids.iter().rev().take(count).cloned().collect();
        for id in targets.iter().filter(|id| self.world.ids().contains(id)) {
            if done {
                self.violation("false success: the session is still there", id.clone());
            } else if self.before.journals.get(id) != journals(self.world).get(id) {
                self.violation("a half-removed session", id.clone());
            } else if let Some(faults) = self.verify(id) {
                self.violation("a half-removed session", format!("{id}: {faults}"));
            }
        }
        if done { Outcome::Done } else { Outcome::Refused }
    }

    /// An import makes whole sessions.
    fn importing(&mut self, count: usize, done: bool) -> Outcome {
        let new = self.new_ids();
        for id in &new {
            let record = Record::read(&self.world.root().join(id));
            if record.end().is_none() || !record.faults.is_empty() {
                self.violation("a half-imported session", id.clone());
            } else if let Some(faults) = self.verify(id) {
                self.violation("a half-imported session", format!("{id}: {faults}"));
            }
        }
        if done && new.len() != count {
            self.violation("false success: not everything is imported", format!("{} of {count}", new.len()));
        }
        match (done, new.is_empty()) {
            (true, _) => Outcome::Done,
            (false, true) => Outcome::Refused,
            (false, false) => Outcome::Recorded,
        }
    }

    /// A restore writes all of a tree or leaves the present one.
    fn restoring(&mut self, done: bool) -> Result<Outcome> {
        let Some(baseline) = self.baseline else { return Ok(Outcome::Done) };
        let work = tree(&self.world.path("work"), ".git");
        let visible = |tree: &Tree| -> Tree {
            let is_staging = |path: &PathBuf| super::is_staging(&path.to_string_lossy());
            tree.iter()
                .filter(|(path, _)| !is_staging(path))
                .map(|(path, bytes)| (path.clone(), bytes.clone()))
                .collect()
        };
        if done && visible(&work) != baseline.work {
            self.violation("false success: the tree is not restored", difference(&baseline.work, &work));
        } else if visible(&work) != baseline.work && visible(&work) != self.before.work {
            // The tree as it was is recorded, and comes back.
            let id = self.new_ids().pop().unwrap_or_default();
            let ran = self.world.decklog(&["restore", &format!("{id}@0"), "--in-place", "-y"])?;
            let back = tree(&self.world.path("work"), ".git");
            if back != self.before.work {
                let what = format!("{}; {}", difference(&self.before.work, &back), ran.stderr);
                self.violation("half a tree is restored, and does not come back", what);
            }
        }
        Ok(match (done, self.new_ids().is_empty()) {
            (true, _) => Outcome::Done,
            (false, true) => Outcome::Refused,
            (false, false) => Outcome::Recorded,
        })
    }

    /// An export writes a whole file or none.
    fn exporting(&mut self, done: bool) -> Result<Outcome> {
        let file = self.world.path("outside/export");
        if !file.exists() {
            if done {
                self.violation("false success: nothing is exported", "");
            }
            return Ok(if done { Outcome::Done } else { Outcome::Refused });
        }
        if !done && self.ran.stderr.contains("cannot be read") {
            // The file has the rest, and says in the text's place that it could not be read.
            return Ok(Outcome::Refused);
        }
        let kind = if done { "false success: the exported file is not whole" } else { "half an exported file" };
        let root = self.world.io("imported");
        if self.scene.name == "export" {
            let _ = std::fs::remove_dir_all(&root);
            let words =
                ["--session-root", &root.to_string_lossy(), "import", &file.to_string_lossy()].map(str::to_owned);
            let ran = self.world.decklog(&words.each_ref().map(String::as_str))?;
            if ran.code != Some(0) || names(&root).len() != 1 {
                self.violation(kind, ran.stderr);
            }
        } else if let Some(baseline) = self.baseline
            && tree(&self.world.path("outside"), "").get(&PathBuf::from("export")).map(Vec::len)
                != baseline.outside.get(&PathBuf::from("export")).map(Vec::len)
        {
            self.violation(kind, "its length differs");
        }
        Ok(if done { Outcome::Done } else { Outcome::Refused })
    }
}

/// The first paths at which two trees differ.
pub(crate) fn difference(before: &Tree, after: &Tree) -> String {
    let changed = before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path));
    let mut paths: Vec<String> = changed.map(|path| path.display().to_string()).collect();
    paths.sort();
    paths.dedup();
    paths.truncate(6);
    paths.join(", ")
}
