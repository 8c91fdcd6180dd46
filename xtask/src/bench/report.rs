//! Rows of numbers, as a table and as `docs/bench.md`.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{Result, root};

use super::measure::Bench;

/// One number against its goal.
pub(crate) struct Row {
    what: String,
    ours: String,
    yardstick: String,
    ratio: String,
    goal: String,
    met: bool,
}

impl Row {
    /// Our time must be at most `limit` times the yardstick's.
    pub(crate) fn times(what: impl Into<String>, ours: Duration, yardstick: (&str, Duration), limit: f64) -> Self {
        let ratio = ours.as_secs_f64() / yardstick.1.as_secs_f64();
        Self {
            what: what.into(),
            ours: duration(ours),
            yardstick: format!("{}: {}", yardstick.0, duration(yardstick.1)),
            ratio: format!("{ratio:.2} ×"),
            goal: format!("≤ {limit} ×"),
            met: ratio <= limit,
        }
    }

    /// Our time must be at most `limit` longer than the yardstick's.
    pub(crate) fn more(what: impl Into<String>, ours: Duration, yardstick: (&str, Duration), limit: Duration) -> Self {
        let more = ours.saturating_sub(yardstick.1);
        Self {
            what: what.into(),
            ours: duration(ours),
            yardstick: format!("{}: {}", yardstick.0, duration(yardstick.1)),
            ratio: format!("{} more", duration(more)),
            goal: format!("≤ {} more", duration(limit)),
            met: more <= limit,
        }
    }

    /// Our time must be at most `limit`; the yardstick is there to compare.
    pub(crate) fn within(
        what: impl Into<String>,
        ours: Duration,
        yardstick: Option<(&str, Duration)>,
        limit: Duration,
    ) -> Self {
        let ratio = yardstick.map(|(_, time)| format!("{:.2} ×", ours.as_secs_f64() / time.as_secs_f64()));
        Self {
            what: what.into(),
            ours: duration(ours),
            yardstick: yardstick.map_or_else(|| "–".into(), |(name, time)| format!("{name}: {}", duration(time))),
            ratio: ratio.unwrap_or_else(|| "–".into()),
            goal: format!("≤ {}", duration(limit)),
            met: ours <= limit,
        }
    }

    /// Our memory must be at most `limit` MiB.
    pub(crate) fn memory(what: impl Into<String>, bytes: u64, limit: u64) -> Self {
        let tenths = bytes * 10 / (1024 * 1024);
        Self {
            what: what.into(),
            ours: format!("{}.{} MiB", tenths / 10, tenths % 10),
            yardstick: "–".into(),
            ratio: "–".into(),
            goal: format!("≤ {limit} MiB"),
            met: bytes <= limit * 1024 * 1024,
        }
    }

    /// Our bytes must be at most `limit` kilobytes.
    pub(crate) fn bytes(what: impl Into<String>, bytes: u64, limit: u64) -> Self {
        let goal = format!("≤ {limit} kB");
        let ours = format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100);
        Self { ours, goal, met: bytes <= limit * 1000, ..Self::told(what, Duration::ZERO) }
    }

    /// So many bytes in our time must be at least `least` megabytes a second.
    pub(crate) fn rate(
        what: impl Into<String>,
        bytes: u64,
        ours: Duration,
        yardstick: (&str, Duration),
        least: f64,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = bytes as f64 / 1e6 / ours.as_secs_f64();
        Self {
            what: what.into(),
            ours: format!("{} ({} MB)", duration(ours), bytes / 1_000_000),
            yardstick: format!("{}: {}", yardstick.0, duration(yardstick.1)),
            ratio: format!("{rate:.1} MB/s"),
            goal: format!("≥ {least} MB/s"),
            met: rate >= least,
        }
    }

    /// Our bytes must be at most the part `most` of `whole`.
    pub(crate) fn share(what: impl Into<String>, bytes: u64, whole: u64, most: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = bytes as f64 / whole as f64;
        Self {
            what: what.into(),
            ours: format!("{} MB", bytes / 1_000_000),
            yardstick: format!("the journals: {} MB", whole / 1_000_000),
            ratio: format!("{share:.2} ×"),
            goal: format!("≤ {most} ×"),
            met: share <= most,
        }
    }

    /// A time without a goal, beside a yardstick's.
    pub(crate) fn beside(what: impl Into<String>, ours: Duration, yardstick: (&str, Duration)) -> Self {
        Self { goal: "–".into(), met: true, ..Self::more(what, ours, yardstick, Duration::MAX) }
    }

    /// A time without a goal, worth knowing.
    pub(crate) fn told(what: impl Into<String>, ours: Duration) -> Self {
        let none = || "–".to_owned();
        Self { what: what.into(), ours: duration(ours), yardstick: none(), ratio: none(), goal: none(), met: true }
    }

    fn cells(&self) -> [&str; 6] {
        let met = if self.met { "yes" } else { "**no**" };
        [&self.what, &self.ours, &self.yardstick, &self.ratio, &self.goal, met]
    }
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 { format!("{seconds:.2} s") } else { format!("{:.1} ms", seconds * 1000.0) }
}

/// A table that reads well as text and as markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["what", "ours", "yardstick", "compared", "goal", "met"];
    let all: Vec<[&str; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 6] =
        std::array::from_fn(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (number, row) in all.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in widths {
                let _ = write!(text, "| {} ", "-".repeat(width));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Writes `docs/bench.md`.
pub(crate) fn write(rows: &[Row], bench: &Bench) -> Result<()> {
    let missed = rows.iter().filter(|row| !row.met).count();
    let verdict = match missed {
        0 => "Every goal is met.".to_owned(),
        1 => "One goal is missed.".to_owned(),
        _ => format!("{missed} goals are missed."),
    };
    let page = format!(
        "# Numbers\n\n\
         decklog against its yardsticks, as `cargo xtask bench` measured both in one run: medians, warm caches, the\n\
         `dist` profile. {verdict}\n\n{}\n\
         ## The machine\n\n{}",
        table(rows),
        machine(&bench.repository()),
    );
    std::fs::write(root().join("docs/bench.md"), page)?;
    println!("wrote docs/bench.md");
    Ok(())
}

/// What the numbers depend on.
fn machine(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo").lines().find_map(|line| {
        let kilobytes: u64 = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(format!("{} GiB", (kilobytes + 512 * 1024) / (1024 * 1024)))
    });
    let facts = [
        ("cores", cores.to_string()),
        ("memory", memory.unwrap_or_default()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("file system", said(Command::new("stat").args(["-f", "-c", "%T"]).arg(dir))),
        ("compiler", said(Command::new("rustc").arg("--version"))),
        ("git", said(Command::new("git").arg("--version"))),
        ("date", jiff::Zoned::now().date().to_string()),
    ];
    facts
        .iter()
        .fold("| | |\n| --- | --- |\n".to_owned(), |text, (name, value)| text + &format!("| {name} | {value} |\n"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
