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
use super::run::constraint;
use crate::config::{Settings, ThoughtView};
use crate::engine::saved::SessionFile;
use crate::engine::{Conversation, Finish, Turn, Wishes};
use crate::sample::Form;
use crate::{Error, Result, interrupt};
use editor::{Editor, Input};
use leave::Leave;
use show::Screen;
use std::collections::VecDeque;
use std::path::PathBuf;

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
    session: Option<SessionFile>,
    /// The form that every answer has to keep.
    form: Option<Form>,
    /// Something was said since the conversation was last kept or begun.
    unsaved: bool,
    last: Option<Turn>,
    /// Lines that were sent while an answer ran.
    sent: VecDeque<String>,
    /// A line that was begun while an answer ran.
    begun: String,
}

/// What the loop does next.
enum Next {
    /// Ask for input.
    Ask,
    /// Generate an answer to the messages as they are.
    Answer,
    /// Ask again, with the last question to be edited; what is sent takes its place.
    Edit(String),
    /// Do this if the user agrees to it.
    Confirm(String, Deed),
    /// Leave.
    Leave,
}

/// What is done only after a question.
enum Deed {
    Save(PathBuf),
    Load(PathBuf),
}

/// Runs the chat until the user leaves.
pub(super) fn run(
    conversation: Conversation,
    wishes: Wishes,
    settings: &Settings,
    session: Option<SessionFile>,
    form: Option<Form>,
) -> Result<()> {
    if let Some(form) = &form {
        // Found out now, not at the first question.
        constraint(form, &conversation)?;
    }
    let mut chat = Chat {
        conversation,
        wishes,
        settings: settings.clone(),
        thoughts: show::view(settings),
        status: false,
        attached: Vec::new(),
        session,
        form,
        unsaved: false,
        last: None,
        sent: VecDeque::new(),
        begun: String::new(),
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
        let (mut text, mut editing) = (String::new(), false);
        while !leave.asked() {
            let input = match self.sent.pop_front() {
                Some(line) => {
                    output::say(&format!(">>> {line}"));
                    Input::Text(line)
                }
                None => editor.read(&std::mem::take(&mut text))?,
            };
            let edited = std::mem::take(&mut editing);
            let next = match input {
                Input::Left => Next::Leave,
                Input::Text(line) if !line.trim().is_empty() => self.take(&line, edited).unwrap_or_else(|error| {
                    output::say(&format!("tokki: {error}"));
                    Next::Ask
                }),
                Input::Cleared | Input::Text(_) => {
                    if edited {
                        output::say("nothing was changed");
                    }
                    Next::Ask
                }
            };
            match next {
                Next::Ask => {}
                Next::Edit(old) => (text, editing) = (old, true),
                Next::Confirm(question, deed) => {
                    if editor.agrees(&question) {
                        self.carry_out(deed).unwrap_or_else(|error| output::say(&format!("tokki: {error}")));
                    }
                }
                Next::Leave => break,
                Next::Answer => {
                    self.answer(leave)?;
                    text = std::mem::take(&mut self.begun);
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Save(path) => commands::save_to(self, &path),
            Deed::Load(path) => commands::load_from(self, &path),
        }
    }

    /// A line of input: a command, or something to say.
    fn take(&mut self, line: &str, edited: bool) -> Result<Next> {
        let line = match line.strip_prefix('/') {
            Some(said) if said.starts_with('/') => said,
            Some(command) => return commands::run(self, command),
            None => line,
        };
        let files = attach::expand(line, &mut output::say)?;
        if edited {
            commands::take_back(self)?;
        }
        self.attached.extend(files);
        for file in &self.attached {
            let tokens = self.conversation.tokenizer().encode(&file.text, crate::tokenizer::Special::Plain).len();
            output::say(&format!("{}: {tokens} tokens", file.path.display()));
        }
        let text = attach::with_files(line, &std::mem::take(&mut self.attached));
        self.conversation.say(&text);
        Ok(Next::Answer)
    }

    /// Generates and shows an answer. Errors of the answer are shown, and the chat goes on.
    fn answer(&mut self, leave: &Leave) -> Result<()> {
        // One that came while there was no answer to stop.
        interrupt::answered(leave.asked());
        let watch = keys::Watch::start(self.conversation.end_thought());
        let mut screen = Screen::new(self.thoughts);
        let form = self.form.as_ref().map(|form| constraint(form, &self.conversation)).transpose();
        let result = form.and_then(|form| self.conversation.answer(&self.wishes, form, &mut screen));
        let (sent, begun) = watch.finish();
        self.begun = begun;
        match &result {
            Ok(turn) if turn.stats.finish != Some(Finish::Interrupted) => self.sent.extend(sent),
            // Whoever stops an answer may not want what they sent behind it: it can be edited.
            _ => {
                let waiting = self.sent.drain(..).chain(sent).map(|line| line + "\n").collect::<String>();
                self.begun.insert_str(0, &waiting);
            }
        }
        screen.end()?;
        // Asked to leave, the flag stays up: nothing begins any more.
        interrupt::answered(leave.asked());
        match result {
            Ok(turn) => {
                self.after(&turn);
                self.last = Some(turn);
                self.unsaved = true;
                self.keep();
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
            Some(Finish::Context) => output::say("(the context is full: /undo, /clear, or start with a larger --ctx)"),
            _ => {}
        }
        if self.status {
            output::say(&self.status_line(Some(turn)));
        }
    }

    /// Context used and speeds, on one line.
    fn status_line(&self, turn: Option<&Turn>) -> String {
        let session = self.conversation.session();
        let used = self.conversation.used(&self.wishes);
        let context = format!("{used} of {} tokens of context used", session.options().context);
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

    /// Saves the session, if there is one, as it is now. A disk that is full does not end the chat.
    fn keep(&mut self) {
        let Some(file) = &mut self.session else { return };
        match self.conversation.keep_in(file) {
            Ok(()) => self.unsaved = false,
            Err(error) => output::say(&format!("tokki: the session is not kept: {error}")),
        }
    }

    fn leave(&mut self) -> Result<()> {
        let Some(file) = &mut self.session else { return Ok(()) };
        self.conversation.keep_in(file)?;
        output::say(&format!("kept in {}", file.path().display()));
        Ok(())
    }
}
