//! Tokenizers other than byte-level and SentencePiece BPE.

use super::*;
use crate::tokenizer::{Special, Vocab};

/// A vocabulary of `model` with these tokens, their kinds and scores.
fn vocab(model: &str, tokens: &[(&str, i32, f32)]) -> Vocab {
    Vocab {
        model: model.to_owned(),
        tokens: tokens.iter().map(|token| token.0).collect(),
        kinds: tokens.iter().map(|token| token.1).collect(),
        scores: tokens.iter().map(|token| token.2).collect(),
        ..Vocab::default()
    }
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id).unwrap().into_owned()).collect()
}

#[test]
fn words_are_cut_from_the_left_longest_piece_first() {
    let tokens = ["[UNK]", "[CLS]", "[SEP]", "▁play", "▁p", "lay", "ing", "▁,", "▁caf", "e", "▁中", "▁文"];
    let rows: Vec<_> = tokens.iter().map(|&text| (text, 1, 0.0)).collect();
    let mut bert = vocab("bert", &rows);
    (bert.roles.bos, bert.roles.separator, bert.roles.unknown) = (Some(1), Some(2), Some(0));
    let tokenizer = Tokenizer::new(bert).unwrap();
    let encode = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Special::Plain));
    assert_eq!(encode("Playing, café"), ["▁play", "ing", "▁,", "▁caf", "e"]);
    assert_eq!(encode("中文"), ["▁中", "▁文"]);
    assert_eq!(encode(&format!("p{}", "lay".repeat(33))).len(), 33, "100 letters are a word");
    assert_eq!(encode(&format!("p{}", "lay".repeat(34))), ["[UNK]"]);
    assert_eq!(encode("play xyz play"), ["▁play", "[UNK]", "▁play"]);
    assert_eq!(encode(" \u{200b}\t"), [""; 0]);
    let framed = tokenizer.encode_with_bos("play", Special::Plain);
    assert_eq!(texts(&tokenizer, &framed), ["[CLS]", "▁play", "[SEP]"]);
}

#[test]
fn a_unigram_takes_the_cut_with_the_best_sum() {
    // The longest match first would take "▁ab" and be left with "c".
    let rows = [
        ("<pad>", 3, 0.0),
        ("</s>", 3, 0.0),
        ("<unk>", 2, 0.0),
        ("▁ab", 1, -1.0),
        ("▁a", 1, -1.5),
        ("bc", 1, -1.0),
        ("b", 1, -3.0),
        ("c", 1, -3.0),
        ("▁", 1, -2.0),
    ];
    let mut t5 = vocab("t5", &rows);
    (t5.squeeze_blanks, t5.roles.eos, t5.roles.unknown) = (Some(true), Some(1), Some(2));
    let tokenizer = Tokenizer::new(t5).unwrap();
    let encode = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Special::Plain));
    assert_eq!(encode("abc"), ["▁a", "bc"]);
    assert_eq!(encode("  ab   ab "), ["▁ab", "▁ab"]);
    assert_eq!(encode("ab xy"), ["▁ab", "▁", "<unk>"], "a run of unknown characters is one");
    assert_eq!(tokenizer.encode_with_bos("ab", Special::Plain), [3, 1]);
}

#[test]
fn characters_merge_by_rank_and_lines_stay_apart() {
    let mut rows: Vec<(String, i32)> = ["<pad>", "<eos>", "<bos>", "▁", "a", "b", "▁a", "ab", "\n", "\n\n"]
        .iter()
        .enumerate()
        .map(|(id, &text)| (text.to_owned(), if id < 3 { 3 } else { 1 }))
        .collect();
    rows.extend((0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 6)));
    let rows: Vec<_> = rows.iter().map(|(text, kind)| (text.as_str(), *kind, 0.0)).collect();
    let mut gemma = vocab("gemma4", &rows);
    gemma.merges = ["▁ a", "a b"].into_iter().collect();
    let tokenizer = Tokenizer::new(gemma).unwrap();
    let encode = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Special::Plain));
    assert_eq!(encode(" ab"), ["▁a", "b"], "the first merge goes first");
    assert_eq!(encode("ab\n\nab"), ["ab", "\n\n", "ab"]);
    assert_eq!(encode("é"), ["<0xC3>", "<0xA9>"]);
    let ids = tokenizer.encode("ab\n\n ab é", Special::Plain);
    assert_eq!(tokenizer.decode(&ids, false), "ab\n\n ab é");
}

