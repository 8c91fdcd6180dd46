//! Every state with every event: what may follow what.

use decklog_journal::event::*;
use decklog_journal::state::State;
use decklog_journal::words::*;
use serde_json::json;

use crate::world::{message, session_start, turn_start};

/// One of each, of turn `turn` where it has one.
pub(crate) fn events(turn: u32) -> Vec<EventBody> {
    let text = String::new;
    vec![
        session_start("20260501T134412-3f2a".parse().unwrap()).into(),
        turn_start(turn).into(),
        message(turn, ""),
        Thought { turn, text: text(), text_artifact: None, continued: false }.into(),
        Plan { turn, entries: Vec::new() }.into(),
        Container {
            image_config_name: text(),
            image_tag: text(),
            container_name: text(),
            workspace: text(),
            network: text(),
            boxed: false,
        }
        .into(),
        ToolCall {
            turn,
            call_id: text(),
            name: text(),
            kind: ToolKind::Other,
            title: None,
            input: json!(null),
            input_artifact: None,
            status: ToolStatus::Pending,
        }
        .into(),
        ToolResult {
            turn,
            call_id: text(),
            status: ToolStatus::Completed,
            output: text(),
            output_artifact: None,
            exit_code: None,
            duration_secs: None,
        }
        .into(),
        Usage { turn, tokens: Tokens::default(), cost_usd: None, model: None }.into(),
        RateLimited { turn, agent: text(), message: text(), resets_at: None }.into(),
        Notice { turn: Some(turn), code: text(), text: text(), text_artifact: None }.into(),
        turn_end(turn).into(),
        Validation {
            turn,
            command: text(),
            passed: true,
            exit_code: None,
            duration_secs: 0.0,
            output: text(),
            output_artifact: None,
        }
        .into(),
        iteration(1).into(),
        Checkpoint { reason: text(), exit_code: None }.into(),
        Handoff { from: text(), to: text(), reason: text(), packet_artifact: None }.into(),
        Resumed { pid: None, decklog_version: text(), torn_bytes: None }.into(),
        session_end().into(),
        EventBody::Unknown(UnknownEvent { kind: "unheard_of".into(), fields: serde_json::Map::new() }),
    ]
}

pub(crate) fn turn_end(turn: u32) -> TurnEnd {
    TurnEnd {
        turn,
        outcome: TurnOutcome::Success,
        exit_code: None,
        signal: None,
        duration_secs: 0.0,
        agent_session_id: None,
        model: None,
        error: None,
        snapshot: None,
        files: Vec::new(),
        files_changed: 0,
        patch: String::new(),
        patch_artifact: None,
        withheld: Vec::new(),
        stream_artifact: None,
        stderr_artifact: None,
        output_artifact: None,
    }
}

pub(crate) fn iteration(number: u32) -> Iteration {
    Iteration {
        iteration_number: number,
        actor_turn: None,
        critic_turn: None,
        actor_output: String::new(),
        actor_output_artifact: None,
        actor_stderr: String::new(),
        actor_stderr_artifact: None,
        actor_exit_code: 0,
        actor_duration_secs: 0.0,
        git_diff: String::new(),
        git_diff_artifact: None,
        git_files_changed: 0,
        checks_passed: None,
        critic_decision: Decision::Continue,
        critic_said: None,
        feedback: None,
        summary: None,
        confidence: None,
    }
}

pub(crate) fn session_end() -> SessionEnd {
    SessionEnd {
        outcome: Some(Outcome::Success),
        iterations: None,
        summary: None,
        confidence: None,
        picked: None,
        duration_secs: 0.0,
        exit_code: Some(0),
    }
}

fn state(events: &[EventBody]) -> State {
    let mut state = State::default();
    for event in events {
        state.advance(event).unwrap();
    }
    state
}

const OF_A_TURN: [&str; 8] =
    ["message", "thought", "plan", "tool_call", "tool_result", "usage", "rate_limited", "turn_end"];

