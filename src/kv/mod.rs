//! The key-value cache of one sequence, in pages of 128 positions.
//!
//! A page holds one tile per layer and key-value head, so that a head's keys and values of 128 neighbouring positions
//! lie together: attention reads them as one stream, and saving a sequence is writing its pages.

use crate::arch::{Projection, Spec};
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
pub struct KvCache {
    shape: CacheShape,
    pages: Vec<Page>,
    len: usize,
}

/// 128 positions of all layers.
pub struct Page(Box<[u8]>);

impl Page {
    /// The tile of (`layer`, `head`), to be written.
    pub fn tile_mut(&mut self, shape: &CacheShape, layer: usize, head: usize) -> &mut [u8] {
        &mut self.0[shape.tile_range(layer, head)]
    }
}

impl KvCache {
    /// An empty cache.
    pub fn new(shape: CacheShape) -> Self {
        Self { shape, pages: Vec::new(), len: 0 }
    }

    /// Its shape.
    pub fn shape(&self) -> &CacheShape {
        &self.shape
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

    /// Makes room for `n` more positions.
    pub fn reserve(&mut self, n: usize) {
        let pages = (self.len + n).div_ceil(TILE);
        while self.pages.len() < pages {
            self.pages.push(Page(vec![0; self.shape.page_bytes].into_boxed_slice()));
        }
    }

    /// Declares `n` positions after the valid ones as written.
    pub fn advance(&mut self, n: usize) {
        self.len += n;
        debug_assert!(self.len <= self.pages.len() * TILE);
    }

    /// The tile of (`layer`, `head`) in page `page`.
    pub fn tile(&self, page: usize, layer: usize, head: usize) -> &[u8] {
        &self.pages[page].0[self.shape.tile_range(layer, head)]
    }

    /// The shape, and the pages that hold positions `from..from + n`, to be written; room must be reserved.
    pub fn pages_mut(&mut self, from: usize, n: usize) -> (&CacheShape, &mut [Page]) {
        (&self.shape, &mut self.pages[from / TILE..(from + n).div_ceil(TILE)])
    }

    /// The bytes of every page, in order (for saving).
    pub fn page_data(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().map(|page| &*page.0)
    }

    /// A cache of `len` positions from saved pages; `None` when sizes do not fit.
    pub fn from_pages(shape: CacheShape, pages: Vec<Box<[u8]>>, len: usize) -> Option<Self> {
        let fits = pages.len() == len.div_ceil(TILE) && pages.iter().all(|page| page.len() == shape.page_bytes);
        fits.then(|| Self { shape, pages: pages.into_iter().map(Page).collect(), len })
    }
}
