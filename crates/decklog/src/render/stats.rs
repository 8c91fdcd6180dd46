//! Statistics as text: a summary, a bar chart over time, tables of groups, CSV.
//!
//! Must not know: how they were counted.

use decklog_query::stats::{Average, By, Group, Stats, periods};
use decklog_text::format::{cost, cut, duration, thousands};
use decklog_text::visible;
use jiff::civil::Date;
use unicode_width::UnicodeWidthStr;

use super::Paint;
use super::table::{Column, table};

/// Columns of characters a chart takes when nobody says how many there are.
const WIDTH: usize = 80;
/// Groups that an overview names.
const TOP: usize = 10;
/// Bars of a chart; with more, a longer period makes one.
const BARS: usize = 31;

/// Everything for people: an overview, or the groups that were asked for.
pub(crate) fn text(
    stats: &Stats,
    by: Option<By>,
    days: Option<(Date, Date)>,
    width: Option<usize>,
    paint: Paint,
) -> String {
    let mut text = summary(&stats.all, paint);
    let groups = |by: By| stats.by.get(by.as_str()).map(Vec::as_slice).unwrap_or_default();
    let over_time = |by: By| days.map(|(first, last)| chart(by, groups(by), &periods(by, first, last), width, paint));
    match by {
        Some(by @ (By::Day | By::Week | By::Month)) => {
            text.extend(over_time(by));
            text.push_str(&table_of(by, groups(by), usize::MAX, width, paint));
        }
        Some(by) => text.push_str(&table_of(by, groups(by), usize::MAX, width, paint)),
        None => {
            let fits = |by: &By| days.is_none_or(|(first, last)| periods(*by, first, last).len() <= BARS);
            text.extend(over_time([By::Day, By::Week].into_iter().find(fits).unwrap_or(By::Month)));
            for by in [By::Agent, By::Model, By::Pair, By::Project] {
                text.push_str(&table_of(by, groups(by), TOP, width, paint));
            }
        }
    }
    text
}

fn summary(all: &Group, paint: Paint) -> String {
    let mut text = format!("{} {}", paint.dim(&format!("{:<13}", "sessions")), thousands(all.sessions));
    for (count, word) in [
        (all.completed, "completed"),
        (all.active, "running"),
        (all.checkpointed, "checkpointed"),
        (all.crashed, "crashed"),
    ] {
        if count > 0 {
            text.push_str(&format!(" · {} {word}", thousands(count)));
        }
    }
    text.push('\n');
    if all.completed > 0 {
        let rate = all.success_rate.map_or_else(|| "unknown".to_owned(), percent);
        text.push_str(&format!("{} {rate}", paint.dim(&format!("{:<13}", "success rate"))));
        for (count, word) in [
            (all.success, "success"),
            (all.failed, "failed"),
            (all.interrupted, "interrupted"),
            (all.max_iterations_reached, "max_iterations_reached"),
            (all.unknown, "unknown"),
        ] {
            if count > 0 {
                text.push_str(&format!(" · {} {word}", thousands(count)));
            }
        }
        text.push('\n');
    }
    let mut row = |name: &str, average: Option<Average>, show: &dyn Fn(f64) -> String, total: Option<String>| {
        let Some(Average { mean, median }) = average else { return };
        let total = total.map(|total| format!(" · {total} in all")).unwrap_or_default();
        let name = paint.dim(&format!("{name:<13}"));
        text.push_str(&format!("{name} {} on average, {} median{total}\n", show(mean), show(median)));
    };
    row("turns", all.turns, &decimal, None);
    row("iterations", all.iterations, &decimal, None);
    row("to success", all.iterations_to_success, &decimal, None);
    row("duration", all.duration_secs, &duration, None);
    row("tokens", all.tokens, &whole, Some(thousands(tokens(all))));
    row("cost", all.cost_usd, &cost, Some(cost(all.cost_usd_total)));
    if let Some(rate) = all.critic_agreement {
        let name = paint.dim(&format!("{:<13}", "agreement"));
        text.push_str(&format!("{name} {} of the iterations that critic and checks judged\n", percent(rate)));
    }
    text
}

