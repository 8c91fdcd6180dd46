//! The built-in agent, with a scripted model behind it: what it does is recorded as any agent's is.

use decklog_testkit::{ModelServer, Step};
use serde_json::json;

use crate::env::{TestEnv, all_bytes};

/// A key whose variable's name gives nothing away.
const KEY: &str = "opened-by-nobody-4711";
const VAR: &str = "BOX_OPENER";

/// A world whose configuration has the models `fast` (openai) and `deep` (anthropic), both of `server`.
fn world(server: &ModelServer) -> TestEnv {
    let mut env = TestEnv::new();
    env.set(VAR, KEY);
    let base = server.base_url();
    configure(
        &env,
        &format!(
            "[providers.local]\nstyle = \"openai\"\nbase-url = \"{base}/v1\"\napi-key = \"${{{VAR}}}\"\n\
         [providers.other]\nstyle = \"anthropic\"\nbase-url = \"{base}\"\napi-key = \"${{{VAR}}}\"\n\
         [models.fast]\nprovider = \"local\"\nmodel = \"fast-1\"\nmax-tokens = 2048\n\
         [models.deep]\nprovider = \"other\"\nmodel = \"deep-1\"\n",
        ),
    );
    env
}

fn configure(env: &TestEnv, text: &str) {
    let dir = env.home().join(".config/decklog");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), text).unwrap();
}

#[test]
fn a_run_is_recorded_and_gone_on_with() {
    // The model repeats the key, as a tool could have told it.
    let script = vec![Step::Text(format!("Red, and {KEY}.")), Step::Text("Still red.".into())];
    let server = ModelServer::start_without_side_requests(script);
    let env = world(&server);
    let ran = env.decklog(&["run", "--model", "fast", "builtin", "Which colour?"]).expect(0);
    assert!(ran.stdout.starts_with("Red, and "), "{}", ran.stdout);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    let turn = &shown["turns"][0];
    assert_eq!((&turn["agent"], &turn["model"]), (&json!("builtin"), &json!("fast-1")));
    assert!(turn["tokens"]["input"].as_u64().is_some_and(|tokens| tokens > 0), "{turn:#}");
    assert!(turn["agent_session_id"].is_string());
    let first = &server.requests()[0];
    assert_eq!(first.body["max_tokens"], 2048);
    assert_eq!(first.header("authorization"), Some(format!("Bearer {KEY}").as_str()));

    // The same conversation, with another provider's model.
    env.decklog(&["resume", "--model", "deep", "@", "And now?"]).expect(0);
    let second = server.requests()[1].clone();
    assert!(second.path.ends_with("/v1/messages"), "{}", second.path);
    let body = second.body.to_string();
    for part in ["Which colour?", "Red, and", "And now?"] {
        assert!(body.contains(part), "no {part:?} in {body}");
    }
    env.decklog(&["verify", "@"]).expect(0);
    // Whoever else prints what the variable holds.
    env.decklog(&["run", "--", "sh", "-c", &format!("echo ${VAR} >&2; echo ${VAR}")]).expect(0);
    for (path, bytes) in all_bytes(&env.home()) {
        let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!found, "the key is in {}", path.display());
    }
}

#[test]
fn refusals_end_as_what_they_are() {
    for (step, code, outcome, words) in [
        (Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }, 75, "rate_limited", "limits requests"),
        (Step::Unauthorized, 2, "failed", VAR),
    ] {
        let server = ModelServer::start_without_side_requests(vec![step]);
        let env = world(&server);
        let ran = env.decklog(&["run", "--json", "--model", "deep", "builtin", "Hello"]).expect(code);
        let result = ran.json();
        assert_eq!(result["turn_outcome"], outcome, "{result:#}");
        assert!(result["error"].as_str().is_some_and(|error| error.contains(words)), "{result:#}");
        if code == 75 {
            assert_eq!(result["resets_at"], "2099-01-01T00:00:00Z");
        }
    }
}

