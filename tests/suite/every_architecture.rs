//! A tiny model of every architecture against the numbers of an independent implementation.

use crate::launch::options;
use crate::rows::{Row, rows};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokki::engine::{Embedder, Session, session_file};
use tokki::internals::CacheShape;
use tokki::internals::arch::{ARCHITECTURES, Pooling};
use tokki::internals::gguf::{Gguf, RowLayout};
use tokki::internals::model::{Model, Stack};
use tokki::internals::parallel::Pool;
use tokki_quant::attention::KvKind;
use tokki_quant::dtype::DType;

fn pool(threads: usize) -> Arc<Pool> {
    Arc::new(Pool::new(threads).unwrap())
}

/// All rows of the output, one after the other.
fn output(row: &Row, model: &Arc<Model>, pool: &Arc<Pool>, batch: usize) -> Vec<f32> {
    if row.vectors {
        let mut embedder = Embedder::new(Arc::clone(model), Arc::clone(pool), options(256, KvKind::F32, batch));
        return embedder.embed(&row.tokens, &AtomicBool::new(false)).unwrap();
    }
    let mut all = Vec::new();
    let mut session = Session::new(Arc::clone(model), Arc::clone(pool), options(256, KvKind::F32, batch));
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

/// What a plan says of memory holds: no pass has more in its buffers than is counted.
#[test]
fn no_buffer_of_a_pass_is_forgotten() {
    let (pool, mut more) = (pool(1), Vec::new());
    for row in rows().iter().filter(|row| !row.vectors) {
        let n = row.tokens.len();
        let mut session = Session::new(row.model(), Arc::clone(&pool), options(256, KvKind::F32, n));
        session.feed_all(&row.tokens, &mut |_, _| Ok(())).unwrap();
        let (held, counted) = session.buffers(n);
        assert!(held > 0);
        if held > counted {
            more.push(format!("{}: {held} of {counted}", row.name));
        }
    }
    assert!(more.is_empty(), "{more:?}");
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
    for row in &rows() {
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
        let session = || Session::new(Arc::clone(&model), Arc::clone(&pool), options(256, KvKind::F32, 16));
        let feed = |session: &mut Session, tokens: &[u32]| bits(session.feed(tokens, &mut |_| ()).unwrap());
        let mut whole = session();
        let wanted = feed(&mut whole, &row.tokens);

        let mut first = session();
        feed(&mut first, &row.tokens[..25]);
        let path = folder.path().join("session");
        session_file::save(&first, serde_json::Value::Null, &path).unwrap();
        let (mut restored, _) =
            session_file::load(&path, Arc::clone(&model), Arc::clone(&pool), options(256, KvKind::F32, 16)).unwrap();
        assert_eq!(restored.tokens(), &row.tokens[..25]);
        assert_eq!(feed(&mut restored, &row.tokens[25..]), wanted, "{}: restored", row.name);

        // The restored one, too, comes back to where the first prompt ended.
        let mut other = row.tokens.clone();
        other[26] ^= 1;
        assert_eq!(restored.reuse(&other), 25, "{}: a checkpoint is saved", row.name);
        assert_eq!(feed(&mut restored, &other[25..]), feed(&mut session(), &other), "{}: rewound after that", row.name);

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

/// A query is of the first type of tokens, the document of the second, as cross-encoders are trained.
#[test]
fn the_second_of_two_texts_has_a_type_of_its_own() {
    let rows = rows();
    let row = rows.iter().find(|row| row.name == "bert-mean-dense").unwrap();
    let model = || Arc::into_inner(row.model()).unwrap();
    let vectors = |model: Model, second_text: usize| {
        let mut embedder = Embedder::new(Arc::new(model), pool(2), options(256, KvKind::F32, 512));
        embedder.set_pooling(Pooling::None);
        embedder.embed_two(&row.tokens, second_text, &AtomicBool::new(false)).unwrap()
    };
    let types = model().token_types;
    assert_ne!(types[0], types[1]);
    let only = |types: &[Vec<f32>]| Model { token_types: types.to_vec(), ..model() };
    assert_eq!(vectors(model(), usize::MAX), vectors(only(&types[..1]), usize::MAX), "one text is of the first type");
    assert_eq!(vectors(model(), 0), vectors(only(&types[1..]), 0), "a document alone is of the second");
    // The same sum from elsewhere: the positions of the document hold the difference of the types.
    let moved = model();
    let mut table = Vec::new();
    let positions = moved.positions.as_ref().unwrap();
    for at in 0..positions.rows() {
        let mut position = vec![0.0; positions.cols()];
        positions.matrix(0).decode_row(at, &mut position);
        let more = if at < 3 { &types[0] } else { &types[1] };
        table.extend(position.iter().zip(more).flat_map(|(position, more)| (position + more).to_le_bytes()));
    }
    let positions = Some(Stack::owned(DType::F32, table, 1, positions.rows(), positions.cols()).unwrap());
    let moved = vectors(Model { positions, token_types: Vec::new(), ..moved }, usize::MAX);
    let typed = vectors(model(), 3);
    let far = typed.iter().zip(&moved).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-4, "{far}");
}

/// Rerankers of jina-bert-v2 have one layer: its activated rows are the scores.
#[test]
fn a_classification_head_may_be_one_layer() {
    let mut rows = rows();
    let row = rows.iter_mut().find(|row| row.name == "bert-rank-dense").unwrap();
    row.tensors.retain(|(_, name, _)| !name.starts_with("cls.output."));
    for (half, name, shape) in &mut row.tensors {
        match name.as_str() {
            "cls.weight" => (*half, *shape) = (false, vec![256, 1]),
            "cls.bias" => *shape = vec![1],
            _ => {}
        }
    }
    let model = row.model();
    let head = model.classifier.as_ref().unwrap();
    let (weights, bias) = (head.dense.as_ref().unwrap(), head.dense.as_ref().unwrap().bias(0).unwrap()[0]);
    let mut line = vec![0.0; 256];
    weights.matrix(0).decode_row(0, &mut line);
    let mut embedder = Embedder::new(Arc::clone(&model), pool(2), options(256, KvKind::F32, 512));
    let score = embedder.embed(&row.tokens, &AtomicBool::new(false)).unwrap();
    embedder.set_pooling(Pooling::None);
    let first = embedder.embed(&row.tokens, &AtomicBool::new(false)).unwrap();
    let wanted = (first.iter().zip(&line).map(|(x, w)| x * w).sum::<f32>() + bias).tanh();
    assert!(score.len() == 1 && (score[0] - wanted).abs() < 1e-5, "{score:?} {wanted}");
}

/// Queries, keys and values in one tensor are the same rows, with the gates that stand among the queries.
#[test]
fn fused_projections_give_the_bits_of_split_ones() {
    let pool = pool(2);
    for name in ["qwen35-dense", "qwen3next-moe", "qwen3-dense", "kimi-linear-moe"] {
        let rows = rows();
        let row = rows.iter().find(|row| row.name == name).unwrap();
        let mut writer = row.writer();
        // Biases would be of some of the three only.
        writer
            .tensors
            .retain(|tensor| !tensor.name.ends_with(b".bias") || !tensor.name.windows(5).any(|n| n == b"attn_"));
        let split = model(name, &writer.bytes());
        let named = |writer: &tokki::testing::Writer, name: &str| {
            writer.tensors.iter().position(|tensor| tensor.name == name.as_bytes())
        };
        let mut fused = 0;
        for block in 0..split.spec.layers.len() {
            let part = |letter: &str| format!("blk.{block}.attn_{letter}.weight");
            // Latent attention has queries alone.
            let (Some(q), Some(_)) = (named(&writer, &part("q")), named(&writer, &part("k"))) else { continue };
            for letter in ["k", "v"] {
                let at = named(&writer, &part(letter)).unwrap();
                let more = writer.tensors.remove(at);
                let q = &mut writer.tensors[if at < q { q - 1 } else { q }];
                assert_eq!(q.kind, more.kind);
                q.shape[1] += more.shape[1];
                q.data.extend(more.data);
            }
            let q = named(&writer, &part("q")).unwrap();
            writer.tensors[q].name = part("qkv").into_bytes();
            fused += 1;
        }
        assert!(fused > 0, "{name}");
        let one = model(name, &writer.bytes());
        let bits =
            |model: &Arc<Model>| output(row, model, &pool, 512).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&one), bits(&split), "{name}");
    }
}

fn model(name: &str, bytes: &[u8]) -> Arc<Model> {
    let gguf = Gguf::from_bytes(Path::new(name), bytes).unwrap();
    Arc::new(Model::from_gguf(gguf).unwrap_or_else(|error| panic!("{name}: {error}")))
}
