//! Filling in the middle, by the vocabulary's own tokens for it.

use super::error::ApiError;
use crate::engine::Llm;
use crate::tokenizer::Special;

/// The tokens before, after and at the place to fill.
pub(super) struct Fim {
    prefix: u32,
    suffix: u32,
    middle: u32,
    /// Before the name of a repository's file, where the vocabulary has it.
    file: Option<u32>,
}

/// Keys and usual texts of each token.
const PREFIX: ([&str; 2], [&str; 5]) = (
    ["fim_pre_token_id", "prefix_token_id"],
    ["<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>", "<PRE>"],
);
const SUFFIX: ([&str; 2], [&str; 5]) = (
    ["fim_suf_token_id", "suffix_token_id"],
    ["<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<｜fim▁hole｜>", "<SUF>"],
);
const MIDDLE: ([&str; 2], [&str; 5]) = (
    ["fim_mid_token_id", "middle_token_id"],
    ["<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<｜fim▁end｜>", "<MID>"],
);
const FILE_TOKEN: ([&str; 2], [&str; 5]) = (
    ["fim_sep_token_id", "fim_sep_token_id"],
    ["<|file_sep|>", "<file_sep>", "<|file_separator|>", "<file_sep>", "<file_sep>"],
);

impl Fim {
    /// The tokens of a model.
    ///
    /// # Errors
    /// A vocabulary without them.
    pub(super) fn of(llm: &Llm) -> Result<Self, ApiError> {
        let gguf = &llm.model().gguf;
        let token = |(keys, texts): ([&str; 2], [&str; 5])| {
            let by_key = keys.iter().find_map(|key| gguf.u32(&format!("tokenizer.ggml.{key}")).ok().flatten());
            let known = by_key.filter(|&id| (id as usize) < llm.model().spec.vocab);
            known.or_else(|| texts.iter().find_map(|text| llm.tokenizer().token_id(text)))
        };
        match (token(PREFIX), token(SUFFIX), token(MIDDLE)) {
            (Some(prefix), Some(suffix), Some(middle)) => Ok(Self { prefix, suffix, middle, file: token(FILE_TOKEN) }),
            _ => Err(ApiError::unsupported("this model has no tokens for filling in the middle")),
        }
    }

    /// The prompt for what belongs between `before` and `after`, with other files for context.
    pub(super) fn prompt(&self, llm: &Llm, before: &str, after: &str, files: &[(String, String)]) -> Vec<u32> {
        let encode = |text: &str| llm.tokenizer().encode(text, Special::Plain);
        let mut tokens: Vec<u32> = llm.tokenizer().bos().filter(|_| llm.tokenizer().adds_bos()).into_iter().collect();
        for (name, text) in files {
            match self.file {
                Some(file) => {
                    tokens.push(file);
                    tokens.extend(encode(&format!("{name}\n{text}")));
                }
                None => tokens.extend(encode(&format!("{text}\n"))),
            }
        }
        if !files.is_empty() {
            tokens.extend(self.file);
        }
        tokens.push(self.prefix);
        tokens.extend(encode(before));
        tokens.push(self.suffix);
        tokens.extend(encode(after));
        tokens.push(self.middle);
        tokens
    }
}
