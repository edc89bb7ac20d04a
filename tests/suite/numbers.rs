//! Formats whose weights are numbers of their own, and small tensors of integers and of double precision.

use crate::home::{Home, told};
use std::path::Path;
use std::sync::Arc;

use tokki::engine::Session;
use tokki::internals::gguf::Gguf;
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki::testing::{Writer, tiny};
use tokki_quant::attention::KvKind;
use tokki_quant::dtype::DType;
use tokki_quant::matrix::Matrix;
use tokki_quant::testing::{Rng, weights};

fn logits(writer: &Writer, batch: usize) -> Vec<u32> {
    let gguf = Gguf::from_bytes(Path::new("numbers"), &writer.bytes()).unwrap();
    let model = Arc::new(Model::from_gguf(gguf).unwrap());
    let options = crate::launch::options(64, KvKind::F32, batch);
    let mut session = Session::new(model, Arc::new(Pool::new(2).unwrap()), options);
    let (tokens, mut bits): (Vec<u32>, _) = ((0..40).map(|i| i * 7 % 250).collect(), Vec::new());
    session
        .feed_all(&tokens, &mut |_, logits| {
            bits.extend(logits.iter().map(|x| x.to_bits()));
            Ok(())
        })
        .unwrap();
    bits
}

/// The values as F32.
fn decoded(dtype: DType, shape: &[u64], bytes: &[u8]) -> Vec<f32> {
    let (cols, rows) = (shape[0] as usize, shape[1] as usize);
    let matrix = Matrix::new(dtype, rows, cols, bytes).unwrap();
    let mut values = vec![0.0; rows * cols];
    values.chunks_mut(cols).enumerate().for_each(|(r, row)| matrix.decode_row(r, row));
    values
}

/// The same model twice: its matrices in NVFP4 with their factors, and what they stand for in F32.
#[test]
fn nvfp4_computes_what_it_stands_for() {
    let mut rng = Rng::new(3);
    let mut packed = tiny("llama", 5).unwrap().tensor_f32("output.weight", &[64, 260], &[0.0; 64 * 260]);
    let mut plain = packed.clone();
    let mut factors = Vec::new();
    for (packed, plain) in packed.tensors.iter_mut().zip(&mut plain.tensors) {
        let [cols, rows] = packed.shape[..] else { continue };
        if !cols.is_multiple_of(64) {
            continue;
        }
        let bytes = weights(DType::NVFP4, rows as usize, cols as usize, &mut rng);
        plain.data =
            decoded(DType::NVFP4, &packed.shape, &bytes).iter().flat_map(|value| value.to_le_bytes()).collect();
        (packed.kind, packed.data) = (DType::NVFP4.gguf_id(), bytes);
        let name = String::from_utf8(packed.name.clone()).unwrap();
        if let Some(name) = name.strip_suffix(".weight").filter(|name| name.starts_with("blk.") || *name == "output") {
            factors.push(name.to_owned());
        }
    }
    assert!(factors.iter().any(|name| name.ends_with("ffn_gate")) && factors.iter().any(|name| name == "output"));
    for (i, name) in factors.iter().enumerate() {
        for writer in [&mut packed, &mut plain] {
            let scale = 0.001 + 0.0001 * i as f32;
            *writer = writer.clone().tensor_f32(&format!("{name}.scale"), &[1], &[scale]);
            // What other engines quantize activations by.
            *writer = writer.clone().tensor_f32(&format!("{name}.input_scale"), &[1], &[3.0]);
        }
    }
    let wanted = logits(&plain, 512);
    assert!(wanted.iter().all(|&bits| f32::from_bits(bits).is_finite()));
    assert_eq!(wanted, logits(&packed, 512));
    assert_eq!(wanted, logits(&packed, 1), "token by token");
    let mut louder = packed.clone();
    louder.tensors.iter_mut().find(|t| t.name == b"output.scale").unwrap().data = 0.5f32.to_le_bytes().to_vec();
    assert_ne!(wanted, logits(&louder, 512), "the head's factor counts");
}

