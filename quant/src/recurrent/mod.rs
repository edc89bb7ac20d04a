//! One step of layers that keep a state from position to position: short convolutions, selective state spaces, delta rules.
//!
//! A step reads and writes the state of one head or of a band of channels, so that threads share out heads and channels
//! while positions follow each other in order: a prompt gives the same bits as its tokens one by one.

mod conv;
mod delta;
mod rwkv;
mod scan;

pub use conv::conv_step;
pub use delta::{DeltaStep, delta_step, lightning_step};
pub use rwkv::{WkvStep, wkv6_step, wkv7_step};
pub use scan::{scan_channel, scan_head};

#[cfg(test)]
mod tests;
