//! The redactor from outside: rules by example, and the laws it promises.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "redact/credentials.rs"]
mod credentials;
#[path = "redact/honest.rs"]
mod honest;
#[path = "redact/laws.rs"]
mod laws;
#[path = "redact/samples.rs"]
mod samples;
#[path = "redact/shapes.rs"]
mod shapes;

use std::borrow::Cow;

use decklog_journal::redact::*;

/// Chunk by chunk, cut at the given offsets.
fn streamed(redactor: &Redactor, input: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut stream, mut out, mut from) = (redactor.stream(), Vec::new(), 0);
    for &cut in cuts {
        stream.push(&input[from..cut], &mut out);
        assert!(stream.held() <= MAX_HELD);
        from = cut;
    }
    stream.push(&input[from..], &mut out);
    stream.finish(&mut out);
    out
}

fn rules_only() -> Redactor {
    Redactor::builder().build()
}

#[test]
fn each_rule_finds_its_samples() {
    let redactor = rules_only();
    let samples = samples::positive();
    for (id, texts) in &samples {
        for text in texts {
            let (before, secret, after) = samples::parts(text);
            let whole = format!("{before}{secret}{after}");
            let expected = format!("{before}[redacted:{id}]{after}");
            assert_eq!(redactor.redact_str(&whole), expected, "{id}: {whole}");
            let long = format!("{}\n{whole}\n", "some text before it. ".repeat(20));
            assert!(redactor.redact_str(&long).ends_with(&format!("\n{expected}\n")), "{id}: {whole}");
        }
    }
    let rules = Rules::built_in();
    let (shapes, taken_over) = (shapes::rules_that_find(), shapes::rules_of_gitleaks());
    let tested = |id: &str| {
        samples.iter().any(|(with, _)| *with == id) || shapes.iter().chain(&taken_over).any(|with| with == id)
    };
    let untested: Vec<_> = rules.ids().filter(|id| !tested(id)).collect();
    assert!(untested.is_empty(), "rules without a sample: {untested:?}");
}

#[test]
fn samples_are_found_behind_escapes_and_colours() {
    let redactor = rules_only();
    for (id, texts) in samples::texts() {
        for text in texts {
            for before in ["\\n", "\\t", "\\\\n", "\\u001b[32m", "\x1b[1;31m", "x=", "%20", "\"", "é", "["] {
                let out = redactor.redact_str(&format!("{before}{text}")).into_owned();
                assert!(out.contains(&format!("[redacted:{id}]")), "{id} after {before:?}: {out}");
                assert!(out.starts_with(before), "{out}");
            }
        }
    }
}

#[test]
fn ordinary_text_is_borrowed() {
    let redactor = rules_only();
    for text in samples::negative() {
        assert!(matches!(redactor.redact_str(&text), Cow::Borrowed(_)), "{text} -> {}", redactor.redact_str(&text));
        assert_eq!(redactor.find(text.as_bytes()), None);
    }
}

#[test]
fn every_sample_at_every_cut() {
    let redactor = rules_only();
    for (id, texts) in samples::texts() {
        for text in texts {
            let whole = redactor.redact(text.as_bytes());
            for cut in 0..=text.len() {
                assert_eq!(streamed(&redactor, text.as_bytes(), &[cut]), *whole, "{id} cut at {cut}");
            }
            let every: Vec<usize> = (0..text.len()).collect();
            assert_eq!(streamed(&redactor, text.as_bytes(), &every), *whole, "{id} byte by byte");
        }
    }
}

#[test]
fn an_exact_value_in_all_its_forms() {
    let value = "p\"a\\s/s&wörd +1";
    let redactor = Redactor::builder().value("DB_PASSWORD", value).build();
    let json = serde_json::to_string(value).unwrap();
    let within = serde_json::to_string(&json).unwrap();
    for text in [value, &json[1..json.len() - 1], &within[3..within.len() - 3], "p%22a%5Cs%2Fs%26w%C3%B6rd%20%2B1"] {
        assert_eq!(redactor.redact_str(&format!("<{text}>")), "<[redacted:DB_PASSWORD]>", "{text}");
    }
    // base64 of "hunter2hunter2" behind "", "a", "ab": all but the edges, which depend on the neighbours.
    let redactor = Redactor::builder().value("PW", "hunter2hunter2\n").build();
    for (text, out) in [
        ("aHVudGVyMmh1bnRlcjI=", "[redacted:PW]I="),
        ("YWh1bnRlcjJodW50ZXIy", "YW[redacted:PW]"),
        ("YWJodW50ZXIyaHVudGVyMg==", "YWJ[redacted:PW]g=="),
    ] {
        assert_eq!(redactor.redact_str(text), out);
    }
}

