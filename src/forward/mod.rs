//! From token ids to logits: one function for prefill and decode, any number of tokens of any number of sequences.
//!
//! Per layer: norm, q/k/v, RoPE, append to the cache, attend, output, residual, norm, feed-forward or experts, residual.
//! A branch's output is added to the stream together with the next norm, so that a layer is a handful of phases.

mod activation;
mod ahead;
mod embed;
mod ffn;
mod layer;
mod mixer;
mod moe;
mod norm;
mod pass;
mod pooling;
mod product;
mod rope;
mod routing;
mod scratch;
mod streams;
mod trace;

pub use pass::Trace;
pub use pooling::pool;
#[cfg(feature = "testing")]
pub(crate) use scratch::counted_values;
pub use scratch::{Scratch, scratch_bytes};

/// Tokens of one prefill pass: enough to reuse each unpacked weight, few enough that activations stay in the caches.
pub const DEFAULT_BATCH: usize = 512;

use crate::arch::Output;
use crate::kv::KvCache;
use crate::model::Model;
use crate::parallel::Pool;
use crate::{Error, Result};
use pass::{Pass, RowPlace};
use scratch::sized;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokki_quant::matmul::FEW;
use tokki_quant::ops;
use tokki_quant::share::Chunks;
use tokki_quant::team::Lead;

/// Which tokens of a pass need logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: the pass only fills the cache.
    Nothing,
    /// The last one.
    Last,
    /// All of them.
    All,
}

/// What stays the same for all passes of a session.
pub struct PassSettings<'a> {
    /// The model.
    pub model: &'a Model,
    /// The threads.
    pub pool: &'a Pool,
    /// Bytes of weights that are asked for ahead of their use, for models larger than memory; 0 = none.
    pub read_ahead: usize,
    /// Whether latent attention expands keys and values in passes of several tokens.
    pub expand_latents: bool,
    /// Set by the caller to end the pass early; looked at before each layer.
    pub cancel: &'a AtomicBool,
    /// Whether other users of the pool may compute between two layers: for long passes for which no user waits who waits
    /// for a next token.
    pub gives_way: bool,
    /// Told of the intermediates.
    pub trace: Option<&'a dyn Trace>,
    /// The rows asked for are the stream after the last norm, `[rows][E]`, instead of logits.
    pub vectors: bool,
    /// The position at which the second of two texts begins, for models that tell them apart; `usize::MAX` where there is
    /// one text.
    pub second_text: usize,
}

impl<'a> PassSettings<'a> {
    /// Passes that ask for logits, read nothing ahead and have no observer of the intermediates.
    pub fn new(model: &'a Model, pool: &'a Pool, cancel: &'a AtomicBool) -> Self {
        let (read_ahead, expand_latents, trace, vectors, second_text) = (0, false, None, false, usize::MAX);
        Self { model, pool, read_ahead, expand_latents, cancel, gives_way: false, trace, vectors, second_text }
    }
}

/// One sequence's part of a pass.
pub struct Span<'a> {
    /// What is cached of the sequence; the tokens are appended to it.
    pub cache: &'a mut KvCache,
    /// The tokens after the cached ones.
    pub tokens: &'a [u32],
    /// Which of them need logits.
    pub want: Want,
}

