//! One container for one session: made, started, entered, removed; and found again when its recorder is gone.
//!
//! The container's labels say whose it is: session id and session root. Nothing without them is ever touched. Must not
//! know: what runs in it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::image::{CapabilitySet, Image};
use crate::podman::{Podman, PodmanError};
pub use crate::processes::Left;
use crate::processes::Space;
use crate::seccomp;

/// The label that names the session.
const SESSION: &str = "decklog.session";
/// The label that names the session root.
const ROOT: &str = "decklog.root";
/// Seconds that processes get to end by themselves.
const GRACE: &str = "2";

/// What a container is made from.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The session's id.
    pub session: &'a str,
    /// The session root, as a reader would name it.
    pub root: &'a Path,
    /// The image as configured.
    pub image: &'a Image,
    /// What podman calls it.
    pub tag: &'a str,
    /// The working directory on the host.
    pub working_dir: &'a Path,
    /// Whether it may be written to from inside.
    pub writable: bool,
    /// Set: it gets no network but what decklog makes in it, and this file as its `resolv.conf`. Else it gets podman's own.
    pub name_server: Option<PathBuf>,
    /// A directory that is there in memory alone: for what agents that run in it keep.
    pub home: Option<&'a str>,
    /// Whether podman runs as root, with whom the container's root then is one.
    pub as_root: bool,
}

/// A container that exists. Removed by [`Container::remove`], and when it is dropped.
#[derive(Debug)]
pub struct Container {
    podman: Podman,
    name: String,
    /// What podman knows it by: another container of the same name has another.
    id: String,
    removed: bool,
    space: Option<Space>,
}

impl Container {
    /// Makes the container, in which nothing runs yet; and its namespaces, if decklog is to make a network in them. `told`
    /// gets the command, for the transcript. Whoever calls this holds the session: one that is there already was left by a
    /// recorder that was killed, and makes room.
    ///
    /// # Errors
    /// [`PodmanError`]; nothing is left then.
    pub fn create(podman: &Podman, plan: &Plan<'_>, told: &mut dyn FnMut(&[OsString])) -> Result<Self, PodmanError> {
        let name = name_of(plan.session);
        let profile = plan.name_server.as_ref().map(|file| file.with_file_name("seccomp.json"));
        if let Some(profile) = &profile {
            seccomp::write(podman, profile)?;
        }
        let words = create_words(plan, &name, profile.as_deref());
        told(&words);
        let id = match podman.run(&words) {
            Ok(id) => id,
            Err(error) if !remove_left(podman, plan, &name) => return Err(error),
            Err(_) => {
                told(&words);
                podman.run(&words)?
            }
        };
        let id = id.trim().to_owned();
        let container = Self { podman: podman.clone(), name, id, removed: false, space: None };
        // Else it is `start` that makes them: podman is not started once more for it.
        if plan.name_server.is_some() {
            podman.run(&["init", &container.name])?;
        }
        Ok(container)
    }

    /// Lets its processes begin.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn start(&self) -> Result<(), PodmanError> {
        self.podman.run(&["start", &self.name]).map(drop)
    }

    /// The process whose namespaces are the container's: of one that has them.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn pid(&self) -> Result<u32, PodmanError> {
        let said = self.podman.run(&["container", "inspect", "--format", "{{.State.Pid}}", &self.name])?;
        match said.trim().parse() {
            Ok(pid) if pid > 0 => Ok(pid),
            _ => Err(PodmanError::Answer { verb: "container inspect".into(), what: said.trim().to_owned() }),
        }
    }

    /// Puts files into the directory `dir`: paths in it, and contents. Only the container's user may read them.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn put(&self, dir: &str, files: &[(String, Vec<u8>)]) -> Result<(), PodmanError> {
        if files.is_empty() {
            return Ok(());
        }
        let archive = archive(files).map_err(PodmanError::Spawn)?;
        // By podman's standard input, as it stands on no disk then.
        self.podman.feed(&["cp", "-", &format!("{}:{dir}", self.name)], &archive)
    }

    /// Takes hold of its processes, so that they can be told from others: of one that has been started, and before anything
    /// else runs in it.
    ///
    /// # Errors
    /// [`PodmanError`].
    pub fn hold(&mut self) -> Result<(), PodmanError> {
        let pid = self.pid()?;
        let held = Space::of(pid).map_err(PodmanError::Spawn)?;
        // The same still: it was its number all the time.
        if self.pid()? != pid {
            return Err(PodmanError::Answer { verb: "container inspect".into(), what: "it was started anew".into() });
        }
        self.space = Some(held);
        Ok(())
    }

    /// Ends whatever runs in it besides what keeps it alive, if it is held.
    pub fn end_others(&self) -> Left {
        self.space.as_ref().map_or(Left::Something, Space::end_others)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What podman knows it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Removes it, with whatever still runs in it.
    ///
    /// # Errors
    /// [`PodmanError`]; then it may still be there, and `clean` finds it.
    pub fn remove(mut self) -> Result<(), PodmanError> {
        self.removed = true;
        remove(&self.podman, &self.name)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.removed {
            // On the way out of an error, which is what is told.
            let _ = remove(&self.podman, &self.name);
        }
    }
}

