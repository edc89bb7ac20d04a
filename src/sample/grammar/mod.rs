//! Constraints by grammar: JSON schema, regular expression, or a context-free grammar in Lark's notation. The `llguidance`
//! crate computes which tokens keep to them; here are its limits and its view of a vocabulary.

use super::constraint::{Constraint, Mask};
use super::digits::Digits;
use super::embedded;
use super::exact;
use super::gbnf;
use super::place;
use super::pointer;
use super::schema;
use crate::{Error, Result};
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory, TokenParser, panic_utils};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Longest grammar, in bytes.
const MAX_FORM_BYTES: usize = 64 << 10;
/// Deepest nesting of a JSON schema.
const MAX_SCHEMA_DEPTH: usize = 100;
/// Longest message of the compiler that is shown, in characters.
const MAX_MESSAGE_BYTES: usize = 400;
/// How long one form is compiled, on a machine that has much else to do.
const MAX_COMPILING: Duration = Duration::from_secs(10);
/// How long the alternatives of a schema are tried by themselves.
const MAX_TRYING: Duration = Duration::from_millis(1500);
/// Longest token that can take part; what is longer is never allowed. (Real vocabularies stay below 300 bytes.)
const MAX_TOKEN: usize = 1024;
/// Parsing a grammar recurses once per bracket, so it gets a stack for as many brackets as a grammar can have. Pages that
/// are not touched cost nothing.
const PARSER_STACK_BYTES: usize = 256 << 20;
/// Work on one grammar and on one token, in the units of the crate: about 20 ms to compile, 15 ms per token at most.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2000,
    initial_lexer_fuel: 1_000_000,
    step_lexer_fuel: 200_000,
    step_max_items: 50_000,
    max_lexer_states: 50_000,
    max_grammar_size: 200_000,
    precompute_large_lexemes: true,
    verbose_errors: false,
};

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// JSON by a schema (an empty one: any JSON).
    JsonSchema(serde_json::Value),
    /// JSON by a schema that others wrote: what of it cannot be kept to is left out with a warning, all of it if need be.
    Lenient {
        /// The schema.
        schema: serde_json::Value,
        /// What is left of it where it cannot be kept to at all.
        rest: serde_json::Value,
    },
    /// JSON by a schema that others wrote, amid text that may be any: a blank may come before it, `end` follows it.
    Within {
        /// The schema; what of it cannot be kept to is left out.
        schema: serde_json::Value,
        /// What comes directly after the value, but for a line end.
        end: &'static str,
    },
    /// All of the answer matches this regular expression.
    Regex(String),
    /// A grammar in Lark's notation with the rule `start`, or in GBNF with the rule `root`.
    Lark(String),
}

impl Form {
    /// JSON by the schema that this text is.
    ///
    /// # Errors
    /// A text that is not JSON.
    pub fn json_schema(text: &str) -> Result<Self> {
        let read = serde_json::from_str(text);
        read.map(Self::JsonSchema).map_err(|why| Error::usage(format!("The schema is not JSON: {why}.")))
    }

