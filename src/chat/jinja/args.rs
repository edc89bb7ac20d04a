//! Arguments of calls, filters and tests.

use super::fault::{Result, runtime};
use super::meter::Meter;
use super::number::to_float;
use super::print::to_text;
use super::value::{Dict, Value};
use std::rc::Rc;

/// Arguments by place and by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Args {
    pub(super) pos: Vec<Value>,
    pub(super) kw: Vec<(String, Value)>,
}

/// Arguments in the order of the parameters.
#[derive(Debug)]
pub(super) struct Bound<const N: usize>([Option<Value>; N]);

impl Args {
    pub(super) fn pos(pos: Vec<Value>) -> Self {
        Self { pos, kw: Vec::new() }
    }

    /// Takes a keyword argument.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.kw.iter().position(|(known, _)| known == name)?;
        Some(self.kw.remove(at).1)
    }

    /// Sorts the arguments into the parameters of `function`, of which the first `required` have no default.
    pub(super) fn bind<const N: usize>(self, function: &str, names: [&str; N], required: usize) -> Result<Bound<N>> {
        let mut bound = [const { None }; N];
        if self.pos.len() > N {
            return runtime(format!("{function}() takes {N} arguments at most, but {} were given", self.pos.len()));
        }
        for (slot, value) in bound.iter_mut().zip(self.pos) {
            *slot = Some(value);
        }
        for (name, value) in self.kw {
            let Some(at) = names.iter().position(|known| !known.is_empty() && *known == name) else {
                return runtime(format!("{function}() got an unexpected keyword argument '{name}'"));
            };
            if bound[at].replace(value).is_some() {
                return runtime(format!("{function}() got multiple values for argument '{name}'"));
            }
        }
        if let Some(at) = bound[..required].iter().position(Option::is_none) {
            return runtime(format!("{function}() missing a required argument: '{}'", names[at]));
        }
        Ok(Bound(bound))
    }

    /// For functions whose parameters have no names.
    pub(super) fn bind_unnamed<const N: usize>(self, function: &str, required: usize) -> Result<Bound<N>> {
        self.bind(function, [""; N], required)
    }

    /// For functions that take nothing.
    pub(super) fn none(self, function: &str) -> Result<()> {
        self.bind::<0>(function, [], 0).map(drop)
    }
}

impl<const N: usize> Bound<N> {
    pub(super) fn get(&self, at: usize) -> Option<&Value> {
        self.0[at].as_ref()
    }

    /// The argument, if it was given and is not `none`.
    pub(super) fn some(&self, at: usize) -> Option<&Value> {
        self.get(at).filter(|value| !matches!(value, Value::None))
    }

    pub(super) fn or(&self, at: usize, default: Value) -> Value {
        self.get(at).cloned().unwrap_or(default)
    }

    pub(super) fn truth(&self, at: usize) -> bool {
        self.get(at).is_some_and(Value::truth)
    }

    pub(super) fn int(&self, at: usize, default: i64) -> Result<i64> {
        match self.get(at) {
            None => Ok(default),
            Some(value) => int_of(value),
        }
    }

    /// A text.
    pub(super) fn str(&self, at: usize) -> Result<Option<&str>> {
        match self.get(at) {
            None => Ok(None),
            Some(value) => str_of(value).map(Some),
        }
    }
}

/// A value that has to be an integer.
pub(super) fn int_of(value: &Value) -> Result<i64> {
    match value.index() {
        Some(n) => Ok(n),
        None if value.is_undefined() => value.undefined_fault(),
        None => runtime(format!("'{}' object cannot be interpreted as an integer", value.type_name())),
    }
}

/// A value that has to be a text.
pub(super) fn str_of(value: &Value) -> Result<&str> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => runtime(format!("a text is wanted here, not '{}'", value.type_name())),
    }
}

/// A value that has to be a number, as a float.
pub(super) fn float_of(value: &Value) -> Result<f64> {
    match value.number() {
        Some(super::number::Number::Float(x)) => Ok(x),
        Some(super::number::Number::Int(n)) => to_float(&n),
        None if value.is_undefined() => value.undefined_fault(),
        None => runtime(format!("must be real number, not {}", value.type_name())),
    }
}

/// A value that has to be a mapping.
pub(super) fn dict_of(value: &Value) -> Result<&Rc<Dict>> {
    match value {
        Value::Dict(dict) => Ok(dict),
        Value::Undefined(_) => value.undefined_fault(),
        other => runtime(format!("a mapping is wanted here, not '{}'", other.type_name())),
    }
}

/// `soft_str`: texts as they are, everything else as text.
pub(super) fn soft(value: &Value, meter: &Rc<Meter>) -> Result<Value> {
    to_text(value, meter)
}