/// A factor belongs to the weights, not to the bias that is added to their product.
#[test]
fn factors_of_packed_weights_and_of_experts_leave_biases_alone() {
    for (name, packed, suffix) in [("llama", true, ""), ("gpt-oss", false, "_exps")] {
        let mut rng = Rng::new(4);
        let mut model = tiny(name, 5).unwrap();
        let mut folded = model.clone();
        let mut factors = Vec::new();
        for (tensor, folded) in model.tensors.iter_mut().zip(&mut folded.tensors) {
            let text = String::from_utf8(tensor.name.clone()).unwrap();
            let Some(stem) = text.strip_suffix(".weight") else { continue };
            if !["ffn_gate", "ffn_up", "ffn_down"].iter().any(|part| stem.ends_with(&format!("{part}{suffix}"))) {
                continue;
            }
            let (cols, rows) = (tensor.shape[0], tensor.shape[1]);
            let count = tensor.shape.get(2).copied().unwrap_or(1);
            if packed {
                if cols % 64 != 0 {
                    continue;
                }
                let bytes = weights(DType::NVFP4, rows as usize, cols as usize, &mut rng);
                folded.data =
                    decoded(DType::NVFP4, &tensor.shape, &bytes).iter().flat_map(|value| value.to_le_bytes()).collect();
                (tensor.kind, tensor.data) = (DType::NVFP4.gguf_id(), bytes);
            }
            // Powers of two change no bit of a product but its exponent.
            let scales: Vec<f32> = (0..count).map(|i| 2f32.powi(-6 - (i % 3) as i32)).collect();
            for (values, scale) in folded.data.chunks_exact_mut((cols * rows) as usize * 4).zip(&scales) {
                for value in values.chunks_exact_mut(4) {
                    let scaled = f32::from_le_bytes(value.try_into().unwrap()) * scale;
                    value.copy_from_slice(&scaled.to_le_bytes());
                }
            }
            factors.push((stem.to_owned(), rows, scales));
        }
        assert!(factors.len() >= 4, "{name}");
        for (stem, rows, scales) in &factors {
            model = model.tensor_f32(&format!("{stem}.scale"), &[scales.len() as u64], scales);
            let count = scales.len() as u64;
            let bias: Vec<f32> = (0..rows * count).map(|i| (i % rows) as f32 * 0.01 - 0.2).collect();
            let shape = if packed { &[*rows][..] } else { &[*rows, count] };
            model = model.tensor_f32(&format!("{stem}.bias"), shape, &bias);
            folded = folded.tensor_f32(&format!("{stem}.bias"), shape, &bias);
        }
        assert_eq!(logits(&folded, 512), logits(&model, 512), "{name}");
    }
}

/// Norms may be integers, or of double precision.
#[test]
fn small_tensors_are_read_in_any_format_of_numbers() {
    let model = tiny("llama", 6).unwrap();
    let with = |kind: u32, number: &dyn Fn(usize) -> Vec<u8>| {
        let mut writer = model.clone();
        for tensor in writer.tensors.iter_mut().filter(|tensor| tensor.name.ends_with(b"norm.weight")) {
            let len = tensor.shape[0] as usize;
            (tensor.kind, tensor.data) = (kind, (0..len).flat_map(|i| number(i % 3 + 1)).collect());
        }
        logits(&writer, 512)
    };
    let wanted = with(0, &|i| (i as f32).to_le_bytes().into());
    assert_eq!(wanted, with(24, &|i| vec![i as u8]), "I8");
    assert_eq!(wanted, with(25, &|i| (i as i16).to_le_bytes().into()), "I16");
    assert_eq!(wanted, with(26, &|i| (i as i32).to_le_bytes().into()), "I32");
    assert_eq!(wanted, with(27, &|i| (i as i64).to_le_bytes().into()), "I64");
    assert_eq!(wanted, with(28, &|i| (i as f64).to_le_bytes().into()), "F64");

    let mut matrix = model.clone();
    let tensor = matrix.tensors.iter_mut().find(|tensor| tensor.name == b"blk.0.attn_q.weight").unwrap();
    (tensor.kind, tensor.data) = (24, vec![1; tensor.data.len() / 4]);
    let gguf = Gguf::from_bytes(Path::new("numbers"), &matrix.bytes()).unwrap();
    let refused = Model::from_gguf(gguf).err().unwrap().to_string();
    assert!(refused.contains("blk.0.attn_q.weight") && refused.contains("I8"), "{refused}");
}

