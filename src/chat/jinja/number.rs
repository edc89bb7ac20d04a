//! Values as numbers.

use super::fault::{Result, runtime};
use super::value::Value;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

/// A number, booleans included.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Int(BigInt),
    Float(f64),
}

impl Value {
    /// The value as a number; booleans are numbers.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Float(x) => Some(Number::Float(*x)),
            other => other.integer().map(Number::Int),
        }
    }

    /// The value as an integer of any length, if it is one.
    pub(super) fn integer(&self) -> Option<BigInt> {
        match self {
            Self::Bool(b) => Some(BigInt::from(u8::from(*b))),
            Self::Int(n) => Some(BigInt::from(*n)),
            Self::Big(n) => Some((**n).clone()),
            _ => None,
        }
    }

    /// The value as an integer; one beyond 64 bits becomes the nearest that fits.
    pub(super) fn index(&self) -> Option<i64> {
        match self {
            Self::Bool(b) => Some(i64::from(*b)),
            Self::Int(n) => Some(*n),
            Self::Big(n) => Some(if n.sign() == num_bigint::Sign::Minus { i64::MIN } else { i64::MAX }),
            _ => None,
        }
    }
}

/// An integer as a float.
pub(super) fn to_float(n: &BigInt) -> Result<f64> {
    match n.to_f64() {
        Some(x) if x.is_finite() => Ok(x),
        _ => runtime("int too large to convert to float"),
    }
}
