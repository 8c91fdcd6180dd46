//! The tools of MCP servers: each server a child process on stdio, in a process group of its own.
//!
//! A server is hostile: what it lists is bounded, what it answers is text, and when it ends or hangs its calls fail and
//! nothing else does. It gets the environment without the variable that holds the key.
//!
//! Must not know: models.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ContentBlock, PaginatedRequestParams, ResourceContents, Tool,
};
use rmcp::service::{RunningService, ServiceError};
use rmcp::{RoleClient, ServiceExt};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::TurnError;
use crate::model::ToolSpec;
use crate::request::{McpServer, Permissions, Request};

/// How long a server may take to begin, and to list its tools: some are installed when they are first started.
const START: Duration = Duration::from_secs(120);
/// How long it may take to end by itself, and then when it is asked to.
const END: Duration = Duration::from_secs(2);
/// Tools of all servers.
const MAX_TOOLS: usize = 512;
/// Bytes that all tools' descriptions and schemas may come to.
const MAX_SPECS: usize = 1024 * 1024;
/// Pages of one server's list.
const MAX_PAGES: usize = 64;
/// Characters of a tool's name, as providers take it.
const MAX_NAME: usize = 64;

/// The servers of one turn.
#[derive(Default)]
pub(crate) struct Servers {
    servers: Vec<Server>,
    /// By the name that the model is given.
    tools: BTreeMap<String, Place>,
    /// The tools, as the model is told of them.
    pub(crate) specs: Vec<ToolSpec>,
    /// Tools that were too many.
    pub(crate) left_out: usize,
}

struct Server {
    name: String,
    process: Process,
    service: RunningService<RoleClient, ()>,
}

/// A server's process, with what it started: all of it ends when this is dropped.
struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // All of it may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Where a tool is.
struct Place {
    server: usize,
    name: String,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: String,
    pub(crate) is_error: bool,
}

impl Servers {
    /// Starts the servers of `request`, and lists their tools.
    ///
    /// # Errors
    /// [`TurnError::Server`] when one cannot be started, or has no list.
    pub(crate) async fn start(&mut self, request: &Request) -> Result<(), TurnError> {
        let several = request.mcp.len() > 1;
        let mut bytes = 0;
        for asked in &request.mcp {
            let failed = |why: String| TurnError::Server { name: asked.name.clone(), why };
            let mut process = spawn(asked, &request.working_dir, request.model.api_key_env.as_deref())
                .map_err(|error| failed(error.to_string()))?;
            let (Some(stdin), Some(stdout)) = (process.child.stdin.take(), process.child.stdout.take()) else {
                return Err(failed("it has no stdin and stdout".into()));
            };
            let started = timeout(START, async {
                let service = ().serve((stdout, stdin)).await.map_err(|error| error.to_string())?;
                let tools = list(&service).await?;
                Ok::<_, String>((service, tools))
            });
            let started = started.await.unwrap_or_else(|_| Err(format!("nothing came for {} s", START.as_secs())));
            let (service, tools) = started.map_err(failed)?;
            let server = self.servers.len();
            self.servers.push(Server { name: asked.name.clone(), process, service });
            for tool in tools {
                let read_only = tool.annotations.as_ref().and_then(|hints| hints.read_only_hint) == Some(true);
                if request.permissions == Permissions::ReadOnly && !read_only {
                    continue;
                }
                let spec = spec(&tool, several.then_some(asked.name.as_str()), read_only, &self.tools);
                bytes += spec.description.len() + Value::from(spec.schema.clone()).to_string().len();
                if self.specs.len() == MAX_TOOLS || bytes > MAX_SPECS {
                    self.left_out += 1;
                    continue;
                }
                self.tools.insert(spec.name.clone(), Place { server, name: tool.name.into_owned() });
                self.specs.push(spec);
            }
        }
        Ok(())
    }

    /// Whether the model's tool `name` says that it changes nothing.
    pub(crate) fn is_read_only(&self, name: &str) -> bool {
        self.specs.iter().any(|spec| spec.name == name && spec.read_only)
    }

    /// Calls the model's tool `name`. What goes wrong is told to the model, and is no error here.
    pub(crate) async fn call(&self, name: &str, arguments: Map<String, Value>, at_most: Duration) -> Outcome {
        let failed = |output: String| Outcome { output, is_error: true };
        let Some(place) = self.tools.get(name) else {
            let names: Vec<&str> = self.tools.keys().map(String::as_str).take(100).collect();
            let name: String = name.chars().take(MAX_NAME).collect();
            return failed(if names.is_empty() {
                format!("There is no tool {name:?}: there are none.")
            } else {
                format!("There is no tool {name:?}. There are: {}.", names.join(", "))
            });
        };
        let Some(server) = self.servers.get(place.server) else {
            return failed("Its server is gone.".into());
        };
        let params = CallToolRequestParams::new(place.name.clone()).with_arguments(arguments);
        match timeout(at_most, server.service.call_tool(params)).await {
            Ok(Ok(result)) => Outcome { is_error: result.is_error == Some(true), output: words(result) },
            Ok(Err(error @ (ServiceError::TransportClosed | ServiceError::TransportSend(_)))) => {
                failed(format!("The server {} has ended, and its tools with it ({error}).", server.name))
            }
            Ok(Err(error)) => failed(format!("The call failed: {error}")),
            Err(_) => failed(format!("The call was given up after {} s.", at_most.as_secs())),
        }
    }

