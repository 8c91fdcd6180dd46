//! What Codex's words mean: prompts it put in itself, commands, outputs, patches in its own format.

use serde_json::Value;

use crate::agents::common::{content_text, some_text, text};
use crate::import::changes::{Edit, count_lines, hunks_of, whole_file};
use crate::import::draft::Draft;

/// What the user wrote of a message: its texts, without those that the program put in.
pub(super) fn texts(content: &Value) -> String {
    let texts = content.as_array().into_iter().flatten().map(|block| text(block, "text"));
    texts.filter(|said| !said.is_empty() && !is_injected(said)).collect::<Vec<_>>().join("\n")
}

/// Texts in the user's name that the program put in.
fn is_injected(said: &str) -> bool {
    const BY_CODEX: [&str; 9] = [
        "<environment_context>",
        "<user_instructions>",
        "<permissions",
        "<turn_aborted>",
        "<user_shell_command>",
        "<subagent_notification>",
        "<skill>",
        "<recommended_plugins>",
        "# AGENTS.md instructions",
    ];
    let said = said.trim_start();
    BY_CODEX.iter().any(|begin| said.starts_with(begin))
}

pub(super) fn output_text(output: &Value) -> String {
    let output = match output {
        // Older versions wrap it in JSON once more.
        Value::String(text) if text.starts_with("{\"output\":") => match decklog_text::json::from_str::<Value>(text) {
            Ok(inner) => return text_with_code(&inner),
            Err(_) => return text.clone(),
        },
        other => other,
    };
    match output.get("content") {
        Some(content) => content_text(content),
        None => content_text(output),
    }
}

fn text_with_code(inner: &Value) -> String {
    match inner["metadata"]["exit_code"].as_i64() {
        Some(code) if code != 0 => format!("Exit code: {code}\n{}", text(inner, "output")),
        _ => text(inner, "output").to_owned(),
    }
}

/// The exit code that the head of a command's output tells.
pub(super) fn exit_code(output: &str) -> Option<i32> {
    output.lines().take(5).find_map(|line| {
        let rest = line.strip_prefix("Process exited with code ").or_else(|| line.strip_prefix("Exit code: "))?;
        rest.trim().parse().ok()
    })
}

/// The command line of a call of any of the shell tools there were.
pub(super) fn command_line(input: &Value) -> Option<String> {
    let command = input.get("cmd").or_else(|| input.get("command"))?;
    match command {
        Value::String(line) => Some(line.clone()),
        Value::Array(words) => Some(words_line(words)),
        _ => None,
    }
}

/// `bash -lc SCRIPT`: the script is what was run.
pub(super) fn words_line(words: &[Value]) -> String {
    let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
    match words.as_slice() {
        [_, "-lc" | "-c", script] => (*script).to_owned(),
        words => words.join(" "),
    }
}

/// The edits of a patch in Codex's own format. It has no line numbers, so only new and removed files can be told whole.
pub(super) fn patched(patch: &str) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut content = String::new();
    let close = |edit: Option<&mut Edit>, content: &mut String| {
        if let Some(edit) = edit.filter(|edit| edit.status == "added") {
            edit.hunks = Some(whole_file(content, '+').0);
        }
        content.clear();
    };
    for line in patch.lines() {
        let begun = [("*** Add File: ", "added"), ("*** Update File: ", "modified"), ("*** Delete File: ", "deleted")]
            .into_iter()
            .find_map(|(start, status)| Some((line.strip_prefix(start)?.trim(), status)));
        if let Some((path, status)) = begun {
            close(edits.last_mut(), &mut content);
            let lines = (status != "deleted").then_some((0, 0));
            edits.push(Edit { path: path.to_owned(), status, lines, ..Edit::default() });
        } else if let Some(edit) = edits.last_mut() {
            if let Some(to) = line.strip_prefix("*** Move to: ") {
                let from = std::mem::replace(&mut edit.path, to.trim().to_owned());
                (edit.old_path, edit.status) = (Some(from), "renamed");
            } else if let Some(added) = line.strip_prefix('+') {
                content.push_str(added);
                content.push('\n');
                edit.lines = edit.lines.map(|(plus, minus)| (plus + 1, minus));
            } else if line.starts_with('-') {
                edit.lines = edit.lines.map(|(plus, minus)| (plus, minus + 1));
            }
        }
    }
    close(edits.last_mut(), &mut content);
    edits
}

/// One file of a patch that was applied.
pub(super) fn edit(path: &str, change: &Value, draft: &mut Draft<'_>) {
    // Older versions name the kind by the only key.
    let (kind, change) = match some_text(change, "type") {
        Some(kind) => (kind, change),
        None => match change.as_object().and_then(|object| object.iter().next()) {
            Some((kind, inner)) => (kind.clone(), inner),
            None => return,
        },
    };
    let path = path.to_owned();
    let content = text(change, "content");
    draft.edit(match kind.as_str() {
        "add" => {
            let (hunk, lines) = whole_file(content, '+');
            Edit { path, status: "added", lines: Some((lines, 0)), hunks: Some(hunk), ..Edit::default() }
        }
        "delete" => {
            let told = change.get("content").is_some();
            let (hunk, lines) = whole_file(content, '-');
            let hunks = told.then_some(hunk);
            Edit { path, status: "deleted", lines: told.then_some((0, lines)), hunks, ..Edit::default() }
        }
        _ => {
            let hunks = hunks_of(text(change, "unified_diff")).filter(|hunks| {
                // A hunk without its place would not apply.
                hunks.lines().filter(|line| line.starts_with("@@")).all(|line| line.starts_with("@@ -"))
            });
            let lines = hunks.as_deref().map(count_lines);
            match some_text(change, "move_path") {
                Some(to) => Edit { path: to, status: "renamed", old_path: Some(path), lines, hunks },
                None => Edit { path, status: "modified", lines, hunks, old_path: None },
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_in_codexs_format() {
        let patch = "*** Begin Patch\n*** Add File: b.txt\n+b\n+c\n*** Update File: a.txt\n*** Move to: d.txt\n@@ fn x\n                      same\n-one\n+two\n*** Delete File: gone\n*** End Patch";
        let edits: Vec<_> =
            patched(patch).into_iter().map(|edit| (edit.path, edit.status, edit.lines, edit.hunks.is_some())).collect();
        let expected = [
            ("b.txt".to_owned(), "added", Some((2, 0)), true),
            ("d.txt".to_owned(), "renamed", Some((1, 1)), false),
            ("gone".to_owned(), "deleted", None, false),
        ];
        assert_eq!(edits, expected);
        assert!(patched("no patch\n+x").is_empty());
    }

    #[test]
    fn outputs_and_their_exit_codes() {
        for (output, text, code) in [
            (r#""plain""#, "plain", None),
            (r#""Wall time: 0.1 seconds\nProcess exited with code 3\nOutput:\nx""#, "", Some(3)),
            (r#""{\"output\":\"x\",\"metadata\":{\"exit_code\":2}}""#, "Exit code: 2\nx", Some(2)),
            (r#"{"content":[{"type":"text","text":"x"}],"success":true}"#, "x", None),
        ] {
            let told = output_text(&serde_json::from_str(output).expect("JSON"));
            assert!(told.starts_with(text), "{told}");
            assert_eq!(exit_code(&told), code, "{output}");
        }
    }
}
