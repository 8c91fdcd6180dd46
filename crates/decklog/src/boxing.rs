//! Images and containers, as the verbs that use them take them from arguments, configuration and environment.

use decklog_journal::Head;
use decklog_run::agents::{AgentDefinition, Protocol};
use decklog_run::orchestrate::Setup;
use decklog_run::sandbox::SandboxPlan;
use decklog_sandbox::podman::Podman;

use crate::config::network::NetworkMode;
use crate::config::{self, Config};
use crate::context::Context;
use crate::error::CliError;

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
    /// Whether agents keep their own tools besides the container's
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub(crate) tools: WhichTools,
    /// What stands between the container and the network (default: as configured, else podman's own network)
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
            .hint("--image is for agents that speak a protocol of their own")),
        // Its settings are files, and which of them it trusts depends on the directories above them.
        Protocol::GeminiStream => Err(CliError::new(format!("{} takes tools over ACP only", agent.name))
            .hint("use gemini-acp, or go without a container: --image none")),
        _ => Ok(()),
    }
}

impl Boxing {
    /// What the session's container is made from, if it is to have one.
    pub(crate) fn resolve(&self, config: &Config, context: &Context) -> Result<Option<SandboxPlan>, CliError> {
        let none = self.image.as_deref() == Some("none");
        if none || (self.image.is_none() && config.default_image.is_none()) {
            if self.tools != WhichTools::default() || self.network.is_some() {
                return Err(CliError::new("--tools and --network are for sessions with a container")
                    .hint("name its image: --image NAME"));
            }
            return Ok(None);
        }
        self.planned(config, context).map(Some)
    }

    /// The same for a session that is gone on with: it has the image that it had.
    pub(crate) fn resolve_again(
        &self,
        head: &Head,
        config: &Config,
        context: &Context,
    ) -> Result<Option<SandboxPlan>, CliError> {
        let had = head.image_config_name.clone();
        match (&self.image, had) {
            (None, None) => Ok(None),
            (Some(_), _) => self.resolve(config, context),
            (None, had) => Self { image: had, ..self.clone() }.planned(config, context).map(Some),
        }
    }

    fn planned(&self, config: &Config, context: &Context) -> Result<SandboxPlan, CliError> {
        let mut plan = plan(self.image.as_deref(), self.network, config, context)?;
        if plan.image.servers.is_empty() {
            let name = &plan.image.name;
            return Err(CliError::new(format!("image {name} has no MCP servers, so it has no tools to give"))
                .hint(format!("name some in the configuration, under [images.{name}.mcp]")));
        }
        plan.own_tools = self.tools == WhichTools::Both;
        Ok(plan)
    }
}

/// What a session's container is made from.
pub(crate) fn plan(
    name: Option<&str>,
    network: Option<NetworkMode>,
    config: &Config,
    context: &Context,
) -> Result<SandboxPlan, CliError> {
    let mut image = config.image(name)?.clone();
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
    let bridge = vec![std::env::current_exe()?.into(), "__mcp".into()];
    Ok(SandboxPlan { image, network: policy, podman: podman(context), bridge, own_tools: true, secrets })
}