/// What a model cannot do here is said with its reason, wherever it is met.
#[test]
fn limits_of_a_model_are_told_with_their_reason() {
    let home = Home::new();
    let path = home.path().join("model.gguf");
    let file = path.to_str().unwrap();
    let tokens: Vec<String> = (0..20).map(|i: u32| i.to_string()).collect();
    for arch in ["deepseek32", "glm-dsa", "minimax-m3"] {
        let model = tiny(arch, 1).unwrap();
        let model = if arch == "minimax-m3" {
            model.u32("minimax-m3.attention.indexer.block_size", 4).u32("minimax-m3.attention.indexer.top_k", 2)
        } else {
            model.u32(&format!("{arch}.attention.indexer.top_k"), 8)
        };
        std::fs::write(&path, model.bytes()).unwrap();
        for context in [&[][..], &["--ctx", "40"]] {
            let mut args = vec!["logits", file, "--tokens"];
            let list = tokens.join(",");
            args.extend([list.as_str(), "--output", "-"]);
            args.extend(context);
            let (code, _, said) = told(&home.run(&args));
            assert!(code == Some(2) && said.contains("indexer") && said.contains("20"), "{arch}: {said}");
        }
        let (code, said, _) = told(&home.run(&["plan", file, "--ctx", "64"]));
        assert!(code == Some(0) && said.contains("end at 8 tokens"), "{arch}: {said}");
        assert!(!said.lines().any(|line| line.starts_with("64 ")), "{arch}: {said}");
    }
    // A model of vectors predicts no token.
    let rows = crate::rows::rows();
    let row = rows.iter().find(|row| row.name == "bert-mean-dense").unwrap();
    std::fs::write(&path, row.writer().bytes()).unwrap();
    let text = home.path().join("words");
    std::fs::write(&text, "word ".repeat(300)).unwrap();
    for args in [
        &["logits", file, "--tokens", "1,2", "--output", "-"][..],
        &["perplexity", file, "--file", text.to_str().unwrap()],
    ] {
        let (code, _, said) = told(&home.run(args));
        assert!(code == Some(2) && said.contains("tokki embed"), "{args:?}: {said}");
    }
    let (code, said, _) = told(&home.run(&["bench", file, "-p", "8", "-n", "4", "-r", "1"]));
    assert!(code == Some(0) && said.contains("decode   skipped"), "{said}");
    let (code, said, _) = told(&home.run(&["plan", file]));
    assert!(code == Some(0) && said.contains("prefill about") && !said.to_lowercase().contains("decode"), "{said}");
    // What a file holds for images and sounds is left out, and said.
    let seeing = ["v.patch_embd.weight", "mm.0.weight", "a.blk.0.ln1.weight"]
        .iter()
        .fold(tiny("qwen3", 1).unwrap(), |model, name| model.tensor_f32(name, &[4, 4], &[0.5; 16]));
    std::fs::write(&path, seeing.bytes()).unwrap();
    let (code, said, _) = told(&home.run(&["show", file]));
    assert!(code == Some(0) && said.contains("3 tensors for images") && said.contains("can be run"), "{said}");
    let out = home.path().join("logits");
    assert_eq!(told(&home.run(&["logits", file, "--tokens", "1,2", "--output", out.to_str().unwrap()])).0, Some(0));
    let mut short = tiny("llama", 1).unwrap();
    for tensor in short.tensors.iter_mut().filter(|t| t.name == b"token_embd.weight" || t.name == b"output.weight") {
        tensor.shape[1] = 100;
        tensor.data.truncate(tensor.shape[0] as usize * 100 * 4);
    }
    std::fs::write(&path, short.bytes()).unwrap();
    let text = home.path().join("text");
    std::fs::write(&text, "hi".repeat(500)).unwrap();
    for args in [
        &["embed", file][..],
        &["embed", file, "--tokens", "1"],
        &["perplexity", file, "--file", text.to_str().unwrap()],
        &["run", file, "--raw", "hi"],
        &["plan", file],
        &["bench", file, "-p", "4", "-n", "2"],
        &["logits", file, "--tokens", "1", "--output", out.to_str().unwrap()],
    ] {
        let (code, _, said) = told(&home.run(args));
        assert!(code == Some(2) && said.contains("model.gguf"), "{args:?}: {said}");
        assert!(said.contains("one for each token"), "{args:?}: {said}");
    }
    let (_, said, _) = told(&home.run(&["show", file]));
    assert!(said.contains("cannot be run") && said.contains("one for each token"), "{said}");
}
