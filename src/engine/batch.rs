//! Rows of the next pass: who gets how many, and room in the cache for them.

use super::gauges::Count;
use super::scheduler::{MIN_PIECE, SHARED_PIECE, Scheduler};
use std::time::Duration;
use tokki_quant::attention::TILE;

/// Longest piece of a prompt while no sequence waits for a token; [`SHARED_PIECE`] while one does.
const LONE_PIECE: Duration = Duration::from_millis(500);

impl Scheduler {
    /// How many tokens of each running sequence the next pass takes: WHO DECIDES THE BATCH.
    pub(super) fn compose(&mut self) -> Vec<(usize, usize)> {
        // What a conversation outgrows is read again, as what was given up to others is.
        self.running.iter_mut().for_each(|sequence| sequence.cache.aim(sequence.tokens.len()));
        let writing = self.running.iter().filter(|s| s.pending() == 1).count();
        let lone = writing == 0 && self.waiting.is_empty();
        let piece = if lone { LONE_PIECE } else { SHARED_PIECE };
        let most = self.options.session.batch;
        let mut left = ((piece.as_secs_f64() * self.rows_per_second) as usize).clamp(MIN_PIECE, most.max(MIN_PIECE));
        // A page's worth of tokens that another sequence has computed by now is not computed again.
        for sequence in self.running.iter_mut().filter(|sequence| sequence.reuse && sequence.pending() > TILE) {
            let (known, len) = (&sequence.tokens[..sequence.tokens.len() - 1], sequence.tokens.len());
            if self.tree.known(known, len, &self.shape) >= sequence.cache.len() + TILE {
                sequence.cache = self.tree.find(known, len, &self.shape, &self.budget);
            }
        }
        let mut reading: Vec<usize> = (0..self.running.len()).filter(|&i| self.running[i].pending() > 1).collect();
        // Short prompts do not wait for long ones, and long ones do get on.
        if self.passes.is_multiple_of(2) {
            reading.sort_by_key(|&i| self.running[i].pending());
        }
        let mut rows: Vec<(usize, usize)> =
            (0..self.running.len()).filter(|&i| self.running[i].pending() == 1).map(|i| (i, 1)).collect();
        for index in reading {
            let n = self.to_border(index, self.running[index].pending().min(left));
            if n > 0 {
                rows.push((index, n));
                left -= n;
            }
        }
        rows.sort_unstable();
        rows
    }

    /// At most `n` tokens of a prompt, of models with a recurrent state only as far as the next place whose state others can
    /// begin with: where the prompt branches off from those before it, such as after a common system message, and the last
    /// page's border within it, since the next message often differs from this prompt's last tokens.
    fn to_border(&self, index: usize, n: usize) -> usize {
        let sequence = &self.running[index];
        let (from, end) = (sequence.cache.len(), sequence.tokens.len());
        let borders = [sequence.branch, (end - 1) / TILE * TILE];
        let within = |border: &usize| self.shape.state_len() > 0 && from < *border && *border < from + n;
        borders.into_iter().filter(within).min().map_or(n, |border| border - from)
    }

    /// Takes the pages of the youngest sequence after this one, which is read again later; false when there is none.
    pub(super) fn preempt(&mut self, index: usize) -> bool {
        let youngest = (index + 1..self.running.len()).rev().find(|&i| !self.running[i].cache.is_empty());
        let Some(youngest) = youngest else { return false };
        self.running[youngest].cache.truncate(0);
        self.gauges.add(Count::Preemptions, 1);
        true
    }

    /// Makes room in the cache for these rows: past sequences give way, then the youngest running ones. Returns the rows
    /// that can be computed.
    pub(super) fn make_room(&mut self, rows: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        let mut granted: Vec<(usize, usize)> = Vec::new();
        for (index, n) in rows {
            let missing = self.running[index].cache.missing(n);
            if missing > self.budget.free() {
                self.ask_idle(missing);
            }
            while self.running[index].cache.missing(n) > self.budget.free() {
                if self.evict() {
                    continue;
                }
                self.budget.ask_others(missing, true);
                if !self.preempt(index) {
                    break;
                }
            }
            if self.running[index].cache.reserve(n).is_ok() {
                granted.push((index, n));
            }
        }
        granted
    }
}
