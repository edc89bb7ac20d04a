//! What every specification has to satisfy, whatever the file said: sizes that can be computed with.

use super::bounds::{MAX_CONTEXT, MAX_HEAD, MAX_TAPS, MAX_VOCAB, MAX_WIDTH, Wrong, scale, that, within};
use super::{
    Attention, Delta, Layer, Mixer, Output, Projection, Rope, RopeScaling, ScoreBias, Skip, Spec, SsmForm, StateSpace,
    TimeMixForm, Values,
};
use std::collections::HashSet;

/// Checks a specification.
pub(super) fn check(spec: &Spec) -> Result<(), Wrong> {
    within("an embedding length", spec.embd, MAX_WIDTH)?;
    within("a vocabulary", spec.vocab, MAX_VOCAB)?;
    within("a context", spec.context_train, MAX_CONTEXT)?;
    let eps = spec.output_norm.map_or(1e-5, |norm| norm.eps);
    that(eps > 0.0 && eps < 1.0, "a norm epsilon between 0 and 1", eps)?;
    if let Some(streams) = spec.streams {
        that((2..=64).contains(&streams.count), "2 to 64 residual streams", streams.count)?;
        within("a rank of the path beside attention", streams.rank, MAX_WIDTH)?;
    }
    scale("embedding_scale", spec.embedding.scale)?;
    if let Output::Logits { scale: factor, .. } = spec.output {
        scale("logit_scale", factor)?;
    }
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
                Skip::Save(slot) | Skip::Fill(slot) => drop(saved.insert(slot)),
                Skip::Blend { slot, .. } | Skip::Add(slot) => {
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
    that(rope.magnitude > 0.0, "a rotary magnitude over 0", rope.magnitude)?;
    scale("rope.scaling.attn_factor", rope.magnitude)
}

fn check_layer(layer: &Layer, spec: &Spec) -> Result<(), Wrong> {
    scale("residual_scale", layer.residual_scale)?;
    for mixer in &layer.mixers {
        match mixer {
            Mixer::Attention(attn) => check_attention(attn, spec)?,
            Mixer::Linear => {}
            Mixer::ShortConv(conv) => {
                within("a convolution's width", conv.width, MAX_WIDTH)?;
                within("positions of a convolution", conv.taps, MAX_TAPS)?;
            }
            Mixer::StateSpace(ssm) => check_state_space(ssm)?,
            Mixer::Delta(delta) => check_delta(delta)?,
            Mixer::TimeMix(mix) => {
                within("a number of heads", mix.heads, MAX_HEAD)?;
                within("a number of key-value heads", mix.kv_heads, mix.heads)?;
                within("wkv.head_size", mix.dim, MAX_HEAD)?;
                let whole = mix.heads * mix.dim == spec.embd && mix.heads.is_multiple_of(mix.kv_heads);
                that(whole, "heads that make up the embedding", format!("{} of {}", mix.heads, mix.dim))?;
                let ranks = match mix.form {
                    TimeMixForm::Six { lerp, decay, .. } => [lerp, decay, 1, 1],
                    TimeMixForm::Seven { decay, rate, value, gate } => {
                        [decay, rate, value.unwrap_or(1), gate.unwrap_or(1)]
                    }
                };
                ranks.into_iter().try_for_each(|rank| within("a rank", rank, MAX_WIDTH))?;
            }
            Mixer::ChannelMix(mix) => within("a width of channel mixing", mix.width, MAX_WIDTH)?,
            Mixer::Lightning(l) => {
                within("a number of heads", l.heads, MAX_HEAD)?;
                within("a head length", l.dim, MAX_HEAD)?;
            }
        }
    }
    layer.feeds.iter().try_for_each(|feed| feed.ffn.check())
}

fn check_state_space(ssm: &StateSpace) -> Result<(), Wrong> {
    within("ssm.inner_size", ssm.inner, MAX_WIDTH)?;
    within("ssm.state_size", ssm.state, MAX_HEAD)?;
    within("ssm.conv_kernel", ssm.taps, MAX_TAPS)?;
    match ssm.form {
        SsmForm::Channels { rank, .. } => within("ssm.time_step_rank", rank, MAX_WIDTH),
        SsmForm::Heads { heads, groups, .. } => {
            within("ssm.time_step_rank", heads, ssm.inner)?;
            that(ssm.inner.is_multiple_of(heads), "ssm heads that divide the inner size", heads)?;
            within("ssm.group_count", groups, heads)?;
            that(heads.is_multiple_of(groups), "ssm groups that divide the heads", groups)
        }
        SsmForm::Projected { heads, rank, .. } => {
            within("ssm.time_step_rank", heads, ssm.inner)?;
            within("a rank of the time step", rank, MAX_WIDTH)?;
            that(ssm.inner.is_multiple_of(heads), "ssm heads that divide the inner size", heads)
        }
    }
}

fn check_delta(delta: &Delta) -> Result<(), Wrong> {
    within("a number of key heads", delta.k_heads, MAX_HEAD)?;
    within("a number of value heads", delta.v_heads, MAX_HEAD)?;
    within("a key head length", delta.k_dim, MAX_HEAD)?;
    within("a value head length", delta.v_dim, MAX_HEAD)?;
    within("positions of a convolution", delta.taps, MAX_TAPS)?;
    let whole = delta.v_heads.is_multiple_of(delta.k_heads);
    that(whole, "value heads that are a multiple of the key heads", format!("{} of {}", delta.v_heads, delta.k_heads))
}

fn check_attention(attn: &Attention, spec: &Spec) -> Result<(), Wrong> {
    within("a number of heads", attn.heads, MAX_HEAD)?;
    within("a number of key-value heads", attn.kv_heads, attn.heads)?;
    let whole = attn.heads.is_multiple_of(attn.kv_heads);
    that(whole, "heads that are a multiple of the key-value heads", format!("{} of {}", attn.heads, attn.kv_heads))?;
    within("a key head length", attn.k_dim, MAX_HEAD)?;
    within("a value head length", attn.v_dim, MAX_HEAD)?;
    that(attn.scale > 0.0, "an attention scale over 0", attn.scale)?;
    scale("attention.scale", attn.scale)?;
    scale("attention.value_scale", attn.out_scale)?;
    let reach = attn.reach().unwrap_or(1);
    within("a window", reach, MAX_CONTEXT)?;
    let rotated = attn.rope.and_then(|i| spec.ropes.get(i)).map_or(0, |rope| rope.dims);
    that(rotated <= attn.k_dim, "heads that hold the rotated values", format!("{rotated} in {}", attn.k_dim))?;
    if let Some(ScoreBias::Buckets { buckets, .. }) = attn.bias {
        that((4..=1 << 16).contains(&buckets), "4 to 65536 buckets of distances", buckets)?;
    }
    if let Some(temperature) = attn.temperature {
        within("positions of a step of the attention's temperature", temperature.length, MAX_CONTEXT)?;
    }
    if let Some(of) = attn.kv_of {
        let same = spec.layers.get(of).and_then(Layer::attention).is_some_and(|other| {
            (other.kv_heads, other.k_dim, other.v_dim, other.kv_of) == (attn.kv_heads, attn.k_dim, attn.v_dim, None)
        });
        that(same, "keys and values of an equal layer", format!("those of layer {of}"))?;
    }
    if attn.values == Values::Keys {
        that(attn.k_dim == attn.v_dim, "keys as long as the values that they serve as", attn.k_dim)?;
    }
    if let Projection::Latent(latent) = &attn.proj {
        within("a query rank", latent.q_rank.unwrap_or(1), MAX_WIDTH)?;
        within("a key-value rank", latent.kv_rank, MAX_HEAD)?;
        that(latent.nope <= MAX_HEAD, "key values without position", latent.nope)?;
        within("expanded values", latent.v_dim, MAX_HEAD)?;
        let fits = attn.rope.is_none() || rotated == latent.rope;
        that(fits, "as many rotated values as positional ones", rotated)?;
    }
    Ok(())
}
