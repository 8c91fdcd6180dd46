//! The network's helper as a program of its own, for tests: `netns-helper PID`.

fn main() {
    let pid = std::env::args().nth(1).and_then(|pid| pid.parse().ok());
    std::process::exit(pid.map_or(2, decklog_sandbox::network::helper));
}
