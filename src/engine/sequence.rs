//! A request under way, as the scheduler sees it: sequences of tokens of which a part is cached.

use super::answer::{Answer, Logprob, Stats, Wanted};
use crate::Error;
use crate::chat::Part;
use crate::kv::KvCache;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What is asked of an [`super::Engine`].
pub struct Submission {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// The answers wanted to it; all share its computation.
    pub choices: Vec<Wanted>,
    /// Higher ones first.
    pub priority: i32,
    /// Who asks: those with the fewest running answers are served first.
    pub client: u64,
    /// Whether what was computed before, for others, is used.
    pub reuse: bool,
    /// It belongs to the submission before: both together take one place of the queue.
    pub follows: bool,
    /// Told what happens, on the engine's thread: it must not wait.
    pub events: Box<dyn FnMut(Event) + Send>,
    /// Set it when the answer is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
}

/// What happens to a [`Submission`], in this order.
#[derive(Debug)]
pub enum Event {
    /// So many of the prompt's tokens have been read.
    Prefill {
        /// Read, those from the cache included.
        done: usize,
        /// All of them.
        total: usize,
        /// From the cache.
        cached: usize,
        /// Seconds since the request was admitted.
        seconds: f64,
    },
    /// A chosen token, where probabilities were asked for.
    Token {
        /// Which answer.
        choice: usize,
        /// The token.
        chosen: Logprob,
    },
    /// A piece of an answer.
    Part {
        /// Which answer.
        choice: usize,
        /// The piece.
        part: Part,
        /// The tokens that led to it, since the piece before.
        tokens: Vec<u32>,
    },
    /// An answer has ended.
    Done {
        /// Which answer.
        choice: usize,
        /// What it took.
        stats: Stats,
        /// Tokens since the last piece, which came to no text.
        tokens: Vec<u32>,
    },
    /// The submission has failed; nothing more comes.
    Failed(Error),
}

/// A submission that is waiting or running.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) priority: i32,
    pub(super) client: u64,
    pub(super) reuse: bool,
    pub(super) follows: bool,
    pub(super) prompt: Vec<u32>,
    /// Answers that have not been begun.
    pub(super) choices: Vec<Wanted>,
    /// Answers that have not ended.
    pub(super) open: usize,
    pub(super) events: Box<dyn FnMut(Event) + Send>,
    pub(super) cancelled: Arc<AtomicBool>,
    /// When it came, then when it was admitted.
    pub(super) started: Instant,
}

/// One answer's tokens, of which `cache.len()` are computed; those after them are fed next. A sequence that lost its cache
/// to others is one with nothing computed: it is read again, and gives the same bits.
pub(super) struct Sequence {
    pub(super) job: u64,
    pub(super) choice: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) cache: KvCache,
    /// Whether what others have computed may stand in it.
    pub(super) reuse: bool,
    /// Where its prompt branches off from those of others: a recurrent state is kept there for the next one.
    pub(super) branch: usize,
    pub(super) answer: Answer,
    /// Tokens whose text has not been told yet.
    pub(super) untold: Vec<u32>,
    /// When it was admitted, then when its first token was chosen.
    pub(super) began: Instant,
}

impl Sequence {
    /// Tokens that have to be computed before the next one can be chosen.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.cache.len()
    }
}

crate::text::opaque!(Submission);
