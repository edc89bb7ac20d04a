//! What `tokki run` is asked: the model and the prompt, of arguments and of what is piped in.

use super::flags::{ChatFlags, MachineFlags, SamplingFlags, ThinkingFlags};
use super::layout::{self, LayoutFlag};
use super::output;
use super::progress::Bar;
use super::stdin;
use crate::config::Settings;
use crate::gguf::Gguf;
use crate::platform::input;
use crate::store::{self, Store};
use crate::{Error, ErrorKind, Result};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Answers a prompt, or opens a chat
///
/// With a prompt or piped text it answers once: the answer goes to stdout, everything else to stderr. With neither it opens
/// a chat. Without a MODEL it uses a small default model, which is fetched the first time.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  tokki run \"What is the capital of France?\"\n  tokki run model.gguf\n  \
    cat report.txt | tokki run model.gguf \"Summarize this.\"\n  \
    tokki run model.gguf --json-schema person.json --json \"Invent a person.\"")]
pub(super) struct RunArgs {
    /// A path, a name of the store or the catalogue, hf:ORG/REPO[:QUANT] or a URL, or a question to the default model
    pub(super) model: Option<OsString>,

    /// The prompt; several words are joined, `-` is standard input
    pub(super) prompt: Vec<String>,

    /// Continue the text as it is, without the chat template
    #[arg(long)]
    pub(super) raw: bool,

    /// With --raw: names of control tokens in the text, such as `<|im_start|>`, are control tokens
    #[arg(long, requires = "raw")]
    pub(super) special: bool,

    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,

    /// Print one JSON object: answer, reasoning, tokens, timings, finish reason
    #[arg(long)]
    pub(super) json: bool,

    /// Keep the answer in the form of a JSON schema: a file, or the schema itself
    #[arg(long, value_name = "FILE|JSON", conflicts_with = "grammar")]
    pub(super) json_schema: Option<PathBuf>,

    /// Keep the answer in the form of a grammar in Lark's notation or GBNF: a file, or the grammar itself
    #[arg(long, value_name = "FILE|TEXT")]
    pub(super) grammar: Option<PathBuf>,

    /// Fetch a model that isn't here without asking, however large it is
    #[arg(long)]
    pub(super) yes: bool,

    /// Keep the conversation with its cache in this file, and continue from it, with its model, if it's there. A question
    /// without an answer, because the process was killed, is at the prompt again
    #[arg(long, value_name = "FILE")]
    pub(super) session: Option<PathBuf>,

    /// Go on with the last chat (with MODEL: the last one with that model); a question without an answer is at the prompt
    #[arg(long = "continue", conflicts_with_all = ["raw", "session", "json"])]
    pub(super) go_on: bool,

    /// Say on stderr what each answer took: tokens, seconds, tokens a second
    #[arg(short, long)]
    pub(super) verbose: bool,

    #[command(flatten)]
    pub(super) sampling: SamplingFlags,
    #[command(flatten)]
    pub(super) chat: ChatFlags,
    #[command(flatten)]
    pub(super) thinking: ThinkingFlags,
    #[command(flatten)]
    pub(super) machine: MachineFlags,
}

/// The first argument where it is a question rather than a model.
pub(super) fn question(args: &RunArgs) -> Option<String> {
    match First::read(args.model.as_ref()?) {
        First::Question(text) if args.prompt.is_empty() => Some(text),
        _ => None,
    }
}

/// The prompt with what was piped in. Where there is neither a prompt nor a terminal to ask on, there is nothing to do.
pub(super) fn joined(prompt: Option<String>, args: &RunArgs) -> Result<Option<String>> {
    let stdin = args.prompt.last().is_some_and(|word| word == "-")
        || (args.prompt.is_empty() && args.model.as_ref().is_some_and(|model| model == "-"));
    match (prompt, piped(given_prompt(args).is_some(), stdin)?) {
        (Some(prompt), Some(piped)) if !prompt.trim().is_empty() => Ok(Some(format!("{prompt}\n\n{piped}"))),
        // What came of a variable that was never set. Text without a beginning is another matter.
        (Some(prompt), None) if prompt.trim().is_empty() && !args.raw => Err(Error::usage("The prompt is empty.")),
        (None, None) if !std::io::stdin().is_terminal() => {
            Err(Error::usage("There is nothing to answer: give a prompt, or start it in a terminal to chat."))
        }
        (prompt, piped) => {
            prompt.iter().for_each(|prompt| at_files(prompt));
            Ok(piped.or(prompt))
        }
    }
}

