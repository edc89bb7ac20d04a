//! `/v1/decisions`: yes or no, one of several choices, or a score, with the probabilities that the model gives them.
//!
//! Nothing is generated: each question is put to the model after the input, and the probabilities of the tokens that
//! could begin its answer are read from one pass. The input comes first in every prompt, so that all questions share what
//! was computed for it.

use super::ask::{Ask, Input};
use super::body::Fields;
use super::common;
use super::error::ApiError;
use super::log::Asker;
use super::models::Served;
use super::reply::json as respond_json;
use super::request::{self, Progress};
use super::responses;
use super::state::{Call, State};
use crate::chat::Vars;
use crate::engine::{Llm, Logprob};
use crate::sample::{Form, Overrides};
use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};
use std::sync::Arc;

type Result<T> = std::result::Result<T, ApiError>;

/// Most questions of a request.
const MAX_QUESTIONS: usize = 400;
/// Answers that have a letter.
const MAX_ANSWERS: usize = 26;
/// Tokens until the answer begins, those that close a thought included.
const MAX_TOKENS: usize = 64;

/// One question.
struct Question {
    name: Value,
    kind: Kind,
    text: String,
}

enum Kind {
    Predicate,
    /// Values, texts or booleans.
    Choice(Vec<Value>),
    /// Labels from the lowest to the highest.
    Score(Vec<String>),
}

impl Question {
    fn read(index: usize, value: Value) -> Result<Self> {
        let mut fields = Fields::of(value, &format!("questions[{index}]"))?;
        let name = fields.take("name").unwrap_or_default();
        let instructions = match fields.take("instructions") {
            Some(text) => super::messages::text(text, &format!("questions[{index}].instructions"))?,
            None => return Err(fields.wrong("instructions", "is missing")),
        };
        let kind = fields.str("type")?.unwrap_or_default();
        let (kind, answers) = match kind.as_str() {
            "predicate" => (Kind::Predicate, Vec::new()),
            "choice" => {
                let (values, shown) = answers(&mut fields, "choices", "value")?;
                (Kind::Choice(values), shown)
            }
            "score" => {
                let (values, shown) = answers(&mut fields, "levels", "label")?;
                (Kind::Score(values.iter().map(plain).collect()), shown)
            }
            _ => return Err(fields.wrong("type", "predicate, choice or score is wanted")),
        };
        let text = match answers.is_empty() {
            true => format!("{instructions}\nAnswer with Yes or No only."),
            false => format!("{instructions}\nAnswer with one of these letters only:\n{}", answers.join("\n")),
        };
        Ok(Self { name, kind, text })
    }

    /// The texts that an answer may be, in the order of the answers.
    fn labels(&self) -> Vec<String> {
        let letters = |count: usize| ('A'..='Z').take(count).map(String::from).collect();
        match &self.kind {
            Kind::Predicate => vec!["Yes".to_owned(), "No".to_owned()],
            Kind::Choice(values) => letters(values.len()),
            Kind::Score(labels) => letters(labels.len()),
        }
    }

