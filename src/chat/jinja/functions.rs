//! Calls: the functions that are always there, and what other values do when they are called.

use super::args::{Args, int_of, str_of};
use super::eval::Eval;
use super::fault::{Fault, FaultKind, Result, runtime};
use super::value::Walk;
use super::value::{Cycler, Dict, Global, Items, Joiner, Range, Value};
use super::{methods, print, time};
use std::cell::Cell;
use std::rc::Rc;

/// Most numbers that `range` gives in a sandbox.
const MAX_RANGE: usize = 100_000;

/// Calls a value.
pub(super) fn call(eval: &mut Eval<'_>, of: &Value, args: Args) -> Result<Value> {
    match of {
        Value::Undefined(_) => of.undefined_fault(),
        Value::Macro(of) => eval.deeper(|eval| eval.call_macro(of, args)),
        Value::Method(bound) => methods::call(eval, &bound.0, bound.1, args),
        Value::Global(global) => call_global(eval, *global, args),
        Value::Joiner(joiner) => {
            args.none("joiner")?;
            if joiner.used.replace(true) { Ok(joiner.separator.clone()) } else { eval.meter.text("") }
        }
        Value::Loop(of) => {
            let bound = args.bind("loop", ["iterable"], 1)?;
            let items = bound.or(0, Value::None);
            eval.deeper(|eval| eval.recurse(of, &items))
        }
        Value::Block(id) => {
            args.none("block")?;
            let mut out = eval.meter.buffer()?;
            eval.deeper(|eval| eval.block(*id, &mut out))?;
            Ok(out.finish_as(eval.autoescape))
        }
        other => runtime(format!("'{}' object is not callable", other.type_name())),
    }
}

fn call_global(eval: &mut Eval<'_>, global: Global, mut args: Args) -> Result<Value> {
    let meter = Rc::clone(&eval.meter);
    match global {
        Global::Range => range(args),
        Global::Dict => Ok(Value::Dict(Rc::new(new_dict(eval, args)?))),
        Global::Namespace => {
            let attrs = new_dict(eval, args)?;
            eval.namespace(attrs)
        }
        Global::Cycler => {
            if args.pos.is_empty() {
                return runtime("at least one item has to be provided");
            }
            let items = Rc::new(Items::new(&meter, std::mem::take(&mut args.pos), false)?);
            args.none("cycler")?;
            Ok(Value::Cycler(Rc::new(Cycler { items, at: Cell::new(0) })))
        }
        Global::Joiner => {
            let separator = args.bind("joiner", ["sep"], 0)?.or(0, meter.text(", ")?);
            Ok(Value::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
        }
        Global::Lipsum => runtime("lipsum gives other words every time, which no prompt can want"),
        Global::RaiseException => {
            let message = args.bind("raise_exception", ["message"], 1)?.or(0, Value::None);
            let mut text = meter.buffer()?;
            print::write_str(&mut text, &message)?;
            Err(Fault::new(FaultKind::Raised, text.as_str()))
        }
        Global::StrftimeNow => {
            let format = args.bind("strftime_now", ["format"], 1)?.or(0, Value::None);
            time::strftime(eval.now, str_of(&format)?, &meter)
        }
    }
}

fn range(args: Args) -> Result<Value> {
    let bound = args.bind_unnamed::<3>("range", 1)?;
    let first = bound.int(0, 0)?;
    let range = match bound.get(1) {
        None => Range::new(0, first, 1)?,
        Some(stop) => Range::new(first, int_of(stop)?, bound.int(2, 1)?)?,
    };
    if range.len > MAX_RANGE {
        return runtime(format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE})."));
    }
    Ok(Value::Range(Rc::new(range)))
}

/// `dict(pairs_or_mapping, name=value, ..)`.
fn new_dict(eval: &Eval<'_>, args: Args) -> Result<Dict> {
    let meter = &eval.meter;
    if args.pos.len() > 1 {
        return runtime(format!("dict expected at most 1 argument, got {}", args.pos.len()));
    }
    let mut dict = match args.pos.first() {
        None => Dict::new(meter)?,
        Some(Value::Dict(other)) => other.copy(meter)?,
        Some(pairs) => {
            let mut dict = Dict::new(meter)?;
            let mut walk = Walk::new(pairs)?;
            while let Some(pair) = walk.next(meter)? {
                let pair = pair.items(meter)?;
                let [key, value] = pair.as_slice() else {
                    return runtime(format!(
                        "dictionary update sequence element has length {}; 2 is required",
                        pair.len()
                    ));
                };
                dict.set(key.clone(), value.clone(), meter)?;
            }
            dict
        }
    };
    for (name, value) in args.kw {
        dict.set(meter.text(&name)?, value, meter)?;
    }
    Ok(dict)
}
