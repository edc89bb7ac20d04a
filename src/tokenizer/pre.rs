//! Pre-tokenizers: how a text is cut into pieces before byte pairs are merged, by the name in `tokenizer.ggml.pre`.
//!
//! [`PRE_TOKENIZERS`] gives every name its regexes, which are applied in order: each one cuts the pieces of its predecessor
//! again, and matches and gaps both become pieces. A regex that a scanner of `scan` stands for runs as
//! that scanner; a row with any other regex runs as a sequence of `Split`s of the `tokenizers` crate.

use super::characters::pre_tokenizers;
use super::classes::Classes;
use super::scan::{self, Scanner};
use super::vocab::{KEY_PRE, Vocab};
use crate::{Error, Result, suggest};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

/// A regex and the scanner that stands for it.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) regex: &'static str,
    pub(crate) scanner: Option<Scanner>,
}

const fn scanned(regex: &'static str, scanner: Scanner) -> Cut {
    Cut { regex, scanner: Some(scanner) }
}

const fn regex(regex: &'static str) -> Cut {
    Cut { regex, scanner: None }
}

/// One way to cut, under all its names.
pub(crate) struct Row {
    pub(crate) names: &'static [&'static str],
    pub(crate) cuts: &'static [Cut],
    /// A piece that is a token as a whole is that token, whatever the merges say.
    pub(crate) ignore_merges: bool,
    /// Whether the model starts with BOS when the file does not say.
    pub(crate) add_bos: bool,
}

const GPT2: Cut =
    scanned(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)", scan::gpt2 as Scanner);
const QWEN2: Cut = scanned(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    scan::qwen2,
);
const LLAMA3: Cut = scanned(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    scan::llama3,
);
const DEEPSEEK3: Cut = scanned(
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    scan::deepseek3,
);
const EXAONE_MOE: Cut = scanned(
    concat!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
    ),
    scan::exaone_moe,
);
const GPT4O: Cut = scanned(
    concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    scan::gpt4o,
);
const TEKKEN: Cut = regex(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const QWEN35: Cut = regex(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const SEED_CODER: Cut = regex(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const BAILING: Cut = regex(concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*",
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
));
const BLOOM: Cut = regex(r" ?[^(\s|.,!?…。，、।۔،)]+");
const DIGIT: Cut = scanned(r"\p{N}", scan::digit);
const DIGITS: Cut = scanned(r"\p{N}+", scan::digits);
const DIGITS3: Cut = scanned(r"\p{N}{1,3}", scan::digits3);
const ASCII_TRIPLE: Cut = scanned(r"[0-9][0-9][0-9]", scan::ascii_triple);
const HAN_KANA: Cut = scanned(r"[一-龥぀-ゟ゠-ヿ]+", scan::han_kana);
const PUNCTUATION_RUN: Cut = scanned(r"[\p{P}\$\+<=>\^~\|]+", scan::punctuation);

/// Digits in threes, counted from the right.
const TRIPLES: Cut = regex(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))");
/// The same for runs of digits that end with a word: in `59e-10` no group is cut.
const TRIPLES_OF_WORDS: Cut = regex(r"\d{1,3}(?=(?:\d{3})*\b)");
const LINE_RUN: Cut = regex(r"[^\n]+|\n+");
const UFAKZEKA: Cut = regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");
const LLAMA3_DIGITS: Cut = regex(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
));
const SPARK: Cut = regex(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"
));
/// Scripts that are written without blanks, and Hangul.
const SCRIPTS: Cut = regex(concat!(
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}",
    r"\x{2F00}-\x{2FDF}\x{0E40}-\x{0E7F}\x{0E80}-\x{0EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{A9E0}-\x{A9FF}",
    r"\x{AA60}-\x{AA7F}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+"
));
const KIMI: Cut = regex(concat!(
    r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));