fn chart(by: By, groups: &[Group], periods: &[String], width: Option<usize>, paint: Paint) -> String {
    let count = |period: &String| groups.iter().find(|group| group.key == *period).map_or(0, |group| group.sessions);
    let Some(most) = periods.iter().map(count).max().filter(|most| *most > 0) else { return String::new() };
    let label = periods.iter().map(String::len).max().unwrap_or_default();
    let number = thousands(most).len();
    let room = width.unwrap_or(WIDTH).saturating_sub(label + number + 3).clamp(8, WIDTH) as u64;
    let mut text = format!("\n{}\n", paint.bold(&format!("sessions by {}", by.as_str())));
    for period in periods {
        let count = count(period);
        // Eighths of a column; one session is seen, however many there are elsewhere.
        let eighths = if count == 0 { 0 } else { (count * room * 8 / most).max(1) };
        let mut bar = "█".repeat(usize::try_from(eighths / 8).unwrap_or_default());
        bar.extend([' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8) as usize).filter(|c| **c != ' '));
        let line = format!("{period:<label$}  {:>number$} {}", thousands(count), paint.accent(&bar));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn table_of(by: By, groups: &[Group], limit: usize, width: Option<usize>, paint: Paint) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let is_pair = by == By::Pair;
    let mut columns = vec![
        Column { title: "SESSIONS", priority: 0 },
        Column { title: "SUCCESS", priority: 1 },
        Column { title: if is_pair { "ITERATIONS" } else { "TURNS" }, priority: 5 },
        Column { title: "DURATION", priority: 3 },
        Column { title: "TOKENS", priority: 4 },
        Column { title: "COST", priority: 2 },
        Column { title: "UNFINISHED", priority: 6 },
        Column { title: "NAME", priority: 0 },
    ];
    let longest = groups.iter().take(limit).map(|group| thousands(group.sessions).width()).max().unwrap_or_default();
    let rows = groups.iter().take(limit).map(|group| {
        let unfinished = group.active + group.checkpointed + group.crashed;
        vec![
            format!("{:>longest$}", thousands(group.sessions)),
            group.success_rate.map(percent).unwrap_or_default(),
            if is_pair { group.iterations_to_success } else { group.turns }
                .map(|count| decimal(count.mean))
                .unwrap_or_default(),
            group.duration_secs.map(|took| duration(took.median)).unwrap_or_default(),
            thousands(tokens(group)),
            // Nothing, where no agent told what it cost.
            if group.cost_usd.is_some() || group.cost_usd_total > 0.0 {
                cost(group.cost_usd_total)
            } else {
                String::new()
            },
            if unfinished > 0 { thousands(unfinished) } else { String::new() },
            cut(&visible(&group.key), 60),
        ]
    });
    let mut rows: Vec<Vec<String>> = rows.collect();
    if is_pair {
        columns.insert(2, Column { title: "AGREEMENT", priority: 2 });
        for (row, group) in rows.iter_mut().zip(groups) {
            row.insert(2, group.critic_agreement.map(percent).unwrap_or_default());
        }
    }
    let mut text = format!("\n{}\n", paint.bold(&format!("by {}", by.as_str())));
    text.push_str(&table(&columns, rows, width, paint, |_, _, cell| cell));
    if groups.len() > limit {
        text.push_str(&paint.dim(&format!("… {} more: --by {}\n", groups.len() - limit, by.as_str())));
    }
    text
}

/// Groups as comma-separated values (RFC 4180).
pub(crate) fn csv(groups: &[Group]) -> String {
    let mut text =
        "key,sessions,completed,active,checkpointed,crashed,success,failed,interrupted,max_iterations_reached,\
        success_rate,turns_mean,turns_median,iterations_mean,iterations_median,duration_secs_mean,duration_secs_median,\
        tokens_mean,tokens_median,cost_usd_mean,cost_usd_median,tokens_input,tokens_cached_input,tokens_output,\
        tokens_reasoning,cost_usd_total,iterations_to_success_mean,iterations_to_success_median,critic_agreement,unknown\n"
            .to_owned();
    for group in groups {
        let mut cells = vec![quoted(&group.key)];
        let counts = [
            group.sessions,
            group.completed,
            group.active,
            group.checkpointed,
            group.crashed,
            group.success,
            group.failed,
            group.interrupted,
            group.max_iterations_reached,
        ];
        cells.extend(counts.map(|count| count.to_string()));
        cells.push(group.success_rate.map(|rate| rate.to_string()).unwrap_or_default());
        for average in [group.turns, group.iterations, group.duration_secs, group.tokens, group.cost_usd] {
            cells.push(average.map(|average| average.mean.to_string()).unwrap_or_default());
            cells.push(average.map(|average| average.median.to_string()).unwrap_or_default());
        }
        let tokens = group.tokens_total;
        cells.extend(
            [tokens.input, tokens.cached_input, tokens.output, tokens.reasoning].map(|count| count.to_string()),
        );
        cells.push(group.cost_usd_total.to_string());
        cells.push(group.iterations_to_success.map(|it| it.mean.to_string()).unwrap_or_default());
        cells.push(group.iterations_to_success.map(|it| it.median.to_string()).unwrap_or_default());
        cells.push(group.critic_agreement.map(|rate| rate.to_string()).unwrap_or_default());
        cells.push(group.unknown.to_string());
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A text cell. A spreadsheet must not take a name for a formula.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn tokens(group: &Group) -> u64 {
    group.tokens_total.input.saturating_add(group.tokens_total.output)
}

fn percent(rate: f64) -> String {
    format!("{:.0} %", rate * 100.0)
}

fn decimal(number: f64) -> String {
    format!("{number:.1}")
}

fn whole(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; counts are not negative")]
    let number = number.round() as u64;
    thousands(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_cells_are_quoted_and_are_no_formulas() {
        for (text, cell) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(quoted(text), cell);
        }
    }
}
