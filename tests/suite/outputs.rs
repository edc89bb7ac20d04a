//! Files that commands write: whole or not at all, never over something else, checked before anything is computed.

use crate::home::{Home, told};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf").to_str().unwrap().to_owned()
}

/// Arguments that write `file`, one set per command that does.
fn writers(home: &Home, file: &Path) -> Vec<Vec<String>> {
    let text = home.path().join("text.txt");
    std::fs::write(&text, "some text ".repeat(200)).unwrap();
    let (model, text, file) = (model(), text.to_str().unwrap().to_owned(), file.to_str().unwrap().to_owned());
    let words = |line: &str| {
        let fill = |word: &str| word.replace("MODEL", &model).replace("TEXT", &text).replace("FILE", &file);
        line.split(' ').map(fill).collect::<Vec<_>>()
    };
    vec![
        words("logits MODEL --tokens 1,2,3 --output FILE"),
        words("perplexity MODEL --file TEXT --ctx 32 --save-logits FILE"),
        words("run MODEL hi --max-tokens 2 --session FILE"),
    ]
}

fn command(home: &Home, args: &[String]) -> Command {
    home.command(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The command with files of at most `blocks` times 512 bytes; the signal for more is ignored or kills.
fn limited(home: &Home, args: &[String], blocks: u32, ignored: bool) -> std::process::Output {
    let trap = if ignored { "trap '' XFSZ; " } else { "" };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{trap}ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(crate::launch::BINARY).args(args).env_clear().env("HOME", home.path());
    shell.env("TOKKI_HOME", home.path()).stdin(Stdio::null()).output().unwrap()
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let home = Home::new();
    let dir = home.path().join("out");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("old");
    for args in writers(&home, &file).iter().take(2) {
        std::fs::write(&file, "what was there").unwrap();
        let (code, _, err) = told(&limited(&home, args, 0, true));
        assert!(code == Some(1) && err.contains("old"), "{args:?}: {code:?} {err}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "what was there", "{args:?}");
        assert_eq!(entries(&dir), ["old"]);
    }
}

#[test]
fn what_a_killed_save_left_is_gone_after_the_next() {
    let home = Home::new();
    let dir = home.path().join("out");
    std::fs::create_dir(&dir).unwrap();
    for args in writers(&home, &dir.join("file")) {
        // Beyond a limit of sizes the system sends a signal, which is heard as a full disk.
        let output = limited(&home, &args, 1, false);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(!entries(&dir).iter().any(|name| name.contains(".tokki-")), "{:?}", entries(&dir));
        // As a process leaves it that is gone.
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        std::fs::write(dir.join(format!(".file.tokki-{}-1", gone.id())), "half").unwrap();
        let (code, _, err) = told(&command(&home, &args).output().unwrap());
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert_eq!(entries(&dir), ["file"], "{args:?}");
        std::fs::remove_file(dir.join("file")).unwrap();
    }
}

#[test]
fn links_are_followed_and_other_things_refused_before_any_work() {
    let home = Home::new();
    let at = |name: &str| home.path().join(name);
    std::fs::create_dir(at("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    let refused = |file: PathBuf, code: i32| {
        for args in writers(&home, &file) {
            let (found, out, err) = told(&command(&home, &args).output().unwrap());
            assert!(
                found == Some(code) && out.is_empty() && err.contains(file.to_str().unwrap()),
                "{args:?}: {found:?} {err}"
            );
        }
    };
    refused(at("fifo"), 2);
    refused(at("folder"), 2);
    refused(PathBuf::from("/dev/null"), 2);
    // A pipe of this test: it has no name that a file could be put beside.
    refused(PathBuf::from("/dev/stdout"), 2);
    refused(at("none/file"), 1);
    std::os::unix::fs::symlink("target", at("link")).unwrap();
    for args in writers(&home, &at("link")) {
        let (code, _, err) = told(&command(&home, &args).output().unwrap());
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(at("link").is_symlink() && std::fs::metadata(at("target")).unwrap().len() > 8, "{args:?}");
        std::fs::remove_file(at("target")).unwrap();
    }
}

#[test]
fn inputs_are_checked_before_the_file_is_touched() {
    let home = Home::new();
    let file = home.path().join("o.f32");
    std::fs::write(&file, "old").unwrap();
    let run = |args: &[&str]| told(&home.run(args));
    let file = file.to_str().unwrap();
    let (code, _, err) = run(&["logits", &model(), "--tokens", "1,999999", "-o", file]);
    assert!(code == Some(2) && err.contains("999999"), "{err}");
    let text = home.path().join("text.txt");
    std::fs::write(&text, "some text ".repeat(200)).unwrap();
    let text = text.to_str().unwrap();
    let (code, _, err) =
        run(&["perplexity", &model(), "--file", text, "--ctx", "32", "--save-logits", file, "--kl-against", file]);
    assert!(code == Some(2) && err.contains("--kl-against"), "{err}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "old");
    let output = home.run(&["logits", &model(), "--tokens", "1,2", "-o", "-"]);
    assert!(output.status.success() && output.stdout.len() > 8 && output.stdout.len().is_multiple_of(8));
}

#[test]
fn sessions_with_notes_of_another_shape_are_refused() {
    use sha2::{Digest, Sha256};
    let home = Home::new();
    let path = home.path().join("s.session");
    let args = |raw: bool| {
        let mut args = vec!["run", "MODEL", "hi", "--max-tokens", "2", "--session", path.to_str().unwrap()];
        args.extend(raw.then_some("--raw"));
        args.into_iter().map(|word| word.replace("MODEL", &model())).collect::<Vec<_>>()
    };
    assert!(command(&home, &args(false)).output().unwrap().status.success());
    let good = std::fs::read(&path).unwrap();
    let (code, _, err) = told(&command(&home, &args(true)).output().unwrap());
    assert!(code == Some(2) && err.contains("without --raw"), "{err}");
    let length = u32::from_le_bytes(good[12..16].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&good[16..16 + length]).unwrap();
    for notes in ["[1]", "\"text\"", "7", "null", "{}", "{\"messages\":5}", "{\"messages\":[5]}"] {
        let mut header = header.clone();
        header["notes"] = serde_json::from_str(notes).unwrap();
        let header = serde_json::to_vec(&header).unwrap();
        let mut bad = good[..12].to_vec();
        bad.extend((header.len() as u32).to_le_bytes());
        bad.extend(header);
        bad.extend(&good[16 + length..good.len() - 32]);
        bad.extend_from_slice(&Sha256::digest(&bad));
        std::fs::write(&path, &bad).unwrap();
        let (code, _, err) = told(&command(&home, &args(false)).output().unwrap());
        assert!(code == Some(2) && err.contains("s.session"), "{notes}: {code:?} {err}");
        assert!(std::fs::read(&path).unwrap() == bad, "it is kept");
    }
    for (key, why) in [("spec", "computed otherwise"), ("tokenizer", "another tokenizer"), ("model", "another model")] {
        let mut header = header.clone();
        header[key] = "0".into();
        let header = serde_json::to_vec(&header).unwrap();
        let mut bad = good[..12].to_vec();
        bad.extend((header.len() as u32).to_le_bytes());
        bad.extend(header);
        bad.extend(&good[16 + length..good.len() - 32]);
        bad.extend_from_slice(&Sha256::digest(&bad));
        std::fs::write(&path, &bad).unwrap();
        let (code, _, err) = told(&command(&home, &args(false)).output().unwrap());
        assert!(code == Some(2) && err.contains(why), "{key}: {code:?} {err}");
    }
}

/// A model is never replaced by what is written of it.
#[test]
fn no_output_replaces_a_model() {
    let home = Home::new();
    let model = home.path().join("m.gguf");
    let bytes = std::fs::read(self::model()).unwrap();
    std::fs::write(&model, &bytes).unwrap();
    let path = model.to_str().unwrap();
    for args in [
        &["logits", path, "--tokens", "1,2", "-o", path][..],
        &["logits", path, "--tokens", "1,2", "-o", "-", "--trace", path],
        &["embed", path, "--tokens", "1,2", "-o", path],
    ] {
        let (code, _, err) = told(&home.run(args));
        assert!(code == Some(2) && err.contains("a GGUF model"), "{args:?}: {err}");
        assert_eq!(std::fs::read(&model).unwrap(), bytes, "{args:?}");
    }
}