/// Says that `@FILE` in a prompt is text: who writes prompts by a program may not want files of others' choice in them.
fn at_files(prompt: &str) {
    let names = prompt.split_whitespace().filter_map(|word| word.strip_prefix('@'));
    let mut files = names.map(|name| name.trim_end_matches(|c: char| ",.;:?!)\"'".contains(c)));
    if let Some(name) = files.find(|name| output::home_path(name).is_file()) {
        output::say(&format!("tokki: @{name} is sent as text. In a chat it is the file; here: tokki run ... < {name}"));
    }
}

/// What the first argument is. One grammar for all that people type there.
enum First {
    /// It ends in .gguf, begins as paths do, or is there.
    Path(PathBuf),
    /// `hf:...`, `ORG/REPO`, or a URL.
    Remote(String),
    /// One word: a name of the store or the catalogue.
    Name(String),
    /// Text with blanks or other letters than names have: a question to the default model.
    Question(String),
}

impl First {
    fn read(text: &OsStr) -> Self {
        let path = Path::new(text);
        let Some(text) = text.to_str() else { return Self::Path(path.to_path_buf()) };
        let url = text.starts_with("https://") || text.starts_with("http://");
        // `models/x` may be ORG/REPO; where that folder is here, it is a file that is missing.
        let folder = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
        let slashes = text.matches('/').count();
        let hub = text.starts_with("hf:") || text.starts_with("hf.co/");
        let repository = hub || (slashes == 1 && !folder && !text.starts_with(['.', '~', '/']));
        if path.exists() || (!url && !hub && text.to_lowercase().ends_with(".gguf")) {
            return Self::Path(path.to_path_buf());
        }
        // Names of files hold blanks, too.
        if text.starts_with(['.', '~', '/']) {
            return Self::Path(output::home_path(text));
        }
        // An address may hold blanks, and a question one.
        if url && text.to_lowercase().ends_with(".gguf") {
            return Self::Remote(text.to_owned());
        }
        // One word can be a question too, where no name and no address has such letters.
        let named = |c: char| c.is_alphanumeric() || "._-+:/@~\\".contains(c);
        match text.contains(char::is_whitespace) || (!url && !text.chars().all(named)) {
            true => Self::Question(text.to_owned()),
            false if url || repository => Self::Remote(text.to_owned()),
            false if slashes > 0 => Self::Path(path.to_path_buf()),
            false => Self::Name(text.to_owned()),
        }
    }
}

/// The prompt of the command line; `-` at its end means that it comes on stdin, or goes on there.
pub(super) fn given_prompt(args: &RunArgs) -> Option<String> {
    let words = args.prompt.strip_suffix(&["-".to_owned()]).unwrap_or(&args.prompt);
    (!words.is_empty()).then(|| words.join(" "))
}

/// The command as it was typed, with `model` before the one `word` that may have been meant as a question.
pub(super) fn as_question(model: &str, word: &OsStr) -> String {
    let quoted = |text: &OsStr| crate::text::shell_word(&text.to_string_lossy()).into_owned();
    let typed = std::env::args_os().skip(1).map(|arg| match arg == word {
        true => format!("{} {}", quoted(OsStr::new(model)), quoted(&arg)),
        false => quoted(&arg),
    });
    format!("As a question: tokki {}", typed.collect::<Vec<_>>().join(" "))
}

/// How a person names a model's file: by its name in the store, where it is there.
pub(super) fn called(model: &Path) -> String {
    let name = store::name_of(model);
    let stored = store::resolve(&name).is_ok_and(|path| path == model);
    if stored { name } else { model.display().to_string() }
}

