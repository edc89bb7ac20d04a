//! What tests need to make models out of nothing: a GGUF writer and a seeded generator. Not part of the engine.

mod drawn;
mod tiny;
mod writer;

pub use drawn::drawn;
pub use tiny::{tiny, vocabulary};
pub use tokki_quant::testing::Rng;
pub use writer::{FileTensor, Writer, text};
