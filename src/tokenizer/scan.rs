//! Hand-written scanners for the pre-tokenizer regexes of the model families we care most about: the same pieces as the
//! regex (the tests hold them against it), 20 times as fast, in time linear in the text whatever the text is.
//!
//! A scanner is given non-empty text and returns the length in bytes of its first piece: what the regex matches at the
//! start, or the gap up to where it next matches. None of the regexes looks to the left, so the rest of the text can
//! be scanned on its own.
//!
//! The look-ahead `\s+(?!\S)` is why a run of white space before a word leaves its last character to the word.

use super::classes::{BLANKS, Classes, LETTER, LOWER, MARK, NUMBER, PUNCTUATION, SYMBOL, UPPER};

/// The length in bytes of the first piece of a non-empty text.
pub(crate) type Scanner = fn(&Classes, &str) -> usize;

/// Text with the classes of its characters.
#[derive(Clone, Copy)]
struct View<'a> {
    classes: &'a Classes,
    text: &'a str,
}

/// One character of a [`View`].
#[derive(Clone, Copy)]
struct Char {
    c: char,
    flags: u8,
    /// Where the next character starts.
    end: usize,
}

impl Char {
    fn is(self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    fn is_newline(self) -> bool {
        matches!(self.c, '\r' | '\n')
    }

    /// `[^\s\p{L}\p{N}]`
    fn is_other(self) -> bool {
        !self.is(BLANKS | LETTER | NUMBER)
    }

    /// `[^\r\n\p{L}\p{N}]`: what may lead a word.
    fn may_lead(self) -> bool {
        !self.is(LETTER | NUMBER) && !self.is_newline()
    }
}

impl View<'_> {
    /// The character at byte `at`, or `None` at the end.
    fn at(self, at: usize) -> Option<Char> {
        let c = match self.text.as_bytes().get(at)? {
            byte if byte.is_ascii() => char::from(*byte),
            _ => self.text.get(at..)?.chars().next()?,
        };
        Some(Char { c, flags: self.classes.of(c), end: at + c.len_utf8() })
    }

    fn at_is(self, at: usize, accept: impl Fn(Char) -> bool) -> Option<Char> {
        self.at(at).filter(|&c| accept(c))
    }

    /// Where the longest run of accepted characters from `at` ends.
    fn run(self, mut at: usize, accept: impl Fn(Char) -> bool) -> usize {
        while let Some(c) = self.at_is(at, &accept) {
            at = c.end;
        }
        at
    }

