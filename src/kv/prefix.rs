//! What past sequences have computed, by their tokens: a tree of pages, from which a new sequence takes the longest
//! beginning that it has in common with any of them.
//!
//! A node is one page: up to 128 tokens that follow those of its parent. Only leaves may be filled in part, and a new
//! sequence may share a page in part, too: it copies the page before it writes into it. Since a page's bytes depend on
//! nothing but the tokens before and in it, a shared beginning gives the same bits as a computed one.

use super::{Budget, CacheShape, KvCache, Page, Snapshot};
use std::sync::Arc;
use tokki_quant::attention::TILE;

/// Pages of past sequences.
#[derive(Default)]
pub struct PrefixTree {
    /// Nodes by number; `None` = free.
    nodes: Vec<Option<Node>>,
    /// First pages, of conversations that are not far and of those that are (see [`CacheShape::is_far`]).
    roots: [Vec<usize>; 2],
    /// Counts uses.
    clock: u64,
}

struct Node {
    tokens: Box<[u32]>,
    page: Page,
    /// The recurrent state after so many of the tokens, for models that have one.
    state: Option<(usize, Snapshot)>,
    /// The page before, or which of the roots this one is of.
    parent: Parent,
    children: Vec<usize>,
    /// When it was last used.
    used: u64,
}

/// A page that the tree let go of.
pub struct Evicted {
    /// All tokens up to the page's last one.
    pub tokens: Vec<u32>,
    /// The page.
    pub page: Page,
    /// The recurrent state after so many of the page's tokens.
    pub state: Option<(usize, Snapshot)>,
    /// Whether it is of a conversation that is far (see [`CacheShape::is_far`]).
    pub far: bool,
}

/// What a page follows.
#[derive(Clone, Copy)]
enum Parent {
    /// Nothing, in a conversation that is far or is not.
    Root(bool),
    /// Another page.
    Page(usize),
}