    /// The answer as JSON from the probabilities of [`Self::labels`].
    fn answer(&self, p: &[f64]) -> Value {
        let best = (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]).then(b.cmp(&a))).unwrap_or(0);
        match &self.kind {
            Kind::Predicate => json!({ "type": "predicate", "name": self.name, "probability": p[0] }),
            Kind::Choice(values) => {
                let all = values.iter().zip(p).map(|(value, p)| json!({ "value": value, "probability": p }));
                json!({ "type": "choice", "name": self.name, "choice": values[best], "confidence": p[best],
                        "probabilities": all.collect::<Value>() })
            }
            Kind::Score(labels) => {
                let all = labels.iter().zip(p).enumerate();
                let all = all.map(|(value, (label, p))| json!({ "label": label, "value": value, "probability": p }));
                let score: f64 = p.iter().enumerate().map(|(value, p)| value as f64 * p).sum();
                json!({ "type": "score", "name": self.name, "score": score, "confidence": p[best],
                        "probabilities": all.collect::<Value>() })
            }
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The answers to a question, and how they are shown to the model.
fn answers(fields: &mut Fields, list: &str, value: &str) -> Result<(Vec<Value>, Vec<String>)> {
    let items = fields.array(list)?.unwrap_or_default();
    if items.len() < 2 || items.len() > MAX_ANSWERS {
        return Err(fields.wrong(list, format!("2 to {MAX_ANSWERS} are wanted, not {}", items.len())));
    }
    let (mut values, mut shown) = (Vec::new(), Vec::new());
    for (letter, item) in ('A'..='Z').zip(items) {
        let own = &item[value];
        let fits = own.is_string() || (own.is_boolean() && value == "value");
        if !fits {
            return Err(fields.wrong(list, format!("each needs a {value}")));
        }
        if values.contains(own) {
            return Err(fields.wrong(list, format!("two of them are {own}")));
        }
        let description = item["description"].as_str().map(|text| format!(" ({text})")).unwrap_or_default();
        shown.push(format!("{letter}: {}{description}", plain(own)));
        values.push(own.clone());
    }
    Ok((values, shown))
}

/// The conversation so far with the question after it.
fn with_question(turns: &[Value], text: &str) -> Vec<Value> {
    let mut turns = turns.to_vec();
    match turns.last_mut().filter(|last| last["role"] == "user") {
        // Many templates want turns to alternate.
        Some(last) => last["content"] = format!("{}\n\n{text}", last["content"].as_str().unwrap_or_default()).into(),
        None => turns.push(super::messages::plain("user", text)),
    }
    turns
}

/// The probabilities of `labels`, which begin differently, from those of the tokens that may come first.
fn probabilities(llm: &Llm, labels: &[String], chosen: &Logprob) -> Vec<f64> {
    let mut sums = vec![0.0; labels.len()];
    for &(token, logprob) in &chosen.top {
        let text = llm.tokenizer().piece(token, false);
        let label = labels.iter().position(|label| !text.is_empty() && label.as_bytes().starts_with(text));
        if let Some(label) = label {
            sums[label] += libm::exp(f64::from(logprob));
        }
    }
    let total: f64 = sums.iter().sum();
    sums.iter().map(|sum| if total > 0.0 { sum / total } else { 1.0 / labels.len() as f64 }).collect()
}

/// Tokens of the prompt, how many were cached, and the first token of the answer with all that it could have been.
async fn first_token(
    state: &Arc<State>,
    model: &Arc<Served>,
    turns: Vec<Value>,
    labels: &[String],
    asker: &Asker,
) -> Result<(usize, usize, Logprob)> {
    let llm = model.engine.llm();
    let mut ask = Ask::new(Input::Chat(Vars::from_iter([("messages".to_owned(), turns.into())])));
    ask.thinking = common::off(llm);
    ask.form = Some(Form::Regex(labels.join("|")));
    ask.sampling = Overrides::unfiltered();
    (ask.seed, ask.max_tokens, ask.logprobs, ask.after_filters) = (Some(0), Some(MAX_TOKENS), Some(1000), true);
    let mut running = request::start(state, Arc::clone(model), ask, asker).await?;
    let mut cached_tokens = 0;
    while let Some(progress) = running.next().await? {
        match progress {
            Progress::Prefill { cached, .. } => cached_tokens = cached,
            Progress::Token { chosen, .. } => {
                let prompt_tokens = running.prompt_tokens;
                running.enough();
                return Ok((prompt_tokens, cached_tokens, chosen));
            }
            _ => {}
        }
    }
    Err(ApiError::broken("the model gave no answer"))
}

/// `POST /v1/decisions`
pub(super) async fn create(state: Arc<State>, call: Call) -> Result<Response<Body>> {
    let mut fields = Fields::parse(&call.body)?;
    let model = common::model_of(&state, &call, &mut fields).await?;
    let input = fields.take("input").ok_or_else(|| ApiError::field("input", "is missing"))?;
    let turns = responses::turns(model.engine.llm(), input)?;
    let list = fields.array("questions")?.unwrap_or_default();
    if list.is_empty() || list.len() > MAX_QUESTIONS {
        return Err(ApiError::field("questions", format!("1 to {MAX_QUESTIONS} are wanted, not {}", list.len())));
    }
    let read = |(index, question)| Question::read(index, question);
    let questions: Vec<Question> = list.into_iter().enumerate().map(read).collect::<Result<_>>()?;
    fields.refuse(&["stream"])?;
    let (mut answers, mut tokens, mut cached) = (Vec::new(), 0, 0);
    for question in &questions {
        let labels = question.labels();
        let turns = with_question(&turns, &question.text);
        let (read, known, chosen) = first_token(&state, &model, turns, &labels, &call.asker).await?;
        answers.push(question.answer(&probabilities(model.engine.llm(), &labels, &chosen)));
        (tokens, cached) = (tokens + read, cached + known);
    }
    fields.skip(&["prompt_cache_key", "prompt_cache_options", "safety_identifier"]);
    let usage = json!({
        "input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens,
        "input_tokens_details": { "cached_tokens": cached, "cache_write_tokens": tokens - cached },
        "output_tokens_details": { "reasoning_tokens": 0 },
    });
    Ok(respond_json(&json!({ "model": model.name, "answers": answers, "usage": usage }), &fields.rest()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn answers_come_from_probabilities() {
        let question = |value| Question::read(0, value).unwrap();
        let yes = question(json!({ "type": "predicate", "instructions": "Is it?", "name": "q" }));
        assert_eq!(yes.answer(&[0.75, 0.25]), json!({ "type": "predicate", "name": "q", "probability": 0.75 }));
        let twice = json!([{ "value": "red" }, { "value": "red" }]);
        assert!(Question::read(0, json!({ "type": "choice", "instructions": "Which?", "choices": twice })).is_err());
        let choices = json!([{ "value": "red" }, { "value": true, "description": "not red" }]);
        let choice = question(json!({ "type": "choice", "instructions": "Which?", "choices": choices }));
        assert!(choice.text.ends_with("A: red\nB: true (not red)"), "{}", choice.text);
        assert_eq!(choice.answer(&[0.4, 0.6])["choice"], true);
        let levels = json!([{ "label": "bad" }, { "label": "fair" }, { "label": "good" }]);
        let score = question(json!({ "type": "score", "instructions": "How?", "levels": levels }));
        assert_eq!(score.labels(), ["A", "B", "C"]);
        let answer = score.answer(&[0.25, 0.25, 0.5]);
        assert_eq!((answer["score"].as_f64(), answer["confidence"].as_f64()), (Some(1.25), Some(0.5)));
    }

    #[test]
    fn odd_questions_are_refused() {
        for bad in [
            json!(5),
            json!({ "type": "predicate" }),
            json!({ "type": "guess", "instructions": "x" }),
            json!({ "type": "choice", "instructions": "x", "choices": [{ "value": "only" }] }),
            json!({ "type": "choice", "instructions": "x", "choices": [{ "value": 1 }, { "value": 2 }] }),
            json!({ "type": "score", "instructions": "x", "levels": [{ "label": true }, { "label": "b" }] }),
        ] {
            assert!(Question::read(0, bad.clone()).is_err(), "{bad}");
        }
    }
}
