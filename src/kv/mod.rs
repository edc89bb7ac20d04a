//! The key-value cache of a sequence, in pages of 128 positions that sequences share.
//!
//! A page holds one tile per layer and key-value head, so that a head's keys and values of 128 neighbouring positions
//! lie together: attention reads them as one stream, and saving a sequence is writing its pages.

use crate::arch::{Projection, Spec};
use crate::{Error, Result};
use std::sync::Arc;
use tokki_quant::attention::{KvKind, KvLayout, TILE};

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
}

impl CacheShape {
    /// The cache that `spec` needs, with entries of `kind`.
    pub fn new(spec: &Spec, kind: KvKind) -> Self {
        let mut offset = 0;
        let layers = spec
            .layers
            .iter()
            .map(|layer| {
                let a = &layer.attn;
                let v_in_k = matches!(a.proj, Projection::Latent(_));
                let layout = KvLayout { kind, k_dim: a.k_dim, v_dim: a.v_dim, v_in_k };
                let tiles = LayerTiles { layout, heads: a.kv_heads, offset };
                offset += tiles.heads * tiles.layout.tile_bytes();
                tiles
            })
            .collect();
        Self { kind, layers, page_bytes: offset }
    }

    /// Kind of the entries.
    pub fn kind(&self) -> KvKind {
        self.kind
    }

    /// Bytes of one page of [`TILE`] positions over all layers.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Bytes of a cache for `positions`.
    pub fn bytes(&self, positions: usize) -> usize {
        positions.div_ceil(TILE) * self.page_bytes
    }

    /// Layout of a layer's tiles.
    pub fn layout(&self, layer: usize) -> &KvLayout {
        &self.layers[layer].layout
    }

    fn tile_range(&self, layer: usize, head: usize) -> std::ops::Range<usize> {
        let l = &self.layers[layer];
        let size = l.layout.tile_bytes();
        let from = l.offset + head * size;
        from..from + size
    }
}

/// The cache of one sequence. Positions `0..len` are valid; pages are added as the sequence grows.
///
/// A clone shares the pages; whoever appends to a shared page gets a copy of it first.
#[derive(Clone)]
pub struct KvCache {
    shape: Arc<CacheShape>,
    pages: Vec<Page>,
    len: usize,
}

/// 128 positions of all layers: shared by the sequences that have them in common, copied by the one that writes on.
#[derive(Clone)]
pub struct Page(Arc<PageBytes>);

#[derive(Clone)]
struct PageBytes(Box<[u8]>);

impl Page {
    /// A page of `bytes` zeros.
    fn new(bytes: usize) -> Result<Self> {
        let mut data = Vec::new();
        data.try_reserve_exact(bytes)
            .map_err(|_| Error::failed("the key-value cache", format!("no memory for a page of {bytes} bytes")))?;
        data.resize(bytes, 0);
        Ok(Self(Arc::new(PageBytes(data.into_boxed_slice()))))
    }

    /// The tile of (`layer`, `head`), to be written.
    pub fn tile_mut(&mut self, shape: &CacheShape, layer: usize, head: usize) -> &mut [u8] {
        &mut Arc::make_mut(&mut self.0).0[shape.tile_range(layer, head)]
    }

    /// How many sequences (and trees of them) hold this page.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl KvCache {
    /// An empty cache.
    pub fn new(shape: impl Into<Arc<CacheShape>>) -> Self {
        Self { shape: shape.into(), pages: Vec::new(), len: 0 }
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
        debug_assert!(self.len.is_multiple_of(TILE) && len <= TILE && self.pages.len() * TILE == self.len);
        self.pages.push(page);
        self.len += len;
    }

    /// Number of valid positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is valid.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(TILE));
    }

    /// Makes room for `n` more positions, in pages that no other sequence holds.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn reserve(&mut self, n: usize) -> Result<()> {
        let pages = (self.len + n).div_ceil(TILE);
        while self.pages.len() < pages {
            self.pages.push(Page::new(self.shape.page_bytes)?);
        }
        // The page that is filled in part may be shared: better copied here than between the threads of a pass.
        if let Some(page) = self.pages.get_mut(self.len / TILE) {
            Arc::make_mut(&mut page.0);
        }
        Ok(())
    }

    /// Declares `n` positions after the valid ones as written.
    pub fn advance(&mut self, n: usize) {
        self.len += n;
        debug_assert!(self.len <= self.pages.len() * TILE);
    }

    /// The tile of (`layer`, `head`) in page `page`.
    pub fn tile(&self, page: usize, layer: usize, head: usize) -> &[u8] {
        &self.pages[page].0.0[self.shape.tile_range(layer, head)]
    }

    /// The pages that hold positions `from..from + n`, to be written; room must be reserved.
    pub fn pages_mut(&mut self, from: usize, n: usize) -> &mut [Page] {
        &mut self.pages[from / TILE..(from + n).div_ceil(TILE)]
    }

    /// The bytes of every page, in order (for saving).
    pub fn page_data(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().map(|page| &*page.0.0)
    }

    /// A cache of `len` positions from saved pages; `None` when sizes do not fit.
    pub fn from_pages(shape: CacheShape, pages_of: Vec<Box<[u8]>>, len: usize) -> Option<Self> {
        let fits = pages_of.len() == len.div_ceil(TILE) && pages_of.iter().all(|page| page.len() == shape.page_bytes);
        let pages = |pages: Vec<Box<[u8]>>| pages.into_iter().map(|bytes| Page(Arc::new(PageBytes(bytes)))).collect();
        fits.then(|| Self { shape: Arc::new(shape), pages: pages(pages_of), len })
    }
}
