//! The promise of the same bits as a matrix: every architecture that gives logits, with every kind of cache, both layouts of rows,
//! one to four threads, pieces of several sizes, every instruction set, a cache that is found, gone back in or read from a file,
//! and in passes with others. `TOKKI_TEST_BITS=all` takes all of them (`scripts/long/bits`); else some.

use crate::rows::{Row, rows};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokki::engine::{Session, session_file};
use tokki::internals::gguf::Gguf;
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki::internals::{CacheShape, KvCache, PassSettings, Scratch, Span, Want, forward};
use tokki_quant::attention::KvKind;
use tokki_quant::isa::Isa;

/// A model in one form, and what it reads.
struct Column<'a> {
    model: Arc<Model>,
    kv: KvKind,
    tokens: &'a [u32],
}

/// The logits as bits; a NaN is as good as any other.
fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// Threads, and what they compute with. Each is started once.
struct Pools(Vec<Arc<Pool>>);

impl Pools {
    fn new() -> Self {
        let best = (1..=4).map(|threads| (threads, Isa::best()));
        let ways = best.chain(Isa::available().into_iter().map(|isa| (2, isa)));
        Self(ways.map(|(threads, isa)| Arc::new(Pool::with_isa(threads, isa).unwrap())).collect())
    }
}

impl Column<'_> {
    fn session(&self, pool: &Arc<Pool>, batch: usize) -> Session {
        let options = crate::launch::options(256, self.kv, batch);
        Session::new(Arc::clone(&self.model), Arc::clone(pool), options)
    }

    /// After the last of the tokens.
    fn after(session: &mut Session, tokens: &[u32]) -> Vec<u32> {
        bits(session.feed(tokens, &mut |_| ()).unwrap())
    }

    /// Every way that must give what `wanted` holds: its name, and what it gave.
    fn ways(&self, pools: &Pools, folder: &Path, told: &mut dyn FnMut(String, &[u32])) {
        let (one, tokens) = (&pools.0[0], self.tokens);
        for pool in &pools.0 {
            let name = format!("{} threads, {}", pool.threads(), pool.isa().name());
            told(name, &Self::after(&mut self.session(pool, 512), tokens));
        }
        for piece in [1, 3, 16] {
            told(format!("pieces of {piece}"), &Self::after(&mut self.session(&pools.0[1], piece), tokens));
        }
        let middle = tokens.len() * 2 / 3;
        let mut first = self.session(one, 512);
        first.feed(&tokens[..middle], &mut |_| ()).unwrap();
        let path = folder.join("session");
        session_file::save(&first, serde_json::Value::Null, &path).unwrap();
        let options = crate::launch::options(256, self.kv, 16);
        let (model, pool) = (Arc::clone(&self.model), Arc::clone(&pools.0[2]));
        let (mut restored, _) = session_file::load(&path, model, pool, options).unwrap();
        told("from a file".to_owned(), &Self::after(&mut restored, &tokens[middle..]));
        // Another way is gone first; as much of the cache as is still of use is used.
        first.feed(&[1, 2, 3], &mut |_| ()).unwrap();
        for _ in 0..2 {
            let kept = first.reuse(tokens);
            told(format!("{kept} tokens found"), &Self::after(&mut first, &tokens[kept..]));
        }
        for threads in [1, 3] {
            told(format!("with others, {threads} threads"), &self.with_others(&pools.0[threads - 1]));
        }
    }

    /// In passes with two others, one of which shares its first pages.
    fn with_others(&self, pool: &Pool) -> Vec<u32> {
        let cancel = AtomicBool::new(false);
        let setting = PassSettings::new(&self.model, pool, &cancel);
        let (mut scratch, shape) = (Scratch::default(), Arc::new(CacheShape::new(&self.model.spec, self.kv)));
        let begun = self.tokens.len() / 3;
        let mut own = KvCache::new(Arc::clone(&shape));
        let span = Span { cache: &mut own, tokens: &self.tokens[..begun], want: Want::Nothing };
        forward(&setting, &mut scratch, &mut [span]).unwrap();
        let (mut fork, mut other) = (own.clone(), KvCache::new(shape));
        let mut last = Vec::new();
        let mut left = &self.tokens[begun..];
        for size in [1, 7, 2, usize::MAX] {
            let (now, rest) = left.split_at(size.min(left.len()));
            left = rest;
            if now.is_empty() {
                continue;
            }
            let mut spans = [
                Span { cache: &mut fork, tokens: &[3, 1], want: Want::Last },
                Span { cache: &mut own, tokens: now, want: Want::Last },
                Span { cache: &mut other, tokens: &self.tokens[..3], want: Want::Nothing },
            ];
            let logits = forward(&setting, &mut scratch, &mut spans).unwrap();
            last = bits(&logits[logits.len() / 2..]);
        }
        last
    }
}

/// The forms of a model: as it is, and with its matrices quantized, their rows in both layouts.
fn forms(row: &Row) -> Vec<(&'static str, Arc<Model>)> {
    let quantized = Gguf::from_bytes(Path::new(&row.name), &row.quantized()).unwrap();
    let interleaved = quantized.clone().interleaved(&|_| Ok(())).unwrap();
    let of = |gguf| Arc::new(Model::from_gguf(gguf).unwrap());
    vec![("plain", row.model()), ("quantized", of(quantized)), ("interleaved", of(interleaved))]
}

#[test]
fn every_way_gives_the_same_bits() {
    let all = std::env::var_os("TOKKI_TEST_BITS").is_some();
    let (pools, folder) = (Pools::new(), tempfile::tempdir().unwrap());
    let (mut compared, mut wrong) = (0, Vec::new());
    let rows: Vec<Row> = rows().into_iter().filter(|row| !row.vectors).collect();
    for (number, row) in rows.iter().enumerate() {
        if !all && !number.is_multiple_of(24) {
            continue;
        }
        let mut quantized = None;
        for (form, model) in forms(row) {
            if !model.spec.causal {
                continue;
            }
            for (which, &(kv, kind)) in KvKind::NAMES.iter().enumerate() {
                if !all && which != number / 24 % 3 {
                    continue;
                }
                let column = Column { model: Arc::clone(&model), kv, tokens: &row.tokens };
                let wanted = Column::after(&mut column.session(&pools.0[0], 512), &row.tokens);
                if form == "quantized" && kv == KvKind::F16 {
                    quantized = Some(wanted.clone());
                } else if form == "interleaved" && kv == KvKind::F16 && quantized.as_ref() != Some(&wanted) {
                    wrong.push(format!("{}: interleaved rows", row.name));
                }
                column.ways(&pools, folder.path(), &mut |way, got| {
                    compared += 1;
                    if got != wanted {
                        wrong.push(format!("{}, {form}, {kind} cache: {way}", row.name));
                    }
                });
            }
        }
    }
    assert!(compared > 100, "{compared} comparisons");
    eprintln!("{compared} comparisons of bits, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
