//! What an image for tests is built from, without a registry: programs of this machine, and real MCP servers from npm.
//!
//! Made once, in the user's cache, and so is podman's storage: what tests build and run there is nobody else's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::npm::{cache, run};

/// Programs of this machine that are put into the image, with the libraries they need.
const PROGRAMS: [&str; 4] = ["node", "curl", "ssh", "bash"];
/// Libraries that programs need which are mounted there: the C library's own, beside it.
const LIBRARIES: [&str; 1] = ["librt.so.1"];

const DOCKERFILE: &str = "\
FROM scratch
COPY libs/ /
COPY busybox /bin/busybox
RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]
COPY programs/ /usr/local/bin/
COPY node_modules /srv/node_modules
COPY shell-mcp.js /srv/shell-mcp.js
RUN mkdir -p /tmp /root /usr/bin && ln -s /bin/busybox /usr/bin/env && ln -sf /usr/local/bin/bash /bin/bash && chmod 1777 /tmp && printf 'root:x:0:0::/root:/bin/sh\\n' >/etc/passwd
ENV PATH=/usr/local/bin:/bin:/srv/node_modules/.bin HOME=/root
";

/// The context of a build, and the variables with which podman keeps to itself.
#[derive(Debug, Clone)]
pub struct Boxes {
    /// The directory with the Dockerfile in it.
    pub context: PathBuf,
    /// To be set for whoever calls podman.
    pub vars: Vec<(String, String)>,
}

/// Makes the context unless it is there. Whoever comes at the same time waits.
///
/// # Errors
/// When a program is missing, npm fails, or the cache cannot be written.
pub fn prepare() -> io::Result<Boxes> {
    let cache = cache()?;
    fs::create_dir_all(&cache)?;
    let lock = fs::File::create(cache.join("boxes.lock"))?;
    lock.lock()?;
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../decklog/tests/servers");
    let mut hash = Sha256::new();
    hash.update(DOCKERFILE);
    hash.update(LIBRARIES.concat());
    for name in ["package-lock.json", "shell-mcp.js"] {
        hash.update(fs::read(manifests.join(name))?);
    }
    for program in PROGRAMS.iter().chain(&["busybox"]) {
        hash.update(find(program)?.metadata()?.len().to_le_bytes());
    }
    let hash: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let context = cache.join(format!("box-{hash}"));
    if !context.exists() {
        eprintln!("preparing what images for tests are built from, in {}", context.display());
        let fresh = tempfile::Builder::new().prefix(".box-").tempdir_in(&cache)?;
        fill(fresh.path(), &manifests)?;
        fs::rename(fresh.keep(), &context)?;
    }
    let dir = cache.join("containers");
    Ok(Boxes { context, vars: settings(&dir, &dir.join("storage"), &dir.join("run"), "")? })
}

fn fill(dir: &Path, manifests: &Path) -> io::Result<()> {
    for name in ["package.json", "package-lock.json"] {
        fs::copy(manifests.join(name), dir.join(name))?;
    }
    run(dir, "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])?;
    fs::copy(manifests.join("shell-mcp.js"), dir.join("shell-mcp.js"))?;
    fs::copy(find("busybox")?, dir.join("busybox"))?;
    fs::create_dir(dir.join("programs"))?;
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let found = find(program)?.canonicalize()?;
        fs::copy(&found, dir.join("programs").join(program))?;
        libraries.extend(libraries_of(&found)?);
    }
    let beside = |library: &&PathBuf| library.file_name().is_some_and(|name| name == "libc.so.6");
    let beside = libraries.iter().find(beside).cloned();
    libraries.extend(LIBRARIES.iter().filter_map(|name| Some(beside.as_ref()?.with_file_name(name))));
    for library in libraries {
        let target = dir.join("libs").join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(library.canonicalize()?, &target)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    }
    fs::create_dir_all(dir.join("libs/etc"))?;
    fs::write(dir.join("Dockerfile"), DOCKERFILE)
}

fn find(program: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{program} is not installed")))
}

/// The libraries that the loader would open for a program, and the loader.
fn libraries_of(program: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Makes a file hold this text. Whoever reads it meanwhile, as other tests do, finds it whole.
fn set(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o644)).tempfile_in(dir)?;
    fresh.write_all(text.as_bytes())?;
    fresh.persist(path)?;
    Ok(())
}

/// Writes podman's settings into `dir`, and gives the variables that name them: a storage of its own in `storage` and `run`,
/// with `more` settings for it, and what containers need on a machine without limits to raise.
///
/// # Errors
/// When they cannot be written.
pub fn settings(dir: &Path, storage: &Path, run: &Path, more: &str) -> io::Result<Vec<(String, String)>> {
    fs::create_dir_all(dir)?;
    let (containers_conf, storage_conf) = (dir.join("containers.conf"), dir.join("storage.conf"));
    let settings =
        "[engine]\nruntime = \"runc\"\n[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1000:1000\"]\n";
    set(&containers_conf, settings)?;
    // An ordinary user's is named by a setting of its own.
    let settings = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = {storage:?}\nrootless_storage_path = {storage:?}\n\
         runroot = {run:?}\n{more}"
    );
    set(&storage_conf, &settings)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(vec![
        ("CONTAINERS_CONF".into(), text(&containers_conf)),
        ("CONTAINERS_STORAGE_CONF".into(), text(&storage_conf)),
        ("BUILDAH_ISOLATION".into(), "chroot".into()),
    ])
}
