//! From tokens to a syntax tree: expressions, by Jinja's precedences.

use super::ast::{CallArgs, CompareOp, Expr, ExprKind, Operator};
use super::fault::Result;
use super::lexer::Tok;
use super::parser::Parser;

const COMPARISONS: [(&str, CompareOp); 6] = [
    ("==", CompareOp::Eq),
    ("!=", CompareOp::Ne),
    ("<", CompareOp::Lt),
    ("<=", CompareOp::Le),
    (">", CompareOp::Gt),
    (">=", CompareOp::Ge),
];
const SUMS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Sub)];
const PRODUCTS: [(&str, Operator); 4] =
    [("*", Operator::Mul), ("/", Operator::Div), ("//", Operator::FloorDiv), ("%", Operator::Mod)];
const POWERS: [(&str, Operator); 1] = [("**", Operator::Pow)];

/// A rule of the grammar.
type Rule = fn(&mut Parser) -> Result<Expr>;

impl Parser {
    /// An expression or, with commas, a tuple.
    pub(super) fn tuple(&mut self, with_if: bool, ends: &[&str]) -> Result<Expr> {
        let line = self.line();
        let mut items = Vec::new();
        let mut tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            items.push(if with_if { self.expression()? } else { self.nested(Self::or)? });
            if !self.take_op(",") {
                break;
            }
            tuple = true;
        }
        match items.pop() {
            Some(item) if !tuple => Ok(item),
            Some(item) => {
                items.push(item);
                Expr::new(ExprKind::Tuple(items), line)
            }
            None => self.unexpected("an expression"),
        }
    }

    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nested(|p| {
            let line = p.line();
            let mut expr = p.or()?;
            while p.take_name("if") {
                let test = Box::new(p.or()?);
                let no = if p.take_name("else") { Some(Box::new(p.expression()?)) } else { None };
                expr = Expr::new(ExprKind::Cond { test, yes: Box::new(expr), no }, line)?;
            }
            Ok(expr)
        })
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.take_name("or") {
            let (line, right) = (self.line(), self.and()?);
            left = Expr::new(ExprKind::Or(Box::new(left), Box::new(right)), line)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.take_name("and") {
            let (line, right) = (self.line(), self.not()?);
            left = Expr::new(ExprKind::And(Box::new(left), Box::new(right)), line)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        let line = self.line();
        if self.take_name("not") {
            let inner = self.nested(Self::not)?;
            return Expr::new(ExprKind::Not(Box::new(inner)), line);
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let found = COMPARISONS.iter().find(|(op, _)| self.is_op(op)).map(|(_, comparison)| *comparison);
            let comparison = match found {
                Some(comparison) => comparison,
                None if self.is_name("in") => CompareOp::In,
                None if self.is_name("not") && matches!(self.peek(), Tok::Name(name) if name == "in") => {
                    self.skip();
                    CompareOp::NotIn
                }
                None => break,
            };
            self.skip();
            rest.push((comparison, self.sum()?));
        }
        if rest.is_empty() { Ok(first) } else { Expr::new(ExprKind::Compare(Box::new(first), rest), line) }
    }

    /// Operators of one precedence, from the left.
    fn operators(&mut self, table: &[(&str, Operator)], operand: Rule) -> Result<Expr> {
        let mut left = operand(self)?;
        while let Some((_, operator)) = table.iter().find(|(op, _)| self.is_op(op)) {
            let line = self.line();
            self.skip();
            let right = operand(self)?;
            left = Expr::new(ExprKind::Binary(*operator, Box::new(left), Box::new(right)), line)?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr> {
        self.operators(&SUMS, Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take_op("~") {
            parts.push(self.product()?);
        }
        Expr::new(ExprKind::Concat(parts), line)
    }

    fn product(&mut self) -> Result<Expr> {
        self.operators(&PRODUCTS, |p| p.operators(&POWERS, |p| p.unary(true)))
    }

    fn unary(&mut self, with_filter: bool) -> Result<Expr> {
        let line = self.line();
        let node = if self.take_op("-") {
            let inner = self.nested(|p| p.unary(false))?;
            Expr::new(ExprKind::Neg(Box::new(inner)), line)?
        } else if self.take_op("+") {
            let inner = self.nested(|p| p.unary(false))?;
            Expr::new(ExprKind::Pos(Box::new(inner)), line)?
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filter { self.filters_and_tests(node) } else { Ok(node) }
    }

    fn primary(&mut self) -> Result<Expr> {
        let line = self.line();
        let kind = match self.tok().clone() {
            Tok::Name(name) => {
                self.skip();
                match name.as_str() {
                    "true" | "True" => ExprKind::Bool(true),
                    "false" | "False" => ExprKind::Bool(false),
                    "none" | "None" => ExprKind::None,
                    _ => {
                        for uses in &mut self.uses {
                            uses.caller |= name == "caller";
                            uses.kwargs |= name == "kwargs";
                            uses.varargs |= name == "varargs";
                        }
                        ExprKind::Name(name)
                    }
                }
            }
            Tok::Text(mut text) => {
                self.skip();
                while let Tok::Text(more) = self.tok() {
                    text.push_str(more);
                    self.skip();
                }
                self.tree.texts.push(text);
                ExprKind::Text(self.tree.texts.len() - 1)
            }
            Tok::Int(n) => {
                self.skip();
                i64::try_from(&n).map_or(ExprKind::Big(n), ExprKind::Int)
            }
            Tok::Float(x) => {
                self.skip();
                ExprKind::Float(x)
            }
            Tok::Op("(") => {
                self.skip();
                let inner = if self.is_op(")") {
                    Expr::new(ExprKind::Tuple(Vec::new()), line)?
                } else {
                    self.tuple(true, &[])?
                };
                self.expect_op(")")?;
                return Ok(inner);
            }
            Tok::Op("[") => ExprKind::List(self.items("]", Self::expression)?),
            Tok::Op("{") => ExprKind::Dict(self.items("}", |p| {
                let key = p.expression()?;
                p.expect_op(":")?;
                Ok((key, p.expression()?))
            })?),
            _ => return self.unexpected("an expression"),
        };
        Expr::new(kind, line)
    }

    /// What stands between brackets, with commas between and maybe one after.
    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.skip();
        let mut items = Vec::new();
        while !self.is_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.is_op(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        self.skip();
        Ok(items)
    }

    fn postfix(&mut self, mut node: Expr) -> Result<Expr> {
        loop {
            let line = self.line();
            let kind = match self.tok() {
                Tok::Op(".") => self.attribute(node)?,
                Tok::Op("[") => self.subscript(node)?,
                Tok::Op("(") => ExprKind::Call(Box::new(node), Box::new(self.call_args()?)),
                _ => return Ok(node),
            };
            node = Expr::new(kind, line)?;
        }
    }

    fn attribute(&mut self, node: Expr) -> Result<ExprKind> {
        self.skip();
        let line = self.line();
        match self.tok().clone() {
            Tok::Name(name) => {
                self.skip();
                Ok(ExprKind::Attr(Box::new(node), name))
            }
            Tok::Int(n) => {
                self.skip();
                let index = i64::try_from(&n).map_or(ExprKind::Big(n), ExprKind::Int);
                Ok(ExprKind::Item(Box::new(node), Box::new(Expr::new(index, line)?)))
            }
            _ => self.unexpected("a name or number"),
        }
    }

    fn subscript(&mut self, node: Expr) -> Result<ExprKind> {
        let line = self.line();
        self.skip();
        let mut args = Vec::new();
        while !self.is_op("]") {
            if !args.is_empty() {
                self.expect_op(",")?;
            }
            args.push(self.subscribed()?);
        }
        self.skip();
        let index = match args.pop() {
            Some(one) if args.is_empty() => one,
            last => {
                args.extend(last);
                Expr::new(ExprKind::Tuple(args), line)?
            }
        };
        Ok(ExprKind::Item(Box::new(node), Box::new(index)))
    }

    /// An index or a slice.
    fn subscribed(&mut self) -> Result<Expr> {
        let line = self.line();
        let start = if self.is_op(":") { None } else { Some(self.expression()?) };
        if !self.take_op(":") {
            return match start {
                Some(index) => Ok(index),
                None => self.unexpected("an index"),
            };
        }
        let ends = |p: &Self| p.is_op("]") || p.is_op(",");
        let stop = if self.is_op(":") || ends(self) { None } else { Some(self.expression()?) };
        let step = if self.take_op(":") && !ends(self) { Some(self.expression()?) } else { None };
        Expr::new(ExprKind::Slice(Box::new([start, stop, step])), line)
    }

    pub(super) fn call_args(&mut self) -> Result<CallArgs> {
        const INVALID: &str = "invalid syntax for function call expression";
        self.expect_op("(")?;
        let mut args = CallArgs::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            let named = matches!(self.tok(), Tok::Name(_)) && matches!(self.peek(), Tok::Op("="));
            if self.take_op("*") {
                if args.star.is_some() || args.stars.is_some() {
                    return self.fail(INVALID);
                }
                args.star = Some(self.expression()?);
            } else if self.take_op("**") {
                if args.stars.is_some() {
                    return self.fail(INVALID);
                }
                args.stars = Some(self.expression()?);
            } else if named {
                if args.stars.is_some() {
                    return self.fail(INVALID);
                }
                let name = self.expect_name()?;
                self.skip();
                if args.kw.iter().any(|(earlier, _)| *earlier == name) {
                    return self.fail(&format!("keyword argument repeated: {name}"));
                }
                args.kw.push((name, self.expression()?));
            } else {
                if args.star.is_some() || args.stars.is_some() || !args.kw.is_empty() {
                    return self.fail(INVALID);
                }
                args.pos.push(self.expression()?);
            }
        }
        self.skip();
        Ok(args)
    }

    fn filters_and_tests(&mut self, mut node: Expr) -> Result<Expr> {
        loop {
            let line = self.line();
            if self.is_op("|") {
                node = match self.filters(Some(node), false)? {
                    Some(node) => node,
                    None => return self.unexpected("a filter"),
                };
            } else if self.is_name("is") {
                node = self.test(node)?;
            } else if self.is_op("(") {
                let args = self.call_args()?;
                node = Expr::new(ExprKind::Call(Box::new(node), Box::new(args)), line)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn test(&mut self, node: Expr) -> Result<Expr> {
        let line = self.line();
        self.skip();
        let negated = self.take_name("not");
        let name = self.dotted_name()?;
        let word = |p: &Self| ["else", "or", "and"].iter().any(|word| p.is_name(word));
        let args = match self.tok() {
            Tok::Op("(") => self.call_args()?,
            Tok::Name(next) if next == "is" => return self.fail("You cannot chain multiple tests with is"),
            Tok::Name(_) | Tok::Text(_) | Tok::Int(_) | Tok::Float(_) | Tok::Op("[" | "{") if !word(self) => {
                let arg = self.primary()?;
                CallArgs { pos: vec![self.postfix(arg)?], ..CallArgs::default() }
            }
            _ => CallArgs::default(),
        };
        let test = Expr::new(ExprKind::Test(Box::new(node), name, Box::new(args)), line)?;
        if negated { Expr::new(ExprKind::Not(Box::new(test)), line) } else { Ok(test) }
    }
}
