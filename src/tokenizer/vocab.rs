//! What a file says about its tokens, before anything is built from it.

use super::strings::Strings;
use crate::gguf::{CHAT_TEMPLATE, Gguf};
use crate::{Error, Result};

pub(crate) const KEY_MODEL: &str = "tokenizer.ggml.model";
pub(crate) const KEY_PRE: &str = "tokenizer.ggml.pre";
pub(crate) const KEY_TOKENS: &str = "tokenizer.ggml.tokens";
pub(crate) const KEY_KINDS: &str = "tokenizer.ggml.token_type";
pub(crate) const KEY_SCORES: &str = "tokenizer.ggml.scores";
pub(crate) const KEY_MERGES: &str = "tokenizer.ggml.merges";

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Stands for what the vocabulary cannot spell.
    Unknown,
    /// Steers the model (begin of text, end of turn, ...); never text.
    Control,
    /// Text that is always this one token wherever it occurs.
    UserDefined,
    /// Padding of the vocabulary.
    Unused,
    /// One byte, written `<0xE2>`.
    Byte,
}

impl TokenKind {
    /// From the number in the file; 0 ("undefined") counts as normal.
    pub fn from_gguf(n: i32) -> Option<Self> {
        Some(match n {
            0 | 1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// The `tokenizer.*` keys of a file, unchecked: the input of [`Tokenizer::new`](super::Tokenizer::new).
#[derive(Clone, Debug, Default)]
pub struct Vocab {
    /// The file, for error messages; may be empty.
    pub source: String,
    /// `gpt2` (byte-level BPE) or `llama` (SentencePiece BPE).
    pub model: String,
    /// Name of the pre-tokenizer.
    pub pre: Option<String>,
    /// Text of every token as the file spells it.
    pub tokens: Strings,
    /// Kind of every token by [`TokenKind::from_gguf`]; empty means all normal.
    pub kinds: Vec<i32>,
    /// Score of every token (`llama`); empty means all zero.
    pub scores: Vec<f32>,
    /// Merges in order of rank, each `left right` (`gpt2`).
    pub merges: Strings,
    /// Ids of the tokens with a role, as [`Roles`] names them.
    pub roles: Roles,
    /// Whether a text starts with BOS.
    pub add_bos: Option<bool>,
    /// Whether a text ends with EOS.
    pub add_eos: Option<bool>,
    /// Whether a separator stands before the second text of a pair, after the token that ends the first.
    pub add_sep: Option<bool>,
    /// Whether a text is given a leading space (`llama`).
    pub add_space_prefix: Option<bool>,
    /// Text is brought to lower case (`bert`).
    pub lowercase: Option<bool>,
    /// Accents are dropped (`bert`).
    pub strip_accents: Option<bool>,
    /// Runs of blanks become one (`t5`).
    pub squeeze_blanks: Option<bool>,
    /// Replacements of characters, as SentencePiece compiles them (`t5`).
    pub charsmap: Option<Vec<u8>>,
    /// The model's name, which tells a few kinds of vocabulary apart that are alike in everything else.
    pub name: Option<String>,
    /// The chat template, which decides what ends a turn where token names do not.
    pub template: Option<String>,
}

/// Ids of the tokens with a role, where the file names them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roles {
    /// Begin of text.
    pub bos: Option<u32>,
    /// End of text.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// End of message.
    pub eom: Option<u32>,
    /// Stands for what the vocabulary cannot spell.
    pub unknown: Option<u32>,
    /// Stands between two texts.
    pub separator: Option<u32>,
    /// Padding, repository name and file separator of fill-in-the-middle: a model that writes them is done.
    pub fim: [Option<u32>; 3],
}

impl Roles {
    /// Every role with its key.
    pub(crate) fn all(&mut self) -> [(&'static str, &mut Option<u32>); 9] {
        let [pad, repository, separator] = &mut self.fim;
        [
            ("tokenizer.ggml.bos_token_id", &mut self.bos),
            ("tokenizer.ggml.eos_token_id", &mut self.eos),
            ("tokenizer.ggml.eot_token_id", &mut self.eot),
            ("tokenizer.ggml.eom_token_id", &mut self.eom),
            ("tokenizer.ggml.unknown_token_id", &mut self.unknown),
            // Spelt so.
            ("tokenizer.ggml.seperator_token_id", &mut self.separator),
            ("tokenizer.ggml.fim_pad_token_id", pad),
            ("tokenizer.ggml.fim_rep_token_id", repository),
            ("tokenizer.ggml.fim_sep_token_id", separator),
        ]
    }
}

impl Vocab {
    /// Reads the `tokenizer.*` keys.
    ///
    /// # Errors
    /// [`Error::Input`] when a key is missing that has to be there, or has another type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let strings = |key| Ok::<_, Error>(gguf.strings(key)?.map(Strings::from_iter).unwrap_or_default());
        let text = |key| Ok::<_, Error>(gguf.str(key)?.map(str::to_owned));
        let mut roles = Roles::default();
        for (key, id) in roles.all() {
            *id = gguf.token_id(key)?;
        }
        let model = gguf.need_str(KEY_MODEL)?.to_owned();
        let tokens: Strings = gguf.need_strings(KEY_TOKENS)?.collect();
        let n = tokens.len();
        Ok(Self {
            source: gguf.path().display().to_string(),
            model,
            pre: text(KEY_PRE)?,
            tokens,
            kinds: gguf.i32s(KEY_KINDS, n)?.unwrap_or_default(),
            scores: scores(gguf, n)?,
            merges: strings(KEY_MERGES)?,
            roles,
            add_bos: gguf.bool("tokenizer.ggml.add_bos_token")?,
            add_eos: gguf.bool("tokenizer.ggml.add_eos_token")?,
            add_sep: gguf.bool("tokenizer.ggml.add_sep_token")?,
            add_space_prefix: gguf.bool("tokenizer.ggml.add_space_prefix")?,
            lowercase: gguf.bool("tokenizer.ggml.normalizer.lowercase")?,
            strip_accents: gguf.bool("tokenizer.ggml.normalizer.strip_accents")?,
            squeeze_blanks: gguf.bool("tokenizer.ggml.remove_extra_whitespaces")?,
            charsmap: charsmap(gguf)?,
            name: text("general.name")?,
            template: text(CHAT_TEMPLATE)?,
        })
    }

    /// An [`Error::Input`] about a key of this file.
    pub(crate) fn error(&self, key: &str, wanted: impl Into<String>, found: impl Into<String>) -> Error {
        let place = if self.source.is_empty() { key.to_owned() } else { format!("{}: key `{key}`", self.source) };
        Error::input(place, wanted, found)
    }

    /// The kinds of all tokens, checked.
    pub(crate) fn checked_kinds(&self) -> Result<Vec<TokenKind>> {
        let n = self.tokens.len();
        if self.kinds.is_empty() {
            return Ok(vec![TokenKind::Normal; n]);
        }
        if self.kinds.len() < n {
            return Err(self.error(
                KEY_KINDS,
                format!("{n} numbers, one for each token"),
                self.kinds.len().to_string(),
            ));
        }
        let kind = |(id, &number): (usize, &i32)| {
            TokenKind::from_gguf(number)
                .ok_or_else(|| self.error(KEY_KINDS, "numbers from 0 to 6", format!("{number} for token {id}")))
        };
        self.kinds.iter().take(n).enumerate().map(kind).collect()
    }

    /// The roles, each of them a token or none; the customary ids where the file names none.
    pub(crate) fn checked_roles(&self, kinds: &[TokenKind]) -> Result<Roles> {
        let mut roles = self.roles;
        let n = self.tokens.len();
        for (key, id) in roles.all() {
            if let Some(id) = id.filter(|&id| id as usize >= n) {
                return Err(self.error(key, format!("the id of one of {n} tokens"), id.to_string()));
            }
        }
        // Llama 2 and Falcon, the first of their kind, wrote no ids; a text token at that place is no role.
        let customary = |id: u32| kinds.get(id as usize).is_some_and(|&kind| kind == TokenKind::Control).then_some(id);
        let unknown = |id: u32| kinds.get(id as usize).is_some_and(|&kind| kind == TokenKind::Unknown).then_some(id);
        let (bos, eos) = match self.model.as_str() {
            "llama" => (1, 2),
            "bert" => (101, 102),
            "t5" => (u32::MAX, 1),
            _ => (11, 11),
        };
        roles.bos = roles.bos.or_else(|| customary(bos));
        roles.eos = roles.eos.or_else(|| customary(eos));
        let first_unknown = match self.model.as_str() {
            "bert" => 100,
            "t5" => 2,
            _ => 0,
        };
        roles.unknown = roles.unknown.or_else(|| unknown(first_unknown));
        if self.model == "bert" {
            // Converters do not mark these as what they are.
            let any = |id: u32| ((id as usize) < n).then_some(id);
            roles.bos = roles.bos.or_else(|| any(bos));
            roles.separator = roles.separator.or(roles.eos).or_else(|| any(eos));
            roles.eos = roles.separator;
            roles.unknown = roles.unknown.or_else(|| any(first_unknown));
        }
        Ok(roles)
    }
}

/// The replacements of characters.
fn charsmap(gguf: &Gguf) -> Result<Option<Vec<u8>>> {
    const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
    /// Real ones have under 300 KB.
    const MAX_CHARSMAP_BYTES: usize = 16 << 20;
    let bytes = match gguf.array(KEY)? {
        Some(_) => gguf.i32s(KEY, MAX_CHARSMAP_BYTES)?,
        None => None,
    };
    // Some converters store them signed.
    Ok(bytes.map(|bytes| bytes.into_iter().map(|byte| byte as u8).collect()))
}

/// The scores of `n` tokens; old files hold integers.
fn scores(gguf: &Gguf, n: usize) -> Result<Vec<f32>> {
    let Some(array) = gguf.array(KEY_SCORES)? else { return Ok(Vec::new()) };
    match (array.floats(), array.integers()) {
        (Some(floats), _) => Ok(floats.take(n).collect()),
        (None, Some(integers)) => Ok(integers.take(n).map(|score| score as f32).collect()),
        (None, None) => Err(gguf.wrong(KEY_SCORES, "an array of numbers")),
    }
}
