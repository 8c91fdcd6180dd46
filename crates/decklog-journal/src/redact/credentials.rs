//! Which environment variables look like credentials, judged by name and value.
//!
//! What it must not know: the environment itself; the caller hands it in.

/// Below this length a value is too likely to be part of ordinary text.
const MIN_CREDENTIAL: usize = 8;

/// Parts of a name that make it a credential's.
const TELLING: &str = "\
    KEY KEYS TOKEN TOKENS SECRET SECRETS PASSWORD PASSWORDS PASSWD PASS PWD PASSPHRASE CREDENTIAL \
    CREDENTIALS CREDS AUTH AUTHORIZATION PRIVATE COOKIE COOKIES SESSION BEARER JWT PAT";
/// Endings of a part that do the same when words are written together, as in `PGPASSWORD`.
const TELLING_ENDS: &str = "\
    TOKEN SECRET PASSWORD PASSWD PASSPHRASE CREDENTIALS APIKEY ACCESSKEY SECRETKEY PRIVATEKEY AUTHKEY";
/// Parts with which any value that is no plain word is a secret.
const STRONG: &str = "\
    SECRET PASSWORD PASSWD PASSPHRASE";
/// Last parts that say the value is about a credential, or beside one.
const ABOUT: &str = "\
    ID NAME PATH FILE DIR SOCK SOCKET HOST PORT USER USERNAME TYPE KIND METHOD MODE ALGORITHM TTL \
    EXPIRY EXPIRES COUNT LIMIT LENGTH SIZE ENABLED VERSION REGION PREFIX HELPER PROVIDER MANAGER \
    ADDRESS PID CLASS DESKTOP BACKEND STORE ENDPOINT";
/// Names that would otherwise be taken for credentials, and never are.
const NEVER: &str = "\
    PWD OLDPWD SSH_ASKPASS GIT_ASKPASS SUDO_ASKPASS XAUTHORITY SSH_AUTH_SOCK SESSION_MANAGER \
    DESKTOP_SESSION GDMSESSION DBUS_SESSION_BUS_ADDRESS GPG_AGENT_INFO SESSIONNAME SECURITYSESSIONID";
/// Values that stand for no secret, without case.
const WORDS: &str = "\
    password passw0rd password1 changeme postgres postgresql disabled required optional keychain \
    keyring default defaults anonymous username localhost undefined internal external production \
    development staging redacted xxxxxxxx ******** your-api-key your_api_key your-token your_token \
    api-key api_key placeholder not-needed no-key-required mysecret mysecretpassword test1234 testtest \
    12345678 secretsecret dummy-key fake-key inherit prompt";
/// First segments of absolute paths.
const ROOTS: &str = "\
    home usr tmp var etc opt run root mnt media dev proc sys srv bin sbin lib nix snap data app work \
    workspace workspaces Users Library Applications System Volumes private secrets build github __w";

/// The values among `env` that must not be shown, each with the name of its variable.
///
/// A URL with user info gives its password, whatever the variable is called; as it stands, and decoded
/// if that differs. Everything else goes by [`looks_like_credential`].
pub fn credential_values<N: AsRef<str>, V: AsRef<[u8]>>(
    env: impl IntoIterator<Item = (N, V)>,
) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut add = |name: &str, value: &[u8]| {
        if !found.iter().any(|(_, old)| old == value) {
            found.push((name.to_owned(), value.to_vec()));
        }
    };
    for (name, value) in env {
        let (name, value) = (name.as_ref(), value.as_ref().trim_ascii());
        if let Some(password) = url_password(value) {
            if password.len() >= super::MIN_VALUE && !is_word(password) {
                add(name, password);
            }
            let decoded = percent_decoded(password);
            if decoded != password && decoded.len() >= super::MIN_VALUE {
                add(name, &decoded);
            }
        } else if looks_like_credential(name, value) {
            add(name, value);
        }
    }
    found
}

/// Whether a variable looks like a credential: its name says so, and its value could be one.
pub fn looks_like_credential(name: &str, value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let Some(strong) = telling(name) else {
        return false;
    };
    value.len() >= MIN_CREDENTIAL
        && !is_number(value)
        && !is_path(value)
        && !is_url(value)
        && !is_word(value)
        && (strong || !is_plain_words(value))
}

