//! The answer as typed events, and as one object.

use super::super::common;
use super::super::completion::{self, Pace};
use super::super::dialect::{Dialect, OPENAI};
use super::super::error::ApiError;
use super::super::events::named;
use super::super::messages;
use super::super::request::{Progress, Running};
use super::super::state::State;
use super::super::stream::EventWriter;
use crate::chat::{CallFinder, Kind, ToolCall};
use crate::engine::{FinishReason, Llm, Logprob, Stats};
use serde_json::{Value, json};
use std::sync::Arc;

/// An answer as it is made, item by item.
pub(super) struct Made {
    pub(super) number: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) llm: Arc<Llm>,
    pub(super) echo: Value,
    pub(super) previous: Option<Value>,
    pub(super) finder: CallFinder,
    pub(super) prompt: usize,
    pub(super) state: Arc<State>,
    /// Whose it is.
    pub(super) owner: u64,
    pub(super) turns: Vec<Value>,
    /// The conversation as items.
    pub(super) inputs: Vec<Value>,
    pub(super) store: bool,
    pub(super) background: bool,
    /// Thoughts are sent as summaries.
    pub(super) summary: bool,
    pub(super) progress: bool,
    /// Speeds that go with every piece.
    pub(super) pace: Option<Pace>,
    /// Items that are complete.
    pub(super) items: Vec<Value>,
    /// Chosen tokens that have not been told yet.
    pub(super) logprobs: Vec<Logprob>,
    /// Those of the item that is open that have been.
    pub(super) told: Vec<Value>,
    /// Text of the item that is open.
    pub(super) text: String,
    pub(super) open: Option<Kind>,
    pub(super) sequence: u64,
}

/// The event that ends the stream of a response whose maker is gone.
pub(super) fn last_event(kind: &str, number: u64, response: &Value) -> String {
    named(kind, &json!({ "type": kind, "sequence_number": number, "response": response }))
}

impl Made {
    pub(super) fn id(&self) -> String {
        format!("resp_{}", self.number)
    }

    pub(super) fn response(&self, status: &str, usage: Value) -> Value {
        let mut object = json!({
            "id": self.id(), "object": "response", "created_at": self.created, "status": status,
            "model": self.model, "output": self.items, "usage": usage, "error": null, "incomplete_details": null,
            "previous_response_id": self.previous,
        });
        if let (Some(object), Some(echo)) = (object.as_object_mut(), self.echo.as_object()) {
            object.extend(echo.clone());
        }
        object
    }

    fn send(&mut self, kind: &str, mut value: Value) -> String {
        value["type"] = kind.into();
        value["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        named(kind, &value)
    }

    /// The id of the item at this place.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.number, self.items.len())
    }

    fn part(&self, kind: Kind, text: &str) -> Value {
        match kind {
            Kind::Reasoning if self.summary => json!({ "type": "summary_text", "text": text }),
            Kind::Reasoning => json!({ "type": "reasoning_text", "text": text }),
            Kind::Answer | Kind::Call | Kind::Unsaid => {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": self.told })
            }
        }
    }

    fn item(&self, kind: Kind, status: &str, parts: Vec<Value>) -> Value {
        match kind {
            Kind::Reasoning => {
                let (summary, content) = if self.summary { (parts, Vec::new()) } else { (Vec::new(), parts) };
                json!({ "id": self.item_id("rs"), "type": "reasoning", "summary": summary, "content": content,
                        "encrypted_content": null, "status": status })
            }
            Kind::Answer | Kind::Call | Kind::Unsaid => {
                json!({ "id": self.item_id("msg"), "type": "message", "role": "assistant",
                                                 "status": status, "content": parts })
            }
        }
    }

    fn ids(&self, kind: Kind) -> (String, usize) {
        (self.item_id(if kind == Kind::Reasoning { "rs" } else { "msg" }), self.items.len())
    }

