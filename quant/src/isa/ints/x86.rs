//! [`Ints`] in 256-bit registers: AVX2 alone, and with the dot product instructions of AVX-VNNI or AVX512-VNNI.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Ints, Kernel, ROWS};
use crate::isa::unroll::eight;
use crate::isa::{Isa, Level};

/// AVX2, FMA and F16C are there.
#[derive(Clone, Copy)]
struct Avx2(());

/// AVX-VNNI, too.
#[derive(Clone, Copy)]
struct AvxVnni(());

/// AVX512-VNNI with VL, too.
#[derive(Clone, Copy)]
struct Avx512Vnni(());

pub(super) fn dispatch<K: Kernel>(isa: Isa, kernel: K) {
    match isa.level() {
        Level::Scalar => super::none(isa, kernel),
        // SAFETY: an `Isa` of that level exists only on CPUs with these features.
        Level::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: as above.
        Level::AvxVnni => unsafe { avx_vnni(kernel) },
        // SAFETY: as above.
        Level::Avx512Vnni => unsafe { avx512_vnni(kernel) },
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn avx2<K: Kernel>(kernel: K) {
    kernel.run(Avx2(()));
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn avx_vnni<K: Kernel>(kernel: K) {
    kernel.run(AvxVnni(()));
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn avx512_vnni<K: Kernel>(kernel: K) {
    kernel.run(Avx512Vnni(()));
}

/// Methods whose bodies are intrinsics of the instruction set that `self` proves.
macro_rules! methods {
    ($(fn $name:ident $(<const $n:ident: usize>)? ($self:ident $(, $arg:ident: $type:ty)* $(,)?) -> $out:ty $body:block)*) => {
        $(
            #[inline(always)]
            fn $name $(<const $n: usize>)? ($self $(, $arg: $type)*) -> $out {
                // SAFETY: a value of this type exists only inside the functions above that enable its features; memory is
                // accessed through references to arrays of the size that is read, or only prefetched.
                unsafe { $body }
            }
        )*
    };
}

/// The most sums of two products of a byte up to `max` and an activation that 16 bits hold.
const fn headroom(max: u8) -> usize {
    32767 / (max as usize * 2 * 127)
}

/// `[a, b]` as the two halves of a register.
#[inline(always)]
unsafe fn pair(a: &[u8; 16], b: &[u8; 16]) -> __m256i {
    // SAFETY: 16 bytes are read through each reference; the caller's token proves AVX2.
    unsafe { _mm256_loadu2_m128i(b.as_ptr().cast(), a.as_ptr().cast()) }
}

/// `x`, without the compiler knowing how it was made. Broadcast loads that are blended afterwards are else taken apart into
/// insertions one by one, and those into registers that hold the sums of the last block: blocks would wait for each other.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut x: __m256i) -> __m256i {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} */", inout(ymm_reg) x, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// `x`, which depends on `sum` as far as the compiler knows.
#[inline]
#[target_feature(enable = "avx2")]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
fn pin(mut x: *const u8, sum: &mut __m256i) -> *const u8 {
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} {1} */", inout(reg) x, inout(ymm_reg) *sum, options(pure, nomem, nostack, preserves_flags)) };
    x
}

/// Four activations in every lane.
#[inline(always)]
unsafe fn group(a: &[i8; 4]) -> __m256i {
    // SAFETY: the caller's token proves AVX2.
    unsafe { _mm256_set1_epi32(i32::from_ne_bytes(a.map(|a| a as u8))) }
}

/// Products of signed bytes and activations, in pairs of 16 bits: at most 2 * 128 * 127, which 16 bits hold.
#[inline(always)]
unsafe fn signed_pairs(q: __m256i, a: &[i8; 4]) -> __m256i {
    // SAFETY: the caller's token proves AVX2.
    unsafe { _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(group(a), q)) }
}

macro_rules! ints {
    ($token:ident, $($own:tt)*) => {
        impl Ints for $token {
            type B = __m256i;
            type W = __m256i;
            type I = __m256i;
            type F = __m256;
            type Scale = __m256i;

            $($own)*

            #[inline(always)]
            fn pin<'a, T>(self, x: &'a T, sum: &mut __m256i) -> &'a T {
                // SAFETY: a value of this type exists only where AVX2 is enabled; the pointer comes back as it was.
                unsafe { &*pin((&raw const *x).cast(), sum).cast() }
            }

            methods! {
                fn transpose(self, rows: [&[u8; 16]; ROWS]) -> [__m256i; 4] {
                    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
                    let (a, b, c, d) = (pair(r0, r4), pair(r1, r5), pair(r2, r6), pair(r3, r7));
                    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                    let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                    [
                        _mm256_unpacklo_epi64(ab, cd),
                        _mm256_unpackhi_epi64(ab, cd),
                        _mm256_unpacklo_epi64(ab_high, cd_high),
                        _mm256_unpackhi_epi64(ab_high, cd_high),
                    ]
                }
                fn words(self, rows: [&[u8; 4]; ROWS]) -> __m256i {
                    // Broadcast loads and blends: neither needs the port that shuffles do.
                    let w = eight!(r => opaque(_mm256_set1_epi32(i32::from_ne_bytes(*rows[r]))));
                    let (a, b) = (_mm256_blend_epi32::<2>(w[0], w[1]), _mm256_blend_epi32::<8>(w[2], w[3]));
                    let (c, d) = (_mm256_blend_epi32::<32>(w[4], w[5]), _mm256_blend_epi32::<128>(w[6], w[7]));
                    let (ab, cd) = (_mm256_blend_epi32::<12>(a, b), _mm256_blend_epi32::<192>(c, d));
                    _mm256_blend_epi32::<240>(ab, cd)
                }
                fn splat(self, x: u32) -> __m256i { _mm256_set1_epi32(x as i32) }
                fn and(self, a: __m256i, b: __m256i) -> __m256i { _mm256_and_si256(a, b) }
                fn or(self, a: __m256i, b: __m256i) -> __m256i { _mm256_or_si256(a, b) }
                fn sub_bytes(self, a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi8(a, b) }
                fn min_bytes(self, a: __m256i, b: __m256i) -> __m256i { _mm256_min_epu8(a, b) }
                fn shr(self, x: __m256i, by: u32) -> __m256i { _mm256_srl_epi32(x, _mm_cvtsi32_si128(by as i32)) }
                fn shl(self, x: __m256i, by: u32) -> __m256i { _mm256_sll_epi32(x, _mm_cvtsi32_si128(by as i32)) }
                fn spread(self, x: __m256i, i: usize) -> __m256i {
                    let i = _mm256_set1_epi32(i as i32 * 0x0101_0101);
                    _mm256_shuffle_epi8(x, _mm256_or_si256(i, _mm256_set_epi32(FOUR[3], FOUR[2], FOUR[1], 0, FOUR[3], FOUR[2], FOUR[1], 0)))
                }
                fn lookup(self, table: &[i8; 16], i: __m256i) -> __m256i {
                    let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                    _mm256_shuffle_epi8(table, i)
                }
                fn even(self, x: __m256i) -> __m256i { _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)) }
                fn odd(self, x: __m256i) -> __m256i { _mm256_srai_epi16::<8>(x) }
                fn int(self, x: i32) -> __m256i { _mm256_set1_epi32(x) }
                fn sub(self, a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi32(a, b) }
                fn shl_int(self, a: __m256i, by: u32) -> __m256i { _mm256_sll_epi32(a, _mm_cvtsi32_si128(by as i32)) }
                fn float(self, x: f32) -> __m256 { _mm256_set1_ps(x) }
                fn to_float(self, x: __m256i) -> __m256 { _mm256_cvtepi32_ps(x) }
                fn float_bits(self, x: __m256i) -> __m256 { _mm256_castsi256_ps(x) }
                fn halves(self, x: __m256i) -> (__m256, __m256) {
                    // In each half of the register: four lower halves, four upper ones.
                    let order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
                    let x = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_shuffle_epi8(x, order));
                    (_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(x)))
                }
                fn add_float(self, a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
                fn sub_float(self, a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
                fn mul(self, a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
                fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
                fn store(self, x: __m256) -> [f32; ROWS] {
                    let mut out = [0f32; ROWS];
                    _mm256_storeu_ps(out.as_mut_ptr(), x);
                    out
                }
                fn prefetch(self, at: &[u8], ahead: usize) -> () {
                    _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().wrapping_add(ahead).cast());
                }
            }
        }
    };
}

