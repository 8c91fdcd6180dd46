//! A session's container and where it connected.

use decklog_query::network::{Network, Place};
use decklog_query::show::network::{TITLES, listed, row, told};
use decklog_text::format::{counted, cut};

use super::render::Page;
use crate::html::escape;

/// Places that are listed under one call, and in the table.
const UNDER_CALL: usize = 50;
const IN_TABLE: usize = 1000;
/// Columns of one cell: what strangers say has no end of itself.
const CELL: usize = 200;

/// The image, the container, and what stands between it and the network.
pub(super) fn facts(page: &Page<'_>, facts: &mut Vec<(&'static str, String)>) {
    let head = &page.session.head;
    if let Some(image) = &head.image_config_name {
        let tag = head.image_tag.as_deref().unwrap_or_default();
        facts.push(("image", format!("<code>{}</code> <small>{}</small>", escape(image), escape(tag))));
    }
    if let Some(name) = &head.container_name {
        // One that was gone on with may have had another network before.
        let mut modes: Vec<&str> = page.session.containers.iter().map(|one| one.network.as_str()).collect();
        modes.dedup();
        let modes = escape(&modes.join(", then "));
        facts.push(("container", format!("<code>{}</code> <small>network {modes}</small>", escape(name))));
    }
}

/// The table of `decklog network`; nothing when nothing is recorded.
pub(super) fn section(page: &Page<'_>, out: &mut String) {
    let network = match &page.network {
        Ok((network, _)) => network,
        Err(error) => {
            return out.push_str(&format!("<p class=\"notice bad\">network: {}</p>\n", escape(error)));
        }
    };
    let shown: Vec<&Place> = network.places.iter().filter(|place| listed(place)).collect();
    if !shown.is_empty() {
        let refused = match refusals(&shown) {
            0 => String::new(),
            count => format!(" <small class=warn>· {}</small>", counted(count, "refusal")),
        };
        let titles: String = TITLES.iter().map(|title| format!("<th>{}", title.to_lowercase())).collect();
        out.push_str(&format!(
            "<section id=network>\n<h2>Network{refused}</h2>\n<div class=scroll tabindex=0>\
             <table class=network>\n<thead><tr>{titles}</thead>\n<tbody>\n"
        ));
        for place in shown.iter().take(IN_TABLE) {
            let class = if place.action == "allow" { "" } else { " class=refused" };
            let cells: String = row(place).iter().map(|cell| format!("<td>{}", escape(&cut(cell, CELL)))).collect();
            out.push_str(&format!("<tr{class}>{cells}\n"));
        }
        out.push_str("</tbody></table></div>\n");
        more(shown.len(), IN_TABLE, "p", out);
        out.push_str("</section>\n");
    }
    if network.unreadable > 0 {
        let lines = counted(network.unreadable, "line");
        out.push_str(&format!("<p class=\"notice warn\">network: {lines} of its record cannot be read</p>\n"));
    }
}

/// What a call reached for, as a list under it.
pub(super) fn under_call(network: &Network, out: &mut String) {
    let shown: Vec<&Place> = network.places.iter().filter(|place| listed(place)).collect();
    if shown.is_empty() {
        return;
    }
    out.push_str("<ul class=reached>\n");
    for place in shown.iter().take(UNDER_CALL) {
        let class = if place.action == "allow" { "quiet" } else { "warn" };
        out.push_str(&format!("<li class={class}>{}\n", escape(&cut(&told(place), 2 * CELL))));
    }
    more(shown.len(), UNDER_CALL, "li", out);
    out.push_str("</ul>\n");
}

fn more(there: usize, shown: usize, tag: &str, out: &mut String) {
    if there > shown {
        out.push_str(&format!("<{tag} class=quiet>… and {} more</{tag}>\n", there - shown));
    }
}

fn refusals(places: &[&Place]) -> u64 {
    places.iter().filter(|place| place.action != "allow").map(|place| place.connections).sum()
}
