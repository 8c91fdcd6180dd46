//! Ending a session's container when its recorder ends, however that ends.
//!
//! A process of its own, in a process group of its own, waits for the recorder's end of a pipe to close. The kernel closes
//! it also after `kill -9`.
//!
//! Must not know: sessions, the network of the container.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use decklog_sandbox::container;
use decklog_sandbox::podman::Podman;

/// The hidden first argument that makes the program a watcher.
pub const WATCH_ARGUMENT: &str = "__container";

/// What the recorder sends when it has removed the container itself.
const REMOVED: u8 = b'r';

/// A process that removes a container when this one ends.
pub(super) struct ContainerWatch(Child);

impl ContainerWatch {
    /// Starts watching over the container with this id. `program`: this one.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub(super) fn start(program: &Path, podman: &Podman, id: &str) -> io::Result<Self> {
        let child = Command::new(program)
            .args([WATCH_ARGUMENT, id])
            .env_clear()
            .envs(podman.environment().iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal, and whatever kills the recorder's group, is not for it.
            .process_group(0)
            .spawn()?;
        Ok(Self(child))
    }

    /// Ends the watch over a container that is removed.
    pub(super) fn release(mut self) {
        if let Some(stdin) = &mut self.0.stdin {
            let _ = stdin.write_all(&[REMOVED]);
        }
    }
}

impl Drop for ContainerWatch {
    fn drop(&mut self) {
        // Closed without a word, the pipe has the container removed.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the program does as a watcher. `arguments`: what follows [`WATCH_ARGUMENT`]. Gives its exit code.
pub fn watch_main(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    let Some(id) = arguments.next().and_then(|id| id.into_string().ok()) else { return 2 };
    let mut word = [0];
    loop {
        match io::stdin().read(&mut word) {
            Ok(0) => break,
            Ok(_) if word[0] == REMOVED => return 0,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let podman = Podman::new(std::env::vars_os().collect());
    i32::from(container::remove_orphan(&podman, &id).is_err())
}
