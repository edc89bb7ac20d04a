//! What can be said to the chat itself: `/help`, `/set`, ...

use super::chat::{Chat, Deed, Next, Saved};
use super::{attach, output};
use crate::chat::ThinkingMode;
use crate::config::{Counts, Item, KEYS, Settings, ThoughtView};
use crate::engine::{messages, session_file};
use crate::{Error, Result, suggest};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A row of the table.
struct Command {
    name: &'static str,
    argument: &'static str,
    help: &'static str,
    run: fn(&mut Chat, &str) -> Result<Next>,
}

/// THE CHAT COMMANDS.
const CHAT_COMMANDS: &[Command] = &[
    Command { name: "help", argument: "", help: "this list", run: help },
    Command {
        name: "set",
        argument: "KEY VALUE",
        help: "change temperature, top_k, seed, max_tokens, ...; VALUE default puts it back",
        run: set,
    },
    Command { name: "show", argument: "", help: "the model, its settings and where they come from", run: show },
    Command { name: "system", argument: "[TEXT]", help: "set the system message; - removes it", run: system },
    Command { name: "clear", argument: "", help: "start over, keeping the system message", run: clear },
    Command { name: "undo", argument: "", help: "take back the last question and its answer", run: undo },
    Command {
        name: "compact",
        argument: "",
        help: "put a summary in the place of what was said",
        run: |_, _| Ok(Next::Compact),
    },
    Command { name: "model", argument: "NAME", help: "go on with another model", run: super::switch::model },
    Command { name: "regen", argument: "", help: "answer the last question anew", run: regen },
    Command { name: "edit", argument: "", help: "change the last question and ask it again", run: edit },
    Command {
        name: "save",
        argument: "FILE",
        help: "keep the chat: .md, .txt, .json hold the text, else with its cache",
        run: save,
    },
    Command { name: "load", argument: "FILE", help: "continue a chat that was saved", run: load },
    Command {
        name: "file",
        argument: "PATH",
        help: "send a text file with the next message (or @PATH in it); - drops it",
        run: file,
    },
    Command {
        name: "think",
        argument: "on|off|N|show|hide|brief",
        help: "whether to think, how much, what to see",
        run: think,
    },
    Command { name: "stats", argument: "[on|off]", help: "context used and speed; on = after each answer", run: stats },
    Command { name: "exit", argument: "", help: "leave (also Ctrl-D)", run: |_, _| Ok(Next::Leave) },
];

/// The names, for completion.
pub(super) const NAMES: [&str; CHAT_COMMANDS.len()] = {
    let mut names = [""; CHAT_COMMANDS.len()];
    let mut i = 0;
    while i < CHAT_COMMANDS.len() {
        names[i] = CHAT_COMMANDS[i].name;
        i += 1;
    }
    names
};

/// Runs `line`, without its slash.
pub(super) fn run(chat: &mut Chat, line: &str) -> Result<Next> {
    let line = line.trim();
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let name = if ["bye", "quit", "q"].contains(&name) { "exit" } else { name };
    match CHAT_COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(chat, argument.trim()),
        None => {
            let near = suggest::nearest(name, NAMES).map(|near| format!("Did you mean /{near}?"));
            let hint = near.unwrap_or_else(|| "/help lists them; begin with // to say a slash.".to_owned());
            Err(Error::usage(format!("No chat command /{name}. {hint}")))
        }
    }
}

fn help(_: &mut Chat, _: &str) -> Result<Next> {
    const COLUMN: usize = 28;
    for command in CHAT_COMMANDS {
        output::columns(&format!("/{} {}", command.name, command.argument), COLUMN, command.help);
    }
    for (key, does) in [
        ("Alt-Enter", "a new line, as \\ at the end of one; \"\"\" begins and ends a text of several"),
        ("Esc", "ends a thought"),
        ("Ctrl-C", "stops an answer"),
        ("Tab", "completes commands, settings, models and @files"),
    ] {
        output::columns(key, COLUMN, does);
    }
    Ok(Next::Ask)
}

