//! Sessions while they are recorded: what events add up to is what is there in the end, wherever a stream was cut.

use std::process::Child;

use serde_json::{Value, json};

use super::client::Told;
use super::known::Known;
use super::server::{Ui, serve};
use super::{id, lines, printed};
use crate::env::{TestEnv, eventually, kill};
use crate::relaying::{LIMITED, world};

/// Pieces of what an agent prints; between them it waits to be let go on.
fn pieces() -> [Vec<Value>; 5] {
    let said = |id: &str, block: Value| json!({"type": "assistant", "message": {"id": id, "content": [block]}});
    let call = |id: &str, name: &str, input: Value| {
        said(id, json!({"type": "tool_use", "id": id, "name": name, "input": input}))
    };
    let result = |id: &str, text: &str| {
        let block = json!({"type": "tool_result", "tool_use_id": id, "content": text});
        json!({"type": "user", "message": {"content": [block]}})
    };
    [
        vec![
            json!({"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"}),
            said("1", json!({"type": "thinking", "thinking": "It *begins*."})),
        ],
        vec![
            said("2", json!({"type": "text", "text": "I look."})),
            call("c1", "Bash", json!({"command": "ls"})),
            call("c2", "TodoWrite", json!({"todos": [{"content": "Look", "status": "in_progress"}]})),
        ],
        vec![
            result("c1", "a.txt"),
            call("c3", "Edit", json!({"file_path": "a.txt", "old_string": "a", "new_string": "b"})),
        ],
        vec![
            result("c3", "edited"),
            json!({"type": "nothing known"}),
            said("3", json!({"type": "text", "text": "Done."})),
        ],
        vec![json!({"type": "result", "subtype": "success", "is_error": false, "result": "Done.", "session_id": "s-1",
                    "usage": {"input_tokens": 5, "output_tokens": 2}, "total_cost_usd": 0.5})],
    ]
}

/// A loop of two iterations whose actor waits between what it says.
fn begun() -> (TestEnv, Child, String) {
    let mut actor = String::from("if test $n -gt 1; then go=1; fi\n");
    for (number, piece) in pieces().iter().enumerate() {
        let said = lines(piece);
        actor.push_str(&format!(
            "until test -e \"$HOME/go.{number}\" -o \"$go\"; do sleep 0.01; done\ncat <<'END'\n{said}END\necho {number} >>a.txt\n"
        ));
    }
    let critic = "if [ $n = 1 ]; then printf 'DECISION: CONTINUE\\nFEEDBACK: Give *more*.\\n'; else echo '{\"decision\": \"DONE\"}'; fi";
    let env = world(&[("actor", "claude-stream", &actor), ("critic", "text", critic)]);
    let recorder = env.start(&["loop", "--actor", "actor", "--critic", "critic", "--check", "echo checked", "Go on."]);
    let dir = eventually("a session", || {
        let dir = env.sessions().pop()?;
        std::fs::read_to_string(dir.join("journal.jsonl")).ok()?.contains("turn_start").then_some(dir)
    });
    let id = id(&dir);
    (env, recorder, id)
}

fn let_go(env: &TestEnv, number: usize) {
    std::fs::write(env.home().join(format!("go.{number}")), "").unwrap();
}

fn journal(env: &TestEnv) -> String {
    std::fs::read_to_string(env.session().join("journal.jsonl")).unwrap()
}

