//! Texts for agents: cut to a budget, and told apart.
//!
//! Must not know: what they say.

/// A part of a prompt under its title.
pub(super) fn section(title: &str, text: &str) -> String {
    format!("# {title}\n\n{}\n\n", text.trim_end())
}

/// A fence that nothing in the text closes.
pub(super) fn fenced(language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}", text.trim_end_matches('\n'))
}

/// Which part of a text matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Beginning,
    End,
}

/// At most `budget` bytes of `text`, and a line that says how much was left out.
pub(super) fn cut(text: &str, budget: usize, keep: Keep) -> String {
    if text.len() <= budget {
        return text.to_owned();
    }
    match keep {
        Keep::Beginning => {
            let end = text.floor_char_boundary(budget);
            // At a line's end, unless that would leave little.
            let end = text[..end].rfind('\n').filter(|line| *line >= end / 2).unwrap_or(end);
            format!("{}\n{}", &text[..end], left_out((text.len() - end) as u64))
        }
        Keep::End => {
            let from = text.ceil_char_boundary(text.len() - budget);
            let line = text[from..].find('\n').map(|line| from + line + 1);
            let from = line.filter(|line| text.len() - line >= (text.len() - from) / 2).unwrap_or(from);
            format!("{}\n{}", left_out(from as u64), &text[from..])
        }
    }
}

/// Says that so many bytes are not there.
pub(super) fn left_out(bytes: u64) -> String {
    format!("[… {bytes} bytes left out …]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_lines_and_characters_and_say_so() {
        let text = "erste Zeile\nzweite äöü\ndritte 漢字 Zeile\n💥💥💥\n".repeat(3);
        for budget in 0..=text.len() + 1 {
            for keep in [Keep::Beginning, Keep::End] {
                let cut = cut(&text, budget, keep);
                if budget >= text.len() {
                    assert_eq!(cut, text);
                    continue;
                }
                let mark = cut.lines().find(|line| line.starts_with("[…")).expect("it says so");
                let kept = match keep {
                    Keep::Beginning => cut.strip_suffix(mark).and_then(|kept| kept.strip_suffix('\n')),
                    Keep::End => cut.strip_prefix(mark).and_then(|kept| kept.strip_prefix('\n')),
                };
                let kept = kept.expect("the mark stands where it was cut");
                assert!(kept.len() <= budget, "{budget} {keep:?}: {kept:?}");
                let bytes: usize = mark.split(' ').nth(1).and_then(|bytes| bytes.parse().ok()).expect("a number");
                assert_eq!(bytes + kept.len(), text.len(), "{budget} {keep:?}: {cut:?}");
                assert!(if keep == Keep::Beginning { text.starts_with(kept) } else { text.ends_with(kept) });
            }
        }
    }
}
