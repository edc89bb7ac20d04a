//! What people type who know another program, and what it is called here.

use crate::store::catalogue::default_entry;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// The library's message with its settings, which it names as `` `kv_type` ``, written as the flags that set them here.
pub(super) fn with_flags(message: &str) -> String {
    if !message.contains('`') {
        return message.to_owned();
    }
    let command = super::command_line::command();
    let flags = command.get_subcommands().chain([&command]).flat_map(clap::Command::get_arguments);
    flags.filter_map(clap::Arg::get_long).fold(message.to_owned(), |text, flag| {
        let setting = format!("`{}`", flag.replace('-', "_"));
        text.replace(&setting, &format!("--{flag}"))
    })
}

/// Commands of other programs. THE TABLE: their word, ours, and what that does.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["chat", "start", "ask", "generate", "cli"], "tokki run [MODEL] [PROMPT]"),
    (&["ls", "ps", "models"], "tokki list"),
    (&["search", "find"], "tokki list --catalogue (any GGUF of the hub is hf:ORG/REPO)"),
    (&["download", "get", "fetch", "install"], "tokki pull MODEL"),
    (&["update", "upgrade"], "tokki pull MODEL --restart"),
    (&["delete", "remove", "uninstall"], "tokki rm MODEL"),
    (&["version"], "tokki --version"),
    (&["info", "inspect", "describe"], "tokki show MODEL"),
    (&["server", "api"], "tokki serve [MODEL]"),
    (&["create", "add", "link"], "tokki import FILE"),
    (&["check", "validate"], "tokki verify MODEL (a model's bytes) or tokki doctor (this machine)"),
    (&["benchmark", "perf"], "tokki bench MODEL"),
    (&["stop", "kill"], "Ctrl-C in its terminal"),
    (&["settings", "set"], "tokki config show"),
];

/// Flags of other programs to `run`.
const FLAGS: &[(&[&str], &str)] = &[
    (&["-m", "--model", "-hf", "--hf-repo"], "the model is the first argument: tokki run MODEL PROMPT"),
    (&["-p", "--prompt"], "the prompt is the second argument: tokki run MODEL PROMPT"),
    (&["-n", "--n-predict", "--predict", "--num-predict", "--max-new-tokens"], "it is called --max-tokens N"),
    (&["-s"], "it is called --seed N"),
    (&["--temp"], "it is called --temperature T"),
    (&["--ctx-size", "--num-ctx", "--context"], "it is called --ctx N"),
    (&["-sys", "--system-prompt"], "it is called --system TEXT"),
    (&["-f", "--file"], "pipe it in: tokki run MODEL PROMPT < FILE; in a chat: @FILE"),
    (&["-i", "--interactive", "-cnv", "--conversation"], "without a prompt it is a chat: tokki run MODEL"),
    (&["-j"], "it is called --json-schema JSON"),
    (&["-ngl", "--n-gpu-layers", "--gpu-layers"], "there is no GPU here: leave it out"),
    (&["--reasoning-budget", "--think", "--enable-thinking"], "it is called --thinking on, off or N"),
];

/// What to say to a command line that is another program's; `None` where it may be ours.
pub(super) fn of_another_program(args: &[OsString]) -> Option<String> {
    let text = |at: usize| args.get(at).and_then(|arg| arg.to_str());
    let first = text(1)?;
    if let Some((_, ours)) = COMMANDS.iter().find(|(theirs, _)| theirs.contains(&first)) {
        return Some(format!("There is no command {first:?}. Here it is: {ours}."));
    }
    if first != "run" {
        return None;
    }
    let before = args[2..].iter().map_while(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    let mut value = false;
    for arg in before {
        let name = arg.split('=').next().unwrap_or(arg);
        // What follows a flag may be its value, and anything.
        if !std::mem::replace(&mut value, arg.starts_with("--") && !arg.contains('=') && !SWITCHES.contains(&arg))
            && let Some((_, ours)) = FLAGS.iter().find(|(theirs, _)| theirs.contains(&name))
        {
            return Some(format!("run has no flag {name}: {ours}."));
        }
    }
    None
}

/// What the argument parser found wrong, in a person's words; `None` where its own are as good.
pub(super) fn of_the_parser(said: &clap::Error, args: &[OsString]) -> Option<String> {
    Fault { said, args }.told()
}

/// What the argument parser says of a command line.
struct Fault<'a> {
    said: &'a clap::Error,
    args: &'a [OsString],
}

