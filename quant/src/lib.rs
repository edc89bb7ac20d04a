//! Numbers only: dot products straight on the quantized blocks of GGUF files. No input or output, no threads of its own,
//! no file format, no model words.
//!
//! [`dtype`] is the table of formats; `formats` says how each unpacks, `layout` where the blocks of several rows lie;
//! [`matrix`] is a checked view of weights,
//! [`activation`] what they are multiplied with, [`matmul`] the product. `dot` defines the result of each product, bit
//! by bit; whatever runs instead on a given CPU ([`isa`]) gives the same bits.

pub mod activation;
pub mod attention;
pub mod ceiling;
mod dot;
pub mod dtype;
mod elementary;
mod floats;
pub mod fma;
mod formats;
pub mod gates;
mod gemm;
mod gemv;
mod half_float;
pub mod isa;
mod layout;
pub mod matmul;
pub mod matrix;
pub mod norms;
pub mod ops;
mod prefetch;
mod product;
pub mod random;
pub mod recurrent;
pub mod share;
pub mod team;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
