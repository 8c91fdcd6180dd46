//! Planted secrets: told in every way an agent can, found nowhere under the session root.

use std::io::Read;
use std::path::Path;

use crate::env::{TestEnv, all_bytes};
use crate::relaying;
use crate::web::server::serve;

/// One of each common shape, in two halves, so that this file holds none.
const TOKENS: [(&str, &str); 8] = [
    ("ghp_", "Zq3xVb8Lm2Kd9Rw5Tf7Yh1Jn4Pc6Xs0GaEuI"),
    ("github_pat_", "11ABCDEFG0aZ3xVb8Lm2Kd_9Rw5Tf7Yh1Jn4Pc6Xs0GaEuIoVb8Lm2Kd9Rw5Tf7Yh1Jn4Pc6Xs0GaEuIoQ"),
    (
        "sk-ant-api03-",
        "Zq3xVb8Lm2Kd9Rw5Tf7Yh1Jn4Pc6Xs0GaEuIoZq3xVb8Lm2Kd9Rw5Tf7Yh1Jn4Pc6Xs0GaEuIoZq3xVb8Lm2Kd9Rw5Tf7YAA",
    ),
    ("AKIA", "QYLPMN5HHHFPZAM2"),
    ("glpat-", "Zq3xVb8Lm2Kd9Rw5Tf7Y"),
    ("xoxb-", "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1"),
    ("AIza", "SyB3xVb8Lm2Kd9Rw5Tf7Yh1Jn4Pc6Xs0Gau"),
    ("npm_", "Zq3xVb8Lm2Kd9Rw5Tf7Yh1Jn4Pc6Xs0GaEuI"),
];
const VALUE: &str = "correct-horse-7-battery";

/// Everything below `root`, uncompressed where it is compressed.
fn plain_bytes(root: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = all_bytes(root);
    for (path, bytes) in &mut all {
        let text = path.to_string_lossy();
        if text.ends_with(".zst") {
            *bytes = zstd::decode_all(&bytes[..]).unwrap();
        } else if text.contains("/objects/") {
            let mut inflated = Vec::new();
            // A pack is not inflated as one: there must be none of those.
            assert!(!text.contains("/pack/") || text.ends_with("/pack"), "{text}");
            if flate2::read::ZlibDecoder::new(&bytes[..]).read_to_end(&mut inflated).is_ok() {
                *bytes = inflated;
            }
        }
    }
    all
}

