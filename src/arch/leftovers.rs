//! What a file holds that its architecture has no use for: computing without it would give other numbers than the model's.
//!
//! A tensor is in the tensor list, known not to matter, or refused. A key of the architecture is read, known not to matter,
//! off, or refused if it is one that changes results; the names of the rest are given, so that nothing is ignored in silence.

use std::collections::HashSet;

use super::{Output, Pooling, Role, Spec, Tensor, TensorPart};
use crate::gguf::{Gguf, MetaValue};
use crate::{Error, ErrorKind, Result};

/// Keys (without the architecture's name) that change what is computed and that no tensor gives away. A `*` at either end
/// stands for any text.
const MEANINGFUL: &[&str] = &[
    "attention.*_scale",
    "embedding_scale",
    "logit_scale",
    "residual_scale",
    "*softcapping",
    "*softcap",
    "attention.block_skip_connection.*",
    "attention.causal",
    "attention.chunk_size",
    "attention.clamp_kqv",
    "attention.compress_*",
    "attention.max_alibi_bias",
    "attention.rope_pattern",
    "attention.scale",
    "attention.shared_kv_layers",
    "attention.sliding_window",
    "attention.temperature_length",
    "embedding_length_per_layer_input",
    "full_attention_interval",
    "hyper_connection.count",
    "num_loops",
    "rope.*",
    "swiglu_clamp*",
    "swin_norm",
];

/// Keys that say nothing new where they are not read: what tensors and their shapes say by themselves, the epsilon of the
/// other kind of norm, values for layers with a window (read wherever there are such layers), and what is about images,
/// training, or a decoder that is not there.
const HARMLESS: &[&str] = &[
    "attention.*_epsilon",
    "attention.*_lora_rank",
    "attention.group_norm_groups",
    "attention.indexer.*",
    "attention.key_length*",
    "attention.sliding_window_pattern",
    "attention.value_length*",
    "classifier.*",
    "decoder_*",
    "deepstack_mapping",
    "dense_2_*",
    "dense_3_*",
    "embedding_length_out",
    "expert_*",
    "features_length",
    "feed_forward_length",
    "leading_dense_block_count",
    "moe_*",
    "n_deepstack_layers",
    "nextn_predict_layers",
    "pooling_type",
    "rope.*_swa",
    "rope.dimension_sections",
    "rope.scaling.finetuned",
    "ssm.*",
    "tensor_data_layout",
    "token_shift_count",
    "vocab_size",
];

/// The same for one architecture.
const HARMLESS_IN: &[(&str, &str)] = &[
    // Written by converters, and left out by all engines.
    ("phi3", "attention.sliding_window"),
    ("phimoe", "attention.sliding_window"),
    // The same, in every file of Grok.
    ("grok", "router_logit_softcapping"),
    ("grok", "attention.temperature_length"),
];

/// Tensors, by their names without `blk.N.`, that are known to be of no use to the architecture (`*` = to any).
const SPARE: &[(&str, &str)] = &[
    // Scales of activations, for engines that quantize them by a number that was found beforehand.
    ("*", "*.input_scale"),
    // Angles that engines have long computed themselves.
    ("*", "attn_rot_embd*"),
    ("*", "rope.freqs"),
    // Encoders of images and sounds, and what leads from them into the model: text goes past them.
    ("*", "v.*"),
    ("*", "a.*"),
    ("*", "mm.*"),
    // Experts for images, which sees no text.
    ("cogvlm", "vis_*"),
    // Choosing positions by an index sees all of them in the lengths that are allowed.
    ("deepseek32", "indexer.*"),
    ("glm-dsa", "indexer.*"),
    ("minimax-m3", "indexer.*"),
    // Layers that use the keys and values of others may still hold their own.
    ("gemma3n", "attn_k.weight"),
    ("gemma3n", "attn_v.weight"),
    ("gemma3n", "attn_k_norm.weight"),
    ("gemma4", "attn_k.weight"),
    ("gemma4", "attn_v.weight"),
    ("gemma4", "attn_k_norm.weight"),
    // The first layer has no earlier values to blend in.
    ("rwkv7", "time_mix_v?.weight"),
    ("arwkv7", "time_mix_v?.weight"),
    // The head is the embedding.
    ("bitnet", "output.weight"),
    // Both forms of the same matrices.
    ("deepseek2", "attn_kv_b.weight"),
];

