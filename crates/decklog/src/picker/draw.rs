//! The picker on the screen: query, list, preview, keys; beside each other where there is room, else below each other.
//!
//! Must not know: threads, the terminal behind the frame.

use std::sync::Arc;

use decklog_text::format::thousands;
use jiff::Timestamp;
use nucleo_matcher::pattern::Pattern;
use nucleo_matcher::{Matcher, Utf32Str};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::matching::{Found, pattern};
use super::preview::{self, Preview};
use super::row::{Row, age};
use super::state::State;
use crate::render::Paint;

/// Columns from which the preview stands beside the list.
const BESIDE: u16 = 80;
/// Rows from which it stands below.
const BELOW: u16 = 16;

/// All that is on the screen.
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) found: &'a Found,
    pub(crate) parts: &'a [Arc<[Row]>],
    /// Whether more sessions are being read.
    pub(crate) reading: bool,
    pub(crate) preview: &'a Preview,
    pub(crate) now: Timestamp,
    pub(crate) paint: Paint,
}

impl View<'_> {
    /// The row at a place among those found.
    pub(crate) fn row(&self, place: usize) -> Option<&Row> {
        let hit = self.found.hits.get(place)?;
        self.parts.get(hit.part as usize)?.get(hit.place as usize)
    }

    fn color(&self, color: Color) -> Style {
        if self.paint.0 { Style::new().fg(color) } else { Style::new() }
    }

    fn quiet(&self) -> Style {
        if self.paint.0 { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }
}

/// Where everything stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Areas {
    query: Rect,
    pub(crate) list: Rect,
    preview: Option<Rect>,
    keys: Option<Rect>,
}

/// Divides the screen.
pub(crate) fn areas(screen: Rect, with_preview: bool) -> Areas {
    let has_keys = screen.height >= 8;
    let [query, body, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(u16::from(has_keys))])
            .areas(screen);
    let (list, preview) = if !with_preview {
        (body, None)
    } else if screen.width >= BESIDE {
        let [list, preview] = Layout::horizontal([Constraint::Percentage(52), Constraint::Fill(1)]).areas(body);
        (list, Some(preview))
    } else if screen.height >= BELOW {
        let [list, preview] = Layout::vertical([Constraint::Percentage(50), Constraint::Fill(1)]).areas(body);
        (list, Some(preview))
    } else {
        (body, None)
    };
    Areas { query, list, preview, keys: has_keys.then_some(keys) }
}

/// Draws the picker. `first` is the first line of the list that is on the screen.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View<'_>, first: usize, matcher: &mut Matcher) {
    let areas = areas(frame.area(), !view.state.without_preview);
    query(frame, view, areas.query);
    let pattern = pattern(&view.state.query);
    let widths = Widths::of(view, first, areas.list);
    for line in 0..usize::from(areas.list.height) {
        let Some(row) = view.row(first + line) else { break };
        let chosen = first + line == view.state.chosen;
        let shown = list_row(row, chosen, view, &widths, &pattern, matcher);
        let y = areas.list.y + u16::try_from(line).unwrap_or(u16::MAX);
        frame.render_widget(shown, Rect { y, height: 1, ..areas.list });
    }
    if view.found.hits.is_empty() && view.found.complete && !view.reading {
        frame.render_widget(Line::styled("  no session matches", view.quiet()), areas.list);
    }
    if let Some(area) = areas.preview {
        let beside = area.y == areas.list.y;
        preview_pane(frame, view, area, if beside { Borders::LEFT } else { Borders::TOP });
    }
    if let Some(area) = areas.keys {
        let keys = "enter takes it · esc leaves · ctrl-/ preview · shift-↑↓ scrolls it";
        frame.render_widget(Line::styled(decklog_text::format::cut(keys, area.width.into()), view.quiet()), area);
    }
}

fn query(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    let total = if view.reading { "+" } else { "" };
    let (hits, all) = (thousands(view.found.hits.len() as u64), thousands(view.found.total as u64));
    let counts = format!(" {hits}/{all}{total}");
    let room = usize::from(area.width).saturating_sub(counts.width() + 3);
    // The cursor is always in sight.
    let mut from = 0;
    let width_to = |from: usize| {
        view.state.query.chars().take(view.state.cursor).skip(from).map(|c| c.width().unwrap_or(0)).sum::<usize>()
    };
    while width_to(from) > room {
        from += 1;
    }
    let text: String = view.state.query.chars().skip(from).collect();
    let text = decklog_text::format::cut(&text, room);
    let line = Line::from(vec![Span::styled("> ", view.color(Color::Cyan)), Span::raw(text)]);
    frame.render_widget(line, area);
    frame.render_widget(Line::styled(counts, view.quiet()).right_aligned(), area);
    let x = area.x + 2 + u16::try_from(width_to(from)).unwrap_or(0);
    frame.set_cursor_position(Position { x: x.min(area.right().saturating_sub(1)), y: area.y });
}

