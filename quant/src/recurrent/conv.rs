//! A causal convolution over few positions, each channel on its own.

use crate::isa::Isa;
use crate::isa::dispatch::dispatch;
use crate::isa::simd::{Kernel, LANES, Simd, load_padded, store_partial};

/// `out = sum over j of taps[j] * v[t - K + 1 + j]` for one position `t` of a band of channels, and the history moves on by
/// it. `taps` is `[K]` slices of a weight per channel, oldest position first; `history` the last `K - 1` inputs,
/// `[K - 1][channels]`, oldest first.
///
/// # Panics
/// If the lengths differ, or there are no taps.
pub fn conv_step(isa: Isa, taps: &[&[f32]], history: &mut [f32], input: &[f32], out: &mut [f32]) {
    let channels = input.len();
    assert!(!taps.is_empty(), "conv_step: no taps");
    assert_eq!((out.len(), history.len()), (channels, (taps.len() - 1) * channels), "conv_step: out, history");
    assert!(taps.iter().all(|tap| tap.len() == channels), "conv_step: taps");
    dispatch(isa, Conv { taps, history, input, out });
    if history.len() > channels {
        history.copy_within(channels.., 0);
    }
    if let Some(last) = history.len().checked_sub(channels) {
        history[last..].copy_from_slice(input);
    }
}

struct Conv<'a> {
    taps: &'a [&'a [f32]],
    history: &'a [f32],
    input: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Conv<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let channels = self.input.len();
        for (band, out) in self.out.chunks_mut(LANES).enumerate() {
            let at = band * LANES..(band * LANES + LANES).min(channels);
            let mut sum = s.splat(0.0);
            for (j, tap) in self.taps.iter().enumerate() {
                let x = self.history.get(j * channels..).filter(|_| j + 1 < self.taps.len()).unwrap_or(self.input);
                sum = s.fma(load_padded(s, &tap[at.clone()], 0.0), load_padded(s, &x[at.clone()], 0.0), sum);
            }
            store_partial(s, sum, out);
        }
    }
}
