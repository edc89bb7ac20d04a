//! `/completion` and `/infill` as llama.cpp's server has them.

use super::ask::{Ask, Input};
use super::body::{Fields, is_off};
use super::common;
use super::dialect::{Dialect, OPENAI};
use super::error::ApiError;
use super::events::data;
use super::infill::Fim;
use super::models::Served;
use super::reply::{json as respond_json, note_ignored};
use super::request::{self, Progress, Running, Whole};
use super::state::{Call, State};
use super::stream::{self, EventWriter};
use crate::engine::{FinishReason, Llm, Logprob, Stats};
use crate::tokenizer::Special;
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, ApiError>;

/// Most prompts in one request, all of which are answered.
pub(super) const MAX_PROMPTS: usize = 256;

/// One prompt or several: texts, token ids, a mixture of both in one, or an array of these; `most` in the field `name`.
pub(super) fn prompts(llm: &Llm, value: Value, name: &str, most: usize) -> Result<Vec<Input>> {
    let several = |items: Vec<Value>| match items.len() <= most {
        true => items.into_iter().map(|item| one_prompt(llm, item, name)).collect(),
        false => Err(ApiError::field(name, format!("at most {most} are allowed in one request, not {}", items.len()))),
    };
    match value {
        Value::Array(items) if items.iter().any(|item| item.is_array() || item.is_object()) => several(items),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => several(items),
        single => Ok(vec![one_prompt(llm, single, name)?]),
    }
}

fn one_prompt(llm: &Llm, value: Value, name: &str) -> Result<Input> {
    let wrong = || ApiError::field(name, "a text, an array of token ids, or an array of these is wanted");
    match value {
        Value::String(text) => Ok(Input::Text(text, Special::Parse)),
        Value::Object(map) if map.get("multimodal_data").is_some_and(|data| !is_off(data)) => {
            Err(ApiError::field(name, "images are not supported: this server runs text models"))
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
    let each = |n: usize, seconds: f64| if n > 0 { seconds * 1000.0 / n as f64 } else { 0.0 };
    // The first token comes with the prompt: it costs no step of its own.
    let steps = stats.tokens.saturating_sub(1);
    json!({
        "cache_n": stats.cached_tokens,
        "prompt_n": read,
        "prompt_ms": stats.prefill_s * 1000.0,
        "prompt_per_token_ms": each(read, stats.prefill_s),
        "prompt_per_second": rate(read, stats.prefill_s),
        "predicted_n": stats.tokens,
        "predicted_ms": stats.decode_s * 1000.0,
        "predicted_per_token_ms": each(steps, stats.decode_s),
        "predicted_per_second": rate(steps, stats.decode_s),
    })
}

/// How far the prompt has been read, with the speeds so far.
pub(super) fn prefill(done: usize, total: usize, cached: usize, seconds: f64) -> (Value, Value) {
    let progress = json!({ "total": total, "cache": cached, "processed": done, "time_ms": seconds * 1000.0 });
    let so_far = Stats { prompt_tokens: done, cached_tokens: cached, prefill_s: seconds, ..Stats::default() };
    (progress, timings(&so_far))
}

/// Speeds while an answer is being written, for clients that want them with each piece.
#[derive(Default)]
pub(super) struct Pace {
    so_far: Stats,
    first: Option<Instant>,
}

impl Pace {
    /// Takes note of what happens.
    pub(super) fn note(&mut self, progress: &Progress) {
        match progress {
            Progress::Prefill { total, cached, seconds, .. } => {
                self.so_far =
                    Stats { prompt_tokens: *total, cached_tokens: *cached, prefill_s: *seconds, ..Stats::default() };
            }
            Progress::Piece { tokens, .. } => {
                let first = *self.first.get_or_insert_with(Instant::now);
                self.so_far.tokens += tokens.len();
                self.so_far.decode_s = first.elapsed().as_secs_f64();
            }
            _ => {}
        }
    }

    /// The speeds so far.
    pub(super) fn timings(&self) -> Value {
        timings(&self.so_far)
    }
}

/// `POST /completion`
pub(super) async fn completion(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    complete(state, call, model, fields).await
}

/// What `fields` ask of `model`.
async fn complete(state: Arc<State>, call: Call, model: Arc<Served>, mut fields: Fields) -> Result<Response<Body>> {
    let mut ask = Ask::new(Input::Tokens(Vec::new()));
    common::sampling(&mut fields, &mut ask, model.engine.llm())?;
    ask.max_tokens = common::max_tokens(&mut fields, &["n_predict", "max_tokens"])?;
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "is missing"))?;
    let prompts = prompts(model.engine.llm(), prompt, "prompt", MAX_PROMPTS)?;
    let stream = fields.bool("stream")?.unwrap_or(false);
    ask.logprobs = fields.count("n_probs", 0, 100)?.filter(|&n| n > 0);
    fields.skip(&["timings_per_token"]);
    ask.after_filters = fields.bool("post_sampling_probs")?.unwrap_or(false);
    let form = Written {
        settings: settings(&ask, &model)?,
        wanted: fields.strings("response_fields")?.unwrap_or_default(),
        tokens: fields.bool("return_tokens")?.unwrap_or(false),
        progress: fields.bool("return_progress")?.unwrap_or(false),
        after_filters: ask.after_filters,
    };
    let mut response = if stream {
        let begun = request::start_all(&state, &model, &ask, prompts, &call.asker).await?;
        stream::respond_all(
            begun,
            CompletionStream { heads: Vec::new(), form, pending: Vec::new(), new_lines: Vec::new() },
        )
    } else {
        let single = prompts.len() == 1;
        let mut all = Vec::new();
        for running in request::start_all(&state, &model, &ask, prompts, &call.asker).await? {
            let head = Head::new(&running);
            let (answers, _running) = running.whole().await?;
            for answer in answers {
                all.push(form.only(head.whole(all.len(), answer, &form)));
            }
        }
        respond_json(&if all.len() == 1 && single { all.remove(0) } else { all.into() }, &[])
    };
    note_ignored(&mut response, &fields.rest());
    Ok(response)
}