impl Fault<'_> {
    fn told(&self) -> Option<String> {
        match self.said.kind() {
            ErrorKind::InvalidSubcommand => self.no_command(),
            ErrorKind::UnknownArgument => self.no_flag(),
            ErrorKind::InvalidUtf8 => Some(
                "An argument is not UTF-8 text, which only paths of models and files may be. A prompt can also come from a file: \
                 tokki run MODEL < FILE"
                    .to_owned(),
            ),
            ErrorKind::ValueValidation => self.wrong_value(),
            ErrorKind::MissingRequiredArgument => self.missing(),
            ErrorKind::InvalidValue => self.no_such_value(),
            ErrorKind::ArgumentConflict => self.conflict(),
            _ => None,
        }
    }

    fn text(&self, kind: ContextKind) -> Option<String> {
        match self.said.get(kind) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            Some(ContextValue::Strings(texts)) => texts.first().cloned(),
            _ => None,
        }
    }

    /// What the parser takes for meant, as a question.
    fn near(&self, kind: ContextKind) -> String {
        did_you_mean(self.text(kind).as_deref())
    }

    /// The first argument, if it is no flag.
    fn command(&self) -> Option<&str> {
        self.args.get(1).and_then(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-'))
    }

    /// Where its help is.
    fn help(&self) -> String {
        self.command().map_or("tokki --help".to_owned(), |command| format!("tokki {command} --help"))
    }

    fn no_command(&self) -> Option<String> {
        let name = self.text(ContextKind::InvalidSubcommand)?;
        let near = self.near(ContextKind::SuggestedSubcommand);
        let commands = super::command_line::command();
        let nearest = || crate::suggest::nearest(&name, commands.get_subcommands().map(clap::Command::get_name));
        match self.command() {
            _ if name.contains(char::is_whitespace) => {
                Some(format!("A question needs a command before it: tokki run {name:?}"))
            }
            Some("config") => Some(format!(
                "tokki config has no command {name:?}. Settings stand in a file to be edited: tokki config init writes it, \
                 tokki config path tells where, tokki config show what holds."
            )),
            Some("help") => {
                let near = did_you_mean(nearest());
                Some(format!("There is no command {name:?}.{near} tokki --help lists them."))
            }
            Some(within) if within != name => {
                Some(format!("tokki {within} has no command {name:?}.{near} tokki {within} --help lists its own."))
            }
            _ => {
                let near = if near.is_empty() { did_you_mean(nearest()) } else { near };
                let words: Vec<_> = self.args.iter().skip(1).map(|arg| arg.to_string_lossy()).collect();
                // One word would be taken for the name of a model.
                let model = if words.len() == 1 { format!("{} ", default_entry().name) } else { String::new() };
                let question = words.join(" ");
                Some(format!(
                    "There is no command {name:?}.{near} tokki --help lists them; a question is asked by: tokki run \
                     {model}{question:?}"
                ))
            }
        }
    }

    fn no_flag(&self) -> Option<String> {
        let arg = self.text(ContextKind::InvalidArg)?;
        let (name, help) = (self.command().unwrap_or("tokki"), self.help());
        if !arg.starts_with('-') {
            return Some(format!(
                "{arg:?} is one argument too many. {help} says what there is; text with blanks goes in quotes."
            ));
        }
        let near = self.near(ContextKind::SuggestedArg);
        let is_file = |given: &&str| given.starts_with(&arg) && std::path::Path::new(given).is_file();
        let otherwise = match self.args.iter().filter_map(|given| given.to_str()).find(is_file) {
            Some(file) => format!("; the file of that name is ./{file}"),
            None if name == "run" => "; text that begins with - goes after -- .".to_owned(),
            None => ".".to_owned(),
        };
        Some(format!("{name} has no flag {arg}.{near} {help} lists them{otherwise}"))
    }

    /// A value that the reader of its flag refuses.
    fn wrong_value(&self) -> Option<String> {
        let (arg, value) = (self.text(ContextKind::InvalidArg)?, self.text(ContextKind::InvalidValue)?);
        let whole = self.said.to_string();
        let (_, wanted) = whole.lines().next()?.rsplit_once("': ")?;
        let otherwise = match value.as_str() {
            "-1" => " To leave it as it is by default, leave the flag out.",
            _ => "",
        };
        Some(format!("{} takes {}, not {value:?}.{otherwise}", bare(&arg), number(wanted)))
    }

    fn missing(&self) -> Option<String> {
        let missing = match self.said.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(texts)) => texts.join(" and ").replace(['<', '>'], "").replace("...", ""),
            _ => return None,
        };
        let usage = self.said.to_string();
        let usage = usage.lines().find_map(|line| line.strip_prefix("Usage: "))?;
        let command = usage.split([' ']).take_while(|word| !word.starts_with(['<', '-', '['])).collect::<Vec<_>>();
        let command = command.join(" ");
        let given = |flag: &str| self.args.iter().any(|arg| arg.to_string_lossy().starts_with(flag));
        let needs = |(flag, needed): &&(&str, &str)| missing.starts_with(needed) && given(flag);
        match NEEDING.iter().find(needs).filter(|_| missing.starts_with("--")) {
            Some((flag, _)) => Some(format!("{flag} goes with {missing} only. {command} --help says what both do.")),
            None => Some(format!("{command} needs {missing}. {command} --help has examples.")),
        }
    }

    /// A value that is none of those that there are; or none, where the flag is at the end or before another one.
    fn no_such_value(&self) -> Option<String> {
        let arg = self.text(ContextKind::InvalidArg)?;
        let Some(value) = self.text(ContextKind::InvalidValue).filter(|value| !value.is_empty()) else {
            return Some(format!("{} needs a value. {} says which.", bare(&arg), self.help()));
        };
        let Some(ContextValue::Strings(known)) = self.said.get(ContextKind::ValidValue) else { return None };
        let near = self.near(ContextKind::SuggestedValue);
        Some(format!("{} takes {}, not {value:?}.{near}", bare(&arg), known.join(", ")))
    }

    fn conflict(&self) -> Option<String> {
        let (arg, other) = (self.text(ContextKind::InvalidArg)?, self.text(ContextKind::PriorArg)?);
        let (arg, other) = (bare(&arg), bare(&other));
        Some(match arg == other {
            true => format!("{arg} is given twice. Leave one of them out."),
            false => format!("{arg} and {other} do not go together. Leave one of them out."),
        })
    }
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map_or(String::new(), |near| format!(" Did you mean {near}?"))
}

