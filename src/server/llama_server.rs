//! The dialect of llama.cpp's server, and what operators ask of any server.

use super::body::{Fields, kind};
use super::error::{ApiError, Dialect};
use super::openai;
use super::request::{self, Ask, Input, Progress, Running};
use super::routes::{Call, State, json as respond_json, note_ignored};
use super::stream::{self, Writer, data};
use crate::chat::{Thinking, Vars};
use crate::engine::{Finish, Stats};
use crate::tokenizer::Special;
use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Result<T> = std::result::Result<T, ApiError>;

/// Most prompts in one request.
const MAX_PROMPTS: usize = 256;

/// `GET /health`, `/readyz`: whether new work is taken.
pub(super) async fn health(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    if state.draining.load(Ordering::Relaxed) {
        return Err(ApiError::unavailable("the server is stopping"));
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
    let mut response = Response::new(Body::from(state.metrics.text(&state.models)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET /props`
pub(super) async fn props(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    let model = state.models.get(None)?;
    let (llm, options) = (model.engine.llm(), model.engine.options());
    let params = llm.sampling(&Default::default())?.params();
    let token = |id: Option<u32>| id.and_then(|id| llm.tokenizer().token_text(id)).unwrap_or_default().into_owned();
    let thinking = llm.capabilities().map_or(json!({ "supported": false }), |c| {
        json!({ "supported": c.thinking != Thinking::None, "format": c.format,
                "switch": matches!(c.thinking, Thinking::Switch(_)) })
    });
    Ok(respond_json(
        &json!({
            "default_generation_settings": {
                "n_ctx": options.session.context,
                "params": {
                    "temperature": params.temperature, "top_k": params.top_k, "top_p": params.top_p,
                    "min_p": params.min_p, "repeat_penalty": params.repeat_penalty,
                    "presence_penalty": params.presence_penalty, "frequency_penalty": params.frequency_penalty,
                },
            },
            "n_ctx": options.session.context,
            "total_slots": options.parallel,
            "cache_bytes": options.cache_bytes,
            "model_alias": model.name,
            "model_path": llm.model().gguf.path().display().to_string(),
            "modalities": { "vision": false, "audio": false },
            "chat_template": llm.template().map(|template| template.source()),
            "chat_template_caps": { "supports_tools": llm.capabilities().is_some_and(|c| c.tools) },
            "thinking": thinking,
            "bos_token": token(llm.tokenizer().bos()),
            "eos_token": token(llm.tokenizer().eos()),
            "build_info": concat!("tokki-", env!("CARGO_PKG_VERSION")),
            "is_sleeping": false,
        }),
        &[],
    ))
}

/// `GET /slots`: one entry per answer that can be written at the same time.
pub(super) async fn slots(state: Arc<State>, _: Call) -> Result<Response<Body>> {
    let model = state.models.get(None)?;
    let running = model.engine.gauges().running.load(Ordering::Relaxed);
    let context = model.engine.options().session.context;
    let slot = |id: usize| json!({ "id": id, "n_ctx": context, "is_processing": id < running });
    let slots: Vec<Value> = (0..model.engine.options().parallel).map(slot).collect();
    Ok(respond_json(&slots.into(), &[]))
}

/// What needs an embedding model.
pub(super) async fn no_embeddings(_: Arc<State>, _: Call) -> Result<Response<Body>> {
    Err(ApiError::unsupported("this server has no embedding or reranking model"))
}

/// `POST /tokenize`
pub(super) async fn tokenize(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = openai::model_of(&state, &mut fields)?;
    let content = match fields.take("content") {
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
    let model = openai::model_of(&state, &mut fields)?;
    let llm = model.engine.llm();
    let tokens = fields.array("tokens")?.unwrap_or_default();
    let id = |value: &Value| value.as_u64().filter(|&id| id < llm.model().spec.vocab as u64).map(|id| id as u32);
    let ids: Option<Vec<u32>> = tokens.iter().map(id).collect();
    let ids = ids.ok_or_else(|| ApiError::field("tokens", "token ids of this model are wanted"))?;
    Ok(respond_json(&json!({ "content": llm.tokenizer().decode(&ids, true) }), &fields.rest()))
}

/// `POST /apply-template`
pub(super) async fn apply_template(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = openai::model_of(&state, &mut fields)?;
    let llm = Arc::clone(model.engine.llm());
    let list = fields.array("messages")?.ok_or_else(|| ApiError::field("messages", "is missing"))?;
    let list = super::messages::read(&llm, list)?;
    let mut vars = Vars::new();
    let thinking = openai::thinking(&mut fields, &mut vars, &llm)?;
    if let Some(tools) = fields.array("tools")? {
        vars.insert("tools".into(), tools.into());
    }
    vars.insert("messages".into(), list.into());
    let work = tokio::task::spawn_blocking(move || request::prompt(&model, Input::Chat(vars), thinking));
    let prompt = work.await.map_err(|_| ApiError::internal("rendering failed"))??;
    Ok(respond_json(&json!({ "prompt": prompt.text }), &fields.rest()))
}

/// One prompt or several: texts, token ids, or a mixture.
pub(super) fn prompts(value: Value) -> Result<Vec<Input>> {
    let wrong = || ApiError::field("prompt", "a text, an array of token ids, or an array of these is wanted");
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let one = |value: &Value| match value {
        Value::String(text) => Ok(Input::Text(text.clone(), Special::Parse)),
        Value::Array(items) => items.iter().map(id).collect::<Option<_>>().map(Input::Tokens).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    let items = match &value {
        Value::Array(items) if !items.is_empty() && items.iter().any(|item| !item.is_number()) => items,
        single => return Ok(vec![one(single)?]),
    };
    if items.len() > MAX_PROMPTS {
        return Err(ApiError::field("prompt", format!("at most {MAX_PROMPTS} prompts are allowed")));
    }
    items.iter().map(one).collect()
}

/// Speeds and counts of an answer.
pub(super) fn timings(stats: &Stats) -> Value {
    let read = stats.prompt_tokens - stats.cached_tokens;
    let rate = |n: usize, seconds: f64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
    json!({
        "cache_n": stats.cached_tokens,
        "prompt_n": read,
        "prompt_ms": stats.prefill_s * 1000.0,
        "prompt_per_second": rate(read, stats.prefill_s),
        "predicted_n": stats.tokens,
        "predicted_ms": stats.decode_s * 1000.0,
        "predicted_per_second": rate(stats.tokens.saturating_sub(1), stats.decode_s),
    })
}

/// `POST /completion`
pub(super) async fn completion(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = openai::model_of(&state, &mut fields)?;
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    openai::sampling(&mut fields, &mut ask, model.engine.llm())?;
    ask.max_tokens = openai::max_tokens(&mut fields, &["n_predict", "max_tokens"])?;
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "is missing"))?;
    let mut prompts = prompts(prompt)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    fields.refuse(&["n_probs"])?;
    let ignored = fields.rest();
    let mut response = if prompts.len() == 1 {
        let running = request::start(&state, model, Ask { input: prompts.remove(0), ..ask }, call.client).await?;
        if stream {
            stream::respond(running, CompletionStream { model: String::new(), index: 0 })
        } else {
            let (answers, running) = running.whole().await?;
            let mut answers: Vec<Value> = answers
                .iter()
                .enumerate()
                .map(|(index, a)| last(&running.model.name, index, &(a.reasoning.clone() + &a.content), &a.stats))
                .collect();
            respond_json(&if answers.len() == 1 { answers.remove(0) } else { answers.into() }, &[])
        }
    } else if stream {
        return Err(ApiError::field("prompt", "one prompt is wanted for a stream, not several"));
    } else {
        let mut begun = Vec::new();
        for input in prompts {
            begun.push(request::start(&state, Arc::clone(&model), Ask { input, ..ask.clone() }, call.client).await?);
        }
        let mut all = Vec::new();
        for running in begun {
            let (answers, running) = running.whole().await?;
            for answer in answers {
                let text = answer.reasoning + &answer.content;
                all.push(last(&running.model.name, all.len(), &text, &answer.stats));
            }
        }
        respond_json(&all.into(), &[])
    };
    note_ignored(&mut response, &ignored);
    Ok(response)
}

/// The last object of a completion.
fn last(model: &str, index: usize, content: &str, stats: &Stats) -> Value {
    let kind = match stats.finish {
        Some(Finish::Length | Finish::Context) => "limit",
        _ if stats.stopped_by.is_some() => "word",
        _ => "eos",
    };
    json!({
        "index": index,
        "content": content,
        "tokens": [],
        "stop": true,
        "stop_type": kind,
        "stopping_word": stats.stopped_by.clone().unwrap_or_default(),
        "truncated": openai::ended_by_context(stats),
        "model": model,
        "tokens_predicted": stats.tokens,
        "tokens_evaluated": stats.prompt_tokens,
        "tokens_cached": stats.cached_tokens,
        "id_slot": 0,
        "timings": timings(stats),
    })
}

struct CompletionStream {
    model: String,
    index: usize,
}

impl Writer for CompletionStream {
    const DIALECT: Dialect = Dialect::OpenAi;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, running: &Running) -> String {
        self.model.clone_from(&running.model.name);
        ":\n\n".to_owned()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Piece { choice, text, .. } => {
                data(&json!({ "index": choice + self.index, "content": text, "tokens": [], "stop": false }))
            }
            Progress::Done { choice, stats } => data(&last(&self.model, choice + self.index, "", &stats)),
            Progress::Prefill { .. } | Progress::Token { .. } => String::new(),
        }
    }

    fn end(&mut self) -> String {
        String::new()
    }

    fn keep_alive(&mut self) -> String {
        ":\n\n".to_owned()
    }

    fn error(&mut self, error: &ApiError) -> String {
        data(&error.body(Self::DIALECT, ""))
    }
}
