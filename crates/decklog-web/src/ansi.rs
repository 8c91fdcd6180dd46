//! What a program printed for a terminal, as HTML: colours and weights as classes, everything else that would act on a
//! terminal left out.
//!
//! Of lines that were written over (`\r`), what stood there last is shown. Must not know: where it comes from.

use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};

use crate::html::escape;

/// How text looks, as far as classes tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    /// One of the sixteen, from 0.
    color: Option<u8>,
    background: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

/// Text for a terminal, as HTML without tags but `span`.
#[must_use]
pub fn ansi(text: &str) -> String {
    let mut screen = Screen::default();
    let mut parser = Parser::<DefaultCharAccumulator>::new();
    for byte in text.bytes() {
        parser.advance(&mut screen, byte);
    }
    screen.end_line();
    screen.out
}

#[derive(Default)]
struct Screen {
    out: String,
    look: Look,
    /// The line that is being written, and where in it.
    line: Vec<(char, Look)>,
    at: usize,
}

impl Screen {
    fn end_line(&mut self) {
        let mut rest = self.line.as_slice();
        while let Some((_, look)) = rest.first() {
            let same = rest.iter().take_while(|(_, other)| other == look).count();
            let text: String = rest[..same].iter().map(|(c, _)| *c).collect();
            let classes = classes(*look);
            if classes.is_empty() {
                self.out.push_str(&escape(&text));
            } else {
                self.out.push_str(&format!("<span class=\"{}\">{}</span>", classes.join(" "), escape(&text)));
            }
            rest = &rest[same..];
        }
        self.line.clear();
        self.at = 0;
    }

    /// Select graphic rendition.
    fn look(&mut self, numbers: &[u16]) {
        let mut rest = numbers.iter().copied();
        while let Some(number) = rest.next() {
            // 0 to 107 as ECMA-48 and xterm have them.
            match number {
                0 => self.look = Look::default(),
                1 => self.look.bold = true,
                2 => self.look.dim = true,
                3 => self.look.italic = true,
                4 => self.look.underline = true,
                22 => (self.look.bold, self.look.dim) = (false, false),
                23 => self.look.italic = false,
                24 => self.look.underline = false,
                30..=37 | 90..=97 => self.look.color = sixteen(number),
                40..=47 | 100..=107 => self.look.background = sixteen(number - 10),
                39 => self.look.color = None,
                49 => self.look.background = None,
                38 | 48 => {
                    let color = extended(&mut rest);
                    if number == 38 {
                        self.look.color = color;
                    } else {
                        self.look.background = color;
                    }
                }
                _ => {}
            }
        }
    }
}

fn sixteen(number: u16) -> Option<u8> {
    let number = if number >= 90 { number - 90 + 8 } else { number - 30 };
    u8::try_from(number).ok()
}

/// `5;N` or `2;R;G;B`: the nearest of the sixteen, which have a contrast in either theme.
fn extended(rest: &mut impl Iterator<Item = u16>) -> Option<u8> {
    let nearest = |red: u16, green: u16, blue: u16| {
        let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
        let bright = if most > 170 { 8 } else { 0 };
        if most - least < 40 {
            return match most {
                0..=60 => 0,
                61..=130 => 8,
                131..=210 => 7,
                _ => 15,
            };
        }
        let middle = u16::midpoint(most, least);
        let bit = |value: u16, bit: u8| if value > middle { bit } else { 0 };
        bright + bit(red, 1) + bit(green, 2) + bit(blue, 4)
    };
    match rest.next()? {
        5 => match rest.next()? {
            number @ 0..=15 => u8::try_from(number).ok(),
            number @ 16..=231 => {
                let level = |value: u16| if value == 0 { 0 } else { 55 + value * 40 };
                let cube = number - 16;
                Some(nearest(level(cube / 36), level(cube / 6 % 6), level(cube % 6)))
            }
            number @ 232..=255 => {
                let grey = 8 + (number - 232) * 10;
                Some(nearest(grey, grey, grey))
            }
            _ => None,
        },
        2 => {
            let (red, green, blue) = (rest.next()?, rest.next()?, rest.next()?);
            Some(nearest(red.min(255), green.min(255), blue.min(255)))
        }
        _ => None,
    }
}

fn classes(look: Look) -> Vec<String> {
    let mut classes = Vec::new();
    classes.extend(look.color.map(|color| format!("a{color}")));
    classes.extend(look.background.map(|color| format!("ab{color}")));
    for (is, class) in [(look.bold, "b"), (look.dim, "dim"), (look.italic, "i"), (look.underline, "u")] {
        if is {
            classes.push(class.to_owned());
        }
    }
    classes
}

impl Perform for Screen {
    fn print(&mut self, c: char) {
        let seen = (c, self.look);
        match self.line.get_mut(self.at) {
            Some(place) => *place = seen,
            None => self.line.push(seen),
        }
        self.at += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.end_line();
                self.out.push('\n');
            }
            b'\r' => self.at = 0,
            0x08 => self.at = self.at.saturating_sub(1),
            b'\t' => self.print('\t'),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _: &[u8], _: bool, action: u8) {
        match action {
            b'm' => {
                let numbers: Vec<u16> = params.iter().flatten().copied().collect();
                self.look(if numbers.is_empty() { &[0] } else { &numbers });
            }
            // Erase to the end of the line, or all of it.
            b'K' => match params.iter().flatten().next() {
                None | Some(0) => self.line.truncate(self.at),
                Some(2) => {
                    let at = self.at;
                    self.line.clear();
                    self.line.resize(at, (' ', Look::default()));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_classes_and_nothing_acts() {
        for (text, html) in [
            ("plain", "plain"),
            ("\u{1b}[31mred\u{1b}[0m not", "<span class=\"a1\">red</span> not"),
            ("\u{1b}[1;92mok\u{1b}[m", "<span class=\"a10 b\">ok</span>"),
            ("\u{1b}[38;5;196mx\u{1b}[39my", "<span class=\"a9\">x</span>y"),
            ("\u{1b}[38;2;255;255;255mx", "<span class=\"a15\">x</span>"),
            ("\u{1b}[48;5;4mx\u{1b}[49m", "<span class=\"ab4\">x</span>"),
            ("10%\r50%\r100%\ndone", "100%\ndone"),
            ("longer\rab", "abnger"),
            ("longer\r\u{1b}[Kab", "ab"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}[2Jx\u{1b}[10;10Hy", "xy"),
            ("<b>\u{1b}[31m</span><script>", "&lt;b&gt;<span class=\"a1\">&lt;/span&gt;&lt;script&gt;</span>"),
            ("\u{1b}[31", ""),
            ("\u{1b}[38;5m\u{1b}[38;2;1mx", "x"),
            ("\u{1b}[999;99999999999mx", "x"),
            ("a\tb", "a\tb"),
            ("\u{202e}x", "&lt;U+202E&gt;x"),
        ] {
            assert_eq!(ansi(text), html, "{text:?}");
        }
    }
}