/// Offsets of a lane's first byte inside its half register, in each byte of the lane.
const FOUR: [i32; 4] = [0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c];

ints! { Avx2,
    const SIGNED_BIAS: i32 = 0;

    #[inline(always)]
    fn signed(self, x: __m256i) -> __m256i {
        x
    }

    methods! {
        fn dot<const N: usize>(self, acc: __m256i, q: &[__m256i; N], max: u8, a: &[[i8; 4]; N]) -> __m256i {
            self.dot_scaled(acc, q, max, a, _mm256_set1_epi16(1))
        }
        fn dot_signed<const N: usize>(self, acc: __m256i, q: &[__m256i; N], a: &[[i8; 4]; N]) -> __m256i {
            self.dot_signed_scaled(acc, q, a, _mm256_set1_epi16(1))
        }
        fn dot_scaled<const N: usize>(
            self, acc: __m256i, q: &[__m256i; N], max: u8, a: &[[i8; 4]; N], scale: __m256i,
        ) -> __m256i {
            let (mut acc, mut sum) = (acc, _mm256_setzero_si256());
            // As many products as 16 bits hold are added before they are widened.
            let run = headroom(max).min(N);
            for i in 0..N {
                let pairs = _mm256_maddubs_epi16(q[i], group(&a[i]));
                sum = if i % run == 0 { pairs } else { _mm256_add_epi16(sum, pairs) };
                if i % run == run - 1 || i == N - 1 {
                    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(sum, scale));
                }
            }
            acc
        }
        fn dot_signed_scaled<const N: usize>(
            self, acc: __m256i, q: &[__m256i; N], a: &[[i8; 4]; N], scale: __m256i,
        ) -> __m256i {
            let mut acc = acc;
            for i in 0..N {
                acc = _mm256_add_epi32(acc, _mm256_madd_epi16(signed_pairs(q[i], &a[i]), scale));
            }
            acc
        }
        fn scale(self, x: __m256i, i: usize) -> __m256i {
            // Byte i becomes the upper byte of both 16-bit halves, then moves down with its sign.
            let order = _mm256_broadcastsi128_si256(_mm_loadu_si128(UPPER[i].as_ptr().cast()));
            _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(x, order))
        }
        fn weigh(self, acc: __m256i, x: __m256i, sums: [i16; 2]) -> __m256i {
            let sums = _mm256_set1_epi32(i32::from(sums[0]) & 0xffff | i32::from(sums[1]) << 16);
            _mm256_add_epi32(acc, _mm256_madd_epi16(x, sums))
        }
    }
}

