//! A git that is still running, its output being read.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::SnapshotError;
use crate::git::Git;

/// A git whose output is being read. Dropped before its end, it is killed.
pub(crate) struct Running<'a> {
    pub(crate) git: &'a Git,
    pub(crate) command: String,
    pub(crate) child: Child,
    pub(crate) stderr: File,
}

impl Running<'_> {
    /// Its output, to be read to the end before [`Running::finish`].
    pub(crate) fn stdout(&mut self) -> &mut ChildStdout {
        self.child.stdout.as_mut().expect("stdout is piped, and taken by `finish` alone")
    }

    /// Reads some output; `None` when none came until `deadline`.
    pub(crate) fn read_until(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<Option<usize>> {
        let stdout = self.stdout();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Ok(None);
            }
            let timeout =
                Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&*stdout, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return stdout.read(buffer).map(Some),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for its end and returns what it wrote to stderr; a failure is an error.
    pub(crate) fn finish(mut self) -> Result<String, SnapshotError> {
        let (status, stderr) = self.end()?;
        if status.success() { Ok(stderr) } else { Err(self.git.failure(&[&self.command], status, stderr)) }
    }

    /// Waits for its end, however it ends, and returns what it wrote to stderr.
    pub(crate) fn end(&mut self) -> Result<(ExitStatus, String), SnapshotError> {
        drop(self.child.stdout.take());
        let status = self.child.wait().map_err(SnapshotError::io("run git in", self.git.cwd()))?;
        let mut stderr = Vec::new();
        let read = self.stderr.rewind().and_then(|()| (&self.stderr).take(1 << 20).read_to_end(&mut stderr));
        read.map_err(SnapshotError::io("run git in", self.git.cwd()))?;
        Ok((status, String::from_utf8_lossy(&stderr).trim_end().to_owned()))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Both fail harmlessly on a child already waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
