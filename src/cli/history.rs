//! `tokki history`: the chats that were kept on this machine.

use super::output::{Paint, count, foreign, json, left_out, result, say, table};
use super::{progress, repl};
use crate::config::Settings;
use crate::store::chats::{Chats, KeptChat};
use crate::{Error, Result};
use std::io::IsTerminal;

/// Lists and searches earlier chats
///
/// Chats are kept on this machine, in the store's folder `chats`, and go nowhere. `history = false` in the configuration,
/// TOKKI_HISTORY=false or --history=false keeps none. `tokki run --continue` goes on with the last one.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki history                 the latest first
  tokki history \"salt water\"    those in which that was said
  tokki history --show 2        what was said in the second of the list
  tokki history --forget 2      forget that one
  tokki history --clear         forget all of them")]
pub(super) struct HistoryArgs {
    /// Only chats in which this was said
    #[arg(allow_negative_numbers = true)]
    text: Option<String>,
    /// Print the chat of this number
    #[arg(long, value_name = "N", conflicts_with_all = ["forget", "clear", "text"])]
    show: Option<usize>,
    /// Forget the chat of this number, and the lines that were typed in it; may be given several times
    #[arg(long, value_name = "N", conflicts_with_all = ["clear", "text", "json"])]
    forget: Vec<usize>,
    /// Forget all chats, and the lines that were typed in them
    #[arg(long, conflicts_with_all = ["text", "json"])]
    clear: bool,
    /// Do not ask before all are forgotten
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &HistoryArgs) -> Result<()> {
    let chats = Chats::of(&Settings::of_the_store()?.0)?;
    chats.readable()?;
    if args.clear {
        return clear(&chats, args.yes);
    }
    let all = chats.all();
    left_out(&chats.damaged());
    if !args.forget.is_empty() {
        return forget(&chats, &all, &args.forget);
    }
    if let Some(number) = args.show {
        let chat = numbered(&all, number)?;
        return if args.json { json(chat) } else { foreign(&transcript(chat)) };
    }
    // A chat has one number, whatever it is searched by: that of `--show`.
    let said = |chat: &KeptChat| args.text.as_ref().is_none_or(|text| chat.says(text));
    let found: Vec<(usize, &KeptChat)> = (1..).zip(&all).filter(|(_, chat)| said(chat)).collect();
    if args.json {
        return json(&found.iter().map(|(_, chat)| chat).collect::<Vec<_>>());
    }
    if let (true, Some(text)) = (found.is_empty() && !all.is_empty(), &args.text) {
        say(&format!("in none of {} chats was {text:?} said", all.len()));
        return Ok(());
    }
    if found.is_empty() {
        say(&format!("no chats in {}", chats.dir().display()));
        return Ok(());
    }
    let row = |&(number, chat): &(usize, &KeptChat)| {
        vec![
            number.to_string(),
            chat.began(),
            chat.model_name(),
            chat.questions().to_string(),
            first_line(chat.title()),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    result(|out| table(out, Paint::stdout(), &["NUMBER", "BEGAN", "MODEL", "QUESTIONS", "FIRST"], &rows))
}

/// The chat of this number of the list.
fn numbered(all: &[KeptChat], number: usize) -> Result<&KeptChat> {
    let chat = number.checked_sub(1).and_then(|at| all.get(at));
    chat.ok_or_else(|| Error::usage(format!("There is no chat {number}; there are {}.", all.len())))
}

/// Forgets these, if all of them are there.
fn forget(chats: &Chats, all: &[KeptChat], numbers: &[usize]) -> Result<()> {
    let once: std::collections::BTreeSet<usize> = numbers.iter().copied().collect();
    let named: Vec<&KeptChat> = once.into_iter().map(|number| numbered(all, number)).collect::<Result<_>>()?;
    for chat in named {
        chats.forget(chat)?;
        repl::forget_lines(chats, chat)?;
        say(&format!("forgotten: {:?}, of {}", first_line(chat.title()), chat.began()));
    }
    Ok(())
}

/// Forgets all, after a yes.
fn clear(chats: &Chats, yes: bool) -> Result<()> {
    let there = count(chats.all().len(), "chat");
    if !yes {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            let message = format!("This forgets {there} for good, and there is no terminal to ask at. Give --yes too.");
            return Err(Error::usage(message));
        }
        if !progress::agrees(&format!("Forget {there} and the lines that were typed in them, for good?")) {
            say("nothing was forgotten");
            return Ok(());
        }
    }
    say(&format!("forgotten: {}", count(chats.clear()?, "chat")));
    Ok(())
}

fn first_line(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MAX_SHOWN {
        line.to_owned()
    } else {
        line.chars().take(MAX_SHOWN).collect::<String>() + "..."
    }
}

fn transcript(chat: &KeptChat) -> String {
    let said = |(at, message): (usize, &serde_json::Value)| {
        let part = |key: &str| message[key].as_str().unwrap_or_default().trim().to_owned();
        let cut = if chat.cut.contains(&at) { " (cut off)" } else { "" };
        format!("{}{cut}:\n\n{}\n\n", part("role"), part("content"))
    };
    chat.messages.iter().enumerate().map(said).collect()
}
