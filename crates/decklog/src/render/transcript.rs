//! Events as lines: the one rendering path of `show`, `watch` and the live story of `run`.

use std::collections::HashMap;

use decklog_journal::Event;
use decklog_journal::event::{ArtifactRef, EventBody, Iteration, PlanEntry, SessionEnd, TurnEnd};
use decklog_journal::words::{Decision, Role, ToolKind, ToolStatus, TurnOutcome};
use decklog_query::network::OfCalls;
use decklog_query::show::{is_loud, is_output};
use decklog_text::format::{counted, duration, size};
use decklog_text::{visible, visible_lines};

use super::Paint;
use super::said::{MARGIN, Said};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// One line for each tool call and other happening; the agent's words only as a first line.
    Brief,
    /// The agent's words whole, tools with the beginning of their output.
    Full,
}

/// Lines of a tool's output that are shown.
const OUTPUT_LINES: usize = 12;

/// Renders events in order.
pub(crate) struct Transcript {
    detail: Detail,
    paint: Paint,
    width: Option<usize>,
    /// The text that may go on.
    said: Option<Said>,
    /// Whether something stands above that an empty line keeps a text apart from.
    below_something: bool,
    /// The plan as it was last shown.
    plan: Vec<PlanEntry>,
    /// Whether the turn's messages are what a program printed.
    is_output: bool,
    /// Calls without a result: the line each was last told in, and whether that stands there.
    calls: HashMap<(u32, String), (String, bool)>,
    /// Whose each turn is.
    whose: HashMap<u32, String>,
    /// The turn that was told of last.
    at: u32,
    /// What was reached for during each call.
    network: OfCalls,
}

impl Transcript {
    /// For a screen of `width` columns, or for none.
    pub(crate) fn new(detail: Detail, paint: Paint, width: Option<usize>) -> Self {
        Self {
            detail,
            paint,
            width,
            said: None,
            below_something: false,
            plan: Vec::new(),
            is_output: false,
            calls: HashMap::new(),
            whose: HashMap::new(),
            at: 0,
            network: OfCalls::new(),
        }
    }

    /// With what each call reached for, by turn and id.
    pub(crate) fn with_network(mut self, network: OfCalls) -> Self {
        self.network = network;
        self
    }

    /// What an event adds to the screen; may be nothing.
    pub(crate) fn event(&mut self, event: &Event) -> String {
        let whose = self.whose(&event.body);
        whose + &self.told(event)
    }

    /// A line that says whose turn is told of, where it is another one than before: several are at work in a race.
    fn whose(&mut self, body: &EventBody) -> String {
        let Some(turn) = body.turn() else { return String::new() };
        let before = std::mem::replace(&mut self.at, turn);
        if let EventBody::TurnStart(start) = body {
            self.whose.insert(turn, visible(&start.agent).into_owned());
            return String::new();
        }
        match self.whose.get(&turn) {
            Some(agent) if turn != before && self.detail == Detail::Full => {
                let line = self.paint.dim(&format!("turn {turn} · {agent}")) + "\n";
                self.finish() + &line
            }
            _ => String::new(),
        }
    }

    fn told(&mut self, event: &Event) -> String {
        match &event.body {
            EventBody::Message(e) if self.detail == Detail::Full => {
                let new = if self.is_output { Said::output(self.paint) } else { Said::message(self.paint, self.width) };
                let cut = e.cut_artifact.as_ref().map(|whole| ("the rest", whole));
                self.said(new, e.continued, &e.text, e.text_artifact.as_ref().map(|whole| ("the whole", whole)).or(cut))
            }
            EventBody::Thought(e) if self.detail == Detail::Full => {
                let whole = e.text_artifact.as_ref().map(|whole| ("the whole", whole));
                self.said(Said::thought(self.paint), e.continued, &e.text, whole)
            }
            EventBody::Plan(plan) if self.detail == Detail::Full => {
                let added = self.plan(&plan.entries);
                self.below(added)
            }
            body => {
                if let EventBody::TurnStart(start) = body {
                    self.is_output = is_output(start.permissions, &start.command);
                }
                let added = self.body(body);
                let added = self.once(body, added);
                let is_title = matches!(body, EventBody::TurnStart(_));
                let shown = self.below(added);
                self.below_something &= !is_title;
                shown
            }
        }
    }

