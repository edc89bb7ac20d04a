//! How vectors multiply bytes: what `DOT` of [`super::Avx2`] may be, and what products in pairs of 16 bits have in common.

use std::arch::asm;
use std::arch::x86_64::*;

/// Pairs of products in 16 bits: AVX2 alone.
pub(in crate::isa) const PAIRS: u8 = 0;
/// Four products added to 32 bits by AVX-VNNI.
pub(in crate::isa) const AVX_VNNI: u8 = 1;
/// The same by AVX512-VNNI with VL.
pub(in crate::isa) const AVX512_VNNI: u8 = 2;

/// The most sums of two products of a byte up to `max` and an activation that 16 bits hold.
pub(super) const fn headroom(max: u8) -> usize {
    32767 / (max as usize * 2 * 127)
}

/// Shuffle orders that move byte `i` of each lane to the upper byte of both its 16-bit halves (0x80 gives zero).
pub(super) static UPPER: [[u32; 4]; 4] = [
    [0x0080_0080, 0x0480_0480, 0x0880_0880, 0x0c80_0c80],
    [0x0180_0180, 0x0580_0580, 0x0980_0980, 0x0d80_0d80],
    [0x0280_0280, 0x0680_0680, 0x0a80_0a80, 0x0e80_0e80],
    [0x0380_0380, 0x0780_0780, 0x0b80_0b80, 0x0f80_0f80],
];

/// `acc` plus four products of unsigned and signed bytes.
///
/// # Safety
/// The CPU must have the instruction of `DOT`, which isn't [`PAIRS`].
#[inline(always)]
pub(super) unsafe fn dpbusd<const DOT: u8>(acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
    // SAFETY: as the caller says.
    unsafe {
        if DOT == AVX512_VNNI {
            _mm256_dpbusd_epi32(acc, unsigned, signed)
        } else {
            _mm256_dpbusd_avx_epi32(acc, unsigned, signed)
        }
    }
}

/// `acc` plus two products of 16-bit halves.
///
/// # Safety
/// As [`dpbusd`].
#[inline(always)]
pub(super) unsafe fn dpwssd<const DOT: u8>(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: as the caller says.
    unsafe { if DOT == AVX512_VNNI { _mm256_dpwssd_epi32(acc, a, b) } else { _mm256_dpwssd_avx_epi32(acc, a, b) } }
}

/// [`dpwssd`] as one instruction, which the compiler would else take apart into a multiplication and an addition.
///
/// # Safety
/// As [`dpbusd`].
#[inline(always)]
pub(super) unsafe fn dpwssd_whole<const DOT: u8>(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: as the caller says.
    unsafe { if DOT == AVX512_VNNI { dpwssd_512(acc, a, b) } else { dpwssd_avx(acc, a, b) } }
}

#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dpwssd_avx(mut acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("{{vex}} vpdpwssd {acc}, {a}, {b}", acc = inout(ymm_reg) acc, a = in(ymm_reg) a, b = in(ymm_reg) b,
            options(nomem, nostack, preserves_flags));
    }
    acc
}

#[target_feature(enable = "avx2,avx512vl,avx512vnni")]
#[inline]
fn dpwssd_512(mut acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("vpdpwssd {acc}, {a}, {b}", acc = inout(ymm_reg) acc, a = in(ymm_reg) a, b = in(ymm_reg) b,
            options(nomem, nostack, preserves_flags));
    }
    acc
}
