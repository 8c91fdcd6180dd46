//! Many sessions: listing them and removing them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use decklog_journal::artifacts::OBJECTS_DIR;
use decklog_journal::event::{
    FileChange, GitState, Message, SessionEnd, SessionStart, Tokens, ToolCall, ToolResult, TurnEnd, TurnStart, Usage,
};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::words::{Outcome, Role, SessionKind, ToolKind, ToolStatus, TurnOutcome};
use decklog_journal::{Durability, SessionStore, SessionWriter, WriterOptions};
use jiff::{SignedDuration, Timestamp};

use crate::Result;

use super::measure::{Bench, in_turn, time, unwarmed};
use super::report::Row;

/// How much a session holds.
pub(crate) struct Sizes {
    /// Tool calls.
    tools: usize,
    /// Git objects.
    objects: usize,
}

impl Sizes {
    /// Nothing but the beginning.
    pub(crate) const SMALL: Self = Self { tools: 0, objects: 0 };
    const TYPICAL: Self = Self { tools: 6, objects: 5 };
}

/// `ls --all` and `ls`, with nothing but the sessions to read.
pub(crate) fn ls(bench: &Bench) -> Result<Vec<Row>> {
    let count = bench.size(10_000, 100);
    let root = many(bench, count)?;
    // Where no index can be kept.
    let unindexed = |arguments: &[&str]| {
        let mut command = bench.decklog(&root, arguments);
        command.env("HOME", "/proc");
        command
    };
    let [all, newest, heads] = in_turn(bench.size(10, 1), |which| match which {
        0 => time(&mut unindexed(&["ls", "--all"])),
        1 => time(&mut unindexed(&["ls"])),
        _ => time(&mut bench.sh("find \"$1\" -name session.json -exec cat {} +", &[&root])),
    })?;
    let memory = bench.peak(&unindexed(&["ls", "--all"]))?;
    let limit = Duration::from_millis(150);
    let yardstick = Some(("`find` + `cat` of the heads", heads));
    Ok(vec![
        Row::within(format!("`ls --all`, {count} sessions, no index"), all, yardstick, limit),
        Row::within(format!("`ls`, {count} sessions, no index"), newest, yardstick, limit),
        Row::memory(format!("`ls --all`, {count} sessions: peak memory"), memory, 24),
    ])
}

/// `clean` against `rm -rf` of the same.
pub(crate) fn clean(bench: &Bench) -> Result<Vec<Row>> {
    let count = bench.size(10_000, 100);
    let (template, copy) = (many(bench, count)?, bench.path("copy-of-many"));
    let [ours, yardstick] = unwarmed(bench.size(3, 1), |which| {
        time(bench.command("cp").arg("-a").args([&template, &copy]))?;
        nix::unistd::sync();
        match which {
            0 => {
                let took = time(&mut bench.decklog(&copy, &["clean", "-y", "--older-than", "1s"]))?;
                match std::fs::read_dir(&copy)?.count() {
                    0 => std::fs::remove_dir(&copy).map(|()| took).map_err(Into::into),
                    left => Err(format!("{left} sessions are left").into()),
                }
            }
            _ => time(bench.command("rm").arg("-rf").arg(&copy)),
        }
    })?;
    Ok(vec![Row::times(format!("`clean` of {count} sessions"), ours, ("`rm -rf`", yardstick), 1.3)])
}

/// Records `count` sessions, ten minutes apart, unless they are there. They are only read.
fn many(bench: &Bench, count: usize) -> Result<PathBuf> {
    let root = bench.path("many");
    if root.exists() {
        return Ok(root);
    }
    for number in 0..count {
        let mut writer = begin(&root, number, &Sizes::TYPICAL)?;
        for (name, size) in [
            ("-output.md", 3000),
            ("-stream.jsonl.zst", 9000),
            ("-stderr.log", 0),
            ("-state.json", 900),
            (".patch", 1200),
        ] {
            writer.write_artifact(&format!("turns/001{name}"), "a line of text\n".repeat(size / 15).as_bytes())?;
        }
        writer.append(turn_end())?;
        let summary = Some("The test passes now: the parser took an empty line for the end.".into());
        writer.append(SessionEnd {
            outcome: Some(Outcome::Success),
            iterations: None,
            summary,
            confidence: None,
            picked: None,
            duration_secs: 44.0,
            exit_code: Some(0),
        })?;
    }
    Ok(root)
}

