//! Vectors of texts, and scores of documents for a query.

use super::gauges::{Count, Gauges};
use super::llm::controls;
use super::{Llm, Options};
use crate::arch::Pooling;
use crate::forward::{PassSettings, Scratch, Span, Want, forward, pool};
use crate::kv::{CacheShape, KvCache};
use crate::model::Model;
use crate::parallel::{Pool, Turns};
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Makes vectors with one model, one text at a time.
pub struct Embedder {
    model: Arc<Model>,
    pool: Arc<Pool>,
    options: Options,
    pooling: Pooling,
    shape: Arc<CacheShape>,
    scratch: Scratch,
    gauges: Arc<Gauges>,
}

impl Embedder {
    /// An embedder with the file's pooling; `options.context` is the longest text in tokens.
    #[doc(hidden)]
    pub fn new(model: Arc<Model>, pool: Arc<Pool>, options: Options) -> Self {
        let shape = Arc::new(CacheShape::new(&model.spec, options.kv));
        let context = options.context.min(model.spec.longest().unwrap_or(usize::MAX));
        let options = Options { context, ..options };
        let (scratch, gauges) = (Scratch::default(), Arc::default());
        Self { pooling: model.spec.pooling, model, pool, options, shape, scratch, gauges }
    }

    /// An embedder of `llm` ([`Llm::open_for_vectors`]) with its file's pooling, on the threads that its sessions share;
    /// `options.context` is the longest text in tokens.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub fn open(llm: &Llm, options: Options) -> Result<Self> {
        Ok(Self::new(Arc::clone(llm.model()), llm.pool()?, options))
    }

    /// The same embedder, which counts what it reads in `gauges`.
    #[must_use]
    pub fn counting_in(self, gauges: Arc<Gauges>) -> Self {
        Self { gauges, ..self }
    }

    /// The model.
    #[doc(hidden)]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How vectors of positions become one.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Another pooling than the file's.
    pub fn set_pooling(&mut self, pooling: Pooling) {
        self.pooling = pooling;
    }

    /// What `tokens` come to: one vector, the scores of a model that ranks, or with [`Pooling::None`] a vector for each of
    /// them. Vectors have length 1 where `normalized` is asked for; scores stay as they are.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn vectors(&mut self, tokens: &[u32], normalized: bool, cancel: &AtomicBool) -> Result<Vec<Vec<f32>>> {
        let values = self.embed(tokens, cancel)?;
        let one = match self.pooling {
            Pooling::None => values.len() / tokens.len().max(1),
            _ => values.len(),
        };
        let mut rows: Vec<Vec<f32>> = values.chunks(one.max(1)).map(<[f32]>::to_vec).collect();
        if normalized && !matches!(self.pooling, Pooling::Rank(_)) {
            rows.iter_mut().for_each(|row| normalize(row));
        }
        Ok(rows)
    }

    /// The vector of `tokens` (with [`Pooling::None`]: of each of them, one after the other), of any length.
    ///
    /// # Errors
    /// [`Error::ContextFull`] for a text that is too long, [`Error::Input`] for none or a token outside the vocabulary,
    /// [`Error::Interrupted`].
    pub fn embed(&mut self, tokens: &[u32], cancel: &AtomicBool) -> Result<Vec<f32>> {
        self.embed_two(tokens, usize::MAX, cancel)
    }

    /// The same of two texts one after the other, the second from token `second_text` on: models with types of tokens
    /// tell the two apart.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_two(&mut self, tokens: &[u32], second_text: usize, cancel: &AtomicBool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::input("the text", "at least one token", "none"));
        }
        let (needed, available) = (tokens.len(), self.options.context);
        if needed > available {
            return Err(Error::ContextFull { needed, available });
        }
        let setting = PassSettings {
            read_ahead: self.options.read_ahead,
            vectors: true,
            gives_way: true,
            second_text,
            ..PassSettings::new(&self.model, &self.pool, cancel)
        };
        let mut cache = KvCache::new(Arc::clone(&self.shape));
        cache.aim(needed);
        // Where a position sees those after it, all go together.
        let most = if self.model.spec.causal { self.options.batch.max(1) } else { needed };
        let mut vectors = Vec::with_capacity(needed * self.model.spec.embd);
        let start = Instant::now();
        for batch in tokens.chunks(most) {
            let span = Span { cache: &mut cache, tokens: batch, want: Want::All };
            vectors.extend_from_slice(forward(&setting, &mut self.scratch, &mut [span])?);
            self.gauges.add(Count::Passes, 1);
            self.gauges.add(Count::Rows, 1);
        }
        self.gauges.add(Count::PromptTokens, needed as u64);
        self.gauges.add(Count::PrefillMicros, start.elapsed().as_micros() as u64);
        self.gauges.note_length(needed);
        self.model.gguf.intact()?;
        let pooled = pool(&self.model, self.pool.isa(), self.pooling, &vectors);
        match pooled.iter().all(|value| value.is_finite()) {
            true => Ok(pooled),
            false => {
                Err(Error::failed(self.model.gguf.path().display().to_string(), "the model's vectors are no numbers")
                    .hint("the file is damaged, or is computed in another way than it should be"))
            }
        }
    }

    /// The tokens of a text, as the model was trained to read it.
    pub fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode_with_bos(&tokenizer.normalized(text), Special::Plain)
    }

    /// Cuts a text that is too long; a token that the model was trained to find at its end stays there.
    pub fn cut(&self, tokenizer: &Tokenizer, tokens: &mut Vec<u32>) {
        if tokens.len() <= self.options.context {
            return;
        }
        let end = tokens.last().copied().filter(|&token| tokenizer.is_control(token));
        tokens.truncate(self.options.context);
        if let (Some(end), Some(last)) = (end, tokens.last_mut()) {
            *last = end;
        }
    }

    /// How well `document` answers `query`, by the model's classification head, and how many tokens the two are.
    ///
    /// # Errors
    /// As [`Embedder::embed`]; [`Error::Input`] for a model without such a head.
    pub fn score(
        &mut self,
        tokenizer: &Tokenizer,
        query: &str,
        document: &str,
        cancel: &AtomicBool,
    ) -> Result<(f32, usize)> {
        if !matches!(self.pooling, Pooling::Rank(_)) {
            let place = self.model.gguf.path().display().to_string();
            return Err(Error::input(place, "a model that ranks documents (pooling_type 4)", "another one")
                .hint("embed query and documents with `tokki embed` and compare their vectors"));
        }
        let (tokens, second) = self.pair(tokenizer, query, document);
        let scores = self.embed_two(&tokens, second, cancel)?;
        Ok((scores.first().copied().unwrap_or(0.0), tokens.len()))
    }

    /// A query and a document as the model reads them, by the file's template for it or with separators between, and
    /// where the document begins for a model that tells the two apart.
    fn pair(&self, tokenizer: &Tokenizer, query: &str, document: &str) -> (Vec<u32>, usize) {
        let template = self.model.gguf.str("tokenizer.chat_template.rerank").ok().flatten();
        if let Some(template) = template {
            return (filled(tokenizer, template, query, document), usize::MAX);
        }
        let mut tokens = Self::tokens(tokenizer, query);
        let eos = tokenizer.eos();
        if tokens.last().copied() != eos {
            tokens.extend(eos);
        }
        tokens.extend(tokenizer.separator());
        let second = if tokenizer.types_pairs() { tokens.len() } else { usize::MAX };
        tokens.extend(tokenizer.encode(&tokenizer.normalized(document), Special::Plain));
        tokens.extend(eos);
        (tokens, second)
    }
}

