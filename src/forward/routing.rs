//! Which experts were chosen for which tokens.

/// Which tokens go to which expert.
pub(super) struct Routing {
    /// `(expert, tokens)` of each expert that has any, in rising order.
    pub(super) experts: Vec<(usize, Vec<u32>)>,
    /// For each token its `(output row, weight)` in rising order of the expert.
    pub(super) routes: Vec<Vec<(usize, f32)>>,
}
