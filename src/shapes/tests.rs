#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use super::planned_tensor::PlannedTensor;
use super::shape::Shape;
use super::write::write;
use super::*;
use crate::gguf::{DType, Gguf};

/// Parameter counts in 10^9 and sizes in 10^9 bytes (biases and norms of branches aside) under q2_k, q3_k_m, iq4_xs, q4_k_s, q4_k_m, q5_k_m, q6_k, q8_0.
const SIZES: [(&str, f64, [f64; 8]); 7] = [
    ("exaone-deep-32b", 32.003, [11.92, 15.49, 17.38, 18.28, 19.34, 22.69, 26.25, 34.01]),
    ("r1-distill-qwen-32b", 32.764, [12.31, 15.93, 17.86, 18.78, 19.84, 23.25, 26.88, 34.81]),
    ("qwen3-32b", 32.762, [12.34, 15.97, 17.85, 18.77, 19.76, 23.21, 26.88, 34.81]),
    ("hcx-seed-think-14b", 14.748, [5.72, 7.29, 8.13, 8.52, 8.91, 10.46, 12.10, 15.67]),
    ("llama3-8b", 8.030, [3.17, 4.01, 4.48, 4.68, 4.91, 5.73, 6.59, 8.53]),
    ("exaone-deep-7.8b", 7.818, [3.05, 3.88, 4.33, 4.54, 4.77, 5.57, 6.41, 8.31]),
    ("exaone-deep-2.4b", 2.405, [1.01, 1.24, 1.37, 1.43, 1.49, 1.73, 1.97, 2.56]),
];
const RECIPES: [&str; 8] = ["q2_k", "q3_k_m", "iq4_xs", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k", "q8_0"];

#[test]
fn sizes_are_the_published_ones() {
    for (name, parameters, sizes) in SIZES {
        for (recipe, size) in RECIPES.into_iter().zip(sizes) {
            let plan = Plan::parse(&format!("{name}:{recipe}")).unwrap();
            let counted =
                plan.tensors.iter().filter(|tensor| !tensor.name.ends_with(".bias") && !tensor.name.contains("post_"));
            let gigabytes = counted.map(PlannedTensor::bytes).sum::<u64>() as f64 / 1e9;
            let billions = plan.parameters() as f64 / 1e9;
            assert!((billions - parameters).abs() < 0.0006, "{name}: {billions} billion weights, wanted {parameters}");
            assert!((gigabytes - size).abs() <= 0.0051, "{name}:{recipe}: {gigabytes} GB, wanted {size}");
        }
    }
}

#[test]
fn every_shape_fits_every_recipe() {
    for shape in Shape::all() {
        for recipe in Recipe::all() {
            let plan = Plan::new(shape.clone(), recipe).unwrap();
            let names: HashSet<_> = plan.tensors.iter().map(|tensor| &tensor.name).collect();
            assert_eq!(names.len(), plan.tensors.len(), "{}: a name twice", plan.name());
            for tensor in &plan.tensors {
                let whole = tensor.shape[0].is_multiple_of(tensor.dtype.block_len());
                assert!(whole, "{}: {} {:?} as {:?}", plan.name(), tensor.name, tensor.shape, tensor.dtype);
            }
            assert!(plan.bytes_per_token() <= plan.weight_bytes());
        }
    }
}

#[test]
fn recipes_choose_as_the_quantizer_does() {
    let plan = Plan::parse("exaone-deep-32b:q4_k_m").unwrap();
    let better: Vec<usize> = (0..64)
        .filter(|i| {
            let name = format!("blk.{i}.ffn_down.weight");
            plan.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype == DType::Q6K
        })
        .collect();
    let wanted: Vec<usize> = (0..8).chain((10..=55).step_by(3)).chain(56..64).collect();
    assert_eq!(better, wanted);
    let dtype = |plan: &str, name: &str| {
        let plan = Plan::parse(plan).unwrap();
        plan.tensors.iter().find(|tensor| tensor.name == name).unwrap().dtype
    };
    // Rows of 128 do not divide into blocks of 256; a feed-forward of 24192 neither.
    assert_eq!(dtype("deepseek-r1:q4_k_m", "blk.9.attn_k_b.weight"), DType::Q5_0);
    assert_eq!(dtype("deepseek-r1:q6_k", "blk.9.attn_k_b.weight"), DType::Q8_0);
    assert_eq!(dtype("hcx-seed-think-32b:q4_k_m", "blk.21.ffn_down.weight"), DType::Q5_0);
    assert_eq!(dtype("gpt-oss-20b:mxfp4", "blk.9.ffn_up_exps.weight"), DType::MXFP4);
    assert_eq!(dtype("gpt-oss-20b:mxfp4", "blk.9.attn_q.weight"), DType::Q8_0);
    assert_eq!(dtype("exaone-deep-2.4b:q4_k_m", "token_embd.weight"), DType::Q6K);
    assert_eq!(dtype("r1-distill-llama-70b:q4_k_m", "blk.10.attn_v.weight"), DType::Q5K);
}

#[test]
fn costs_per_token() {
    let plan = Plan::parse("exaone-deep-32b:q4_k_m").unwrap();
    assert_eq!(plan.shape.kv_values_per_token() * 2, 256 * 1024);
    let r1 = Plan::parse("deepseek-r1:q4_k_m").unwrap();
    assert_eq!(r1.shape.kv_values_per_token(), 61 * 576);
    assert!((r1.parameters() as f64 / 1e9 - 671.0).abs() < 1.0, "{}", r1.parameters());
    assert!(r1.bytes_per_token() < r1.weight_bytes() / 15);
}

#[test]
fn unknown_names_list_what_there_is() {
    let error = Plan::parse("llama9-8b").unwrap_err().to_string();
    assert!(error.contains("llama9-8b") && error.contains("exaone-deep-32b"), "{error}");
    let error = Plan::parse("llama3-8b:q9").unwrap_err().to_string();
    assert!(error.contains("q9") && error.contains("iq4_xs"), "{error}");
    assert!(Plan::is_shape("llama3-8b:q9") && !Plan::is_shape("models/llama3-8b.gguf"));
}

/// A shape that takes no time to write.
fn small(name: &str) -> Shape {
    let mut shape = Shape::by_name(name).unwrap().with_layers(2);
    (shape.embd, shape.ffn, shape.vocab, shape.heads, shape.kv_heads) = (256, 512, 300, 4, shape.kv_heads.min(2));
    if let Some(experts) = &mut shape.experts {
        (experts.count, experts.used, experts.width, experts.groups) = (4, 2, 256, None);
        experts.dense_layers = experts.dense_layers.min(1);
    }
    shape
}

#[test]
fn files_open_and_hold_what_was_planned() {
    let folder = tempfile::tempdir().unwrap();
    for (number, recipe) in Recipe::all().enumerate() {
        let shape = small(Shape::all()[number % Shape::all().len()].name);
        let plan = Plan::new(shape, recipe).unwrap();
        let path = folder.path().join("model.gguf");
        let mut last = (0, 1);
        let size = write(&plan, &path, &mut |done, total| {
            last = (done, total);
            Ok(())
        })
        .unwrap();
        assert_eq!(last, (size, size));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        let file = Gguf::open(&path).unwrap();
        assert_eq!(file.arch().unwrap(), plan.shape.arch);
        assert_eq!(file.tensors().count(), plan.tensors.len());
        for tensor in &plan.tensors {
            let view = file.view(&tensor.name).unwrap();
            assert_eq!(view.bytes().len() as u64, tensor.bytes(), "{}", tensor.name);
        }
    }
}

#[test]
fn every_shape_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    for shape in Shape::all() {
        let plan = Plan::new(small(shape.name), Recipe::by_name("q8_0").unwrap()).unwrap();
        let file = temporary(&plan, folder.path(), &mut |_, _| Ok(())).unwrap();
        let spec = crate::arch::spec(&Gguf::open(file.path()).unwrap()).unwrap();
        assert_eq!((spec.embd, spec.layers.len(), spec.vocab), (256, 2, 300), "{}", shape.name);
    }
}

#[test]
fn the_same_plan_gives_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(small("exaone-deep-2.4b"), Recipe::by_name("q4_k_m").unwrap()).unwrap();
    let first = temporary(&plan, folder.path(), &mut |_, _| Ok(())).unwrap();
    let second = temporary(&plan, folder.path(), &mut |_, _| Ok(())).unwrap();
    assert_eq!(std::fs::read(first.path()).unwrap(), std::fs::read(second.path()).unwrap());
    let path = first.path().to_path_buf();
    drop(first);
    assert!(!path.exists());
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let plan = Plan::new(small("llama3-8b"), Recipe::by_name("q8_0").unwrap()).unwrap();
    let error = write(&plan, std::path::Path::new("/nonexistent/model.gguf"), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.exit_code(), 1);
}
