//! Encoding and decoding on small vocabularies; the `tokenizers` crate's own pipeline as the reference.

use super::*;
use crate::tokenizer::pre;
use crate::tokenizer::{Special, StreamDecoder};
use proptest::prelude::*;
use std::sync::LazyLock;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// A vocabulary of bytes with learned merges, under `pre`.
fn learned(pre: &str) -> Vocab {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/tokenizers/own-bytes.json")).unwrap();
    let texts = |key: &str| {
        file[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    Vocab {
        model: "gpt2".to_owned(),
        pre: Some(pre.to_owned()),
        tokens: texts("tokens").iter().collect(),
        kinds: file["token_type"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as i32).collect(),
        merges: texts("merges").iter().collect(),
        ..Vocab::default()
    }
}

/// The same vocabulary as a pipeline of the crate: added tokens, regexes, byte level, BPE.
fn crate_pipeline(vocab: &Vocab) -> tokenizers::Tokenizer {
    let row = pre::find(vocab.pre.as_deref().unwrap()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let ids: ahash::AHashMap<String, u32> = vocab.tokens.iter().map(text).zip(0..).collect();
    let merges = vocab.merges.iter().map(|merge| {
        let merge = text(merge);
        let (left, right) = merge.split_once(' ').unwrap();
        (left.to_owned(), right.to_owned())
    });
    let model =
        BPE::builder().vocab_and_merges(ids, merges.collect()).ignore_merges(row.ignore_merges).build().unwrap();
    let mut pipeline = tokenizers::Tokenizer::new(model);
    let mut steps: Vec<tokenizers::PreTokenizerWrapper> = Vec::new();
    for cut in row.cuts {
        let regex = SplitPattern::Regex(cut.regex.to_owned());
        steps.push(Split::new(regex, SplitDelimiterBehavior::Isolated, false).unwrap().into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    pipeline.with_pre_tokenizer(Some(Sequence::new(steps)));
    let special = vocab.tokens.iter().zip(&vocab.kinds).filter(|(_, kind)| **kind == 3);
    let special: Vec<AddedToken> =
        special.map(|(name, _)| AddedToken::from(text(name), true).normalized(false)).collect();
    pipeline.add_special_tokens(&special);
    pipeline
}

/// Every row of the table, here and in the crate.
fn both() -> &'static [(&'static str, Tokenizer, tokenizers::Tokenizer)] {
    static BOTH: LazyLock<Vec<(&str, Tokenizer, tokenizers::Tokenizer)>> = LazyLock::new(|| {
        let rows = pre::PRE_TOKENIZERS.iter().map(|row| row.names[0]);
        rows.map(|name| (name, Tokenizer::new(learned(name)).unwrap(), crate_pipeline(&learned(name)))).collect()
    });
    &BOTH
}

/// Text made of what the vocabulary has merges for.
fn some_text() -> impl Strategy<Value = String> {
    const PARTS: &[&str] = &[
        "한국어",
        "추론",
        "the ",
        " fox",
        "jumps over",
        "12345",
        "\n\n",
        "    ",
        "\t",
        "안녕하세요, ",
        "()",
        "<|end|>",
        "é",
        "👍🏽",
    ];
    let part = prop_oneof![4 => prop::sample::select(PARTS).prop_map(str::to_owned), 1 => "\\PC{0,3}"];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn ids_are_those_of_the_crate_under_every_row(text in some_text()) {
        for (name, ours, theirs) in both() {
            let expected = theirs.encode_fast(text.as_str(), false).unwrap();
            prop_assert_eq!(ours.encode(&text, Special::Parse), expected.get_ids(), "{}", name);
        }
    }

    #[test]
    fn decoding_gives_back_any_text(text in any::<String>(), more in some_text()) {
        let text = text + &more;
        for (name, tokenizer, _) in both() {
            let ids = tokenizer.encode(&text, Special::Plain);
            prop_assert_eq!(&tokenizer.decode(&ids, false), &text, "{}", name);
        }
    }

    #[test]
    fn streams_give_the_decoded_text_whatever_the_ids(ids in prop::collection::vec(0..2600_u32, 0..40)) {
        let (_, tokenizer, _) = &both()[0];
        for show in [false, true] {
            let mut stream = tokenizer.stream_with(show);
            let mut text = String::new();
            for &id in &ids {
                text.extend(stream.push(id));
                prop_assert!(stream.held() <= 3);
            }
            text += &stream.finish();
            prop_assert_eq!(text, tokenizer.decode(&ids, show));
        }
    }

    #[test]
    fn sentencepiece_gives_back_any_text(text in "[ab 가\n▁é]{0,30}") {
        let tokenizer = Tokenizer::new(spm(&[("▁", -1.0), ("a", -2.0), ("▁a", -0.5), ("ab", -0.2), ("가", -3.0), ("▁▁", 0.0)])).unwrap();
        let ids = tokenizer.encode(&text, Special::Plain);
        prop_assert_eq!(tokenizer.decode(&ids, false), text.replace('▁', " "));
    }
}

#[test]
fn the_stream_outlives_the_tokenizer() {
    fn owned<T: Send + 'static>(value: T) -> T {
        value
    }
    let mut stream: StreamDecoder = owned(Tokenizer::new(bpe("qwen2", &[], &[])).unwrap().stream());
    assert_eq!(stream.push(u32::from(b'a')), Some("a".to_owned()));
    assert_eq!(stream.push(999), None);
    assert_eq!(stream.push(0xEA), None);
    assert_eq!(stream.finish(), "\u{FFFD}");
    fn shared<T: Send + Sync>() {}
    shared::<Tokenizer>();
}

#[test]
fn sentencepiece_merges_by_score_and_spells_the_rest_in_bytes() {
    let vocab =
        spm(&[("a", 0.0), ("b", 0.0), ("c", 0.0), ("ab", 1.0), ("bc", 2.0), ("abc", 0.5), ("▁", 0.0), ("▁a", 5.0)]);
    let tokenizer = Tokenizer::new(vocab.clone()).unwrap();
    let ids = tokenizer.encode("abc 가", Special::Plain);
    assert_eq!(spelled(&tokenizer, &ids), ["▁a", "bc", "▁", "<0xEA>", "<0xB0>", "<0x80>"]);
    assert_eq!(tokenizer.decode(&ids, false), "abc 가");
    let tokenizer = Tokenizer::new(Vocab { add_space_prefix: Some(false), ..vocab }).unwrap();
    assert_eq!(spelled(&tokenizer, &tokenizer.encode("abc", Special::Plain)), ["abc"]);
}

#[test]
fn sentencepiece_puts_its_space_at_the_start_and_after_special_tokens() {
    let tokenizer = Tokenizer::new(spm(&[("▁", 0.0), ("a", 0.0), ("▁a", 1.0)])).unwrap();
    assert_eq!(
        spelled(&tokenizer, &tokenizer.encode_with_bos("a<s>a a", Special::Parse)),
        ["<s>", "▁a", "<s>", "▁a", "▁a"]
    );
    assert!(tokenizer.encode("", Special::Plain).is_empty());
    // a stream goes on after a prompt, so it keeps the space that decoding a whole text drops
    let mut stream = tokenizer.stream();
    assert_eq!(stream.push(tokenizer.token_id("▁a").unwrap()).unwrap(), " a");
}

#[test]
fn special_tokens_longest_first_and_control_tokens_only_when_asked() {
    let specials = [("<a>", 4), ("<a><b>", 4), ("\n", 4), ("\n\n\n", 4), ("<ctl>", 3), ("<ctl>x", 4)];
    let tokenizer = Tokenizer::new(bpe("qwen2", &[], &specials)).unwrap();
    let texts = |text: &str, special| spelled(&tokenizer, &tokenizer.encode(text, special));
    assert_eq!(texts("<a><b><a>\n\n\n\n", Special::Plain), ["<a><b>", "<a>", "\n\n\n", "\n"]);
    assert_eq!(texts("<ctl>", Special::Plain), ["<", "c", "t", "l", ">"]);
    assert_eq!(texts("<ctl>", Special::Parse), ["<ctl>"]);
    // a control token that is not asked for hides no user-defined one
    assert_eq!(texts("<ctl>x", Special::Plain), ["<ctl>x"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("a<ctl>b<a>", Special::Parse), false), "ab<a>");
    assert_eq!(tokenizer.decode(&tokenizer.encode("a<ctl>b<a>", Special::Parse), true), "a<ctl>b<a>");
}

#[test]
fn bos_and_eos_where_the_model_wants_them_and_once() {
    let base = || {
        let vocab = bpe("llama-bpe", &[], &[("<bos>", 3), ("<eos>", 3)]);
        with_role(with_role(vocab, "<bos>", |roles, id| roles.bos = Some(id)), "<eos>", |roles, id| {
            roles.eos = Some(id)
        })
    };
    let a = u32::from(b'a');
    let ids = |vocab: Vocab, text: &str| Tokenizer::new(vocab).unwrap().encode_with_bos(text, Special::Parse);
    assert_eq!(ids(base(), "a"), [256, a]);
    assert_eq!(ids(base(), "<bos>a"), [256, a]);
    assert_eq!(ids(Vocab { add_bos: Some(false), ..base() }, "a"), [a]);
    assert_eq!(ids(Vocab { pre: Some("qwen2".to_owned()), ..base() }, "a"), [a]);
    assert_eq!(ids(Vocab { add_eos: Some(true), ..base() }, "a"), [256, a, 257]);
    assert_eq!(ids(Vocab { add_eos: Some(true), ..base() }, "<bos>a<eos>"), [256, a, 257]);
    assert_eq!(Tokenizer::new(base()).unwrap().encode("a", Special::Parse), [a]);
}

#[test]
fn a_whole_piece_that_is_a_token_ignores_merges_where_the_model_says_so() {
    let specials = [("abc", 1), ("Ġabc", 1)];
    let texts = |pre: &str| {
        let tokenizer = Tokenizer::new(bpe(pre, &["a b"], &specials)).unwrap();
        spelled(&tokenizer, &tokenizer.encode("abc abc", Special::Plain))
    };
    assert_eq!(texts("llama-bpe"), ["abc", "Ġabc"]);
    assert_eq!(texts("dbrx"), ["ab", "c", "Ġ", "ab", "c"]);
}

#[test]
fn the_same_piece_again_gives_the_same_ids() {
    let tokenizer = Tokenizer::new(learned("qwen2")).unwrap();
    let text = "안녕하세요, 세계! The quick brown fox. ".repeat(20);
    let once = tokenizer.encode("안녕하세요, 세계! The quick brown fox. ", Special::Plain);
    let ids = tokenizer.encode(&text, Special::Plain);
    assert_eq!(tokenizer.decode(&ids, false), text);
    assert_eq!(ids[..once.len() - 1], once[..once.len() - 1]);
}

/// Time that grows with the square of the length would make this take hours.
#[test]
fn long_runs_take_linear_time() {
    let n = 1 << 20;
    let bpe = Tokenizer::new(bpe("exaone-moe", &["a a", "aa aa", "Ġ Ġ", "ĠĠ ĠĠ"], &[("\n", 4), ("\n\n", 4)])).unwrap();
    let spm = Tokenizer::new(spm(&[
        ("a", 0.0),
        ("aa", 1.0),
        ("aaaa", 2.0),
        ("▁▁", 1.0),
        ("▁▁▁▁", 2.0),
        ("a▁", 0.1),
        ("▁", 0.0),
    ]))
    .unwrap();
    for tokenizer in [&bpe, &spm] {
        for text in
            ["a".repeat(n), " ".repeat(n), " ".repeat(n) + "a", "\n".repeat(n), "a ".repeat(n / 2), "가".repeat(n / 3)]
        {
            let ids = tokenizer.encode(&text, Special::Parse);
            assert_eq!(tokenizer.decode(&ids, false), text);
        }
    }
}