/// Letters of two cases, of an older Unicode: DeepSeek's first models list them one by one.
const DEEPSEEK_WORDS: Cut = regex(concat!(
    r"\s?[",
    r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}",
    r"\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}",
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}",
    r"\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}",
    r"\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}",
    r"\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}",
    r"\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}",
    r"\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}",
    r"\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}",
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}",
    r"\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}",
    r"\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}",
    r"]+"
));
const DEEPSEEK_MARKS: Cut = regex(r"\s?[!-/:-~！-／：-～‘-‟　-。]+");
const CJK: Cut = regex(r"[一-龥ࠀ-一가-퟿]+");
/// A run of blanks is cut into powers of two.
const JAIS2: Cut = regex(concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)",
    r"|\s{1,2}(?!\S)|\s{1}"
));
/// Hangul, full-width marks, Bopomofo, Han and Kana, each by itself.
const YOUTU_SCRIPTS: Cut = regex(r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+");
/// [`GPT4O`] with digits one by one.
const YOUTU: Cut = regex(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
));
/// Sentinels, codes of images, blanks in fours and twos, and marks one by one.
const CHAMELEON: [Cut; 4] = [
    regex(r"<sentinel:[0-9]+>"),
    regex(r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
    regex(r"([\t\n]|    |  )"),
    regex(r"[\p{P}!-/:-@\[-`{-~]"),
];
/// Digits in threes counted from the right, but for the last three, which no cut need separate.
const SUPER_TRIPLES: Cut = regex(r"\d{1,3}(?=(?:\d{3})+(?!\d))");

const fn row(names: &'static [&'static str], cuts: &'static [Cut]) -> Row {
    Row { names, cuts, ignore_merges: false, add_bos: false }
}

/// THE PRE-TOKENIZER TABLE. A new name is one word here, a new regex one row; the tests go through all of it.
pub(crate) const PRE_TOKENIZERS: &[Row] = &[
    row(&[DEFAULT], &[PUNCTUATION_RUN, GPT2, DIGITS, ASCII_TRIPLE]),
    row(
        &[
            "exaone4",
            "gpt-2",
            "phi-2",
            "trillion",
            "a.x-4.0",
            "mpt",
            "olmo",
            "jais",
            "gigachat",
            "mellum",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "granite-docling",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
        ],
        &[GPT2],
    ),
    row(
        &["exaone", "refact", "smollm", "starcoder", "command-r", "codeshell", "minerva-7b", "mellum2"],
        &[DIGIT, GPT2],
    ),
    row(
        &["qwen2", "deepseek-r1-qwen", "solar-open", "kormo", "stablelm2", "hunyuan", "megrez", "grok-2", "f2llmv2"],
        &[QWEN2],
    ),
    Row {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "midm-2.0",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "lfm2",
            "jina-v5-nano",
        ],
        cuts: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
    },
    row(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    Row { names: &["glm4", "glm5"], cuts: &[LLAMA3], ignore_merges: true, add_bos: false },
    row(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[DIGITS3, HAN_KANA, DEEPSEEK3]),
    row(&["spark2_5"], &[DIGITS3, HAN_KANA, SPARK, DIGIT]),
    row(&["afmoe"], &[TRIPLES, SCRIPTS, DEEPSEEK3]),
    row(&["superbpe"], &[DIGITS, SUPER_TRIPLES]),
    row(&["tiny_aya", "cohere2moe"], &[TRIPLES_OF_WORDS, GPT4O]),
    row(&["kimi-k2"], &[KIMI]),
    row(&["laguna"], &[LINE_RUN, QWEN2]),
    row(&["ufakzeka"], &[UFAKZEKA]),
    Row { names: &["minicpm5"], cuts: &[DIGITS3, LLAMA3_DIGITS], ignore_merges: true, add_bos: false },
    row(&["hyperclovax", "mu-choco"], &[DIGIT, HAN_KANA, DEEPSEEK3]),
    row(&["exaone-moe"], &[EXAONE_MOE]),
    row(&["gpt-4o", "llama4", "kanana2", "minimax-m2", "talkie"], &[GPT4O]),
    Row { names: &["tekken"], cuts: &[TEKKEN], ignore_merges: true, add_bos: true },
    row(&["qwen35"], &[QWEN35]),
    row(&["seed-coder"], &[SEED_CODER]),
    row(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    row(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    row(&["viking"], &[BLOOM, DIGIT]),
    row(&["falcon"], &[regex(r"[\p{P}\$\+<=>\^~\|`]+"), GPT2, ASCII_TRIPLE]),
    row(&["deepseek-coder"], &[regex(r"[\r\n]"), regex(r"\s?\p{L}+"), regex(r"\s?\p{P}+"), CJK, DIGIT]),
    row(&["deepseek-llm"], &[regex(r"[\r\n]"), DEEPSEEK_WORDS, DEEPSEEK_MARKS, regex(r"\s+$"), CJK, DIGITS]),
    row(&["jais-2"], &[JAIS2]),
    Row { names: &["youtu"], cuts: &[YOUTU_SCRIPTS, YOUTU], ignore_merges: true, add_bos: false },
    Row { names: &["granite-embed-multi-97m"], cuts: &[GPT4O], ignore_merges: true, add_bos: false },
    Row {
        names: &["chameleon"],
        cuts: &[CHAMELEON[0], CHAMELEON[1], CHAMELEON[2], DIGIT, CHAMELEON[3], GPT2],
        ignore_merges: false,
        add_bos: true,
    },
];

/// The name of the row that files without `tokenizer.ggml.pre` get.
pub(crate) const DEFAULT: &str = "default";

/// The row of `name`.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    PRE_TOKENIZERS.iter().find(|row| row.names.contains(&name))
}

/// The row that a vocabulary asks for; an unknown name is an error, because other cuts mean other ids.
pub(crate) fn row_of(vocab: &Vocab) -> Result<&'static Row> {
    let name = vocab.pre.as_deref().unwrap_or(DEFAULT);
    find(name).ok_or_else(|| {
        let known: Vec<&str> =
            PRE_TOKENIZERS.iter().flat_map(|row| row.names).copied().chain(pre_tokenizers()).collect();
        let near = suggest::did_you_mean(name, known.iter().copied());
        let wanted = format!("one of {} known pre-tokenizers, such as llama-bpe, qwen2 or gemma4", known.len());
        let error = vocab.error(KEY_PRE, wanted, format!("`{name}`"));
        if near.is_empty() { error } else { error.hint(near) }
    })
}

