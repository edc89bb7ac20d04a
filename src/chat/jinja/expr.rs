//! Runs a template: expressions.

use super::args::Args;
use super::ast::{CallArgs, CompareOp, Expr, ExprKind, Operator};
use super::eval::Eval;
use super::fault::{Result, runtime};
use super::value::{Dict, Global, Value};
use super::{attrs, compare, filters, functions, markup, ops, predicates, print};
use std::cmp::Ordering;
use std::rc::Rc;

impl<'t> Eval<'t> {
    pub(super) fn truth(&mut self, e: &'t Expr) -> Result<bool> {
        self.expr(e).map(|value| value.truth())
    }

    pub(super) fn expr(&mut self, e: &'t Expr) -> Result<Value> {
        self.meter.work(1)?;
        match &e.kind {
            ExprKind::None => Ok(Value::None),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Int(n) => Ok(Value::Int(*n)),
            ExprKind::Big(n) => Ok(Value::Big(Rc::new(n.clone()))),
            ExprKind::Float(x) => Ok(Value::Float(*x)),
            ExprKind::Text(id) => self.text(*id),
            ExprKind::Name(name) => Ok(self.name(name)),
            _ => self.deeper(|this| this.compound(e)),
        }
    }

    fn text(&mut self, id: usize) -> Result<Value> {
        if let Some(value) = &self.texts[id] {
            return Ok(value.clone());
        }
        let value = self.meter.text(&self.tree.texts[id])?;
        self.texts[id] = Some(value.clone());
        Ok(value)
    }

    fn name(&self, name: &str) -> Value {
        self.lookup(name).unwrap_or_else(|| match name {
            "range" => Value::Global(Global::Range),
            "dict" => Value::Global(Global::Dict),
            "namespace" => Value::Global(Global::Namespace),
            "cycler" => Value::Global(Global::Cycler),
            "joiner" => Value::Global(Global::Joiner),
            "lipsum" => Value::Global(Global::Lipsum),
            "raise_exception" => Value::Global(Global::RaiseException),
            "strftime_now" => Value::Global(Global::StrftimeNow),
            "self" => Value::Blocks,
            _ => Value::missing(name),
        })
    }

    fn exprs(&mut self, list: &'t [Expr]) -> Result<Vec<Value>> {
        list.iter().map(|e| self.expr(e)).collect()
    }

    fn compound(&mut self, e: &'t Expr) -> Result<Value> {
        match &e.kind {
            ExprKind::List(items) => {
                let items = self.exprs(items)?;
                Value::list(&self.meter, items)
            }
            ExprKind::Tuple(items) => {
                let items = self.exprs(items)?;
                Value::tuple(&self.meter, items)
            }
            ExprKind::Dict(pairs) => {
                let mut dict = Dict::new(&self.meter)?;
                for (key, value) in pairs {
                    let (key, value) = (self.expr(key)?, self.expr(value)?);
                    dict.set(key, value, &self.meter)?;
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            ExprKind::Cond { test, yes, no } => {
                if self.truth(test)? {
                    return self.expr(yes);
                }
                match no {
                    Some(no) => self.expr(no),
                    None => Ok(Value::missing(
                        "the inline if-expression evaluated to false and no else section was defined.",
                    )),
                }
            }
            ExprKind::And(a, b) => {
                let left = self.expr(a)?;
                if left.truth() { self.expr(b) } else { Ok(left) }
            }
            ExprKind::Or(a, b) => {
                let left = self.expr(a)?;
                if left.truth() { Ok(left) } else { self.expr(b) }
            }
            ExprKind::Not(a) => Ok(Value::Bool(!self.truth(a)?)),
            ExprKind::Neg(a) => {
                let value = self.expr(a)?;
                signed(&value, true)
            }
            ExprKind::Pos(a) => {
                let value = self.expr(a)?;
                signed(&value, false)
            }
            ExprKind::Compare(first, rest) => self.compare(first, rest),
            ExprKind::Concat(parts) => self.concat(parts),
            ExprKind::Binary(Operator::Pow, a, b) if a.is_constant() && !b.is_constant() => {
                // Jinja writes the constant into Python's source, where `-1 ** x` is `-(1 ** x)`.
                let (a, b) = (self.expr(a)?, self.expr(b)?);
                self.line = e.line;
                if compare::order(&a, &Value::Int(0), &self.meter)? != Some(Ordering::Less) {
                    return ops::binary(Operator::Pow, &a, &b, &self.meter);
                }
                signed(&ops::binary(Operator::Pow, &signed(&a, true)?, &b, &self.meter)?, true)
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.expr(a)?, self.expr(b)?);
                self.line = e.line;
                ops::binary(*op, &a, &b, &self.meter)
            }
            ExprKind::Attr(of, name) => {
                let of = self.expr(of)?;
                self.line = e.line;
                attrs::attr(self, &of, name)
            }
            ExprKind::Item(of, index) => {
                let of = self.expr(of)?;
                if let ExprKind::Slice(parts) = &index.kind {
                    return self.slice(&of, parts);
                }
                let index = self.expr(index)?;
                self.line = e.line;
                attrs::item(self, &of, &index)
            }
            ExprKind::Slice(_) => runtime("a slice stands where an index is wanted"),
            ExprKind::Filter(Some(input), name, args) => {
                let input = self.expr(input)?;
                self.filter(name, input, args, e.line)
            }
            ExprKind::Filter(None, ..) => runtime("a filter without input"),
            ExprKind::Test(input, name, args) => {
                let input = self.expr(input)?;
                let args = self.args(args, None)?;
                self.line = e.line;
                let Some(test) = predicates::find(name) else { return runtime(format!("unknown test '{name}'")) };
                test(self, &input, args).map(Value::Bool)
            }
            ExprKind::Call(..) => self.call_with(e, None),
            // The rest has no parts and was dealt with.
            _ => runtime("not an expression"),
        }
    }

    fn slice(&mut self, of: &Value, parts: &'t [Option<Expr>; 3]) -> Result<Value> {
        let mut bounds = [Value::None, Value::None, Value::None];
        for (slot, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *slot = self.expr(part)?;
            }
        }
        attrs::slice(of, &bounds, &self.meter)
    }

