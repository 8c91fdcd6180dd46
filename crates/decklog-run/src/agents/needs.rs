//! What an agent needs of the host when it runs in a container, and packing it.
//!
//! The variables, files and hosts are those that the agents' own documentation names, tried with the versions in
//! `tests/agents`. What merely makes an agent work better stays out: what is not here is not handed on.
//!
//! Must not know: containers, policies.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use url::{Host, Url};

/// The name under which a container reaches this machine.
const THIS_MACHINE: &str = "host.containers.internal";

/// What an agent needs of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Variables that are handed on when they are set: credentials, and where the model is. Those that end in `_BASE_URL`
    /// move the endpoint.
    pub variables: Vec<String>,
    /// Variables that are set.
    pub settings: Vec<(String, String)>,
    /// Files that are copied, when they are there.
    pub files: Vec<HomeFile>,
    /// Where its model is reached unless a variable says otherwise: network rules.
    pub hosts: Vec<String>,
}

/// A file below the home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeFile {
    /// Its directory, from the home directory.
    pub dir: String,
    /// The variable that puts that directory elsewhere.
    pub moved_by: Option<String>,
    /// Its path in that directory.
    pub name: String,
}

/// What is handed on of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Luggage {
    /// Variables, with their values.
    pub env: Vec<(String, String)>,
    /// Files: where in the container's home directory, and where on the host.
    pub files: Vec<(String, PathBuf)>,
    /// Where its model is reached: network rules.
    pub hosts: Vec<String>,
    /// Whether that is this machine itself.
    pub on_this_machine: bool,
}

/// Variables, settings, files (directory, what moves it, name), and hosts of each kind of agent.
type Fact = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    &'static [[&'static str; 3]],
    &'static [&'static str],
);