    /// Names of the events of a part, and of the member that says which part.
    fn names(&self, kind: Kind) -> (&'static str, &'static str, &'static str, &'static str, &'static str) {
        match kind {
            Kind::Reasoning if self.summary => (
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "summary_index",
            ),
            Kind::Reasoning => (
                "response.content_part.added",
                "response.reasoning_text.delta",
                "response.reasoning_text.done",
                "response.content_part.done",
                "content_index",
            ),
            Kind::Answer | Kind::Call | Kind::Unsaid => (
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "content_index",
            ),
        }
    }

    fn begin_item(&mut self, kind: Kind) -> String {
        if self.open == Some(kind) {
            return String::new();
        }
        let mut out = self.end_item("completed");
        self.open = Some(kind);
        let (id, at) = self.ids(kind);
        let (added, _, _, _, index) = self.names(kind);
        let item = self.item(kind, "in_progress", Vec::new());
        out += &self.send("response.output_item.added", json!({ "output_index": at, "item": item }));
        let part = self.part(kind, "");
        out += &self.send(added, json!({ "item_id": id, "output_index": at, index: 0, "part": part }));
        out
    }

    fn delta(&mut self, kind: Kind, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let out = self.begin_item(kind);
        self.text.push_str(text);
        let (id, at) = self.ids(kind);
        let (_, delta, _, _, index) = self.names(kind);
        let probabilities = self.probabilities(kind);
        let mut value =
            json!({ "item_id": id, "output_index": at, index: 0, "delta": text, "logprobs": probabilities });
        if let Some(pace) = &self.pace {
            value["timings"] = pace.timings();
        }
        out + &self.send(delta, value)
    }

    /// The probabilities of the tokens that led to a piece of the answer; those of a thought are not told.
    fn probabilities(&mut self, kind: Kind) -> Value {
        let chosen = std::mem::take(&mut self.logprobs);
        if kind == Kind::Reasoning {
            return json!([]);
        }
        let told = common::logprobs(&self.llm, &chosen);
        self.told.extend(told.as_array().into_iter().flatten().cloned());
        told
    }

    fn end_item(&mut self, status: &str) -> String {
        let Some(kind) = self.open.take() else { return String::new() };
        let (id, at) = self.ids(kind);
        let (_, _, text_done, part_done, index) = self.names(kind);
        let text = std::mem::take(&mut self.text);
        let value = json!({ "item_id": id, "output_index": at, index: 0, "text": text, "logprobs": self.told });
        let mut out = self.send(text_done, value);
        let part = self.part(kind, &text);
        self.told.clear();
        out += &self.send(part_done, json!({ "item_id": id, "output_index": at, index: 0, "part": part }));
        let item = self.item(kind, status, vec![part]);
        out += &self.send("response.output_item.done", json!({ "output_index": at, "item": item }));
        self.items.push(item);
        out
    }

    fn call(&mut self, call: &ToolCall) -> String {
        let (at, id) = (self.items.len(), self.item_id("fc"));
        let item = |arguments: &str, status: &str| {
            json!({ "id": id, "type": "function_call", "call_id": id.replacen("fc", "call", 1), "name": call.name,
                    "arguments": arguments, "status": status })
        };
        let mut out =
            self.send("response.output_item.added", json!({ "output_index": at, "item": item("", "in_progress") }));
        let place = json!({ "item_id": id, "output_index": at });
        let with = |name: &str| {
            let mut value = place.clone();
            value[name] = call.arguments.clone().into();
            value
        };
        out += &self.send("response.function_call_arguments.delta", with("delta"));
        out += &self.send("response.function_call_arguments.done", with("arguments"));
        let done = item(&call.arguments, "completed");
        out += &self.send("response.output_item.done", json!({ "output_index": at, "item": done }));
        self.items.push(done);
        out
    }

