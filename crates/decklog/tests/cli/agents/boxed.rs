//! Real agents that run in the container themselves.

use decklog_testkit::{ModelServer, Step, agents};

use super::{each_of, run, show, tools};
use crate::boxing::world::{configure, containers, podman};
use crate::env::TestEnv;

const ALL: [(&str, &str); 4] =
    [("claude", "claude"), ("codex", "codex"), ("gemini", "gemini"), ("opencode", "opencode")];

/// Gives the world of `agent` an image that has it, and puts its model where a container finds it.
fn boxed(agent: &str, env: &TestEnv, server: &ModelServer) -> TestEnv {
    let mut boxed = TestEnv::new();
    for (name, value) in &env.vars {
        boxed.set(&name.to_string_lossy(), value.clone());
    }
    boxed.set("XDG_DATA_HOME", boxed.home().join(".local/share"));
    boxed.set("DECOY_SECRET", "stays-on-the-host-4711");
    configure(&mut boxed, "", "");
    let listed = podman(&boxed, &["images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/decklog/coding"]);
    let image = listed.lines().next().unwrap();
    let programs = agents::installed().unwrap();
    let (programs, port) = (programs.parent().unwrap(), server.base_url().rsplit_once(':').unwrap().1.to_owned());
    let here = format!("host.containers.internal:{port}");
    let definition = match agent {
        // Where its model is stands in a variable.
        "claude" => "[agents.claude]\ncommand = [\"/agents/node_modules/.bin/claude\"]\n".to_owned(),
        // And this one looks up in its settings how to sign in there.
        "gemini" => "[agents.gemini]\ncommand = [\"/agents/node_modules/.bin/gemini\"]\n\
             boxed = { env = [\"GEMINI_API_KEY\", \"GOOGLE_GEMINI_BASE_URL\", \"GEMINI_MODEL\"], files = [\"~/.gemini/settings.json\"] }\n\
             env = { GEMINI_CLI_TRUST_WORKSPACE = \"true\" }\n"
            .to_owned(),
        "codex" => format!(
            "[agents.codex]\ncommand = [\"/agents/node_modules/.bin/codex\", \"-c\", 'model_providers.scripted.base_url=\"http://{here}/v1\"']\n\
             boxed = {{ env = [\"SCRIPTED_API_KEY\"], files = [\"~/.codex/config.toml\"], hosts = [\"{here}\"] }}\n"
        ),
        _ => {
            let file = env.home().join(".config/opencode/opencode.json");
            let text = std::fs::read_to_string(&file).unwrap().replace(&format!("127.0.0.1:{port}"), &here);
            std::fs::write(&file, text).unwrap();
            format!(
                "[agents.opencode]\ncommand = [\"/agents/node_modules/.bin/opencode\"]\n\
                 boxed = {{ files = [\"~/.config/opencode/opencode.json\"], hosts = [\"{here}\"] }}\n"
            )
        }
    };
    let more = format!(
        "{definition}protocol = \"{agent}-stream\"\n[images.inside]\nimage = {image:?}\n\
         mounts = [{{ host = {programs:?}, at = \"/agents/node_modules\" }}]\n"
    );
    configure(&mut boxed, "", &more);
    boxed
}

#[test]
fn agents_run_in_the_container_themselves() {
    let looks =
        "cat /proc/1/comm; echo home $HOME; echo decoy $DECOY_SECRET; env; ls /; echo hello from the box > hello.txt";
    each_of(
        &ALL,
        |_| vec![Step::Shell { command: looks.into() }, Step::Text("It is written.".into())],
        |agent, env, server| {
            let env = boxed(agent, env, server);
            let full = [
                "--image",
                "inside",
                "--boxed",
                "--permissions",
                "full",
                "--check",
                "grep -q box hello.txt && test -d /agents",
            ];
            let ran = run(&env, agent, &full).expect(0);
            assert!(ran.stdout.contains("It is written."), "{agent}: {}", ran.stdout);
            assert_eq!(env.read("hello.txt"), "hello from the box\n", "{agent}");
            let shown = show(&env);
            let (session, turn) = (&shown["session"], &shown["turns"][0]);
            assert_eq!(session["image_config_name"], "inside", "{agent}");
            assert_eq!(session["boxed"], true, "{agent}");
            assert_eq!(turn["files"][0]["path"], "hello.txt", "{agent}");
            // Checks judge what the agent made where it made it.
            assert_eq!(turn["validations"][0]["passed"], true, "{agent}: {turn:#}");
            let call = tools(turn)[0];
            let said = call["output"].as_str().unwrap();
            assert!(said.contains("home /home/decklog"), "{agent}: {said}");
            assert!(!said.contains("stays-on-the-host"), "{agent}: {said}");
            assert_eq!(containers(&env), Vec::<String>::new(), "{agent}");
            // Its model, and nothing else, was let out to.
            let network = env.decklog(&["network", "@", "--json"]).expect(0).json();
            let places = network["places"].as_array().unwrap();
            let out: Vec<_> = places.iter().filter(|place| place["action"] == "allow").collect();
            assert_eq!(out.len(), 1, "{agent}: {network:#}");
            assert_eq!(out[0]["host"], "host.containers.internal", "{agent}");
        },
    );
}

#[test]
fn a_boxed_session_goes_on_in_a_container_and_from_its_record() {
    each_of(
        &[("claude", "claude")],
        |_| vec![Step::Text("The word is xylophone.".into()), Step::Text("Gone on.".into())],
        |agent, env, server| {
            let env = boxed(agent, env, server);
            run(&env, agent, &["--image", "inside", "--boxed"]).expect(0);
            let first = show(&env);
            let conversation = first["turns"][0]["agent_session_id"].as_str().unwrap().to_owned();
            let ran = env.decklog(&["resume", "@", "what was the word?"]).expect(0);
            assert!(ran.stdout.contains("Gone on."), "{}", ran.stdout);
            let shown = show(&env);
            assert_eq!(shown["turns"][1]["boxed"], true);
            // What the agent kept is gone with its container: it was handed the record instead.
            let command = shown["turns"][1]["command"].to_string();
            assert!(!command.contains(&conversation), "{command}");
            let asked = server.main_requests().last().unwrap().body.to_string();
            assert!(asked.contains("xylophone") && asked.contains("what was the word?"), "{asked}");
            assert_eq!(shown["handoffs"].as_array().unwrap().len(), 1);
            assert_eq!(containers(&env), Vec::<String>::new());
        },
    );
}
