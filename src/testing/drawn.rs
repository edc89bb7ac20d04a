//! Weights drawn from a seed by name, the same in any language: every value is a signed power of two, exact in F16.

/// The values of tensor `name` of a model of `arch`, in the order of the file.
///
/// `z_i = mix(mix(seed ^ fnv1a64(name)) + (i + 1) * 0x9E3779B97F4A7C15)` gives sign and exponent of value `i`; what kind of
/// tensor it is decides their range.
pub fn drawn(seed: u64, arch: &str, name: &str, shape: &[u64]) -> Vec<f32> {
    let count: u64 = shape.iter().product();
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    let key = mix(seed ^ hash);
    let (kind, factor) = kind(arch, name, shape);
    let columns = shape.first().copied().unwrap_or(1);
    let exponent = (64 - columns.leading_zeros()).saturating_sub(2) / 2;
    let value = |i: u64| {
        let z = mix(key.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let (sign, k) = (if z & 1 == 1 { -1.0 } else { 1.0 }, (z >> 1 & 3) as i32);
        let power = |base: i32| (f32::from(2u8)).powi(base - k);
        factor
            * match kind {
                Kind::Matrix => sign * power(-(exponent as i32)),
                Kind::Embed => sign * power(-4),
                Kind::One => 1.0 + sign * power(-2),
                Kind::Small => sign * power(-3),
                Kind::Unit => sign * power(0),
                Kind::Decay => -power(1),
                Kind::Period => f32::from(2u8).powi(k),
            }
    };
    (0..count).map(value).collect()
}

#[derive(Clone, Copy)]
enum Kind {
    Matrix,
    Embed,
    One,
    Small,
    Unit,
    Decay,
    Period,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What kind of tensor it is, and what its values are multiplied by.
fn kind(arch: &str, name: &str, shape: &[u64]) -> (Kind, f32) {
    let any = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let ends = |words: &[&str]| words.iter().any(|word| name.ends_with(word));
    let plain = match () {
        () if matches!(arch, "gemma3n" | "gemma4") && any(&["attn_q_norm"]) => return (Kind::One, 0.125),
        () if matches!(arch, "t5" | "t5encoder") && any(&["attn_q.weight"]) => return (Kind::Matrix, 0.125),
        () if matches!(arch, "exaone4" | "olmo2" | "hrm_text") && any(&["token_embd."]) => return (Kind::Embed, 8.0),
        () if any(&["ffn_gate_inp_shexp", "res_score", "cls.output.weight", "ssm_beta.", "ssm_alpha."]) => Kind::Matrix,
        () if any(&["rope_freqs", "rope_factors"]) => Kind::Period,
        () if ends(&["ssm_a"]) => Kind::Decay,
        () if ends(&["ssm_dt.bias"]) || any(&["ssm_dt_b", "attn_sinks"]) => Kind::Unit,
        () if ends(&[".bias", "_base", "_base.weight", "decay.weight"]) || any(&["lerp"]) => Kind::Small,
        () if any(&["altup_"]) && any(&["_coef"]) => Kind::Small,
        () if any(&["norm", "_ln.", "scale"]) || ends(&["_ln", "ssm_d"]) => Kind::One,
        () if any(&["token_embd", "position_embd", "token_types", "pos_embd"]) => Kind::Embed,
        () if shape.len() > 1 => Kind::Matrix,
        () => Kind::One,
    };
    (plain, 1.0)
}
