//! From tokens to a syntax tree: statements. Expressions are in `expressions`.

use super::ast::{BlockNode, ForNode, MacroNode, Stmt, StmtKind, Target, Tree, Uses};
use super::ast::{CallArgs, Expr, ExprKind};
use super::fault::{Fault, Result};
use super::lexer::{Tok, Token, lex};

/// Deepest nesting of statements and of parentheses.
const MAX_NESTING: usize = 100;

/// Parses a template.
///
/// # Errors
/// What Jinja refuses, and nesting beyond a limit; with the line.
pub(in crate::chat) fn parse(source: &str) -> Result<Tree> {
    let mut parser =
        Parser { tokens: lex(source)?, at: 0, nesting: 0, loops: 0, uses: Vec::new(), tree: Tree::default() };
    let body = parser.body(&[])?;
    parser.tree.body = body;
    super::check::names(&parser.tree)?;
    Ok(parser.tree)
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
    /// How many loops are open.
    loops: usize,
    /// For the macros around this place: which special variables they name.
    pub(super) uses: Vec<Uses>,
    pub(super) tree: Tree,
}

impl Parser {
    pub(super) fn tok(&self) -> &Tok {
        self.tokens.get(self.at).map_or(&Tok::End, |token| &token.tok)
    }

    pub(super) fn peek(&self) -> &Tok {
        self.tokens.get(self.at + 1).map_or(&Tok::End, |token| &token.tok)
    }

    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    pub(super) fn fail<T>(&self, message: &str) -> Result<T> {
        Err(Fault::syntax(self.line(), message))
    }

