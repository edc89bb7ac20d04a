//! The command line: one file per command. Results go to stdout, everything else to stderr.

mod batch;
mod bench;
mod command_line;
mod completions;
mod compute;
mod config;
mod display;
mod doctor;
mod embed;
mod export;
mod flags;
mod flow;
mod history;
mod import;
mod layout;
mod lines;
mod list;
mod logits;
mod man;
mod measurements;
mod output;
mod perplexity;
mod plan;
mod progress;
mod pull;
mod question;
mod readiness;
mod repl;
mod rerank;
mod rm;
mod run;
mod serve;
mod show;
mod stdin;
mod template;
mod tokenize;
mod turn;
mod verify;
mod words;

use crate::platform::process;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use flags::GlobalFlags;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Runs 4-bit and 8-bit GGUF language models on ordinary CPUs.
#[derive(Parser, Debug)]
#[command(name = "tokki", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalFlags,
    #[command(subcommand)]
    command: Command,
}

/// The commands: a variant for each, which holds its arguments and runs it.
macro_rules! commands {
    ($($name:ident = $file:ident :: $args:ident $(of the $store:ident)?,)+) => {
        #[derive(Subcommand, Debug)]
        enum Command {
            $($name(Box<$file::$args>),)+
        }

        impl Command {
            /// No setting but the store's place changes what it does: its row says so.
            fn needs_the_store_alone(&self) -> bool {
                let row = match self {
                    $(Self::$name(_) => concat!("" $(, stringify!($store))?),)+
                };
                row == "store"
            }

            fn run(&self) -> crate::Result<()> {
                match self {
                    $(Self::$name(args) => $file::run(args),)+
                }
            }
        }
    };
}

// THE COMMAND TABLE: one row here, one file beside this one, with the help and the flags in its arguments and `run` (those of `tokki run`
// lie with what finds its question in them, in question.rs). What is `of the store` needs no other setting than the store's place.
commands! {
    Run = run::RunArgs,
    Serve = serve::ServeArgs,
    Batch = batch::BatchArgs,
    Bench = bench::BenchArgs,
    Plan = plan::PlanArgs,
    Logits = logits::LogitsArgs,
    Embed = embed::EmbedArgs,
    Rerank = rerank::RerankArgs,
    Tokenize = tokenize::TokenizeArgs,
    Perplexity = perplexity::PerplexityArgs,
    Pull = pull::PullArgs,
    List = list::ListArgs of the store,
    Show = show::ShowArgs of the store,
    Verify = verify::VerifyArgs of the store,
    Rm = rm::RmArgs of the store,
    History = history::HistoryArgs of the store,
    Import = import::ImportArgs,
    Export = export::ExportArgs of the store,
    Config = config::ConfigArgs,
    Doctor = doctor::DoctorArgs,
    Completions = completions::CompletionsArgs,
    Man = man::ManArgs,
    Template = template::TemplateArgs,
}

/// Parses the arguments, runs the command and turns its outcome into the exit code of the command contract.
pub fn main(stdout_closed: bool) -> ExitCode {
    command_line::set(Cli::command);
    output::set_closed(stdout_closed);
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "help") && args.get(2).is_some_and(|arg| arg == "--help" || arg == "-h") {
        args.truncate(2);
    }
    if let Some(said) = words::of_another_program(&args) {
        output::say(&format!("tokki: {said}"));
        return ExitCode::from(2);
    }
    let command = Cli::command().color(output::help_colours());
    let parsed = command.try_get_matches_from(prompts_last(values_joined(args.clone())));
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(said) => match words::of_the_parser(&said, &args) {
            Some(words) => {
                output::say(&format!("tokki: {words}"));
                return ExitCode::from(2);
            }
            None => return usage(&said),
        },
    };
    process::signals_as_failures();
    // Before there is a thread that has no room.
    let room = process::room(process::SMALLEST_ROOM, "this process").map(|()| crate::interrupt::install());
    match room.and_then(|()| run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Whether an argument is a flag of `command` whose value comes next.
fn takes_value(command: Option<&clap::Command>) -> impl Fn(&OsString) -> bool {
    move |arg| {
        let name = arg.to_str().and_then(|arg| arg.strip_prefix("--"));
        let mut known = command.into_iter().flat_map(clap::Command::get_arguments);
        name.is_some_and(|name| known.any(|arg| arg.get_long() == Some(name) && arg.get_action().takes_values()))
    }
}

/// A quoted value of a flag may begin with a hyphen (`--system "- be brief"`): it is joined to its flag, where it is text.
fn values_joined(args: Vec<OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let takes_value = takes_value(args.get(1).and_then(|name| command.find_subcommand(name)));
    let is_text = |arg: &OsString| {
        let text = arg.to_string_lossy();
        text.starts_with('-') && text.contains(char::is_whitespace)
    };
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        match joined.last_mut().filter(|last| is_text(&arg) && takes_value(last)) {
            Some(flag) => {
                flag.push("=");
                flag.push(arg);
            }
            None => joined.push(arg),
        }
    }
    joined
}