    /// What shows at once all that has come; for when nothing more comes at the moment.
    pub(crate) fn pause(&mut self) -> String {
        self.said.as_mut().map(Said::pause).unwrap_or_default()
    }

    /// Ends an open text.
    pub(crate) fn finish(&mut self) -> String {
        self.said.take().map(Said::finish).unwrap_or_default()
    }

    /// More of the text at work, or a `new` one.
    fn said(&mut self, new: Said, continues: bool, text: &str, elsewhere: Option<(&str, &ArtifactRef)>) -> String {
        let mut shown = String::new();
        if !continues || self.said.is_none() {
            if text.trim().is_empty() && elsewhere.is_none() {
                return shown;
            }
            shown.push_str(&self.finish());
            if self.below_something {
                shown.push('\n');
            }
            self.said = Some(new);
        }
        if let Some(said) = &mut self.said {
            shown.push_str(&said.push(text));
        }
        self.below_something = true;
        if let Some((what, artifact)) = elsewhere {
            shown.push_str(&self.finish());
            let line = format!("{MARGIN}… {what} of {} is in {}", size(artifact.bytes), visible(&artifact.path));
            shown.push_str(&(self.paint.dim(&line) + "\n"));
        }
        shown
    }

    /// What is told of a call, but for what stands there already, and not before there is something to tell: over ACP agents tell
    /// of a call bit by bit.
    fn once(&mut self, body: &EventBody, line: String) -> String {
        match body {
            EventBody::ToolCall(call) => {
                let is_vague =
                    call.status == ToolStatus::Pending && call.input.as_object().is_none_or(|it| it.is_empty());
                let key = (call.turn, call.call_id.clone());
                let shown = self.calls.get(&key).is_some_and(|(_, shown)| *shown);
                if is_vague && call.input_artifact.is_none() && !shown {
                    self.calls.insert(key, (line, false));
                    return String::new();
                }
                match self.calls.insert(key, (line.clone(), true)) {
                    Some((before, true)) if before == line => String::new(),
                    _ => line,
                }
            }
            EventBody::ToolResult(result) => match self.calls.remove(&(result.turn, result.call_id.clone())) {
                Some((call, false)) => call + &line,
                _ => line,
            },
            EventBody::TurnEnd(end) => {
                let mut left: Vec<_> = self.calls.extract_if(|(turn, _), _| *turn == end.turn).collect();
                left.sort();
                let untold = left.into_iter().filter(|(_, (_, shown))| !shown).map(|(_, (call, _))| call);
                untold.collect::<String>() + &line
            }
            _ => line,
        }
    }

    /// What is not a text, below what stands there.
    fn below(&mut self, added: String) -> String {
        if added.is_empty() {
            return added;
        }
        self.below_something = true;
        match self.said.take() {
            Some(said) => said.finish() + "\n" + &added,
            None => added,
        }
    }

    /// The plan where it is new, and only what has changed of it where it was shown before.
    fn plan(&mut self, entries: &[PlanEntry]) -> String {
        let before = std::mem::replace(&mut self.plan, entries.to_vec());
        let mut shown = String::new();
        for entry in entries.iter().filter(|entry| !before.contains(entry)) {
            let mark = match entry.status.as_str() {
                "completed" => self.paint.good("✓"),
                "in_progress" => self.paint.accent("▸"),
                _ => "·".to_owned(),
            };
            shown.push_str(&format!("  {mark} {}\n", visible(&entry.content)));
        }
        let gone = |entry: &&PlanEntry| !entries.iter().any(|now| now.content == entry.content);
        for entry in before.iter().filter(gone) {
            shown.push_str(&self.paint.dim(&format!("  − {} (dropped)", visible(&entry.content))));
            shown.push('\n');
        }
        shown
    }

