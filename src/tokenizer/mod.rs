//! Text to token ids and back, from the vocabulary that a GGUF file holds.
//!
//! A text goes through these stages:
//! - `special`: user-defined tokens, and control tokens where the text may hold them, are found as text;
//! - `gpt2` vocabularies: `pre` cuts the rest into pieces, `bpe` merges the bytes of each piece by rank;
//! - `llama` vocabularies: `spm` merges characters by score.
//!
//! The ids are those of the model's own tokenizer, in time O(n log n) for any text and without recursion over it.
//!
//! # What the `tokenizers` crate does here, and what it does not
//! Measured with the 152 thousand tokens of Qwen 2 and 1 MB of Korean and English, on one core:
//! - *Its `Split` pre-tokenizers do the cutting* for every pre-tokenizer with a regex that has no hand-written scanner
//!   here. A new model needs one row of regexes and works; the cutting then runs at 7 MB/s and is the slow part.
//! - *Its BPE model and pipeline are the reference in the tests, not the engine*: the ids are equal under every row, but
//!   it tokenizes 2 MB/s (each token is a string of its own and carries offsets) and takes 130 ms to build, against
//!   36 MB/s and 45 ms for `bpe`; and it refuses merges whose result is no token.
//! - *Special tokens* are searched with the automaton that its `AddedVocabulary` also uses, without the 16 bytes of
//!   alignment that it keeps per byte of text (0.1 ms against 16 ms).
//! - *SentencePiece* models have no exact equivalent there: `Unigram` is a different algorithm, and BPE needs merges
//!   where these files hold scores.

mod bpe;
mod byte_map;
mod characters;
mod cheapest;
mod classes;
mod dna;
mod eog;
mod merge;
mod merges;
mod names;
mod normal;
mod pieces;
mod pre;
mod scan;
mod special;
mod spm;
mod stream;
mod strings;
mod unigram;
mod vocab;
mod wordpiece;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "testing", feature = "cli", feature = "server"))]
pub(crate) use byte_map::char_of as byte_char;
pub use special::Special;
pub use stream::StreamDecoder;
pub use strings::Strings;
pub use vocab::{Roles, TokenKind, Vocab};

use crate::Result;
use crate::gguf::Gguf;
use bpe::{Bpe, BpeScratch};
use characters::{Characters, Greedy, merges_characters, unescaped};
use cheapest::Cheapest;
use dna::Dna;
use names::Names;
use pieces::Pieces;
use special::{Specials, TextPart};
use spm::Spm;
use std::borrow::Cow;
use std::sync::Arc;
use strings::Index;
use unigram::Unigram;
use wordpiece::WordPiece;

/// Encodes and decodes with one model's vocabulary. Immutable; share it between threads.
pub struct Tokenizer {
    pieces: Arc<Pieces>,
    index: Index,
    specials: Specials,
    model: Model,
    roles: Roles,
    ends: Vec<u32>,
    add_bos: bool,
    add_eos: bool,
    add_sep: bool,
    /// Text is given a leading space (SentencePiece).
    space_prefix: bool,
    has_pre: bool,
    /// The model's own tokenizer composes text first.
    composes: bool,
}

/// How text without special tokens becomes ids.
enum Model {
    Bpe(Bpe),
    Spm(Spm),
    Characters(Characters),
    Unigram(Unigram),
    WordPiece(WordPiece),
    Greedy(Greedy),
    Cheapest(Cheapest),
    Dna(Dna),
}

/// THE TOKENIZER TABLE: `tokenizer.ggml.model`, and what it is.
const TOKENIZER_KINDS: &[(&str, &str)] = &[
    ("gpt2", "byte-level BPE"),
    ("llama", "SentencePiece BPE"),
    ("gemma4", "BPE over characters"),
    ("t5", "Unigram"),
    ("bert", "WordPiece"),
    ("rwkv", "longest match"),
    ("plamo2", "best sum of scores"),
    ("whitespace", "BPE over the characters of words"),
    ("hybriddna", "byte-level BPE beside DNA"),
];

