//! Safe operations of a token, defined from intrinsics: that the CPU has them is what the token proves.

/// Operations of [`super::simd::Words`]: each is one expression.
macro_rules! operations {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            // SAFETY: `self` proves that the CPU has these instructions; what is loaded or stored is a reference to an array
            // of at least as many bytes as the vector (the types of the arguments and `first::<N>` say so), at any alignment.
            unsafe { $body }
        })*
    };
}
pub(super) use operations;

/// Operations of [`super::simd::Lanes`]: each is a function's body.
macro_rules! methods {
    ($(fn $name:ident $(<const $n:ident: i32>)? ($($arg:ident: $type:ty),*) $(-> $out:ty)? $body:block)*) => {
        $(#[inline(always)]
        fn $name $(<const $n: i32>)? (self, $($arg: $type),*) $(-> $out)? {
            // SAFETY: `self` proves that the CPU has the instructions; what is loaded or stored is a reference to an array of
            // exactly the vector's bytes (or parts of it, by `[n..]` of that array), at any alignment.
            unsafe { $body }
        })*
    };
}
pub(super) use methods;
