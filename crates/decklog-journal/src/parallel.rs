//! Work on many things, on two threads, with the results in order.
//!
//! Must not know: what the work is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

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
        scope.spawn(move || {
            while let Some((number, chunk)) = claim() {
                if give.send((number, each(chunk))).is_err() {
                    break;
                }
            }
        });
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

#[cfg(test)]
mod tests {
    use super::*;

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