    fn body(&self, body: &EventBody) -> String {
        let (paint, full) = (self.paint, self.detail == Detail::Full);
        match body {
            EventBody::TurnStart(start) if full => {
                let model = start.model.as_deref().map(|model| format!(" ({})", visible(model))).unwrap_or_default();
                let permissions = start.permissions.map(|p| format!(" · {p}")).unwrap_or_default();
                let role = if start.role == Role::Solo { String::new() } else { format!(" · {}", start.role) };
                // An `mcp` session has no agent.
                let agent = if start.agent.is_empty() { "MCP client".into() } else { visible(&start.agent) };
                let turn = format!("turn {} · {agent}{model}{role}{permissions}", start.turn);
                let prompt = visible_lines(&start.prompt);
                let more = start.prompt_artifact.as_ref().filter(|_| !prompt.is_empty());
                let more = more.map(|whole| format!("  … {} in all\n", size(whole.bytes))).unwrap_or_default();
                let asked: String = prompt.lines().map(|line| format!("  > {line}\n")).collect();
                format!("{}\n{asked}{more}", paint.bold(&turn))
            }
            EventBody::TurnStart(start) if start.role != Role::Solo => {
                paint.dim(&format!(" {} · {}", start.role, visible(&start.agent))) + "\n"
            }
            EventBody::Iteration(iteration) => self.iteration(iteration),
            EventBody::SessionEnd(end) if full && end.iterations.is_some() => self.loop_end(end),
            EventBody::ToolCall(call) => {
                let title = call.title.as_deref().unwrap_or_default();
                let input = match &call.input {
                    serde_json::Value::Null => String::new(),
                    _ if !title.is_empty() => String::new(),
                    other => decklog_text::format::cut(&other.to_string(), 120),
                };
                // Over ACP the name is but the sort of tool, and the title says the same in words.
                let name = if call.name == call.kind.as_str() && !title.is_empty() {
                    String::new()
                } else {
                    paint.accent(&visible(&call.name)) + " "
                };
                format!("  {} {name}{}{}\n", symbol(call.kind), visible(title), visible(&input))
            }
            EventBody::ToolResult(result) => {
                let took = result.duration_secs.map(|secs| format!(" {secs:.1}s")).unwrap_or_default();
                let code =
                    result.exit_code.filter(|code| *code != 0).map(|code| format!(" exit {code}")).unwrap_or_default();
                let of_call = self.network.get(&(result.turn, result.call_id.clone()));
                let reached = of_call.map(|network| super::network::under_call(network, paint)).unwrap_or_default();
                reached
                    + &match result.status {
                        ToolStatus::Failed => {
                            format!("    {}\n", paint.bad(&format!("failed{code}{took}")))
                                + &self.output(&result.output, result.output_artifact.as_ref().map(|a| a.bytes))
                        }
                        _ if full => self.output(&result.output, result.output_artifact.as_ref().map(|a| a.bytes)),
                        _ => String::new(),
                    }
            }
            EventBody::RateLimited(limit) => {
                let until = limit.resets_at.map(|at| format!(" until {at:.0}")).unwrap_or_default();
                paint.warn(&format!("  rate limited{until}: {}", visible(&limit.message))) + "\n"
            }
            EventBody::Notice(notice) if notice.code == "unknown_line" && !full => String::new(),
            EventBody::Notice(notice) => {
                let text = decklog_text::format::cut(&visible(&notice.text), 300);
                let line = format!("  {}: {text}", visible(&notice.code));
                (if is_loud(&notice.code) { paint.warn(&line) } else { paint.dim(&line) }) + "\n"
            }
            EventBody::TurnEnd(end) if full => self.turn_end(end),
            EventBody::Validation(check) => {
                let took = format!("{:.1}s", check.duration_secs);
                if check.passed {
                    paint.good(&format!("  ✓ check passed: {} ({took})", visible(&check.command))) + "\n"
                } else {
                    let code = check.exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit {code}"));
                    paint.bad(&format!("  ✗ check failed: {} ({code}, {took})", visible(&check.command)))
                        + "\n"
                        + &self.tail(&check.output)
                }
            }
            EventBody::Handoff(handoff) => {
                format!("  {} → {} ({})\n", visible(&handoff.from), visible(&handoff.to), visible(&handoff.reason))
            }
            EventBody::Container(container) if full => {
                let network = visible(&container.network);
                let name = visible(&container.container_name);
                paint
                    .dim(&format!("  container {name}: workspace {}, network {network}", visible(&container.workspace)))
                    + "\n"
            }
            EventBody::Checkpoint(checkpoint) if full => {
                format!("checkpoint: {}\n", visible(&checkpoint.reason))
            }
            EventBody::Resumed(_) if full => "resumed\n".to_owned(),
            EventBody::Unknown(event) if full => {
                paint.dim(&format!("  {}: not known to this decklog", visible(&event.kind))) + "\n"
            }
            _ => String::new(),
        }
    }

