//! The story of a run on stderr, as it happens.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use decklog_journal::event::EventBody;
use decklog_journal::{Event, SessionId};
use decklog_run::observe::{AgentStream, Observer};

use crate::commands::run::pass_on;
use crate::context::Context;
use crate::render::transcript::{Detail, Transcript};
use crate::render::{Paint, duration, visible, visible_lines};

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

    /// Takes the spinner away.
    pub(crate) fn finish(&mut self) {
        self.spins = false;
        self.clear();
    }
}

impl Observer for Story {
    fn started(&mut self, id: &SessionId, _: &Path) {
        let line = format!("{} {}\n", self.paint.bold(id.as_str()), self.paint.dim(&self.agent));
        self.say(&line);
    }

    fn checking(&mut self, command: &str) {
        self.doing = format!("check {}", crate::render::table::cut(&visible(command), 40));
        self.spun_at = None;
    }

    fn event(&mut self, event: &Event) {
        match &event.body {
            EventBody::ToolCall(call) => {
                let title = call.title.as_deref().unwrap_or_default();
                self.doing = crate::render::table::cut(&visible(&format!("{} {title}", call.name)), 60);
            }
            EventBody::ToolResult(_) | EventBody::TurnStart(_) => self.doing.clear(),
            _ => {}
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
        let line = format!("{} {} {} {}", FRAMES[self.frame], self.agent, took, self.doing);
        self.drawn = true;
        let _ = write!(std::io::stderr().lock(), "\r\u{1b}[2K{}", self.paint.dim(line.trim_end()));
    }
}
