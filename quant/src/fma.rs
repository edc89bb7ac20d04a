//! Multiply-add, rounded once.

/// `a * b + c`, rounded once: what every multiply-add of this project means.
///
/// Where the CPU has no instruction for it, or the code is not compiled for one, the standard library calls the system's
/// own function, and that of MinGW rounds twice: on Windows it is `libm`'s.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    #[cfg(not(windows))]
    let out = a.mul_add(b, c);
    #[cfg(windows)]
    let out = libm::fmaf(a, b, c);
    out
}
