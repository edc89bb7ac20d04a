//! What measures memory, time or whole models: its own binary, so that other tests do not disturb it.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; helpers are shared between modules")]
#![allow(clippy::print_stderr, reason = "says what it measured and what it skipped")]

mod expanded_latents;
#[cfg(target_os = "linux")]
mod larger_than_memory;
#[path = "../suite/launch.rs"]
mod launch;
mod predictions;
mod quality;
#[cfg(target_os = "linux")]
mod split;
