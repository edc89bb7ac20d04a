//! The one place that calls the `gguf-rs` decoder. It sees only the pre-scanned view of a header, so that what it does
//! with hostile counts, lengths and types cannot be reached; its result is compared with the pre-scan's.

use std::collections::HashMap;
use std::io::Cursor;
use std::panic::catch_unwind;
use std::sync::Arc;

use super::map::Map;
use gguf_rs::{ByteOrder, GGUFContainer, GGUFModel};
use serde_json::Value as Json;

use super::scan::{KeySpan, Scan};
use super::value::{Array, MetaValue, ValueKind};
use crate::{Error, Result};

/// Decodes the keys of a pre-scanned header; `map` is the file that the arrays stay in.
///
/// # Errors
/// [`Error::Input`] when the decoder refuses the header or reads it differently from the pre-scan.
pub(super) fn keys(scan: &mut Scan, map: &Arc<Map>, place: &str) -> Result<HashMap<String, MetaValue>> {
    let view = std::mem::take(&mut scan.view);
    let decoded = catch_unwind(move || {
        let mut container = GGUFContainer::new(ByteOrder::LE, Box::new(Cursor::new(view)), u64::MAX);
        container.decode().map_err(|e| e.to_string())
    });
    let model = match decoded {
        Ok(Ok(model)) => model,
        Ok(Err(why)) => return Err(Error::input(place, "a header that can be decoded", why)),
        Err(_) => return Err(Error::input(place, "a header that can be decoded", "one that the decoder fails on")),
    };
    agree(scan, &model, place)?;
    let mut keys = HashMap::with_capacity(scan.keys.len());
    for span in std::mem::take(&mut scan.keys) {
        let value = match span.array {
            Some(array) => MetaValue::Array(Array::new(Arc::clone(map), array)),
            None => scalar(&span, model.metadata().get(&span.name)).ok_or_else(|| disagreement(place, &span.name))?,
        };
        keys.insert(span.name, value);
    }
    Ok(keys)
}

/// Both readers have to have seen the same keys and tensors.
fn agree(scan: &Scan, model: &GGUFModel, place: &str) -> Result<()> {
    if model.metadata().len() != scan.keys.len() || model.tensors().len() != scan.tensors.len() {
        return Err(disagreement(place, "the counts"));
    }
    for (ours, theirs) in scan.tensors.iter().zip(model.tensors()) {
        if ours.name != theirs.name || ours.shape != theirs.shape || ours.offset != theirs.offset {
            return Err(disagreement(place, &ours.name));
        }
    }
    Ok(())
}

fn disagreement(place: &str, what: &str) -> Error {
    Error::input(place, "a header that reads one way only", format!("two readings of {}", super::scan::shown(what)))
}

/// A scalar from the decoder's JSON value. Numbers go through their text, which keeps every `f32` and `u64` exact.
fn scalar(span: &KeySpan, json: Option<&Json>) -> Option<MetaValue> {
    Some(match (span.kind, json?) {
        (ValueKind::Text, Json::String(_)) if !span.utf8 => MetaValue::BadText,
        (ValueKind::Text, Json::String(text)) => MetaValue::Text(text.clone()),
        (ValueKind::Bool, Json::Bool(value)) => MetaValue::Bool(*value),
        // JSON has no NaN and no infinities: the decoder turns them into null.
        (ValueKind::F32 | ValueKind::F64, Json::Null) => MetaValue::Float(f64::NAN),
        (ValueKind::F32, Json::Number(number)) => MetaValue::Float(f64::from(number.to_string().parse::<f32>().ok()?)),
        (ValueKind::F64, Json::Number(number)) => MetaValue::Float(number.to_string().parse().ok()?),
        (ValueKind::Text | ValueKind::Bool | ValueKind::Array | ValueKind::F32 | ValueKind::F64, _) => return None,
        (_, Json::Number(number)) => match number.as_u64() {
            Some(value) => MetaValue::Uint(value),
            None => MetaValue::Int(number.as_i64()?),
        },
        _ => return None,
    })
}
