//! Images and containers, as the verbs that use them take them from arguments, configuration and environment.

use std::ffi::OsString;

use decklog_journal::Head;
use decklog_run::agents::{AgentDefinition, Protocol};
use decklog_run::orchestrate::{Party, Relay, Setup};
use decklog_run::sandbox::{BoxedAgents, SandboxPlan};
use decklog_sandbox::network::Rule;
use decklog_sandbox::podman::Podman;
use decklog_text::visible;

use crate::asking::Programs;
use crate::config::network::NetworkMode;
use crate::config::{self, Config};
use crate::context::Context;
use crate::error::CliError;
use crate::strays;

/// Podman, with this program's environment.
pub(crate) fn podman(context: &Context) -> Podman {
    Podman::new(context.environment())
}

/// Where agents' tools run, as every verb that asks agents takes it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Boxing {
    /// Give agents the MCP servers of a container of this image, or none (default: the configured default image)
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Run the agents themselves in the container, with their credentials and the way to their model, and nothing else of
    /// this machine
    #[arg(long, conflicts_with = "tools")]
    pub(crate) boxed: bool,
    /// Whether agents keep their own tools besides the container's
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub(crate) tools: WhichTools,
    /// What stands between the container and the network (default: as configured, else podman's own network; with --boxed a
    /// filter that lets agents reach their models)
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) network: Option<NetworkMode>,
}

/// What agents work with when there is a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WhichTools {
    /// The container's alone, where the agent can do without its own.
    #[default]
    Boxed,
    /// Their own, too: these run on the host.
    Both,
}

/// Lets a session have this container.
pub(crate) fn put(setup: &mut Setup, plan: Option<SandboxPlan>) {
    setup.secrets.extend(plan.iter().flat_map(|plan| plan.secrets.clone()));
    setup.sandbox = plan;
}

/// Refuses an agent that cannot be given the container's tools for one run alone.
pub(crate) fn takes_tools(agent: &AgentDefinition) -> Result<(), CliError> {
    match agent.protocol {
        Protocol::Text => Err(CliError::new(format!("{} takes no tools from a container", agent.name))
            .hint("those are for agents that speak a protocol; put it into the container itself: --boxed")),
        // Its settings are files, and which of them it trusts depends on the directories above them.
        Protocol::GeminiStream => Err(CliError::new(format!("{} takes tools over ACP only", agent.name))
            .hint("use gemini-acp, put it into the container itself: --boxed, or go without: --image none")),
        _ => Ok(()),
    }
}

/// Says that the configured image does not count for a verb that has no containers; `what`: who does what.
pub(crate) fn say_on_the_host(what: &str, config: &Config, context: &Context) {
    if let Some(image) = &config.default_image {
        context.say(format!("{what} on this machine: default-image ({}) does not count here", visible(&image.value)));
    }
}

type Variables<'a> = &'a [(OsString, OsString)];

/// All whom a session may ask: a container that agents run in is made for these.
pub(crate) struct Asked<'a> {
    /// Who is asked in any case.
    first: Vec<&'a AgentDefinition>,
    /// Who may follow.
    others: Vec<&'a AgentDefinition>,
    /// The session's variables, and those that the user sets for it.
    env: Variables<'a>,
    given: Variables<'a>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        parties: impl IntoIterator<Item = &'a Party>,
        relay: &'a Relay,
        (env, given): (Variables<'a>, Variables<'a>),
    ) -> Self {
        let others = relay.others.iter().map(|other| &other.party.agent).collect();
        Self { first: parties.into_iter().map(|party| &party.agent).collect(), others, env, given }
    }
}

impl Boxing {
    /// What the session's container is made from, if it is to have one. `asked`: all whom the session may ask.
    pub(crate) fn resolve(
        &self,
        asked: &Asked<'_>,
        config: &Config,
        context: &Context,
    ) -> Result<Option<SandboxPlan>, CliError> {
        let none = self.image.as_deref() == Some("none");
        if none || (self.image.is_none() && config.default_image.is_none()) {
            if self.boxed || self.tools != WhichTools::default() || self.network.is_some() {
                return Err(CliError::new("--boxed, --tools and --network are for sessions with a container")
                    .hint("name its image: --image NAME"));
            }
            return Ok(None);
        }
        if self.boxed { self.inside(asked, config, context) } else { self.tools(config, context) }.map(Some)
    }

    /// The same for a session that is gone on with: it has the image that it had, and its agents are where they were.
    pub(crate) fn resolve_again(
        &self,
        head: &Head,
        asked: &Asked<'_>,
        config: &Config,
        context: &Context,
    ) -> Result<Option<SandboxPlan>, CliError> {
        if self.image.as_deref() == Some("none") || (self.image.is_none() && head.image_config_name.is_none()) {
            return Self { image: Some("none".into()), ..self.clone() }.resolve(asked, config, context);
        }
        let boxed = self.is_boxed(head);
        let image = self.image.clone().or_else(|| head.image_config_name.clone());
        Self { image, boxed, ..self.clone() }.resolve(asked, config, context)
    }

