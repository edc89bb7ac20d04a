//! Numbers only: dot products straight on the quantized blocks of GGUF files. No input or output, no threads of its own,
//! no file format, no model words.

mod elementary;
mod half_float;
pub mod isa;
pub mod ops;
pub mod share;
pub mod team;
