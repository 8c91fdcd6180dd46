//! What the next agent is handed: made from the record alone, so that it can be made when the agent before is gone.
//!
//! Must not know: agents' protocols, the terminal, git.

use std::collections::BTreeMap;

use decklog_journal::Session;
use decklog_journal::event::{FileChange, GitState, PlanEntry, Tokens};
use decklog_journal::session::{Step, ToolUse, Turn};
use decklog_journal::words::{Role, ToolKind, ToolStatus, TurnOutcome};
use jiff::Timestamp;
use serde::Serialize;

use super::summary::{self, is_summary};
use crate::orchestrate::text::{Keep, cut, fenced, section};

/// Version of the packet's JSON.
const VERSION: u32 = 1;

/// How the text for an agent begins.
pub(super) const OPENING: &str = "You take over a session of work";

/// Turns that are told of one by one.
const RECENT: usize = 5;

/// What a packet holds. Its `Serialize` is `resume/NNN-AGENT.json`; its schema is in docs/packet.schema.json.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Packet {
    /// Version of this shape.
    pub packet: u32,
    /// The session.
    pub session_id: String,
    /// Who had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_agent: Option<String>,
    /// Who is to have it.
    pub target_agent: String,
    /// Why: `rate_limit`, `manual`, `handoff` or `boundary`.
    pub checkpoint_reason: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Turns so far.
    pub turn_count: u32,
    /// What the session is for: its first prompt.
    pub objective: String,
    /// What was decided.
    pub decisions: Vec<Reason>,
    /// What is in the way.
    pub blockers: Vec<String>,
    /// Files that were changed, by path.
    pub touched_files: Vec<FileChange>,
    /// The last result of each check.
    pub validation: Vec<Check>,
    /// The plan as it was told last.
    pub plan: Vec<PlanEntry>,
    /// What comes next.
    pub next_task: String,
    /// The repository.
    pub git: Git,
    /// Tokens of all turns.
    pub tokens: Tokens,
    /// The last turns, oldest first.
    pub recent_turns: Vec<Recent>,
    /// Where everything else is.
    pub record: Record,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// What.
    pub summary: String,
    /// Why.
    pub why: String,
}

/// A check's last result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The command.
    pub command: String,
    /// Whether it passed.
    pub passed: bool,
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The turn after which it ran.
    pub turn: u32,
    /// When that turn ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The end of what it printed.
    pub tail: String,
}

/// The repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Git {
    /// The commit checked out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The branch checked out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Whether files differ from the commit, untracked ones included; outside of a repository, whether the session changed any.
    pub dirty: bool,
    /// The last turn's patch, relative to the session directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
}

/// A turn in short. One in which a summary was asked for is not told of: its answer is among the decisions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recent {
    /// Its number.
    pub turn: u32,
    /// Who.
    pub agent: String,
    /// What for.
    pub role: Role,
    /// How it came out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TurnOutcome>,
    /// What it was asked, where that is not the objective.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub asked: String,
    /// What its tools did, one line each.
    pub did: Vec<String>,
    /// The agent's last words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// Where the whole record is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The session directory.
    pub dir: String,
    /// The command that shows it.
    pub command: String,
    /// The command that shows what it changed.
    pub diff: String,
}

/// What the record does not say.
#[derive(Clone)]
pub struct About<'a> {
    /// Who is to have it.
    pub target: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The time.
    pub now: Timestamp,
    /// The session directory.
    pub dir: &'a str,
    /// The repository as it is now, and the tree of its commit; absent where there is none.
    pub repository: Option<(GitState, String)>,
    /// Reads a turn's prompt.
    pub asked: &'a dyn Fn(&Turn) -> String,
}

/// Bytes of texts within a packet.
const TEXT: usize = 4 * 1024;
const ASKED: usize = 2 * 1024;
const TAIL: usize = 2 * 1024;
const LINE: usize = 200;

