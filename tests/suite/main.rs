//! Everything that may run beside other tests.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; helpers are shared between modules")]
#![allow(clippy::print_stderr, reason = "says what it measured and what it skipped")]

mod answers;
mod arch_specs;
mod architectures;
#[cfg(target_os = "linux")]
mod bad_days;
mod bits_matrix;
#[cfg(target_os = "linux")]
mod boundaries;
mod chat;
mod cli;
mod cli_show;
mod cli_store;
mod cli_tokenize;
#[cfg(target_os = "linux")]
mod daily;
#[cfg(target_os = "linux")]
mod dialects;
#[cfg(target_os = "linux")]
mod disk;
mod engine;
mod every_architecture;
#[cfg(unix)]
mod every_flag;
#[cfg(target_os = "linux")]
mod fields;
#[cfg(target_os = "linux")]
mod first_hour;
mod front_door;
mod fuzzed;
mod gguf_open;
#[cfg(unix)]
mod home;
mod hostile_gguf;
#[cfg(target_os = "linux")]
mod kept;
mod launch;
mod layering;
#[cfg(unix)]
mod layout;
mod malformed;
#[cfg(unix)]
mod messages;
#[cfg(unix)]
mod numbers;
mod operation;
mod outputs;
mod perplexity;
#[cfg(unix)]
mod plan;
#[cfg(unix)]
mod pull;
mod reasoning;
mod rows;
mod same_bits;
#[cfg(target_os = "linux")]
mod screen;
mod segments;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(unix)]
mod server;
mod sessions;
mod template_command;
mod templates;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod together;
mod tokenizer;
#[cfg(target_os = "linux")]
mod true_words;
