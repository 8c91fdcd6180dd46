//! Tokens in base64: the anchors of a rule's keywords as base64 carries them, and back.
//!
//! What it must not know: where in a stream it looks.
//!
//! How a keyword looks in base64 depends on how many bytes stand before it, modulo three. In each case all
//! characters but the first and the last are sure; these are the anchor, and the bits of the keyword that they
//! lack are known.

use std::ops::Range;
use std::sync::LazyLock;

use super::dense::MIN_DENSE_ANCHOR;
use super::encodings::{BASE64, base64_core};
use super::rules::Rule;

/// A keyword of a rule in base64.
#[derive(Clone)]
pub(super) struct Coded {
    /// Index of the rule.
    pub(super) rule: usize,
    /// The characters that are sure.
    pub(super) core: Vec<u8>,
    keyword: Vec<u8>,
    /// How many bits of the keyword stand in the character before `core`.
    skipped: usize,
}

/// The characters of both alphabets.
pub(super) fn charset() -> &'static [bool; 256] {
    static CHARSET: LazyLock<[bool; 256]> = LazyLock::new(|| std::array::from_fn(|b| digit(b as u8).is_some()));
    &CHARSET
}

impl Coded {
    /// The forms of the keywords of a rule, which has the index `index`.
    pub(super) fn of(index: usize, rule: &Rule) -> Vec<Coded> {
        let mut all = Vec::new();
        if !rule.has_coded_form() {
            return all;
        }
        // Three letters are too common in base64 itself.
        let telling = |keyword: &&Vec<u8>| keyword.len() > 3 || !keyword.iter().all(u8::is_ascii_alphanumeric);
        for keyword in rule.keywords.iter().filter(telling) {
            for lead in 0..3usize {
                let mut add = |core: Vec<u8>| {
                    let url_safe = core.iter().map(|b| match b {
                        b'+' => b'-',
                        b'/' => b'_',
                        b => *b,
                    });
                    let skipped = (lead * 8).div_ceil(6) * 6 - lead * 8;
                    for core in [Some(url_safe.collect()), Some(core)].into_iter().flatten() {
                        let coded = Coded { rule: index, core, keyword: keyword.clone(), skipped };
                        if !all.iter().any(|old: &Coded| old.core == coded.core && old.keyword == coded.keyword) {
                            all.push(coded);
                        }
                    }
                };
                let core = base64_core(keyword, lead);
                if core.len() >= MIN_DENSE_ANCHOR {
                    add(core);
                } else {
                    // One character more: it depends on the upper half of the next byte alone.
                    for upper in 2..8 {
                        add(base64_core(&[keyword.as_slice(), &[upper << 4]].concat(), lead)[..core.len() + 1].to_vec());
                    }
                }
            }
        }
        all
    }

    /// The most characters that are looked at.
    pub(super) fn max_length(&self, rule: &Rule) -> usize {
        rule.max_length.div_ceil(3) * 4
    }

    /// What a window decodes to, as far as the rule's charset and length reach; and whether more characters
    /// would add nothing to it.
    pub(super) fn decode(&self, rule: &Rule, window: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = Vec::with_capacity(window.len() * 3 / 4 + 1);
        let first = self.keyword.first().copied().unwrap_or_default();
        let mut bits = if self.skipped == 0 { 0 } else { u32::from(first) >> (8 - self.skipped) };
        let mut have = self.skipped;
        for character in window {
            let Some(digit) = digit(*character) else { break };
            bits = bits << 6 | digit;
            have += 6;
            if have >= 8 {
                have -= 8;
                let byte = (bits >> have) as u8;
                if bytes.len() >= self.keyword.len() && !rule.charset[usize::from(byte)] {
                    return (bytes, true);
                }
                bytes.push(byte);
                if bytes.len() == rule.max_length {
                    return (bytes, true);
                }
            }
        }
        (bytes, false)
    }

    /// The characters that carry a range of what was decoded.
    pub(super) fn place(&self, range: Range<usize>) -> Range<usize> {
        (range.start * 8).saturating_sub(self.skipped) / 6..(range.end * 8 - self.skipped).div_ceil(6)
    }
}

fn digit(character: u8) -> Option<u32> {
    let standard = match character {
        b'-' => b'+',
        b'_' => b'/',
        character => character,
    };
    static DIGITS: LazyLock<[Option<u32>; 256]> = LazyLock::new(|| {
        let mut digits = [None; 256];
        for (value, character) in BASE64.iter().enumerate() {
            digits[usize::from(*character)] = Some(value as u32);
        }
        digits
    });
    DIGITS[usize::from(standard)]
}
