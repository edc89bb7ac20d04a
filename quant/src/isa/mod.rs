//! Instruction sets: which one a kernel runs on is chosen at run time, once. Nothing outside this folder names one.
//!
//! An [`Isa`] can only be made for an instruction set that this CPU has, so a safe function that takes one may call the
//! kernels behind it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod caches;
#[cfg(windows)]
pub mod cores;
pub(crate) mod costs;
pub(crate) mod dispatch;
mod levels;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod safe;
mod scalar;
pub(crate) mod simd;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no other architecture has a unit of tiles"))]
pub(crate) mod tiles;
pub(crate) mod unroll;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use levels::Isa;
