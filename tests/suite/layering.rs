//! Dependencies point one way, and some words stay in their rooms.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src` from the bottom up: a module may use those of lower rank only. Equal rank: neither uses the other.
const RANKS: &[(&str, i32)] = &[
    ("text", -2),
    ("error", -1),
    ("units", -1),
    ("platform", 0),
    ("interrupt", 1),
    ("suggest", 1),
    ("machine", 1),
    ("config", 2),
    ("gguf", 1),
    ("arch", 2),
    ("parallel", 2),
    ("testing", 3),
    ("shapes", 3),
    ("model", 3),
    ("kv", 3),
    ("forward", 4),
    ("tokenizer", 4),
    ("chat", 5),
    ("sample", 4),
    ("store", 5),
    ("describe", 6),
    ("predict", 5),
    ("engine", 6),
    ("perplexity", 7),
    ("server", 7),
    ("cli", 8),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The module of `src` that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn rank(module: &str) -> i32 {
    RANKS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("give module {module} a rank")).1
}

/// The part of a source before its unit tests, which may use anything.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn modules_use_only_what_is_below_them() {
    for path in sources(&root().join("src")) {
        let own = module(&path);
        if matches!(own.as_str(), "lib" | "main") || path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in without_tests(&text).lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = RANKS.iter().any(|(name, _)| *name == used);
                if known && used != own {
                    let place = format!("{}:{}", path.display(), number + 1);
                    assert!(rank(&used) < rank(&own), "{place}: {own} may not use {used}");
                }
            }
        }
    }
}

#[test]
fn every_module_has_a_rank() {
    for path in sources(&root().join("src")) {
        let own = module(&path);
        if !matches!(own.as_str(), "lib" | "main") {
            rank(&own);
        }
    }
}

#[test]
fn no_architecture_is_named_where_things_are_computed() {
    const NAMES: &[&str] =
        &["llama", "qwen", "exaone", "gemma", "deepseek", "granite", "gpt_oss", "hyperclova", "glm4"];
    for path in sources(&root().join("src/forward")) {
        let text = fs::read_to_string(&path).unwrap().to_lowercase();
        for name in NAMES {
            assert!(!text.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn instruction_sets_are_named_in_one_folder() {
    let isa = root().join("quant/src/isa");
    for path in sources(&root().join("quant/src")).into_iter().chain(sources(&root().join("src"))) {
        if path.starts_with(&isa) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for word in ["std::arch", "core::arch", "_mm256_", "_mm512_", "target_feature"] {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
    }
}
