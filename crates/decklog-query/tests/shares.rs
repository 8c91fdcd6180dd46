//! What each agent and each model used: its own turns' part of a session, from the index and from the sessions alike.

use decklog_journal::event::{EventBody, SessionEnd, SessionStart, Tokens, TurnEnd, TurnStart, Usage};
use decklog_journal::redact::Redactor;
use decklog_journal::store::Place;
use decklog_journal::time::Clock;
use decklog_journal::{Durability, SessionFilter, SessionStore, WriterOptions};
use decklog_query::index::Lookup;
use decklog_query::stats::{By, Group, Stats, StatsFold};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

fn body(value: Value) -> EventBody {
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an event")
    }
    match value["type"].as_str().expect("a type") {
        "turn_start" => read::<TurnStart>(value).into(),
        "usage" => read::<Usage>(value).into(),
        "turn_end" => read::<TurnEnd>(value).into(),
        "session_end" => read::<SessionEnd>(value).into(),
        other => panic!("{other}"),
    }
}

/// Records a session of these events, in which turns are given by their number.
fn record(store: &SessionStore, suffix: u16, kind: &str, agents: &[&str], events: &[Value]) {
    let clock = Clock::fixed("2026-05-01T10:00:00Z".parse().expect("a time"));
    let options = WriterOptions { clock, durability: Durability::Os, redactor: Redactor::none() };
    let start = |id, dir: &std::path::Path| {
        let start = json!({
            "format": "1.6", "id": id, "kind": kind, "prompt": "", "prompt_hash": "",
            "working_dir": "/w", "session_dir": dir, "agents": agents, "decklog_version": "0",
        });
        serde_json::from_value::<SessionStart>(start).expect("a start")
    };
    let mut writer = store.create(&Place::Auto, options, Some(suffix), start).expect("a session");
    for event in events {
        writer.append(body(event.clone())).expect("an event");
    }
}

fn begin(turn: u32, agent: &str) -> Value {
    json!({ "type": "turn_start", "turn": turn, "agent": agent, "role": "solo" })
}

fn usage(turn: u32, model: Option<&str>, input: u64, cost: Option<f64>) -> Value {
    let tokens = json!({ "input": input, "cached_input": 0, "output": 1, "reasoning": 0 });
    let mut usage = json!({ "type": "usage", "turn": turn, "tokens": tokens });
    usage.as_object_mut().expect("an object").extend(model.map(|model| ("model".into(), model.into())));
    usage.as_object_mut().expect("an object").extend(cost.map(|cost| ("cost_usd".into(), cost.into())));
    usage
}

fn end(turn: u32, model: Option<&str>) -> Value {
    let mut end =
        json!({ "type": "turn_end", "turn": turn, "outcome": "success", "duration_secs": 1.0, "files_changed": 0 });
    end.as_object_mut().expect("an object").extend(model.map(|model| ("model".into(), model.into())));
    end
}

fn over() -> Value {
    json!({ "type": "session_end", "outcome": "success", "duration_secs": 1.0, "exit_code": 0 })
}

fn store(dir: &std::path::Path) -> SessionStore {
    let store = SessionStore::open(dir.join("root"));
    // A relay: each agent reports its model in its own way.
    let relay = [
        begin(1, "claude"),
        usage(1, Some("opus"), 100, Some(1.0)),
        usage(1, Some("haiku"), 10, Some(0.1)),
        end(1, Some("opus")),
        begin(2, "codex"),
        usage(2, None, 1000, None),
        end(2, Some("gpt-5")),
        begin(3, "claude"),
        usage(3, Some("opus"), 200, Some(2.0)),
        end(3, None),
        over(),
    ];
    record(&store, 1, "run", &["claude", "codex"], &relay);
    // A race: turns side by side, of which one used nothing, and one is not over.
    let race = [
        begin(1, "claude"),
        begin(2, "codex"),
        begin(3, "gemini"),
        usage(2, None, 50, None),
        usage(1, Some("opus"), 7, Some(0.5)),
        end(1, Some("opus")),
        end(3, None),
    ];
    record(&store, 2, "race", &["claude", "codex", "gemini"], &race);
    // One agent with one model has all.
    let run = [begin(1, "codex"), usage(1, None, 30, Some(0.25)), end(1, Some("gpt-5")), over()];
    record(&store, 3, "run", &["codex"], &run);
    // A loop in which actor and critic are one agent, and the model is one.
    let looped = [
        begin(1, "claude"),
        usage(1, Some("opus"), 1, Some(0.125)),
        end(1, None),
        begin(2, "claude"),
        usage(2, Some("opus"), 2, Some(0.125)),
        end(2, None),
        over(),
    ];
    record(&store, 4, "loop", &["claude"], &looped);
    store
}