/// The tokens of a template with a query and a document in it. Control tokens count in the template's text only; between
/// them all is one text, as the model has seen it: a blank of the template and the word after it may be one token.
fn filled(tokenizer: &Tokenizer, template: &str, query: &str, document: &str) -> Vec<u32> {
    let controls = controls(tokenizer);
    let (mut tokens, mut text) = (Vec::new(), String::new());
    let flush = |text: &mut String, tokens: &mut Vec<u32>| {
        tokens.extend(tokenizer.encode(&tokenizer.normalized(text), Special::Plain));
        text.clear();
    };
    for part in split_template(template) {
        let mut rest = match part {
            Slot::Text(own) => own,
            Slot::Query | Slot::Document => {
                text.push_str(if part == Slot::Query { query } else { document });
                continue;
            }
        };
        while let Some((at, control)) = controls.first_in(rest) {
            text.push_str(&rest[..at]);
            flush(&mut text, &mut tokens);
            tokens.extend(tokenizer.encode(control, Special::Parse));
            rest = &rest[at + control.len()..];
        }
        text.push_str(rest);
    }
    flush(&mut text, &mut tokens);
    let bos = tokenizer.bos().filter(|&bos| tokenizer.adds_bos() && tokens.first() != Some(&bos));
    tokens.splice(0..0, bos);
    tokens
}

