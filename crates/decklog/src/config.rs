//! The configuration: global file, repository file, and where each value came from.
//!
//! A repository's file is somebody else's text. Until `decklog trust` has recorded its hash it may only tighten
//! and only name things inside the repository; everything else in it is refused, with its line and the remedy.

mod images;
pub(crate) mod models;
pub(crate) mod network;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use decklog_journal::words::Permissions;
use decklog_journal::{Durability, wire};
use decklog_run::agents::{AgentDefinition, HomeFile, Needs, Protocol, known_agents};
use decklog_sandbox::image::Image;
use decklog_sandbox::network::Rule;
use serde::Deserialize;
use toml::Spanned;

use crate::error::CliError;

pub(crate) use images::expand;

/// The repository's file, relative to the repository's top.
pub(crate) const REPOSITORY_FILE: &str = ".decklog/config.toml";

/// A configuration file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    session_root: Option<Spanned<PathBuf>>,
    default_agent: Option<Spanned<String>>,
    then: Option<Spanned<Vec<String>>>,
    permissions: Option<Spanned<String>>,
    durability: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    stall_timeout: Option<Spanned<String>>,
    checks: Option<Spanned<Vec<String>>>,
    race: Option<Spanned<Race>>,
    default_image: Option<Spanned<String>>,
    #[serde(default)]
    images: BTreeMap<String, Spanned<images::ImageTable>>,
    network: Option<network::NetworkTable>,
    default_model: Option<Spanned<String>>,
    #[serde(default)]
    agents: BTreeMap<String, Spanned<Agent>>,
    #[serde(default)]
    providers: BTreeMap<String, Spanned<models::Provider>>,
    #[serde(default)]
    models: BTreeMap<String, Spanned<models::Model>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Race {
    setup: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Agent {
    command: Vec<String>,
    protocol: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    boxed: Option<BoxedNeeds>,
}

/// `[agents.X] boxed`: what it needs of the host when it runs in a container.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoxedNeeds {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

impl BoxedNeeds {
    fn needs(self) -> Result<Needs, String> {
        let files = self.files.iter().map(|file| HomeFile::parse(file)).collect::<Result<_, _>>()?;
        for host in &self.hosts {
            host.parse::<Rule>().map_err(|error| error.to_string())?;
        }
        Ok(Needs { variables: self.env, settings: Vec::new(), files, hosts: self.hosts })
    }
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Set<T> {
    pub(crate) value: T,
    pub(crate) from: String,
}

impl<T> Set<T> {
    fn built_in(value: T) -> Self {
        Self { value, from: "default".into() }
    }
}

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) session_root: Set<PathBuf>,
    pub(crate) default_agent: Option<Set<String>>,
    /// Who goes on when an agent is rate-limited.
    pub(crate) then: Set<Vec<String>>,
    pub(crate) permissions: Set<Permissions>,
    pub(crate) durability: Set<Durability>,
    pub(crate) timeout: Option<Set<std::time::Duration>>,
    pub(crate) stall_timeout: Option<Set<std::time::Duration>>,
    pub(crate) checks: Set<Vec<String>>,
    /// What makes a racer's worktree ready.
    pub(crate) race_setup: Option<Set<String>>,
    /// The image that tools or agents are put into when none is named.
    pub(crate) default_image: Option<Set<String>>,
    pub(crate) images: Vec<Set<Image>>,
    /// What stands between containers and the network.
    pub(crate) network: network::Network,
    pub(crate) agents: Vec<Set<AgentDefinition>>,
    /// Whom the built-in agent can ask.
    pub(crate) models: models::Models,
    /// What of the repository's file was refused: one message each.
    pub(crate) refused: Vec<String>,
    /// The repository's file, if there is one.
    pub(crate) repository_file: Option<PathBuf>,
}

/// Where to look.
pub(crate) struct Places {
    /// The global file; it need not exist.
    pub(crate) global: PathBuf,
    /// The directory that `.decklog/config.toml` may be in: the repository's top.
    pub(crate) repository: Option<PathBuf>,
    /// Where trusted hashes are recorded.
    pub(crate) trusted: PathBuf,
    /// Where the built-in agent keeps its conversations.
    pub(crate) conversations: PathBuf,
    /// The session root when nobody says otherwise.
    pub(crate) default_root: PathBuf,
}

