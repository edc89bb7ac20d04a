//! THE FORMAT TABLE: one row per number format that weights can be stored in.
//!
//! A new format is one file in `formats/` and one row here; kernels and tests iterate the table.

use crate::activation::{ActKind, ActKinds};
use crate::formats::{self, Float, Format, Format32, Format256};

/// Something done for a format whose type is chosen at run time: [`DType::visit`] calls the method of the format's kind.
pub(crate) trait Visitor {
    /// What comes out.
    type Out;
    /// For formats of single numbers.
    fn float<F: Float>(self) -> Self::Out;
    /// For formats of 32 weights a block.
    fn block32<F: Format32>(self) -> Self::Out;
    /// For formats of 256 weights a block.
    fn block256<F: Format256>(self) -> Self::Out;
}

macro_rules! format_table {
    ($($(#[$only:meta])* $variant:ident, $id:literal, $name:literal, $kind:ident, $act:ident, $format:ty;)*) => {
        /// A number format of weights in GGUF files.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum DType { $(#[doc = $name] $(#[$only])* $variant,)* }

        impl DType {
            /// Every format.
            pub const ALL: &'static [Self] = &[$($(#[$only])* Self::$variant,)*];

            /// The format with that number in GGUF files.
            pub fn from_gguf(id: u32) -> Option<Self> {
                match id { $($(#[$only])* $id => Some(Self::$variant),)* _ => None }
            }

            /// Its number in GGUF files.
            pub fn gguf_id(self) -> u32 {
                match self { $($(#[$only])* Self::$variant => $id,)* }
            }

            /// Its name, as people write it: `Q4_K`.
            pub fn name(self) -> &'static str {
                match self { $($(#[$only])* Self::$variant => $name,)* }
            }

            /// Weights in a block; a row is a whole number of blocks.
            pub fn block_len(self) -> usize {
                match self { $($(#[$only])* Self::$variant => <$format as Format>::LEN,)* }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> usize {
                match self { $($(#[$only])* Self::$variant => <$format as Format>::BYTES,)* }
            }

            /// The form of activations that it's multiplied with.
            pub fn act(self) -> ActKind {
                match self { $($(#[$only])* Self::$variant => ActKind::$act,)* }
            }

            /// Calls the visitor with the format's type.
            pub(crate) fn visit<V: Visitor>(self, visitor: V) -> V::Out {
                match self { $($(#[$only])* Self::$variant => visitor.$kind::<$format>(),)* }
            }
        }
    };
}

format_table! {
    // variant, GGUF id, name, kind of block, activations, type
    F32,    0, "F32",    float,    F32,      formats::f32::F32;
    F16,    1, "F16",    float,    F32,      formats::f16::F16;
    BF16,  30, "BF16",   float,    F32,      formats::bf16::BF16;
    Q4_0,   2, "Q4_0",   block32,  Block32,  formats::q4_0::Q4_0;
    Q4_1,   3, "Q4_1",   block32,  Block32,  formats::q4_1::Q4_1;
    Q5_0,   6, "Q5_0",   block32,  Block32,  formats::q5_0::Q5_0;
    Q5_1,   7, "Q5_1",   block32,  Block32,  formats::q5_1::Q5_1;
    Q8_0,   8, "Q8_0",   block32,  Block32,  formats::q8_0::Q8_0;
    IQ4NL, 20, "IQ4_NL", block32,  Block32,  formats::iq4_nl::IQ4NL;
    MXFP4, 39, "MXFP4",  block32,  Block32,  formats::mxfp4::MXFP4;
    NVFP4, 40, "NVFP4",  float,    F32,      formats::nvfp4::NVFP4;
    Q2K,   10, "Q2_K",   block256, Block256, formats::q2_k::Q2K;
    Q3K,   11, "Q3_K",   block256, Block256, formats::q3_k::Q3K;
    Q4K,   12, "Q4_K",   block256, Block256, formats::q4_k::Q4K;
    Q5K,   13, "Q5_K",   block256, Block256, formats::q5_k::Q5K;
    Q6K,   14, "Q6_K",   block256, Block256, formats::q6_k::Q6K;
    IQ4XS, 23, "IQ4_XS", block256, Block256, formats::iq4_xs::IQ4XS;
    TQ1_0, 34, "TQ1_0",  block256, Block256, formats::tq1_0::TQ1_0;
    TQ2_0, 35, "TQ2_0",  block256, Block256, formats::tq2_0::TQ2_0;
    IQ1S,  19, "IQ1_S",  block256, Block256, formats::iq1_s::IQ1S;
    IQ1M,  29, "IQ1_M",  block256, Block256, formats::iq1_m::IQ1M;
    IQ2XXS, 16, "IQ2_XXS", block256, Block256, formats::iq2_xxs::IQ2XXS;
    IQ2XS, 17, "IQ2_XS", block256, Block256, formats::iq2_xs::IQ2XS;
    IQ2S,  22, "IQ2_S",  block256, Block256, formats::iq2_s::IQ2S;
    IQ3XXS, 18, "IQ3_XXS", block256, Block256, formats::iq3_xxs::IQ3XXS;
    IQ3S,  21, "IQ3_S",  block256, Block256, formats::iq3_s::IQ3S;
    // What a new format takes: a file, and a row like this one.
    #[cfg(test)]
    Sample, 0xfeed, "SAMPLE", block256, Block256, formats::sample::Sample;
}

impl DType {
    /// Whether rows can be interleaved by sixteen: those that are multiplied in single precision stay as they are.
    pub fn interleaves(self) -> bool {
        self.act() != ActKind::F32
    }

    /// Bytes of a row of `cols` weights; `None` when `cols` isn't a whole number of blocks, or the size overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl FromIterator<DType> for ActKinds {
    /// The kinds that these formats ask for.
    fn from_iter<I: IntoIterator<Item = DType>>(dtypes: I) -> Self {
        dtypes.into_iter().fold(Self::none(), |kinds, dtype| kinds.with(dtype.act()))
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_round_trip() {
        for (i, &dtype) in DType::ALL.iter().enumerate() {
            assert_eq!(DType::from_gguf(dtype.gguf_id()), Some(dtype));
            assert!(DType::ALL[..i].iter().all(|other| other.name() != dtype.name()));
        }
        assert_eq!(DType::from_gguf(9), None);
    }

    #[test]
    fn the_kind_of_block_and_the_activations_agree() {
        for &dtype in DType::ALL {
            let len = match dtype.act() {
                // Of one weight, or of so many that whole vectors are in one block.
                ActKind::F32 if dtype.block_len().is_multiple_of(16) => dtype.block_len(),
                ActKind::F32 => 1,
                ActKind::Block32 => 32,
                ActKind::Block256 => 256,
            };
            assert_eq!(dtype.block_len(), len, "{dtype}");
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(DType::Q4K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4K.row_bytes(511), None);
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
        assert_eq!(DType::Q8_0.row_bytes(0), Some(0));
    }
}