#[test]
fn names() {
    let token = format!("{}{}", "ghp_", samples::word(36));
    let named = Redactor::builder().value("GITHUB TOKEN", &token).build();
    assert_eq!(named.redact_str(&token), "[redacted:GITHUB_TOKEN]", "a value goes before a rule");
    assert_eq!(named.redact_str(&format!("{token}{token}")), "[redacted:GITHUB_TOKEN]", "one run, one marker");
    assert_eq!(named.redact_str(&format!("{token} {token}")), "[redacted:GITHUB_TOKEN] [redacted:GITHUB_TOKEN]");
    let short = Redactor::builder().value("A", "abc").value("B", "  ").build();
    assert_eq!(short.redact_str("abc   abc"), "abc   abc");
    assert!(!format!("{named:?}").contains(&token));
    assert!(!format!("{:?}", Redactor::builder().value("A", &token)).contains(&token));
}

#[test]
fn live_lines_are_not_held() {
    let redactor = Redactor::builder().value("API_KEY", "q8Zr2LkX0vT~").build();
    let mut stream = redactor.stream();
    // A key's first line is held until what follows shows that no key follows.
    for text in samples::negative().into_iter().filter(|t| !t.contains("PRIVATE KEY-----")) {
        let (mut out, line) = (Vec::new(), format!("{text}\n"));
        let mut pieces = 0;
        stream.push_with(line.as_bytes(), |bytes| {
            pieces += 1;
            out.extend_from_slice(bytes);
        });
        assert_eq!((out.as_slice(), stream.held(), pieces), (line.as_bytes(), 0, 1), "{line}");
    }
    let mut out = Vec::new();
    stream.push(b"Continue? [y/N] q8Zr2LkX", &mut out);
    assert_eq!((&out[..], stream.held()), (&b"Continue? [y/N] "[..], 8));
    stream.push(b"0vT~", &mut out);
    assert_eq!((&out[..], stream.held()), (&b"Continue? [y/N] [redacted:API_KEY]"[..], 0));
}

#[test]
fn files_are_scanned_for_strong_secrets_only() {
    let token = format!("{}{}", "glpat-", samples::word(20));
    let redactor = Redactor::builder().value("DB_PASSWORD", "q8Zr2LkX0vTn").build();
    let weak = format!("postgres://app:{}@db/x ", "hunter22").repeat(9000);
    assert_eq!(redactor.find(weak.as_bytes()), None);
    assert_eq!(redactor.find_in(&mut weak.as_bytes()).unwrap(), None);
    for (secret, name) in [(token.as_str(), "gitlab-token"), ("q8Zr2LkX0vTn", "DB_PASSWORD")] {
        let text = format!("{weak}\n{secret}\n{weak}");
        let range = weak.len() + 1..weak.len() + 1 + secret.len();
        assert_eq!(redactor.find(text.as_bytes()), Some(Finding { name: name.to_owned(), range }));
        assert_eq!(redactor.find_in(&mut text.as_bytes()).unwrap().as_deref(), Some(name));
        assert_eq!(redactor.find_in(&mut secret.as_bytes()).unwrap().as_deref(), Some(name));
    }
    assert_eq!(Redactor::none().find(token.as_bytes()), None);
    assert_eq!(Redactor::none().redact_str(&token), token);
}

#[test]
fn own_rules() {
    let rules = Rules::parse(
        r#"
        [[rules]]
        id = "acme-token"
        regex = '''\bacme_([0-9]{8})'''
        keywords = ["acme_"]
        secretGroup = 1
        tags = ["ignored"]
        "#,
    )
    .unwrap();
    let redactor = Redactor::builder().rules(&rules).build();
    assert_eq!(redactor.redact_str("x acme_12345678 macme_12345678"), "x acme_[redacted:acme-token] macme_12345678");
    for (bad, why) in [
        ("[[rules]]\nid = 'a'\nregex = 'x'", "keywords"),
        ("[[rules]]\nid = 'a'\nkeywords = ['abc']", "no regex"),
        ("[[rules]]\nid = 'a b'\nregex = 'x'\nkeywords = ['abc']", "an id"),
        ("[[rules]]\nid = 'a'\nregex = '('\nkeywords = ['abc']", "unclosed"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = ['abc']\ncharset = 'z-a'", "backwards"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = ['abc']\ncharset = '[]'", "brackets"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = ['abc']\nmaxLength = 99999", "at most"),
        ("[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = ['abc']\nmaxLength = 9999", "above 512"),
        ("rules = 1", "not a rule file"),
    ] {
        let error = Rules::parse(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}
