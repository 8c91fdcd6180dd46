//! A world of a user who is not root. Where the tests run as root, it is one whom only they know: the files that name users
//! are others in a mount namespace, and what runs there ends with its process namespace. Nothing of the machine is changed.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use decklog_testkit::boxes::{self, Boxes};

use super::world::{configure_from, first_child, podman, prepared, world};
use crate::env::{TestEnv, kill};

/// The user's id, and the group's.
const ID: u32 = 64321;
/// Ids that the user may give away.
const RANGES: &str = "box:200000:65536\n";

/// Makes the namespaces what they are to be, and stays. Says when it is done.
const KEEP: &str = r#"
set -e
cd "$0"
mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
for file in passwd group subuid subgid; do mount --bind $file /etc/$file; done
mount --bind "$1" decklog
mount --bind "$2" context
mount --bind "$3" images
echo ready
sleep infinity &
wait
"#;

/// The process that keeps a user's namespaces.
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        // The first process of the namespace: all the others go with it, and its parent waits for that.
        if let Some(first) = first_child(self.0.id()) {
            kill(first, "KILL");
        }
        let _ = self.0.wait();
    }
}

/// A world of an ordinary user, who has the image. What runs in it ends before its directory is removed.
pub(crate) struct Ordinary {
    _keeper: Option<Keeper>,
    env: TestEnv,
    /// The user's id.
    pub(crate) id: u32,
}

impl Deref for Ordinary {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl DerefMut for Ordinary {
    fn deref_mut(&mut self) -> &mut TestEnv {
        &mut self.env
    }
}

impl Ordinary {
    /// One whose configuration has the image `coding`, with these servers, and more.
    pub(crate) fn new(servers: &str, more: &str) -> Self {
        let id = rustix::process::geteuid();
        if id.is_root() {
            return Self::another(servers, more, RANGES);
        }
        Self { _keeper: None, env: world(servers, more), id: id.as_raw() }
    }

    /// The same, of a user whom only root can make. `ranges`: what `/etc/subuid` says.
    pub(crate) fn another(servers: &str, more: &str, ranges: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes a user of its own: run it as root");
        Self::made((servers, more, ranges), &images(), false)
    }

    /// The same, with the images in the storage `images`: read there, or made.
    fn made((servers, more, ranges): (&str, &str, &str), images: &Path, makes: bool) -> Self {
        let mut env = TestEnv::new();
        let shared = env.top().join("shared");
        for dir in ["context", "images", "../run"] {
            fs::create_dir_all(shared.join(dir)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(shared.join(name), text).unwrap();
        let home = env.home().display().to_string();
        write("passwd", &format!("root:x:0:0::/:/bin/sh\nbox:x:{ID}:{ID}::{home}:/bin/sh\n"));
        write("group", &format!("root:x:0:\nbox:x:{ID}:\n"));
        write("subuid", ranges);
        write("subgid", ranges);
        write("decklog", "");
        let (read, run) = (shared.join("images"), env.top().join("run"));
        let (storage, more_storage) = match makes {
            true => (read, String::new()),
            false => (env.home().join("storage"), format!("[storage.options]\nadditionalimagestores = [{read:?}]\n")),
        };
        let vars = boxes::settings(&shared, &storage, &run.join("containers"), &more_storage).unwrap();
        env.set("XDG_RUNTIME_DIR", &run);
        configure_from(&Boxes { context: shared.join("context"), vars }, &mut env, servers, more);
        fs::set_permissions(env.top(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o700)).unwrap();
        give(&[&run, &env.home(), &env.work()]);

        let program = std::mem::replace(&mut env.program, shared.join("decklog"));
        let mut keeper = Command::new("setpriv");
        keeper.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", KEEP]);
        keeper.args([&shared, &program, &prepared().context]).arg(images);
        let mut keeper = Keeper(keeper.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let mut said = String::new();
        BufReader::new(keeper.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "the user's namespaces are not made");
        let first = first_child(keeper.0.id()).unwrap();
        let mut chdir = OsString::from("--chdir=");
        chdir.push(env.work());
        let words =
            format!("nsenter --target {first} --mount --pid setpriv --reuid {ID} --regid {ID} --clear-groups env");
        env.through = words.split(' ').map(OsString::from).chain([chdir]).collect();
        Self { _keeper: Some(keeper), env, id: ID }
    }
}

/// Makes the user the owner of all that is there.
fn give(places: &[&Path]) {
    let status = Command::new("chown").arg("--recursive").arg(format!("{ID}:{ID}")).args(places).status();
    assert!(status.unwrap().success());
}

/// A storage of the user's with the image in it, made once for all tests.
fn images() -> std::path::PathBuf {
    let context = &prepared().context;
    let lock = fs::File::create(context.with_extension("building-rootless")).unwrap();
    lock.lock().unwrap();
    let store = context.with_extension("rootless");
    if !store.exists() {
        let cache = context.parent().unwrap();
        let fresh = tempfile::Builder::new().prefix(".rootless-").tempdir_in(cache).unwrap();
        give(&[fresh.path()]);
        let maker = Ordinary::made(("", "", RANGES), fresh.path(), true);
        let built = maker.decklog(&["build"]).expect(0).stdout;
        // The first container of an image has podman copy it to the ids that the user has in there.
        podman(&maker, &["run", "--rm", "--userns", "keep-id", "--network", "none", built.trim(), "true"]);
        drop(maker);
        fs::rename(fresh.keep(), &store).unwrap();
    }
    store
}
