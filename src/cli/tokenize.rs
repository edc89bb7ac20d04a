//! `tokki tokenize`: stdin to token ids and back.

use super::output;
use crate::gguf::Gguf;
use crate::platform::input;
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result, store};
use std::ffi::OsString;
use std::io::{self, IsTerminal};

/// Turns text on stdin into token ids, or ids back into text
///
/// Prints a JSON array on one line. Control tokens in the text, such as <|im_end|>, are plain text unless --special.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    printf 'Hello' | tokki tokenize smollm2-135m-instruct\n  \
    printf 'Hello' | tokki tokenize smollm2-135m-instruct | tokki tokenize smollm2-135m-instruct --decode")]
pub(super) struct TokenizeArgs {
    /// A path or a store name
    model: OsString,

    /// The text; without it stdin is read
    #[arg(allow_negative_numbers = true)]
    text: Option<String>,

    /// Read control tokens in the text as such, and add BOS and EOS where the model wants them; with --decode, show them
    #[arg(long)]
    special: bool,

    /// Print ids (this is the default)
    #[arg(long, conflicts_with_all = ["pieces", "decode"])]
    ids: bool,

    /// Print the text of each token instead of its id
    #[arg(long, conflicts_with = "decode")]
    pieces: bool,

    /// Stdin holds many texts separated by NUL, and each becomes a line; with --decode, each line becomes a text
    #[arg(long)]
    nul: bool,

    /// Stdin holds a JSON array of ids, and becomes text
    #[arg(long)]
    decode: bool,
}

/// Runs the command.
pub(super) fn run(args: &TokenizeArgs) -> Result<()> {
    let gguf = Gguf::open(&store::resolve(&args.model)?)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    gguf.intact()?;
    if let Some(warning) = tokenizer.warning() {
        output::say(&format!("tokki: {warning}"));
    }
    if args.nul && !args.decode && args.text.is_some() {
        return Err(Error::usage(
            "--nul separates the texts of stdin: an argument is one text. Leave one of them out.",
        ));
    }
    let input = match &args.text {
        Some(text) => text.clone().into_bytes(),
        None => {
            if !io::stdin().is_terminal() {
                super::stdin::comes(false);
            }
            input::bounded(&mut io::stdin().lock(), "stdin", input::MAX_TEXT_BYTES)?
        }
    };
    let converted = convert(args, &tokenizer, &input)?;
    output::foreign(&converted)
}

/// All of the command but its files.
fn convert(args: &TokenizeArgs, tokenizer: &Tokenizer, input: &[u8]) -> Result<String> {
    let input = std::str::from_utf8(input).map_err(|error| {
        Error::input("stdin", "text in UTF-8", format!("an invalid byte at offset {}", error.valid_up_to()))
            .hint("convert the text to UTF-8 first, for example with iconv")
    })?;
    match (args.decode, args.nul) {
        (false, false) => encode(args, tokenizer, input),
        // A NUL ends a text, as a line break ends a line.
        (false, true) => {
            input.strip_suffix('\0').unwrap_or(input).split('\0').map(|text| encode(args, tokenizer, text)).collect()
        }
        (true, false) => decode(args, tokenizer, input, 1),
        (true, true) => {
            let texts = input.lines().zip(1..).map(|(line, number)| decode(args, tokenizer, line, number));
            Ok(texts.collect::<Result<Vec<_>>>()?.join("\0"))
        }
    }
}

/// One text to one line.
fn encode(args: &TokenizeArgs, tokenizer: &Tokenizer, text: &str) -> Result<String> {
    let ids = if args.special {
        tokenizer.encode_with_bos(text, Special::Parse)
    } else {
        tokenizer.encode(text, Special::Plain)
    };
    let line = if args.pieces {
        let piece = |&id: &u32| String::from_utf8_lossy(tokenizer.piece(id, true));
        serde_json::to_string(&ids.iter().map(piece).collect::<Vec<_>>())
    } else {
        serde_json::to_string(&ids)
    };
    line.map(|line| line + "\n").map_err(|error| Error::failed("JSON", error.to_string()))
}