/// Begins session `number` and its turn.
pub(crate) fn begin(root: &Path, number: usize, sizes: &Sizes) -> Result<SessionWriter> {
    let first = Timestamp::now() - SignedDuration::from_hours(24 * 80);
    let clock = Clock::fixed(first + SignedDuration::from_mins(10) * i32::try_from(number)?);
    let options = WriterOptions { clock, durability: Durability::Os, redactor: Redactor::none() };
    let prompt = format!("Fix the failing test number {number}, and say in one line what was wrong with it");
    let store = SessionStore::open(root);
    let mut writer = store.create(&Place::Auto, options, None, |id, dir| SessionStart {
        format: FormatVersion::CURRENT,
        id,
        kind: SessionKind::Run,
        prompt,
        prompt_artifact: None,
        prompt_hash: "0123456789ab".into(),
        working_dir: "/home/me/project".into(),
        session_dir: dir.to_string_lossy().into_owned(),
        agents: vec!["claude".into()],
        actor_agent: None,
        critic_agent: None,
        actor_model: None,
        critic_model: None,
        max_iterations: None,
        rules: None,
        git: Some(GitState {
            head: Some("c8ef8470e0563cb4656e6c0518b8fecc7e001191".into()),
            branch: Some("main".into()),
        }),
        host: Some("host".into()),
        pid: Some(4711),
        decklog_version: "0.1.0".into(),
        source: None,
    })?;
    let prompt_artifact = Some(writer.write_artifact("turns/001-prompt.md", b"Fix the failing test\n")?);
    let (agent, role, model) = ("claude".into(), Role::Solo, None);
    let command = vec!["claude".into(), "-p".into()];
    let snapshot = Some("78429554b20dbf2b86f782e416e8f6edf29f2299".into());
    writer.append(TurnStart {
        boxed: false,
        turn: 1,
        agent,
        role,
        model,
        permissions: None,
        command,
        prompt: String::new(),
        prompt_artifact,
        snapshot,
        withheld: Vec::new(),
    })?;
    for tool in 0..sizes.tools {
        use_tool(&mut writer, tool)?;
    }
    for object in 0..sizes.objects {
        // Spread over git's directories, as hashes are.
        let spread = (number * 31 + object * 97) % 256;
        let dir = writer.dir().join(OBJECTS_DIR).join(format!("{spread:02x}"));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(format!("{:038x}", number * 10 + object)), [7; 300])?;
    }
    Ok(writer)
}

fn use_tool(writer: &mut SessionWriter, number: usize) -> Result<()> {
    let (turn, call_id) = (1, format!("toolu_{number:024}"));
    let text = "Now I look at how the parser reads the line, and then at the test that fails. ".repeat(4);
    writer.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued: false })?;
    writer.append(ToolCall {
        turn,
        call_id: call_id.clone(),
        name: "Read".into(),
        kind: ToolKind::Read,
        title: Some("Read src/parser.rs".into()),
        input: "src/parser.rs".into(),
        input_artifact: None,
        status: ToolStatus::Pending,
    })?;
    writer.append(ToolResult {
        turn,
        call_id,
        status: ToolStatus::Completed,
        output: "fn parse(line: &str) -> Option<Entry> {\n".repeat(20),
        output_artifact: None,
        exit_code: None,
        duration_secs: Some(0.03),
    })?;
    let tokens = Tokens { input: 2050, cached_input: 800, output: 34, reasoning: 0 };
    writer.append(Usage { turn, tokens, cost_usd: Some(0.0123), model: Some("claude-opus-4".into()) })?;
    Ok(())
}

/// The end of turn 1.
pub(crate) fn turn_end() -> TurnEnd {
    let file = |path: &str| FileChange {
        path: path.into(),
        old_path: None,
        status: "modified".into(),
        added: Some(4),
        removed: Some(1),
    };
    TurnEnd {
        turn: 1,
        outcome: TurnOutcome::Success,
        exit_code: Some(0),
        signal: None,
        duration_secs: 43.2,
        agent_session_id: Some("94eb234e-8daf-4769-a4fe-79e1a1391841".into()),
        model: Some("claude-opus-4".into()),
        error: None,
        snapshot: Some("3660c46e4fbabb3e54c33f040912050a8544688c".into()),
        files: vec![file("src/parser.rs"), file("tests/parser.rs")],
        files_changed: 2,
        patch: String::new(),
        patch_artifact: None,
        withheld: Vec::new(),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    }
}
