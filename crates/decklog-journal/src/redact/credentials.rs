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
const STRONG: &str = "SECRET PASSWORD PASSWD PASSPHRASE";
/// Last parts that say the value is about a credential, or beside one.
const ABOUT: &str = "\
    ID NAME PATH FILE DIR SOCK SOCKET HOST PORT USER USERNAME TYPE KIND METHOD MODE ALGORITHM TTL \
    EXPIRY EXPIRES COUNT LIMIT LENGTH SIZE ENABLED VERSION REGION PREFIX HELPER PROVIDER MANAGER \
    ADDRESS PID CLASS DESKTOP BACKEND STORE ENDPOINT";
/// Parts that say the opposite.
const HARMLESS: &str = "PUBLIC PUB PUBLISHABLE MAX MIN";
/// Names that would otherwise be taken for credentials, and never are.
const NEVER: &str = "\
    PWD OLDPWD SSH_ASKPASS GIT_ASKPASS SUDO_ASKPASS XAUTHORITY SSH_AUTH_SOCK SESSION_MANAGER \
    DESKTOP_SESSION GDMSESSION DBUS_SESSION_BUS_ADDRESS GPG_AGENT_INFO SESSIONNAME SECURITYSESSIONID \
    GPG_KEY GPG_KEYS";
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
    let Some(telling) = telling(name) else { return false };
    value.len() >= MIN_CREDENTIAL
        && !is_number(value)
        && !is_path(value)
        && scheme_end(value).is_none()
        && !is_word(value)
        && match telling {
            Telling::Strong => true,
            Telling::Plain => !is_plain_words(value),
            Telling::Session => !is_plain_words(value) && !is_identifier(value),
        }
}

/// Whether a value next to the name of a token looks random: it has a letter and a digit, and is no name
/// of words in one case.
pub(super) fn is_mixed(value: &[u8]) -> bool {
    let (lower, upper) = (value.iter().any(u8::is_ascii_lowercase), value.iter().any(u8::is_ascii_uppercase));
    let joints = value.iter().filter(|b| b"-_".contains(b)).count();
    let is_name = joints >= 2 && lower != upper && !is_identifier(value);
    value.iter().any(u8::is_ascii_digit) && (lower || upper) && !is_name && !is_path(value)
}

/// Whether a value next to the name of a password could be one: no word, path, number or URL, nothing
/// that a shell or a template replaces, and more than one kind of characters.
pub(super) fn could_be_password(value: &[u8]) -> bool {
    let code = value.starts_with(b"*") || value.starts_with(b"&") || memchr::memmem::find(value, b"::").is_some();
    let refers =
        code || value.starts_with(b"$") || value.starts_with(b"%") || value.contains(&b'{') || value.contains(&b'(');
    let letter = value.iter().any(u8::is_ascii_alphabetic);
    let other = value.iter().any(|b| b.is_ascii_digit() || b"!#$%&*+?@^~".contains(b));
    letter
        && other
        && !refers
        && value.len() >= super::MIN_VALUE
        && !is_word(value)
        && !is_path(value)
        && scheme_end(value).is_none()
}

/// How sure a name is.
#[derive(PartialEq)]
enum Telling {
    /// It says `SESSION` and no more: a cookie perhaps, more often the id of one of many sessions.
    Session,
    Plain,
    Strong,
}

fn telling(name: &str) -> Option<Telling> {
    let parts = parts(name);
    if listed(NEVER, &parts.join("_")) || parts.iter().any(|part| listed(HARMLESS, part)) {
        return None;
    }
    let strong = parts.iter().any(|part| ends(STRONG, part));
    let last = parts.last()?;
    if listed(ABOUT, last) && !(strong && last == "ID") {
        return None;
    }
    let tells = |part: &&String| listed(TELLING, part) || ends(TELLING_ENDS, part);
    let telling: Vec<_> = parts.iter().filter(tells).collect();
    match telling[..] {
        _ if strong => Some(Telling::Strong),
        [] => None,
        [only] if only == "SESSION" => Some(Telling::Session),
        _ => Some(Telling::Plain),
    }
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

/// Hexadecimal, or a time: a UUID, a session's id.
fn is_identifier(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_hexdigit() || b"-_T".contains(b))
}

fn is_path(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let list = text.contains(":/") && !text.contains(['{', '"', ' ', '\n']);
    if list || ["~/", "./", "../", "unix:"].iter().any(|head| text.starts_with(head)) {
        return true;
    }
    if matches!(value, [drive, b':', b'\\', ..] if drive.is_ascii_alphabetic()) {
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
