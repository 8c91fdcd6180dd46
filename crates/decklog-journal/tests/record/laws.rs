//! Laws that hold for whatever is recorded.

use decklog_journal::event::*;
use decklog_journal::head::HeadFold;
use decklog_journal::read::{Follower, Item, JournalReader, ReverseReader};
use decklog_journal::session::{self, JOURNAL_FILE, rebuild_head};
use decklog_journal::state::State;
use decklog_journal::store::current_head;
use decklog_journal::verify::verify;
use decklog_journal::words::*;
use decklog_journal::{Head, SessionWriter};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::states::{events, iteration, session_end, turn_end};
use crate::world::{World, journal, lines, options, set_journal};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// What makes events differ: a choice, a text, two numbers.
type Seed = (Index, String, f64, u32);

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let text = prop_oneof![".{0,40}", "\\PC{0,20}", "[\\x00-\\x1f\"\\\\\u{202e}]{0,10}"];
    let number =
        prop_oneof![Just(0.0), 0.0..100.0, any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite())];
    proptest::collection::vec((any::<Index>(), text, number, any::<u32>()), 0..40)
}

/// Legal events, one for each seed, with contents of the seed's.
fn legal(state: &State, (choice, text, number, count): &Seed) -> EventBody {
    let turn = state.open_turns().last().copied().unwrap_or(state.last_turn() + 1);
    let mut possible: Vec<EventBody> = events(turn);
    possible.push(turn_start_of(state.last_turn() + 1));
    possible.retain(|event| !matches!(event, EventBody::Unknown(_)) && state.clone().advance(event).is_ok());
    let mut event = choice.get(&possible).clone();
    match &mut event {
        EventBody::SessionStart(e) => e.prompt.clone_from(text),
        EventBody::TurnStart(e) => e.agent.clone_from(text),
        EventBody::Message(e) => (e.text, e.continued) = (text.clone(), count % 2 == 0),
        EventBody::Thought(e) => e.text.clone_from(text),
        EventBody::Plan(e) => e.entries.push(PlanEntry { content: text.clone(), status: text.clone() }),
        EventBody::ToolCall(e) => {
            (e.call_id, e.input) = (format!("{}", count % 3), serde_json::json!({ "a": text, "b": number }))
        }
        EventBody::ToolResult(e) => {
            (e.call_id, e.output, e.duration_secs) = (format!("{}", count % 3), text.clone(), Some(*number))
        }
        EventBody::Usage(e) => {
            e.tokens =
                Tokens { input: u64::from(*count) << 31, cached_input: 1, output: u64::from(*count), reasoning: 0 };
            (e.cost_usd, e.model) = (Some(number % 1e9), Some(text.clone()));
        }
        EventBody::RateLimited(e) => e.message.clone_from(text),
        EventBody::Notice(e) => {
            (e.code, e.text) = (if count % 2 == 0 { "recording_failed".into() } else { text.clone() }, text.clone())
        }
        EventBody::TurnEnd(e) => {
            *e = TurnEnd {
                duration_secs: *number,
                files_changed: u64::from(*count),
                model: Some(text.clone()),
                ..turn_end(e.turn)
            }
        }
        EventBody::Container(e) => (e.image_tag, e.container_name) = (text.clone(), text.clone()),
        EventBody::Validation(e) => (e.command, e.duration_secs) = (text.clone(), *number),
        EventBody::Iteration(e) => {
            *e = Iteration { actor_output: text.clone(), actor_duration_secs: *number, ..iteration(*count) }
        }
        EventBody::Checkpoint(e) => e.reason.clone_from(text),
        EventBody::Handoff(e) => e.from.clone_from(text),
        EventBody::Resumed(e) => e.pid = Some(*count),
        EventBody::SessionEnd(e) => {
            *e = SessionEnd { summary: Some(text.clone()), confidence: Some(*number), ..session_end() }
        }
        EventBody::Unknown(_) => {}
    }
    event
}

fn turn_start_of(turn: u32) -> EventBody {
    crate::world::turn_start(turn).into()
}

/// Writes what the seeds make, and gives every event as the writer gave it back.
fn record(writer: &mut SessionWriter, seeds: &[Seed]) -> Vec<Event> {
    seeds
        .iter()
        .map(|seed| {
            let body = legal(writer.state(), seed);
            writer.append(body).unwrap()
        })
        .collect()
}

