//! The number crate as those see it who use it: its formats, its products, its safe functions with any arguments, its team.
//! (What `loom` goes through is built in a way of its own: `loom_team`.)

mod decode;
mod formats;
mod hostile;
mod matmul;
mod team;
