//! A session as a page of Markdown, for people.
//!
//! What agents said is theirs: it stands in quotations, where it can neither break the page nor load anything, and
//! all else in code blocks that it cannot close.

use decklog_journal::session::{Step, ToolUse, Turn};
use decklog_journal::time::micros;
use decklog_journal::words::ShownOutcome;

use super::{TurnTexts, Whole};

/// The page of a session.
#[must_use]
pub fn page(whole: &Whole) -> String {
    let head = &whole.session.head;
    let mut page = format!("# Session {}\n\n", head.id);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            page += &format!("- {name}: {}\n", code(&value));
        }
    };
    let outcome = ShownOutcome::of(head.status.into(), head.outcome);
    let outcome = outcome.map_or(head.status.as_str(), ShownOutcome::as_str);
    fact("kind", Some(head.kind.to_string()));
    fact("outcome", Some(outcome.to_owned()));
    fact("agents", head.agents.as_ref().map(|agents| agents.join(", ")));
    fact("models", head.models.as_ref().map(|models| models.join(", ")));
    fact("started", Some(micros(whole.times.0)));
    fact("ended", whole.times.1.map(micros));
    fact("directory", Some(head.working_dir.clone()));
    fact("commit", head.git.as_ref().and_then(|git| git.head.clone()));
    fact("files changed", head.files_changed.map(|count| count.to_string()));
    fact("tokens", head.tokens.map(|tokens| format!("{} in, {} out", tokens.input, tokens.output)));
    fact("cost", head.cost_usd.map(|cost| format!("${cost:.4}")));
    page += "\n## Prompt\n\n";
    page += &block("", &whole.session.prompt);
    for (turn, texts) in whole.session.turns.iter().zip(&whole.texts) {
        add_turn(&mut page, turn, texts, &whole.session.prompt);
    }
    for iteration in &whole.session.iterations {
        page += &format!("\n## Iteration {}\n\ncritic: {}\n", iteration.iteration_number, iteration.critic_decision);
        if let Some(feedback) = &iteration.feedback {
            page += &format!("\n{}", quote(feedback));
        }
    }
    if let Some(summary) = whole.end.as_ref().and_then(|end| end.summary.as_deref()) {
        page += &format!("\n## End\n\n{}: {}\n", outcome, code(summary));
    }
    page
}

fn add_turn(page: &mut String, turn: &Turn, texts: &TurnTexts, prompt: &str) {
    let model = turn.model.as_ref().map(|model| format!(" ({})", code(model))).unwrap_or_default();
    *page += &format!("\n## Turn {}: {}{model}\n", turn.turn, code(&turn.agent));
    // The session's own stands above.
    if let Some(own) = texts.prompt.as_deref().filter(|own| *own != prompt) {
        *page += &format!("\n{}", block("", own));
    }
    for step in &turn.steps {
        page.push('\n');
        match step {
            Step::Message(said) => *page += &quote(&said.text),
            Step::Thought(said) => *page += &details("thought", &quote(&said.text)),
            Step::Plan { entries } => {
                for entry in entries {
                    *page += &format!("- {}: {}\n", code(&entry.status), code(&entry.content));
                }
            }
            Step::Tool(tool) => *page += &tool_use(tool),
            Step::Notice(notice) => *page += &format!("*{}*: {}\n", code(&notice.code), code(&notice.text)),
        }
    }
    for check in &turn.validations {
        let verdict = if check.passed { "passed" } else { "failed" };
        *page += &format!("\ncheck {verdict}: {}\n", code(&check.command));
        if !check.passed && !check.output.is_empty() {
            *page += &format!("\n{}", block("", &check.output));
        }
    }
    if let Some(error) = &turn.error {
        *page += &format!("\nerror: {}\n", code(error));
    }
    if let Some(patch) = &texts.patch {
        *page += &format!("\n{}", details("changes", &block("diff", patch)));
    }
}

fn tool_use(tool: &ToolUse) -> String {
    let title = tool.title.as_deref().filter(|title| !title.is_empty()).map(|title| format!(" {}", code(title)));
    let mut text = format!("**{}**{} ({})\n", code(&tool.name), title.unwrap_or_default(), tool.status);
    let mut inside = String::new();
    if !tool.input.is_null() {
        inside += &block("json", &format!("{:#}", tool.input));
    }
    if !tool.output.is_empty() {
        inside += &format!("\n{}", block("", &tool.output));
    }
    if !inside.is_empty() {
        text += &format!("\n{}", details("input and output", inside.trim_start_matches('\n')));
    }
    text
}

fn details(title: &str, inside: &str) -> String {
    format!("<details><summary>{title}</summary>\n\n{inside}\n</details>\n")
}

/// One line of code, which shows all that it holds.
fn code(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let fence = "`".repeat(longest_run(&text) + 1);
    if text.is_empty() {
        String::new()
    } else if fence.len() == 1 {
        format!("`{text}`")
    } else {
        format!("{fence} {text} {fence}")
    }
}

/// A block of code that nothing in it closes.
fn block(language: &str, text: &str) -> String {
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A quotation. Markdown in it stays Markdown, but for what would be HTML or would load a picture. Its code blocks get
/// fences of our own, which nothing in them closes: so what is code here is code to whoever shows it.
fn quote(text: &str) -> String {
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    let mut quoted = String::new();
    let mut open: Option<&str> = None;
    // To Markdown a line ends with any of the three.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for line in text.trim_end_matches('\n').split('\n') {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        let line = match (open, mark) {
            (None, Some(mark)) => {
                open = Some(mark);
                let language = start.trim_start_matches(['`', '~']).trim();
                let plain = language.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_#.".contains(&byte));
                format!("{fence}{}", if plain { language } else { "" })
            }
            (Some(mark), Some(other)) if mark == other => {
                open = None;
                fence.clone()
            }
            (Some(_), _) => line.to_owned(),
            (None, None) => {
                let line = line.replace('<', "&lt;").replace("![", "!\\[");
                line.replace("```", "\\`\\`\\`").replace("~~~", "\\~\\~\\~")
            }
        };
        quoted += &format!("> {line}\n");
    }
    if open.is_some() {
        quoted += &format!("> {fence}\n");
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_shows_what_it_holds_and_ends_where_it_should() {
        assert_eq!(code("a  b\nc"), "`a b c`");
        assert_eq!(code("a `b` c"), "`` a `b` c ``");
        assert_eq!(code(""), "");
        assert_eq!(block("", "a\n```\nb\n"), "````\na\n```\nb\n````\n");
    }

    #[test]
    fn quotations_load_nothing_and_end_where_they_should() {
        assert_eq!(quote("# a\n\n<img src=x> ![](http://x)\n"), "> # a\n> \n> &lt;img src=x> !\\[](http://x)\n");
        assert_eq!(quote("```rust\nVec<u8>\n```\nx<y"), "> ````rust\n> Vec<u8>\n> ````\n> x&lt;y\n");
        assert_eq!(quote("~~~\n```\n<b>"), "> ````\n> ```\n> <b>\n> ````\n");
        assert_eq!(quote("a\r# b\r\n```\rc\r"), "> a\n> # b\n> ````\n> c\n> ````\n");
        // A block in a list would be closed by what looks like its beginning.
        assert_eq!(quote("- ```\n  ```\n  <b>"), "> - \\`\\`\\`\n> ````\n>   <b>\n> ````\n");
    }
}
