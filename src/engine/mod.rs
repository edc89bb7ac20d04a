//! From a model to text: sessions (one sequence with its cache), their files, and what the machine can do at most.

mod answer;
mod conversation;
mod embed;
mod generate;
mod llm;
pub mod measure;
pub mod messages;
mod need;
pub mod plan;
pub mod saved;
mod scheduler;
mod sequence;
mod session;
pub mod speed;
mod trial;

pub use answer::{Answer, Finish, Logprob, Stats, Wanted};
pub use conversation::{Conversation, Listener, Turn, Wishes};
pub use embed::{Embedder, normalize, not_generative};
pub use generate::{Generation, Request};
pub use llm::{Llm, Prompt};
pub use scheduler::{Engine, EngineOptions, Gauges};
pub use sequence::{Event, Submission};
pub use session::{DEFAULT_BATCH, Options, Session};