/// Whether `name` is what `pattern` says: `*` at its start or end stands for any text, a `?` for any character.
fn fits(pattern: &str, name: &str) -> bool {
    let same = |pattern: &str, name: &str| {
        pattern.len() == name.len() && pattern.bytes().zip(name.bytes()).all(|(p, n)| p == b'?' || p == n)
    };
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => match pattern.split_once('*') {
            Some((start, end)) => name.len() >= pattern.len() - 1 && name.starts_with(start) && name.ends_with(end),
            None => same(pattern, name),
        },
    }
}

/// Refuses a key that was not read and that changes what is computed. `gguf` has noted what was read of it.
///
/// # Errors
/// [`Error::Input`] naming the key.
pub(super) fn check_keys(gguf: &Gguf, spec: &Spec) -> Result<Vec<String>> {
    let prefix = format!("{}.", spec.arch);
    let mut unknown = Vec::new();
    for key in gguf.keys_not_asked_for(&prefix) {
        let name = &key[prefix.len()..];
        let harmless = HARMLESS.iter().any(|pattern| fits(pattern, name))
            || HARMLESS_IN.iter().any(|(arch, pattern)| *arch == spec.arch && fits(pattern, name));
        if harmless || is_off(name, gguf.value(key), spec) {
            continue;
        }
        if MEANINGFUL.iter().any(|pattern| fits(pattern, name)) {
            return Err(gguf.wrong(key, format!("no such key in a model of {}", spec.arch)).hint(
                "it changes what is computed, and is not supported for this architecture: the answers would be wrong",
            ));
        }
        unknown.push(key.to_owned());
    }
    Ok(unknown)
}

/// Whether a value says that nothing is changed by it.
fn is_off(name: &str, value: Option<&MetaValue>, spec: &Spec) -> bool {
    let factor = ["scale", "scale_linear", "factor", "alpha"].iter().any(|end| name.ends_with(end));
    match value {
        None | Some(MetaValue::Bool(false) | MetaValue::Uint(0)) => true,
        Some(MetaValue::Uint(window)) if name == "attention.sliding_window" => *window >= spec.context_train as u64,
        Some(MetaValue::Uint(1)) => factor,
        Some(MetaValue::Float(x)) => *x == 0.0 || (factor && *x == 1.0),
        Some(MetaValue::Text(text)) => text == "none",
        Some(MetaValue::Array(array)) => {
            let ints = array.integers().is_some_and(|mut all| all.all(|n| n == 0));
            ints || array.floats().is_some_and(|mut all| all.all(|x| x == 0.0))
        }
        Some(MetaValue::Bool(true) | MetaValue::Uint(_) | MetaValue::Int(_) | MetaValue::BadText) => false,
    }
}

/// The tensors of a file that `spec` does not use, in the order of the file, without those that are known to be spare.
pub fn unused_tensors(gguf: &Gguf, spec: &Spec) -> Vec<String> {
    strays(gguf, spec).filter(|name| !is_spare(gguf, spec, name)).map(str::to_owned).collect()
}

/// The tensors of a file that `spec` does not use, spare or not.
pub fn ignored_tensors(gguf: &Gguf, spec: &Spec) -> Vec<String> {
    strays(gguf, spec).map(str::to_owned).collect()
}

/// The tensors of a file that are of another shape than `spec` has it, dimensions of 1 aside: their names, the shape that is
/// wanted, and the one that was found. (As many values in another order would be read as they come.)
pub fn misshapen(gguf: &Gguf, spec: &Spec) -> impl Iterator<Item = (String, Vec<u64>, Vec<u64>)> {
    spec.tensor_list().into_iter().filter_map(move |wanted| {
        // Some converters leave the usual suffix of a name out.
        let bare = wanted.name.trim_end_matches(".weight").trim_end_matches(".bias");
        let found = &gguf.tensor(&wanted.name).or_else(|| gguf.tensor(bare))?.shape;
        let wide = |shape: &[usize]| shape.iter().map(|&n| n as u64).collect();
        (!is_shaped(&wanted, found)).then(|| (wanted.name.clone(), wide(&wanted.shape), wide(found)))
    })
}

/// Whether a tensor has a shape that is as good as the wanted one.
fn is_shaped(wanted: &Tensor, found: &[usize]) -> bool {
    let trimmed = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    let values = |shape: &[usize]| shape.iter().fold(1usize, |all, &n| all.saturating_mul(n));
    match wanted.role {
        // Layers that rotate fewer values use the first divisors.
        Role::Divisors => values(found) >= values(&wanted.shape),
        // Biases of experts, for one, are in rows.
        _ if wanted.part != TensorPart::Weight => values(found) == values(&wanted.shape),
        _ => trimmed(found) == trimmed(&wanted.shape),
    }
}

