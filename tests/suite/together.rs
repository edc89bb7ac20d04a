//! Several processes at the same store and the same session, and a disk that fills up while rows are arranged: old or new,
//! never mixed, and always a sentence.

use crate::home::{Home, told};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn started(home: &Home, args: &[&str]) -> Child {
    home.command(args).current_dir(home.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_session_belongs_to_one_process() {
    let home = Home::new();
    let model = fixture("llama.gguf");
    let run = |prompt: &str| {
        let args =
            ["run", path(&model), prompt, "--session", "s.bin", "--max-tokens", "4", "--ctx", "1024", "--seed", "1"];
        started(&home, &args)
    };
    assert_eq!(run("first").wait().unwrap().code(), Some(0));
    let children: Vec<Child> = (0..6).map(|n| run(&format!("question {n}"))).collect();
    let ended: Vec<_> = children.into_iter().map(|child| told(&child.wait_with_output().unwrap())).collect();
    let done = ended.iter().filter(|(code, ..)| *code == Some(0)).count();
    assert!(done >= 1, "{ended:?}");
    for (code, out, err) in &ended {
        let refused = *code == Some(1) && out.is_empty() && err.contains("s.bin") && err.contains("another");
        assert!(*code == Some(0) || refused, "{code:?} {out} {err}");
    }
    // What the session holds is what those that were answered left, one after the other.
    let mut terminal =
        crate::daily::continued(home.path(), &["run", path(&model), "--session", "s.bin", "--ctx", "1024"], 80);
    let said = terminal.text.clone();
    assert!(said.contains(&format!("continued: {} earlier question", done + 1)), "{done}: {said}");
    terminal.send("\u{4}");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn many_processes_at_one_store_leave_it_whole() {
    let home = Home::new();
    let files = ["llama.gguf", "qwen2.gguf", "llama-q4k.gguf"].map(fixture);
    let mut children = Vec::new();
    for round in 0..4 {
        for file in &files {
            let form: &[&str] = if round % 2 == 0 { &[] } else { &["--interleave"] };
            children.push(("import", started(&home, &[&["import", path(file), "--name", "same"], form].concat())));
            children.push(("list", started(&home, &["list", "--json"])));
            children.push(("rm", started(&home, &["rm", "same"])));
            children.push(("verify", started(&home, &["verify"])));
        }
    }
    for (what, child) in children {
        let (code, out, err) = told(&child.wait_with_output().unwrap());
        assert!(matches!(code, Some(0..=2)), "{what}: {code:?} {err}");
        assert!(!err.contains("panicked") && err.lines().all(|line| line.len() < 600), "{what}: {err}");
        if what == "list" {
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
        }
    }
    // Whatever won, the name is free or a whole model.
    let (code, out, err) = told(&home.run(&["verify"]));
    assert!(code == Some(0) && !out.contains("damaged"), "{out}{err}");
    drop(home.run(&["rm", "same"]));
    for form in [&[][..], &["--interleave"]] {
        let (code, _, err) = told(&home.run(&[&["import", path(&files[0]), "--name", "same"], form].concat()));
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(told(&home.run(&["run", "same", "hi", "--max-tokens", "2", "--ctx", "256"])).0, Some(0));
        assert_eq!(told(&home.run(&["rm", "same"])).0, Some(0));
    }
    let left = |folder: &str| std::fs::read_dir(home.path().join(folder)).map_or(0, Iterator::count);
    assert_eq!((left("models"), left("partial")), (0, 0));
}

#[test]
fn a_disk_that_fills_up_while_rows_are_arranged_leaves_nothing_half() {
    let home = Home::new();
    let file = fixture("llama-q4k.gguf");
    let size = std::fs::metadata(&file).unwrap().len();
    for share in [0, 1, 3, 6, 9] {
        let blocks = size * share / 10 / 512;
        let mut shell = Command::new("bash");
        let line = format!("trap '' XFSZ; ulimit -c 0; ulimit -f {}; exec \"$0\" \"$@\"", blocks / 2);
        shell.args(["-c", &line, crate::launch::BINARY, "import", path(&file), "--interleave", "--name", "m"]);
        shell.env_clear().env("TOKKI_HOME", home.path()).env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
        let (code, out, err) = told(&shell.stdin(Stdio::null()).output().unwrap());
        assert!(code == Some(1) && out.is_empty() && err.starts_with("tokki: "), "{share}: {code:?} {err}");
        assert!(told(&home.run(&["list", "--names"])).1.is_empty());
    }
    let (code, _, err) = told(&home.run(&["import", path(&file), "--interleave", "--name", "m"]));
    assert_eq!(code, Some(0), "{err}");
    let back = home.path().join("back.gguf");
    assert_eq!(told(&home.run(&["export", "m", path(&back)])).0, Some(0));
    assert!(std::fs::read(back).unwrap() == std::fs::read(&file).unwrap());
}
