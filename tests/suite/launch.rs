//! What tests of both binaries begin with: the real binary, started here alone, and what a session is made with. What else a
//! test of them needs, it adds.

use std::process::Command;
use tokki::engine::{KvKind, Options};

/// Where the binary is.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tokki");

/// The command, without arguments.
pub fn tokki() -> Command {
    Command::new(BINARY)
}

/// A session of `context` positions that reads `batch` tokens at a time.
pub fn options(context: usize, kv: KvKind, batch: usize) -> Options {
    Options { context, kv, batch, read_ahead: 0, expand_latents: false }
}
