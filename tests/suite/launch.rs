//! The one place that starts the real binary: what else a test of it needs, it adds.

use std::process::Command;

/// Where the binary is.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tokki");

/// The command, without arguments.
pub fn tokki() -> Command {
    Command::new(BINARY)
}
