//! tokki runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
//!
//! # The straight line, bytes to text
//! mapped file -> [`gguf::Gguf`] (checked keys and tensor views) -> [`arch::Spec`] -> `model::Model` -> a session;
//! prompt -> `chat` (template) -> `tokenizer` -> `forward` -> logits -> `sample` -> token -> stream decoder -> piece.
//!
//! Dependencies point one way: `cli -> engine -> {chat, tokenizer, sample, forward} -> {model, kv, parallel} -> quant`,
//! and `model -> arch -> gguf`. `tests/layering.rs` keeps it so.

#![deny(unsafe_code)]

pub mod arch;
pub mod chat;
pub mod cli;
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
pub mod server;
pub mod shapes;
pub mod store;
pub mod suggest;
pub mod testing;
pub mod text;
pub mod tokenizer;
pub mod units;

pub use error::{Error, Result};
