//! Choosing tokens: filters, a seeded choice, and what keeps an answer in a form.

#[cfg(feature = "grammar")]
mod close;
mod constraint;
#[cfg(feature = "grammar")]
mod digits;
mod dry;
#[cfg(feature = "grammar")]
mod embedded;
#[cfg(feature = "grammar")]
mod exact;
mod exp;
#[cfg(feature = "grammar")]
mod gbnf;
#[cfg(feature = "grammar")]
mod grammar;
#[cfg(feature = "grammar")]
mod keywords;
#[cfg(feature = "grammar")]
mod multiples;
#[cfg(feature = "grammar")]
mod negate;
mod origin;
mod params;
#[cfg(feature = "grammar")]
mod pattern;
mod philox;
#[cfg(feature = "grammar")]
mod place;
#[cfg(feature = "grammar")]
mod pointer;
#[cfg(feature = "grammar")]
mod refusal;
#[cfg(feature = "grammar")]
mod rewrite;
mod sampler;
#[cfg(feature = "grammar")]
mod schema;
mod settings;
mod table;
mod vendor;

pub use constraint::{Constraint, Mask};
pub use dry::Breakers;
#[cfg(feature = "grammar")]
pub use grammar::{Form, GrammarConstraint, Grammars};
pub use origin::Origin;
#[cfg(any(feature = "cli", feature = "server"))]
pub(crate) use params::random_seed;
pub use sampler::{SampleError, Sampler};
pub use table::{Overrides, PARAMETERS, Parameter, Params, SamplingSettings};
pub use vendor::FamilyFacts;
