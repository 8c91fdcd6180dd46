//! Reading a critic's decision out of whatever it wrote.
//!
//! It is asked for one JSON object and often writes more: reasoning before it, a fence or tags around it, labels instead
//! of JSON, a trailing comma, a line break within a string. What is read is the last decision that is complete: a word
//! for it, and for `CONTINUE` and `ERROR` what is to be done. Must not know: agents, the record.

use std::sync::LazyLock;

use decklog_journal::words::Decision;
use regex::Regex;
use serde_json::Value;

use super::machine::Verdict;
use crate::orchestrate::lenient;

/// The critic's decision; `None` when there is none that is complete.
pub(super) fn read(text: &str) -> Option<Verdict> {
    let text = lenient::end_of(text);
    let all = lenient::last_object(text, of_object).into_iter().chain(labelled(text)).chain(tagged(text));
    all.max_by_key(|(end, _)| *end).map(|(_, verdict)| verdict)
}

/// Where a decision ends in the text, and what it is.
type Found = (usize, Verdict);

fn of_object(value: &Value) -> Option<Verdict> {
    let object = value.as_object()?;
    let key = |names: &[&str]| {
        let value = object.iter().find(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)));
        value.map(|(_, value)| value)
    };
    let text = |names: &[&str]| {
        key(names).and_then(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(list) => Some(
                list.iter().filter_map(Value::as_str).map(|item| format!("- {item}")).collect::<Vec<_>>().join("\n"),
            ),
            _ => None,
        })
    };
    let decision = key(&["decision"])?.as_str()?.trim().to_ascii_uppercase().parse().ok()?;
    let confidence = key(&["confidence"]).and_then(|value| match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number(text),
        _ => None,
    });
    complete(Parts {
        decision,
        summary: text(&["summary"]),
        feedback: text(&["feedback"]),
        error: text(&["error", "error_description"]),
        recovery: text(&["recovery", "recovery_suggestion"]),
        confidence,
    })
}

/// What was written under each name.
struct Parts {
    decision: Decision,
    summary: Option<String>,
    feedback: Option<String>,
    error: Option<String>,
    recovery: Option<String>,
    confidence: Option<f64>,
}

fn complete(parts: Parts) -> Option<Verdict> {
    let said = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let (summary, feedback) = (said(parts.summary), said(parts.feedback));
    let feedback = match parts.decision {
        Decision::Done => None,
        Decision::Continue => Some(feedback?),
        Decision::Error => {
            let told = [said(parts.error).or(feedback), said(parts.recovery)];
            let told: Vec<String> = told.into_iter().flatten().collect();
            Some(told.join("\n\n")).filter(|told| !told.is_empty()).or_else(|| summary.clone()).map(Some)?
        }
    };
    // 95 and 95 % are meant as 0.95.
    let confidence = parts.confidence.map(|value| if value > 1.0 { value / 100.0 } else { value });
    let confidence = confidence.filter(|value| (0.0..=1.0).contains(value));
    Some(Verdict { decision: parts.decision, summary, feedback, confidence })
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, by) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
    digits.trim().parse::<f64>().ok().map(|value| value / by)
}

/// A label at the beginning of a line, whatever markdown is around it.
static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    let label = r"(?im)^[\s>*_#-]*(decision|summary|feedback|confidence|error|recovery)[*_]*\s*:[*_]*[ \t]*";
    Regex::new(label).expect("a constant pattern")
});

fn labelled(text: &str) -> Vec<Found> {
    let labels: Vec<_> = LABEL
        .captures_iter(text)
        .filter_map(|label| Some((label.get(0)?.range(), label.get(1)?.as_str().to_ascii_lowercase())))
        .collect();
    let mut found = Vec::new();
    for (at, (_, label)) in labels.iter().enumerate() {
        if label != "decision" {
            continue;
        }
        let own = labels[at..].iter().skip(1).take_while(|(_, label)| label != "decision").count();
        let end = labels.get(at + own + 1).map_or(text.len(), |(range, _)| range.start);
        let value = |of: &str| {
            let place = labels[at..=at + own].iter().position(|(_, label)| label == of)? + at;
            let to = labels.get(place + 1).map_or(end, |(range, _)| range.start.min(end));
            Some(text[labels[place].0.end..to].trim())
        };
        let Some((decision, rest)) = value("decision").and_then(word) else { continue };
        let verdict = complete(Parts {
            decision,
            summary: value("summary").map(until_tag),
            feedback: value("feedback").or(Some(rest)).map(until_tag),
            error: value("error").map(until_tag),
            recovery: value("recovery").map(until_tag),
            confidence: value("confidence").and_then(|text| number(text.split_whitespace().next()?)),
        });
        found.extend(verdict.map(|verdict| (end, verdict)));
    }
    found
}

/// What stands before a closing tag or fence that surrounds it all.
fn until_tag(text: &str) -> String {
    let end = text.find("</decision").into_iter().chain(text.find("\n```")).min();
    text[..end.unwrap_or(text.len())].trim().to_owned()
}

/// The decision that begins `text`, and what comes after it.
fn word(text: &str) -> Option<(Decision, &str)> {
    let text = text.trim_start_matches(['*', '_', '"', '`', ' ']);
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let decision = text[..end].to_ascii_uppercase().parse().ok()?;
    Some((decision, text[end..].trim_start_matches(['*', '_', '"', '`', ' ', ':', '-', '–', '—', '.', ',', '\n'])))
}

