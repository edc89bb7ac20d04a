//! `tokki run` without a prompt: a chat in the terminal.
//!
//! Ctrl-C stops an answer and keeps the chat, Esc ends a thought, Ctrl-D leaves.

mod attach;
mod chat;
mod commands;
mod editor;
mod keys;
mod leave;
mod line_history;
mod show;
mod switch;

use super::output;
use super::turn::{constraint, empty, left_out, timings};
use crate::config::Settings;
use crate::engine::session_file::SessionFile;
use crate::engine::{Conversation, FinishReason, GenerateOptions, Turn};
use crate::store::chats;
use crate::{Error, ErrorKind, Result, describe, interrupt};
use chat::{Chat, Deed, Next};
pub(super) use chat::{ChatPlace, Start};
use editor::{Editor, LineInput};
use leave::Leave;
pub(super) use line_history::forget_lines;
use show::{Screen, Sink};
use std::collections::VecDeque;

/// What can be done about a full context; where the oldest questions are left out anyway, that is no way on.
fn full(options: &GenerateOptions) -> String {
    let tail = if options.leave_out_oldest { "" } else { ", /set overflow tail leaves out the oldest" };
    let now = if options.leave_out_oldest { ", even without the oldest questions" } else { "" };
    format!(
        "The context is full{now}. Ways on: /undo takes back the last question, /compact puts a summary in the place of \
         what was said, /clear starts over{tail}; or start with a larger --ctx."
    )
}

/// Of a question that fits into no context, whatever was said before.
const TOO_LONG: &str =
    "The question alone is too long for this context: ask with less text, or start with a larger --ctx.";

/// Bytes of a question that fit on a screen, to be edited.
const MAX_OFFERED: usize = 1000;

/// Runs the chat until the user leaves.
pub(super) fn run(
    conversation: Conversation,
    options: GenerateOptions,
    settings: &Settings,
    kept: ChatPlace,
    start: Start,
) -> Result<()> {
    let ChatPlace { session, form, chat } = kept;
    if let Some(form) = &form {
        // Found out now, not at the first question.
        constraint(form, &conversation)?;
    }
    let keeps = session.is_none() && !start.raw && settings.history().unwrap_or(true);
    // Without a place for a store nothing is kept.
    let place = chats::Chats::of(settings).ok().filter(|_| keeps);
    let kept = place.map(|place| (place, chat.unwrap_or_else(|| chats::KeptChat::begin(&start.model))));
    let sink = answers_aside()?;
    let mut chat = Chat {
        conversation,
        options,
        settings: settings.clone(),
        thoughts: show::view(settings),
        status: start.verbose,
        start,
        kept,
        forgotten: None,
        sink,
        attached: Vec::new(),
        sent_files: Vec::new(),
        session,
        form,
        unsaved: false,
        last: None,
        sent: VecDeque::new(),
        begun: String::new(),
        left: false,
        typed: String::new(),
        replaced: Vec::new(),
    };
    interrupt::of_a_chat();
    let mut editor = Editor::new(settings.history().unwrap_or(true))?;
    let _leave = Leave::watch();
    chat.greet();
    let talked = chat.talk(&mut editor);
    // Whatever ended the chat, what was said is kept.
    chat.leave()?;
    if interrupt::leaving() { Err(Error::Interrupted) } else { talked }
}

/// Where stdout leads elsewhere, the chat takes the terminal for its own words, and answers alone go there.
fn answers_aside() -> Result<Sink> {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some(std::sync::Arc::new(crate::platform::terminal::set_stdout_aside()?)))
}

impl Chat {
    fn greet(&self) {
        let gguf = &self.conversation.session().model().gguf;
        let context = self.conversation.session().options().context;
        output::say(&format!(
            "{} ({}), context {context} tokens. /help shows what there is; Ctrl-D leaves.",
            crate::text::line(&describe::name(gguf)),
            describe::quantization(gguf)
        ));
        // A question that was never answered is at the prompt.
        let messages = self.conversation.messages();
        let open = usize::from(messages.last().is_some_and(|message| message["role"] == "user"));
        let count = messages.iter().filter(|message| message["role"] == "user").count() - open;
        if count > 0 {
            output::say(&format!("continued: {count} earlier question{}", if count == 1 { "" } else { "s" }));
        }
    }