/// A flag without what stands for its value, and a place without its brackets: as it is typed.
fn bare(arg: &str) -> &str {
    let name = arg.split([' ', '=']).next().unwrap_or(arg).trim_end_matches(['[', '.']);
    name.trim_matches(['<', '>', '[', ']'])
}

/// What the parser's own readers of numbers say, in words.
fn number(wanted: &str) -> String {
    match wanted.split_once(" is not in ").map(|(_, range)| range.trim_end_matches('.')) {
        Some(range) => {
            let (least, most) = range.split_once("..").unwrap_or((range, ""));
            match most.trim_start_matches('=') {
                "" | "4294967295" => format!("a whole number from {least}"),
                most => format!("a whole number from {least} to {most}"),
            }
        }
        None if wanted.contains("digit") || wanted.contains("integer") => "a whole number".to_owned(),
        None => wanted.to_owned(),
    }
}

/// Flags that mean nothing without another, which they need.
const NEEDING: &[(&str, &str)] = &[
    ("--special", "--raw"),
    ("--tls-cert", "--tls-key"),
    ("--tls-key", "--tls-cert"),
    ("--cache-disk-size", "--cache-disk"),
];

/// Flags of `run` that take no value.
const SWITCHES: &[&str] =
    &["--raw", "--special", "--json", "--yes", "--continue", "--verbose", "--offline", "--history"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn said(line: &str) -> Option<String> {
        of_another_program(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn other_programs_words_are_told() {
        assert!(said("tokki chat").is_some_and(|said| said.contains("tokki run")));
        assert!(said("tokki run m -n 5").is_some_and(|said| said.contains("--max-tokens")));
        assert!(said("tokki run m --raw -p x").is_some());
        for ours in
            ["tokki run m x", "tokki run m --system -n", "tokki run -- -n", "tokki list -n", "tokki bench m -n 5"]
        {
            assert_eq!(said(ours), None, "{ours}");
        }
    }

    #[test]
    fn the_parser_speaks_in_sentences() {
        use clap::Parser;
        let said = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Cli::try_parse_from(&args).err().and_then(|said| of_the_parser(&said, &args)).unwrap_or_default()
        };
        assert_eq!(said("tokki run m x --top-p 2"), "--top-p takes a number above 0, up to 1, not \"2\".");
        assert_eq!(said("tokki bench m -r 0"), "--rounds takes a whole number from 1 to 1000, not \"0\".");
        assert_eq!(said("tokki rerank m --top x"), "--top takes a whole number, not \"x\".");
        assert!(said("tokki frob").starts_with("There is no command \"frob\"."));
        assert!(
            said("tokki run m --temprature 1").contains("run has no flag --temprature. Did you mean --temperature?")
        );
    }

    #[test]
    fn no_word_of_ours_is_taken_for_another() {
        let cli = Cli::command();
        for (theirs, _) in COMMANDS {
            assert!(theirs.iter().all(|name| cli.find_subcommand(name).is_none()), "{theirs:?}");
        }
        let Some(run) = cli.find_subcommand("run") else { panic!("no run") };
        for arg in run.get_arguments() {
            let long = arg.get_long().map(|name| format!("--{name}"));
            let short = arg.get_short().map(|name| format!("-{name}"));
            for name in long.iter().chain(&short) {
                assert!(!FLAGS.iter().any(|(theirs, _)| theirs.contains(&name.as_str())), "{name}");
            }
            if let Some(long) = long.filter(|_| !arg.get_action().takes_values()) {
                let none = ["--help", "--version"].contains(&long.as_str());
                assert!(none || SWITCHES.contains(&long.as_str()), "{long} takes no value");
            }
        }
    }
}
