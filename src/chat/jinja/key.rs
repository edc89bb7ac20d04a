//! Keys of mappings.

use super::meter::Text;
use indexmap::Equivalent;
use num_bigint::BigInt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// A key of a mapping: equal numbers of different types are one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MapKey {
    Undefined,
    None,
    Int(i64),
    Big(Rc<BigInt>),
    Float(u64),
    Str(StrKey),
    Tuple(Vec<Self>),
    /// Things that are only equal to themselves.
    Same(usize),
}

#[derive(Debug, Clone)]
pub(super) struct StrKey(pub(super) Rc<Text>);

impl PartialEq for StrKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for StrKey {}

impl Hash for MapKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Undefined => 0_u8.hash(state),
            Self::None => 1_u8.hash(state),
            Self::Int(n) => n.hash(state),
            Self::Big(n) => n.hash(state),
            Self::Float(bits) => bits.hash(state),
            // As `str` does, so that a `Named` finds it.
            Self::Str(text) => text.0.text.hash(state),
            Self::Tuple(items) => items.hash(state),
            Self::Same(place) => place.hash(state),
        }
    }
}

/// Looks a text up without making a value of it.
#[derive(Hash)]
pub(super) struct Named<'a>(pub(super) &'a str);

impl Equivalent<MapKey> for Named<'_> {
    fn equivalent(&self, key: &MapKey) -> bool {
        matches!(key, MapKey::Str(text) if &*text.0.text == self.0)
    }
}
