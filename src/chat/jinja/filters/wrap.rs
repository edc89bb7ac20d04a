//! `wordwrap`: Python's `textwrap`.

use super::super::args::{Args, str_of};
use super::super::eval::Eval;
use super::super::fault::{Result, runtime};
use super::super::value::Value;
use super::super::{text, unicode};
use std::rc::Rc;

pub(super) fn wordwrap(eval: &mut Eval<'_>, value: Value, args: Args) -> Result<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let bound = args.bind("wordwrap", names, 0)?;
    let meter = Rc::clone(&eval.meter);
    let Ok(width @ 1..) = usize::try_from(bound.int(0, 79)?) else { return runtime("invalid width (must be > 0)") };
    let style = Style {
        width,
        break_words: bound.get(1).is_none_or(Value::truth),
        hyphens: bound.get(3).is_none_or(Value::truth),
    };
    let end = if bound.some(2).is_some() { bound.str(2)?.unwrap_or("\n") } else { "\n" };
    let source = str_of(&value)?;
    let mut out = meter.buffer()?;
    for (i, line) in text::lines(source, false).enumerate() {
        if i > 0 {
            out.push(end)?;
        }
        meter.work(line.len() + 1)?;
        let _room = meter.charge(line.len() * 40)?;
        for (j, wrapped) in style.wrap(line).iter().enumerate() {
            if j > 0 {
                out.push(end)?;
            }
            out.push(wrapped)?;
        }
    }
    Ok(out.finish())
}

struct Style {
    width: usize,
    break_words: bool,
    hyphens: bool,
}

/// White space for `textwrap`.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ')
}

fn is_word(c: char) -> bool {
    c == '_' || unicode::is_letter(c) || unicode::is_numeric(c)
}

impl Style {
    fn wrap(&self, line: &str) -> Vec<String> {
        let chars: Vec<char> = line.chars().collect();
        let mut chunks: Vec<&[char]> = self.chunks(&chars);
        chunks.reverse();
        let mut lines: Vec<String> = Vec::new();
        while !chunks.is_empty() {
            let mut current: Vec<&[char]> = Vec::new();
            let mut len = 0;
            if !lines.is_empty() && chunks.last().is_some_and(|chunk| chunk.iter().all(|c| unicode::is_space(*c))) {
                chunks.pop();
            }
            while let Some(chunk) = chunks.last().filter(|chunk| len + chunk.len() <= self.width) {
                len += chunk.len();
                current.push(chunk);
                chunks.pop();
            }
            if let Some(chunk) = chunks.last().copied().filter(|chunk| chunk.len() > self.width) {
                chunks.pop();
                if let Some(rest) = self.long_word(chunk, &mut current, len) {
                    chunks.push(rest);
                }
            }
            if current.last().is_some_and(|chunk| chunk.iter().all(|c| unicode::is_space(*c))) {
                current.pop();
            }
            if !current.is_empty() {
                lines.push(current.concat().into_iter().collect());
            }
        }
        lines
    }

    /// Deals with a word longer than a line; what is left of it.
    fn long_word<'c>(&self, chunk: &'c [char], current: &mut Vec<&'c [char]>, len: usize) -> Option<&'c [char]> {
        let room = self.width - len;
        if !self.break_words {
            if current.is_empty() {
                current.push(chunk);
                return None;
            }
            return Some(chunk);
        }
        let mut end = room;
        if self.hyphens
            && let Some(at) = chunk[..room].iter().rposition(|c| *c == '-')
            && chunk[..at].iter().any(|c| *c != '-')
        {
            end = at + 1;
        }
        current.push(&chunk[..end]);
        Some(&chunk[end..])
    }

    /// Words, parts of hyphenated words, dashes and white space.
    fn chunks<'c>(&self, chars: &'c [char]) -> Vec<&'c [char]> {
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < chars.len() {
            let mut end = start + 1;
            if is_blank(chars[start]) {
                end += chars[end..].iter().take_while(|c| is_blank(**c)).count();
            } else if let Some(dashes) = self.dashes(chars, start) {
                end = start + dashes;
            } else {
                end = self.word_end(chars, start);
            }
            chunks.push(&chars[start..end]);
            start = end;
        }
        chunks
    }

    /// Two or more dashes between words.
    fn dashes(&self, chars: &[char], at: usize) -> Option<usize> {
        let before = |c: char| is_word(c) || matches!(c, '!' | '"' | '\'' | '&' | '.' | ',' | '?');
        let count = chars[at..].iter().take_while(|c| **c == '-').count();
        let between = at > 0 && before(chars[at - 1]) && chars.get(at + count).is_some_and(|c| is_word(*c));
        (self.hyphens && count >= 2 && between).then_some(count)
    }

    fn word_end(&self, chars: &[char], start: usize) -> usize {
        let letter = |at: usize| chars.get(at).is_some_and(|c| is_word(*c) && !unicode::is_numeric(*c));
        let before = |at: usize| is_word(chars[at]) || matches!(chars[at], '!' | '"' | '\'' | '&' | '.' | ',' | '?');
        for at in start + 1..chars.len() {
            if is_blank(chars[at]) {
                return at;
            }
            if !self.hyphens {
                continue;
            }
            if chars[at] == '-' {
                let word = at >= 2 && letter(at - 2) && letter(at - 1)
                    || at >= 3 && letter(at - 3) && chars[at - 2] == '-' && before(at - 1);
                let next = letter(at + 1) && (letter(at + 2) || chars.get(at + 2) == Some(&'-') && letter(at + 3));
                if word && next {
                    return at + 1;
                }
            }
            if self.dashes(chars, at).is_some() {
                return at;
            }
        }
        chars.len()
    }
}
