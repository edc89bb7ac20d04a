//! A tiny model of every architecture against the numbers of an independent implementation.
//!
//! `tests/fixtures/arch-all/rows.txt` has, for each model, `row NAME logits|embeddings TOLERANCE`, `tokens` (the ids that it
//! reads), `key`/`keys` (metadata), `f16`/`f32` (tensors with their shapes; the weights are drawn from a seed), and
//! `expect ROW STEP NUMBERS` (every STEP-th number of that row of the output). `scripts/arch_rows.py` writes it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokki::arch::ARCHITECTURES;
use tokki::engine::{Embedder, Options, Session, saved};
use tokki::gguf::{Gguf, RowLayout};
use tokki::kv::CacheShape;
use tokki::model::Model;
use tokki::parallel::Pool;
use tokki::testing::{Writer, drawn};
use tokki_quant::attention::KvKind;

/// What the seed of the expected numbers is.
const SEED: u64 = 1;

#[derive(Default)]
struct Row {
    name: String,
    vectors: bool,
    tolerance: f64,
    tokens: Vec<u32>,
    keys: Vec<Vec<String>>,
    tensors: Vec<(bool, String, Vec<u64>)>,
    expected: Vec<(usize, usize, Vec<f32>)>,
}

fn numbers<T: std::str::FromStr>(words: &[&str]) -> Vec<T> {
    words.iter().map(|word| word.parse().ok().unwrap_or_else(|| panic!("{word} is no number"))).collect()
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch-all/rows.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "row" {
            let (name, vectors) = (words[1].to_owned(), words[2] == "embeddings");
            rows.push(Row { name, vectors, tolerance: words[3].parse().unwrap(), ..Row::default() });
            continue;
        }
        let row = rows.last_mut().unwrap();
        match words[0] {
            "tokens" => row.tokens = numbers(&words[1..]),
            "key" | "keys" => row.keys.push(words.iter().map(|&word| word.to_owned()).collect()),
            "expect" => row.expected.push((words[1].parse().unwrap(), words[2].parse().unwrap(), numbers(&words[3..]))),
            kind => row.tensors.push((kind == "f16", words[1].to_owned(), numbers(&words[2..]))),
        }
    }
    rows
}

impl Row {
    fn arch(&self) -> &str {
        &self.keys.iter().find(|key| key[1] == "general.architecture").unwrap()[3]
    }

    fn writer(&self) -> Writer {
        let mut writer = Writer::new(self.arch());
        for key in self.keys.iter().filter(|key| key[1] != "general.architecture") {
            let (name, values) = (key[1].as_str(), &key[3..]);
            let words: Vec<&str> = values.iter().map(String::as_str).collect();
            writer = match (key[0].as_str(), key[2].as_str()) {
                ("key", "u32" | "i32") => writer.u32(name, values[0].parse::<i64>().unwrap() as u32),
                ("key", "f32") => writer.f32(name, values[0].parse().unwrap()),
                ("key", "bool") => writer.bool(name, values[0] == "1"),
                ("key", _) => writer.text(name, &values.join(" ")),
                (_, "f32") => writer.f32s(name, &numbers::<f32>(&words)),
                (_, "bool") => writer.bools(name, &words.iter().map(|word| *word == "1").collect::<Vec<_>>()),
                (_, "str") => writer.texts(name, &words),
                _ => writer.i32s(name, &numbers::<i32>(&words)),
            };
        }
        for (half, name, shape) in &self.tensors {
            let values = drawn(SEED, self.arch(), name, shape);
            writer = match half {
                true => writer.tensor_f16(name, shape, &values),
                false => writer.tensor_f32(name, shape, &values),
            };
        }
        writer
    }

    /// The same with its matrices in Q8_0, where their rows are whole blocks.
    fn quantized(&self) -> Vec<u8> {
        let mut writer = self.writer();
        for (tensor, (_, name, shape)) in writer.tensors.iter_mut().zip(&self.tensors) {
            if shape.len() > 1 && shape[0].is_multiple_of(32) {
                let values = drawn(SEED, self.arch(), name, shape);
                *tensor = Writer::new("").tensor_q8_0(name, shape, &values).tensors.remove(0);
            }
        }
        writer.bytes()
    }

    fn model(&self) -> Arc<Model> {
        let gguf = Gguf::from_bytes(Path::new(&self.name), &self.writer().bytes()).unwrap();
        Arc::new(Model::from_gguf(gguf).unwrap_or_else(|error| panic!("{}: {error}", self.name)))
    }
}

fn options(batch: usize) -> Options {
    Options { context: 256, kv: KvKind::F32, batch, read_ahead: 0, expand_latents: false }
}

fn pool(threads: usize) -> Arc<Pool> {
    Arc::new(Pool::new(threads).unwrap())
}

/// All rows of the output, one after the other.
fn output(row: &Row, model: &Arc<Model>, pool: &Arc<Pool>, batch: usize) -> Vec<f32> {
    if row.vectors {
        let mut embedder = Embedder::new(Arc::clone(model), Arc::clone(pool), options(batch));
        return embedder.embed(&row.tokens, &AtomicBool::new(false)).unwrap();
    }
    let mut all = Vec::new();
    let mut session = Session::new(Arc::clone(model), Arc::clone(pool), options(batch));
    session
        .feed_all(&row.tokens, &mut |_, logits| {
            all.extend_from_slice(logits);
            Ok(())
        })
        .unwrap();
    all
}

