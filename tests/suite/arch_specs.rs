//! The specification of every model file at hand accounts for each of its tensors, by name and shape.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokki::internals::arch;
use tokki::internals::gguf::Gguf;
use tokki::internals::model::Model;
use tokki::testing;

/// The GGUF files in a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ext| ext == "gguf")).collect()
}

/// Dimensions of 1 at the end are dropped by some writers.
fn trimmed(shape: &[u64]) -> &[u64] {
    &shape[..shape.iter().rposition(|&n| n != 1).map_or(1, |last| last + 1)]
}

fn accounts_for_every_tensor(path: &Path) {
    let gguf = Gguf::open(path).unwrap();
    let spec = arch::spec(&gguf).unwrap_or_else(|error| panic!("{error}"));
    let needed: BTreeMap<_, _> = spec.tensors().into_iter().collect();
    for (name, shape) in &needed {
        let found = gguf.tensor(name).unwrap_or_else(|| panic!("{}: {name} is missing", path.display()));
        let found: Vec<u64> = found.shape.iter().map(|&n| n as u64).collect();
        assert_eq!(trimmed(&found), trimmed(shape), "{}: {name}", path.display());
    }
    assert_eq!(arch::unused_tensors(&gguf, &spec), Vec::<String>::new(), "{}", path.display());
}

#[test]
fn fixtures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch");
    let files = files(&folder);
    assert!(files.len() >= 20, "only {} fixtures", files.len());
    let mut seen = Vec::new();
    for path in &files {
        accounts_for_every_tensor(path);
        seen.push(Gguf::open(path).unwrap().arch().unwrap().to_owned());
    }
    let families =
        ["deepseek2", "exaone", "exaone4", "exaone-moe", "gemma2", "gemma3", "glm4moe", "gpt-oss", "granite"];
    let more = ["granitemoe", "hyperclovax", "hcx-seed-think", "llama", "phi3", "qwen2", "qwen3", "qwen3moe", "solar"];
    for family in families.iter().chain(&more) {
        assert!(seen.iter().any(|arch| arch == family), "no fixture of {family}");
    }
}

#[test]
fn larger_files_outside_the_repository() {
    let Some(folder) = std::env::var_os("TOKKI_TEST_ORACLES") else {
        eprintln!("skipped: TOKKI_TEST_ORACLES names no folder of model files");
        return;
    };
    for path in files(&Path::new(&folder).join("arch")) {
        accounts_for_every_tensor(&path);
    }
}

#[test]
fn tiny_models_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    for arch in ["llama", "qwen3", "qwen3moe", "deepseek2", "gemma3", "gpt-oss", "exaone-moe", "solar"] {
        let path = folder.path().join(format!("{arch}.gguf"));
        let writer = testing::tiny(arch, 7).unwrap();
        writer.write(&path).unwrap();
        accounts_for_every_tensor(&path);
        Model::open(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(writer.bytes(), testing::tiny(arch, 7).unwrap().bytes(), "not reproducible");
        assert!(writer.bytes() != testing::tiny(arch, 8).unwrap().bytes(), "the seed is ignored");
    }
}