impl Config {
    /// Reads the configuration.
    pub(crate) fn load(places: &Places) -> Result<Self, CliError> {
        let mut config = Self {
            session_root: Set::built_in(places.default_root.clone()),
            default_agent: None,
            then: Set::built_in(Vec::new()),
            permissions: Set::built_in(Permissions::Edit),
            durability: Set::built_in(Durability::Turn),
            timeout: None,
            stall_timeout: None,
            checks: Set::built_in(Vec::new()),
            race_setup: None,
            default_image: None,
            images: Vec::new(),
            network: network::Network::default(),
            agents: known_agents().into_iter().map(Set::built_in).collect(),
            models: models::Models::default(),
            refused: Vec::new(),
            repository_file: None,
        };
        if let Some(text) = read(&places.global)? {
            let base = places.global.parent().unwrap_or(Path::new("/")).to_owned();
            Layer::new(&places.global, &text, base, None)?.apply(&mut config)?;
        }
        if let Some(repository) = &places.repository {
            let path = repository.join(REPOSITORY_FILE);
            if let Some(text) = read(&path)? {
                let trusted = is_trusted(&places.trusted, &path, text.as_bytes());
                let limit = (!trusted).then(|| repository.clone());
                let applied =
                    Layer::new(&path, &text, repository.clone(), limit).and_then(|layer| layer.apply(&mut config));
                match applied {
                    // Somebody else's broken file must not keep the user from reading records.
                    Err(error) if !trusted => config.refused.push(format!("{}: passed over", error.message)),
                    applied => applied?,
                }
                config.repository_file = Some(path);
            }
        }
        models::hand_out(&mut config, &places.conversations)?;
        Ok(config)
    }

    /// The image called `name`, else the default one; an error names those there are.
    pub(crate) fn image(&self, name: Option<&str>) -> Result<&Image, CliError> {
        let name = name.or(self.default_image.as_ref().map(|set| set.value.as_str()));
        let named = |name: &str| self.images.iter().map(|set| &set.value).find(|image| image.name == name);
        let hint = "describe one in the configuration:\n\n  [images.coding]\n  dockerfile = \"Dockerfile\"\n  \
                    [images.coding.mcp]\n  fs = [\"mcp-server-filesystem\", \"/workspace\"]";
        match (name, self.images.as_slice()) {
            (Some(name), []) => Err(CliError::new(format!("there is no image {name:?}")).hint(hint)),
            (Some(name), images) => named(name).ok_or_else(|| {
                let names: Vec<_> = images.iter().map(|set| set.value.name.as_str()).collect();
                CliError::new(format!("there is no image {name:?}: the configuration has {}", names.join(", ")))
            }),
            (None, [only]) => Ok(&only.value),
            (None, []) => Err(CliError::new("no image is configured").hint(hint)),
            (None, _) => Err(CliError::new("which image?").hint("name one with --image, or set default-image")),
        }
    }

    /// The definition of an agent by name.
    pub(crate) fn agent(&self, name: &str) -> Option<&AgentDefinition> {
        self.agents.iter().map(|set| &set.value).find(|agent| agent.name == name)
    }
}

fn read(path: &Path) -> Result<Option<String>, CliError> {
    match decklog_journal::files::read_limited(path, 1024 * 1024) {
        Ok(bytes) => {
            String::from_utf8(bytes).map(Some).map_err(|_| CliError::new(format!("{} is not UTF-8", path.display())))
        }
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(CliError::new(format!("{}: {error}", path.display()))),
    }
}

/// One file, while it is laid over what came before.
struct Layer<'a> {
    path: &'a Path,
    text: &'a str,
    file: File,
    /// What relative paths start from.
    base: PathBuf,
    /// Set for an untrusted repository: nothing may point outside it.
    inside: Option<PathBuf>,
}

impl<'a> Layer<'a> {
    fn new(path: &'a Path, text: &'a str, base: PathBuf, inside: Option<PathBuf>) -> Result<Self, CliError> {
        let file = toml::from_str(text).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
        Ok(Self { path, text, file, base, inside })
    }

    fn place(&self, span: &Range<usize>) -> String {
        let line = self.text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }

