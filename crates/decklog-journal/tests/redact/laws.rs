//! The laws of the redactor, and its bounds.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use decklog_journal::redact::*;
use proptest::prelude::*;

use crate::{samples, streamed};

#[test]
fn hostile_input_stays_small_and_linear() {
    hostile(if cfg!(debug_assertions) { 1 << 17 } else { 1 << 22 });
}

/// The worst text we know for each rule, in pieces as a pipe gives them.
fn hostile(size: usize) {
    let redactor = Redactor::builder().value("API_KEY", "aaaaaaaaaaaaaaaaaaaaaaab").build();
    let mut hostile: Vec<Vec<u8>> = vec![
        b"a".to_vec(),
        b"eyJaaaaaaaaaaaa.".to_vec(),
        b" eyJaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec(),
        b"://a:".to_vec(),
        b"-----BEGIN RSA PRIVATE KEY-----".to_vec(),
        b"-----BEGIN RSA PRIVATE KEY-----\nAaa: bbb\n".to_vec(),
        b"-----BEGIN RSA PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAAA\n".to_vec(),
        b"-----BEGIN RSA PRIVATE KEY-----aaaaaaaaaaaaaaaaaaaa bbb ccc\n".to_vec(),
        b"\\\\\\\\\\\\u".to_vec(),
        b"12345678:AA".to_vec(),
        b"abc8Q~".to_vec(),
    ];
    for (_, texts) in samples::texts() {
        // The first few bytes of every token, over and over.
        hostile.push(texts[0].as_bytes()[..texts[0].len().min(9)].to_vec());
    }
    for seed in hostile {
        let once: Vec<u8> = seed.iter().copied().cycle().take(1 << 16).collect();
        for (head, piece) in [(&b""[..], 4096), (b"-----BEGIN PRIVATE KEY-----\n", 65536), (b"eyJ", 1000)] {
            let (mut stream, mut sent, start) = (redactor.stream(), head.len(), Instant::now());
            stream.push_with(head, |_| {});
            while sent < size {
                for chunk in once.chunks(piece) {
                    stream.push_with(chunk, |_| {});
                    assert!(stream.held() <= MAX_HELD, "{} held", stream.held());
                    sent += chunk.len();
                }
            }
            let (took, text) = (start.elapsed(), String::from_utf8_lossy(&seed).into_owned());
            println!("{:7.0} MB/s {text:?}", sent as f64 / took.as_secs_f64() / 1e6);
            assert!(took < Duration::from_secs(60), "{text:?}: {took:?} for {sent} bytes");
        }
    }
}

const VALUES: &[(&str, &str)] = &[
    ("DB_PASSWORD", "hunter2hunter2"),
    ("NEWLINE", "n0t-a-newline"),
    ("UNICODE", "ue9fé-wörd-€"),
    ("BACKSLASH", "C:\\new\\u00e9\\"),
    ("HEX", "01-begins-in-an-escape"),
    ("ENDING", "ends-in-a-backslash\\"),
    ("CONTROL", "two\nlines\tof it"),
    ("BRACKET", "]brackets["),
    ("OVERLAP", "ter2hunt://"),
    ("WORD", "redacted"),
    ("NAME", "DB_PASSWORD"),
    ("PREFIX", "sk-ant-api03-sk-ant"),
];

fn with_values() -> Redactor {
    static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| Redactor::builder().values(VALUES.iter().copied()).build());
    REDACTOR.clone()
}

/// Text full of secrets, pieces of secrets, and what stands around them.
fn text() -> impl Strategy<Value = String> {
    let tokens: Vec<String> = samples::texts().into_values().flatten().filter(|t| t.len() < 400).collect();
    let keywords = "sk-ant- sk- eyJ :// @ AKIA hf_ PRIVATE KEY-----|-----BEGIN |-----END |Bearer |Basic |authorization: |\
        secret_access_key=|:AA|8Q~|7Q~|xox|cio|TWILIO_|discord|Bot |SG.|1//0|v1.0-|ops_|[redacted:|[redacted:DB_PASSWORD]";
    let keywords: Vec<String> = keywords.split('|').map(str::to_owned).collect();
    let escapes =
        ["\\n", "\\", "\\\\", "\\u00e9", "\\u", "\\\"", "\u{1b}[31m", "%3D", "é", "\u{1f600}", "\n", "]", "["];
    let token = proptest::sample::select(tokens);
    let mut values: Vec<String> = VALUES.iter().map(|(_, v)| (*v).to_owned()).collect();
    // What looks like a value in JSON, where a part of it is an escape.
    let traps = ["\n0t-a-newline", "\u{1}-begins-in-an-escape", "ends-in-a-backslash\"", "ends-in-a-backslash\n"];
    values.extend(traps.map(str::to_owned));
    let value = proptest::sample::select(values);
    let cut = |s: String, from: prop::sample::Index, to: prop::sample::Index| -> String {
        let n = s.chars().count();
        let (a, b) = (from.index(n + 1), to.index(n + 1));
        s.chars().skip(a.min(b)).take(a.abs_diff(b)).collect()
    };
    let any_cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let piece = prop_oneof![
        3 => token.clone(),
        3 => value.clone(),
        2 => (prop_oneof![token, value], any_cut).prop_map(move |(s, (a, b))| cut(s, a, b)),
        2 => proptest::sample::select(keywords),
        2 => proptest::sample::select(escapes.map(str::to_owned).to_vec()),
        2 => "[a-zA-Z0-9]{1,24}",
        1 => "[-_.:/=+@%\"'\\\\ a-f0-9\n]{1,8}",
    ];
    proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn splitting_changes_nothing(text in text(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let redactor = with_values();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = redactor.redact(text.as_bytes());
        prop_assert_eq!(&streamed(&redactor, text.as_bytes(), &cuts), &*whole);
        let every: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(&streamed(&redactor, text.as_bytes(), &every), &*whole);
        prop_assert_eq!(redactor.find(text.as_bytes()).map(|f| f.name), redactor.find_in(&mut text.as_bytes()).unwrap());
    }

    #[test]
    fn once_is_enough(text in text()) {
        let redactor = with_values();
        let once = redactor.redact_str(&text);
        prop_assert_eq!(&redactor.redact_str(&once), &once);
    }

    #[test]
    fn json_stays_json(keys in proptest::collection::vec(text(), 0..3), texts in proptest::collection::vec(text(), 1..4)) {
        let redactor = with_values();
        let inner = serde_json::json!({ "text": &texts, "n": 1 });
        let mut outer = serde_json::json!({ "inner": inner.to_string(), "texts": &texts, "more": inner });
        for key in &keys {
            outer[key.as_str()] = serde_json::json!([1.5, key, null]);
        }
        for document in [outer.to_string(), serde_json::to_string_pretty(&outer).unwrap()] {
            let out = redactor.redact_str(&document);
            let parsed = serde_json::from_str::<serde_json::Value>(&out);
            prop_assert!(parsed.is_ok(), "{}\n{}", parsed.unwrap_err(), out);
            for (_, value) in VALUES.iter().filter(|(name, _)| *name == "DB_PASSWORD") {
                prop_assert!(!out.replace("[redacted:DB_PASSWORD]", "").contains(value));
            }
        }
    }
}
