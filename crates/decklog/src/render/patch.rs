//! A patch on a terminal: coloured by line, with everything hostile in it made visible.

use super::{Paint, visible};

/// Renders `patch` for a terminal.
pub(crate) fn patch(patch: &[u8], paint: Paint) -> String {
    let text = String::from_utf8_lossy(patch);
    let mut shown = String::with_capacity(text.len() + text.len() / 4);
    let mut in_hunk = false;
    for line in text.split_inclusive('\n') {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let clean = line.split('\t').map(|part| visible(part).into_owned()).collect::<Vec<_>>().join("\t");
        if line.starts_with("diff --git ") {
            in_hunk = false;
        } else if line.starts_with("@@") {
            in_hunk = true;
        }
        let styled = match line.as_bytes().first() {
            _ if line.starts_with("@@") => paint.accent(&clean),
            Some(b'+') if in_hunk => paint.good(&clean),
            Some(b'-') if in_hunk => paint.bad(&clean),
            _ if !in_hunk => paint.bold(&clean),
            _ => clean,
        };
        shown.push_str(&styled);
        shown.push('\n');
    }
    shown
}
