//! `001-output.md`: what came back in a turn, as text that reads well.
//!
//! Must not know: the terminal. What is made here is a file of the record, hostile text and all.

use crate::event::{Event, EventBody};

/// Bytes of a tool's input or output that are written out.
const LONG: usize = 16 * 1024;

/// A turn as it is written out, event by event.
#[derive(Debug, Default)]
pub struct ReadableTurn {
    has_begun: bool,
}

impl ReadableTurn {
    /// What the turn's next event adds; empty for what people do not read.
    #[must_use]
    pub fn add(&mut self, event: &Event) -> String {
        let mut text = markdown(event);
        if !self.has_begun {
            // What parts it from what comes before has nothing before it.
            text.drain(..text.len() - text.trim_start_matches('\n').len());
            self.has_begun = !text.is_empty();
        }
        text
    }
}

fn markdown(event: &Event) -> String {
    match &event.body {
        EventBody::Message(e) if e.continued => e.text.clone(),
        EventBody::Message(e) => format!("\n\n{}", e.text),
        EventBody::Thought(e) if e.continued => quote(&e.text, false),
        EventBody::Thought(e) => format!("\n\n{}", quote(&e.text, true)),
        EventBody::Plan(plan) => {
            let steps = plan.entries.iter().map(|entry| {
                let mark = if entry.status == "completed" { "x" } else { " " };
                format!("- [{mark}] {}\n", entry.content)
            });
            format!("\n\n**Plan**\n\n{}", steps.collect::<String>())
        }
        EventBody::ToolCall(call) => {
            let input = if call.input.is_null() { String::new() } else { fenced(&call.input.to_string()) };
            format!("\n\n### {} `{}`\n{input}", call.name, call.title.as_deref().unwrap_or(&call.call_id))
        }
        EventBody::ToolResult(result) => {
            let code = result.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let output = if result.output.is_empty() { String::new() } else { fenced(&result.output) };
            format!("\n{}{code}\n{output}", result.status)
        }
        EventBody::RateLimited(limit) => format!("\n\n**Rate limited**: {}\n", limit.message),
        EventBody::Notice(notice) => format!("\n\n*{}*: {}\n", notice.code, head(&notice.text)),
        _ => String::new(),
    }
}

fn quote(text: &str, begin: bool) -> String {
    let body = text.replace('\n', "\n> ");
    if begin { format!("> {body}") } else { body }
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONG)]
}

fn fenced(text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    let cut =
        if text.len() > LONG { format!("\n… {} more bytes", text.len() - head(text).len()) } else { String::new() };
    format!("\n{fence}\n{}{cut}\n{fence}\n", head(text).trim_end_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Message, Thought};

    #[test]
    fn a_turn_begins_with_what_it_says() {
        let say = |text: &str, continued: bool| {
            let (text, text_artifact, cut_artifact) = (text.to_owned(), None, None);
            EventBody::Message(Message { turn: 1, text, text_artifact, cut_artifact, continued })
        };
        let think = |text: &str| {
            EventBody::Thought(Thought { turn: 1, text: text.to_owned(), text_artifact: None, continued: false })
        };
        for (bodies, written) in [
            (vec![say("one\n", false), say("two\n", true)], "one\ntwo\n"),
            (vec![say("\n", false), say("\n\nlate", true), say("\nnext", true)], "late\nnext"),
            (vec![think("why"), say("so", false)], "> why\n\nso"),
            (vec![], ""),
        ] {
            let mut turn = ReadableTurn::default();
            let text: String = bodies
                .into_iter()
                .map(|body| turn.add(&Event { seq: 1, timestamp: jiff::Timestamp::UNIX_EPOCH, body }))
                .collect();
            assert_eq!(text, written);
        }
    }
}
