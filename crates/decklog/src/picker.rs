//! The picker: a session chosen from a list that narrows while one types, with a preview, in fzf's manner.
//!
//! Rows come from a thread, are searched on another and previewed on a third; this one reads keys and draws, and waits
//! for none of them.

mod draw;
mod matching;
mod preview;
mod row;
mod screen;
mod state;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event};
use decklog_journal::{SessionFilter, SessionId, SessionStore};
use decklog_query::index::Lookup;
use decklog_text::visible;
use jiff::Timestamp;
use ratatui::layout::Rect;

use self::draw::{View, areas, draw};
use self::matching::{Ask, Found, Rows};
use self::preview::Preview;
use self::row::Row;
use self::screen::Screen;
use self::state::{Act, State};
use crate::context::Context;
use crate::error::CliError;
use crate::terminal::{self, Input};

/// How long a key is waited for while an answer is due, and while none is.
const BUSY: Duration = Duration::from_millis(2);
const IDLE: Duration = Duration::from_millis(40);
/// How long the reader of events waits itself.
const READ: Duration = Duration::from_millis(1);
/// How soon rows are handed on at first, and how many at a time later.
const SOON: Duration = Duration::from_millis(15);
const PART: usize = 1024;
/// Sessions that are read themselves, before the index is asked.
const AT_ONCE: usize = 128;
/// How long the first rows are waited for before the screen is taken.
const BRIEFLY: Duration = Duration::from_millis(150);
/// How long a session that is taken at once may take to be found.
const PATIENCE: Duration = Duration::from_secs(5);

/// What hands on sessions, newest first, until it has no more. `None`: the next one may take a while.
pub(crate) type Source = Box<dyn FnOnce(&mut dyn FnMut(Option<&decklog_journal::Row<'_>>)) + Send>;

/// What the threads tell.
enum Told {
    Rows,
    AllRows,
    Found(Found),
    Preview(Preview),
}

/// Lets the user pick one of the sessions in `store`.
///
/// # Errors
/// When there are none, when nothing was picked (exit code 130), or when the terminal fails.
pub(crate) fn pick(store: &SessionStore, context: &Context) -> Result<SessionId, CliError> {
    let source = source(store.clone(), context.cache(), context.clock.now());
    pick_from(source, store, context)
}

/// The sessions of `store`: the newest at once, the others from the index, which may first have to be brought up to date.
/// What cannot be read is told by `ls`; here it only cannot be picked.
fn source(store: SessionStore, cache: PathBuf, now: Timestamp) -> Source {
    Box::new(move |take| {
        let mut seen = HashSet::new();
        let newest = SessionFilter { limit: Some(AT_ONCE), ..SessionFilter::default() };
        let _ = store.each(&newest, |read| {
            if let Ok(listed) = read {
                seen.insert(listed.head.id.to_number());
                take(Some(&listed.row()));
            }
        });
        take(None);
        if seen.len() < AT_ONCE {
            return;
        }
        let all = SessionFilter::default();
        let mut unseen = |row: &decklog_journal::Row<'_>| {
            if seen.insert(row.number) {
                take(Some(row));
            }
        };
        let _ = Lookup::new(cache.clone(), store.clone()).each(&all, now, &mut |_, _| {}, &mut unseen);
    })
}

/// Nothing can be picked: says why.
fn nothing(store: &SessionStore) -> CliError {
    let root = store.root().to_string_lossy();
    match store.ids() {
        Err(error) => error.into(),
        Ok(ids) if ids.is_empty() => CliError::new(format!("no sessions under {} yet", visible(&root)))
            .hint("start one with `decklog run`, or see `decklog demo`"),
        Ok(_) => {
            CliError::new(format!("no session under {} can be read", visible(&root))).hint("`decklog ls` says why")
        }
    }
}

fn pick_from(source: Source, store: &SessionStore, context: &Context) -> Result<SessionId, CliError> {
    let (tell, told) = channel();
    let rows = Rows::default();
    let over = Arc::new(AtomicBool::new(false));
    feed(source, rows.clone(), tell.clone(), Arc::clone(&over))?;
    let search = matching::start(rows.clone(), {
        let tell = tell.clone();
        move |found| drop(tell.send(Told::Found(found)))
    })?;
    let look = preview::start(store.clone(), context.clock.now(), context.zone.clone(), move |preview| {
        drop(tell.send(Told::Preview(preview)));
    })?;
    let mut picker = Picker {
        state: State::default(),
        rows,
        found: Found::default(),
        reading: true,
        preview: Preview::default(),
        looked_at: None,
        asked: 1,
        first: 0,
    };
    let _ = search.send(Ask::Query(1, String::new()));
    // Most lists are there before an empty screen would be noticed.
    if let Ok(told) = told.recv_timeout(BRIEFLY) {
        picker.hear(told, &search);
    }
    if picker.is_empty() {
        return Err(nothing(store));
    }
    let mut screen = Screen::open()?;
    let picked = picker.run(&mut screen, &told, &search, &look, context);
    over.store(true, Ordering::Relaxed);
    drop(screen);
    // What fails on a terminal that is gone fails for that reason.
    let picked = picked.map_err(|error| if terminal::is_gone(io::stdin()) { terminal::hangup() } else { error });
    picked.and_then(|picked| picked.ok_or_else(|| nothing(store)))
}

/// Turns sessions into rows on a thread of its own.
fn feed(source: Source, rows: Rows, tell: Sender<Told>, over: Arc<AtomicBool>) -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(move || {
        let mut part = Vec::new();
        let mut last = Instant::now();
        source(&mut |session| {
            if over.load(Ordering::Relaxed) {
                return;
            }
            part.extend(session.map(Row::new));
            if session.is_none() || part.len() >= PART || last.elapsed() > SOON {
                rows.push(std::mem::take(&mut part));
                let _ = tell.send(Told::Rows);
                last = Instant::now();
            }
        });
        rows.push(part);
        let _ = tell.send(Told::AllRows);
    });
    thread.map(drop)
}

