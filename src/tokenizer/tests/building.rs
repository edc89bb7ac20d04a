//! Vocabularies that are not what they have to be, and odd ones that work.

use super::*;
use crate::tokenizer::{Special, TokenKind};
use proptest::prelude::*;

/// What makes a good vocabulary bad.
type Change<'a> = &'a dyn Fn(&mut Vocab);

/// The message of the error that building gives.
fn refused(vocab: Vocab) -> String {
    let error = Tokenizer::new(vocab).map(drop).expect_err("this vocabulary is bad");
    assert_eq!(error.exit_code(), 2, "{error}");
    assert!(error.to_string().starts_with("model.gguf: key `tokenizer.ggml."), "{error}");
    error.to_string()
}

#[test]
fn bad_vocabularies_are_refused_by_key() {
    let base = || bpe("qwen2", &["a b"], &[("<end>", 3)]);
    let with = |change: Change<'_>| {
        let mut vocab = base();
        change(&mut vocab);
        refused(vocab)
    };
    assert!(Tokenizer::new(base()).is_ok());
    let cases: [(Change<'_>, &str); 13] = [
        (&|v| v.model = "runes".to_owned(), "tokenizer.ggml.model`: wanted `gpt2`"),
        (
            &|v| v.pre = Some("klingon".to_owned()),
            "pre-tokenizers, such as llama-bpe, qwen2 or gemma4, found `klingon`",
        ),
        (&|v| v.tokens = Default::default(), "tokenizer.ggml.tokens`: wanted at least one token"),
        (&|v| v.merges = Default::default(), "tokenizer.ggml.merges`: wanted the merges that make tokens of bytes"),
        (&|v| v.kinds.truncate(3), "tokenizer.ggml.token_type`: wanted 258 numbers"),
        (&|v| v.kinds[7] = -1, "tokenizer.ggml.token_type`: wanted numbers from 0 to 6, found -1 for token 7"),
        (&|v| v.kinds[7] = 7, "found 7 for token 7"),
        (
            &|v| v.merges.push(b"ab"),
            "tokenizer.ggml.merges`: wanted two tokens with a space between them, found `ab` at place 1",
        ),
        (&|v| v.merges.push(b""), "tokenizer.ggml.merges"),
        (&|v| v.merges.push(b" a"), "tokenizer.ggml.merges"),
        (&|v| v.merges.push(b"a "), "tokenizer.ggml.merges"),
        (&|v| v.roles.bos = Some(258), "tokenizer.ggml.bos_token_id`: wanted the id of one of 258 tokens, found 258"),
        (&|v| v.roles.fim[1] = Some(u32::MAX - 1), "tokenizer.ggml.fim_rep_token_id"),
    ];
    for (change, part) in cases {
        let message = with(change);
        assert!(message.contains(part), "{message} does not say {part}");
    }
    let mut short = spm(&[("a", 1.0)]);
    short.scores.pop();
    assert!(refused(short).contains("tokenizer.ggml.scores`: wanted 260 numbers"));
}

#[test]
fn what_would_lose_words_is_refused_or_said() {
    for score in [f32::NAN, f32::NEG_INFINITY] {
        let mut vocab = spm(&[("a", 1.0), ("b", score)]);
        vocab.model = "t5".to_owned();
        assert!(refused(vocab).contains("tokenizer.ggml.scores`: wanted numbers"));
    }
    let whole = bpe("qwen2", &["a b"], &[]);
    assert_eq!(Tokenizer::new(whole.clone()).unwrap().warning(), None);
    let mut lost = whole;
    lost.kinds[usize::from(b'a')] = 3;
    assert!(Tokenizer::new(lost).unwrap().warning().is_some_and(|why| why.contains("letters of ASCII")));
}

#[test]
fn too_many_bytes_of_special_tokens_are_refused() {
    let long = "x".repeat(5 << 20);
    assert!(refused(bpe("qwen2", &[], &[(&long, 3)])).contains("tokenizer.ggml.tokens"));
    assert!(Tokenizer::new(bpe("qwen2", &["a b"], &[(&long, 1)])).is_ok());
}

#[test]
fn empty_tokens_are_never_matched_and_print_nothing() {
    let vocab = bpe("qwen2", &["a b"], &[("", 1), ("", 4), ("", 3)]);
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(tokenizer.encode("abc", Special::Parse), [256, 99]);
    assert_eq!(tokenizer.decode(&[257, 97, 258, 259], true), "a");
    assert_eq!(tokenizer.token_id(""), None);
}

#[test]
fn kinds_scores_and_roles_may_be_absent() {
    let mut vocab = bpe("qwen2", &["a b"], &[("<end>", 3)]);
    vocab.kinds.clear();
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(tokenizer.kind(257), Some(TokenKind::Normal));
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.eog()), (None, None, &[][..]));
    let mut vocab = spm(&[("ab", 0.0), ("a", 0.0), ("b", 0.0), ("bb", 0.0)]);
    vocab.scores.clear();
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.eog()), (Some(1), Some(2), &[2][..]));
    // without scores the leftmost pair goes first
    assert_eq!(spelled(&tokenizer, &tokenizer.encode("abb", Special::Plain))[3..], ["ab", "b"]);
}

