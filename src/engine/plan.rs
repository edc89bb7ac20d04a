//! Will it fit, and how fast will it be: memory and speed of a model on this machine, before it runs.

use super::measure;
use crate::forward::multiply;
use crate::kv::CacheShape;
use crate::machine::Machine;
use crate::model::{Model, Stack, macs};
use crate::parallel::Pool;
use crate::units::show_bytes;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokki_quant::activation::{ActKinds, Activations};
use tokki_quant::attention::KvKind;
use tokki_quant::dtype::DType;

/// Memory that a process needs besides weights and cache: code, tokenizer, metadata.
const BASE: u64 = 48 << 20;

/// Kept free for everybody else on the machine, but an eighth of what there is at most.
const RESERVE: u64 = 256 << 20;

/// Context when none is asked for: long enough for a conversation with a thought in it.
pub const DEFAULT_CONTEXT: usize = 8192;

/// Bytes of memory that this process may take: what the system could give, within the control group's limit.
pub fn free_memory(machine: &Machine) -> u64 {
    let available = machine.memory.available;
    available - RESERVE.min(available / 8)
}

/// What a session needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Need {
    /// Positions.
    pub context: usize,
    /// Bytes of the mapped weights: pages of the file, which the system may drop and read again.
    pub weights: u64,
    /// Bytes of the cache.
    pub cache: u64,
    /// Bytes of buffers and tables.
    pub scratch: u64,
}

impl Need {
    /// Of a session of `context` positions with cache entries of `kind`, prefill in passes of `batch` tokens.
    pub fn new(model: &Model, context: usize, kind: KvKind, batch: usize) -> Self {
        let cache = CacheShape::new(&model.spec, kind).bytes(context) as u64;
        Self { context, weights: model.gguf.file_bytes(), cache, scratch: scratch(model, batch.min(context)) }
    }

    /// Bytes that can't be dropped.
    pub fn anonymous(&self) -> u64 {
        self.cache + self.scratch
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.anonymous()
    }

    /// Bytes of weights to read ahead where `free` bytes of memory don't hold all of them: enough to keep a disk busy, and
    /// only a part of what is left beside the rest, so that nothing is pushed out by what comes later.
    pub fn window(&self, free: u64) -> usize {
        const LEAST: u64 = 8 << 20;
        const MOST: u64 = 1 << 30;
        (free.saturating_sub(self.anonymous()) / 4).clamp(LEAST, MOST) as usize
    }
}

/// Bytes of a pass's buffers, by their shapes: f32 rows and their quantized copies.
fn scratch(model: &Model, batch: usize) -> u64 {
    let spec = &model.spec;
    let widest = |f: &dyn Fn(&Stack) -> usize| model.products().iter().map(|(stack, _)| f(stack)).max().unwrap_or(0);
    let (rows, cols) = (widest(&|s| s.rows()), widest(&|s| s.cols()));
    let heads = spec.layers.iter().map(|l| 2 * l.attn.heads * (l.attn.k_dim + l.attn.v_dim)).max().unwrap_or(0);
    // Stream, normed and branch; gate and up; queries to mix; quantized inputs (a byte and its share of scales).
    let per_token = 4 * (3 * spec.embd + 2 * rows + heads) + 3 * cols;
    BASE + (batch * per_token + 4 * spec.vocab) as u64 + spec.vocab as u64 * 64
}

/// What fits on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the session will need.
    pub need: Need,
    /// One line for the user, where the choice isn't simply what was asked for or expected.
    pub remark: Option<String>,
}

/// Chooses the context: `wanted`, or else the default as far as the model was trained and memory allows.
///
/// # Errors
/// [`Error::Input`] with the numbers when not even a small context fits: nothing is started that would be killed.
pub fn choose(model: &Model, kind: KvKind, batch: usize, wanted: Option<usize>, free: u64) -> Result<Choice> {
    /// Less than this is of no use.
    const LEAST: usize = 512;
    let trained = model.spec.context_train.max(1);
    let mut context = wanted.unwrap_or_else(|| trained.min(DEFAULT_CONTEXT));
    let mut need = Need::new(model, context, kind, batch);
    let mut remark = None;
    if need.anonymous() > free {
        let least = Need::new(model, LEAST.min(context), kind, batch);
        if wanted.is_some() || least.anonymous() > free {
            return Err(too_large(&need, kind, free));
        }
        while need.anonymous() > free {
            context = (context * 3 / 4).max(LEAST);
            need = Need::new(model, context, kind, batch);
        }
        remark = Some(format!("context {context}: more does not fit into the {} that are free", show_bytes(free)));
    }
    if wanted.is_some_and(|wanted| wanted > trained) {
        remark = Some(format!("context {context} is more than the {trained} that the model was trained for"));
    }
    if need.total() > free {
        remark = Some(format!(
            "weights ({}) and cache ({}) exceed the {} that are free: weights will be read from disk again and again",
            show_bytes(need.weights),
            show_bytes(need.cache),
            show_bytes(free)
        ));
    }
    Ok(Choice { need, remark })
}

fn too_large(need: &Need, kind: KvKind, free: u64) -> Error {
    let found = format!(
        "{} free ({} of cache at context {} in {}, {} of buffers)",
        show_bytes(free),
        show_bytes(need.cache),
        need.context,
        kind.name(),
        show_bytes(need.scratch)
    );
    let hint = if kind == KvKind::Q8 { "use a smaller --ctx" } else { "use a smaller --ctx or --kv-type q8_0" };
    Error::input("memory", format!("{} besides the weights", show_bytes(need.anonymous())), found).hint(hint)
}

