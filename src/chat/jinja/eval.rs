//! Runs a template: statements and scopes.

use super::args::Args;
use super::ast::{ForNode, Stmt, StmtKind, Target, Tree};
use super::fault::{Fault, FaultKind, Result, limit, runtime};
use super::meter::{Buffer, Charge, Meter};
use super::value::Walk;
use super::value::{Dict, LoopState, LoopValue, Macro, Namespace, Value};
use super::{markup, print};
use ahash::AHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Deepest recursion of statements, expressions and calls.
const MAX_CALL_DEPTH: usize = 1500;
/// Deepest recursion of macros, recursive loops and blocks.
const MAX_CALLS: usize = 200;
/// Most namespaces of one rendering: they are kept until it ends.
const MAX_NAMESPACES: usize = 20_000;
/// Memory of a scope that is kept.
const FRAME: usize = 512;
/// The frame of the template itself.
const ROOT_FRAME: usize = 0;

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    On,
    Break,
    Continue,
}

/// A scope of variables.
#[derive(Debug, Default)]
struct Frame<'t> {
    parent: Option<usize>,
    vars: AHashMap<&'t str, Value>,
    /// A macro refers to it.
    kept: bool,
    _room: Option<Charge>,
}

/// One rendering.
pub(super) struct Eval<'t> {
    pub(super) tree: &'t Tree,
    pub(super) meter: Rc<Meter>,
    pub(super) now: &'t jiff::civil::DateTime,
    pub(super) autoescape: bool,
    pub(super) line: usize,
    /// Values of the template's texts, once they were used.
    pub(super) texts: Vec<Option<Value>>,
    context: AHashMap<String, Value>,
    frames: Vec<Frame<'t>>,
    frame: usize,
    depth: usize,
    calls: usize,
    namespaces: Vec<Rc<Namespace>>,
}

impl Drop for Eval<'_> {
    fn drop(&mut self) {
        // Namespaces may hold each other, in long chains and in circles.
        self.frames.clear();
        if let Ok(empty) = Dict::new(&Meter::new(u64::MAX)) {
            let empty = Rc::new(empty);
            for namespace in &self.namespaces {
                namespace.attrs.replace(Rc::clone(&empty));
            }
        }
    }
}

impl<'t> Eval<'t> {
    pub(super) fn new(
        tree: &'t Tree,
        meter: Rc<Meter>,
        now: &'t jiff::civil::DateTime,
        context: AHashMap<String, Value>,
    ) -> Self {
        Self {
            tree,
            meter,
            now,
            autoescape: false,
            line: 0,
            texts: vec![None; tree.texts.len()],
            context,
            frames: vec![Frame { kept: true, ..Frame::default() }],
            frame: ROOT_FRAME,
            depth: 0,
            calls: 0,
            namespaces: Vec::new(),
        }
    }

    /// The whole output.
    pub(super) fn run(&mut self) -> Result<String> {
        let mut out = self.meter.buffer()?;
        let tree = self.tree;
        let result = self.body(&tree.body, &mut out);
        match result.and_then(whole) {
            Ok(()) => Ok(out.into_string()),
            Err(mut fault) => {
                if fault.line == 0 {
                    fault.line = self.line;
                }
                Err(fault)
            }
        }
    }