/// A part of a template for pairs.
#[derive(Debug, PartialEq)]
enum Slot<'t> {
    Text(&'t str),
    Query,
    Document,
}

/// The parts of a template with `{query}` and `{document}`.
fn split_template(template: &str) -> Vec<Slot<'_>> {
    let (mut parts, mut rest) = (Vec::new(), template);
    while !rest.is_empty() {
        let found = ["{query}", "{document}"].into_iter().filter_map(|name| Some((rest.find(name)?, name))).min();
        let Some((at, name)) = found else {
            parts.push(Slot::Text(rest));
            break;
        };
        if at > 0 {
            parts.push(Slot::Text(&rest[..at]));
        }
        parts.push(if name == "{query}" { Slot::Query } else { Slot::Document });
        rest = &rest[at + name.len()..];
    }
    parts
}

/// An embedder that several callers share: text by text, first come, first served.
pub struct SharedEmbedder {
    turns: Turns,
    embedder: Mutex<Embedder>,
}

impl SharedEmbedder {
    /// Shares `embedder`.
    pub fn new(embedder: Embedder) -> Self {
        Self { turns: Turns::default(), embedder: Mutex::new(embedder) }
    }

    /// Does `work` with it, when those who came before have done theirs.
    pub fn with<R>(&self, work: impl FnOnce(&mut Embedder) -> R) -> R {
        let _turn = self.turns.take();
        work(&mut self.embedder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

crate::text::opaque!(SharedEmbedder);

/// `vector` with length 1; zeros stay.
pub fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

crate::text::opaque!(Embedder);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn templates_are_cut_at_their_slots() {
        let parts = split_template("<q>{query}</q>{document}");
        assert_eq!(parts, [Slot::Text("<q>"), Slot::Query, Slot::Text("</q>"), Slot::Document]);
        assert_eq!(split_template("plain"), [Slot::Text("plain")]);
    }

    #[test]
    fn templates_and_what_stands_in_them_are_one_text() {
        let writer = crate::testing::vocabulary(crate::testing::Writer::new("llama"));
        let gguf = crate::gguf::Gguf::from_bytes(std::path::Path::new("pairs"), &writer.bytes()).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let texts = |template: &str, query: &str| {
            let tokens = filled(&tokenizer, template, query, "d");
            tokens.iter().map(|&id| tokenizer.token_text(id).unwrap().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts("<|begin|>t{query}<|end|>{document}", "he"), ["<|begin|>", "the", "<|end|>", "d"]);
        let typed = texts("t{query}", "<|end|>");
        assert!(!typed.contains(&"<|end|>".to_owned()), "{typed:?}");
    }

    #[test]
    fn normalized_vectors_have_length_1_and_zeros_stay() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zeros = [0.0; 2];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }
}
