//! The formats that can be computed with.

/// A tensor format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the community's names")]
pub enum DType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    IQ4NL,
    IQ4XS,
    BF16,
    MXFP4,
}

/// Format, GGUF number, name, values and bytes of a block.
const TABLE: [(DType, u32, &str, usize, usize); 16] = [
    (DType::F32, 0, "F32", 1, 4),
    (DType::F16, 1, "F16", 1, 2),
    (DType::Q4_0, 2, "Q4_0", 32, 18),
    (DType::Q4_1, 3, "Q4_1", 32, 20),
    (DType::Q5_0, 6, "Q5_0", 32, 22),
    (DType::Q5_1, 7, "Q5_1", 32, 24),
    (DType::Q8_0, 8, "Q8_0", 32, 34),
    (DType::Q2K, 10, "Q2_K", 256, 84),
    (DType::Q3K, 11, "Q3_K", 256, 110),
    (DType::Q4K, 12, "Q4_K", 256, 144),
    (DType::Q5K, 13, "Q5_K", 256, 176),
    (DType::Q6K, 14, "Q6_K", 256, 210),
    (DType::IQ4NL, 20, "IQ4_NL", 32, 18),
    (DType::IQ4XS, 23, "IQ4_XS", 256, 136),
    (DType::BF16, 30, "BF16", 1, 2),
    (DType::MXFP4, 39, "MXFP4", 32, 17),
];

impl DType {
    /// All formats.
    pub const ALL: [Self; 16] = {
        let mut all = [Self::F32; 16];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].0;
            i += 1;
        }
        all
    };

    /// The format with this GGUF number.
    pub fn from_gguf(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// GGUF's number.
    pub fn gguf_id(self) -> u32 {
        TABLE[self as usize].1
    }

    /// `Q4_K`, ...
    pub fn name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Values in a block.
    pub fn block_len(self) -> usize {
        TABLE[self as usize].3
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        TABLE[self as usize].4
    }
}