#[test]
fn a_transcript_grows_as_it_is_written_and_is_whole_wherever_it_was_cut() {
    let (env, mut recorder, id) = begun();
    let (ui, client) = serve(&env);
    // One who stays, one who comes back after each event, and one who is there from the middle on.
    let stays = std::thread::spawn({
        let (client, id) = (client.clone(), id.clone());
        move || Known::default().follow(&client, &id)
    });
    let comes_back = std::thread::spawn({
        let (client, id) = (client.clone(), id.clone());
        move || {
            let (mut known, mut times) = (Known::default(), 0);
            while !known.is_over {
                times += 1;
                for told in client.follow(&format!("/sessions/{id}/live"), known.last.clone().as_deref()) {
                    let is_placed = told.id.is_some();
                    known.take(told);
                    if is_placed {
                        break;
                    }
                }
            }
            (known, times)
        }
    });
    let mut looks = Known::default();
    let mut events = client.follow(&format!("/sessions/{id}/live"), None);
    for (number, steps) in [(0, 1), (1, 4), (2, 5), (3, 7)] {
        if number == 2 {
            // The server sleeps while the recorder goes on.
            kill(ui.pid(), "STOP");
            let_go(&env, number);
            eventually("the edit in the journal", || journal(&env).contains("\"c3\"").then_some(()));
            kill(ui.pid(), "CONT");
        }
        let_go(&env, number);
        while looks.steps.len() < steps {
            looks.take(events.next().expect("more steps"));
        }
        assert!(!looks.is_over);
    }
    assert_eq!(client.json(&format!("/sessions/{id}/outline"))["session"]["status"], "active");
    let_go(&env, 4);
    events.for_each(|told| looks.take(told));
    recorder.wait().unwrap();
    let whole = Known::asked(&client, &id);
    assert_eq!(whole.outline["turns"].as_array().unwrap().len(), 4);
    assert_eq!(whole.outline["session"]["outcome"], "success");
    assert_eq!(whole.outline["turns"][0]["validations"][0]["output_html"], "checked\n");
    assert_eq!(whole.outline["iterations"][0]["feedback_html"], "<p>Give <em>more</em>.</p>\n");
    looks.is(&whole, "who looked");
    let (known, stages) = stays.join().unwrap();
    known.is(&whole, "who stayed");
    let (known, times) = comes_back.join().unwrap();
    known.is(&whole, "who came back");
    assert!(times > 4 && stages.len() > 4, "{times} times, {} events", stages.len());
    // A server that is started later goes on where the other one was.
    drop(ui);
    let (_ui, client) = serve(&env);
    for stage in stages {
        let at = stage.last.clone().unwrap();
        let journal = journal(&env);
        let place: usize = at.parse().unwrap();
        assert!(place <= journal.len() && journal[..place].ends_with('\n'), "{at} is between two lines");
        stage.follow(&client, &id).0.is(&whole, &format!("from {at} on"));
    }
    let by_query = client.follow(&format!("/sessions/{id}/live?after={}", whole.outline.to_string().len()), None);
    assert!(by_query.last().is_some_and(|told| told.kind == "end"));
}

#[test]
fn many_steps_come_in_pieces_of_which_only_the_last_counts() {
    let mut calls = vec![json!({"type": "system", "subtype": "init", "session_id": "s-1", "model": "m"})];
    for number in 0..450 {
        let block = json!({"type": "tool_use", "id": format!("c{number}"), "name": "Read", "input": {"path": "a.txt"}});
        calls.push(json!({"type": "assistant", "message": {"id": "1", "content": [block]}}));
    }
    calls.push(json!({"type": "result", "subtype": "success", "is_error": false, "result": "", "usage": {}}));
    let env = world(&[("ada", "claude-stream", &format!("cat <<'END'\n{}END", lines(&calls)))]);
    env.decklog(&["run", "ada", "Look."]).expect(0);
    let (_ui, client) = serve(&env);
    let id = id(&env.session());
    let all: Vec<Told> = client.follow(&format!("/sessions/{id}/live"), None).collect();
    let sizes: Vec<_> = all.iter().filter_map(|told| Some(told.data["steps"].as_array()?.len())).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.len()), (450, 3), "{sizes:?}");
    assert!(
        all.iter().filter(|told| told.kind == "steps").all(|told| told.id.is_none()),
        "the outline is still to come"
    );
    let mut known = Known::default();
    all.into_iter().for_each(|told| known.take(told));
    known.is(&Known::asked(&client, &id), "many steps");
}

