//! Which environment variables are taken for credentials.

use decklog_journal::redact::*;

#[test]
fn names_and_values() {
    let random = "q8Zr2LkX0vTn";
    for name in [
        "API_KEY",
        "OPENAI_API_KEY",
        "apiKey",
        "GITHUB_TOKEN",
        "PGPASSWORD",
        "MYSQL_PWD",
        "DB_PASS",
        "NPM_CONFIG__AUTH",
        "AWS_SECRET_ACCESS_KEY",
        "SESSION_COOKIE",
        "STRIPE_KEY2",
        "VAULT_SECRET_ID",
        "GITHUBTOKEN",
        "CI_JOB_JWT",
        "GH_PAT",
    ] {
        assert!(looks_like_credential(name, random.as_bytes()), "{name}");
    }
    for name in [
        "PATH",
        "KEYBOARD",
        "KEYMAP",
        "MONKEY",
        "SSH_AUTH_SOCK",
        "XDG_SESSION_ID",
        "GPG_AGENT_INFO",
        "EDITOR",
        "TOKENIZERS_PARALLELISM",
        "AWS_ACCESS_KEY_ID",
        "SSH_KEY_PATH",
        "STRIPE_PUBLIC_KEY",
        "MAX_OUTPUT_TOKENS",
        "AUTHOR",
        "DESKTOP_SESSION",
        "SESSION_MANAGER",
        "COLORTERM",
        "PATTERN",
        "COMPASS",
    ] {
        assert!(!looks_like_credential(name, random.as_bytes()), "{name}");
    }
    for value in [
        "",
        "short",
        "32000",
        "1714550400",
        "true",
        "/run/user/1000/keyring",
        "/home/me/.ssh/id_ed25519",
        "~/.netrc",
        "https://example.com/callback",
        "op://vault/item/field",
        "unix:path=/run/bus",
        "changeme",
        "keychain",
        "gnome-keyring",
        "XXXXXXXXXXXX",
        "[redacted:API_KEY]",
        "/some/relative.d/place",
        r"C:\Users\me\key.pem",
    ] {
        assert!(!looks_like_credential("API_KEY", value.as_bytes()), "{value}");
    }
    for value in ["550e8400-e29b-41d4-a716-446655440000", "20260501T134412-3f2a"] {
        assert!(!looks_like_credential("DECKLOG_SESSION", value.as_bytes()), "{value}");
        assert!(looks_like_credential("SESSION_TOKEN", value.as_bytes()), "{value}");
    }
    let account = r#"{"type":"service_account","auth_uri":"https://x.example/auth"}"#;
    assert!(looks_like_credential("GOOGLE_CREDENTIALS", account.as_bytes()));
    for value in ["correct horse battery", "/abC+9/xY0=qqqqq", "letmein-please", "hunter2hunter2"] {
        assert!(looks_like_credential("DB_PASSWORD", value.as_bytes()), "{value}");
    }
}

#[test]
fn values_of_an_environment() {
    let url = |user: &str| format!("postgres://{user}@db.example.com:5432/app?x=1");
    let env = [
        ("DATABASE_URL", url("app:p%40ssw0rdd")),
        ("OTHER_URL", url("app")),
        ("SHORT_URL", url("app:abc")),
        ("WORD_URL", url("app:postgres")),
        ("API_TOKEN", " q8Zr2LkX0vTn\n".to_owned()),
        ("SAME_TOKEN", "q8Zr2LkX0vTn".to_owned()),
        ("HOME", "/home/me".to_owned()),
    ];
    let found = credential_values(env);
    let expected: &[(&str, &[u8])] =
        &[("DATABASE_URL", b"p%40ssw0rdd"), ("DATABASE_URL", b"p@ssw0rdd"), ("API_TOKEN", b"q8Zr2LkX0vTn")];
    assert_eq!(found.iter().map(|(n, v)| (n.as_str(), &v[..])).collect::<Vec<_>>(), expected);
}
