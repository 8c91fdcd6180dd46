//! `mcp`: the servers of an image as one MCP server, for any client, with every call recorded.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::{Subcommand, ValueEnum};
use decklog_journal::{Event, SessionId, SessionStore};
use decklog_run::observe::Observer;
use decklog_run::orchestrate::{McpPlan, McpResult, mcp};
use decklog_run::supervise::Signals;
use decklog_sandbox::gateway::HttpPlace;
use decklog_text::format::{counted, duration};
use decklog_text::visible;
use serde_json::json;

use crate::boxing::Servers;
use crate::config::network::NetworkMode;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::{asking, boxing};

/// The variable that may hold the token of `--listen`.
const TOKEN: &str = "DECKLOG_MCP_TOKEN";

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Starts a container of the image in the working directory, and in it every server of [images.NAME.mcp]. A client sees their tools
as SERVER__TOOL. The session ends when the client leaves.

Examples:
  decklog mcp config --client claude-code     what to paste into a client
  decklog mcp --image coding                  what the client then runs
  decklog mcp --listen 127.0.0.1:7777         streamable HTTP, with a token
  decklog show @                              every call, with arguments and result"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The image's name in the configuration (default: the default image, or the only one)
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Serve streamable HTTP at this address instead of stdio; a port alone means loopback, port 0 a free one
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// What stands between the container and the network (default: as configured, else podman's own network)
    #[arg(long, value_name = "MODE", value_enum)]
    network: Option<NetworkMode>,
    /// Keep the record in this directory, with a link to it under the session root
    #[arg(long, value_name = "DIR")]
    session_dir: Option<PathBuf>,
    /// Record and serve: what is started behind the process that the client sees
    #[arg(long, hide = true)]
    behind: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print what to paste into a client's configuration
    Config {
        /// The client
        #[arg(long, value_enum)]
        client: Client,
        /// The image's name in the configuration
        #[arg(long, value_name = "NAME")]
        image: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Client {
    ClaudeCode,
    Codex,
    Cursor,
    Vscode,
}

pub(crate) fn run(args: Args, context: &Context) -> CliResult {
    if let Some(What::Config { client, image }) = args.what {
        return config(client, image.as_deref(), context);
    }
    if args.listen.is_none() && !args.behind {
        return before(context);
    }
    let config = context.config()?;
    let sandbox = boxing::plan(args.image.as_deref(), (args.network, Servers::All), &config, context)?;
    if sandbox.image.servers.is_empty() {
        let name = &sandbox.image.name;
        return Err(CliError::new(format!("image {name} has no MCP servers")).hint(format!(
            "name some in the configuration:\n\n  [images.{name}.mcp]\n  fs = [\"mcp-server-filesystem\", \"/workspace\"]"
        )));
    }
    let env = asking::environment(&[], context);
    let token = env.iter().find(|(name, _)| name == TOKEN).and_then(|(_, value)| value.to_str().map(str::to_owned));
    let mut setup = asking::setup(None, Vec::new(), args.session_dir, env, &config, context)?;
    setup.secrets.extend(sandbox.secrets.clone());
    let listen = match args.listen {
        Some(address) => {
            if !address.ip().is_loopback() {
                let what = "anybody who reaches this machine and has the token can run tools in the container";
                context.warn(&format!("{address} is not loopback: {what}"));
            }
            Some(HttpPlace { address, token: token.filter(|token| !token.is_empty()).map_or_else(random, Ok)? })
        }
        None => None,
    };
    let mut told = Told { context, token: listen.as_ref().map(|place| place.token.clone()) };
    let plan = McpPlan { sandbox, listen, setup };
    let signals = Signals::install()?;
    let result = mcp(&SessionStore::open(&config.session_root.value), &plan, &signals, &mut told)?;
    tell(&result, context)
}

fn tell(result: &McpResult, context: &Context) -> CliResult {
    let paint = context.err_paint;
    if let Some(error) = &result.error {
        let message = CliError::new(format!("{error} (session {})", result.id));
        return Err(if error.contains("decklog build") { message } else { message.hint(hint(&result.id)) });
    }
    let mut parts = vec![paint.bold(result.id.as_str()), result.outcome.to_string(), counted(result.calls, "call")];
    if result.failed > 0 {
        parts.push(paint.bad(&format!("{} failed", result.failed)));
    }
    parts.push(duration(result.duration_secs));
    context.say(parts.join(" · "));
    if !result.recorded {
        context.say(paint.bad("the record is incomplete: see above for what was not kept"));
    }
    Ok(result.exit_code)
}

fn hint(id: &SessionId) -> String {
    format!("what podman was asked and said: decklog logs {id} container")
}

/// What the user is told while it serves: on stderr, which clients keep as the server's log.
struct Told<'a> {
    context: &'a Context,
    token: Option<String>,
}

