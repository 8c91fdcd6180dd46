//! What a line typed at the shell means. Pure: nothing is looked up and nothing is done here.

use decklog_journal::words::Permissions;

/// A line, understood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// Nothing.
    Empty,
    /// For the agent.
    Prompt(String),
    /// For the shell.
    Command(Command),
    /// Neither: why, and what to do.
    Bad(String),
}

/// What the shell is told to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Use {
        agent: String,
        summarize: bool,
    },
    Handoff {
        agent: Option<String>,
        summarize: bool,
    },
    Resume(Option<String>),
    Status,
    Agents,
    /// `None`: tell it.
    Order(Option<Vec<String>>),
    /// `None`: run them now.
    Check(Option<String>),
    Diff(Option<u32>),
    Undo,
    /// `None`: tell them.
    Permissions(Option<Permissions>),
    /// `None`: tell it.
    Model(Option<String>),
    Cost,
    Help,
    Quit,
}

/// Every command: name, arguments, what it does.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/use", "AGENT[:MODEL] [--summarize]", "go on with another agent, which is handed a packet"),
    ("/handoff", "[AGENT] [--summarize]", "checkpoint the session, with a packet for another agent"),
    ("/resume", "[ID]", "go on with an earlier session"),
    ("/status", "", "where this session stands"),
    ("/agents", "", "which agents there are, and which are rate-limited"),
    ("/order", "[AGENT,…|none]", "who goes on when the agent is rate-limited"),
    ("/check", "[CMD|none]", "run a command now and after every turn; alone: run all now"),
    ("/diff", "[N]", "what the session changed, or turn N"),
    ("/undo", "", "bring back the tree before the last turn that changed it"),
    ("/permissions", "[read-only|edit|full]", "what agents may do"),
    ("/model", "[MODEL|default]", "which model is asked"),
    ("/cost", "", "tokens and cost, by agent"),
    ("/help", "", "this list"),
    ("/quit", "", "end the session and leave; so do Ctrl-D, and Ctrl-C twice"),
];

/// Reads a line.
pub(crate) fn read(text: &str) -> Line {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Line::Empty;
    }
    // A line that begins with a space is for the agent, whatever it says. So is one that begins with a path.
    let word = trimmed.split_whitespace().next().unwrap_or_default();
    let is_command = text.starts_with('/') && word[1..].chars().all(|c| c.is_ascii_alphabetic());
    if !is_command {
        return Line::Prompt(trimmed.to_owned());
    }
    match command(word, trimmed[word.len()..].trim()) {
        Ok(command) => Line::Command(command),
        Err(why) => Line::Bad(why),
    }
}

