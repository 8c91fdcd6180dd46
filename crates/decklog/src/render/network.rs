//! Where a container connected, as text.

use decklog_query::network::{Network, Place};
use decklog_query::show::network::{TITLES, listed, row, told};
use decklog_text::format::counted;
use decklog_text::visible;

use super::Paint;
use super::table::{Column, table};

/// One line for each place, under the call that reached for it.
pub(crate) fn under_call(network: &Network, paint: Paint) -> String {
    let line = |place: &Place| {
        let line = format!("    {}", told(place));
        (if place.action == "allow" { paint.dim(&line) } else { paint.warn(&line) }) + "\n"
    };
    network.places.iter().filter(|place| listed(place)).map(line).collect()
}

/// One line on all of it; nothing when there is nothing.
pub(crate) fn totals(network: &Network, paint: Paint) -> String {
    let real = || network.places.iter().filter(|place| listed(place));
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

/// The columns of the table of `network`. Those with a lower number stay longer on a narrow terminal.
pub(crate) const COLUMNS: [Column; 8] = [
    Column { title: TITLES[0], priority: 0 },
    Column { title: TITLES[1], priority: 1 },
    Column { title: TITLES[2], priority: 3 },
    Column { title: TITLES[3], priority: 0 },
    Column { title: TITLES[4], priority: 2 },
    Column { title: TITLES[5], priority: 4 },
    Column { title: TITLES[6], priority: 4 },
    Column { title: TITLES[7], priority: 5 },
];

/// The table of `network`.
pub(crate) fn by_host(network: &Network, all: bool, width: Option<usize>, paint: Paint) -> String {
    let shown = network.places.iter().filter(|place| all || listed(place));
    let rows: Vec<Vec<String>> = shown.map(|place| row(place).to_vec()).collect();
    table(&COLUMNS, rows, width, paint, |at, whole, cell| match (at, whole) {
        (3, "allow") => paint.good(&cell),
        (3, _) => paint.warn(&cell),
        _ => cell,
    })
}
