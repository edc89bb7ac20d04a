//! tokki runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
//!
//! A question to `model`, the path of a GGUF file, and its answer:
//!
//! ```
//! use std::sync::Arc;
//! use tokki::{Conversation, Llm, Options, Part};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let model = folder.path().join("model.gguf");
//! # let tiny = tokki::testing::tiny("llama", 1)?;
//! # tiny.text("tokenizer.chat_template", "{{ messages[-1].content }}").write(&model).unwrap();
//! let llm = Arc::new(Llm::open(&model)?);
//! let mut conversation = Conversation::open(llm, Options::default())?;
//! let turn = conversation.ask("Why is the sky blue?", &mut |part: &Part| {
//!     print!("{}", part.text);
//!     Ok(())
//! })?;
//! println!("\n{} tokens", turn.stats.tokens);
//! # assert!(turn.stats.tokens > 0);
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
pub mod engine;
pub mod error;
pub mod gguf;
pub mod model;
pub mod parallel;
pub mod sample;
pub mod tokenizer;

// Rooms that are no part of the library's interface: the command, the tests and the benchmarks of this repository look into them,
// and they change as those do.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "pull")]
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod describe;
#[doc(hidden)]
pub mod forward;
#[doc(hidden)]
pub mod interrupt;
#[doc(hidden)]
pub mod kv;
#[doc(hidden)]
pub mod machine;
#[doc(hidden)]
pub mod perplexity;
#[doc(hidden)]
pub mod platform;
#[doc(hidden)]
pub mod predict;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
#[doc(hidden)]
pub mod shapes;
#[cfg(feature = "pull")]
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod suggest;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod units;

pub use chat::Part;
pub use engine::{Conversation, Listener as Observer, Llm, Options, Session, Wishes};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "grammar")]
pub use sample::Form;
pub use sample::{Params, Sampler};
