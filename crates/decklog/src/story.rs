//! The story of a run on stderr, as it happens.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use decklog_journal::event::EventBody;
use decklog_journal::words::Role;
use decklog_journal::{Event, SessionId};
use decklog_run::agents::{Asking, Leave};
use decklog_run::observe::{AgentStream, Observer};
use decklog_run::supervise::Signals;
use decklog_text::format::{cost, counted, duration, time};
use decklog_text::{visible, visible_lines};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::commands::run::pass_on;
use crate::context::Context;
use crate::render::Paint;
use crate::render::transcript::{Detail, Transcript};

/// Tells a run's story.
pub(crate) struct Story {
    agent: String,
    transcript: Transcript,
    paint: Paint,
    /// Whether a text agent's output goes straight to stdout.
    passes_on: bool,
    stdout_is_terminal: bool,
    stdout_open: bool,
    /// The spinner, where there is a terminal to turn on.
    spins: bool,
    spun_at: Option<Instant>,
    drawn: bool,
    frame: usize,
    start: Instant,
    doing: String,
    /// In a loop.
    round: Option<Round>,
    zone: TimeZone,
    somebody: Option<&'static Signals>,
}

/// How far a loop is.
struct Round {
    iteration: u32,
    of: u32,
    tools: u64,
    cost: Option<f64>,
}

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME: Duration = Duration::from_millis(100);

impl Story {
    pub(crate) fn new(agent: &str, passes_on: bool, context: &Context) -> Self {
        Self {
            agent: visible(agent).into_owned(),
            transcript: Transcript::new(Detail::Brief, context.err_paint, None),
            paint: context.err_paint,
            passes_on,
            stdout_is_terminal: context.out_is_terminal,
            stdout_open: true,
            // A text agent's own output would be drawn over.
            spins: context.err_is_terminal && !(passes_on && context.out_is_terminal),
            spun_at: None,
            drawn: false,
            frame: 0,
            start: Instant::now(),
            doing: String::new(),
            round: None,
            zone: context.zone.clone(),
            somebody: None,
        }
    }

    /// The story of a loop of at most `of` iterations, of which `done` are over.
    pub(crate) fn of_loop(mut self, of: u32, done: u32) -> Self {
        self.round = Some(Round { iteration: done + 1, of, tools: 0, cost: None });
        self
    }

    /// The story with all that is said, as it is said.
    pub(crate) fn in_full(mut self, context: &Context) -> Self {
        self.transcript = Transcript::new(Detail::Full, context.err_paint, context.err_width());
        self
    }

    /// Somebody sits there who can be asked; `signals` may end the waiting for them.
    pub(crate) fn with_somebody(mut self, signals: &'static Signals) -> Self {
        self.somebody = Some(signals);
        self
    }

    /// Who is at work, and what changes in a loop with an event.
    fn follow(&mut self, body: &EventBody) {
        if let EventBody::TurnStart(start) = body
            && start.role != Role::Solo
        {
            self.agent = format!("{} {}", start.role, visible(&start.agent));
        }
        let Some(round) = &mut self.round else { return };
        match body {
            EventBody::TurnStart(start) if start.role == Role::Actor => {
                let line = self.paint.bold(&format!("iteration {} of {}", round.iteration, round.of));
                self.say(&(line + "\n"));
            }
            EventBody::ToolCall(_) => round.tools += 1,
            EventBody::Usage(usage) => {
                round.cost = usage.cost_usd.map(|more| round.cost.unwrap_or(0.0) + more).or(round.cost);
            }
            EventBody::Iteration(iteration) => round.iteration = iteration.iteration_number + 1,
            _ => {}
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K");
        }
    }

    fn say(&mut self, text: &str) {
        self.clear();
        // A closed stderr must not end the run.
        let _ = write!(std::io::stderr().lock(), "{text}");
    }

    /// Takes the spinner away, and ends what was being said.
    pub(crate) fn finish(&mut self) {
        self.spins = false;
        self.clear();
        let rest = self.transcript.finish();
        self.say(&rest);
    }
}

impl Observer for Story {
    fn started(&mut self, id: &SessionId, _: &Path) {
        let line = format!("{} {}\n", self.paint.bold(id.as_str()), self.paint.dim(&self.agent));
        self.say(&line);
    }

    fn building(&mut self, image: &str) {
        self.say(&format!("making image {}\n", visible(image)));
    }

    fn build_line(&mut self, line: &str) {
        self.say(&(self.paint.dim(&visible(line)) + "\n"));
    }

    fn checking(&mut self, command: &str) {
        self.doing = format!("check {}", decklog_text::format::cut(&visible(command), 40));
        self.spun_at = None;
    }

    fn waiting(&mut self, agent: &str, until: Timestamp) {
        let until = time(until, &self.zone);
        let line =
            format!("everybody is rate-limited: waiting for {} until {until}; Ctrl-C leaves it\n", visible(agent));
        self.say(&self.paint.warn(&line).clone());
        self.doing = format!("limited until {until}");
        self.spun_at = None;
    }

    fn event(&mut self, event: &Event) {
        match &event.body {
            EventBody::ToolCall(call) => {
                let title = call.title.as_deref().unwrap_or_default();
                self.doing = decklog_text::format::cut(&visible(&format!("{} {title}", call.name)), 60);
            }
            EventBody::ToolResult(_) | EventBody::TurnStart(_) => self.doing.clear(),
            _ => {}
        }
        self.follow(&event.body);
        // That the record goes on by a handoff is told by the handoff.
        if matches!(event.body, EventBody::Checkpoint(_) | EventBody::Resumed(_)) {
            return;
        }
        let text = self.transcript.event(event);
        if !text.is_empty() {
            self.say(&text);
        }
    }

    fn agent_bytes(&mut self, bytes: &[u8], from: AgentStream) {
        match from {
            _ if !self.passes_on => {}
            AgentStream::Stdout => pass_on(bytes, self.stdout_is_terminal, &mut self.stdout_open),
            AgentStream::Stderr => self.say(&visible_lines(&String::from_utf8_lossy(bytes))),
        }
    }

    fn asked(&mut self, asking: &Asking) -> Leave {
        let Some(signals) = self.somebody else { return Leave::Never };
        let rest = self.transcript.finish();
        self.say(&rest);
        crate::shell::leave::ask(&self.agent, asking, self.paint, signals)
    }

    fn trouble(&mut self, what: &str) {
        let line = format!("{} {}\n", self.paint.bad("not recorded:"), visible(what));
        self.say(&line);
    }

    fn idle(&mut self) {
        if !self.spins || self.spun_at.is_some_and(|at| at.elapsed() < FRAME) {
            return;
        }
        self.spun_at = Some(Instant::now());
        self.frame = (self.frame + 1) % FRAMES.len();
        let took = duration(self.start.elapsed().as_secs_f64());
        let far = self.round.as_ref().map(|round| {
            let cost = round.cost.map(|dollars| format!(", {}", cost(dollars))).unwrap_or_default();
            format!("[{}/{}: {}{cost}] ", round.iteration, round.of, counted(round.tools, "tool call"))
        });
        let line = format!("{} {}{} {} {}", FRAMES[self.frame], far.unwrap_or_default(), self.agent, took, self.doing);
        self.drawn = true;
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K{}", self.paint.dim(line.trim_end()));
    }
}