impl Observer for Told<'_> {
    fn started(&mut self, id: &SessionId, _: &Path) {
        self.context.say(format!("session {id}"));
    }

    fn building(&mut self, image: &str) {
        self.context.say(format!("making image {}", visible(image)));
    }

    fn build_line(&mut self, line: &str) {
        self.context.say(visible(line));
    }

    fn serving(&mut self, servers: &[(String, Option<String>)], address: Option<SocketAddr>) {
        for (name, wrong) in servers {
            match wrong {
                None => self.context.say(format!("{name} is ready")),
                Some(wrong) => self.context.warn(&format!("{name}: {wrong}")),
            }
        }
        if let (Some(address), Some(token)) = (address, &self.token) {
            // Data: whoever starts this needs both.
            let _ = self.context.print(format!("http://{address}/mcp\nAuthorization: Bearer {token}\n"));
        }
    }

    fn event(&mut self, _: &Event) {}

    fn trouble(&mut self, what: &str) {
        self.context.warn(what);
    }
}

/// Starts the recorder and stands before it. Clients end their servers as they like, many with SIGKILL: it is this process that
/// they end, and the recorder sees its stdin closed, and closes the session and the container.
fn before(context: &Context) -> CliResult {
    let mut arguments = std::env::args_os();
    let _ = arguments.next();
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(arguments).arg("--behind").current_dir(&context.cwd).process_group(0);
    let mut recorder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(mut stdin), Some(mut stdout)) = (recorder.stdin.take(), recorder.stdout.take()) else {
        return Err(CliError::new("the recorder has no stdio"));
    };
    // The pipe is closed with this thread, or when it cannot be started, and the recorder ends.
    std::thread::Builder::new().spawn(move || drop(pass(&mut std::io::stdin().lock(), &mut stdin)))?;
    let _ = pass(&mut stdout, &mut std::io::stdout().lock());
    Ok(recorder.wait()?.code().unwrap_or(2))
}

/// Copies until the end, and holds nothing back.
fn pass(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(&buffer[..read])?;
                to.flush()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Connects stdin and stdout with a socket, until either end is closed.
pub(crate) fn bridge(socket: &Path) -> CliResult {
    let stream = UnixStream::connect(socket)
        .map_err(|error| CliError::new(format!("the session's servers are gone: {}: {error}", socket.display())))?;
    let (mut up, mut down) = (stream.try_clone()?, stream);
    std::thread::Builder::new().spawn(move || {
        let _ = pass(&mut std::io::stdin().lock(), &mut up);
        let _ = up.shutdown(Shutdown::Write);
    })?;
    let _ = pass(&mut down, &mut std::io::stdout().lock());
    Ok(0)
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>().map(loopback).ok();
    let named = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok()).map(loopback);
    let whole = || text.parse::<SocketAddr>().ok();
    port.or(named).or_else(whole).ok_or_else(|| "write an address and port, such as 127.0.0.1:7777, or a port".into())
}

/// A token that nobody guesses: 32 random bytes in hex.
fn random() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn config(client: Client, image: Option<&str>, context: &Context) -> CliResult {
    let config = context.config()?;
    let image = config.image(image)?;
    let args = ["mcp", "--image", image.name.as_str()];
    let (text, place) = match client {
        Client::ClaudeCode => {
            let text = json!({ "mcpServers": { "decklog": { "command": "decklog", "args": args } } });
            let command = format!("claude mcp add decklog -- decklog {}", args.join(" "));
            (format!("{text:#}"), format!("into .mcp.json of the project; or run: {command}"))
        }
        Client::Cursor => {
            let text = json!({ "mcpServers": { "decklog": { "command": "decklog", "args": args } } });
            (format!("{text:#}"), "into .cursor/mcp.json of the project, or ~/.cursor/mcp.json".into())
        }
        Client::Vscode => {
            let text = json!({ "servers": { "decklog": { "type": "stdio", "command": "decklog", "args": args } } });
            (format!("{text:#}"), "into .vscode/mcp.json of the project".into())
        }
        Client::Codex => {
            let words: Vec<String> = args.iter().map(|word| format!("{word:?}")).collect();
            // Required: else it begins to work before the container is there, without the tools.
            let text = format!(
                "[mcp_servers.decklog]\ncommand = \"decklog\"\nargs = [{}]\nrequired = true\nstartup_timeout_sec = 600",
                words.join(", ")
            );
            (text, "into config.toml of CODEX_HOME (~/.codex)".into())
        }
    };
    context.print(format!("{text}\n"))?;
    context.say(place);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_loopback_unless_it_says_otherwise() {
        for (text, address) in [
            ("7777", "127.0.0.1:7777"),
            (":0", "127.0.0.1:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(parse_address(text).map(|address| address.to_string()), Ok(address.into()), "{text}");
        }
        for text in ["", "host", "host:80", "127.0.0.1", "99999"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