/// How the answer to a completion is written.
pub(super) struct Written {
    pub(super) settings: Value,
    /// Members that are wanted; none = all.
    pub(super) wanted: Vec<String>,
    /// Whether the ids of tokens are told.
    pub(super) tokens: bool,
    pub(super) progress: bool,
    /// Probabilities are those after the filters of sampling.
    pub(super) after_filters: bool,
}

impl Written {
    /// Everything, tokens too.
    pub(super) fn verbose(ask: &Ask, model: &Served) -> Result<Self> {
        let settings = settings(ask, model)?;
        Ok(Self { settings, wanted: Vec::new(), tokens: true, progress: false, after_filters: ask.after_filters })
    }

    /// Only the wanted members of an object (`a/b` is member `b` of `a`).
    fn only(&self, object: Value) -> Value {
        if self.wanted.is_empty() {
            return object;
        }
        let find = |path: &String| path.split('/').try_fold(&object, |value, name| value.get(name)).cloned();
        Value::Object(self.wanted.iter().filter_map(|path| Some((path.clone(), find(path)?))).collect())
    }
}

/// How an answer is made, for the client to see: by llama-server's names, with what is not done here as switched off.
pub(super) fn settings(ask: &Ask, model: &Served) -> Result<Value> {
    let llm = model.engine.llm();
    let defaults = &model.defaults;
    let p = llm.sampling(&ask.sampling.or(&defaults.sampling))?.params();
    let limit = ask.max_tokens.or(defaults.max_tokens).map_or(json!(-1), |n| json!(n));
    let banned = llm.tokenizer().eog().iter().filter(|_| ask.ignore_eos).map(|&token| (token, f32::NEG_INFINITY));
    let bias = |(token, bias): (u32, f32)| json!({ "token": token, "bias": bias });
    let biases: Vec<Value> = ask.logit_bias.iter().copied().chain(banned).map(bias).collect();
    let mut told = common::told(&p);
    told.extend([
        ("n_predict".to_owned(), limit.clone()),
        ("max_tokens".to_owned(), limit),
        ("seed".to_owned(), json!(ask.seed.or(defaults.seed))),
        ("stop".to_owned(), json!(ask.stop)),
        ("ignore_eos".to_owned(), json!(ask.ignore_eos)),
        ("logit_bias".to_owned(), json!(biases)),
        ("n_probs".to_owned(), json!(ask.logprobs.unwrap_or(0))),
        ("post_sampling_probs".to_owned(), json!(ask.after_filters)),
    ]);
    for (name, off) in [("top_n_sigma", -1.0), ("mirostat", 0.0), ("dynatemp_range", 0.0), ("adaptive_target", -1.0)] {
        told.insert(name.to_owned(), json!(off));
    }
    Ok(told.into())
}

/// `POST /infill`
pub(super) async fn infill(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
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
    complete(state, call, model, fields).await
}

/// What every object of a completion has.
#[derive(Clone)]
pub(super) struct Head {
    model: String,
    llm: Arc<Llm>,
    prompt: String,
    slot: usize,
}

