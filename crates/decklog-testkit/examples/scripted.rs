//! A real agent to play with, with a scripted model behind it:
//!
//! ```sh
//! cargo run -p decklog-testkit --example scripted -- claude /tmp/home > /tmp/env.sh &
//! . /tmp/env.sh; decklog run claude "write hello"
//! ```
//!
//! Prints the environment to run the agent in, then serves until it is ended: each turn writes `hello.txt`.

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
        Some("limited") => vec![Step::RateLimit { reset_at_epoch: Some(4_070_908_800) }],
        _ => turn().into_iter().cycle().take(300).collect(),
    };
    let server = ModelServer::start(script);
    for (name, value) in agents::prepare(&agent, Path::new(&home), &server)? {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    loop {
        std::thread::park();
    }
}