impl PrefixTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    #[cfg(test)]
    /// Number of pages.
    pub fn len(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    /// A cache that holds as many of the first `tokens` of a conversation of `len` tokens as the tree knows: where the model
    /// has a recurrent state, up to the last place for which there is one.
    pub fn find(&mut self, tokens: &[u32], len: usize, shape: &Arc<CacheShape>, budget: &Arc<Budget>) -> KvCache {
        self.clock += 1;
        let mut cache = KvCache::within(Arc::clone(shape), Arc::clone(budget));
        cache.aim(len);
        for (index, common) in self.path(tokens, len, shape) {
            let Some(node) = self.nodes[index].as_mut() else { break };
            node.used = self.clock;
            cache.share(node.page.clone(), common);
            if let Some((_, state)) = node.state.as_ref().filter(|(at, _)| *at == common) {
                cache.set_state(Arc::clone(state));
            }
        }
        cache
    }

    /// How many of the first `tokens` [`PrefixTree::find`] would give.
    pub fn known(&self, tokens: &[u32], len: usize, shape: &CacheShape) -> usize {
        self.path(tokens, len, shape).into_iter().map(|(_, common)| common).sum()
    }

    /// How many of the first `tokens` stand in whole pages of the tree, whether or not it has a recurrent state for their end:
    /// where this conversation branches off from others.
    pub fn shared(&self, tokens: &[u32], len: usize, shape: &CacheShape) -> usize {
        let (mut parent, mut known) = (Parent::Root(shape.is_far(len)), 0);
        while let Some((index, TILE)) = self.nearest(parent, &tokens[known..]) {
            parent = Parent::Page(index);
            known += TILE;
        }
        known
    }

    /// The nodes that have the first `tokens` in common, and how many of each can be used.
    fn path(&self, tokens: &[u32], len: usize, shape: &CacheShape) -> Vec<(usize, usize)> {
        let stateful = shape.state_len() > 0;
        let (mut path, mut usable) = (Vec::new(), 0);
        let (mut parent, mut known) = (Parent::Root(shape.is_far(len)), 0);
        while let Some((index, common)) = self.nearest(parent, &tokens[known..]) {
            path.push((index, common));
            known += common;
            let state = self.nodes[index].as_ref().and_then(|node| node.state.as_ref()).map(|(at, _)| *at);
            if !stateful {
                usable = path.len();
            } else if let (Some(at), Some(last)) = (state.filter(|at| *at <= common), path.last_mut()) {
                last.1 = at;
                usable = path.len();
                // Later pages build on the whole of this one.
                if at < common {
                    break;
                }
            }
            if common < TILE {
                break;
            }
            parent = Parent::Page(index);
        }
        path.truncate(usable);
        path
    }

    /// Keeps the pages of `cache`, which holds `tokens`, and the recurrent states that it has for places among them.
    pub fn keep(&mut self, tokens: &[u32], cache: &KvCache) {
        self.clock += 1;
        let states = cache.states();
        let mut parent = Parent::Root(cache.is_far());
        let chunks = tokens[..tokens.len().min(cache.len())].chunks(TILE).zip(cache.pages()).enumerate();
        for (number, (chunk, page)) in chunks {
            let index = match self.nearest(parent, chunk) {
                // Known already, or the tree knows more.
                Some((index, common)) if common == chunk.len() => index,
                // The tree knows a part of it.
                Some((index, common)) if self.nodes[index].as_ref().is_some_and(|node| node.tokens.len() == common) => {
                    if let Some(node) = self.nodes[index].as_mut() {
                        (node.tokens, node.page) = (chunk.into(), page.clone());
                    }
                    index
                }
                _ => self.add(parent, chunk, page.clone()),
            };
            parent = Parent::Page(index);
            let Some(node) = self.nodes[index].as_mut() else { continue };
            node.used = self.clock;
            let within = |at: usize| at.checked_sub(number * TILE).filter(|at| (1..=chunk.len()).contains(at));
            if let Some((at, state)) = states.iter().rev().find_map(|(at, state)| Some((within(*at)?, state))) {
                node.state = Some((at, Arc::clone(state)));
            }
        }
    }

    #[cfg(test)]
    /// Forgets the page that has not been used for the longest time and on which no other builds; false when there is
    /// none.
    pub fn forget_one(&mut self) -> bool {
        self.evict().is_some()
    }

    /// Takes that page out.
    pub fn evict(&mut self) -> Option<Evicted> {
        let leaves = self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.as_ref()?)));
        let oldest = leaves.filter(|(_, node)| node.children.is_empty()).min_by_key(|(_, node)| node.used);
        let index = oldest.map(|(index, _)| index)?;
        let (mut pages, mut at, mut far) = (Vec::new(), Parent::Page(index), false);
        while let Parent::Page(page) = at {
            let node = self.nodes[page].as_ref()?;
            pages.push(&node.tokens);
            at = node.parent;
            far = matches!(at, Parent::Root(true));
        }
        let tokens = pages.into_iter().rev().flat_map(|tokens| tokens.iter().copied()).collect();
        let node = self.remove(index)?;
        Some(Evicted { tokens, page: node.page, state: node.state, far })
    }

    /// Forgets the pages of a sequence on which no other builds.
    pub fn forget(&mut self, tokens: &[u32]) {
        [false, true].into_iter().for_each(|far| self.forget_of(Parent::Root(far), tokens));
    }

    fn forget_of(&mut self, mut parent: Parent, tokens: &[u32]) {
        let (mut path, mut known) = (Vec::new(), 0);
        while let Some((index, common)) = self.nearest(parent, &tokens[known..]) {
            path.push(index);
            parent = Parent::Page(index);
            known += common;
            if common < TILE {
                break;
            }
        }
        while let Some(index) =
            path.pop().filter(|&index| self.nodes[index].as_ref().is_some_and(|node| node.children.is_empty()))
        {
            drop(self.remove(index));
        }
    }

    fn remove(&mut self, index: usize) -> Option<Node> {
        let node = self.nodes[index].take()?;
        self.siblings(node.parent).retain(|&other| other != index);
        Some(node)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The page after `parent` that has the most of the first `tokens`, and how many.
    fn nearest(&self, parent: Parent, tokens: &[u32]) -> Option<(usize, usize)> {
        let children = match parent {
            Parent::Page(index) => &self.nodes[index].as_ref()?.children,
            Parent::Root(far) => &self.roots[usize::from(far)],
        };
        let common = |index: usize| {
            let node = self.nodes[index].as_ref()?;
            let common = node.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            (common > 0).then_some((index, common))
        };
        children.iter().filter_map(|&index| common(index)).max_by_key(|&(_, common)| common)
    }

    fn siblings(&mut self, parent: Parent) -> &mut Vec<usize> {
        match (parent, &mut self.nodes) {
            (Parent::Page(index), nodes) => match &mut nodes[index] {
                Some(node) => &mut node.children,
                // A page stays as long as others build on it.
                None => &mut self.roots[0],
            },
            (Parent::Root(far), _) => &mut self.roots[usize::from(far)],
        }
    }

    fn add(&mut self, parent: Parent, tokens: &[u32], page: Page) -> usize {
        let node = Node { tokens: tokens.into(), page, state: None, parent, children: Vec::new(), used: self.clock };
        let index = match self.nodes.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.nodes.push(None);
                self.nodes.len() - 1
            }
        };
        self.nodes[index] = Some(node);
        self.siblings(parent).push(index);
        index
    }
}

