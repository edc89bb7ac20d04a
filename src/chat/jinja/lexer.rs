//! A template's source as tokens, by the rules of Jinja 3.1 with `trim_blocks` and `lstrip_blocks`.

use super::fault::{Fault, Result};
use super::unicode::is_space;
use num_bigint::BigInt;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tok {
    Data(String),
    VarBegin,
    VarEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Text(String),
    Int(BigInt),
    Float(f64),
    Op(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) tok: Tok,
    pub(super) line: usize,
}

/// Operators; those of two characters come first.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";", "!",
];

/// Cuts `source` into tokens.
pub(super) fn lex(source: &str) -> Result<Vec<Token>> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer { source: &source, at: 0, counted: 0, line: 1, fresh: true, tokens: Vec::new() };
    while lexer.at < source.len() {
        lexer.piece()?;
    }
    lexer.push(Tok::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// Up to where line ends have been counted.
    counted: usize,
    line: usize,
    /// What came before ended with a line end.
    fresh: bool,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn line(&mut self) -> usize {
        self.line += self.source[self.counted..self.at].matches('\n').count();
        self.counted = self.at;
        self.line
    }

    fn push(&mut self, tok: Tok) {
        let line = self.line();
        self.tokens.push(Token { tok, line });
    }

    fn fail<T>(&mut self, message: &str) -> Result<T> {
        Err(Fault::syntax(self.line(), message))
    }

    /// Text up to the next tag, and the tag.
    fn piece(&mut self) -> Result<()> {
        let rest = self.rest();
        let opens = |at: &usize| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
        let Some(start) = rest.match_indices('{').map(|(at, _)| at).find(opens) else {
            self.data(rest);
            self.at = self.source.len();
            return Ok(());
        };
        let kind = rest.as_bytes()[start + 1];
        let sign = rest[start + 2..].chars().next().filter(|c| matches!(c, '-' | '+'));
        self.stripped(&rest[..start], sign, kind == b'{');
        let inside = start + 2 + usize::from(sign.is_some());
        self.at += start;
        if kind == b'%'
            && let Some(length) = raw_begin(&rest[inside..])
        {
            self.at += inside - start + length;
            return self.raw();
        }
        match kind {
            b'#' => {
                let Some(end) = rest[inside..].find("#}") else { return self.fail("Missing end of comment tag") };
                self.at += inside - start + end + 2;
                let sign = rest[inside..inside + end].chars().next_back();
                self.after_block(sign);
            }
            b'%' => {
                self.push(Tok::BlockBegin);
                self.at += inside - start;
                self.tag(true)?;
            }
            _ => {
                self.push(Tok::VarBegin);
                self.at += inside - start;
                self.tag(false)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Tok::Data(text.to_owned()));
        }
    }

    /// Text before a tag: `-` takes all white space before it, and a block takes that of its own line.
    fn stripped(&mut self, text: &str, sign: Option<char>, variable: bool) {
        let text = match sign {
            Some('-') => text.trim_end_matches(is_space),
            Some(_) => text,
            None if variable => text,
            None => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let blank = text[line..].chars().all(is_space);
                if blank && (line > 0 || self.fresh) { &text[..line] } else { text }
            }
        };
        self.data(text);
    }

    /// After the end of a block or comment: `-` takes all white space, nothing takes one line end.
    fn after_block(&mut self, sign: Option<char>) {
        let rest = self.rest();
        let taken = match sign {
            Some('-') => rest.len() - rest.trim_start_matches(is_space).len(),
            Some('+') => 0,
            _ => usize::from(rest.starts_with('\n')),
        };
        self.at += taken;
        self.fresh = self.source[..self.at].ends_with('\n');
    }

    /// Text up to `{% endraw %}`.
    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        let end = rest.match_indices("{%").find_map(|(at, _)| {
            let inner = &rest[at + 2..];
            let sign = inner.chars().next().filter(|c| matches!(c, '-' | '+'));
            let inner = inner[usize::from(sign.is_some())..].trim_start_matches(is_space);
            let inner = inner.strip_prefix("endraw")?.trim_start_matches(is_space);
            let close = inner.chars().next().filter(|c| matches!(c, '-' | '+'));
            let after = inner[usize::from(close.is_some())..].strip_prefix("%}")?;
            Some((at, sign, close, rest.len() - after.len()))
        });
        let Some((at, sign, close, length)) = end else { return self.fail("Missing end of raw directive") };
        // The start of the raw text is no start of a line, whatever stands before it.
        self.fresh = self.source[..self.at].ends_with('\n');
        self.stripped(&rest[..at], sign, false);
        self.at += length;
        self.after_block(close);
        Ok(())
    }

    /// The inside of a tag, up to and with its end.
    fn tag(&mut self, block: bool) -> Result<()> {
        let mut open: Vec<&str> = Vec::new();
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return Ok(()) };
            if open.is_empty() && self.tag_end(block) {
                return Ok(());
            }
            if is_space(c) {
                self.at += rest.len() - rest.trim_start_matches(is_space).len();
            } else if c.is_ascii_digit() {
                self.number()?;
            } else if c.is_alphanumeric() || c == '_' {
                let word = |c: char| c.is_alphanumeric() || c == '_';
                let length = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
                if !(c.is_alphabetic() || c == '_') {
                    return self.fail("Invalid character in identifier");
                }
                self.push(Tok::Name(rest[..length].to_owned()));
                self.at += length;
            } else if c == '"' || c == '\'' {
                self.string(c)?;
            } else if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                match *op {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" => match open.pop() {
                        Some(wanted) if wanted == *op => {}
                        Some(wanted) => return self.fail(&format!("unexpected '{op}', expected '{wanted}'")),
                        None => return self.fail(&format!("unexpected '{op}'")),
                    },
                    "!" => return self.fail("unexpected char '!'"),
                    _ => {}
                }
                self.push(Tok::Op(op));
                self.at += op.len();
            } else {
                return self.fail(&format!("unexpected char {c:?}"));
            }
        }
    }

    /// Takes the end of the tag, if it is here.
    fn tag_end(&mut self, block: bool) -> bool {
        let rest = self.rest();
        let (close, signs): (&str, &[char]) = if block { ("%}", &['-', '+']) } else { ("}}", &['-']) };
        let sign = rest.chars().next().filter(|c| signs.contains(c));
        if !rest[usize::from(sign.is_some())..].starts_with(close) {
            return false;
        }
        self.push(if block { Tok::BlockEnd } else { Tok::VarEnd });
        self.at += close.len() + usize::from(sign.is_some());
        // A variable keeps the line end after it.
        self.after_block(if block || sign.is_some() { sign } else { Some('+') });
        true
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest();
        let (length, float) = number_length(rest);
        let digits = rest[..length].replace('_', "").to_ascii_lowercase();
        let tok = if float {
            digits.parse().ok().map(Tok::Float)
        } else {
            let radix = match digits.get(..2) {
                Some("0b") => 2,
                Some("0o") => 8,
                Some("0x") => 16,
                _ => 10,
            };
            let digits = if radix == 10 { digits.as_str() } else { &digits[2..] };
            // Python's own limit of digits.
            BigInt::parse_bytes(digits.as_bytes(), radix).filter(|_| digits.len() <= 4300).map(Tok::Int)
        };
        let Some(tok) = tok else { return self.fail("a number that is too long") };
        self.push(tok);
        self.at += length;
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|&(_, c)| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return self.fail("unexpected char in a text that does not end") };
        match unescape(&rest[1..end]) {
            Ok(text) => self.push(Tok::Text(text)),
            Err(why) => return self.fail(why),
        }
        self.at += end + 1;
        Ok(())
    }
}

