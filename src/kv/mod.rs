//! The key-value cache of a sequence, in pages of 128 positions that sequences share.
//!
//! A page holds one tile per layer and key-value head, so that a head's keys and values of 128 neighbouring positions
//! lie together: attention reads them as one stream, and saving a sequence is writing its pages.

mod budget;
mod prefix;
mod state;

pub use budget::{Budget, SharedBudget};
pub use prefix::{Evicted, PrefixTree};
pub use state::{PageState, Snapshot, StateSlices};
pub use tokki_quant::attention::KvKind;

use crate::arch::{Mixer, Projection, Spec};
use crate::{Error, ErrorKind, Result};
use state::RecurrentState;
use std::ops::Range;
use std::sync::Arc;
use tokki_quant::attention::{KvLayout, TILE};

/// Length of the heads of a layer that has none.
const BLANK: usize = 32;

/// Where the tiles of one layer lie within a page.
#[derive(Debug, Clone)]
struct LayerTiles {
    layout: KvLayout,
    heads: usize,
    offset: usize,
}

/// The shape of a cache: the same for all sequences of a model and kind.
#[derive(Debug, Clone)]
pub struct CacheShape {
    kind: KvKind,
    layers: Vec<LayerTiles>,
    page_bytes: usize,
    /// Where each layer's recurrent state lies, in values.
    states: Vec<Range<usize>>,
    /// Conversations of more positions rotate by other divisors: see [`KvCache::aim`].
    turn: Option<usize>,
}

impl CacheShape {
    /// The cache that `spec` needs, with entries of `kind`.
    pub fn new(spec: &Spec, kind: KvKind) -> Self {
        let (mut offset, mut values) = (0, 0);
        let (mut layers, mut states) = (Vec::new(), Vec::new());
        for layer in &spec.layers {
            let own = layer.attention().filter(|attn| attn.kv_of.is_none());
            let (k_dim, v_dim) = own.map_or((BLANK, BLANK), |attn| (attn.k_dim, attn.v_dim));
            let v_in_k = own.is_some_and(|attn| matches!(attn.proj, Projection::Latent(_)));
            let layout = KvLayout { kind, k_dim, v_dim, v_in_k };
            let tiles = LayerTiles { layout, heads: own.map_or(0, |attn| attn.kv_heads), offset };
            offset += tiles.heads * tiles.layout.tile_bytes();
            layers.push(tiles);
            let len: usize = layer.mixers.iter().map(Mixer::state_len).sum();
            states.push(values..values + len);
            values += len;
        }
        Self { kind, layers, page_bytes: offset, states, turn: spec.turn() }
    }

    /// Whether a conversation of `len` positions in all is past the length at which its model changes its divisors.
    pub fn is_far(&self, len: usize) -> bool {
        self.turn.is_some_and(|turn| len > turn)
    }

    /// Values of recurrent state of a sequence; 0 = none.
    pub fn state_len(&self) -> usize {
        self.states.last().map_or(0, |range| range.end)
    }

    /// Bytes of recurrent state of a sequence.
    pub fn state_bytes(&self) -> usize {
        self.state_len() * size_of::<f32>()
    }

    /// Kind of the entries.
    pub fn kind(&self) -> KvKind {
        self.kind
    }

    /// Bytes of one page of [`TILE`] positions over all layers.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Bytes of one position, a position's share of the states included.
    pub fn bytes_per_position(&self) -> u64 {
        self.bytes(TILE) as u64 / TILE as u64
    }

    /// Bytes of a cache for `positions`, with the recurrent states that it can go back to.
    pub fn bytes(&self, positions: usize) -> usize {
        // Saturating: a file may claim dimensions whose cache no number holds.
        let states = (1 + state::MAX_CHECKPOINTS).saturating_mul(self.state_bytes());
        positions.div_ceil(TILE).saturating_mul(self.page_bytes).saturating_add(states)
    }

    /// Layout of a layer's tiles.
    pub fn layout(&self, layer: usize) -> &KvLayout {
        &self.layers[layer].layout
    }

    fn tile_range(&self, layer: usize, head: usize) -> Range<usize> {
        let l = &self.layers[layer];
        let size = l.layout.tile_bytes();
        let from = l.offset + head * size;
        from..from + size
    }
}

/// The cache of one sequence. Positions `0..len` are valid; pages are added as the sequence grows.
///
/// A clone shares the pages; appending to a shared page copies it first.
#[derive(Clone)]
pub struct KvCache {
    shape: Arc<CacheShape>,
    budget: Arc<Budget>,
    pages: Vec<Page>,
    len: usize,
    /// What the recurrent layers keep of all positions so far, and kept of earlier ones.
    state: RecurrentState,
    /// The positions are those of a conversation for which [`CacheShape::is_far`] holds.
    far: bool,
}

/// 128 positions of all layers: shared by the sequences that have them in common, copied by the one that writes on.
#[derive(Clone)]
pub struct Page(Arc<PageBytes>);

