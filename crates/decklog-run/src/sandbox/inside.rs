//! Programs that run in the container themselves: agents that are put there whole, and checks of what they made.
//!
//! Must not know: agents' protocols.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;

use decklog_sandbox::container::{self, Container};
use decklog_sandbox::podman::{Podman, PodmanError};

use super::SandboxError;
use crate::agents::Luggage;

/// The home directory of what runs in the container: in memory alone, so that nothing of it outlives the container.
pub(super) const HOME: &str = "/home/decklog";
/// Bytes of a file that is copied in: credentials are small.
const MAX_FILE: u64 = 1024 * 1024;

/// The agents that run in a session's container, and what each is given of the host.
#[derive(Debug, Clone, Default)]
pub struct BoxedAgents {
    /// By the agent's name.
    pub luggage: Vec<(String, Luggage)>,
}

impl BoxedAgents {
    /// Copies their files in.
    pub(super) fn unpack(&self, container: &Container) -> Result<(), SandboxError> {
        let mut files = Vec::new();
        for (inside, path) in self.luggage.iter().flat_map(|(_, luggage)| &luggage.files) {
            let mut content = Vec::new();
            File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
            files.push((inside.clone(), content));
        }
        Ok(container.put(HOME, &files)?)
    }
}

/// The way into a container.
pub(crate) struct Inside<'a> {
    pub(super) container: &'a Container,
    pub(super) podman: &'a Podman,
    pub(super) agents: &'a BoxedAgents,
    pub(super) workspace: &'a str,
    pub(super) image: &'a str,
}

/// A command that runs in a container, as it is run on the host.
pub(crate) struct Entering {
    /// Program and arguments.
    pub(crate) words: Vec<OsString>,
    /// Its whole environment: podman's.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// To be kept until it has begun.
    _variables: Variables,
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

    /// How `command` is started in it as `agent`, with these variables besides what is handed on of the host's; as nobody:
    /// with nothing of the host's.
    pub(crate) fn enter(
        &self,
        agent: Option<&str>,
        command: &[OsString],
        env: &[(String, String)],
    ) -> std::io::Result<Entering> {
        let mut all = vec![("HOME".to_owned(), HOME.to_owned())];
        let luggage = self.agents.luggage.iter().filter(|(name, _)| Some(name.as_str()) == agent);
        all.extend(luggage.flat_map(|(_, luggage)| luggage.env.iter().cloned()).chain(env.iter().cloned()));
        let variables = Variables::new(&all)?;
        let words = container::exec_words(self.container.name(), &variables.options(), self.workspace, command);
        let started = self.podman.command(&words);
        let env = self.podman.environment().to_vec();
        let words = std::iter::once(started.get_program().to_owned()).chain(words).collect();
        Ok(Entering { words, env, _variables: variables })
    }

    /// Puts a text where what runs in it can read it, and says where that is.
    pub(crate) fn leave_note(&self, name: &str, text: &str) -> Result<std::path::PathBuf, PodmanError> {
        self.container.put(HOME, &[(name.to_owned(), text.as_bytes().to_vec())])?;
        Ok(std::path::Path::new(HOME).join(name))
    }

    /// Ends what was left running in it. What went wrong is said.
    pub(crate) fn tidy(&self) -> Option<String> {
        match self.container.end_others() {
            Ok(true) => None,
            Ok(false) => Some(format!("something goes on in the container {}", self.container.name())),
            Err(error) => Some(error.to_string()),
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
/// own environment is its own.
pub(super) struct Variables(Option<File>);

impl Variables {
    pub(super) fn new(env: &[(String, String)]) -> std::io::Result<Self> {
        if env.is_empty() {
            return Ok(Self(None));
        }
        let mut file = File::from(rustix::fs::memfd_create("variables", rustix::fs::MemfdFlags::CLOEXEC)?);
        for (name, value) in env {
            if value.contains('\n') {
                return Err(std::io::Error::other(format!("the variable {name} has a line break in it")));
            }
            writeln!(file, "{name}={value}")?;
        }
        file.rewind()?;
        Ok(Self(Some(file)))
    }

    /// The options of `podman exec`. Podman opens the file itself: this process must live, and keep it, until then.
    pub(super) fn options(&self) -> Vec<OsString> {
        let Some(file) = &self.0 else { return Vec::new() };
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        vec!["--env-file".into(), path.into()]
    }
}