struct Picker {
    state: State,
    rows: Rows,
    found: Found,
    reading: bool,
    preview: Preview,
    /// The session whose preview was asked for last.
    looked_at: Option<SessionId>,
    /// The number of the newest query.
    asked: u64,
    /// The first line of the list on the screen.
    first: usize,
}

impl Picker {
    fn is_empty(&self) -> bool {
        !self.reading && self.rows.count() == 0
    }

    /// Picks; `None` when there is nothing to pick from.
    fn run(
        mut self,
        screen: &mut Screen,
        told: &Receiver<Told>,
        search: &Sender<Ask>,
        look: &Sender<SessionId>,
        context: &Context,
    ) -> Result<Option<SessionId>, CliError> {
        let mut matcher = matching::matcher();
        let mut changed = true;
        loop {
            if let Some(number) = screen.signal() {
                return Err(CliError::silent(128 + number));
            }
            if self.is_empty() {
                return Ok(None);
            }
            if changed {
                let parts = self.rows.parts();
                let area: Rect = screen.terminal.size()?.into();
                let page = usize::from(areas(area, !self.state.without_preview).list.height).max(1);
                self.first = self.first.min(self.state.chosen).max((self.state.chosen + 1).saturating_sub(page));
                let view = View {
                    state: &self.state,
                    found: &self.found,
                    parts: &parts,
                    reading: self.reading,
                    preview: &self.preview,
                    now: context.clock.now(),
                    paint: context.err_paint,
                };
                screen.terminal.draw(|frame| draw(frame, &view, self.first, &mut matcher))?;
                let chosen = view.row(self.state.chosen).map(|row| row.id.clone());
                if let Some(chosen) = chosen.filter(|chosen| Some(chosen) != self.looked_at.as_ref())
                    && !self.state.without_preview
                {
                    self.looked_at = Some(chosen.clone());
                    let _ = look.send(chosen);
                }
            }
            changed = false;
            let due = self.found.number < self.asked || !self.found.complete || self.preview.id != self.looked_at;
            // Briefly: for as long as the reader of events waits, a terminal that is gone keeps it busy.
            if !event::poll(READ)? {
                let longest = if due || self.reading { BUSY } else { IDLE };
                if terminal::wait_for_input(io::stdin(), longest) == Input::End {
                    return Err(terminal::hangup());
                }
            } else {
                let area: Rect = screen.terminal.size()?.into();
                let page = usize::from(areas(area, !self.state.without_preview).list.height);
                let act = match event::read()? {
                    Event::Key(key) => self.state.key(key, self.found.hits.len(), page),
                    Event::Paste(text) => self.state.insert(&text),
                    Event::Resize(..) => Act::Redraw,
                    _ => Act::Nothing,
                };
                match act {
                    Act::Nothing => {}
                    Act::Redraw => changed = true,
                    Act::Search => {
                        self.asked += 1;
                        let _ = search.send(Ask::Query(self.asked, self.state.query.clone()));
                        changed = true;
                    }
                    Act::Cancel => return Err(CliError::silent(130)),
                    Act::Accept => {
                        self.settle(told, search);
                        let hit = self.found.hits.get(self.state.chosen);
                        let parts = self.rows.parts();
                        let row = hit.and_then(|hit| parts.get(hit.part as usize)?.get(hit.place as usize));
                        if let Some(row) = row {
                            return Ok(Some(row.id.clone()));
                        }
                    }
                }
            }
            for told in told.try_iter() {
                changed = true;
                self.hear(told, search);
            }
        }
    }

    fn hear(&mut self, told: Told, search: &Sender<Ask>) {
        match told {
            Told::Rows => drop(search.send(Ask::More)),
            Told::AllRows => {
                self.reading = false;
                let _ = search.send(Ask::More);
            }
            Told::Found(found) if found.number == self.asked => {
                self.state.found(found.hits.len());
                self.found = found;
            }
            Told::Found(_) => {}
            Told::Preview(preview) => self.preview = preview,
        }
    }

    /// Waits for what the newest query finds: what is taken is what was typed, however fast.
    fn settle(&mut self, told: &Receiver<Told>, search: &Sender<Ask>) {
        let start = Instant::now();
        let is_open = |picker: &Self| {
            let found = &picker.found;
            let is_partial = picker.reading || !found.complete || found.total < picker.rows.count();
            found.number < picker.asked || found.hits.is_empty() && is_partial
        };
        while is_open(self) && start.elapsed() < PATIENCE {
            match told.recv_timeout(Duration::from_millis(100)) {
                Ok(told) => self.hear(told, search),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }
}
