//! Stored models with interleaved rows, through the real binary: the original comes back byte for byte, whatever happens on
//! the way, and nothing that is computed differs.

use crate::home::{Home, told};
use crate::server::{hub, sha256};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that has to work, and returns its stdout.
fn works(home: &Home, args: &[&str]) -> String {
    let (code, out, err) = told(&home.run(args));
    assert_eq!(code, Some(0), "{args:?}: {err}");
    out
}

#[test]
fn the_original_comes_back_byte_for_byte() {
    let home = Home::new();
    for name in ["llama-q4k", "llama-mixed", "llama-moe", "gpt-oss-mxfp4", "deepseek2", "gemma3"] {
        let (file, back) = (fixture(&format!("{name}.gguf")), home.path().join(format!("{name}.back")));
        works(&home, &["import", path(&file), "--interleave", "--name", name]);
        let stored = home.path().join(format!("models/{name}/{name}.tokki"));
        let (original, bytes) = (std::fs::read(&file).unwrap(), std::fs::read(&stored).unwrap());
        assert_eq!(original.len(), bytes.len(), "nothing grows: {name}");
        works(&home, &["export", name, path(&back)]);
        assert!(std::fs::read(&back).unwrap() == original, "{name}");
        assert_eq!(works(&home, &["verify", name]), format!("{name}: matches\n"));
        let (code, _, err) = told(&home.run(&["export", name, path(&back)]));
        assert!(code == Some(2) && err.contains("--force"), "{err}");
        works(&home, &["export", name, path(&back), "--force"]);
    }
    let list = works(&home, &["list"]);
    assert!(list.contains("ready, interleaved"), "{list}");
    assert!(works(&home, &["show", "llama-q4k"]).contains("rows interleaved"));
}

#[test]
fn what_is_computed_is_the_same_in_both_layouts() {
    let home = Home::new();
    for name in ["llama-q4k", "llama-mixed", "llama-moe", "gpt-oss-mxfp4", "deepseek2"] {
        let file = fixture(&format!("{name}.gguf"));
        works(&home, &["import", path(&file), "--interleave", "--name", name]);
        let logits = |model: &str, more: &[&str], to: &str| {
            let to = home.path().join(to);
            let args = ["logits", model, "--tokens", "3,17,5,42,7,7,19,80,2,33,21", "--output", path(&to)];
            works(&home, &[&args[..], more].concat());
            std::fs::read(to).unwrap()
        };
        let wanted = logits(path(&file), &[], "plain");
        assert!(wanted == logits(name, &[], "stored"), "{name}, stored");
        assert!(wanted == logits(path(&file), &["--interleave", "-t", "3"], "memory"), "{name}, in memory");
        assert!(wanted == logits(name, &["-t", "1"], "one"), "{name}, one thread");
    }
}

#[test]
fn a_session_of_one_layout_goes_on_in_the_other() {
    let (home, file) = (Home::new(), fixture("llama-q4k.gguf"));
    works(&home, &["import", path(&file), "--interleave", "--name", "m"]);
    let session = home.path().join("s.session");
    let ask = |model: &str, prompt: &str| {
        let args =
            ["run", model, "--raw", prompt, "--session", path(&session), "--max-tokens", "4", "--temperature", "0"];
        works(&home, &args)
    };
    let (first, copy) = (ask("m", "ab"), home.path().join("copy"));
    std::fs::copy(&session, &copy).unwrap();
    let second = ask(path(&file), "cd");
    std::fs::copy(&copy, &session).unwrap();
    assert_eq!(second, ask("m", "cd"), "after {first:?}");
}