/// A row ready to run.
pub(crate) enum Cutter {
    /// Scanners alone.
    Scanners { classes: &'static Classes, scanners: Vec<Scanner> },
    /// The crate's regexes.
    Regexes(Sequence),
}

impl Cutter {
    /// Runs with scanners where the row has them for all its regexes.
    pub(crate) fn new(row: &Row) -> Result<Self> {
        match row.cuts.iter().map(|cut| cut.scanner).collect() {
            Some(scanners) => Ok(Self::Scanners { classes: Classes::get(), scanners }),
            None => Self::with_regexes(row),
        }
    }

    /// Runs with the crate's regexes alone.
    pub(crate) fn with_regexes(row: &Row) -> Result<Self> {
        let splits = row.cuts.iter().map(|cut| {
            Split::new(SplitPattern::Regex(cut.regex.into()), SplitDelimiterBehavior::Isolated, false)
                .map(Into::into)
                .map_err(|error| Error::failed(format!("the pre-tokenizer `{}`", row.names[0]), error.to_string()))
        });
        Ok(Self::Regexes(Sequence::new(splits.collect::<Result<_>>()?)))
    }

    /// Hands the pieces of `text` to `sink` in order; none is empty, and together they are the text.
    pub(crate) fn cut<'t>(&self, text: &'t str, sink: &mut impl FnMut(&'t str)) {
        match self {
            Self::Scanners { classes, scanners } => cut_with(classes, scanners, text, sink),
            Self::Regexes(sequence) => cut_with_regexes(sequence, text, sink),
        }
    }
}

/// Depth-first over the scanners: as deep as the row is long.
fn cut_with<'t>(classes: &Classes, scanners: &[Scanner], mut text: &'t str, sink: &mut impl FnMut(&'t str)) {
    let Some((scanner, next)) = scanners.split_first() else {
        if !text.is_empty() {
            sink(text);
        }
        return;
    };
    while !text.is_empty() {
        // a scanner always takes something; should one ever not, the text is one piece rather than an endless loop
        let end = scanner(classes, text).clamp(1, text.len());
        let (piece, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        if next.is_empty() {
            sink(piece);
        } else {
            cut_with(classes, next, piece, sink);
        }
        text = rest;
    }
}

fn cut_with_regexes<'t>(sequence: &Sequence, text: &'t str, sink: &mut impl FnMut(&'t str)) {
    let mut pieces = PreTokenizedString::from(text);
    if sequence.pre_tokenize(&mut pieces).is_err() {
        // `Split` has no error of its own: it stops cutting when the regex engine gives up
        return sink(text);
    }
    for (_, (start, end), _) in pieces.get_splits(OffsetReferential::Original, OffsetType::Byte) {
        if let Some(piece) = text.get(start..end).filter(|piece| !piece.is_empty()) {
            sink(piece);
        }
    }
}