#[test]
fn a_session_that_goes_on_is_followed_on() {
    let env = world(&[("first", "claude-stream", LIMITED), ("second", "text", "echo rest >>a.txt; echo finished")]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(75);
    let (_ui, client) = serve(&env);
    let id = id(&env.session());
    let (known, _) = Known::default().follow(&client, &id);
    assert_eq!(known.outline["session"]["status"], "checkpointed");
    known.is(&Known::asked(&client, &id), "when it stopped");
    env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
    let (known, _) = Known { is_over: false, ..known }.follow(&client, &id);
    assert_eq!(known.outline["session"]["status"], "completed");
    known.is(&Known::asked(&client, &id), "when it had gone on");
}

#[test]
fn who_stays_is_told_when_a_session_is_gone_on_with() {
    let env = world(&[("first", "claude-stream", LIMITED), ("second", "text", "echo rest >>a.txt; echo finished")]);
    env.decklog(&["run", "first", "Write a.txt."]).expect(75);
    let (_ui, client) = serve(&env);
    let id = id(&env.session());
    let known = Known::asked(&client, &id);
    let position = client.json(&format!("/sessions/{id}/outline"))["position"].clone();
    let mut all = client.follow(&format!("/live?session={id}&after={position}"), None);
    let mut of_session = move || all.find(|told| told.kind != "root").expect("more of the session");
    // What was known is not told again: the first news are of what came then.
    let go_on = |known: Known, of_session: &mut dyn FnMut() -> Told| {
        env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
        let mut known = Known { is_over: false, ..known };
        let first = of_session();
        assert_ne!(first.kind, "end");
        known.take(first);
        while !known.is_over {
            known.take(of_session());
        }
        known.is(&Known::asked(&client, &id), "when it had gone on");
        known
    };
    let known = go_on(known, &mut of_session);
    // Neither is what its recorder left unfinished more than once.
    let torn = journal(&env) + "{\"v\":1,\"seq\":";
    std::fs::write(env.session().join("journal.jsonl"), torn).unwrap();
    let told = of_session();
    assert!(told.kind == "end" && told.data["faults"][0].as_str().unwrap().contains("torn"), "{}", told.data);
    let known = Known { last: told.id, ..known };
    go_on(known, &mut of_session);
    env.decklog(&["discard", "-y", "@"]).expect(0);
    assert_eq!(of_session().kind, "trouble");
    assert_eq!(client.refusal(&format!("/live?session={id}")).0, 404);
    assert_eq!(client.refusal("/live?session=..").0, 400);
}

#[test]
fn a_session_whose_recorder_died_in_the_middle_of_a_line() {
    let (env, mut recorder, id) = begun();
    let (_ui, client) = serve(&env);
    let_go(&env, 0);
    let mut events = client.follow(&format!("/sessions/{id}/live"), None);
    let mut known = Known::default();
    while known.steps.is_empty() {
        known.take(events.next().expect("a step"));
    }
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
    events.for_each(|told| known.take(told));
    assert!(known.is_over && known.outline["session"]["status"] == "crashed");
    known.is(&Known::asked(&client, &id), "crashed");
    let torn = journal(&env) + "{\"v\":1,\"seq\":";
    std::fs::write(env.session().join("journal.jsonl"), torn).unwrap();
    let (known, _) = Known { is_over: false, ..known }.follow(&client, &id);
    assert!(known.outline["faults"][0].as_str().unwrap().contains("torn"), "{}", known.outline);
    known.is(&Known::asked(&client, &id), "torn");
}

#[test]
fn lists_hear_of_what_is_made_and_discarded() {
    let env = TestEnv::new();
    let (_ui, client) = serve(&env);
    let mut events = client.follow("/live", None);
    let mut change = || events.find(|told| told.data["indexing"].is_null()).expect("a change").data["change"].clone();
    let mut last = change();
    for step in [&["run", "--", "true"][..], &["run", "--", "true"], &["discard", "-y", "@"]] {
        env.decklog(step).expect(0);
        let count = printed(&env, &["ls"]).as_array().unwrap().len();
        last = eventually("another number", || {
            let now = change();
            (now != last).then_some(now)
        });
        assert_eq!(client.json("/sessions").as_array().unwrap().len(), count, "{step:?}");
    }
}

#[test]
fn a_signal_ends_streams_at_once() {
    let (env, mut recorder, id) = begun();
    let ui = Ui::start(&env);
    let client = ui.client();
    let mut streams = [client.follow("/live", None), client.follow(&format!("/sessions/{id}/live"), None)];
    streams.iter_mut().for_each(|stream| assert!(stream.next().is_some()));
    ui.stop("INT").expect(130);
    streams.into_iter().for_each(|stream| assert!(stream.count() < 9));
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
}

#[test]
fn many_who_stay_leave_room_for_others() {
    let (env, mut recorder, id) = begun();
    let (_ui, client) = serve(&env);
    let mut streams: Vec<_> = (0..150).map(|_| client.follow(&format!("/sessions/{id}/live"), None)).collect();
    streams.iter_mut().for_each(|stream| assert!(stream.next().is_some()));
    assert_eq!(client.json(&format!("/sessions/{id}/outline"))["session"]["id"], id.as_str());
    assert_eq!(client.json("/sessions").as_array().unwrap().len(), 1);
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
    streams.into_iter().for_each(|stream| assert_eq!(stream.last().unwrap().kind, "end"));
}

#[test]
fn many_who_look_and_go_leave_room_for_others() {
    let (env, mut recorder, id) = begun();
    let (ui, client) = serve(&env);
    for _ in 0..150 {
        assert!(client.follow(&format!("/sessions/{id}/live"), None).next().is_some());
    }
    client.json("/sessions");
    eventually("nobody reads for those who went", || {
        (std::fs::read_dir(format!("/proc/{}/fd", ui.pid())).unwrap().count() < 40).then_some(())
    });
    kill(recorder.id(), "KILL");
    recorder.wait().unwrap();
}
