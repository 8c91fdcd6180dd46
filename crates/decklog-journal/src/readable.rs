//! `001-output.md`: what came back in a turn, as text that reads well.
//!
//! Must not know: the terminal. What is made here is a file of the record, hostile text and all.

use crate::event::{Event, EventBody};

/// Bytes of a tool's input or output that are written out.
const LONG: usize = 16 * 1024;

/// What an event adds to the readable turn; empty for what people do not read.
#[must_use]
pub fn markdown(event: &Event) -> String {
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
