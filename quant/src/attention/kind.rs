//! THE TABLE OF CACHE KINDS: a row here, and a file beside this one that says how its values lie and are computed with.

use super::byte::ByteCache;
use super::float::FloatCache;
use super::format::KvFormat;
use super::half::HalfCache;
use crate::isa::simd::LANES;

/// Rows: kind, name, how its values lie.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $format:ty;)+) => {
        /// What a cache holds for each value.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum KvKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl KvKind {
            /// Every kind with its name.
            pub const NAMES: &[(Self, &'static str)] = &[$((Self::$kind, $name)),+];

            /// Their names.
            pub const WORDS: &[&str] = &[$($name),+];

            /// Its name: `f32`, `f16`, `q8_0`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// Runs `job` with the kind as a type.
            #[inline(always)]
            pub(super) fn with<J: ForKind>(self, job: J) -> J::Out {
                match self {
                    $(Self::$kind => job.run::<$format>(),)+
                }
            }
        }
    };
}

kinds! {
    /// f32.
    F32 = "f32", FloatCache;
    /// f16; values beyond its range are stored as its largest.
    F16 = "f16", HalfCache;
    /// Signed bytes with an f16 scale for each 32 (the last block of a head may be shorter).
    Q8 = "q8_0", ByteCache;
}

impl KvKind {
    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| *n == name).map(|&(kind, _)| kind)
    }

    /// Bytes of one value, without scales.
    pub(super) fn value_bytes(self) -> usize {
        self.with(ValueBytes)
    }

    /// Values of a key that lie side by side for each position.
    pub(super) fn together(self) -> usize {
        self.with(Together)
    }

    /// Whether blocks of values share a scale; queries are quantized, too, then.
    pub(super) fn scaled(self) -> bool {
        self.with(IsScaled)
    }
}

/// Something to be done for a kind of cache.
pub(super) trait ForKind {
    type Out;
    fn run<K: KvFormat>(self) -> Self::Out;
}

struct ValueBytes;

impl ForKind for ValueBytes {
    type Out = usize;
    fn run<K: KvFormat>(self) -> usize {
        K::BYTES / LANES
    }
}

struct Together;

impl ForKind for Together {
    type Out = usize;
    fn run<K: KvFormat>(self) -> usize {
        K::TOGETHER
    }
}

struct IsScaled;

impl ForKind for IsScaled {
    type Out = bool;
    fn run<K: KvFormat>(self) -> bool {
        K::SCALED
    }
}
