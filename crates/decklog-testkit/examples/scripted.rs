//! A real agent to play with, with a scripted model behind it:
//!
//! ```sh
//! cargo run -p decklog-testkit --example scripted -- claude /tmp/home > /tmp/env.sh &
//! . /tmp/env.sh; decklog run claude "write hello"
//! ```
//!
//! Prints the environment to run the agent in, then serves until it is ended: each turn writes `hello.txt`. With the agents
//! `claude,codex` and the word `loop`, the first mends half of `greet.sh` and the second asks for the rest:
//!
//! ```sh
//! decklog loop --actor claude --critic codex --check 'sh greet.sh Ada | grep -q Ada' "greet.sh greets nobody. Fix it."
//! ```

use std::path::Path;
use std::time::Duration;

use decklog_testkit::{ModelServer, Step, agents};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(agent), Some(home)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: scripted AGENT HOME");
        std::process::exit(2);
    };
    agents::install()?;
    let turn = || {
        vec![
            Step::Shell { command: "ls -la".into() },
            Step::Write { path: "hello.txt".into(), content: "hello\n".into() },
            Step::Slow { text: "hello.txt now says **hello**.".into(), chunks: 10, every: Duration::from_millis(300) },
        ]
    };
    let script = match arguments.next().as_deref() {
        Some("loop") => in_a_loop(),
        Some("boxed") => in_a_box(),
        Some("limited") => vec![Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }],
        _ => turn().into_iter().cycle().take(300).collect(),
    };
    let server = ModelServer::start(script);
    for agent in agent.split(',') {
        for (name, value) in agents::prepare(agent, Path::new(&home), &server)? {
            println!("export {name}='{}'", value.replace('\'', r"'\''"));
        }
    }
    loop {
        std::thread::park();
    }
}

/// What an agent does with a container's tools.
fn in_a_box() -> Vec<Step> {
    let arguments = serde_json::json!({ "path": "/workspace/hello.txt", "content": "hello from the box\n" });
    let turn =
        || vec![Step::Tool { name: "fs__write_file".into(), arguments: arguments.clone() }, Step::Text("Done.".into())];
    std::iter::repeat_with(turn).take(300).flatten().collect()
}

/// What an actor and a critic say in turn.
fn in_a_loop() -> Vec<Step> {
    let write = |body: &str| Step::Write {
        path: "greet.sh".into(),
        content: format!("#!/bin/sh\n# Greets whoever is named.\necho \"Hello, {body}!\"\n"),
    };
    let say = |text: &str| Step::Text(text.into());
    vec![
        write("$1"),
        say("`greet.sh` now greets its first argument."),
        say(
            "A name is greeted now. Nobody is not.\n\n```json\n{\"decision\": \"CONTINUE\", \"feedback\": \"Without an \
             argument it says `Hello, !`. Greet the world then.\", \"confidence\": 0.8}\n```\n",
        ),
        write("${1:-world}"),
        say("Without an argument it greets the world now."),
        say(
            "Both cases hold.\n\n{\"decision\": \"DONE\", \"summary\": \"greet.sh greets its first argument, and the world \
             when there is none.\", \"confidence\": 0.95}",
        ),
    ]
}
