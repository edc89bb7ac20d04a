//! How fast a model will be on this machine, out of short trials of its own layers.

use super::plan::Need;
use super::trial::{Trial, Trials};
use crate::Result;
use crate::forward::DEFAULT_BATCH;
use crate::kv::CacheShape;
use crate::model::Model;
use crate::parallel::Pool;
use std::time::{Duration, Instant};
use tokki_quant::attention::{KvKind, TILE};

/// Tokens of the passes that are tried: one is decode, the last a full pass of prefill.
const PASSES: [usize; 3] = [1, 128, DEFAULT_BATCH];

/// Tokens of the pass that tells what attention costs in prefill.
const LATE: usize = 128;

/// The deepest cache that is tried.
const DEPTH: usize = 4096;

/// What this machine makes of a model.
pub struct Speed {
    model: Attended,
    /// Seconds of a pass over an empty cache, for each number of tokens in [`PASSES`].
    passes: [f64; PASSES.len()],
    /// For each kind of cache what its positions cost.
    attention: Vec<(KvKind, Attention)>,
}

/// What a position in the cache costs.
#[derive(Debug, Clone, Copy)]
struct Attention {
    /// Seconds for each byte of it that one token reads.
    decode: f64,
    /// Seconds for each multiply-add of one of many tokens with it.
    prefill: f64,
}

/// What was measured of a model on a machine, to be kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Probe {
    passes: [f64; PASSES.len()],
    /// Kind of cache, seconds a byte in decode, seconds a multiply-add in prefill.
    attention: Vec<(String, f64, f64)>,
}

/// How much of the cache each layer sees.
struct Attended {
    layers: Vec<Seen>,
}

/// What one layer sees of the cache.
struct Seen {
    /// Positions at most.
    window: usize,
    /// Multiply-adds of a token with a position.
    macs: f64,
    /// Bytes of a position in each kind of cache.
    bytes: Vec<(KvKind, f64)>,
}

impl Attended {
    fn new(model: &Model, kinds: &[KvKind]) -> Self {
        let shapes: Vec<_> = kinds.iter().map(|&kind| CacheShape::new(&model.spec, kind)).collect();
        let layer = |(i, layer): (usize, &crate::arch::Layer)| {
            let Some(a) = layer.attention() else {
                return Seen { window: 0, macs: 0.0, bytes: Vec::new() };
            };
            let of = a.kv_of.unwrap_or(i);
            let bytes = |shape: &CacheShape| (a.kv_heads * shape.layout(of).tile_bytes()) as f64 / TILE as f64;
            Seen {
                window: a.reach().unwrap_or(usize::MAX),
                macs: (a.heads * (a.k_dim + a.v_dim)) as f64,
                bytes: shapes.iter().map(|shape| (shape.kind(), bytes(shape))).collect(),
            }
        };
        Self { layers: model.spec.layers.iter().enumerate().map(layer).collect() }
    }

    /// Bytes of cache that a token after `depth` others reads.
    fn bytes(&self, depth: usize, kind: KvKind) -> f64 {
        let of = |layer: &Seen| layer.bytes.iter().find(|(k, _)| *k == kind).map_or(0.0, |(_, bytes)| *bytes);
        self.layers.iter().map(|layer| depth.min(layer.window) as f64 * of(layer)).sum()
    }

    /// Multiply-adds of a token with the `depth` positions before it.
    fn macs(&self, depth: usize) -> f64 {
        self.layers.iter().map(|layer| depth.min(layer.window) as f64 * layer.macs).sum()
    }
}

/// What the trials of one kind of cache took: of one token and of many, after `depth` others.
#[derive(Debug, Clone, Copy)]
struct Late {
    depth: usize,
    one: f64,
    many: f64,
}

/// How long all trials take, about.
const BUDGET: Duration = Duration::from_millis(2500);

