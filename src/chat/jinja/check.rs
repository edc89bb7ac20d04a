//! A look at a parsed template before it is used: filters and tests that do not exist. As in Jinja one that stands under an
//! `if` is an error only where it is used, because templates ask that way what an engine can do.

use super::ast::{Expr, ExprKind, Stmt, StmtKind, Tree};
use super::fault::{Fault, Result};
use super::{filters, predicates};

/// # Errors
/// The first filter or test that does not exist.
pub(super) fn names(tree: &Tree) -> Result<()> {
    body(&tree.body, false)?;
    for node in &tree.macros {
        exprs(&node.defaults, false)?;
        body(&node.body, false)?;
    }
    for node in &tree.loops {
        expr(&node.iter, false)?;
        exprs(&node.test, false)?;
        body(&node.body, false)?;
        body(&node.otherwise, false)?;
    }
    tree.blocks.iter().try_for_each(|block| body(&block.body, false))
}

fn exprs<'e>(list: impl IntoIterator<Item = &'e Expr>, soft: bool) -> Result<()> {
    list.into_iter().try_for_each(|e| expr(e, soft))
}

fn body(stmts: &[Stmt], soft: bool) -> Result<()> {
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Print(e) | StmtKind::Set(_, e) | StmtKind::Do(e) | StmtKind::CallBlock(_, e) => expr(e, soft)?,
            StmtKind::If(branches, otherwise) => {
                for (test, inner) in branches {
                    expr(test, true)?;
                    body(inner, true)?;
                }
                body(otherwise, true)?;
            }
            StmtKind::SetBlock(_, filter, inner) => {
                exprs(filter, soft)?;
                body(inner, false)?;
            }
            StmtKind::With(values, inner) => {
                exprs(values.iter().map(|(_, e)| e), soft)?;
                body(inner, false)?;
            }
            StmtKind::FilterBlock(e, inner) | StmtKind::Autoescape(e, inner) => {
                expr(e, soft)?;
                body(inner, false)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn expr(e: &Expr, soft: bool) -> Result<()> {
    let unknown = |kind: &str, name: &str| Err(Fault::syntax(e.line, &format!("unknown {kind} '{name}'")));
    match &e.kind {
        ExprKind::Filter(_, name, _) if !soft && filters::find(name).is_none() => return unknown("filter", name),
        ExprKind::Test(_, name, _) if !soft && predicates::find(name).is_none() => return unknown("test", name),
        _ => {}
    }
    let soft = soft || matches!(e.kind, ExprKind::Cond { .. });
    let mut result = Ok(());
    e.kind.children(&mut |child| {
        if result.is_ok() {
            result = expr(child, soft);
        }
    });
    result
}
