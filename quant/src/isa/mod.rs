//! Instruction sets: which one a kernel runs on is chosen at run time, once. Nothing outside this folder names one.
//!
//! An [`Isa`] can only be made for an instruction set that this CPU has, so a safe function that takes one may call the
//! kernels behind it.

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod caches;
pub(crate) mod ceiling;
pub(crate) mod dispatch;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod safe;
mod scalar;
pub(crate) mod simd;
pub(crate) mod unroll;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

/// An instruction set that this CPU supports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Isa(Level);

/// The instruction sets in rising order of preference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Portable Rust: the definition of every result.
    Scalar,
    /// SSE4.1 and SSSE3: computers without AVX.
    #[cfg(target_arch = "x86_64")]
    Sse41,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 with the 256-bit integer dot product (AVX-VNNI).
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 F/BW/DQ/VL with the integer dot product (AVX512-VNNI), on top of AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// NEON, which every 64-bit ARM has.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// NEON with the integer dot product (FEAT_DotProd).
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

/// `(level, name)`: the names that `TOKKI_ISA` takes.
const NAMES: &[(Level, &str)] = &[
    (Level::Scalar, "scalar"),
    #[cfg(target_arch = "x86_64")]
    (Level::Sse41, "sse41"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx2, "avx2"),
    #[cfg(target_arch = "x86_64")]
    (Level::AvxVnni, "avxvnni"),
    #[cfg(target_arch = "x86_64")]
    (Level::Avx512Vnni, "avx512vnni"),
    #[cfg(target_arch = "aarch64")]
    (Level::Neon, "neon"),
    #[cfg(target_arch = "aarch64")]
    (Level::NeonDot, "neondot"),
];

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

    /// The one named by `TOKKI_ISA`, else the best.
    ///
    /// # Errors
    /// The name, if it's unknown or the CPU lacks it, with the names that would do.
    pub fn from_env() -> Result<Self, String> {
        match std::env::var("TOKKI_ISA") {
            Err(_) => Ok(Self::best()),
            Ok(name) => Self::by_name(&name).ok_or_else(|| {
                let names: Vec<_> = Self::available().iter().map(|isa| isa.name()).collect();
                format!("TOKKI_ISA={name}: wanted one of {}, which this CPU has", names.join(", "))
            }),
        }
    }

    /// [`Isa::from_env`] once per process; a bad name counts as not set (the command line reports it before).
    pub fn detect() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| Self::from_env().unwrap_or_else(|_| Self::best()))
    }

    /// The level, for the dispatch tables of this crate.
    #[inline]
    pub fn level(self) -> Level {
        self.0
    }

    /// Its name, as `TOKKI_ISA` takes it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(level, _)| *level == self.0).map_or("scalar", |(_, name)| name)
    }
}

#[cfg(target_arch = "x86_64")]
fn supported(level: Level) -> bool {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = || has!("avx2") && has!("fma") && has!("f16c");
    match level {
        Level::Scalar => true,
        Level::Sse41 => has!("sse4.1") && has!("ssse3"),
        Level::Avx2 => avx2(),
        Level::AvxVnni => avx2() && has!("avxvnni"),
        Level::Avx512Vnni => {
            avx2() && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("avx512vnni")
        }
    }
}

#[cfg(target_arch = "aarch64")]
fn supported(level: Level) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match level {
        Level::Scalar => true,
        Level::Neon => has!("neon"),
        Level::NeonDot => has!("neon") && has!("dotprod"),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn supported(level: Level) -> bool {
    matches!(level, Level::Scalar)
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
