//! Closes the one hole in the engine's accounting: `+` and `*` on lists cost no fuel, whatever the lists' length, so that
//! doubling a list sixty times would ask for more memory than there is. Every operand of these operators is passed
//! through a filter that pays for it ([`OPERAND`]) or refuses it ([`FACTOR`]), by rebuilding the syntax tree before
//! it is compiled.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

/// The filter on operands of `+`. No template can name it.
const OPERAND: &str = "+";
/// The filter on operands of `*`.
const FACTOR: &str = "*";
/// Items that one fuel pays for, as for lists that the engine makes itself.
const ITEMS_PER_FUEL: u64 = 2;

/// Adds the filters to `env`.
pub(super) fn install(env: &mut Environment<'_>) {
    env.add_filter(OPERAND, |state: &State<'_, '_>, value: Value| -> Result<Value, Error> {
        if is_list(&value) {
            state.consume_fuel(value.len().unwrap_or(0) as u64 / ITEMS_PER_FUEL + 1)?;
        }
        Ok(value)
    });
    env.add_filter(FACTOR, |value: Value| -> Result<Value, Error> {
        if is_list(&value) {
            return Err(Error::new(ErrorKind::InvalidOperation, "chat templates cannot multiply lists"));
        }
        Ok(value)
    });
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Copies a template with its operators metered.
///
/// # Errors
/// Statements that reach beyond the template (`include`, `import`, `extends`, `block`, `autoescape`).
pub(super) fn statement<'a>(stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Ok(match stmt {
        Stmt::Template(s) => Stmt::Template(at(s, ast::Template { children: body(&s.children)? })),
        Stmt::EmitExpr(s) => Stmt::EmitExpr(at(s, ast::EmitExpr { expr: expr(&s.expr) })),
        Stmt::EmitRaw(s) => Stmt::EmitRaw(at(s, ast::EmitRaw { raw: s.raw })),
        Stmt::ForLoop(s) => Stmt::ForLoop(at(
            s,
            ast::ForLoop {
                target: expr(&s.target),
                iter: expr(&s.iter),
                filter_expr: s.filter_expr.as_ref().map(expr),
                recursive: s.recursive,
                body: body(&s.body)?,
                else_body: body(&s.else_body)?,
            },
        )),
        Stmt::IfCond(s) => Stmt::IfCond(at(
            s,
            ast::IfCond { expr: expr(&s.expr), true_body: body(&s.true_body)?, false_body: body(&s.false_body)? },
        )),
        Stmt::WithBlock(s) => {
            let assignments = s.assignments.iter().map(|(target, value)| (expr(target), expr(value))).collect();
            Stmt::WithBlock(at(s, ast::WithBlock { assignments, body: body(&s.body)? }))
        }
        Stmt::Set(s) => Stmt::Set(at(s, ast::Set { target: expr(&s.target), expr: expr(&s.expr) })),
        Stmt::SetBlock(s) => Stmt::SetBlock(at(
            s,
            ast::SetBlock { target: expr(&s.target), filter: s.filter.as_ref().map(expr), body: body(&s.body)? },
        )),
        Stmt::FilterBlock(s) => Stmt::FilterBlock(at(
            s,
            ast::FilterBlock { filter: expr(&s.filter), filter_span: s.filter_span, body: body(&s.body)? },
        )),
        Stmt::Macro(s) => Stmt::Macro(declaration(s)?),
        Stmt::CallBlock(s) => Stmt::CallBlock(at(
            s,
            ast::CallBlock {
                call: call(&s.call),
                call_expr_span: s.call_expr_span,
                macro_decl: declaration(&s.macro_decl)?,
            },
        )),
        Stmt::Continue(s) => Stmt::Continue(at(s, ast::Continue)),
        Stmt::Break(s) => Stmt::Break(at(s, ast::Break)),
        Stmt::Do(s) => Stmt::Do(at(s, ast::Do { call: call(&s.call) })),
        _ => {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                "a chat template stands alone: include, import, extends, block and autoescape are not accepted",
            ));
        }
    })
}

fn at<T, U>(old: &Spanned<T>, new: U) -> Spanned<U> {
    Spanned::new(new, old.span())
}

fn body<'a>(stmts: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
    stmts.iter().map(statement).collect()
}