/// `<decision>DONE</decision>`, without labels or JSON in it.
fn tagged(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("<decision>") {
        let begin = from + at + "<decision>".len();
        from = begin;
        let Some(length) = text[begin..].find("</decision>") else { continue };
        let Some((decision, rest)) = word(text[begin..begin + length].trim()) else { continue };
        let verdict = complete(Parts {
            decision,
            summary: Some(rest.to_owned()),
            feedback: Some(rest.to_owned()),
            error: None,
            recovery: None,
            confidence: None,
        });
        found.extend(verdict.map(|verdict| (begin + length, verdict)));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let Some(verdict) = read(text) else { return "unreadable".into() };
        let Verdict { decision, summary, feedback, confidence } = verdict;
        let part = |name: &str, text: Option<String>| text.map(|text| format!(" {name}={text:?}")).unwrap_or_default();
        let confidence = confidence.map(|value| format!(" {value}")).unwrap_or_default();
        format!("{decision}{}{}{confidence}", part("s", summary), part("f", feedback))
    }

    #[test]
    fn decisions_are_read_however_they_are_written() {
        for (text, expected) in [
            (r#"{"decision": "DONE", "summary": "all good", "confidence": 0.9}"#, r#"DONE s="all good" 0.9"#),
            (r#"{"decision":"continue","feedback":"add a test"}"#, r#"CONTINUE f="add a test""#),
            (
                r#"{"decision":"ERROR","error":"no compiler","recovery":"install one"}"#,
                r#"ERROR f="no compiler\n\ninstall one""#,
            ),
            (r#"{"decision":"ERROR","feedback":"it is broken"}"#, r#"ERROR f="it is broken""#),
            // Fenced, in tags, in prose.
            ("Fine.\n```json\n{\"decision\": \"DONE\"}\n```\nBye.", "DONE"),
            (
                "<decision>{\"decision\": \"CONTINUE\", \"feedback\": \"x {y} \\\"z\\\"\"}</decision>",
                r#"CONTINUE f="x {y} \"z\"""#,
            ),
            ("<decision>DONE</decision>", "DONE"),
            ("<decision>CONTINUE: mend the parser</decision>", r#"CONTINUE s="mend the parser" f="mend the parser""#),
            ("{not json} and {\"a\": {\"decision\": \"DONE\"}}", "DONE"),
            // Careless JSON.
            ("{\"decision\": \"CONTINUE\", \"feedback\": \"one\ntwo\",}", r#"CONTINUE f="one\ntwo""#),
            (r#"{"Decision": "Done", "Confidence": "95%", "issues": [1,],}"#, "DONE 0.95"),
            (r#"{"decision": "DONE", "confidence": 95}"#, "DONE 0.95"),
            (r#"{"decision": "DONE", "confidence": -3}"#, "DONE"),
            (r#"{"decision": "CONTINUE", "feedback": ["a", "b"]}"#, r#"CONTINUE f="- a\n- b""#),
            // Labels.
            (
                "Let me see.\n\nDECISION: CONTINUE\nFEEDBACK: Mend the parser.\nThen the tests.\nCONFIDENCE: 0.4",
                r#"CONTINUE f="Mend the parser.\nThen the tests." 0.4"#,
            ),
            ("DECISION: CONTINUE\nFEEDBACK: *More* of it.", r#"CONTINUE f="*More* of it.""#),
            ("**Decision:** DONE\n**Summary:** it works\n**Confidence:** 90%", r#"DONE s="it works" 0.9"#),
            ("DECISION: CONTINUE\nThe second test is missing.", r#"CONTINUE f="The second test is missing.""#),
            ("```\nDECISION: ERROR\nERROR: no disk\nRECOVERY: free some\n```", r#"ERROR f="no disk\n\nfree some""#),
            // The last complete one counts.
            (r#"{"decision":"CONTINUE","feedback":"a"} no: {"decision":"DONE"}"#, "DONE"),
            ("DECISION: DONE\n\nOn second thought:\nDECISION: CONTINUE\nFEEDBACK: not yet", r#"CONTINUE f="not yet""#),
            (r#"{"decision":"DONE"} {"decision":"CONTINUE"}"#, "DONE"),
            (r#"{"decision":"DONE"} {"decision":"CONTINUE","feedback":"cut of"#, "DONE"),
            // None.
            ("", "unreadable"),
            ("It looks done to me. I decide to continue.", "unreadable"),
            (r#"{"decision":"MAYBE"}"#, "unreadable"),
            (r#"{"decision":"CONTINUE"}"#, "unreadable"),
            (r#"{"decision":"ERROR"}"#, "unreadable"),
            ("DECISION: unclear", "unreadable"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_written_breaks_it(text in "[{}\\[\\]\",:\\\\ \n<>/a-eDONEdecisionä💥*]{0,200}") {
            read(&text);
        }

        #[test]
        fn what_stands_before_a_decision_does_not_matter(before in "[{}\",: \nä💥a-z]{0,80}") {
            // An open string or bracket before it would swallow it.
            let text = format!("{before}\n\nDECISION: CONTINUE\nFEEDBACK: do it");
            prop_assert_eq!(read(&text).map(|verdict| verdict.decision), Some(Decision::Continue));
        }
    }
}
