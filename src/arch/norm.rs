//! Norms of vectors.

/// A norm of a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Tensor of the weights without its suffix; `None` = no weights. A bias of the same name is added where there is one.
    pub tensor: Option<&'static str>,
    /// Its formula.
    pub kind: NormKind,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
}

/// Formula of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)` (arXiv 1910.07467).
    Rms,
    /// `(x - mean(x)) / sqrt(variance(x) + eps)` (arXiv 1607.06450).
    Layer,
}

impl Norm {
    /// The same norm with other weights.
    #[must_use]
    pub const fn of(self, tensor: &'static str) -> Self {
        Self { tensor: Some(tensor), ..self }
    }

    /// The same norm without weights.
    #[must_use]
    pub const fn plain(self) -> Self {
        Self { tensor: None, ..self }
    }
}
