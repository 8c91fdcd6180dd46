//! A session's container: opened before its first turn, closed after its last.
//!
//! Must not know: who uses it, agents' protocols.

mod inside;
mod told;
mod watch;

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use decklog_journal::artifacts::{ArtifactWriter, LOGS_DIR};
use decklog_journal::event::Container as ContainerEvent;
use decklog_journal::words::Permissions;
use decklog_sandbox::container::{self, Container, Plan};
use decklog_sandbox::gateway::{Gateway, ServerCommand};
use decklog_sandbox::image::{self, Image, ImageError, ServerSpec};
use decklog_sandbox::network::{About, Mode, NAMESERVER, Network, NetworkError, Policy};
use decklog_sandbox::podman::{Podman, PodmanError};

pub use inside::BoxedAgents;
pub(crate) use inside::Inside;
use inside::Variables;
pub(crate) use told::Told;
use watch::ContainerWatch;
pub use watch::{WATCH_ARGUMENT, watch_main};

use decklog_snapshot::ScratchDir;

use crate::agents::McpServer;
use crate::log::Log;
use crate::observe::Observer;
use crate::turn::not_kept;

/// What a session's container is made from: decided before it begins.
#[derive(Debug, Clone)]
pub struct SandboxPlan {
    /// The image.
    pub image: Image,
    /// Podman.
    pub podman: Podman,
    /// What stands between it and the network; absent: podman's own network, unrecorded.
    pub network: Option<Policy>,
    /// What agents start to reach the servers, before the socket's path: this program.
    pub bridge: Vec<OsString>,
    /// Whether agents keep the tools that they bring themselves.
    pub own_tools: bool,
    /// Set: these agents run in it themselves, and no servers do.
    pub boxed: Option<BoxedAgents>,
    /// Variables of the host that servers are given: what they hold stays out of the record.
    pub secrets: Vec<String>,
}

/// Where a container stands.
pub(crate) struct Place<'a> {
    /// The session root, as whoever looks for containers of it names it.
    pub(crate) root: PathBuf,
    pub(crate) working_dir: &'a Path,
    /// Whether anything in it may write there.
    pub(crate) writable: bool,
    /// Whether podman runs as root.
    pub(crate) as_root: bool,
}

/// What a turn's agent has to work with.
pub(crate) struct Tools {
    pub(crate) mcp: Vec<McpServer>,
    pub(crate) own_tools: bool,
}

