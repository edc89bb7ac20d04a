//! The recurrent state of a sequence: what its state-space, delta-rule and convolution layers keep of all positions so far.
//!
//! Unlike keys and values it cannot be cut at an earlier position. So a sequence keeps checkpoints, at places to which a
//! conversation comes back, and goes back to the last of them (or to the start, where the state is zeros).

use super::budget::Budget;
use crate::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Arc;
use tokki_quant::share::Chunks;

/// Checkpoints of a sequence: those of the last prompts. Each is as large as the state.
pub(super) const MAX_CHECKPOINTS: usize = 2;

/// A state that may be shared.
pub type Snapshot = Arc<PageState>;

/// The values of all layers, counted against a budget.
#[derive(Debug)]
pub struct PageState {
    values: Box<[f32]>,
    budget: Arc<Budget>,
}

impl Drop for PageState {
    fn drop(&mut self) {
        self.budget.give_back(size_of_val(&*self.values));
    }
}

impl PageState {
    /// `len` zeros.
    fn zeros(len: usize, budget: &Arc<Budget>) -> Result<Self> {
        let failed = |why: String| Error::failed("the recurrent state", why).of(ErrorKind::OutOfMemory);
        let bytes = len * size_of::<f32>();
        if !budget.take(bytes) {
            return Err(failed(format!("the cache's {} bytes are used up", budget.limit())));
        }
        let mut values = Vec::new();
        if values.try_reserve_exact(len).is_err() {
            budget.give_back(bytes);
            return Err(failed(format!("no memory for {bytes} bytes")));
        }
        values.resize(len, 0.0);
        Ok(Self { values: values.into_boxed_slice(), budget: Arc::clone(budget) })
    }

    /// From saved values.
    pub fn new(values: Box<[f32]>, budget: &Arc<Budget>) -> Self {
        budget.count(size_of_val(&*values));
        Self { values, budget: Arc::clone(budget) }
    }

    /// The values of all layers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// The state now, and earlier ones by the number of positions that they have seen.
#[derive(Clone, Debug, Default)]
pub(super) struct RecurrentState {
    now: Option<Snapshot>,
    checkpoints: Vec<(usize, Snapshot)>,
}

impl RecurrentState {
    /// A copy of the state now, which has seen `len` positions.
    pub(super) fn copy_within(&self, budget: &Arc<Budget>, len: usize) -> Result<Self> {
        let mut copy = Self::default();
        if let Some(now) = &self.now {
            let mut values = PageState::zeros(now.values.len(), budget)?;
            values.values.copy_from_slice(&now.values);
            copy.set(Arc::new(values), len);
        }
        Ok(copy)
    }

    /// Checkpoints, and the state now, which has seen `len` positions.
    pub(super) fn all(&self, len: usize) -> Vec<(usize, Snapshot)> {
        let mut all = self.checkpoints.clone();
        all.extend(self.now.iter().map(|now| (len, Arc::clone(now))));
        all.dedup_by_key(|(at, _)| *at);
        all
    }

    pub(super) fn set(&mut self, state: Snapshot, len: usize) {
        self.restore(vec![(len, state)]);
    }

    /// As [`RecurrentState::all`] of another sequence gave them: the last one is the state now.
    pub(super) fn restore(&mut self, states: Vec<(usize, Snapshot)>) {
        self.now = states.last().map(|(_, state)| Arc::clone(state));
        self.checkpoints = states;
        let more = self.checkpoints.len().saturating_sub(MAX_CHECKPOINTS);
        self.checkpoints.drain(..more);
    }

    /// Bytes that [`RecurrentState::own`] will allocate.
    pub(super) fn missing(&self, bytes: usize) -> usize {
        if bytes == 0 || self.now.as_ref().is_some_and(|now| Arc::strong_count(now) == 1) { 0 } else { bytes }
    }

    /// Makes the state one that no other sequence and no checkpoint holds, of `len` values.
    pub(super) fn own(&mut self, len: usize, budget: &Arc<Budget>) -> Result<()> {
        if len == 0 || self.now.as_ref().is_some_and(|now| Arc::strong_count(now) == 1) {
            return Ok(());
        }
        let mut own = PageState::zeros(len, budget)?;
        if let Some(now) = &self.now {
            own.values.copy_from_slice(&now.values);
        }
        self.now = Some(Arc::new(own));
        Ok(())
    }

    /// The values, to be written; empty where others hold them too.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.now.as_mut().and_then(Arc::get_mut).map_or(&mut [], |now| &mut now.values)
    }

    pub(super) fn checkpoint(&mut self, len: usize) {
        let Some(now) = &self.now else { return };
        self.checkpoints.retain(|(at, _)| *at != len);
        self.checkpoints.push((len, Arc::clone(now)));
        self.checkpoints.sort_by_key(|(at, _)| *at);
        if self.checkpoints.len() > MAX_CHECKPOINTS {
            self.checkpoints.remove(0);
        }
    }

    /// Back to the last checkpoint of at most `len` positions, or to the start. Returns how many they are.
    pub(super) fn rewind(&mut self, len: usize) -> usize {
        self.checkpoints.retain(|(at, _)| *at <= len);
        match self.checkpoints.last() {
            Some((at, state)) => {
                self.now = Some(Arc::clone(state));
                *at
            }
            None => {
                self.now = None;
                0
            }
        }
    }
}

/// The states of a sequence's layers, to be written.
pub struct StateSlices<'a> {
    layers: Vec<&'a mut [f32]>,
}

impl<'a> StateSlices<'a> {
    pub(super) fn new(mut values: &'a mut [f32], ranges: &[Range<usize>]) -> Self {
        let mut layers = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (own, rest) = values.split_at_mut(range.len().min(values.len()));
            layers.push(own);
            values = rest;
        }
        Self { layers }
    }

    /// The state of layer `layer`.
    pub fn layer(&mut self, layer: usize) -> &mut [f32] {
        self.layers[layer]
    }

    /// The state of layer `layer` from value `from` on, cut into chunks for threads.
    pub fn chunks(&mut self, layer: usize, range: Range<usize>, chunk: usize) -> Chunks<'_, f32> {
        Chunks::new(&mut self.layers[layer][range], chunk)
    }
}

crate::text::opaque!(StateSlices<'_>);
