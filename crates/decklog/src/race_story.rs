//! The story of a race on stderr: the racers side by side where there is a terminal, else line by line under their names.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use decklog_journal::event::{EventBody, TurnEnd};
use decklog_journal::words::{Role, TurnOutcome};
use decklog_journal::{Event, SessionId};
use decklog_run::observe::Observer;
use decklog_text::format::{counted, cut, duration};
use decklog_text::visible;

use crate::context::Context;
use crate::render::Paint;
use crate::render::transcript::{Detail, Transcript};

const FRAME: Duration = Duration::from_millis(100);

/// Tells a race's story.
pub(crate) struct RaceStory {
    lanes: Vec<Lane>,
    paint: Paint,
    /// Columns of the terminal, where the lanes are drawn over each other.
    width: Option<usize>,
    drawn: usize,
    drawn_at: Option<Instant>,
    session: Option<SessionId>,
}

/// One racer.
struct Lane {
    name: String,
    turn: Option<u32>,
    since: Option<Instant>,
    tools: u64,
    doing: String,
    /// How it came out, once it did.
    ended: Option<String>,
    checks: String,
    transcript: Transcript,
}

impl RaceStory {
    pub(crate) fn new(names: &[String], context: &Context) -> Self {
        let lane = |name: &String| Lane {
            name: visible(name).into_owned(),
            turn: None,
            since: None,
            tools: 0,
            doing: "is being made ready".into(),
            ended: None,
            checks: String::new(),
            transcript: Transcript::new(Detail::Brief, context.err_paint, None),
        };
        Self {
            lanes: names.iter().map(lane).collect(),
            paint: context.err_paint,
            width: if context.err_is_terminal { context.err_width() } else { None },
            drawn: 0,
            drawn_at: None,
            session: None,
        }
    }

    /// The session, once there is one.
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    fn lane(&mut self, event: &EventBody) -> Option<&mut Lane> {
        if let EventBody::TurnStart(start) = event {
            let label = match &start.model {
                Some(model) => format!("{}:{model}", start.agent),
                None => start.agent.clone(),
            };
            let label = visible(&label).into_owned();
            let is_its =
                |name: &str| name == label || name.strip_prefix(&label).is_some_and(|rest| rest.starts_with('#'));
            let lane =
                self.lanes.iter_mut().find(|lane| lane.turn.is_none() && lane.ended.is_none() && is_its(&lane.name))?;
            (lane.turn, lane.since) = (Some(start.turn), Some(Instant::now()));
            return Some(lane);
        }
        let turn = event.turn()?;
        self.lanes.iter_mut().find(|lane| lane.turn == Some(turn))
    }

    fn clear(&mut self) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\r\u{1b}[{}A\u{1b}[J", self.drawn));
            self.drawn = 0;
        }
        text
    }

    fn say(&mut self, text: &str) {
        let text = self.clear() + text;
        let _ = write!(std::io::stderr().lock(), "{text}");
        self.drawn_at = None;
    }

    fn draw(&mut self) {
        let Some(width) = self.width else { return };
        let name = self.lanes.iter().map(|lane| lane.name.chars().count()).max().unwrap_or(0);
        let lines: Vec<String> = self.lanes.iter().map(|lane| lane.line(name, width, self.paint)).collect();
        let mut text = self.clear();
        self.drawn = lines.len();
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        let _ = write!(std::io::stderr().lock(), "{text}");
    }

    /// Shows where all stand in the end.
    pub(crate) fn finish(&mut self) {
        self.draw();
        (self.drawn, self.width) = (0, None);
    }
}

impl Lane {
    fn line(&self, name: usize, width: usize, paint: Paint) -> String {
        let took = self.since.map(|since| duration(since.elapsed().as_secs_f64())).unwrap_or_default();
        let state = match &self.ended {
            Some(ended) => format!("{ended}{}", self.checks),
            None if self.since.is_none() => self.doing.clone(),
            None => format!("{took}  {}  {}", counted(self.tools, "tool call"), self.doing),
        };
        let room = width.saturating_sub(name + 5);
        let state = cut(&state, room);
        let shown = match &self.ended {
            Some(ended) if ended.starts_with("success") && !self.checks.contains('✗') => paint.good(&state),
            Some(_) => paint.bad(&state),
            None => paint.dim(&state),
        };
        format!("  {:<name$}  {shown}", self.name)
    }