#[track_caller]
fn found_nowhere(env: &TestEnv, secrets: &[String]) {
    for (path, bytes) in plain_bytes(&env.root()) {
        for secret in secrets {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert!(found.is_none(), "{secret} stands in {}", path.display());
        }
        assert!(!bytes.is_empty() || !path.ends_with("journal.jsonl"));
    }
    for secret in secrets {
        let shown = env.decklog(&["show", "@", "--json"]).expect(0).stdout;
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

fn secrets() -> Vec<String> {
    TOKENS.iter().map(|(start, rest)| format!("{start}{rest}")).chain([VALUE.to_owned()]).collect()
}

#[test]
fn in_everything_an_agent_prints_and_writes() {
    let mut env = TestEnv::new();
    env.set("MY_API_KEY", VALUE);
    let all = secrets();
    let quoted = all.join("\n");
    env.write("all", &quoted);
    let script = "cat all; cat all >&2; cp all copy.txt; cat all all all all > twice.md; printf 'x%.0s' $(seq 5000); cat all; \
        printf '\\0%s' \"$MY_API_KEY\" > bin; git add -A; git commit -qm \"$(cat all)\"; echo $MY_API_KEY; exit 3";
    env.decklog(&["run", "--check", "cat all; false", "--", "sh", "-c", script, "agent", &quoted]).expect(2);
    found_nowhere(&env, &all);
    let journal = std::fs::read_to_string(env.session().join("journal.jsonl")).unwrap();
    assert!(journal.contains("[redacted:MY_API_KEY]"), "{journal}");
    let withheld = env.decklog(&["show", "@"]).expect(0).stdout;
    for file in ["copy.txt", "twice.md", "bin"] {
        assert!(withheld.contains(&format!("withheld: {file}")), "{file}: {withheld}");
    }
    env.decklog(&["verify", "@"]).expect(0);
}

#[test]
fn in_prompts() {
    let mut env = TestEnv::new();
    env.set("MY_API_KEY", VALUE);
    let config = env.home().join(".config/decklog");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[agents.cat]\ncommand = [\"cat\"]\nprotocol = \"text\"\n").unwrap();
    // Where a preview is cut, half of one must not be left either: so the beginning alone is looked for as well.
    for (start, rest) in TOKENS {
        let secret = format!("{start}{rest}");
        for before in [0, 185, 190, 195, 199, 1000, 1020, 70_000] {
            let prompt =
                format!("{} {secret} {}", "p".repeat(before), "q".repeat(if before == 1000 { 70_000 } else { 10 }));
            env.decklog_with_input(&["run", "cat", "-"], prompt.as_bytes()).expect(0);
            found_nowhere(&env, &[secret.clone(), secret[..secret.len() - 8].to_owned()]);
            env.decklog(&["discard", "-y", "@"]).expect(0);
        }
    }
}

#[test]
fn split_between_writes_at_every_byte() {
    let mut env = TestEnv::without_repository();
    env.set("MY_API_KEY", VALUE);
    let (start, rest) = TOKENS[0];
    let token = format!("{start}{rest}");
    // Each half is one write; so that they do not meet in the pipe, decklog's answer to the first is waited for.
    let mut script = String::new();
    for secret in [token.as_str(), VALUE] {
        for at in 1..secret.len() {
            let (first, second) = secret.split_at(at);
            for stream in ["", " >&2"] {
                script.push_str(&format!(
                    "printf %s '{first}'{stream}; sleep 0.002; printf '%s\\n' '{second}'{stream}\n"
                ));
            }
        }
    }
    env.write("agent.sh", script);
    env.decklog(&["run", "--", "sh", "agent.sh"]).expect(0);
    let pieces = |secret: &str| {
        (4..secret.len() - 3)
            .flat_map(|at| [secret[..at].to_owned(), secret[at..].to_owned()])
            .filter(|piece| piece.len() >= 12)
            .collect::<Vec<_>>()
    };
    found_nowhere(&env, &[token.clone(), VALUE.to_owned()]);
    // Not even a good part of one.
    let stream = decklog_query::logs::find(&env.session(), "stream").unwrap();
    let mut text = String::new();
    decklog_query::logs::open(&env.session(), &stream).unwrap().read_to_string(&mut text).unwrap();
    for piece in pieces(&token).iter().chain(&pieces(VALUE)) {
        assert!(!text.contains(piece.as_str()), "{piece} is left in the stream");
    }
    assert_eq!(text.matches("[redacted:").count(), token.len() - 1 + VALUE.len() - 1);
}

/// Keys that were in the repository before, and that turn 1 takes out: its patch is without them, and so is every
/// other.
#[test]
fn in_what_several_turns_changed() {
    let first = format!(
        "for f in value token moved.1; do sed -i /key/d $f; done; git mv moved.1 moved.2\n{}",
        relaying::LIMITED
    );
    let mut env = relaying::world(&[
        ("first", "claude-stream", &first),
        ("second", "text", "echo more >>value; git mv moved.2 moved.3; echo rest >>a.txt; sed -i /key/d late"),
    ]);
    env.set("MY_API_KEY", VALUE);
    let token = format!("{}{}", TOKENS[0].0, TOKENS[0].1);
    let lines: String = (0..40).map(|line| format!("line {line}\n")).collect();
    for (file, secret) in [("value", VALUE), ("token", &token), ("moved.1", VALUE), ("late", &token)] {
        env.write(file, format!("{lines}key={secret}\n"));
    }
    env.git(&["add", "-A"]);
    env.git(&["commit", "-qm", "keys"]);
    env.decklog(&["run", "first", "Take the keys out."]).expect(75);
    env.decklog(&["resume", "@", "--agent", "second"]).expect(0);
    // Nobody who looks later has the value.
    env.set("MY_API_KEY", "");
    let (_ui, client) = serve(&env);
    let id = env.session().file_name().unwrap().to_str().unwrap().to_owned();
    let ran = env.decklog(&["diff", "@"]).expect(0);
    for file in ["value", "token", "moved.2", "late"] {
        assert!(ran.stderr.contains(&format!("{file} is not in it: holds a secret")), "{file}: {}", ran.stderr);
    }
    let patches = [
        ran.stdout,
        env.decklog(&["diff", "@", "1..2"]).expect(0).stdout,
        client.get(&format!("/api/v1/sessions/{id}/patch")).text(),
        client.get(&format!("/api/v1/sessions/{id}/changes")).text(),
    ];
    for patch in patches {
        assert!(patch.contains("half") && patch.contains("rest"), "{patch}");
        for secret in [VALUE, &token] {
            assert!(!patch.contains(secret), "{secret}: {patch}");
        }
    }
}

/// Of files, directories and links; tracked, new and moved.
#[test]
fn in_names_of_files() {
    let env = TestEnv::new();
    let tokens: Vec<String> = TOKENS.iter().map(|(start, rest)| format!("{start}{rest}")).collect();
    env.write(&format!("tracked-{}", tokens[0]), "1\n");
    env.write(&format!("moved-{}", tokens[4]), "some\nlines\nto\nmove\n");
    env.git(&["add", "-A"]);
    env.git(&["commit", "-qm", "names"]);
    let [new, dir, link, quoted] = [&tokens[1], &tokens[2], &tokens[3], &tokens[5]];
    let script = format!(
        "echo 2 > 'new {new}'; mkdir -p 'd/{dir}'; echo 3 > 'd/{dir}/inside'; ln -s nowhere 'l-{link}'; \
         echo 4 > \"$(printf 'q\\303\\251 \"%s\"\\nx' '{quoted}')\"; mv moved-* moved; echo 5 > plain; echo more >> tracked-*"
    );
    env.decklog(&["run", "--", "sh", "-c", &script]).expect(0);
    found_nowhere(&env, &tokens);
    let shown = env.decklog(&["show", "@"]).expect(0).stdout;
    assert!(shown.contains("withheld: new [redacted:github-pat] (its name holds a secret (github-pat))"), "{shown}");
    assert!(shown.contains("withheld: d/[redacted:anthropic-key]/inside"), "{shown}");
    let patch = env.decklog(&["diff", "@"]).expect(0).stdout;
    assert!(patch.contains("b/plain") && patch.contains("b/moved"), "{patch}");
    assert!(tokens.iter().all(|token| !patch.contains(token)), "{patch}");
    env.decklog(&["verify", "--secrets", "@"]).expect(0);
}

#[test]
fn in_records_of_older_rules() {
    let env = TestEnv::new();
    let token = format!("{}{}", TOKENS[0].0, TOKENS[0].1);
    let text = "x".repeat(token.len());
    env.decklog(&["run", "--", "sh", "-c", &format!("echo {text}; echo {text} > file")]).expect(0);
    let clean = env.decklog(&["verify", "--secrets", "@", "--json"]).expect(0).json();
    assert_eq!(clean[0]["secrets"], serde_json::json!([]));
    assert!(env.decklog(&["verify", "@", "--json"]).expect(0).json()[0].get("secrets").is_none());
    // As rules that did not know the token left it: nothing else about the record is wrong.
    for name in ["001-stream.jsonl", "001.patch"] {
        let file = env.session().join("turns").join(name);
        let held = std::fs::read_to_string(&file).unwrap();
        assert!(held.contains(&text), "{name}: {held}");
        std::fs::write(&file, held.replace(&text, &token)).unwrap();
    }
    env.decklog(&["verify", "@"]).expect(0);
    let found = env.decklog(&["verify", "--secrets", "@"]).expect(1).stdout;
    for name in ["turns/001-stream.jsonl", "turns/001.patch"] {
        assert!(found.contains(&format!("{name}: holds a secret (github-token)")), "{found}");
    }
    assert!(!found.contains(&token), "{found}");
}
