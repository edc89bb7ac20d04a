//! From a model to text: sessions (one sequence with its cache) and generation.

mod session;

pub use session::{DEFAULT_BATCH, Options, Session};
