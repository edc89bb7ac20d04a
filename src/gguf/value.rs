//! Values of keys: scalars are held, arrays stay in the map and are read through typed views.

use std::sync::Arc;

use super::map::Map;
use std::ops::Range;

/// The type of a value, by GGUF's numbers 0 to 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

/// GGUF's number, name and bytes of each kind (0 bytes = varies), in the order of the numbers.
const KINDS: [(ValueKind, &str, usize); 13] = [
    (ValueKind::U8, "u8", 1),
    (ValueKind::I8, "i8", 1),
    (ValueKind::U16, "u16", 2),
    (ValueKind::I16, "i16", 2),
    (ValueKind::U32, "u32", 4),
    (ValueKind::I32, "i32", 4),
    (ValueKind::F32, "f32", 4),
    (ValueKind::Bool, "bool", 1),
    (ValueKind::Text, "text", 0),
    (ValueKind::Array, "array", 0),
    (ValueKind::U64, "u64", 8),
    (ValueKind::I64, "i64", 8),
    (ValueKind::F64, "f64", 8),
];

impl ValueKind {
    pub(super) fn from_id(id: u32) -> Option<Self> {
        KINDS.get(id as usize).map(|row| row.0)
    }

    pub(super) fn id(self) -> u32 {
        self as u32
    }

    /// `u32`, `text`, ...
    pub fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    pub(super) fn size(self) -> usize {
        KINDS[self as usize].2
    }

    fn is_integer(self) -> bool {
        !matches!(self, Self::F32 | Self::F64 | Self::Bool | Self::Text | Self::Array)
    }
}

/// A value of a key.
#[derive(Debug, Clone)]
pub enum MetaValue {
    /// Any unsigned integer, or a signed one that is not negative.
    Uint(u64),
    /// A negative integer.
    Int(i64),
    /// An `f32` or `f64`; the former converts back without loss. May be NaN or infinite.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A text in UTF-8.
    Text(String),
    /// A text that is not UTF-8.
    BadText,
    /// An array, still in the file.
    Array(Array),
}

impl MetaValue {
    /// What the value is, for messages: `the integer 7`, `the text "llama"`, `an array of 12 f32`.
    pub fn describe(&self) -> String {
        match self {
            Self::Uint(n) => format!("the integer {n}"),
            Self::Int(n) => format!("the integer {n}"),
            Self::Float(x) => format!("the number {x}"),
            Self::Bool(b) => format!("the boolean {b}"),
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "..." } else { "" };
                format!("the text {short:?}{more}")
            }
            Self::BadText => "a text that is not UTF-8".into(),
            Self::Array(array) => format!("an array of {} {}", array.len(), array.kind().name()),
        }
    }
}

/// Elements of an array as they lie in the file.
#[derive(Debug, Clone)]
pub(super) struct ArraySpan {
    pub(super) of: ValueKind,
    pub(super) len: usize,
    pub(super) data: Range<usize>,
}

/// An array that stays in the file: its elements are read from the map each time.
#[derive(Clone)]
pub struct Array {
    map: Arc<Map>,
    span: ArraySpan,
}

impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}; {}]", self.kind().name(), self.len())
    }
}

impl Array {
    /// `span` must lie in `map` and hold what it says: the pre-scan has checked it.
    pub(super) fn new(map: Arc<Map>, span: ArraySpan) -> Self {
        Self { map, span }
    }

    /// Type of the elements (never [`ValueKind::Array`]).
    pub fn kind(&self) -> ValueKind {
        self.span.of
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.span.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.span.len == 0
    }

    fn bytes(&self) -> &[u8] {
        &self.map[self.span.data.clone()]
    }

    fn chunks(&self) -> std::slice::ChunksExact<'_, u8> {
        // `max(1)`: texts have no fixed size; they are never asked for here.
        self.bytes().chunks_exact(self.kind().size().max(1))
    }

    /// The texts as bytes, valid UTF-8 or not; `None` when the elements are not texts.
    pub fn texts(&self) -> Option<Texts<'_>> {
        (self.kind() == ValueKind::Text).then(|| Texts { rest: self.bytes(), left: self.len() })
    }

    /// The elements as integers of any width; `None` when they are not integers (or booleans, which count as 0 and 1).
    pub fn integers(&self) -> Option<impl Iterator<Item = i128> + '_> {
        let kind = self.kind();
        (kind.is_integer() || kind == ValueKind::Bool).then(|| self.chunks().map(move |bytes| integer(kind, bytes)))
    }

    /// The elements as floats (`f64` is rounded); `None` when they are not floats.
    pub fn floats(&self) -> Option<impl Iterator<Item = f32> + '_> {
        let kind = self.kind();
        matches!(kind, ValueKind::F32 | ValueKind::F64).then(|| {
            self.chunks().map(move |bytes| match kind {
                ValueKind::F32 => bytes.first_chunk().map_or(f32::NAN, |b| f32::from_le_bytes(*b)),
                _ => bytes.first_chunk().map_or(f32::NAN, |b| f64::from_le_bytes(*b) as f32),
            })
        })
    }
}

/// Reads one little-endian integer of `kind` from exactly its bytes.
fn integer(kind: ValueKind, bytes: &[u8]) -> i128 {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let value = u64::from_le_bytes(wide);
    match kind {
        ValueKind::I8 => i128::from(value as i8),
        ValueKind::I16 => i128::from(value as i16),
        ValueKind::I32 => i128::from(value as i32),
        ValueKind::I64 => i128::from(value as i64),
        ValueKind::Bool => i128::from(value != 0),
        _ => i128::from(value),
    }
}

/// Iterator over the texts of an array, as bytes.
#[derive(Debug, Clone)]
pub struct Texts<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk()?;
        // The pre-scan has walked these lengths; were the file to change under the map, the iterator would just end.
        let (text, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        self.rest = rest;
        self.left = self.left.saturating_sub(1);
        Some(text)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}
