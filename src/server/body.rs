//! A request's JSON, field by field: every known field acts, or is refused; unknown ones are listed in the answer's head.

use super::error::ApiError;
use super::list_fields;
use serde_json::{Map, Value};
use std::fmt::Display;

type Result<T> = std::result::Result<T, ApiError>;

/// The members of a JSON object that have not been read yet. `null` is the same as absent.
#[derive(Debug, Default)]
pub(super) struct Fields {
    map: Map<String, Value>,
    /// What errors put before a field's name.
    place: String,
    /// Fields of objects within this one that were not read.
    inner: Vec<String>,
}

impl Fields {
    /// Parses a body; an empty one has no fields.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { inner: list_fields::unread(&map), map, ..Self::default() }),
            Ok(_) => Err(ApiError::bad("the body is JSON, but not an object")),
            Err(why) => Err(ApiError::bad(format!("the body is not valid JSON: {why}"))),
        }
    }

    /// The members of a value that has to be an object.
    pub(super) fn of(value: Value, place: &str) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { map, place: format!("{place}."), inner: Vec::new() }),
            other => Err(ApiError::field(place, format!("an object is wanted, not {}", kind(&other)))),
        }
    }

    /// A field's value, whatever it is.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// The fields of an object within this one; give them back to [`Fields::leave`] when they have been read.
    pub(super) fn within(&mut self, name: &str) -> Result<Option<Self>> {
        let place = format!("{}{name}", self.place);
        self.take(name).map(|value| Self::of(value, &place)).transpose()
    }

    /// What was not read of an object within this one counts as not read.
    pub(super) fn leave(&mut self, inner: Self) {
        self.inner.extend(inner.rest());
    }

    /// A field's value, left where it is.
    pub(super) fn peek(&self, name: &str) -> Option<Value> {
        self.map.get(name).cloned()
    }

    /// The error for a field.
    pub(super) fn wrong(&self, name: &str, message: impl Display) -> ApiError {
        ApiError::field(&format!("{}{name}", self.place), message)
    }

    fn typed<T>(&mut self, name: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.wrong(name, format!("{wanted} is wanted, not {}", kind(&value)))),
        }
    }

    pub(super) fn bool(&mut self, name: &str) -> Result<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(super) fn str(&mut self, name: &str) -> Result<Option<String>> {
        self.typed(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A string with more than blanks in it.
    pub(super) fn filled(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.str(name)?.filter(|text| !text.trim().is_empty()))
    }

    pub(super) fn array(&mut self, name: &str) -> Result<Option<Vec<Value>>> {
        self.typed(name, "an array", |value| value.as_array().cloned())
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>> {
        self.typed(name, "an object", |value| value.as_object().cloned())
    }

    /// A whole number; some clients write `3.0`.
    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>> {
        let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
        self.typed(name, "a whole number", |value| value.as_i64().or_else(|| value.as_f64().and_then(whole)))
    }

    /// A seed: any whole number of 64 bits; one below 0 leaves the choice to the server.
    pub(super) fn seed(&mut self, name: &str) -> Result<Option<u64>> {
        if let Some(seed) = self.peek(name).as_ref().and_then(Value::as_u64) {
            self.take(name);
            return Ok(Some(seed));
        }
        Ok(self.int(name)?.and_then(|seed| u64::try_from(seed).ok()))
    }

    /// A count from `least` on.
    pub(super) fn count(&mut self, name: &str, least: i64, most: i64) -> Result<Option<usize>> {
        match self.int(name)? {
            None => Ok(None),
            Some(n) if (least..=most).contains(&n) => Ok(usize::try_from(n).ok()),
            Some(n) => Err(self.wrong(name, format!("a number from {least} to {most} is wanted, not {n}"))),
        }
    }

    /// A string or an array of strings.
    pub(super) fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        self.typed(name, "a string or an array of strings", |value| match value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(many) => many.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            _ => None,
        })
    }

    /// Fields that only steer others' servers: read, and of no effect here by their nature.
    pub(super) fn skip(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.map.remove(*name)));
    }

    /// Refuses fields that would change the answer and are not supported, unless they ask for what is done anyway.
    pub(super) fn refuse(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            let usual = |value: &Value| USUAL.iter().any(|(own, text)| own == name && is_text(value, text));
            if self.map.remove(*name).is_some_and(|value| !is_off(&value) && !usual(&value)) {
                return Err(self.wrong(name, "is not supported by this server"));
            }
        }
        Ok(())
    }

    /// Refuses fields with anything in them (an object without members and 0 ask for something here), and tells what to do
    /// instead.
    pub(super) fn refuse_filled(&mut self, rows: &[(&str, &str)]) -> Result<()> {
        let says = |value: &Value| value.is_object() || value.is_number() || !is_off(value);
        match rows.iter().find(|(name, _)| self.take(name).is_some_and(|value| says(&value))) {
            Some((name, instead)) => Err(self.wrong(name, format!("is not supported by this server: {instead}"))),
            None => Ok(()),
        }
    }

    /// Sets a field.
    pub(super) fn put(&mut self, name: &str, value: Value) {
        self.map.insert(name.to_owned(), value);
    }

    /// Names of the fields that were not read.
    pub(super) fn rest(&self) -> Vec<String> {
        let own = self.map.keys().map(|name| format!("{}{name}", self.place));
        own.chain(self.inner.iter().cloned()).collect()
    }
}

/// Fields that are not supported, and texts (or arrays of one) with which they ask for what is done anyway.
const USUAL: &[(&str, &str)] = &[("modalities", "text"), ("function_call", "none"), ("function_call", "auto")];

/// Whether a value is this text, or an array of nothing else.
fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| item == text),
        other => other == text,
    }
}

/// Whether a value asks for nothing: clients with a fixed set of fields send such.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        // What may be switched off is off at 0, or at -1.
        Value::Number(n) => n.as_f64().is_some_and(|n| n <= 0.0),
        Value::Null => true,
    }
}

/// What a value is, for people.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "this number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