/// How wide agents and projects are on this screen.
struct Widths {
    agent: usize,
    project: usize,
    prompt: usize,
}

impl Widths {
    fn of(view: &View<'_>, first: usize, area: Rect) -> Self {
        let width = usize::from(area.width);
        let (agent_limit, project_limit) = if width < 50 { (7, 0) } else { (10, 14) };
        let mut widths = Self { agent: 0, project: 0, prompt: 0 };
        for row in (first..first + usize::from(area.height)).filter_map(|place| view.row(place)) {
            let [agent, project, _] = parts(row);
            widths.agent = widths.agent.max(agent.0.width()).min(agent_limit);
            widths.project = widths.project.max(project.0.width()).min(project_limit);
        }
        // Mark of the chosen, outcome, age, what is between, and a margin.
        let gap = |width: usize| if width > 0 { width + 1 } else { 0 };
        widths.prompt = width.saturating_sub(10 + gap(widths.agent) + gap(widths.project));
        widths
    }
}

/// Agent, project and prompt of a row, and where each begins in its text, in characters.
fn parts(row: &Row) -> [(String, usize); 3] {
    let [agent, project, prompt] = row.starts.map(usize::from);
    let part = |from: usize, to: usize| row.text.chars().skip(from).take(to.saturating_sub(from)).collect::<String>();
    [
        (part(agent, project.saturating_sub(1)), agent),
        (part(project, prompt.saturating_sub(1)), project),
        (part(prompt, usize::MAX), prompt),
    ]
}

/// A sign for how a session came out, legible without colour.
fn outcome_mark(outcome: &str) -> (&'static str, Color) {
    match outcome {
        "success" => ("✓", Color::Green),
        "failed" => ("✗", Color::Red),
        "crashed" => ("!", Color::Red),
        "running" => ("▸", Color::Cyan),
        "interrupted" => ("⏹", Color::Yellow),
        "unknown" => ("?", Color::Reset),
        _ => ("~", Color::Yellow),
    }
}

fn list_row<'a>(
    row: &Row,
    chosen: bool,
    view: &View<'_>,
    widths: &Widths,
    pattern: &Pattern,
    matcher: &mut Matcher,
) -> Line<'a> {
    let mut indices = Vec::new();
    if !view.state.query.trim().is_empty() {
        let mut buffer = Vec::new();
        pattern.indices(Utf32Str::new(&row.text, &mut buffer), matcher, &mut indices);
        indices.sort_unstable();
    }
    let base = if chosen { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
    let (mark, color) = outcome_mark(row.outcome);
    let pointer = if chosen { "▌ " } else { "  " };
    let mut spans = vec![
        Span::styled(pointer, view.color(Color::Cyan)),
        Span::styled(mark, view.color(color)),
        Span::styled(format!("{:>4}  ", age(row.started_at, view.now)), view.quiet()),
    ];
    let [agent, project, prompt] = parts(row);
    let hit = base.patch(view.color(Color::Magenta)).add_modifier(Modifier::UNDERLINED);
    for ((text, start), width, style) in [
        (agent, widths.agent, base.patch(view.color(Color::Cyan))),
        (project, widths.project, base.patch(view.color(Color::Blue))),
        (prompt, widths.prompt, base),
    ] {
        if width == 0 {
            continue;
        }
        let cut = decklog_text::format::cut(&text, width);
        let padding = width.saturating_sub(cut.width()) + 1;
        for (at, c) in cut.chars().enumerate() {
            let is_hit = u32::try_from(start + at).is_ok_and(|at| indices.binary_search(&at).is_ok());
            let style = if is_hit { hit } else { style };
            match spans.last_mut() {
                Some(last) if last.style == style => last.content.to_mut().push(c),
                _ => spans.push(Span::styled(c.to_string(), style)),
            }
        }
        spans.push(Span::raw(" ".repeat(padding)));
    }
    Line::from(spans)
}

