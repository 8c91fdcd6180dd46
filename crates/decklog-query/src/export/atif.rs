//! The Agent Trajectory Interchange Format, version 1.8: one document per session.
//!
//! A step of an agent is what it thought, said and did until it went on to something else. Tokens and cost are known
//! for turns, not for steps: the last step of a turn has those of the turn, and says so.

use decklog_journal::event::Tokens;
use decklog_journal::session::{Step, ToolUse, Turn};
use decklog_journal::time::micros;
use decklog_journal::words::ShownOutcome;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Whole;

/// What a document says it is.
pub const SCHEMA: &str = "ATIF-v1.8";

/// The document of a session.
#[must_use]
pub fn document(whole: &Whole) -> Value {
    let head = &whole.session.head;
    let first = whole.session.turns.first();
    let agent = first.map(|turn| turn.agent.as_str()).or(whole.start.agents.first().map(String::as_str));
    let mut agent = json!({ "name": agent.unwrap_or("unknown"), "version": "unknown" });
    put(&mut agent, "model_name", first.and_then(|turn| turn.model.as_deref()));
    let mut steps = Steps::default();
    if first.is_none() {
        steps.add(json!({ "source": "user", "message": whole.session.prompt }), Some(whole.times.0));
    }
    for (turn, texts) in whole.session.turns.iter().zip(&whole.texts) {
        // The first turn's is the session's, unless it has one of its own. Of a later one it may not be known.
        let of_session = (turn.turn == 1).then_some(&whole.session.prompt);
        if let Some(prompt) = texts.prompt.as_ref().or(of_session) {
            steps.add(json!({ "source": "user", "message": prompt }), Some(turn.started_at));
        }
        steps.turn(turn, texts.patch.as_deref());
    }
    let tokens = head.tokens.unwrap_or_default();
    let mut totals = json!({
        "total_prompt_tokens": tokens.input,
        "total_completion_tokens": tokens.output,
        "total_cached_tokens": tokens.cached_input,
        "total_steps": steps.0.len(),
    });
    put(&mut totals, "total_cost_usd", head.cost_usd);
    let mut extra = json!({
        "recorder": format!("decklog {}", whole.start.decklog_version),
        "kind": head.kind,
        "status": head.status,
        "working_dir": head.working_dir,
        "started_at": micros(whole.times.0),
    });
    put(&mut extra, "outcome", ShownOutcome::of(head.status.into(), head.outcome));
    put(&mut extra, "exit_code", head.exit_code);
    put(&mut extra, "ended_at", whole.times.1.map(micros));
    put(&mut extra, "git", head.git.as_ref());
    json!({
        "schema_version": SCHEMA,
        "session_id": head.id,
        "trajectory_id": head.id,
        "agent": agent,
        "steps": steps.0,
        "notes": "Metrics of a turn stand in the last agent step of that turn, for all of its steps together.",
        "final_metrics": totals,
        "extra": extra,
    })
}

/// Sets a key, unless there is nothing to set it to.
fn put(object: &mut Value, key: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        object[key] = json!(value);
    }
}

#[derive(Default)]
struct Steps(Vec<Value>);

/// A step of an agent in the making.
#[derive(Default)]
struct Open {
    at: Option<Timestamp>,
    thought: Vec<String>,
    message: Option<String>,
    tools: Vec<ToolUse>,
    plan: Option<Value>,
}

impl Open {
    fn is_empty(&self) -> bool {
        self.thought.is_empty() && self.message.is_none() && self.tools.is_empty() && self.plan.is_none()
    }
}

impl Steps {
    fn add(&mut self, step: Value, at: Option<Timestamp>) {
        let mut numbered = json!({ "step_id": self.0.len() + 1 });
        put(&mut numbered, "timestamp", at.map(micros));
        if let (Value::Object(numbered), Value::Object(step)) = (&mut numbered, step) {
            numbered.extend(step);
        }
        self.0.push(numbered);
    }

