//! A format is one file and one row of the table: no other file names one. (Unit tests of the crate add one that way, `Sample`,
//! and run it through all kernels.)
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// `(module, type)` of every row of the table.
fn formats(table: &str) -> Vec<(&str, &str)> {
    let paths = table.split("formats::").skip(1).filter_map(|rest| rest.split_once(';'));
    paths.filter_map(|(path, _)| path.split_once("::")).filter(|(_, name)| !name.contains('{')).collect()
}

/// The formats whose module a source names.
fn named<'a>(source: &str, formats: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    // Not what stands in quotes: a cache has formats of these names, too.
    let code = code.flat_map(|line| line.split('"').step_by(2));
    let words: Vec<&str> = code.flat_map(|part| part.split(|c: char| c != '_' && !c.is_alphanumeric())).collect();
    // `f32` is a type of the language, too.
    formats.iter().map(|&(module, _)| module).filter(|&m| m != "f32" && words.contains(&m)).collect()
}

#[test]
fn only_the_table_and_its_own_file_name_a_format() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table = std::fs::read_to_string(src.join("dtype.rs")).unwrap();
    let formats = formats(&table);
    assert!(formats.contains(&("q4_k", "Q4K")) && formats.contains(&("sample", "Sample")), "{formats:?}");
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let own = path.file_stem().unwrap().to_str().unwrap();
        if inside == Path::new("dtype.rs") || inside == Path::new("formats/mod.rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let others: Vec<_> = named(&source, &formats).into_iter().filter(|&m| m != own).collect();
        // Loads of single numbers and rounding to them have these names in all kernels.
        let others: Vec<_> = others.into_iter().filter(|&m| m != "f16" && m != "bf16").collect();
        assert!(others.is_empty(), "{}: names {others:?}; wanted formats by the table alone", inside.display());
    }
}

#[test]
fn a_planted_name_is_found() {
    let formats = [("q4_k", "Q4K"), ("q8_0", "Q8_0")];
    assert_eq!(named("use crate::formats::{q4_k::Q4K};", &formats), ["q4_k"]);
    assert_eq!(named("let name = \"q8_0\";", &formats), [""; 0]);
    assert_eq!(named("// like q4_k\nlet x = 1;", &formats), [""; 0]);
}