/// The length of `raw %}` at the start of the inside of a tag.
fn raw_begin(inside: &str) -> Option<usize> {
    let rest = inside.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match rest.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None => rest.strip_prefix("%}")?,
    };
    Some(inside.len() - rest.len())
}

/// The length of the number at the start, and whether it is a float.
fn number_length(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    // Digits of a kind, with single `_` between them.
    let run = |mut at: usize, digit: fn(&u8) -> bool| {
        let start = at;
        loop {
            let here = if at > start && bytes.get(at) == Some(&b'_') { at + 1 } else { at };
            match bytes.get(here) {
                Some(b) if digit(b) => at = here + 1,
                _ => return at,
            }
        }
    };
    let whole = run(0, u8::is_ascii_digit);
    let fraction = if bytes.get(whole) == Some(&b'.') { run(whole + 1, u8::is_ascii_digit) } else { whole };
    let mantissa = if fraction > whole + 1 { fraction } else { whole };
    if matches!(bytes.get(mantissa), Some(b'e' | b'E')) {
        let digits = mantissa + 1 + usize::from(matches!(bytes.get(mantissa + 1), Some(b'+' | b'-')));
        let end = run(digits, u8::is_ascii_digit);
        if end > digits {
            return (end, true);
        }
    }
    if mantissa > whole {
        return (mantissa, true);
    }
    if bytes[0] != b'0' {
        return (whole, false);
    }
    let radix: Option<fn(&u8) -> bool> = match bytes.get(1) {
        Some(b'b' | b'B') => Some(|b| matches!(b, b'0' | b'1')),
        Some(b'o' | b'O') => Some(|b| matches!(b, b'0'..=b'7')),
        Some(b'x' | b'X') => Some(u8::is_ascii_hexdigit),
        _ => None,
    };
    let start = if bytes.get(2) == Some(&b'_') { 3 } else { 2 };
    match radix.map(|digit| run(start, digit)) {
        Some(end) if end > start => (end, false),
        _ => (run(0, |b| *b == b'0'), false),
    }
}

/// Python's escapes in texts.
fn unescape(text: &str) -> std::result::Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(kind) = chars.next() else { break };
        match kind {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(kind),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let rest = chars.as_str();
                let more = rest.bytes().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                let digits = format!("{kind}{}", &rest[..more]);
                chars = rest[more..].chars();
                out.extend(u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32));
            }
            'x' | 'u' | 'U' => {
                let count = match kind {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let rest = chars.as_str();
                let digits = rest.get(..count).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let digits = digits.ok_or("a truncated \\x, \\u or \\U escape in a text")?;
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                out.push(code.ok_or("an escape in a text that is no character")?);
                chars = rest[count..].chars();
            }
            'N' => return Err("an escape by a character's name (\\N) in a text, which is not supported"),
            other => out.extend(['\\', other]),
        }
    }
    Ok(out)
}