    /// What was decided about an iteration.
    fn iteration(&self, iteration: &Iteration) -> String {
        let decision = match iteration.critic_decision {
            Decision::Done => self.paint.good("DONE"),
            Decision::Continue => self.paint.warn("CONTINUE"),
            Decision::Error => self.paint.bad("ERROR"),
        };
        let overruled = iteration.critic_said.map(|said| format!(" (the critic said {said}, the checks do not pass)"));
        let sure = iteration.confidence.map(|confidence| format!(" (confidence {:.0} %)", confidence * 100.0));
        let title = self.paint.bold(&format!("iteration {}", iteration.iteration_number));
        let mut text = format!("{title}: {decision}{}{}\n", sure.unwrap_or_default(), overruled.unwrap_or_default());
        let told = iteration.feedback.as_deref().or(iteration.summary.as_deref()).unwrap_or_default();
        let lines = visible_lines(told.trim());
        let shown = if self.detail == Detail::Full { usize::MAX } else { OUTPUT_LINES };
        text.extend(lines.lines().take(shown).map(|line| format!("  {line}\n")));
        let more = lines.lines().count().saturating_sub(shown);
        if more > 0 {
            text.push_str(&self.paint.dim(&format!("  … {}\n", counted(more as u64, "more line"))));
        }
        text
    }

    fn loop_end(&self, end: &SessionEnd) -> String {
        let sure = end.confidence.map(|confidence| format!(" (confidence {:.0} %)", confidence * 100.0));
        let summary = visible_lines(end.summary.as_deref().unwrap_or_default());
        let title = self.paint.bold(&format!("after {}", counted(end.iterations.unwrap_or(0).into(), "iteration")));
        format!("{title}{}:\n{}", sure.unwrap_or_default(), indent("  ", &summary))
    }

    fn turn_end(&self, end: &TurnEnd) -> String {
        let paint = self.paint;
        let outcome = match end.outcome {
            TurnOutcome::Success => paint.good(end.outcome.as_str()),
            TurnOutcome::RateLimited | TurnOutcome::Interrupted => paint.warn(end.outcome.as_str()),
            _ => paint.bad(end.outcome.as_str()),
        };
        let mut lines = format!("  {outcome} after {}\n", duration(end.duration_secs));
        if let Some(error) = &end.error {
            lines.push_str(&indent("  ", &visible_lines(error)));
        }
        for file in &end.files {
            let counts = match (file.added, file.removed) {
                (Some(added), Some(removed)) => format!("+{added} -{removed}"),
                _ => "binary".to_owned(),
            };
            let from = file.old_path.as_deref().map(|old| format!("{} → ", visible(old))).unwrap_or_default();
            let letter = match file.status.as_str() {
                "added" => paint.good("A"),
                "deleted" => paint.bad("D"),
                "renamed" => paint.accent("R"),
                "type_changed" => "T".to_owned(),
                _ => paint.accent("M"),
            };
            lines.push_str(&format!("  {letter} {from}{} {}\n", visible(&file.path), paint.dim(&counts)));
        }
        let more = end.files_changed.saturating_sub(end.files.len() as u64);
        if more > 0 {
            lines.push_str(&format!("  … and {} more\n", counted(more, "file")));
        }
        for file in &end.withheld {
            let line = format!("  withheld: {} ({})", visible(&file.path), visible(&file.reason));
            lines.push_str(&(paint.warn(&line) + "\n"));
        }
        lines
    }