    /// One of these texts, amid others as [`Form::Within`].
    pub fn one_of(texts: &[String], end: &str) -> Self {
        let quoted: Vec<String> = texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
        Self::Lark(within(&format!("value: {}\n", quoted.join(" | ")), end))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) | Self::Lenient { .. } | Self::Within { .. } => "the JSON schema",
            Self::Regex(_) => "the regular expression",
            Self::Lark(_) => "the grammar",
        }
    }

    /// Finds out before there is a vocabulary what can be found out.
    ///
    /// # Errors
    /// A schema with words that cannot be kept to, a grammar that is neither of the notations, one that is too long.
    pub fn check(&self) -> Result<()> {
        self.grammar().map(drop).map_err(|why| self.located(why, |form| form.grammar().err()))
    }

    /// The refusal of a schema, with its place.
    fn located(&self, why: Error, tried: impl Fn(&Self) -> Option<Error>) -> Error {
        match self {
            Self::JsonSchema(schema) => place::located(schema, why, |part| tried(&Self::JsonSchema(part.clone()))),
            _ => why,
        }
    }

    fn grammar(&self) -> Result<TopLevelGrammar> {
        let size = |bytes: usize| {
            let wanted = format!("at most {MAX_FORM_BYTES} bytes");
            if bytes > MAX_FORM_BYTES {
                Err(Error::input(self.name(), wanted, format!("{bytes} bytes")))
            } else {
                Ok(())
            }
        };
        let shallow = |schema: &serde_json::Value| match deeper_than(schema, MAX_SCHEMA_DEPTH) {
            true => Err(Error::input(self.name(), format!("at most {MAX_SCHEMA_DEPTH} levels"), "more")),
            false => Ok(()),
        };
        match self {
            Self::JsonSchema(schema) | Self::Lenient { schema, .. } | Self::Within { schema, .. } => {
                shallow(schema)?;
                size(schema.to_string().len())?;
                let lenient = !matches!(self, Self::JsonSchema(_));
                let mut schema = schema.clone();
                pointer::resolve(&mut schema)?;
                let schema = &schema;
                let lark = exact::lark(schema, lenient)?;
                Ok(match (self, lark) {
                    (Self::Within { end, .. }, Some(lark)) => {
                        TopLevelGrammar::from_lark(within(&lark.replacen("start:", "value:", 1), end))
                    }
                    (Self::Within { end, .. }, None) => {
                        let value = format!("value: %json {}\n", schema::prepare(schema, lenient)?);
                        TopLevelGrammar::from_lark(within(&value, end))
                    }
                    (_, Some(lark)) => TopLevelGrammar::from_lark(lark),
                    (_, None) => TopLevelGrammar::from_json_schema(schema::prepare(schema, lenient)?),
                })
            }
            Self::Regex(regex) => size(regex.len()).map(|()| TopLevelGrammar::from_regex(regex)),
            Self::Lark(grammar) => {
                size(grammar.len())?;
                let lark = match gbnf::is_gbnf(grammar) {
                    true => gbnf::to_lark(grammar)
                        .map_err(|why| Error::usage(format!("The grammar cannot be read: {why}.")))?,
                    false => embedded::prepared(grammar, &shallow)?,
                };
                Ok(TopLevelGrammar::from_lark(lark))
            }
        }
    }
}

/// The grammar of a text that begins with the rule `value` and goes on as it likes, after `end`.
fn within(value: &str, end: &str) -> String {
    let end = if end.is_empty() { String::new() } else { format!("/\\n/? {}", serde_json::Value::from(end)) };
    format!("start: /[ \\n]/? value {end} /(?s:.+)/?\n{value}")
}

fn deeper_than(json: &serde_json::Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return true };
    match json {
        serde_json::Value::Array(items) => items.iter().any(|item| deeper_than(item, below)),
        serde_json::Value::Object(map) => map.values().any(|item| deeper_than(item, below)),
        _ => false,
    }
}

/// A vocabulary, ready for constraints. Made once per model (it takes a few hundred milliseconds), shared by all answers.
pub struct Grammars {
    factory: Arc<ParserFactory>,
    eog: Arc<[u32]>,
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grammars")
    }
}

