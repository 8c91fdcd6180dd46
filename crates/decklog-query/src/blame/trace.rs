//! Following the lines of a file back through its past, as far as it is known.
//!
//! The past is a row of moments at which the file was seen: before and after each turn. What changed between two
//! of them was changed by the turns at work in between: by one, by none (then nobody recorded it), or by one of
//! several, which is not guessed. Pure: no files, no git, no clock.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use imara_diff::{Algorithm, Diff, InternedInput};
use jiff::Timestamp;

/// Which end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// A moment at which the working tree was seen, or should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The turn, by its place in the list of all.
    pub(crate) turn: usize,
    pub(crate) side: Side,
    pub(crate) at: Timestamp,
}

/// What is known of the file at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// This.
    Known(Vec<u8>),
    /// It was not there.
    Absent,
    /// Nothing, and why.
    Unknown(String),
}

/// The past of a file.
pub(crate) trait Past {
    type Error;
    /// Whether a turn may have changed the file that was called `path` when it ended.
    fn touches(&self, turn: usize, path: &Path) -> bool;
    /// The file at a moment, called `path` then.
    fn content(&mut self, turn: usize, side: Side, path: &Path) -> Result<Content, Self::Error>;
    /// What the turn renamed to `path`, if it did.
    fn name_before(&mut self, turn: usize, path: &Path) -> Result<Option<PathBuf>, Self::Error>;
}

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This turn wrote it.
    Turn(usize),
    /// No recorded turn did: it came between these times.
    Outside { after: Option<Timestamp>, before: Option<Timestamp> },
    /// It cannot be told: one of these turns, or nobody recorded.
    Unknown { among: Vec<usize>, why: String },
}

/// Lines without their ends: a change of line endings is no authorship.
pub(crate) fn lines(content: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect()
}

/// For each line of `now`, the content of the file `path`, where it comes from. `moments` are newest first; `open`
/// are turns that are at work now.
pub(crate) fn trace<P: Past>(
    now: &[u8],
    path: &Path,
    moments: &[Moment],
    open: &[usize],
    past: &mut P,
) -> Result<Vec<Origin>, P::Error> {
    let mut walk = Walk::new(now, open);
    let mut path = path.to_owned();
    for moment in moments {
        if walk.is_done() {
            break;
        }
        let turn = moment.turn;
        // A turn that came into view with its end stays in it until its start.
        let concerns = match moment.side {
            Side::After => past.touches(turn, &path),
            Side::Before => walk.active.contains(&turn),
        };
        if !concerns {
            continue;
        }
        if moment.side == Side::Before
            && let Some(old) = past.name_before(turn, &path)?
        {
            path = old;
        }
        let content = past.content(turn, moment.side, &path)?;
        walk.reach(*moment, content);
    }
    Ok(walk.finish())
}

/// Stands at the oldest moment seen so far.
struct Walk {
    origins: Vec<Option<Origin>>,
    /// The content here.
    content: Vec<u8>,
    /// For each of its lines, the line of the present file that it became and that is still to be explained.
    became: Vec<Option<usize>>,
    left: usize,
    /// Turns at work here.
    active: BTreeSet<usize>,
    /// Turns at work at some time between here and the last moment at which the content was known.
    since: BTreeSet<usize>,
    /// Why the content was not known at some moment since.
    gap: Option<String>,
    /// When the content was last known.
    known_at: Option<Timestamp>,
}

