//! The HTTP server: one model or several, spoken to in the dialects that clients use.
//!
//! A connection (`listen`) leads to a route of THE ROUTE TABLE (`routes`), a route to a handler in the file of its
//! dialect. Handlers translate JSON to one internal request (`request`) and one stream of events back; they never
//! compute. What can be known before computing is a plain HTTP error; after admission the head goes out at once.

mod anthropic;
mod ask;
mod auth;
mod batch;
mod body;
mod card;
mod common;
mod completion;
mod decisions;
mod dialect;
mod doc;
mod embeddings;
mod error;
mod events;
mod files;
mod infill;
mod journal;
mod lines;
mod list_fields;
mod listen;
mod llama_server;
mod log;
mod messages;
mod metrics;
mod models;
mod ollama;
mod openai;
mod openapi;
mod options;
mod page;
mod paging;
mod patience;
mod reply;
mod request;
mod responses;
mod resume;
mod routes;
mod runtime;
mod schemas;
mod slots;
mod state;
mod stream;
mod timings;

pub use batch::{Estimate, batch};
pub use lines::{Line, read_lines, read_requests};
pub use listen::{check, serve};
pub use log::{Notice, OnNotice};
pub use models::{Models, Offer, Residency};
pub use options::{Defaults, LogForm, ServerOptions, Tls};
