//! Selective state spaces: `s = s * decay + b * (x * dt)`, `y = s . c` for each channel.

use crate::elementary;
use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Simd, load_padded, store_partial};

/// One position of one head of Mamba-2 (arXiv 2405.21060): all channels `x` share a `decay`, `b` and `c`. `state` is
/// `[channels][n]`, `out` gets `s . c` of each channel.
///
/// # Panics
/// If the lengths differ.
pub fn scan_head(
    isa: Isa,
    state: &mut [f32],
    (decay, dt): (f32, f32),
    (b, c): (&[f32], &[f32]),
    x: &[f32],
    out: &mut [f32],
) {
    assert_eq!((b.len(), x.len(), state.len()), (c.len(), out.len(), x.len() * b.len()), "scan_head");
    dispatch(isa, Head { state, decay, dt, b, c, x, out });
}

struct Head<'a> {
    state: &'a mut [f32],
    decay: f32,
    dt: f32,
    b: &'a [f32],
    c: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (decay, n) = (s.splat(self.decay), self.b.len());
        for (i, (x, out)) in self.x.iter().zip(self.out).enumerate() {
            let state = &mut self.state[i * n..][..n];
            let input = s.splat(x * self.dt);
            let mut sums = s.splat(0.0);
            for ((state, b), c) in state.chunks_mut(LANES).zip(self.b.chunks(LANES)).zip(self.c.chunks(LANES)) {
                let kept = s.mul(load_padded(s, state, 0.0), decay);
                let next = s.fma(load_padded(s, b, 0.0), input, kept);
                store_partial(s, next, state);
                sums = s.fma(next, load_padded(s, c, 0.0), sums);
            }
            *out = s.sum(sums);
        }
    }
}

/// One position of one channel of the first Mamba (arXiv 2312.00752): a decay `e^(dt * a)` per value of the state. Returns
/// `s . c`.
///
/// # Panics
/// If the lengths differ.
pub fn scan_channel(isa: Isa, state: &mut [f32], a: &[f32], (b, c): (&[f32], &[f32]), x: f32, dt: f32) -> f32 {
    assert_eq!((state.len(), a.len(), b.len()), (a.len(), b.len(), c.len()), "scan_channel");
    dispatch(isa, Channel { state, a, b, c, x, dt })
}

struct Channel<'a> {
    state: &'a mut [f32],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    x: f32,
    dt: f32,
}

impl Kernel for Channel<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (input, dt) = (s.splat(self.x * self.dt), s.splat(self.dt));
        let mut sums = s.splat(0.0);
        let inputs = self.a.chunks(LANES).zip(self.b.chunks(LANES).zip(self.c.chunks(LANES)));
        for (state, (a, (b, c))) in self.state.chunks_mut(LANES).zip(inputs) {
            let decay = elementary::exp(s, s.mul(load_padded(s, a, 0.0), dt));
            let kept = s.mul(load_padded(s, state, 0.0), decay);
            let next = s.fma(load_padded(s, b, 0.0), input, kept);
            store_partial(s, next, state);
            sums = s.fma(next, load_padded(s, c, 0.0), sums);
        }
        s.sum(sums)
    }
}
