//! Python's values, as far as templates see them.
//!
//! Lists, tuples and mappings never change once they are made, so that they cannot hold themselves; they know how deep
//! they are, and nothing deeper than [`MAX_VALUE_DEPTH`] is made. Only namespaces change. They are opaque to comparison and
//! hashing, and the evaluator keeps all of them until it ends, so that no chain of them is ever dropped in one go.

use super::fault::{Fault, Result, limit, runtime};
use super::key::{MapKey, Named, StrKey};
use super::meter::{Buffer, Charge, Meter, OVERHEAD, Text};
use indexmap::IndexMap;
use num_bigint::BigInt;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Deepest nesting of values.
pub(super) const MAX_VALUE_DEPTH: usize = 150;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i64),
    /// Beyond 64 bits.
    Big(Rc<BigInt>),
    Float(f64),
    Str(Rc<Text>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    Range(Rc<Range>),
    View(View, Rc<Dict>),
    Iter(Rc<Iter>),
    Namespace(Rc<Namespace>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
    Loop(Rc<LoopValue>),
    Macro(Rc<Macro>),
    /// A method bound to its object.
    Method(Rc<(Value, &'static str)>),
    Global(Global),
    /// `self`, whose attributes are the template's blocks.
    Blocks,
    Block(usize),
}

/// What is not there: its name, and of what.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) of: Option<&'static str>,
    pub(super) name: Box<str>,
}

/// The items of a list or tuple.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) items: Vec<Value>,
    pub(super) depth: usize,
    /// A pair of `groupby`, which has names for its two items.
    pub(super) group: bool,
    _charge: Charge,
}

/// A mapping, in the order of insertion.
#[derive(Debug)]
pub(super) struct Dict {
    map: IndexMap<MapKey, (Value, Value), ahash::RandomState>,
    depth: usize,
    charge: Charge,
}

/// Numbers from `start` to before `stop`.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) stop: i64,
    pub(super) step: i64,
    pub(super) len: usize,
}

/// What of a mapping is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

/// What can be walked once. Python makes its items when they are asked for; here they are made at once, and what went wrong
/// with one is said when it is asked for.
#[derive(Debug)]
pub(super) struct Iter {
    pub(super) rest: RefCell<VecDeque<Value>>,
    pub(super) fault: RefCell<Option<Box<Fault>>>,
    /// What Python calls it.
    pub(super) name: &'static str,
    pub(super) depth: usize,
    _charge: Charge,
}

/// The one thing that templates can change.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) attrs: RefCell<Rc<Dict>>,
}

#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Rc<Items>,
    pub(super) at: Cell<usize>,
}

#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) separator: Value,
    pub(super) used: Cell<bool>,
}

/// The variable `loop`.
#[derive(Debug)]
pub(super) struct LoopValue {
    pub(super) state: RefCell<LoopState>,
    /// Number of the loop in the tree if it is recursive, and the frame where it stands.
    pub(super) recursive: Option<(usize, usize)>,
    pub(super) depth0: usize,
}

#[derive(Debug)]
pub(super) struct LoopState {
    pub(super) walk: Walk,
    pub(super) index: usize,
    /// Items in all, when that was asked for.
    pub(super) len: Option<usize>,
    /// The next item, when it was asked for: `Some(None)` is the end.
    pub(super) after: Option<Option<Value>>,
    pub(super) before: Option<Value>,
    pub(super) current: Option<Value>,
    pub(super) changed: Option<Value>,
}

/// A walk over the items of a value.
#[derive(Debug)]
pub(super) enum Walk {
    Empty,
    Items(Rc<Items>, usize),
    /// A list or tuple from its end.
    Chars(Rc<Text>, usize),
    Range(Rc<Range>, usize),
    Dict(View, Rc<Dict>, usize),
    Iter(Rc<Iter>),
}

/// A macro: its number in the tree, and the frame that it sees.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) id: usize,
    pub(super) frame: usize,
    pub(super) autoescape: bool,
    pub(super) name: Option<String>,
}

/// Functions that are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
}

impl Meter {
    /// A text.
    pub(super) fn text(self: &Rc<Self>, text: &str) -> Result<Value> {
        self.look(text.len())?;
        let charge = self.charge(OVERHEAD + text.len())?;
        Ok(Value::Str(Rc::new(Text::new(text.into(), false, charge))))
    }
}

impl Buffer {
    /// The text as a value.
    pub(super) fn finish(self) -> Value {
        self.finish_as(false)
    }

    /// The same, safe for HTML or not.
    pub(super) fn finish_as(self, markup: bool) -> Value {
        Value::Str(Rc::new(self.into_text(markup)))
    }
}

