//! Pages of the cache on disk: a later start begins with what an earlier one has computed, and what is damaged is computed
//! again.

use crate::serve::{Server, serve, serve_model};
use serde_json::json;
use std::path::{Path, PathBuf};
use tokki::internals::gguf::{Gguf, ValueKind};
use tokki::testing::{Rng, Writer, vocabulary};

/// What one answer was, and how many tokens of its prompt were known.
fn ask(server: &Server, text: &str) -> (String, u64) {
    let body = json!({ "prompt": text, "max_tokens": 8, "seed": 1, "temperature": 1.0 });
    let answer = server.post("/v1/completions", &body).json();
    let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    (answer["choices"][0]["text"].as_str().unwrap().to_owned(), cached)
}

fn stop(mut server: Server) {
    server.signal("-TERM");
    server.wait();
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let own = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let all = std::fs::read_dir(own).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|ending| ending == "page")).collect()
}

#[test]
fn a_later_start_goes_on_and_damage_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let text = "one two three four ".repeat(19);
    let fresh = ask(&serve(&[]), &text);
    assert_eq!(fresh.1, 0);

    let server = serve(&["--cache-disk", place]);
    assert_eq!(ask(&server, &text), fresh);
    stop(server);
    let files = pages(folder.path());
    assert!(!files.is_empty());
    #[cfg(unix)]
    for file in &files {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o077, 0, "others can read it");
    }

    // The next one reads none of the whole pages again.
    let server = serve(&["--cache-disk", place]);
    let known = ask(&server, &text);
    assert_eq!(known.0, fresh.0);
    assert!(known.1 >= 128 && known.1.is_multiple_of(128), "{}", known.1);
    // Nobody else may use the folder meanwhile.
    let other = crate::launch::tokki()
        .args(["serve", "--port", "0", "--ctx", "512", "--cache-disk", place])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("another tokki"), "{other:?}");
    stop(server);

    // A flipped bit, a cut file, strangers of all kinds.
    for (number, file) in pages(folder.path()).into_iter().enumerate() {
        let mut bytes = std::fs::read(&file).unwrap();
        match number % 3 {
            0 => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            1 => bytes.truncate(100),
            _ => bytes.extend([0; 7]),
        }
        std::fs::write(&file, bytes).unwrap();
        std::fs::write(file.with_file_name(format!("{}.page", "0".repeat(64))), b"TOKKIPAG").unwrap();
        std::fs::write(file.with_file_name("x.part"), b"half").unwrap();
        std::fs::create_dir(file.with_file_name(format!("{number}.page"))).unwrap();
    }
    // (A damaged page is seen when the pages before it are there again.)
    for _ in 0..2 {
        let server = serve(&["--cache-disk", place]);
        assert_eq!(ask(&server, &text).0, fresh.0);
        stop(server);
    }
    let server = serve(&["--cache-disk", place]);
    assert_eq!(ask(&server, &text), known);
    stop(server);
}

#[test]
fn the_folder_keeps_to_its_size_and_another_kind_of_cache_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let args = ["--cache-disk", place, "--cache-disk-size", "100K"];
    let server = serve(&args);
    for word in ["alpha ", "beta ", "gamma ", "delta "] {
        ask(&server, &word.repeat(70));
    }
    stop(server);
    let bytes: u64 = pages(folder.path()).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();
    assert!(bytes > 0 && bytes <= 100 << 10, "{bytes}");
    let text = "delta ".repeat(70);
    let server = serve(&["--cache-disk", place, "--kv-type", "q8_0"]);
    assert_eq!(ask(&server, &text).1, 0);
    // What is erased is gone from the disk, too.
    stop(server);
    let server = serve(&["--cache-disk", place]);
    assert!(ask(&server, &text).1 > 0);
    assert_eq!(server.post("/slots/0?action=erase", &json!({})).status, 200);
    assert_eq!(ask(&server, &text).1, 0);
    stop(server);
}

/// A tiny model with a recurrent state: a short convolution, then attention.
fn recurrent(path: &Path) {
    let writer = Writer::new("lfm2")
        .text("general.name", "tiny recurrent")
        .u32("lfm2.context_length", 512)
        .u32("lfm2.embedding_length", 64)
        .u32("lfm2.block_count", 2)
        .u32("lfm2.feed_forward_length", 96)
        .u32("lfm2.attention.head_count", 4)
        .array(
            "lfm2.attention.head_count_kv",
            ValueKind::U32,
            &[0_u32.to_le_bytes().to_vec(), 2_u32.to_le_bytes().to_vec()],
        )
        .f32("lfm2.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("lfm2.rope.freq_base", 10_000.0)
        .u32("lfm2.shortconv.l_cache", 3);
    let writer = vocabulary(writer);
    let spec = tokki::internals::arch::spec(&Gguf::from_bytes(path, &writer.bytes()).unwrap()).unwrap();
    let mut rng = Rng::new(4);
    let writer = spec.tensors().into_iter().fold(writer, |writer, (name, shape)| {
        let count: u64 = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|_| if name.ends_with("norm.weight") { 1.0 } else { 0.2 * rng.signed() }).collect();
        writer.tensor_f32(&name, &shape, &values)
    });
    writer.write(path).unwrap();
}

/// A recurrent state comes back with its page, and only to its place.
#[test]
fn recurrent_states_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (model, place) = (folder.path().join("m.gguf"), folder.path().join("disk"));
    recurrent(&model);
    let place_text = place.to_str().unwrap();
    let (text, longer) = ("one two three four ".repeat(16), "one two three four ".repeat(20));
    let start = |args: &[&str]| serve_model(&model, args, &[]);
    let fresh = (ask(&start(&[]), &text).0, ask(&start(&[]), &longer).0);
    let server = start(&["--cache-disk", place_text]);
    assert_eq!(ask(&server, &text).0, fresh.0);
    stop(server);
    let server = start(&["--cache-disk", place_text]);
    let known = ask(&server, &text);
    assert_eq!(known.0, fresh.0);
    assert!(known.1 >= 128, "{}", known.1);
    stop(server);
    let server = start(&["--cache-disk", place_text]);
    let known = ask(&server, &longer);
    assert_eq!(known.0, fresh.1);
    assert!(known.1 >= 128, "{}", known.1);
    stop(server);
}

/// Conversations with a common system message: the second one leaves the state there with which the third begins.
#[test]
fn recurrent_states_are_kept_where_prompts_branch_off() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.gguf");
    recurrent(&model);
    let start = || serve_model(&model, &[], &[]);
    let prompt = |word: &str| "one two three four ".repeat(16) + &word.repeat(180 / word.len());
    let server = start();
    let cached: Vec<u64> = ["abcd ", "efgh ", "ijkl "]
        .map(|word| {
            let (text, cached) = ask(&server, &prompt(word));
            assert_eq!(text, ask(&start(), &prompt(word)).0, "{word}");
            cached
        })
        .into();
    assert_eq!(cached, [0, 0, 256]);
}