/// Shuffle orders that move byte `i` of each lane to the upper byte of both its 16-bit halves (0x80 gives zero).
static UPPER: [[u32; 4]; 4] = [
    [0x0080_0080, 0x0480_0480, 0x0880_0880, 0x0c80_0c80],
    [0x0180_0180, 0x0580_0580, 0x0980_0980, 0x0d80_0d80],
    [0x0280_0280, 0x0680_0680, 0x0a80_0a80, 0x0e80_0e80],
    [0x0380_0380, 0x0780_0780, 0x0b80_0b80, 0x0f80_0f80],
];

/// The instructions `$bytes` (four products of an unsigned and a signed byte added to 32 bits) and `$words` (two of 16 bits).
macro_rules! vnni {
    ($token:ident, $bytes:ident, $words:ident) => {
        ints! { $token,
            const SIGNED_BIAS: i32 = 128;

            #[inline(always)]
            fn dot_signed<const N: usize>(self, acc: __m256i, q: &[__m256i; N], a: &[[i8; 4]; N]) -> __m256i {
                self.dot(acc, q, u8::MAX, a)
            }

            methods! {
                fn signed(self, x: __m256i) -> __m256i { _mm256_xor_si256(x, _mm256_set1_epi8(-128)) }
                fn dot<const N: usize>(self, acc: __m256i, q: &[__m256i; N], _max: u8, a: &[[i8; 4]; N]) -> __m256i {
                    let mut acc = acc;
                    for i in 0..N {
                        acc = $bytes(acc, q[i], group(&a[i]));
                    }
                    acc
                }
                fn dot_scaled<const N: usize>(
                    self, acc: __m256i, q: &[__m256i; N], max: u8, a: &[[i8; 4]; N], scale: __m256i,
                ) -> __m256i {
                    let sum = self.dot(_mm256_setzero_si256(), q, max, a);
                    _mm256_add_epi32(acc, _mm256_mullo_epi32(sum, scale))
                }
                fn dot_signed_scaled<const N: usize>(
                    self, acc: __m256i, q: &[__m256i; N], a: &[[i8; 4]; N], scale: __m256i,
                ) -> __m256i {
                    let sum = self.dot_signed(_mm256_setzero_si256(), q, a);
                    _mm256_add_epi32(acc, _mm256_mullo_epi32(sum, scale))
                }
                fn scale(self, x: __m256i, i: usize) -> __m256i {
                    // Byte i becomes the uppermost byte, then moves down with its sign.
                    _mm256_srai_epi32::<24>(_mm256_sll_epi32(x, _mm_cvtsi32_si128(24 - 8 * i as i32)))
                }
                fn weigh(self, acc: __m256i, x: __m256i, sums: [i16; 2]) -> __m256i {
                    $words(acc, x, _mm256_set1_epi32(i32::from(sums[0]) & 0xffff | i32::from(sums[1]) << 16))
                }
            }
        }
    };
}

vnni!(AvxVnni, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32);
vnni!(Avx512Vnni, _mm256_dpbusd_epi32, _mm256_dpwssd_epi32);
