//! The dialect of llama.cpp's server, and what operators ask of any server.

use super::body::{Fields, kind};
use super::common;
use super::error::ApiError;
use super::models::Served;
use super::paging;
use super::reply::json as respond_json;
use super::state::{Call, State};
use crate::chat::Thinking;
use crate::tokenizer::Special;
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// `GET /health`, `/readyz`: whether new work is taken.
pub(super) async fn health(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    if state.is_draining() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    // What can answer nothing any more gets no requests from those who ask here.
    let is_broken = |model: Arc<Served>| model.engine.llm().model().gguf.intact().is_err();
    if state.models.all().iter().all(|entry| entry.served().is_some_and(is_broken)) {
        return Err(ApiError::broken(
            "the files of all models were changed while they were in use: start the server again",
        ));
    }
    Ok(respond_json(&json!({ "status": "ok" }), &[]))
}

/// `GET /livez`: whether the process answers.
pub(super) async fn live(_: Arc<State>, _: Call) -> Result<Response<Body>> {
    Ok(respond_json(&json!({ "status": "ok" }), &[]))
}

/// `GET /version`
pub(super) async fn version(_: Arc<State>, _: Call) -> Result<Response<Body>> {
    Ok(respond_json(&json!({ "version": env!("CARGO_PKG_VERSION") }), &[]))
}

/// `GET /metrics`
pub(super) async fn metrics(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    if !state.options.metrics {
        return Err(ApiError::unsupported("this server was started with --no-metrics"));
    }
    let mut response =
        Response::new(Body::from(state.metrics.text(&state.models, &state.keys, state.options.vllm_metrics)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert("process-start-time-unix", HeaderValue::from(state.started));
    Ok(response)
}

/// `GET /props`, of the first model or, with `?model=NAME`, of another. One that has been closed is not opened for it.
pub(super) async fn props(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let name = paging::query(&call.uri)?.remove("model");
    let entry = Arc::clone(state.models.find(name.as_deref())?);
    if let (None, Some(mut known)) = (entry.served(), entry.props()) {
        known["is_sleeping"] = true.into();
        return Ok(respond_json(&known, &[]));
    }
    // Looking at it is no use of it: it is not kept open for that.
    let model = match entry.served() {
        Some(model) => model,
        None => state.models.get(name.as_deref()).await?,
    };
    let props = props_of(&model)?;
    entry.keep_props(props.clone());
    Ok(respond_json(&props, &[]))
}

/// Keeps what `/props` says of the first model, for when it will be closed.
pub(super) fn keep_props(state: &State) {
    let Ok(entry) = state.models.find(None) else { return };
    if let (Some(model), None) = (entry.served(), entry.props())
        && let Ok(props) = props_of(&model)
    {
        entry.keep_props(props);
    }
}

fn props_of(model: &Served) -> Result<Value> {
    let (llm, options) = (model.engine.llm(), model.engine.options());
    let defaults = &model.defaults;
    let mut told = common::told(&llm.sampling(&defaults.sampling)?.params());
    told.insert("seed".into(), json!(defaults.seed));
    told.insert("n_predict".into(), json!(defaults.max_tokens));
    let token = |id: Option<u32>| id.and_then(|id| llm.tokenizer().token_text(id)).unwrap_or_default().into_owned();
    let thinking = llm.capabilities().map_or(json!({ "supported": false }), |c| {
        json!({ "supported": c.thinking != Thinking::None, "format": c.format,
                "switch": matches!(c.thinking, Thinking::Switch(_)) })
    });
    Ok(json!({
            "default_generation_settings": {
                "n_ctx": options.session.context,
                "params": told,
            },
            "n_ctx": options.session.context,
            "total_slots": options.parallel,
            "cache_bytes": model.engine.cache().1,
            "cache_budget_bytes": options.shared.as_ref().map(|shared| shared.limit()),
            "model_alias": model.name,
            "model_path": llm.model().gguf.path().display().to_string(),
            "modalities": { "vision": false, "audio": false },
            "chat_template": llm.template().map(|template| template.source()),
            "chat_template_caps": { "supports_tools": llm.capabilities().is_some_and(|c| c.tools) },
            "thinking": thinking,
            "bos_token": token(llm.tokenizer().bos()),
            "eos_token": token(llm.tokenizer().eos()),
            "build_info": common::BUILD,
            "is_sleeping": false,
    }))
}

/// The entry that a request to open or close a model names.
fn named(state: &State, body: &[u8]) -> Result<String> {
    let mut fields = Fields::parse(body)?;
    let name = fields.str("model")?.ok_or_else(|| ApiError::field("model", "is missing"))?;
    let entry = state.models.all().iter().find(|entry| entry.offer.names.contains(&name));
    entry.map(|entry| entry.name().to_owned()).ok_or_else(|| ApiError::no_model(&name))
}

/// `POST /models/load`: opens a model before it is needed.
pub(super) async fn load(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let name = named(&state, &call.body)?;
    state.models.get(Some(&name)).await?;
    Ok(respond_json(&json!({ "success": true }), &[]))
}

/// `POST /models/unload`: closes a model that is not in use.
pub(super) async fn unload(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let name = named(&state, &call.body)?;
    match state.models.close(&name)? {
        true => Ok(respond_json(&json!({ "success": true }), &[])),
        false => Err(ApiError::conflict(format!("model '{name}' is in use"))),
    }
}

/// `POST /tokenize`
pub(super) async fn tokenize(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    // As llama-server calls it, or as vLLM does.
    let content = match fields.take("content").or_else(|| fields.take("prompt")) {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => return Err(ApiError::field("content", format!("a string is wanted, not {}", kind(&other)))),
    };
    let special = if fields.bool("parse_special")?.unwrap_or(true) { Special::Parse } else { Special::Plain };
    let tokenizer = model.engine.llm().tokenizer();
    let tokens = match fields.bool("add_special")?.unwrap_or(false) {
        true => tokenizer.encode_with_bos(&content, special),
        false => tokenizer.encode(&content, special),
    };
    let piece = |id: u32| match std::str::from_utf8(tokenizer.piece(id, true)) {
        Ok(text) => json!({ "id": id, "piece": text }),
        Err(_) => json!({ "id": id, "piece": tokenizer.piece(id, true) }),
    };
    let pieces = fields.bool("with_pieces")?.unwrap_or(false);
    let count = tokens.len();
    let tokens: Vec<Value> = tokens.into_iter().map(|id| if pieces { piece(id) } else { json!(id) }).collect();
    let context = model.engine.options().session.context;
    Ok(respond_json(&json!({ "tokens": tokens, "count": count, "max_model_len": context }), &fields.rest()))
}

/// `POST /detokenize`
pub(super) async fn detokenize(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let llm = model.engine.llm();
    let tokens = fields.array("tokens")?.unwrap_or_default();
    let id = |value: &Value| value.as_u64().filter(|&id| id < llm.model().spec.vocab as u64).map(|id| id as u32);
    let ids: Option<Vec<u32>> = tokens.iter().map(id).collect();
    let ids = ids.ok_or_else(|| ApiError::field("tokens", "token ids of this model are wanted"))?;
    Ok(respond_json(&json!({ "content": llm.tokenizer().decode(&ids, true) }), &fields.rest()))
}
