//! Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as
//! 1, 2, 3" (SC 2011). It has no state: the number at a place of a sequence is a function of seed and place, so neither
//! batching nor a retry nor a resumed session can shift it.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Weyl constants: the golden ratio and sqrt(3) - 1.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const PHILOX_ROUNDS: usize = 10;

/// The block of 128 random bits at `counter` under `key`.
fn block(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let wide = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for round in 0..PHILOX_ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let (high0, low0) = wide(MULTIPLIERS[0], counter[0]);
        let (high1, low1) = wide(MULTIPLIERS[1], counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
    }
    counter
}

/// A number in [0, 1) with 53 random bits, for `position` of the sequence with `seed`.
pub(super) fn uniform(seed: u64, position: u64) -> f64 {
    let [a, b, ..] = at(seed, position);
    unit(a, b)
}

/// A second number of that kind for the same place, independent of the first.
pub(super) fn second(seed: u64, position: u64) -> f64 {
    let [.., a, b] = at(seed, position);
    unit(a, b)
}

fn at(seed: u64, position: u64) -> [u32; 4] {
    block([position as u32, (position >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32])
}

fn unit(a: u32, b: u32) -> f64 {
    let bits = (u64::from(a) << 32 | u64::from(b)) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the paper's library (Random123, `kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn uniform_on_the_unit_interval() {
        let n = 100_000;
        let mut buckets = [0_u32; 10];
        for position in 0..n {
            let x = uniform(7, position);
            assert!((0.0..1.0).contains(&x));
            buckets[(x * 10.0) as usize] += 1;
        }
        // 5 standard deviations of a binomial with p = 1/10.
        let bound = 5.0 * (n as f64 * 0.09).sqrt();
        assert!(buckets.iter().all(|&b| (f64::from(b) - n as f64 / 10.0).abs() < bound), "{buckets:?}");
        assert_ne!(uniform(7, 1), uniform(8, 1));
        assert_ne!(uniform(7, 1), second(7, 1));
        assert_ne!(uniform(7, 1), uniform(7, 1 << 32));
    }
}
