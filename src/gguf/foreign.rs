//! Tensor formats that exist in GGUF files but are not computed with: names and sizes, so that a model can be described
//! and refused by name.

/// One format.
pub(super) struct Foreign {
    id: u32,
    /// The community's name.
    pub(super) name: &'static str,
    /// Values and bytes of one block, where they are known for certain.
    pub(super) block: Option<(u64, u64)>,
}

const fn row(id: u32, name: &'static str, block_len: u64, block_bytes: u64) -> Foreign {
    Foreign { id, name, block: Some((block_len, block_bytes)) }
}

const fn name(id: u32, name: &'static str) -> Foreign {
    Foreign { id, name, block: None }
}

/// By number. Formats without a size have been withdrawn from files, or are too new to be certain of.
const FOREIGN: [Foreign; 18] = [
    name(4, "Q4_2"),
    name(5, "Q4_3"),
    row(9, "Q8_1", 32, 36),
    row(15, "Q8_K", 256, 292),
    row(24, "I8", 1, 1),
    row(25, "I16", 1, 2),
    row(26, "I32", 1, 4),
    row(27, "I64", 1, 8),
    row(28, "F64", 1, 8),
    name(31, "Q4_0_4_4"),
    name(32, "Q4_0_4_8"),
    name(33, "Q4_0_8_8"),
    name(36, "IQ4_NL_4_4"),
    name(37, "IQ4_NL_4_8"),
    name(38, "IQ4_NL_8_8"),
    name(40, "NVFP4"),
    name(41, "Q1_0"),
    name(42, "Q2_0"),
];

/// The format with this GGUF number.
pub(super) fn find(id: u32) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|row| row.id == id)
}
