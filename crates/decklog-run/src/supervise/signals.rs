//! Ctrl-C, SIGTERM and SIGHUP as something to poll for.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// Signals that ask this program to stop.
#[derive(Debug)]
pub struct Signals {
    /// One for each of [`Received::ALL`], in that order.
    streams: [UnixStream; Received::ALL.len()],
    /// The other ends of streams that nothing writes to: closed, they would make every `poll` return at once.
    idle: Vec<UnixStream>,
    /// The number of the first signal; 0: none.
    first: AtomicI32,
}

/// Hands signals on to a [`Signals::relayed`].
#[derive(Debug)]
pub struct Raise {
    streams: [UnixStream; Received::ALL.len()],
}

impl Raise {
    /// Hands one on. Who does not listen any more needs none.
    pub fn raise(&self, signal: Received) {
        let [interrupts, terminations, hangups] = &self.streams;
        let mut stream = match signal {
            Received::Interrupt => interrupts,
            Received::Terminate => terminations,
            Received::HangUp => hangups,
        };
        let _ = stream.write_all(&[0]);
    }
}

/// A request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl Received {
    /// Every request.
    pub const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::HangUp];

    /// The signal's number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
            Self::HangUp => SIGHUP,
        }
    }

    /// The exit code of a program that this signal ends: 130, 143 or 129.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        128 + self.number()
    }
}

/// The signals that ask this program to stop: SIGINT, SIGTERM, and SIGHUP unless it was ignored when the program started, as
/// by `nohup`.
#[must_use]
pub fn stop_signals() -> &'static [i32] {
    const ALL: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
    // Asked once, before the first handler takes the place of what was inherited.
    static IS_IGNORED: OnceLock<bool> = OnceLock::new();
    let is_ignored = *IS_IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignored_signals(&status) & 1 << (SIGHUP - 1) != 0
    });
    if is_ignored { &ALL[..2] } else { &ALL }
}

/// The mask of ignored signals in a text of `/proc/PID/status`.
fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether a caught signal ends the program as if it were not caught, since nothing polls for it.
static IS_DEFAULT: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
/// Whether [`Signals::install`] has been called: then something polls for signals to the end.
static IS_INSTALLED: AtomicBool = AtomicBool::new(false);

/// Signals caught for a while, such as by a full-screen program that must restore the terminal. Once it is dropped, a signal
/// ends the program as before, unless [`Signals::install`] was or is called.
#[derive(Debug)]
pub struct CaughtSignals {
    number: Arc<AtomicUsize>,
}

impl CaughtSignals {
    /// Catches [`stop_signals`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        static NUMBER: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
        IS_DEFAULT.store(false, Ordering::SeqCst);
        if let Some(number) = NUMBER.get() {
            number.store(0, Ordering::SeqCst);
            return Ok(Self { number: number.clone() });
        }
        let number = NUMBER.get_or_init(Arc::default);
        for signal in stop_signals() {
            signal_hook::flag::register_conditional_default(*signal, IS_DEFAULT.clone())?;
            signal_hook::flag::register_usize(*signal, number.clone(), signal.unsigned_abs() as usize)?;
        }
        Ok(Self { number: number.clone() })
    }

    /// The number of a signal that came, if one did.
    #[must_use]
    pub fn received(&self) -> Option<i32> {
        i32::try_from(self.number.load(Ordering::SeqCst)).ok().filter(|number| *number != 0)
    }
}

impl Drop for CaughtSignals {
    fn drop(&mut self) {
        IS_DEFAULT.store(!IS_INSTALLED.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Signals {
    /// Catches [`stop_signals`] from now on, for the whole process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        IS_INSTALLED.store(true, Ordering::SeqCst);
        IS_DEFAULT.store(false, Ordering::SeqCst);
        let (mut signals, raise) = Self::relayed()?;
        for (received, stream) in Received::ALL.into_iter().zip(raise.streams) {
            if stop_signals().contains(&received.number()) {
                signal_hook::low_level::pipe::register(received.number(), stream)?;
            } else {
                signals.idle.push(stream);
            }
        }
        // A file that may grow no more is an error to report, as a full disk is. Programs that are started get the default.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        Ok(signals)
    }

    /// Signals that come from [`Raise`] alone: for one of several programs that are driven at once.
    ///
    /// # Errors
    /// When the system has no more files.
    pub fn relayed() -> io::Result<(Self, Raise)> {
        let pair = || {
            let (receiver, sender) = UnixStream::pair()?;
            receiver.set_nonblocking(true)?;
            io::Result::Ok((receiver, sender))
        };
        let ((first, to_first), (second, to_second), (third, to_third)) = (pair()?, pair()?, pair()?);
        let signals = Self { streams: [first, second, third], idle: Vec::new(), first: AtomicI32::new(0) };
        Ok((signals, Raise { streams: [to_first, to_second, to_third] }))
    }

    pub(super) fn streams(&self) -> &[UnixStream] {
        &self.streams
    }

    fn poll(&self, timeout: Timespec) -> bool {
        let mut fds = self.streams.each_ref().map(|stream| PollFd::new(stream, PollFlags::IN));
        // A stream whose sender is closed hangs up: no signal comes from there any more.
        poll(&mut fds, Some(&timeout)).is_ok_and(|_| fds.iter().any(|fd| fd.revents().contains(PollFlags::IN)))
    }

    /// Waits for a signal, but not for longer than `longest`.
    pub fn wait(&self, longest: Duration) {
        // Interrupted, or failed: whoever waits looks again.
        self.poll(Timespec { tv_sec: 0, tv_nsec: i64::from(longest.subsec_nanos()) });
    }

    /// Whether a signal has come that nobody has taken yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.poll(Timespec::default())
    }

    /// A signal that has come since the last call, if one has.
    #[must_use]
    pub fn take(&self) -> Option<Received> {
        let mut byte = [0];
        for (received, mut stream) in Received::ALL.into_iter().zip(&self.streams) {
            if stream.read(&mut byte).is_ok_and(|count| count == 1) {
                let _ = self.first.compare_exchange(0, received.number(), Ordering::Relaxed, Ordering::Relaxed);
                return Some(received);
            }
        }
        None
    }

    /// Takes back a Ctrl-C that came: what it was for is over.
    pub fn forget_interrupt(&self) {
        while let Some(signal) = self.take() {
            if signal != Received::Interrupt {
                self.first.store(signal.number(), Ordering::Relaxed);
            }
        }
        let _ = self.first.compare_exchange(SIGINT, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The first signal that came in this program's life, if any: then no new phase is begun.
    #[must_use]
    pub fn received(&self) -> Option<Received> {
        while self.take().is_some() {}
        let first = self.first.load(Ordering::Relaxed);
        Received::ALL.into_iter().find(|received| received.number() == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_ignored_signals_is_read() {
        let status =
            "Name:\tdecklog\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert_eq!(ignored_signals(status), 0x1001);
        assert_eq!(ignored_signals("Name:\tdecklog\n"), 0);
    }

    #[test]
    fn each_signal_is_received_as_what_it_is() {
        for received in Received::ALL {
            let (signals, raise) = Signals::relayed().expect("streams");
            assert!(!signals.is_pending());
            raise.raise(received);
            assert!(signals.is_pending());
            assert_eq!(signals.received(), Some(received));
            signals.forget_interrupt();
            assert_eq!(signals.received(), Some(received).filter(|received| *received != Received::Interrupt));
        }
    }
}
