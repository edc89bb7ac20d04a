//! What the OpenAPI document says of a route.

use serde_json::{Value, json};

/// The schema of an object.
pub(super) fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

/// What the document says of a route.
pub(super) struct Doc {
    pub(super) summary: &'static str,
    pub(super) body: Option<fn() -> Value>,
    /// The form of the answer.
    pub(super) answer: AnswerForm,
    /// The content type of an answer that comes piece by piece.
    pub(super) stream: Option<&'static str>,
    /// What may follow `?`.
    pub(super) query: &'static [(&'static str, QueryKind)],
}

/// A kind of value after `?`.
#[derive(Clone, Copy)]
pub(super) enum QueryKind {
    Bool,
    Count,
    /// A text that must be there.
    Needed,
    /// A text.
    Text,
    /// How many entries of a list.
    Page,
    /// In which order.
    Order,
    /// What is done with a slot.
    Action,
}

/// The form of an answer.
pub(super) enum AnswerForm {
    /// An object that has these members.
    Object(&'static [&'static str]),
    /// Any JSON.
    Json,
    /// Something else.
    Other(&'static str),
    /// Nothing.
    Empty,
}

impl Doc {
    /// Whether the answer comes piece by piece where that is asked for.
    pub(super) const fn may_stream(&self) -> bool {
        self.stream.is_some()
    }
}

pub(super) const fn get(summary: &'static str, answer: AnswerForm) -> Doc {
    Doc { summary, body: None, answer, stream: None, query: &[] }
}

pub(super) const fn post(summary: &'static str, body: fn() -> Value, members: &'static [&'static str]) -> Doc {
    Doc { summary, body: Some(body), answer: AnswerForm::Object(members), stream: None, query: &[] }
}

pub(super) const fn streams(doc: Doc, kind: &'static str) -> Doc {
    Doc { stream: Some(kind), ..doc }
}

pub(super) const fn asks(doc: Doc, query: &'static [(&'static str, QueryKind)]) -> Doc {
    Doc { query, ..doc }
}
