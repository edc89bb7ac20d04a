//! What follows `?` in an address, and pages of lists.

use super::error::ApiError;
use axum::extract::Query;
use axum::http::Uri;
use serde_json::{Value, json};
use std::collections::HashMap;

type Result<T> = std::result::Result<T, ApiError>;

/// What follows `?`, by name.
pub(super) fn query(uri: &Uri) -> Result<HashMap<String, String>> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(why) => Err(ApiError::bad(format!("the query cannot be read: {why}"))),
    }
}

/// A number after `?`.
pub(super) fn number(query: &HashMap<String, String>, name: &str) -> Result<Option<u64>> {
    let read = |text: &String| text.parse().map_err(|_| ApiError::field(name, "a whole number from 0 is wanted"));
    query.get(name).map(read).transpose()
}

/// How many entries a page of a list has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Where the request does not say.
    pub(super) usual: usize,
    pub(super) most: usize,
}

/// A page of a list that has the latest last.
///
/// # Errors
/// 400 for a place that is not in the list, or numbers that are none.
pub(super) fn page(mut items: Vec<Value>, query: &HashMap<String, String>, limits: Limits) -> Result<Value> {
    match query.get("order").map(String::as_str) {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(ApiError::field("order", "asc or desc is wanted")),
    }
    let limit = match number(query, "limit")? {
        None => limits.usual,
        Some(limit) if (1..=limits.most as u64).contains(&limit) => limit as usize,
        Some(_) => return Err(ApiError::field("limit", format!("a number from 1 to {} is wanted", limits.most))),
    };
    if let Some(after) = query.get("after") {
        let at = items.iter().position(|item| item["id"] == after.as_str());
        let at = at.ok_or_else(|| ApiError::field("after", "nothing in this list has that id"))?;
        items.drain(..=at);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Ok(json!({ "object": "list", "first_id": id(items.first()), "last_id": id(items.last()), "has_more": more,
               "data": items }))
}
