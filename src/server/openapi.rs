//! `/openapi.json`: the route table as an OpenAPI document, with the schemas of requests and what is sure of answers.

use super::doc::{AnswerForm, Doc, QueryKind, asks, get, post, streams};
use super::error::ApiError;
use super::reply::json as respond_json;
use super::schemas::{
    batch, chat, completion, completions, control, decisions, detokenize, embeddings, generate, infill, lookup,
    messages, named, nothing, ollama_chat, ollama_embed, plain_embeddings, prompted, rerank, responses, show, slot,
    tokenize, upload,
};
use super::state::{Access, Call, Route, State};
use axum::body::Body;
use axum::http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

pub(super) const DOCUMENT: Doc = get("This document", AnswerForm::Object(&["openapi", "paths"]));
pub(super) const HEALTH: Doc = get("Whether requests are answered", AnswerForm::Object(&["status"]));
pub(super) const LIVE: Doc = get("Whether the process is there", AnswerForm::Object(&["status"]));
pub(super) const VERSION: Doc = get("The program's version", AnswerForm::Object(&["version"]));
pub(super) const METRICS: Doc = get("Numbers for Prometheus", AnswerForm::Other("text/plain"));
pub(super) const PROPS: Doc = get("What the model is and how it is served", AnswerForm::Object(&["n_ctx"]));
pub(super) const SLOTS: Doc = get("What is being answered", AnswerForm::Json);
pub(super) const SLOT: Doc =
    asks(post("Saves, restores or erases what a slot holds", slot, &["id_slot"]), &[("action", QueryKind::Action)]);
pub(super) const TOKENIZE: Doc = post("Tokens of a text", tokenize, &["tokens"]);
pub(super) const DETOKENIZE: Doc = post("The text of tokens", detokenize, &["content"]);
pub(super) const TEMPLATE: Doc = post("Messages as the model reads them", chat, &["prompt"]);
pub(super) const COMPLETION: Doc = Doc {
    answer: AnswerForm::Json,
    ..streams(post("Goes on with a text, in llama-server's form", completion, &[]), EVENTS)
};
pub(super) const INFILL: Doc =
    Doc { answer: AnswerForm::Json, ..streams(post("Fills in what is missing in a text", infill, &[]), EVENTS) };
pub(super) const MODELS: Doc = get("The models", AnswerForm::Object(&["object", "data"]));
pub(super) const MODEL: Doc = get("A model", AnswerForm::Object(&["id", "object"]));
pub(super) const LOAD: Doc = post("Opens a model", named, &["success"]);
pub(super) const UNLOAD: Doc = post("Closes a model", named, &["success"]);
pub(super) const CHAT: Doc =
    streams(post("Answers a conversation", chat, &["id", "object", "created", "model", "choices", "usage"]), EVENTS);
pub(super) const CONTROL: Doc = post("Ends the thoughts of an answer under way", control, &["success"]);
pub(super) const COMPLETIONS: Doc = streams(
    post("Goes on with a text", completions, &["id", "object", "created", "model", "choices", "usage"]),
    EVENTS,
);
pub(super) const CHAT_TOKENS: Doc = post("Tokens of a conversation", chat, &["input_tokens"]);
pub(super) const RESPONSES: Doc =
    streams(post("Answers a conversation in items", responses, &["id", "object", "status", "output"]), EVENTS);
pub(super) const RESPONSES_TOKENS: Doc = post("Tokens of a conversation in items", responses, &["input_tokens"]);
pub(super) const RESPONSE: Doc = asks(
    streams(get("A stored answer, or its events after one of them", AnswerForm::Object(&["id", "status"])), EVENTS),
    &[("stream", QueryKind::Bool), ("starting_after", QueryKind::Count)],
);
pub(super) const RESPONSE_ITEMS: Doc = asks(
    get("What a stored answer answers, item by item", AnswerForm::Object(&["object", "data", "has_more"])),
    &[("order", QueryKind::Order), ("limit", QueryKind::Page), ("after", QueryKind::Text)],
);
pub(super) const RESPONSE_CANCEL: Doc =
    Doc { body: None, ..post("Ends an answer in the background", nothing, &["id", "status"]) };