/// The words after `podman` that run `command` in the container `name`, in `dir`, with its stdin kept open and further
/// `options`.
pub fn exec_words<S: AsRef<OsStr>>(name: &str, options: &[OsString], dir: &str, command: &[S]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["exec", "--interactive", "--workdir", dir].map(Into::into).to_vec();
    words.extend(options.iter().cloned());
    words.push(name.into());
    words.extend(command.iter().map(|word| word.as_ref().to_owned()));
    words
}

/// The name of a session's container.
#[must_use]
pub fn name_of(session: &str) -> String {
    format!("decklog-{session}")
}

fn remove(podman: &Podman, name: &str) -> Result<(), PodmanError> {
    podman.run_apart(&["rm", "--force", "--ignore", "--time", GRACE, name]).map(drop)
}

/// Removes the container with this id, whose recorder is gone, with whatever runs in it. One that is not there is
/// removed.
///
/// # Errors
/// [`PodmanError`]; then it may still be there, and `clean` finds it.
pub fn remove_orphan(podman: &Podman, id: &str) -> Result<(), PodmanError> {
    podman.run_apart(&["rm", "--force", "--ignore", "--time", "0", id]).map(drop)
}

/// Removes the container of this name, if it was made for this session; says whether it did.
fn remove_left(podman: &Podman, plan: &Plan<'_>, name: &str) -> bool {
    let all = of_root(podman, plan.root).unwrap_or_default();
    let left = all.iter().find(|left| left.name == name && left.session == plan.session);
    left.is_some_and(|left| remove_labelled(podman, left).is_ok())
}

fn create_words(plan: &Plan<'_>, name: &str, profile: Option<&Path>) -> Vec<OsString> {
    let image = plan.image;
    let mut words: Vec<OsString> = ["create", "--name", name, "--init", "--http-proxy=false"].map(Into::into).to_vec();
    let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
    option("--label", format!("{SESSION}={}", plan.session).into());
    option("--label", label(ROOT, plan.root));
    option("--workdir", image.workspace.clone().into());
    option("--mount", mount(plan.working_dir, &image.workspace, plan.writable));
    for extra in &image.mounts {
        option("--mount", mount(&extra.host, &extra.at, extra.writable));
    }
    option("--security-opt", "no-new-privileges".into());
    // Labels of the user's files are the user's: the container is told apart by its namespaces alone.
    option("--security-opt", "label=disable".into());
    match image.capabilities.from {
        CapabilitySet::Default => {}
        CapabilitySet::NoNetRaw => option("--cap-drop", "NET_RAW".into()),
        CapabilitySet::None => option("--cap-drop", "ALL".into()),
    }
    for name in &image.capabilities.add {
        option("--cap-add", name.into());
    }
    for name in &image.capabilities.drop {
        option("--cap-drop", name.into());
    }
    if !plan.as_root {
        // What it writes in the workspace is then the user's; as a user that the image names it could not even write there.
        option("--userns", "keep-id".into());
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        option("--user", format!("{user}:{group}").into());
    }
    if let Some(profile) = profile {
        let mut value = OsString::from("seccomp=");
        value.push(profile);
        option("--security-opt", value);
        // What it sends is then what its sockets say; unless the user wants it so.
        let is_raw = |name: &String| ["NET_RAW", "CAP_NET_RAW"].iter().any(|raw| name.eq_ignore_ascii_case(raw));
        if image.capabilities.from == CapabilitySet::Default && !image.capabilities.add.iter().any(is_raw) {
            option("--cap-drop", "NET_RAW".into());
        }
    }
    if let Some(file) = &plan.name_server {
        option("--network", "none".into());
        option("--mount", mount(file, "/etc/resolv.conf", false));
        option("--add-host", format!("{}:{}", crate::network::HOST_NAME, crate::network::HOST_ADDRESS).into());
    }
    if let Some(home) = plan.home {
        // Nothing of the image's goes there. Agents unpack programs of theirs there. Whoever runs in the container may be any user of it.
        option("--tmpfs", format!("{home}:rw,exec,nosuid,nodev,notmpcopyup,mode=1777").into());
    }
    option("--entrypoint", "[\"sleep\"]".into());
    words.extend([plan.tag.into(), "infinity".into()]);
    words
}