impl Packet {
    /// The packet of `session` as it stands.
    #[must_use]
    pub fn of(session: &Session, about: &About<'_>) -> Self {
        let validation = checks(session);
        let plan = last_plan(session);
        let told = summary::told(session);
        let mut blockers = blockers(session, &validation);
        blockers.extend(told.blockers);
        let turns = || session.turns.iter().filter(|turn| !is_summary(turn));
        let last = turns().next_back();
        let recent = |turn: &Turn| {
            // The task is told by itself.
            let asked = Some((about.asked)(turn)).filter(|asked| asked.trim() != session.prompt.trim());
            recent(turn, cut(&asked.unwrap_or_default(), ASKED, Keep::Beginning))
        };
        let id = &session.head.id;
        Self {
            packet: VERSION,
            session_id: id.to_string(),
            previous_agent: last.map(|turn| turn.agent.clone()),
            target_agent: about.target.to_owned(),
            checkpoint_reason: about.reason.to_owned(),
            created_at: about.now,
            turn_count: session.head.turns,
            objective: cut(&session.prompt, 4 * TEXT, Keep::Beginning),
            decisions: told.decisions.into_iter().chain(decisions(session)).collect(),
            blockers,
            touched_files: touched(session),
            next_task: told.next_task.unwrap_or_else(|| next_task(&plan, &validation, last)),
            validation,
            plan,
            git: git(about.repository.as_ref(), session),
            tokens: session.head.tokens.unwrap_or_default(),
            recent_turns: turns().rev().take(RECENT).map(recent).collect::<Vec<_>>().into_iter().rev().collect(),
            record: Record {
                dir: about.dir.to_owned(),
                command: format!("decklog show {id}"),
                diff: format!("decklog diff {id}"),
            },
        }
    }

    /// The same for an agent to read, in at most `budget` bytes. What matters most comes first, and is cut last.
    #[must_use]
    pub fn markdown(&self, budget: usize) -> String {
        let from = self.previous_agent.as_deref().unwrap_or("another agent");
        let head = format!(
            "{OPENING} from {from} ({}). The files in the working directory are as it left them. This \
             is what the record tells; nothing of it has to be done again.\n\n",
            self.checkpoint_reason.replace('_', " ")
        );
        let list = |items: Vec<String>| items.iter().map(|item| format!("- {item}\n")).collect::<String>();
        let plan = self.plan.iter().map(|entry| format!("[{}] {}", mark(&entry.status), entry.content)).collect();
        let files = self.touched_files.iter().map(file_line).collect();
        let decisions = self.decisions.iter().map(decision_line).collect();
        let parts = [
            ("The task", self.objective.clone()),
            ("What comes next", self.next_task.clone()),
            ("What is in the way", list(self.blockers.clone())),
            ("The plan", list(plan)),
            ("Checks", self.validation.iter().map(check_text).collect::<Vec<_>>().join("\n\n")),
            ("What was decided", list(decisions)),
            ("Files changed so far", list(files)),
            ("The last turns", self.recent_turns.iter().map(recent_text).collect::<Vec<_>>().join("\n\n")),
        ];
        let Record { dir, command, diff } = &self.record;
        let end = format!("The whole record is in {dir} (`{command}`; what was changed: `{diff}`).\n");
        let mut text = head;
        let mut left_out = Vec::new();
        for (title, body) in parts.iter().filter(|(_, body)| !body.trim().is_empty()) {
            // Room for the end, and for what was left out.
            let room = budget.saturating_sub(text.len() + end.len() + 400);
            if room < 200 {
                left_out.push(*title);
            } else {
                text.push_str(&section(title, &cut(body, room.saturating_sub(title.len() + 60), Keep::Beginning)));
            }
        }
        if !left_out.is_empty() {
            text.push_str(&format!("Left out for want of room: {}.\n\n", left_out.join(", ")));
        }
        text + &end
    }
}

fn decisions(session: &Session) -> Vec<Reason> {
    let of_iteration = |iteration: &decklog_journal::event::Iteration| Reason {
        summary: format!("iteration {}: {}", iteration.iteration_number, iteration.critic_decision),
        why: cut(
            iteration.feedback.as_deref().or(iteration.summary.as_deref()).unwrap_or_default(),
            TAIL,
            Keep::Beginning,
        ),
    };
    session.iterations.iter().map(of_iteration).collect()
}

/// The last result of each check, in the order in which the checks first ran.
fn checks(session: &Session) -> Vec<Check> {
    let mut all: Vec<Check> = Vec::new();
    for turn in &session.turns {
        for check in &turn.validations {
            let result = Check {
                command: check.command.clone(),
                passed: check.passed,
                exit_code: check.exit_code,
                turn: turn.turn,
                at: turn.ended_at,
                tail: cut(check.output.trim_end(), TAIL, Keep::End),
            };
            match all.iter_mut().find(|known| known.command == result.command) {
                Some(known) => *known = result,
                None => all.push(result),
            }
        }
    }
    all
}

