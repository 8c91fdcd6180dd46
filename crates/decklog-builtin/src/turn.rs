//! One turn: the model is asked, its calls are made, and it is asked again, until it answers without one.
//!
//! Must not know: protocols, processes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Map, Value};

use crate::context::{cut_middle, fit};
use crate::conversation::{Call, CallResult, Conversation, Entry};
use crate::error::TurnError;
use crate::event::{Event, Teller};
use crate::model::{Ask, Asked, Client, Reply, Stop};
use crate::request::{Model, Request};
use crate::secret::Secret;
use crate::tools::{Outcome, Servers};

/// Tokens that an answer is given room for where nobody says.
const ANSWER: u64 = 8192;
/// Characters of an id that are taken.
const MAX_ID: usize = 64;
/// Characters of arguments that are no JSON, as the model is told of them.
const MAX_QUOTE: usize = 500;

/// Runs `request`, and gives why it ended.
///
/// # Errors
/// [`TurnError`]: the conversation is kept up to there.
pub(crate) async fn run(
    request: &Request,
    key: Option<&Secret>,
    servers: &mut Servers,
    teller: &Teller<'_>,
) -> Result<&'static str, TurnError> {
    let mut conversation = open(request, key, teller)?;
    teller.tell(&Event::Session { id: conversation.id.clone() })?;
    let client = Client::new(&request.model, key, &request.limits)?;
    servers.start(request).await?;
    if servers.left_out > 0 {
        let text =
            format!("{} tools are left out: they are too many, or their descriptions too long", servers.left_out);
        teller.tell(&Event::Notice { code: "tools_left_out", text })?;
    }
    conversation.push(Entry::User { text: request.prompt.clone() })?;
    let mut room = Room::new(&request.model);
    let (mut requests, mut called, mut told_model) = (0, 0, None);
    loop {
        if requests == request.limits.requests {
            return Err(TurnError::Cap { count: requests, what: "model requests" });
        }
        requests += 1;
        let reply = ask(&client, request, &conversation, servers, &mut room, teller).await?;
        let model = reply.model.clone().unwrap_or_else(|| request.model.model.clone());
        if told_model.as_ref() != Some(&model) {
            teller.tell(&Event::Model { model: model.clone() })?;
            told_model = Some(model);
        }
        if reply.stop == Stop::Refused {
            let provider = request.model.provider();
            return Err(TurnError::Refused(format!(
                "{provider} would not answer this: its filter or its model refused"
            )));
        }
        let (calls, troubles) = calls(&reply, &conversation);
        conversation.push(Entry::Assistant {
            model: request.model.model.clone(),
            thinking: reply.thinking,
            text: reply.text.clone(),
            calls: calls.clone(),
        })?;
        if calls.is_empty() {
            return end(reply.stop, reply.text.trim().is_empty(), teller);
        }
        let many = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        if called + many > request.limits.tool_calls {
            let output = "Not called: the turn had no more tool calls left.".to_owned();
            let result = |call: &Call| CallResult { id: call.id.clone(), output: output.clone(), is_error: true };
            conversation.push(Entry::Results { results: calls.iter().map(result).collect() })?;
            return Err(TurnError::Cap { count: called, what: "tool calls" });
        }
        called += many;
        let results = call_all(&calls, troubles, request, servers, teller).await?;
        conversation.push(Entry::Results { results })?;
    }
}

fn open(request: &Request, key: Option<&Secret>, teller: &Teller<'_>) -> Result<Conversation, TurnError> {
    let dir = &request.state_dir;
    match &request.resume {
        None => Conversation::begin(dir, key),
        Some(id) => match Conversation::resume(dir, id, key) {
            Err(error @ TurnError::Gone(_)) if request.begins_anew => {
                let text = format!("{error}: a new one was begun");
                teller.tell(&Event::Notice { code: "conversation_lost", text })?;
                Conversation::begin(dir, key)
            }
            result => result,
        },
    }
}

/// How much of the conversation goes into the model's context.
struct Room {
    /// Tokens of a prompt.
    tokens: u64,
    /// Tokens that a byte is, as far as that is known.
    per_byte: f64,
    told: bool,
}

impl Room {
    fn new(model: &Model) -> Self {
        let answer = model.max_tokens.unwrap_or(ANSWER).min(model.context_tokens / 2);
        Self { tokens: model.context_tokens - answer, per_byte: 0.25, told: false }
    }

    /// Bytes that fit.
    fn bytes(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate, which saturates"
        )]
        let bytes = (self.tokens as f64 / self.per_byte) as usize;
        bytes
    }

    /// Learns what a token is from what a prompt of so many bytes came to.
    fn learn(&mut self, tokens: u64, bytes: usize) {
        if tokens > 0 && bytes > 0 {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let per_byte = tokens as f64 / bytes as f64;
            // Short prompts tell little; nobody has tokens of more than a few bytes, or of less than one.
            self.per_byte = per_byte.clamp(0.15, 1.0);
        }
    }
}