    /// The error of a token that does not fit here.
    pub(super) fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.tok() {
            Tok::End => "the end of the template".to_owned(),
            Tok::Name(name) => format!("'{name}'"),
            Tok::Op(op) => format!("'{op}'"),
            Tok::VarEnd => "'}}'".to_owned(),
            Tok::BlockEnd => "'%}'".to_owned(),
            Tok::Text(_) => "a text".to_owned(),
            _ => "a number".to_owned(),
        };
        self.fail(&format!("expected {wanted}, got {found}"))
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.tok(), Tok::Op(found) if *found == op)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.tok(), Tok::Name(found) if found == name)
    }

    pub(super) fn take_op(&mut self, op: &str) -> bool {
        let here = self.is_op(op);
        self.at += usize::from(here);
        here
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let here = self.is_name(name);
        self.at += usize::from(here);
        here
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.take_op(op) { Ok(()) } else { self.unexpected(&format!("'{op}'")) }
    }

    pub(super) fn expect_name(&mut self) -> Result<String> {
        let Tok::Name(name) = self.tok() else { return self.unexpected("a name") };
        let name = name.clone();
        self.skip();
        Ok(name)
    }

    fn expect(&mut self, tok: &Tok, wanted: &str) -> Result<()> {
        if self.tok() != tok {
            return self.unexpected(wanted);
        }
        self.skip();
        Ok(())
    }

    /// One level deeper for the time of `inner`.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= MAX_NESTING {
            return self.fail(&format!("more than {MAX_NESTING} levels of nesting"));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    /// Statements up to a tag of one of these names, which is not taken; with no names, up to the end.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.tok() {
                Tok::End if ends.is_empty() => return Ok(body),
                Tok::End => return self.fail(&format!("the template ends where '{}' is missing", ends.join("' or '"))),
                Tok::Data(text) => {
                    let text = text.clone();
                    self.skip();
                    body.push(Stmt { kind: StmtKind::Data(text), line });
                }
                Tok::VarBegin => {
                    self.skip();
                    let expr = self.tuple(true, &[])?;
                    self.expect(&Tok::VarEnd, "'}}'")?;
                    body.push(Stmt { kind: StmtKind::Print(expr), line });
                }
                _ => {
                    self.expect(&Tok::BlockBegin, "a tag")?;
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    let line = self.line();
                    let kinds = self.nested(Self::statement)?;
                    self.expect(&Tok::BlockEnd, "'%}'")?;
                    body.extend(kinds.into_iter().map(|kind| Stmt { kind, line }));
                }
            }
        }
    }

    /// The body of the tag that begins here, up to its end tag, whose name is taken.
    fn body_of(&mut self, end: &str) -> Result<Vec<Stmt>> {
        self.expect(&Tok::BlockEnd, "'%}'")?;
        let body = self.body(&[end])?;
        self.skip();
        Ok(body)
    }

    /// A statement; `print` gives one for each of its values.
    fn statement(&mut self) -> Result<Vec<StmtKind>> {
        let name = self.expect_name()?;
        let kind = match name.as_str() {
            "for" => self.for_loop()?,
            "if" => self.conditional()?,
            "set" => self.assignment()?,
            "with" => self.with()?,
            "macro" => {
                let name = self.expect_name()?;
                let (params, defaults) = self.signature()?;
                StmtKind::Macro(self.macro_body(Some(name), params, defaults, "endmacro")?)
            }
            "call" => self.call_block()?,
            "filter" => {
                let filter = self.filters(None, true)?;
                let Some(filter) = filter else { return self.unexpected("a filter") };
                StmtKind::FilterBlock(filter, self.body_of("endfilter")?)
            }
            "block" => self.block()?,
            "autoescape" => {
                let on = self.expression()?;
                StmtKind::Autoescape(on, self.body_of("endautoescape")?)
            }
            // What an assistant said, marked for training: its body.
            "generation" => StmtKind::With(Vec::new(), self.body_of("endgeneration")?),
            "print" => return self.print(),
            "do" => StmtKind::Do(self.tuple(true, &[])?),
            "break" => StmtKind::Break,
            "continue" => StmtKind::Continue,
            "include" | "import" | "from" | "extends" => self.other(&name),
            _ => {
                self.at -= 1;
                return self.fail(&format!("unknown tag '{name}'"));
            }
        };
        Ok(vec![kind])
    }

    /// Tags that reach for other templates are an error only where they are run.
    fn other(&mut self, name: &str) -> StmtKind {
        while !matches!(self.tok(), Tok::BlockEnd | Tok::End) {
            self.skip();
        }
        StmtKind::Other(match name {
            "include" => "include",
            "extends" => "extends",
            _ => "import",
        })
    }

    fn print(&mut self) -> Result<Vec<StmtKind>> {
        let mut values = Vec::new();
        while *self.tok() != Tok::BlockEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            values.push(StmtKind::Print(self.expression()?));
        }
        Ok(values)
    }

    fn for_loop(&mut self) -> Result<StmtKind> {
        self.loops += 1;
        let target = self.assigned(&["in"], false)?;
        if !self.take_name("in") {
            return self.unexpected("'in'");
        }
        let iter = self.tuple(false, &["recursive"])?;
        let test = if self.take_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.take_name("recursive");
        self.expect(&Tok::BlockEnd, "'%}'")?;
        let body = self.body(&["endfor", "else"])?;
        let otherwise = if self.take_name("else") { self.body_of("endfor")? } else { self.end_of("endfor") };
        self.loops -= 1;
        self.tree.loops.push(ForNode { target, iter, test, recursive, body, otherwise });
        Ok(StmtKind::For(self.tree.loops.len() - 1))
    }

    /// Takes the name of an end tag at which the last body stopped.
    fn end_of(&mut self, end: &str) -> Vec<Stmt> {
        self.take_name(end);
        Vec::new()
    }

    fn conditional(&mut self) -> Result<StmtKind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[])?;
            self.expect(&Tok::BlockEnd, "'%}'")?;
            branches.push((test, self.body(&["elif", "else", "endif"])?));
            if self.take_name("elif") {
                continue;
            }
            let otherwise = if self.take_name("else") { self.body_of("endif")? } else { self.end_of("endif") };
            return Ok(StmtKind::If(branches, otherwise));
        }
    }

    fn assignment(&mut self) -> Result<StmtKind> {
        let target = self.assigned(&[], true)?;
        if self.take_op("=") {
            return Ok(StmtKind::Set(target, self.tuple(true, &[])?));
        }
        let filter = self.filters(None, false)?;
        Ok(StmtKind::SetBlock(target, filter, self.body_of("endset")?))
    }

    fn with(&mut self) -> Result<StmtKind> {
        let mut values = Vec::new();
        while *self.tok() != Tok::BlockEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_op("=")?;
            values.push((target, self.expression()?));
        }
        Ok(StmtKind::With(values, self.body_of("endwith")?))
    }

    fn signature(&mut self) -> Result<(Vec<String>, Vec<Expr>)> {
        self.expect_op("(")?;
        let (mut params, mut defaults) = (Vec::new(), Vec::new());
        while !self.is_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.expect_name()?;
            if params.contains(&name) {
                return self.fail(&format!("duplicate argument '{name}'"));
            }
            if self.take_op("=") {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                return self.fail("non-default argument follows default argument");
            }
            params.push(name);
        }
        self.skip();
        Ok((params, defaults))
    }

    fn macro_body(
        &mut self,
        name: Option<String>,
        params: Vec<String>,
        defaults: Vec<Expr>,
        end: &str,
    ) -> Result<usize> {
        self.uses.push(Uses::default());
        let body = self.body_of(end)?;
        let uses = self.uses.pop().unwrap_or_default();
        self.tree.macros.push(MacroNode { name, params, defaults, body, uses });
        Ok(self.tree.macros.len() - 1)
    }

    fn call_block(&mut self) -> Result<StmtKind> {
        let (params, defaults) = if self.is_op("(") { self.signature()? } else { (Vec::new(), Vec::new()) };
        let call = self.expression()?;
        if !matches!(call.kind, ExprKind::Call(..)) {
            return self.fail("expected call");
        }
        Ok(StmtKind::CallBlock(self.macro_body(None, params, defaults, "endcall")?, call))
    }

    fn block(&mut self) -> Result<StmtKind> {
        let name = self.expect_name()?;
        let (scoped, required) = (self.take_name("scoped"), self.take_name("required"));
        if self.tree.blocks.iter().any(|block| block.name == name) {
            return self.fail(&format!("block '{name}' defined twice"));
        }
        self.tree.blocks.push(BlockNode { name: name.clone(), scoped, required, body: Vec::new() });
        let id = self.tree.blocks.len() - 1;
        let body = self.body_of("endblock")?;
        self.take_name(&name);
        let blank =
            |stmt: &Stmt| matches!(&stmt.kind, StmtKind::Data(text) if text.chars().all(super::unicode::is_space));
        if required && !body.iter().all(blank) {
            return self.fail("Required blocks can only contain comments or whitespace");
        }
        self.tree.blocks[id].body = body;
        Ok(StmtKind::Block(id))
    }

    /// What is assigned to: names, tuples of them and, for `set`, attributes of namespaces.
    /// What a loop or an assignment gives values to: not `loop`, in a loop.
    fn assigned(&mut self, ends: &[&str], with_attrs: bool) -> Result<Target> {
        fn names_loop(target: &Target) -> bool {
            match target {
                Target::Name(name) => name == "loop",
                Target::Tuple(targets) => targets.iter().any(names_loop),
                Target::Attr(..) => false,
            }
        }
        let target = self.target(ends, with_attrs)?;
        if self.loops > 0 && names_loop(&target) {
            return self.fail("can't assign to the special variable 'loop' in a loop");
        }
        Ok(target)
    }

    fn target(&mut self, ends: &[&str], with_attrs: bool) -> Result<Target> {
        let mut targets = Vec::new();
        let mut tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            targets.push(self.nested(|p| p.one_target(with_attrs))?);
            if !self.take_op(",") {
                break;
            }
            tuple = true;
        }
        match targets.pop() {
            Some(target) if !tuple => Ok(target),
            Some(target) => {
                targets.push(target);
                Ok(Target::Tuple(targets))
            }
            None => self.unexpected("a name to assign to"),
        }
    }

    fn one_target(&mut self, with_attrs: bool) -> Result<Target> {
        if self.take_op("(") {
            let target = self.target(&[], with_attrs)?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
            return self.fail(&format!("can't assign to '{name}'"));
        }
        if with_attrs && self.take_op(".") {
            return Ok(Target::Attr(name, self.expect_name()?));
        }
        Ok(Target::Name(name))
    }

    pub(super) fn is_tuple_end(&self, ends: &[&str]) -> bool {
        matches!(self.tok(), Tok::VarEnd | Tok::BlockEnd | Tok::End)
            || self.is_op(")")
            || ends.iter().any(|end| self.is_name(end))
    }

    /// Filters one after the other, the first one without a bar if `inline`.
    pub(super) fn filters(&mut self, mut input: Option<Expr>, mut inline: bool) -> Result<Option<Expr>> {
        while self.is_op("|") || inline {
            if !inline {
                self.skip();
            }
            inline = false;
            let line = self.line();
            let name = self.dotted_name()?;
            let args = if self.is_op("(") { self.call_args()? } else { CallArgs::default() };
            input = Some(Expr::new(ExprKind::Filter(input.map(Box::new), name, Box::new(args)), line)?);
        }
        Ok(input)
    }

    pub(super) fn dotted_name(&mut self) -> Result<String> {
        let mut name = self.expect_name()?;
        while self.take_op(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name)
    }
}
