//! Ctrl-C and SIGTERM as something to poll for.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// Signals that ask this program to stop.
#[derive(Debug)]
pub struct Signals {
    interrupts: UnixStream,
    terminations: UnixStream,
    /// What came first: 0 nothing, else the signal's number.
    first: AtomicU8,
}

/// Hands signals on to a [`Signals::relayed`].
#[derive(Debug)]
pub struct Raise {
    interrupt: UnixStream,
    terminate: UnixStream,
}

impl Raise {
    /// Hands one on. Who does not listen any more needs none.
    pub fn raise(&self, signal: Received) {
        let mut stream = match signal {
            Received::Interrupt => &self.interrupt,
            Received::Terminate => &self.terminate,
        };
        let _ = stream.write_all(&[0]);
    }
}

/// A request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM, or SIGHUP: the terminal is gone.
    Terminate,
}

impl Signals {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on, for the whole process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        let (interrupts, on_interrupt) = UnixStream::pair()?;
        let (terminations, on_termination) = UnixStream::pair()?;
        for stream in [&interrupts, &terminations] {
            stream.set_nonblocking(true)?;
        }
        signal_hook::low_level::pipe::register(SIGINT, on_interrupt)?;
        signal_hook::low_level::pipe::register(SIGHUP, on_termination.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGTERM, on_termination)?;
        // A file that may grow no more is an error to tell, as a full disk is. Programs that are started get the default.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        Ok(Self { interrupts, terminations, first: AtomicU8::new(0) })
    }

    /// Signals that come from [`Raise`] alone: for one of several programs that are driven at once.
    ///
    /// # Errors
    /// When the system has no more files.
    pub fn relayed() -> io::Result<(Self, Raise)> {
        let (interrupts, interrupt) = UnixStream::pair()?;
        let (terminations, terminate) = UnixStream::pair()?;
        for stream in [&interrupts, &terminations] {
            stream.set_nonblocking(true)?;
        }
        Ok((Self { interrupts, terminations, first: AtomicU8::new(0) }, Raise { interrupt, terminate }))
    }

    pub(super) fn streams(&self) -> [&UnixStream; 2] {
        [&self.interrupts, &self.terminations]
    }

    /// Waits for a signal, but not for longer than `longest`.
    pub fn wait(&self, longest: Duration) {
        let mut fds = self.streams().map(|stream| PollFd::new(stream, PollFlags::IN));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(longest.subsec_nanos()) };
        // Interrupted, or failed: whoever waits looks again.
        let _ = poll(&mut fds, Some(&timeout));
    }

    /// Whether a signal has come that nobody has taken yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let mut fds = self.streams().map(|stream| PollFd::new(stream, PollFlags::IN));
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// A signal that has come since the last call, if one has.
    #[must_use]
    pub fn take(&self) -> Option<Received> {
        let mut byte = [0];
        for (mut stream, received) in
            [(&self.interrupts, Received::Interrupt), (&self.terminations, Received::Terminate)]
        {
            if stream.read(&mut byte).is_ok_and(|count| count == 1) {
                let code = match received {
                    Received::Interrupt => 2,
                    Received::Terminate => 15,
                };
                let _ = self.first.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
                return Some(received);
            }
        }
        None
    }

    /// Takes back a Ctrl-C that came: what it was for is over.
    pub fn forget_interrupt(&self) {
        while let Some(signal) = self.take() {
            if signal == Received::Terminate {
                self.first.store(15, Ordering::Relaxed);
            }
        }
        let _ = self.first.compare_exchange(2, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The first signal that came in this program's life, if any: then no new phase is begun.
    #[must_use]
    pub fn received(&self) -> Option<Received> {
        while self.take().is_some() {}
        match self.first.load(Ordering::Relaxed) {
            0 => None,
            2 => Some(Received::Interrupt),
            _ => Some(Received::Terminate),
        }
    }
}
