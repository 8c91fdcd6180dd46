//! Session ids and the selectors people type for them.
//!
//! An id is the UTC start time and four random hex digits, `20260501T134412-3f2a`: text order is time
//! order. Whatever is typed or read from disk is checked by shape here before it may become part of a
//! path; nothing else in the crate joins an unchecked string to a directory.
//!
//! Must not know: the file system.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The id of one session: `YYYYMMDDTHHMMSS-hhhh`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

/// A text that does not have the shape of a session id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a session id: ids look like 20260501T134412-3f2a")]
pub struct InvalidId(pub String);

impl SessionId {
    /// Length of an id in bytes.
    pub const LEN: usize = 20;

    /// Makes the id for a session started at `at` (whole seconds, UTC) with `random` as its suffix.
    #[must_use]
    pub fn new(at: Timestamp, random: u16) -> Self {
        let time = at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S").to_string();
        Self(format!("{time}-{random:04x}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a number: the digits of its time, then its suffix. Numbers are in the order of the ids.
    #[must_use]
    pub fn to_number(&self) -> i64 {
        let digit = |number: i64, byte: u8| number * 10 + i64::from(byte - b'0');
        let time = self.0.as_bytes()[..15].iter().filter(|byte| **byte != b'T').fold(0, |n, byte| digit(n, *byte));
        time << 16 | i64::from_str_radix(&self.0[16..], 16).unwrap_or_default()
    }

    /// Whether a number stands for an id.
    #[must_use]
    pub fn is_number(number: i64) -> bool {
        (0..100_000_000_000_000).contains(&(number >> 16))
    }

    /// The id that a number stands for; `None` when no id does.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        if !Self::is_number(number) {
            return None;
        }
        // Lists make many: this is faster than formatting.
        let mut bytes = *b"00000000T000000-0000";
        let (mut time, mut suffix) = (number >> 16, number & 0xffff);
        for place in (0..15).rev().filter(|place| *place != 8) {
            bytes[place] = b'0' + (time % 10) as u8;
            time /= 10;
        }
        for place in (16..20).rev() {
            bytes[place] = b"0123456789abcdef"[(suffix % 16) as usize];
            suffix /= 16;
        }
        String::from_utf8(bytes.to_vec()).ok().map(Self)
    }

    /// Whether `text` has the shape of an id. Only digits, `T`, `-` and lower-case hex can pass, so an
    /// id can never name anything but one entry of a directory.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        bytes.len() == Self::LEN
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 => *byte == b'T',
                15 => *byte == b'-',
                16.. => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                _ => byte.is_ascii_digit(),
            })
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for SessionId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        if Self::is_valid(&text) { Ok(Self(text)) } else { Err(InvalidId(text)) }
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person types to name a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// `@` or `@n`: the n-th newest, counted from 1.
    Newest(usize),
    /// A full id, or any unique beginning or end of one.
    Part(String),
}

impl FromStr for Selector {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId(text.to_owned());
        if let Some(count) = text.strip_prefix('@') {
            let count = if count.is_empty() { 1 } else { count.parse().map_err(|_| bad())? };
            return if count == 0 { Err(bad()) } else { Ok(Self::Newest(count)) };
        }
        let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'T' | b'-'));
        if text.is_empty() || text.len() > SessionId::LEN || !plain {
            return Err(bad());
        }
        Ok(Self::Part(text.to_owned()))
    }
}

/// Why a [`Selector`] named no single session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No session matches.
    #[error("no session matches {selector:?}")]
    NotFound {
        /// What was asked for.
        selector: String,
    },
    /// Several do.
    #[error("{selector:?} matches {count} sessions: {}{}", .first.join(", "), if *.count > .first.len() { ", …" } else { "" })]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// How many match.
        count: usize,
        /// The newest few of them.
        first: Vec<String>,
    },
}

impl Selector {
    /// Picks from `ids`, which must be sorted oldest first.
    ///
    /// # Errors
    /// [`SelectError`] when nothing, or more than one id, matches.
    pub fn pick<'a>(&self, ids: &'a [SessionId]) -> Result<&'a SessionId, SelectError> {
        match self {
            Self::Newest(n) => ids
                .len()
                .checked_sub(*n)
                .and_then(|at| ids.get(at))
                .ok_or_else(|| SelectError::NotFound { selector: format!("@{n}") }),
            Self::Part(part) => {
                let matches: Vec<_> = ids
                    .iter()
                    .rev()
                    .filter(|id| id.as_str().starts_with(part) || id.as_str().ends_with(part))
                    .collect();
                match matches.as_slice() {
                    [] => Err(SelectError::NotFound { selector: part.clone() }),
                    [one] => Ok(one),
                    many => Err(SelectError::Ambiguous {
                        selector: part.clone(),
                        count: many.len(),
                        first: many.iter().take(5).map(ToString::to_string).collect(),
                    }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_too() {
        for id in ["20260501T134412-3f2a", "00000000T000000-0000", "99999999T999999-ffff"] {
            let id: SessionId = id.parse().expect("an id");
            assert_eq!(SessionId::from_number(id.to_number()), Some(id));
        }
        assert_eq!(SessionId::from_number(-1), None);
        assert_eq!(SessionId::from_number(i64::MAX), None);
    }

    fn id(text: &str) -> SessionId {
        text.parse().expect("a valid id")
    }

    #[test]
    fn ids_are_checked_by_shape() {
        for good in ["20260501T134412-3f2a", "00000000T000000-0000"] {
            assert!(SessionId::is_valid(good), "{good}");
        }
        for bad in [
            "",
            "../x",
            "20260501T134412-3F2A",
            "20260501T134412-3f2",
            "20260501T134412-3f2aa",
            "20260501 134412-3f2a",
            "2026050１T134412-3f",
            "20260501T134412/3f2a",
            "20260501T134412-3f2\n",
        ] {
            assert!(!SessionId::is_valid(bad), "{bad}");
        }
        let made = SessionId::new(Timestamp::from_second(1_777_643_052).expect("in range"), 0x3f2a);
        assert_eq!(made.as_str(), "20260501T134412-3f2a");
    }

    #[test]
    fn selectors_pick_by_prefix_suffix_and_age() {
        let ids = [id("20260501T134412-3f2a"), id("20260501T141907-9b1c"), id("20260502T000000-3f2a")];
        let pick = |text: &str| text.parse::<Selector>().expect("a selector").pick(&ids).map(SessionId::as_str);
        assert_eq!(pick("@"), Ok("20260502T000000-3f2a"));
        assert_eq!(pick("@3"), Ok("20260501T134412-3f2a"));
        assert_eq!(pick("@4"), Err(SelectError::NotFound { selector: "@4".into() }));
        assert_eq!(pick("9b1c"), Ok("20260501T141907-9b1c"));
        assert_eq!(pick("20260502"), Ok("20260502T000000-3f2a"));
        assert!(matches!(pick("3f2a"), Err(SelectError::Ambiguous { count: 2, .. })));
        for bad in ["", "@0", "@x", "../x", "a/b", "*", "20260501T134412-3f2a0"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
