//! One prompt, put to whoever can answer it: agents that are limited or silent are followed by the next.
//!
//! Must not know: what kind of session it is, and what becomes of the answer.

use std::time::Duration;

use decklog_journal::event::{Checkpoint, Notice};
use decklog_journal::words::{Permissions, Role, TurnOutcome};

use super::order::{Limited, Next, Order};
use super::{go_on_with, hand_over, with_prompt};
use crate::agents::Used;
use crate::orchestrate::recording::{Ask, Recording, RunError, exit};
use crate::turn::TurnResult;

/// Why a session is handed over here.
const REASON: &str = "rate_limit";

/// What is asked.
pub(in crate::orchestrate) struct Question {
    pub(in crate::orchestrate) role: Role,
    pub(in crate::orchestrate) prompt: String,
    /// What another agent is asked besides reading its packet.
    pub(in crate::orchestrate) besides: String,
    pub(in crate::orchestrate) permissions: Permissions,
    /// The present agent's own conversation, and what it has used.
    pub(in crate::orchestrate) resume: Option<(String, Used)>,
    /// Ends an agent after so long.
    pub(in crate::orchestrate) at_most: Option<Duration>,
}

/// What came of it.
pub(in crate::orchestrate) struct Answer {
    /// The last turn: its number and result.
    pub(in crate::orchestrate) turn: u32,
    pub(in crate::orchestrate) result: TurnResult,
    /// Agents that met a limit.
    pub(in crate::orchestrate) limited: Vec<Limited>,
    /// Whether the turn's state is written.
    pub(in crate::orchestrate) closed: bool,
}

/// Puts `question` to the present agent of `order`, and to those that follow it when it may not answer.
pub(in crate::orchestrate) fn answer(
    recording: &mut Recording<'_>,
    order: &mut Order,
    question: Question,
) -> Result<Answer, RunError> {
    let Question { role, mut prompt, besides, permissions, mut resume, at_most } = question;
    let mut limited = Vec::new();
    loop {
        let turn = recording.next_turn();
        let party = order.present().clone();
        let conversation = resume.as_ref().map(|(id, _)| id.clone());
        let result = recording.turn(Ask {
            turn,
            agent: &party.agent,
            role,
            prompt,
            model: party.model.clone(),
            permissions,
            resume: resume.take(),
            begins_anew: false,
            at_most,
            follows_at_once: false,
        })?;
        if conversation.is_some_and(|id| is_lost(&id, &result)) {
            let text = format!("{} could not go on with its conversation: it is given a packet instead", party.label());
            recording.close_turn(turn, &result, &[]);
            let notice = Notice { turn: Some(turn), code: "conversation_lost".into(), text, text_artifact: None };
            recording.append(notice);
            let packet = hand_over(recording, &party.agent.name, "boundary")?;
            prompt = with_prompt(&packet, &besides);
            continue;
        }
        if !hands_over(&result) {
            order.answered();
            return Ok(Answer { turn, result, limited, closed: false });
        }
        recording.close_turn(turn, &result, &[]);
        match follow(recording, order, &result, &mut limited)? {
            Some(packet) => prompt = with_prompt(&packet, &besides),
            None => return Ok(Answer { turn, result, limited, closed: true }),
        }
    }
}

/// Finds who goes on after a turn that was refused, waits for them if need be, and gives what they are to read. With
/// `None` nobody goes on; the session is then checkpointed already if a signal ended the waiting.
pub(in crate::orchestrate) fn follow(
    recording: &mut Recording<'_>,
    order: &mut Order,
    refused: &TurnResult,
    limited: &mut Vec<Limited>,
) -> Result<Option<String>, RunError> {
    let until = refused.facts.limited.flatten();
    if refused.outcome == TurnOutcome::RateLimited {
        limited.push(Limited { agent: order.present().agent.name.clone(), resets_at: until });
    }
    let next = order.refused(until, has_worked(refused), recording.now());
    let to = order.present().agent.name.clone();
    match next {
        Next::Nobody => Ok(None),
        Next::Now => hand_over(recording, &to, REASON).map(Some),
        Next::At(then) => {
            recording.append(Checkpoint { reason: REASON.into(), exit_code: Some(exit::LIMITED) });
            if recording.wait_for(&to, then) { go_on_with(recording, &to, REASON).map(Some) } else { Ok(None) }
        }
    }
}

/// Whether another agent should go on. Some are silent while they wait for a limit to pass.
fn hands_over(result: &TurnResult) -> bool {
    matches!(result.outcome, TurnOutcome::RateLimited | TurnOutcome::Stalled)
}

/// Whether the agent did anything in its turn. What it says when it is refused is no work.
pub(in crate::orchestrate) fn has_worked(result: &TurnResult) -> bool {
    result.files_changed > 0 || !result.facts.tools.is_empty()
}

/// Whether the agent has not got the conversation `id` any more: it tells of another one or of none, or says so.
fn is_lost(id: &str, result: &TurnResult) -> bool {
    result.outcome == TurnOutcome::Failed
        && !has_worked(result)
        && (result.facts.agent_session_id.as_deref() != Some(id) || result.error.as_deref().is_some_and(says_gone))
}

/// Codex, over ACP, takes a conversation up and does not find it when it is to answer.
fn says_gone(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    error.contains("not found") && ["thread", "session", "conversation"].iter().any(|what| error.contains(what))
}