    fn follow(&mut self, event: &EventBody) {
        match event {
            EventBody::TurnStart(_) => self.doing.clear(),
            EventBody::ToolCall(call) => {
                self.tools += 1;
                let title = call.title.as_deref().unwrap_or_default();
                self.doing = visible(&format!("{} {title}", call.name)).into_owned();
            }
            EventBody::ToolResult(_) => self.doing.clear(),
            EventBody::TurnEnd(end) => self.ended = Some(ended(end)),
            EventBody::Validation(check) => {
                let mark = if check.passed { '✓' } else { '✗' };
                self.checks.push_str(&format!("  {mark} {}", visible(&check.command)));
            }
            _ => {}
        }
    }
}

fn ended(end: &TurnEnd) -> String {
    let mut text = format!("{} after {}", end.outcome.as_str().replace('_', " "), duration(end.duration_secs));
    if end.outcome == TurnOutcome::Success {
        let sum =
            |of: fn(&decklog_journal::event::FileChange) -> Option<u64>| end.files.iter().filter_map(of).sum::<u64>();
        text.push_str(&format!("  {}", counted(end.files_changed, "file")));
        // Of very many not all are named.
        if end.files.len() as u64 == end.files_changed {
            text.push_str(&format!(" +{} -{}", sum(|file| file.added), sum(|file| file.removed)));
        }
    } else if let Some(error) = end.error.as_deref().and_then(|error| error.lines().next()) {
        text.push_str(&format!(": {}", visible(error)));
    }
    text
}

impl Observer for RaceStory {
    fn started(&mut self, id: &SessionId, _: &Path) {
        self.session = Some(id.clone());
        let names: Vec<&str> = self.lanes.iter().map(|lane| lane.name.as_str()).collect();
        let line = format!("{} {}\n", self.paint.bold(id.as_str()), self.paint.dim(&names.join(" | ")));
        self.say(&line);
    }

    fn checking(&mut self, command: &str) {
        let line = self.paint.dim(&format!("making the worktrees ready: {}", visible(command)));
        self.say(&(line + "\n"));
    }

    fn event(&mut self, event: &Event) {
        let (paint, in_lines) = (self.paint, self.width.is_none());
        let Some(lane) = self.lane(&event.body) else {
            // The judge's turn, and what concerns no racer.
            let text = match &event.body {
                EventBody::TurnStart(start) if start.role == Role::Judge => {
                    format!("{} judges\n", visible(&start.agent))
                }
                EventBody::Notice(notice) => {
                    if notice.code == "not_prepared" {
                        let is_its = |lane: &&mut Lane| notice.text.starts_with(&format!("{} could not", lane.name));
                        if let Some(lane) = self.lanes.iter_mut().find(is_its) {
                            lane.ended = Some("could not begin".into());
                        }
                    }
                    paint.warn(&format!("{}\n", visible(&notice.text)))
                }
                _ => String::new(),
            };
            if !text.is_empty() {
                self.draw();
                self.drawn = 0;
                self.say(&text);
            }
            return;
        };
        lane.follow(&event.body);
        if in_lines {
            let mut text = lane.transcript.event(event);
            if let EventBody::TurnEnd(end) = &event.body {
                text.push_str(&format!("  {}\n", ended(end)));
            }
            let name = lane.name.clone();
            let lines: String =
                text.lines().map(|line| format!("{} {line}\n", paint.dim(&format!("{name} │")))).collect();
            self.say(&lines);
        }
    }

    fn trouble(&mut self, what: &str) {
        let line = format!("{} {}\n", self.paint.bad("not recorded:"), visible(what));
        self.say(&line);
    }

    fn idle(&mut self) {
        if self.drawn_at.is_none_or(|at| at.elapsed() >= FRAME) {
            self.draw();
            self.drawn_at = Some(Instant::now());
        }
    }
}
