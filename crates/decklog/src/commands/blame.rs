//! `blame`: which turn wrote each line of a file, and at whose bidding.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use decklog_journal::SessionId;
use decklog_query::blame::{Blame, Origin, blame};
use decklog_text::format::{cut, duration, time};
use decklog_text::visible;
use jiff::Timestamp;

use crate::cli::Json;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::render::table::{Column, table};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  decklog blame src/main.rs          every line
  decklog blame src/main.rs:40       line 40
  decklog blame src/main.rs:40-60    lines 40 to 60
  decklog blame --json src/main.rs   for programs, with the prompts

A line no recorded turn wrote has - for its turn, and one that cannot be told has ?: its snapshot is gone,
the file was withheld from it, or several turns were at work at once. Renames by turns are followed; for a file
that was renamed between turns, only what came under its new name is told.")]
pub(crate) struct Args {
    /// The file, and which lines of it
    #[arg(value_name = "FILE[:LINE|:A-B]")]
    file: OsString,
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(args: &Args, context: &Context) -> CliResult {
    let (path, range) = split(&args.file, &|path| context.cwd.join(path).exists())?;
    let store = context.store()?;
    let mut found = blame(&store, &context.cwd.join(path))?;
    if let Some(range) = range {
        let count = found.lines.len();
        if *range.start() > count {
            return Err(CliError::new(format!("there is no line {}: the file has {count}", range.start())));
        }
        found.lines.retain(|line| range.contains(&line.line));
        let wrote = |id: &SessionId, turn: u32| {
            let is = |origin: &Origin| matches!(origin, Origin::Turn { id: of, turn: number } if of == id && *number == turn);
            found.lines.iter().any(|line| is(&line.origin))
        };
        let turns = found.turns.iter().filter(|author| wrote(&author.id, author.turn)).cloned().collect();
        found.turns = turns;
    }
    if context.json {
        context.print_json(&found)?;
    } else {
        context.page(&text(&found, &store.ids()?, context))?;
    }
    for id in &found.unreadable {
        context.warn(&format!("session {id} cannot be read: lines it wrote are not known as its"));
    }
    Ok(0)
}

/// The path, and the lines asked for.
fn split<'a>(
    text: &'a OsStr,
    is_there: &dyn Fn(&Path) -> bool,
) -> Result<(&'a Path, Option<RangeInclusive<usize>>), CliError> {
    let whole = Path::new(text);
    let bytes = text.as_bytes();
    let Some(colon) = bytes.iter().rposition(|byte| *byte == b':').filter(|_| !is_there(whole)) else {
        return Ok((whole, None));
    };
    let path = Path::new(OsStr::from_bytes(&bytes[..colon]));
    if !is_there(path) {
        return Ok((whole, None));
    }
    let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
    let range = std::str::from_utf8(&bytes[colon + 1..]).ok().and_then(|range| match range.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(range).map(|line| line..=line),
    });
    match range.filter(|range| !range.is_empty()) {
        Some(range) => Ok((path, Some(range))),
        None => {
            let range = String::from_utf8_lossy(&bytes[colon + 1..]).into_owned();
            Err(CliError::new(format!("{range:?} is no line and no range of lines"))
                .hint("write FILE:40 or FILE:40-60"))
        }
    }
}

const COLUMNS: [Column; 5] = [
    Column { title: "TURN", priority: 0 },
    Column { title: "AGENT", priority: 2 },
    Column { title: "WRITTEN", priority: 1 },
    Column { title: "LINE", priority: 0 },
    Column { title: "TEXT", priority: 0 },
];

