//! What keys do: the state of the picker, and each key's way from one to the next. The keys are fzf's.
//!
//! Pure. Must not know: the screen, sessions, threads.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Characters of a query.
const MAX_QUERY: usize = 200;

/// What the user has typed and where they are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) query: String,
    /// The cursor's place in the query, in characters.
    pub(crate) cursor: usize,
    /// The chosen line, from the best on.
    pub(crate) chosen: usize,
    /// Whether the preview was put away.
    pub(crate) without_preview: bool,
    /// Lines of the preview above the window.
    pub(crate) scrolled: usize,
}

/// What is to be done after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Redraw,
    /// The query is another one.
    Search,
    Accept,
    Cancel,
}

impl State {
    /// Takes in a key, with `found` lines to choose from, `page` of them on the screen.
    pub(crate) fn key(&mut self, key: KeyEvent, found: usize, page: usize) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Nothing;
        }
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let shift = key.modifiers.contains(KeyModifiers::SHIFT);
        match key.code {
            KeyCode::Esc => Act::Cancel,
            KeyCode::Char('c' | 'g' | 'q') if ctrl => Act::Cancel,
            KeyCode::Char('d') if ctrl && self.query.is_empty() => Act::Cancel,
            KeyCode::Enter => Act::Accept,
            // A terminal sends the same for Ctrl-/ and Ctrl-_; some libraries call it Ctrl-7.
            KeyCode::Char('/' | '_' | '7') if ctrl => {
                self.without_preview = !self.without_preview;
                Act::Redraw
            }
            KeyCode::Up if shift => self.scroll(-1),
            KeyCode::Down if shift => self.scroll(1),
            KeyCode::Up => self.step(-1, found),
            KeyCode::Down => self.step(1, found),
            KeyCode::Char('p' | 'k') if ctrl => self.step(-1, found),
            KeyCode::Char('n' | 'j') if ctrl => self.step(1, found),
            KeyCode::PageUp => self.step(-page.max(1).cast_signed(), found),
            KeyCode::PageDown => self.step(page.max(1).cast_signed(), found),
            KeyCode::Home if self.query.is_empty() => self.step(isize::MIN, found),
            KeyCode::End if self.query.is_empty() => self.step(isize::MAX, found),
            KeyCode::Home => self.go(0),
            KeyCode::Char('a') if ctrl => self.go(0),
            KeyCode::End => self.go(usize::MAX),
            KeyCode::Char('e') if ctrl => self.go(usize::MAX),
            KeyCode::Left => self.go(self.cursor.saturating_sub(1)),
            KeyCode::Char('b') if ctrl => self.go(self.cursor.saturating_sub(1)),
            KeyCode::Right => self.go(self.cursor + 1),
            KeyCode::Char('f') if ctrl => self.go(self.cursor + 1),
            KeyCode::Char('u') if ctrl => self.cut(0, self.cursor),
            KeyCode::Char('w') if ctrl => self.cut(self.word(), self.cursor),
            KeyCode::Backspace if alt => self.cut(self.word(), self.cursor),
            KeyCode::Backspace => self.cut(self.cursor.saturating_sub(1), self.cursor),
            KeyCode::Char('h') if ctrl => self.cut(self.cursor.saturating_sub(1), self.cursor),
            KeyCode::Delete => self.cut(self.cursor, self.cursor + 1),
            KeyCode::Char('d') if ctrl => self.cut(self.cursor, self.cursor + 1),
            KeyCode::Char('l') if ctrl => Act::Redraw,
            KeyCode::Char(c) if !ctrl && !alt => self.insert(&c.to_string()),
            _ => Act::Nothing,
        }
    }

    /// Puts in what was typed or pasted, as far as it can be shown.
    pub(crate) fn insert(&mut self, text: &str) -> Act {
        let room = MAX_QUERY.saturating_sub(self.query.chars().count());
        let line = text.replace(['\n', '\r', '\t'], " ");
        let text: String = line.chars().filter(|c| decklog_text::is_harmless(*c)).take(room).collect();
        if text.is_empty() {
            return Act::Nothing;
        }
        self.query.insert_str(self.byte(self.cursor), &text);
        self.cursor += text.chars().count();
        self.searched()
    }

    /// Keeps the choice among `found` lines.
    pub(crate) fn found(&mut self, found: usize) {
        self.chosen = self.chosen.min(found.saturating_sub(1));
    }

    fn byte(&self, at: usize) -> usize {
        self.query.char_indices().nth(at).map_or(self.query.len(), |(byte, _)| byte)
    }

    fn cut(&mut self, from: usize, to: usize) -> Act {
        let (start, end) = (self.byte(from), self.byte(to));
        if start >= end {
            return Act::Nothing;
        }
        self.query.replace_range(start..end, "");
        self.cursor = from;
        self.searched()
    }

    /// Where the word before the cursor begins.
    fn word(&self) -> usize {
        let before: Vec<char> = self.query.chars().take(self.cursor).collect();
        let spaces = before.iter().rev().take_while(|c| c.is_whitespace()).count();
        let word = before.iter().rev().skip(spaces).take_while(|c| !c.is_whitespace()).count();
        self.cursor - spaces - word
    }

    fn searched(&mut self) -> Act {
        // Of another query, the best comes first again.
        (self.chosen, self.scrolled) = (0, 0);
        Act::Search
    }

    fn go(&mut self, to: usize) -> Act {
        self.cursor = to.min(self.query.chars().count());
        Act::Redraw
    }

    fn step(&mut self, by: isize, found: usize) -> Act {
        self.chosen = self.chosen.saturating_add_signed(by).min(found.saturating_sub(1));
        self.scrolled = 0;
        Act::Redraw
    }

    fn scroll(&mut self, by: isize) -> Act {
        self.scrolled = self.scrolled.saturating_add_signed(by);
        Act::Redraw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(state: &mut State, keys: &str) -> Act {
        let mut act = Act::Nothing;
        for key in keys.split(' ').filter(|key| !key.is_empty()) {
            let mut modifiers = KeyModifiers::NONE;
            let mut name = key;
            while let Some((modifier, rest)) = name.split_once('-').filter(|(_, rest)| !rest.is_empty()) {
                modifiers |= match modifier {
                    "C" => KeyModifiers::CONTROL,
                    "A" => KeyModifiers::ALT,
                    _ => KeyModifiers::SHIFT,
                };
                name = rest;
            }
            let code = match name {
                "Up" => KeyCode::Up,
                "Down" => KeyCode::Down,
                "Left" => KeyCode::Left,
                "Right" => KeyCode::Right,
                "Home" => KeyCode::Home,
                "End" => KeyCode::End,
                "PgUp" => KeyCode::PageUp,
                "PgDn" => KeyCode::PageDown,
                "BS" => KeyCode::Backspace,
                "Del" => KeyCode::Delete,
                "Enter" => KeyCode::Enter,
                "Esc" => KeyCode::Esc,
                "Space" => KeyCode::Char(' '),
                one => KeyCode::Char(one.chars().next().expect("a key")),
            };
            act = state.key(KeyEvent::new(code, modifiers), 100, 10);
        }
        act
    }

    #[test]
    fn editing() {
        for (keys, query, cursor) in [
            ("a b c", "abc", 3),
            ("a b BS c", "ac", 2),
            ("é 漢 C-h", "é", 1),
            ("a b Left Left x", "xab", 1),
            ("a b Home x End y", "xaby", 4),
            ("a b C-a x C-e y C-b C-b C-f z", "xabzy", 4),
            ("a b Space c d C-w", "ab ", 3),
            ("a b Space c d Space A-BS", "ab ", 3),
            ("a b c Left C-u", "c", 0),
            ("a b c Home Del C-d", "c", 0),
            ("C-x A-x", "", 0),
        ] {
            let mut state = State::default();
            press(&mut state, keys);
            assert_eq!((state.query.as_str(), state.cursor), (query, cursor), "{keys}");
        }
    }

    #[test]
    fn moving() {
        for (keys, chosen) in [
            ("Down Down Up", 1),
            ("C-n C-j C-p C-k C-n", 1),
            ("Up", 0),
            ("PgDn PgDn PgUp", 10),
            ("End", 99),
            ("End Down", 99),
            ("End Home", 0),
            ("Down a", 0),
            ("a End Down", 1),
        ] {
            let mut state = State::default();
            press(&mut state, keys);
            assert_eq!(state.chosen, chosen, "{keys}");
        }
        let mut state = State { chosen: 50, ..State::default() };
        state.found(3);
        assert_eq!(state.chosen, 2);
        state.found(0);
        assert_eq!(state.chosen, 0);
    }

    #[test]
    fn ending_and_the_preview() {
        for keys in ["Esc", "C-c", "C-g", "C-d"] {
            assert_eq!(press(&mut State::default(), keys), Act::Cancel, "{keys}");
        }
        assert_eq!(press(&mut State::default(), "a Home C-d"), Act::Search);
        assert_eq!(press(&mut State::default(), "a Enter"), Act::Accept);
        for keys in ["C-/", "C-_", "C-7"] {
            let mut state = State::default();
            press(&mut state, keys);
            assert!(state.without_preview, "{keys}");
        }
        let mut state = State::default();
        press(&mut state, "S-Down S-Down S-Up");
        assert_eq!(state.scrolled, 1);
    }

    #[test]
    fn what_is_pasted_does_not_act_and_is_bounded() {
        let mut state = State::default();
        state.insert("a\u{1b}[31m\nb\u{202e}");
        assert_eq!(state.query, "a[31m b");
        state.insert(&"x".repeat(10_000));
        assert_eq!(state.query.chars().count(), MAX_QUERY);
        assert_eq!(state.cursor, MAX_QUERY);
    }
}