fn stats(lookup: &mut Lookup, expects_index: bool) -> Stats {
    let new = || StatsFold::new(&By::ALL, TimeZone::UTC);
    let (sums, _) =
        lookup.sum_up(&SessionFilter::default(), Timestamp::now(), &mut |_, _| {}, new, StatsFold::add).expect("sums");
    assert_eq!(lookup.problem().is_none(), expects_index);
    sums.into_iter().reduce(StatsFold::merge).expect("a sum").finish()
}

/// Sessions, tokens read and cost of a group.
fn of(groups: &[Group], key: &str) -> (u64, u64, f64) {
    let group = groups.iter().find(|group| group.key == key).unwrap_or_else(|| panic!("no group {key}"));
    (group.sessions, group.tokens_total.input, group.cost_usd_total)
}

#[test]
fn each_agent_and_each_model_has_its_own_turns_part() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path());
    let indexed = stats(&mut Lookup::new(dir.path().join("cache"), store.clone()), true);
    let agents = &indexed.by["agent"];
    assert_eq!(of(agents, "claude"), (3, 100 + 10 + 200 + 7 + 3, 1.0 + 0.1 + 2.0 + 0.5 + 0.25));
    assert_eq!(of(agents, "codex"), (3, 1000 + 50 + 30, 0.25));
    assert_eq!(of(agents, "gemini"), (1, 0, 0.0));
    let models = &indexed.by["model"];
    assert_eq!(of(models, "opus"), (3, 100 + 200 + 7 + 3, 1.0 + 2.0 + 0.5 + 0.25));
    assert_eq!(of(models, "haiku"), (1, 10, 0.1));
    assert_eq!(of(models, "gpt-5"), (2, 1030, 0.25));
    // Everything else counts a session as one.
    let total = Tokens { input: 1400, output: 9, ..Tokens::default() };
    assert_eq!((indexed.all.sessions, indexed.all.tokens_total), (4, total));
    let sum = agents.iter().map(|group| group.tokens_total.input).sum::<u64>();
    assert_eq!(sum, total.input, "what agents used adds up");
    let average = agents.iter().find(|group| group.key == "gemini").and_then(|group| group.tokens);
    assert_eq!(average, None, "who used nothing lowers no average");

    // Where there is no index the sessions say the same.
    std::fs::write(dir.path().join("file"), "").expect("a file");
    let read = stats(&mut Lookup::new(dir.path().join("file"), store.clone()), false);
    assert_eq!(read, indexed);

    // So do heads of a version that did not keep the parts, and none.
    for id in store.ids().expect("ids") {
        let head = store.entry(&id).join("session.json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&head).expect("a head")).expect("JSON");
        value.as_object_mut().expect("an object").remove("usage");
        std::fs::write(&head, value.to_string()).expect("written");
    }
    assert_eq!(stats(&mut Lookup::new(dir.path().join("old"), store.clone()), true), indexed);
    assert_eq!(stats(&mut Lookup::new(dir.path().join("file"), store.clone()), false), indexed);
    for id in store.ids().expect("ids") {
        std::fs::remove_file(store.entry(&id).join("session.json")).expect("removed");
    }
    assert_eq!(stats(&mut Lookup::new(dir.path().join("none"), store), true), indexed);
}

#[test]
fn a_rate_of_success_is_of_outcomes_that_are_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SessionStore::open(dir.path().join("root"));
    let turn = [begin(1, "claude"), end(1, None)];
    let unknown = json!({ "type": "session_end", "duration_secs": 1.0 });
    let failed = json!({ "type": "session_end", "outcome": "failed", "duration_secs": 1.0, "exit_code": 2 });
    for (suffix, end) in (0..).zip([over(), failed, unknown.clone(), unknown]) {
        record(&store, suffix, "import", &["claude"], &[&turn[..], &[end]].concat());
    }
    let counted = stats(&mut Lookup::new(dir.path().join("cache"), store), true);
    let all = &counted.all;
    assert_eq!((all.completed, all.success, all.failed, all.unknown, all.success_rate), (4, 1, 1, 2, Some(0.5)));
    let outcomes: Vec<_> = counted.by["outcome"].iter().map(|group| (group.key.as_str(), group.sessions)).collect();
    assert_eq!(outcomes, [("unknown", 2), ("failed", 1), ("success", 1)]);
}
