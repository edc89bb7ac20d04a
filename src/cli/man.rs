//! `tokki man`: manual pages, made of the same words as `--help`.

use super::command_line;
use super::output::{result, say};
use crate::config::KEYS;
use crate::error::FileAction;
use crate::{Error, Result};
use std::path::PathBuf;

/// Prints the manual page, or writes one page per command
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki man | man -l -
  tokki man --dir ~/.local/share/man/man1      then: man tokki-run")]
pub(super) struct ManArgs {
    /// Directory to write all pages to
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<()> {
    let mut command = command_line::command();
    command.build();
    let Some(dir) = &args.dir else {
        let page = page(&command)?;
        return result(|out| out.write_all(page.as_bytes()));
    };
    std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, FileAction::Create, e))?;
    let mut left = vec![(command.get_name().to_owned(), command)];
    while let Some((name, command)) = left.pop() {
        let path = dir.join(format!("{name}.1"));
        let named = command.clone().name(name.clone());
        crate::platform::output::write(&path, page(&named)?.as_bytes())?;
        let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        left.extend(inner.map(|inner| (format!("{name}-{}", inner.get_name()), inner.clone())));
    }
    say(&format!("manual pages written to {}", dir.display()));
    Ok(())
}

/// The page of a command, with what holds for all of them at its end.
fn page(command: &clap::Command) -> Result<String> {
    let mut page = Vec::new();
    let failed = |e: std::io::Error| Error::failed("manual page", e.to_string());
    // The same line as in the help, which has the arguments as they are typed.
    let usage = command.clone().render_usage().to_string();
    let command = command.clone().override_usage(usage.trim_start_matches("Usage: ").trim().to_owned());
    clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n.nf\n");
    // What stands before the version comes last in clap's order.
    let (before, version) = match page.find(".SH VERSION") {
        Some(at) => page.split_at(at),
        None => (page.as_str(), ""),
    };
    let fill = if before.contains(".nf\n") { ".fi\n" } else { "" };
    Ok(format!("{}\n{fill}{}{version}", before.trim_end(), common()))
}

/// Exit codes, environment and files.
fn common() -> String {
    let mut text = String::from(
        ".SH EXIT STATUS\n.TP\n0\nDone.\n.TP\n1\nIt failed while it ran.\n.TP\n2\nBad usage or input: a flag, a file, a model.\n\
         .TP\n130\nInterrupted by Ctrl\\-C.\n.TP\n143\nEnded by SIGTERM.\n.TP\n129\nIts terminal was closed.\n.SH ENVIRONMENT\n",
    );
    let others = [
        ("TOKKI_CONFIG", "The configuration file."),
        ("TOKKI_ISA", "The instruction set to compute with, for tests: scalar, avx2, ..."),
        ("HF_TOKEN", "The token for models behind terms; it is sent to the hub alone."),
        ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "Proxies for downloads."),
        ("NO_COLOR", "No colours, and Markdown as it comes."),
    ];
    let keys = KEYS.iter().map(|key| (key.env, key.help.trim()));
    for (name, help) in keys.chain(others) {
        text.push_str(&format!(".TP\n{}\n{}\n", escaped(name), escaped(help)));
    }
    text.push_str(".SH FILES\n");
    for (path, help) in [
        ("~/.config/tokki/config.toml", "Settings; tokki config init writes one, tokki config path says where."),
        ("~/.local/share/tokki/models", "Models by name; --home or TOKKI_HOME puts them elsewhere."),
        ("~/.local/share/tokki/partial", "Downloads under way."),
        ("~/.local/share/tokki/chats", "Chats that are kept (history = false keeps none)."),
        ("~/.local/share/tokki/history", "Lines that were typed in chats."),
    ] {
        text.push_str(&format!(".TP\n{}\n{}\n", escaped(path), escaped(help)));
    }
    text
}

/// Text that roff does not obey.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn pages_have_the_usual_sections() {
        let page = page(Cli::command().find_subcommand("run").unwrap()).unwrap();
        for section in ["EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            assert!(page.contains(&format!(".SH {section}")), "{section}:\n{page}");
        }
        assert!(!page.contains("EXTRA") && page.contains("TOKKI_CTX"));
        let mut cli = Cli::command();
        cli.build();
        for (name, line) in
            [("run", "run [OPTIONS] [MODEL] [PROMPT]..."), ("batch", "batch [OPTIONS] <IN.jsonl> <OUT.jsonl>")]
        {
            let page = super::page(cli.find_subcommand(name).unwrap()).unwrap().replace('\\', "");
            assert!(
                page.contains(&format!(".SH SYNOPSIS\nfBtokki{}", line.replace(name, &format!(" {name}fR")))),
                "{page}"
            );
        }
        assert_eq!(escaped(".a-b"), "\\&.a\\-b");
    }
}
