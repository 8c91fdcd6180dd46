//! JSON of others: what is repaired, that nothing else is, and that it is decoded nowhere else.

use std::path::{Path, PathBuf};

use decklog_text::json::{LineRepair, from_slice, from_slice_in, from_str, repair};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// Almost JSON, and what it is decoded to.
fn table() -> Vec<(&'static [u8], Value)> {
    vec![
        (br#"{"a":"x\ud83d"}"#, json!({"a": "x\u{fffd}"})),
        (br#"{"a":"\ude00x"}"#, json!({"a": "\u{fffd}x"})),
        (br#"{"a":"\uDE00\uD83D"}"#, json!({"a": "\u{fffd}\u{fffd}"})),
        (br#"{"a":"\ud83d\nb"}"#, json!({"a": "\u{fffd}\nb"})),
        (br#"{"a":"\ud83d\"b"}"#, json!({"a": "\u{fffd}\"b"})),
        (br#"{"a":"\ud83d\\"}"#, json!({"a": "\u{fffd}\\"})),
        (br#"{"a":"\ud83d\u0041"}"#, json!({"a": "\u{fffd}A"})),
        (br#"{"a":"\ud83d\ud83d\ude00"}"#, json!({"a": "\u{fffd}\u{1f600}"})),
        (br#"{"a":"\ud83d\ude00\ude00"}"#, json!({"a": "\u{1f600}\u{fffd}"})),
        (br#"{"a":"\ud83d","b":"\ud83d\ude00"}"#, json!({"a": "\u{fffd}", "b": "\u{1f600}"})),
        (br#"{"a\ud83d":1}"#, json!({"a\u{fffd}": 1})),
        (br#"["\\\ud83d"]"#, json!(["\\\u{fffd}"])),
        // Behind an even number of backslashes there is no escape.
        (br#"["\\ud83d","\ud83d"]"#, json!(["\\ud83d", "\u{fffd}"])),
        (br#"["\\\\ud83d\\\\\ud83d"]"#, json!(["\\\\ud83d\\\\\u{fffd}"])),
        (b"[\"a\xffb\"]", json!(["a\u{fffd}b"])),
        // The first bytes of a character that was cut.
        (b"[\"a\xf0\x9f\x98\"]", json!(["a\u{fffd}"])),
        ("[\"\u{e9}\u{1f600}\\ud83d\u{e9}\"]".as_bytes(), json!(["\u{e9}\u{1f600}\u{fffd}\u{e9}"])),
        (b"\xef\xbb\xbf{\"a\":1}", json!({"a": 1})),
        (b"\xef\xbb\xbf[\"\\ud83d\"]", json!(["\u{fffd}"])),
        (b"[\"a\tb\x00\x1bc\"]", json!(["a\tb\u{0}\u{1b}c"])),
        (b"{\n\t\"a\": \"b\nc\"\r\n}", json!({"a": "b\nc"})),
    ]
}

#[test]
fn what_is_almost_json_is_decoded() {
    for (bytes, expected) in table() {
        let shown = String::from_utf8_lossy(bytes);
        assert!(serde_json::from_slice::<Value>(bytes).is_err(), "strict JSON takes {shown}");
        assert_eq!(from_slice::<Value>(bytes).expect(&shown), expected, "{shown}");
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert_eq!(from_str::<Value>(text).expect(&shown), expected, "{shown}");
        }
    }
}

#[test]
fn what_is_no_json_stays_an_error() {
    for text in ["", "{", "{\"a\":\"\\ud83", "[1,]", "[NaN]", "{\"a\":\"\\x\"}", "[\"\\", "[\"\\u12\"]", "plain words"]
    {
        let strict = serde_json::from_slice::<Value>(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(from_slice::<Value>(text.as_bytes()).expect_err(text).to_string(), strict, "{text}");
    }
}

#[test]
fn what_borrows_is_decoded_too() {
    #[derive(Deserialize)]
    struct Entry<'a> {
        id: &'a str,
        #[serde(borrow)]
        text: std::borrow::Cow<'a, str>,
    }
    let mut repaired = Vec::new();
    let entry: Entry<'_> = from_slice_in(br#"{"id":"one","text":"cut \ud83d"}"#, &mut repaired).expect("an entry");
    assert_eq!((entry.id, &*entry.text), ("one", "cut \u{fffd}"));
}

#[test]
fn a_stream_is_repaired_however_it_is_cut() {
    let lines: [&[u8]; 5] = [br#"{"a":"\ud83d"}"#, b"", b"no JSON", "[\"\u{1f600}\"]".as_bytes(), b"[\"\xff\"]"];
    let stream = lines.join(&b'\n');
    let expected = "{\"a\":\"\\ufffd\"}\n\nno JSON\n[\"\u{1f600}\"]\n[\"\u{fffd}\"]";
    for size in 1..stream.len() {
        let (mut repairs, mut out) = (LineRepair::new(1024), Vec::new());
        stream.chunks(size).for_each(|chunk| repairs.feed(chunk, &mut out));
        repairs.finish(&mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected, "{size}");
    }
    // What is too long is passed on as it came, and nothing of it is held.
    let (mut repairs, mut out) = (LineRepair::new(8), Vec::new());
    repairs.feed(br#"["\ud83d\ud83d"#, &mut out);
    assert_eq!(out, br#"["\ud83d\ud83d"#);
    repairs.feed(b"\"]\n[\"\\ud83d\"]\n", &mut out);
    assert_eq!(out, b"[\"\\ud83d\\ud83d\"]\n[\"\\ufffd\"]\n");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        r#"[\\u"dD8c0-9a-f😀]{0,12}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// JSON text with every character outside ASCII escaped.
fn escaped(value: &Value) -> String {
    let escape = |c: char| -> String {
        if c.is_ascii() {
            return c.to_string();
        }
        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
    };
    value.to_string().chars().map(escape).collect()
}

proptest! {
    #[test]
    fn valid_json_is_decoded_as_strictly(value in any_json()) {
        for text in [value.to_string(), escaped(&value), serde_json::to_string_pretty(&value).expect("JSON")] {
            let strict: Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(repair(text.as_bytes()), None, "{}", text);
            prop_assert_eq!(from_slice::<Value>(text.as_bytes()).expect("JSON"), strict);
        }
    }

    #[test]
    fn strings_of_any_units_and_bytes_are_decoded(
        units in prop::collection::vec(prop_oneof![any::<u16>(), 0xd7ff_u16..0xe001], 0..24),
        bytes in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let text: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let decoded: Vec<String> = from_slice(format!("[\"{text}\"]").as_bytes()).expect("JSON");
        prop_assert_eq!(&decoded[0], &String::from_utf16_lossy(&units));
        let plain: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, b'"' | b'\\')).collect();
        let decoded: Vec<String> = from_slice(&[b"[\"", plain.as_slice(), b"\"]"].concat()).expect("JSON");
        prop_assert_eq!(&decoded[0], &String::from_utf8_lossy(&plain));
    }

    #[test]
    fn anything_at_all_is_repaired_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = repair(&bytes);
    }
}

/// Files of these crates that decode strictly what decklog itself wrote.
const OUR_OWN: [&str; 4] = [
    "decklog-builtin/src/conversation.rs",
    "decklog-builtin/src/lib.rs",
    "decklog-run/src/orchestrate/race/place.rs",
    "decklog-sandbox/src/network/handover.rs",
];

#[test]
fn json_of_others_is_decoded_in_one_place() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: Vec<PathBuf> =
        ["decklog-run", "decklog-builtin", "decklog-sandbox"].map(|name| crates.join(name).join("src")).into();
    let mut strict = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("source code");
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        let name = path.strip_prefix(&crates).expect("a path below").to_string_lossy().into_owned();
        let functions = ["from_str", "from_slice", "from_reader", "Deserializer", "StreamDeserializer"];
        let decodes = |function: &&str| {
            [format!("serde_json::{function}"), format!("serde_json::de::{function}")]
                .iter()
                .any(|name| code.contains(name))
        };
        if functions.iter().any(decodes) && !OUR_OWN.contains(&name.as_str()) {
            strict.push(name);
        }
    }
    assert!(strict.is_empty(), "JSON of others is decoded with decklog_text::json: {strict:#?}");
}
