//! What a client sees: one server that offers what all of them do.
//!
//! Must not know: how the servers are kept alive.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ClientRequest, CompleteRequest,
    CompleteRequestParams, CompleteResult, ContentBlock, DiscoverResult, ErrorCode, GetPromptRequest,
    GetPromptRequestParams, GetPromptResponse, Implementation, InitializeRequestParams, InitializeResult,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequest, ReadResourceRequestParams, ReadResourceResponse, Reference, ServerCapabilities, ServerConfig,
    ServerResult, SetLevelRequestParams, SubscribeRequest, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequest, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::CallKind;
use super::hub::Hub;
use super::server::{Offer, Server, Unanswered};
use super::text;

/// One client's connection.
pub(super) struct Front {
    hub: Arc<Hub>,
    id: u64,
    /// Whether only tools that change nothing are offered.
    reads_only: bool,
    /// Whether the client has said who it is.
    introduced: AtomicBool,
}

impl Front {
    pub(super) fn new(hub: Arc<Hub>, reads_only: bool) -> Self {
        let id = hub.new_id();
        Self { hub, id, reads_only, introduced: AtomicBool::new(false) }
    }

    /// Waits until every server has come up or failed: a list without the slow ones would look like all there is.
    async fn settled(&self) -> &[Arc<Server>] {
        for server in self.hub.servers() {
            server.settled().await;
        }
        self.hub.servers()
    }

    /// What all servers offer of one kind, under the names that clients know it by.
    async fn offered<T: Clone>(&self, of: fn(&Offer) -> &[T], rename: fn(&mut T, &Server)) -> Vec<T> {
        let mut all = Vec::new();
        for server in self.settled().await {
            let offer = server.offer();
            all.extend(of(&offer).iter().cloned().map(|mut one| {
                rename(&mut one, server);
                one
            }));
        }
        all
    }

    /// Asks a server, with the call in the record.
    async fn call(
        &self,
        (name, kind, arguments): (&str, CallKind, Value),
        server: Option<&Arc<Server>>,
        request: ClientRequest,
        context: &RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let open = self.hub.begin(name, kind, &arguments);
        let Some(server) = server else {
            let what = format!("no server here offers {name}");
            open.answered(true, &what);
            return Err(ErrorData::invalid_params(what, None));
        };
        match server.ask(request, context).await {
            Ok(result) => {
                let (failed, said) = text::of_result(&result);
                open.answered(failed, &said);
                Ok(result)
            }
            Err(Unanswered::Refused(error)) => {
                open.answered(true, &error.message);
                Err(error)
            }
            Err(unanswered) => {
                let what = said(server, &unanswered);
                open.answered(true, &what);
                match kind {
                    // The model is to read it, not only its program.
                    CallKind::Tool { .. } => {
                        Ok(ServerResult::CallToolResult(CallToolResult::error(vec![ContentBlock::text(what)])))
                    }
                    CallKind::Resource | CallKind::Prompt => Err(ErrorData::internal_error(what, None)),
                }
            }
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.hub.left(self.id);
    }
}

/// Whether the server says that the tool changes nothing.
fn reads_only(tool: &Tool) -> bool {
    tool.annotations.as_ref().and_then(|annotations| annotations.read_only_hint) == Some(true)
}

fn said(server: &Server, unanswered: &Unanswered) -> String {
    let name = server.name();
    match unanswered {
        Unanswered::Down(why) => format!("the MCP server {name} is not there: {why}; it is being started again"),
        Unanswered::TimedOut(limit) => format!("the MCP server {name} did not answer within {} s", limit.as_secs_f64()),
        Unanswered::TooLong(limit) => format!("the answer of the MCP server {name} is longer than {limit} bytes"),
        Unanswered::Cancelled => "cancelled".into(),
        Unanswered::Refused(error) => error.message.to_string(),
    }
}

fn unexpected(name: &str) -> ErrorData {
    ErrorData::internal_error(format!("{name} was answered with something else"), None)
}

impl ServerHandler for Front {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .build();
        let names: Vec<&str> = self.hub.servers().iter().map(|server| server.name()).collect();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("decklog", env!("CARGO_PKG_VERSION")))
            .with_instructions(format!(
                "The tools of these servers, in a container whose working directory is {}: {}. Every call is recorded.",
                self.hub.workspace(),
                names.join(", ")
            ))
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let result = self.negotiate_initialize(&request)?;
        let client = &request.client_info;
        self.hub.tell().client(&client.name, &client.version, result.protocol_version.as_str());
        self.hub.joined(self.id, context.peer, request.capabilities);
        Ok(result)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        // A client without a handshake says who it is with every request; this is its first, and may come again.
        let version = context.protocol_version();
        if let (Some(client), Some(version)) = (context.client_info(), version)
            && !self.introduced.swap(true, Ordering::Relaxed)
        {
            self.hub.tell().client(&client.name, &client.version, version.as_str());
        }
        Ok(DiscoverResult::from_server_info(self.supported_protocol_versions().into_owned(), self.get_info()))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let rename = |tool: &mut Tool, server: &Server| tool.name = Cow::Owned(Hub::published(server, &tool.name));
        let mut tools = self.offered(|offer| &offer.tools, rename).await;
        tools.retain(|tool| !self.reads_only || reads_only(tool));
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        mut params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = params.name.to_string();
        let route = self.hub.route(&name);
        let reads_only = route.is_some_and(|(server, own)| {
            server.offer().tools.iter().find(|tool| tool.name == own).is_some_and(reads_only)
        });
        // What is not offered is not there.
        let route = route.filter(|_| reads_only || !self.reads_only);
        let arguments = Value::Object(params.arguments.clone().unwrap_or_default());
        if let Some((_, own)) = route {
            params.name = Cow::Owned(own.to_owned());
        }
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let asked = (name.as_str(), CallKind::Tool { reads_only }, arguments);
        match self.call(asked, route.map(|(server, _)| server), request, &context).await? {
            ServerResult::CallToolResult(result) => Ok(CallToolResponse::Complete(result)),
            ServerResult::InputRequiredResult(result) => Ok(CallToolResponse::InputRequired(result)),
            _ => Err(unexpected(&name)),
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompts =
            self.offered(|offer| &offer.prompts, |one, server| one.name = Hub::published(server, &one.name)).await;
        Ok(ListPromptsResult::with_all_items(prompts))
    }

