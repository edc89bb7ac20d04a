//! Typed access to keys. Absent is `None`; present with another type is an error that names file, key, what was wanted
//! and what was found.

use super::file::Gguf;
use super::scan::shown;
use super::value::{Array, MetaValue, Texts};
use crate::{Error, ErrorKind, Result};
use std::sync::{Arc, PoisonError};

/// The key of the text of the chat template.
pub const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

impl Gguf {
    /// `general.architecture`.
    ///
    /// # Errors
    /// [`Error::Input`] when it is missing or no text.
    pub fn arch(&self) -> Result<&str> {
        self.need_str("general.architecture")
    }

    /// All keys with their values, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.key_order.iter().filter_map(|name| self.keys.get_key_value(name)).map(|(k, v)| (k.as_str(), v))
    }

    /// The value of `key`, whatever its type.
    pub fn value(&self, key: &str) -> Option<&MetaValue> {
        if let Some(asked) = &self.asked {
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
        }
        self.keys.get(key)
    }

    /// The same model, which notes the keys that it is asked for.
    pub fn noting_keys(&self) -> Self {
        Self { asked: Some(Arc::default()), ..self.clone() }
    }

    /// The keys that begin with `prefix` and were never asked for, in the order of the file; none unless the model
    /// [notes them](Gguf::noting_keys).
    pub fn keys_not_asked_for(&self, prefix: &str) -> Vec<&str> {
        let Some(asked) = &self.asked else { return Vec::new() };
        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.key_order.iter().map(String::as_str).filter(|key| key.starts_with(prefix));
        ours.filter(|key| !asked.contains(*key)).collect()
    }

    /// A text.
    ///
    /// # Errors
    /// As all typed getters: [`Error::Input`] when the key is there with another type or range.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.get(key, "a text", |value| match value {
            MetaValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A 64-bit unsigned integer (stored in any width, signed or not).
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type or is negative.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.get(key, "an unsigned integer", |value| match value {
            MetaValue::Uint(n) => Some(*n),
            _ => None,
        })
    }

    /// A 32-bit unsigned integer (stored in any width, signed or not).
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type or out of range.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.get(key, "an unsigned 32-bit integer", |value| match value {
            MetaValue::Uint(n) => u32::try_from(*n).ok(),
            _ => None,
        })
    }

    /// The id of a token with a role. Converters write "none" as -1, signed or not.
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type or out of range.
    pub fn token_id(&self, key: &str) -> Result<Option<u32>> {
        match self.value(key) {
            Some(MetaValue::Int(-1)) => Ok(None),
            _ => Ok(self.u32(key)?.filter(|&id| id != u32::MAX)),
        }
    }

    /// A count or size. Bounded by 32 bits, as no count of a model is larger: products of two cannot overflow.
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type or out of range.
    pub fn usize(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.u32(key)?.map(|n| n as usize))
    }

    /// A finite number (stored as `f32` or `f64`).
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type, or is not finite.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.get(key, "a finite number", |value| match value {
            MetaValue::Float(x) if (*x as f32).is_finite() => Some(*x as f32),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "a boolean", |value| match value {
            MetaValue::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// An array of anything.
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there and no array.
    pub fn array(&self, key: &str) -> Result<Option<&Array>> {
        self.get(key, "an array", |value| match value {
            MetaValue::Array(array) => Some(array),
            _ => None,
        })
    }

    /// An array of texts, as bytes: tokens need not be UTF-8.
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type, or with more texts than any vocabulary has.
    pub fn strings(&self, key: &str) -> Result<Option<Texts<'_>>> {
        /// A sparse file of a few kilobytes can say that it holds a hundred million.
        const MAX_TEXTS: usize = 1 << 22;
        if self.array(key).is_ok_and(|array| array.is_some_and(|array| array.len() > MAX_TEXTS)) {
            return Err(self.wrong(key, format!("at most {MAX_TEXTS} texts")));
        }
        self.get(key, "an array of texts", |value| match value {
            MetaValue::Array(array) => array.texts(),
            _ => None,
        })
    }

    /// The first `most` elements of an array of floats: no more than the caller has a use for, whatever the file says.
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type.
    pub fn f32s(&self, key: &str, most: usize) -> Result<Option<Vec<f32>>> {
        self.get(key, "an array of numbers", |value| match value {
            MetaValue::Array(array) => array.floats().map(|floats| floats.take(most).collect()),
            _ => None,
        })
    }

    /// The first `most` elements of an array of unsigned 32-bit integers (stored in any width).
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type, or an element is out of range.
    pub fn u32s(&self, key: &str, most: usize) -> Result<Option<Vec<u32>>> {
        self.get(key, "an array of unsigned 32-bit integers", |value| match value {
            MetaValue::Array(array) => array.integers()?.take(most).map(|n| u32::try_from(n).ok()).collect(),
            _ => None,
        })
    }

    /// The first `most` elements of an array of signed 32-bit integers (stored in any width).
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type, or an element is out of range.
    pub fn i32s(&self, key: &str, most: usize) -> Result<Option<Vec<i32>>> {
        self.get(key, "an array of signed 32-bit integers", |value| match value {
            MetaValue::Array(array) => array.integers()?.take(most).map(|n| i32::try_from(n).ok()).collect(),
            _ => None,
        })
    }

    /// The first `most` elements of an array of booleans (or of the integers 0 and 1).
    ///
    /// # Errors
    /// [`Error::Input`] when the key is there with another type, or an element is neither 0 nor 1.
    pub fn bools(&self, key: &str, most: usize) -> Result<Option<Vec<bool>>> {
        self.get(key, "an array of booleans", |value| match value {
            MetaValue::Array(array) => {
                array.integers()?.take(most).map(|n| if n == 0 || n == 1 { Some(n == 1) } else { None }).collect()
            }
            _ => None,
        })
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or has another type; so for all `need_` getters.
    pub fn need_str(&self, key: &str) -> Result<&str> {
        self.str(key)?.ok_or_else(|| self.missing(key, "a text"))
    }

    /// An unsigned 32-bit integer that has to be there.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or has another type.
    pub fn need_u32(&self, key: &str) -> Result<u32> {
        self.u32(key)?.ok_or_else(|| self.missing(key, "an unsigned integer"))
    }

    /// An unsigned 64-bit integer that has to be there.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or has another type.
    pub fn need_u64(&self, key: &str) -> Result<u64> {
        self.u64(key)?.ok_or_else(|| self.missing(key, "an unsigned integer"))
    }

    /// A count or size that has to be there.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or has another type.
    pub fn need_usize(&self, key: &str) -> Result<usize> {
        self.usize(key)?.ok_or_else(|| self.missing(key, "an unsigned integer"))
    }

    /// A finite number that has to be there.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or has another type.
    pub fn need_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| self.missing(key, "a number"))
    }

    /// An array of texts that has to be there.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or has another type.
    pub fn need_strings(&self, key: &str) -> Result<Texts<'_>> {
        self.strings(key)?.ok_or_else(|| self.missing(key, "an array of texts"))
    }

    /// The error for a key whose value does not fit: names the file, the key, what was wanted and what the value is.
    pub fn wrong(&self, key: &str, wanted: impl Into<String>) -> Error {
        match self.keys.get(key) {
            Some(value) => Error::input(self.place(key), wanted, value.describe()).of(ErrorKind::InvalidKey),
            None => self.missing(key, wanted),
        }
    }

    fn missing(&self, key: &str, wanted: impl Into<String>) -> Error {
        Error::input(self.place(key), wanted, "no such key")
            .of(ErrorKind::MissingKey)
            .hint("the file is incomplete: convert the model again, or get another copy")
    }

    fn place(&self, key: &str) -> String {
        format!("{}: key {}", self.path().display(), shown(key))
    }

    fn get<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'a MetaValue) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, wanted))
    }
}