/// Whether the name is a credential's, and if so whether by one of the strong parts.
fn telling(name: &str) -> Option<bool> {
    let parts = parts(name);
    let joined = parts.join("_");
    if listed(NEVER, &joined) {
        return None;
    }
    let tells = |part: &String| listed(TELLING, part) || ends(TELLING_ENDS, part);
    let strong = parts.iter().any(|part| ends(STRONG, part));
    let public = parts.iter().any(|p| matches!(p.as_str(), "PUBLIC" | "PUB" | "PUBLISHABLE" | "MAX" | "MIN"));
    let about = parts.last().is_some_and(|last| listed(ABOUT, last));
    let secret_id = strong && parts.last().is_some_and(|last| last == "ID");
    (parts.iter().any(tells) && !public && (!about || secret_id)).then_some(strong)
}

fn listed(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

fn ends(list: &str, word: &str) -> bool {
    list.split(' ').any(|end| word.ends_with(end))
}

/// The words of a name, in capitals: `apiKey2` and `API-KEY2` are `API`, `KEY2`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut previous = ' ';
    for c in name.chars() {
        let begins = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && previous.is_ascii_lowercase());
        if begins && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(part) = parts.last_mut()
        {
            part.push(c.to_ascii_uppercase());
        }
        previous = c;
    }
    for part in &mut parts {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        part.truncate(word.len());
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn is_number(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_digit() || b".,:+-_ ".contains(b))
}

fn is_word(value: &[u8]) -> bool {
    WORDS.split(' ').any(|word| word.as_bytes().eq_ignore_ascii_case(value))
        || value.starts_with(b"[redacted:")
        || value.iter().all(|b| Some(b) == value.first())
}

/// Letters and joints in one case: `keychain-access`, `gnome`, `NOT SET`.
fn is_plain_words(value: &[u8]) -> bool {
    let joint = |b: &u8| b"-_. ,:/".contains(b);
    value.len() < 24
        && (value.iter().all(|b| b.is_ascii_lowercase() || joint(b))
            || value.iter().all(|b| b.is_ascii_uppercase() || joint(b)))
}

fn is_path(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    if text.starts_with("~/") || text.starts_with("./") || text.starts_with("../") || text.contains(":/") {
        return true;
    }
    if matches!(value, [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic()) || text.starts_with("unix:") {
        return true;
    }
    let Some(rest) = text.strip_prefix('/') else {
        return false;
    };
    let first = rest.split('/').next().unwrap_or_default();
    // Base64 may begin with a slash too: a segment of it has digits, capitals and signs mixed.
    listed(ROOTS, first)
        || rest.split('/').all(|segment| {
            segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-@ ".contains(&b))
        })
}

fn is_url(value: &[u8]) -> bool {
    scheme_end(value).is_some()
}

/// Where the authority of a URL begins.
fn scheme_end(value: &[u8]) -> Option<usize> {
    let colon = memchr::memmem::find(value, b"://")?;
    let scheme = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    (colon > 0 && value[..colon].iter().all(scheme)).then_some(colon + 3)
}

fn url_password(value: &[u8]) -> Option<&[u8]> {
    let rest = &value[scheme_end(value)?..];
    let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
    // A password may hold an unencoded `@` or `/`, against the rules: the last `@` before the host counts.
    let at = rest[..end].iter().rposition(|b| *b == b'@')?;
    let colon = rest[..at].iter().position(|b| *b == b':')?;
    Some(&rest[colon + 1..at])
}

fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) if let (Some(h), Some(l)) = (digit(*high), digit(*low)) => {
                out.push((h << 4 | l) as u8);
                rest = after;
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let expected: &[(&str, &[u8])] = &[
            ("DATABASE_URL", b"p%40ssw0rdd"),
            ("DATABASE_URL", b"p@ssw0rdd"),
            ("API_TOKEN", b"q8Zr2LkX0vTn"),
        ];
        assert_eq!(found.iter().map(|(n, v)| (n.as_str(), &v[..])).collect::<Vec<_>>(), expected);
    }
}
