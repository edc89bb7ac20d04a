//! From a model to text: sessions (one sequence with its cache), their files, and what the machine can do at most.

pub mod measure;
pub mod plan;
pub mod saved;
mod session;

pub use session::{DEFAULT_BATCH, Options, Session};
