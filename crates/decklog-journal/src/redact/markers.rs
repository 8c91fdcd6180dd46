//! Markers, `[redacted:NAME]`, and what must not be searched for because of them.
//!
//! What it must not know: how secrets are found.

use std::ops::Range;

/// The longest NAME in a marker.
pub(super) const MAX_NAME: usize = 64;

#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) marker: Vec<u8>,
}

impl Name {
    pub(super) fn new(name: &str) -> Name {
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }
        };
        let text: String = name.chars().map(safe).take(MAX_NAME).collect();
        let text = if text.is_empty() { "value".to_owned() } else { text };
        let marker = format!("[redacted:{text}]").into_bytes();
        Name { text, marker }
    }
}

/// Cuts a form so that it cannot overlap a marker, nor stand in one: else a second pass would find it
/// where the first has put something.
pub(super) fn clear_of_markers(mut form: Vec<u8>, names: &[Name]) -> Vec<u8> {
    while let Some(cut) = names.iter().find_map(|name| overlap(&form, &name.marker)) {
        form = form[cut].to_vec();
    }
    form
}

/// What is left of `form` without the part that could lie on `marker`.
fn overlap(form: &[u8], marker: &[u8]) -> Option<Range<usize>> {
    let find = memchr::memmem::find;
    if !form.is_empty() && (find(form, marker).is_some() || find(marker, form).is_some()) {
        return Some(0..0);
    }
    let sizes = || (1..=form.len().min(marker.len())).rev();
    if form.contains(&b']')
        && let Some(n) = sizes().find(|n| marker.ends_with(&form[..*n]))
    {
        return Some(n..form.len());
    }
    if form.contains(&b'[')
        && let Some(n) = sizes().find(|n| marker.starts_with(&form[form.len() - n..]))
    {
        return Some(0..form.len() - n);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere() {
        assert_eq!(Name::new("A_B.c-1").marker, b"[redacted:A_B.c-1]");
        assert_eq!(Name::new("a\"b]c\\é").text, "a_b_c__");
        assert_eq!(Name::new("").text, "value");
        assert_eq!(Name::new(&"x".repeat(100)).text.len(), MAX_NAME);
    }

    #[test]
    fn forms_keep_off_the_markers() {
        let names = [Name::new("KEY")];
        let clear = |form: &str| clear_of_markers(form.as_bytes().to_vec(), &names);
        for (form, left) in [
            ("hunter2hunter2", "hunter2hunter2"),
            ("hunter2[", "hunter2"),
            ("hunter2[redac", "hunter2"),
            ("hunter2[redux", "hunter2[redux"),
            ("]hunter2", "hunter2"),
            ("EY]hunter2[", "hunter2"),
            ("X]hunter2", "X]hunter2"),
            ("redacted", ""),
            ("a[redacted:KEY]b", ""),
            ("redacted[", ""),
        ] {
            assert_eq!(clear(form), left.as_bytes(), "{form}");
        }
    }
}
