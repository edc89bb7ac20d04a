//! Eight words in a `ymm` register; with AVX-VNNI, which adds four products of bytes to 32 bits, if `VNNI`.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Dots, MOST_LANES, Rows, Task, Words};

/// Proof that the CPU has AVX2, FMA and F16C, and AVX-VNNI if `VNNI`.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// # Safety
    /// The CPU must have what the type says.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

type V = __m256i;

/// Keeps additions in the order written (the assembler code counts as having an effect): otherwise the compiler rearranges
/// them into trees, or column by column, and spills.
#[target_feature(enable = "avx2")]
#[inline]
fn pin(mut x: V) -> V {
    // SAFETY: it does nothing; the value goes through one register.
    unsafe { asm!("/* {x} */", x = inout(ymm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// `_mm256_dpwssd_avx_epi32`, which the compiler would take apart into a multiplication and an addition.
#[target_feature(enable = "avx2,avxvnni")]
#[inline]
fn dpwssd(mut acc: V, a: V, b: V) -> V {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("{{vex}} vpdpwssd {acc}, {a}, {b}", acc = inout(ymm_reg) acc, a = in(ymm_reg) a, b = in(ymm_reg) b,
            options(nomem, nostack, preserves_flags));
    }
    acc
}

/// # Safety
/// The CPU must have AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run<const VNNI: bool, T: Task<Avx2<VNNI>>>(s: Avx2<VNNI>, task: T) {
    task.run(s);
}

/// # Safety
/// The CPU must have AVX2, FMA, F16C and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn run_vnni<const VNNI: bool, T: Task<Avx2<VNNI>>>(s: Avx2<VNNI>, task: T) {
    task.run(s);
}

/// Defines safe operations from intrinsics.
macro_rules! operations {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            // SAFETY: `self` proves that the CPU has these instructions.
            unsafe { $body }
        })*
    };
}

impl<const VNNI: bool> Words for Avx2<VNNI> {
    type V = V;

    const N: usize = 8;
    const DOTS: Dots = if VNNI { Dots::Quads32 } else { Dots::Pairs16 };
    const COLUMNS: usize = 3;

    #[inline]
    fn vectorize<T: Task<Self>>(self, task: T) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { if VNNI { run_vnni(self, task) } else { run(self, task) } }
    }

    #[inline]
    fn prefetch<T>(self, memory: &[T], ahead: usize) {
        super::fetch(memory, ahead);
    }

    operations! {
        splat(x: u32) -> V = _mm256_set1_epi32(x as i32);
        load(x: &[u32; MOST_LANES]) -> V = _mm256_loadu_si256(x.as_ptr().cast());
        store(x: V, out: &mut [u32; MOST_LANES]) -> () = _mm256_storeu_si256(out.as_mut_ptr().cast(), x);
        and(a: V, b: V) -> V = _mm256_and_si256(a, b);
        or(a: V, b: V) -> V = _mm256_or_si256(a, b);
        shl(x: V, n: u32) -> V = _mm256_sllv_epi32(x, _mm256_set1_epi32(n as i32));
        shr(x: V, n: u32) -> V = _mm256_srlv_epi32(x, _mm256_set1_epi32(n as i32));
        sar(x: V, n: u32) -> V = _mm256_srav_epi32(x, _mm256_set1_epi32(n as i32));
        sub_bytes(a: V, b: V) -> V = _mm256_sub_epi8(a, b);
        lookup(x: V, table: &[i8; 16]) -> V =
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), x);
        even_bytes(x: V) -> V = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
        odd_bytes(x: V) -> V = _mm256_srai_epi16::<8>(x);
        mul_halves(a: V, b: V) -> V = _mm256_mullo_epi16(a, b);
        add(a: V, b: V) -> V = _mm256_add_epi32(a, b);
        mul(a: V, b: V) -> V = _mm256_mullo_epi32(a, b);
        add_bytes(acc: V, x: V) -> V = {
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), x);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        f16_to_f32(x: V) -> V = {
            let x = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));
            let x = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            _mm256_castps_si256(_mm256_cvtph_ps(x))
        };
        to_f32(x: V) -> V = _mm256_castps_si256(_mm256_cvtepi32_ps(x));
        mul_f32(a: V, b: V) -> V = _mm256_castps_si256(_mm256_mul_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
        add_f32(a: V, b: V) -> V = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
        sub_f32(a: V, b: V) -> V = _mm256_castps_si256(_mm256_sub_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)));
        fma(a: V, b: V, c: V) -> V = _mm256_castps_si256(_mm256_fmadd_ps(
            _mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(c)));
        dot_halves(acc: V, a: V, b: V) -> V = if VNNI {
            dpwssd(acc, a, b)
        } else {
            pin(_mm256_add_epi32(acc, _mm256_madd_epi16(a, b)))
        };
    }

    #[inline(always)]
    fn word(self, rows: Rows<'_>, at: usize) -> V {
        let mut words = [0; MOST_LANES];
        for (lane, word) in words[..8].iter_mut().enumerate() {
            *word = rows.word(lane, at);
        }
        self.load(&words)
    }

    #[inline(always)]
    fn quad(self, rows: Rows<'_>, at: usize) -> [V; 4] {
        // No closures: they would be functions of their own, compiled without the instructions.
        macro_rules! row {
            ($lane:expr) => {
                _mm_loadu_si128(rows.bytes::<16>($lane, at).as_ptr().cast())
            };
        }
        macro_rules! two {
            ($lane:literal) => {
                _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row!($lane)), row!($lane + 4))
            };
        }
        // SAFETY: `self` proves that the CPU has these instructions; each load reads 16 bytes from an array of 16.
        unsafe {
            let (a, b, c, d) = (two!(0), two!(1), two!(2), two!(3));
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab, cd),
                _mm256_unpackhi_epi64(ab, cd),
                _mm256_unpacklo_epi64(ef, gh),
                _mm256_unpackhi_epi64(ef, gh),
            ]
        }
    }

    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if VNNI {
                pin(_mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), unsigned, signed))
            } else {
                pin(_mm256_maddubs_epi16(unsigned, signed))
            }
        }
    }

    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe {
            if VNNI {
                pin(_mm256_dpbusd_avx_epi32(acc, unsigned, signed))
            } else {
                pin(_mm256_add_epi16(acc, _mm256_maddubs_epi16(unsigned, signed)))
            }
        }
    }
}
