//! A container for `decklog mcp`: an image of busybox and a server in shell, and a client on stdio.
//!
//! Must not know: faults, verdicts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::world::World;
use crate::{Result, is_there};

/// The image's name in the configuration.
const IMAGE: &str = "tiny";

const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY server /bin/server\n\
    RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nRUN mkdir -p /tmp /root\nENV PATH=/bin HOME=/root\n";

/// An MCP server with one tool, `look`.
const SERVER: &str = r#"#!/bin/sh
while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case "$line" in
    *'"initialize"'*) result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"tiny","version":"1"}}';;
    *'"tools/list"'*) result='{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}';;
    *'"tools/call"'*) result='{"content":[{"type":"text","text":"looked"}]}'; echo seen >>/workspace/seen.txt;;
    *'"id":'*) echo '{"jsonrpc":"2.0","id":'"$id"',"error":{"code":-32601,"message":"method not found"}}'; continue;;
    *) continue;;
  esac
  echo '{"jsonrpc":"2.0","id":'"$id"',"result":'"$result"'}'
done
"#;

/// Asks, waits for each answer in the file `$1`, and leaves.
const CLIENT: &str = r#"
wait_for() { until grep -q '"id":'"$1"'[,}]' "$2"; do sleep 0.02; done; }
echo '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"tester","version":"1"}}}'
wait_for 1 "$1"
echo '{"jsonrpc":"2.0","method":"notifications/initialized"}'
for id in 2 3 4; do
  echo '{"jsonrpc":"2.0","id":'$id',"method":"tools/call","params":{"name":"tiny__look","arguments":{}}}'
  wait_for $id "$1"
done
"#;

/// Why there can be no container on this machine.
pub(crate) fn obstacle() -> Option<String> {
    let missing = ["podman", "runc", "conmon", "busybox"].into_iter().find(|program| !is_there(program));
    missing.map(|program| format!("{program} is not installed"))
}

/// Makes podman's settings and the image's context below `dir`, and gives the variables that name them.
pub(crate) fn install(dir: &Path) -> Result<Vec<(String, String)>> {
    let context = context(dir);
    fs::create_dir_all(&context)?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    fs::write(context.join("server"), SERVER)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox = std::env::split_paths(&path).map(|dir| dir.join("busybox")).find(|file| file.is_file());
    fs::copy(busybox.ok_or("busybox is not installed")?, context.join("busybox"))?;
    let podman = dir.join("podman");
    Ok(decklog_testkit::boxes::settings(&podman, &podman.join("storage"), &podman.join("run"), "")?)
}

fn context(dir: &Path) -> PathBuf {
    dir.join("context")
}

/// Configures the image in a world and builds it unless it is there.
pub(crate) fn configure(world: &World) -> Result<()> {
    let file = world.path("config/decklog/config.toml");
    let dockerfile = context(&world.shared()).join("Dockerfile");
    let image = format!(
        "[images.{IMAGE}]\ndockerfile = {dockerfile:?}\n[images.{IMAGE}.mcp]\ntiny = [\"sh\", \"/bin/server\"]\n"
    );
    fs::write(&file, fs::read_to_string(&file)? + &image)?;
    let ran = world.decklog(&["build", "--image", IMAGE])?;
    if ran.code == Some(0) { Ok(()) } else { Err(format!("decklog build: {}", ran.stderr).into()) }
}

/// Starts a client whose requests are the stdin of `command`. It ends by itself when it has its answers.
pub(crate) fn client(world: &World, command: &mut Command) -> Result<Child> {
    let answers = world.io("trial.stdout");
    let _ = fs::write(&answers, "");
    let mut client = Command::new("sh");
    client.args(["-c", CLIENT, "client"]).arg(&answers).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn()?;
    if let Some(requests) = client.stdout.take() {
        command.stdin(requests);
    }
    Ok(client)
}

/// Containers of this world.
pub(crate) fn containers(world: &World) -> Result<Vec<String>> {
    let filter = format!("label=decklog.root={}", world.root().display());
    let ran =
        world.run(world.command("podman").args(["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]))?;
    Ok(ran.stdout.lines().map(|name| format!("container {name}")).collect())
}