crate::text::opaque!(PrefixTree, Evicted);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokki_quant::attention::KvKind;

    struct Fixture {
        shape: Arc<CacheShape>,
        budget: Arc<Budget>,
        tree: PrefixTree,
    }

    fn fixture(pages: usize) -> Fixture {
        let gguf = crate::gguf::Gguf::open(std::path::Path::new("tests/fixtures/arch/llama.gguf")).unwrap();
        let shape = Arc::new(CacheShape::new(&crate::arch::spec(&gguf).unwrap(), KvKind::F16));
        let budget = Budget::new(pages * shape.page_bytes());
        Fixture { shape, budget, tree: PrefixTree::new() }
    }

    impl Fixture {
        fn cache(&mut self, tokens: &[u32]) -> KvCache {
            let mut cache = self.tree.find(tokens, tokens.len(), &self.shape, &self.budget);
            let more = tokens.len() - cache.len();
            cache.reserve(more).unwrap();
            cache.advance(more);
            cache
        }

        fn known(&self, tokens: &[u32]) -> usize {
            self.tree.known(tokens, tokens.len(), &self.shape)
        }

        fn keep(&mut self, tokens: &[u32]) {
            let cache = self.cache(tokens);
            self.tree.keep(tokens, &cache);
        }
    }

    #[test]
    fn sequences_share_what_they_have_in_common() {
        let mut f = fixture(100);
        let tokens: Vec<u32> = (0..300).collect();
        f.keep(&tokens);
        assert_eq!((f.tree.len(), f.budget.used()), (3, 3 * f.shape.page_bytes()));
        assert_eq!(f.known(&tokens), 300);
        assert_eq!(f.known(&tokens[..200]), 200);
        let fork: Vec<u32> = (0..150).chain(900..1000).collect();
        assert_eq!(f.known(&fork), 150);
        f.keep(&fork);
        // The first page is shared, the second copied.
        assert_eq!((f.tree.len(), f.budget.used()), (4, 4 * f.shape.page_bytes()));
        assert_eq!((f.known(&fork), f.known(&tokens)), (250, 300));
        assert_eq!(f.known(&[7]), 0);
    }

    #[test]
    fn a_longer_sequence_replaces_its_own_beginning() {
        let mut f = fixture(100);
        let tokens: Vec<u32> = (0..200).collect();
        for length in [10, 100, 128, 130, 200] {
            f.keep(&tokens[..length]);
            assert_eq!(f.known(&tokens), length);
        }
        assert_eq!(f.tree.len(), 2);
        assert_eq!(f.budget.used(), 2 * f.shape.page_bytes());
    }

    #[test]
    fn the_oldest_leaf_goes_first_and_its_bytes_come_back() {
        let mut f = fixture(4);
        let a: Vec<u32> = (0..256).collect();
        let b: Vec<u32> = (1000..1200).collect();
        f.keep(&a);
        f.keep(&b);
        assert_eq!(f.budget.free(), 0);
        assert!(KvCache::within(Arc::clone(&f.shape), Arc::clone(&f.budget)).reserve(1).is_err());
        drop(f.cache(&a));
        assert!(f.tree.forget_one());
        assert_eq!((f.known(&a), f.known(&b)), (256, 128));
        assert_eq!(f.budget.free(), f.shape.page_bytes());
        while f.tree.forget_one() {}
        assert_eq!((f.tree.len(), f.budget.used()), (0, 0));
    }
}
