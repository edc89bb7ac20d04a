//! From a model to text: sessions (one sequence with its cache), and their files.

mod answer;
mod batch;
mod conversation;
mod disk;
mod embed;
mod gauges;
mod generate;
mod handle;
mod llm;
pub mod messages;
pub mod saved;
mod scheduler;
mod sequence;
mod session;
mod turn;

pub use crate::arch::Pooling;
pub use crate::forward::{DEFAULT_BATCH, Trace};
pub use crate::kv::SharedBudget;
pub use answer::{Answer, Finish, Logprob, Stats, Wanted};
pub use conversation::{Conversation, Listener, Turn, Wishes};
pub use disk::DiskCache;
pub use embed::{Embedder, normalize, not_generative};
pub use gauges::{Count, Gauges, Load};
pub use generate::{Generation, Request};
pub use handle::{Engine, EngineOptions, least_cache};
pub use llm::{Llm, Prompt};
pub use sequence::{Event, Submission};
pub use session::{Options, Session};
