//! What a bad day brings: files that are cut while they are in use, pipes that stay silent, inputs without end, files that
//! are taken for models, text that a terminal would obey. A sentence each time, in time.

use crate::home::{Home, told};
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokki::testing::{Writer, tiny, vocabulary};

fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf").to_str().unwrap().to_owned()
}

fn fifo(home: &Home) -> PathBuf {
    let path = home.path().join("fifo");
    if !path.exists() {
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success(), "mkfifo");
    }
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_fifo(), "a FIFO");
    path
}

fn started(home: &Home, args: &[&str]) -> Child {
    home.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success(), "kill {name}");
}

/// Whether the command has set itself up for the signal that ends it (bit 1: SIGINT is the second signal).
fn hears_signals(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
    caught.and_then(|bits| u64::from_str_radix(bits, 16).ok()).is_some_and(|bits| bits & 2 != 0)
}

/// A pipe whose reader reads nothing any more.
#[test]
fn a_full_stderr_holds_up_no_signal() {
    let home = Home::new();
    let model = model();
    let commands: &[&[&str]] = &[
        &["show", "/nonexistent"],
        &["run", &model, "hi", "-v"],
        // Rounds for minutes: a bench says nothing of itself on a quiet machine.
        &["bench", &model, "--rounds", "1000", "-p", "512", "-n", "64"],
        &["serve", &model, "--port", "0"],
    ];
    for args in commands {
        for (name, code) in [("-INT", 130), ("-TERM", 143)] {
            let (_reader, mut writer) = std::io::pipe().unwrap();
            // All that Linux gives a pipe.
            writer.write_all(&vec![b'x'; 1 << 16]).unwrap();
            let mut child = home.command(args).stdout(Stdio::null()).stderr(Stdio::from(writer)).spawn().unwrap();
            let start = Instant::now();
            while !hears_signals(&child) && start.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(500));
            assert!(child.try_wait().unwrap().is_none(), "{args:?} {name} goes on");
            let start = Instant::now();
            signal(&child, name);
            let status = child.wait().unwrap();
            assert!(start.elapsed() < Duration::from_secs(5), "{args:?} {name}: {:?}", start.elapsed());
            // A server ends as it was asked to.
            assert!([Some(code), Some(0)].contains(&status.code()), "{args:?} {name}: {status:?}");
        }
    }
}

/// What lacks address space says so, and calls no model damaged.
#[test]
fn a_limit_of_memory_is_a_sentence_and_no_damage() {
    let home = Home::new();
    assert!(home.run(&["import", &model(), "--name", "m"]).status.success());
    let out = home.path().join("out.gguf");
    let out = out.to_str().unwrap();
    for args in ["verify m", "export m OUT --force", "import MODEL --interleave --name i", "tokenize m hi", "show m"] {
        for megabytes in (40..=520).step_by(48) {
            let line = args.replace("OUT", out).replace("MODEL", &model());
            let line = format!("ulimit -c 0; ulimit -v {}; exec \"$0\" {line}", megabytes << 10);
            let shell = home.command(&[]);
            let mut command = Command::new("sh");
            command.env_clear().envs(shell.get_envs().filter_map(|(key, value)| Some((key, value?))));
            let done = command.args(["-c", &line]).arg(shell.get_program()).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            // Where the loader itself finds no memory, nothing of the program has run.
            let loaded = !said.contains("error while loading shared libraries");
            let good = done.status.code().is_some_and(|code| code <= 2) && !said.contains("panicked");
            assert!(
                good && !said.contains("(damaged)") || !loaded,
                "{args} in {megabytes} MB: {:?}: {said}",
                done.status
            );
        }
        drop(home.run(&["rm", "i"]));
    }
    assert_eq!(told(&home.run(&["verify", "m"])).0, Some(0));
    assert_eq!(told(&home.run(&["run", "m", "hi", "--max-tokens", "1"])).0, Some(0));
}