    fn bad(&self, span: &Range<usize>, what: &str) -> CliError {
        CliError::new(format!("{}: {what}", self.place(span)))
    }

    fn set<T>(&self, span: &Range<usize>, value: T) -> Set<T> {
        Set { value, from: self.place(span) }
    }

    /// For an untrusted file: refuses the value at `span`. True when it is refused.
    fn refuses(&self, config: &mut Config, span: &Range<usize>, what: &str) -> bool {
        if self.inside.is_none() {
            return false;
        }
        config.refused.push(format!(
            "{}: {what}: refused, as the repository is not trusted; look at the file, then `decklog trust`",
            self.place(span)
        ));
        true
    }

    fn apply(mut self, config: &mut Config) -> Result<(), CliError> {
        let file = std::mem::take(&mut self.file);
        if let Some(root) = file.session_root {
            let span = root.span();
            let path = self.base.join(root.into_inner());
            let leaves = self.inside.as_ref().is_some_and(|inside| {
                // What git keeps is not the repository's content.
                !is_inside(&path, inside) || path.components().any(|part| part.as_os_str() == ".git")
            });
            if !(leaves && self.refuses(config, &span, "session-root points outside the repository's content")) {
                config.session_root = self.set(&span, path);
            }
        }
        if let Some(agent) = file.default_agent {
            let span = agent.span();
            // It decides who is sent the prompt, and the repository with it.
            if !self.refuses(config, &span, "default-agent decides who gets your prompt") {
                config.default_agent = Some(self.set(&span, agent.into_inner()));
            }
        }
        if let Some(then) = file.then {
            let span = then.span();
            if !self.refuses(config, &span, "then decides who gets your prompt") {
                config.then = self.set(&span, then.into_inner());
            }
        }
        if let Some(permissions) = file.permissions {
            let span = permissions.span();
            let value: Permissions = permissions.get_ref().parse().map_err(|what: String| self.bad(&span, &what))?;
            let widens = value > config.permissions.value;
            if !(widens && self.refuses(config, &span, "permissions are wider than yours")) {
                config.permissions = self.set(&span, value);
            }
        }
        if let Some(durability) = file.durability {
            let span = durability.span();
            let value = match durability.get_ref().as_str() {
                "event" => Durability::Event,
                "turn" => Durability::Turn,
                "os" => Durability::Os,
                other => {
                    return Err(self.bad(&span, &format!("durability {other:?} is none of: event, turn, os")));
                }
            };
            let weakens = strength(value) < strength(config.durability.value);
            if !(weakens && self.refuses(config, &span, "durability is weaker than yours")) {
                config.durability = self.set(&span, value);
            }
        }
        let mut limits = Vec::new();
        for (written, is_stall) in [(file.timeout, false), (file.stall_timeout, true)] {
            if let Some(written) = written {
                let span = written.span();
                let value = parse_duration(written.get_ref()).map_err(|what| self.bad(&span, &what))?;
                limits.push((span, value, is_stall));
            }
        }
        for (span, value, is_stall) in limits {
            let known = if is_stall { &config.stall_timeout } else { &config.timeout };
            let longer = known.as_ref().is_some_and(|known| value > known.value);
            if longer && self.refuses(config, &span, "this limit is longer than yours") {
                continue;
            }
            let set = Some(self.set(&span, value));
            if is_stall { config.stall_timeout = set } else { config.timeout = set }
        }
        if let Some(checks) = file.checks {
            let span = checks.span();
            if !self.refuses(config, &span, "checks run commands") {
                config.checks = self.set(&span, checks.into_inner());
            }
        }
        if let Some(race) = file.race {
            let span = race.span();
            if let Some(setup) = race.into_inner().setup
                && !self.refuses(config, &span, "[race] setup runs a command")
            {
                config.race_setup = Some(self.set(&span, setup));
            }
        }
        if let Some(table) = file.network {
            network::apply(&self, table, config)?;
        }
        if let Some(image) = file.default_image {
            let span = image.span();
            // It would be built, and used, without anybody asking for it.
            if !self.refuses(config, &span, "default-image decides what is built and run") {
                config.default_image = Some(self.set(&span, image.into_inner()));
            }
        }
        for (name, table) in file.images {
            let span = table.span();
            let image = images::image(&name, table.into_inner(), &self.base).map_err(|what| self.bad(&span, &what))?;
            let known = config.images.iter().any(|known| known.value.name == name);
            let outside = self.inside.as_ref().and_then(|root| images::reaches_out(&image, root));
            let refused = match outside {
                Some(why) => self.refuses(config, &span, &format!("[images.{name}]: {why}")),
                None if known => self.refuses(config, &span, &format!("[images.{name}] would replace yours")),
                None => false,
            };
            if !refused {
                config.images.retain(|known| known.value.name != name);
                config.images.push(self.set(&span, image));
            }
        }
        for (name, agent) in file.agents {
            let span = agent.span();
            if !self.refuses(config, &span, &format!("[agents.{name}] runs a command")) {
                let definition = self.agent(name, agent.into_inner(), &span)?;
                config.agents.retain(|known| known.value.name != definition.name);
                config.agents.push(self.set(&span, definition));
            }
        }
        for (name, provider) in file.providers {
            let span = provider.span();
            if !self.refuses(config, &span, &format!("[providers.{name}] decides where a key goes")) {
                provider.get_ref().check(&name).map_err(|what| self.bad(&span, &what))?;
                config.models.providers.insert(name, self.set(&span, provider.into_inner()));
            }
        }
        for (name, model) in file.models {
            let span = model.span();
            if !self.refuses(config, &span, &format!("[models.{name}] decides who gets your prompt")) {
                config.models.models.insert(name, self.set(&span, model.into_inner()));
            }
        }
        if let Some(model) = file.default_model {
            let span = model.span();
            if !self.refuses(config, &span, "default-model decides who gets your prompt") {
                config.models.default = Some(self.set(&span, model.into_inner()));
            }
        }
        Ok(())
    }

