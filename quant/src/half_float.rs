//! f16 (IEEE binary16) to f32 and back, one value at a time: what the vector conversions must equal.

/// Exact.
#[inline]
pub(crate) fn to_f32(x: u16) -> f32 {
    let sign = u32::from(x & 0x8000) << 16;
    let magnitude = u32::from(x & 0x7fff);
    let bits = match magnitude {
        // 2^-24 times the integer: exact, and denormal halves are normal singles.
        0..0x0400 => (magnitude as f32 * f32::from_bits(0x3380_0000)).to_bits(),
        0x0400..0x7c00 => (magnitude << 13) + ((127 - 15) << 23),
        0x7c00 => 0x7f80_0000,
        _ => 0x7fc0_0000 | (magnitude << 13),
    };
    f32::from_bits(sign | bits)
}

/// Rounded half to even; infinity from 65520 on.
#[inline]
pub(crate) fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let half = if magnitude > 0x7f80_0000 {
        0x7e00 | (magnitude >> 13) as u16 & 0x3ff
    } else if magnitude >= 0x477f_f000 {
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        // Normal: rebias, then add just under half a unit, and the last bit kept so that ties go to even.
        let odd = (magnitude >> 13) & 1;
        ((magnitude - ((127 - 15) << 23) + 0xfff + odd) >> 13) as u16
    } else {
        // Denormal: adding 0.5 puts the unit of the sum at 2^-24, so the addition itself rounds.
        ((f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()) as u16
    };
    sign | half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_equals_the_half_crate_both_ways() {
        for x in 0..=u16::MAX {
            let want = half::f16::from_bits(x);
            let got = to_f32(x);
            assert!(got.to_bits() == want.to_f32().to_bits() || got.is_nan() && want.is_nan(), "{x:#x}");
            assert!(from_f32(got) == x || got.is_nan() && half::f16::from_bits(from_f32(got)).is_nan());
        }
    }

    #[test]
    fn rounding_equals_the_half_crate_around_every_half() {
        for x in 0..0x7c00u16 {
            let (low, high) = (to_f32(x), to_f32(x + 1).min(65536.0));
            let middle = (low + high) / 2.0;
            for value in [low.next_up(), middle.next_down(), middle, middle.next_up(), high.next_down()] {
                for value in [value, -value] {
                    assert_eq!(from_f32(value), half::f16::from_f32(value).to_bits(), "{value:e}");
                }
            }
        }
    }
}