async fn ask(
    client: &Client<'_>,
    request: &Request,
    conversation: &Conversation,
    servers: &Servers,
    room: &mut Room,
    teller: &Teller<'_>,
) -> Result<Reply, TurnError> {
    let tools: usize = servers
        .specs
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + Value::from(tool.schema.clone()).to_string().len())
        .sum();
    let beside = tools + request.system.as_ref().map_or(0, String::len);
    let fitted = fit(&conversation.entries, room.bytes().saturating_sub(beside));
    if fitted.dropped > 0 && !room.told {
        room.told = true;
        let text = "the conversation is longer than the model's context: its oldest rounds are not sent".to_owned();
        teller.tell(&Event::Notice { code: "trimmed", text })?;
    }
    let ask = Ask {
        system: request.system.as_deref(),
        entries: &fitted.entries,
        trimmed: fitted.dropped > 0,
        tools: &servers.specs,
    };
    let (reply, bytes) = client.ask(&ask, teller).await?;
    if let Some(usage) = reply.usage {
        room.learn(usage.input, bytes);
    }
    Ok(reply)
}

/// The calls of an answer with ids that are good for every provider, and what is wrong with each that cannot be made.
fn calls(reply: &Reply, conversation: &Conversation) -> (Vec<Call>, Vec<Option<String>>) {
    let known = conversation.entries.iter().flat_map(|entry| match entry {
        Entry::Assistant { calls, .. } => calls.as_slice(),
        _ => &[],
    });
    let mut used: HashSet<String> = known.map(|call| call.id.clone()).collect();
    let mut calls = Vec::new();
    let mut troubles = Vec::new();
    for asked in &reply.calls {
        let id = good_id(&asked.id, &used);
        used.insert(id.clone());
        let (arguments, trouble) = match arguments(asked) {
            Ok(arguments) => (arguments, None),
            Err(trouble) => (Map::new(), Some(trouble)),
        };
        calls.push(Call { id, name: good_name(&asked.name), arguments });
        troubles.push(trouble);
    }
    (calls, troubles)
}

fn good_id(id: &str, used: &HashSet<String>) -> String {
    let plain = id.len() <= MAX_ID && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain && !id.is_empty() && !used.contains(id) {
        return id.to_owned();
    }
    let made = (used.len() + 1..).map(|number| format!("call_{number}"));
    made.into_iter().find(|id| !used.contains(id)).unwrap_or_default()
}

/// The name as it can be sent back: a provider refuses others.
fn good_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let plain: String = name.chars().map(plain).take(MAX_ID).collect();
    if plain.is_empty() { "unnamed".to_owned() } else { plain }
}

fn arguments(asked: &Asked) -> Result<Map<String, Value>, String> {
    let text = asked.arguments.trim();
    if text.is_empty() {
        return Ok(Map::new());
    }
    let why = match decklog_text::json::from_str(text) {
        Ok(Value::Object(arguments)) => return Ok(arguments),
        Ok(_) => "they are no JSON object".to_owned(),
        Err(error) => error.to_string(),
    };
    let quote = cut_middle(text, MAX_QUOTE);
    Err(format!("The arguments cannot be read: {why}. Call again with a JSON object. They were: {quote}"))
}

/// Makes all calls at once. The results are in the order of the calls.
async fn call_all(
    calls: &[Call],
    troubles: Vec<Option<String>>,
    request: &Request,
    servers: &Servers,
    teller: &Teller<'_>,
) -> Result<Vec<CallResult>, TurnError> {
    for call in calls {
        let Call { id, name, arguments } = call.clone();
        let read_only = servers.is_read_only(&name);
        teller.tell(&Event::ToolCall { id, name, read_only, input: arguments })?;
    }
    let at_most = Duration::from_secs(request.limits.tool_secs);
    let made = calls.iter().zip(troubles).map(|(call, trouble)| async move {
        let began = Instant::now();
        let Outcome { output, is_error } = match trouble {
            Some(output) => Outcome { output, is_error: true },
            None => servers.call(&call.name, call.arguments.clone(), at_most).await,
        };
        let output = cut_middle(&output, request.limits.result_chars);
        let duration_secs = began.elapsed().as_secs_f64();
        teller.tell(&Event::ToolResult { id: call.id.clone(), is_error, output: output.clone(), duration_secs })?;
        Ok(CallResult { id: call.id.clone(), output, is_error })
    });
    join_all(made).await.into_iter().collect()
}

fn end(stop: Stop, is_empty: bool, teller: &Teller<'_>) -> Result<&'static str, TurnError> {
    if is_empty {
        let text = "the model answered nothing".to_owned();
        teller.tell(&Event::Notice { code: "empty_answer", text })?;
    }
    if stop == Stop::Length {
        let text = "the answer was cut: it reached max-tokens".to_owned();
        teller.tell(&Event::Notice { code: "cut_answer", text })?;
        return Ok("max_tokens");
    }
    Ok("end_turn")
}
