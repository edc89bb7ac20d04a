//! Reading ahead, for models that don't fit into memory: the system is asked for weights before they are used, so that the
//! disk works on all of them at once, and while others are computed. Without it every page fault waits for its own small
//! read, with no more of them under way than there are threads.
//!
//! Asking changes no result. It costs time, though: the system looks every page up, which takes 9 ms for each GiB that is
//! in memory already, where computing with it takes a core about 80. So it is done only where the model is larger than
//! memory. There (5 layers, two of 256 experts, 16 GB in a control group of 6 GB, two cores, a disk of 1.8 GB/s, always
//! other tokens) it made generating 1.2 times as fast with the kernel's usual read-ahead of 128 KiB, 1.4 times with 8 MiB,
//! and took the reads from 625 MB per token to 350: faults read what lies around them, too. Where every weight is used for
//! every token, the kernel's own read-ahead does nearly as well: 1.1 times with 128 KiB, 0.95 times with 8 MiB.

use super::pass::Pass;
use super::routing::Routing;
use crate::model::{Gated, Stack};
use std::ops::Range;

/// One request: up to `most` bytes of each of these matrices.
pub(super) struct ReadAhead<'a> {
    weights: &'a Stack,
    matrices: Range<usize>,
    most: usize,
}

impl ReadAhead<'_> {
    /// Hands the request to the system and does not wait for the bytes.
    pub(super) fn start(&self) {
        self.weights.read_ahead(self.matrices.clone(), self.most);
    }

    fn bytes(&self) -> usize {
        self.weights.matrix_bytes().min(self.most) * self.matrices.len()
    }
}

/// The requests for the chosen experts of a layer: gate and up of each, then down of each, as they're used. What fits into
/// a window is asked for at once; each product that starts moves the window on. (A long prompt chooses all experts, which
/// may be more than memory holds: asked for at once, the first would be gone again before they're used.)
#[derive(Default)]
pub(super) struct Ahead<'a> {
    /// What each product needs.
    products: Vec<Vec<ReadAhead<'a>>>,
    /// How many products are asked for at once, then when each product has started.
    until: Vec<usize>,
}

impl<'a> Ahead<'a> {
    /// The requests for the experts of `plan`; none for a window of 0 bytes.
    pub(super) fn new(window: usize, plan: &Routing, w: &'a Gated) -> Self {
        if window == 0 {
            return Self::default();
        }
        let ask = |weights: &'a Stack, expert| ReadAhead { weights, matrices: expert..expert + 1, most: usize::MAX };
        let first = plan.experts.iter().map(|&(expert, _)| w.first().map(|stack| ask(stack, expert)).collect());
        let second = plan.experts.iter().map(|&(expert, _)| vec![ask(&w.down, expert)]);
        let products: Vec<Vec<ReadAhead<'_>>> = first.chain(second).collect();
        let sizes: Vec<usize> = products.iter().map(|asks| asks.iter().map(ReadAhead::bytes).sum()).collect();
        Self { products, until: windows(&sizes, window) }
    }

    /// What is asked for before the first product.
    pub(super) fn at_once(&self) -> Vec<&ReadAhead<'a>> {
        self.products[..self.until.first().copied().unwrap_or(0)].iter().flatten().collect()
    }

    /// What is asked for when product `index` starts.
    pub(super) fn at_product(&self, index: usize) -> &[Vec<ReadAhead<'a>>] {
        match self.until.get(index..index + 2) {
            Some(&[before, after]) => &self.products[before..after],
            _ => &[],
        }
    }
}

/// How many of the products, whose weights have these sizes and are used in this order, are asked for before the first
/// starts, and once each has started: those that end within `window` bytes from its start, and itself at the latest.
fn windows(sizes: &[usize], window: usize) -> Vec<usize> {
    let (mut asked, mut end, mut start) = (0, 0, 0);
    let mut reach = |limit: usize, started: usize| {
        while asked < sizes.len() && (asked < started || end + sizes[asked] <= limit) {
            end += sizes[asked];
            asked += 1;
        }
        asked
    };
    let mut until = vec![reach(window, 0)];
    for (index, size) in sizes.iter().enumerate() {
        until.push(reach(start + window, index + 1));
        start += size;
    }
    until
}

impl Pass<'_> {
    /// Hands requests to the system, on all threads: a request for many pages takes as long as it takes to find them
    /// missing.
    pub(super) fn read_ahead_of(&self, asks: &[&ReadAhead<'_>]) {
        if !asks.is_empty() {
            self.lead.phase(asks.len(), &|_, index| asks[index].start());
        }
    }

    /// Asks for what every token needs of a layer, or of the head after the last one: everything but experts that are
    /// chosen, as far as it fits into the window.
    pub(super) fn read_layer_ahead(&self, layer: usize) {
        if self.read_ahead == 0 {
            return;
        }
        let products = match layer < self.model.layers.len() {
            true => self.model.layer_products(layer),
            false => vec![(&self.model.output, 1)],
        };
        let mut left = self.read_ahead;
        let mut asks = Vec::new();
        for (weights, used) in products.into_iter().filter(|(weights, used)| *used == weights.count()) {
            let most = weights.matrix_bytes().min(left / used);
            asks.push(ReadAhead { weights, matrices: 0..used, most });
            left -= most * used;
        }
        self.read_ahead_of(&asks.iter().collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_moves_on_with_the_products() {
        assert_eq!(windows(&[10; 5], 1000), [5, 5, 5, 5, 5, 5]);
        assert_eq!(windows(&[10; 5], 20), [2, 2, 3, 4, 5, 5]);
        assert_eq!(windows(&[20, 20, 10, 10], 45), [2, 2, 4, 4, 4]);
        assert_eq!(windows(&[], 45), [0]);
    }

    #[test]
    fn what_exceeds_the_window_is_asked_for_when_it_starts() {
        assert_eq!(windows(&[50, 50, 10], 20), [0, 1, 2, 3]);
    }
}
