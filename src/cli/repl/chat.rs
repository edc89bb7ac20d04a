//! A running chat, and what can happen next in it.

use super::super::flags::MachineFlags;
use super::attach;
use super::show::Sink;
use crate::config::{Settings, ThoughtView};
use crate::engine::session_file::SessionFile;
use crate::engine::{Conversation, GenerateOptions, Turn};
use crate::sample::Form;
use crate::store::chats;
use serde_json::Value;
use std::collections::VecDeque;
use std::path::PathBuf;

/// A running chat.
pub(super) struct Chat {
    pub(super) conversation: Conversation,
    pub(super) options: GenerateOptions,
    pub(super) settings: Settings,
    /// How thoughts are shown.
    pub(super) thoughts: ThoughtView,
    /// Print speed and context after each answer.
    pub(super) status: bool,
    /// Files that go with the next message.
    pub(super) attached: Vec<attach::Attachment>,
    /// Files that went with the last one.
    pub(super) sent_files: Vec<attach::Attachment>,
    /// The file that keeps the conversation with its cache.
    pub(super) session: Option<SessionFile>,
    /// The form that every answer has to keep.
    pub(super) form: Option<Form>,
    /// Something was said since the conversation was last kept or begun.
    pub(super) unsaved: bool,
    pub(super) last: Option<Turn>,
    /// How it was started, for another model.
    pub(super) start: Start,
    /// Where chats are kept, and this one; `None` where none are.
    pub(super) kept: Option<(chats::Chats, chats::KeptChat)>,
    /// Where they were kept, if this one has been forgotten by another process.
    pub(super) forgotten: Option<chats::Chats>,
    /// Where answers go if not to the terminal.
    pub(super) sink: Sink,
    /// Lines that were sent while an answer ran.
    pub(super) sent: VecDeque<String>,
    /// What is at the next prompt: a line that was begun while an answer ran, a question that could not be answered.
    pub(super) begun: String,
    /// Ctrl-D came while an answer ran: what was sent before it is answered, then the chat is left.
    pub(super) left: bool,
    /// The question as it was typed last.
    pub(super) typed: String,
    /// The exchange that this question takes the place of, should it get no answer.
    pub(super) replaced: Vec<Value>,
}

/// How a chat is started.
pub(in crate::cli) struct Start {
    /// The model's file.
    pub(in crate::cli) model: PathBuf,
    pub(in crate::cli) machine: MachineFlags,
    /// Text is continued as it is.
    pub(in crate::cli) raw: bool,
    /// What each answer took is told.
    pub(in crate::cli) verbose: bool,
}

/// What a chat goes on with and is kept in.
pub(in crate::cli) struct ChatPlace {
    pub(in crate::cli) session: Option<SessionFile>,
    pub(in crate::cli) form: Option<Form>,
    /// An earlier chat.
    pub(in crate::cli) chat: Option<chats::KeptChat>,
}

/// What the loop does next.
pub(super) enum Next {
    /// Ask for input.
    Ask,
    /// Generate an answer to the messages as they are.
    Answer,
    /// Put a summary in the place of what was said.
    Compact,
    /// Ask again, with the last question to be edited; what is sent takes its place.
    Edit(String),
    /// Do this if the user agrees to it.
    Confirm(String, Deed),
    /// Leave.
    Leave,
}

/// What is done only after a question.
pub(super) enum Deed {
    Save(PathBuf),
    Load(Saved),
}

/// What a file holds that a chat can go on from, whatever it is called.
pub(super) enum Saved {
    /// A session: this file.
    Session(PathBuf),
    /// Messages in JSON.
    Messages(Vec<Value>),
}