    /// The run at the start, or the gap before the next run.
    fn run_or_gap(self, accept: impl Fn(Char) -> bool) -> usize {
        match self.run(0, &accept) {
            0 => self.run(0, |c| !accept(c)),
            end => end,
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `at`, where case folding makes a long s an s; without `any_case` as written.
    fn contraction(self, at: usize, any_case: bool) -> Option<usize> {
        let fold = |c: Char| match c.c {
            'ſ' if any_case => 's',
            c if any_case => c.to_ascii_lowercase(),
            c => c,
        };
        let quote = self.at_is(at, |c| c.c == '\'')?;
        let first = self.at(quote.end)?;
        let second = match fold(first) {
            's' | 't' | 'm' | 'd' => return Some(first.end),
            'r' | 'v' => 'e',
            'l' => 'l',
            _ => return None,
        };
        self.at_is(first.end, |c| fold(c) == second).map(|c| c.end)
    }

    /// `\s*[\r\n]+|\s+(?!\S)|\s+` at the start, which is white space. Without `newlines` the first alternative is absent.
    fn white_space(self, newlines: bool) -> usize {
        let (mut end, mut last_start, mut newline_end) = (0, 0, 0);
        while let Some(c) = self.at_is(end, |c| c.is(BLANKS)) {
            last_start = end;
            end = c.end;
            if c.is_newline() {
                newline_end = end;
            }
        }
        match (newlines && newline_end > 0, last_start > 0 && end < self.text.len()) {
            (true, _) => newline_end,
            (false, true) => last_start,
            (false, false) => end,
        }
    }

    /// ` ?[^\s\p{L}\p{N}]+` at the start.
    fn others(self) -> Option<usize> {
        let from = usize::from(self.text.starts_with(' '));
        let first = self.at_is(from, Char::is_other)?;
        Some(self.run(first.end, Char::is_other))
    }

    /// Where the word begins that a [`Char::may_lead`] character may precede: `[^\r\n\p{L}\p{N}]?` before `word`.
    fn led_word(self, word: impl Fn(Char) -> bool) -> Option<usize> {
        let first = self.at(0)?;
        if word(first) {
            return Some(0);
        }
        (first.may_lead() && self.at(first.end).is_some_and(word)).then_some(first.end)
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`
pub(crate) fn gpt2(classes: &Classes, text: &str) -> usize {
    let view = View { classes, text };
    if let Some(end) = view.contraction(0, false) {
        return end;
    }
    let from = usize::from(text.starts_with(' '));
    match view.at(from) {
        Some(c) if c.is(LETTER) => view.run(c.end, |c| c.is(LETTER)),
        Some(c) if c.is(NUMBER) => view.run(c.end, |c| c.is(NUMBER)),
        Some(c) if c.is_other() => view.run(c.end, Char::is_other),
        _ => view.white_space(false),
    }
}

/// The regex of Qwen 2 and of Llama 3, which differ in how many digits stand together.
fn modern(classes: &Classes, text: &str, digits: usize) -> usize {
    let view = View { classes, text };
    if let Some(end) = view.contraction(0, true) {
        return end;
    }
    if let Some(from) = view.led_word(|c| c.is(LETTER)) {
        return view.run(from, |c| c.is(LETTER));
    }
    if let Some(end) = number(view, digits) {
        return end;
    }
    match view.others() {
        Some(end) => view.run(end, Char::is_newline),
        None => view.white_space(true),
    }
}

/// `\p{N}{1,most}` at the start.
fn number(view: View<'_>, most: usize) -> Option<usize> {
    let mut end = 0;
    for _ in 0..most {
        let Some(c) = view.at_is(end, |c| c.is(NUMBER)) else { break };
        end = c.end;
    }
    (end > 0).then_some(end)
}

/// The Qwen 2 regex: digits alone.
pub(crate) fn qwen2(classes: &Classes, text: &str) -> usize {
    modern(classes, text, 1)
}

/// The Llama 3 regex: up to three digits together.
pub(crate) fn llama3(classes: &Classes, text: &str) -> usize {
    modern(classes, text, 3)
}

/// `\p{N}`
pub(crate) fn digit(classes: &Classes, text: &str) -> usize {
    let view = View { classes, text };
    number(view, 1).unwrap_or_else(|| view.run(0, |c| !c.is(NUMBER)))
}

/// `\p{N}{1,3}`
pub(crate) fn digits3(classes: &Classes, text: &str) -> usize {
    let view = View { classes, text };
    number(view, 3).unwrap_or_else(|| view.run(0, |c| !c.is(NUMBER)))
}

/// `\p{N}+`
pub(crate) fn digits(classes: &Classes, text: &str) -> usize {
    View { classes, text }.run_or_gap(|c| c.is(NUMBER))
}

/// `[0-9][0-9][0-9]`
pub(crate) fn ascii_triple(_classes: &Classes, text: &str) -> usize {
    let is_triple = |window: &[u8]| window.iter().all(u8::is_ascii_digit);
    match text.as_bytes().windows(3).position(is_triple) {
        Some(0) => 3,
        Some(start) => start,
        None => text.len(),
    }
}

/// `[\p{P}\$\+<=>\^~\|]+`
pub(crate) fn punctuation(classes: &Classes, text: &str) -> usize {
    View { classes, text }
        .run_or_gap(|c| c.is(PUNCTUATION) || matches!(c.c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|'))
}

/// `[一-龥぀-ゟ゠-ヿ]+`: Han, Hiragana and Katakana.
pub(crate) fn han_kana(classes: &Classes, text: &str) -> usize {
    View { classes, text }.run_or_gap(|c| matches!(c.c, '\u{4E00}'..='\u{9FA5}' | '\u{3040}'..='\u{30FF}'))
}

/// The last regex of DeepSeek V3, which knows marks and symbols and leaves control characters and digits in gaps:
/// `[ASCII punctuation][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
pub(crate) fn deepseek3(classes: &Classes, text: &str) -> usize {
    let view = View { classes, text };
    let mut gap = 0;
    while gap < text.len() {
        let rest = View { classes, text: text.get(gap..).unwrap_or_default() };
        match deepseek3_match(rest) {
            Some(end) if gap == 0 => return end,
            Some(_) => break,
            None => gap = view.at(gap).map_or(text.len(), |c| c.end),
        }
    }
    gap
}

/// What the regex of [`deepseek3`] matches at the start.
fn deepseek3_match(view: View<'_>) -> Option<usize> {
    let first = view.at(0)?;
    let ascii_letter = |c: Char| c.c.is_ascii_alphabetic();
    if first.c.is_ascii_punctuation() && view.at(first.end).is_some_and(ascii_letter) {
        return Some(view.run(first.end, ascii_letter));
    }
    let word = |c: Char| c.is(LETTER | MARK);
    if word(first) {
        return Some(view.run(first.end, word));
    }
    if !first.is(LETTER | PUNCTUATION | SYMBOL) && !first.is_newline() && view.at(first.end).is_some_and(word) {
        return Some(view.run(first.end, word));
    }
    let sign = |c: Char| c.is(PUNCTUATION | SYMBOL);
    if let Some(c) = view.at_is(usize::from(first.c == ' '), sign) {
        return Some(view.run(view.run(c.end, sign), Char::is_newline));
    }
    first.is(BLANKS).then(|| view.white_space(true))
}

/// The superword regex of K-EXAONE, where words joined by single spaces are one piece:
/// `(contraction)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`
pub(crate) fn exaone_moe(classes: &Classes, text: &str) -> usize {
    let view = View { classes, text };
    if let Some(end) = view.contraction(0, true) {
        return end;
    }
    if let Some(mut end) = view.led_word(|c| c.is(LETTER)) {
        loop {
            let from = match view.at(end) {
                Some(c) if c.c == ' ' => c.end,
                _ => end,
            };
            match view.at_is(from, |c| c.is(LETTER)) {
                Some(letter) => end = view.run(letter.end, |c| c.is(MARK)),
                None => return end,
            }
        }
    }
    if let Some(end) = number(view, 1) {
        return end;
    }
    match view.others() {
        // a slash is among the others already
        Some(end) => view.at_is(end, Char::is_newline).map_or(end, |c| c.end),
        None => view.white_space(true),
    }
}

/// The regex of GPT-4o, where a word is capitals and then small letters (letters without case are both), with its
/// contraction:
/// `[^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
/// with `U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, `L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]`, `C = (?i:'s|'t|'re|'ve|'m|'ll|'d)`.
pub(crate) fn gpt4o(classes: &Classes, text: &str) -> usize {
    let view = View { classes, text };
    if let Some(end) = gpt4o_word(view) {
        return view.contraction(end, true).unwrap_or(end);
    }
    if let Some(end) = number(view, 3) {
        return end;
    }
    match view.others() {
        Some(end) => view.run(end, |c| c.is_newline() || c.c == '/'),
        None => view.white_space(true),
    }
}

/// The word alternatives of [`gpt4o`] in the order in which a backtracking engine tries them.
fn gpt4o_word(view: View<'_>) -> Option<usize> {
    let first = view.at(0)?;
    let led = first.may_lead().then_some(first.end);
    let starts = [led, Some(0)];
    let small = starts.iter().flatten().find_map(|&from| capitals_and_small(view, from));
    small.or_else(|| starts.iter().flatten().find_map(|&from| capitals(view, from)))
}

fn is_capital(c: Char) -> bool {
    (c.is(LETTER) && !c.is(LOWER)) || c.is(MARK)
}

fn is_small(c: Char) -> bool {
    (c.is(LETTER) && !c.is(UPPER)) || c.is(MARK)
}

/// `U*L+` from `from`: the capitals give back as few characters as leave one small letter.
fn capitals_and_small(view: View<'_>, from: usize) -> Option<usize> {
    let (mut end, mut last_small) = (from, None);
    while let Some(c) = view.at_is(end, is_capital) {
        end = c.end;
        if is_small(c) {
            last_small = Some(end);
        }
    }
    match view.run(end, is_small) {
        none if none == end => last_small,
        end => Some(end),
    }
}

/// `U+L*` from `from`, where [`capitals_and_small`] found nothing: no small letter follows.
fn capitals(view: View<'_>, from: usize) -> Option<usize> {
    let end = view.run(from, is_capital);
    (end > from).then_some(end)
}
