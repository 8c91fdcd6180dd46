//! Where a container connected, as text.

use decklog_query::network::{Network, Place};

use super::table::{Column, table};
use super::{Paint, counted, size, visible};

/// One line for each place, under the call that reached for it.
pub(crate) fn under_call(network: &Network, paint: Paint) -> String {
    network.places.iter().filter(|place| !is_answered_question(place)).map(|place| line(place, paint)).collect()
}

fn line(place: &Place, paint: Paint) -> String {
    let times = if place.connections > 1 { format!(" ×{}", place.connections) } else { String::new() };
    let claimed = place.claimed.as_deref().map(|name| format!(", claimed to be {}", visible(name))).unwrap_or_default();
    let whom = format!("{}:{} {}{claimed}{times}", visible(&place.host), place.port, spoken(place));
    if place.action == "allow" {
        let bytes = format!("{} out, {} in", size(place.bytes_out), size(place.bytes_in));
        paint.dim(&format!("    ⇄ {whom} · {bytes}")) + "\n"
    } else {
        paint.warn(&format!("    ⊘ {whom} · refused ({})", visible(&place.rule))) + "\n"
    }
}

/// A question that was answered is told by the connection it was for.
fn is_answered_question(place: &Place) -> bool {
    place.protocol == "dns" && place.action == "allow"
}

fn spoken(place: &Place) -> String {
    if place.service == "-" { visible(&place.protocol).into_owned() } else { visible(&place.service).into_owned() }
}

/// One line on all of it; nothing when there is nothing.
pub(crate) fn totals(network: &Network, paint: Paint) -> String {
    let real = || network.places.iter().filter(|place| !is_answered_question(place));
    let mut hosts: Vec<&str> =
        real().filter(|place| place.action == "allow").map(|place| place.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let allowed: u64 = real().filter(|place| place.action == "allow").map(|place| place.connections).sum();
    let mut refused: Vec<String> =
        real().filter(|place| place.action != "allow").map(|place| visible(&place.host).into_owned()).collect();
    refused.sort_unstable();
    refused.dedup();
    if allowed == 0 && refused.is_empty() {
        return String::new();
    }
    let mut text = format!("network: {} to {}", counted(allowed, "connection"), counted(hosts.len() as u64, "host"));
    if !refused.is_empty() {
        let more = if refused.len() > 5 { format!(" and {} more", refused.len() - 5) } else { String::new() };
        refused.truncate(5);
        text.push_str(&format!("; {} {}{more}", paint.warn("refused:"), refused.join(", ")));
    }
    text + "\n"
}

/// The table of `network`.
pub(crate) fn by_host(network: &Network, all: bool, width: Option<usize>, paint: Paint) -> String {
    let columns = [
        Column { title: "HOST", priority: 0 },
        Column { title: "PORT", priority: 1 },
        Column { title: "SERVICE", priority: 3 },
        Column { title: "ACTION", priority: 0 },
        Column { title: "COUNT", priority: 2 },
        Column { title: "OUT", priority: 4 },
        Column { title: "IN", priority: 4 },
        Column { title: "RULE", priority: 5 },
    ];
    let shown = network.places.iter().filter(|place| all || !is_answered_question(place));
    let rows: Vec<Vec<String>> = shown
        .map(|place| {
            let claimed = place.claimed.as_ref().map(|name| format!(" (claimed {name})")).unwrap_or_default();
            vec![
                place.host.clone(),
                place.port.to_string(),
                spoken(place),
                place.action.clone(),
                place.connections.to_string(),
                size(place.bytes_out),
                size(place.bytes_in),
                format!("{}{claimed}", place.rule),
            ]
        })
        .collect();
    table(&columns, rows, width, paint, |at, whole, cell| match (at, whole) {
        (3, "allow") => paint.good(&cell),
        (3, _) => paint.warn(&cell),
        _ => cell,
    })
}