/// Files as a tar archive, with their directories. They belong to whoever runs in the container: as root its root, else the
/// user with the same number.
fn archive(files: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(user.into());
        header.set_gid(group.into());
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content)
    };
    let mut known = std::collections::BTreeSet::new();
    for (path, content) in files {
        let mut dirs: Vec<&Path> = Path::new(path).ancestors().skip(1).filter(|dir| *dir != Path::new("")).collect();
        dirs.reverse();
        for dir in dirs.into_iter().filter_map(Path::to_str) {
            if known.insert(dir.to_owned()) {
                add(dir, tar::EntryType::Directory, 0o700, &[])?;
            }
        }
        add(path, tar::EntryType::Regular, 0o600, content)?;
    }
    archive.into_inner()
}

fn label(name: &str, path: &Path) -> OsString {
    let mut label = OsString::from(format!("{name}="));
    label.push(path);
    label
}

/// A `--mount` value. Podman reads it as a line of CSV, so every field is quoted.
fn mount(host: &Path, at: &str, writable: bool) -> OsString {
    let quoted = |text: String| format!("\"{}\"", text.replace('"', "\"\""));
    let host = quoted(format!("source={}", host.display()));
    let at = quoted(format!("destination={at}"));
    format!("type=bind,{host},{at}{}", if writable { "" } else { ",readonly" }).into()
}

/// A container that carries decklog's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Its name, or its id when it has none.
    pub name: String,
    /// The session it was made for.
    pub session: String,
    /// Whether it runs.
    pub running: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

/// The containers made for sessions of `root`.
///
/// # Errors
/// [`PodmanError`].
pub fn of_root(podman: &Podman, root: &Path) -> Result<Vec<Labelled>, PodmanError> {
    let filter = format!("label={SESSION}");
    let said = podman.run(&["ps", "--all", "--filter", &filter, "--format", "json"])?;
    let listed: Vec<Listed> = decklog_text::json::from_str(said.trim())
        .map_err(|error| PodmanError::Answer { verb: "ps".into(), what: error.to_string() })?;
    let of_root = |listed: &Listed| {
        listed.labels.as_ref().and_then(|labels| labels.get(ROOT)).is_some_and(|label| Path::new(label) == root)
    };
    Ok(listed
        .into_iter()
        .filter(of_root)
        .filter_map(|mut listed| {
            let session = listed.labels.take()?.remove(SESSION)?;
            let name = listed.names.into_iter().next().unwrap_or(listed.id);
            Some(Labelled { name, session, running: listed.state == "running" })
        })
        .collect())
}

/// Removes a container that [`of_root`] listed, if it is still the one that was made for that session. One that is gone by
/// then is removed: what ends a container with its recorder may have been quicker.
///
/// # Errors
/// [`PodmanError`].
pub fn remove_labelled(podman: &Podman, container: &Labelled) -> Result<(), PodmanError> {
    let format = format!("{{{{index .Config.Labels \"{SESSION}\"}}}}");
    let said = match podman.run(&["container", "inspect", "--format", &format, &container.name]) {
        Err(PodmanError::Failed { said, .. }) if said.contains("no such container") => return Ok(()),
        said => said?,
    };
    if said.trim() != container.session {
        let what = format!("{} is not of session {}", container.name, container.session);
        return Err(PodmanError::Answer { verb: "container inspect".into(), what });
    }
    remove(podman, &container.name)
}
