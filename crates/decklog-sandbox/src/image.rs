//! Images: what they are made of, and when they are made anew.
//!
//! An image with a Dockerfile is known by its content: the hash over Dockerfile, arguments and the files of the context is
//! its tag, so it is built when that image is not there, and only then. Must not know: configuration files, containers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::FileType;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use decklog_journal::parallel::on_two_threads;
use globset::{GlobBuilder, GlobMatcher};

use crate::podman::{Podman, PodmanError};

/// An image as configured, with every path absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name in the configuration.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Where the working directory is mounted, in the container.
    pub workspace: String,
    /// What else is mounted.
    pub mounts: Vec<Mount>,
    /// What processes in it may do beyond what any process may.
    pub capabilities: Capabilities,
    /// The MCP servers in it, by name.
    pub servers: Vec<ServerSpec>,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is built.
    Build {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// The directory its `COPY` reads.
        context: PathBuf,
        /// Build arguments.
        arguments: BTreeMap<String, String>,
    },
    /// It is there, or podman knows where to get it: `localhost/dev:latest`.
    Ready(String),
}

/// A directory or file of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On the host.
    pub host: PathBuf,
    /// In the container.
    pub at: String,
    /// Whether the container may write there.
    pub writable: bool,
}

/// Linux capabilities of a container, as changes to a beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What it begins with.
    pub from: CapabilitySet,
    /// Added to it.
    pub add: Vec<String>,
    /// Taken from it.
    pub drop: Vec<String>,
}

/// Where capabilities begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CapabilitySet {
    /// What podman gives.
    #[default]
    Default,
    /// The same without raw sockets.
    NoNetRaw,
    /// None at all.
    None,
}

/// Capabilities with which a process could undo its network, or leave the container.
const UNDOING: [&str; 7] = ["ALL", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "BPF"];

impl Capabilities {
    /// The first capability that would let a process undo the network made for it.
    #[must_use]
    pub fn undoing(&self) -> Option<&str> {
        let plain = |name: &str| name.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
        self.add.iter().find(|name| UNDOING.contains(&plain(name).as_str())).map(String::as_str)
    }
}