/// Applies a key's value, or says how it can be had.
type Setter = fn(&mut Chat, &str, &str) -> Result<Next>;

/// What `/set` does with keys that have a chat command of their own, or more to them than a value. Of all others the row in
/// the table of settings says from when on they count.
const SET: &[(&[&str], Setter)] = &[
    (&["system"], |chat, _, value| {
        let at_start = chat.settings.system().unwrap_or_else(|| "-".to_owned());
        system(chat, if value == "default" { &at_start } else { value })
    }),
    (&["thinking"], |chat, _, value| match value {
        "default" => {
            chat.options.thinking = ThinkingMode::Default;
            think(chat, "")
        }
        _ => think(chat, value),
    }),
    (&["thoughts"], |chat, _, value| match value {
        "default" => {
            chat.thoughts = super::show::view(&Settings::default());
            think(chat, "")
        }
        _ => view(chat, value),
    }),
    (&["stop"], |chat, _, value| stop(chat, value)),
    (&["history"], keep_chats),
    (&["overflow"], |chat, key, value| {
        if chat.start.raw {
            return Err(Error::usage("overflow leaves out the oldest questions of a chat; with --raw there are none."));
        }
        sampling(chat, key, value)
    }),
];

/// What other programs call a setting.
const FOREIGN_NAMES: &[(&str, &str)] = &[
    ("num_ctx", "ctx"),
    ("context", "ctx"),
    ("num_predict", "max_tokens"),
    ("n_predict", "max_tokens"),
    ("num_thread", "threads"),
    ("temp", "temperature"),
    ("repetition_penalty", "repeat_penalty"),
];

fn set(chat: &mut Chat, argument: &str) -> Result<Next> {
    let (key, value) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let (key, value) = (key.replace('-', "_"), value.trim());
    if let Some((_, act)) = SET.iter().find(|(keys, _)| keys.contains(&key.as_str())) {
        return act(chat, &key, value);
    }
    match KEYS.iter().find(|row| row.name == key).map(|row| row.counts) {
        Some(Counts::AtStart) => return at_the_start(chat, &key, value),
        Some(Counts::Fetching) => {
            let flag = key.replace('_', "-");
            let why = format!("{key} is about fetching models. Leave the chat, and give it to the command: --{flag}.");
            return Err(Error::usage(why));
        }
        Some(Counts::Now) | None => {}
    }
    if key.is_empty() {
        return Err(Error::usage(format!("/set KEY VALUE: which? {}", what_can_be_set())));
    }
    if let Some((_, ours)) = FOREIGN_NAMES.iter().find(|(theirs, _)| *theirs == key) {
        if KEYS.iter().any(|row| row.name == *ours && matches!(row.counts, Counts::AtStart)) {
            return at_the_start(chat, ours, value);
        }
        return Err(Error::usage(format!("{key} is called {ours} here: /set {ours} {value}")));
    }
    if value.is_empty() {
        // The check's words say what it can be.
        let known = chat.settings.clone().with_text(&key, "");
        let now = value_now(chat, &key)?;
        return Err(match known {
            Err(error) => Error::usage(error.to_string().replace(", not \"\".", &format!("; now it is {now}."))),
            Ok(_) => Error::usage(format!("/set {key} VALUE: which value? Now it is {now}.")),
        });
    }
    sampling(chat, &key, value)
}

/// The keys that count in a running chat.
fn what_can_be_set() -> String {
    let now = KEYS.iter().filter(|key| matches!(key.counts, Counts::Now)).map(|key| key.name);
    let keys: Vec<&str> = now.chain(["stop"]).collect();
    format!("These can be set: {}. /show tells their values.", keys.join(", "))
}