/// The model's file and the prompt; what isn't here is fetched. `held` is the model of the session that goes on.
pub(super) fn what(args: &RunArgs, settings: &Settings, held: Option<&Path>) -> Result<(PathBuf, Option<String>)> {
    let bar = Bar::asking(args.yes);
    let default = |prompt: Option<String>| {
        let path = store::default_model(&bar)?;
        if prompt.is_some() {
            output::say(&format!("tokki: asking {}, the default model", store::catalogue::default_entry().name));
        }
        Ok((path, prompt))
    };
    let Some(first) = &args.model else { return default(None) };
    if first == "-" && args.prompt.is_empty() {
        // What is piped in is the prompt.
        return default(None);
    }
    let fetched = |what: &str| {
        let pays = |gguf: &Gguf| layout::pays(settings, gguf);
        let request = store::PullRequest { what, layout: LayoutFlag::Auto.choice(&pays), ..Default::default() };
        store::pull(settings, request, &bar).map(|pulled| pulled.path)
    };
    let or_question = |error: Error| {
        let model = held.map_or_else(|| store::catalogue::default_entry().name.to_owned(), called);
        Error::usage(format!("{error} {}", as_question(&model, first))).of(error.kind())
    };
    let path = match First::read(first) {
        First::Question(text) if args.prompt.is_empty() => return default(Some(text)),
        First::Question(text) => store::resolve(&text)?,
        First::Path(path) => store::resolve(&path).map_err(|error| {
            let words = args.prompt.is_empty() && first.to_string_lossy().contains(char::is_whitespace);
            if words && error.kind() == ErrorKind::NotFound { or_question(error) } else { error }
        })?,
        First::Remote(what) => match Store::of(settings)?.find(&what)? {
            Some(entry) => entry.path()?,
            None => fetched(&what)?,
        },
        First::Name(name) => match (Store::of(settings)?.find(&name)?, store::catalogue::knows(&name)) {
            (None, Some(known)) => fetched(known)?,
            _ => store::resolve(&name).map_err(|error| match args.prompt.is_empty() && !name.is_empty() {
                true => or_question(error),
                false => error,
            })?,
        },
    };
    Ok((path, given_prompt(args)))
}

/// Text that was piped in, or is typed where that is `wanted`. Who gave a prompt already, and no `-`, is not kept waiting by a
/// pipe that stays silent.
fn piped(has_prompt: bool, wanted: bool) -> Result<Option<String>> {
    let stdin = std::io::stdin();
    if (stdin.is_terminal() && !wanted) || !stdin::comes(has_prompt && !wanted) {
        return Ok(None);
    }
    let text = input::text("stdin", input::bounded(&mut stdin.lock(), "stdin", input::MAX_TEXT_BYTES)?)?;
    Ok((!text.trim().is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_first() {
        let kind = |text: &str| match First::read(OsStr::new(text)) {
            First::Path(_) => "path",
            First::Remote(_) => "remote",
            First::Name(_) => "name",
            First::Question(_) => "question",
        };
        for path in [
            "my model.gguf",
            "./x",
            "./x y",
            "~/x",
            "/no/such/thing",
            "/no/such thing",
            "a/b/m.gguf",
            "M.GGUF",
            "Cargo.toml",
            "src/none",
        ] {
            assert_eq!(kind(path), "path", "{path}");
        }
        for remote in [
            "hf:o/r",
            "hf:o/r:Q4_K_M",
            "o/r",
            "o/r:q4_0",
            "https://h/m.gguf",
            "http://h/a b.gguf",
            "hf:o/r/m.gguf",
            "hf.co/o/r",
            "hf.co/o/r:Q4_0",
        ] {
            assert_eq!(kind(remote), "remote", "{remote}");
        }
        for name in ["qwen3:0.6b", "hello"] {
            assert_eq!(kind(name), "name", "{name}");
        }
        for question in ["Why?", "Why is it so?", "what is /etc for"] {
            assert_eq!(kind(question), "question", "{question}");
        }
    }
}