/// Runs the tokens of all spans at the positions after their caches' valid ones, appends them to the caches, and returns
/// the logits (or vectors) that were asked for, `[rows][vocab]` in the order of the spans. A span's results do not depend on the others.
///
/// # Errors
/// [`Error::Interrupted`] when `cancel` was set (the caches then hold no more than before, and less where a recurrent state
/// had to go back), [`Error::Input`] for a token
/// id outside the vocabulary, [`Error::Failed`] when there is no memory for the caches.
///
/// [`Error::Failed`]: crate::Error
pub fn forward<'s>(setting: &PassSettings<'_>, scratch: &'s mut Scratch, spans: &mut [Span<'_>]) -> Result<&'s [f32]> {
    let model = setting.model;
    let vocab = model.spec.vocab;
    let tokens: Vec<u32> = spans.iter().flat_map(|span| span.tokens).copied().collect();
    if let Some(&bad) = tokens.iter().find(|&&token| token as usize >= vocab) {
        return Err(Error::input("token", format!("an id below {vocab}"), bad.to_string()));
    }
    let n = tokens.len();
    let Some(shape) = spans.first().map(|span| Arc::clone(span.cache.shape())).filter(|_| n > 0) else {
        return Ok(&[]);
    };
    spans.iter_mut().try_for_each(|span| span.cache.reserve(span.tokens.len()))?;
    let (places, wanted) = place(spans);
    let mut caches: Vec<&mut KvCache> = spans.iter_mut().map(|span| &mut *span.cache).collect();
    let far: Vec<bool> = caches.iter().map(|cache| cache.is_far()).collect();
    let positions = places.iter().zip(&far).flat_map(|(at, &far)| (at.from..at.from + at.n).map(move |p| (p, far)));
    let angles = rope::angles(model, positions);
    scratch.workers.resize_with(setting.pool.most_threads(), Default::default);
    let mut at = At::Layer(0);
    while let At::Layer(from) = at {
        let turn = |lead: &Lead<'_>| {
            let expand_latents = setting.expand_latents && places.len() == 1 && n > mixer::FEW_TOKENS;
            let (isa, read_ahead) = (setting.pool.isa(), setting.read_ahead);
            let (places, shape, angles) = (&places[..], &*shape, &angles[..]);
            let (tokens, second_text, trace) = (&tokens[..], setting.second_text, setting.trace);
            let pass = Pass {
                model,
                lead,
                isa,
                n,
                places,
                shape,
                angles,
                read_ahead,
                expand_latents,
                tokens,
                second_text,
                trace,
            };
            pass.turn(setting, scratch, &mut caches, &wanted, from)
        };
        // Up to so many tokens, weights are read as streams.
        at = if n <= FEW { setting.pool.run_few(turn) } else { setting.pool.run(turn) };
    }
    if at == At::Cancelled {
        caches.into_iter().for_each(|cache| cache.spoil());
        return Err(Error::Interrupted);
    }
    places.iter().zip(caches).for_each(|(place, cache)| cache.advance(place.n));
    Ok(&scratch.logits[..wanted.len() * if setting.vectors { model.spec.embd } else { vocab }])
}

/// How far a pass has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// It goes on with this layer.
    Layer(usize),
    End,
    Cancelled,
}