impl Head {
    pub(super) fn new(running: &Running) -> Self {
        let llm = Arc::clone(running.model.engine.llm());
        let prompt = llm.tokenizer().decode(&running.prompt, true);
        Self { model: running.model.name.clone(), llm, prompt, slot: running.slot }
    }

    /// The object of a whole answer.
    pub(super) fn whole(&self, index: usize, answer: Whole, form: &Written) -> Value {
        let text = answer.reasoning + &answer.content;
        let mut object = self.last(index, &text, &answer.stats, form);
        if form.tokens {
            object["tokens"] = answer.tokens.into();
        }
        if !answer.logprobs.is_empty() {
            object["completion_probabilities"] = probabilities(&self.llm, &answer.logprobs, form.after_filters);
        }
        object
    }

    /// The last object of a completion.
    fn last(&self, index: usize, content: &str, stats: &Stats, form: &Written) -> Value {
        let kind = match stats.finish {
            Some(FinishReason::Length | FinishReason::Context) => "limit",
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
            "truncated": stats.finish == Some(FinishReason::Context),
            "has_new_line": content.contains('\n'),
            "model": self.model,
            "prompt": self.prompt,
            "generation_settings": form.settings,
            "tokens_predicted": stats.tokens,
            "tokens_evaluated": stats.prompt_tokens,
            "tokens_cached": stats.prompt_tokens + stats.tokens.saturating_sub(1),
            "id_slot": self.slot,
            "timings": timings(stats),
        })
    }
}

/// Chosen tokens with the likeliest ones beside them: logarithms before any filter, or probabilities after all of them.
fn probabilities(llm: &Llm, chosen: &[Logprob], after_filters: bool) -> Value {
    if !after_filters {
        return common::logprobs(llm, chosen);
    }
    let one = |token: u32, logprob: f32| {
        let bytes = llm.tokenizer().piece(token, true);
        json!({ "id": token, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "prob": libm::expf(logprob) })
    };
    let entry = |chosen: &Logprob| {
        let mut entry = one(chosen.token, chosen.logprob);
        entry["top_probs"] = chosen.top.iter().map(|&(token, logprob)| one(token, logprob)).collect();
        entry
    };
    chosen.iter().map(entry).collect()
}

struct CompletionStream {
    /// Of each answer.
    heads: Vec<Head>,
    form: Written,
    /// Of each answer, a token whose text has not come yet, where probabilities are told.
    pending: Vec<Option<Logprob>>,
    /// Of each answer, whether a line has ended in it.
    new_lines: Vec<bool>,
}

impl CompletionStream {
    fn chunk(&mut self, choice: usize, text: &str, tokens: &[u32]) -> String {
        self.new_lines[choice] |= text.contains('\n');
        let mut object = json!({ "index": choice, "content": text, "tokens": tokens, "stop": false });
        if let Some(chosen) = self.pending[choice].take() {
            let llm = &self.heads[choice].llm;
            object["completion_probabilities"] = probabilities(llm, &[chosen], self.form.after_filters);
        }
        data(&object)
    }
}

impl EventWriter for CompletionStream {
    const DIALECT: &'static Dialect = &OPENAI;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, running: &Running) -> String {
        self.heads.resize(self.heads.len() + running.n, Head::new(running));
        self.pending.resize(self.heads.len(), None);
        self.new_lines.resize(self.heads.len(), false);
        ":\n\n".to_owned()
    }

    fn event(&mut self, progress: Progress) -> String {
        match progress {
            Progress::Piece { choice, text, tokens, .. } => self.chunk(choice, &text, &tokens),
            Progress::Token { choice, chosen } => {
                let waits = self.pending[choice].is_some();
                let before = if waits { self.chunk(choice, "", &[]) } else { String::new() };
                self.pending[choice] = Some(chosen);
                before
            }
            Progress::Done { choice, stats, tokens } => {
                let waiting = self.pending[choice].is_some() || !tokens.is_empty();
                let before = if waiting { self.chunk(choice, "", &tokens) } else { String::new() };
                let mut last = self.heads[choice].last(choice, "", &stats, &self.form);
                last["has_new_line"] = self.new_lines[choice].into();
                before + &data(&last)
            }
            Progress::Prefill { choice, done, total, cached, seconds } if self.form.progress => {
                let (progress, timings) = prefill(done, total, cached, seconds);
                data(&json!({ "index": choice, "content": "", "tokens": [], "stop": false,
                              "prompt_progress": progress, "timings": timings }))
            }
            Progress::Prefill { .. } => String::new(),
        }
    }
}
