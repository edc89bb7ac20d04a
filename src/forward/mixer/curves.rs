//! Functions of single numbers that several mixers use.

/// `ln(1 + e^x)`, which is `x` from 20 on.
pub(in crate::forward) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}

/// The slope of head `head` of `heads` in ALiBi (arXiv 2108.12409): powers of `2^(-max / n)` for the largest power of two
/// `n` of heads, then odd powers of its root.
pub(super) fn slope(max: f32, head: usize, heads: usize) -> f32 {
    let n = 1 << heads.max(1).ilog2();
    let (base, power) = if head < n { (max / n as f32, head + 1) } else { (max / 2.0 / n as f32, 2 * (head - n) + 1) };
    libm::exp2f(-base * power as f32)
}

/// The bucket of a distance in T5 (arXiv 1910.10683), for both directions: half of the buckets for keys after the query;
/// of each half, half for a distance each, half for distances up to 128 on a logarithmic scale.
pub(super) fn bucket(query: usize, key: usize, buckets: usize) -> usize {
    const FARTHEST: f32 = 128.0;
    let half = buckets / 2;
    let (exact, distance) = (half / 2, query.abs_diff(key));
    let after = if key > query { half } else { 0 };
    if distance < exact {
        return after + distance;
    }
    let log = libm::logf(distance as f32 / exact as f32) / libm::logf(FARTHEST / exact as f32);
    after + (exact + (log * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_halve_for_eight_heads() {
        let slopes: Vec<f32> = (0..8).map(|head| slope(8.0, head, 8)).collect();
        assert_eq!((slopes[0], slopes[7]), (0.5, 1.0 / 256.0));
        assert_eq!(slope(8.0, 8, 12), libm::exp2f(-0.5));
    }

    #[test]
    fn buckets_are_exact_near_and_shared_far() {
        assert_eq!([0, 1, 2].map(|back| bucket(50, 50 - back, 32)), [0, 1, 2]);
        assert_eq!(bucket(50, 51, 32), 17);
        assert_eq!(bucket(500, 0, 32), 15);
    }
}
