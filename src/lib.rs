//! tokki runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
//!
//! ```no_run
//! use std::sync::Arc;
//! use tokki::{Conversation, Llm, Options, Part};
//!
//! let llm = Arc::new(Llm::open("model.gguf".as_ref())?);
//! let mut conversation = Conversation::open(llm, Options::default())?;
//! let turn = conversation.ask("Why is the sky blue?", &mut |part: &Part| {
//!     print!("{}", part.text);
//!     Ok(())
//! })?;
//! println!("\n{} tokens", turn.stats.tokens);
//! # Ok::<(), tokki::Error>(())
//! ```
//!
//! [`Llm`] holds a model with its tokenizer, template and recommended sampling; sessions share it. A [`Conversation`] talks
//! through the template, a [`Session`] takes tokens, an [`engine::Engine`] serves many at once with continuous batching.
//! `examples/` has more: a chat, an answer that keeps to a schema, a sampler of one's own.
//!
//! # Features
//! `cli` (the default) is the command `tokki` with everything below; `server` the HTTP server, `pull` the store and its
//! downloads, `grammar` answers that keep to a schema or grammar, `testing` tiny models for tests. A program that only
//! runs models takes none of them: `tokki = { default-features = false }`.
//!
//! # The straight line, bytes to text
//! mapped file -> [`gguf::Gguf`] (checked keys and tensor views) -> [`arch::Spec`] -> `model::Model` -> a session;
//! prompt -> `chat` (template) -> `tokenizer` -> `forward` -> logits -> `sample` -> token -> stream decoder -> piece.
//!
//! `docs/architecture.md` shows the rooms; `tests/suite/layering` holds the list of which may use which.

#![deny(unsafe_code)]

pub mod arch;
pub mod chat;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "pull")]
pub mod config;
pub mod describe;
pub mod engine;
pub mod error;
pub mod forward;
pub mod gguf;
pub mod interrupt;
pub mod kv;
pub mod machine;
pub mod model;
pub mod parallel;
pub mod perplexity;
pub mod platform;
pub mod predict;
pub mod sample;
#[cfg(feature = "server")]
pub mod server;
pub mod shapes;
#[cfg(feature = "pull")]
pub mod store;
pub mod suggest;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tokenizer;
pub mod units;

pub use chat::Part;
pub use engine::{Conversation, Listener as Observer, Llm, Options, Session, Wishes};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "grammar")]
pub use sample::Form;
pub use sample::{Params, Sampler};
