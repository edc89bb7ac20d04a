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

/// `[f(0), .., f(3)]`, as [`eight`].
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