    /// One level deeper for the time of `inner`.
    pub(super) fn deeper<R>(&mut self, inner: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        if self.depth >= MAX_CALL_DEPTH {
            return limit("maximum recursion depth exceeded");
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// In a scope of its own, below `parent`.
    fn scoped<R>(&mut self, parent: usize, inner: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        self.meter.work(2)?;
        let before = self.frame;
        self.frames.push(Frame { parent: Some(parent), ..Frame::default() });
        let own = self.frames.len() - 1;
        self.frame = own;
        let result = inner(self);
        self.frame = before;
        if !self.frames[own].kept {
            if own + 1 == self.frames.len() {
                self.frames.pop();
            } else {
                self.frames[own].vars.clear();
            }
        }
        result
    }

    /// Keeps the present scope and those around it, because a macro sees them. Returns its number.
    fn keep(&mut self) -> Result<usize> {
        let mut at = Some(self.frame);
        while let Some(frame) = at.map(|at| &mut self.frames[at]).filter(|frame| !frame.kept) {
            frame._room = Some(self.meter.charge(FRAME)?);
            frame.kept = true;
            at = frame.parent;
        }
        Ok(self.frame)
    }

    pub(super) fn lookup(&self, name: &str) -> Option<Value> {
        let mut at = Some(self.frame);
        while let Some(frame) = at.map(|at| &self.frames[at]) {
            if let Some(value) = frame.vars.get(name) {
                return Some(value.clone());
            }
            at = frame.parent;
        }
        self.context.get(name).cloned()
    }

    fn set(&mut self, name: &'t str, value: Value) {
        self.frames[self.frame].vars.insert(name, value);
    }

    /// A new namespace, which lives as long as the rendering.
    pub(super) fn namespace(&mut self, attrs: Dict) -> Result<Value> {
        if self.namespaces.len() >= MAX_NAMESPACES {
            return limit(format!("more than {MAX_NAMESPACES} namespaces"));
        }
        let namespace = Rc::new(Namespace { attrs: RefCell::new(Rc::new(attrs)) });
        self.namespaces.push(Rc::clone(&namespace));
        Ok(Value::Namespace(namespace))
    }

    pub(super) fn body(&mut self, body: &'t [Stmt], out: &mut Buffer) -> Result<Control> {
        self.deeper(|this| {
            for stmt in body {
                this.line = stmt.line;
                match this.statement(&stmt.kind, out)? {
                    Control::On => {}
                    other => return Ok(other),
                }
            }
            Ok(Control::On)
        })
    }

    fn statement(&mut self, stmt: &'t StmtKind, out: &mut Buffer) -> Result<Control> {
        match stmt {
            StmtKind::Data(text) => out.push(text)?,
            StmtKind::Print(e) => {
                let value = self.expr(e)?;
                self.print(&value, out)?;
            }
            StmtKind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.truth(test)? {
                        return self.body(body, out);
                    }
                }
                return self.body(otherwise, out);
            }
            StmtKind::For(id) => {
                let node = &self.tree.loops[*id];
                let value = self.expr(&node.iter)?;
                return self.for_loop(*id, &value, 0, out);
            }
            StmtKind::Set(target, e) => {
                let value = self.expr(e)?;
                self.assign(target, value)?;
            }
            StmtKind::SetBlock(target, filter, body) => {
                let mut value = self.captured(body)?;
                if let Some(filter) = filter {
                    value = self.filter_chain(filter, value)?;
                    if self.autoescape {
                        let text = print::to_text(&value, &self.meter)?;
                        value = markup::as_markup(&text, &self.meter)?;
                    }
                }
                self.assign(target, value)?;
            }
            StmtKind::With(values, body) => {
                let values =
                    values.iter().map(|(target, e)| Ok((target, self.expr(e)?))).collect::<Result<Vec<_>>>()?;
                return self.scoped(self.frame, |this| {
                    values.into_iter().try_for_each(|(target, value)| this.assign(target, value))?;
                    this.body(body, out)
                });
            }
            StmtKind::Macro(id) => {
                let value = self.macro_value(*id)?;
                if let Some(name) = &self.tree.macros[*id].name {
                    self.set(name, value);
                }
            }
            StmtKind::CallBlock(id, call) => {
                let caller = self.macro_value(*id)?;
                let value = self.call_with(call, Some(caller))?;
                print::write_str(out, &value)?;
            }
            StmtKind::FilterBlock(filter, body) => {
                let value = self.captured(body)?;
                // What a filter gives stands as it is, whatever the escaping.
                let value = self.filter_chain(filter, value)?;
                print::write_str(out, &value)?;
            }
            StmtKind::Block(id) => self.block(*id, out)?,
            StmtKind::Autoescape(e, body) => {
                let on = self.truth(e)?;
                let before = std::mem::replace(&mut self.autoescape, on);
                let flow = self.scoped(self.frame, |this| this.body(body, out));
                self.autoescape = before;
                return flow;
            }
            StmtKind::Do(e) => drop(self.expr(e)?),
            StmtKind::Break => return Ok(Control::Break),
            StmtKind::Continue => return Ok(Control::Continue),
            StmtKind::Other(tag) => {
                return runtime(format!("'{tag}' reaches for another template, and there is none"));
            }
        }
        Ok(Control::On)
    }