    /// Everything that comes after the last piece, and the whole answer.
    pub(super) fn finish(&mut self, stats: &Stats) -> (String, Value) {
        let (rest, calls) = self.finder.finish();
        let calls = common::first_if(calls, self.echo["parallel_tool_calls"] == false);
        let cut = matches!(stats.finish, Some(FinishReason::Length | FinishReason::Context));
        let mut out = self.delta(Kind::Answer, &rest);
        if self.open.is_none() && self.items.iter().all(|item| item["type"] == "reasoning") && calls.is_empty() {
            out += &self.begin_item(Kind::Answer);
        }
        out += &self.end_item(if cut { "incomplete" } else { "completed" });
        calls.iter().for_each(|call| out += &self.call(call));
        let usage = json!({
            "input_tokens": self.prompt, "output_tokens": stats.tokens, "total_tokens": self.prompt + stats.tokens,
            "input_tokens_details": { "cached_tokens": stats.cached_tokens },
            "output_tokens_details": { "reasoning_tokens": stats.reasoning_tokens },
        });
        let mut object = self.response(if cut { "incomplete" } else { "completed" }, usage);
        if cut {
            object["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        common::warn(&mut object, &self.finder.warnings());
        if self.store {
            self.remember(&calls, object.clone());
        }
        (out, object)
    }

    fn remember(&self, calls: &[ToolCall], object: Value) {
        let text = |item: &Value| item["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        let said: String = self.items.iter().filter(|item| item["type"] == "message").map(text).collect();
        let mut answer = messages::plain("assistant", &said);
        if !calls.is_empty() {
            let call = |call: &ToolCall| {
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
                json!({ "type": "function", "function": { "name": call.name, "arguments": arguments } })
            };
            answer["tool_calls"] = calls.iter().map(call).collect();
        }
        let turns = self.turns.iter().cloned().chain([answer]).collect();
        self.keep(object, turns);
    }

    /// Keeps the answer as it is now, and the conversation that it is a part of.
    pub(super) fn keep(&self, object: Value, turns: Vec<Value>) {
        self.state.stored.keep(self.owner, &self.id(), turns, self.inputs.clone(), object);
    }
}

impl EventWriter for Made {
    const DIALECT: &'static Dialect = &OPENAI;
    const CONTENT_TYPE: &'static str = "text/event-stream";

    fn begin(&mut self, _: &Running) -> String {
        let begun = self.response("in_progress", Value::Null);
        self.send("response.created", json!({ "response": begun }))
            + &self.send("response.in_progress", json!({ "response": begun }))
    }

    fn event(&mut self, progress: Progress) -> String {
        if let Some(pace) = &mut self.pace {
            pace.note(&progress);
        }
        match progress {
            Progress::Prefill { done, total, cached, seconds, .. } if self.progress => {
                let begun = self.response("in_progress", Value::Null);
                let (told, timings) = completion::prefill(done, total, cached, seconds);
                let value = json!({ "response": begun, "prompt_progress": told, "timings": timings });
                self.send("response.in_progress", value)
            }
            Progress::Prefill { .. } => String::new(),
            Progress::Token { chosen, .. } => {
                self.logprobs.push(chosen);
                String::new()
            }
            Progress::Piece { kind: Kind::Reasoning, text, .. } => self.delta(Kind::Reasoning, &text),
            Progress::Piece { kind, text, .. } => {
                let text = self.finder.push_part(kind, &text);
                self.delta(Kind::Answer, &text)
            }
            Progress::Done { stats, .. } => {
                let (out, object) = self.finish(&stats);
                // The official clients raise on "incomplete", as they do with OpenAI's own.
                let kind = format!("response.{}", object["status"].as_str().unwrap_or("completed"));
                let timings = completion::timings(&stats);
                out + &self.send(&kind, json!({ "response": object, "timings": timings }))
            }
        }
    }

    fn error(&mut self, error: &ApiError) -> String {
        if self.background {
            let mut failed = self.response("failed", Value::Null);
            failed["error"] = json!({ "code": "server_error", "message": error.message });
            self.keep(failed, self.turns.clone());
        }
        self.send("error", json!({ "code": error.status.as_str(), "message": error.message, "param": null }))
    }
}