/// The least that each trial took. All are made several times, one after another, as long as there is time: what disturbs
/// one of them for a while is over when its next turn comes.
struct Tried {
    /// Of no layers and of some, for each number of tokens in [`PASSES`].
    passes: [(f64, f64); PASSES.len()],
    late: Vec<Late>,
}

impl Tried {
    fn new(trials: &Trials, pool: &Pool, kinds: &[KvKind]) -> Result<Self> {
        const MAX_TURNS: usize = 2;
        let none = (f64::INFINITY, f64::INFINITY);
        let start = Instant::now();
        let late = |&kind: &KvKind| {
            let depth = Self::depth(&trials.computing, pool, kind)?.min(trials.reading.depth(kind, DEPTH));
            Ok(Late { depth, one: f64::INFINITY, many: f64::INFINITY })
        };
        let late = kinds.iter().map(late).collect::<Result<_>>()?;
        let mut tried = Self { passes: [none; PASSES.len()], late };
        for _ in 0..MAX_TURNS {
            let turn = Instant::now();
            tried.turn(trials, pool, kinds)?;
            if start.elapsed() + turn.elapsed() > BUDGET {
                break;
            }
        }
        Ok(tried)
    }

    /// Each trial once.
    fn turn(&mut self, trials: &Trials, pool: &Pool, kinds: &[KvKind]) -> Result<()> {
        /// Seconds of a pass beyond which a longer one isn't made.
        const SLOW: f64 = 0.15;
        let first = kinds.first().copied().unwrap_or(KvKind::F16);
        let mut slow = None;
        for (&n, least) in PASSES.iter().zip(&mut self.passes) {
            least.0 = least.0.min(trials.empty.seconds(pool, first, n, 0)?);
            let seconds = match slow {
                // What many tokens take, more of them take as many times.
                Some((fewer, seconds)) => seconds * n as f64 / fewer as f64,
                None => trials.of_pass(n).seconds(pool, first, n, 0)?,
            };
            least.1 = least.1.min(seconds);
            slow = slow.or((n > 1 && seconds > SLOW).then_some((n, seconds)));
        }
        for (&kind, late) in kinds.iter().zip(&mut self.late) {
            late.one = late.one.min(trials.of_pass(1).seconds(pool, kind, 1, late.depth)?);
            late.many = late.many.min(trials.of_pass(LATE).seconds(pool, kind, LATE, late.depth)?);
        }
        Ok(())
    }

    /// How deep a cache is tried: less where that would take long, by what a single token takes to attend to a few
    /// positions.
    fn depth(trial: &Trial, pool: &Pool, kind: KvKind) -> Result<usize> {
        const SHALLOW: usize = 4 * TILE;
        /// Seconds that [`LATE`] tokens may attend, if each takes as long as a single one.
        const MAX_ATTENTION_SECONDS: f64 = 0.3;
        let shallow = trial.depth(kind, SHALLOW);
        let each = trial.attends(pool, kind, shallow)? * LATE as f64 / shallow as f64;
        let depth = if each * DEPTH as f64 > MAX_ATTENTION_SECONDS {
            (MAX_ATTENTION_SECONDS / each) as usize / TILE * TILE
        } else {
            DEPTH
        };
        Ok(trial.depth(kind, depth.max(TILE)))
    }
}

/// What is tried of a model, and what of the whole that is.
struct Part {
    /// Bytes of its layers that a token reads.
    bytes: f64,
    /// Multiply-adds of its layers for a token.
    macs: f64,
    /// How many times a pass of its layers the model's layers take.
    times: f64,
    /// Which share of a pass is of layers.
    share: f64,
}

impl Part {
    /// Decode costs what its bytes take to read, prefill what its products take to do.
    fn new(model: &Model, trials: &Trials, n: usize) -> Self {
        let (all, some) = (model.cost(), trials.of_pass(n).model().cost());
        let output = model.output.matrix_bytes() as u64;
        let (bytes, macs) = ((some.bytes - output).max(1) as f64, some.layer_macs.max(1) as f64);
        let times = if n == 1 { (all.bytes - output) as f64 / bytes } else { all.layer_macs as f64 / macs };
        Self { bytes, macs, times, share: bytes / some.bytes.max(1) as f64 }
    }
}

