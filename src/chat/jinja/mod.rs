//! Jinja 3.1 as chat templates use it: a parser, and an evaluator with Python's values, every step of which is paid for.
//!
//! What it gives is what Jinja2 3.1.6 gives in the sandbox in which chat templates are run by those who write them (values
//! that cannot be changed, blocks trimmed, `break` and `continue`, `tojson`, `strftime_now`, `raise_exception`,
//! `{% generation %}`). What it may cost is bounded by construction: work, memory and depth are paid while they are used
//! (`meter`), and no value can hold itself (`value`).

mod args;
mod ast;
mod attrs;
mod check;
mod compare;
mod eval;
mod expr;
mod expressions;
mod fault;
mod filters;
mod format;
mod functions;
mod json;
mod key;
mod layout;
mod lexer;
mod markup;
mod meter;
mod methods;
mod number;
mod ops;
mod parser;
mod percent;
mod predicates;
mod print;
mod text;
mod time;
mod unicode;
mod value;
mod walk;

pub(super) use ast::Tree;
pub(super) use fault::{Fault, FaultKind, Result};
pub(super) use parser::parse;

/// What one rendering may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct RenderLimits {
    /// Units of work.
    pub(super) work: u64,
    /// Bytes of values beside the variables.
    pub(super) memory: usize,
}

impl Tree {
    /// The template's string literals.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Renders the template. Where several variables have one name, the last counts.
    pub(super) fn render<'v>(
        &self,
        vars: impl Iterator<Item = (&'v str, &'v serde_json::Value)>,
        now: &jiff::civil::DateTime,
        limits: RenderLimits,
    ) -> Result<String> {
        let meter = meter::Meter::new(limits.work);
        let mut context = ahash::AHashMap::new();
        for (name, json) in vars {
            context.insert(name.to_owned(), json::to_value(json, &meter, 0)?);
        }
        meter.allow(limits.memory);
        eval::Eval::new(self, meter, now, context).run()
    }
}
