//! From a model to text: sessions (one sequence with its cache), and their files.

mod answer;
mod batch;
mod conversation;
mod disk;
mod embed;
mod gauges;
mod generate;
mod handle;
#[cfg(feature = "grammar")]
mod held;
mod llm;
pub mod messages;
mod options;
mod scheduler;
mod sequence;
mod session;
pub mod session_file;
mod turn;

pub use crate::arch::Pooling;
pub use crate::forward::{DEFAULT_BATCH, Trace};
pub use crate::kv::{KvKind, SharedBudget};
pub use answer::{Answer, FinishReason, Logprob, Stats, Wanted};
pub use conversation::{Conversation, GenerateOptions, Observer, Turn};
pub use embed::{Embedder, SharedEmbedder, normalize};
pub use gauges::{Count, Gauges, Load};
pub use generate::{Generation, Request};
pub use handle::{Engine, least_cache};
pub use llm::{Llm, Prompt, not_generative};
pub use options::{DiskCache, EngineOptions, Options};
pub use sequence::{Event, Submission};
pub use session::Session;