/// The crate's view of a vocabulary.
struct Env {
    trie: TokTrie,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// Any cut into tokens will do: the tokens that are chosen are the model's.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Grammars {
    /// From the bytes of each token in the order of their ids (empty for control tokens and unused ones, which are then
    /// never allowed) and the tokens that end an answer.
    ///
    /// # Errors
    /// No token that ends an answer.
    pub fn new<B: AsRef<[u8]>>(tokens: impl IntoIterator<Item = B>, eog: &[u32]) -> Result<Self> {
        let usable =
            |bytes: &[u8]| bytes.len() <= MAX_TOKEN && (bytes.len() < 2 || bytes[0] != TokTrie::SPECIAL_TOKEN_MARKER);
        let word = |token: B| if usable(token.as_ref()) { token.as_ref().to_vec() } else { Vec::new() };
        let mut words: Vec<Vec<u8>> = tokens.into_iter().map(word).collect();
        let eog: Vec<u32> = eog.iter().copied().filter(|&id| (id as usize) < words.len()).collect();
        let Some(&first) = eog.first() else {
            return Err(Error::input("the vocabulary", "a token that ends an answer", "none"));
        };
        for &id in &eog {
            words[id as usize] = [&[TokTrie::SPECIAL_TOKEN_MARKER][..], format!("<eog {id}>").as_bytes()].concat();
        }
        let count =
            u32::try_from(words.len()).map_err(|_| Error::input("the vocabulary", "2^32 tokens at most", "more"))?;
        let trie = TokTrie::from(&TokRxInfo::new(count, first), &words).with_eos_tokens(&eog);
        let env: TokEnv = Arc::new(Env { trie });
        let mut factory =
            ParserFactory::new_simple(&env).map_err(|e| Error::failed("the vocabulary", e.to_string()))?;
        *factory.limits_mut() = LIMITS;
        factory.quiet();
        Ok(Self { factory: Arc::new(factory), eog: eog.into() })
    }

    /// A constraint that keeps one answer in `form`.
    ///
    /// # Errors
    /// A form that is not valid, not supported, or beyond the limits of work and size.
    pub fn constraint(&self, form: &Form) -> Result<GrammarConstraint> {
        match (self.strict(form), form) {
            (Err(why), Form::Lenient { schema, rest }) => {
                if let Some(constraint) = self.without_faults(schema, rest) {
                    return Ok(constraint);
                }
                let mut constraint = self.strict(&Form::JsonSchema(rest.clone()))?;
                constraint.warnings.insert(0, format!("the schema is not kept to: {why}"));
                Ok(constraint)
            }
            (outcome, _) => outcome.map_err(|why| form.located(why, |part| self.strict(part).err())),
        }
    }

    /// Of a schema with alternatives those that can be kept to, each tried by itself as long as there is time; of the others what
    /// is left in `rest`, which has the same alternatives.
    fn without_faults(&self, schema: &serde_json::Value, rest: &serde_json::Value) -> Option<GrammarConstraint> {
        let (all, left) = (schema["anyOf"].as_array()?, rest["anyOf"].as_array()?);
        let form = |schema: serde_json::Value| Form::Lenient { schema, rest: rest.clone() };
        // Where nothing is left that could be kept to, no alternative helps.
        self.strict(&form(rest.clone())).ok()?;
        let start = Instant::now();
        let (mut mended, mut warnings) = (rest.clone(), Vec::new());
        for (index, one) in all.iter().enumerate().take(left.len()) {
            let alone = Form::Lenient { schema: pointer::alone(one, index), rest: serde_json::Value::Null };
            let tried = match start.elapsed() < MAX_TRYING {
                true => self.strict(&alone).map(drop),
                false => Err(Error::usage("so many schemas with faults take too long to look at")),
            };
            match tried {
                Ok(()) => mended["anyOf"][index] = one.clone(),
                Err(why) => {
                    let name = one["properties"]["name"]["const"].as_str().unwrap_or("an alternative");
                    warnings.push(format!("the schema of {name} is not kept to: {why}"));
                }
            }
        }
        let mut constraint = self.strict(&form(mended)).ok().filter(|_| warnings.len() < all.len())?;
        warnings.append(&mut constraint.warnings);
        constraint.warnings = warnings;
        Some(constraint)
    }