/// How far the kept numbers are from the expected ones: `sum (got - want)^2 / sum want^2`.
fn error(row: &Row, model: &Model, output: &[f32]) -> f64 {
    let whole = if row.vectors { model.spec.embd } else { model.spec.vocab };
    let width = if output.len() < whole { output.len() } else { whole };
    let (mut off, mut all) = (0.0, 0.0);
    for (at, step, wanted) in &row.expected {
        for (got, want) in output[at * width..(at + 1) * width].iter().step_by(*step).zip(wanted) {
            off += (f64::from(*got) - f64::from(*want)).powi(2);
            all += f64::from(*want).powi(2);
        }
    }
    off / all
}

#[test]
fn every_row_matches_its_reference() {
    let pool = pool(2);
    let mut wrong = Vec::new();
    for row in rows() {
        let model = row.model();
        let error = error(&row, &model, &output(&row, &model, &pool, 512));
        // A few numbers vary more than all of them.
        if error.is_nan() || error > 10.0 * row.tolerance {
            wrong.push(format!("{}: {error:.1e}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_architecture_is_tried() {
    let mut tried: BTreeSet<String> = rows().iter().map(|row| row.arch().to_owned()).collect();
    // Other names, and families whose models are in `tests/fixtures/arch`; the vision families differ from their reference.
    for name in ["greenland", "hcx-seed-think", "hyperclovax", "malta", "solar", "qwen2vl", "qwen3vl", "qwen3vlmoe"] {
        tried.insert(name.to_owned());
    }
    let missing: Vec<_> = ARCHITECTURES.iter().map(|row| row.0).filter(|name| !tried.contains(*name)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Prompts in pieces of any size and on any number of threads give the same bits.
#[test]
fn pieces_and_threads_do_not_change_the_bits() {
    let (one, three) = (pool(1), pool(3));
    for row in rows().iter().filter(|row| !row.name.contains("-longrope")) {
        let model = row.model();
        let whole = output(row, &model, &one, 512);
        assert_eq!(bits(&whole), bits(&output(row, &model, &three, 512)), "{}: three threads", row.name);
        if model.spec.causal {
            assert_eq!(bits(&whole), bits(&output(row, &model, &one, 1)), "{}: token by token", row.name);
            assert_eq!(bits(&whole), bits(&output(row, &model, &one, 7)), "{}: pieces of 7", row.name);
        }
    }
}

/// What a model with a recurrent state keeps is saved, read again, and gone back from.
#[test]
fn recurrent_states_are_saved_and_rewound() {
    let pool = pool(2);
    let folder = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for row in rows().iter().filter(|row| !row.vectors) {
        let model = row.model();
        if CacheShape::new(&model.spec, KvKind::F32).state_len() == 0 {
            continue;
        }
        tried += 1;
        let session = || Session::new(Arc::clone(&model), Arc::clone(&pool), options(16));
        let feed = |session: &mut Session, tokens: &[u32]| bits(session.feed(tokens, &mut |_| ()).unwrap());
        let mut whole = session();
        let wanted = feed(&mut whole, &row.tokens);

        let mut first = session();
        feed(&mut first, &row.tokens[..25]);
        let path = folder.path().join("session");
        saved::save(&first, serde_json::Value::Null, &path).unwrap();
        let (mut restored, _) = saved::load(&path, Arc::clone(&model), Arc::clone(&pool), options(16)).unwrap();
        assert_eq!(restored.tokens(), &row.tokens[..25]);
        assert_eq!(feed(&mut restored, &row.tokens[25..]), wanted, "{}: restored", row.name);

        // Goes on otherwise, comes back to where the first prompt ended, and further back.
        feed(&mut first, &[1, 2, 3]);
        let kept = first.reuse(&row.tokens);
        assert_eq!(kept, 25, "{}: the end of the first prompt is a checkpoint", row.name);
        assert_eq!(feed(&mut first, &row.tokens[kept..]), wanted, "{}: rewound", row.name);
        let mut other = row.tokens.clone();
        other[10] ^= 1;
        let kept = first.reuse(&other);
        let got = feed(&mut first, &other[kept..]);
        assert_eq!(got, feed(&mut session(), &other), "{}: from another beginning", row.name);
    }
    assert!(tried >= 15, "{tried} models with a recurrent state");
}

#[test]
fn interleaved_rows_do_not_change_the_bits() {
    let (pool, mut arranged) = (pool(2), 0);
    for (number, row) in rows().iter().enumerate() {
        let plain = Gguf::from_bytes(Path::new(&row.name), &row.quantized()).unwrap();
        let other = plain.clone().interleaved(&|_| Ok(())).unwrap();
        arranged += usize::from(other.layout() == RowLayout::Interleaved);
        let run = |gguf, batch| {
            let model = Arc::new(Model::from_gguf(gguf).unwrap_or_else(|error| panic!("{}: {error}", row.name)));
            bits(&output(row, &model, &pool, batch))
        };
        let wanted = run(plain, 512);
        // Panels for most, products of a few columns for the others.
        let batch = if number % 4 == 0 { 3 } else { 512 };
        assert_eq!(wanted, run(other, batch), "{} in batches of {batch}", row.name);
    }
    assert!(arranged > 150, "{arranged} models have rows to interleave");
}