    async fn get_prompt(
        &self,
        mut params: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let name = params.name.clone();
        let route = self.hub.route(&name);
        let arguments = json!({ "name": name, "arguments": params.arguments });
        if let Some((_, own)) = route {
            params.name = own.to_owned();
        }
        let request = ClientRequest::GetPromptRequest(GetPromptRequest::new(params));
        let asked = ("prompts/get", CallKind::Prompt, arguments);
        match self.call(asked, route.map(|(server, _)| server), request, &context).await? {
            ServerResult::GetPromptResult(result) => Ok(GetPromptResponse::Complete(result)),
            ServerResult::InputRequiredResult(result) => Ok(GetPromptResponse::InputRequired(result)),
            _ => Err(unexpected(&name)),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources =
            self.offered(|offer| &offer.resources, |one, server| one.name = Hub::published(server, &one.name)).await;
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let templates =
            self.offered(|offer| &offer.templates, |one, server| one.name = Hub::published(server, &one.name)).await;
        Ok(ListResourceTemplatesResult::with_all_items(templates))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.settled().await;
        let uri = params.uri.clone();
        let server = self.hub.route_uri(&uri);
        let request = ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params));
        let asked = ("resources/read", CallKind::Resource, json!({ "uri": uri }));
        match self.call(asked, server, request, &context).await? {
            ServerResult::ReadResourceResult(result) => Ok(ReadResourceResponse::Complete(result)),
            ServerResult::InputRequiredResult(result) => Ok(ReadResourceResponse::InputRequired(result)),
            _ => Err(unexpected(&uri)),
        }
    }

    async fn complete(
        &self,
        mut params: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let server = match &mut params.r#ref {
            Reference::Prompt(prompt) => {
                let route = self.hub.route(&prompt.name).map(|(server, own)| (server, own.to_owned()));
                route.map(|(server, own)| {
                    prompt.name = own;
                    server
                })
            }
            Reference::Resource(resource) => self.hub.route_uri(&resource.uri),
            _ => None,
        };
        let Some(server) = server else { return Ok(CompleteResult::default()) };
        match server.ask(ClientRequest::CompleteRequest(CompleteRequest::new(params)), &context).await {
            Ok(ServerResult::CompleteResult(result)) => Ok(result),
            // One that cannot complete offers nothing.
            _ => Ok(CompleteResult::default()),
        }
    }

    async fn set_level(&self, params: SetLevelRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.hub.set_level(self.id, params.level);
        for server in self.hub.servers() {
            server.set_level(params.level).await;
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        params: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let uri = params.uri.clone();
        let request = ClientRequest::SubscribeRequest(SubscribeRequest::new(params));
        self.pass(&uri, request, &context).await?;
        self.hub.subscribe(self.id, &uri, true);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        params: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let uri = params.uri.clone();
        self.hub.subscribe(self.id, &uri, false);
        self.pass(&uri, ClientRequest::UnsubscribeRequest(UnsubscribeRequest::new(params)), &context).await
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let id = self.hub.new_id();
        self.hub.listening(id, context.sink().clone());
        context.cancelled().await;
        self.hub.left(id);
        Ok(())
    }

    async fn on_initialized(&self, _: NotificationContext<RoleServer>) {}
}

impl Front {
    async fn pass(
        &self,
        uri: &str,
        request: ClientRequest,
        context: &RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let Some(server) = self.hub.route_uri(uri) else {
            return Err(ErrorData::new(ErrorCode::RESOURCE_NOT_FOUND, format!("no server here offers {uri}"), None));
        };
        match server.ask(request, context).await {
            Ok(_) => Ok(()),
            Err(Unanswered::Refused(error)) => Err(error),
            Err(unanswered) => Err(ErrorData::internal_error(said(server, &unanswered), None)),
        }
    }
}