    /// Compiles a grammar on a thread of its own, which is given up where it takes too long: the bounds on forms keep what is
    /// known to do so away, and nothing interrupts the compiler.
    fn compiled(&self, grammar: TopLevelGrammar) -> std::result::Result<TokenParser, String> {
        let factory = Arc::clone(&self.factory);
        let (told, outcome) = std::sync::mpsc::channel();
        let compile = move || {
            let begun = panic_utils::catch_unwind(AssertUnwindSafe(|| Ok(begun(&factory, grammar))));
            let begun = begun.map_err(|error| format!("{error:#}")).flatten();
            let parser = begun
                .and_then(|init| factory.create_parser_from_init_default(init).map_err(|error| format!("{error:#}")));
            // Who wanted it may have gone on.
            let _ = told.send(parser);
        };
        let thread = std::thread::Builder::new().name("grammar".into()).stack_size(PARSER_STACK_BYTES);
        thread.spawn(compile).map_err(|error| format!("cannot start a thread: {error}"))?;
        outcome.recv_timeout(MAX_COMPILING).unwrap_or_else(|why| {
            Err(match why {
                RecvTimeoutError::Timeout => format!("it takes longer than {} s to look at", MAX_COMPILING.as_secs()),
                RecvTimeoutError::Disconnected => "the grammar compiler gave up on it".to_owned(),
            })
        })
    }

    fn strict(&self, form: &Form) -> Result<GrammarConstraint> {
        let grammar = form.grammar()?;
        let fault = |why: String| {
            let why = why.replace("<non-verbose/>", "");
            let why =
                if why.trim().is_empty() { "one that nothing fits, or that needs too much work" } else { why.trim() };
            // The compiler names what it was given, of any length.
            let why: String = why.chars().take(MAX_MESSAGE_BYTES).collect();
            Error::usage(format!("{} cannot be used: {}", crate::text::sentence(form.name()), in_words(why)))
        };
        let parser = self.compiled(grammar).map_err(fault)?;
        let mut matcher = Matcher::new(Ok(parser));
        if let Some(why) = matcher.get_error() {
            return Err(fault(why));
        }
        let mut warnings = matcher.grammar_warnings();
        if let Form::JsonSchema(schema) = form {
            warnings.extend(schema::strange_words(schema).into_iter().map(|words| format!("the JSON schema: {words}")));
        }
        let mut constraint = GrammarConstraint {
            matcher,
            mask: Mask::default(),
            eog: Arc::clone(&self.eog),
            digits: matches!(form, Form::JsonSchema(_) | Form::Lenient { .. } | Form::Within { .. })
                .then(Digits::default),
            env: self.factory.tok_env().clone(),
            name: form.name(),
            warnings,
        };
        // A form that no answer fits, or only an empty one, shows at the first token.
        let first = constraint.next().map_err(fault)?;
        if first.len() == self.eog.iter().filter(|&&end| first.contains(end)).count() {
            return Err(fault("one that only the empty text fits".to_owned()));
        }
        Ok(constraint)
    }
}

/// The grammar as the compiler's parser takes it, where the lexer's first steps end within [`LIMITS`]: the parser takes the same
/// steps without a limit, and some forms of a few bytes would then take all memory, on a thread that nothing ends.
fn begun(factory: &ParserFactory, grammar: TopLevelGrammar) -> std::result::Result<GrammarInit, String> {
    let init = GrammarInit::Serialized(grammar).to_internal(Some(factory.tok_env().clone()), LIMITS);
    let (grammar, lexer) = init.map_err(|error| format!("{error:#}"))?;
    let mut states = lexer.to_regex_vec(&mut LIMITS.clone()).map_err(|error| format!("{error:#}"))?;
    states.set_fuel(LIMITS.initial_lexer_fuel);
    let start = states.initial_state(&lexer.all_lexemes());
    for byte in 0..=u8::MAX {
        states.transition(start, byte);
        if let Some(why) = states.get_error() {
            return Err(given_up(&why));
        }
    }
    Ok(GrammarInit::Internal(grammar, lexer))
}