/// How fast this machine does the products of a model, per format.
pub struct Speed {
    /// Seconds per byte of weights in decode, seconds per multiply-add in prefill.
    rates: BTreeMap<&'static str, (f64, f64)>,
    /// Bytes per second of reading memory.
    pub bandwidth: f64,
    /// Seconds of a phase without work.
    phase: f64,
    /// Tokens that prefill was measured with.
    batch: usize,
}

impl Speed {
    /// Measures the formats that `model` holds; takes about a second for each.
    pub fn measure(model: &Model, pool: &Pool, batch: usize) -> Result<Self> {
        let mut formats: BTreeMap<&'static str, (DType, u64)> = BTreeMap::new();
        for (stack, used) in model.products().into_iter().chain([(&model.output, 1)]) {
            let bytes = stack.matrix_bytes() as u64 * used as u64;
            formats.entry(stack.dtype().name()).or_insert((stack.dtype(), 0)).1 += bytes;
        }
        let total: u64 = formats.values().map(|(_, bytes)| bytes).sum();
        let mut rates = BTreeMap::new();
        for (name, (dtype, _)) in formats {
            rates.insert(name, rate(pool, dtype, total, model.spec.embd, batch)?);
        }
        Ok(Self { rates, bandwidth: measure::read_bandwidth(pool), phase: measure::phase(pool), batch })
    }

    /// Tokens per second of generating at `depth` cached positions.
    pub fn decode(&self, model: &Model, depth: usize, kind: KvKind) -> f64 {
        let products: f64 = model
            .products()
            .into_iter()
            .chain([(&model.output, 1)])
            .map(|(stack, used)| (stack.matrix_bytes() * used) as f64 * self.of(stack).0)
            .sum();
        let cached = CacheShape::new(&model.spec, kind).bytes(depth) as f64;
        1.0 / (products + cached / self.bandwidth + self.serial(model))
    }

    /// Tokens per second of reading a prompt of `n` tokens.
    pub fn prefill(&self, model: &Model, n: usize) -> f64 {
        let products: f64 = model
            .products()
            .into_iter()
            .map(|(stack, used)| (macs(stack) * used as u64) as f64 * self.of(stack).1)
            .sum();
        // Attention over half of the prompt on average, at a quarter of the products' rate: f32 and short rows.
        let fastest = self.rates.values().map(|rate| rate.1).fold(f64::INFINITY, f64::min);
        let keys: usize = model.spec.layers.iter().map(|l| l.attn.heads * (l.attn.k_dim + l.attn.v_dim)).sum();
        let attention = keys as f64 * n as f64 / 2.0 * fastest * 4.0;
        1.0 / (products + attention + self.serial(model) / n.min(self.batch).max(1) as f64)
    }

    fn of(&self, stack: &Stack) -> (f64, f64) {
        self.rates.get(stack.dtype().name()).copied().unwrap_or_default()
    }

    /// Phases, and the steps between them that one thread does.
    fn serial(&self, model: &Model) -> f64 {
        /// Phases of a layer.
        const PHASES: f64 = 9.0;
        /// Norms, RoPE, quantization: about so many seconds per value of a layer's rows.
        const STEP: f64 = 1.0e-9;
        let values: usize =
            model.spec.layers.iter().map(|l| 3 * l.attn.heads * l.attn.k_dim + 4 * model.spec.embd).sum();
        model.layers.len() as f64 * PHASES * self.phase + values as f64 * STEP
    }
}

/// `(seconds per byte with one token, seconds per multiply-add with `batch`)` of products in a format.
fn rate(pool: &Pool, dtype: DType, model_bytes: u64, embd: usize, batch: usize) -> Result<(f64, f64)> {
    /// As much as the model has, so that it stays in the caches where the model does; a sample of large ones.
    const MOST: u64 = 256 << 20;
    const TIME: Duration = Duration::from_millis(300);
    let cols = embd.next_multiple_of(dtype.block_len());
    let row = dtype.row_bytes(cols).unwrap_or(1);
    let rows = (measure::affordable(model_bytes.min(MOST) as usize) / row).max(16);
    // 0x11 everywhere: ordinary numbers in every format.
    let stack = Stack::owned(dtype, vec![0x11; rows * row], 1, rows, cols)?;
    let seconds = |weights: &Stack, n: usize| {
        let mut x = Activations::new();
        let input = vec![0.5; cols];
        let writer = x.reset(ActKinds::none().with(dtype.act()), n, cols);
        (0..n).for_each(|r| writer.write(pool.isa(), r, &input));
        drop(writer);
        let mut out = vec![0.0; n * weights.rows()];
        let start = Instant::now();
        let mut best = f64::INFINITY;
        while start.elapsed() < TIME {
            let once = Instant::now();
            multiply(pool, weights, &x, &mut out);
            best = best.min(once.elapsed().as_secs_f64());
        }
        best
    };
    let decode = seconds(&stack, 1) / (rows * row) as f64;
    let few = rows.min(1024);
    let panel = Stack::owned(dtype, vec![0x11; few * row], 1, few, cols)?;
    Ok((decode, seconds(&panel, batch) / (few * cols * batch) as f64))
}
