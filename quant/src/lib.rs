//! Numbers only: dot products straight on the quantized blocks of GGUF files. No input or output, no threads of its own,
//! no file format, no model words.

pub mod isa;
pub mod share;
pub mod team;
