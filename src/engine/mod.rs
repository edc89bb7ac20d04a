//! From a model to text and to vectors: sessions (one sequence with its cache) and their files, conversations, an engine that
//! serves many at once, an embedder.

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
mod options;
mod scheduler;
mod sequence;
mod session;
pub mod session_file;
#[cfg(feature = "grammar")]
mod tool_calls;
mod turn;

// What its methods take and give, of the rooms below.
pub use crate::arch::{Classifier, Pooled, Pooling};
pub use crate::chat::{
    Capabilities, Content, Kind, Part, Splitter, Switch, SystemRole, Template, Thinking, ThinkingMode, ThoughtGuard,
    Vars,
};
pub use crate::forward::{DEFAULT_BATCH, Trace};
pub use crate::kv::{KvKind, SharedBudget};
pub use crate::parallel::Pool;
pub use crate::sample::{Constraint, Mask, Origin, Overrides, Params, SampleError, Sampler, SamplingSettings};
#[cfg(feature = "grammar")]
pub use crate::sample::{Form, GrammarConstraint};
pub use crate::tokenizer::{Special, StreamDecoder, TokenKind, Tokenizer};
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