/// Commands whose last argument is any text.
const OF_TEXT: [&str; 3] = ["run", "tokenize", "history"];

/// A quoted prompt may begin with a hyphen ("- first item"): what has blanks in it and is no flag's value is moved after
/// `--`, where it is text.
fn prompts_last(args: Vec<OsString>) -> Vec<OsString> {
    let name = args.get(1).and_then(|name| OF_TEXT.into_iter().find(|text| name == text));
    let Some(name) = name.filter(|_| args.iter().all(|arg| arg != "--")) else { return args };
    let command = Cli::command();
    let takes_value = takes_value(command.find_subcommand(name));
    let is_prompt = |at: usize, arg: &OsString| {
        let text = arg.to_string_lossy();
        let flag = text.split_once('=').is_some_and(|(name, _)| name.starts_with("--") && !name.contains(' '));
        text.starts_with('-') && text.contains(char::is_whitespace) && !flag && !takes_value(&args[at - 1])
    };
    let (prompts, mut rest): (Vec<_>, Vec<_>) =
        args.iter().enumerate().partition(|(at, arg)| *at > 1 && is_prompt(*at, arg));
    let dashes = OsString::from("--");
    if !prompts.is_empty() {
        rest.push((0, &dashes));
        rest.extend(prompts);
    }
    rest.into_iter().map(|(_, arg)| arg.clone()).collect()
}

/// Shows help, the version, or what is wrong with the arguments, which may hold what a terminal would obey.
fn usage(said: &clap::Error) -> ExitCode {
    if !said.use_stderr() {
        // A full disk is a failure here too.
        let text = said.render();
        let text = if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        return output::result(|out| out.write_all(text.as_bytes()))
            .map_or_else(|e| report(&e), |()| ExitCode::SUCCESS);
    }
    let hostile = std::env::args_os().any(|arg| arg.to_string_lossy().contains(char::is_control));
    if hostile {
        output::say(said.to_string().trim_end());
    } else {
        // A closed stderr leaves no place to report to.
        drop(said.print());
    }
    ExitCode::from(2)
}

fn run(cli: Cli) -> crate::Result<()> {
    crate::config::set_global_flags((*cli.global).clone());
    if !matches!(cli.command, Command::Config(_)) {
        // Likely typing errors, which would have no effect without a word.
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for (name, near) in crate::config::unknown_variables(names) {
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            output::say(&format!("tokki: the environment variable {name} means nothing here{near}"));
        }
    }
    // What needs nothing but the store's place goes on without the rest; where even that is unknown, it says so itself.
    if cli.command.needs_the_store_alone()
        && let Ok((_, unread)) = crate::config::Settings::of_the_store()
    {
        unread.iter().for_each(output::without);
    }
    cli.command.run()
}

fn report(error: &crate::Error) -> ExitCode {
    match error {
        // Without a signal: the reader of the output has what it wanted, and went (`| head -1`).
        crate::Error::Interrupted => {
            if crate::interrupt::requested() {
                crate::interrupt::tell();
            }
            ExitCode::from(crate::interrupt::exit_code())
        }
        error => {
            output::complain(error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_may_begin_with_a_hyphen() {
        let moved = |args: &[&str]| {
            let args = args.iter().map(OsString::from).collect();
            prompts_last(args).iter().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(moved(&["tokki", "run", "m", "-5 + 3 = ?", "--raw"]), "tokki|run|m|--raw|--|-5 + 3 = ?");
        assert_eq!(moved(&["tokki", "run", "m", "hi", "--system", "- be kind"]), "tokki|run|m|hi|--system|- be kind");
        assert_eq!(moved(&["tokki", "run", "m", "hi", "--system=be kind"]), "tokki|run|m|hi|--system=be kind");
        assert_eq!(moved(&["tokki", "run", "m", "--temprature", "1"]), "tokki|run|m|--temprature|1");
        assert_eq!(moved(&["tokki", "list", "- a b"]), "tokki|list|- a b");
        let joined = |args: &[&str]| values_joined(args.iter().map(OsString::from).collect());
        assert_eq!(joined(&["tokki", "run", "--system", "- be kind", "m"])[2], "--system=- be kind");
        assert_eq!(joined(&["tokki", "run", "--raw", "- be kind"]).len(), 4);
    }
}