impl Tokenizer {
    /// Builds the tokenizer of a model.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) naming the key that is missing or wrong.
    #[doc(hidden)]
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Self::new(Vocab::from_gguf(gguf)?)
    }

    /// Builds a tokenizer from a vocabulary.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) naming the key: an unknown model or pre-tokenizer, no tokens, no merges
    /// where tokens need them, a merge that is not two strings, an id that is no token, an array that is shorter than the vocabulary.
    /// An empty token is no error, since files in use hold them: it is never matched and prints nothing.
    #[doc(hidden)]
    pub fn new(vocab: Vocab) -> Result<Self> {
        if vocab.tokens.is_empty() {
            return Err(vocab.error(vocab::KEY_TOKENS, "at least one token", "none"));
        }
        let mut kinds = vocab.checked_kinds()?;
        let roles = vocab.checked_roles(&kinds)?;
        let index = index(&vocab);
        let ends = eog::ends(&vocab, &index, &mut kinds, &roles);
        let specials = Specials::new(&vocab, &kinds)?;
        let over_characters = merges_characters(&vocab);
        let is_bpe = matches!(vocab.model.as_str(), "gpt2" | "hybriddna") && !over_characters;
        // Text that no token spells must not become a control token either.
        let unknown = roles.unknown.filter(|&id| kinds.get(id as usize) != Some(&TokenKind::Control));
        let model = match vocab.model.as_str() {
            "gpt2" | "gemma4" | "whitespace" if over_characters => {
                Model::Characters(Characters::new(&vocab, &index, &kinds, unknown)?)
            }
            "gpt2" => Model::Bpe(Bpe::new(&vocab, &index, &kinds, unknown)?),
            "hybriddna" => {
                let text = Bpe::new(&vocab, &index, &kinds, unknown)?;
                Model::Dna(Dna::new(text, |token| index.get(&vocab.tokens, token)))
            }
            "llama" => Model::Spm(Spm::new(&vocab, &index, &kinds, unknown)?),
            "t5" => Model::Unigram(Unigram::new(&vocab, &kinds, roles.unknown)?),
            "bert" => Model::WordPiece(WordPiece::new(&vocab, roles.unknown)),
            "plamo2" => {
                let names = Names { tokens: &vocab.tokens, kinds: &kinds, index: &index };
                Model::Cheapest(Cheapest::new(&vocab, &names)?)
            }
            "rwkv" => {
                let texts: Strings = vocab.tokens.iter().map(unescaped).collect();
                Model::Greedy(Greedy::new(texts, unknown))
            }
            other => {
                let known: Vec<String> =
                    TOKENIZER_KINDS.iter().map(|(name, what)| format!("`{name}` ({what})")).collect();
                let found = format!("`{other}`");
                return Err(vocab
                    .error(vocab::KEY_MODEL, known.join(", "), found)
                    .hint("other kinds of tokenizers are not supported"));
            }
        };
        let customary_bos = match &model {
            Model::Bpe(bpe) | Model::Dna(Dna { text: bpe, .. }) => bpe.add_bos,
            Model::Characters(model) => model.add_bos(),
            Model::Spm(_) | Model::WordPiece(_) => true,
            Model::Unigram(_) | Model::Greedy(_) | Model::Cheapest(_) => false,
        };
        let customary_eos = matches!(model, Model::Unigram(_) | Model::WordPiece(_));
        // Classification and separation belong to every text, whatever the file says.
        let framed = matches!(model, Model::WordPiece(_));
        // RoBERTa's pairs have two tokens between them; those of BERT and ModernBERT the one that ends the first.
        let customary_sep = vocab.pre.as_deref() != Some("modern-bert");
        let printed = matches!(model, Model::Dna(_)).then(|| Dna::printed(&vocab));
        let names = match &model {
            Model::Greedy(greedy) => greedy.texts().clone(),
            _ => vocab.tokens,
        };
        Ok(Self {
            add_bos: framed || vocab.add_bos.unwrap_or(customary_bos),
            add_eos: framed || vocab.add_eos.unwrap_or(customary_eos),
            add_sep: !framed && vocab.add_sep.unwrap_or(customary_sep),
            space_prefix: matches!(model, Model::Spm(_)) && vocab.add_space_prefix.unwrap_or(true),
            has_pre: !is_bpe || vocab.pre.is_some(),
            composes: is_bpe && normal::composes(vocab.pre.as_deref()),
            pieces: Arc::new(Pieces::new(names, printed.as_ref(), kinds, is_bpe)),
            index,
            specials,
            model,
            roles,
            ends,
        })
    }

    /// `text` as the model's own tokenizer sees it: in Unicode's composed form, where that tokenizer composes.
    /// [`Tokenizer::encode`] leaves text as it is, because the vocabulary speaks of any text; prompts go through here.
    pub fn normalized<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.composes { normal::composed(text) } else { Cow::Borrowed(text) }
    }

    /// The ids of `text`, without BOS and EOS.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 4);
        let mut scratch = BpeScratch::default();
        let names = Names { tokens: self.pieces.names(), kinds: self.pieces.kinds(), index: &self.index };
        // SentencePiece puts its space at the start of the text and after each special token
        let mut fresh = true;
        self.specials.cut(text, special, |part| match (part, &self.model) {
            (TextPart::Token(id), _) => {
                ids.push(id);
                fresh = true;
            }
            (TextPart::Text(text), Model::Bpe(bpe)) => bpe.encode(&names, text, &mut scratch, &mut ids),
            (TextPart::Text(text), Model::Spm(spm)) => {
                let prefix = std::mem::take(&mut fresh) && self.space_prefix;
                spm.encode(&names, text, prefix, &mut scratch.merger, &mut ids);
            }
            (TextPart::Text(text), Model::Characters(model)) => {
                model.encode(&names, text, &mut scratch.merger, &mut ids)
            }
            (TextPart::Text(text), Model::Unigram(model)) => model.encode(&names, text, &mut ids),
            (TextPart::Text(text), Model::WordPiece(model)) => model.encode(&names, text, &mut ids),
            (TextPart::Text(text), Model::Greedy(model)) => model.encode(text, &mut ids),
            (TextPart::Text(text), Model::Cheapest(model)) => model.encode(&names, text, &mut ids),
            (TextPart::Text(text), Model::Dna(model)) => model.encode(&names, text, &mut scratch, &mut ids),
        });
        ids
    }

    /// The ids of `text` with BOS before and EOS after where the model wants them, each of them only where the text
    /// does not have it already.
    pub fn encode_with_bos(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = self.encode(text, special);
        if let Some(bos) = self.roles.bos.filter(|&bos| self.add_bos && ids.first() != Some(&bos)) {
            ids.insert(0, bos);
        }
        if let Some(eos) = self.roles.eos.filter(|&eos| self.add_eos && ids.last() != Some(&eos)) {
            ids.push(eos);
        }
        ids
    }

    /// The text of `ids`, with U+FFFD for bytes that are no characters. Control tokens print nothing unless
    /// `show_special`; ids that are no tokens print nothing.
    pub fn decode(&self, ids: &[u32], show_special: bool) -> String {
        let mut stream = StreamDecoder::new(self.pieces.clone(), show_special, self.space_prefix);
        let mut text = String::new();
        for &id in ids {
            stream.push_into(id, &mut text);
        }
        text + &stream.finish()
    }

    /// Decodes tokens as they come, hiding control tokens: the continuation of a prompt, so a leading space stays.
    pub fn stream(&self) -> StreamDecoder {
        self.stream_with(false)
    }

    /// Like [`Tokenizer::stream`], printing the names of control tokens if `show_special`.
    pub fn stream_with(&self, show_special: bool) -> StreamDecoder {
        StreamDecoder::new(self.pieces.clone(), show_special, false)
    }

    /// The bytes that a token prints: not always whole characters, and none for control tokens.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.pieces.piece(id, false)
    }

    /// The bytes that a token prints; control tokens print their name if `show_special`.
    pub fn piece(&self, id: u32, show_special: bool) -> &[u8] {
        self.pieces.piece(id, show_special)
    }

    /// The token as the file spells it.
    pub fn token_text(&self, id: u32) -> Option<Cow<'_, str>> {
        self.pieces.names().get(id as usize).map(String::from_utf8_lossy)
    }

    /// The token that the file spells like this.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.index.get(self.pieces.names(), text.as_bytes())
    }

    /// What a token is for; `None` for ids that are no tokens.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.pieces.kind(id)
    }

    /// Whether a token steers the model and prints nothing.
    pub fn is_control(&self, id: u32) -> bool {
        self.kind(id) == Some(TokenKind::Control)
    }

    /// The number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.roles.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.roles.eos
    }

    /// The token between two texts of a pair, after the one that ends the first; none where the end itself separates them.
    pub fn separator(&self) -> Option<u32> {
        self.roles.separator.filter(|_| self.add_sep)
    }

    /// Whether the second text of a pair is of a type of its own (BERT's is; RoBERTa's tokens are all of one type).
    pub fn types_pairs(&self) -> bool {
        matches!(self.model, Model::WordPiece(_))
    }

    /// The tokens that end a generation, in rising order.
    pub fn eog(&self) -> &[u32] {
        &self.ends
    }

    /// Whether a token ends a generation.
    pub fn is_eog(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Whether [`Tokenizer::encode_with_bos`] starts texts with BOS.
    pub fn adds_bos(&self) -> bool {
        self.add_bos && self.roles.bos.is_some()
    }

    /// What the user should know about this vocabulary, if anything.
    pub fn warning(&self) -> Option<&'static str> {
        if self.has_pre && matches!(&self.model, Model::Bpe(bpe) if bpe.loses_letters()) {
            return Some(
                "letters of ASCII have no token in this vocabulary, and are left out of what the model reads: the file is damaged, \
                 or its types of tokens are",
            );
        }
        (!self.has_pre).then_some(
            "the file does not name its pre-tokenizer (tokenizer.ggml.pre), so a common one is used and answers may be \
             worse; convert the model again with a newer converter",
        )
    }
}

impl std::fmt::Debug for Tokenizer {
    /// A vocabulary is too long to print.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.model {
            Model::Bpe(_) => TOKENIZER_KINDS[0].1,
            Model::Spm(_) => TOKENIZER_KINDS[1].1,
            Model::Characters(_) => TOKENIZER_KINDS[2].1,
            Model::Unigram(_) => TOKENIZER_KINDS[3].1,
            Model::WordPiece(_) => TOKENIZER_KINDS[4].1,
            Model::Greedy(_) => TOKENIZER_KINDS[5].1,
            Model::Cheapest(_) => TOKENIZER_KINDS[6].1,
            Model::Dna(_) => TOKENIZER_KINDS[8].1,
        };
        f.debug_struct("Tokenizer").field("kind", &kind).field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

/// The index of all tokens that are not empty. Of equal ones, which pad vocabularies, the first counts.
fn index(vocab: &Vocab) -> Index {
    let mut index = Index::with_capacity(vocab.tokens.len());
    for (id, text) in (0..).zip(vocab.tokens.iter()) {
        if text.is_empty() {
            continue;
        }
        let _ = index.insert(&vocab.tokens, id);
    }
    index
}
