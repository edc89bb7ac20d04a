//! Tensor formats that exist in GGUF files but that products are not computed with: names and sizes, so that a model can be
//! described and refused by name. Single numbers among them may stand in small tensors (norms, factors, biases), which are
//! read as f32.

/// One format.
pub(super) struct Foreign {
    id: u32,
    /// The community's name.
    pub(super) name: &'static str,
    /// Values and bytes of one block, where they are known for certain.
    pub(super) block: Option<(u64, u64)>,
    /// How one reads as f32, to the nearest, where it is a single number.
    pub(super) number: Option<fn(&[u8]) -> f32>,
}

const fn row(id: u32, name: &'static str, block_len: u64, block_bytes: u64) -> Foreign {
    Foreign { id, name, block: Some((block_len, block_bytes)), number: None }
}

const fn name(id: u32, name: &'static str) -> Foreign {
    Foreign { id, name, block: None, number: None }
}

/// A format of single numbers of `bytes` bytes.
const fn number(id: u32, name: &'static str, bytes: u64, read: fn(&[u8]) -> f32) -> Foreign {
    Foreign { id, name, block: Some((1, bytes)), number: Some(read) }
}

/// The function that reads a little-endian number of this type.
macro_rules! reads {
    ($number:ty) => {
        |bytes| bytes.first_chunk().map_or(0.0, |bytes| <$number>::from_le_bytes(*bytes) as f32)
    };
}

/// By number. Formats without a size have been withdrawn from files, or are too new to be certain of.
const FOREIGN: [Foreign; 17] = [
    name(4, "Q4_2"),
    name(5, "Q4_3"),
    row(9, "Q8_1", 32, 36),
    row(15, "Q8_K", 256, 292),
    number(24, "I8", 1, reads!(i8)),
    number(25, "I16", 2, reads!(i16)),
    number(26, "I32", 4, reads!(i32)),
    number(27, "I64", 8, reads!(i64)),
    number(28, "F64", 8, reads!(f64)),
    name(31, "Q4_0_4_4"),
    name(32, "Q4_0_4_8"),
    name(33, "Q4_0_8_8"),
    name(36, "IQ4_NL_4_4"),
    name(37, "IQ4_NL_4_8"),
    name(38, "IQ4_NL_8_8"),
    name(41, "Q1_0"),
    name(42, "Q2_0"),
];

/// The format with this GGUF number.
pub(super) fn find(id: u32) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|row| row.id == id)
}