    fn agent(&self, name: String, agent: Agent, span: &Range<usize>) -> Result<AgentDefinition, CliError> {
        let protocol: Protocol = agent.protocol.parse().map_err(|what: String| self.bad(span, &what))?;
        if agent.command.is_empty() {
            return Err(self.bad(span, &format!("[agents.{name}] needs a command, such as command = [\"my-agent\"]")));
        }
        let usual = agent.command.first().map(|program| Needs::of_program(program.as_ref())).unwrap_or_default();
        let needs = match agent.boxed {
            Some(boxed) => {
                let needs = boxed.needs().map_err(|what| self.bad(span, &format!("[agents.{name}] boxed: {what}")))?;
                Needs { settings: usual.settings, ..needs }
            }
            None => usual,
        };
        Ok(AgentDefinition {
            name,
            command: agent.command.into_iter().map(Into::into).collect(),
            protocol,
            env: agent.env.into_iter().collect(),
            install: String::new(),
            prompt_on_stdin: true,
            builtin: None,
            needs,
        })
    }
}

fn strength(durability: Durability) -> u8 {
    match durability {
        Durability::Os => 0,
        Durability::Turn => 1,
        Durability::Event => 2,
    }
}

/// Whether `path` lies in `root`, by its words and, as far as it exists, by where it really leads.
fn is_inside(path: &Path, root: &Path) -> bool {
    if path.components().any(|part| part == Component::ParentDir) || !path.starts_with(root) {
        return false;
    }
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    match (existing.map(Path::canonicalize), root.canonicalize()) {
        (Some(Ok(real)), Ok(root)) => real.starts_with(root),
        _ => false,
    }
}

/// `90s`, `10m`, `2h`, `1d`.
pub(crate) fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let age = decklog_journal::retention::parse_age(text)
        .map_err(|_| format!("{text:?} is no duration: write a number above 0 and a unit, such as 90s, 10m or 2h"))?;
    Ok(age.unsigned_abs())
}

fn hash(bytes: &[u8]) -> String {
    wire::sha256_hex(bytes)
}

fn is_trusted(trusted: &Path, file: &Path, bytes: &[u8]) -> bool {
    let line = trust_line(file, bytes);
    std::fs::read_to_string(trusted).is_ok_and(|text| text.lines().any(|known| known == line))
}

/// What is recorded of a trusted file: a changed file is another one.
pub(crate) fn trust_line(file: &Path, bytes: &[u8]) -> String {
    format!("{}  {}", hash(bytes), file.display().to_string().replace('\n', "\\n"))
}