/// Limits of files, of their sizes, of threads and of what is written to: a sentence, and neither a panic nor a signal. (`ulimit -u`
/// counts nothing for root.)
#[test]
fn every_limit_is_a_sentence() {
    let home = Home::new();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("in.jsonl"), "{\"custom_id\": \"a\", \"body\": {\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"max_tokens\": 2}}\n").unwrap();
    let shell = home.command(&[]);
    let run = |limit: &str, args: &str| {
        let line = format!("ulimit -c 0; ulimit {limit}; exec timeout -s KILL 20 \"$0\" {args}");
        let mut command = Command::new("sh");
        command.env_clear().envs(shell.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.args(["-c", &line]).arg(shell.get_program()).stdin(Stdio::null()).output().unwrap()
    };
    let model = model();
    let batch = format!("batch --model {model} {} {}", at("in.jsonl"), at("out.jsonl"));
    let session = format!("run {model} hi --max-tokens 2 --session {}", at("session"));
    let copies =
        [format!("import {model} --interleave --name m"), format!("logits {model} --tokens 1,2 -o {}", at("logits"))];
    // A server or a batch of lines has more to open than one answer; the loader has some too.
    let mut cases: Vec<(String, &str)> = Vec::new();
    cases.extend((8..=14).flat_map(|n| [(format!("-n {n}"), batch.as_str())]));
    cases.extend((8..=12).map(|n| (format!("-n {n}"), "serve NONE --port 0")));
    cases.extend([&session, &copies[0], &copies[1], &batch].map(|args| ("-f 1".to_owned(), args.as_str())));
    cases.extend(["list", "show MODEL", "import MODEL --name d"].map(|args| ("-d 8192".to_owned(), args)));
    for (limit, args) in &cases {
        let args = args.replace("NONE", &model).replace("MODEL", &model);
        let done = run(limit, &args);
        let said = String::from_utf8_lossy(&done.stderr);
        let good = done.status.code() == Some(1)
            || limit.starts_with("-n") && done.status.code() == Some(0)
            || limit == "-d 8192" && done.status.code() == Some(2);
        assert!(
            good && !said.contains("panicked") && !said.contains("memory allocation"),
            "{limit}: {args}: {:?} {said}",
            done.status
        );
        drop(std::fs::remove_file(at("out.jsonl")));
    }
}

/// A certificate that never ends.
#[test]
fn certificates_are_read_within_bounds() {
    let home = Home::new();
    let large = home.path().join("large.pem");
    std::fs::File::create(&large).unwrap().set_len(4 << 30).unwrap();
    for file in ["/dev/zero", large.to_str().unwrap()] {
        let args = ["serve", &model(), "--port", "0", "--tls-cert", file, "--tls-key", file];
        let (code, _, err) = told(&home.run(&args));
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(file), "{err}");
    }
}

#[test]
fn a_signal_ends_every_command_that_waits() {
    let home = Home::new();
    // A server that takes connections and says nothing.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/m.gguf", server.local_addr().unwrap());
    std::thread::spawn(move || server.incoming().flatten().for_each(std::mem::forget));
    let model = model();
    let waits: &[&[&str]] = &[
        &["run", &model],
        &["tokenize", &model],
        &["template", &model, "--messages", "-"],
        &["perplexity", &model, "--file", "-"],
        &["bench", &model, "-p", "0", "-n", "2000", "-r", "1000", "--ctx", "2000"],
        &["pull", &url],
        &["plan", &url],
    ];
    for args in waits {
        for (name, code) in [("-INT", 130), ("-TERM", 143)] {
            let child = started(&home, args);
            std::thread::sleep(Duration::from_millis(600));
            signal(&child, name);
            let start = Instant::now();
            // Its stdin stays open: nothing but the signal ends it.
            let (stdin, output) = waited(child);
            drop(stdin);
            let (found, _, err) = told(&output);
            assert_eq!(found, Some(code), "{args:?} {name}: {err}");
            assert!(err.contains("interrupted"), "{args:?}: {err}");
            // A second, and what a busy machine adds.
            assert!(start.elapsed() < Duration::from_secs(4), "{args:?} {name}: {:?}", start.elapsed());
        }
    }
}

