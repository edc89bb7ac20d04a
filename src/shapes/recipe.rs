//! THE TABLE OF RECIPES: which format each tensor of a quantized file gets, as the community's quantizer decides.

use crate::gguf::DType;

/// What a tensor is for, as far as its format depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorClass {
    /// One-dimensional: norms, biases, sinks, divisors. Always F32.
    Vector,
    /// Chooses experts. Always F32.
    Router,
    /// The output head, or the embedding that serves as one.
    Head,
    /// The value projection.
    Value,
    /// The output projection of attention.
    AttnOutput,
    /// The second matrix of a feed-forward.
    Down,
    /// The same of all experts.
    DownExperts,
    /// The first matrices of all experts.
    Experts,
    /// Everything else.
    Other,
}

/// How a file is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    name: &'static str,
    file_type: u32,
    default: DType,
    /// The output head, or the embedding that serves as one.
    head: DType,
    value: Rule,
    attn_output: DType,
    down: Rule,
    experts: Option<DType>,
}

/// Which layers get better bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// All layers alike.
    All(DType),
    /// The first and last eighth and every third between: the first format; the rest the second.
    More(DType, DType),
    /// The layers before a number.
    First(usize, DType, DType),
    /// The layers before the given part (`1 / n`) of all.
    FirstPart(usize, DType, DType),
    /// By the number of query heads per key-value head: the first format from 4 on.
    Grouped(DType, DType),
}

/// What a rule may ask about a tensor.
pub(super) struct TensorPlace {
    pub class: TensorClass,
    pub layer: usize,
    pub layers: usize,
    pub heads_per_kv: usize,
    /// Values in a row.
    pub cols: usize,
}

const fn plain(name: &'static str, file_type: u32, default: DType, head: DType) -> Recipe {
    Recipe {
        name,
        file_type,
        default,
        head,
        value: Rule::All(default),
        attn_output: default,
        down: Rule::All(default),
        experts: None,
    }
}

use DType::{F16, IQ4XS, MXFP4, Q2K, Q3K, Q4_0, Q4K, Q5K, Q6K, Q8_0};

const RECIPES: [Recipe; 14] = [
    plain("f16", 1, F16, F16),
    plain("q8_0", 7, Q8_0, Q8_0),
    plain("q6_k", 18, Q6K, Q6K),
    Recipe { value: Rule::More(Q6K, Q5K), down: Rule::More(Q6K, Q5K), ..plain("q5_k_m", 17, Q5K, Q6K) },
    plain("q5_k_s", 16, Q5K, Q6K),
    Recipe { value: Rule::More(Q6K, Q4K), down: Rule::More(Q6K, Q4K), ..plain("q4_k_m", 15, Q4K, Q6K) },
    Recipe { value: Rule::First(4, Q5K, Q4K), down: Rule::FirstPart(8, Q5K, Q4K), ..plain("q4_k_s", 14, Q4K, Q6K) },
    plain("q4_0", 2, Q4_0, Q6K),
    Recipe { value: Rule::All(Q5K), attn_output: Q5K, down: Rule::All(Q5K), ..plain("q3_k_l", 13, Q3K, Q6K) },
    Recipe {
        value: Rule::First(2, Q5K, Q4K),
        attn_output: Q4K,
        down: Rule::FirstPart(16, Q5K, Q4K),
        ..plain("q3_k_m", 12, Q3K, Q6K)
    },
    plain("q3_k_s", 11, Q3K, Q6K),
    Recipe { value: Rule::Grouped(Q4K, Q3K), attn_output: Q3K, down: Rule::All(Q3K), ..plain("q2_k", 10, Q2K, Q6K) },
    Recipe {
        value: Rule::Grouped(Q5K, IQ4XS),
        down: Rule::FirstPart(8, Q5K, IQ4XS),
        ..plain("iq4_xs", 30, IQ4XS, Q6K)
    },
    Recipe { experts: Some(MXFP4), ..plain("mxfp4", 38, Q8_0, Q8_0) },
];

impl Recipe {
    /// All recipes.
    pub fn all() -> impl Iterator<Item = Self> {
        RECIPES.into_iter()
    }

    /// The recipe of this name (`q4_k_m`, `Q4_K_M`), if there is one.
    pub fn by_name(name: &str) -> Option<Self> {
        RECIPES.into_iter().find(|recipe| recipe.name.eq_ignore_ascii_case(name))
    }

    /// `q4_k_m`, ...
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The value of `general.file_type`.
    pub fn file_type(self) -> u32 {
        self.file_type
    }

    /// The format of a tensor.
    pub(super) fn dtype(self, place: &TensorPlace) -> DType {
        let wanted = match place.class {
            TensorClass::Vector | TensorClass::Router => return DType::F32,
            TensorClass::Head => self.head,
            TensorClass::Value => self.raised(self.value.pick(place), place.layers),
            TensorClass::AttnOutput => self.attn_output,
            TensorClass::Down => self.down.pick(place),
            TensorClass::DownExperts => self.experts.unwrap_or_else(|| self.down.pick(place)),
            TensorClass::Experts => self.experts.unwrap_or(self.default),
            TensorClass::Other => self.default,
        };
        fitting(wanted, place.cols, place.class)
    }

    /// Models of 80 layers share values among 8 query heads: a little more for them costs next to nothing.
    fn raised(self, dtype: DType, layers: usize) -> DType {
        if layers == 80 && matches!(dtype, Q3K | Q4K) { Q5K } else { dtype }
    }
}

impl Rule {
    fn pick(self, place: &TensorPlace) -> DType {
        let (i, n) = (place.layer, place.layers);
        match self {
            Self::All(dtype) => dtype,
            Self::More(better, rest) => {
                let more = i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
                if more { better } else { rest }
            }
            Self::First(count, better, rest) => {
                if i < count {
                    better
                } else {
                    rest
                }
            }
            Self::FirstPart(part, better, rest) => {
                if i < n / part {
                    better
                } else {
                    rest
                }
            }
            Self::Grouped(better, rest) => {
                if place.heads_per_kv >= 4 {
                    better
                } else {
                    rest
                }
            }
        }
    }
}

/// Rows that do not divide into blocks of 256 take the format of 32 that is nearest; other rows stay F16.
fn fitting(dtype: DType, cols: usize, class: TensorClass) -> DType {
    if cols.is_multiple_of(dtype.block_len()) {
        return dtype;
    }
    if !cols.is_multiple_of(32) {
        return F16;
    }
    match dtype {
        _ if class == TensorClass::Head => Q8_0,
        Q2K | Q3K => Q4_0,
        Q4K => DType::Q5_0,
        Q5K => DType::Q5_1,
        IQ4XS => DType::IQ4NL,
        _ => Q8_0,
    }
}