#[test]
fn a_conversation_that_is_gone_is_followed_by_a_packet() {
    let script = vec![Step::Text("One.".into()), Step::Text("Two.".into())];
    let server = ModelServer::start_without_side_requests(script);
    let env = world(&server);
    env.decklog(&["run", "--model", "fast", "builtin", "First"]).expect(0);
    std::fs::remove_dir_all(env.home().join(".local/state/decklog/builtin")).unwrap();
    env.decklog(&["resume", "--model", "fast", "@", "Second"]).expect(0);
    let shown = env.decklog(&["show", "@", "--json"]).expect(0).json();
    assert!(shown.to_string().contains("conversation_lost"), "{shown:#}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn which_model_is_asked() {
    let server = ModelServer::start_without_side_requests(vec![]);
    let env = world(&server);
    let several = env.decklog(&["run", "builtin", "Hello"]).expect(2);
    assert!(several.stderr.contains("deep, fast") && several.stderr.contains("default-model"), "{}", several.stderr);
    let unknown = env.decklog(&["run", "--model", "best", "builtin", "Hello"]).expect(2);
    assert!(unknown.stderr.contains("no model \"best\""), "{}", unknown.stderr);
    assert!(env.sessions().is_empty() && server.requests().is_empty());

    let path = env.home().join(".config/decklog/config.toml");
    let text = std::fs::read_to_string(path).unwrap();
    configure(&env, &format!("default-model = \"deep\"\n{text}"));
    env.decklog(&["run", "builtin", "Hello"]).expect(0);
    assert_eq!(server.requests()[0].body["model"], "deep-1");
}

#[test]
fn it_is_listed_when_it_has_a_model() {
    let row = |env: &TestEnv| {
        let rows = env.decklog(&["agents", "--json"]).expect(0).json();
        rows.as_array().unwrap().iter().find(|row| row["name"] == "builtin").unwrap().clone()
    };
    let env = TestEnv::new();
    let bare = row(&env);
    assert_eq!(bare["installed"], false);
    assert!(bare["install"].as_str().unwrap().contains("docs/builtin.md"));
    let ran = env.decklog(&["run", "builtin", "Hello"]).expect(2);
    assert!(ran.stderr.contains("builtin has no model"), "{}", ran.stderr);

    let env = world(&ModelServer::start(vec![]));
    assert_eq!(row(&env)["installed"], true);
    let config = env.decklog(&["config"]).expect(0).stdout;
    for part in ["providers.local", "openai, http://127.0.0.1:", VAR, "models.deep", "deep-1 of other"] {
        assert!(config.contains(part), "no {part:?} in {config}");
    }
    assert!(!config.contains(KEY));
}

#[test]
fn keys_and_strangers_are_refused() {
    let provider = "[providers.p]\nstyle = \"openai\"\nbase-url = \"https://host/v1\"\n";
    for (text, words) in [
        (format!("{provider}api-key = \"{KEY}\"\n"), "must name a variable"),
        (provider.replace("//host", &format!("//me:{KEY}@host")), "holds credentials"),
        (provider.replace("openai", "telnet"), "none of: openai, anthropic"),
        ("[models.m]\nprovider = \"p\"\nmodel = \"x\"\n".to_owned(), "the configuration has none"),
        ("default-model = \"m\"\n".to_owned(), "the configuration has none"),
    ] {
        let env = TestEnv::new();
        configure(&env, &text);
        let ran = env.decklog(&["config"]).expect(2);
        assert!(ran.stderr.contains(words) && !ran.stderr.contains(KEY), "{}", ran.stderr);
    }
    // A repository that nobody trusts routes no key and no prompt.
    let env = TestEnv::new();
    std::fs::create_dir(env.work().join(".decklog")).unwrap();
    let text = format!("default-model = \"m\"\n{provider}[models.m]\nprovider = \"p\"\nmodel = \"x\"\n");
    env.write(".decklog/config.toml", text);
    let ran = env.decklog(&["config"]).expect(0);
    assert_eq!(ran.stderr.matches("refused").count(), 3, "{}", ran.stderr);
    assert!(!ran.stdout.contains("providers.p") && !ran.stdout.contains("models.m"), "{}", ran.stdout);
}