/// What holds for a key of sampling.
fn value_now(chat: &Chat, key: &str) -> Result<String> {
    let lines = chat.conversation.sampling(&chat.settings.sampling())?.lines();
    let shown = lines.into_iter().find(|(name, ..)| name.replace('-', "_") == key).map(|(_, value, _)| value);
    let given = || chat.settings.get(key).map(|(text, _)| text.to_owned());
    Ok(shown.or_else(given).unwrap_or_else(|| match key {
        "max_tokens" => "none".to_owned(),
        "seed" => chat.options.seed.to_string(),
        _ => "off".to_owned(),
    }))
}

/// A chat that is not to be kept is forgotten at once.
fn keep_chats(chat: &mut Chat, key: &str, value: &str) -> Result<Next> {
    chat.settings = chat.settings.clone().with_text(key, value)?;
    chat.forgotten = None;
    if chat.settings.history() == Some(false) {
        if let Some((place, kept)) = chat.kept.take() {
            super::line_history::forget_lines(&place, &kept)?;
            place.forget(&kept)?;
        }
        output::say("this chat is not kept");
        return Ok(Next::Ask);
    }
    if chat.session.is_some() || chat.start.raw {
        return Err(Error::usage("Only chats without --session and --raw are kept in the history."));
    }
    let place = crate::store::chats::Chats::of(&chat.settings)?;
    chat.kept = Some((place, crate::store::chats::KeptChat::begin(&chat.start.model)));
    output::say("from the next answer on this chat is kept, with all that was said in it");
    Ok(Next::Ask)
}

/// A key that counts from the next answer on.
fn sampling(chat: &mut Chat, key: &str, value: &str) -> Result<Next> {
    if value == "default" {
        return back_to_default(chat, key);
    }
    // The same table as flags, environment and file: same names, same checks.
    let settings = chat.settings.clone().with_text(key, value).map_err(|error| {
        match KEYS.iter().any(|known| known.name == key) {
            true => error,
            false => Error::usage(format!("{error} {}", what_can_be_set())),
        }
    })?;
    apply(chat, settings)?;
    output::say(&format!("{key} = {value}"));
    Ok(Next::Ask)
}

/// What the model, or tokki itself, recommends holds again.
fn back_to_default(chat: &mut Chat, key: &str) -> Result<Next> {
    apply(chat, chat.settings.clone().without(key)?)?;
    output::say(&format!("{key} = {}", value_now(chat, key)?));
    Ok(Next::Ask)
}

fn apply(chat: &mut Chat, settings: Settings) -> Result<()> {
    super::super::turn::take(&mut chat.options, &settings, &chat.conversation)?;
    chat.settings = settings;
    Ok(())
}

/// A key that decides how the model is opened.
fn at_the_start(chat: &mut Chat, key: &str, value: &str) -> Result<Next> {
    // A value that no start would take either is told first.
    drop(chat.settings.clone().with_text(key, value)?);
    let (flag, all) = (key.replace('_', "-"), super::super::command_line::command());
    let has = |command: &clap::Command| command.get_arguments().find(|arg| arg.get_long() == Some(&flag)).cloned();
    let within = |arg: &clap::Arg| if arg.is_require_equals_set() { '=' } else { ' ' };
    let own = all.find_subcommand("run").and_then(has).or_else(|| has(&all));
    Err(Error::usage(match own {
        Some(arg) => {
            let between = within(&arg);
            format!("{key} counts at the start. /save the chat, leave, and start it with --{flag}{between}{value}.")
        }
        None => {
            let others = all.get_subcommands().filter(|command| has(command).is_some());
            let others: Vec<String> = others.map(|command| format!("tokki {}", command.get_name())).collect();
            format!("{key} is a setting of {}, and of no use to a chat.", others.join(", "))
        }
    }))
}

