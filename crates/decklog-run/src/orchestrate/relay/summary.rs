//! What an agent that hands a session over is asked to tell, and what is read of its answer.
//!
//! Must not know: how agents are run, the record.

use decklog_journal::Session;
use decklog_journal::session::{Step, Turn};
use serde_json::Value;

use super::packet::Reason;
use crate::orchestrate::lenient;
use crate::orchestrate::text::{Keep, cut};

/// What the outgoing agent is asked.
pub(super) const PROMPT: &str = "\
Another agent will go on with this work. Do nothing more yourself. Tell what it has to know and cannot see in the files: \
answer with one JSON object and nothing else.

{
  \"decisions\": [{\"summary\": \"what was decided\", \"why\": \"for which reason\"}],
  \"blockers\": [\"what is in the way\"],
  \"next_task\": \"what is to be done next\"
}
";

/// The code of the notice that marks a turn as one in which this was asked.
pub(super) const ASKED: &str = "summary";

/// Entries of a list that are read, and bytes of each.
const ENTRIES: usize = 50;
const BYTES: usize = 1024;

/// What an agent told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    pub(super) decisions: Vec<Reason>,
    pub(super) blockers: Vec<String>,
    pub(super) next_task: Option<String>,
}

/// Whether `turn` is one in which a summary was asked for.
pub(super) fn is_summary(turn: &Turn) -> bool {
    turn.steps.iter().any(|step| matches!(step, Step::Notice(notice) if notice.code == ASKED))
}

/// What was told last: decisions stand; what is in the way and what comes next only until somebody has worked on.
pub(super) fn told(session: &Session) -> Told {
    let mut all = Told::default();
    for turn in &session.turns {
        (all.blockers, all.next_task) = (Vec::new(), None);
        if is_summary(turn) {
            let told = read(turn.final_text().unwrap_or_default());
            for decision in told.decisions {
                if !all.decisions.contains(&decision) {
                    all.decisions.push(decision);
                }
            }
            (all.blockers, all.next_task) = (told.blockers, told.next_task);
        }
    }
    all
}

/// What an agent's answer tells; nothing, when it cannot be read.
fn read(text: &str) -> Told {
    lenient::last_object(lenient::end_of(text), of_object).map(|(_, told)| told).unwrap_or_default()
}

fn of_object(value: &Value) -> Option<Told> {
    let object = value.as_object()?;
    ["decisions", "blockers", "next_task"].iter().any(|key| object.contains_key(*key)).then_some(())?;
    let line = |value: &Value| {
        let text = value.as_str()?.trim();
        (!text.is_empty()).then(|| cut(text, BYTES, Keep::Beginning))
    };
    let list = |key: &str| value[key].as_array().into_iter().flatten().take(ENTRIES);
    let decision = |value: &Value| {
        let summary = line(&value["summary"]).or_else(|| line(value))?;
        Some(Reason { summary, why: line(&value["why"]).unwrap_or_default() })
    };
    Some(Told {
        decisions: list("decisions").filter_map(decision).collect(),
        blockers: list("blockers").filter_map(line).collect(),
        next_task: line(&value["next_task"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_however_it_is_wrapped() {
        let whole = Told {
            decisions: vec![
                Reason { summary: "SQLite".into(), why: "one file".into() },
                Reason { summary: "no cache".into(), why: String::new() },
            ],
            blockers: vec!["CI is down".into()],
            next_task: Some("Write the test".into()),
        };
        let json = r#"{"decisions":[{"summary":"SQLite","why":"one file"},"no cache",{"why":"nothing"}],
            "blockers":["CI is down", 7, " "],"next_task":" Write the test ",}"#;
        for text in [json.to_owned(), format!("Well: {{}}\n```json\n{json}\n```\nThat is all.")] {
            assert_eq!(read(&text), whole, "{text}");
        }
        for text in ["", "I am done.", "{\"decision\": \"DONE\"}", "{\"blockers\": 3", "{{{{"] {
            assert_eq!(read(text), Told::default(), "{text}");
        }
    }
}
