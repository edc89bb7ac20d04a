//! Sixteen words in a `zmm` register, with AVX512-VNNI.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Dots, MOST_LANES, Rows, Task, Words};

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI, and AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU must have what the type says.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

type V = __m512i;

/// Keeps operations in the order written, as in `avx2`.
#[target_feature(enable = "avx512f")]
#[inline]
fn pin(mut x: V) -> V {
    // SAFETY: it does nothing; the value goes through one register.
    unsafe { asm!("/* {x} */", x = inout(zmm_reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

/// `_mm512_dpwssd_epi32`, which the compiler would take apart into a multiplication and an addition.
#[target_feature(enable = "avx512vnni")]
#[inline]
fn dpwssd(mut acc: V, a: V, b: V) -> V {
    // SAFETY: it's one instruction on registers.
    unsafe {
        asm!("vpdpwssd {acc}, {a}, {b}", acc = inout(zmm_reg) acc, a = in(zmm_reg) a, b = in(zmm_reg) b,
            options(nomem, nostack, preserves_flags));
    }
    acc
}

/// # Safety
/// The CPU must have the features named.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn run<T: Task<Avx512>>(s: Avx512, task: T) {
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

impl Words for Avx512 {
    type V = V;

    const N: usize = 16;
    const DOTS: Dots = Dots::Quads32;
    const COLUMNS: usize = 6;

    #[inline]
    fn vectorize<T: Task<Self>>(self, task: T) {
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { run(self, task) }
    }

    #[inline]
    fn prefetch<T>(self, memory: &[T], ahead: usize) {
        super::fetch(memory, ahead);
    }

    operations! {
        splat(x: u32) -> V = _mm512_set1_epi32(x as i32);
        load(x: &[u32; MOST_LANES]) -> V = _mm512_loadu_si512(x.as_ptr().cast());
        store(x: V, out: &mut [u32; MOST_LANES]) -> () = _mm512_storeu_si512(out.as_mut_ptr().cast(), x);
        and(a: V, b: V) -> V = _mm512_and_si512(a, b);
        or(a: V, b: V) -> V = _mm512_or_si512(a, b);
        shl(x: V, n: u32) -> V = _mm512_sllv_epi32(x, _mm512_set1_epi32(n as i32));
        shr(x: V, n: u32) -> V = _mm512_srlv_epi32(x, _mm512_set1_epi32(n as i32));
        sar(x: V, n: u32) -> V = _mm512_srav_epi32(x, _mm512_set1_epi32(n as i32));
        sub_bytes(a: V, b: V) -> V = _mm512_sub_epi8(a, b);
        lookup(x: V, table: &[i8; 16]) -> V =
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), x);
        even_bytes(x: V) -> V = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x));
        odd_bytes(x: V) -> V = _mm512_srai_epi16::<8>(x);
        mul_halves(a: V, b: V) -> V = _mm512_mullo_epi16(a, b);
        add(a: V, b: V) -> V = _mm512_add_epi32(a, b);
        mul(a: V, b: V) -> V = _mm512_mullo_epi32(a, b);
        add_bytes(acc: V, x: V) -> V = _mm512_dpbusd_epi32(acc, _mm512_set1_epi8(1), x);
        f16_to_f32(x: V) -> V = _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)));
        to_f32(x: V) -> V = _mm512_castps_si512(_mm512_cvtepi32_ps(x));
        mul_f32(a: V, b: V) -> V = _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
        add_f32(a: V, b: V) -> V = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
        sub_f32(a: V, b: V) -> V = _mm512_castps_si512(_mm512_sub_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
        fma(a: V, b: V, c: V) -> V = _mm512_castps_si512(_mm512_fmadd_ps(
            _mm512_castsi512_ps(a), _mm512_castsi512_ps(b), _mm512_castsi512_ps(c)));
        dot_halves(acc: V, a: V, b: V) -> V = dpwssd(acc, a, b);
    }

    #[inline(always)]
    fn word(self, rows: Rows<'_>, at: usize) -> V {
        let mut words = [0; MOST_LANES];
        for (lane, word) in words.iter_mut().enumerate() {
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
        macro_rules! four {
            ($lane:literal) => {{
                let x = _mm512_castsi128_si512(row!($lane));
                let x = _mm512_inserti32x4::<1>(x, row!($lane + 4));
                let x = _mm512_inserti32x4::<2>(x, row!($lane + 8));
                _mm512_inserti32x4::<3>(x, row!($lane + 12))
            }};
        }
        // SAFETY: `self` proves that the CPU has these instructions; each load reads 16 bytes from an array of 16.
        unsafe {
            let (a, b, c, d) = (four!(0), four!(1), four!(2), four!(3));
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ef, gh),
                _mm512_unpackhi_epi64(ef, gh),
            ]
        }
    }

    #[inline(always)]
    fn mul_bytes<const SIGNED: bool>(self, w: V, x: V) -> V {
        // SAFETY: `self` proves that the CPU has these instructions.
        self.dot_bytes::<SIGNED>(unsafe { _mm512_setzero_si512() }, w, x)
    }

    #[inline(always)]
    fn dot_bytes<const SIGNED: bool>(self, acc: V, w: V, x: V) -> V {
        let (unsigned, signed) = if SIGNED { (x, w) } else { (w, x) };
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { pin(_mm512_dpbusd_epi32(acc, unsigned, signed)) }
    }
}
