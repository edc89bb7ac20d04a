//! What quantized arithmetic costs on real models: the divergence from the logits of the same weights in plain f32
//! arithmetic. Runs where the models and `$TOKKI_TEST_ORACLES/real` are: `index.json` (per model: tokens, positions, and the
//! divergence that another engine's quantized arithmetic has there) and `MODEL.logits.npy` (float16, one row per position).

use std::path::{Path, PathBuf};

use half::f16;
use serde::Deserialize;

/// How much more than the other engine's divergence is still chance: it is a mean over few positions.
const SLACK: f64 = 1.5;

#[derive(Deserialize)]
struct Entry {
    model: String,
    tokens: Vec<u32>,
    positions: Vec<usize>,
    llama_cpp: Bar,
}

#[derive(Deserialize)]
struct Bar {
    mean_kld_at_positions: f64,
}

fn models() -> Option<PathBuf> {
    let folder = std::env::var_os("TOKKI_TEST_MODELS")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/tokki-dev/models")))?;
    folder.is_dir().then_some(folder)
}

/// The rows of a two-dimensional `.npy` of little-endian float16.
fn read_npy(path: &Path, rows: usize) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let is_f16 = String::from_utf8_lossy(&bytes[10..start]).contains("<f2");
    assert!(bytes.starts_with(b"\x93NUMPY\x01") && is_f16, "an array of f16");
    let values: Vec<f64> = bytes[start..].chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect();
    values.chunks_exact(values.len() / rows).map(<[f64]>::to_vec).collect()
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - top).exp()).sum();
    logits.iter().map(|x| x - top - sum.ln()).collect()
}

fn divergence(base: &[f64], model: &[f64]) -> f64 {
    let (base, model) = (log_softmax(base), log_softmax(model));
    base.iter().zip(&model).map(|(b, m)| b.exp() * (b - m)).sum()
}

fn logits(model: &Path, tokens: &[u32], vocab: usize) -> Vec<Vec<f64>> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let list = tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut command = crate::launch::tokki();
    command.arg("logits").arg(model).args(["--tokens", &list, "--kv-type", "f16", "--output"]).arg(out.path());
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let bytes = std::fs::read(out.path()).unwrap();
    let values: Vec<f64> =
        bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
    values.chunks_exact(vocab).map(<[f64]>::to_vec).collect()
}

#[test]
fn real_models_stay_close_to_f32_arithmetic() {
    let (Some(models), Some(oracles)) = (models(), std::env::var_os("TOKKI_TEST_ORACLES")) else {
        eprintln!("skipped: set TOKKI_TEST_MODELS and TOKKI_TEST_ORACLES to where models and their logits are");
        return;
    };
    let oracles = PathBuf::from(oracles).join("real");
    let index: Vec<Entry> = serde_json::from_slice(&std::fs::read(oracles.join("index.json")).unwrap()).unwrap();
    let mut far = Vec::new();
    for entry in index {
        let path = models.join(&entry.model);
        if !path.is_file() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let name = format!("{}.logits.npy", entry.model.trim_end_matches(".gguf"));
        let want = read_npy(&oracles.join(name), entry.positions.len());
        let got = logits(&path, &entry.tokens, want[0].len());
        let sum: f64 = entry.positions.iter().zip(&want).map(|(&at, want)| divergence(want, &got[at])).sum();
        let (mean, bar) = (sum / entry.positions.len() as f64, entry.llama_cpp.mean_kld_at_positions);
        eprintln!("{:28} divergence {mean:.5}, the other engine's {bar:.5}", entry.model);
        if mean.is_nan() || mean > SLACK * bar {
            far.push(format!("{}: {mean:.5}, at most {:.5}", entry.model, SLACK * bar));
        }
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}
