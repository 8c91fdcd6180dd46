//! Result structs as text for people.
//!
//! Everything shown may come from an agent and is hostile: it passes [`decklog_text::visible`] before it reaches a terminal.
//! Must not know: files, arguments.

pub(crate) mod code;
pub(crate) mod markdown;
pub(crate) mod network;
pub(crate) mod patch;
pub(crate) mod said;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod transcript;

/// Colours, or their absence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// `text` between an SGR code and its end; an empty code is none.
    pub(crate) fn styled(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() && !code.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.styled("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.styled("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.styled("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.styled("31", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.styled("33", text)
    }

    pub(crate) fn found(self, text: &str) -> String {
        self.styled("1;31", text)
    }

    pub(crate) fn accent(self, text: &str) -> String {
        self.styled("36", text)
    }
}
