//! Programs that run in the container themselves: agents that are put there whole, and checks of what they made.
//!
//! Must not know: agents' protocols.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use command_fds::{CommandFdExt as _, FdMapping};
use decklog_sandbox::container::{self, Container, Left};
use decklog_sandbox::podman::{Podman, PodmanError};
use rustix::fs::OFlags;

use super::SandboxError;
use crate::agents::Luggage;
use crate::supervise::INHERITED_FD;

/// The home directory of what runs in the container: in memory alone, so that nothing of it outlives the container.
pub(super) const HOME: &str = "/home/decklog";
/// Bytes of a file that is copied in: credentials are small.
const MAX_FILE: u64 = 1024 * 1024;

/// The agents that run in a session's container, and what each is given of the host.
#[derive(Debug, Clone, Default)]
pub struct BoxedAgents {
    /// By the agent's name.
    pub luggage: Vec<(String, Luggage)>,
    /// Variables that the user sets for all that runs in it.
    pub env: Vec<(String, String)>,
}

/// A file as it is now, if it is one and no longer than credentials are.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let told = |why: String| std::io::Error::other(format!("{}: {why}", path.display()));
    // What is there may have changed since it was found: nothing is waited for.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| told(error.to_string()))?;
    if !file.metadata().map_err(|error| told(error.to_string()))?.is_file() {
        return Err(told("it is no file".into()));
    }
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|error| told(error.to_string()))?;
    if content.len() as u64 > MAX_FILE {
        return Err(told(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(content)
}

/// The way into a container.
pub(crate) struct Inside<'a> {
    pub(super) container: &'a Container,
    pub(super) podman: &'a Podman,
    pub(super) agents: &'a BoxedAgents,
    pub(super) workspace: &'a str,
    pub(super) image: &'a str,
    /// Agents that have had their files.
    pub(super) unpacked: &'a RefCell<Vec<String>>,
}

/// A command that runs in a container, as it is run on the host.
pub(crate) struct Entering {
    /// Program and arguments.
    pub(crate) words: Vec<OsString>,
    /// Its whole environment: podman's.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// What podman reads its variables from.
    pub(crate) variables: Arc<File>,
}

impl Inside<'_> {
    /// Where the working directory is.
    pub(crate) fn workspace(&self) -> &str {
        self.workspace
    }

    /// Whether the container was made for `agent`, too: else it would be there without what it needs.
    pub(crate) fn knows(&self, agent: &str) -> bool {
        self.agents.luggage.iter().any(|(name, _)| name == agent)
    }

    /// How `command` is started in it as `agent`, with these variables besides what is handed on of the host's for it; as
    /// nobody: with what the user sets for all.
    pub(crate) fn enter(
        &self,
        agent: Option<&str>,
        command: &[OsString],
        env: &[(String, String)],
    ) -> Result<Entering, SandboxError> {
        let luggage = self.agents.luggage.iter().find(|(name, _)| Some(name.as_str()) == agent);
        let mut all = vec![("HOME".to_owned(), HOME.to_owned())];
        if let Some((name, luggage)) = luggage {
            self.unpack(name, luggage)?;
            all.extend(luggage.env.iter().cloned());
        }
        all.extend(env.iter().chain(&self.agents.env).cloned());
        let options = Variables::options(&all);
        let variables = Variables::new(&all)?.0;
        let words = container::exec_words(self.container.name(), &options, self.workspace, command);
        let program = self.podman.command(&words).get_program().to_owned();
        let words = std::iter::once(program).chain(words).collect();
        Ok(Entering { words, env: self.podman.environment().to_vec(), variables })
    }

    /// Copies an agent's files in, once: what it makes of them there is its own.
    fn unpack(&self, name: &str, luggage: &Luggage) -> Result<(), SandboxError> {
        if self.unpacked.borrow().iter().any(|known| known == name) {
            return Ok(());
        }
        let files = luggage.files.iter().map(|(inside, path)| Ok((inside.clone(), read(path)?)));
        let files: Vec<_> = files.collect::<std::io::Result<_>>()?;
        self.container.put(HOME, &files)?;
        self.unpacked.borrow_mut().push(name.to_owned());
        Ok(())
    }

    /// Puts a text where what runs in it can read it, and says where that is.
    pub(crate) fn leave_note(&self, name: &str, text: &str) -> Result<PathBuf, PodmanError> {
        self.container.put(HOME, &[(name.to_owned(), text.as_bytes().to_vec())])?;
        Ok(Path::new(HOME).join(name))
    }

    /// Ends what was left running in it. What went wrong is said.
    pub(crate) fn tidy(&self) -> Option<String> {
        let name = self.container.name();
        match self.container.end_others() {
            Left::Nothing => None,
            Left::Something => Some(format!("something may go on in the container {name}")),
            Left::Ended => Some(format!("the container {name} has ended: nothing more can run in it")),
        }
    }

    /// What it means that podman ended with this exit code and these last words, where that is about the container.
    pub(crate) fn explain(&self, exit_code: i32, said: &str, program: &str) -> Option<String> {
        // The runtime's words; a program that is there and is not found by another one says it differently.
        let absent = exit_code == 127 && said.contains("OCI runtime attempted to invoke a command that was not found");
        absent.then(|| {
            let image = self.image;
            format!("the image {image} has no program {program}: install it in its Dockerfile, then run it again")
        })
    }
}

