//! From token ids to logits: one function for prefill and decode, any number of tokens of any number of sequences.
//!
//! Per layer: norm, q/k/v, RoPE, append to the cache, attend, output, residual, norm, feed-forward or experts, residual.
//! A branch's output is added to the stream together with the next norm, so that a layer is a handful of phases.

mod ahead;
mod attention;
mod expanded;
mod ffn;
mod latent;
mod moe;
mod product;
mod rope;
mod scratch;

pub use scratch::Scratch;

/// Tokens of one prefill pass: enough to reuse each unpacked weight, few enough that activations stay in the caches.
pub const DEFAULT_BATCH: usize = 512;

use crate::arch::Skip;
use crate::kv::{CacheShape, KvCache};
use crate::model::{FfnWeights, Model, Qkv, Stack};
use crate::parallel::Pool;
use crate::{Error, Result};
use product::Product;
use rope::Angles;
use scratch::sized;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokki_quant::activation::{ActKinds, Activations};
use tokki_quant::isa::Isa;
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
pub struct Setting<'a> {
    /// The model.
    pub model: &'a Model,
    /// The threads.
    pub pool: &'a Pool,
    /// Context of the session (models with two sets of rotary factors choose by it).
    pub context: usize,
    /// Bytes of weights that are asked for ahead of their use, for models larger than memory; 0 = none.
    pub read_ahead: usize,
    /// Whether latent attention expands keys and values in passes of several tokens.
    pub expand_latents: bool,
    /// Set by whoever wants the pass to end early; looked at before each layer.
    pub cancel: &'a AtomicBool,
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

/// Where the rows of a span lie in the pass.
#[derive(Clone, Copy)]
struct Place {
    /// Row of its first token.
    row: usize,
    /// How many tokens.
    n: usize,
    /// Position of the first in its sequence.
    from: usize,
}

/// One pass: what its steps read.
struct Pass<'a> {
    model: &'a Model,
    lead: &'a Lead<'a>,
    isa: Isa,
    /// Rows of the pass: tokens of all its spans.
    n: usize,
    places: &'a [Place],
    shape: &'a CacheShape,
    angles: &'a [Angles],
    /// Bytes of weights that are asked for ahead of their use.
    read_ahead: usize,
    /// Whether latent attention expands keys and values in this pass.
    expand_latents: bool,
}

/// Runs the tokens of all spans at the positions after their caches' valid ones, appends them to the caches, and returns
/// the logits that were asked for, `[rows][vocab]` in the order of the spans. A span's results do not depend on the others.
///
/// # Errors
/// [`Error::Interrupted`] when `cancel` was set (the caches then hold no more than before), [`Error::Input`] for a token
/// id outside the vocabulary, [`Error::Failed`] when there is no memory for the caches.
///
/// [`Error::Failed`]: crate::Error
pub fn forward<'s>(setting: &Setting<'_>, scratch: &'s mut Scratch, spans: &mut [Span<'_>]) -> Result<&'s [f32]> {
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
    let positions = places.iter().flat_map(|place| place.from..place.from + place.n);
    let angles = rope::angles(model, setting.context, positions);
    scratch.workers.resize_with(setting.pool.threads(), Default::default);
    let done = setting.pool.run(|lead| {
        let expand_latents = setting.expand_latents && places.len() == 1 && n > attention::FEW_TOKENS;
        let (isa, read_ahead) = (setting.pool.isa(), setting.read_ahead);
        let (places, shape, angles) = (&places[..], &*shape, &angles[..]);
        let pass = Pass { model, lead, isa, n, places, shape, angles, read_ahead, expand_latents };
        pass.embed(scratch, &tokens);
        for layer in 0..model.layers.len() {
            if setting.cancel.load(Ordering::Relaxed) {
                return false;
            }
            pass.layer(scratch, &mut caches, layer);
        }
        pass.logits(scratch, &wanted);
        true
    });
    if !done {
        return Err(Error::Interrupted);
    }
    places.iter().zip(caches).for_each(|(place, cache)| cache.advance(place.n));
    Ok(&scratch.logits[..wanted.len() * vocab])
}

/// Where the spans' rows lie, and which rows need logits.
fn place(spans: &[Span<'_>]) -> (Vec<Place>, Vec<usize>) {
    let (mut places, mut wanted, mut row) = (Vec::with_capacity(spans.len()), Vec::new(), 0);
    for span in spans {
        let n = span.tokens.len();
        places.push(Place { row, n, from: span.cache.len() });
        wanted.extend(match span.want {
            Want::Nothing => row..row,
            Want::Last => row + n.saturating_sub(1)..row + n,
            Want::All => row..row + n,
        });
        row += n;
    }
    (places, wanted)
}

/// What the residual stream still misses: `scale * norm(branch)`.
struct Pending<'a> {
    norm: Option<&'a [f32]>,
    scale: f32,
}

impl<'a> Pass<'a> {
    /// The stream begins as the tokens' embeddings.
    fn embed(&self, s: &mut Scratch, tokens: &[u32]) {
        let (e, scale) = (self.model.spec.embd, self.model.spec.embed_scale);
        let matrix = self.model.embed.matrix(0);
        let rows = Chunks::new(sized(&mut s.x, self.n * e), e);
        self.lead.phase(self.n, &|_, t| {
            let row = rows.take(t);
            matrix.decode_row(tokens[t] as usize, row);
            if scale != 1.0 {
                ops::scale(self.isa, row, scale);
            }
        });
    }