    fn print(&mut self, value: &Value, out: &mut Buffer) -> Result<()> {
        if let Value::Macro(of) = value
            && of.name.is_none()
        {
            return out.push("<Macro anonymous>");
        }
        if self.autoescape {
            return out.push(markup::escape(value, &self.meter)?.as_str().unwrap_or_default());
        }
        print::write_str(out, value)
    }

    /// The output of a body, in a scope of its own, as a value.
    fn captured(&mut self, body: &'t [Stmt]) -> Result<Value> {
        let mut inner = self.meter.buffer()?;
        let flow = self.scoped(self.frame, |this| this.body(body, &mut inner))?;
        whole(flow)?;
        Ok(inner.finish_as(self.autoescape))
    }

    fn assign(&mut self, target: &'t Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => self.set(name, value),
            Target::Attr(name, attr) => {
                let Some(Value::Namespace(namespace)) = self.lookup(name) else {
                    return runtime("cannot assign attribute on non-namespace object");
                };
                let key = self.meter.text(attr)?;
                // The mapping is held nowhere else unless it is being printed.
                let mut attrs = namespace.attrs.borrow_mut();
                match Rc::get_mut(&mut attrs) {
                    Some(own) => own.set(key, value, &self.meter)?,
                    None => return runtime("a namespace changed while it was looked at"),
                }
            }
            Target::Tuple(targets) => {
                let mut walk = Walk::new(&value)?;
                for target in targets {
                    match walk.next(&self.meter)? {
                        Some(item) => self.assign(target, item)?,
                        None => return runtime(format!("not enough values to unpack (expected {})", targets.len())),
                    }
                }
                if walk.next(&self.meter)?.is_some() {
                    return runtime(format!("too many values to unpack (expected {})", targets.len()));
                }
            }
        }
        Ok(())
    }

    /// Runs a loop over `value`.
    pub(super) fn for_loop(&mut self, id: usize, value: &Value, depth0: usize, out: &mut Buffer) -> Result<Control> {
        let node = &self.tree.loops[id];
        let outer = self.frame;
        let recursive = if node.recursive { Some((id, self.keep()?)) } else { None };
        let mut walk = Walk::new(value)?;
        let mut len = value.len()?;
        if let Some(test) = &node.test {
            let chosen = self.chosen(node, test, walk)?;
            walk = Walk::new(&chosen)?;
            len = None;
        }
        let state = LoopState { walk, index: 0, len, after: None, before: None, current: None, changed: None };
        let object = Rc::new(LoopValue { state: RefCell::new(state), recursive, depth0 });
        let some = self.rounds(node, &object, out);
        object.end();
        if some? {
            return Ok(Control::On);
        }
        self.scoped(outer, |this| this.body(&node.otherwise, out))
    }

    /// The rounds of a loop; whether there were any.
    fn rounds(&mut self, node: &'t ForNode, object: &Rc<LoopValue>, out: &mut Buffer) -> Result<bool> {
        let outer = self.frame;
        let mut some = false;
        while let Some(item) = object.step(&self.meter)? {
            some = true;
            let flow = self.scoped(outer, |this| {
                this.set("loop", Value::Loop(Rc::clone(object)));
                this.assign(&node.target, item)?;
                this.body(&node.body, out)
            })?;
            if flow == Control::Break {
                break;
            }
        }
        Ok(some)
    }

    /// The items for which the loop's test holds, where `loop` is that of the loop around it; a fault in the test comes up
    /// where Python would meet it.
    fn chosen(&mut self, node: &'t ForNode, test: &'t super::ast::Expr, mut walk: Walk) -> Result<Value> {
        let mut chosen = Vec::new();
        let outer = self.frame;
        let fault = loop {
            let item = match walk.next(&self.meter) {
                Ok(Some(item)) => item,
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            };
            let keep = self.scoped(outer, |this| {
                this.assign(&node.target, item.clone())?;
                this.truth(test)
            });
            match keep {
                Ok(true) => chosen.push(item),
                Ok(false) => {}
                Err(fault) if fault.kind == FaultKind::Runtime => break Some(fault),
                Err(fault) => return Err(fault),
            }
        };
        super::value::Iter::value(&self.meter, chosen, fault, "generator")
    }

    fn macro_value(&mut self, id: usize) -> Result<Value> {
        let frame = self.keep()?;
        let name = self.tree.macros[id].name.clone();
        Ok(Value::Macro(Rc::new(Macro { id, frame, autoescape: self.autoescape, name })))
    }

    /// Runs a block where it stands or where it is called for.
    pub(super) fn block(&mut self, id: usize, out: &mut Buffer) -> Result<()> {
        let node = &self.tree.blocks[id];
        if node.required {
            return runtime(format!("Required block '{}' not found", node.name));
        }
        let parent = if node.scoped { self.frame } else { ROOT_FRAME };
        self.call_level(|this| this.scoped(parent, |this| this.body(&node.body, out)).and_then(whole))
    }

    fn call_level<R>(&mut self, inner: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        if self.calls >= MAX_CALLS {
            return limit("maximum recursion depth exceeded");
        }
        self.calls += 1;
        let line = self.line;
        let result = inner(self)?;
        self.calls -= 1;
        self.line = line;
        Ok(result)
    }

    /// `loop(items)`: the recursive loop with other items.
    pub(super) fn recurse(&mut self, of: &LoopValue, items: &Value) -> Result<Value> {
        let Some((id, frame)) = of.recursive else {
            return runtime("The loop must have the 'recursive' marker to be called recursively.");
        };
        let mut inner = self.meter.buffer()?;
        let before = std::mem::replace(&mut self.frame, frame);
        let flow = self.call_level(|this| this.for_loop(id, items, of.depth0 + 1, &mut inner));
        self.frame = before;
        whole(flow?)?;
        Ok(inner.finish_as(self.autoescape))
    }

    /// Calls a macro.
    pub(super) fn call_macro(&mut self, of: &Macro, mut args: Args) -> Result<Value> {
        let node = &self.tree.macros[of.id];
        let name = of.name.as_deref().unwrap_or("caller");
        let extra = args.pos.split_off(args.pos.len().min(node.params.len()));
        let mut given = args.pos.drain(..).map(Some).collect::<Vec<_>>();
        for param in &node.params[given.len()..] {
            given.push(args.take(param));
        }
        let explicit = node.params.iter().any(|param| param == "caller");
        let caller = if node.uses.caller && !explicit {
            Some(args.take("caller").unwrap_or_else(|| Value::missing("No caller defined")))
        } else {
            None
        };
        if !node.uses.kwargs
            && let Some((key, _)) = args.kw.first()
        {
            return runtime(format!("macro '{name}' takes no keyword argument '{key}'"));
        }
        if !node.uses.varargs && !extra.is_empty() {
            return runtime(format!("macro '{name}' takes not more than {} argument(s)", node.params.len()));
        }
        let mut out = self.meter.buffer()?;
        let before = std::mem::replace(&mut self.autoescape, of.autoescape);
        let flow = self.call_level(|this| {
            this.scoped(of.frame, |this| {
                if let Some(caller) = caller {
                    this.set("caller", caller);
                }
                if node.uses.kwargs {
                    let mut kwargs = Dict::new(&this.meter)?;
                    for (key, value) in args.kw {
                        kwargs.set(this.meter.text(&key)?, value, &this.meter)?;
                    }
                    this.set("kwargs", Value::Dict(Rc::new(kwargs)));
                }
                if node.uses.varargs {
                    let varargs = Value::tuple(&this.meter, extra)?;
                    this.set("varargs", varargs);
                }
                let first_default = node.params.len() - node.defaults.len();
                for (at, (param, value)) in node.params.iter().zip(given).enumerate() {
                    let value = match value {
                        Some(value) => value,
                        None if at >= first_default => this.expr(&node.defaults[at - first_default])?,
                        None => Value::missing(&format!("parameter '{param}' was not provided")),
                    };
                    this.set(param, value);
                }
                this.body(&node.body, &mut out)
            })
        });
        self.autoescape = before;
        whole(flow?)?;
        Ok(out.finish_as(self.autoescape))
    }
}

/// A body that is no part of a loop cannot be left by `break` or `continue`.
fn whole(flow: Control) -> Result<()> {
    match flow {
        Control::On => Ok(()),
        Control::Break => Err(Fault::new(FaultKind::Runtime, "'break' outside loop")),
        Control::Continue => Err(Fault::new(FaultKind::Runtime, "'continue' outside loop")),
    }
}