const CLAUDE: Fact = (
    &[
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_CUSTOM_HEADERS",
        "ANTHROPIC_MODEL",
    ],
    // The container is the sandbox; and what would be asked of other hosts is refused anyway.
    &[("IS_SANDBOX", "1"), ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")],
    &[[".claude", "CLAUDE_CONFIG_DIR", ".credentials.json"]],
    &["api.anthropic.com:443"],
);
const CODEX: Fact = (
    &["OPENAI_API_KEY", "CODEX_API_KEY", "OPENAI_BASE_URL"],
    &[],
    &[[".codex", "CODEX_HOME", "auth.json"]],
    // The second is for who is signed in with a subscription.
    &["api.openai.com:443", "chatgpt.com:443"],
);
const GEMINI: Fact = (
    &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_GCA", "GOOGLE_GEMINI_BASE_URL", "GEMINI_MODEL"],
    &[("GEMINI_CLI_TRUST_WORKSPACE", "true"), ("GEMINI_TELEMETRY_ENABLED", "false")],
    &[[".gemini", "", "oauth_creds.json"], [".gemini", "", "google_accounts.json"]],
    // The last is where sign-ins are renewed, which leaves the old ones as they are.
    &["generativelanguage.googleapis.com:443", "cloudcode-pa.googleapis.com:443", "oauth2.googleapis.com:443"],
);
const OPENCODE: Fact = (
    &["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OPENCODE_API_KEY"],
    &[("OPENCODE_DISABLE_AUTOUPDATE", "1"), ("OPENCODE_DISABLE_MODELS_FETCH", "1")],
    &[
        [".local/share", "XDG_DATA_HOME", "opencode/auth.json"],
        [".config", "XDG_CONFIG_HOME", "opencode/opencode.json"],
    ],
    &["opencode.ai:443", "api.openai.com:443", "api.anthropic.com:443", "generativelanguage.googleapis.com:443"],
);

impl Needs {
    /// Those of the agent that is started with this program; none of one that is not known.
    #[must_use]
    pub fn of_program(program: &std::ffi::OsStr) -> Self {
        let name = std::path::Path::new(program).file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        match name {
            "claude" | "claude-agent-acp" => Self::from(CLAUDE),
            "codex" | "codex-acp" => Self::from(CODEX),
            "gemini" => Self::from(GEMINI),
            "opencode" => Self::from(OPENCODE),
            _ => Self::default(),
        }
    }

    /// What there is of it on a host with these variables.
    ///
    /// # Errors
    /// In words for people, when something of it could not be handed on.
    pub fn pack(&self, env: &[(OsString, OsString)]) -> Result<Luggage, String> {
        let set = |name: &str| {
            let value = env.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            value.filter(|value| !value.is_empty())
        };
        let mut luggage = Luggage { env: self.settings.clone(), hosts: self.hosts.clone(), ..Luggage::default() };
        let mut moved = Vec::new();
        for name in &self.variables {
            let Some(value) = set(name).and_then(|value| value.to_str()) else { continue };
            if value.contains('\n') {
                return Err(format!("{name} has a line break in it, which cannot be handed on to a container"));
            }
            let endpoint = if name.ends_with("_BASE_URL") { endpoint(value)? } else { None };
            let value = match endpoint {
                Some(Endpoint { rule, url, on_this_machine }) => {
                    moved.push(rule);
                    luggage.on_this_machine |= on_this_machine;
                    url
                }
                None => value.to_owned(),
            };
            luggage.env.push((name.clone(), value));
        }
        if !moved.is_empty() {
            luggage.hosts = moved;
        }
        let home = set("HOME").map(PathBuf::from).unwrap_or_default();
        for HomeFile { dir, moved_by, name } in &self.files {
            let place = moved_by.as_deref().and_then(set).map_or_else(|| home.join(dir), PathBuf::from);
            let file = place.join(name);
            if file.is_file() {
                luggage.files.push((format!("{dir}/{name}"), file));
            }
        }
        Ok(luggage)
    }
}

impl From<Fact> for Needs {
    fn from((variables, settings, files, hosts): Fact) -> Self {
        let text = |text: &&str| (*text).to_owned();
        let file = |[dir, moved_by, name]: &[&str; 3]| HomeFile {
            dir: text(dir),
            moved_by: (!moved_by.is_empty()).then(|| text(moved_by)),
            name: text(name),
        };
        Self {
            variables: variables.iter().map(text).collect(),
            settings: settings.iter().map(|(name, value)| (text(name), text(value))).collect(),
            files: files.iter().map(file).collect(),
            hosts: hosts.iter().map(text).collect(),
        }
    }
}

impl HomeFile {
    /// Of `~/DIR/NAME`, as it is written.
    ///
    /// # Errors
    /// In words for people, when it is no such path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let below = text.strip_prefix("~/").and_then(|path| path.rsplit_once('/'));
        let plain = |(dir, _): &(&str, &str)| !dir.split('/').any(|part| matches!(part, "" | "." | ".."));
        match below.filter(plain) {
            Some((dir, name)) if !matches!(name, "" | "." | "..") => {
                Ok(Self { dir: dir.to_owned(), moved_by: None, name: name.to_owned() })
            }
            _ => Err(format!(
                "{text:?} is no file of a directory in the home directory: write it as \"~/.agent/auth.json\""
            )),
        }
    }
}

/// Where a URL leads.
struct Endpoint {
    rule: String,
    /// The same, as it is reached from a container.
    url: String,
    on_this_machine: bool,
}