fn declaration<'a>(s: &Spanned<ast::Macro<'a>>) -> Result<Spanned<ast::Macro<'a>>, Error> {
    let new = ast::Macro { name: s.name, args: exprs(&s.args), defaults: exprs(&s.defaults), body: body(&s.body)? };
    Ok(at(s, new))
}

fn call<'a>(s: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    at(s, ast::Call { expr: expr(&s.expr), args: args(&s.args) })
}

fn args<'a>(args: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let copy = |arg: &CallArg<'a>| match arg {
        CallArg::Pos(e) => CallArg::Pos(expr(e)),
        CallArg::Kwarg(name, e) => CallArg::Kwarg(name, expr(e)),
        CallArg::PosSplat(e) => CallArg::PosSplat(expr(e)),
        CallArg::KwargSplat(e) => CallArg::KwargSplat(expr(e)),
    };
    args.iter().map(copy).collect()
}

fn exprs<'a>(exprs: &[Expr<'a>]) -> Vec<Expr<'a>> {
    exprs.iter().map(expr).collect()
}

fn expr<'a>(e: &Expr<'a>) -> Expr<'a> {
    match e {
        Expr::Var(s) => Expr::Var(at(s, ast::Var { id: s.id })),
        Expr::Const(s) => Expr::Const(at(s, ast::Const { value: s.value.clone() })),
        Expr::Slice(s) => Expr::Slice(at(
            s,
            ast::Slice {
                expr: expr(&s.expr),
                start: s.start.as_ref().map(expr),
                stop: s.stop.as_ref().map(expr),
                step: s.step.as_ref().map(expr),
            },
        )),
        Expr::UnaryOp(s) => {
            // The kind can be neither copied nor cloned.
            let not = matches!(s.op, ast::UnaryOpKind::Not);
            let op = if not { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
            Expr::UnaryOp(at(s, ast::UnaryOp { op, expr: expr(&s.expr) }))
        }
        Expr::BinOp(s) => {
            let metered = |e: &Expr<'a>| match s.op {
                BinOpKind::Add => through(OPERAND, e),
                BinOpKind::Mul => through(FACTOR, e),
                _ => expr(e),
            };
            Expr::BinOp(at(s, ast::BinOp { op: s.op, left: metered(&s.left), right: metered(&s.right) }))
        }
        Expr::Compare(s) => {
            let ops = s.ops.iter().map(|o| ast::CompareOp { op: o.op, expr: expr(&o.expr) }).collect();
            Expr::Compare(at(s, ast::Compare { expr: expr(&s.expr), ops }))
        }
        Expr::IfExpr(s) => Expr::IfExpr(at(
            s,
            ast::IfExpr {
                test_expr: expr(&s.test_expr),
                true_expr: expr(&s.true_expr),
                false_expr: s.false_expr.as_ref().map(expr),
            },
        )),
        Expr::Filter(s) => {
            Expr::Filter(at(s, ast::Filter { name: s.name, expr: s.expr.as_ref().map(expr), args: args(&s.args) }))
        }
        Expr::Test(s) => Expr::Test(at(s, ast::Test { name: s.name, expr: expr(&s.expr), args: args(&s.args) })),
        Expr::GetAttr(s) => Expr::GetAttr(at(s, ast::GetAttr { expr: expr(&s.expr), name: s.name })),
        Expr::GetItem(s) => {
            Expr::GetItem(at(s, ast::GetItem { expr: expr(&s.expr), subscript_expr: expr(&s.subscript_expr) }))
        }
        Expr::Call(s) => Expr::Call(call(s)),
        Expr::List(s) => Expr::List(at(s, ast::List { items: exprs(&s.items) })),
        Expr::Tuple(s) => Expr::Tuple(at(s, ast::Tuple { items: exprs(&s.items) })),
        Expr::Map(s) => Expr::Map(at(s, ast::Map { keys: exprs(&s.keys), values: exprs(&s.values) })),
    }
}

/// `e | filter`. Strings and numbers as they stand in the template need no metering.
fn through<'a>(filter: &'static str, e: &Expr<'a>) -> Expr<'a> {
    if matches!(e, Expr::Const(c) if !is_list(&c.value)) {
        return expr(e);
    }
    let span = e.span();
    Expr::Filter(Spanned::new(ast::Filter { name: filter, expr: Some(expr(e)), args: Vec::new() }, span))
}
