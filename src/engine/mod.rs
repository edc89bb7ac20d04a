//! From a model to text: sessions (one sequence with its cache), their files, and what the machine can do at most.

mod conversation;
mod generate;
pub mod measure;
mod need;
pub mod plan;
pub mod saved;
mod session;
pub mod speed;
mod trial;

pub use conversation::{Conversation, Listener, Turn, Wishes};
pub use generate::{Finish, Generation, Request, Stats};
pub use session::{DEFAULT_BATCH, Options, Session};