/// The name of a control token is no such token where a person writes it, and none of it is lost.
#[test]
fn names_of_control_tokens_are_spelled_in_characters_where_there_are_no_bytes() {
    let names = ["<", "/", "s", ">", "</", "</s", "</s>", "x"];
    let rows: Vec<_> = names.iter().map(|&text| (text, 1, 0.0)).collect();
    let mut gemma = vocab("gemma4", &rows);
    gemma.merges = ["< /", "</ s", "</s >"].into_iter().collect();
    let tokenizer = Tokenizer::new(gemma).unwrap();
    let encode = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Special::Plain));
    assert_eq!(encode("x</s>x"), ["x", "<", "/", "s", ">", "x"]);
    assert_eq!(encode("</s"), ["</s"]);
}

#[test]
fn the_longest_match_is_taken_and_escapes_are_bytes() {
    let rows =
        [("<s>", 3, 0.0), ("a", 1, 0.0), ("ab", 1, 0.0), (r"\n", 1, 0.0), (r"\xEA\xB0\x80", 1, 0.0), ("b", 1, 0.0)];
    let tokenizer = Tokenizer::new(vocab("rwkv", &rows)).unwrap();
    assert_eq!(tokenizer.encode("abb\na가", Special::Plain), [2, 5, 3, 1, 4]);
    assert_eq!(tokenizer.decode(&[2, 3, 4], false), "ab\n가");
}

#[test]
fn the_cheapest_cut_spells_what_no_token_covers_in_bytes() {
    let mut rows =
        vec![("a", 1, -2.0), ("b", 1, -2.0), ("ab", 1, -4.0), ("abc", 1, -9.0), ("c", 1, -4.5), ("no", 1, -2001.0)];
    rows.extend([("n", 1, -3.0), ("o", 1, -3.0), ("<0xED>", 6, 0.0), ("<0x95>", 6, 0.0), ("<0x9C>", 6, 0.0)]);
    let tokenizer = Tokenizer::new(vocab("plamo2", &rows)).unwrap();
    let encode = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Special::Plain));
    // At equal cost the longer token; "ab" and "c" cost less than "abc"; a token that costs too much is none.
    assert_eq!(encode("ab"), ["ab"]);
    assert_eq!(encode("abc"), ["ab", "c"]);
    assert_eq!(encode("no"), ["n", "o"]);
    assert_eq!(encode("\u{feff}한a"), ["<0xED>", "<0x95>", "<0x9C>", "a"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("한a", Special::Plain), false), "한a");
    let mut short = vocab("plamo2", &rows);
    short.scores.pop();
    assert!(Tokenizer::new(short).unwrap_err().to_string().contains("tokenizer.ggml.scores"));
}

