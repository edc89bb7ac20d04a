//! Short convolutions: the one that opens other mixers, and the gated one that is a mixer of its own.

use super::recurrence::States;
use crate::arch::ShortConv;
use crate::forward::pass::Pass;
use crate::forward::scratch::{Scratch, sized};
use crate::kv::KvCache;
use crate::model::{ShortConvWeights, Taps};
use std::ops::Range;
use tokki_quant::fma::fma;
use tokki_quant::recurrent::conv_step;
use tokki_quant::share::{Chunks, OutTiles};
use tokki_quant::{gates, ops};

/// Channels of one piece of work.
const CONV_CHANNELS: usize = 64;

impl Pass<'_> {
    /// A causal convolution of `x`, `[n][channels]` in rows of `stride`, into `out` of `[n][channels]`, then `silu` of it if
    /// the layer wants it. The last inputs of each sequence are kept in its state: of each band of channels in turn.
    pub(super) fn convolve(
        &self,
        caches: &mut [&mut KvCache],
        (layer, state): (usize, Range<usize>),
        taps: &Taps,
        (x, stride): (&[f32], usize),
        (out, silu): (&mut [f32], bool),
    ) {
        let channels = taps.channels;
        let positions = taps.weights.len() / channels;
        let range = state.start..state.start + (positions - 1) * channels;
        let states = States { layer, range, band: (positions - 1) * CONV_CHANNELS };
        let bands = OutTiles::new(&mut out[..self.n * channels], channels, CONV_CHANNELS);
        let begin = |_, rows: Range<usize>| {
            let taps: Vec<&[f32]> = (0..positions).map(|j| &taps.weights[j * channels..][rows.clone()]).collect();
            (taps, rows)
        };
        self.recur(caches, states, &bands, begin, |(of_band, rows), history, t, out| {
            conv_step(self.isa, of_band, history, &x[t * stride..][rows.clone()], out);
            if let Some(bias) = &taps.bias {
                ops::add(self.isa, out, &bias[rows.clone()]);
            }
            if silu {
                gates::silu(self.isa, out);
            }
        });
    }

    /// `out_proj (c * conv(b * u))` with `[b | c | u] = in_proj x`.
    pub(super) fn short_conv(
        &self,
        s: &mut Scratch,
        caches: &mut [&mut KvCache],
        (layer, state): (usize, Range<usize>),
        conv: &ShortConv,
        w: &ShortConvWeights,
    ) {
        let (n, width) = (self.n, conv.width);
        self.product(&w.input, &s.input, sized(&mut s.low, n * 3 * width));
        let rows = Chunks::new(&mut s.low[..n * 3 * width], 3 * width);
        self.lead.phase(n, &|_, t| {
            let (b, rest) = rows.take(t).split_at_mut(width);
            gates::mul(self.isa, b, &rest[width..]);
        });
        drop(rows);
        if self.model.spec.causal {
            self.convolve(caches, (layer, state), &w.taps, (&s.low, 3 * width), (sized(&mut s.mix, n * width), false));
        } else {
            self.convolve_around(&w.taps, (&s.low, 3 * width), sized(&mut s.mix, n * width));
        }
        let mixes = Chunks::new(&mut s.mix[..n * width], width);
        let low = &s.low;
        self.lead.phase(n, &|_, t| gates::mul(self.isa, mixes.take(t), &low[t * 3 * width + width..][..width]));
        drop(mixes);
        self.output_of_mix(s, layer, &w.output, width);
    }

    /// A convolution whose window lies around each position, for models that see whole texts.
    fn convolve_around(&self, taps: &Taps, (x, stride): (&[f32], usize), out: &mut [f32]) {
        let channels = taps.channels;
        let positions = taps.weights.len() / channels;
        let rows = Chunks::new(&mut out[..self.n * channels], channels);
        self.lead.phase(self.n, &|_, t| {
            let out = rows.take(t);
            out.fill(0.0);
            let Some(place) = self.places.iter().find(|place| (place.row..place.row + place.n).contains(&t)) else {
                return;
            };
            let before = (positions - 1) / 2;
            for (j, tap) in taps.weights.chunks_exact(channels).enumerate() {
                let Some(from) = (t + j).checked_sub(before) else { continue };
                if (place.row..place.row + place.n).contains(&from) {
                    let input = &x[from * stride..][..channels];
                    out.iter_mut().zip(tap.iter().zip(input)).for_each(|(out, (w, x))| *out = fma(*w, *x, *out));
                }
            }
        });
    }
}