fn tools(turn: &Turn) -> impl Iterator<Item = &ToolUse> {
    turn.steps.iter().filter_map(|step| match step {
        Step::Tool(tool) => Some(&**tool),
        _ => None,
    })
}

/// What a tool did, in a line.
fn did(tool: &ToolUse) -> String {
    let title = tool.title.as_deref().unwrap_or_default();
    let failed = if tool.status == ToolStatus::Failed { " (failed)" } else { "" };
    let line = format!("{} {title}", tool.name).trim().replace('\n', " ");
    cut(&line, LINE, Keep::Beginning).replace('\n', " ") + failed
}

/// Commands that failed and did not succeed since, checks that fail, and what ended the last turn.
fn blockers(session: &Session, checks: &[Check]) -> Vec<String> {
    let mut failing: BTreeMap<String, String> = BTreeMap::new();
    for tool in session.turns.iter().flat_map(tools).filter(|tool| tool.kind == ToolKind::Execute) {
        let command = tool.title.clone().unwrap_or_else(|| tool.input.to_string());
        match tool.status {
            ToolStatus::Failed => {
                let said = tool.output.trim_end().lines().next_back().unwrap_or_default();
                failing.insert(command, cut(said, LINE, Keep::Beginning));
            }
            ToolStatus::Completed => drop(failing.remove(&command)),
            _ => {}
        }
    }
    let mut all: Vec<String> =
        failing.into_iter().map(|(command, said)| format!("`{command}` still fails: {said}")).collect();
    all.extend(checks.iter().filter(|check| !check.passed).map(|check| format!("the check `{}` fails", check.command)));
    if let Some(turn) = session.turns.last() {
        let limited =
            turn.rate_limits.last().map(|limit| format!("{} is rate-limited: {}", limit.agent, limit.message));
        let failed = turn.error.as_ref().map(|error| format!("{} failed: {error}", turn.agent));
        let cut_off = turn.outcome.is_none().then(|| format!("{} was cut off in the middle of its turn", turn.agent));
        all.extend(limited.or(failed).or(cut_off).map(|what| cut(&what, TAIL, Keep::Beginning)));
    }
    all
}

/// Changed files over all turns: counts added up, the last word on each.
fn touched(session: &Session) -> Vec<FileChange> {
    let mut all: BTreeMap<&str, FileChange> = BTreeMap::new();
    for change in session.turns.iter().flat_map(|turn| &turn.files) {
        let known = all.entry(&change.path).or_insert_with(|| FileChange {
            added: Some(0),
            removed: Some(0),
            ..change.clone()
        });
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.saturating_add(b));
        (known.added, known.removed) = (sum(known.added, change.added), sum(known.removed, change.removed));
        // What is new in the session stays new, however often it changes.
        if !(known.status == "added" && change.status == "modified") {
            known.status.clone_from(&change.status);
        }
    }
    all.into_values().collect()
}

fn last_plan(session: &Session) -> Vec<PlanEntry> {
    let of = |step: &Step| match step {
        Step::Plan { entries } => Some(entries.clone()),
        _ => None,
    };
    session.turns.iter().rev().find_map(|turn| turn.steps.iter().rev().find_map(of)).unwrap_or_default()
}

fn next_task(plan: &[PlanEntry], checks: &[Check], last: Option<&Turn>) -> String {
    let open = |status: &str| plan.iter().find(|entry| entry.status == status).map(|entry| entry.content.clone());
    let failing = || checks.iter().find(|check| !check.passed).map(|check| format!("Make `{}` pass.", check.command));
    let cut_off = || {
        let unfinished = last.is_some_and(|turn| turn.outcome != Some(TurnOutcome::Success));
        unfinished.then(|| "Finish the task: the last turn did not come to its end.".to_owned())
    };
    open("in_progress")
        .or_else(|| open("pending"))
        .or_else(failing)
        .or_else(cut_off)
        .unwrap_or_else(|| "See whether the task is done, and finish what is missing.".into())
}