/// What the compiler says in words of its own (it names options that there are none of here), in a user's.
fn in_words(why: String) -> String {
    if let Some((before, _)) = why.split_once("oneOf constraints are not supported") {
        return format!("{before}two alternatives of a oneOf can both fit; write anyOf instead");
    }
    if let Some((_, reference)) = why.split_once("without 'referencing' feature; ref ") {
        return format!("its $ref {reference} leads out of it; only $refs within it are followed: #/$defs/NAME");
    }
    if let Some((_, words)) = why.split_once("Unimplemented keys: [") {
        return format!(
            "it cannot be kept to {} while an answer is written",
            words.trim_end_matches(']').replace('"', "`")
        );
    }
    if let Some((word, found)) = why.split_once("Expected f64 for '").and_then(|(_, rest)| rest.split_once("', got ")) {
        return format!("`{word}` wants a number, not {found}");
    }
    if why.contains("NoExtensionBias") {
        return "no text fits it; does a rule begin with itself?".to_owned();
    }
    why
}

/// What the compiler's matcher says where it cannot go on, in a user's words.
fn given_up(why: &impl std::fmt::Display) -> String {
    let why = why.to_string();
    match why.split_once("items; max is") {
        Some(_) => "one that lets too many things come next".to_owned(),
        None if why.contains("too many expressions") => "one that takes too much work".to_owned(),
        None => why.trim_end_matches("<non-verbose/>").trim().to_owned(),
    }
}

/// What stands in the way of going on in an answer is the form's.
fn not_kept(name: &str, why: String) -> Error {
    Error::input(name, "a form that an answer can be kept to", why)
}

/// A constraint by grammar, at some place of an answer.
pub struct GrammarConstraint {
    matcher: Matcher,
    mask: Mask,
    eog: Arc<[u32]>,
    /// The numbers of a JSON text.
    digits: Option<Digits>,
    /// The bytes of tokens.
    env: TokEnv,
    name: &'static str,
    warnings: Vec<String>,
}

impl std::fmt::Debug for GrammarConstraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GrammarConstraint({})", self.name)
    }
}

impl GrammarConstraint {
    /// Takes text that was written before the constraint came.
    ///
    /// # Errors
    /// A text that does not fit.
    pub fn accept_text(&mut self, text: &str) -> Result<()> {
        let tokens = self.env.tok_trie().greedy_tokenize(text.as_bytes());
        tokens.into_iter().try_for_each(|token| self.accept(token))
    }

    /// What the form says that cannot be kept to.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Takes out tokens that would make a number or a name longer than anybody reads, unless the form (a constant) has no others.
    fn end_numbers(&mut self) {
        let Some(digits) = self.digits.as_ref().filter(|digits| digits.is_counting()) else { return };
        let trie = self.env.tok_trie();
        let mut mask = self.mask.clone();
        mask.retain(|token| {
            let mut next = *digits;
            next.read(trie.token(token))
        });
        if mask.is_empty() {
            // A number that may not be its bound, and is so far: a digit that is not zero makes it another, and lets it end.
            mask = self.mask.clone();
            mask.retain(|token| trie.token(token).iter().any(|byte| (b'1'..=b'9').contains(byte)));
        }
        if !mask.is_empty() {
            self.mask = mask;
        }
    }

    /// The tokens that may come next, or why none can.
    fn next(&mut self) -> std::result::Result<&Mask, String> {
        let bits = self.matcher.compute_mask_or_eos().map_err(|why| given_up(&why))?;
        self.mask = Mask::from_words(bits.as_slice().to_vec());
        if self.mask.is_empty() {
            return Err("no token of the vocabulary can come next".to_owned());
        }
        self.end_numbers();
        Ok(&self.mask)
    }
}

impl Constraint for GrammarConstraint {
    fn allowed(&mut self) -> Result<&Mask> {
        let name = self.name;
        self.next().map_err(|why| not_kept(name, why))
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        // A form that nothing can follow is complete before the answer is ended.
        if self.is_finished() && self.matcher.stop_reason().is_ok() && self.eog.contains(&token) {
            return Ok(());
        }
        if let Some(digits) = &mut self.digits {
            digits.read(self.env.tok_trie().token(token));
        }
        self.matcher.consume_token(token).map_err(|why| not_kept(self.name, given_up(&why)))
    }

    fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }
}

#[cfg(test)]
mod tests;
