//! Merging neighbours, best pair first: the one algorithm under byte-level BPE and SentencePiece BPE.
//!
//! Time is O(n log n) in the length of the piece whatever the piece is: a linked list of symbols and a heap of pairs.
//! Short pieces, nearly all of them, skip the heap for a plain search that stays in registers and the first cache.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What two neighbours become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Merge {
    /// The pair with the lowest rank goes first, the leftmost of equals.
    pub(crate) rank: u32,
    /// The symbol of both together.
    pub(crate) id: u32,
}

/// Says which neighbours merge.
pub(crate) trait Pairs {
    /// What `left` and `right`, which together are `bytes`, become.
    fn pair(&self, left: u32, right: u32, bytes: &[u8]) -> Option<Merge>;
}

/// A symbol: its id and where in the piece it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    pub(crate) id: u32,
    pub(crate) end: usize,
}

/// The rank of a pair that does not merge.
const NEVER: Merge = Merge { rank: u32::MAX, id: 0 };

/// Pieces of up to this many symbols are searched without a heap.
const SHORT: usize = 32;

/// Buffers reused from piece to piece.
#[derive(Default)]
pub(crate) struct Merger {
    /// The symbols of the piece: in before [`Merger::run`], and out after it.
    pub(crate) symbols: Vec<Symbol>,
    /// What each symbol and its right neighbour become.
    merges: Vec<Merge>,
    /// Right and left neighbour of each symbol; `symbols.len()` and `usize::MAX` stand for none.
    next: Vec<usize>,
    previous: Vec<usize>,
    heap: BinaryHeap<Reverse<(u32, usize)>>,
}

impl Merger {
    /// Merges `self.symbols`, which lie end to end on `piece`, until no pair is left that merges.
    pub(crate) fn run(&mut self, piece: &[u8], pairs: &impl Pairs) {
        let n = self.symbols.len();
        self.merges.clear();
        for i in 0..n {
            let merge = self.pair_at(piece, pairs, i, i + 1);
            self.merges.push(merge);
        }
        if n <= SHORT { self.run_short(piece, pairs) } else { self.run_long(piece, pairs) }
    }

    /// Where symbol `i` starts, given its left neighbour.
    fn start(&self, previous: Option<usize>) -> usize {
        previous.and_then(|i| self.symbols.get(i)).map_or(0, |symbol| symbol.end)
    }

    /// The merge of symbols `i` and `next`, if there is a `next`; `i - 1` must be the left neighbour of `i`.
    fn pair_at(&self, piece: &[u8], pairs: &impl Pairs, i: usize, next: usize) -> Merge {
        self.pair_of(piece, pairs, self.start(i.checked_sub(1)), i, next)
    }

    fn pair_of(&self, piece: &[u8], pairs: &impl Pairs, start: usize, i: usize, next: usize) -> Merge {
        let Some(&right) = self.symbols.get(next) else { return NEVER };
        let bytes = piece.get(start..right.end).unwrap_or_default();
        pairs.pair(self.symbols[i].id, right.id, bytes).unwrap_or(NEVER)
    }

    fn run_short(&mut self, piece: &[u8], pairs: &impl Pairs) {
        // `min_by_key` gives the first of equals, which is the leftmost
        while let Some((i, &best)) = self.merges.iter().enumerate().min_by_key(|(_, merge)| merge.rank) {
            if best == NEVER {
                break;
            }
            self.symbols[i] = Symbol { id: best.id, end: self.symbols[i + 1].end };
            self.symbols.remove(i + 1);
            self.merges.remove(i + 1);
            self.merges[i] = self.pair_at(piece, pairs, i, i + 1);
            if let Some(left) = i.checked_sub(1) {
                self.merges[left] = self.pair_at(piece, pairs, left, i);
            }
        }
    }

