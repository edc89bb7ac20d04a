//! THE TABLE of instruction sets: one row per level. Its token says the rest: whether a CPU has it, its operations, its limits.

#[cfg(target_arch = "aarch64")]
use super::aarch64::{Neon, dots as arm_dots};
use super::simd::{Kernel, Token};
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512, Sse41, dots};

macro_rules! levels {
    ($($arch:literal $level:ident, $name:literal, $token:ty, $about:literal;)*) => {
        /// The instruction sets in rising order of preference.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        enum Level {
            /// Portable Rust: the definition of every result.
            Scalar,
            $(#[doc = $about] #[cfg(target_arch = $arch)] $level,)*
        }

        /// `(level, name)`.
        const NAMES: &[(Level, &str)] =
            &[(Level::Scalar, "scalar"), $(#[cfg(target_arch = $arch)] (Level::$level, $name),)*];

        /// Whether this CPU has it.
        fn supported(level: Level) -> bool {
            match level {
                Level::Scalar => true,
                $(#[cfg(target_arch = $arch)] Level::$level => <$token>::supported(),)*
            }
        }

        /// Runs `kernel` with the token of `isa` where that has vectors, else gives the kernel back: what is defined row by row
        /// needs no portable kernel that would never run. It's compiled without the instructions of `isa`: its inner loops go
        /// through [`Token::vectorize`].
        pub(crate) fn with_vectors<K: Kernel>(isa: Isa, kernel: K) -> Result<K::Out, K> {
            match isa.0 {
                Level::Scalar => Err(kernel),
                $(#[cfg(target_arch = $arch)]
                // SAFETY: an `Isa` is made only for what this CPU has.
                Level::$level => Ok(kernel.run(unsafe { <$token>::new() })),)*
            }
        }
    };
}

levels! {
    // processor, level, name, token, what it is
    "x86_64" Sse41, "sse41", Sse41, "SSE4.1 and SSSE3: computers without AVX.";
    "x86_64" Avx2, "avx2", Avx2<{ dots::PAIRS }>, "AVX2, FMA and F16C.";
    "x86_64" AvxVnni, "avxvnni", Avx2<{ dots::AVX_VNNI }>, "AVX2 with the 256-bit integer dot product (AVX-VNNI).";
    "x86_64" Avx512Vnni, "avx512vnni", Avx512, "AVX-512 F/BW/DQ/VL with the integer dot product, on top of AVX2.";
    "aarch64" Neon, "neon", Neon<{ arm_dots::WIDEN }>, "NEON, which every 64-bit ARM has.";
    "aarch64" NeonDot, "neondot", Neon<{ arm_dots::DOT }>, "NEON with the integer dot product (FEAT_DotProd).";
    "aarch64" NeonI8mm, "neoni8mm", Neon<{ arm_dots::TILES }>, "That with products of matrices of bytes (FEAT_I8MM).";
}

/// An instruction set that this CPU supports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Isa(Level);

impl Isa {
    /// The portable path, on every machine.
    pub const SCALAR: Self = Self(Level::Scalar);

    /// What this CPU has, worst first; never empty.
    pub fn available() -> Vec<Self> {
        NAMES.iter().map(|&(level, _)| level).filter(|&level| supported(level)).map(Self).collect()
    }

    /// The instruction set of that name, if this CPU has it.
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, n)| *n == name).filter(|(level, _)| supported(*level)).map(|&(level, _)| Self(level))
    }

    /// The best one of this CPU.
    pub fn best() -> Self {
        Self::available().into_iter().max().unwrap_or(Self::SCALAR)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(level, _)| *level == self.0).map_or("scalar", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_round_trip_and_scalar_is_always_there() {
        assert_eq!(Isa::available()[0], Isa::SCALAR);
        for isa in Isa::available() {
            assert_eq!(Isa::by_name(isa.name()).unwrap(), isa);
        }
        assert_eq!(Isa::by_name("abacus"), None);
    }
}