fn read(bytes: &[u8]) -> (Vec<Event>, usize) {
    let (mut events, mut faults) = (Vec::new(), 0);
    for item in JournalReader::new(bytes) {
        match item.unwrap() {
            Item::Event(event) => events.push(event),
            Item::Fault(_) => faults += 1,
        }
    }
    (events, faults)
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn what_is_written_is_what_is_read(seeds in seeds(), prompt in ".{0,300}") {
        let world = World::new();
        let mut writer = world.create_with(1, options(), |mut start| { start.prompt = prompt; start });
        let dir = writer.dir().to_owned();
        let written = record(&mut writer, &seeds);
        let in_memory = writer.head().unwrap().clone();
        drop(writer);

        let bytes = journal(&dir);
        let (events, faults) = read(&bytes);
        prop_assert_eq!(faults, 0);
        prop_assert_eq!(&events[1..], &written[..]);

        let mut fold = HeadFold::default();
        events.iter().for_each(|event| fold.apply(event));
        let mut folded = fold.into_head().unwrap();
        (folded.journal_bytes, folded.sum) = (in_memory.journal_bytes, in_memory.sum.clone());
        prop_assert_eq!(&folded, &in_memory);
        prop_assert_eq!(&rebuild_head(&dir).unwrap(), &in_memory);
        prop_assert_eq!(&current_head(&dir).unwrap(), &in_memory);
        prop_assert_eq!(&session::load(&dir).unwrap().head, &in_memory);
        let report = verify(&dir);
        prop_assert!(report.is_clean(), "{:?}", report);

        let mut reversed = written;
        reversed.insert(0, events[0].clone());
        reversed.reverse();
        let backwards: Vec<Event> = ReverseReader::open(&dir.join(JOURNAL_FILE)).unwrap().map(|item| item.unwrap().unwrap()).collect();
        prop_assert_eq!(backwards, reversed);

        // The head that is written when the session goes on sums up everything before it.
        let again = SessionWriter::resume(&dir, options(), None, "0.1.0").unwrap();
        prop_assert_eq!(&Head::read(&dir).unwrap(), again.head().unwrap());
        prop_assert_eq!(&rebuild_head(&dir).unwrap(), again.head().unwrap());
    }

    #[test]
    fn damage_never_stops_a_reader(
        seeds in seeds(),
        hits in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..6),
        cut in any::<Index>(),
        insert in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let world = World::new();
        let mut writer = world.create(1);
        let dir = writer.dir().to_owned();
        record(&mut writer, &seeds);
        drop(writer);
        let mut bytes = journal(&dir);
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let at = cut.index(bytes.len() + 1);
        bytes.splice(at..at, insert);
        set_journal(&dir, &bytes);
        let (events, _) = read(&bytes);
        prop_assert!(events.len() <= lines(&bytes).len());
        let _ = verify(&dir);
        let _ = current_head(&dir);
        let _ = ReverseReader::open(&dir.join(JOURNAL_FILE)).unwrap().count();
        // Where a session is left at all, it can be gone on with, and that adds no new fault.
        if let Ok(loaded) = session::load(&dir) {
            let torn = usize::from(bytes.last().is_some_and(|byte| *byte != b'\n'));
            if let Ok(writer) = SessionWriter::resume(&dir, options(), None, "0.1.0") {
                prop_assert_eq!(writer.state().status(), Some(Status::Active));
                drop(writer);
                prop_assert_eq!(session::load(&dir).unwrap().faults.len(), loaded.faults.len() - torn);
            }
        }
    }

    #[test]
    fn following_gives_what_reading_gives(seeds in seeds(), cuts in proptest::collection::vec(any::<Index>(), 0..12)) {
        let world = World::new();
        let mut writer = world.create(1);
        let dir = writer.dir().to_owned();
        record(&mut writer, &seeds);
        drop(writer);
        let bytes = journal(&dir);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        set_journal(&dir, b"");
        let mut follower = Follower::open(&dir.join(JOURNAL_FILE)).unwrap();
        let mut events = Vec::new();
        for end in cuts.into_iter().chain([bytes.len()]) {
            set_journal(&dir, &bytes[..end]);
            while let Some(item) = follower.poll().unwrap() {
                match item {
                    Item::Event(event) => events.push(event),
                    Item::Fault(fault) => prop_assert!(false, "{}", fault),
                }
            }
        }
        prop_assert_eq!(follower.finish().unwrap(), None);
        prop_assert_eq!(events, read(&bytes).0);
    }
}
