//! Walks over the items of values, and the loops that make them.

use super::fault::{Result, runtime};
use super::meter::Meter;
use super::value::{LoopState, LoopValue, Value, View, Walk};
use std::rc::Rc;

impl Walk {
    pub(super) fn new(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::Undefined(_) => Self::Empty,
            Value::Str(text) => Self::Chars(Rc::clone(text), 0),
            Value::List(items) | Value::Tuple(items) => Self::Items(Rc::clone(items), 0),
            Value::Range(range) => Self::Range(Rc::clone(range), 0),
            Value::Dict(dict) => Self::Dict(View::Keys, Rc::clone(dict), 0),
            Value::View(view, dict) => Self::Dict(*view, Rc::clone(dict), 0),
            Value::Iter(iter) => Self::Iter(Rc::clone(iter)),
            other => return runtime(format!("'{}' object is not iterable", other.type_name())),
        })
    }

    pub(super) fn next(&mut self, meter: &Rc<Meter>) -> Result<Option<Value>> {
        meter.work(1)?;
        Ok(match self {
            Self::Empty => None,
            Self::Items(items, at) => {
                *at += 1;
                items.items.get(*at - 1).cloned()
            }
            Self::Chars(text, at) => match text.text[*at..].chars().next() {
                Some(c) => {
                    *at += c.len_utf8();
                    Some(meter.text(c.encode_utf8(&mut [0; 4]))?)
                }
                None => None,
            },
            Self::Range(range, at) => {
                *at += 1;
                (*at <= range.len).then(|| range.at(*at - 1))
            }
            Self::Dict(view, dict, at) => {
                *at += 1;
                match (dict.at(*at - 1), view) {
                    (None, _) => None,
                    (Some((key, _)), View::Keys) => Some(key.clone()),
                    (Some((_, value)), View::Values) => Some(value.clone()),
                    (Some((key, value)), View::Items) => Some(Value::tuple(meter, vec![key.clone(), value.clone()])?),
                }
            }
            Self::Iter(iter) => match iter.rest.borrow_mut().pop_front() {
                Some(item) => Some(item),
                None => match iter.fault.borrow_mut().take() {
                    Some(fault) => return Err(fault),
                    None => None,
                },
            },
        })
    }

    /// All that is left.
    pub(super) fn rest(mut self, meter: &Rc<Meter>) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut charge = meter.charge(0)?;
        while let Some(item) = self.next(meter)? {
            charge.grow(size_of::<Value>())?;
            items.push(item);
        }
        Ok(items)
    }
}

impl Value {
    /// All items.
    pub(super) fn items(&self, meter: &Rc<Meter>) -> Result<Vec<Self>> {
        Walk::new(self)?.rest(meter)
    }
}

impl LoopValue {
    /// The next item, without going on to it.
    pub(super) fn peek(&self, meter: &Rc<Meter>) -> Result<Option<Value>> {
        let mut state = self.state.borrow_mut();
        if state.after.is_none() {
            state.after = Some(state.walk.next(meter)?);
        }
        Ok(state.after.clone().flatten())
    }

    /// Goes on to the next item.
    pub(super) fn step(&self, meter: &Rc<Meter>) -> Result<Option<Value>> {
        let mut state = self.state.borrow_mut();
        let next = match state.after.take() {
            Some(item) => item,
            None => state.walk.next(meter)?,
        };
        if let Some(item) = &next {
            state.index += 1;
            state.before = state.current.replace(item.clone());
        }
        Ok(next)
    }

    /// After the last round the object holds nothing any more, so that no chain or circle of loops can be made.
    pub(super) fn end(&self) {
        let mut state = self.state.borrow_mut();
        let len = state.len.or(Some(state.index));
        let empty = LoopState {
            walk: Walk::Empty,
            index: state.index,
            len,
            after: None,
            before: None,
            current: None,
            changed: None,
        };
        let old = std::mem::replace(&mut *state, empty);
        // What it held may hold this object.
        drop(state);
        drop(old);
    }

    /// Items in all.
    pub(super) fn len(&self) -> Result<usize> {
        let state = self.state.borrow();
        if let Some(len) = state.len {
            return Ok(len);
        }
        // Only a walk over a generator does not know its length beforehand.
        let Walk::Iter(iter) = &state.walk else { return Ok(0) };
        if let Some(fault) = iter.fault.borrow_mut().take() {
            return Err(fault);
        }
        let waiting = usize::from(matches!(state.after, Some(Some(_))));
        Ok(iter.rest.borrow().len() + state.index + waiting)
    }
}
