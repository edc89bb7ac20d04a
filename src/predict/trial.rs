//! A few layers of a model, run for a moment: what the machine does with them, it will do with all.
//!
//! Layers are the model's own, with their formats, their shapes and their mapped weights; nothing is assumed of how
//! long a product, a norm or a tile of attention takes. A small model is run whole. What differs from a real run: where
//! only the header of a file is there, weights read as zeros (norms and routers are made up then, so that experts are
//! chosen as evenly as by a trained router), and the cache holds one value everywhere.

use super::measure::{affordable, beyond_caches};
use crate::arch::{End, Mixer};
use crate::forward::{PassSettings, Scratch, Span, Want, forward};
use crate::kv::{CacheShape, KvCache};
use crate::model::{FfnWeights, Model, Stack};
use crate::parallel::Pool;
use crate::{Error, Result};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tokki_quant::attention::{KvKind, TILE};
use tokki_quant::dtype::DType;

/// Weights that are run at most: twice what the last caches hold, so that they come from memory where the model's will.
const MAX_WEIGHTS: usize = 512 << 20;

/// A layer whose experts take more than this is run with the same few of them for all tokens.
const EXPERTS: u64 = 4 << 30;

/// Cache that is run.
const CACHE: usize = 256 << 20;

/// Tokens that the trial knows: its embedding has so many rows.
const TRIAL_TOKENS: usize = 512;

/// Multiply-adds of one token that are run where many tokens are: what arithmetic takes, few layers tell as well as all.
const MACS: u64 = 64 << 20;

/// How long each measurement takes at least.
const PASS_TIME: Duration = Duration::from_millis(60);

/// Some layers of a model.
pub(super) struct Trial {
    model: Model,
}

/// What is run of a model.
pub(super) struct Trials {
    /// Layers that make up [`MAX_WEIGHTS`]: how fast a token reads them.
    pub(super) reading: Trial,
    /// Some of those, of [`MACS`]: how fast many tokens are computed.
    pub(super) computing: Trial,
    /// No layer: what remains of a pass.
    pub(super) empty: Trial,
}

impl Trials {
    /// Of `model`: at least one layer each, evenly spaced.
    pub(super) fn of(model: &Model) -> Result<Self> {
        let layers: Vec<usize> = (0..model.layers.len()).collect();
        let count = layers.len().max(1) as u64;
        let bytes = layers.iter().map(|&layer| layer_bytes(model, layer)).sum::<u64>() / count;
        let macs = model.cost().layer_macs / count;
        let read = spaced(&layers, affordable(beyond_caches(2, MAX_WEIGHTS)) as u64 / bytes.max(1));
        let computed = attending(spaced(&read, MACS / macs.max(1)), &read, model);
        let with = |chosen: &[usize]| Trial::with_layers(model, chosen, bytes <= EXPERTS);
        Ok(Self { reading: with(&read)?, computing: with(&computed)?, empty: Trial::with_layers(model, &[], false)? })
    }

    /// The layers that tell what a pass of so many tokens takes.
    pub(super) fn of_pass(&self, tokens: usize) -> &Trial {
        if tokens == 1 { &self.reading } else { &self.computing }
    }
}

/// So many of `layers`, at least one and no more than there are, evenly spaced.
fn spaced(layers: &[usize], count: u64) -> Vec<usize> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).clamp(1, layers.len().max(1));
    (0..count).filter_map(|i| layers.get((2 * i + 1) * layers.len() / (2 * count)).copied()).collect()
}

/// `chosen`, one of them changed for a layer of `all` with attention where none has any: positions cost nothing in others.
fn attending(mut chosen: Vec<usize>, all: &[usize], model: &Model) -> Vec<usize> {
    let attends = |&layer: &usize| model.spec.layers[layer].attention().is_some();
    if let (false, Some(&layer), Some(last)) =
        (chosen.iter().any(attends), all.iter().rev().find(|layer| attends(layer)), chosen.last_mut())
    {
        *last = layer;
    }
    chosen
}

impl Trial {
    fn with_layers(model: &Model, chosen: &[usize], spread: bool) -> Result<Self> {
        let mut spec = model.spec.clone();
        spec.layers = chosen.iter().map(|&i| model.spec.layers[i].clone()).collect();
        // A stream that was kept by a layer which is left out cannot be blended in again; it costs next to nothing.
        spec.layers.iter_mut().for_each(|layer| layer.skips.clear());
        spec.layers.iter_mut().for_each(|layer| layer.ends.retain(|end| *end != End::PerLayer));
        // Neither can the keys and values of one: each layer on its own takes as long.
        for (own, mixer) in spec.layers.iter_mut().flat_map(|layer| layer.mixers.iter_mut().enumerate()) {
            if let (0, Mixer::Attention(attn)) = (own, mixer) {
                attn.kv_of = attn.kv_of.filter(|_| chosen.len() == model.layers.len());
            }
        }
        let mut layers: Vec<_> = chosen.iter().map(|&i| model.layers[i].clone()).collect();
        spec.streams = None;
        layers.iter_mut().for_each(|layer| layer.streams = None);
        for layer in &mut layers {
            let norms = [&mut layer.attn_norm];
            norms.into_iter().flatten().for_each(|norm| ones(&mut norm.weight));
            for feed in &mut layer.feeds {
                feed.norm.iter_mut().for_each(|norm| ones(&mut norm.weight));
                let FfnWeights::Experts(experts) = &mut feed.ffn else { continue };
                let (rows, cols) = (experts.router.rows(), experts.router.cols());
                experts.router = noise(rows, cols, if spread { 1.0 } else { 0.0 })?;
            }
        }
        let model = Model {
            embed: noise(TRIAL_TOKENS.min(spec.vocab), spec.embd, 1.0)?,
            positions: None,
            token_types: Vec::new(),
            second: None,
            embed_norm: None,
            per_layer: None,
            streams: None,
            classifier: None,
            projections: Vec::new(),
            gguf: model.gguf.clone(),
            layers,
            output_norm: model.output_norm.clone(),
            output: model.output.clone(),
            // Divisors that read as zeros would make angles of no number.
            rope_factors: vec![Default::default(); model.rope_factors.len()],
            spec,
        };
        Ok(Self { model })
    }

