//! The steps of RWKV-6 (arXiv 2404.05892) and RWKV-7 (arXiv 2503.14456): a matrix per head, `[k][v]`.

use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Simd, load_padded, store_partial};

/// What a position brings to the state of one head; all of length `k` but `v`.
#[derive(Clone, Copy, Debug)]
pub struct WkvStep<'a> {
    /// Receptance: what reads the state.
    pub r: &'a [f32],
    /// Factor of each row of the state.
    pub decay: &'a [f32],
    /// Key.
    pub k: &'a [f32],
    /// Value.
    pub v: &'a [f32],
}

impl WkvStep<'_> {
    fn check(&self, state: &[f32], out: &[f32]) {
        let (k, v) = (self.k.len(), self.v.len());
        assert_eq!((self.r.len(), self.decay.len(), out.len(), state.len()), (k, k, v, k * v), "a step of RWKV");
    }
}

/// One position of RWKV-6: `out = sum_i r_i (S_i + bonus_i k_i v)`, then `S_i = S_i decay_i + k_i v`.
///
/// # Panics
/// If the lengths differ.
pub fn wkv6_step(isa: Isa, state: &mut [f32], step: &WkvStep<'_>, bonus: &[f32], out: &mut [f32]) {
    step.check(state, out);
    assert_eq!(bonus.len(), step.k.len(), "wkv6_step: bonus");
    dispatch(isa, Wkv6 { state, step, bonus, out });
}

struct Wkv6<'a, 'b> {
    state: &'a mut [f32],
    step: &'a WkvStep<'b>,
    bonus: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Wkv6<'_, '_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let WkvStep { r, decay, k, v } = *self.step;
        self.out.fill(0.0);
        for (i, row) in self.state.chunks_exact_mut(v.len().max(1)).enumerate() {
            let (key, seen) = (s.splat(k[i]), s.splat(k[i] * self.bonus[i]));
            let columns = v.chunks(LANES).zip(self.out.chunks_mut(LANES));
            for (state, (v, out)) in row.chunks_mut(LANES).zip(columns) {
                let (old, v) = (load_padded(s, state, 0.0), load_padded(s, v, 0.0));
                let read = s.fma(v, seen, old);
                store_partial(s, s.fma(read, s.splat(r[i]), load_padded(s, out, 0.0)), out);
                store_partial(s, s.fma(v, key, s.mul(old, s.splat(decay[i]))), state);
            }
        }
    }
}

/// One position of RWKV-7: with `a = -sum_i S_i removal_i`, `S_i = S_i decay_i + k_i v + rate_i a`, and
/// `out = sum_i r_i S_i`. `scratch` has the length of `v`.
///
/// # Panics
/// If the lengths differ.
pub fn wkv7_step(
    isa: Isa,
    state: &mut [f32],
    step: &WkvStep<'_>,
    (removal, rate): (&[f32], &[f32]),
    scratch: &mut [f32],
    out: &mut [f32],
) {
    step.check(state, out);
    assert_eq!((removal.len(), rate.len(), scratch.len()), (step.k.len(), step.k.len(), out.len()), "wkv7_step");
    dispatch(isa, Wkv7 { state, step, removal, rate, scratch, out });
}

struct Wkv7<'a, 'b> {
    state: &'a mut [f32],
    step: &'a WkvStep<'b>,
    removal: &'a [f32],
    rate: &'a [f32],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Wkv7<'_, '_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let WkvStep { r, decay, k, v } = *self.step;
        self.scratch.fill(0.0);
        for (row, removal) in self.state.chunks_exact(v.len().max(1)).zip(self.removal) {
            for (state, sum) in row.chunks(LANES).zip(self.scratch.chunks_mut(LANES)) {
                let read = s.fma(load_padded(s, state, 0.0), s.splat(-removal), load_padded(s, sum, 0.0));
                store_partial(s, read, sum);
            }
        }
        self.out.fill(0.0);
        for (i, row) in self.state.chunks_exact_mut(v.len().max(1)).enumerate() {
            let columns = v.chunks(LANES).zip(self.scratch.chunks(LANES)).zip(self.out.chunks_mut(LANES));
            for (state, ((v, removed), out)) in row.chunks_mut(LANES).zip(columns) {
                let kept = s.mul(load_padded(s, state, 0.0), s.splat(decay[i]));
                let written = s.fma(load_padded(s, v, 0.0), s.splat(k[i]), kept);
                let next = s.fma(load_padded(s, removed, 0.0), s.splat(self.rate[i]), written);
                store_partial(s, next, state);
                store_partial(s, s.fma(next, s.splat(r[i]), load_padded(s, out, 0.0)), out);
            }
        }
    }
}
