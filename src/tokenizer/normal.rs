//! Unicode's composed form (NFC), into which some models' own tokenizers bring text first.
//!
//! The vocabulary file does not say so; the pre-tokenizers in [`COMPOSING`] belong to such models. Decomposed text is what file
//! names of some systems and PDF files hold: without this its letters would be single jamo or marks, which the model has
//! never seen.

use std::borrow::Cow;

/// Pre-tokenizers of models whose own tokenizer composes.
const COMPOSING: [&str; 3] = ["qwen2", "deepseek-r1-qwen", "qwen35"];

/// Whether the model with this pre-tokenizer composes text.
pub(crate) fn composes(pre: Option<&str>) -> bool {
    pre.is_some_and(|pre| COMPOSING.contains(&pre))
}

/// Characters that may change: marks, jamo, and the few that stand for others.
fn may_change(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{10ff}' | '\u{1100}'..='\u{11ff}' | '\u{135d}'..='\u{1dff}'
        | '\u{1f71}'..='\u{1fff}' | '\u{2000}' | '\u{2001}' | '\u{20d0}'..='\u{20ff}' | '\u{2126}' | '\u{212a}' | '\u{212b}'
        | '\u{2329}' | '\u{232a}' | '\u{2adc}' | '\u{2cef}'..='\u{2dff}' | '\u{302a}'..='\u{302f}' | '\u{3099}' | '\u{309a}'
        | '\u{a66f}'..='\u{abff}' | '\u{f900}'..='\u{faff}' | '\u{fb1d}'..='\u{fb4e}' | '\u{fe20}'..='\u{fe2f}')
        || ('\u{340}'..='\u{344}').contains(&c)
        || (c > '\u{ffff}' && !('\u{1f000}'..='\u{1faff}').contains(&c) && !('\u{20000}'..='\u{2f7ff}').contains(&c))
}

/// The text in composed form.
pub(crate) fn composed(text: &str) -> Cow<'_, str> {
    if !text.chars().any(may_change) {
        return Cow::Borrowed(text);
    }
    let mut text = tokenizers::NormalizedString::from(text);
    text.nfc();
    Cow::Owned(text.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decomposed_text_is_composed() {
        let decomposed = "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8} e\u{301} \u{212b}";
        assert_eq!(composed(decomposed), "한국 é Å");
        for same in ["한국 é", "plain", "漢字 かな 😀", ""] {
            assert!(matches!(composed(same), Cow::Borrowed(_)), "{same}");
        }
    }

    #[test]
    fn only_where_the_model_s_own_tokenizer_does_it() {
        assert!(composes(Some("qwen2")) && !composes(Some("llama-bpe")) && !composes(None));
    }
}
