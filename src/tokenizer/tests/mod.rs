//! Tests that look inside, and tests on small vocabularies made up here. Ids of real vocabularies are checked in
//! `tests/tokenizer.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod building;
mod encoding;
mod ending;
mod others;
mod scanners;

use super::{Roles, Tokenizer, Vocab, byte_map};

/// A byte-level vocabulary: all bytes, then `merges` and their results, then `specials` with their kinds.
fn bpe(pre: &str, merges: &[&str], specials: &[(&str, i32)]) -> Vocab {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_map::char_of(byte).to_string()).collect();
    tokens.extend(merges.iter().map(|merge| merge.replacen(' ', "", 1)));
    let mut kinds = vec![1; tokens.len()];
    for (text, kind) in specials {
        tokens.push((*text).to_owned());
        kinds.push(*kind);
    }
    Vocab {
        source: "model.gguf".to_owned(),
        model: "gpt2".to_owned(),
        pre: Some(pre.to_owned()),
        tokens: tokens.iter().collect(),
        kinds,
        merges: merges.iter().collect(),
        ..Vocab::default()
    }
}

/// A SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, all bytes, then `tokens` with their scores.
fn spm(tokens: &[(&str, f32)]) -> Vocab {
    let mut texts: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut kinds = vec![2, 3, 3];
    texts.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    kinds.resize(texts.len(), 6);
    let mut scores = vec![0.0; texts.len()];
    for (text, score) in tokens {
        texts.push((*text).to_owned());
        kinds.push(1);
        scores.push(*score);
    }
    Vocab {
        source: "model.gguf".to_owned(),
        model: "llama".to_owned(),
        tokens: texts.iter().collect(),
        kinds,
        scores,
        ..Vocab::default()
    }
}

/// The tokens that `text` becomes, as the file spells them.
fn spelled(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).unwrap().into_owned()).collect()
}

/// A vocabulary with `id` in the role that `set` chooses.
fn with_role(mut vocab: Vocab, text: &str, set: impl FnOnce(&mut Roles, u32)) -> Vocab {
    let id = vocab.tokens.iter().position(|token| token == text.as_bytes()).unwrap();
    set(&mut vocab.roles, id as u32);
    vocab
}
