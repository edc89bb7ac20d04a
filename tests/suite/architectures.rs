//! Every architecture against an independent implementation: the tiny models of `tests/fixtures/arch` and the logits
//! that `scripts/reference.py` computed for them (and the models of `$TOKKI_TEST_ORACLES/arch`, where they are).

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Normalized mean squared error that f32 arithmetic with an f32 cache stays under.
const FLOAT_LIMIT: f64 = 1e-7;
/// The same for quantized matrices: a rounding of an activation that falls the other way is worth one part in 127 of it.
const INT8_LIMIT: f64 = 2e-5;

/// One row of an `index.json`.
#[derive(Debug, Deserialize)]
struct Entry {
    model: String,
    logits: String,
    tokens: Vec<u32>,
    /// Rows and columns of `logits`.
    shape: [usize; 2],
    /// The positions whose logits are kept; all, where it is missing.
    positions: Option<Vec<usize>>,
    /// The tokens that follow when the most likely one is taken each time.
    #[serde(default)]
    greedy: Vec<u32>,
    ctx: Option<usize>,
    /// Some matrix is quantized.
    #[serde(default)]
    int8: bool,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch")
}

fn index(folder: &Path) -> Vec<Entry> {
    serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap()
}

fn read_f32(path: &Path) -> Vec<f32> {
    std::fs::read(path).unwrap().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The logits of all of `tokens` as the command gives them, `[tokens][vocabulary]`.
fn logits(folder: &Path, entry: &Entry, tokens: &[u32], more: &[&str]) -> Result<Vec<f32>, String> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let list = tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut command = crate::launch::tokki();
    command.arg("logits").arg(folder.join(&entry.model)).args(["--tokens", &list, "--kv-type", "f32"]);
    command.arg("--output").arg(out.path()).args(more);
    if let Some(ctx) = entry.ctx {
        command.args(["--ctx", &ctx.to_string()]);
    }
    let run = command.output().unwrap();
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).trim().to_string());
    }
    let values = read_f32(out.path());
    let wanted = tokens.len() * entry.shape[1];
    if values.len() == wanted { Ok(values) } else { Err(format!("{} logits, wanted {wanted}", values.len())) }
}

/// `sum (got - want)^2 / sum want^2`.
fn nmse(got: &[f32], want: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let off: f64 = got.iter().zip(want).map(|(&g, &w)| square(f64::from(g) - f64::from(w))).sum();
    off / want.iter().map(|&w| square(f64::from(w))).sum::<f64>()
}

fn most_likely(row: &[f32]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.unwrap().0 as u32
}

/// Compares one model; an error says how it differs.
fn compare(folder: &Path, entry: &Entry) -> Result<f64, String> {
    let [rows, vocab] = entry.shape;
    let mut tokens = entry.tokens.clone();
    tokens.extend(entry.greedy.iter().take(entry.greedy.len().saturating_sub(1)));
    let got = logits(folder, entry, &tokens, &["--threads", "2"])?;
    let row = |position: usize| &got[position * vocab..(position + 1) * vocab];
    let want = read_f32(&folder.join(&entry.logits));
    assert_eq!(want.len(), rows * vocab, "{}: the file does not fit the index", entry.logits);
    let positions = entry.positions.clone().unwrap_or_else(|| (0..entry.tokens.len()).collect());
    let kept: Vec<f32> = positions.iter().flat_map(|&position| row(position).to_vec()).collect();
    let error = nmse(&kept, &want);
    let limit = if entry.int8 { INT8_LIMIT } else { FLOAT_LIMIT };
    if error.is_nan() || error > limit {
        return Err(format!("error {error:.2e}, more than {limit:.0e}"));
    }
    let last = entry.tokens.len() - 1;
    let greedy: Vec<u32> = (0..entry.greedy.len()).map(|i| most_likely(row(last + i))).collect();
    if greedy != entry.greedy {
        return Err(format!("goes on with {greedy:?}, wanted {:?}", entry.greedy));
    }
    Ok(error)
}

fn compare_all(folder: &Path) {
    let mut wrong = Vec::new();
    for entry in index(folder) {
        match compare(folder, &entry) {
            Ok(error) => eprintln!("{:28} {error:.2e}", entry.model),
            Err(why) => wrong.push(format!("{}: {why}", entry.model)),
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", folder.display(), wrong.join("\n"));
}

#[test]
fn fixtures_match_the_reference() {
    compare_all(&fixtures());
}

#[test]
fn oracles_match() {
    let Some(folder) = std::env::var_os("TOKKI_TEST_ORACLES").map(|root| PathBuf::from(root).join("arch")) else {
        eprintln!("skipped: TOKKI_TEST_ORACLES does not say where a folder with arch/index.json is");
        return;
    };
    compare_all(&folder);
}

/// The bits may not depend on how many threads share the work.
#[test]
fn one_thread_and_three_give_the_same_bits() {
    for entry in index(&fixtures()) {
        let bits = |threads| {
            let values = logits(&fixtures(), &entry, &entry.tokens, &["--threads", threads]).unwrap();
            values.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits("1"), bits("3"), "{}", entry.model);
    }
}

/// The other form of latent attention is further from the reference by the rounding of keys and values to f16.
#[test]
fn expanded_latents_match_the_reference() {
    let entries: Vec<Entry> = index(&fixtures()).into_iter().filter(|e| e.model.starts_with("deepseek2")).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let got = logits(&fixtures(), &entry, &entry.tokens, &["--latent-prefill", "expanded"]).unwrap();
        let want = read_f32(&fixtures().join(&entry.logits));
        let positions = entry.positions.clone().unwrap_or_else(|| (0..entry.tokens.len()).collect());
        let vocab = entry.shape[1];
        let kept: Vec<f32> = positions.iter().flat_map(|&at| got[at * vocab..][..vocab].to_vec()).collect();
        let error = nmse(&kept, &want);
        eprintln!("{:28} {error:.2e}", entry.model);
        assert!(error < 1e-5, "{}: {error:.2e}", entry.model);
    }
}