fn text(found: &Blame, ids: &[SessionId], context: &Context) -> String {
    let (now, paint, width) = (context.clock.now(), context.out_paint, context.width());
    let names = Names::new(ids);
    let digits = found.lines.last().map_or(1, |line| line.line.to_string().len());
    let agents: BTreeMap<_, _> =
        found.turns.iter().map(|author| ((&author.id, author.turn), (author.agent.as_str(), author.at))).collect();
    let mut doubts: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for line in &found.lines {
        let (turn, agent, written) = match &line.origin {
            Origin::Turn { id, turn } => {
                let (agent, at) = agents.get(&(id, *turn)).copied().unwrap_or(("", now));
                (names.of(id, *turn), agent.to_owned(), format!("{} ago", age(at, now)))
            }
            Origin::Outside { after, before } => ("-".into(), "not recorded".into(), between(*after, *before, now)),
            Origin::Unknown { among, why } => {
                let among = match among.as_slice() {
                    [] => why.clone(),
                    [first, second, third, _, ..] => format!("{first}, {second}, {third} or another: {why}"),
                    some => format!("{}: {why}", some.join(", ")),
                };
                if !doubts.contains(&among) {
                    doubts.push(among);
                }
                ("?".into(), "cannot be told".into(), String::new())
            }
        };
        rows.push(vec![turn, agent, written, format!("{:>digits$}", line.line), line.text.replace('\t', "    ")]);
    }
    let mut text = table(&COLUMNS, rows, width, paint, |column, cell, shown| match (column, cell) {
        (0, "-") | (1, "not recorded") | (2 | 3, _) => paint.dim(&shown),
        (0, "?") | (1, "cannot be told") => paint.warn(&shown),
        (0, _) => paint.accent(&shown),
        _ => shown,
    });
    if !found.turns.is_empty() || !doubts.is_empty() {
        text.push('\n');
    }
    for author in &found.turns {
        let prompt = author.prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line = format!(
            "{}  {}  {}  {}",
            names.of(&author.id, author.turn),
            visible(&author.agent),
            time(author.at, &context.zone),
            visible(prompt)
        );
        text.push_str(&width.map_or(line.clone(), |width| cut(&line, width)));
        text.push('\n');
    }
    for doubt in doubts {
        let line = format!("?  {}", visible(&doubt));
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn age(at: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(at).as_secs_f64())
}

fn between(after: Option<Timestamp>, before: Option<Timestamp>, now: Timestamp) -> String {
    match (after, before) {
        (None, None) => String::new(),
        (Some(after), None) => format!("within {}", age(after, now)),
        (None, Some(before)) => format!("over {} ago", age(before, now)),
        (Some(after), Some(before)) => format!("{} to {} ago", age(before, now), age(after, now)),
    }
}

/// Short names of sessions: the end of the id where no other has the same.
struct Names(BTreeMap<String, usize>);

impl Names {
    fn new(ids: &[SessionId]) -> Self {
        let mut ends = BTreeMap::new();
        for id in ids {
            *ends.entry(end(id).to_owned()).or_default() += 1;
        }
        Self(ends)
    }

    fn of(&self, id: &SessionId, turn: u32) -> String {
        let short = if self.0.get(end(id)) == Some(&1) { end(id) } else { id.as_str() };
        format!("{short}@{turn}")
    }
}

fn end(id: &SessionId) -> &str {
    id.as_str().rsplit('-').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_the_last_colon_unless_it_is_in_the_name() {
        let there = ["a.rs", "a:3", "b:c"];
        let read = |text: &'static str| {
            let is_there = |path: &Path| there.iter().any(|known| Path::new(known) == path);
            let (path, range) = split(OsStr::new(text), &is_there).map_err(|error| error.message)?;
            Ok::<_, String>((path.to_str().map(str::to_owned).unwrap_or_default(), range))
        };
        assert_eq!(read("a.rs"), Ok(("a.rs".into(), None)));
        assert_eq!(read("a.rs:7"), Ok(("a.rs".into(), Some(7..=7))));
        assert_eq!(read("a.rs:7-9"), Ok(("a.rs".into(), Some(7..=9))));
        assert_eq!(read("a:3"), Ok(("a:3".into(), None)));
        assert_eq!(read("b:c:1"), Ok(("b:c".into(), Some(1..=1))));
        assert_eq!(read("gone:1"), Ok(("gone:1".into(), None)));
        for wrong in ["a.rs:0", "a.rs:x", "a.rs:9-7", "a.rs:", "a.rs:-3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
