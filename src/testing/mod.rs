//! What tests need to make models out of nothing: tensors of numbers and a seeded generator. Not part of the engine.

mod drawn;
mod tensors;
mod tiny;

pub use crate::gguf::write::{FileTensor, Writer, text};
pub use drawn::drawn;
pub use tiny::{tiny, vocabulary};
pub use tokki_quant::testing::Rng;
