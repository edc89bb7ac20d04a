//! Loops written out: closures and loops are not reliably compiled for the caller's instruction set.

/// `[f(0), .., f(7)]` written out: closures are not reliably compiled for the caller's instruction set.
macro_rules! eight {
    ($g:ident => $value:expr) => {
        [
            crate::isa::unroll::with!($g = 0, $value),
            crate::isa::unroll::with!($g = 1, $value),
            crate::isa::unroll::with!($g = 2, $value),
            crate::isa::unroll::with!($g = 3, $value),
            crate::isa::unroll::with!($g = 4, $value),
            crate::isa::unroll::with!($g = 5, $value),
            crate::isa::unroll::with!($g = 6, $value),
            crate::isa::unroll::with!($g = 7, $value),
        ]
    };
}
pub(crate) use eight;

/// `[f(0), .., f(3)]`, as `eight`.
macro_rules! four {
    ($g:ident => $value:expr) => {
        [
            crate::isa::unroll::with!($g = 0, $value),
            crate::isa::unroll::with!($g = 1, $value),
            crate::isa::unroll::with!($g = 2, $value),
            crate::isa::unroll::with!($g = 3, $value),
        ]
    };
}
pub(crate) use four;

macro_rules! with {
    ($g:ident = $number:literal, $value:expr) => {{
        let $g: usize = $number;
        $value
    }};
}
pub(crate) use with;

/// The first `N` bytes.
///
/// # Panics
/// When there are fewer.
#[inline(always)]
pub(crate) fn first<const N: usize>(x: &[u8]) -> &[u8; N] {
    match x.first_chunk() {
        Some(bytes) => bytes,
        None => panic!("{} bytes where {N} are read", x.len()),
    }
}

/// `[f(0), .., f(15)]`, where `f` is used for the first `$n` numbers only and the rest is `$rest`: one element per row of a
/// vector that has `$n`.
macro_rules! rows {
    ($n:expr, $r:ident => $value:expr, $rest:expr) => {
        crate::isa::unroll::rows!(@ $n, $r, $value, $rest, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $n:expr, $r:ident, $value:expr, $rest:expr, $($number:literal)*) => {
        [$(if $number < $n { crate::isa::unroll::with!($r = $number, $value) } else { $rest }),*]
    };
}
pub(crate) use rows;