    /// Questions and answers until the user leaves.
    fn talk(&mut self, editor: &mut Editor) -> Result<()> {
        let (mut text, mut editing, mut cleared) = (String::new(), false, 0);
        while !interrupt::leaving() && (!self.left || !self.sent.is_empty()) {
            if text.is_empty() && self.begun.is_empty() && self.sent.is_empty() && !editing {
                (text, editing) = self.unanswered();
            }
            let input = match self.sent.pop_front() {
                Some(line) => {
                    output::say(&format!(">>> {line}"));
                    LineInput::Text(line)
                }
                None => {
                    editor.keep(self.settings.history().unwrap_or(true));
                    // What was begun while an answer ran stays until there is a line to go on with it.
                    let there = if text.is_empty() { &mut self.begun } else { &mut text };
                    editor.read(&std::mem::take(there))?
                }
            };
            let edited = std::mem::take(&mut editing);
            cleared = if matches!(input, LineInput::Cleared) { cleared + 1 } else { 0 };
            if cleared == 2 {
                output::say("(Ctrl-D leaves)");
            }
            let next = match input {
                LineInput::Left => Next::Leave,
                LineInput::Text(line) if !line.trim().is_empty() => self.take(&line, edited).unwrap_or_else(|error| {
                    output::complain(&error);
                    Next::Ask
                }),
                LineInput::Cleared | LineInput::Text(_) => {
                    if edited {
                        let taken = self.conversation.take_back_unanswered();
                        output::say(if taken { "the question was taken back" } else { "nothing was changed" });
                    }
                    Next::Ask
                }
            };
            match next {
                Next::Ask => {}
                Next::Edit(old) => (text, editing) = (old, true),
                Next::Confirm(question, deed) => {
                    if editor.agrees(&question) {
                        self.carry_out(deed).unwrap_or_else(|error| output::complain(&error));
                    }
                }
                Next::Leave => break,
                Next::Compact => self.compact()?,
                Next::Answer => self.answer()?,
            }
        }
        Ok(())
    }

    /// The last question, to be asked again, where it has no answer: of a run that ended before it, or of a file that was
    /// loaded. One that is too long for a line that is edited, such as a whole file, is left for `/regen`.
    fn unanswered(&self) -> (String, bool) {
        let Some(question) = self.conversation.unanswered() else { return (String::new(), false) };
        if question.len() > MAX_OFFERED {
            output::say("(the last question has no answer yet; /regen asks it again, another one takes its place)");
            return (String::new(), false);
        }
        output::say("(this question has no answer yet; Enter asks it again)");
        (crate::text::clean(question).into_owned(), true)
    }