/// An MCP server in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name, which begins the names of its tools.
    pub name: String,
    /// Program and arguments, in the container.
    pub command: Vec<String>,
    /// Its variables, besides the image's.
    pub env: Vec<(String, String)>,
    /// Ends a call after so long.
    pub call_timeout: Option<Duration>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Podman did not do it.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// Podman did not make it.
    #[error("image {name:?} is not made: {error}")]
    NotMade {
        /// The image.
        name: String,
        /// What podman says.
        error: PodmanError,
    },
    /// What it is made of cannot be read.
    #[error("image {name:?}: {}: {error}", path.display())]
    Read {
        /// The image.
        name: String,
        /// What cannot be read.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A pattern of the ignore file is none.
    #[error("image {name:?}: {}: {what}", path.display())]
    Ignore {
        /// The image.
        name: String,
        /// The ignore file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// An image that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What podman calls it.
    pub tag: String,
    /// Whether it was built just now.
    pub fresh: bool,
}

/// Makes sure that `image` is there; builds it when what it is made of has changed, or when `anew` asks for it, and fetches
/// one that is named and not there. `begin` is told what is made, and `line` each line that podman prints about it.
///
/// # Errors
/// [`ImageError`].
pub fn ensure(
    podman: &Podman,
    image: &Image,
    anew: bool,
    begin: &mut dyn FnMut(&str),
    line: &mut dyn FnMut(&str),
) -> Result<Built, ImageError> {
    let not_made = |error| ImageError::NotMade { name: image.name.clone(), error };
    let (dockerfile, context, arguments) = match &image.source {
        Source::Ready(reference) => {
            let fresh = !podman.asks(&["image", "exists", reference])?;
            if fresh {
                begin(reference);
                podman.tell(&["pull", reference], line).map_err(not_made)?;
            }
            return Ok(Built { tag: reference.clone(), fresh });
        }
        Source::Build { dockerfile, context, arguments } => (dockerfile, context, arguments),
    };
    let hash = content_hash(image, dockerfile, context, arguments)?;
    let tag = format!("localhost/decklog/{}:{}", image.name, &hash[..16]);
    if !anew && podman.asks(&["image", "exists", &tag])? {
        return Ok(Built { tag, fresh: false });
    }
    begin(&tag);
    let mut words: Vec<OsString> = vec!["build".into(), "--tag".into(), tag.clone().into(), "--file".into()];
    words.push(dockerfile.into());
    for (name, value) in arguments {
        words.extend(["--build-arg".into(), format!("{name}={value}").into()]);
    }
    words.extend(["--label".into(), "decklog.image=1".into(), "--http-proxy=false".into()]);
    if anew {
        words.push("--no-cache".into());
    }
    words.push(context.into());
    podman.tell(&words, line).map_err(not_made)?;
    Ok(Built { tag, fresh: true })
}

/// A hash over all that a build reads: 64 hex digits.
fn content_hash(
    image: &Image,
    dockerfile: &Path,
    context: &Path,
    arguments: &BTreeMap<String, String>,
) -> Result<String, ImageError> {
    let read = |path: &Path, error| ImageError::Read { name: image.name.clone(), path: path.to_owned(), error };
    let mut hash = blake3::Hasher::new();
    let mut part = |tag: &[u8], bytes: &[u8]| {
        hash.update(tag);
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(b"dockerfile", &std::fs::read(dockerfile).map_err(|error| read(dockerfile, error))?);
    for (name, value) in arguments {
        part(b"argument", format!("{name}={value}").as_bytes());
    }
    let ignore = Ignore::read(image, context, dockerfile)?;
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        let dir = context.join(&below);
        let mut entries: Vec<_> = std::fs::read_dir(&dir)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| read(&dir, error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = below.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| read(&context.join(&path), error))?;
            // What git keeps changes with every commit, and no build should depend on it.
            if ignore.leaves_out(&path) || path == Path::new(".git") {
                continue;
            }
            if kind.is_dir() {
                left.push(path.clone());
            }
            found.push((path, kind));
        }
    }
    // Every session with a container waits for this.
    let look = |(path, kind): &(PathBuf, FileType)| {
        let full = context.join(path);
        parts_of(&full, path, *kind).map_err(|error| read(&full, error))
    };
    let mut looked = Ok(());
    on_two_threads(&found, look, |parts| match parts {
        Ok(parts) => {
            parts.iter().for_each(|(tag, bytes)| part(tag, bytes));
            ControlFlow::Continue(())
        }
        Err(error) => {
            looked = Err(error);
            ControlFlow::Break(())
        }
    });
    looked.map(|()| hash.finalize().to_hex().to_string())
}

/// What is to be said of an entry of a context, each with a word for what it is.
type Parts = Vec<(&'static [u8], Vec<u8>)>;

fn parts_of(full: &Path, path: &Path, kind: FileType) -> std::io::Result<Parts> {
    let name = path.as_os_str().as_encoded_bytes().to_owned();
    Ok(if kind.is_dir() {
        vec![(b"directory", name)]
    } else if kind.is_symlink() {
        vec![(b"link", name), (b"to", std::fs::read_link(full)?.into_os_string().into_encoded_bytes())]
    } else if kind.is_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let (digest, mode) = file_hash(full)?;
        vec![(b"file", name), (if mode.mode() & 0o111 == 0 { b"plain" } else { b"program" }, digest)]
    } else {
        Vec::new()
    })
}

fn file_hash(path: &Path) -> std::io::Result<(Vec<u8>, std::fs::Permissions)> {
    let mut file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions();
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hash.finalize().as_bytes().to_vec(), mode)),
            read => {
                hash.update(&buffer[..read]);
            }
        }
    }
}

/// What an ignore file keeps out of a context, as docker reads it: patterns from the context's top, `!` for exceptions.
struct Ignore {
    out: Vec<GlobMatcher>,
    back: Vec<GlobMatcher>,
}