    fn run_long(&mut self, piece: &[u8], pairs: &impl Pairs) {
        let n = self.symbols.len();
        self.next.clear();
        self.next.extend(1..=n);
        self.previous.clear();
        self.previous.extend((0..n).map(|i| i.wrapping_sub(1)));
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.clear();
        let candidates = self.merges.iter().enumerate().filter(|(_, merge)| **merge != NEVER);
        entries.extend(candidates.map(|(i, merge)| Reverse((merge.rank, i))));
        self.heap = BinaryHeap::from(entries);
        while let Some(Reverse((rank, i))) = self.heap.pop() {
            let merge = self.merges[i];
            // an entry is out of date when the symbol was merged away or has another neighbour now
            if merge.rank != rank || merge == NEVER {
                continue;
            }
            self.join(i, merge.id);
            self.refresh(piece, pairs, i);
            if self.previous[i] < n {
                self.refresh(piece, pairs, self.previous[i]);
            }
        }
        self.compact();
    }

    /// Symbol `i` swallows its right neighbour and becomes `id`.
    fn join(&mut self, i: usize, id: u32) {
        let right = self.next[i];
        let after = self.next[right];
        self.symbols[i] = Symbol { id, end: self.symbols[right].end };
        self.merges[right] = NEVER;
        self.next[i] = after;
        if let Some(previous) = self.previous.get_mut(after) {
            *previous = i;
        }
    }

    /// Looks up again what symbol `i` and its right neighbour become.
    fn refresh(&mut self, piece: &[u8], pairs: &impl Pairs, i: usize) {
        let start = self.start(Some(self.previous[i]));
        let merge = self.pair_of(piece, pairs, start, i, self.next[i]);
        self.merges[i] = merge;
        if merge != NEVER {
            self.heap.push(Reverse((merge.rank, i)));
        }
    }

    /// Leaves only the symbols that the list still holds.
    fn compact(&mut self) {
        let (mut at, mut kept) = (0, 0);
        while at < self.symbols.len() {
            self.symbols[kept] = self.symbols[at];
            kept += 1;
            at = self.next[at];
        }
        self.symbols.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Merges named by their text, ranked by order.
    struct Words(HashMap<Vec<u8>, u32>);

    impl Pairs for Words {
        fn pair(&self, _left: u32, _right: u32, bytes: &[u8]) -> Option<Merge> {
            self.0.get(bytes).map(|&rank| Merge { rank, id: 1000 + rank })
        }
    }

    fn words(list: &[&str]) -> Words {
        Words(list.iter().enumerate().map(|(i, word)| (word.as_bytes().to_vec(), i as u32)).collect())
    }

    fn merged(piece: &str, pairs: &Words, long: bool) -> Vec<String> {
        let mut merger = Merger::default();
        merger.symbols.extend(piece.bytes().enumerate().map(|(i, b)| Symbol { id: b.into(), end: i + 1 }));
        if long {
            merger.run(piece.as_bytes(), pairs);
        } else {
            merger.merges = (0..piece.len()).map(|i| merger.pair_at(piece.as_bytes(), pairs, i, i + 1)).collect();
            merger.run_short(piece.as_bytes(), pairs);
        }
        let mut start = 0;
        let ends = merger.symbols.iter().map(|symbol| symbol.end);
        ends.map(|end| piece[std::mem::replace(&mut start, end)..end].to_owned()).collect()
    }

    #[test]
    fn lowest_rank_first_then_leftmost() {
        let pairs = words(&["bc", "ab", "aa"]);
        assert_eq!(merged("abcab", &pairs, false), ["a", "bc", "ab"]);
        assert_eq!(merged("aaaaa", &pairs, false), ["aa", "aa", "a"]);
    }

    #[test]
    fn with_and_without_the_heap_alike() {
        let pairs = words(&["aa", "ab", "ba", "abab", "aaaa", "bb", "aab", "baa", "abba", "aaaaaaaa"]);
        let mut state = 1_u32;
        for _ in 0..200 {
            let text: String = (0..80)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if state >> 31 == 0 { 'a' } else { 'b' }
                })
                .collect();
            assert_eq!(merged(&text, &pairs, true), merged(&text, &pairs, false), "{text}");
        }
    }
}
