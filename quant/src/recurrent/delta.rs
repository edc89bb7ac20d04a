//! Linear attention: a matrix per head that each position decays, corrects and reads.

use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Simd, load_padded, store_partial};

/// What a position brings to the state of one head.
#[derive(Clone, Copy, Debug)]
pub struct DeltaStep<'a> {
    /// Factors of the state's rows: one for all, or one each.
    pub decay: &'a [f32],
    /// `[k]`.
    pub q: &'a [f32],
    /// `[k]`.
    pub k: &'a [f32],
    /// `[v]`.
    pub v: &'a [f32],
    /// How much of the difference is written.
    pub beta: f32,
}

/// One position of the gated delta rule (arXiv 2412.06464): `S *= decay; S += k ((v - S^T k) beta)^T; out = S^T q`, with the
/// state `S` as `[k][v]`. `scratch` has the length of `v`.
///
/// # Panics
/// If the lengths differ.
pub fn delta_step(isa: Isa, state: &mut [f32], step: &DeltaStep<'_>, scratch: &mut [f32], out: &mut [f32]) {
    check(state, step, out);
    assert_eq!(scratch.len(), out.len(), "delta_step: scratch");
    dispatch(isa, Delta { state, step, scratch, out, correct: true });
}

/// One position of linear attention with a decay: `S = S * decay + k v^T`, `out = S^T q`; `beta` is of no interest.
///
/// # Panics
/// If the lengths differ.
pub fn lightning_step(isa: Isa, state: &mut [f32], step: &DeltaStep<'_>, scratch: &mut [f32], out: &mut [f32]) {
    check(state, step, out);
    assert_eq!(scratch.len(), out.len(), "lightning_step: scratch");
    dispatch(isa, Delta { state, step, scratch, out, correct: false });
}

fn check(state: &[f32], step: &DeltaStep<'_>, out: &[f32]) {
    let (k, v) = (step.k.len(), step.v.len());
    assert_eq!((step.q.len(), out.len(), state.len()), (k, v, k * v), "a step of a delta rule");
    assert!(step.decay.len() == 1 || step.decay.len() == k, "one decay, or one per row");
}

struct Delta<'a, 'b> {
    state: &'a mut [f32],
    step: &'a DeltaStep<'b>,
    scratch: &'a mut [f32],
    out: &'a mut [f32],
    correct: bool,
}

impl Delta<'_, '_> {
    /// The rows of the state with their decays.
    #[inline(always)]
    fn decay(decays: &[f32], row: usize) -> f32 {
        if decays.len() == 1 { decays[0] } else { decays[row] }
    }
}

impl Kernel for Delta<'_, '_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let step = self.step;
        // Of no values there are no rows.
        let len = step.v.len().max(1);
        if self.correct {
            // What the state holds for the key, then what is missing.
            self.scratch.fill(0.0);
            for (row, (state, k)) in self.state.chunks_exact_mut(len).zip(step.k).enumerate() {
                let decay = s.splat(Self::decay(step.decay, row));
                for (state, held) in state.chunks_mut(LANES).zip(self.scratch.chunks_mut(LANES)) {
                    let kept = s.mul(load_padded(s, state, 0.0), decay);
                    store_partial(s, kept, state);
                    store_partial(s, s.fma(kept, s.splat(*k), load_padded(s, held, 0.0)), held);
                }
            }
            for (held, v) in self.scratch.chunks_mut(LANES).zip(step.v.chunks(LANES)) {
                let missing = s.sub(load_padded(s, v, 0.0), load_padded(s, held, 0.0));
                store_partial(s, s.mul(missing, s.splat(step.beta)), held);
            }
        } else {
            self.scratch.copy_from_slice(step.v);
        }
        self.out.fill(0.0);
        for (row, (state, (k, q))) in self.state.chunks_exact_mut(len).zip(step.k.iter().zip(step.q)).enumerate() {
            let decay = s.splat(if self.correct { 1.0 } else { Self::decay(step.decay, row) });
            let columns = self.scratch.chunks(LANES).zip(self.out.chunks_mut(LANES));
            for (state, (new, out)) in state.chunks_mut(LANES).zip(columns) {
                let mut kept = load_padded(s, state, 0.0);
                if !self.correct {
                    kept = s.mul(kept, decay);
                }
                let next = s.fma(load_padded(s, new, 0.0), s.splat(*k), kept);
                store_partial(s, next, state);
                store_partial(s, s.fma(next, s.splat(*q), load_padded(s, out, 0.0)), out);
            }
        }
    }
}