impl Walk {
    fn new(now: &[u8], open: &[usize]) -> Self {
        let count = lines(now).len();
        Self {
            origins: vec![None; count],
            content: now.to_vec(),
            became: (0..count).map(Some).collect(),
            left: count,
            active: open.iter().copied().collect(),
            since: open.iter().copied().collect(),
            gap: (!open.is_empty()).then(|| "a turn is at work".to_owned()),
            known_at: None,
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }

    fn reach(&mut self, moment: Moment, content: Content) {
        let known = match content {
            Content::Known(content) => Some(content),
            Content::Absent => Some(Vec::new()),
            Content::Unknown(why) => {
                self.gap.get_or_insert(why);
                None
            }
        };
        if let Some(content) = known {
            self.explain(content, moment.at);
        }
        match moment.side {
            Side::After => {
                self.active.insert(moment.turn);
                self.since.insert(moment.turn);
            }
            Side::Before => {
                self.active.remove(&moment.turn);
                if self.gap.is_none() {
                    self.since.clone_from(&self.active);
                }
            }
        }
    }

    /// Explains the lines that were not there at an older moment, where the content was `older`.
    fn explain(&mut self, older: Vec<u8>, at: Timestamp) {
        let newer = std::mem::take(&mut self.content);
        let (old_lines, new_lines) = (lines(&older), lines(&newer));
        let mut became = vec![None; old_lines.len()];
        let mut came: Vec<usize> = Vec::new();
        if old_lines == new_lines {
            became = std::mem::take(&mut self.became);
        } else {
            let mut input: InternedInput<&[u8]> = InternedInput::default();
            input.update_before(old_lines.iter().copied());
            input.update_after(new_lines.iter().copied());
            let mut diff = Diff::compute(Algorithm::Histogram, &input);
            diff.postprocess_lines(&input);
            let (mut old, mut new) = (0, 0);
            for hunk in diff.hunks() {
                let (until, from) = (hunk.before.start as usize, hunk.after.start as usize);
                became[old..until].clone_from_slice(&self.became[new..from]);
                came.extend(self.became[from..hunk.after.end as usize].iter().flatten().copied());
                (old, new) = (hunk.before.end as usize, hunk.after.end as usize);
            }
            became[old..].clone_from_slice(&self.became[new..]);
        }
        let origin = self.origin(Some(at));
        for line in came {
            self.origins[line] = Some(origin.clone());
            self.left -= 1;
        }
        (self.content, self.became) = (older, became);
        self.since.clone_from(&self.active);
        self.gap = None;
        self.known_at = Some(at);
    }

    /// What changed between here and the moment before.
    fn origin(&self, after: Option<Timestamp>) -> Origin {
        let turns: Vec<usize> = self.since.iter().copied().collect();
        match (turns.as_slice(), &self.gap) {
            ([], None) => Origin::Outside { after, before: self.known_at },
            ([one], None) => Origin::Turn(*one),
            (_, None) => Origin::Unknown { among: turns, why: "several turns were at work at once".into() },
            (_, Some(why)) => Origin::Unknown { among: turns, why: why.clone() },
        }
    }

    /// What is left was there before anything was recorded.
    fn finish(self) -> Vec<Origin> {
        // At the beginning of all that is recorded, one turn at work is that turn's start, unseen.
        let rest = match self.origin(None) {
            Origin::Turn(turn) => Origin::Unknown { among: vec![turn], why: "its start was not seen".into() },
            origin => origin,
        };
        self.origins.into_iter().map(|origin| origin.unwrap_or_else(|| rest.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A past made by hand: for each turn its content before and after.
    struct Made(Vec<[Content; 2]>);

    impl Past for Made {
        type Error = std::convert::Infallible;
        fn touches(&self, turn: usize, _: &Path) -> bool {
            self.0[turn][0] != self.0[turn][1] || matches!(self.0[turn][0], Content::Unknown(_))
        }
        fn content(&mut self, turn: usize, side: Side, _: &Path) -> Result<Content, Self::Error> {
            Ok(self.0[turn][usize::from(side == Side::After)].clone())
        }
        fn name_before(&mut self, _: usize, _: &Path) -> Result<Option<PathBuf>, Self::Error> {
            Ok(None)
        }
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// Turns `[start, end]` in seconds.
    fn moments(turns: &[(i64, Option<i64>)]) -> (Vec<Moment>, Vec<usize>) {
        let mut all = Vec::new();
        let mut open = Vec::new();
        for (turn, (start, end)) in turns.iter().enumerate() {
            all.push(Moment { turn, side: Side::Before, at: time(*start) });
            match end {
                Some(end) => all.push(Moment { turn, side: Side::After, at: time(*end) }),
                None => open.push(turn),
            }
        }
        all.sort_by_key(|moment| std::cmp::Reverse(moment.at));
        (all, open)
    }

    fn known(text: &str) -> Content {
        if text == "-" { Content::Absent } else { Content::Known(text.replace(' ', "\n").into_bytes()) }
    }

    /// When a turn started and ended, and the file before and after.
    type Lived<'a> = ((i64, Option<i64>), &'a str, &'a str);

    /// Lines are words; an origin is a turn's number, `o` for outside or `?`.
    fn check(now: &str, turns: &[Lived<'_>], origins: &str) {
        let content = |text: &str| if text == "?" { Content::Unknown("gone".into()) } else { known(text) };
        let (moments, open) = moments(&turns.iter().map(|turn| turn.0).collect::<Vec<_>>());
        let mut past = Made(turns.iter().map(|(_, before, after)| [content(before), content(after)]).collect());
        let now = now.replace(' ', "\n");
        let Ok(found) = trace(now.as_bytes(), Path::new("f"), &moments, &open, &mut past);
        let found: Vec<String> = found
            .iter()
            .map(|origin| match origin {
                Origin::Turn(turn) => turn.to_string(),
                Origin::Outside { .. } => "o".into(),
                Origin::Unknown { .. } => "?".into(),
            })
            .collect();
        assert_eq!(found.join(" "), origins, "{turns:?}");
    }

    #[test]
    fn lines_come_from_turns_and_from_nobody() {
        let (first, second) = ((1, Some(2)), (3, Some(4)));
        check("a b", &[], "o o");
        check("a b", &[(first, "-", "a b")], "0 0");
        check("a b c", &[(first, "a", "a b")], "o 0 o");
        check("a b c", &[(first, "-", "a"), (second, "a", "a c")], "0 o 1");
        check("a b c", &[(first, "-", "a"), (second, "a b", "a b c")], "0 o 1");
        // Taken away and brought again.
        check("a b", &[(first, "-", "a b"), (second, "a b", "a")], "0 o");
        check("a", &[(first, "a", "-"), (second, "-", "a")], "1");
        check("a", &[(first, "a", "-")], "o");
        check("a\r", &[(first, "-", "a")], "0");
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        let (first, second, third) = ((1, Some(2)), (3, Some(4)), (5, Some(6)));
        // A turn of which nothing is known may have written what came with it, and nothing else.
        check("a b c", &[(first, "-", "a"), (second, "?", "?"), (third, "a b", "a b c")], "0 ? 2");
        check("a b", &[(first, "?", "?")], "? ?");
        check("a b c", &[(first, "a", "?"), (second, "a b", "a b c")], "o ? 1");
        check("a b c", &[(first, "?", "a b"), (second, "a b", "a b c")], "? ? 1");
        // Cut off, and at work this moment.
        check("a b c", &[(first, "-", "a"), ((3, None), "a", "?")], "0 ? ?");
        // Two at once: what only one can have written is that one's.
        check("a b c d", &[((1, Some(6)), "a", "a b c d"), ((3, Some(4)), "a b", "a b c")], "o 0 ? 0");
        check("a b c", &[((1, Some(4)), "a", "a b"), ((3, Some(6)), "a b", "a b c")], "o 0 1");
    }

    #[derive(Debug, Clone)]
    struct Step {
        by_turn: bool,
        /// Of the turn, nothing is known.
        unknown: bool,
        /// Each: where, how many lines go, how many come.
        edits: Vec<(usize, usize, usize)>,
    }

    fn step() -> impl Strategy<Value = Step> {
        let edit = (0..40usize, 0..6usize, 0..6usize);
        (any::<bool>(), prop::bool::weighted(0.15), prop::collection::vec(edit, 0..4))
            .prop_map(|(by_turn, unknown, edits)| Step { by_turn, unknown, edits })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Against a model that remembers who wrote each line, every line being another.
        #[test]
        fn lines_are_told_as_they_were_written(steps in prop::collection::vec(step(), 0..14), gaps in any::<bool>()) {
            let mut model: Vec<(String, Option<usize>)> = Vec::new();
            let (mut turns, mut times) = (Vec::new(), Vec::new());
            let (mut fresh, mut second) = (0, 0);
            let text = |model: &[(String, Option<usize>)]| {
                Content::Known(model.iter().flat_map(|(line, _)| [line.as_str(), "\n"]).collect::<String>().into_bytes())
            };
            for step in &steps {
                let author = step.by_turn.then_some(turns.len());
                let before = text(&model);
                for (at, gone, come) in &step.edits {
                    let at = at % (model.len() + 1);
                    let until = (at + gone).min(model.len());
                    let lines = (0..*come).map(|_| { fresh += 1; (format!("line {fresh}"), author) }).collect::<Vec<_>>();
                    model.splice(at..until, lines);
                }
                if step.by_turn {
                    let unknown = || Content::Unknown("gone".into());
                    let blank = gaps && step.unknown;
                    turns.push(if blank { [unknown(), unknown()] } else { [before, text(&model)] });
                    times.push((second, Some(second + 1)));
                    second += 2;
                }
            }
            let Content::Known(now) = text(&model) else { unreachable!() };
            let (moments, open) = moments(&times);
            let Ok(found) = trace(&now, Path::new("f"), &moments, &open, &mut Made(turns.clone()));
            prop_assert_eq!(found.len(), model.len());
            for (origin, (line, author)) in found.iter().zip(&model) {
                match origin {
                    Origin::Turn(turn) => prop_assert_eq!(Some(*turn), *author, "{}", line),
                    Origin::Outside { .. } => prop_assert_eq!(None, *author, "{}", line),
                    Origin::Unknown { among, .. } => {
                        let blank = |turn: &usize| matches!(turns[*turn][0], Content::Unknown(_));
                        prop_assert!(among.iter().any(blank), "{} is known", line);
                        prop_assert!(author.is_none_or(|author| among.contains(&author)), "{}", line);
                    }
                }
            }
        }
    }
}
