//! The dialect of llama.cpp's server, and what operators ask of any server.

use super::body::{Fields, kind};
use super::common;
use super::error::{ApiError, Dialect};
use super::infill::Fim;
use super::openai;
use super::request::{self, Ask, Input, Progress, Running};
use super::routes::{Call, State, json as respond_json, note_ignored};
use super::stream::{self, Writer, data};
use crate::chat::{Thinking, Vars};
use crate::engine::{Finish, Llm, Logprob, Stats};
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
                    "seed": state.options.defaults.seed, "n_predict": state.options.defaults.max_tokens,
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
    let model = common::model_of(&state, &mut fields)?;
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
    let model = common::model_of(&state, &mut fields)?;
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
    let model = common::model_of(&state, &mut fields)?;
    let llm = Arc::clone(model.engine.llm());
    let list = fields.array("messages")?.ok_or_else(|| ApiError::field("messages", "is missing"))?;
    let list = super::messages::read(&llm, list)?;
    let mut vars = Vars::new();
    let thinking = common::thinking(&mut fields, &mut vars, &llm)?;
    if let Some(tools) = fields.array("tools")? {
        vars.insert("tools".into(), tools.into());
    }
    vars.insert("messages".into(), list.into());
    let prompt = request::render(model, Input::Chat(vars), thinking).await?;
    Ok(respond_json(&json!({ "prompt": prompt.text }), &fields.rest()))
}

/// One prompt or several: texts, token ids, a mixture of both in one, or an array of these.
pub(super) fn prompts(llm: &Llm, value: Value) -> Result<Vec<Input>> {
    match value {
        Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => several(llm, items),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => several(llm, items),
        single => Ok(vec![one_prompt(llm, single)?]),
    }
}

fn several(llm: &Llm, items: Vec<Value>) -> Result<Vec<Input>> {
    if items.len() > MAX_PROMPTS {
        return Err(ApiError::field("prompt", format!("at most {MAX_PROMPTS} prompts are allowed")));
    }
    items.into_iter().map(|item| one_prompt(llm, item)).collect()
}

fn one_prompt(llm: &Llm, value: Value) -> Result<Input> {
    let wrong = || ApiError::field("prompt", "a text, an array of token ids, or an array of these is wanted");
    match value {
        Value::String(text) => Ok(Input::Text(text, Special::Parse)),
        Value::Object(map) if map.contains_key("multimodal_data") => {
            Err(ApiError::field("prompt", "images are not supported: this server runs text models"))
        }
        Value::Object(map) => match map.get("prompt_string").and_then(Value::as_str) {
            Some(text) => Ok(Input::Text(text.to_owned(), Special::Parse)),
            None => Err(wrong()),
        },
        Value::Array(items) => {
            let mut tokens = Vec::new();
            for item in items {
                match (item.as_u64().and_then(|id| u32::try_from(id).ok()), item.as_str()) {
                    (Some(id), _) => tokens.push(id),
                    (None, Some(text)) if tokens.is_empty() => {
                        tokens = llm.tokenizer().encode_with_bos(text, Special::Parse);
                    }
                    (None, Some(text)) => tokens.extend(llm.tokenizer().encode(text, Special::Parse)),
                    (None, None) => return Err(wrong()),
                }
            }
            Ok(Input::Tokens(tokens))
        }
        _ => Err(wrong()),
    }
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
    let model = common::model_of(&state, &mut fields)?;
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    common::sampling(&mut fields, &mut ask, model.engine.llm())?;
    ask.max_tokens = common::max_tokens(&mut fields, &["n_predict", "max_tokens"])?;
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "is missing"))?;
    let mut prompts = prompts(model.engine.llm(), prompt)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    ask.logprobs = fields.count("n_probs", 0, 100)?.filter(|&n| n > 0);
    fields.refuse(&["post_sampling_probs"])?;
    let wanted = fields.strings("response_fields")?.unwrap_or_default();
    let single = prompts.len() == 1;
    let mut response = if stream {
        let input = prompts.remove(0);
        if !single {
            return Err(ApiError::field("prompt", "one prompt is wanted for a stream, not several"));
        }
        let settings = settings(&state, &ask);
        let running = request::start(&state, model, Ask { input, ..ask }, call.client).await?;
        stream::respond(running, CompletionStream { head: None, settings, pending: None })
    } else {
        let settings = settings(&state, &ask);
        let mut begun = Vec::new();
        for input in prompts {
            begun.push(request::start(&state, Arc::clone(&model), Ask { input, ..ask.clone() }, call.client).await?);
        }
        let mut all = Vec::new();
        for running in begun {
            let head = CompletionHead::new(&running);
            let (answers, _running) = running.whole().await?;
            for answer in answers {
                let text = answer.reasoning + &answer.content;
                let mut object = head.last(all.len(), &text, &answer.stats, &settings);
                if !answer.logprobs.is_empty() {
                    object["completion_probabilities"] = openai::logprobs(&head.llm, &answer.logprobs);
                }
                all.push(only(object, &wanted));
            }
        }
        respond_json(&if all.len() == 1 && single { all.remove(0) } else { all.into() }, &[])
    };
    note_ignored(&mut response, &fields.rest());
    Ok(response)
}