fn preview_pane(frame: &mut Frame<'_>, view: &View<'_>, area: Rect, borders: Borders) {
    let block = Block::new().borders(borders).border_style(view.quiet());
    let is_of_the_chosen = view.preview.id == view.row(view.state.chosen).map(|row| row.id.clone());
    let mut lines = Vec::new();
    // The one before stays until the new one is there, so that nothing flickers; but never for another's.
    if is_of_the_chosen {
        for line in &view.preview.lines {
            let shown = match line {
                preview::Line::Title(title) => {
                    lines.push(Line::default());
                    Line::styled(*title, Style::new().add_modifier(Modifier::BOLD))
                }
                preview::Line::Fact(name, value) => {
                    Line::from(vec![Span::styled(format!("{name:<8} "), view.quiet()), Span::raw(value.clone())])
                }
                preview::Line::Text(text) => Line::raw(text.clone()),
                preview::Line::File(status, path) => {
                    let color = match status.as_str() {
                        "added" => Color::Green,
                        "deleted" => Color::Red,
                        _ => Color::Cyan,
                    };
                    let letter = status.chars().next().unwrap_or('?').to_ascii_uppercase();
                    Line::from(vec![Span::styled(format!("{letter} "), view.color(color)), Span::raw(path.clone())])
                }
            };
            lines.push(shown);
        }
    }
    let scrolled = u16::try_from(view.state.scrolled).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }).scroll((scrolled, 0)), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::picker::matching::{Ask, Rows, matcher, start};

    fn row(at: u16, outcome: &'static str, agent: &str, project: &str, prompt: &str) -> Row {
        let text = format!("{outcome} {agent} {project} {prompt}");
        let mut starts = [outcome, agent, project].map(|part| part.chars().count() + 1);
        starts[1] += starts[0];
        starts[2] += starts[1];
        Row {
            id: format!("20260501T13{at:02}00-3f2a").parse().expect("an id"),
            started_at: format!("2026-05-01T13:{at:02}:00Z").parse().expect("a time"),
            outcome,
            text,
            starts: starts.map(|start| u16::try_from(start).expect("short")),
        }
    }

    fn screen(width: u16, height: u16, state: State) -> String {
        let rows = Rows::default();
        rows.push(vec![
            row(50, "running", "claude", "decklog", "make the picker quick and pleasant to look at in any window"),
            row(30, "failed", "codex", "a-project-with-a-long-name", "fix the failing test"),
            row(10, "success", "sh", "web", "make test"),
            row(5, "crashed", "gemini", "漢字", "übersetze die Seite"),
        ]);
        let (tell, told) = std::sync::mpsc::channel();
        let ask = start(rows.clone(), move |found| drop(tell.send(found))).expect("a thread");
        ask.send(Ask::Query(1, state.query.clone())).expect("it listens");
        let found = told.iter().find(|found: &Found| found.complete).expect("an answer");
        let parts = rows.parts();
        let preview = Preview {
            id: found.hits.first().map(|hit| parts[hit.part as usize][hit.place as usize].id.clone()),
            lines: vec![
                preview::Line::Fact("session", "20260501T135000-3f2a".into()),
                preview::Line::Fact("outcome", "running".into()),
                preview::Line::Title("prompt"),
                preview::Line::Text("make the picker quick and pleasant to look at in any window".into()),
                preview::Line::Title("files"),
                preview::Line::File("modified".into(), "src/picker.rs".into()),
            ],
        };
        let view = View {
            state: &state,
            found: &found,
            parts: &parts,
            reading: false,
            preview: &preview,
            now: "2026-05-01T13:55:00Z".parse().expect("a time"),
            paint: Paint(true),
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| draw(frame, &view, 0, &mut matcher())).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn wide_narrow_and_low() {
        insta::assert_snapshot!("120 columns", screen(120, 14, State::default()));
        insta::assert_snapshot!("60 columns", screen(60, 18, State::default()));
        insta::assert_snapshot!("40 columns, low", screen(40, 6, State::default()));
        let without = State { without_preview: true, chosen: 1, ..State::default() };
        insta::assert_snapshot!("80 columns without preview", screen(80, 10, without));
    }

    #[test]
    fn a_query_narrows() {
        let typed = |query: &str| State { query: query.into(), cursor: query.chars().count(), ..State::default() };
        insta::assert_snapshot!("a query", screen(80, 10, typed("make 'test")));
        insta::assert_snapshot!("nothing matches", screen(60, 6, typed("zzz")));
    }

    #[test]
    fn no_window_is_too_small() {
        for (width, height) in [(1, 1), (2, 3), (10, 2), (5, 30), (200, 1)] {
            screen(width, height, State { query: "make".into(), cursor: 4, ..State::default() });
        }
    }
}
