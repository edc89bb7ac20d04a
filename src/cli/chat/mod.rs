//! `tokki run` without a prompt: a chat in the terminal.
//!
//! Ctrl-C stops an answer and keeps the chat, Esc ends a thought, Ctrl-D leaves.

mod attach;
mod commands;
mod editor;
mod keys;
mod leave;
mod show;

use super::output;
use crate::config::{Settings, ThoughtView};
use crate::engine::{Conversation, Finish, Turn, Wishes};
use crate::{Error, Result, interrupt};
use editor::{Editor, Input};
use leave::Leave;
use show::Screen;
use std::path::{Path, PathBuf};

/// A running chat.
struct Chat {
    conversation: Conversation,
    wishes: Wishes,
    settings: Settings,
    /// How thoughts are shown.
    thoughts: ThoughtView,
    /// Print speed and context after each answer.
    status: bool,
    /// Files that go with the next message.
    attached: Vec<attach::Attachment>,
    /// The file that keeps the conversation with its cache.
    session: Option<PathBuf>,
    last: Option<Turn>,
    /// What was typed while an answer ran.
    typed: String,
}

/// What the loop does next.
enum Next {
    /// Ask for input.
    Ask,
    /// Generate an answer to the messages as they are.
    Answer,
    /// Ask again, with this text to be edited.
    Edit(String),
    /// Leave.
    Leave,
}

/// Runs the chat until the user leaves.
pub(super) fn run(
    conversation: Conversation,
    wishes: Wishes,
    settings: &Settings,
    session: Option<&Path>,
) -> Result<()> {
    let mut chat = Chat {
        conversation,
        wishes,
        settings: settings.clone(),
        thoughts: show::view(settings),
        status: false,
        attached: Vec::new(),
        session: session.map(Path::to_path_buf),
        last: None,
        typed: String::new(),
    };
    interrupt::of_a_chat();
    let mut editor = Editor::new()?;
    let leave = Leave::watch();
    chat.greet();
    let talked = chat.talk(&mut editor, &leave);
    // Whatever ended the chat, what was said is kept.
    chat.leave()?;
    if leave.asked() { Err(Error::Interrupted) } else { talked }
}

impl Chat {
    fn greet(&self) {
        let spec = &self.conversation.session().model().spec;
        let context = self.conversation.session().options().context;
        output::say(&format!(
            "{} with a context of {context} tokens. /help shows what there is; Ctrl-D leaves.",
            spec.arch
        ));
        let count = self.conversation.messages().iter().filter(|message| message["role"] == "user").count();
        if count > 0 {
            output::say(&format!("continued: {count} earlier questions"));
        }
    }

    /// Questions and answers until the user leaves.
    fn talk(&mut self, editor: &mut Editor, leave: &Leave) -> Result<()> {
        let mut text = String::new();
        while !leave.asked() {
            let next = match editor.read(&std::mem::take(&mut text))? {
                Input::Left => Next::Leave,
                Input::Cleared => Next::Ask,
                Input::Text(line) if line.trim().is_empty() => Next::Ask,
                Input::Text(line) => self.take(&line).unwrap_or_else(|error| {
                    output::say(&format!("tokki: {error}"));
                    Next::Ask
                }),
            };
            match next {
                Next::Ask => {}
                Next::Edit(old) => text = old,
                Next::Leave => break,
                Next::Answer => {
                    self.answer(leave)?;
                    text = std::mem::take(&mut self.typed);
                }
            }
        }
        Ok(())
    }

    /// A line of input: a command, or something to say.
    fn take(&mut self, line: &str) -> Result<Next> {
        if let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) {
            return commands::run(self, command);
        }
        let (message, files) = attach::expand(line)?;
        self.attached.extend(files);
        for file in &self.attached {
            let tokens = self.conversation.tokenizer().encode(&file.text, crate::tokenizer::Special::Plain).len();
            output::say(&format!("{}: {tokens} tokens", file.path.display()));
        }
        let text = attach::with_files(&message, &std::mem::take(&mut self.attached));
        self.conversation.say(&text);
        Ok(Next::Answer)
    }

    /// Generates and shows an answer. Errors of the answer are shown, and the chat goes on.
    fn answer(&mut self, leave: &Leave) -> Result<()> {
        // One that came while there was no answer to stop.
        interrupt::answered(leave.asked());
        let watch = keys::Watch::start(self.conversation.end_thought());
        let mut screen = Screen::new(self.thoughts);
        let result = self.conversation.answer(&self.wishes, None, &mut screen);
        self.typed = watch.finish();
        screen.end()?;
        // Asked to leave, the flag stays up: nothing begins any more.
        interrupt::answered(leave.asked());
        match result {
            Ok(turn) => {
                self.after(&turn);
                self.last = Some(turn);
            }
            Err(error) => {
                self.unsay();
                match error {
                    Error::Interrupted => output::say("stopped; the question was taken back"),
                    error => output::say(&format!("tokki: {error}")),
                }
            }
        }
        Ok(())
    }

    fn after(&self, turn: &Turn) {
        if let Some(why) = &turn.stats.thought_closed {
            output::say(&format!("({why})"));
        }
        match turn.stats.finish {
            Some(Finish::Interrupted) => output::say("(stopped)"),
            Some(Finish::Length) => output::say("(the limit of tokens is reached: /set max_tokens)"),
            Some(Finish::Context) => output::say("(the context is full: /clear, or start with a larger --ctx)"),
            _ => {}
        }
        if self.status {
            output::say(&self.status_line(Some(turn)));
        }
    }

    /// Context used and speeds, on one line.
    fn status_line(&self, turn: Option<&Turn>) -> String {
        let session = self.conversation.session();
        let context = format!("{} of {} tokens of context used", session.tokens().len(), session.options().context);
        let Some(stats) = turn.map(|turn| &turn.stats) else { return context };
        let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        format!(
            "{context}; prompt {} tokens ({} cached), {:.1} tok/s; answer {} tokens ({} of thought), {:.1} tok/s",
            stats.prompt_tokens,
            stats.cached_tokens,
            rate(stats.prompt_tokens - stats.cached_tokens, stats.prefill_s),
            stats.tokens,
            stats.reasoning_tokens,
            rate(stats.tokens, stats.decode_s),
        )
    }

    /// Takes back the last question if it has no answer.
    fn unsay(&mut self) {
        let messages = self.conversation.messages_mut();
        if messages.last().is_some_and(|last| last["role"] == "user") {
            messages.pop();
        }
    }

    fn leave(&self) -> Result<()> {
        let Some(path) = &self.session else { return Ok(()) };
        self.conversation.save(path)?;
        output::say(&format!("kept in {}", path.display()));
        Ok(())
    }
}
