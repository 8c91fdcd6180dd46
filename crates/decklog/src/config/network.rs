//! `[network]` of a configuration file: what stands between a container and the network.
//!
//! An untrusted repository may raise the mode, deny by default, and deny more; never the other way round.

use std::net::{IpAddr, SocketAddr};

use decklog_sandbox::network::{Action, Mode, Policy, Rule};
use serde::Deserialize;
use toml::Spanned;

use super::{Config, Layer, Set};
use crate::error::CliError;

/// `[network]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct NetworkTable {
    mode: Option<Spanned<String>>,
    default: Option<Spanned<String>>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    #[serde(default)]
    deny: Vec<Spanned<String>>,
    dns: Option<Spanned<Vec<String>>>,
}

/// How much of it is between a container and the network, the loosest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum NetworkMode {
    /// Podman's own network; nothing is recorded
    #[default]
    Default,
    /// Every connection is recorded
    Audit,
    /// Every connection is recorded, and only what the rules allow goes through
    Filter,
}

impl NetworkMode {
    const NAMES: [(&str, Self); 3] = [("default", Self::Default), ("audit", Self::Audit), ("filter", Self::Filter)];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) mode: Option<Set<NetworkMode>>,
    /// The one that the user has set, or a repository that is trusted.
    pub(crate) users_mode: Option<NetworkMode>,
    pub(crate) default: Option<Set<Action>>,
    pub(crate) allow: Vec<Set<Rule>>,
    pub(crate) deny: Vec<Set<Rule>>,
    pub(crate) dns: Option<Set<Vec<SocketAddr>>>,
}

impl Network {
    /// What agents that run in a container are kept to when nobody says otherwise: the way to their models. A repository
    /// that is not trusted may only tighten it.
    pub(crate) fn of_boxed_agents(&self) -> NetworkMode {
        let anybodys = self.mode.as_ref().map(|set| set.value).unwrap_or_default();
        self.users_mode.unwrap_or(NetworkMode::Filter).max(anybodys)
    }

    /// What is to be kept to, if `flag` says nothing else; `None`: podman's own network.
    pub(crate) fn policy(&self, flag: Option<NetworkMode>) -> Option<Policy> {
        let mode = flag.or(self.mode.as_ref().map(|set| set.value)).unwrap_or_default();
        let (mode, usual) = match mode {
            NetworkMode::Default => return None,
            NetworkMode::Audit => (Mode::Audit, Action::Allow),
            NetworkMode::Filter => (Mode::Filter, Action::Deny),
        };
        Some(Policy {
            mode,
            default: self.default.as_ref().map_or(usual, |set| set.value),
            allow: self.allow.iter().map(|set| set.value.clone()).collect(),
            deny: self.deny.iter().map(|set| set.value.clone()).collect(),
            resolvers: self.dns.as_ref().map(|set| set.value.clone()).unwrap_or_default(),
        })
    }
}

/// Lays a file's table over what came before.
pub(super) fn apply(layer: &Layer<'_>, table: NetworkTable, config: &mut Config) -> Result<(), CliError> {
    if let Some(mode) = table.mode {
        let span = mode.span();
        let named = NetworkMode::NAMES.iter().find(|(name, _)| name == mode.get_ref());
        let value = named.map(|(_, mode)| *mode).ok_or_else(|| {
            layer.bad(&span, &format!("mode {:?} is none of: default, audit, filter", mode.get_ref()))
        })?;
        let lowers = config.network.mode.as_ref().is_some_and(|known| value < known.value);
        if !(lowers && layer.refuses(config, &span, "this network mode is lower than yours")) {
            config.network.mode = Some(layer.set(&span, value));
            if layer.inside.is_none() {
                config.network.users_mode = Some(value);
            }
        }
    }
    if let Some(default) = table.default {
        let span = default.span();
        let value = match default.get_ref().as_str() {
            "allow" => Action::Allow,
            "deny" => Action::Deny,
            other => return Err(layer.bad(&span, &format!("default {other:?} is none of: allow, deny"))),
        };
        // Without a word from the user a filter denies: to allow is to widen, whatever the mode will be.
        if !(value == Action::Allow && layer.refuses(config, &span, "default = \"allow\" widens the network")) {
            config.network.default = Some(layer.set(&span, value));
        }
    }
    for (rules, allows) in [(table.allow, true), (table.deny, false)] {
        for rule in rules {
            let span = rule.span();
            let value: Rule =
                rule.get_ref().parse().map_err(|error| layer.bad(&span, &format!("{}: {error}", rule.get_ref())))?;
            let what = format!("allow = {:?} widens the network", rule.get_ref());
            if allows && layer.refuses(config, &span, &what) {
                continue;
            }
            let set = layer.set(&span, value);
            if allows { config.network.allow.push(set) } else { config.network.deny.push(set) }
        }
    }
    if let Some(dns) = table.dns {
        let span = dns.span();
        let server = |text: &String| {
            let whole = text.parse::<SocketAddr>().ok();
            let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
            whole.or_else(alone).ok_or_else(|| layer.bad(&span, &format!("dns = [{text:?}] names no address")))
        };
        let servers: Vec<SocketAddr> = dns.get_ref().iter().map(server).collect::<Result<_, _>>()?;
        if !layer.refuses(config, &span, "dns decides who learns what is looked up") {
            config.network.dns = Some(layer.set(&span, servers));
        }
    }
    Ok(())
}
