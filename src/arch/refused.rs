//! Architectures that are known, and why they are not computed.

use crate::Error;
use crate::gguf::Gguf;

use super::table::ARCHITECTURES;

/// Names and what they need that there is not.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("clip", "an encoder of images, which belongs to the text model in another file"),
    ("chameleon", "tokens of images among those of text"),
    ("deepseek4", "several residual streams and a compressed cache"),
    ("dflash", "a draft model, which reads the state of the model in another file"),
    ("dots3note", "several residual streams"),
    ("eagle3", "a draft model, which reads the state of the model in another file"),
    ("gemma4-assistant", "a draft model, which reads the state of the model in another file"),
    ("glm5-next", "several residual streams"),
    ("gptj", "nothing but a name: no engine ever wrote or read such files"),
    ("graniteswitch", "adapters that tokens switch on and off"),
    ("hy_v4", "several residual streams"),
    ("kimi-k3", "attention over the streams of earlier layers"),
    ("pockettts", "speech instead of text"),
    ("qwen3tts", "speech instead of text"),
    ("qwen4exp", "several residual streams and embeddings of groups of tokens"),
    ("t5", "an encoder and a decoder; only encoders of this kind (t5encoder) are supported"),
    ("wavtokenizer-dec", "speech instead of text"),
];

/// The error for an architecture that is not in the table.
pub(super) fn refuse(gguf: &Gguf, arch: &str) -> Error {
    match REFUSED.iter().find(|(name, _)| *name == arch) {
        Some((_, what)) => gguf.wrong(
            "general.architecture",
            format!("a model that needs no more than others do: {arch} is {what}, which is not supported"),
        ),
        None => {
            let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
            gguf.wrong("general.architecture", format!("one of {}", names.join(", ")))
        }
    }
}
