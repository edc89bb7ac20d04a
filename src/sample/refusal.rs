//! How a JSON schema is refused.

use crate::{Error, Result};

/// Refuses the schema with a sentence.
///
/// # Errors
/// Always.
pub(super) fn refuse<T>(wanted: impl Into<String>, found: impl Into<String>) -> Result<T> {
    Err(Error::input("the JSON schema", wanted, found))
}