/// A window that is closed ends what runs in it as a polite kill does: nothing unfinished stays. What `nohup` starts goes on.
#[test]
fn a_closed_terminal_ends_a_command_in_order() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    if ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 == 1) {
        eprintln!("skipped: these tests run without a terminal's end themselves (nohup), or nobody knows");
        return;
    }
    let home = Home::new();
    let model = model();
    let child = started(&home, &["perplexity", &model, "--file", "-"]);
    std::thread::sleep(Duration::from_millis(600));
    signal(&child, "-HUP");
    let (stdin, output) = waited(child);
    drop(stdin);
    let (code, _, err) = told(&output);
    assert!(code == Some(129) && err.contains("interrupted"), "{code:?}: {err}");

    let command = home.command(&["tokenize", &model]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(600));
    signal(&child, "-HUP");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The output of a child whose stdin stays open until then.
fn waited(mut child: Child) -> (Option<std::process::ChildStdin>, Output) {
    let stdin = child.stdin.take();
    (stdin, child.wait_with_output().unwrap())
}

#[test]
fn a_model_that_is_cut_or_changed_while_it_is_used_ends_the_work_with_a_sentence() {
    for (name, spoil) in [("cut", 0), ("shorter", 4096), ("changed", u64::MAX)] {
        let home = Home::new();
        let path = home.path().join("model.gguf");
        std::fs::copy(model(), &path).unwrap();
        let shown = path.to_str().unwrap();
        let child = started(&home, &["bench", shown, "-p", "0", "-n", "2000", "-r", "1000", "--ctx", "2000"]);
        std::thread::sleep(Duration::from_millis(900));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        if spoil == u64::MAX {
            file.set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
        } else {
            file.set_len(spoil).unwrap();
        }
        let (_, output) = waited(child);
        let (code, _, err) = told(&output);
        assert_eq!(code, Some(1), "{name}: {err}");
        assert!(err.contains("model.gguf") && err.contains("while it was in use"), "{name}: {err}");
    }
}

#[test]
fn inputs_without_end_and_things_that_are_no_files_are_refused() {
    let home = Home::new();
    let (model, fifo) = (model(), fifo(&home));
    for place in ["/dev/zero", fifo.to_str().unwrap(), home.path().to_str().unwrap()] {
        for args in [
            &["run", &model, "hi", "--grammar", place][..],
            &["run", &model, "hi", "--json-schema", place],
            &["run", &model, "hi", "--session", place],
            &["perplexity", &model, "--file", place],
            &["template", &model, "--messages", place],
            &["run", place, "hi"],
        ] {
            let start = Instant::now();
            let (code, out, err) = told(&home.run(args));
            assert!(code == Some(2) && out.is_empty() && err.contains(place), "{args:?}: {code:?} {err}");
            assert!(start.elapsed() < Duration::from_secs(5), "{args:?}");
        }
    }
    // What a shell puts in the place of a command's output is read.
    let mut shell = Command::new("bash");
    let line = "\"$0\" template --template <(printf '\\xef\\xbb\\xbf{{ messages[0].content }}') --messages <(printf '[{\"role\":\"user\",\"content\":\"hi\"}]')";
    shell.args(["-c", line, crate::launch::BINARY]).env("HOME", home.path()).stdin(Stdio::null());
    assert_eq!(told(&shell.output().unwrap()), (Some(0), "hi".into(), String::new()));
    let endless = std::fs::File::open("/dev/zero").unwrap();
    let output = home.command(&["tokenize", &model]).stdin(endless).output().unwrap();
    let (code, _, err) = told(&output);
    assert!(code == Some(2) && err.contains("at most"), "{err}");
}

#[test]
fn a_manifest_that_is_a_fifo_keeps_nobody_waiting() {
    let home = Home::new();
    let dir = home.path().join("models/m");
    std::fs::create_dir_all(&dir).unwrap();
    assert!(Command::new("mkfifo").arg(dir.join("manifest.json")).status().unwrap().success());
    let (code, out, _) = told(&home.run(&["list"]));
    assert!(code == Some(0) && out.contains("damaged"), "{out}");
}