struct PageBytes {
    bytes: Box<[u8]>,
    budget: Arc<Budget>,
}

impl Drop for PageBytes {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.len());
    }
}

impl Page {
    /// A page of `bytes` zeros.
    fn new(bytes: usize, budget: &Arc<Budget>) -> Result<Self> {
        let failed = |why: String| Error::failed("the key-value cache", why).of(ErrorKind::OutOfMemory);
        if !budget.take(bytes) {
            return Err(failed(format!("its {} bytes are used up", budget.limit())));
        }
        let mut data = Vec::new();
        if data.try_reserve_exact(bytes).is_err() {
            budget.give_back(bytes);
            return Err(failed(format!("no memory for a page of {bytes} bytes")));
        }
        data.resize(bytes, 0);
        Ok(Self(Arc::new(PageBytes { bytes: data.into_boxed_slice(), budget: Arc::clone(budget) })))
    }

    /// A page of these bytes.
    ///
    /// # Errors
    /// When the budget or the memory is used up.
    pub fn of(bytes: &[u8], budget: &Arc<Budget>) -> Result<Self> {
        let mut page = Self::new(bytes.len(), budget)?;
        if let Some(page) = Arc::get_mut(&mut page.0) {
            page.bytes.copy_from_slice(bytes);
        }
        Ok(page)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The tile of (`layer`, `head`), to be written; empty for a page that others hold too (see [`KvCache::reserve`]).
    pub fn tile_mut(&mut self, shape: &CacheShape, layer: usize, head: usize) -> &mut [u8] {
        match Arc::get_mut(&mut self.0) {
            Some(page) => &mut page.bytes[shape.tile_range(layer, head)],
            None => &mut [],
        }
    }

    /// A copy of this page if others hold it too.
    fn own(&mut self) -> Result<()> {
        if Arc::strong_count(&self.0) > 1 {
            let mut copy = Self::new(self.0.bytes.len(), &self.0.budget)?;
            if let Some(page) = Arc::get_mut(&mut copy.0) {
                page.bytes.copy_from_slice(&self.0.bytes);
            }
            *self = copy;
        }
        Ok(())
    }
}

impl KvCache {
    /// An empty cache.
    pub fn new(shape: impl Into<Arc<CacheShape>>) -> Self {
        Self::within(shape, Budget::new(usize::MAX))
    }

    /// An empty cache whose pages count against `budget`.
    pub fn within(shape: impl Into<Arc<CacheShape>>, budget: Arc<Budget>) -> Self {
        Self { shape: shape.into(), budget, pages: Vec::new(), len: 0, state: RecurrentState::default(), far: false }
    }

    /// Makes it a cache for a conversation of `len` positions in all. Models with two sets of divisors (LongRoPE, arXiv
    /// 2402.13753) rotate all positions by those for the conversation's length, as their reference implementation does:
    /// when a conversation passes the length at which they change, what is here is forgotten and has to be computed again.
    /// So a cache depends on the tokens and on which side of that length their conversation is, not on how it came there.
    pub fn aim(&mut self, len: usize) {
        let far = self.shape.is_far(len);
        if far != self.far {
            self.truncate(0);
            self.far = far;
        }
    }

    /// Whether the positions are those of a conversation for which [`CacheShape::is_far`] holds.
    pub fn is_far(&self) -> bool {
        self.far
    }

    /// Bytes of pages that have to be allocated before `n` more positions can be written.
    pub fn missing(&self, n: usize) -> usize {
        let new = (self.len + n).div_ceil(TILE).saturating_sub(self.pages.len());
        let shared = self.pages.get(self.len / TILE).is_some_and(|page| n > 0 && Arc::strong_count(&page.0) > 1);
        (new + usize::from(shared)) * self.shape.page_bytes + self.state.missing(self.shape.state_bytes())
    }

    /// Its shape.
    pub fn shape(&self) -> &Arc<CacheShape> {
        &self.shape
    }

    /// Its pages, in order; the last one may be filled in part.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Appends a page that another sequence filled with `len` positions.
    ///
    /// # Panics
    /// When the last page is not full (debug builds).
    pub fn share(&mut self, page: Page, len: usize) {
        debug_assert!(
            self.len.is_multiple_of(TILE) && len <= TILE && self.pages.len() * TILE == self.len,
            "a page is added to {} of {} pages",
            self.len,
            self.pages.len()
        );
        self.pages.push(page);
        self.len += len;
    }

