//! THE TABLE of instruction sets: one row per level. Its token says the rest: whether a CPU has it, its operations, its limits.

#[cfg(target_arch = "aarch64")]
use super::aarch64::{Neon, dots as arm_dots};
use super::scalar::Scalar;
use super::simd::{Kernel, Token};
use super::tiles::TileKernel;
#[cfg(target_arch = "x86_64")]
use super::x86::{Amx, Avx2, Avx512, Sse41, dots};

macro_rules! levels {
    ($($arch:literal $level:ident, $name:literal, $token:ty, $(with $unit:ty,)? $about:literal;)*) => {
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

        /// Why this machine does not have it; `None` where it does.
        fn missing(level: Level) -> Option<&'static str> {
            match level {
                Level::Scalar => None,
                $(#[cfg(target_arch = $arch)] Level::$level => {
                    let unit: Option<&'static str> = None $(.or_else(<$unit>::missing))?;
                    unit.or_else(|| (!<$token>::supported()).then_some("this CPU does not have it"))
                })*
            }
        }

        /// [`Token::LACKS`].
        fn lacks(level: Level) -> Option<&'static str> {
            match level {
                Level::Scalar => Scalar::LACKS,
                $(#[cfg(target_arch = $arch)] Level::$level => <$token>::LACKS,)*
            }
        }

        /// Why it is used only where its name is asked for; `None` for all others.
        fn not_by_itself(level: Level) -> Option<&'static str> {
            match level {
                $($(#[cfg(target_arch = $arch)] Level::$level => <$unit>::NOT_BY_ITSELF,)?)*
                _ => None,
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

        /// Runs `kernel` with the token and the unit of tiles of `isa` where that has one, else gives the kernel back.
        pub(crate) fn with_tiles<K: TileKernel>(isa: Isa, kernel: K) -> Result<K::Out, K> {
            match isa.0 {
                $($(#[cfg(target_arch = $arch)]
                // SAFETY: an `Isa` is made only for what this machine has; and no such kernel starts another one.
                Level::$level => Ok(kernel.run(unsafe { <$token>::new() }, &mut unsafe { <$unit>::new() })),)?)*
                _ => Err(kernel),
            }
        }
    };
}

levels! {
    // processor, level, name, token, its unit of tiles if there is one, what it is
    "x86_64" Sse41, "sse41", Sse41, "SSE4.1 and SSSE3: computers without AVX.";
    "x86_64" Avx2, "avx2", Avx2<{ dots::PAIRS }>, "AVX2, FMA and F16C.";
    "x86_64" AvxVnni, "avxvnni", Avx2<{ dots::AVX_VNNI }>, "AVX2 with the 256-bit integer dot product (AVX-VNNI).";
    "x86_64" Avx512Vnni, "avx512vnni", Avx512, "AVX-512 F/BW/DQ/VL with the integer dot product, on top of AVX2.";
    "x86_64" Amx, "amx", Avx512, with Amx, "That with a unit of tiles (AMX-INT8) for products with many columns.";
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

    /// What this machine has, worst first; never empty.
    pub fn available() -> Vec<Self> {
        NAMES.iter().map(|&(level, _)| level).filter(|&level| missing(level).is_none()).map(Self).collect()
    }

    /// The instruction set of that name, if this machine has it.
    pub fn by_name(name: &str) -> Option<Self> {
        level(name).filter(|&level| missing(level).is_none()).map(Self)
    }

    /// Why the instruction set of that name is not used here by itself, or not at all; `None` where it may be, and for
    /// names of none.
    pub fn why_off(name: &str) -> Option<&'static str> {
        let level = level(name)?;
        missing(level).or_else(|| not_by_itself(level))
    }

    /// The best one of this machine, but for those that are used only where their name is asked for.
    pub fn best() -> Self {
        let levels = NAMES.iter().map(|&(level, _)| level).filter(|&level| not_by_itself(level).is_none());
        levels.filter(|&level| missing(level).is_none()).max().map_or(Self::SCALAR, Self)
    }

    /// The best one of all for such a processor, by name, and why it is not used here by itself; `None` where it is.
    pub fn unused() -> Option<(&'static str, &'static str)> {
        let &(_, name) = NAMES.last()?;
        Self::why_off(name).map(|why| (name, why))
    }

    /// What a computer lacks that has nothing better, and what comes of it, as a person is told; `None` where it lacks nothing.
    pub fn lacks(self) -> Option<&'static str> {
        lacks(self.0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(level, _)| *level == self.0).map_or("scalar", |(_, name)| name)
    }
}

/// The level of that name.
fn level(name: &str) -> Option<Level> {
    NAMES.iter().find(|(_, n)| *n == name).map(|&(level, _)| level)
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

    #[test]
    fn what_is_off_says_why() {
        assert_eq!(Isa::why_off("abacus"), None);
        assert_eq!(Isa::why_off(Isa::best().name()), None);
        for &(_, name) in NAMES {
            let is_here = Isa::by_name(name).is_some();
            assert!(is_here || Isa::why_off(name).is_some(), "{name}");
            assert!(name == "amx" || is_here == Isa::why_off(name).is_none(), "{name}");
        }
        assert_eq!(Isa::unused(), NAMES.last().and_then(|&(_, name)| Some((name, Isa::why_off(name)?))));
        assert!(Isa::SCALAR.lacks().is_some() && NAMES.iter().any(|&(level, _)| lacks(level).is_none()));
        // Until it has been run where there is one: by its name alone.
        assert_ne!(Isa::best().name(), "amx");
        if let Some(amx) = Isa::by_name("amx") {
            assert!(amx > Isa::best() && Isa::available().contains(&amx));
            assert_eq!(Isa::why_off("amx"), Some("it has not been chosen: TOKKI_ISA=amx"));
        }
    }
}