/// `None`: that is no URL with a host, which is the agent's to refuse.
fn endpoint(text: &str) -> Result<Option<Endpoint>, String> {
    let Ok(mut url) = Url::parse(text) else { return Ok(None) };
    let (on_this_machine, is_reached) = match url.host() {
        None => return Ok(None),
        Some(Host::Domain(name)) => (name == "localhost" || name.ends_with(".localhost"), true),
        // The name leads to this one, and a server that listens everywhere hears there, too.
        Some(Host::Ipv4(address)) => {
            let here = address == Ipv4Addr::LOCALHOST || address.is_unspecified();
            (here || address.is_loopback(), here)
        }
        Some(Host::Ipv6(address)) => (address.is_loopback() || address.is_unspecified(), false),
    };
    if on_this_machine && !is_reached {
        return Err(format!("{text} is an address of this machine that a container does not reach: use 127.0.0.1"));
    }
    let Some(port) = url.port_or_known_default() else { return Ok(None) };
    if on_this_machine && url.set_host(Some(THIS_MACHINE)).is_err() {
        return Ok(None);
    }
    let rule = format!("{}:{port}", url.host_str().unwrap_or_default());
    // A URL that had no slash at its end gets none: agents put their paths behind it.
    let bare = url.path() == "/" && !text.ends_with('/');
    let url = if bare { url.as_str().trim_end_matches('/').to_owned() } else { url.to_string() };
    Ok(Some(Endpoint { rule, url, on_this_machine }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn only_what_is_set_and_needed_is_packed() {
        let needs = Needs::of_program("/opt/bin/claude".as_ref());
        let packed = needs
            .pack(&env(&[("ANTHROPIC_API_KEY", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("ANTHROPIC_MODEL", "")]))
            .expect("plain");
        let names: Vec<&str> = packed.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["IS_SANDBOX", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "ANTHROPIC_API_KEY"]
        );
        assert_eq!(packed.hosts, ["api.anthropic.com:443"]);
        assert!(!packed.on_this_machine && packed.files.is_empty());
        assert_eq!(Needs::of_program("vim".as_ref()), Needs::default());
    }

    #[test]
    fn a_base_url_takes_the_place_of_the_usual_hosts() {
        for (url, rule, inside, here) in [
            ("https://gw.example.com", "gw.example.com:443", "https://gw.example.com", false),
            ("https://gw.example.com:8443/v1", "gw.example.com:8443", "https://gw.example.com:8443/v1", false),
            ("http://127.0.0.1:4000", "host.containers.internal:4000", "http://host.containers.internal:4000", true),
            (
                "http://localhost:4000/v1/",
                "host.containers.internal:4000",
                "http://host.containers.internal:4000/v1/",
                true,
            ),
            ("http://0.0.0.0:4000", "host.containers.internal:4000", "http://host.containers.internal:4000", true),
            ("http://[2001:db8::1]:80/a", "[2001:db8::1]:80", "http://[2001:db8::1]/a", false),
        ] {
            let packed = Needs::of_program("claude".as_ref()).pack(&env(&[("ANTHROPIC_BASE_URL", url)])).expect(url);
            assert_eq!(packed.hosts, [rule], "{url}");
            assert_eq!(packed.env.last().map(|(_, value)| value.as_str()), Some(inside), "{url}");
            assert_eq!(packed.on_this_machine, here, "{url}");
        }
        for bad in ["http://[::1]:4000", "http://127.0.0.2/", "http://[::]:4000"] {
            let refused = Needs::of_program("claude".as_ref()).pack(&env(&[("ANTHROPIC_BASE_URL", bad)]));
            assert!(refused.is_err_and(|why| why.contains("use 127.0.0.1")), "{bad}");
        }
        // What is no URL is the agent's to refuse.
        let packed = Needs::of_program("claude".as_ref())
            .pack(&env(&[("ANTHROPIC_BASE_URL", "nonsense")]))
            .expect("it is passed on");

        assert_eq!(packed.hosts, ["api.anthropic.com:443"]);
    }

    #[test]
    fn files_are_found_where_the_agent_keeps_them() {
        let home = tempfile::tempdir().expect("a directory");
        let elsewhere = home.path().join("elsewhere");
        for dir in [home.path().join(".codex"), elsewhere.clone()] {
            std::fs::create_dir_all(&dir).expect("a directory");
            std::fs::write(dir.join("auth.json"), "{}").expect("a file");
        }
        let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
        let needs = Needs::of_program("codex".as_ref());
        let at_home = needs.pack(&env(&[("HOME", &text(home.path()))])).expect("plain");
        assert_eq!(at_home.files, [(".codex/auth.json".to_owned(), home.path().join(".codex/auth.json"))]);
        let moved =
            needs.pack(&env(&[("HOME", &text(home.path())), ("CODEX_HOME", &text(&elsewhere))])).expect("plain");
        assert_eq!(moved.files, [(".codex/auth.json".to_owned(), elsewhere.join("auth.json"))]);
    }

    #[test]
    fn files_are_named_below_the_home_directory() {
        let parsed = HomeFile::parse("~/.local/share/agent/auth.json").expect("a file");
        assert_eq!((parsed.dir.as_str(), parsed.name.as_str()), (".local/share/agent", "auth.json"));
        for bad in
            ["/etc/passwd", "~/auth.json", "~/../x/y", "~/.a/../../y", "~/.a//y", "~/.a/", "~/.a/..", "auth.json"]
        {
            assert!(HomeFile::parse(bad).is_err(), "{bad}");
        }
    }
}