impl Items {
    pub(super) fn new(meter: &Rc<Meter>, items: Vec<Value>, group: bool) -> Result<Self> {
        meter.work(items.len())?;
        let charge = meter.charge(OVERHEAD + items.len() * size_of::<Value>())?;
        let depth = one_deeper(items.iter().map(Value::depth).max())?;
        Ok(Self { items, depth, group, _charge: charge })
    }
}

/// The depth of what holds things of that depth.
fn one_deeper(deepest: Option<usize>) -> Result<usize> {
    match deepest.unwrap_or(0) + 1 {
        depth if depth > MAX_VALUE_DEPTH => limit(format!("values nested deeper than {MAX_VALUE_DEPTH} levels")),
        depth => Ok(depth),
    }
}

impl Dict {
    pub(super) fn new(meter: &Rc<Meter>) -> Result<Self> {
        Ok(Self { map: IndexMap::default(), depth: 1, charge: meter.charge(OVERHEAD)? })
    }

    /// Sets a key. An equal key that is there already stays as it is written.
    pub(super) fn set(&mut self, key: Value, value: Value, meter: &Meter) -> Result<()> {
        let hashed = key.key(meter)?;
        self.depth = self.depth.max(one_deeper(Some(key.depth().max(value.depth())))?);
        if let Some(slot) = self.map.get_mut(&hashed) {
            slot.1 = value;
            return Ok(());
        }
        self.charge.grow(size_of::<(MapKey, Value, Value, u64)>() + 2 * size_of::<usize>())?;
        self.map.insert(hashed, (key, value));
        Ok(())
    }

    pub(super) fn get(&self, key: &Value, meter: &Meter) -> Result<Option<&Value>> {
        Ok(self.map.get(&key.key(meter)?).map(|(_, value)| value))
    }

    pub(super) fn get_str(&self, name: &str) -> Option<&Value> {
        self.map.get(&Named(name)).map(|(_, value)| value)
    }

    pub(super) fn at(&self, index: usize) -> Option<(&Value, &Value)> {
        self.map.get_index(index).map(|(_, (key, value))| (key, value))
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.map.values().map(|(key, value)| (key, value))
    }

    /// A copy, one level deep.
    pub(super) fn copy(&self, meter: &Rc<Meter>) -> Result<Self> {
        let mut copy = Self::new(meter)?;
        for (key, value) in self.iter() {
            copy.set(key.clone(), value.clone(), meter)?;
        }
        Ok(copy)
    }
}

impl Iter {
    pub(super) fn value(
        meter: &Rc<Meter>,
        items: Vec<Value>,
        fault: Option<Box<Fault>>,
        name: &'static str,
    ) -> Result<Value> {
        let charge = meter.charge(OVERHEAD + items.len() * size_of::<Value>())?;
        let depth = one_deeper(items.iter().map(Value::depth).max())?;
        Ok(Value::Iter(Rc::new(Self {
            rest: RefCell::new(items.into()),
            fault: RefCell::new(fault),
            name,
            depth,
            _charge: charge,
        })))
    }
}

impl Range {
    pub(super) fn new(start: i64, stop: i64, step: i64) -> Result<Self> {
        let (span, stride) = match step {
            0 => return runtime("range() arg 3 must not be zero"),
            1.. => (i128::from(stop) - i128::from(start), i128::from(step)),
            _ => (i128::from(start) - i128::from(stop), -i128::from(step)),
        };
        let len = usize::try_from((span.max(0) + stride - 1) / stride).unwrap_or(usize::MAX);
        Ok(Self { start, stop, step, len })
    }

    pub(super) fn at(&self, index: usize) -> Value {
        Value::Int(self.start.wrapping_add((index as i64).wrapping_mul(self.step)))
    }
}

impl Value {
    pub(super) fn list(meter: &Rc<Meter>, items: Vec<Self>) -> Result<Self> {
        Ok(Self::List(Rc::new(Items::new(meter, items, false)?)))
    }

    pub(super) fn tuple(meter: &Rc<Meter>, items: Vec<Self>) -> Result<Self> {
        Ok(Self::Tuple(Rc::new(Items::new(meter, items, false)?)))
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::Undefined(Rc::new(Missing { of: None, name: name.into() }))
    }

    /// An attribute or item that is not there.
    pub(super) fn missing_in(&self, name: &str) -> Self {
        Self::Undefined(Rc::new(Missing { of: Some(self.type_name()), name: name.into() }))
    }