    /// The layers.
    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Positions that a cache of acceptable size holds, whole tiles of them, up to `most`.
    pub(super) fn depth(&self, kind: KvKind, most: usize) -> usize {
        let page = CacheShape::new(&self.model.spec, kind).page_bytes().max(1);
        (affordable(CACHE) / page * TILE).clamp(TILE, most.max(TILE))
    }

    /// Seconds that one token takes longer after `depth` positions than after none.
    pub(super) fn attends(&self, pool: &Pool, kind: KvKind, depth: usize) -> Result<f64> {
        Ok((self.once(pool, kind, 1, depth)? - self.once(pool, kind, 1, 0)?).max(0.0))
    }

    /// Seconds of one pass, the second of two.
    fn once(&self, pool: &Pool, kind: KvKind, n: usize, depth: usize) -> Result<f64> {
        let mut cache = filled(&self.model, kind, depth)?;
        let mut scratch = Scratch::default();
        let cancel = AtomicBool::new(false);
        let setting = PassSettings::new(&self.model, pool, &cancel);
        let tokens = vec![0; n];
        let mut seconds = 0.0;
        for _ in 0..2 {
            let start = Instant::now();
            let span = Span { cache: &mut cache, tokens: &tokens, want: Want::Last };
            forward(&setting, &mut scratch, &mut [span])?;
            seconds = start.elapsed().as_secs_f64();
        }
        Ok(seconds)
    }

    /// Seconds of a pass of `n` tokens after `depth` positions, a multiple of [`TILE`]: the least of several, as what other
    /// programs take of the time is no part of what the model needs.
    pub(super) fn seconds(&self, pool: &Pool, kind: KvKind, n: usize, depth: usize) -> Result<f64> {
        /// Tokens after which the cache is shortened again: one more takes a new page seldom, as in an answer.
        const ROUND: usize = 8;
        /// A first pass of many tokens that takes longer hardly feels caches that are cold. That of one may wait for a disk.
        const LONG: f64 = 0.25;
        let mut cache = filled(&self.model, kind, depth)?;
        let mut scratch = Scratch::default();
        let cancel = AtomicBool::new(false);
        let setting = PassSettings::new(&self.model, pool, &cancel);
        let vocab = self.model.spec.vocab.min(TRIAL_TOKENS);
        let tokens: Vec<u32> = (0..n).map(|i| ((i * 79 + 13) % vocab) as u32).collect();
        let mut pass = || -> Result<f64> {
            let start = Instant::now();
            let span = Span { cache: &mut cache, tokens: &tokens, want: Want::Last };
            forward(&setting, &mut scratch, &mut [span])?;
            let seconds = start.elapsed().as_secs_f64();
            if cache.len() >= depth + ROUND {
                cache.truncate(depth);
            }
            Ok(seconds)
        };
        let first = pass()?;
        if n > 1 && first >= LONG {
            return Ok(first);
        }
        let (start, mut least) = (Instant::now(), pass()?);
        while start.elapsed() < PASS_TIME {
            least = least.min(pass()?);
        }
        Ok(least)
    }
}

fn layer_bytes(model: &Model, layer: usize) -> u64 {
    let of = |(stack, _): (&Stack, usize)| stack.matrix_bytes() as u64 * stack.count() as u64;
    model.layer_products(layer).into_iter().map(of).sum()
}

/// A norm of a file that is not there.
fn ones(norm: &mut [f32]) {
    if norm.iter().all(|&value| value == 0.0) {
        norm.fill(1.0);
    }
}

/// Numbers in `-scale..scale` without a pattern.
fn noise(rows: usize, cols: usize, scale: f32) -> Result<Stack> {
    let value = |i: usize| {
        let bits = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        scale * (bits as f32 / (1u64 << 23) as f32 - 1.0)
    };
    let bytes = (0..rows * cols).flat_map(|i| value(i).to_le_bytes()).collect();
    Stack::owned(DType::F32, bytes, 1, rows, cols)
}

/// A cache that holds `depth` positions.
fn filled(model: &Model, kind: KvKind, depth: usize) -> Result<KvCache> {
    let shape = CacheShape::new(&model.spec, kind);
    // Ordinary numbers in every kind, written so that the pages are real memory.
    let pages = (0..depth / TILE).map(|_| vec![0x11; shape.page_bytes()].into_boxed_slice()).collect();
    let far = shape.is_far(depth);
    KvCache::from_pages(shape, pages, depth, far).ok_or_else(|| Error::failed("the trial", "pages of another size"))
}