/// Only these members of an object (`a/b` is member `b` of `a`); all, if none are named.
fn only(object: Value, wanted: &[String]) -> Value {
    if wanted.is_empty() {
        return object;
    }
    let find = |path: &String| path.split('/').try_fold(&object, |value, name| value.get(name)).cloned();
    let found = wanted.iter().filter_map(|path| Some((path.clone(), find(path)?)));
    Value::Object(found.collect())
}

/// How an answer is made, for the client to see.
fn settings(state: &State, ask: &Ask) -> Value {
    let (s, defaults) = (ask.sampling.or(&state.options.defaults.sampling), &state.options.defaults);
    json!({ "n_predict": ask.max_tokens.or(defaults.max_tokens), "seed": ask.seed.or(defaults.seed),
            "temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p, "min_p": s.min_p,
            "repeat_penalty": s.repeat_penalty, "presence_penalty": s.presence_penalty,
            "frequency_penalty": s.frequency_penalty, "stop": ask.stop, "ignore_eos": ask.ignore_eos })
}

/// `POST /infill`
pub(super) async fn infill(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &mut fields)?;
    let llm = Arc::clone(model.engine.llm());
    let mut files = Vec::new();
    for (index, file) in fields.array("input_extra")?.unwrap_or_default().into_iter().enumerate() {
        let mut file = Fields::of(file, &format!("input_extra[{index}]"))?;
        let text = file.str("text")?.ok_or_else(|| file.wrong("text", "is missing"))?;
        files.push((file.str("filename")?.unwrap_or_else(|| "file".to_owned()), text));
    }
    let before = fields.str("input_prefix")?.unwrap_or_default() + &fields.str("prompt")?.unwrap_or_default();
    let after = fields.str("input_suffix")?.unwrap_or_default();
    let tokens = Fim::of(&llm)?.prompt(&llm, &before, &after, &files);
    fields.put("prompt", tokens.into());
    let body = fields.into_bytes();
    completion(state, Call { body, ..call }).await
}

/// What every object of a completion has.
struct CompletionHead {
    model: String,
    llm: Arc<Llm>,
    prompt: String,
}

impl CompletionHead {
    fn new(running: &Running) -> Self {
        let llm = Arc::clone(running.model.engine.llm());
        let prompt = llm.tokenizer().decode(&running.prompt, true);
        Self { model: running.model.name.clone(), llm, prompt }
    }

    /// The last object of a completion.
    fn last(&self, index: usize, content: &str, stats: &Stats, settings: &Value) -> Value {
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
            "has_new_line": content.contains('\n'),
            "model": self.model,
            "prompt": self.prompt,
            "generation_settings": settings,
            "tokens_predicted": stats.tokens,
            "tokens_evaluated": stats.prompt_tokens,
            "tokens_cached": stats.prompt_tokens + stats.tokens.saturating_sub(1),
            "id_slot": 0,
            "timings": timings(stats),
        })
    }
}

struct CompletionStream {
    head: Option<CompletionHead>,
    settings: Value,
    /// A token whose text has not come yet, where probabilities are told.
    pending: Option<Logprob>,
}

impl CompletionStream {
    fn chunk(&mut self, choice: usize, text: &str) -> String {
        let mut object = json!({ "index": choice, "content": text, "tokens": [], "stop": false });
        if let (Some(chosen), Some(head)) = (self.pending.take(), &self.head) {
            object["completion_probabilities"] = openai::logprobs(&head.llm, &[chosen]);
        }
        data(&object)
    }
}

impl Writer for CompletionStream {
    const DIALECT: Dialect = Dialect::OpenAi;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, running: &Running) -> String {
        self.head = Some(CompletionHead::new(running));
        ":\n\n".to_owned()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Piece { choice, text, .. } => self.chunk(choice, &text),
            Progress::Token { choice, chosen } => {
                let before = if self.pending.is_some() { self.chunk(choice, "") } else { String::new() };
                self.pending = Some(chosen);
                before
            }
            Progress::Done { choice, stats } => {
                let before = if self.pending.is_some() { self.chunk(choice, "") } else { String::new() };
                let last = self.head.as_ref().map(|head| data(&head.last(choice, "", &stats, &self.settings)));
                before + &last.unwrap_or_default()
            }
            Progress::Prefill { .. } => String::new(),
        }
    }
}
