//! The syntax tree.

use super::fault::{Fault, Result};
use num_bigint::BigInt;

/// Deepest tree: the evaluator walks it by recursion.
const MAX_SYNTAX_DEPTH: usize = 400;

/// A parsed template. What other nodes and values refer to stands in tables.
#[derive(Debug, Default)]
pub(in crate::chat) struct Tree {
    pub(super) body: Vec<Stmt>,
    pub(super) macros: Vec<MacroNode>,
    pub(super) loops: Vec<ForNode>,
    pub(super) blocks: Vec<BlockNode>,
    pub(super) texts: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) kind: StmtKind,
    pub(super) line: usize,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    Data(String),
    Print(Expr),
    /// Tests with their bodies, and what follows `else`.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    For(usize),
    Set(Target, Expr),
    SetBlock(Target, Option<Expr>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    Macro(usize),
    /// The caller as a macro, and the call.
    CallBlock(usize, Expr),
    FilterBlock(Expr, Vec<Stmt>),
    Block(usize),
    Autoescape(Expr, Vec<Stmt>),
    Do(Expr),
    Break,
    Continue,
    /// A tag that reaches for other templates.
    Other(&'static str),
}

#[derive(Debug)]
pub(super) struct MacroNode {
    pub(super) name: Option<String>,
    pub(super) params: Vec<String>,
    /// Defaults of the last parameters.
    pub(super) defaults: Vec<Expr>,
    pub(super) body: Vec<Stmt>,
    pub(super) uses: Uses,
}

/// Which of the special variables the body of a macro names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Uses {
    pub(super) caller: bool,
    pub(super) kwargs: bool,
    pub(super) varargs: bool,
}

#[derive(Debug)]
pub(super) struct ForNode {
    pub(super) target: Target,
    pub(super) iter: Expr,
    pub(super) test: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
}

#[derive(Debug)]
pub(super) struct BlockNode {
    pub(super) name: String,
    pub(super) scoped: bool,
    pub(super) required: bool,
    pub(super) body: Vec<Stmt>,
}

#[derive(Debug)]
pub(super) enum Target {
    Name(String),
    Attr(String, String),
    Tuple(Vec<Self>),
}

#[derive(Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) line: usize,
    depth: usize,
    constant: bool,
}

#[derive(Debug)]
pub(super) enum ExprKind {
    None,
    Bool(bool),
    Int(i64),
    Big(BigInt),
    Float(f64),
    /// By its number in the tree.
    Text(usize),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Cond {
        test: Box<Expr>,
        yes: Box<Expr>,
        no: Option<Box<Expr>>,
    },
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    Concat(Vec<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<[Option<Expr>; 3]>),
    /// Without an input at the head of a filter block.
    Filter(Option<Box<Expr>>, String, Box<CallArgs>),
    Test(Box<Expr>, String, Box<CallArgs>),
    Call(Box<Expr>, Box<CallArgs>),
}

#[derive(Debug, Default)]
pub(super) struct CallArgs {
    pub(super) pos: Vec<Expr>,
    pub(super) kw: Vec<(String, Expr)>,
    pub(super) star: Option<Expr>,
    pub(super) stars: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

impl Expr {
    /// A node, unless the tree becomes too deep by it.
    pub(super) fn new(kind: ExprKind, line: usize) -> Result<Self> {
        let mut depth = 0;
        let mut constant = !matches!(kind, ExprKind::Name(_) | ExprKind::Call(..));
        kind.children(&mut |child| {
            depth = depth.max(child.depth);
            constant &= child.constant;
        });
        if depth >= MAX_SYNTAX_DEPTH {
            return Err(Fault::syntax(line, &format!("an expression of more than {MAX_SYNTAX_DEPTH} levels")));
        }
        Ok(Self { kind, line, depth: depth + 1, constant })
    }

    /// Whether the expression names no variable and calls nothing.
    pub(super) fn is_constant(&self) -> bool {
        self.constant
    }
}

impl CallArgs {
    pub(super) fn children<'e>(&'e self, each: &mut dyn FnMut(&'e Expr)) {
        self.pos.iter().chain(self.kw.iter().map(|(_, value)| value)).for_each(&mut *each);
        self.star.iter().chain(&self.stars).for_each(each);
    }
}

impl ExprKind {
    /// Visits the expressions of which this one is made.
    pub(super) fn children<'e>(&'e self, each: &mut dyn FnMut(&'e Expr)) {
        match self {
            Self::None
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Big(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Name(_) => {}
            Self::List(items) | Self::Tuple(items) | Self::Concat(items) => items.iter().for_each(each),
            Self::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                each(key);
                each(value);
            }),
            Self::Cond { test, yes, no } => {
                [Some(test), Some(yes), no.as_ref()].into_iter().flatten().for_each(|e| each(e))
            }
            Self::And(a, b) | Self::Or(a, b) | Self::Binary(_, a, b) | Self::Item(a, b) => {
                each(a);
                each(b);
            }
            Self::Not(a) | Self::Neg(a) | Self::Pos(a) | Self::Attr(a, _) => each(a),
            Self::Compare(first, rest) => {
                each(first);
                rest.iter().for_each(|(_, e)| each(e));
            }
            Self::Slice(parts) => parts.iter().flatten().for_each(each),
            Self::Filter(input, _, args) => {
                input.iter().for_each(|e| each(e));
                args.children(each);
            }
            Self::Test(input, _, args) | Self::Call(input, args) => {
                each(input);
                args.children(each);
            }
        }
    }
}