/// Seconds that the larger of two trials took longer; at least half of what is `expected`. Beside other programs the larger
/// one can be over sooner, and what it does more would seem to cost nothing.
fn longer(larger: f64, smaller: f64, expected: f64) -> f64 {
    (larger - smaller).max(expected / 2.0)
}

/// No kind of cache costs many times what another does, byte by byte and product by product: a trial that says so was
/// disturbed.
fn even_out(attention: &mut [(KvKind, Attention)]) {
    const MAX_RATIO: f64 = 4.0;
    let least = |of: fn(&Attention) -> f64| attention.iter().map(|(_, a)| of(a)).fold(f64::INFINITY, f64::min);
    let (decode, prefill) = (least(|a| a.decode), least(|a| a.prefill));
    for (_, a) in attention {
        a.decode = a.decode.min(decode * MAX_RATIO);
        a.prefill = a.prefill.min(prefill * MAX_RATIO);
    }
}

/// The most memory that the buffers of a trial may take.
const MAX_SCRATCH: u64 = 768 << 20;

/// Whether a trial of this model costs little enough to be made just to know.
pub fn can_be_tried(model: &Model) -> bool {
    let embedding = (PASSES[2] * model.spec.embd * 4) as u64;
    Need::new(model, DEPTH, KvKind::F16, DEFAULT_BATCH).scratch.saturating_add(embedding) <= MAX_SCRATCH
}

impl Speed {
    /// Tries `model` with caches of `kinds`; takes some three seconds.
    ///
    /// # Errors
    /// Those of [`crate::forward::forward`].
    pub fn measure(model: &Model, pool: &Pool, kinds: &[KvKind]) -> Result<Self> {
        let trials = Trials::of(model)?;
        let parts = PASSES.map(|n| Part::new(model, &trials, n));
        let tried = Tried::new(&trials, pool, kinds)?;
        let layers = |i: usize| longer(tried.passes[i].1, tried.passes[i].0, tried.passes[i].1 * parts[i].share);
        let passes = std::array::from_fn(|i| tried.passes[i].0 + layers(i) * parts[i].times);
        let seen = |n: usize| Attended::new(trials.of_pass(n).model(), kinds);
        let (of_one, of_many) = (seen(1), seen(LATE));
        // A position is read about as fast as weights are, and its products are no faster than theirs.
        let (each_byte, each_mac) = (layers(0) / parts[0].bytes, layers(1) / (LATE as f64 * parts[1].macs));
        let late = |(&kind, &Late { depth, one, many }): (&KvKind, &Late)| {
            let (bytes, macs) = (of_one.bytes(depth, kind).max(1.0), (LATE as f64 * of_many.macs(depth)).max(1.0));
            let decode = longer(one, tried.passes[0].1, bytes * each_byte) / bytes;
            let prefill = longer(many, tried.passes[1].1, macs * each_mac) / macs;
            (kind, Attention { decode, prefill })
        };
        let mut attention: Vec<_> = kinds.iter().zip(&tried.late).map(late).collect();
        even_out(&mut attention);
        Ok(Self { model: Attended::new(model, kinds), passes, attention })
    }

    /// What was measured, without the model.
    pub fn probe(&self) -> Probe {
        let attention = self.attention.iter().map(|(kind, a)| (kind.name().to_owned(), a.decode, a.prefill));
        Probe { passes: self.passes, attention: attention.collect() }
    }

