//! Work on several things at once, with the results in order. Where no thread can be started, this one does all.
//!
//! Must not know: what the work is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{Builder, ScopedJoinHandle};

/// How many things are worked on before they are handed over.
const CHUNK: usize = 64;

/// With fewer than these a second thread is not worth its start.
const FEW: usize = 4 * CHUNK;

/// How many chunks either thread may be ahead of what has been taken: memory does not grow with the items.
const AHEAD: usize = 8;

/// Does `work` on each of `items` and hands the results to `take`, in order and on this thread, until that breaks off.
/// While this thread takes, the other works ahead.
pub fn on_two_threads<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(R) -> ControlFlow<()>,
) {
    if items.len() < FEW {
        let _ = items.iter().try_for_each(|item| take(work(item)));
        return;
    }
    let next = AtomicUsize::new(0);
    let claim = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let chunk = items.get(number.checked_mul(CHUNK)?..)?;
        (!chunk.is_empty()).then(|| (number, &chunk[..chunk.len().min(CHUNK)]))
    };
    let each = |chunk: &[T]| chunk.iter().map(&work).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let (give, given) = mpsc::sync_channel(AHEAD);
        let ahead = move || {
            while let Some((number, chunk)) = claim() {
                if give.send((number, each(chunk))).is_err() {
                    break;
                }
            }
        };
        let _ = Builder::new().spawn_scoped(scope, ahead);
        let mut ready = BTreeMap::new();
        for number in 0..items.len().div_ceil(CHUNK) {
            let results = loop {
                ready.extend(given.try_iter());
                if let Some(results) = ready.remove(&number) {
                    break results;
                }
                // The other has it, or nobody yet.
                if ready.len() < AHEAD
                    && let Some((number, chunk)) = claim()
                {
                    ready.insert(number, each(chunk));
                } else if let Ok((number, results)) = given.recv() {
                    ready.insert(number, results);
                } else {
                    return; // It panicked, and the scope says so.
                }
            };
            if results.into_iter().try_for_each(&mut take).is_break() {
                return;
            }
        }
    });
}

/// Does both, `second` on another thread.
///
/// # Panics
/// If one of them does.
pub fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl FnOnce() -> B + Send) -> (A, B) {
    let (first, mut others) = on_threads(vec![second], |second| second(), first);
    (first, others.remove(0))
}

/// Does `work` on each of `items`, each on a thread of its own.
///
/// # Panics
/// If `work` does.
pub fn each_on_a_thread<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    on_threads(items, work, || {}).1
}

/// As [`each_on_a_thread`], while this thread does `meanwhile`.
fn on_threads<T: Send, R: Send, M>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
    meanwhile: impl FnOnce() -> M,
) -> (M, Vec<R>) {
    // A thread that does not start takes nothing out of its slot.
    let slots: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let take = |slot: &Mutex<Option<T>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take().map(&work);
    let take = &take;
    std::thread::scope(|scope| {
        let start = |slot| Builder::new().spawn_scoped(scope, move || take(slot)).ok();
        let threads: Vec<_> = slots.iter().map(start).collect();
        let meanwhile = meanwhile();
        let result = |(thread, slot): (Option<ScopedJoinHandle<'_, Option<R>>>, _)| match thread {
            Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => take(slot),
        };
        (meanwhile, threads.into_iter().zip(&slots).filter_map(result).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        assert_eq!(
            each_on_a_thread((0..20).collect(), |item: u32| item * 2),
            (0..20).map(|n| n * 2).collect::<Vec<_>>()
        );
        assert_eq!(both(|| 1, || "two"), (1, "two"));
    }

    #[test]
    fn every_result_comes_once_and_in_order_until_enough_is_taken() {
        for count in [0, 1, FEW - 1, FEW, FEW + 1, 50 * CHUNK + 7] {
            let items: Vec<usize> = (0..count).collect();
            for wanted in [0, 1, CHUNK, count / 2, count] {
                let mut taken = Vec::new();
                on_two_threads(
                    &items,
                    |item| item * 2,
                    |result| {
                        taken.push(result);
                        if taken.len() >= wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    },
                );
                let expected: Vec<usize> = (0..count.min(wanted.max(1))).map(|item| item * 2).collect();
                assert_eq!(taken, expected, "{wanted} of {count}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_of_the_other_thread_is_not_lost() {
        let items: Vec<usize> = (0..10 * FEW).collect();
        let here = std::thread::current().id();
        let elsewhere = std::sync::Barrier::new(2);
        let work = |item: &usize| {
            // Neither goes on before both are at work.
            if item.is_multiple_of(CHUNK) && *item < 2 * CHUNK {
                elsewhere.wait();
            }
            assert!(std::thread::current().id() == here, "elsewhere");
        };
        on_two_threads(&items, work, |()| ControlFlow::Continue(()));
    }
}
