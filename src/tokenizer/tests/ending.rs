//! Which tokens end a generation.

use super::*;
use crate::tokenizer::{Special, TokenKind};

/// The names of the tokens that end a generation.
fn ends(vocab: Vocab) -> Vec<String> {
    let tokenizer = Tokenizer::new(vocab).unwrap();
    for id in 0..tokenizer.vocab_size() as u32 {
        assert_eq!(tokenizer.is_eog(id), tokenizer.eog().contains(&id));
    }
    spelled(&tokenizer, tokenizer.eog())
}

fn named(pre: &str, names: &[&str]) -> Vocab {
    let specials: Vec<(&str, i32)> = names.iter().map(|name| (*name, 3)).collect();
    bpe(pre, &[], &specials)
}

#[test]
fn by_name() {
    let vocab = named("qwen2", &["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|fim_pad|>", "<|fim_prefix|>"]);
    assert_eq!(ends(vocab), ["<|im_end|>", "<|endoftext|>", "<|fim_pad|>"]);
    let vocab = named("llama-bpe", &["<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"]);
    assert_eq!(ends(vocab), ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"]);
    assert_eq!(ends(named("qwen2", &["<end_of_turn>", "<start_of_turn>", "<eos>"])), ["<end_of_turn>", "<eos>"]);
}

#[test]
fn by_role_alone() {
    let vocab =
        with_role(named("exaone", &["[BOS]", "[|endofturn|]"]), "[|endofturn|]", |roles, id| roles.eos = Some(id));
    assert_eq!(ends(vocab), ["[|endofturn|]"]);
    let vocab = with_role(named("exaone-moe", &["<|endofturn|>"]), "<|endofturn|>", |roles, id| roles.eot = Some(id));
    assert_eq!(ends(vocab), ["<|endofturn|>"]);
}

#[test]
fn the_end_of_a_message_is_not_the_end_in_gpt_oss_and_solar_open() {
    assert_eq!(ends(named("gpt-4o", &["<|return|>", "<|call|>", "<|end|>"])), ["<|return|>", "<|call|>"]);
    let solar = named("solar-open", &["<|flush|>", "<|calls|>", "<|end|>", "<|endoftext|>"]);
    assert_eq!(ends(solar), ["<|flush|>", "<|calls|>", "<|endoftext|>"]);
    assert_eq!(ends(named("gpt-4o", &["<|return|>", "<|end|>"])), ["<|return|>", "<|end|>"]);
}

#[test]
fn the_end_of_a_thought_is_not_the_end_in_hyperclova_x_think() {
    let names = ["<|im_start|>", "<|im_end|>", "<|endofturn|>", "<|stop|>"];
    let think =
        |template: Option<&str>, pre: &str| Vocab { template: template.map(str::to_owned), ..named(pre, &names) };
    let role = "{{ '<|im_start|>assistant/think\n' }}...{{ '<|im_end|><|endofturn|>\n' }}";
    assert_eq!(ends(think(Some(role), "hyperclovax")), ["<|endofturn|>", "<|stop|>"]);
    assert_eq!(ends(think(None, "mu-choco")), ["<|endofturn|>", "<|stop|>"]);
    // not even when the file says so
    let said = with_role(think(Some(role), "hyperclovax"), "<|im_end|>", |roles, id| roles.eos = Some(id));
    assert_eq!(ends(said), ["<|endofturn|>", "<|stop|>"]);
    // the 32B model thinks between tags and ends its turn as ChatML does
    let tags = "{{ '<|im_start|>assistant\n<think>\n' }}{{ content.split('</think>')[-1] }}";
    assert_eq!(ends(think(Some(tags), "hyperclovax")), ["<|im_end|>", "<|endofturn|>", "<|stop|>"]);
    // and other models with such a template need their `<|im_end|>`
    let chatml = Vocab { template: Some(role.to_owned()), ..named("qwen2", &["<|im_start|>", "<|im_end|>"]) };
    assert_eq!(ends(chatml), ["<|im_end|>"]);
}

#[test]
fn what_ends_a_turn_is_a_control_token_whatever_the_file_says() {
    for kind in [1, 4] {
        let tokenizer = Tokenizer::new(bpe("qwen2", &[], &[("<|im_end|>", kind)])).unwrap();
        assert_eq!(tokenizer.kind(256), Some(TokenKind::Control));
        assert!(!tokenizer.encode("<|im_end|>", Special::Plain).contains(&256));
        assert_eq!(tokenizer.encode("<|im_end|>", Special::Parse), [256]);
        assert_eq!(tokenizer.decode(&[256], false), "");
    }
}