impl Ignore {
    fn read(image: &Image, context: &Path, dockerfile: &Path) -> Result<Self, ImageError> {
        let mut beside = dockerfile.as_os_str().to_owned();
        beside.push(".dockerignore");
        let mut ignore = Self { out: Vec::new(), back: Vec::new() };
        for path in [beside.into(), context.join(".containerignore"), context.join(".dockerignore")] {
            let path: PathBuf = path;
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (pattern, list) = match line.strip_prefix('!') {
                    Some(pattern) => (pattern, &mut ignore.back),
                    None => (line, &mut ignore.out),
                };
                let pattern = pattern.trim().trim_start_matches("./").trim_matches('/');
                let glob = GlobBuilder::new(pattern).literal_separator(true).build();
                let bad = |error: globset::Error| ImageError::Ignore {
                    name: image.name.clone(),
                    path: path.clone(),
                    what: error.to_string(),
                };
                list.push(glob.map_err(bad)?.compile_matcher());
            }
            // Podman reads the first that is there.
            break;
        }
        Ok(ignore)
    }

    /// Whether no build can see `path`. With exceptions, only what is surely left out is: more in the hash than in the
    /// build means a build too many, never one too few.
    fn leaves_out(&self, path: &Path) -> bool {
        let matches = |list: &[GlobMatcher]| path.ancestors().any(|part| list.iter().any(|glob| glob.is_match(part)));
        self.back.is_empty() && matches(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(dir: &Path, arguments: &[(&str, &str)]) -> Image {
        let arguments = arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Image {
            name: "coding".into(),
            source: Source::Build { dockerfile: dir.join("Dockerfile"), context: dir.to_owned(), arguments },
            workspace: "/workspace".into(),
            mounts: Vec::new(),
            capabilities: Capabilities::default(),
            servers: Vec::new(),
        }
    }

    fn hash(dir: &Path, arguments: &[(&str, &str)]) -> String {
        let image = image(dir, arguments);
        let Source::Build { dockerfile, context, arguments } = &image.source else { panic!("it is built") };
        content_hash(&image, dockerfile, context, arguments).expect("a hash")
    }

    #[test]
    fn an_image_is_another_one_when_what_a_build_reads_is() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let write = |dir: &Path, path: &str, text: &str| std::fs::write(dir.join(path), text).expect("a file");
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path();
        for sub in ["src", "logs", ".git"] {
            std::fs::create_dir(dir.join(sub)).expect("a directory");
        }
        write(dir, "Dockerfile", "FROM scratch\n");
        write(dir, "src/a", "1");
        write(dir, ".dockerignore", "# what nobody needs\nlogs\n/*.tmp\n");
        let mut seen = vec![hash(dir, &[])];
        let mut is_new = |what: &str, new: bool, arguments: &[(&str, &str)]| {
            let now = hash(dir, arguments);
            assert_eq!(!seen.contains(&now), new, "{what}");
            seen.push(now);
        };
        is_new("nothing", false, &[]);
        is_new("an argument", true, &[("A", "1")]);
        is_new("its value", true, &[("A", "2")]);
        write(dir, "src/a", "2");
        is_new("a file", true, &[]);
        std::fs::set_permissions(dir.join("src/a"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        is_new("a program", true, &[]);
        std::fs::rename(dir.join("src/a"), dir.join("src/b")).expect("a name");
        is_new("a name", true, &[]);
        symlink("a", dir.join("link")).expect("a link");
        is_new("a link", true, &[]);
        write(dir, "Dockerfile", "FROM scratch\nLABEL a=b\n");
        is_new("the Dockerfile", true, &[]);
        write(dir, "logs/today", "much");
        write(dir, "x.tmp", "much");
        write(dir, ".git/index", "changed");
        is_new("what is left out", false, &[]);
        write(dir, "src/y.tmp", "much");
        is_new("what is left out at the top alone", true, &[]);
        write(dir, ".dockerignore", "logs\n!logs/today\n");
        is_new("the ignore file, which is read too", true, &[]);
        write(dir, "logs/today", "more");
        is_new("an exception", true, &[]);
    }

    #[test]
    fn what_undoes_a_network_is_known_by_any_spelling() {
        for (name, undoes) in
            [("NET_ADMIN", true), ("cap_net_admin", true), ("all", true), ("SYS_ADMIN", true), ("CHOWN", false)]
        {
            let capabilities = Capabilities { add: vec!["FOWNER".into(), name.into()], ..Capabilities::default() };
            assert_eq!(capabilities.undoing().is_some(), undoes, "{name}");
        }
    }
}