#[test]
fn every_state_with_every_event() {
    let start: EventBody = session_start("20260501T134412-3f2a".parse().unwrap()).into();
    let open = |turn| turn_start(turn).into();
    let over = |turn| turn_end(turn).into();
    let checkpoint = EventBody::from(Checkpoint { reason: String::new(), exit_code: None });
    let end = EventBody::from(session_end());
    let anywhere = ["notice", "iteration", "handoff", "container", "resumed", "unheard_of"];
    // The state; the turn the events are of; what is legal.
    let table: Vec<(&str, State, u32, Vec<&str>)> = vec![
        ("before the start", State::default(), 1, vec!["session_start"]),
        (
            "no turn yet",
            state(std::slice::from_ref(&start)),
            1,
            vec![
                "turn_start",
                "iteration",
                "handoff",
                "container",
                "resumed",
                "unheard_of",
                "checkpoint",
                "session_end",
            ],
        ),
        (
            "no turn yet, of the turn after next",
            state(std::slice::from_ref(&start)),
            2,
            vec!["iteration", "handoff", "container", "resumed", "unheard_of", "checkpoint", "session_end"],
        ),
        ("turn 1 open", state(&[start.clone(), open(1)]), 1, [&OF_A_TURN[..], &anywhere, &["validation"]].concat()),
        (
            "turn 1 open, of turn 2",
            state(&[start.clone(), open(1)]),
            2,
            vec!["turn_start", "iteration", "handoff", "container", "resumed", "unheard_of"],
        ),
        (
            "turns 1 and 2 open",
            state(&[start.clone(), open(1), open(2)]),
            1,
            [&OF_A_TURN[..], &anywhere, &["validation"]].concat(),
        ),
        (
            "turn 1 over",
            state(&[start.clone(), open(1), over(1)]),
            1,
            [&anywhere[..], &["validation", "checkpoint", "session_end"]].concat(),
        ),
        (
            "turn 1 over, of turn 2",
            state(&[start.clone(), open(1), over(1)]),
            2,
            vec![
                "turn_start",
                "iteration",
                "handoff",
                "container",
                "resumed",
                "unheard_of",
                "checkpoint",
                "session_end",
            ],
        ),
        (
            "turn 2 open, 1 over",
            state(&[start.clone(), open(1), open(2), over(1)]),
            1,
            [&anywhere[..], &["validation"]].concat(),
        ),
        ("checkpointed", state(&[start.clone(), checkpoint]), 1, vec!["resumed"]),
        ("completed", state(&[start.clone(), end]), 1, vec!["resumed"]),
        (
            "cut off in turn 1 and resumed",
            state(&[start, open(1), Resumed { pid: None, decklog_version: String::new(), torn_bytes: None }.into()]),
            1,
            [&anywhere[..], &["validation", "checkpoint", "session_end"]].concat(),
        ),
    ];
    for (name, before, turn, legal) in table {
        for event in events(turn) {
            let mut after = before.clone();
            let result = after.advance(&event);
            assert_eq!(
                result.is_ok(),
                legal.contains(&event.kind()),
                "{name}: {} of turn {turn}: {result:?}",
                event.kind()
            );
            if let Err(illegal) = result {
                assert_eq!(after, before, "{name}: {illegal}");
                assert_eq!(illegal.event, event.kind());
            }
        }
    }
}

/// What failed after the last line was written is recorded by these lines, and by no others.
#[test]
fn an_end_can_be_corrected() {
    let start: EventBody = session_start("20260501T134412-3f2a".parse().unwrap()).into();
    let checkpoint = EventBody::from(Checkpoint { reason: String::new(), exit_code: None });
    let failed = EventBody::from(SessionEnd { outcome: Some(Outcome::Failed), exit_code: Some(2), ..session_end() });
    let notice = |code: &str| {
        EventBody::from(Notice { turn: None, code: code.into(), text: String::new(), text_artifact: None })
    };
    for end in [session_end().into(), failed.clone()] {
        let before = state(&[start.clone(), end]);
        let allowed = |event: &EventBody| before.clone().advance(event).is_ok();
        assert!(allowed(&failed) && allowed(&notice("recording_failed")));
        assert!(!allowed(&session_end().into()) && !allowed(&notice("stalled")));
    }
    let before = state(&[start, checkpoint]);
    let allowed = |event: &EventBody| before.clone().advance(event).is_ok();
    assert!(allowed(&notice("recording_failed")) && !allowed(&failed) && !allowed(&notice("stalled")));
}

#[test]
fn what_each_event_makes_of_a_session() {
    let mut now = State::default();
    let expect = |now: &State, status, last, open: &[u32]| {
        assert_eq!((now.status(), now.last_turn(), now.open_turns()), (status, last, open));
    };
    expect(&now, None, 0, &[]);
    let active = Some(Status::Active);
    let resumed = || EventBody::from(Resumed { pid: None, decklog_version: String::new(), torn_bytes: None });
    let steps: [(EventBody, _, _, &[u32]); 11] = [
        (session_start("20260501T134412-3f2a".parse().unwrap()).into(), active, 0, &[]),
        (turn_start(1).into(), active, 1, &[1]),
        (turn_start(2).into(), active, 2, &[1, 2]),
        (turn_end(1).into(), active, 2, &[2]),
        (resumed(), active, 2, &[]),
        (turn_start(3).into(), active, 3, &[3]),
        (turn_end(3).into(), active, 3, &[]),
        (Checkpoint { reason: String::new(), exit_code: None }.into(), Some(Status::Checkpointed), 3, &[]),
        (resumed(), active, 3, &[]),
        (session_end().into(), Some(Status::Completed), 3, &[]),
        (resumed(), active, 3, &[]),
    ];
    for (event, status, last, open) in steps {
        now.advance(&event).unwrap();
        expect(&now, status, last, open);
    }
}