/// One array of ids to its text, and nothing else.
fn decode(args: &TokenizeArgs, tokenizer: &Tokenizer, array: &str, number: usize) -> Result<String> {
    let place = || match &args.text {
        Some(_) => "the argument".to_owned(),
        None => format!("stdin, array {number}"),
    };
    let ids: Vec<u32> = serde_json::from_str(array.trim())
        .map_err(|error| Error::input(place(), "a JSON array of token ids, such as [1,2,3]", error.to_string()))?;
    let n = tokenizer.vocab_size();
    match ids.iter().find(|&&id| id as usize >= n) {
        Some(id) => Err(Error::input(place(), format!("ids from 0 to {}", n - 1), id.to_string())),
        None => Ok(tokenizer.decode(&ids, args.special)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::tokenizer::{Roles, Vocab};

    /// Bytes and one merge, and a control token that begins texts.
    fn tokenizer() -> Tokenizer {
        let bytes = (0..=0xFF_u8).map(|byte| format!("<0x{byte:02X}>"));
        let texts: Vec<String> = bytes.chain(["ab", "a", "b", "<s>"].map(str::to_owned)).collect();
        let kinds = texts.iter().map(|text| if text == "<s>" { 3 } else { 1 + 5 * i32::from(text.starts_with("<0x")) });
        Tokenizer::new(Vocab {
            model: "llama".to_owned(),
            kinds: kinds.collect(),
            tokens: texts.iter().collect(),
            roles: Roles { bos: Some(259), ..Roles::default() },
            add_space_prefix: Some(false),
            ..Vocab::default()
        })
        .unwrap()
    }

    fn run(flags: &[&str], input: &[u8]) -> Result<String> {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            args: TokenizeArgs,
        }
        let command = <Command as clap::Parser>::try_parse_from(["tokenize", "model"].iter().chain(flags)).unwrap();
        convert(&command.args, &tokenizer(), input)
    }

    #[test]
    fn ids_and_pieces() {
        assert_eq!(run(&[], b"abc").unwrap(), "[256,99]\n");
        assert_eq!(run(&["--ids"], b"").unwrap(), "[]\n");
        assert_eq!(
            run(&["--pieces"], "ab\"가".as_bytes()).unwrap(),
            "[\"ab\",\"\\\"\",\"\u{FFFD}\",\"\u{FFFD}\",\"\u{FFFD}\"]\n"
        );
    }

    #[test]
    fn control_tokens_only_when_asked() {
        assert_eq!(run(&[], b"<s>a").unwrap(), "[60,115,62,257]\n");
        assert_eq!(run(&["--special"], b"<s>a").unwrap(), "[259,257]\n");
        assert_eq!(run(&["--special"], b"a").unwrap(), "[259,257]\n");
        assert_eq!(run(&["--decode"], b"[259,257]").unwrap(), "a");
        assert_eq!(run(&["--decode", "--special"], b"[259,257]").unwrap(), "<s>a");
    }

    #[test]
    fn many_texts_there_and_back() {
        let lines = run(&["--nul"], b"ab\0\0a\nb").unwrap();
        assert_eq!(lines, "[256]\n[]\n[257,10,258]\n");
        assert_eq!(run(&["--nul", "--decode"], lines.as_bytes()).unwrap(), "ab\0\0a\nb");
    }

    #[test]
    fn bad_input_is_named() {
        for (flags, input, named) in [
            (&["--nul"][..], &b"ab\0c\xFF"[..], "offset 4"),
            (&["--decode"], b"[1,-2]", "array 1"),
            (&["--decode", "--nul"], b"[1]\n[260]", "array 2: wanted ids from 0 to 259, found 260"),
        ] {
            let error = run(flags, input).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