/// Where the spans' rows lie, and which rows need logits.
fn place(spans: &[Span<'_>]) -> (Vec<RowPlace>, Vec<usize>) {
    let (mut places, mut wanted, mut row) = (Vec::with_capacity(spans.len()), Vec::new(), 0);
    for span in spans {
        let n = span.tokens.len();
        places.push(RowPlace { row, n, from: span.cache.len() });
        wanted.extend(match span.want {
            Want::Nothing => row..row,
            Want::Last => row + n.saturating_sub(1)..row + n,
            Want::All => row..row + n,
        });
        row += n;
    }
    (places, wanted)
}

impl Pass<'_> {
    /// The pass from layer `from` on, to its end or to where it gives way.
    fn turn(
        &self,
        setting: &PassSettings<'_>,
        scratch: &mut Scratch,
        caches: &mut [&mut KvCache],
        wanted: &[usize],
        from: usize,
    ) -> At {
        if from == 0 {
            self.embed(scratch);
            self.tell_rows("inp_embd", self.n, self.model.spec.embd, &scratch.x);
        }
        for layer in from..self.model.layers.len() {
            if setting.cancel.load(Ordering::Relaxed) {
                return At::Cancelled;
            }
            // At least one layer each time: no user waits for ever.
            if layer > from && setting.gives_way && setting.pool.is_wanted() {
                return At::Layer(layer);
            }
            self.layer(scratch, caches, layer);
        }
        self.join_streams(scratch);
        self.output(scratch, wanted, setting.vectors);
        At::End
    }

    /// The last norm and the head, for the rows that are wanted.
    fn output(&self, s: &mut Scratch, wanted: &[usize], vectors: bool) {
        let spec = &self.model.spec;
        let (rows, e, isa) = (wanted.len(), spec.embd, self.isa);
        if rows == 0 {
            return;
        }
        let norm = self.model.output_norm.as_ref();
        if vectors {
            let out = Chunks::new(sized(&mut s.logits, rows * e), e);
            self.lead.phase(rows, &|_, row| norm::apply(isa, norm, &s.x[wanted[row] * e..][..e], out.take(row)));
            return;
        }
        let hs = Chunks::new(sized(&mut s.h, rows * e), e);
        let input = s.input.reset(product::kinds([&self.model.output]), rows, e);
        self.lead.phase(rows, &|_, row| {
            let h = hs.take(row);
            norm::apply(isa, norm, &s.x[wanted[row] * e..][..e], h);
            input.write(isa, row, h);
        });
        drop(input);
        self.tell_rows("result_norm", rows, e, &s.h);
        self.read_layer_ahead(0);
        let logits = sized(&mut s.logits, rows * spec.vocab);
        self.product(&self.model.output, &s.input, logits);
        if let Output::Logits { scale, softcap, .. } = spec.output {
            if scale != 1.0 {
                ops::scale(isa, logits, scale);
            }
            if let Some(cap) = softcap {
                ops::softcap(isa, logits, cap);
            }
        }
        self.tell_rows("result_output", rows, spec.vocab, &s.logits);
    }
}

crate::text::opaque!(PassSettings<'_>, Span<'_>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::gguf::Gguf;
    use crate::kv::CacheShape;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Lets another user ask for the pool while the first layer is computed, and looks at the end of the second whether
    /// that one has had it.
    struct Other {
        pool: Arc<Pool>,
        had: Arc<AtomicBool>,
        seen: AtomicBool,
    }

    impl Trace for Other {
        fn values(&self, name: &str, _: usize, _: &[f32]) {
            match name {
                "l_out-0" => {
                    let (pool, had) = (Arc::clone(&self.pool), Arc::clone(&self.had));
                    std::thread::spawn(move || pool.run(|_| had.store(true, Ordering::SeqCst)));
                    while !self.pool.is_wanted() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                "l_out-1" => self.seen.store(self.had.load(Ordering::SeqCst), Ordering::SeqCst),
                _ => {}
            }
        }
    }

    #[test]
    fn a_pass_that_gives_way_lets_others_compute_between_its_layers_and_has_the_same_bits() {
        let bytes = crate::testing::tiny("llama", 1).unwrap().bytes();
        let model = Model::from_gguf(Gguf::from_bytes(std::path::Path::new("tiny"), &bytes).unwrap()).unwrap();
        let pool = Arc::new(Pool::new(2).unwrap());
        let logits = |gives_way: bool| {
            let other = Other { pool: Arc::clone(&pool), had: Arc::default(), seen: AtomicBool::default() };
            let never = AtomicBool::new(false);
            let setting = PassSettings { gives_way, trace: Some(&other), ..PassSettings::new(&model, &pool, &never) };
            let mut cache = KvCache::new(Arc::new(CacheShape::new(&model.spec, tokki_quant::attention::KvKind::F16)));
            let span = Span { cache: &mut cache, tokens: &[5, 6, 7, 8], want: Want::All };
            let logits = forward(&setting, &mut Scratch::default(), &mut [span]).unwrap().to_vec();
            assert_eq!(other.seen.load(Ordering::SeqCst), gives_way);
            logits
        };
        let (sender, done) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send((logits(true), logits(false))));
            let (one, two) = done.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(one == two && !one.is_empty());
        });
    }
}
