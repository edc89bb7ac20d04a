//! Every scanner cuts as the regex that it stands for, as the `tokenizers` crate runs it.

use crate::tokenizer::pre::{self, Cutter, PRE_TOKENIZERS, Row};
use proptest::prelude::*;
use std::sync::LazyLock;

/// What scanners decide by: letters with and without case, digits, marks, signs, all kinds of white space, contractions.
const ALPHABET: &[&str] = &[
    "a", "Z", "b", "S", "s", "T", "m", "d", "ſ", "é", "É", "ß", "ǅ", "ʰ", "ª", "가", "힣", "ㅋ", "漢", "字", "か",
    "カ", "゛", "\u{301}", "\u{93e}", "1", "9", "½", "Ⅷ", "٣", " ", " ", " ", "  ", "\t", "\n", "\r", "\r\n", "\u{a0}",
    "\u{3000}", "\u{85}", "\u{2028}", "\u{200b}", "\u{200d}", "\u{0}", "'", "'s", "'RE", "'ll", "'Ve", "’", "_", "-",
    "/", ".", "!", "\"", "$", "+", "<", "=", ">", "^", "~", "|", "`", "₩", "、", "👍", "🏽", "\u{e000}", "\u{378}",
];

fn cut(cutter: &Cutter, text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    cutter.cut(text, &mut |piece| pieces.push(piece.to_owned()));
    pieces
}

/// Every row that has scanners, with its two ways to run.
fn pairs() -> &'static [(&'static Row, Cutter, Cutter)] {
    static PAIRS: LazyLock<Vec<(&Row, Cutter, Cutter)>> = LazyLock::new(|| {
        let scanned = PRE_TOKENIZERS.iter().filter(|row| row.cuts.iter().all(|cut| cut.scanner.is_some()));
        scanned.map(|row| (row, Cutter::new(row).unwrap(), Cutter::with_regexes(row).unwrap())).collect()
    });
    &PAIRS
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn scanners_cut_as_their_regexes(parts in prop::collection::vec(prop::sample::select(ALPHABET), 0..24)) {
        let text = parts.concat();
        for (row, scanners, regexes) in pairs() {
            prop_assert_eq!(cut(scanners, &text), cut(regexes, &text), "{}", row.names[0]);
        }
    }

    #[test]
    fn scanners_cut_any_unicode_as_their_regexes(text in "\\PC{0,24}") {
        for (row, scanners, regexes) in pairs() {
            prop_assert_eq!(cut(scanners, &text), cut(regexes, &text), "{}", row.names[0]);
        }
    }
}

#[test]
fn both_ways_are_taken() {
    assert!(pairs().len() >= 10);
    for (_, scanners, regexes) in pairs() {
        assert!(matches!(scanners, Cutter::Scanners { .. }));
        assert!(matches!(regexes, Cutter::Regexes(_)));
    }
}

#[test]
fn pieces_together_are_the_text_under_every_row() {
    let text = ALPHABET.concat().repeat(3);
    for row in PRE_TOKENIZERS {
        assert_eq!(cut(&Cutter::new(row).unwrap(), &text).concat(), text, "{}", row.names[0]);
    }
}

#[test]
fn names_are_unique_and_found() {
    let mut names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|row| row.names).copied().collect();
    let n = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n);
    for name in names {
        assert!(pre::find(name).unwrap().names.contains(&name));
    }
    assert!(pre::find("llama-9").is_none());
}

#[test]
fn superwords_and_gaps_where_they_belong() {
    let pieces = |name: &str, text: &str| cut(&Cutter::new(pre::find(name).unwrap()).unwrap(), text);
    assert_eq!(pieces("exaone-moe", "나는 학교에 간다. 그래서"), ["나는 학교에 간다", ".", " 그래서"]);
    assert_eq!(pieces("exaone4", "a\tb  c"), ["a", "\t", "b", " ", " c"]);
    assert_eq!(pieces("exaone", "12 34"), ["1", "2", " ", "3", "4"]);
    assert_eq!(pieces("llama-bpe", "1234\r\n\n x"), ["123", "4", "\r\n\n", " x"]);
    assert_eq!(pieces("deepseek-v3", "1234漢字かな가\u{0}"), ["123", "4", "漢字かな", "가", "\u{0}"]);
    assert_eq!(pieces("gpt-4o", "HTMLParser ALL'S"), ["HTMLParser", " ALL'S"]);
    assert_eq!(pieces("gpt-4o", "camelCase"), ["camel", "Case"]);
}

/// Regex engines may give up on long texts, and the crate then stops cutting without a word: not on these.
#[test]
fn regexes_cut_long_runs_to_the_end() {
    let n = 1 << 17;
    let spaces = " ".repeat(n);
    // One cuts at digits only: its words stay together.
    let rows = PRE_TOKENIZERS.iter().filter(|row| row.names[0] != "superbpe");
    for row in rows.filter(|row| row.cuts.iter().any(|cut| cut.scanner.is_none())) {
        let cutter = Cutter::new(row).unwrap();
        assert!(matches!(cutter, Cutter::Regexes(_)));
        for run in
            [&spaces, &"a".repeat(n), &"가".repeat(n), &"!".repeat(n), &"\n".repeat(n), &format!("{spaces}\n{spaces}")]
        {
            let pieces = cut(&cutter, &format!("{run}x 가나\n"));
            // the last word is still cut off from what precedes it
            assert!(pieces.iter().any(|piece| piece.trim() == "가나"), "{} {:?}", row.names[0], run.chars().next());
        }
    }
}
