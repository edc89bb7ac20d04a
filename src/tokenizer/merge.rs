//! Merging neighbours, best pair first: the one algorithm under byte-level BPE and SentencePiece BPE.
//!
//! Time is O(n log n) in the length of the piece whatever the piece is: a linked list of symbols and a queue of pairs.
//! Short pieces, nearly all of them, do without for a plain search that stays in the first cache.

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
    pub(crate) end: u32,
}

/// The merge of a pair that does not merge.
const NEVER: Merge = Merge { rank: u32::MAX, id: 0 };

/// Pieces of up to this many symbols are searched without a queue.
const SHORT: usize = 32;

/// No neighbour.
const NONE: u32 = u32::MAX;

/// Buffers reused from piece to piece.
#[derive(Default)]
pub(crate) struct Merger {
    /// The symbols of the piece: in before [`Merger::run`], and out after it.
    pub(crate) symbols: Vec<Symbol>,
    /// What each symbol and its right neighbour become.
    merges: Vec<Merge>,
    /// Left and right neighbour of each symbol, or [`NONE`].
    links: Vec<(u32, u32)>,
    queue: Queue,
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

    /// The merge of symbols `i` and `next`, if there is a `next`; `i - 1` must be the left neighbour of `i`.
    fn pair_at(&self, piece: &[u8], pairs: &impl Pairs, i: usize, next: usize) -> Merge {
        let start = i.checked_sub(1).map_or(0, |previous| self.symbols[previous].end);
        self.pair_of(piece, pairs, start, i, next)
    }

    fn pair_of(&self, piece: &[u8], pairs: &impl Pairs, start: u32, i: usize, next: usize) -> Merge {
        let Some(&right) = self.symbols.get(next) else { return NEVER };
        let bytes = piece.get(start as usize..right.end as usize).unwrap_or_default();
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
        // a text of 4 GiB in one piece fits no context; it stays in single symbols
        let Ok(n) = u32::try_from(self.symbols.len()) else { return };
        self.links.clear();
        self.links.extend((0..n).map(|i| (i.wrapping_sub(1), if i + 1 < n { i + 1 } else { NONE })));
        let candidates = (0..n).zip(&self.merges).filter(|(_, merge)| **merge != NEVER);
        self.queue.fill(candidates.map(|(i, merge)| key(merge.rank, i)));
        while let Some((rank, i)) = self.queue.pop() {
            let merge = self.merges[i as usize];
            // an entry is out of date when the symbol was merged away or has another neighbour now
            if merge.rank == rank && merge != NEVER {
                self.join(i, merge.id);
                self.refresh(piece, pairs, i);
                let (left, _) = self.links[i as usize];
                if left != NONE {
                    self.refresh(piece, pairs, left);
                }
            }
        }
        self.compact();
    }

    /// Symbol `i` swallows its right neighbour and becomes `id`.
    fn join(&mut self, i: u32, id: u32) {
        let (left, right) = self.links[i as usize];
        let (_, after) = self.links[right as usize];
        self.symbols[i as usize] = Symbol { id, end: self.symbols[right as usize].end };
        self.merges[right as usize] = NEVER;
        self.links[i as usize] = (left, after);
        if let Some((left_of_after, _)) = self.links.get_mut(after as usize) {
            *left_of_after = i;
        }
    }

    /// Looks up again what symbol `i` and its right neighbour become.
    fn refresh(&mut self, piece: &[u8], pairs: &impl Pairs, i: u32) {
        let (left, right) = self.links[i as usize];
        let start = self.symbols.get(left as usize).map_or(0, |symbol| symbol.end);
        let merge = self.pair_of(piece, pairs, start, i as usize, right as usize);
        self.merges[i as usize] = merge;
        if merge != NEVER {
            self.queue.push(key(merge.rank, i));
        }
    }

    /// Leaves only the symbols that the list still holds.
    fn compact(&mut self) {
        let (mut at, mut kept) = (0, 0);
        while let Some(&symbol) = self.symbols.get(at as usize) {
            self.symbols[kept] = symbol;
            kept += 1;
            at = self.links[at as usize].1;
        }
        self.symbols.truncate(kept);
    }
}

/// Rank, then place: the order in which pairs merge.
fn key(rank: u32, place: u32) -> u64 {
    u64::from(rank) << 32 | u64::from(place)
}

/// A priority queue for keys that mostly come in rising order, as they do in long runs of the same letter: those behind
/// all that is waiting are only collected, and sorted (which is quick, since they lie in order) when it is their turn.
#[derive(Default)]
struct Queue {
    /// Keys in falling order: the next one is the last.
    sorted: Vec<u64>,
    /// The largest key that was ever in `sorted`, since it was filled.
    most: u64,
    /// Keys up to `most` that came later.
    heap: BinaryHeap<Reverse<u64>>,
    /// Keys above `most`.
    behind: Vec<u64>,
}

impl Queue {
    /// Replaces what is in the queue.
    fn fill(&mut self, keys: impl Iterator<Item = u64>) {
        self.heap.clear();
        self.behind.clear();
        self.behind.extend(keys);
        self.turn();
    }

    fn push(&mut self, key: u64) {
        if key > self.most { self.behind.push(key) } else { self.heap.push(Reverse(key)) }
    }

    /// The smallest key, as rank and place.
    fn pop(&mut self) -> Option<(u32, u32)> {
        if self.sorted.is_empty() && self.heap.is_empty() {
            self.turn();
        }
        let key = match (self.sorted.last(), self.heap.peek()) {
            (Some(sorted), Some(Reverse(heaped))) if heaped < sorted => self.heap.pop().map(|Reverse(key)| key),
            (None, _) => self.heap.pop().map(|Reverse(key)| key),
            (Some(_), _) => self.sorted.pop(),
        }?;
        Some(((key >> 32) as u32, key as u32))
    }

    /// Those behind become those in front.
    fn turn(&mut self) {
        self.sorted.clear();
        std::mem::swap(&mut self.sorted, &mut self.behind);
        self.sorted.sort_unstable();
        self.sorted.dedup();
        self.sorted.reverse();
        self.most = self.sorted.first().copied().unwrap_or(0);
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
        merger.symbols.extend(piece.bytes().enumerate().map(|(i, b)| Symbol { id: b.into(), end: i as u32 + 1 }));
        if long {
            merger.run(piece.as_bytes(), pairs);
        } else {
            merger.merges = (0..piece.len()).map(|i| merger.pair_at(piece.as_bytes(), pairs, i, i + 1)).collect();
            merger.run_short(piece.as_bytes(), pairs);
        }
        let mut start = 0;
        let ends = merger.symbols.iter().map(|symbol| symbol.end as usize);
        ends.map(|end| piece[std::mem::replace(&mut start, end)..end].to_owned()).collect()
    }

    #[test]
    fn lowest_rank_first_then_leftmost() {
        let pairs = words(&["bc", "ab", "aa"]);
        assert_eq!(merged("abcab", &pairs, false), ["a", "bc", "ab"]);
        assert_eq!(merged("aaaaa", &pairs, false), ["aa", "aa", "a"]);
    }

    #[test]
    fn with_and_without_the_queue_alike() {
        let pairs = words(&["aa", "ab", "ba", "abab", "aaaa", "bb", "aab", "baa", "abba", "aaaaaaaa"]);
        let mut rng = crate::testing::Rng::new(1);
        for _ in 0..200 {
            let text: String = (0..80).map(|_| ['a', 'b'][rng.below(2)]).collect();
            assert_eq!(merged(&text, &pairs, true), merged(&text, &pairs, false), "{text}");
        }
    }
}
