//! The matrix of malformed models: every key and every tensor of a tiny model of every architecture, wrong in every way. Each
//! is refused with exit code 2 and a message that names what is wrong, or does no harm; none takes long, and none panics.
//!
//! The suite takes a part of the matrix, another one of each row; `TOKKI_TEST_MATRIX=all` takes all of it.

use crate::rows::{Row, rows};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokki::engine::{Embedder, Session};
use tokki::internals::Description;
use tokki::internals::gguf::Gguf;
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki::testing::{Writer, text};
use tokki_quant::attention::KvKind;

/// Every so many cases of the matrix are tried in the suite.
const STEP: usize = 61;

/// Told of each case: its name, words of which one has to be in the message, and what makes the good file a bad one.
type Visit<'a> = dyn FnMut(String, Vec<String>, &dyn Fn(&mut Writer)) + 'a;

/// Values that a key never has, by the number of their type.
fn values() -> Vec<(&'static str, u32, Vec<u8>)> {
    let float = |x: f32| x.to_le_bytes().to_vec();
    let array = |of: u32, count: u64, data: &[u8]| {
        let mut bytes = of.to_le_bytes().to_vec();
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(data);
        bytes
    };
    vec![
        ("zero", 4, 0u32.to_le_bytes().to_vec()),
        ("one", 4, 1u32.to_le_bytes().to_vec()),
        ("odd", 4, 7u32.to_le_bytes().to_vec()),
        ("a million", 4, 1_000_003u32.to_le_bytes().to_vec()),
        ("the largest 32-bit integer", 4, u32::MAX.to_le_bytes().to_vec()),
        ("the largest 64-bit integer", 10, u64::MAX.to_le_bytes().to_vec()),
        ("a negative integer", 5, (-3i32).to_le_bytes().to_vec()),
        ("not a number", 6, float(f32::NAN)),
        ("infinity", 6, float(f32::INFINITY)),
        ("a huge number", 6, float(3e38)),
        ("a tiny number", 6, float(1e-38)),
        ("a negative number", 6, float(-1.5)),
        ("a text", 8, text(b"seven")),
        ("no text", 8, text(b"\xff\xfe")),
        ("a boolean", 7, vec![1]),
        ("an empty array", 9, array(4, 0, &[])),
        ("a short array", 9, array(4, 1, &2u32.to_le_bytes())),
        ("an array of texts", 9, array(8, 1, &text(b"x"))),
    ]
}

/// The last part of a key's name, which a message about it has, or words that stand for it.
fn words_of(key: &str) -> Vec<String> {
    let name = key.split_once('.').map_or(key, |(_, rest)| rest);
    vec![name.to_owned(), "the model's dimensions".into(), "tensor ".into(), "key ".into()]
}

/// The keys of a row, made wrong.
fn keys(row: &Row, good: &Writer, visit: &mut Visit<'_>) {
    let prefix = format!("{}.", row.arch());
    for (index, (name, ..)) in good.keys.iter().enumerate() {
        let key = String::from_utf8_lossy(name).into_owned();
        if !key.starts_with(&prefix) {
            continue;
        }
        let mut add = |what: &str, change: &dyn Fn(&mut Writer)| {
            visit(format!("{}: {key} {what}", row.name), words_of(&key), change);
        };
        add("is missing", &|writer| drop(writer.keys.remove(index)));
        add("is there twice", &|writer| writer.keys.push(writer.keys[index].clone()));
        add("is of no type", &|writer| writer.keys[index].1 = 77);
        for (what, kind, value) in values() {
            add(&format!("is {what}"), &|writer| (writer.keys[index].1, writer.keys[index].2) = (kind, value.clone()));
        }
    }
}

/// The tensors of a row, made wrong: of each name one, whatever its layer.
fn tensors(row: &Row, good: &Writer, visit: &mut Visit<'_>) {
    let mut seen = BTreeSet::new();
    for (index, tensor) in good.tensors.iter().enumerate() {
        let name = String::from_utf8_lossy(&tensor.name).into_owned();
        let general: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
        if !seen.insert(general) {
            continue;
        }
        let mut add = |what: &str, change: &dyn Fn(&mut Writer)| {
            let words = ["tensor", "key ", "token_embd", "the model's dimensions"].map(String::from).to_vec();
            visit(format!("{}: {name} {what}", row.name), words, change);
        };
        let shape = |change: fn(&mut Vec<u64>)| move |writer: &mut Writer| change(&mut writer.tensors[index].shape);
        add("is missing", &|writer| drop(writer.tensors.remove(index)));
        add("is there twice", &|writer| writer.tensors.push(writer.tensors[index].clone()));
        add("has a row too many", &shape(|shape| *shape.last_mut().unwrap() += 1));
        add("has a row too few", &shape(|shape| *shape.last_mut().unwrap() -= 1));
        add("is wider", &shape(|shape| shape[0] *= 2));
        add("is narrower", &shape(|shape| shape[0] /= 2));
        add("has no values", &shape(|shape| shape[0] = 0));
        add("has more values than there are", &shape(|shape| shape[0] = u64::MAX));
        add("has no dimensions", &shape(Vec::clear));
        add("has a dimension too many", &shape(|shape| shape.push(2)));
        add("has its dimensions reversed", &shape(|shape| shape.reverse()));
        add("has nine dimensions", &shape(|shape| shape.resize(9, 1)));
        add("is of no format", &|writer| writer.tensors[index].kind = 99);
        add("is of a format of blocks", &|writer| writer.tensors[index].kind = 12);
        add("lies nowhere", &|writer| writer.tensors[index].offset = Some(1 << 40));
        add("lies at the last place", &|writer| writer.tensors[index].offset = Some(u64::MAX));
        add("lies between two values", &|writer| writer.tensors[index].offset = Some(3));
        add("lies over another", &|writer| {
            writer.tensors[index].offset = Some(if index == 0 { 32 } else { 0 });
        });
        add("has another name", &|writer| writer.tensors[index].name.extend_from_slice(b"_of_another_model"));
        add("has a companion", &|writer| {
            let mut other = writer.tensors[index].clone();
            other.name = format!("{}_extra.weight", name.trim_end_matches(".weight")).into_bytes();
            writer.tensors.push(other);
        });
    }
}

