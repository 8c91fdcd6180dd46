//! An answer as text, for the record: what a reader of the session wants to see of it.
//!
//! Must not know: anything else.

use rmcp::model::{ContentBlock, ResourceContents, ServerResult};

/// Whether the answer says that it failed, and what it says.
pub(super) fn of_result(result: &ServerResult) -> (bool, String) {
    match result {
        ServerResult::CallToolResult(result) => {
            let mut parts: Vec<String> = result.content.iter().map(block).collect();
            // Servers repeat a structured answer as text; one that does not has said nothing else.
            if let Some(value) = result.structured_content.as_ref().filter(|_| parts.is_empty()) {
                parts.push(value.to_string());
            }
            (result.is_error == Some(true), parts.join("\n"))
        }
        ServerResult::ReadResourceResult(result) => {
            let parts: Vec<String> = result.contents.iter().map(contents).collect();
            (false, parts.join("\n"))
        }
        other => (false, serde_json::to_string(other).unwrap_or_default()),
    }
}

fn block(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => data("image", &image.mime_type, &image.data),
        ContentBlock::Audio(audio) => data("audio", &audio.mime_type, &audio.data),
        ContentBlock::Resource(resource) => contents(&resource.resource),
        ContentBlock::ResourceLink(link) => format!("[{}]", link.uri),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

fn contents(contents: &ResourceContents) -> String {
    match contents {
        ResourceContents::TextResourceContents { text, .. } => text.clone(),
        ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
            data(uri, mime_type.as_deref().unwrap_or("application/octet-stream"), blob)
        }
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// What is no text is named and measured.
fn data(what: &str, mime: &str, base64: &str) -> String {
    format!("[{what}: {mime}, {} bytes]", base64.trim_end_matches('=').len() * 3 / 4)
}