/// Refuses a file with a tensor of another shape, or one that the model was trained with and that would be left out.
///
/// # Errors
/// [`Error::Input`] naming the first such tensor.
pub fn check_tensors(gguf: &Gguf, spec: &Spec) -> Result<()> {
    if let Some((name, wanted, found)) = misshapen(gguf, spec).next() {
        let place = format!("{}: tensor {}", gguf.path().display(), crate::text::clean(&name));
        return Err(
            Error::input(place, format!("{wanted:?} values"), format!("{found:?}")).of(ErrorKind::InvalidTensor)
        );
    }
    let unused = unused_tensors(gguf, spec);
    let Some(first) = unused.first() else { return Ok(()) };
    let place = format!("{}: tensor {}", gguf.path().display(), crate::text::clean(first));
    let more = match unused.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more like it"),
    };
    Err(Error::input(place, format!("a tensor that a model of {} uses", spec.arch), format!("one that it has no use for{more}"))
        .of(ErrorKind::InvalidTensor)
        .hint("the model was trained with it, and would be computed wrongly: the file is damaged, or names another architecture than its own"))
}

fn strays<'a>(gguf: &'a Gguf, spec: &Spec) -> impl Iterator<Item = &'a str> + use<'a> {
    let mut used: HashSet<String> = spec.tensor_list().into_iter().map(|tensor| tensor.name).collect();
    // Some converters leave the usual suffix of a name out.
    let bare = |name: &String| {
        let bare = name.strip_suffix(".weight").or(name.strip_suffix(".bias"))?;
        gguf.tensor(name).is_none().then(|| bare.to_owned())
    };
    used.extend(used.iter().filter_map(bare).collect::<Vec<_>>());
    if spec.pooling != Pooling::None || spec.output == Output::Vectors {
        used.extend(["dense_2", "dense_3"].iter().flat_map(|name| [format!("{name}.weight"), format!("{name}.bias")]));
    }
    if !spec.layers.iter().all(|layer| layer.skips.is_empty()) {
        used.extend(spec.layers.iter().map(|layer| format!("{}.{}.bskcn_tv.weight", spec.blocks, layer.block)));
        used.insert("bskcn_tv.weight".into());
    }
    gguf.tensors().map(|tensor| tensor.name.as_str()).filter(move |name| !used.contains(*name))
}

fn is_spare(gguf: &Gguf, spec: &Spec, name: &str) -> bool {
    let (block, rest) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((block, rest)) => (block.parse::<usize>().ok(), rest),
        None => (None, name),
    };
    // Layers that predict more tokens at once come last.
    let predicting = gguf.usize(&format!("{}.nextn_predict_layers", spec.arch)).ok().flatten().unwrap_or(0);
    let last = spec.layers.iter().map(|layer| layer.block + 1).max().unwrap_or(0);
    if block.is_some_and(|block| (last..last.saturating_add(predicting)).contains(&block)) {
        return true;
    }
    let sparing = |(arch, pattern): &&(&str, &str)| (*arch == "*" || *arch == spec.arch) && fits(pattern, rest);
    SPARE.iter().any(|row| sparing(&row) && allows(row, gguf, spec, block, rest))
}

/// What a row takes for granted.
fn allows(row: &(&str, &str), gguf: &Gguf, spec: &Spec, block: Option<usize>, rest: &str) -> bool {
    let layer = || spec.layers.iter().find(|layer| Some(layer.block) == block);
    match row.0 {
        "gemma3n" | "gemma4" => layer().and_then(|layer| layer.attention()).is_some_and(|attn| attn.kv_of.is_some()),
        "rwkv7" | "arwkv7" => block == Some(0),
        "deepseek2" => {
            let twin = |name: &str| gguf.tensor(&format!("blk.{}.{name}.weight", block.unwrap_or(0))).is_some();
            rest == "attn_kv_b.weight" && twin("attn_k_b") && twin("attn_v_b")
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, wanted) in [
            ("rope.*", "rope.scaling.alpha", true),
            ("rope.*_swa", "rope.freq_base_swa", true),
            ("rope.*_swa", "rope._sw", false),
            ("*_scale", "logit_scale", true),
            ("attention.causal", "attention.causal", true),
            ("attention.causal", "attention.causally", false),
            ("time_mix_v?.weight", "time_mix_v1.weight", true),
            ("time_mix_v?.weight", "time_mix_value.weight", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