fn stop(chat: &mut Chat, value: &str) -> Result<Next> {
    // As with the flag, each adds one.
    match value {
        "" => (),
        "default" => chat.options.stop.clear(),
        text => chat.options.stop.push(text.to_owned()),
    }
    output::say(&match chat.options.stop.as_slice() {
        [] => "no stop texts; /set stop TEXT adds one".to_owned(),
        texts => format!("an answer ends before: {}; /set stop default takes them away", texts.join(", ")),
    });
    Ok(Next::Ask)
}

fn view(chat: &mut Chat, value: &str) -> Result<Next> {
    chat.thoughts =
        ThoughtView::parse(value).map_err(|why| Error::usage(format!("thoughts takes {why}, not {value:?}.")))?;
    output::say(&format!("thoughts: {value}"));
    Ok(Next::Ask)
}

fn show(chat: &mut Chat, _: &str) -> Result<Next> {
    let session = chat.conversation.session();
    let line = |name: &str, value: &str| output::say(&format!("{name:<18} {value}"));
    let path = session.model().gguf.path();
    line("model", &format!("{} ({})", crate::store::name_of(path), path.display()));
    line("ctx", &chat.status_line(None));
    line("kv_type", session.options().kv.name());
    line("threads", &session.pool().threads().to_string());
    if session.pool().rests() {
        line("power", "cool");
    }
    line("seed", &chat.options.seed.to_string());
    line("max_tokens", &chat.options.max_tokens.map_or("none".to_owned(), |most| most.to_string()));
    line("stop", &if chat.options.stop.is_empty() { "none".to_owned() } else { format!("{:?}", chat.options.stop) });
    line("overflow", if chat.options.leave_out_oldest { "tail" } else { "stop" });
    line("thinking", &chat.options.thinking.to_string());
    line("thoughts", &chat.thoughts.show());
    for (name, value, origin) in chat.conversation.sampling(&chat.settings.sampling())?.lines() {
        line(&name.replace('-', "_"), &format!("{value:<8} {origin}"));
    }
    line("system", system_message(chat).as_deref().unwrap_or("none"));
    line("history", if chat.kept.is_some() { "true" } else { "false" });
    Ok(Next::Ask)
}

fn system(chat: &mut Chat, text: &str) -> Result<Next> {
    if text.is_empty() {
        output::say(&match system_message(chat) {
            Some(now) => format!("system message: {now}\n/system TEXT changes it, /system - removes it"),
            None => "no system message; /system TEXT sets one".to_owned(),
        });
        return Ok(Next::Ask);
    }
    let text = Some(text).filter(|text| *text != "-");
    chat.conversation.set_system(text);
    let said = if text.is_none() { "no system message" } else { "system message set" };
    output::say(chat.conversation.system_note().unwrap_or(said));
    Ok(Next::Ask)
}

fn system_message(chat: &Chat) -> Option<String> {
    let system = chat.conversation.messages().iter().find(|message| message["role"] == "system")?;
    Some(system["content"].as_str().unwrap_or_default().to_owned())
}

fn clear(chat: &mut Chat, _: &str) -> Result<Next> {
    chat.conversation.messages_mut().retain(|message| message["role"] == "system");
    chat.unsaved = false;
    chat.attached.clear();
    chat.begin_another();
    output::say("started over");
    Ok(Next::Ask)
}

/// Removes everything from the last question on and returns that.
pub(super) fn take_back(chat: &mut Chat) -> Result<String> {
    take_back_exchange(chat).map(|(question, _)| question)
}

/// As [`take_back`], with the messages that are gone: the question and what followed.
fn take_back_exchange(chat: &mut Chat) -> Result<(String, Vec<Value>)> {
    let messages = chat.conversation.messages_mut();
    let Some(at) = messages.iter().rposition(|message| message["role"] == "user") else {
        return Err(Error::usage("Nothing was asked yet that could be taken back."));
    };
    let question = messages[at]["content"].as_str().unwrap_or_default().to_owned();
    let gone = messages.split_off(at);
    Ok((question, gone))
}

