//! The one walk of all recurrent states: bands of an output (heads, or channels side by side) in parallel, the positions of
//! each sequence in their order. So a prompt gives the same bits as its tokens one by one, on any number of threads.

use crate::forward::pass::Pass;
use crate::kv::KvCache;
use std::ops::Range;
use tokki_quant::share::OutTiles;

/// A layer's recurrent state: which layer, which of its values, and how many of them belong to a band of the output.
pub(super) struct States {
    pub(super) layer: usize,
    pub(super) range: Range<usize>,
    pub(super) band: usize,
}

impl Pass<'_> {
    /// Calls `step(own, state, t, out)` for each row `t`, with the band's state (empty where a band has none) and the band's
    /// part of row `t` of the output. `own` is what `begin(band, rows)` made for band number `band`, which covers `rows` of
    /// the output.
    pub(super) fn recur<T>(
        &self,
        caches: &mut [&mut KvCache],
        States { layer, range, band: each }: States,
        tiles: &OutTiles<'_>,
        begin: impl Fn(usize, Range<usize>) -> T + Sync,
        step: impl Fn(&mut T, &mut [f32], usize, &mut [f32]) + Sync,
    ) {
        let mut states: Vec<_> = caches.iter_mut().map(|cache| cache.state_mut()).collect();
        let states: Vec<_> = states.iter_mut().map(|state| state.chunks(layer, range.clone(), each)).collect();
        self.lead.phase(tiles.bands(), &|_, band| {
            let mut out = tiles.take(band);
            let mut own = begin(band, out.rows());
            for (place, states) in self.places.iter().zip(&states) {
                let state = if each > 0 { states.take(band) } else { &mut [] };
                for t in place.row..place.row + place.n {
                    step(&mut own, state, t, out.col_mut(t));
                }
            }
        });
    }
}
