//! A tensor that a file will have.

use super::recipe::TensorClass;
use crate::arch::Role;
use crate::gguf::DType;

/// One tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the contiguous one first.
    pub shape: Vec<usize>,
    /// Its format.
    pub dtype: DType,
    /// What it is for.
    pub role: Role,
    /// What its format depends on.
    pub class: TensorClass,
}

impl PlannedTensor {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }

    /// Bytes in its format.
    pub fn bytes(&self) -> u64 {
        self.values() / self.dtype.block_len() as u64 * self.dtype.block_bytes() as u64
    }
}
