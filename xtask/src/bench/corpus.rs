//! Sessions like those of two years: sizes log-normal, words by Zipf's law, all from fixed seeds.

use std::path::Path;

use decklog_journal::event::{
    FileChange, Message, SessionEnd, SessionStart, Thought, Tokens, ToolCall, ToolResult, TurnEnd, TurnStart, Usage,
};
use decklog_journal::format::FormatVersion;
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::words::{Outcome, Role, SessionKind, ToolKind, ToolStatus, TurnOutcome};
use decklog_journal::{Durability, SessionStore, SessionWriter, WriterOptions};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::Result;

/// A word in every text, and one in a single session.
pub(crate) const COMMON: &str = "the";
pub(crate) const RARE: &str = "xylographer";

const WORDS: usize = 60_000;
const PARAGRAPHS: usize = 20_000;
const FREQUENT: &str = "the to of and is in file test error it that for fn let this on with not be return self as we if function \
     config value line should str parse use from result add read call string when name type code path fix an";
const SYLLABLES: [&str; 24] = [
    "ba", "co", "di", "fer", "ga", "hol", "in", "jo", "ka", "len", "mo", "ni", "ol", "par", "qui", "ra", "sen", "ti",
    "ul", "ver", "wa", "xi", "yo", "zem",
];
const AGENTS: [(&str, &str); 4] =
    [("claude", "claude-opus-4"), ("codex", "gpt-5-codex"), ("gemini", "gemini-3-pro"), ("opencode", "grok-code")];

/// Texts to draw from.
pub(crate) struct Texts {
    rng: Rng,
    paragraphs: Vec<String>,
}

impl Texts {
    pub(crate) fn new() -> Self {
        let mut rng = Rng::with_seed(20_260_501);
        let mut words: Vec<String> = FREQUENT.split_whitespace().map(str::to_owned).collect();
        while words.len() < WORDS {
            words.push(word(&mut rng));
        }
        let mut total = 0.0;
        #[expect(clippy::cast_precision_loss, reason = "weights")]
        let weights: Vec<f64> = (0..WORDS)
            .map(|rank| {
                total += 1.0 / (rank as f64 + 1.0);
                total
            })
            .collect();
        let paragraphs = (0..PARAGRAPHS)
            .map(|_| {
                let length = 20 + rng.usize(..100);
                let mut text = String::new();
                for _ in 0..length {
                    let drawn = rng.f64() * total;
                    let at = weights.partition_point(|weight| *weight < drawn);
                    text.push_str(&words[at.min(WORDS - 1)]);
                    text.push_str([" ", " ", " ", " ", ", ", ".\n", "(", "::"][rng.usize(..8)]);
                }
                text
            })
            .collect();
        Self { rng, paragraphs }
    }

    /// About so many bytes of text.
    pub(crate) fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 800);
        while text.len() < bytes {
            text.push_str(&self.paragraphs[self.rng.usize(..PARAGRAPHS)]);
        }
        text
    }

    /// A size whose logarithm is normal about `median`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
    pub(crate) fn size(&mut self, median: f64, spread: f64) -> usize {
        let normal = (-2.0 * self.rng.f64().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * self.rng.f64()).cos();
        (median * (spread * normal).exp()).clamp(200.0, 4e6) as usize
    }
}

fn word(rng: &mut Rng) -> String {
    let mut part = || (0..1 + rng.usize(..4)).map(|_| SYLLABLES[rng.usize(..SYLLABLES.len())]).collect::<String>();
    let (first, second) = (part(), part());
    match rng.u8(..10) {
        0 => format!("{first}_{second}"),
        1 => {
            let (head, tail) = second.split_at(1);
            format!("{first}{}{tail}", head.to_uppercase())
        }
        2 => format!("{first}{}", rng.u16(..1000)),
        _ => first,
    }
}

/// Records `count` sessions under `root`, with about `bytes` of text each.
pub(crate) fn record(root: &Path, count: usize, bytes: f64) -> Result<()> {
    let mut texts = Texts::new();
    let store = SessionStore::open(root);
    let first = Timestamp::now() - SignedDuration::from_hours(24 * 730);
    let apart = SignedDuration::from_hours(24 * 729) / i32::try_from(count)?;
    for number in 0..count {
        let clock = Clock::fixed(first + apart * i32::try_from(number)?);
        session(&store, clock, number, count, bytes, &mut texts)?;
    }
    Ok(())
}

/// Records one session of `turns` turns in `working_dir`, each with about `bytes` of text.
pub(crate) fn long(root: &Path, working_dir: &Path, turns: u32, bytes: usize) -> Result<()> {
    let mut texts = Texts::new();
    let clock = Clock::fixed(Timestamp::now() - SignedDuration::from_hours(24));
    let (agent, model) = AGENTS[0];
    let mut writer = begin(&SessionStore::open(root), clock, "a long task".into(), working_dir, agent)?;
    for turn in 1..=turns {
        one_turn(&mut writer, turn, agent, model, bytes, &mut texts)?;
    }
    Ok(())
}

/// Begins a session that is being recorded, and its first turn.
pub(crate) fn live(root: &Path, working_dir: &Path) -> Result<SessionWriter> {
    let agent = AGENTS[0].0;
    let mut writer = begin(&SessionStore::open(root), Clock::system(), "a running task".into(), working_dir, agent)?;
    start(&mut writer, 1, agent)?;
    Ok(writer)
}

/// The agent says something.
pub(crate) fn say(writer: &mut SessionWriter, turn: u32, text: String) -> Result<()> {
    writer.append(Message { turn, text, text_artifact: None, cut_artifact: None, continued: false })?;
    Ok(())
}

