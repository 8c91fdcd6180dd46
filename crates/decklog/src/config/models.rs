//! `[providers]` and `[models]`: whom the built-in agent can ask, and which variable holds whose key.
//!
//! A key itself is never in a file, and no message repeats what stood in its place.

use std::collections::BTreeMap;
use std::path::Path;

use decklog_run::agents::{BuiltinModel, BuiltinSetup, Protocol};
use serde::Deserialize;

use super::{Config, Set};
use crate::error::CliError;

/// A provider as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Provider {
    pub(crate) style: String,
    pub(crate) base_url: String,
    api_key: Option<String>,
    #[serde(default)]
    allow_http: bool,
}

/// A model as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Model {
    pub(crate) provider: String,
    pub(crate) model: String,
    max_tokens: Option<u64>,
    context_tokens: Option<u64>,
}

/// What is configured of them.
#[derive(Debug, Default)]
pub(crate) struct Models {
    pub(crate) providers: BTreeMap<String, Set<Provider>>,
    pub(crate) models: BTreeMap<String, Set<Model>>,
    pub(crate) default: Option<Set<String>>,
}

impl Provider {
    /// What is wrong with it, if something is.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        if !matches!(self.style.as_str(), "openai" | "anthropic") {
            return Err(format!("[providers.{name}] style {:?} is none of: openai, anthropic", self.style));
        }
        let address = self.base_url.split_once("://").map_or(self.base_url.as_str(), |(_, rest)| rest);
        if address.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@')) {
            return Err(format!("[providers.{name}] base-url holds credentials: name their variable as api-key"));
        }
        if self.api_key.is_some() && self.variable().is_none() {
            return Err(format!(
                "[providers.{name}] api-key must name a variable of the environment, as in api-key = \"${{MY_KEY}}\": a key itself \
                 does not belong into a file"
            ));
        }
        Ok(())
    }

    /// The variable that holds its key.
    pub(crate) fn variable(&self) -> Option<&str> {
        let name = self.api_key.as_deref()?.strip_prefix("${")?.strip_suffix('}')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = name.chars().all(plain) && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
        is_name.then_some(name)
    }
}

impl Models {
    /// Variables that hold keys.
    pub(crate) fn variables(&self) -> Vec<String> {
        self.providers.values().filter_map(|provider| provider.value.variable()).map(str::to_owned).collect()
    }

    /// What the built-in agent gets.
    fn setup(&self, state_dir: &Path) -> Result<BuiltinSetup, CliError> {
        let mut models = Vec::new();
        for (name, Set { value: model, from }) in &self.models {
            let Some(Set { value: provider, .. }) = self.providers.get(&model.provider) else {
                let there: Vec<_> = self.providers.keys().map(String::as_str).collect();
                let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
                return Err(CliError::new(format!(
                    "{from}: [models.{name}] has provider {:?}, and the configuration has {there}",
                    model.provider
                )));
            };
            models.push(BuiltinModel {
                name: name.clone(),
                provider: model.provider.clone(),
                style: provider.style.clone(),
                base_url: provider.base_url.clone(),
                allow_http: provider.allow_http,
                api_key_env: provider.variable().map(str::to_owned),
                model: model.model.clone(),
                max_tokens: model.max_tokens,
                context_tokens: model.context_tokens,
            });
        }
        if let Some(Set { value, from }) = &self.default
            && !self.models.contains_key(value)
        {
            let there: Vec<_> = self.models.keys().map(String::as_str).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(CliError::new(format!(
                "{from}: default-model is {value:?}, and the configuration has {there}"
            )));
        }
        let default = self.default.as_ref().map(|set| set.value.clone());
        Ok(BuiltinSetup { models, default, state_dir: state_dir.to_owned() })
    }
}

/// Gives agents that speak the built-in protocol what is configured.
pub(super) fn hand_out(config: &mut Config, state_dir: &Path) -> Result<(), CliError> {
    let setup = config.models.setup(state_dir)?;
    for agent in config.agents.iter_mut().filter(|agent| agent.value.protocol == Protocol::Builtin) {
        agent.value.builtin = Some(setup.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_and_not_written() {
        for (api_key, variable) in [
            (Some("${MY_KEY}"), Ok(Some("MY_KEY"))),
            (Some("${_k9}"), Ok(Some("_k9"))),
            (None, Ok(None)),
            (Some("secret-value-4711"), Err(())),
            (Some("$MY_KEY"), Err(())),
            (Some("${}"), Err(())),
            (Some("${9}"), Err(())),
            (Some("${MY KEY}"), Err(())),
            (Some("x${MY_KEY}"), Err(())),
            (Some(""), Err(())),
        ] {
            let provider = Provider {
                style: "openai".into(),
                base_url: "https://host".into(),
                api_key: api_key.map(str::to_owned),
                allow_http: false,
            };
            match (provider.check("p"), variable) {
                (Ok(()), Ok(variable)) => assert_eq!(provider.variable(), variable),
                (Err(what), Err(())) => assert!(!what.contains("4711") && what.contains("${MY_KEY}"), "{what}"),
                (result, _) => panic!("{api_key:?}: {result:?}"),
            }
        }
    }
}