/// As [`take_back`], for a question that comes in its place: should that get no answer, an answer that was there before comes back.
pub(super) fn replace(chat: &mut Chat) -> Result<String> {
    let (question, gone) = take_back_exchange(chat)?;
    chat.replaced = if gone.len() > 1 { gone } else { Vec::new() };
    Ok(question)
}

fn undo(chat: &mut Chat, _: &str) -> Result<Next> {
    take_back(chat)?;
    output::say("the last question was taken back");
    Ok(Next::Ask)
}

fn regen(chat: &mut Chat, _: &str) -> Result<Next> {
    let question = replace(chat).map_err(|_| Error::usage("Nothing was asked yet that could be answered again."))?;
    chat.conversation.say(&question);
    chat.typed = question;
    // The same seed would give the same answer.
    chat.options.seed = chat.options.seed.wrapping_add(1);
    Ok(Next::Answer)
}

/// The question is taken back only when the edited one is sent: giving up changes nothing.
fn edit(chat: &mut Chat, _: &str) -> Result<Next> {
    let mut asked = chat.conversation.messages().iter().filter(|message| message["role"] == "user");
    let last = asked.next_back().ok_or_else(|| Error::usage("Nothing was asked yet that could be changed."))?;
    Ok(Next::Edit(crate::text::clean(last["content"].as_str().unwrap_or_default()).into_owned()))
}

fn needed(argument: &str, what: &str) -> Result<PathBuf> {
    let path = attach::typed_path(argument);
    if path.as_os_str().is_empty() { Err(Error::usage(format!("{what} FILE: which file?"))) } else { Ok(path) }
}

fn save(chat: &mut Chat, argument: &str) -> Result<Next> {
    let path = needed(argument, "/save")?;
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
        let message =
            "/save keeps the chat, and .gguf is the ending of models. Give .md, .txt, .json, or another for a session.";
        return Err(Error::usage(message));
    }
    crate::platform::output::check(&path)?;
    // Of an empty file there is nothing to lose.
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > 0) {
        return Ok(Next::Confirm(format!("{} is there. Replace it?", path.display()), Deed::Save(path)));
    }
    save_to(chat, &path).map(|()| Next::Ask)
}

/// Saves in the form that the file's name asks for.
pub(super) fn save_to(chat: &mut Chat, path: &Path) -> Result<()> {
    let messages = chat.conversation.messages();
    let end = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
    let text = match end.as_str() {
        "json" => Some(serde_json::to_string_pretty(messages).unwrap_or_default() + "\n"),
        "md" => Some(transcript(messages, "## ")),
        "txt" => Some(transcript(messages, "")),
        _ => None,
    };
    let count = output::count(messages.len(), "message");
    let form = match text {
        Some(text) => {
            crate::platform::output::write(path, text.as_bytes())?;
            ""
        }
        None => {
            chat.conversation.save(path)?;
            ", as a session for --session and /load"
        }
    };
    chat.unsaved = false;
    output::say(&format!("{count} saved to {}{form}", path.display()));
    Ok(())
}

/// The conversation for people: who speaks on a line of its own, thoughts as quotes.
fn transcript(messages: &[Value], heading: &str) -> String {
    let mut text = String::new();
    for message in messages {
        let part = |key: &str| message[key].as_str().map(str::trim).filter(|part| !part.is_empty());
        let role = message["role"].as_str().unwrap_or_default();
        let colon = if heading.is_empty() { ":" } else { "" };
        text.push_str(&format!("{heading}{role}{colon}\n\n"));
        for thought in messages::THOUGHTS.into_iter().filter_map(part) {
            thought.lines().for_each(|line| text.push_str(&format!("> {line}\n")));
            text.push('\n');
        }
        if let Some(content) = part("content") {
            text.push_str(&format!("{content}\n\n"));
        }
    }
    text
}