    /// From what was measured of the same model; `None` where that is not of all `kinds`, or is invalid.
    pub fn from_probe(model: &Model, probe: &Probe, kinds: &[KvKind]) -> Option<Self> {
        let sound = |x: f64| x.is_finite() && x >= 0.0;
        let of = |kind: &KvKind| {
            let (_, decode, prefill) = probe.attention.iter().find(|(name, ..)| name == kind.name())?;
            (sound(*decode) && sound(*prefill)).then_some((*kind, Attention { decode: *decode, prefill: *prefill }))
        };
        let attention = kinds.iter().map(of).collect::<Option<_>>()?;
        let passes = probe.passes.iter().all(|&seconds| sound(seconds) && seconds > 0.0);
        passes.then(|| Self { model: Attended::new(model, kinds), passes: probe.passes, attention })
    }

    fn attention(&self, kind: KvKind) -> Attention {
        let none = Attention { decode: 0.0, prefill: 0.0 };
        self.attention.iter().find(|(k, _)| *k == kind).map_or(none, |(_, attention)| *attention)
    }

    /// Tokens per second of generating at `depth` cached positions.
    pub fn decode(&self, depth: usize, kind: KvKind) -> f64 {
        1.0 / (self.passes[0] + self.model.bytes(depth, kind) * self.attention(kind).decode)
    }

    /// Tokens per second of reading a prompt of `n` tokens after `depth` others.
    pub fn prefill(&self, n: usize, depth: usize, kind: KvKind) -> f64 {
        let (mut seconds, mut done) = (0.0, 0);
        while done < n {
            let pass = (n - done).min(DEFAULT_BATCH);
            let late = pass as f64 * self.model.macs(depth + done) * self.attention(kind).prefill;
            seconds += self.pass(pass) + late;
            done += pass;
        }
        n as f64 / seconds
    }

    /// Seconds of a pass of `n` tokens: between those that were tried, in proportion.
    fn pass(&self, n: usize) -> f64 {
        let above = PASSES.iter().position(|&tried| tried >= n).unwrap_or(PASSES.len() - 1).max(1);
        let (a, b) = (PASSES[above - 1] as f64, PASSES[above] as f64);
        let (from, to) = (self.passes[above - 1], self.passes[above]);
        from + (to - from) * (n as f64 - a) / (b - a)
    }
}

crate::text::opaque!(Speed);

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(window: usize) -> Speed {
        let layers = [window, usize::MAX].map(|window| Seen { window, macs: 10.0, bytes: vec![(KvKind::F16, 4.0)] });
        let attention = vec![(KvKind::F16, Attention { decode: 0.001, prefill: 0.0001 })];
        Speed { model: Attended { layers: layers.into() }, passes: [1.0, 2.0, 4.0], attention }
    }

    #[test]
    fn passes_between_those_that_were_tried() {
        let speed = speed(usize::MAX);
        let passes = [1, 128, 320, 512].map(|n| speed.pass(n));
        assert_eq!(passes, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_disturbed_trial_makes_nothing_free() {
        assert_eq!([longer(3.0, 1.0, 2.0), longer(1.0, 3.0, 2.0), longer(1.0, 1.0, 2.0)], [2.0, 1.0, 1.0]);
        let of = |decode| Attention { decode, prefill: 1.0 };
        let mut attention = [(KvKind::F16, of(1.0)), (KvKind::Q8, of(80.0))];
        even_out(&mut attention);
        assert_eq!(attention.map(|(_, a)| a.decode), [1.0, 4.0]);
    }

    #[test]
    fn positions_cost_as_far_as_a_layer_sees_them() {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
        assert!(near(speed(usize::MAX).decode(1000, KvKind::F16), 1.0 / (1.0 + 8.0)));
        assert!(near(speed(500).decode(1000, KvKind::F16), 1.0 / (1.0 + 6.0)));
        // Two passes: the second after the first, and both after what is there.
        let seconds = 4.0 + 512.0 * 20.0 * 100.0 * 1e-4 + 4.0 + 512.0 * 20.0 * 612.0 * 1e-4;
        assert!(near(speed(usize::MAX).prefill(1024, 100, KvKind::F16), 1024.0 / seconds));
    }
}