#[test]
fn links_in_the_store_lead_nowhere() {
    let home = Home::new();
    let precious = home.path().join("precious");
    std::fs::create_dir_all(precious.join("ready")).unwrap();
    std::fs::write(precious.join("thesis.txt"), "all of it").unwrap();
    std::fs::write(precious.join("ready/data"), "more").unwrap();
    std::fs::create_dir_all(home.path().join("partial")).unwrap();
    std::os::unix::fs::symlink(&precious, home.path().join("partial/m")).unwrap();
    let file = home.path().join("m.gguf");
    std::fs::copy(model(), &file).unwrap();
    let (code, _, err) = told(&home.run(&["import", file.to_str().unwrap()]));
    assert!(code == Some(2) && err.contains("a link"), "{err}");
    assert!(precious.join("thesis.txt").exists() && precious.join("ready/data").exists());
}

/// Each process clears away what others left: not what others are about to use.
#[test]
fn processes_that_fill_and_empty_one_store_do_not_disturb_each_other() {
    let home = Home::new();
    let model = model();
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let (home, model) = (&home, &model);
            scope.spawn(move || {
                for round in 0..12 {
                    for args in [&["import", model, "--name", name][..], &["rm", name]] {
                        let (code, _, err) = told(&home.run(args));
                        assert_eq!(code, Some(0), "{args:?} in round {round}: {err}");
                    }
                }
            });
        }
    });
    let left = std::fs::read_dir(home.path().join("partial")).unwrap().count();
    assert_eq!(left, 0, "left in the folder of unfinished work");
}

/// What the store did not put there it neither clears away nor replaces.
#[test]
fn what_others_put_into_the_store_stays() {
    let photos = |folder: PathBuf| {
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        std::fs::write(folder.join("a.jpg"), "a").unwrap();
        std::fs::write(folder.join("deep/b.jpg"), "b").unwrap();
        folder
    };
    let home = Home::new();
    let victim = photos(home.path().join("victim/photos"));
    photos(home.path().join("partial/photos"));
    let stored = photos(home.path().join("models/photos"));
    photos(home.path().join("partial/.removing-me"));
    let chats = photos(home.path().join("chats"));
    std::fs::write(chats.join("mine.json"), "{}").unwrap();
    let model = model();
    let everything: &[(&[&str], i32)] = &[
        (&["rm", "nothing"], 2),
        (&["import", &model, "--name", "q"], 0),
        (&["import", &model, "--name", "photos"], 2),
        (&["rm", "photos"], 2),
        (&["rm", "q"], 0),
        (&["history", "--clear", "--yes"], 0),
    ];
    for (args, wanted) in everything {
        let (code, _, err) = told(&home.run(args));
        assert_eq!(code, Some(*wanted), "{args:?}: {err}");
    }
    assert!(chats.join("mine.json").exists(), "a file that is no chat");
    std::fs::rename(home.path().join("partial"), home.path().join("before")).unwrap();
    std::os::unix::fs::symlink(home.path().join("victim"), home.path().join("partial")).unwrap();
    for args in [&["rm", "nothing"][..], &["import", &model, "--name", "r"], &["list"], &["doctor"]] {
        let (code, out, err) = told(&home.run(args));
        assert!(args[0] != "import" || code == Some(2) && err.contains("a link"), "{args:?}: {code:?} {out}{err}");
    }
    let before = home.path().join("before");
    for folder in [victim, before.join("photos"), before.join(".removing-me"), stored] {
        assert!(folder.join("a.jpg").exists() && folder.join("deep/b.jpg").exists(), "{}", folder.display());
    }
}