fn git(repository: Option<&(GitState, String)>, session: &Session) -> Git {
    let (state, committed) = repository.cloned().unzip();
    let state = state.or_else(|| session.head.git.clone()).unwrap_or_default();
    let patch = session.turns.iter().rev().find_map(|turn| turn.patch_artifact.as_ref());
    let stands =
        session.turns.iter().rev().find_map(|turn| turn.snapshot_after.as_ref().or(turn.snapshot_before.as_ref()));
    let dirty = match (stands, committed) {
        (Some(stands), Some(committed)) => *stands != committed,
        _ => session.turns.iter().any(|turn| turn.files_changed > 0),
    };
    Git { head: state.head, branch: state.branch, dirty, patch: patch.map(|patch| patch.path.clone()) }
}

fn recent(turn: &Turn, asked: String) -> Recent {
    Recent {
        turn: turn.turn,
        agent: turn.agent.clone(),
        role: turn.role,
        outcome: turn.outcome,
        asked,
        did: tools(turn).map(did).collect(),
        said: cut(turn.final_text().unwrap_or_default().trim(), TEXT, Keep::End),
    }
}

fn mark(status: &str) -> char {
    match status {
        "completed" => 'x',
        "in_progress" => '>',
        _ => ' ',
    }
}

fn file_line(file: &FileChange) -> String {
    let counts = match (file.added, file.removed) {
        (Some(added), Some(removed)) => format!(" (+{added} -{removed})"),
        _ => String::new(),
    };
    format!("{} {}{counts}", file.status, file.path)
}

fn decision_line(decision: &Reason) -> String {
    if decision.why.is_empty() { decision.summary.clone() } else { format!("{}: {}", decision.summary, decision.why) }
}

fn check_text(check: &Check) -> String {
    if check.passed {
        return format!("`{}` passes.", check.command);
    }
    format!("`{}` FAILS:\n\n{}", check.command, fenced("", &check.tail))
}

fn recent_text(turn: &Recent) -> String {
    let outcome = turn.outcome.map_or("cut off", TurnOutcome::as_str);
    let mut text = format!("Turn {}, {} ({outcome}):\n", turn.turn, turn.agent);
    if !turn.asked.is_empty() {
        text.push_str(&format!("\nIt was asked:\n\n{}\n\n", fenced("", turn.asked.trim())));
    }
    text.extend(turn.did.iter().map(|line| format!("- {line}\n")));
    if !turn.said.is_empty() {
        text.push_str(&format!("\n{}\n", turn.said));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        let words = |count: usize| "a word or two about it. ".repeat(count);
        Packet {
            packet: VERSION,
            session_id: "20260501T134412-3f2a".into(),
            previous_agent: Some("claude".into()),
            target_agent: "codex".into(),
            checkpoint_reason: "rate_limit".into(),
            created_at: Timestamp::UNIX_EPOCH,
            turn_count: 9,
            objective: words(100),
            decisions: vec![Reason { summary: "iteration 1: CONTINUE".into(), why: words(3) }],
            blockers: vec!["`make test` still fails: no rule".into()],
            touched_files: Vec::new(),
            validation: vec![Check {
                command: "make test".into(),
                passed: false,
                exit_code: Some(2),
                turn: 9,
                at: None,
                tail: words(50),
            }],
            plan: vec![PlanEntry { content: "Write the rest".into(), status: "in_progress".into() }],
            next_task: "Write the rest".into(),
            git: Git::default(),
            tokens: Tokens::default(),
            recent_turns: (5..10)
                .map(|turn| Recent {
                    turn,
                    agent: "claude".into(),
                    role: Role::Solo,
                    outcome: None,
                    asked: "And now?".into(),
                    did: vec!["Bash make test (failed)".into(); 20],
                    said: words(100),
                })
                .collect(),
            record: Record {
                dir: "/sessions/20260501T134412-3f2a".into(),
                command: "decklog show 20260501T134412-3f2a".into(),
                diff: "decklog diff 20260501T134412-3f2a".into(),
            },
        }
    }

    #[test]
    fn a_packet_fits_its_budget_and_names_what_is_missing() {
        let packet = packet();
        let whole = packet.markdown(usize::MAX);
        assert!(whole.contains("The last turns") && !whole.contains("left out"), "{whole}");
        for budget in (1500..whole.len() + 2000).step_by(97) {
            let text = packet.markdown(budget);
            assert!(text.len() <= budget, "{} of {budget}", text.len());
            assert!(text == whole || text.contains("left out") || text.contains("Left out"), "{budget}: {text}");
            assert!(text.contains("decklog show 20260501T134412-3f2a"), "{budget}");
        }
    }
}
