//! What a filter looks at in each item, and what it makes of all of them.

use super::super::attrs;
use super::super::eval::Eval;
use super::super::fault::{Fault, FaultKind, Result};
use super::super::meter::Meter;
use super::super::value::Walk;
use super::super::value::{Iter, Value};
use std::rc::Rc;

/// How a filter finds what it looks at in each item: `a.b.0`.
pub(super) struct Path {
    parts: Vec<Value>,
    default: Option<Value>,
    /// Texts are compared without their case.
    fold: bool,
}

impl Path {
    pub(super) fn new(
        attribute: Option<&Value>,
        default: Option<Value>,
        fold: bool,
        meter: &Rc<Meter>,
    ) -> Result<Self> {
        let parts = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(text)) => text.text.split('.').map(|part| part_of(part, meter)).collect::<Result<_>>()?,
            Some(other) => vec![other.clone()],
        };
        Ok(Self { parts, default: default.filter(|value| !matches!(value, Value::None)), fold })
    }

    pub(super) fn get(&self, eval: &Eval<'_>, item: &Value) -> Result<Value> {
        let mut item = item.clone();
        for part in &self.parts {
            eval.meter.work(1)?;
            item = attrs::item(eval, &item, part)?;
            if item.is_undefined()
                && let Some(default) = &self.default
            {
                item = default.clone();
            }
        }
        match &item {
            Value::Str(text) if self.fold => {
                eval.meter.work(text.text.len() / 8)?;
                eval.meter.text(&text.text.to_lowercase())
            }
            _ => Ok(item),
        }
    }
}

fn part_of(part: &str, meter: &Rc<Meter>) -> Result<Value> {
    let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match part.parse() {
        Ok(n) if digits => Ok(Value::Int(n)),
        _ => meter.text(part),
    }
}

/// Makes a generator of what `each` gives for the items of `value`. A fault of the template's comes up when the generator
/// is walked, as in Python.
pub(super) fn generator(
    eval: &mut Eval<'_>,
    value: &Value,
    name: &'static str,
    mut each: impl FnMut(&mut Eval<'_>, Value) -> Result<Option<Value>>,
) -> Result<Value> {
    let meter = Rc::clone(&eval.meter);
    let mut made = Vec::new();
    let mut run = || -> Result<()> {
        let mut walk = Walk::new(value)?;
        let mut room = meter.charge(0)?;
        while let Some(item) = walk.next(&meter)? {
            if let Some(item) = each(eval, item)? {
                room.grow(size_of::<Value>())?;
                made.push(item);
            }
        }
        Ok(())
    };
    let fault: Option<Box<Fault>> = match run() {
        Ok(()) => None,
        Err(fault) if fault.kind == FaultKind::Runtime => Some(fault),
        Err(fault) => return Err(fault),
    };
    Iter::value(&meter, made, fault, name)
}