impl Default for Tools {
    /// Its own.
    fn default() -> Self {
        Self { mcp: Vec::new(), own_tools: true }
    }
}

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// There is no image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Podman did not do it.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// Its network cannot be made as it is to be.
    #[error("the container has no network: {0}")]
    Network(#[from] NetworkError),
    /// Something else was refused.
    #[error("the container cannot be used: {0}")]
    Io(#[from] std::io::Error),
}

/// A session's container, and what serves its tools.
pub(crate) struct Sandbox {
    container: Container,
    /// Removes the container when this process is killed.
    watch: Option<ContainerWatch>,
    gateway: Gateway,
    told: Arc<Told>,
    transcript: Transcript,
    network: Option<Network>,
    /// A directory that is the session's alone: with the sockets for agents, and what is mounted.
    scratch: ScratchDir,
    serves_agents: bool,
    plan: SandboxPlan,
    /// Agents that have had their files.
    unpacked: RefCell<Vec<String>>,
}

/// What agents start to reach the servers is called this, and their tools' names begin with it.
const SERVER: &str = "decklog";
/// The socket in the scratch directory.
const SOCKET: &str = "mcp.sock";
/// The one that offers nothing that changes anything.
const READING_SOCKET: &str = "reading.sock";

impl Sandbox {
    /// Makes the image if need be, the container, and starts its servers. What happens goes to `logs/container.log` and
    /// into the journal. `told` is who the gateway tells; `early` gets the gateway before there is a container, so that
    /// clients need not wait for a word.
    pub(crate) fn open(
        plan: &SandboxPlan,
        log: &Log,
        place: &Place<'_>,
        told: Arc<Told>,
        observer: &mut dyn Observer,
        early: impl FnOnce(&Gateway),
    ) -> Result<Self, SandboxError> {
        let mut transcript = Transcript::open(log);
        let scratch = ScratchDir::new()?;
        let name = container::name_of(log.id().as_str());
        let served = plan.image.servers.iter().filter(|_| plan.boxed.is_none());
        let servers = served.map(|spec| server(spec, &name, plan)).collect::<Result<_, _>>()?;
        let gateway = Gateway::new(servers, &plan.image.workspace, Arc::clone(&told) as Arc<_>)?;
        early(&gateway);
        let opened = open((plan, scratch.path()), log, place, &told, &mut transcript, observer);
        if let Err(error) = &opened {
            transcript.line(&error.to_string());
        }
        let (container, network, watch) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                gateway.stop();
                return Err(error);
            }
        };
        gateway.open();
        let (plan, unpacked) = (plan.clone(), RefCell::default());
        let serves_agents = false;
        Ok(Self { container, watch, gateway, told, transcript, network, scratch, serves_agents, plan, unpacked })
    }

    /// Lets agents on the host reach the servers.
    pub(crate) fn serve_agents(&mut self) -> Result<(), SandboxError> {
        if self.plan.boxed.is_some() {
            return Ok(());
        }
        self.gateway.serve_socket(&self.scratch.path().join(SOCKET), false)?;
        self.gateway.serve_socket(&self.scratch.path().join(READING_SOCKET), true)?;
        self.serves_agents = true;
        Ok(())
    }

    /// What the agent of a turn with these permissions is given.
    pub(crate) fn tools(&self, permissions: Permissions) -> Tools {
        if !self.serves_agents {
            return Tools::default();
        }
        let mut command = self.plan.bridge.clone();
        let socket = if permissions == Permissions::ReadOnly { READING_SOCKET } else { SOCKET };
        command.push(self.scratch.path().join(socket).into());
        let server = McpServer { name: SERVER.into(), command, env: Vec::new() };
        Tools { mcp: vec![server], own_tools: self.plan.own_tools }
    }

    /// The way in, for agents that run in it.
    pub(crate) fn inside(&self) -> Option<Inside<'_>> {
        let (container, image) = (&self.container, &self.plan.image);
        let (podman, workspace, image) = (&self.plan.podman, image.workspace.as_str(), image.name.as_str());
        self.plan.boxed.as_ref().map(|agents| Inside {
            container,
            podman,
            agents,
            workspace,
            image,
            unpacked: &self.unpacked,
        })
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Ends the servers, removes the container, and closes the logs. What went wrong is told, and what could not be kept is in
    /// the record, as long as that may say so: whether all was kept.
    pub(crate) fn close(mut self, observer: &mut dyn Observer) -> bool {
        self.gateway.stop();
        let name = self.container.name().to_owned();
        let network = self.network.take();
        match self.container.remove() {
            Ok(()) => {
                self.watch.into_iter().for_each(ContainerWatch::release);
                self.transcript.line(&format!("{name} is removed"));
            }
            Err(error) => {
                self.transcript.line(&error.to_string());
                observer.trouble(&format!("{error}; `decklog clean` removes the container {name}"));
            }
        }
        // When nothing is left that could reach for anything.
        if let Some(network) = network {
            let totals = network.stop();
            let (connections, denied) = (totals.connections, totals.denied + totals.questions_denied);
            self.transcript.line(&format!("network: {connections} connections, {denied} refusals"));
        }
        let log = self.transcript.log.clone();
        let (mut lost, troubles) = self.told.finish();
        lost.extend(self.transcript.finish());
        for trouble in troubles {
            observer.trouble(&trouble);
        }
        for what in &lost {
            not_kept(&log, None, what, observer);
        }
        lost.is_empty()
    }
}

