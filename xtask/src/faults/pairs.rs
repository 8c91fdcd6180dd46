//! Two calls at the same time on one session.
//!
//! Must not know: how other faults are injected.

use super::judge::{Case, Outcome};
use super::record::Record;
use super::scenes::{Effect, Scene, fill};
use super::world::{Ran, World};
use crate::Result;

/// The other calls, and the verbs they are tried with. `ID` is the newest session when the other call begins.
const OTHERS: &[(&[&str], &[&str])] = &[
    (&["discard", "-y", "ID"], &["run", "loop", "race", "shell", "resume", "discard", "export", "restore"]),
    (&["clean", "-y", "--crashed"], &["run", "resume", "race", "clean", "discard"]),
    (&["clean", "-y", "--agent", "ada", "--older-than", "1s"], &["clean", "discard", "resume"]),
    (&["resume", "ID", "Go on, too."], &["resume", "discard", "clean", "run", "export", "restore"]),
    (&["import", "claude"], &["import"]),
    (&["import", "OUT/all.tar.zst"], &["import"]),
    (&["run", "--", "true"], &["run", "clean", "import", "race"]),
    (&["restore", "ID", "--into", "then"], &["restore", "discard"]),
    (&["export", "--format", "tar.zst", "-o", "OUT/export", "ID"], &["export", "resume", "run"]),
];

/// The other calls for a scene.
pub(crate) fn others(scene: &Scene) -> Vec<usize> {
    let takes = |other: &usize| OTHERS[*other].1.contains(&scene.verb);
    (0..OTHERS.len()).filter(takes).collect()
}

/// Makes the other call, to its end.
pub(crate) fn other(world: &World, number: usize) -> Result<Option<Ran>> {
    let Some((arguments, _)) = OTHERS.get(number) else { return Ok(None) };
    let arguments = fill(arguments, world);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.decklog(&words).map(Some)
}

impl Case<'_> {
    /// Two calls: each session is whole or not there, and nobody claims what is not so.
    pub(crate) fn judge_pair(&mut self, number: usize, other: &Ran) -> Result<Outcome> {
        let verb = OTHERS.get(number).map_or("", |(words, _)| words[0]);
        for (ran, name) in [(self.ran.clone(), self.scene.verb), (other.clone(), verb)] {
            if ran.hangs || ran.signal.is_some() || ran.stderr.contains("panicked") {
                self.violation("the program dies", format!("{name}: {}", ran.stderr));
            }
            if ran.code != Some(0) && ran.stderr.trim().is_empty() {
                self.violation("stderr does not name the failure", name);
            }
        }
        for id in self.world.ids() {
            let dir = self.world.root().join(&id);
            let record = Record::read(&dir);
            if record.events.is_empty() || !record.faults.is_empty() || record.end().is_none() {
                let what = format!("{id}: {:?} {:?}", self.ran.stderr, other.stderr);
                self.violation("two at once leave half a session", what);
            } else if let Some(faults) = self.verify(&id) {
                self.violation("two at once leave half a session", format!("{id}: {faults}"));
            }
        }
        let is_same = OTHERS.get(number).is_some_and(|(words, _)| *words == self.scene.arguments);
        let both = [self.ran.code, other.code] == [Some(0), Some(0)];
        if let Effect::Imports(count) = self.scene.effect
            && is_same
            && both
            && self.new_ids().len() != count
        {
            self.violation("two at once import twice", format!("{} of {count}", self.new_ids().len()));
        }
        self.readers()?;
        self.leftovers("after two at once", true);
        Ok(if self.ran.code == Some(0) { Outcome::Done } else { Outcome::Refused })
    }
}
