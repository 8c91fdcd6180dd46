//! `config`: the configuration in force, and where each value came from.

use decklog_sandbox::image::Source;
use decklog_sandbox::network::Action;
use serde_json::{Map, Value, json};

use crate::cli::Json;
use crate::config::Set;
use crate::context::Context;
use crate::error::CliResult;
use crate::render::table::{Column, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) json: Json,
}

pub(crate) fn run(_: &Args, context: &Context) -> CliResult {
    let config = context.config()?;
    let mut rows: Vec<(String, Value, String)> = Vec::new();
    let mut add = |name: &str, value: Value, from: &str| rows.push((name.to_owned(), value, from.to_owned()));
    add("session-root", json!(config.session_root.value), &config.session_root.from);
    match &config.default_agent {
        Some(Set { value, from }) => add("default-agent", json!(value), from),
        None => add("default-agent", Value::Null, "default: the first installed one"),
    }
    add("then", json!(config.then.value), &config.then.from);
    add("permissions", json!(config.permissions.value), &config.permissions.from);
    let durability = format!("{:?}", config.durability.value).to_lowercase();
    add("durability", json!(durability), &config.durability.from);
    for (name, limit) in [("timeout", &config.timeout), ("stall-timeout", &config.stall_timeout)] {
        match limit {
            Some(Set { value, from }) => add(name, json!(format!("{}s", value.as_secs())), from),
            None => add(name, Value::Null, "default: none"),
        }
    }
    add("checks", json!(config.checks.value), &config.checks.from);
    if let Some(Set { value, from }) = &config.race_setup {
        add("race.setup", json!(value), from);
    }
    if let Some(Set { value, from }) = &config.default_image {
        add("default-image", json!(value), from);
    }
    let network = &config.network;
    if let Some(Set { value, from }) = &network.mode {
        add("network.mode", json!(value.name()), from);
    }
    if let Some(Set { value, from }) = &network.default {
        add("network.default", json!(if *value == Action::Allow { "allow" } else { "deny" }), from);
    }
    for (name, rules) in [("network.allow", &network.allow), ("network.deny", &network.deny)] {
        if let Some(last) = rules.last() {
            let texts: Vec<_> = rules.iter().map(|rule| rule.value.to_string()).collect();
            add(name, json!(texts), &last.from);
        }
    }
    if let Some(Set { value, from }) = &network.dns {
        add("network.dns", json!(value), from);
    }
    for Set { value, from } in &config.images {
        let servers: Vec<_> = value.servers.iter().map(|server| server.name.as_str()).collect();
        let source = match &value.source {
            Source::Build { dockerfile, .. } => json!({ "dockerfile": dockerfile, "mcp": servers }),
            Source::Ready(reference) => json!({ "image": reference, "mcp": servers }),
        };
        add(&format!("images.{}", value.name), source, from);
    }
    for agent in config.agents.iter().filter(|agent| agent.from != "default") {
        let command: Vec<_> = agent.value.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        add(&format!("agents.{}", agent.value.name), json!(command), &agent.from);
    }
    for (name, Set { value, from }) in &config.models.providers {
        let key = value.variable().map(|name| format!(", key in {name}")).unwrap_or_default();
        add(&format!("providers.{name}"), json!(format!("{}, {}{key}", value.style, value.base_url)), from);
    }
    for (name, Set { value, from }) in &config.models.models {
        add(&format!("models.{name}"), json!(format!("{} of {}", value.model, value.provider)), from);
    }
    if let Some(Set { value, from }) = &config.models.default {
        add("default-model", json!(value), from);
    }
    if context.json {
        let values: Map<String, Value> =
            rows.into_iter().map(|(name, value, from)| (name, json!({ "value": value, "from": from }))).collect();
        context.print_json(&json!({ "values": values, "refused": config.refused }))?;
        return Ok(0);
    }
    let columns = [
        Column { title: "NAME", priority: 0 },
        Column { title: "VALUE", priority: 0 },
        Column { title: "FROM", priority: 0 },
    ];
    let cells: Vec<_> = rows.into_iter().map(|(name, value, from)| vec![name, shown(&value), from]).collect();
    context.print(table(&columns, cells, context.width(), context.out_paint, |_, _, cell| cell))?;
    Ok(0)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
