//! An agent's words and reasoning as they come: markdown where there are colours, the text itself where not.
//!
//! Must not know: events, what else is on the screen.

use decklog_text::visible_lines;

use super::Paint;
use super::markdown::Markdown;

/// What stands left of everything within a turn.
pub(crate) const MARGIN: &str = "  ";

/// A text that may go on.
pub(crate) struct Said {
    form: Form,
    begun: bool,
    /// Whether the line at work has ended.
    ended: bool,
    /// Line ends that are shown once something follows them.
    held: usize,
}

enum Form {
    Markdown(Box<Markdown>),
    /// As it is, each line in this colour; the first has a mark before it, the others as much space.
    Plain {
        paint: Paint,
        style: &'static str,
        mark: &'static str,
    },
}

impl Said {
    /// What the agent says; lines are wrapped at `width`.
    pub(crate) fn message(paint: Paint, width: Option<usize>) -> Self {
        match paint {
            Paint(true) => Self::new(Form::Markdown(Box::new(Markdown::new(paint, MARGIN, width)))),
            Paint(false) => Self::output(paint),
        }
    }

    /// What a program printed that is no agent with messages: not a letter of it is markup.
    pub(crate) fn output(paint: Paint) -> Self {
        Self::new(Form::Plain { paint, style: "", mark: "" })
    }

    /// What it thinks.
    pub(crate) fn thought(paint: Paint) -> Self {
        Self::new(Form::Plain { paint, style: "2", mark: "· " })
    }

    fn new(form: Form) -> Self {
        Self { form, begun: false, ended: true, held: 0 }
    }

    /// What more of the text adds to the screen. Empty lines around the text are left out.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let text = if self.begun { text } else { text.trim_start_matches(['\n', '\r']) };
        let body = text.trim_end_matches('\n');
        let ends = text.len() - body.len();
        let mut out = String::new();
        if !body.is_empty() {
            let held = "\n".repeat(std::mem::take(&mut self.held));
            self.feed(&held, &mut out);
            self.feed(body, &mut out);
        }
        if ends > 0 && (!self.ended || !body.is_empty()) {
            self.feed("\n", &mut out);
            self.held += ends - 1;
        } else {
            self.held += ends;
        }
        out
    }

    /// Shows what waits for its line to end: nothing more is coming at the moment.
    pub(crate) fn pause(&mut self) -> String {
        match &mut self.form {
            Form::Markdown(markdown) => markdown.pause(),
            Form::Plain { .. } => String::new(),
        }
    }

    /// What is left to show: the text is over.
    pub(crate) fn finish(mut self) -> String {
        let mut out = String::new();
        if !self.ended {
            self.feed("\n", &mut out);
        }
        if let Form::Markdown(markdown) = &mut self.form {
            out.push_str(&markdown.finish());
        }
        out
    }

    fn feed(&mut self, text: &str, out: &mut String) {
        if text.is_empty() {
            return;
        }
        match &mut self.form {
            Form::Markdown(markdown) => out.push_str(&markdown.push(text)),
            Form::Plain { paint, style, mark } => {
                for part in text.split_inclusive('\n') {
                    let line = part.strip_suffix('\n');
                    let begins = std::mem::replace(&mut self.ended, line.is_some());
                    let body = visible_lines(line.unwrap_or(part));
                    if begins && !body.is_empty() {
                        out.push_str(MARGIN);
                        let mark = if self.begun && !mark.is_empty() { "  " } else { *mark };
                        out.push_str(&paint.styled(style, mark));
                    }
                    out.push_str(&paint.styled(style, &body));
                    if line.is_some() {
                        out.push('\n');
                    }
                    self.begun = true;
                }
            }
        }
        self.begun = true;
        self.ended = text.ends_with('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let text = "\n\none\n\ntwo **x**\nthree\n\n\n";
        for (paint, is_thought, shown) in [
            (false, false, "  one\n\n  two **x**\n  three\n"),
            (true, false, "  one\n\n  two \u{1b}[1mx\u{1b}[0m\n  three\n"),
            (false, true, "  · one\n\n    two **x**\n    three\n"),
        ] {
            for size in [1, 2, 3, 5, 100] {
                let mut said = if is_thought { Said::thought(Paint(paint)) } else { Said::message(Paint(paint), None) };
                let pieces = text.as_bytes().chunks(size);
                let mut got: String = pieces.map(|piece| said.push(&String::from_utf8_lossy(piece))).collect();
                got += &said.finish();
                assert_eq!(got, shown, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_pause_shows_what_there_is() {
        let mut said = Said::message(Paint(true), None);
        assert_eq!(said.push("a *b* c"), "");
        assert_eq!(said.pause(), "  a \u{1b}[3mb\u{1b}[0m c");
        assert_eq!(said.pause(), "");
        assert_eq!(said.push(" d\n*e*\n"), " d\n  \u{1b}[3me\u{1b}[0m\n");
        assert_eq!(said.push("f"), "");
        assert_eq!(said.pause() + &said.finish(), "  f\n");
    }
}
