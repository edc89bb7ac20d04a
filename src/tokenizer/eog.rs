//! Which tokens end a generation: those the file names, and those with well-known names, with the exceptions that
//! models whose names mean something else need.

use super::strings::Index;
use super::vocab::{Roles, TokenKind, Vocab};

/// Names that end a turn, a message or a text in every model that has them (but see [`exceptions`]).
const END_TOKENS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    END,
    RETURN,
    CALL,
    FLUSH,
    CALLS,
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    // fill-in-the-middle: padding, the next repository, the next file
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

const END: &str = "<|end|>";
const RETURN: &str = "<|return|>";
const CALL: &str = "<|call|>";
const CALLS: &str = "<|calls|>";
const FLUSH: &str = "<|flush|>";
const IM_END: &str = "<|im_end|>";
const END_OF_TURN: &str = "<|endofturn|>";
const STOP: &str = "<|stop|>";

/// The ids that end a generation, in rising order. Tokens of [`END_TOKENS`] become control tokens whatever the file says:
/// converters forget it, and text must never end a turn.
pub(crate) fn ends(vocab: &Vocab, index: &Index, kinds: &mut [TokenKind], roles: &Roles) -> Vec<u32> {
    let id_of = |name: &str| index.get(&vocab.tokens, name.as_bytes());
    let mut ends: Vec<u32> = END_TOKENS.iter().filter_map(|name| id_of(name)).collect();
    for &id in &ends {
        if let Some(kind) = kinds.get_mut(id as usize) {
            *kind = TokenKind::Control;
        }
    }
    ends.extend([roles.eos, roles.eot, roles.eom].into_iter().chain(roles.fim).flatten());
    if vocab.pre.as_deref().is_some_and(|pre| HYPERCLOVA.contains(&pre)) {
        ends.extend([END_OF_TURN, STOP].iter().filter_map(|name| id_of(name)));
    }
    let excepted = exceptions(vocab, roles, id_of);
    ends.retain(|&id| !excepted.contains(&Some(id)));
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Names of HyperCLOVA X's pre-tokenizer.
const HYPERCLOVA: [&str; 2] = ["hyperclovax", "mu-choco"];

/// Tokens that look like an end and are none.
fn exceptions(vocab: &Vocab, roles: &Roles, id_of: impl Fn(&str) -> Option<u32>) -> [Option<u32>; 2] {
    let has = |names: &[&str]| names.iter().all(|name| id_of(name).is_some());
    // gpt-oss and Solar Open: `<|end|>` ends a message, also the thought before the answer
    let end = (has(&[RETURN, CALL]) || has(&[CALLS, FLUSH])).then(|| id_of(END)).flatten();
    // HyperCLOVA X Think 14B: `<|im_end|>` ends the thought; the turn ends with `<|endofturn|>` or `<|stop|>`
    let im_end = id_of(IM_END).filter(|&id| {
        let thinks = match &vocab.template {
            Some(template) => opens_think_role(template),
            None => vocab.pre.as_deref().is_some_and(|pre| HYPERCLOVA.contains(&pre)) && roles.eos != Some(id),
        };
        thinks && has(&[END_OF_TURN, STOP])
    });
    [end, im_end]
}

/// Whether the template thinks in a role of its own, `assistant/think`, and not between `<think>` and `</think>`.
fn opens_think_role(template: &str) -> bool {
    template.match_indices("/think").any(|(at, _)| !template[..at].ends_with('<'))
}