    /// What these flags say of any session but the one that they were given for.
    pub(crate) fn of_another(&self) -> Self {
        Self { network: self.network, ..Self::default() }
    }

    /// Whether agents of a session that is gone on with run in its container: who was there does not come out of it without a
    /// word, `--image none` or `--tools both`.
    fn is_boxed(&self, head: &Head) -> bool {
        let out = self.image.as_deref() == Some("none") || self.tools != WhichTools::default();
        self.boxed || (head.boxed && !out)
    }

    /// Where the programs of a session's agents are; `head`: of one that is gone on with.
    pub(crate) fn programs<'a>(&self, head: Option<&Head>, env: &'a [(OsString, OsString)]) -> Programs<'a> {
        let boxed = head.map_or(self.boxed, |head| self.is_boxed(head));
        if boxed { Programs::Inside } else { Programs::Here(env) }
    }

    fn tools(&self, config: &Config, context: &Context) -> Result<SandboxPlan, CliError> {
        let mut plan = plan(self.image.as_deref(), (self.network, Servers::All), config, context)?;
        if plan.image.servers.is_empty() {
            let name = &plan.image.name;
            return Err(CliError::new(format!("image {name} has no MCP servers, so it has no tools to give")).hint(
                format!("name some in the configuration, under [images.{name}.mcp], or put the agent into it: --boxed"),
            ));
        }
        plan.own_tools = self.tools == WhichTools::Both;
        Ok(plan)
    }

    fn inside(&self, asked: &Asked<'_>, config: &Config, context: &Context) -> Result<SandboxPlan, CliError> {
        let network = self.network.unwrap_or_else(|| config.network.of_boxed_agents());
        let image = self.image.as_deref();
        let mut plan = plan(image, (Some(network), Servers::None), config, context)?;
        let mut boxed = BoxedAgents::default();
        // Who only may follow, and cannot be boxed, is not there when it is asked.
        let others = asked.others.iter().filter(|agent| agent.protocol != Protocol::Builtin);
        for agent in asked.first.iter().chain(others) {
            let name = &agent.name;
            if agent.protocol == Protocol::Builtin {
                return Err(CliError::new(format!("{name} is part of decklog, and is in no image"))
                    .hint("it has no tools but a container's anyway: leave --boxed out"));
            }
            if boxed.luggage.iter().any(|(known, _)| known == name) {
                continue;
            }
            let luggage = agent.needs.pack(asked.env).map_err(|what| CliError::new(format!("{name}: {what}")))?;
            if luggage.on_this_machine && plan.network.is_none() {
                return Err(CliError::new(format!(
                    "the model of {name} is on this machine, which podman's own network does not reach"
                ))
                .hint("take decklog's: --network filter, or --network audit"));
            }
            if let Some(policy) = &mut plan.network {
                let rules: Result<Vec<Rule>, _> = luggage.hosts.iter().map(|host| host.parse()).collect();
                policy.allow.extend(rules.map_err(CliError::new)?);
            }
            plan.secrets.extend(agent.needs.variables.iter().filter(|name| !is_plain(name)).cloned());
            boxed.luggage.push((name.clone(), luggage));
        }
        // What an agent needs it has, as it is seen from inside.
        let needed =
            |name: &str| boxed.luggage.iter().any(|(_, packed)| packed.env.iter().any(|(known, _)| known == name));
        for (name, value) in asked.given {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
                return Err(CliError::new("--env for a container takes UTF-8 text alone"));
            };
            if !needed(name) {
                boxed.env.push((name.to_owned(), value.to_owned()));
            }
        }
        plan.boxed = Some(boxed);
        Ok(plan)
    }
}

/// Whether the servers of an image are to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Servers {
    All,
    None,
}

/// Whether a variable says where or whom to ask, and is no secret.
fn is_plain(name: &str) -> bool {
    name.ends_with("_BASE_URL") || name.ends_with("_MODEL")
}

/// What a session's container is made from.
pub(crate) fn plan(
    name: Option<&str>,
    (network, servers): (Option<NetworkMode>, Servers),
    config: &Config,
    context: &Context,
) -> Result<SandboxPlan, CliError> {
    let mut image = config.image(name)?.clone();
    if servers == Servers::None {
        image.servers.clear();
    }
    let env = context.environment();
    let lookup = |name: &str| {
        let found = env.iter().find(|(known, _)| known == name)?;
        found.1.to_str().map(str::to_owned)
    };
    let secrets = config::expand(&mut image, lookup).map_err(CliError::new)?;
    let policy = config.network.policy(network);
    if let (Some(_), Some(name)) = (&policy, image.capabilities.undoing()) {
        return Err(CliError::new(format!(
            "image {} adds the capability {name}, which could undo its network",
            image.name
        ))
        .hint("take it from cap-add, or go without: --network default"));
    }
    // What killed recorders left goes when the next container comes.
    strays::remove(&strays::find(&context.store()?, context), context);
    let bridge = vec![std::env::current_exe()?.into(), "__mcp".into()];
    Ok(SandboxPlan { image, network: policy, podman: podman(context), bridge, own_tools: true, boxed: None, secrets })
}
