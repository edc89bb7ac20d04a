//! Matrix products as phases: several products that read the same input run together, cut into bands of rows that
//! threads claim.

use super::activation;
use super::ahead::ReadAhead;
use super::pass::Pass;
use super::scratch::{Scratch, sized};
use crate::arch::Activation;
use crate::model::{Gated, Stack};
use std::cell::RefCell;
use tokki_quant::activation::{ActKinds, Activations};
use tokki_quant::isa::Isa;
use tokki_quant::matmul::{FEW, matmul, matmul_cols};
use tokki_quant::ops;
use tokki_quant::share::{OutTiles, Tile};
use tokki_quant::team::Lead;

impl Pass<'_> {
    /// One product from the quantized `input` into `out`.
    pub(super) fn product(&self, weights: &Stack, input: &Activations, out: &mut [f32]) {
        run(self.lead, self.isa, &[Product::new((weights, 0), input, out, self.lead)]);
    }

    /// The product that ends a mixer, of rows of `width` values in `s.mix`.
    pub(super) fn output_of_mix(&self, s: &mut Scratch, layer: usize, output: &Stack, width: usize) {
        self.tell("final_output", layer, width, &s.mix);
        let Scratch { mix, inner, branch, .. } = s;
        self.quantize(&mix[..self.n * width], width, kinds([output]), inner);
        self.product(output, inner, sized(branch, self.n * self.model.spec.embd));
    }

    /// Quantizes rows of `width` values as the input of the next product.
    pub(super) fn quantize(&self, rows: &[f32], width: usize, kinds: ActKinds, into: &mut Activations) {
        let count = rows.len() / width;
        let writer = into.reset(kinds, count, width);
        self.lead.phase(count, &|_, r| writer.write(self.isa, r, &rows[r * width..][..width]));
    }
}

/// One product of a phase: `out[t][r] = sum_k w[r][k] x[t][k] + bias[r]`, and with a second product `up`,
/// `act(that) * up[t][r]`.
pub(super) struct Product<'a> {
    weights: (&'a Stack, usize),
    x: &'a Activations,
    /// The rows of `x`, if not all.
    chosen: Option<&'a [u32]>,
    out: OutTiles<'a>,
    up: Option<Up<'a>>,
    /// The function of the result, where there is no second product.
    act: Option<Activation>,
    /// What is read ahead when the product starts: weights of later ones.
    ahead: &'a [Vec<ReadAhead<'a>>],
}

/// The second product of a gated pair.
struct Up<'a> {
    weights: (&'a Stack, usize),
    act: Activation,
}

