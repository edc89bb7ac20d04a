//! tokki runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
//!
//! A question to `model`, the path of a GGUF file, and its answer:
//!
//! ```
//! use std::sync::Arc;
//! use tokki::engine::Part;
//! use tokki::{Conversation, Llm, Options};
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
//! `grammar` is answers that keep to a schema or grammar, `testing` tiny models for tests, `cli` (the default) the command
//! `tokki`, of which `server` and `pull` are parts: its HTTP server, its store of models with their downloads. A program that
//! only runs models takes none of them: `tokki = { default-features = false }`.
//!
//! # The straight line, bytes to text
//! mapped file -> `gguf::Gguf` (checked keys and tensor views) -> `arch::Spec` -> `model::Model` -> a session;
//! prompt -> `chat` (template) -> `tokenizer` -> `forward` -> logits -> `sample` -> token -> stream decoder -> piece.
//!
//! `docs/architecture.md` shows the modules; `tests/suite/layering` holds the list of which may use which.

#![deny(unsafe_code)]
// A module that is private here is the boundary: what it offers to other modules is `pub` in it.
#![allow(unreachable_pub, reason = "modules are private, not each name in them")]
#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "parts of modules that only the command uses")
)]
#![allow(unnameable_types, reason = "`internals`, and what the documentation hides for it, show parts of modules")]

pub mod engine;

mod arch;
mod chat;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "pull")]
mod config;
#[cfg(any(feature = "cli", feature = "server"))]
mod describe;
pub mod error;
mod forward;
mod gguf;
#[cfg(feature = "cli")]
mod interrupt;
mod kv;
mod machine;
mod model;
mod parallel;
#[cfg(feature = "cli")]
mod perplexity;
mod platform;
#[cfg(feature = "cli")]
mod predict;
mod sample;
#[cfg(feature = "server")]
mod server;
#[cfg(any(feature = "cli", feature = "server"))]
mod shapes;
#[cfg(feature = "pull")]
mod store;
mod suggest;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod tokenizer;
mod units;

/// What the tests, the benchmarks and the fuzzing of this repository look into, and no program should: it changes as they do.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod internals {
    /// Every name that a module offers to the others.
    macro_rules! modules {
        ($($module:ident)*) => { $(pub mod $module { pub use crate::$module::*; })* };
    }
    modules! { arch chat gguf model parallel sample tokenizer }

    #[cfg(feature = "pull")]
    pub use crate::config::Settings;
    #[cfg(feature = "cli")]
    pub use crate::describe::Description;
    pub use crate::forward::{PassSettings, Scratch, Span, Want, forward};
    pub use crate::kv::{CacheShape, KvCache};
    #[cfg(feature = "server")]
    pub use crate::server::{Defaults, Models, Notice, Offer, OnNotice, Residency, ServerOptions, serve};
    #[cfg(feature = "cli")]
    pub use crate::shapes::{Plan, outline};
    #[cfg(feature = "pull")]
    pub use crate::store::vouched;
    pub use crate::units::show_bytes;
}

/// The command `tokki`; `stdout_closed` says that what it writes would be lost.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::main as command;

pub use engine::{Conversation, Llm, Observer, Options, Session};
pub use error::Error;
pub(crate) use error::{ErrorKind, Result};