fn command(word: &str, rest: &str) -> Result<Command, String> {
    let names = COMMANDS.iter().map(|(name, ..)| *name);
    // Any beginning that only one command has is enough.
    let meant: Vec<&str> = match COMMANDS.iter().find(|(name, ..)| *name == word) {
        Some((name, ..)) => vec![name],
        None => names.filter(|name| name.len() > word.len() && word.len() > 1 && name.starts_with(word)).collect(),
    };
    let name = match meant.as_slice() {
        [name] => *name,
        [] if word == "/exit" => "/quit",
        [] => return Err(format!("there is no {word}; /help lists what there is (begin with a space to send it)")),
        several => return Err(format!("{word} could be {}", several.join(", "))),
    };
    let argument = (!rest.is_empty()).then(|| rest.to_owned());
    let (words, summarize) = flagged(rest);
    let usage = || {
        let (_, arguments, _) = COMMANDS.iter().find(|(known, ..)| *known == name).copied().unwrap_or_default();
        Err(format!("usage: {name} {arguments}").trim_end().to_owned())
    };
    Ok(match (name, words.as_slice()) {
        ("/use", [agent]) => Command::Use { agent: agent.clone(), summarize },
        ("/handoff", []) => Command::Handoff { agent: None, summarize },
        ("/handoff", [agent]) => Command::Handoff { agent: Some(agent.clone()), summarize },
        ("/resume", [] | [_]) => Command::Resume(argument),
        ("/status", []) => Command::Status,
        ("/agents", []) => Command::Agents,
        ("/order", []) => Command::Order(None),
        ("/order", [one]) if one == "none" => Command::Order(Some(Vec::new())),
        ("/order", several) => {
            let names = several.iter().flat_map(|word| word.split(',')).filter(|name| !name.is_empty());
            Command::Order(Some(names.map(str::to_owned).collect()))
        }
        ("/check", _) => Command::Check(argument),
        ("/diff", []) => Command::Diff(None),
        ("/diff", [turn]) => match turn.parse() {
            Ok(turn) => Command::Diff(Some(turn)),
            Err(_) => return usage(),
        },
        ("/undo", []) => Command::Undo,
        ("/permissions", []) => Command::Permissions(None),
        ("/permissions", [word]) => Command::Permissions(Some(word.parse().map_err(|why: String| why)?)),
        ("/model", [] | [_]) => Command::Model(argument),
        ("/cost", []) => Command::Cost,
        ("/help", _) => Command::Help,
        ("/quit", []) => Command::Quit,
        _ => return usage(),
    })
}

/// The words, and whether `--summarize` was among them.
fn flagged(rest: &str) -> (Vec<String>, bool) {
    let (flags, words): (Vec<&str>, Vec<&str>) = rest.split_whitespace().partition(|word| *word == "--summarize");
    (words.into_iter().map(str::to_owned).collect(), !flags.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_prompts_or_commands() {
        let prompt = |text: &str| Line::Prompt(text.into());
        for (text, line) in [
            ("", Line::Empty),
            ("  \t", Line::Empty),
            ("Fix it.", prompt("Fix it.")),
            (" Fix\nit. ", prompt("Fix\nit.")),
            ("/etc/hosts is wrong", prompt("/etc/hosts is wrong")),
            (" /use is a word", prompt("/use is a word")),
            ("/use codex", Line::Command(Command::Use { agent: "codex".into(), summarize: false })),
            ("/use --summarize codex", Line::Command(Command::Use { agent: "codex".into(), summarize: true })),
            ("/u codex", Line::Bad("/u could be /use, /undo".into())),
            ("/us codex", Line::Command(Command::Use { agent: "codex".into(), summarize: false })),
            ("/handoff", Line::Command(Command::Handoff { agent: None, summarize: false })),
            ("/resume @2", Line::Command(Command::Resume(Some("@2".into())))),
            ("/order codex,gemini", Line::Command(Command::Order(Some(vec!["codex".into(), "gemini".into()])))),
            ("/order codex, gemini", Line::Command(Command::Order(Some(vec!["codex".into(), "gemini".into()])))),
            ("/order none", Line::Command(Command::Order(Some(vec![])))),
            ("/check cargo test  -q", Line::Command(Command::Check(Some("cargo test  -q".into())))),
            ("/check", Line::Command(Command::Check(None))),
            ("/diff 2", Line::Command(Command::Diff(Some(2)))),
            ("/diff two", Line::Bad("usage: /diff [N]".into())),
            ("/undo it", Line::Bad("usage: /undo".into())),
            ("/permissions full", Line::Command(Command::Permissions(Some(Permissions::Full)))),
            ("/exit", Line::Command(Command::Quit)),
            ("/q", Line::Command(Command::Quit)),
        ] {
            assert_eq!(read(text), line, "{text:?}");
        }
        let Line::Bad(why) = read("/frobnicate now") else { panic!("no such command") };
        assert!(why.starts_with("there is no /frobnicate"), "{why}");
        assert!(matches!(read("/permissions all"), Line::Bad(_)));
        assert!(matches!(read("/"), Line::Bad(_)));
    }
}
