//! Images and containers, as the verbs that use them take them from arguments, configuration and environment.

use decklog_run::sandbox::SandboxPlan;
use decklog_sandbox::podman::Podman;

use crate::config::{self, Config};
use crate::context::Context;
use crate::error::CliError;

/// Podman, with this program's environment.
pub(crate) fn podman(context: &Context) -> Podman {
    Podman::new(context.environment())
}

/// What a session's container is made from.
pub(crate) fn plan(name: Option<&str>, config: &Config, context: &Context) -> Result<SandboxPlan, CliError> {
    let mut image = config.image(name)?.clone();
    let env = context.environment();
    let lookup = |name: &str| {
        let found = env.iter().find(|(known, _)| known == name)?;
        found.1.to_str().map(str::to_owned)
    };
    config::expand(&mut image, lookup).map_err(CliError::new)?;
    Ok(SandboxPlan { image, podman: podman(context) })
}