pub(super) const RESPONSE_GONE: Doc = get("Forgets a stored answer", AnswerForm::Object(&["id", "deleted"]));
pub(super) const STREAM: Doc = asks(
    get("A stream from one of its bytes on", AnswerForm::Other(EVENTS)),
    &[("conv_id", QueryKind::Needed), ("from", QueryKind::Count)],
);
pub(super) const STREAM_STOP: Doc =
    asks(get("Ends a stream and its work", AnswerForm::Empty), &[("conv_id", QueryKind::Needed)]);
pub(super) const STREAMS: Doc =
    Doc { answer: AnswerForm::Json, ..post("Which of these streams there are", lookup, &[]) };
pub(super) const UPLOAD: Doc =
    Doc { body: Some(upload), ..get("Uploads a file", AnswerForm::Object(&["id", "object"])) };
pub(super) const FILES: Doc = get("Uploaded files", AnswerForm::Object(&["object", "data"]));
pub(super) const FILE: Doc = get("A file", AnswerForm::Object(&["id", "object"]));
pub(super) const FILE_CONTENT: Doc = get("What is in a file", AnswerForm::Other("application/octet-stream"));
pub(super) const FILE_GONE: Doc = get("Deletes a file", AnswerForm::Object(&["id", "deleted"]));
pub(super) const BATCH: Doc = post("Begins a batch", batch, &["id", "object", "status"]);
pub(super) const BATCHES: Doc = get("All batches", AnswerForm::Object(&["object", "data"]));
pub(super) const BATCH_ONE: Doc = get("A batch", AnswerForm::Object(&["id", "object", "status"]));
pub(super) const BATCH_CANCEL: Doc = get("Ends a batch", AnswerForm::Object(&["id", "object", "status"]));
pub(super) const DECISIONS: Doc = post("Answers questions by probabilities", decisions, &["model", "answers", "usage"]);
pub(super) const EMBED_PLAIN: Doc =
    Doc { answer: AnswerForm::Json, ..post("Vectors of texts, in llama-server's form", plain_embeddings, &[]) };
pub(super) const EMBEDDINGS: Doc = post("Vectors of texts", embeddings, &["object", "data", "model", "usage"]);
pub(super) const RERANK: Doc =
    Doc { answer: AnswerForm::Json, ..post("Documents by how well they answer", rerank, &[]) };
pub(super) const MESSAGES: Doc =
    streams(post("Answers a conversation, in Anthropic's form", messages, &["id", "type", "role", "content"]), EVENTS);
pub(super) const COUNT: Doc = post("Tokens of a conversation, in Anthropic's form", messages, &["input_tokens"]);
pub(super) const ROOT: Doc = get("The chat page, to browsers", AnswerForm::Other("text/*"));
pub(super) const TAGS: Doc = get("The models, in Ollama's form", AnswerForm::Object(&["models"]));
pub(super) const PS: Doc = get("The open models, in Ollama's form", AnswerForm::Object(&["models"]));
pub(super) const SHOW: Doc = post("What a model is, in Ollama's form", show, &["details"]);
pub(super) const OLLAMA_CHAT: Doc =
    streams(post("Answers a conversation, in Ollama's form", ollama_chat, &["model", "done"]), LINES);
pub(super) const GENERATE: Doc =
    streams(post("Answers a prompt, in Ollama's form", generate, &["model", "done"]), LINES);
pub(super) const OLLAMA_EMBED: Doc = post("Vectors of texts, in Ollama's form", ollama_embed, &["embeddings"]);
pub(super) const OLLAMA_EMBED_OLD: Doc = post("The vector of a text, in Ollama's older form", prompted, &["embedding"]);

/// `GET /openapi.json`
pub(super) async fn document(state: Arc<State>, _: Call) -> Result<Response<Body>, ApiError> {
    Ok(respond_json(&whole(state.routes, state.keys.are_wanted()), &[]))
}