#[test]
fn what_is_taken_for_a_model_is_named() {
    let home = Home::new();
    let at = |name: &str| home.path().join(name);
    let lora = Writer::new("llama").text("general.type", "adapter").text("adapter.type", "lora");
    lora.tensor_f32("blk.0.attn_q.weight.lora_a", &[32, 4], &[0.0; 128]).write(&at("lora.gguf")).unwrap();
    let untagged = Writer::new("llama").tensor_f32("blk.0.attn_q.weight.lora_a", &[32, 4], &[0.0; 128]);
    untagged.write(&at("untagged.gguf")).unwrap();
    tiny("llama", 1).unwrap().text("adapter.type", "control_vector").write(&at("steering.gguf")).unwrap();
    Writer::new("llama").write(&at("header.gguf")).unwrap();
    Writer::new("llama").text("general.type", "imatrix").write(&at("imatrix.gguf")).unwrap();
    Writer::new("clip").text("general.type", "mmproj").write(&at("mmproj.gguf")).unwrap();
    vocabulary(Writer::new("llama")).write(&at("vocabulary.gguf")).unwrap();
    tiny("llama", 1).unwrap().text("general.type", "dataset").write(&at("dataset.gguf")).unwrap();
    let part = tiny("llama", 1).unwrap().raw("split.count", 2, 2u16.to_le_bytes().to_vec()).bytes();
    std::fs::write(at("joined.gguf"), [&part[..], &part].concat()).unwrap();
    std::fs::write(at("joined-00001-of-00002.gguf"), [&part[..], &part].concat()).unwrap();
    std::fs::write(at("old.gguf"), [&b"GGUF\x01\0\0\0"[..], &[0; 64]].concat()).unwrap();
    std::fs::write(at("big.gguf"), [&b"GGUF\0\0\0\x03"[..], &[0; 64]].concat()).unwrap();
    std::fs::write(at("page.gguf"), "<!DOCTYPE html><html>").unwrap();
    std::fs::write(at("lfs.gguf"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    for (name, what) in [
        ("lora", "LoRA"),
        ("untagged", "LoRA"),
        ("steering", "control vector"),
        ("header", "no vocabulary"),
        ("imatrix", "importance matrix"),
        ("mmproj", "projector"),
        ("vocabulary", "only a vocabulary"),
        ("page", "web page"),
        ("lfs", "LFS"),
        ("dataset", "general.type"),
        ("joined", "joined"),
        ("joined-00001-of-00002", "joined"),
        ("old", "version 1"),
        ("big", "big-endian"),
    ] {
        let path = at(&format!("{name}.gguf"));
        let (code, out, err) = told(&home.run(&["run", path.to_str().unwrap(), "hi"]));
        assert!(code == Some(2) && out.is_empty() && err.contains(what), "{name}: {err}");
    }
    // A vocabulary is enough to tokenize with.
    let output = home.run(&["tokenize", at("vocabulary.gguf").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_file_needs_no_store_and_a_path_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let home = Home::new();
    let path = home.path().join(std::ffi::OsStr::from_bytes(b"m\xff.gguf"));
    std::fs::copy(model(), &path).unwrap();
    for args in
        [&["show"][..], &["run", "hi", "--max-tokens", "1"], &["tokenize"], &["bench", "-p", "2", "-n", "1", "-r", "1"]]
    {
        let mut command = crate::launch::tokki();
        command.arg(args[0]).arg(&path).args(&args[1..]).env_clear().stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = home.command(&["import"]).arg(&path).output().unwrap();
    assert_eq!(told(&output), (Some(0), "m_\n".into(), "m_: 133.2 kB, linked\n".replace("133.2 kB", &size(&path))));
    assert_eq!(home.run(&["show", "m_"]).status.code(), Some(0));
}

fn size(path: &Path) -> String {
    tokki::internals::show_bytes(std::fs::metadata(path).unwrap().len())
}

#[test]
fn arrays_in_holes_cost_nothing() {
    // A key says that it holds a hundred million numbers; the file has them, as a hole.
    const COUNT: u64 = 100_000_000;
    let home = Home::new();
    for (key, command) in [
        ("tokenizer.ggml.token_type", "tokenize"),
        ("tokenizer.ggml.scores", "tokenize"),
        ("llama.attention.head_count", "show"),
        ("llama.feed_forward_length", "show"),
    ] {
        let mut writer = tiny("llama", 1).unwrap();
        writer.keys.retain(|(name, ..)| name != key.as_bytes());
        writer.tensors.clear();
        // The array comes last in the header: kind u8, its length, and then nothing that takes room.
        let value = [0u32.to_le_bytes().as_slice(), &COUNT.to_le_bytes()].concat();
        let path = home.path().join("hole.gguf");
        std::fs::write(&path, writer.raw(key, 9, value).header()).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() + COUNT).unwrap();
        let start = Instant::now();
        let mut shell = Command::new("bash");
        shell.args(["-c", "ulimit -v 700000; exec \"$0\" \"$@\"", crate::launch::BINARY, command]);
        shell.arg(&path).env("HOME", home.path()).stdin(Stdio::null());
        let (code, _, err) = told(&shell.output().unwrap());
        assert!(matches!(code, Some(0 | 2)), "{key}: {code:?} {err}");
        assert!(start.elapsed() < Duration::from_secs(4), "{key}: {:?}", start.elapsed());
    }
}

#[test]
fn memory_limits_end_in_a_sentence() {
    let home = Home::new();
    for (kilobytes, args) in
        [(300_000, "doctor"), (300_000, "bench MODEL -p 8 -n 2 -r 1"), (250_000, "run MODEL hi --max-tokens 2")]
    {
        let line = format!("ulimit -c 0; ulimit -v {kilobytes}; exec \"$0\" {}", args.replace("MODEL", &model()));
        let mut shell = Command::new("bash");
        shell.args(["-c", &line, crate::launch::BINARY]).env("HOME", home.path()).stdin(Stdio::null());
        let (code, _, err) = told(&shell.output().unwrap());
        assert!(matches!(code, Some(0..=2)), "{args}: {code:?} {err}");
    }
}

#[test]
fn numbers_beyond_reason_are_refused() {
    let home = Home::new();
    let model = model();
    let most = u64::MAX.to_string();
    for args in [
        &["bench", &model, "-d", &most][..],
        &["bench", &model, "-d", &most, "-p", "5"],
        &["bench", &model, "-p", "9223372036854775808"],
        &["bench", &model, "-p", "0", "-n", "0"],
    ] {
        let (code, out, err) = told(&home.run(args));
        assert!(code == Some(2) && out.is_empty() && !err.contains("panicked"), "{args:?}: {code:?} {err}");
    }
}

#[test]
fn a_full_or_closed_stderr_changes_no_exit_code() {
    let home = Home::new();
    for redirection in ["2> /dev/full", "2>&-", "2> >(true)"] {
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("\"$0\" show /no/such.gguf {redirection}"), crate::launch::BINARY]);
        let output = shell.env("HOME", home.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{redirection}");
    }
    let mut shell = Command::new("bash");
    shell.args(["-c", "\"$0\" --help > /dev/full", crate::launch::BINARY]);
    assert_eq!(shell.output().unwrap().status.code(), Some(1), "help that could not be written");
}

#[test]
fn foreign_text_in_messages_is_short_and_harmless() {
    let home = Home::new();
    let evil = format!("\u{1b}]0;evil\u{7}{}", "x".repeat(200_000));
    let writer = |key: &str| {
        let mut writer = tiny("llama", 1).unwrap();
        writer.keys.retain(|(name, ..)| name != key.as_bytes());
        writer.text(key, &evil)
    };
    let path = home.path().join("m.gguf");
    for key in ["tokenizer.ggml.model", "tokenizer.ggml.pre", "general.architecture"] {
        writer(key).write(&path).unwrap();
        let output = home.run(&["tokenize", path.to_str().unwrap()]);
        let output = if output.status.success() { home.run(&["run", path.to_str().unwrap(), "hi"]) } else { output };
        // `told` fails on an escape character.
        let (code, _, err) = told(&output);
        assert!(code == Some(2) && err.len() < 4096, "{key}: {code:?}, {} bytes", err.len());
    }
    let (code, _, err) = told(&home.run(&["run", &format!("/no/\u{1b}[2J{}.gguf", "y".repeat(10_000)), "hi"]));
    assert!(code == Some(2) && err.len() < 4096, "{} bytes", err.len());
    let (code, _, err) = told(&home.run(&["run", "--thinking", "\u{1b}[2J"]));
    assert!(code == Some(2), "{err}");
    let (code, out, _) = told(&home.run(&["show", path.to_str().unwrap(), "--keys", "--json"]));
    assert!(code != Some(101) && !out.contains('\u{9b}'));
}

#[test]
fn nobody_waits_for_a_pipe_without_being_told() {
    let home = Home::new();
    let child = started(&home, &["run", &model(), "hi", "--max-tokens", "6", "--temperature", "0"]);
    let start = Instant::now();
    let (_stdin, output) = waited(child);
    let (code, out, err) = told(&output);
    assert!(code == Some(0) && !out.is_empty() && err.contains("going on without it"), "{code:?} {err}");
    assert!(start.elapsed() < Duration::from_secs(20));
    let (code, _, err) = told(&home.run(&["run", &model()]));
    assert!(code == Some(2) && err.contains("give a prompt"), "{err}");
    // Who says that more comes there is waited for.
    let line = format!("(sleep 4; echo THE DOCUMENT) | \"$0\" run {} Summarize: - --max-tokens 2 --json", model());
    let shell = home.command(&[]);
    let mut command = Command::new("sh");
    command.env_clear().envs(shell.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let (code, out, err) = told(&command.args(["-c", &line]).arg(shell.get_program()).output().unwrap());
    let alone = told(&home.run(&["run", &model(), "Summarize:", "--max-tokens", "2", "--json"])).1;
    let tokens = |json: &str| {
        serde_json::from_str::<serde_json::Value>(json).unwrap()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert!(code == Some(0) && err.contains("waiting for text"), "{err}");
    assert!(tokens(&out) > tokens(&alone) + 10, "{out}");
    // Where stdin is the value of a flag, too.
    let model = model();
    for args in [
        &["template", &model, "--messages", "-"][..],
        &["perplexity", &model, "--file", "/dev/stdin"],
        &["run", &model, "hi", "--grammar", "/dev/stdin"],
    ] {
        let child = started(&home, args);
        std::thread::sleep(Duration::from_millis(2500));
        signal(&child, "-INT");
        let (_stdin, output) = waited(child);
        let (_, _, err) = told(&output);
        assert!(err.contains("waiting for text on stdin"), "{args:?}: {err}");
    }
}

#[test]
fn flags_without_an_effect_are_refused() {
    let home = Home::new();
    let model = model();
    for (args, why) in [
        (&["run", &model, "hi", "--raw", "--system", "x"][..], "--system"),
        (&["run", &model, "hi", "--raw", "--thinking", "on"], "--thinking"),
        (&["run", &model, "hi", "--raw", "--thoughts", "hide"], "--thoughts"),
        (&["run", &model, "hi", "--json", "--thoughts", "hide"], "--thoughts"),
        (&["run", &model, "hi", "--stop", ""], "--stop"),
        (&["pull", "http://127.0.0.1:1/m.gguf", "--mirror", "http://127.0.0.1:1"], "--mirror"),
        (&["doctor", "--kv-type", "q8_0"], "--kv-type"),
    ] {
        let (code, out, err) = told(&home.run(args));
        assert!(code == Some(2) && out.is_empty() && err.contains(why), "{args:?}: {code:?} {err}");
    }
    // From the environment they hold where they can, and nowhere else.
    let raw = |system: &str| {
        let mut command = home.command(&["run", &model, "hi", "--raw", "--max-tokens", "4", "--temperature", "0"]);
        told(&command.env("TOKKI_SYSTEM", system).output().unwrap())
    };
    assert_eq!(raw("Be a pirate").1, raw("").1);
    let output = home.command(&["list"]).env("TOKKI_TEMPRATURE", "1").output().unwrap();
    assert!(told(&output).2.contains("did you mean TOKKI_TEMPERATURE?"));
}

#[test]
fn removing_several_models_removes_all_or_none() {
    let home = Home::new();
    let file = home.path().join("m.gguf");
    std::fs::copy(model(), &file).unwrap();
    assert_eq!(home.run(&["import", file.to_str().unwrap()]).status.code(), Some(0));
    let (code, _, err) = told(&home.run(&["rm", "m", "nosuch"]));
    assert!(code == Some(2) && err.contains("nosuch"), "{err}");
    assert_eq!(home.run(&["show", "m"]).status.code(), Some(0));
}