    pub(super) fn int(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    pub(super) fn big(n: BigInt) -> Self {
        i64::try_from(&n).map_or_else(|_| Self::Big(Rc::new(n)), Self::Int)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(&text.text) } else { None }
    }

    pub(super) fn is_markup(&self) -> bool {
        matches!(self, Self::Str(text) if text.markup)
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Levels of values in this one.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::List(items) | Self::Tuple(items) => items.depth,
            Self::Dict(dict) | Self::View(_, dict) => dict.depth,
            Self::Iter(iter) => iter.depth,
            Self::Method(bound) => bound.0.depth() + 1,
            Self::Cycler(cycler) => cycler.items.depth + 1,
            Self::Joiner(joiner) => joiner.separator.depth() + 1,
            // Holds what it walks, and items of that.
            Self::Loop(_) => MAX_VALUE_DEPTH / 2,
            _ => 0,
        }
    }

    /// The name of the type, as Python has it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Str(text) => {
                if text.markup {
                    "Markup"
                } else {
                    "str"
                }
            }
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Range(_) => "range",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Iter(iter) => iter.name,
            Self::Namespace(_) => "Namespace",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Method(_) => "builtin_function_or_method",
            Self::Global(_) => "function",
            Self::Blocks => "TemplateReference",
            Self::Block(_) => "BlockReference",
        }
    }

    /// The error of touching something that is not there.
    pub(super) fn undefined_fault<T>(&self) -> Result<T> {
        match self {
            Self::Undefined(missing) => runtime(missing.message()),
            _ => runtime("undefined"),
        }
    }

    /// Whether the value counts as true.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(x) => *x != 0.0,
            Self::Str(text) => !text.text.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len() > 0,
            Self::Range(range) => range.len > 0,
            _ => true,
        }
    }

    /// The number of items, where Python's `len` knows one.
    pub(super) fn len(&self) -> Result<Option<usize>> {
        Ok(Some(match self {
            Self::Undefined(_) => 0,
            Self::Str(text) => text.chars,
            Self::List(items) | Self::Tuple(items) => items.items.len(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len(),
            Self::Range(range) => range.len,
            Self::Loop(of) => of.len()?,
            _ => return Ok(None),
        }))
    }

    /// What the value is found by in a mapping.
    pub(super) fn key(&self, meter: &Meter) -> Result<MapKey> {
        Ok(match self {
            Self::Undefined(_) => MapKey::Undefined,
            Self::None => MapKey::None,
            Self::Bool(b) => MapKey::Int(i64::from(*b)),
            Self::Int(n) => MapKey::Int(*n),
            Self::Big(n) => MapKey::Big(Rc::clone(n)),
            Self::Float(x) => float_key(*x),
            Self::Str(text) => {
                meter.look(text.text.len())?;
                MapKey::Str(StrKey(Rc::clone(text)))
            }
            Self::Tuple(items) => {
                meter.work(items.items.len() + 1)?;
                MapKey::Tuple(items.items.iter().map(|item| item.key(meter)).collect::<Result<_>>()?)
            }
            Self::Range(range) => MapKey::Tuple(vec![
                MapKey::Same(1),
                MapKey::Int(range.start),
                MapKey::Int(range.step),
                MapKey::Int(range.len as i64),
            ]),
            Self::List(_) | Self::Dict(_) | Self::View(View::Keys | View::Items, _) => {
                return runtime(format!("unhashable type: '{}'", self.type_name()));
            }
            Self::View(View::Values, dict) => MapKey::Same(Rc::as_ptr(dict).addr()),
            Self::Iter(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Namespace(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Cycler(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Joiner(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Loop(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Macro(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Method(it) => MapKey::Same(Rc::as_ptr(it).addr()),
            Self::Global(global) => MapKey::Same(2 + *global as usize),
            Self::Blocks => MapKey::Same(0),
            Self::Block(id) => MapKey::Same(20 + id),
        })
    }
}

impl Missing {
    pub(super) fn message(&self) -> String {
        match self.of {
            Some(of) => format!("'{of} object' has no attribute {}", super::fault::quoted(&self.name)),
            None if self.name.contains(' ') => self.name.to_string(),
            None => format!("{} is undefined", super::fault::quoted(&self.name)),
        }
    }
}

fn float_key(x: f64) -> MapKey {
    if x.fract() != 0.0 || !x.is_finite() {
        return MapKey::Float(x.to_bits());
    }
    match num_traits::FromPrimitive::from_f64(x).map(Value::big) {
        Some(Value::Int(n)) => MapKey::Int(n),
        Some(Value::Big(n)) => MapKey::Big(n),
        _ => MapKey::Float(x.to_bits()),
    }
}
