//! The shapes of real models: a file with exactly the tensors, formats and bytes of a published model, and random
//! weights, for measuring speed and planning memory without a download. Its text is noise; its cost is the real one.
//!
//! `llama3-8b:q4_k_m` names a [`Plan`]: a row of the table of shapes and a row of the table of recipes.

mod blocks;
mod keys;
mod plan;
mod planned_tensor;
mod recipe;
mod shape;
mod table;
mod tensors;
#[cfg(test)]
mod tests;
mod write;

pub use plan::{Plan, nearest};
pub use recipe::Recipe;
pub use write::{outline, temporary};
