//! What every specification has to satisfy, whatever the file said: sizes that can be computed with.

use super::{Attention, Ffn, Layer, Projection, Rope, RopeScaling, Skip, Spec};
use std::collections::HashSet;

/// What was wanted, and what was found.
type Wrong = (String, String);

/// Longest head, embedding and feed-forward: far over any real model, low enough that products fit 64 bits easily.
const MAX_WIDTH: usize = 1 << 22;
const MAX_HEAD: usize = 1 << 12;
const MAX_VOCAB: usize = 1 << 24;
const MAX_CONTEXT: usize = 1 << 30;
const MAX_EXPERTS: usize = 1 << 14;

/// Checks a specification.
pub(super) fn check(spec: &Spec) -> Result<(), Wrong> {
    within("an embedding length", spec.embd, MAX_WIDTH)?;
    within("a vocabulary", spec.vocab, MAX_VOCAB)?;
    within("a context", spec.context_train, MAX_CONTEXT)?;
    that(spec.norm_eps > 0.0 && spec.norm_eps < 1.0, "a norm epsilon between 0 and 1", spec.norm_eps)?;
    for rope in &spec.ropes {
        check_rope(rope)?;
    }
    check_skips(&spec.layers)?;
    for layer in &spec.layers {
        check_layer(layer, spec).map_err(|(wanted, found)| (format!("in layer {} {wanted}", layer.block), found))?;
    }
    Ok(())
}

/// A block skip connection blends in what an earlier layer kept.
fn check_skips(layers: &[Layer]) -> Result<(), Wrong> {
    let mut saved = HashSet::new();
    for layer in layers {
        for skip in &layer.skips {
            match *skip {
                Skip::Save(slot) => drop(saved.insert(slot)),
                Skip::Blend { slot, .. } => {
                    let wanted = format!("in layer {} a block_skip_connection of a stream that was kept", layer.block);
                    that(saved.contains(&slot), &wanted, format!("number {slot}, which was not"))?;
                }
            }
        }
    }
    Ok(())
}

fn check_rope(rope: &Rope) -> Result<(), Wrong> {
    within("rotated values", rope.dims, MAX_HEAD)?;
    that(rope.dims.is_multiple_of(2), "an even number of rotated values", rope.dims)?;
    that(rope.base > 1.0, "a rotary base over 1", rope.base)?;
    let (RopeScaling::Linear { factor } | RopeScaling::Yarn { factor, .. }) = rope.scaling;
    that(factor > 0.0, "a rotary scaling factor over 0", factor)?;
    that(rope.magnitude > 0.0, "a rotary magnitude over 0", rope.magnitude)
}

fn check_layer(layer: &Layer, spec: &Spec) -> Result<(), Wrong> {
    check_attention(&layer.attn, spec)?;
    match &layer.ffn {
        Ffn::Dense { width, .. } => within("a feed-forward width", *width, MAX_WIDTH),
        Ffn::Experts { count, used, width, shared, router, .. } => {
            within("a number of experts", *count, MAX_EXPERTS)?;
            within("a number of experts per token, at most their number,", *used, *count)?;
            within("an expert width", *width, MAX_WIDTH)?;
            within("a shared expert's width", shared.unwrap_or(1), MAX_WIDTH)?;
            let (groups, kept) = router.groups.unwrap_or((1, 1));
            let even = count.is_multiple_of(groups) && kept <= groups && *used <= count / groups * kept;
            that(even, "groups that divide the experts and hold enough of them", format!("{kept} of {groups}"))
        }
    }
}

fn check_attention(attn: &Attention, spec: &Spec) -> Result<(), Wrong> {
    within("a number of heads", attn.heads, MAX_HEAD)?;
    within("a number of key-value heads", attn.kv_heads, attn.heads)?;
    let whole = attn.heads.is_multiple_of(attn.kv_heads);
    that(whole, "heads that are a multiple of the key-value heads", format!("{} of {}", attn.heads, attn.kv_heads))?;
    within("a key head length", attn.k_dim, MAX_HEAD)?;
    within("a value head length", attn.v_dim, MAX_HEAD)?;
    that(attn.scale > 0.0, "an attention scale over 0", attn.scale)?;
    let rotated = attn.rope.and_then(|i| spec.ropes.get(i)).map_or(0, |rope| rope.dims);
    that(rotated <= attn.k_dim, "heads that hold the rotated values", format!("{rotated} in {}", attn.k_dim))?;
    if let Projection::Latent(latent) = &attn.proj {
        within("a query rank", latent.q_rank.unwrap_or(1), MAX_WIDTH)?;
        within("a key-value rank", latent.kv_rank, MAX_HEAD)?;
        within("key values without position", latent.nope, MAX_HEAD)?;
        within("expanded values", latent.v_dim, MAX_HEAD)?;
        that(rotated == latent.rope, "as many rotated values as positional ones", rotated)?;
    }
    Ok(())
}

fn within(what: &str, found: usize, most: usize) -> Result<(), Wrong> {
    that((1..=most).contains(&found), &format!("{what} of 1 to {most}"), found)
}

fn that(fine: bool, wanted: &str, found: impl ToString) -> Result<(), Wrong> {
    if fine { Ok(()) } else { Err((wanted.to_owned(), found.to_string())) }
}