thread_local! {
    /// Results of a second product for a band of rows, `[n][rows]`: used at once, so that they need not leave the caches.
    static UP: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<'a> Product<'a> {
    /// All rows of `x` times matrix `index` of `weights`, into `out` of `[n][rows]`.
    pub(super) fn new(weights: (&'a Stack, usize), x: &'a Activations, out: &'a mut [f32], lead: &Lead<'_>) -> Self {
        let band = band(weights.0, x.n(), lead.threads());
        Self {
            weights,
            x,
            chosen: None,
            out: OutTiles::new(out, weights.0.rows(), band),
            up: None,
            act: None,
            ahead: &[],
        }
    }

    /// Only the given rows of `x`, in that order; `out` holds as many.
    pub(super) fn of(weights: (&'a Stack, usize), x: &'a Activations, chosen: &'a [u32], out: OutTiles<'a>) -> Self {
        Self { weights, x, chosen: Some(chosen), out, up: None, act: None, ahead: &[] }
    }

    /// `act(gate x) * up x` (`act(up x)` without a gate) into `gate`.
    pub(super) fn gated(
        (weights, index): (&'a Gated, usize),
        act: Activation,
        x: &'a Activations,
        chosen: Option<&'a [u32]>,
        gate: &'a mut [f32],
        lead: &Lead<'_>,
    ) -> Self {
        let first = weights.gate.as_ref().unwrap_or(&weights.up);
        let rows = first.rows();
        let band = band(first, chosen.map_or(x.n(), <[u32]>::len), lead.threads());
        let out = OutTiles::new(gate, rows, band);
        let split = weights.gate.is_some();
        let up = split.then_some(Up { weights: (&weights.up, index), act });
        Self { weights: (first, index), x, chosen, out, up, act: (!split).then_some(act), ahead: &[] }
    }

    /// Asks the system for these weights when the product starts.
    pub(super) fn reading_ahead(self, ahead: &'a [Vec<ReadAhead<'a>>]) -> Self {
        Self { ahead, ..self }
    }

    fn run(&self, isa: Isa, band: usize) {
        if band == 0 {
            self.ahead.iter().flatten().for_each(ReadAhead::start);
        }
        let mut tile = self.out.take(band);
        self.multiply(isa, self.weights, &mut tile);
        if let Some(up) = &self.up {
            UP.with_borrow_mut(|values| {
                let (n, rows) = (tile.n(), tile.rows());
                let mut up_tile = Tile::of_rows(sized(values, n * rows.len()), rows);
                self.multiply(isa, up.weights, &mut up_tile);
                (0..n).for_each(|t| activation::gated(isa, up.act, tile.col_mut(t), up_tile.col(t)));
            });
        }
        if let Some(act) = self.act {
            (0..tile.n()).for_each(|t| activation::alone(isa, act, tile.col_mut(t)));
        }
    }

    fn multiply(&self, isa: Isa, (stack, index): (&Stack, usize), tile: &mut Tile<'_>) {
        let matrix = stack.matrix(index);
        match self.chosen {
            None => matmul(isa, &matrix, self.x, tile),
            Some(chosen) => matmul_cols(isa, &matrix, self.x, chosen, tile),
        }
        if let Some(scale) = stack.scale(index) {
            (0..tile.n()).for_each(|t| ops::scale(isa, tile.col_mut(t), scale));
        }
        if let Some(bias) = stack.bias(index) {
            let rows = tile.rows();
            (0..tile.n()).for_each(|t| ops::add(isa, tile.col_mut(t), &bias[rows.clone()]));
        }
    }
}

/// Runs all products in one phase.
pub(super) fn run(lead: &Lead<'_>, isa: Isa, products: &[Product<'_>]) {
    let total = products.iter().map(|p| p.out.bands()).sum();
    lead.phase(total, &|_, mut chunk| {
        for product in products {
            if chunk < product.out.bands() {
                return product.run(isa, chunk);
            }
            chunk -= product.out.bands();
        }
    });
}

/// Rows of a band with many columns.
const MAX_BAND_ROWS: usize = 256;

/// Rows per band. Decode wants long sequential streams, yet several bands per thread, so that a slow core delays one band
/// only; prefill wants bands that are worth unpacking.
pub(super) fn band(weights: &Stack, n: usize, threads: usize) -> usize {
    const STREAM: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;
    let rows = weights.rows();
    if n > FEW {
        // Whole groups of 32 rows. Panels are worth their unpacking from a few groups on; results of more rows would have left the
        // caches before their activation function is applied.
        return (rows / (threads * 4)).clamp(32, MAX_BAND_ROWS).next_multiple_of(32);
    }
    let bytes = weights.matrix_bytes();
    let band_bytes = (bytes / (threads * 8)).clamp(*STREAM.start(), *STREAM.end());
    (band_bytes * rows / bytes.max(1)).clamp(16, rows.max(16)).next_multiple_of(16)
}

/// The kinds of activations that products with these weights read.
pub(super) fn kinds<'a>(weights: impl IntoIterator<Item = &'a Stack>) -> ActKinds {
    weights.into_iter().fold(ActKinds::none(), |kinds, stack| kinds.with(stack.dtype().act()))
}