    fn compare(&mut self, first: &'t Expr, rest: &'t [(CompareOp, Expr)]) -> Result<Value> {
        let mut left = self.expr(first)?;
        for (comparison, e) in rest {
            let right = self.expr(e)?;
            let ordering = |a: &Value, b: &Value| compare::order(a, b, &self.meter);
            let holds = match comparison {
                CompareOp::Eq => compare::equal(&left, &right, &self.meter)?,
                CompareOp::Ne => !compare::equal(&left, &right, &self.meter)?,
                CompareOp::In => compare::contains(&right, &left, &self.meter)?,
                CompareOp::NotIn => !compare::contains(&right, &left, &self.meter)?,
                CompareOp::Lt => ordering(&left, &right)? == Some(Ordering::Less),
                CompareOp::Gt => ordering(&left, &right)? == Some(Ordering::Greater),
                CompareOp::Le => matches!(ordering(&left, &right)?, Some(Ordering::Less | Ordering::Equal)),
                CompareOp::Ge => matches!(ordering(&left, &right)?, Some(Ordering::Greater | Ordering::Equal)),
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn concat(&mut self, parts: &'t [Expr]) -> Result<Value> {
        let values = self.exprs(parts)?;
        let markup = self.autoescape && values.iter().any(Value::is_markup);
        let mut out = self.meter.buffer()?;
        for value in &values {
            if markup {
                out.push(markup::escape(value, &self.meter)?.as_str().unwrap_or_default())?;
            } else {
                print::write_str(&mut out, value)?;
            }
        }
        Ok(out.finish_as(markup))
    }

    fn args(&mut self, args: &'t CallArgs, caller: Option<Value>) -> Result<Args> {
        let mut all = Args::pos(self.exprs(&args.pos)?);
        for (name, e) in &args.kw {
            let value = self.expr(e)?;
            all.kw.push((name.clone(), value));
        }
        all.kw.extend(caller.map(|caller| ("caller".to_owned(), caller)));
        if let Some(star) = &args.star {
            let value = self.expr(star)?;
            all.pos.extend(value.items(&self.meter)?);
        }
        if let Some(stars) = &args.stars {
            let value = self.expr(stars)?;
            for (key, value) in super::args::dict_of(&value)?.iter() {
                let Some(name) = key.as_str() else { return runtime("keywords must be strings") };
                if all.kw.iter().any(|(known, _)| known == name) {
                    return runtime(format!("got multiple values for keyword argument '{name}'"));
                }
                self.meter.work(all.kw.len() / 8 + 1)?;
                all.kw.push((name.to_owned(), value.clone()));
            }
        }
        Ok(all)
    }

    fn filter(&mut self, name: &str, input: Value, args: &'t CallArgs, line: usize) -> Result<Value> {
        let args = self.args(args, None)?;
        self.line = line;
        let Some(filter) = filters::find(name) else { return runtime(format!("unknown filter '{name}'")) };
        filter(self, input, args)
    }

    /// The filters at the head of a block, with its text as their input.
    pub(super) fn filter_chain(&mut self, chain: &'t Expr, input: Value) -> Result<Value> {
        let ExprKind::Filter(before, name, args) = &chain.kind else { return Ok(input) };
        let input = match before {
            Some(before) => self.deeper(|this| this.filter_chain(before, input))?,
            None => input,
        };
        self.filter(name, input, args, chain.line)
    }

    /// A call, for a call block with its caller.
    pub(super) fn call_with(&mut self, e: &'t Expr, caller: Option<Value>) -> Result<Value> {
        let ExprKind::Call(of, args) = &e.kind else { return runtime("expected call") };
        let of = self.expr(of)?;
        let args = self.args(args, caller)?;
        self.line = e.line;
        functions::call(self, &of, args)
    }
}

/// `-value` and `+value`.
fn signed(value: &Value, negative: bool) -> Result<Value> {
    match value {
        Value::Undefined(_) => value.undefined_fault(),
        Value::Float(x) => Ok(Value::Float(if negative { -x } else { *x })),
        other => match other.integer() {
            Some(n) => Ok(Value::big(if negative { -n } else { n })),
            None => runtime(format!(
                "bad operand type for unary {}: '{}'",
                if negative { '-' } else { '+' },
                other.type_name()
            )),
        },
    }
}