fn open(
    (plan, scratch): (&SandboxPlan, &Path),
    log: &Log,
    place: &Place<'_>,
    told: &Arc<Told>,
    transcript: &mut Transcript,
    observer: &mut dyn Observer,
) -> Result<(Container, Option<Network>, Option<ContainerWatch>), SandboxError> {
    let SandboxPlan { image, podman, network, boxed, .. } = plan;
    let observer = std::cell::RefCell::new(observer);
    let transcript = std::cell::RefCell::new(transcript);
    let built = image::ensure(podman, image, false, &mut |tag| observer.borrow_mut().building(tag), &mut |line| {
        transcript.borrow_mut().line(line);
        observer.borrow_mut().build_line(line);
    })?;
    let session = log.id().as_str().to_owned();
    let plan = Plan {
        session: &session,
        root: &place.root,
        image,
        tag: &built.tag,
        working_dir: place.working_dir,
        writable: place.writable,
        name_server: network.as_ref().map(|_| name_server(scratch)).transpose()?,
        home: boxed.as_ref().map(|_| inside::HOME),
        as_root: place.as_root,
    };
    let mut container = Container::create(podman, &plan, &mut |words| transcript.borrow_mut().command(words))?;
    let watch = ContainerWatch::start(Path::new("/proc/self/exe"), podman, container.id())
        .map_err(|error| {
            transcript.borrow_mut().line(&format!("nothing ends the container should decklog be killed: {error}"))
        })
        .ok();
    let mode = match network {
        None => "default",
        Some(Policy { mode: Mode::Audit, .. }) => "audit",
        Some(Policy { mode: Mode::Filter, .. }) => "filter",
    };
    let network = match network {
        None => None,
        Some(policy) => {
            let about = About { session: session.clone(), container: container.name().to_owned() };
            let helper = ["/proc/self/exe".into(), NETWORK_ARGUMENT.into()];
            let recorder = Arc::clone(told) as Arc<_>;
            // Nothing runs in it yet: whatever will is watched from its first packet on.
            Some(Network::attach(container.pid()?, policy.clone(), about, recorder, &helper)?)
        }
    };
    container.start()?;
    if boxed.is_some() {
        container.hold()?;
    }
    transcript.borrow_mut().line(&format!("{} is started", container.name()));
    let event = ContainerEvent {
        image_config_name: image.name.clone(),
        image_tag: built.tag,
        container_name: container.name().to_owned(),
        workspace: image.workspace.clone(),
        network: mode.into(),
        boxed: boxed.is_some(),
    };
    match log.append(event) {
        Ok(event) => observer.borrow_mut().event(&event),
        Err(error) => observer.borrow_mut().trouble(&error.to_string()),
    }
    Ok((container, network, watch))
}

/// The file that names the server that answers the container's questions: decklog.
fn name_server(scratch: &Path) -> std::io::Result<PathBuf> {
    let path = scratch.join("resolv.conf");
    std::fs::write(&path, format!("nameserver {NAMESERVER}\n"))?;
    Ok(path)
}

/// What [`network_main`] is called as.
pub const NETWORK_ARGUMENT: &str = "__netns";

/// The helper that enters a container's namespaces, in a process of its own. `arguments`: what follows
/// [`NETWORK_ARGUMENT`]. Gives its exit code.
pub fn network_main(mut arguments: impl Iterator<Item = OsString>) -> i32 {
    match arguments.next().and_then(|pid| pid.to_str()?.parse().ok()) {
        Some(pid) => decklog_sandbox::network::helper(pid),
        None => 2,
    }
}

fn server(spec: &ServerSpec, container: &str, plan: &SandboxPlan) -> std::io::Result<ServerCommand> {
    let podman = plan.podman.clone();
    let variables = Variables::new(&spec.env)?;
    let words = container::exec_words(container, &Variables::options(&spec.env), &plan.image.workspace, &spec.command);
    let command = move || {
        let mut command = podman.command(&words);
        variables.hand_to(&mut command);
        command
    };
    Ok(ServerCommand { name: spec.name.clone(), command: Box::new(command), call_timeout: spec.call_timeout })
}

/// `logs/container.log`: what podman was asked, and what it said.
struct Transcript {
    file: Option<ArtifactWriter>,
    log: Log,
    trouble: Option<String>,
}

impl Transcript {
    fn open(log: &Log) -> Self {
        let (file, trouble) = match log.log_file(&format!("{LOGS_DIR}/container.log")) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self { file, log: log.clone(), trouble }
    }

    fn line(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        let at = self.log.clock().now();
        if let Err(error) = file.write(format!("{at:.3} {line}\n").as_bytes()) {
            self.trouble = Some(format!("logs/container.log: {error}"));
            self.file = None;
        }
    }

    fn command(&mut self, words: &[OsString]) {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        self.line(&format!("$ podman {}", words.join(" ")));
    }

    fn finish(mut self) -> Option<String> {
        if let Some(Err(error)) = self.file.take().map(ArtifactWriter::finish) {
            self.trouble = Some(format!("logs/container.log: {error}"));
        }
        self.trouble
    }
}
