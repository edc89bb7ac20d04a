//! Architectures that are known, and why they are not computed.

use crate::gguf::Gguf;
use crate::{Error, ErrorKind, suggest};

use super::table::ARCHITECTURES;

/// Names, and what a model of that name needs or is.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("axk1", "norms of the experts' results"),
    ("axk2", "gated norms and an indexer of positions"),
    ("chameleon", "tokens of images among those of text"),
    ("clip", "a text model in another file: this one encodes images"),
    ("deepseek4", "several residual streams and a compressed cache"),
    ("dflash", "the state of the model in another file: this one is a draft"),
    ("dots3note", "several residual streams"),
    ("eagle3", "the state of the model in another file: this one is a draft"),
    ("gemma4-assistant", "the state of the model in another file: this one is a draft"),
    ("glm5-next", "several residual streams"),
    ("gptj", "tensors that no engine ever wrote: there are no such files"),
    ("graniteswitch", "adapters that tokens switch on and off"),
    ("hy_v4", "several residual streams"),
    ("kimi-k3", "attention over the streams of earlier layers"),
    ("motif", "differential attention"),
    ("pockettts", "a decoder of speech"),
    ("qwen3tts", "a decoder of speech"),
    ("qwen4exp", "several residual streams and embeddings of groups of tokens"),
    ("solar_open2", "a layout of linear attention that no published file shows yet"),
    ("t5", "a decoder beside its encoder (encoders alone, t5encoder, are supported)"),
    ("vaetki", "latent attention with windows and four norms per layer"),
    ("wavtokenizer-dec", "a decoder of speech"),
];

/// The error for an architecture that is not in the table.
pub(super) fn refuse(gguf: &Gguf, arch: &str) -> Error {
    const KEY: &str = "general.architecture";
    // Converters spell some names in both ways.
    let same = |name: &str| name.replace('_', "-") == arch.replace('_', "-");
    if let Some((_, what)) = REFUSED.iter().find(|(name, _)| same(name)) {
        return gguf
            .wrong(KEY, "a supported architecture")
            .of(ErrorKind::UnsupportedArchitecture)
            .hint(format!("`{arch}` is not supported: it needs {what}"));
    }
    let near = suggest::did_you_mean(arch, ARCHITECTURES.iter().map(|(name, _)| *name));
    let families = "such as llama, qwen3moe, gemma4 or deepseek2";
    let wanted = format!("one of {} supported architectures, {families}", ARCHITECTURES.len());
    let error = gguf.wrong(KEY, wanted).of(ErrorKind::UnsupportedArchitecture);
    if near.is_empty() { error } else { error.hint(near) }
}