    /// Puts the model's summary of all but the last question in their place.
    fn compact(&mut self) -> Result<()> {
        let Some(plan) = switch::Compaction::of(self.conversation.messages()) else {
            output::say("There is too little to summarize.");
            return Ok(());
        };
        interrupt::answered();
        let before = self.conversation.messages().to_vec();
        let context = self.conversation.session().options().context;
        let options = GenerateOptions {
            max_tokens: Some((context / 4).max(16)),
            stop: Vec::new(),
            leave_out_oldest: false,
            thinking: switch::quiet(&self.conversation, &self.options),
            ..self.options.clone()
        };
        let watch = keys::Watch::start(self.conversation.end_thought());
        let mut screen = Screen::new(self.thoughts, &None, self.conversation.tokenizer());
        let tokenizer = std::sync::Arc::clone(self.conversation.tokenizer());
        *self.conversation.messages_mut() = vec![plan.request(&tokenizer, context / 2)];
        let result = self.conversation.answer(&options, None, &mut screen);
        let typed = watch.finish(std::mem::take(&mut self.begun));
        self.sent.extend(typed.sent);
        (self.begun, self.left) = (typed.begun, self.left || typed.left);
        screen.end()?;
        interrupt::answered();
        let whole =
            |turn: &Turn| turn.stats.finish != Some(FinishReason::Interrupted) && !turn.answer.trim().is_empty();
        match result {
            Ok(turn) if whole(&turn) => {
                let cut = matches!(turn.stats.finish, Some(FinishReason::Length | FinishReason::Context));
                *self.conversation.messages_mut() = plan.with_summary(turn.answer.trim());
                // What was said stays in the history as it was; what follows is about the same.
                let title =
                    self.kept.as_ref().map(|(_, chat)| chat.title().to_owned()).filter(|title| !title.is_empty());
                self.begin_another();
                self.kept.iter_mut().for_each(|(_, chat)| chat.first.clone_from(&title));
                self.unsaved = true;
                self.keep();
                output::say("(this summary now stands for what was said before)");
                if cut {
                    output::say("(it was cut off at its limit of tokens)");
                }
            }
            other => {
                *self.conversation.messages_mut() = before;
                let why = other.err().map(|error| format!(": {error}")).unwrap_or_default();
                output::say(&format!("No summary was made, and nothing was changed{why}"));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Save(path) => commands::save_to(self, &path),
            Deed::Load(saved) => commands::go_on(self, saved),
        }
    }

    /// A line of input: a command, or something to say.
    fn take(&mut self, line: &str, edited: bool) -> Result<Next> {
        let line = match line.trim_start().strip_prefix('/') {
            Some(said) if said.starts_with('/') => said,
            Some(command) => return commands::run(self, command),
            // Alone on a line, that is no question.
            None if ["exit", "quit"].contains(&line.trim()) => return Ok(Next::Leave),
            None => line,
        };
        let files = attach::expand(line, &mut output::say)?;
        // A question without an answer gives way to the next one, whose place it has.
        if edited || self.conversation.unanswered().is_some() {
            commands::replace(self)?;
        }
        self.sent_files = std::mem::take(&mut self.attached);
        self.typed = line.to_owned();
        // One that is named in the line goes with the line, should that be sent again.
        let all: Vec<&attach::Attachment> = self.sent_files.iter().chain(&files).collect();
        for file in &all {
            let tokens = self.conversation.tokenizer().encode(&file.text, crate::tokenizer::Special::Plain).len();
            output::say(&format!("{}: {tokens} tokens", file.path.display()));
        }
        let text = attach::with_files(line, &all);
        self.conversation.say(&text);
        Ok(Next::Answer)
    }

    /// Generates and shows an answer. Errors of the answer are shown, and the chat goes on.
    fn answer(&mut self) -> Result<()> {
        // One that came while there was no answer to stop.
        interrupt::answered();
        let replaced = std::mem::take(&mut self.replaced);
        self.keep_question();
        let watch = keys::Watch::start(self.conversation.end_thought());
        let mut screen = Screen::new(self.thoughts, &self.sink, self.conversation.tokenizer());
        let form = self.form.as_ref().map(|form| constraint(form, &self.conversation)).transpose();
        let result = form.and_then(|form| self.conversation.answer(&self.options, form, &mut screen));
        let typed = watch.finish(std::mem::take(&mut self.begun));
        (self.begun, self.left) = (typed.begun, self.left || typed.left);
        match &result {
            Ok(turn) if turn.stats.finish != Some(FinishReason::Interrupted) => self.sent.extend(typed.sent),
            // A user who stops an answer may not want what they sent after it: it can be edited.
            _ => {
                let waiting = self.sent.drain(..).chain(typed.sent).map(|line| line + "\n").collect::<String>();
                self.begun.insert_str(0, &waiting);
            }
        }
        // A terminal that was closed takes no more: what was said is kept before that is told.
        let shown = screen.end();
        // Asked to leave, the flag stays up: nothing begins any more.
        interrupt::answered();
        match result {
            Ok(turn) => {
                self.typed.clear();
                self.after(&turn);
                if let (Some((_, chat)), true) = (&mut self.kept, turn.is_cut()) {
                    chat.cut.push(self.conversation.messages().len().saturating_sub(1));
                }
                self.last = Some(turn);
                self.unsaved = true;
                self.keep();
            }
            // A terminal that was closed takes no question back.
            Err(Error::Interrupted) if interrupt::leaving() => {}
            Err(error) => {
                let question = self.conversation.unanswered().unwrap_or_default();
                let tokens = self.conversation.tokenizer().encode(question, crate::tokenizer::Special::Plain).len();
                self.unsay();
                match error {
                    Error::Interrupted if self.sent_files.is_empty() => {
                        output::say("stopped; the question was taken back");
                    }
                    Error::Interrupted => {
                        self.attached = std::mem::take(&mut self.sent_files);
                        output::say(
                            "stopped; the question was taken back, and what /file gave it goes with the next one (/file - \
                             drops it)",
                        );
                    }
                    Error::ContextFull { needed, available } => {
                        let first = self.conversation.messages().iter().all(|message| message["role"] == "system");
                        let alone = first || tokens >= available;
                        let ways = if alone { TOO_LONG.to_owned() } else { full(&self.options) };
                        output::say(&format!("{needed} tokens needed, {available} available. {ways}"));
                        if replaced.is_empty() {
                            self.give_back(alone);
                        }
                    }
                    error => output::complain(&error),
                }
                if !replaced.is_empty() {
                    self.conversation.messages_mut().extend(replaced);
                    self.unsaved = true;
                    self.keep();
                    output::say("(what was answered before stands again)");
                }
            }
        }
        shown
    }

    /// What was asked and did not fit: one that has to be changed is at the next prompt; where a command makes room for it, that
    /// comes first. Its files go with the next one.
    fn give_back(&mut self, change: bool) {
        let typed = crate::text::clean(&std::mem::take(&mut self.typed)).into_owned();
        if change && typed.len() <= MAX_OFFERED {
            let between = if self.begun.is_empty() { "" } else { "\n" };
            self.begun = format!("{typed}{between}{}", self.begun);
        } else {
            output::say("(the question was taken back; the arrow up brings it to the prompt)");
        }
        self.attached = std::mem::take(&mut self.sent_files);
        if !self.attached.is_empty() {
            output::say("(what /file gave it goes with the next one; /file - drops it)");
        }
    }

    fn after(&self, turn: &Turn) {
        if let Some(why) = &turn.stats.thought_closed {
            output::say(&format!("({why})"));
        }
        if turn.left_out > 0 {
            output::say(&format!("({})", left_out(turn.left_out)));
        }
        if turn.stats.ended_in_thought {
            output::say("(the model ended inside its thought and gave no answer)");
        } else if turn.answer.trim().is_empty() && turn.stats.finish == Some(FinishReason::Stop) {
            output::say(&format!("({})", empty(&self.options, turn)));
        }
        match turn.stats.finish {
            Some(FinishReason::Interrupted) => output::say("(stopped)"),
            Some(FinishReason::Length) => output::say(&format!("({})", self.cut_off())),
            Some(FinishReason::Context) if self.options.leave_out_oldest => output::say(
                "(the context is full, and the answer ends here; the next question leaves out the oldest one)",
            ),
            Some(FinishReason::Context) => output::say(&full(&self.options)),
            _ => {}
        }
        if turn.stats.form_incomplete {
            output::say("(the answer was cut before its form was complete)");
        }
        if self.status {
            output::say(&self.status_line(Some(turn)));
        }
    }

    /// That an answer was cut off, and how to have the rest.
    fn cut_off(&self) -> String {
        let most = self.options.max_tokens.map_or(String::new(), |most| format!(" {most}"));
        format!(
            "cut off at max_tokens{most}: /set max_tokens default takes the limit away, \"go on\" asks for the rest"
        )
    }

    /// Context used and speeds, on one line.
    fn status_line(&self, turn: Option<&Turn>) -> String {
        let session = self.conversation.session();
        let used = self.conversation.used(&self.options);
        let context = format!("{used} of {} tokens of context used", session.options().context);
        turn.map_or(context.clone(), |turn| format!("{context}; {}", timings(turn)))
    }

    /// Takes back the last question, which has no answer, wherever it was kept.
    fn unsay(&mut self) {
        self.conversation.take_back_unanswered();
        self.session.iter_mut().for_each(SessionFile::take_back);
        self.keep_in_history();
    }

    /// Keeps the question that is answered next: whatever ends the process meanwhile, it was asked.
    fn keep_question(&mut self) {
        self.keep_in_history();
        let Some(file) = &mut self.session else { return };
        if let Err(error) = self.conversation.note_question_in(file) {
            output::say(&format!("tokki: the question is not kept: {error}"));
        }
    }

    /// What follows is another chat in the history: this one stays there as it was kept last.
    fn begin_another(&mut self) {
        // What the last answer took belongs to what is over.
        self.last = None;
        let another = self.forgotten.take().map(|place| (place, chats::KeptChat::begin(&self.start.model)));
        self.kept = self.kept.take().or(another);
        if let Some((_, chat)) = &mut self.kept {
            *chat = chats::KeptChat::begin(&self.start.model);
        }
    }

    fn keep_in_history(&mut self) {
        if let Some((place, chat)) = &mut self.kept
            && let Err(error) = place.keep_on(chat, &self.start.model, self.conversation.messages())
        {
            if error.kind() == ErrorKind::NotFound {
                self.forgotten = Some(place.clone());
                output::say(
                    "(this chat has been forgotten by another tokki, and is not kept any more: /set history true keeps all of it \
                     again, /clear begins another)",
                );
            } else {
                output::say(&format!("tokki: chats are not kept from here on: {error}"));
            }
            self.kept = None;
        }
    }

    /// Saves the session, if there is one, as it is now. A disk that is full does not end the chat.
    fn keep(&mut self) {
        self.keep_in_history();
        let Some(file) = &mut self.session else { return };
        match self.conversation.keep_in(file) {
            Ok(()) => self.unsaved = false,
            Err(error) => output::say(&format!("tokki: the session is not kept: {error}")),
        }
    }

    fn leave(&mut self) -> Result<()> {
        // What was changed since the last answer: a question that was taken back, another model.
        let messages = self.conversation.messages();
        if self.kept.as_ref().is_some_and(|(_, chat)| !chat.is_as_kept(&self.start.model, messages)) {
            self.keep_in_history();
        }
        let Some(file) = &mut self.session else { return Ok(()) };
        self.conversation.keep_in(file)?;
        output::say(&format!("saved to {}", file.path().display()));
        Ok(())
    }
}
