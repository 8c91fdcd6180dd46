//! Where a container connected, in words.
//!
//! Must not know: the terminal, HTML.

use decklog_text::format::size;
use decklog_text::visible;

use crate::network::Place;

/// One line on what was reached for, with nothing in it that acts on a terminal.
#[must_use]
pub fn told(place: &Place) -> String {
    let times = if place.connections > 1 { format!(" ×{}", place.connections) } else { String::new() };
    let claimed = place.claimed.as_deref().map(|name| format!(", claimed to be {}", visible(name))).unwrap_or_default();
    let whom = format!("{}:{} {}{claimed}{times}", visible(&place.host), place.port, spoken(place));
    if place.action == "allow" {
        let bytes = format!("{} out, {} in", size(place.bytes_out), size(place.bytes_in));
        format!("⇄ {whom} · {bytes}")
    } else {
        format!("⊘ {whom} · refused ({})", visible(&place.rule))
    }
}

/// Whether it is listed: a question that was answered is told by the connection it was for.
#[must_use]
pub fn listed(place: &Place) -> bool {
    place.protocol != "dns" || place.action != "allow"
}

fn spoken(place: &Place) -> String {
    if place.service == "-" { visible(&place.protocol).into_owned() } else { visible(&place.service).into_owned() }
}

/// The titles of the table of places.
pub const TITLES: [&str; 8] = ["HOST", "PORT", "SERVICE", "ACTION", "COUNT", "OUT", "IN", "RULE"];

/// A row of that table.
#[must_use]
pub fn row(place: &Place) -> [String; TITLES.len()] {
    let claimed = place.claimed.as_ref().map(|name| format!(" (claimed {name})")).unwrap_or_default();
    [
        place.host.clone(),
        place.port.to_string(),
        spoken(place),
        place.action.clone(),
        place.connections.to_string(),
        size(place.bytes_out),
        size(place.bytes_in),
        format!("{}{claimed}", place.rule),
    ]
}