    fn layer(&self, s: &mut Scratch, caches: &mut [&mut KvCache], index: usize) {
        let (layer, w) = (&self.model.spec.layers[index], &self.model.layers[index]);
        self.skip(s, &layer.skips);
        match &w.qkv {
            Qkv::Heads { q, k, v } => {
                self.enter(s, None, w.attn_norm.as_deref(), product::kinds([q, k, v]));
                self.heads(s, caches, index);
            }
            Qkv::Latent(latent) => {
                let first = latent.q_a.as_ref().map_or(&latent.q_b, |(q_a, _)| q_a);
                self.enter(s, None, w.attn_norm.as_deref(), product::kinds([first, &latent.kv_a]));
                self.latent(s, caches, index, latent);
            }
        }
        let attended = Pending { norm: w.attn_post_norm.as_deref(), scale: layer.residual_scale };
        let ffn_norm = w.ffn_norm.as_deref();
        match &w.ffn {
            FfnWeights::Dense(gated) => {
                self.enter(s, Some(attended), ffn_norm, product::kinds([&gated.gate, &gated.up]));
                self.ask_for_layer(index + 1);
                self.dense(s, &layer.ffn, gated);
            }
            FfnWeights::Experts(experts) => {
                self.enter(s, Some(attended), ffn_norm, moe::input_kinds(experts));
                self.experts(s, index, experts);
            }
        }
        self.settle(s, &Pending { norm: w.ffn_post_norm.as_deref(), scale: layer.residual_scale });
    }

    /// Adds what is pending to the stream, takes the norm of it, and quantizes that as a branch's input.
    fn enter(&self, s: &mut Scratch, pending: Option<Pending<'_>>, norm: Option<&[f32]>, kinds: ActKinds) {
        let (e, eps, isa) = (self.model.spec.embd, self.model.spec.norm_eps, self.isa);
        let xs = Chunks::new(&mut s.x[..self.n * e], e);
        let hs = Chunks::new(sized(&mut s.h, self.n * e), e);
        let branches = Chunks::new(sized(&mut s.branch, self.n * e), e);
        let input = s.input.reset(kinds, self.n, e);
        self.lead.phase(self.n, &|_, t| {
            let (x, h) = (xs.take(t), hs.take(t));
            if let Some(pending) = &pending {
                self.add(x, branches.take(t), pending);
            }
            match norm {
                Some(weight) => ops::rms_norm(isa, x, weight, eps, h),
                None => h.copy_from_slice(x),
            }
            input.write(isa, t, h);
        });
    }

    /// Adds what is pending to the stream.
    fn settle(&self, s: &mut Scratch, pending: &Pending<'_>) {
        let e = self.model.spec.embd;
        let xs = Chunks::new(&mut s.x[..self.n * e], e);
        let branches = Chunks::new(&mut s.branch[..self.n * e], e);
        self.lead.phase(self.n, &|_, t| self.add(xs.take(t), branches.take(t), pending));
    }

    fn add(&self, x: &mut [f32], branch: &mut [f32], pending: &Pending<'_>) {
        if let Some(weight) = pending.norm {
            ops::rms_norm_in_place(self.isa, branch, weight, self.model.spec.norm_eps);
        }
        if pending.scale == 1.0 {
            ops::add(self.isa, x, branch);
        } else {
            ops::add_scaled(self.isa, x, branch, pending.scale);
        }
    }

    /// Block skip connections, on the settled stream.
    fn skip(&self, s: &mut Scratch, skips: &[Skip]) {
        let len = self.n * self.model.spec.embd;
        for skip in skips {
            match *skip {
                Skip::Save(slot) => {
                    s.kept.resize_with(s.kept.len().max(slot + 1), Vec::new);
                    sized(&mut s.kept[slot], len).copy_from_slice(&s.x[..len]);
                }
                Skip::Blend { slot, weight } => {
                    let x = &mut s.x[..len];
                    ops::scale(self.isa, x, 1.0 - weight);
                    ops::add_scaled(self.isa, x, &s.kept[slot][..len], weight);
                }
            }
        }
    }

    /// One product from the quantized `input` into `out`.
    fn product(&self, weights: &Stack, input: &Activations, out: &mut [f32]) {
        product::run(self.lead, self.isa, &[Product::new((weights, 0), input, out, self.lead)]);
    }

    /// The last norm and the head, for the rows that are wanted.
    fn logits(&self, s: &mut Scratch, wanted: &[usize]) {
        let spec = &self.model.spec;
        let (rows, e, isa) = (wanted.len(), spec.embd, self.isa);
        if rows == 0 {
            return;
        }
        let hs = Chunks::new(sized(&mut s.h, rows * e), e);
        let input = s.input.reset(product::kinds([&self.model.output]), rows, e);
        self.lead.phase(rows, &|_, row| {
            let (x, h) = (&s.x[wanted[row] * e..][..e], hs.take(row));
            ops::rms_norm(isa, x, &self.model.output_norm, spec.norm_eps, h);
            input.write(isa, row, h);
        });
        drop(input);
        self.ask_for_layer(0);
        let logits = sized(&mut s.logits, rows * spec.vocab);
        self.product(&self.model.output, &s.input, logits);
        if spec.logit_scale != 1.0 {
            ops::scale(isa, logits, spec.logit_scale);
        }
        if let Some(cap) = spec.logit_softcap {
            ops::softcap(isa, logits, cap);
        }
    }
}
