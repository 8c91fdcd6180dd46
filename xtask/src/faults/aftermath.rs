//! What comes after a trial: the next command works, and takes away what the fault left.
//!
//! Must not know: how a fault is injected.

use std::path::Path;

use super::judge::Case;
use super::mcp;
use super::record::Record;
use super::scenes::{Effect, fill};
use super::sessions::internal_leftovers;
use super::world::{World, names, tree};
use crate::Result;

/// The command after the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Resume,
    Run,
    Clean,
    Discard,
}

impl Case<'_> {
    /// Runs the next command, chosen by `variant`, and then removes what the trial made.
    pub(crate) fn aftermath(&mut self, variant: u64) -> Result<()> {
        let subject = match self.scene.effect {
            Effect::Continues(_) => self.before.ids.last().cloned(),
            Effect::Records(_) => self.new_ids().first().cloned(),
            _ => None,
        };
        match self.scene.effect {
            Effect::Records(_) | Effect::Continues(_) => {
                let next = [Next::Resume, Next::Run, Next::Clean, Next::Discard][(variant % 4) as usize];
                self.next(next, subject.as_deref())?;
            }
            Effect::Removes(_) => self.remove_again()?,
            Effect::Imports(count) => self.import_again(count)?,
            Effect::Restores | Effect::Exports => self.repeat()?,
        }
        // Worktrees and containers that a crash left are cleared by `clean`.
        let is_cleaned = !matches!(self.scene.verb, "race" | "mcp") || variant % 4 == 2;
        self.leftovers("after the next command", is_cleaned);
        self.clear()
    }

    fn next(&mut self, next: Next, subject: Option<&str>) -> Result<()> {
        match (next, subject) {
            // A race is not resumed, nor is what a client of MCP does.
            (Next::Resume, Some(id)) if !matches!(self.scene.verb, "race" | "mcp") => {
                let dir = self.world.root().join(id);
                let before = Record::read(&dir).events.len();
                let ran = match self.scene.verb {
                    // A loop is resumed as it began.
                    "loop" => self.world.decklog(&["resume", id])?,
                    _ => self.world.decklog(&["resume", id, "--agent", "ada", "Go on."])?,
                };
                self.quiet();
                let record = Record::read(&dir);
                let refused = record.events.len() == before && ran.code != Some(0);
                // A loop that came to its end has nothing to resume, even where its record is not whole.
                let is_over = refused && ran.stderr.contains("the loop is over");
                if ran.code != Some(0) && !(self.scene.verb == "loop" && is_over) {
                    self.violation("the next resume fails", format!("{:?}: {}", ran.code, ran.stderr));
                } else if let Some(faults) = self.verify(id) {
                    self.violation("verify finds faults after the next resume", faults);
                }
                let left = internal_leftovers(&dir);
                if !left.is_empty() && !refused {
                    self.violation("leftover after the next command", format!("resume: {}", left.join(", ")));
                }
            }
            (Next::Clean, _) => {
                let ran = self.world.decklog(&["clean", "--crashed", "-y"])?;
                if ran.code != Some(0) {
                    self.violation("the next clean fails", ran.stderr);
                }
            }
            (Next::Discard, Some(id)) => {
                let ran = self.world.decklog(&["discard", "-y", id])?;
                if ran.code != Some(0) || self.world.ids().iter().any(|there| there == id) {
                    self.violation("the next discard fails", ran.stderr);
                }
            }
            _ => {
                let ran = self.world.decklog(&["run", "--", "true"])?;
                self.quiet();
                if ran.code != Some(0) {
                    self.violation("the next run fails", ran.stderr);
                }
            }
        }
        Ok(())
    }

    /// The same removal again removes what is left.
    fn remove_again(&mut self) -> Result<()> {
        let Effect::Removes(count) = self.scene.effect else { return Ok(()) };
        let targets: Vec<&String> = self.before.ids.iter().rev().take(count).collect();
        let there = |world: &World| targets.iter().any(|id| world.ids().contains(id));
        let words = self.scene.arguments.iter().map(|word| if *word == "ID" { targets[0].as_str() } else { word });
        let words: Vec<&str> = words.collect();
        let was_there = there(self.world);
        let ran = self.world.decklog(&words)?;
        let may_refuse = self.scene.verb == "discard" && !was_there;
        if there(self.world) || (ran.code != Some(0) && !may_refuse) {
            self.violation(&format!("the next {} fails", self.scene.verb), ran.stderr);
        }
        Ok(())
    }

    /// The same import again imports what is missing, once.
    fn import_again(&mut self, count: usize) -> Result<()> {
        let ran = self.again()?;
        let now = self.new_ids().len();
        if ran.code != Some(0) || now != count {
            self.violation("the next import fails", format!("{now} of {count}: {}", ran.stderr));
        }
        Ok(())
    }

    /// The same command again works, or says that its output is there.
    fn repeat(&mut self) -> Result<()> {
        let ran = self.again()?;
        let says_there =
            ran.stderr.contains("exists") || ran.stderr.contains("not empty") || ran.stderr.contains("already");
        if ran.code != Some(0) && !says_there {
            self.violation(&format!("the next {} fails", self.scene.verb), ran.stderr);
        } else if self.scene.effect == Effect::Restores
            && let Some(baseline) = self.baseline
            && tree(&self.world.path("work"), ".git") != baseline.work
        {
            self.violation("leftover after the next command", "the tree is not the restored one");
        }
        Ok(())
    }

    fn again(&self) -> Result<super::world::Ran> {
        let newest = self.before.ids.last().map_or("", String::as_str);
        let words = fill(self.scene.arguments, self.world);
        let words =
            words.iter().zip(self.scene.arguments).map(|(word, named)| if *named == "ID" { newest } else { word });
        let ran = self.world.decklog(&words.collect::<Vec<_>>())?;
        self.world.processes();
        Ok(ran)
    }

    /// Removes every session that the trial made: all of it must be removable, and nothing else may be left.
    fn clear(&mut self) -> Result<()> {
        let ran = self.world.decklog(&["clean", "--crashed", "-y"])?;
        if ran.code != Some(0) {
            self.violation("the next clean fails", ran.stderr);
        }
        for id in self.new_ids() {
            let ran = self.world.decklog(&["discard", "-y", &id])?;
            if ran.code != Some(0) {
                self.violation("the next discard fails", ran.stderr);
            }
        }
        let left = self.new_ids();
        if !left.is_empty() {
            self.violation("a session cannot be removed", left.join(", "));
        }
        self.leftovers("in the end", true);
        Ok(())
    }

    /// What may be there only while a program runs.
    pub(crate) fn leftovers(&mut self, when: &str, is_cleaned: bool) {
        let world = self.world;
        let mut left: Vec<String> = Vec::new();
        let mut add = |place: &str, dir: &Path, is_left: &dyn Fn(&str) -> bool| {
            let names = names(dir).into_iter().filter(|name| is_left(name));
            left.extend(names.map(|name| format!("{place}/{}", general(&name))));
        };
        // The directory of this user's scratch directories goes with the last of them, and may be left empty.
        let is_empty =
            |name: &str| world.path("tmp").join(name).read_dir().is_ok_and(|mut entries| entries.next().is_none());
        add("$TMPDIR", &world.path("tmp"), &|name| !(name.starts_with("decklog-") && is_empty(name)));
        add("root", &world.root(), &|name| !decklog_journal::SessionId::is_valid(name));
        // What a killed restore laid out goes with the next restore in that directory.
        let replaces = matches!(self.scene.verb, "restore" | "race");
        let is_laid_out = |name: &str| replaces && super::is_staging(name);
        add("work", &world.path("work"), &|name| name.starts_with(".decklog") && !is_laid_out(name));
        add("outside", &world.path("outside"), &|name| name.starts_with('.') || name.ends_with(".tmp"));
        // A worktree is kept, and named, when the record lacks what is in it.
        let is_kept = ["kept: ", "a worktree is still there"].iter().any(|words| self.ran.stderr.contains(words));
        if is_cleaned && !is_kept {
            add(".git/worktrees", &world.path("work/.git/worktrees"), &|_| true);
            add("state/worktrees", &world.path("state/decklog/worktrees"), &|_| true);
        }
        if self.scene.verb == "mcp" && is_cleaned {
            left.extend(mcp::containers(world).unwrap_or_default());
        }
        left.extend(world.processes().into_iter().map(|process| format!("process {process}")));
        left.dedup();
        if !left.is_empty() {
            self.violation(&format!("leftover {when}"), left.join(", "));
        }
    }

    fn quiet(&self) {
        self.world.processes();
    }
}

/// A name without what differs from run to run.
fn general(name: &str) -> String {
    let parts = name.split(['-', '.']).map(|part| {
        let random = part.len() >= 4 && part.chars().any(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        if random || part.len() == 6 { "*" } else { part }
    });
    parts.collect::<Vec<_>>().join("-")
}