fn session(
    store: &SessionStore,
    clock: Clock,
    number: usize,
    count: usize,
    bytes: f64,
    texts: &mut Texts,
) -> Result<()> {
    let (agent, model) = AGENTS[texts.rng.usize(..AGENTS.len())];
    // Log-normal with a spread of 1.2: the mean is twice the median.
    let size = texts.size(bytes / 2.05, 1.2);
    let mut prompt = texts.text((size / 50).clamp(60, 2000));
    if number == count / 3 {
        prompt.push_str(RARE);
    }
    let project = format!("project-{}", texts.rng.u8(..40));
    let working_dir = format!("/home/me/{project}");
    let mut writer = begin(store, clock, prompt, working_dir.as_ref(), agent)?;
    let turns = 1 + u32::try_from(size / 30_000)?.min(20);
    for turn in 1..=turns {
        one_turn(&mut writer, turn, agent, model, size / turns as usize, texts)?;
    }
    let outcome = [Outcome::Success, Outcome::Success, Outcome::Success, Outcome::Failed, Outcome::Interrupted]
        [texts.rng.usize(..5)];
    let (outcome, exit_code) = (Some(outcome), Some(i32::from(outcome != Outcome::Success)));
    let (iterations, summary, confidence) = (None, None, None);
    let duration_secs = f64::from(texts.rng.u16(..3000));
    writer.append(SessionEnd { outcome, iterations, summary, confidence, picked: None, duration_secs, exit_code })?;
    Ok(())
}

fn begin(store: &SessionStore, clock: Clock, prompt: String, working_dir: &Path, agent: &str) -> Result<SessionWriter> {
    let options = WriterOptions { clock, durability: Durability::Os, redactor: Redactor::none() };
    Ok(store.create(&Place::Auto, options, None, |id, dir| SessionStart {
        format: FormatVersion::CURRENT,
        id,
        kind: SessionKind::Run,
        prompt_hash: decklog_journal::wire::prompt_hash(prompt.as_bytes()),
        prompt,
        prompt_artifact: None,
        working_dir: working_dir.to_string_lossy().into_owned(),
        session_dir: dir.to_string_lossy().into_owned(),
        agents: vec![agent.into()],
        actor_agent: None,
        critic_agent: None,
        actor_model: None,
        critic_model: None,
        max_iterations: None,
        rules: None,
        git: None,
        host: Some("host".into()),
        pid: Some(4711),
        decklog_version: "0.1.0".into(),
        source: None,
    })?)
}

fn start(writer: &mut SessionWriter, turn: u32, agent: &str) -> Result<()> {
    writer.append(TurnStart {
        boxed: false,
        turn,
        agent: agent.into(),
        role: Role::Solo,
        model: None,
        permissions: None,
        command: Vec::new(),
        prompt: String::new(),
        prompt_artifact: None,
        snapshot: None,
        withheld: Vec::new(),
    })?;
    Ok(())
}

fn one_turn(
    writer: &mut SessionWriter,
    turn: u32,
    agent: &str,
    model: &str,
    size: usize,
    texts: &mut Texts,
) -> Result<()> {
    start(writer, turn, agent)?;
    let mut left = size;
    let mut call = 0;
    while left > 0 {
        let piece = texts.size(1500.0, 1.0).min(40_000).min(left.max(200));
        left = left.saturating_sub(piece);
        let text = texts.text(piece);
        call += 1;
        match texts.rng.u8(..5) {
            0 => drop(writer.append(Thought { turn, text, text_artifact: None, continued: false })?),
            1 => say(writer, turn, text)?,
            _ => {
                let call_id = format!("toolu_{turn}_{call}");
                let file = format!("src/module_{}/part{}.rs", texts.rng.u8(..30), texts.rng.u8(..20));
                let (name, kind) = [("Read", ToolKind::Read), ("Bash", ToolKind::Execute)][texts.rng.usize(..2)];
                let input = serde_json::json!({ "file_path": file });
                let (title, input_artifact, status) = (None, None, ToolStatus::Pending);
                let name = name.into();
                writer.append(ToolCall {
                    turn,
                    call_id: call_id.clone(),
                    name,
                    kind,
                    title,
                    input,
                    input_artifact,
                    status,
                })?;
                writer.append(ToolResult {
                    turn,
                    call_id,
                    status: ToolStatus::Completed,
                    output: text,
                    output_artifact: None,
                    exit_code: None,
                    duration_secs: None,
                })?;
            }
        }
    }
    let (input, output) = (u64::from(texts.rng.u16(..)), u64::from(texts.rng.u16(..9000)));
    let tokens = Tokens { input, cached_input: input / 2, output, reasoning: 0 };
    let cost_usd = Some(f64::from(texts.rng.u16(..2000)) / 1000.0);
    writer.append(Usage { turn, tokens, cost_usd, model: Some(model.into()) })?;
    let path = format!("src/module_{}/part{}.rs", texts.rng.u8(..30), texts.rng.u8(..20));
    let file = FileChange { path, old_path: None, status: "modified".into(), added: Some(4), removed: Some(1) };
    writer.append(TurnEnd {
        turn,
        outcome: TurnOutcome::Success,
        exit_code: Some(0),
        signal: None,
        duration_secs: 43.2,
        agent_session_id: None,
        model: None,
        error: None,
        snapshot: None,
        files: vec![file],
        files_changed: 1,
        patch: String::new(),
        patch_artifact: None,
        withheld: Vec::new(),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    })?;
    Ok(())
}