/// The tensors that a row may have beside those that it has, of another shape.
fn beside(row: &Row, good: &Writer, visit: &mut Visit<'_>) {
    let gguf = Gguf::from_bytes(Path::new("good.gguf"), &good.bytes()).unwrap();
    let mut seen = BTreeSet::new();
    for tensor in tokki::internals::arch::spec(&gguf).unwrap().tensor_list() {
        let general: String = tensor.name.chars().filter(|c| !c.is_ascii_digit()).collect();
        if gguf.tensor(&tensor.name).is_some() || !seen.insert(general) {
            continue;
        }
        let words = [tensor.name.clone(), "tensor".into(), "key ".into()].to_vec();
        let add = |writer: &mut Writer| {
            let shape: Vec<u64> =
                [tensor.shape[0] + 1].into_iter().chain(tensor.shape[1..].iter().copied()).map(|n| n as u64).collect();
            let values = weights(&tensor.name, &shape);
            *writer = writer.clone().tensor_f32(&tensor.name, &shape, &values);
        };
        visit(format!("{}: {} has values too many", row.name, tensor.name), words, &add);
    }
}

/// Small numbers that are not all the same; ones for norms.
fn weights(name: &str, shape: &[u64]) -> Vec<f32> {
    let count: u64 = shape.iter().product();
    if name.contains("norm") && name.ends_with("weight") {
        return vec![1.0; count as usize];
    }
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 500.0).collect()
}

/// Opens, describes, binds and runs: what a command does with a file.
fn tried(bytes: &[u8], pool: &Arc<Pool>) -> tokki::error::Result<Description> {
    let gguf = Gguf::from_bytes(Path::new("malformed.gguf"), bytes)?;
    let described = Description::of(&gguf).unwrap();
    let model = Model::from_gguf(gguf);
    if let (Err(error), true) = (&model, described.runnable) {
        panic!("is said to be runnable, but: {error}");
    }
    let model = Arc::new(model?);
    let options = crate::launch::options(64, KvKind::F32, 8);
    let tokens = [1, 2, 3].map(|token| token.min(model.spec.vocab as u32 - 1));
    if matches!(model.spec.output, tokki::internals::arch::Output::Vectors) {
        let mut embedder = Embedder::new(model, Arc::clone(pool), options);
        embedder.embed(&tokens, &std::sync::atomic::AtomicBool::new(false))?;
    } else {
        Session::new(model, Arc::clone(pool), options).feed(&tokens, &mut |_| ())?;
    }
    Ok(described)
}

fn check(case: &str, words: &[String], bytes: &[u8], pool: &Arc<Pool>) -> Option<String> {
    let start = Instant::now();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tried(bytes, pool)));
    let Ok(outcome) = outcome else { return Some(format!("{case}: a panic")) };
    let took = start.elapsed();
    if took > Duration::from_secs(2) {
        return Some(format!("{}: {took:?}", case));
    }
    let error = match outcome {
        Ok(described) if described.runnable => return None,
        Ok(described) => return Some(format!("{}: runs, though {:?}", case, described.problems)),
        Err(error) => error,
    };
    let message = error.to_string();
    let named = words.iter().any(|word| message.contains(word.as_str()));
    // Vectors that are no numbers, and a position table that is too short, are found when it runs.
    let late = message.contains("no numbers") || message.contains("context is full");
    let fine = (error.exit_code() == 2 && named && message.len() < 4096) || late;
    (!fine).then(|| format!("{}: exit {}: {message}", case, error.exit_code()))
}

#[test]
fn every_architecture_refuses_what_is_malformed() {
    let step = if std::env::var("TOKKI_TEST_MATRIX").is_ok_and(|part| part == "all") { 1 } else { STEP };
    let pool = Arc::new(Pool::new(1).unwrap());
    let (mut turn, mut count, mut wrong) = (0, 0, Vec::new());
    for row in rows() {
        let good = row.filled(weights);
        // Weights that were not trained may lead anywhere, but not to a refusal.
        match tried(&good.bytes(), &pool) {
            Ok(described) => assert!(described.runnable, "{}: {:?}", row.name, described.problems),
            Err(error) => assert!(error.to_string().contains("no numbers"), "{}: {error}", row.name),
        }
        let mut visit = |name: String, words: Vec<String>, change: &dyn Fn(&mut Writer)| {
            turn += 1;
            if turn % step == 0 {
                let mut writer = good.clone();
                change(&mut writer);
                count += 1;
                wrong.extend(check(&name, &words, &writer.bytes(), &pool));
            }
        };
        keys(&row, &good, &mut visit);
        tensors(&row, &good, &mut visit);
        beside(&row, &good, &mut visit);
    }
    eprintln!("{count} malformed models, {} not refused as they should be", wrong.len());
    assert!(count >= 400, "only {count} cases");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}
