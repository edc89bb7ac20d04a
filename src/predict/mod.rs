//! What a model will need and do on this machine, before it runs: memory from its shapes, speed from a short trial.

pub mod layout;
pub mod measure;
mod need;
pub mod plan;
pub mod speed;
pub mod threads;
mod trial;
