//! An MCP server for tests, on stdio: tools that answer, fail, wait for each other, say much, end, or never answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};

/// How long callers that are to meet wait for each other.
const MEETING: Duration = Duration::from_secs(60);

/// Name, what it does, and whether it says that it changes nothing.
const TOOLS: [(&str, &str, bool); 8] = [
    ("echo", "Gives `text` back", true),
    ("fail", "Fails, saying `text`", true),
    ("big", "Says `size` characters", true),
    ("meet", "Answers `text` when `count` calls are there at once", true),
    ("env", "The value of the variable `name`", true),
    ("write", "Writes `text` into the file `path`", false),
    ("die", "Ends the server", false),
    ("hang", "Writes the server's and its child's process ids into the file `path`, and never answers", false),
];

#[derive(Default)]
struct Server {
    met: AtomicU64,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
        let schema = schema.as_object().cloned().unwrap_or_default();
        let tool = |(name, what, read_only): (&'static str, &'static str, bool)| {
            Tool::new(name, what, schema.clone()).with_annotations(ToolAnnotations::new().read_only(read_only))
        };
        Ok(ListToolsResult::with_all_items(TOOLS.into_iter().map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::from(request.arguments.unwrap_or_default());
        let text = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| arguments[key].as_u64().unwrap_or_default();
        let said = |text: String| Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into());
        match request.name.as_ref() {
            "echo" => said(text("text")),
            "fail" => Ok(CallToolResult::error(vec![ContentBlock::text(text("text"))]).into()),
            "big" => said("x".repeat(usize::try_from(number("size")).unwrap_or_default())),
            "meet" => {
                self.met.fetch_add(1, Ordering::SeqCst);
                let all = async {
                    while self.met.load(Ordering::SeqCst) < number("count") {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                };
                match tokio::time::timeout(MEETING, all).await {
                    Ok(()) => said(text("text")),
                    Err(_) => Err(ErrorData::internal_error("nobody came", None)),
                }
            }
            "env" => said(std::env::var(text("name")).unwrap_or_else(|_| "(not set)".into())),
            "write" => {
                let written = std::fs::write(text("path"), text("text"));
                said(written.map_or_else(|error| error.to_string(), |()| "written".into()))
            }
            "die" => std::process::exit(3),
            "hang" => {
                let child = std::process::Command::new("sleep").arg("1000").spawn();
                let child = child.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
                let ids = format!("{} {}\n", std::process::id(), child.id());
                // Whole at once: somebody waits for it.
                let staged = text("path") + ".staged";
                let written = std::fs::write(&staged, ids).and_then(|()| std::fs::rename(&staged, text("path")));
                written.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
                std::future::pending().await
            }
            other => Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = Server::default().serve(rmcp::transport::stdio()).await?;
        service.waiting().await?;
        Ok(())
    })
}