/// The whole document of these routes, of a server that wants keys or does not.
fn whole(routes: &[Route], keys: bool) -> Value {
    let (mut paths, mut schemas): (Map<String, Value>, Map<String, Value>) = Default::default();
    for route in routes {
        schemas.entry(route.dialect.error_name).or_insert_with(route.dialect.schema);
        let path = route.path.replace("{*", "{");
        let place = paths.entry(path).or_insert_with(|| json!({}));
        place[route.method.to_lowercase()] = operation(route, keys && route.access == Access::Keyed);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "tokki", "version": env!("CARGO_PKG_VERSION"), "description":
                  "Fields that are not listed are ignored and named in the head x-ignored-fields; null is the same as absent." },
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

fn operation(route: &Route, key: bool) -> Value {
    let doc = &route.doc;
    let mut parameters: Vec<Value> = Vec::new();
    if let Some((_, rest)) = route.path.split_once('{') {
        let name = rest.split('}').next().unwrap_or_default().trim_start_matches('*');
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    for (name, kind) in doc.query {
        let (needed, schema) = match kind {
            QueryKind::Bool => (false, json!({ "enum": ["true", "false"] })),
            QueryKind::Count => (false, json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })),
            QueryKind::Needed => (true, json!({ "type": "string", "minLength": 1 })),
            QueryKind::Text => (false, json!({ "type": "string" })),
            QueryKind::Page => (false, json!({ "type": "integer", "minimum": 1, "maximum": 100 })),
            QueryKind::Order => (false, json!({ "enum": ["asc", "desc"] })),
            QueryKind::Action => (true, json!({ "enum": ["save", "restore", "erase"] })),
        };
        parameters.push(json!({ "name": name, "in": "query", "required": needed, "schema": schema }));
    }
    let error = json!({ "$ref": format!("#/components/schemas/{}", route.dialect.error_name) });
    let status = if matches!(doc.answer, AnswerForm::Empty) { "204" } else { "200" };
    let mut responses = Map::new();
    responses.insert(status.to_owned(), json!({ "description": "It is done", "content": content(doc) }));
    let why = "Why it cannot be done";
    responses.insert(
        "default".to_owned(),
        json!({ "description": why, "content": { "application/json": { "schema": error } } }),
    );
    let mut operation = json!({
        "summary": doc.summary, "operationId": format!("{} {}", route.method, route.path),
        "parameters": parameters, "responses": responses,
        "security": if key { json!([{ "key": [] }]) } else { json!([]) },
    });
    if let Some(body) = doc.body {
        let kind = if route.path == "/v1/files" { "multipart/form-data" } else { "application/json" };
        let schema = body();
        let required = schema["required"].as_array().is_some_and(|names| !names.is_empty());
        operation["requestBody"] = json!({ "required": required, "content": { kind: { "schema": schema } } });
    }
    operation
}

fn content(doc: &Doc) -> Value {
    let mut content = match doc.answer {
        AnswerForm::Object(members) => {
            json!({ "application/json": { "schema": { "type": "object", "required": members } } })
        }
        AnswerForm::Json => json!({ "application/json": { "schema": {} } }),
        AnswerForm::Other(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        AnswerForm::Empty => json!({}),
    };
    if let Some(kind) = doc.stream {
        content[kind] = json!({ "schema": { "type": "string" } });
    }
    content
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn the_document_is_the_route_table() {
        let document = whole(ROUTES, true);
        let paths = document["paths"].as_object().unwrap();
        let told: usize = paths.values().map(|place| place.as_object().unwrap().len()).sum();
        assert_eq!(told, ROUTES.len());
        let mut ids = std::collections::HashSet::new();
        for route in ROUTES {
            let operation = &paths[&route.path.replace("{*", "{")][route.method.to_lowercase()];
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{}", route.path);
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{}", route.path);
            assert_eq!(
                operation["parameters"].as_array().unwrap().iter().any(|p| p["in"] == "path"),
                route.path.contains('{')
            );
            let open = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(open, route.access == Access::Public, "{}", route.path);
        }
    }
}