fn load(chat: &mut Chat, argument: &str) -> Result<Next> {
    // Read before anybody is asked to give something up for it.
    let saved = Saved::read(needed(argument, "/load")?)?;
    if chat.unsaved || (chat.session.is_some() && chat.conversation.messages().iter().any(|m| m["role"] == "user")) {
        let question = "The conversation that is running would be given up. Load the other one?";
        return Ok(Next::Confirm(question.to_owned(), Deed::Load(saved)));
    }
    go_on(chat, saved).map(|()| Next::Ask)
}

impl Saved {
    fn read(path: PathBuf) -> Result<Self> {
        if session_file::is_session(&path) {
            return Ok(Self::Session(path));
        }
        let place = path.display().to_string();
        let text = attach::read(&path)?.text;
        let value = serde_json::from_str(&text).map_err(|why| match text.trim_start().starts_with(['{', '[']) {
            true => Error::input(place.as_str(), "messages in JSON", why.to_string()),
            false => Error::usage(format!(
                "{place} is text, from which no chat can go on: /load reads what /save wrote as .json or as a session. \
                 /file {place} sends it with the next message."
            )),
        })?;
        let messages = messages::read(value).map_err(|(wanted, found)| Error::input(place.as_str(), wanted, found))?;
        Ok(Self::Messages(messages))
    }
}

/// Continues from what was saved.
pub(super) fn go_on(chat: &mut Chat, saved: Saved) -> Result<()> {
    match saved {
        // There is no flag in a chat.
        Saved::Session(path) => {
            chat.conversation.restore(&path).map_err(|error| error.hint("the file was left as it is"))?;
        }
        Saved::Messages(messages) => *chat.conversation.messages_mut() = messages,
    }
    chat.unsaved = false;
    chat.begin_another();
    let count = chat.conversation.messages().len();
    output::say(&format!("{count} {}", if count == 1 { "message" } else { "messages" }));
    Ok(())
}

fn file(chat: &mut Chat, argument: &str) -> Result<Next> {
    if argument.trim() == "-" {
        let dropped = std::mem::take(&mut chat.attached).len();
        output::say(if dropped > 0 { "no file goes with the next message" } else { "there was no file to drop" });
        return Ok(Next::Ask);
    }
    let file = attach::read(&needed(argument, "/file")?)?;
    let tokens = chat.conversation.tokenizer().encode(&file.text, crate::tokenizer::Special::Plain).len();
    output::say(&format!("{}: {tokens} tokens, goes with the next message", file.path.display()));
    chat.attached.push(file);
    Ok(Next::Ask)
}

fn think(chat: &mut Chat, argument: &str) -> Result<Next> {
    if argument.is_empty() {
        let (mode, view) = (chat.options.thinking, chat.thoughts.show());
        output::say(&format!("thinking: {mode}, thoughts: {view}; /think on|off|N|show|hide|brief changes it"));
        return Ok(Next::Ask);
    }
    if let Ok(view) = ThoughtView::parse(argument) {
        chat.thoughts = view;
    } else {
        let mode: ThinkingMode = argument.parse().map_err(|_: Error| {
            Error::usage(format!("/think {argument}: it is on, off, a number, show, hide or brief."))
        })?;
        if let Some(capabilities) = chat.conversation.capabilities() {
            mode.apply(capabilities, &mut chat.options.vars.clone())?;
        }
        chat.options.thinking = mode;
    }
    output::say(&format!("thinking: {}, thoughts: {}", chat.options.thinking, chat.thoughts.show()));
    Ok(Next::Ask)
}

fn stats(chat: &mut Chat, argument: &str) -> Result<Next> {
    match argument {
        "on" | "off" => {
            chat.status = argument == "on";
            let when = if chat.status { "after each answer" } else { "when asked for: /stats" };
            output::say(&format!("context used and speed are shown {when}"));
        }
        "" => output::say(&chat.status_line(chat.last.as_ref())),
        other => return Err(Error::usage(format!("/stats {other}: it is on or off, or nothing for the last answer."))),
    }
    Ok(Next::Ask)
}