    /// Ends the servers: their stdin is closed, then they are asked, then made to.
    pub(crate) async fn end(&mut self) {
        let ends = self.servers.drain(..).map(|server| async move {
            let Server { mut process, service, .. } = server;
            // With the transport, their stdin is closed.
            let _ = timeout(END, service.cancel()).await;
            if timeout(END, process.child.wait()).await.is_err() {
                process.signal(Signal::TERM);
                let _ = timeout(END, process.child.wait()).await;
            }
        });
        futures_util::future::join_all(ends).await;
    }
}

fn spawn(server: &McpServer, dir: &Path, key: Option<&str>) -> std::io::Result<Process> {
    let Some((program, arguments)) = server.command.split_first() else {
        return Err(std::io::Error::other("its command is empty"));
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir);
    if let Some(key) = key {
        command.env_remove(key);
    }
    command.envs(&server.env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let child = command.process_group(0).spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    Ok(Process { child, group })
}

async fn list(service: &RunningService<RoleClient, ()>) -> Result<Vec<Tool>, String> {
    // Some servers have resources only.
    if service.peer_info().is_some_and(|info| info.capabilities.tools.is_none()) {
        return Ok(Vec::new());
    }
    let mut tools = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page = PaginatedRequestParams::default().with_cursor(cursor.take());
        let page = service.list_tools(Some(page)).await.map_err(|error| error.to_string())?;
        tools.extend(page.tools);
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() > MAX_TOOLS {
            break;
        }
    }
    Ok(tools)
}

fn spec(tool: &Tool, server: Option<&str>, read_only: bool, known: &BTreeMap<String, Place>) -> ToolSpec {
    let mut schema = tool.input_schema.as_ref().clone();
    schema.entry("type").or_insert_with(|| "object".into());
    let whole = match server {
        Some(server) => format!("{server}__{}", tool.name),
        None => tool.name.to_string(),
    };
    let known: HashSet<&str> = known.keys().map(String::as_str).collect();
    ToolSpec {
        name: offered_name(&whole, &known),
        description: tool.description.as_deref().unwrap_or_default().to_owned(),
        schema,
        read_only,
    }
}

/// A name that providers take, and that no other tool has.
fn offered_name(name: &str, known: &HashSet<&str>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let plain: String = name.chars().map(plain).take(MAX_NAME).collect();
    let plain = if plain.is_empty() { "tool".to_owned() } else { plain };
    if !known.contains(plain.as_str()) {
        return plain;
    }
    let numbered = (2..).map(|number: u32| {
        let end = format!("_{number}");
        let head: String = plain.chars().take(MAX_NAME - end.len()).collect();
        head + &end
    });
    numbered.into_iter().find(|name| !known.contains(name.as_str())).unwrap_or(plain)
}

/// A result as text.
fn words(result: CallToolResult) -> String {
    let parts: Vec<String> = result
        .content
        .into_iter()
        .map(|block| match block {
            ContentBlock::Text(text) => text.text,
            ContentBlock::Image(image) => format!("[image, {}, {} bytes]", image.mime_type, decoded(&image.data)),
            ContentBlock::Audio(audio) => format!("[audio, {}, {} bytes]", audio.mime_type, decoded(&audio.data)),
            ContentBlock::Resource(resource) => match resource.resource {
                ResourceContents::TextResourceContents { text, .. } => text,
                ResourceContents::BlobResourceContents { uri, blob, .. } => {
                    format!("[resource {uri}, {} bytes]", decoded(&blob))
                }
                _ => "[resource]".to_owned(),
            },
            ContentBlock::ResourceLink(resource) => format!("[resource {}]", resource.uri),
            _ => "[something else]".to_owned(),
        })
        .collect();
    match result.structured_content {
        Some(value) if parts.is_empty() => value.to_string(),
        _ => parts.join("\n"),
    }
}

/// Bytes that so much base64 stands for, about.
fn decoded(base64: &str) -> usize {
    base64.len() / 4 * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_providers_take() {
        let long = "x".repeat(70);
        let known: HashSet<&str> = ["read", "read_2", &long[..64]].into();
        for (name, expected) in [
            ("write", "write"),
            ("my server__read file", "my_server__read_file"),
            ("läs", "l_s"),
            ("read", "read_3"),
            ("", "tool"),
            (long.as_str(), &format!("{}_2", "x".repeat(62))),
        ] {
            assert_eq!(offered_name(name, &known), expected);
        }
    }
}
