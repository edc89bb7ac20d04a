//! Choosing tokens: filters, a seeded choice, what ends an answer, and what keeps it in a form.

mod constraint;
mod digits;
mod exact;
mod exp;
mod gbnf;
mod grammar;
mod params;
mod philox;
mod pointer;
mod rewrite;
mod sampler;
mod schema;
mod settings;
mod stop;
mod vendor;

pub use constraint::{Constraint, Mask};
pub use grammar::{Form, GrammarConstraint, Grammars};
pub use params::{DEFAULT_WINDOW, Params};
pub use sampler::{SampleError, Sampler};
pub use settings::{Origin, Overrides, Setting, Settings};
pub(crate) use stop::open_end;
pub use stop::{Piece, StopMatcher};
pub use vendor::Facts;
