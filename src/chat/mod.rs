//! From a conversation to a prompt, and from a model's text back to thought and answer.
//!
//! A model's file carries its own chat template (Jinja); [`Template`] renders it exactly as the reference
//! implementation does, within limits that hostile templates cannot pass. Nothing is ever replaced by a built-in
//! template: a file without one is an error that says so.

mod arguments;
mod calls;
mod file;
mod formats;
mod jinja;
mod loops;
mod plain_tools;
mod probe;
mod reasoning;
mod segments;
mod stop;
mod template;
mod thinking;
mod tools;

pub use arguments::{Argument, ArgumentWatch};
pub use calls::{CallFinder, ToolCall};
pub use plain_tools::tell_tools;
pub use probe::{Capabilities, Content, Switch, SystemRole, Thinking};
pub use reasoning::{Kind, Part, Splitter};
pub use segments::{Controls, Segment};
pub use stop::{Piece, StopMatcher};
pub use template::{Clock, Template, Vars};
pub use thinking::{Close, ThinkingMode, ThoughtGuard};
pub use tools::{Tools, any_of};
