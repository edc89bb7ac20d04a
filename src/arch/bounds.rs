//! Sizes and factors that can be computed with.

/// What was wanted, and what was found.
pub(super) type Wrong = (String, String);

/// Longest head, embedding and feed-forward: far over any real model, low enough that products fit 64 bits easily.
pub(super) const MAX_WIDTH: usize = 1 << 22;
pub(super) const MAX_HEAD: usize = 1 << 12;
pub(super) const MAX_VOCAB: usize = 1 << 24;
pub(super) const MAX_CONTEXT: usize = 1 << 30;
pub(super) const MAX_EXPERTS: usize = 1 << 14;
/// Positions that a short convolution sees; real ones see 3 or 4.
pub(super) const MAX_TAPS: usize = 64;

/// A factor that leaves numbers what they are: beyond these, products of ordinary ones overflow or vanish.
pub(super) fn scale(key: &str, found: f32) -> Result<(), Wrong> {
    const MAX_FACTOR: f32 = 1e12;
    let sane = (1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&found.abs());
    that(sane, &format!("{key}, or what follows from it, of {:e} to {MAX_FACTOR:e}", 1.0 / MAX_FACTOR), found)
}

pub(super) fn within(what: &str, found: usize, most: usize) -> Result<(), Wrong> {
    that((1..=most).contains(&found), &format!("{what} of 1 to {most}"), found)
}

pub(super) fn that(fine: bool, wanted: &str, found: impl ToString) -> Result<(), Wrong> {
    if fine { Ok(()) } else { Err((wanted.to_owned(), found.to_string())) }
}
