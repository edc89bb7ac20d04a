//! Vectors of texts and scores of documents: `/v1/embeddings`, `/v1/rerank` and what others call them.

use super::ask::Input;
use super::body::{Fields, kind};
use super::common;
use super::completion;
use super::error::ApiError;
use super::models::Served;
use super::ollama;
use super::reply::json as respond_json;
use super::state::{Call, State};
use crate::engine::{Count, Embedder, Pooling, SharedEmbedder, normalize};
use axum::body::Body;
use axum::http::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

/// Most texts or documents of a request.
const MAX_TEXTS: usize = 2048;

/// Vectors of texts, and how many tokens they had.
struct Vectors {
    /// For each text its vector, or those of its tokens where the model pools none.
    texts: Vec<Vec<Vec<f32>>>,
    pooled: bool,
    tokens: usize,
}

/// Ends the work when its client has gone.
#[derive(Default)]
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A place at the model's embedder, or in the queue for it.
struct Place(Arc<Served>);

impl Place {
    fn take(model: &Arc<Served>) -> Result<Self> {
        let most = 1 + model.engine.options().queue;
        let enter = |present: usize| (present < most).then_some(present + 1);
        let entered = model.embedding.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        entered.map_err(|present| crate::Error::Busy { waiting: present - 1 })?;
        Ok(Self(Arc::clone(model)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.embedding.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Does `work` with the model's embedder, away from the threads that speak with clients.
async fn with_embedder<R: Send + 'static>(
    model: &Arc<Served>,
    work: impl FnOnce(&SharedEmbedder, &AtomicBool) -> Result<R> + Send + 'static,
) -> Result<R> {
    let guard = Guard::default();
    let (cancel, place) = (Arc::clone(&guard.0), Place::take(model)?);
    model.engine.gauges().add(Count::Requests, 1);
    let work = tokio::task::spawn_blocking(move || work(&place.0.embedder, &cancel));
    work.await.unwrap_or_else(|_| Err(ApiError::internal("the work on these texts failed")))
}

/// The texts of an `input` as tokens.
fn tokens(model: &Served, input: Input) -> Result<Vec<u32>> {
    let llm = model.engine.llm();
    match input {
        Input::Text(text, _) => Ok(Embedder::tokens(llm.tokenizer(), &text)),
        Input::Tokens(tokens) => Ok(tokens),
        Input::Chat(_) | Input::Continue(_) => Err(ApiError::field("input", "a text or token ids are wanted")),
    }
}

/// An entry of `input` whose text stands in parts, as a plain text.
fn without_parts(value: Value) -> Result<Value> {
    match value {
        Value::Object(mut map) if map.contains_key("content") => match map.remove("content") {
            Some(Value::Array(parts)) => {
                let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text"), Some(text)) => Ok(text.to_owned()),
                    _ => Err(ApiError::field("input", "only parts of type 'text' are supported")),
                };
                Ok(Value::String(parts.iter().map(text).collect::<Result<String>>()?))
            }
            _ => Err(ApiError::field("input", "content as an array of parts is wanted")),
        },
        Value::Array(items) => Ok(Value::Array(items.into_iter().map(without_parts).collect::<Result<_>>()?)),
        other => Ok(other),
    }
}

/// What vectors are wanted.
#[derive(Clone, Copy)]
struct Form {
    /// With length 1, unless the model pools none.
    normalized: bool,
    /// So many of their first numbers; `None` = all.
    size: Option<usize>,
    /// A text that is too long is cut.
    cut: bool,
}

impl Form {
    /// As OpenAI's vectors are.
    const PLAIN: Self = Self { normalized: true, size: None, cut: false };
}

/// Cuts a vector, for models that were trained so that the first numbers of a vector are a vector, too.
fn shorten(vector: &mut Vec<f32>, size: usize) -> Result<()> {
    if size > vector.len() {
        let why = format!("a number from 1 to {} is wanted: this model's vectors have so many", vector.len());
        return Err(ApiError::field("dimensions", why));
    }
    vector.truncate(size);
    normalize(vector);
    Ok(())
}

/// The vectors of all texts of `input`.
async fn vectors(call: &Call, model: &Arc<Served>, input: Value, form: Form) -> Result<Vectors> {
    let inputs = completion::prompts(model.engine.llm(), without_parts(input)?, "input", MAX_TEXTS)?;
    if inputs.is_empty() || inputs.len() > MAX_TEXTS {
        return Err(ApiError::field("input", format!("1 to {MAX_TEXTS} texts are wanted")));
    }
    let mut texts: Vec<Vec<u32>> = inputs.into_iter().map(|input| tokens(model, input)).collect::<Result<_>>()?;
    if texts.iter().any(Vec::is_empty) {
        return Err(ApiError::field("input", "a text has no tokens"));
    }
    let llm = Arc::clone(model.engine.llm());
    call.asker.note.prompt(texts.iter().map(Vec::len).sum());
    with_embedder(model, move |embedder, cancel| {
        let pooled = embedder.with(|embedder| {
            if form.cut {
                texts.iter_mut().for_each(|text| embedder.cut(llm.tokenizer(), text));
            }
            embedder.pooling() != Pooling::None
        });
        let count = texts.iter().map(Vec::len).sum();
        let mut all = Vec::with_capacity(texts.len());
        for text in &texts {
            // Others' texts come between.
            let rows = embedder.with(|embedder| embedder.vectors(text, pooled && form.normalized, cancel));
            let mut rows = rows.map_err(too_long)?;
            if let (Some(size), true) = (form.size, pooled) {
                rows.iter_mut().try_for_each(|row| shorten(row, size))?;
            }
            all.push(rows);
        }
        Ok(Vectors { texts: all, pooled, tokens: count })
    })
    .await
}

/// A text that is too long, also in the words that clients of llama-server look for.
fn too_long(error: crate::Error) -> ApiError {
    match error {
        crate::Error::ContextFull { needed, available } => {
            let advice = format!("input ({needed} tokens) is too large to process: cut the text.");
            ApiError::too_long(needed, available, available, &advice)
        }
        other => other.into(),
    }
}

/// `POST /v1/embeddings`
pub(super) async fn embeddings(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let input = fields.take("input").or_else(|| fields.take("content"));
    let input = input.ok_or_else(|| ApiError::field("input", "is missing"))?;
    let format = fields.str("encoding_format")?.unwrap_or_else(|| "float".to_owned());
    if format != "float" && format != "base64" {
        return Err(ApiError::field("encoding_format", "float or base64 is wanted"));
    }
    let size = fields.count("dimensions", 1, i64::MAX)?;
    fields.skip(&["user", "priority"]);
    fields.refuse(&["truncate_prompt_tokens"])?;
    let vectors = vectors(&call, &model, input, Form { size, ..Form::PLAIN }).await?;
    if !vectors.pooled {
        let message = "Pooling type 'none' is not OAI compatible: this model makes a vector of every token. \
             Start the server with --pooling mean or last for one of each text, or ask /embeddings for all of them";
        return Err(ApiError::bad(message));
    }
    let mut data = Vec::with_capacity(vectors.texts.len());
    for (index, rows) in vectors.texts.into_iter().enumerate() {
        let vector = rows.into_iter().next().unwrap_or_default();
        data.push(json!({ "object": "embedding", "index": index, "embedding": written(&vector, &format) }));
    }
    let usage = json!({ "prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens });
    Ok(respond_json(&json!({ "object": "list", "data": data, "model": model.name, "usage": usage }), &fields.rest()))
}

/// A vector as numbers, or as base64 of little-endian 32-bit floats.
fn written(vector: &[f32], format: &str) -> Value {
    match format {
        "base64" => STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).into(),
        _ => vector.into(),
    }
}

/// `POST /embeddings`, `/embedding`: llama-server's own form, with the vectors of all tokens where the model pools none.
pub(super) async fn plain(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let input = fields.take("input").or_else(|| fields.take("content"));
    let input = input.ok_or_else(|| ApiError::field("input", "is missing"))?;
    let normalized = fields.int("embd_normalize")?.unwrap_or(2);
    if !matches!(normalized, -1 | 2) {
        return Err(ApiError::field("embd_normalize", "2 (length 1) or -1 (as they are) is wanted"));
    }
    let vectors = vectors(&call, &model, input, Form { normalized: normalized == 2, ..Form::PLAIN }).await?;
    let texts = vectors.texts.into_iter().enumerate();
    let all: Vec<Value> = texts.map(|(index, rows)| json!({ "index": index, "embedding": rows })).collect();
    Ok(respond_json(&all.into(), &fields.rest()))
}

/// `POST /api/embed`
pub(super) async fn embed(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let start = Instant::now();
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let input = fields.take("input").ok_or_else(|| ApiError::field("input", "is missing"))?;
    let size = fields.count("dimensions", 1, i64::MAX)?;
    let cut = fields.bool("truncate")?.unwrap_or(true);
    if let Some(options) = fields.within("options")? {
        fields.leave(options);
    }
    ollama::keep_open(&state, &model, &mut fields)?;
    let nothing = input.as_array().is_some_and(Vec::is_empty) || input.as_str() == Some("");
    let (mut rows, mut tokens) = (Vec::new(), 0);
    if !nothing {
        (rows, tokens) = pooled(vectors(&call, &model, input, Form { normalized: true, size, cut }).await?)?;
    }
    let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let answer = json!({ "model": model.name, "embeddings": rows, "total_duration": time, "load_duration": 0,
                         "prompt_eval_count": tokens });
    Ok(respond_json(&answer, &fields.rest()))
}

/// `POST /api/embeddings`: one text, as it was before `/api/embed`.
pub(super) async fn ollama_old(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let prompt = fields.str("prompt")?.unwrap_or_default();
    if let Some(options) = fields.within("options")? {
        fields.leave(options);
    }
    ollama::keep_open(&state, &model, &mut fields)?;
    let vector = match prompt.is_empty() {
        true => Vec::new(),
        false => {
            pooled(vectors(&call, &model, prompt.into(), Form { normalized: false, ..Form::PLAIN }).await?)?.0.remove(0)
        }
    };
    Ok(respond_json(&json!({ "embedding": vector }), &fields.rest()))
}

/// One vector for each text.
fn pooled(vectors: Vectors) -> Result<(Vec<Vec<f32>>, usize)> {
    if !vectors.pooled {
        return Err(ApiError::bad("this model makes a vector of every token, not one of a text"));
    }
    Ok((vectors.texts.into_iter().filter_map(|rows| rows.into_iter().next()).collect(), vectors.tokens))
}

/// `POST /v1/rerank`: documents by how well they answer a query, best first.
pub(super) async fn rerank(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let query = fields.str("query")?.ok_or_else(|| ApiError::field("query", "is missing"))?;
    // Text Embeddings Inference calls them texts, and answers in another form.
    let (list, bare) = match fields.take("texts") {
        Some(list) => (list, true),
        None => (fields.take("documents").unwrap_or_default(), false),
    };
    let Value::Array(list) = list else {
        return Err(ApiError::field("documents", format!("an array is wanted, not {}", kind(&list))));
    };
    if list.is_empty() || list.len() > MAX_TEXTS {
        return Err(ApiError::field("documents", format!("1 to {MAX_TEXTS} are wanted")));
    }
    let text = |document: Value| match document {
        Value::String(text) => Ok(text),
        Value::Object(map) if map.get("text").is_some_and(Value::is_string) => {
            Ok(map["text"].as_str().unwrap_or_default().to_owned())
        }
        _ => Err(ApiError::field("documents", "texts are wanted")),
    };
    let documents: Vec<String> = list.into_iter().map(text).collect::<Result<_>>()?;
    let top = fields.count("top_n", 0, i64::MAX)?.filter(|&top| top > 0).unwrap_or(documents.len());
    let shown = fields.bool("return_documents")?.or(fields.bool("return_text")?).unwrap_or(false);
    // Scores are as the model gives them, and a pair that is too long is refused.
    fields.skip(&["raw_scores"]);
    fields.refuse(&["max_chunks_per_doc", "max_tokens_per_doc", "truncate", "truncate_prompt_tokens"])?;
    let (served, asked) = (Arc::clone(&model), documents.clone());
    let (scores, tokens) = with_embedder(&model, move |embedder, cancel| {
        let tokenizer = served.engine.llm().tokenizer();
        let (mut scores, mut tokens) = (Vec::with_capacity(asked.len()), 0);
        for document in &asked {
            let scored = embedder.with(|embedder| embedder.score(tokenizer, &query, document, cancel));
            let (score, read) = scored.map_err(too_long)?;
            scores.push(score);
            tokens += read;
        }
        Ok((scores, tokens))
    })
    .await?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(top);
    let score = if bare { "score" } else { "relevance_score" };
    let result = |&index: &usize| {
        let mut result = json!({ "index": index, score: scores[index] });
        match (shown, bare) {
            (false, _) => {}
            (true, true) => result["text"] = documents[index].as_str().into(),
            (true, false) => result["document"] = json!({ "text": documents[index] }),
        }
        result
    };
    let results: Vec<Value> = order.iter().map(result).collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let answer = match bare {
        true => Value::from(results),
        false => json!({ "object": "list", "model": model.name, "results": results, "usage": usage }),
    };
    Ok(respond_json(&answer, &fields.rest()))
}