#[test]
fn damage_is_found_and_nothing_is_written() {
    let (home, file) = (Home::new(), fixture("llama-q4k.gguf"));
    works(&home, &["import", path(&file), "--interleave", "--name", "m"]);
    let (stored, back) = (home.path().join("models/m/llama-q4k.tokki"), home.path().join("back.gguf"));
    let good = std::fs::read(&stored).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    std::fs::write(&stored, &bad).unwrap();
    let (code, _, err) = told(&home.run(&["export", "m", path(&back)]));
    assert!(code == Some(1) && err.contains("damaged") && !back.exists(), "{err}");
    let (code, out, _) = told(&home.run(&["verify", "m"]));
    assert!(code == Some(1) && out.contains("damaged"), "{out}");
    std::fs::write(&stored, &good).unwrap();
    assert_eq!(works(&home, &["verify", "m"]), "m: matches\n");

    // A layout of a later version is refused by name; `TK` and the version stand in the numbers of tensor types.
    let mark = [1, 0x54, 0x4b];
    let later: Vec<u8> = {
        let mut bytes = good.clone();
        let at = bytes.windows(3).position(|three| three == mark).unwrap();
        bytes[at] = 2;
        bytes
    };
    let other = home.path().join("later.tokki");
    std::fs::write(&other, later).unwrap();
    let (code, _, err) = told(&home.run(&["show", path(&other)]));
    assert!(code == Some(2) && err.contains("version 2") && err.contains("newer tokki"), "{err}");
}

#[test]
fn pulled_models_change_their_layout_and_back() {
    let bytes = std::fs::read(fixture("llama-q4k.gguf")).unwrap();
    let (hub, content) = hub(vec![("m.gguf", bytes.clone())], None);
    let home = Home::new();
    let pull = |layout: &str| {
        works(&home, &["pull", "hf:o/r", "--layout", layout, "--hub", &hub.url("")]).trim_end().to_owned()
    };
    let stored = pull("interleaved");
    assert!(stored.ends_with("models/m/m.tokki"), "{stored}");
    assert_eq!(works(&home, &["verify"]), "m: matches\n");
    let list: serde_json::Value = serde_json::from_str(&works(&home, &["list", "--json"])).unwrap();
    assert_eq!(list["models"][0]["files"][0]["sha256"], sha256(&bytes), "that of the original");
    content.forget();
    let plain = pull("plain");
    assert!(plain.ends_with("models/m/m.gguf") && std::fs::read(&plain).unwrap() == bytes, "{plain}");
    assert_eq!(pull("interleaved"), stored);
    assert!(content.requests().is_empty(), "what is there is rearranged, not fetched again");
    assert_eq!(pull("auto"), stored, "what is there stays as it is");
    assert_eq!(home.models().len(), 2, "the file and its record");
    assert!(!home.path().join("partial/m").exists());
}

#[test]
fn a_killed_import_leaves_nothing_or_all() {
    let (home, file) = (Home::new(), fixture("deepseek2.gguf"));
    for pause in [0, 5, 10, 15, 20, 30, 40, 60, 80] {
        let mut command = home.command(&["import", path(&file), "--interleave", "--name", "m"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
        if !home.models().is_empty() {
            assert_eq!(works(&home, &["verify", "m"]), "m: matches\n", "killed after {pause} ms");
            works(&home, &["rm", "m"]);
        }
    }
    works(&home, &["import", path(&file), "--interleave", "--name", "m"]);
    let left: Vec<_> = std::fs::read_dir(home.path().join("partial")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // What one left can be removed by its name as well.
    std::fs::create_dir_all(home.path().join("partial/n/ready")).unwrap();
    std::fs::write(home.path().join("partial/n/lock"), "").unwrap();
    std::fs::write(home.path().join("partial/n/n.gguf"), "half").unwrap();
    let listed = works(&home, &["list"]);
    assert!(listed.contains("left by an import that was killed") && listed.contains("tokki rm n"), "{listed}");
    let (code, _, err) = told(&home.run(&["rm", "n"]));
    assert!(code == Some(0) && err.contains("what was left of n"), "{err}");
    assert!(!home.path().join("partial/n").exists());
}