#[test]
fn tokens_that_are_not_utf8_do_no_harm() {
    let mut vocab = bpe("qwen2", &[], &[]);
    for (bytes, kind) in [(&b"\xFF\xFE"[..], 1), (b"\x80", 4), (b"\xE1", 3)] {
        vocab.tokens.push(bytes);
        vocab.kinds.push(kind);
    }
    let tokenizer = Tokenizer::new(vocab).unwrap();
    // the second byte of the character is the user-defined token, and must not be cut out of it
    let ids = tokenizer.encode("a\u{c0}\u{1000}", Special::Parse);
    assert_eq!(tokenizer.decode(&ids, false), "a\u{c0}\u{1000}");
    assert_eq!(tokenizer.bytes(256), b"\xFF\xFE");
    assert_eq!(tokenizer.decode(&[256], false), "\u{FFFD}\u{FFFD}");
}

#[test]
fn merges_of_strings_that_are_no_tokens_fall_apart_into_bytes() {
    let mut vocab = bpe("qwen2", &["a b"], &[("<ctl>", 3)]);
    vocab.merges.push(b"ab c"); // `abc` is no token
    vocab.merges.push(b"abc d"); // nor is `abcd`
    vocab.merges.push("Ġ abcd".as_bytes());
    vocab.tokens.push("Ġabcd".as_bytes());
    vocab.kinds.push(1);
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(tokenizer.encode("abc", Special::Plain), [97, 98, 99]);
    assert_eq!(tokenizer.encode("abcd", Special::Plain), [97, 98, 99, 100]);
    // and yet they count on the way to a token
    assert_eq!(spelled(&tokenizer, &tokenizer.encode(" abcd", Special::Plain)), ["Ġabcd"]);
}

#[test]
fn merging_never_makes_a_control_token() {
    let mut vocab = bpe("llama-bpe", &["< c", "<c >"], &[]);
    let id = vocab.tokens.len() as u32 - 1;
    vocab.kinds[id as usize] = 3;
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(tokenizer.encode("<c>", Special::Parse), [id]);
    assert!(!tokenizer.encode("<c>", Special::Plain).contains(&id));
    let mut vocab = spm(&[("<", 1.0), ("c", 1.0), (">", 1.0), ("<c", 2.0), ("<c>", 3.0)]);
    *vocab.kinds.last_mut().unwrap() = 3;
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(spelled(&tokenizer, &tokenizer.encode("<c>", Special::Plain))[3..], ["<c", ">"]);
}

#[test]
fn a_byte_without_a_token_becomes_the_unknown_token_or_nothing() {
    let mut tokens = bpe("qwen2", &[], &[]).tokens;
    let kept: Vec<Vec<u8>> = tokens.iter().filter(|text| *text != b"q").map(<[u8]>::to_vec).collect();
    tokens = kept.iter().chain([&b"<unk>".to_vec()]).collect();
    let mut vocab = Vocab { tokens, kinds: vec![], ..bpe("qwen2", &[], &[]) };
    vocab.kinds = vec![1; 255];
    vocab.kinds.push(2);
    let tokenizer = Tokenizer::new(vocab.clone()).unwrap();
    assert_eq!(spelled(&tokenizer, &tokenizer.encode("aqb", Special::Plain)), ["a", "b"]);
    vocab.roles.unknown = Some(255);
    let tokenizer = Tokenizer::new(vocab).unwrap();
    assert_eq!(spelled(&tokenizer, &tokenizer.encode("aqb", Special::Plain)), ["a", "<unk>", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Any vocabulary at all gives a tokenizer that works, or an error; never a panic.
    #[test]
    fn any_vocabulary_is_built_or_refused(
        tokens in prop::collection::vec(prop_oneof![
            4 => "[ab<>/0x▁Ġ가]{0,4}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..3),
            1 => Just(b"<|im_end|>".to_vec()),
        ], 0..24),
        kinds in prop::collection::vec(0..=6, 0..32),
        scores in prop::collection::vec(prop_oneof![any::<f32>(), Just(f32::NAN), Just(-0.0)], 0..32),
        merges in prop::collection::vec("[ab<>Ġ]{0,2} [ab<>Ġ]{0,2}", 0..16),
        model in prop::sample::select(&["gpt2", "llama"][..]),
        bos in prop::option::of(0..30_u32),
        text in "[ab<>/0x▁ 가]{0,40}",
        ids in prop::collection::vec(any::<u32>(), 0..4),
    ) {
        let vocab = Vocab {
            model: model.to_owned(),
            pre: Some("llama-bpe".to_owned()),
            tokens: tokens.iter().collect(),
            kinds,
            scores,
            merges: merges.iter().collect(),
            roles: Roles { bos, ..Roles::default() },
            ..Vocab::default()
        };
        if let Ok(tokenizer) = Tokenizer::new(vocab) {
            for special in [Special::Plain, Special::Parse] {
                let got = tokenizer.encode_with_bos(&text, special);
                prop_assert!(got.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
                if special == Special::Plain {
                    let bos = usize::from(tokenizer.adds_bos()).min(got.len());
                    prop_assert!(got[bos..].iter().all(|&id| !tokenizer.is_control(id)));
                }
                tokenizer.decode(&got, true);
            }
            tokenizer.decode(&ids, true);
        }
    }
}