    /// The beginning of a tool's output.
    fn output(&self, output: &str, whole: Option<u64>) -> String {
        let lines: Vec<&str> = output.lines().collect();
        let mut text: String = lines.iter().take(OUTPUT_LINES).map(|line| self.gutter(line)).collect();
        if let Some(bytes) = whole {
            text.push_str(&self.gutter(&format!("… {} in all", size(bytes))));
        } else if lines.len() > OUTPUT_LINES {
            text.push_str(&self.gutter(&format!("… {}", counted((lines.len() - OUTPUT_LINES) as u64, "more line"))));
        }
        text
    }

    /// The end of a check's output, where failures are told.
    fn tail(&self, output: &str) -> String {
        let lines: Vec<&str> = output.lines().collect();
        let skipped = lines.len().saturating_sub(OUTPUT_LINES);
        lines.iter().skip(skipped).map(|line| self.gutter(line)).collect()
    }

    fn gutter(&self, line: &str) -> String {
        self.paint.dim(&format!("    │ {}", decklog_text::format::cut(&visible(line), 400))) + "\n"
    }
}

fn indent(by: &str, text: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}

fn symbol(kind: ToolKind) -> &'static str {
    match kind {
        ToolKind::Read | ToolKind::Search => "◦",
        ToolKind::Edit | ToolKind::Delete | ToolKind::Move => "✎",
        ToolKind::Execute => "$",
        ToolKind::Fetch => "⇣",
        ToolKind::Think | ToolKind::Other => "•",
    }
}

#[cfg(test)]
mod tests {
    use decklog_journal::event::{Message, Plan, Thought};

    use super::*;

    fn event(body: impl Into<EventBody>) -> Event {
        Event { seq: 0, timestamp: jiff::Timestamp::UNIX_EPOCH, body: body.into() }
    }

    fn plan(entries: &[(&str, &str)]) -> Event {
        let entry =
            |(content, status): &(&str, &str)| PlanEntry { content: (*content).into(), status: (*status).into() };
        event(Plan { turn: 1, entries: entries.iter().map(entry).collect() })
    }

    fn message(text: &str, continued: bool) -> Event {
        event(Message { turn: 1, text: text.into(), text_artifact: None, cut_artifact: None, continued })
    }

    #[test]
    fn of_a_plan_only_changes_are_shown_again() {
        let mut transcript = Transcript::new(Detail::Full, Paint(false), None);
        let shown: Vec<_> = [
            plan(&[("read", "in_progress"), ("mend", "pending")]),
            plan(&[("read", "completed"), ("mend", "in_progress")]),
            plan(&[("read", "completed"), ("mend", "in_progress")]),
            plan(&[("read", "completed"), ("test", "pending")]),
        ]
        .iter()
        .map(|event| transcript.event(event))
        .collect();
        assert_eq!(
            shown,
            ["  ▸ read\n  · mend\n", "  ✓ read\n  ▸ mend\n", "", "  · test\n  − mend (dropped)\n"],
            "each time only what is news"
        );
    }

    #[test]
    fn texts_stand_apart_and_say_where_their_rest_is() {
        let mut transcript = Transcript::new(Detail::Full, Paint(false), None);
        let long = ArtifactRef { path: "turns/001-message-1.md".into(), bytes: 70_000 };
        let events = [
            message("one", false),
            message(" and more\n\nline", true),
            plan(&[("step", "pending")]),
            event(Thought { turn: 1, text: "hm\nwell".into(), text_artifact: None, continued: false }),
            message("   ", false),
            event(Message {
                turn: 1,
                text: "long".into(),
                text_artifact: Some(long),
                cut_artifact: None,
                continued: false,
            }),
        ];
        let mut shown: String = events.iter().map(|event| transcript.event(event)).collect();
        shown += &transcript.finish();
        insta::assert_snapshot!(shown, @r"
          one and more

          line

          · step

          · hm
            well

          long
          … the whole of 68.4 KiB is in turns/001-message-1.md
        ");
    }
}
