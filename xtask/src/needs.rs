//! What the tests need on the machine beyond Rust, git and node, and how it gets there.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Result, is_there};

/// A program that tests call, the Debian package that has it, and megabytes on disk.
struct Need {
    program: &'static str,
    package: &'static str,
    megabytes: u32,
}

const fn need(program: &'static str, package: &'static str, megabytes: u32) -> Need {
    Need { program, package, megabytes }
}

const NEEDS: &[Need] = &[
    need("strace", "strace", 3),
    need("jq", "jq", 1),
    need("python3", "python3", 35),
    // It has no program: what is checked is that the package is there.
    need("/var/lib/dpkg/info/python3-venv.list", "python3-venv", 6),
    need("tmux", "tmux", 2),
    need("script", "bsdutils", 1),
    need("zstd", "zstd", 2),
    need("ps", "procps", 2),
    // The clock that a program sees: its library is used, and the package is what is checked.
    need("/var/lib/dpkg/info/faketime.list", "faketime", 1),
    need("chattr", "e2fsprogs", 2),
    // The box.
    need("podman", "podman", 60),
    need("runc", "runc", 12),
    need("conmon", "conmon", 1),
    need("catatonit", "catatonit", 1),
    need("/usr/lib/podman/netavark", "netavark", 10),
    need("iptables", "iptables", 3),
    need("nft", "nftables", 1),
    need("ip", "iproute2", 4),
    need("unshare", "util-linux", 5),
    need("newuidmap", "uidmap", 1),
    need("slirp4netns", "slirp4netns", 1),
    need("busybox", "busybox-static", 2),
    need("curl", "curl", 1),
    need("ssh", "openssh-client", 6),
    need("openssl", "openssl", 2),
    // Servers behind a filter.
    need("/usr/sbin/nginx", "nginx-light", 3),
    need("/usr/sbin/haproxy", "haproxy", 5),
    // The page.
    need("chromium", "chromium", 320),
    need("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core", 3),
];

/// Says what is missing and how big it is, installs it, and gives the directory of the agents' programs.
pub(crate) fn install() -> Result<PathBuf> {
    for (program, why) in [("git", "decklog runs it"), ("node", "agents run on it"), ("npm", "it installs the agents")]
    {
        if !is_there(program) {
            return Err(format!("{program} is not installed ({why}): install it first").into());
        }
    }
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_there(need.program)).collect();
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    println!("The tests need, beyond Rust, git and node:");
    for need in NEEDS {
        let state = if is_there(need.program) {
            "there".to_owned()
        } else {
            format!("to be installed, about {} MB", need.megabytes)
        };
        println!("  Debian package {:<17} {state}", need.package);
    }
    let agents = if decklog_testkit::agents::installed().is_some() {
        "there"
    } else {
        "to be installed, about 1.1 GB in the user's cache, by npm"
    };
    println!("  agents   at locked versions       {agents}");
    let atif = if decklog_testkit::atif::installed().is_some() {
        "there"
    } else {
        "to be installed, about 25 MB in the user's cache, by pip"
    };
    println!("  atif     at a locked version      {atif}");
    let page = if decklog_testkit::page::installed().is_some() {
        "there"
    } else {
        "to be installed, about 85 MB in the user's cache, by npm"
    };
    println!("  page     at locked versions       {page}");
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    decklog_testkit::atif::install()?;
    decklog_testkit::page::install()?;
    Ok(decklog_testkit::agents::install()?)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if !is_there("apt-get") {
        return Err(format!("install these with your system's package manager (Debian: {by_hand})").into());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(format!("these have to be installed by root: sudo {by_hand}").into());
    }
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-qq", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("apt-get {}: {status}", arguments.join(" ")).into()) }
}