    /// A copy whose pages and recurrent state count against `budget`.
    ///
    /// # Errors
    /// When the budget or the memory is used up.
    pub fn copy_within(&self, budget: &Arc<Budget>) -> Result<Self> {
        let copy = |page: &Page| {
            let mut copy = Page::new(page.0.bytes.len(), budget)?;
            if let Some(new) = Arc::get_mut(&mut copy.0) {
                new.bytes.copy_from_slice(&page.0.bytes);
            }
            Ok(copy)
        };
        let pages = self.pages.iter().map(copy).collect::<Result<_>>()?;
        let state = self.state.copy_within(budget, self.len)?;
        let (shape, budget) = (Arc::clone(&self.shape), Arc::clone(budget));
        Ok(Self { shape, budget, pages, len: self.len, state, far: self.far })
    }

    /// Number of valid positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is valid.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all positions from `len` on, and more where a recurrent state cannot be had for `len`: then what is left
    /// ends at the last checkpoint before it. Ask [`KvCache::len`] how many are left.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = if self.shape.state_len() == 0 { len } else { self.state.rewind(len) };
        self.pages.truncate(self.len.div_ceil(TILE));
    }

    /// Remembers the recurrent state of the positions so far, so that [`KvCache::truncate`] can come back here.
    pub fn checkpoint(&mut self) {
        if self.shape.state_len() > 0 {
            self.state.checkpoint(self.len);
        }
    }

    /// A pass ended before its time: recurrent states have seen a part of it.
    pub fn spoil(&mut self) {
        if self.shape.state_len() > 0 {
            self.len = self.state.rewind(self.len);
            self.pages.truncate(self.len.div_ceil(TILE));
        }
    }

    /// The recurrent states, to be written: room must be reserved. Empty for models without.
    pub fn state_mut(&mut self) -> StateSlices<'_> {
        StateSlices::new(self.state.values_mut(), &self.shape.states)
    }

    /// Begins with a recurrent state that another sequence had after the positions that are here.
    pub fn set_state(&mut self, state: Snapshot) {
        self.state.set(state, self.len);
    }

    /// Begins with saved values of recurrent states, each with the positions that it has seen (see [`KvCache::states`]);
    /// false when they are not as long as the model's, or do not lead up to the positions that are here.
    pub fn restore_states(&mut self, states: Vec<(usize, Box<[f32]>)>) -> bool {
        let len = self.shape.state_len();
        let upwards =
            states.is_sorted_by(|(a, _), (b, _)| a < b) && states.last().is_some_and(|(at, _)| *at == self.len);
        let fits = upwards && states.iter().all(|(_, values)| values.len() == len);
        if fits && len > 0 {
            let states = states.into_iter().map(|(at, values)| (at, Arc::new(PageState::new(values, &self.budget))));
            self.state.restore(states.collect());
        }
        fits
    }

    /// Recurrent states that can be come back to, with the positions that they have seen: checkpoints, and the one now.
    pub fn states(&self) -> Vec<(usize, Snapshot)> {
        self.state.all(self.len)
    }

    /// Makes room for `n` more positions, in pages that no other sequence holds.
    ///
    /// # Errors
    /// When there is no memory for it, or the budget is used up.
    pub fn reserve(&mut self, n: usize) -> Result<()> {
        self.state.own(self.shape.state_len(), &self.budget)?;
        let pages = (self.len + n).div_ceil(TILE);
        while self.pages.len() < pages {
            self.pages.push(Page::new(self.shape.page_bytes, &self.budget)?);
        }
        self.pages[self.len / TILE..pages].iter_mut().try_for_each(Page::own)
    }

    /// Declares `n` positions after the valid ones as written.
    pub fn advance(&mut self, n: usize) {
        self.len += n;
        debug_assert!(self.len <= self.pages.len() * TILE, "{} positions in {} pages", self.len, self.pages.len());
    }

    /// The tile of (`layer`, `head`) in page `page`.
    pub fn tile(&self, page: usize, layer: usize, head: usize) -> &[u8] {
        &self.pages[page].0.bytes[self.shape.tile_range(layer, head)]
    }

    /// The pages that hold positions `from..from + n`, to be written; room must be reserved.
    pub fn pages_mut(&mut self, from: usize, n: usize) -> &mut [Page] {
        &mut self.pages[from / TILE..(from + n).div_ceil(TILE)]
    }

    /// The bytes of every page, in order (for saving).
    pub fn page_data(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().map(|page| &*page.0.bytes)
    }

    /// A cache of `len` positions from saved pages, `far` as [`KvCache::is_far`]; `None` when sizes do not fit.
    pub fn from_pages(shape: CacheShape, pages: Vec<Box<[u8]>>, len: usize, far: bool) -> Option<Self> {
        let fits = pages.len() == len.div_ceil(TILE) && pages.iter().all(|page| page.len() == shape.page_bytes);
        let mut this = Self::new(shape);
        (this.len, this.far) = (len, far);
        this.pages.extend(pages.into_iter().map(|bytes| {
            this.budget.count(bytes.len());
            Page(Arc::new(PageBytes { bytes, budget: Arc::clone(&this.budget) }))
        }));
        fits.then_some(this)
    }
}

crate::text::opaque!(KvCache, Page);