/// Ids by llama.cpp.
#[test]
fn words_merge_their_characters_and_blanks_are_nothing() {
    let rows: Vec<_> = "<unk> a b c d e f g h A B 한 국 어 ， 1 2 ab abc 한국 한국어 de AB gh 12"
        .split(' ')
        .map(|token| (token, if token == "<unk>" { 2 } else { 1 }, 0.0))
        .collect();
    let mut words = vocab("whitespace", &rows);
    words.pre = Some("whitespace".to_owned());
    words.merges = "a b|ab c|한 국|한국 어|d e|A B|g h|1 2".split('|').collect();
    let tokenizer = Tokenizer::new(words.clone()).unwrap();
    let encode = |text: &str| tokenizer.encode(text, Special::Plain);
    assert_eq!(encode("abc ab c"), [18, 17, 3]);
    assert_eq!(encode("한국어 한국\u{3000}어"), [20, 19, 13]);
    assert_eq!(encode("  A\tB\nAB ab"), [9, 10, 22, 17]);
    assert_eq!(encode("xyz 12é21"), [24, 16, 15]);
    assert!(!tokenizer.adds_bos());
    words.lowercase = Some(true);
    assert_eq!(Tokenizer::new(words).unwrap().encode("  A\tB\nAB ab", Special::Plain), [1, 2, 17, 17]);
}

/// Ids by llama.cpp.
#[test]
fn dna_is_read_six_bases_at_a_time() {
    let bytes: Vec<String> = (0..=u8::MAX).map(|byte| byte_map::char_of(byte).to_string()).collect();
    let mut rows: Vec<(&str, i32, f32)> = bytes.iter().map(|text| (text.as_str(), 1, 0.0)).collect();
    let others = ["CC", "CCCC", "CCCCCC", "hi", "<dna>", "</dna>", "<oov>"];
    let sixes = ["CCCCCC\u{e000}", "ACGTAC\u{e000}", "GTAAAA\u{e000}", "TTTTTT\u{e000}"];
    rows.extend(others.iter().chain(&sixes).map(|&text| (text, 1, 0.0)));
    let mut dna = vocab("hybriddna", &rows);
    dna.pre = Some("gpt-2".to_owned());
    dna.merges = ["C C", "CC CC", "CCCC CC", "h i"].into_iter().collect();
    let tokenizer = Tokenizer::new(dna).unwrap();
    let encode = |text: &str| texts(&tokenizer, &tokenizer.encode(text, Special::Plain));
    assert_eq!(encode("hi CCCCCC"), ["hi", "Ġ", "CCCCCC"]);
    assert_eq!(encode("<dna>CCCCCCACGTACGTA</dna>hi"), ["<dna>", sixes[0], sixes[1], sixes[2], "</dna>", "hi"]);
    let unfinished = ["x", "<dna>", sixes[0], "<oov>", "</dna>", "<dna>", sixes[3]];
    assert_eq!(encode("x<dna>ccccccNACGTA</dna><dna>tttttt"), unfinished);
    assert_eq!(encode("<dna></dna>"), ["<dna>", "</dna>"]);
    assert_eq!(encode("<dna>ACGTAC é</dna>CC"), ["<dna>", sixes[1], "<oov>", "</dna>", "CC"]);
    let ids = tokenizer.encode("<dna>CCCCCCAC", Special::Plain);
    assert_eq!(tokenizer.decode(&ids, false), "<dna>CCCCCC<oov>", "without the mark of six bases");
}

/// Pairs of RoBERTa have two tokens between them, those of ModernBERT one; a file may say which.
#[test]
fn pairs_are_separated_as_the_file_says() {
    let separator = |pre: &str, add_sep: Option<bool>| {
        let rows: Vec<_> = ["a", "b", "<s>", "</s>"].map(|text| (text, 1, 0.0)).to_vec();
        let mut vocab = Vocab { pre: Some(pre.to_owned()), add_sep, ..vocab("gpt2", &rows) };
        vocab.merges = ["a b"].into_iter().collect();
        (vocab.roles.bos, vocab.roles.eos, vocab.roles.separator) = (Some(2), Some(3), Some(3));
        Tokenizer::new(vocab).unwrap().separator()
    };
    assert_eq!(separator("roberta-bpe", None), Some(3));
    assert_eq!(separator("roberta-bpe", Some(false)), None);
    assert_eq!(separator("modern-bert", None), None);
    assert_eq!(separator("modern-bert", Some(true)), Some(3));
}