/// Variables for podman to hand on, in a file that exists only in memory: arguments can be read by everybody, and podman's
/// own environment is its own. Podman inherits it, for an ordinary user's is in a user namespace from which it could not
/// open it in this process.
pub(super) struct Variables(Arc<File>);

impl Variables {
    pub(super) fn new(env: &[(String, String)]) -> std::io::Result<Self> {
        let mut file = File::from(rustix::fs::memfd_create("variables", rustix::fs::MemfdFlags::CLOEXEC)?);
        for (name, value) in env {
            if value.contains('\n') {
                return Err(std::io::Error::other(format!(
                    "the variable {name} has a line break in it, which podman cannot hand on"
                )));
            }
            writeln!(file, "{name}={value}")?;
        }
        file.rewind()?;
        Ok(Self(Arc::new(file)))
    }

    /// The options of `podman exec` for these.
    pub(super) fn options(env: &[(String, String)]) -> Vec<OsString> {
        if env.is_empty() { Vec::new() } else { vec!["--env-file".into(), format!("/dev/fd/{INHERITED_FD}").into()] }
    }

    /// Has `command` inherit them.
    pub(super) fn hand_to(&self, command: &mut Command) {
        // A copy that cannot be made is a program without its variables, which says so itself; and the only mapping there is
        // cannot collide with another.
        if let Ok(file) = self.0.try_clone() {
            let _ = command.fd_mappings(vec![FdMapping { parent_fd: file.into(), child_fd: INHERITED_FD }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_files_are_copied_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = |name: &str| dir.path().join(name);
        let limit = usize::try_from(MAX_FILE).expect("it is small");
        std::fs::write(place("whole"), vec![b'x'; limit]).expect("a file");
        std::fs::write(place("long"), vec![b'x'; limit + 1]).expect("a file");
        rustix::fs::mkfifoat(rustix::fs::CWD, place("fifo"), rustix::fs::Mode::RUSR).expect("a fifo");
        assert_eq!(read(&place("whole")).map(|content| content.len()).ok(), Some(limit));
        for (name, why) in [("long", "larger than"), ("fifo", "no file"), (".", "no file"), ("absent", "No such file")]
        {
            let told = read(&place(name)).expect_err(name).to_string();
            assert!(told.contains(why) && told.contains(dir.path().to_str().expect("text")), "{name}: {told}");
        }
    }
}