    fn turn(&mut self, turn: &Turn, patch: Option<&str>) {
        let mut open = Open::default();
        let mut last = None;
        for step in &turn.steps {
            // What follows a tool, or a second word, is another step.
            let goes_on = match step {
                Step::Thought(_) => open.message.is_none() && open.tools.is_empty(),
                Step::Message(_) => open.message.is_none() && open.tools.is_empty(),
                Step::Tool(_) | Step::Plan { .. } => true,
                Step::Notice(_) => false,
            };
            if !goes_on {
                last = self.close(&mut open, turn).or(last);
            }
            match step {
                Step::Thought(said) => {
                    open.at.get_or_insert(said.at);
                    open.thought.push(said.text.clone());
                }
                Step::Message(said) => {
                    open.at.get_or_insert(said.at);
                    open.message = Some(said.text.clone());
                }
                Step::Tool(tool) => {
                    open.at.get_or_insert(tool.at);
                    open.tools.push((**tool).clone());
                }
                Step::Plan { entries } => open.plan = Some(json!(entries)),
                Step::Notice(notice) => {
                    let extra = json!({ "code": notice.code });
                    self.add(json!({ "source": "system", "message": notice.text, "extra": extra }), None);
                }
            }
        }
        last = self.close(&mut open, turn).or(last);
        if let Some(last) = last.and_then(|at| self.0.get_mut(at)) {
            if let Some(metrics) = metrics(turn.tokens, turn.cost_usd) {
                last["metrics"] = metrics;
            }
            put(&mut last["extra"], "patch", patch);
        }
        if let Some(error) = &turn.error {
            let extra = json!({ "turn": turn.turn, "outcome": turn.outcome });
            self.add(json!({ "source": "system", "message": error, "extra": extra }), turn.ended_at);
        }
        for check in &turn.validations {
            let mut extra = json!({ "turn": turn.turn, "passed": check.passed });
            put(&mut extra, "exit_code", check.exit_code);
            let message = format!("check {}: {}", if check.passed { "passed" } else { "failed" }, check.command);
            let observation = json!({ "results": [{ "content": check.output }] });
            self.add(
                json!({ "source": "system", "message": message, "observation": observation, "extra": extra }),
                None,
            );
        }
    }

    /// Adds the step that was being made, if it holds anything; gives its place.
    fn close(&mut self, open: &mut Open, turn: &Turn) -> Option<usize> {
        let open = std::mem::take(open);
        if open.is_empty() {
            return None;
        }
        let mut extra = json!({ "turn": turn.turn, "agent": turn.agent, "role": turn.role });
        put(&mut extra, "plan", open.plan);
        let mut step = json!({ "source": "agent", "message": open.message.unwrap_or_default() });
        put(&mut step, "model_name", turn.model.as_deref());
        if !open.thought.is_empty() {
            step["reasoning_content"] = open.thought.join("\n\n").into();
        }
        if !open.tools.is_empty() {
            step["tool_calls"] = open.tools.iter().map(call).collect();
            step["observation"] = json!({ "results": open.tools.iter().map(result).collect::<Vec<_>>() });
        }
        step["extra"] = extra;
        self.add(step, open.at);
        Some(self.0.len() - 1)
    }
}

fn call(tool: &ToolUse) -> Value {
    let arguments = match &tool.input {
        Value::Object(input) => input.clone(),
        Value::Null => Map::new(),
        other => Map::from_iter([("value".to_owned(), other.clone())]),
    };
    let mut extra = json!({ "kind": tool.kind });
    put(&mut extra, "title", tool.title.as_deref());
    json!({ "tool_call_id": tool.call_id, "function_name": tool.name, "arguments": arguments, "extra": extra })
}

fn result(tool: &ToolUse) -> Value {
    let mut extra = json!({ "status": tool.status });
    put(&mut extra, "exit_code", tool.exit_code);
    put(&mut extra, "duration_secs", tool.duration_secs);
    json!({ "source_call_id": tool.call_id, "content": tool.output, "extra": extra })
}

fn metrics(tokens: Tokens, cost_usd: Option<f64>) -> Option<Value> {
    if tokens.is_zero() && cost_usd.is_none() {
        return None;
    }
    let mut metrics = json!({
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "cached_tokens": tokens.cached_input,
        "extra": { "scope": "turn", "reasoning_tokens": tokens.reasoning },
    });
    put(&mut metrics, "cost_usd", cost_usd);
    Some(metrics)
}
