//! Several things done at once, each on a thread of its own, while one thread tells the observer what happens.
//!
//! Must not know: what is done.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use decklog_journal::Event;
use decklog_journal::event::EventBody;

use crate::observe::Observer;
use crate::orchestrate::recording::{Recording, RunError};
use crate::supervise::{Raise, Received, Signals, SpawnError};

/// How often signals are looked for meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// What a racer's thread tells the one that looks after all of them.
enum Told {
    Event(Box<Event>),
    Trouble(String),
    /// It is through with what it was at.
    Done,
}

/// Hands what happens to the thread that looks after all.
pub(super) struct Teller(Sender<Told>);

impl Observer for Teller {
    fn event(&mut self, event: &Event) {
        let _ = self.0.send(Told::Event(Box::new(event.clone())));
    }

    fn trouble(&mut self, what: &str) {
        let _ = self.0.send(Told::Trouble(what.to_owned()));
    }
}

/// Does `work` with each of `items` at once, on a thread of its own, telling the observer what happens meanwhile. With
/// `in_order` the next one begins when a turn of the one before has.
pub(super) fn side_by_side<'scope, 'env, I: Sync, T: Send + 'scope>(
    recording: &mut Recording<'_>,
    scope: &'scope Scope<'scope, 'env>,
    items: &'env [I],
    in_order: bool,
    work: impl Fn(&'env I, &Signals, &mut Teller) -> T + Clone + Send + 'scope,
) -> Result<Vec<T>, RunError> {
    let signals: std::io::Result<Vec<(Signals, Raise)>> = items.iter().map(|_| Signals::relayed()).collect();
    let mut signals = signals.map_err(SpawnError::from)?.into_iter();
    let (sender, told) = channel();
    let mut threads: Vec<(ScopedJoinHandle<'scope, T>, Raise)> = Vec::new();
    let (mut begun, mut done) = (0, 0);
    let (mut stopped, mut failure) = (None, None);
    while done < if failure.is_none() { items.len() } else { threads.len() } {
        while failure.is_none() && threads.len() < items.len() && (!in_order || threads.len() == begun.max(done)) {
            let Some((signals, raise)) = signals.next() else { break };
            if let Some(signal) = stopped {
                raise.raise(signal);
            }
            let (item, work, sender) = (&items[threads.len()], work.clone(), sender.clone());
            let thread = Builder::new().spawn_scoped(scope, move || {
                let result = work(item, &signals, &mut Teller(sender.clone()));
                let _ = sender.send(Told::Done);
                result
            });
            match thread {
                Ok(thread) => threads.push((thread, raise)),
                // Those that were started are stopped, and waited for.
                Err(error) => {
                    failure = Some(error);
                    threads.iter().for_each(|(_, raise)| raise.raise(Received::Terminate));
                }
            }
        }
        if threads.is_empty() {
            break;
        }
        match told.recv_timeout(LOOK) {
            Ok(Told::Event(event)) => {
                begun += usize::from(matches!(event.body, EventBody::TurnStart(_)));
                recording.observer.event(&event);
            }
            Ok(Told::Trouble(what)) => recording.observer.trouble(&what),
            Ok(Told::Done) => {
                done += 1;
                begun = begun.max(done);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        recording.observer.idle();
        while let Some(signal) = recording.signals.take() {
            stopped = Some(signal);
            threads.iter().for_each(|(_, raise)| raise.raise(signal));
        }
    }
    // What was told last.
    while let Ok(told) = told.try_recv() {
        match told {
            Told::Event(event) => recording.observer.event(&event),
            Told::Trouble(what) => recording.observer.trouble(&what),
            Told::Done => {}
        }
    }
    let join = |(thread, _): (ScopedJoinHandle<'scope, T>, Raise)| {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    };
    let results = threads.into_iter().map(join).collect();
    failure.map_or(Ok(results), |error| Err(SpawnError::from(error).into()))
}
