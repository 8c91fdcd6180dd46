//! The edges of a match: left boundaries that see through escapes, and ends that split none.
//!
//! What it must not know: rules and values. It looks at bytes only.

/// Whether a token may begin after `left`: not in the middle of a word, nor of a run of `charset`.
///
/// An `=` is a boundary even where it pads base64: `KEY=token` is what logs are full of. And the last byte of an escape is no word: `\n` and `\u001b` of JSON, `%3D` of a URL, and the `m` that
/// ends a terminal colour all stand before tokens in practice.
pub(super) fn is_boundary(left: &[u8], charset: &[bool; 256]) -> bool {
    let Some((&last, before)) = left.split_last() else {
        return true;
    };
    let word = last.is_ascii_alphanumeric() || last == b'_';
    if last == b'=' || (!word && !charset[usize::from(last)]) {
        return true;
    }
    match last {
        b'n' | b'r' | b't' | b'b' | b'f' if before.ends_with(b"\\") => return true,
        b'm' => {
            let digits = before.iter().rev().take_while(|b| b.is_ascii_digit() || **b == b';').count();
            return before[..before.len() - digits].ends_with(b"[");
        }
        _ => {}
    }
    let hex = |n: usize| left.len() > n && left[left.len() - n..].iter().all(u8::is_ascii_hexdigit);
    (hex(2) && left[..left.len() - 2].ends_with(b"%")) || (hex(4) && left[..left.len() - 4].ends_with(b"\\u"))
}

/// How many bytes of `text` belong to an escape that began in `left`.
pub(super) fn escape_left_open(left: &[u8], text: &[u8]) -> usize {
    if odd_backslashes(left) {
        return match text {
            [b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => 5,
            [_, ..] => 1,
            [] => 0,
        };
    }
    for have in 0..4 {
        let Some(split) = left.len().checked_sub(have + 1) else {
            break;
        };
        if left[split] == b'u' && odd_backslashes(&left[..split]) {
            let missing = 4 - have;
            let open = text.len() >= missing && text[..missing].iter().all(u8::is_ascii_hexdigit);
            return if open { missing } else { 0 };
        }
        if !left[split].is_ascii_hexdigit() {
            break;
        }
    }
    0
}

/// How many bytes at the end of a match are the beginning of an escape that goes on behind it.
pub(super) fn escape_right_open(found: &[u8]) -> usize {
    if odd_backslashes(found) {
        return 1;
    }
    for have in 0..4 {
        let Some(split) = found.len().checked_sub(have + 1) else {
            break;
        };
        if found[split] == b'u' && odd_backslashes(&found[..split]) {
            return have + 2;
        }
        if !found[split].is_ascii_hexdigit() {
            break;
        }
    }
    0
}

fn odd_backslashes(bytes: &[u8]) -> bool {
    bytes.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries() {
        let mut charset = [false; 256];
        charset[usize::from(b'-')] = true;
        charset[usize::from(b'=')] = true;
        for yes in ["", " ", "\"", "=", "/", r"\n", r"a\\n", r"\t", "%3D", r"\u001b", "\x1b[0;31m", r"\u001b[1m"] {
            assert!(is_boundary(yes.as_bytes(), &charset), "{yes:?}");
        }
        for no in ["a", "_", "7", "-", "n", "/n", "m", "3D", "u001b", "31m"] {
            assert!(!is_boundary(no.as_bytes(), &charset), "{no:?}");
        }
    }

    #[test]
    fn escapes_are_not_split() {
        assert_eq!(escape_left_open(br"a\", b"nbc"), 1);
        assert_eq!(escape_left_open(br"a\\", b"nbc"), 0);
        assert_eq!(escape_left_open(br"a\", b"u00e9bc"), 5);
        assert_eq!(escape_left_open(br"a\u00", b"e9bc"), 2);
        assert_eq!(escape_left_open(br"a\\u00", b"e9bc"), 0);
        assert_eq!(escape_left_open(br"a\u00e9", b"e9bc"), 0);
        assert_eq!(escape_right_open(br"abc\"), 1);
        assert_eq!(escape_right_open(br"abc\\"), 0);
        assert_eq!(escape_right_open(br"abc\u1"), 3);
        assert_eq!(escape_right_open(br"abc\u12ab"), 0);
    }
}
