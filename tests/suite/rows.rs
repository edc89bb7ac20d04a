//! A tiny model of every architecture.
//!
//! `tests/fixtures/arch-all/rows.txt` has, for each model, `row NAME logits|embeddings TOLERANCE`, `tokens` (the ids that it
//! reads), `key`/`keys` (metadata), `f16`/`f32` (tensors with their shapes; the weights are drawn from a seed), and
//! `expect ROW STEP NUMBERS` (every STEP-th number of that row of the output). `scripts/arch_rows.py` writes it.

use std::path::Path;
use std::sync::Arc;

use tokki::internals::gguf::Gguf;
use tokki::internals::model::Model;
use tokki::testing::{Writer, drawn};

/// What the seed of the expected numbers is.
const SEED: u64 = 1;

/// A model.
#[derive(Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Whether vectors come out, or logits.
    pub vectors: bool,
    /// How far the numbers may be off.
    pub tolerance: f64,
    /// What it reads.
    pub tokens: Vec<u32>,
    keys: Vec<Vec<String>>,
    /// Whether in half precision, name, shape.
    pub tensors: Vec<(bool, String, Vec<u64>)>,
    /// Row, step, numbers.
    pub expected: Vec<(usize, usize, Vec<f32>)>,
}

fn numbers<T: std::str::FromStr>(words: &[&str]) -> Vec<T> {
    words.iter().map(|word| word.parse().ok().unwrap_or_else(|| panic!("{word} is no number"))).collect()
}

/// All rows.
pub fn rows() -> Vec<Row> {
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
    /// Its architecture.
    pub fn arch(&self) -> &str {
        &self.keys.iter().find(|key| key[1] == "general.architecture").unwrap()[3]
    }

    /// The file, with the weights of the reference.
    pub fn writer(&self) -> Writer {
        self.filled(|name, shape| drawn(SEED, self.arch(), name, shape))
    }

    /// The file, with these weights.
    pub fn filled(&self, values: impl Fn(&str, &[u64]) -> Vec<f32>) -> Writer {
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
            let values = values(name, shape);
            writer = match half {
                true => writer.tensor_f16(name, shape, &values),
                false => writer.tensor_f32(name, shape, &values),
            };
        }
        writer
    }

    /// The model.
    /// The same with its matrices in Q8_0, where their rows are whole blocks.
    pub fn quantized(&self) -> Vec<u8> {
        let mut writer = self.writer();
        for (tensor, (_, name, shape)) in writer.tensors.iter_mut().zip(&self.tensors) {
            if shape.len() > 1 && shape[0].is_multiple_of(32) {
                let values = drawn(SEED, self.arch(), name, shape);
                *tensor = Writer::new("").tensor_q8_0(name, shape, &values).tensors.remove(0);
            }
        }
        writer.bytes()
    }

    pub fn model(&self) -> Arc<Model> {
        let gguf = Gguf::from_bytes(Path::new(&self.name), &self.writer().bytes()).unwrap();
        Arc::new(Model::from_gguf(gguf).unwrap_or_else(|error| panic!("{}: {error}", self.name)))
    }
}
