//! What commands say of files, models and settings is so: missing is not damaged, an error stays one on the second run.

use crate::daily::model;
use crate::home::{Home, text, told};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

fn run(home: &Home, args: &[&str]) -> (Option<i32>, String, String) {
    told(&home.command(args).env("TOKKI_OFFLINE", "1").current_dir(home.path()).output().unwrap())
}

#[test]
fn a_batch_that_is_done_tells_of_its_errors_again() {
    let home = Home::new();
    let line = |id: &str, tokens: i32| {
        format!(
            r#"{{"custom_id":"{id}","body":{{"messages":[{{"role":"user","content":"x"}}],"max_tokens":{tokens}}}}}"#
        )
    };
    fs::write(home.path().join("in.jsonl"), [line("good", 2), line("bad", -5)].join("\n")).unwrap();
    let llama = model("llama.gguf");
    let args = ["batch", "--ctx", "256", "--model", llama.to_str().unwrap(), "in.jsonl", "out.jsonl"];
    for now in ["2 answered now, 0 before, 1 with an error", "0 answered now, 2 before, 1 with an error"] {
        let (code, _, err) = run(&home, &args);
        assert!(code == Some(1) && err.contains(now) && err.contains("1 request could not be served"), "{err}");
    }
    // What is taken out is tried again.
    let out = home.path().join("out.jsonl");
    let kept: String = fs::read_to_string(&out).unwrap().lines().filter(|line| line.contains("\"good\"")).collect();
    fs::write(&out, kept + "\n").unwrap();
    assert!(run(&home, &args).2.contains("1 answered now, 1 before, 1 with an error"));
}

#[test]
fn a_plan_beyond_the_training_says_so() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let plan = |more: &[&str]| run(&home, &[&["plan", llama.to_str().unwrap()], more].concat());
    let (code, out, _) = plan(&[]);
    assert!(code == Some(0) && !out.contains("trained"), "{out}");
    let (code, out, _) = plan(&["-c", "99999"]);
    assert!(code == Some(0) && out.contains("context 99999 is more than the"), "{out}");
    let (code, out, _) = run(&home, &["plan", "smollm2-135m:q4_0", "-c", "16m"]);
    assert!(code == Some(0) && out.contains("context 16777216 does not fit; fits: --ctx"), "{out}");
    let report: serde_json::Value = serde_json::from_str(&plan(&["-c", "99999", "--json"]).1).unwrap();
    assert!(report["trained_ctx"].as_u64().unwrap() < 99999 && report["advice"].as_str().unwrap().contains("trained"));
}

/// The binary as a user who may not read everything. Root reads all.
fn as_nobody(home: &Home, args: &[&str]) -> Option<(Option<i32>, String, String)> {
    let root = rustix::process::geteuid().is_root();
    let plain = home.command(args);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups"]).arg(plain.get_program()).args(args);
    if !root {
        command = home.command(args);
    } else if Command::new("setpriv").arg("--version").output().is_err() {
        return None;
    }
    command.env("TOKKI_HOME", home.path()).env("HOME", home.path()).current_dir(home.path());
    Some(told(&command.output().unwrap()))
}

/// Missing, not to be read, and damaged are three things; only the last is remembered.
#[test]
fn what_cannot_be_read_is_not_damaged() {
    let home = Home::new();
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let file = home.path().join("m.gguf");
    fs::copy(model("llama.gguf"), &file).unwrap();
    assert_eq!(run(&home, &["import", "m.gguf"]).0, Some(0));
    assert_eq!(run(&home, &["verify", "m"]).0, Some(0));
    fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).unwrap();
    // The binary itself has to be within reach of the other user.
    if let Some((Some(0), out, _)) = as_nobody(&home, &["--version"])
        && out.starts_with("tokki")
    {
        for args in [&["list"][..], &["verify"], &["run", "m", "hi"], &["show", "m"], &["run", "m.gguf", "hi"]] {
            let (_, out, err) = as_nobody(&home, args).unwrap();
            let said = out + &err;
            assert!(said.contains("Permission denied") && !said.contains("damaged"), "{args:?}: {said}");
        }
        assert!(as_nobody(&home, &["list"]).unwrap().1.contains("unreadable"));
        // Nor is what stands behind a folder that is closed missing.
        let closed = home.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::copy(model("llama.gguf"), closed.join("n.gguf")).unwrap();
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
        let (_, _, err) = as_nobody(&home, &["run", "closed/n.gguf", "hi"]).unwrap();
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(err.contains("Permission denied"), "{err}");
        // The doctor says so, and all else that it knows.
        fs::set_permissions(home.path().join("models"), PermissionsExt::from_mode(0o000)).unwrap();
        let (code, out, err) = as_nobody(&home, &["doctor", "--no-measure"]).unwrap();
        fs::set_permissions(home.path().join("models"), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(code == Some(0) && out.contains("The models cannot be seen") && out.contains("threads"), "{out}{err}");
    } else {
        eprintln!("skipped in part: nobody cannot run the binary");
    }
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(run(&home, &["list"]).1.contains("ready"));
    // A folder in its place.
    fs::rename(&file, home.path().join("kept.gguf")).unwrap();
    fs::create_dir(&file).unwrap();
    let (_, out, err) = run(&home, &["list"]);
    assert!(out.contains("unreadable") && err.contains("a folder") && !err.contains("damaged"), "{out}{err}");
    fs::remove_dir(&file).unwrap();
    let (code, out, err) = run(&home, &["verify"]);
    assert!(code == Some(1) && out.contains("m: missing") && !(out + &err).contains("damaged"));
    assert!(run(&home, &["doctor", "--no-measure"]).1.contains("cannot be used: m (missing)"));
    fs::rename(home.path().join("kept.gguf"), &file).unwrap();
    assert_eq!(run(&home, &["verify"]).0, Some(0));
}

#[test]
fn a_model_of_the_store_is_found_by_the_name_of_its_file() {
    let home = Home::new();
    let (code, _, err) = told(&home.run(&["import", model("llama.gguf").to_str().unwrap(), "--name", "mine"]));
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = told(&home.run(&["run", "mine.gguf", "Hello"]));
    assert!(code == Some(2) && err.contains("No such file: mine.gguf. The store has mine."), "{err}");
    let (_, _, err) = told(&home.run(&["run", "yours.gguf", "Hello"]));
    assert!(err.contains("No such file") && !err.contains("The store"), "{err}");
}

#[test]
fn a_link_whose_file_is_gone_can_be_removed() {
    let home = Home::new();
    let file = home.path().join("m.gguf");
    fs::copy(model("llama.gguf"), &file).unwrap();
    for gone in [false, true] {
        assert_eq!(run(&home, &["import", "m.gguf"]).0, Some(0));
        if gone {
            fs::remove_file(&file).unwrap();
        }
        let (code, _, err) = run(&home, &["rm", "m"]);
        let words = if gone { "there was no file any more at" } else { "the file stays at" };
        assert!(code == Some(0) && err.contains("the link is removed") && err.contains(words), "{err}");
        assert!(!home.path().join("models/m").exists() && file.exists() != gone);
    }
}

/// One sentence for a number that cannot be: the flag, what it takes, what was typed.
#[test]
fn numbers_that_cannot_be_are_told_with_those_that_can() {
    let home = Home::new();
    let llama = model("llama.gguf");
    for (flag, value, takes) in [
        ("--threads", "0", "--threads takes a number from 1 to 1024"),
        ("--max-tokens", "-5", "--max-tokens takes a whole number from 0"),
        ("-c", "99999999999", "--ctx takes a number from 1 to 16777216"),
        ("--temperature", "abc", "--temperature takes a number from 0 to 100"),
        ("--repeat-last-n", "-2", "--repeat-last-n takes a whole number from 0, or -1 for all"),
        ("--top-k", "-3", "--top-k takes a whole number from 0"),
        ("-c", "-5", "--ctx takes a number from 1 to 16777216"),
        ("--threads", "-5", "--threads takes a number from 1 to 1024"),
        ("--seed", "-1", "--seed takes a whole number from 0 to 18446744073709551615"),
        ("--seed", "99999999999999999999", "--seed takes a whole number from 0 to 18446744073709551615"),
    ] {
        let (code, out, err) = run(&home, &["run", llama.to_str().unwrap(), "hi", flag, value]);
        assert_eq!(code, Some(2), "{flag}");
        assert!(out.is_empty() && err.lines().count() == 1, "{err}");
        assert!(err.starts_with(&format!("tokki: {takes}")) && err.contains(&format!("not {value:?}.")), "{err}");
    }
    for (flag, value, takes) in [
        ("--keep-alive", "soon", "a time such as 90s, 30m or 2h"),
        ("--cache-size", "much", "a size such as 512M or 4G"),
        ("--host", "here", "an address such as 127.0.0.1 or 0.0.0.0"),
        ("--cors", "chat.example", "a site such as https://chat.example, localhost or *"),
        ("--cors", "https://chat.example/", "a site such as https://chat.example, localhost or *"),
        ("--name", "a b", "a name such as models.example, without scheme and port, or *"),
    ] {
        let (code, _, err) = run(&home, &["serve", llama.to_str().unwrap(), flag, value]);
        assert_eq!((code, err), (Some(2), format!("tokki: {flag} takes {takes}, not {value:?}.\n")));
    }
}

#[test]
fn an_output_never_takes_the_place_of_its_input() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let llama = llama.to_str().unwrap();
    let text = "the words of a text that is long enough ".repeat(20);
    fs::write(home.path().join("p.txt"), &text).unwrap();
    std::os::unix::fs::symlink("p.txt", home.path().join("link.txt")).unwrap();
    let line = r#"{"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"max_tokens":1}}"#;
    fs::write(home.path().join("in.jsonl"), line).unwrap();
    for args in [
        &["perplexity", llama, "--file", "p.txt", "-c", "32", "--windows", "1", "--save-logits", "p.txt"][..],
        &["perplexity", llama, "--file", "./p.txt", "-c", "32", "--windows", "1", "--save-logits", "link.txt"],
        &["logits", llama, "--tokens", "1", "--output", "new", "--trace", "./new"],
        &["batch", "--ctx", "64", "--model", llama, "in.jsonl", "./in.jsonl"],
    ] {
        let (code, _, err) = run(&home, args);
        assert!(code == Some(2) && err.lines().count() == 1, "{args:?}: {err}");
    }
    assert_eq!(fs::read_to_string(home.path().join("p.txt")).unwrap(), text);
    assert_eq!(fs::read_to_string(home.path().join("in.jsonl")).unwrap(), line);
    assert!(!home.path().join("new").exists());
}

#[test]
fn what_is_removed_is_named() {
    let home = Home::new();
    let file = home.path().join("orig.gguf");
    fs::copy(model("llama-q4k.gguf"), &file).unwrap();
    let file = file.to_str().unwrap();
    for more in [&["zeta"][..], &["alpha", "--interleave"], &["beta"]] {
        assert_eq!(run(&home, &[&["import", file, "--name"], more].concat()).0, Some(0), "{more:?}");
    }
    let (code, _, err) = run(&home, &["rm", file]);
    assert!(code == Some(2) && err.contains("is in the store as alpha, beta, zeta"), "{err}");
    assert_eq!(run(&home, &["rm", "alpha", "alpha"]).0, Some(0), "twice is once");
    assert_eq!(run(&home, &["list", "--names"]).1, "beta\nzeta\n");
    let (code, _, err) = run(&home, &["rm", ""]);
    assert!(code == Some(2) && err.contains("name is empty"), "{err}");
}

#[test]
fn a_form_that_a_stop_text_cuts_is_not_complete() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let run = |args: &[&str]| {
        let own = ["run", llama.to_str().unwrap(), "hi", "--raw", "--json-schema", "{\"const\":true}"];
        run(&home, &[&own[..], args].concat())
    };
    let (code, out, err) = run(&["--stop", "u"]);
    assert!(code == Some(1) && out.trim() == "tr" && err.contains("before its form was complete"), "{out}{err}");
    let (code, out, _) = run(&["--stop", "u", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["usage"]["form_incomplete"]), (Some(1), &true.into()));
    let (code, out, err) = run(&["--stop", "x"]);
    assert!(code == Some(0) && out.trim() == "true", "{out}{err}");
}

#[test]
fn settings_for_a_model_that_is_not_there_are_told() {
    let home = Home::new();
    fs::copy(model("llama.gguf"), home.path().join("mine.gguf")).unwrap();
    assert_eq!(run(&home, &["import", "mine.gguf"]).0, Some(0));
    let config = home.path().join("config.toml");
    fs::write(&config, "[models.mine]\nseed = 1\n[models.mien]\nseed = 2\n").unwrap();
    let output = home.command(&["doctor", "--no-measure"]).env("TOKKI_CONFIG", &config).output().unwrap();
    let (code, out, _) = told(&output);
    assert!(
        code == Some(0) && out.contains("[models.mien] (did you mean mine?)") && !out.contains("[models.mine]"),
        "{out}"
    );
}

/// The words that bash offers for a line whose last word is begun.
fn offered(home: &Home, line: &[&str]) -> Vec<String> {
    let words: String = line.iter().map(|word| format!(" '{word}'")).collect();
    let script = format!(
        "source completions; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); \
         _tokki_with_names tokki \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let place = PathBuf::from(crate::launch::BINARY);
    let path = format!("{}:{}", place.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-c", &script]).current_dir(home.path()).env("TOKKI_HOME", home.path()).env("PATH", path);
    text(&command.output().unwrap().stdout).lines().map(str::to_owned).collect()
}

/// What fish itself makes of its script.
#[test]
fn fish_completes_behind_global_flags() {
    if Command::new("fish").arg("--version").output().is_err() {
        eprintln!("skipped: there is no fish");
        return;
    }
    let home = Home::new();
    fs::write(home.path().join("t.fish"), run(&home, &["completions", "fish"]).1).unwrap();
    for (line, offered) in [
        ("tokki --offline run --thr", "--threads"),
        ("tokki --offline=false run --thr", "--threads"),
        ("tokki --home /x ser", "serve"),
        ("tokki run x --kv-type q", "q8_0"),
    ] {
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &format!("source t.fish; complete -C'{line}'")]).current_dir(home.path());
        let place = PathBuf::from(crate::launch::BINARY);
        let path = format!("{}:{}", place.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = fish.env("HOME", home.path()).env("PATH", path).output().unwrap();
        let (said, wrong) = (text(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(wrong.is_empty() && said.lines().any(|word| word.starts_with(offered)), "{line}: {said}{wrong}");
    }
}

/// Names of models are completed from their first letters on, wherever a model is meant.
#[test]
fn names_of_models_are_completed() {
    let home = Home::new();
    fs::create_dir(home.path().join("files")).unwrap();
    for (name, from) in [("qwen-small", "llama.gguf"), ("qwen-large", "exaone.gguf"), ("other", "gemma2.gguf")] {
        let file = model(from);
        assert_eq!(run(&home, &["import", file.to_str().unwrap(), "--name", name]).0, Some(0));
    }
    fs::write(home.path().join("completions"), run(&home, &["completions", "bash"]).1).unwrap();
    for line in [
        &["tokki", "run", "qw"][..],
        &["tokki", "run", "--raw", "qw"],
        &["tokki", "--home", "/x", "show", "qw"],
        &["tokki", "run", "--ctx", "8k", "qw"],
        &["tokki", "rm", "other", "qw"],
        &["tokki", "batch", "--model", "qw"],
    ] {
        let offered = offered(&home, line);
        let models: Vec<_> = offered.iter().filter(|word| !word.is_empty()).collect();
        // What can be fetched comes after what is here.
        let fetches = line[1] == "run";
        assert_eq!(models[..2], ["qwen-large", "qwen-small"], "{line:?}");
        assert_eq!(models.len() > 2 && models.iter().any(|name| name.starts_with("qwen3")), fetches, "{line:?}");
    }
    assert!(offered(&home, &["tokki", "run", "--kv-type", "q"]).contains(&"q8_0".to_owned()));
    // Files with blanks, also behind an equals sign, which parts words here.
    fs::write(home.path().join("with blank.json"), "").unwrap();
    assert_eq!(offered(&home, &["tokki", "run", "--json-schema", "=", "with"]), ["with blank.json"]);
    assert!(offered(&home, &["tokki", "run", "\"with"]).contains(&"with blank.json".to_owned()));
    assert!(!offered(&home, &["tokki", "run", "--system", "qw"]).contains(&"qwen-small".to_owned()));
    assert!(offered(&home, &["tokki", "pull", "smol"]).iter().any(|word| word.starts_with("smollm2")));
}

#[test]
fn a_model_is_taken_in_by_the_name_it_is_called_by() {
    let home = Home::new();
    let file = |name: &str| home.path().join(name);
    fs::create_dir_all(file("snapshots")).unwrap();
    for name in ["a:b.gguf", "it's \"q\".gguf", ".hidden.gguf", "model.txt", "abcdef0123"] {
        fs::copy(model("llama.gguf"), file(name)).unwrap();
    }
    std::os::unix::fs::symlink("../abcdef0123", file("snapshots/My-Model-Q4.gguf")).unwrap();
    for (args, name) in [
        (&["import", "snapshots/My-Model-Q4.gguf"][..], "My-Model-Q4"),
        (&["import", "a:b.gguf"], "a-b"),
        (&["import", "it's \"q\".gguf", "--name", "quo"], "quo"),
        (&["import", ".hidden.gguf"], "hidden"),
        (&["import", "model.txt", "--name", "m"], "m"),
    ] {
        let (code, out, err) = run(&home, args);
        assert!(code == Some(0) && out.trim() == name, "{args:?}: {out}{err}");
        let (code, _, err) = run(&home, &["run", name, "x", "--raw", "--max-tokens", "1", "--ctx", "64"]);
        assert_eq!(code, Some(0), "{name}: {err}");
        assert_eq!(run(&home, &["verify", name]).0, Some(0), "{name}");
    }
    // What leads there may go: the model is what it led to.
    fs::remove_file(file("snapshots/My-Model-Q4.gguf")).unwrap();
    assert_eq!(run(&home, &["verify", "My-Model-Q4"]).0, Some(0));
    let long = "x".repeat(300);
    for (name, why) in
        [("CON", "a device's"), (&long, "300 bytes"), ("a b", "letters, digits"), ("x.", "ends with a dot")]
    {
        let (code, _, err) = run(&home, &["import", "model.txt", "--name", name]);
        assert!(code == Some(2) && err.contains(why), "{name}: {err}");
    }
    fs::write(file("-dash.gguf"), "").unwrap();
    assert!(run(&home, &["import", "-dash.gguf"]).2.contains("./-dash.gguf"));
    let (_, _, err) = run(&home, &["import", "new\nline.gguf"]);
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[test]
fn a_model_is_not_damaged_because_a_disk_is_full() {
    let home = Home::new();
    let file = home.path().join("m.gguf");
    fs::copy(model("llama.gguf"), &file).unwrap();
    assert_eq!(run(&home, &["import", "m.gguf"]).0, Some(0));
    let full = || {
        let mut shell = Command::new("bash");
        let line = "trap '' XFSZ; ulimit -c 0; ulimit -f 0; exec \"$0\" \"$@\"";
        shell.args(["-c", line, crate::launch::BINARY, "verify", "m"]).env_clear();
        told(&shell.env("TOKKI_HOME", home.path()).env("PATH", "/usr/bin:/bin").output().unwrap())
    };
    let (code, out, err) = full();
    assert!(code == Some(1) && out.contains("m: not recorded") && !(out + &err).contains("damaged"), "{err}");
    assert!(err.contains("could not be recorded of 1 model: m"), "{err}");
    assert!(run(&home, &["verify", "m"]).1.contains("recorded"));
    // Found to be damaged, which cannot be noted: nothing says that it will be refused.
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, out, err) = full();
    assert!(code == Some(1) && out.contains("m: damaged") && out.contains("still run"), "{out}");
    assert!(!err.contains("will not be run"), "{err}");
    let (_, _, err) = run(&home, &["verify", "m"]);
    assert!(err.contains("will not be run"), "{err}");
}

#[test]
fn what_needs_no_setting_goes_on_without_a_wrong_one() {
    let home = Home::new();
    let config = home.path().join("c.toml");
    let with = |text: &str, args: &[&str]| {
        fs::write(&config, text).unwrap();
        told(&home.command(args).env("TOKKI_CONFIG", &config).output().unwrap())
    };
    run(&home, &["import", model("llama.gguf").to_str().unwrap(), "--name", "m"]);
    for (text, named) in [
        ("threads = 1\n\nctx = \"many\"\n", "line 3, key ctx"),
        ("treads = 1\n", "line 1"),
        ("[models.m]\ntemperature = 0.5\ntreads = 1\n", "line 3"),
        ("ctx 3\n", "line 1"),
    ] {
        let (code, out, err) = with(text, &["list", "--names"]);
        assert!(code == Some(0) && out == "m\n" && err.contains("left out") && err.contains(named), "{text}: {err}");
        for command in ["show", "verify"] {
            assert_eq!(with(text, &[command, "m"]).0, Some(0), "{command}: {text}");
        }
        let (code, out, _) = with(text, &["doctor", "--no-measure"]);
        assert!(code == Some(0) && out.contains(named), "{text}: {out}");
        let (code, _, err) = with(text, &["run", "m", "x", "--raw"]);
        assert!(code == Some(2) && err.contains(named), "{text}: {err}");
    }
    // Where the store is may be what cannot be read.
    for text in ["home = 3\n", "hoem = \"/x\"\n", "home = \"/x\n"] {
        fs::write(&config, text).unwrap();
        let mut list = home.command(&["list"]);
        let (code, _, err) = told(&list.env_remove("TOKKI_HOME").env("TOKKI_CONFIG", &config).output().unwrap());
        assert!(code == Some(2) && !err.contains("left out"), "{text}: {code:?} {err}");
        assert_eq!(with(text, &["list"]).0, Some(0), "{text}");
    }
}

/// The model with another beginning of a text than its vocabulary has.
fn without_beginning(home: &Home) -> PathBuf {
    let mut bytes = fs::read(model("llama.gguf")).unwrap();
    let key = b"tokenizer.ggml.bos_token_id";
    let value = bytes.windows(key.len()).position(|at| at == key).unwrap() + key.len() + 4;
    bytes[value..value + 4].copy_from_slice(&9_999_999_u32.to_le_bytes());
    let path = home.path().join("odd.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_model_that_cannot_be_run_is_called_ready_nowhere() {
    let home = Home::new();
    let path = without_beginning(&home);
    let (_, out, _) = run(&home, &["show", "odd.gguf"]);
    assert!(out.contains("cannot be run"), "{out}");
    assert!(run(&home, &["import", "odd.gguf"]).2.contains("odd cannot be run"));
    // Said the second time, of what was kept, as at the first.
    for _ in 0..2 {
        let (code, out, err) = run(&home, &["list"]);
        assert!(code == Some(0) && out.contains("cannot be run") && !out.contains("ready"), "{out}");
        assert!(err.contains("odd cannot be run: its text cannot be tokenized"), "{err}");
        let listed: serde_json::Value = serde_json::from_str(&run(&home, &["list", "--json"]).1).unwrap();
        let odd = &listed["models"][0];
        assert!(odd["problem"].as_str().unwrap().contains("cannot be run") && odd["path"].is_string(), "{odd}");
        let (_, out, _) = run(&home, &["doctor", "--no-measure"]);
        assert!(out.contains("0 ready") && out.contains("odd (cannot be run)"), "{out}");
    }
    let (_, out, _) = run(&home, &["plan", "odd"]);
    assert!(out.contains("it cannot be run: its text"), "{out}");
    // It is looked at again when the file is another one.
    fs::copy(model("llama.gguf"), &path).unwrap();
    assert!(run(&home, &["list"]).1.contains("ready"));
    assert!(run(&home, &["doctor", "--no-measure"]).1.contains("1 ready"));
}

#[test]
fn a_schema_is_refused_with_the_place_of_what_is_wrong() {
    let home = Home::new();
    let llama = model("llama.gguf");
    let refused = |part: &str| {
        let schema = format!(r#"{{"type":"object","properties":{{"x":{part}}},"required":["x"],"$defs":{{}}}}"#);
        let (code, out, err) = run(&home, &["run", llama.to_str().unwrap(), "Go", "--json-schema", &schema]);
        assert!(code == Some(2) && out.is_empty(), "{schema}: {err}");
        err
    };
    for part in [
        r#"{"oneOf":[{"type":"string"},{"minLength":2}]}"#,
        r##"{"$ref":"#/$defs/none"}"##,
        r#"{"type":"integer","minimum":5,"maximum":1}"#,
        r#"{"enum":[]}"#,
        r#"{"type":"string","pattern":"^(?=a)b"}"#,
        r#"{"type":"object","unevaluatedProperties":false,"properties":{"a":{"type":"foo"}}}"#,
        r#"{"allOf":[{"pattern":"a"},{"pattern":"b"},{"pattern":"c"},{"pattern":"d"}]}"#,
    ] {
        let said = refused(part);
        assert!(said.contains("#/properties/x"), "{part}: {said}");
    }
}

#[test]
fn messages_without_what_templates_read_are_told_by_their_place() {
    let home = Home::new();
    fs::write(home.path().join("t.jinja"), "{{ '<' + messages[0]['role'] + messages[0]['content'] }}").unwrap();
    for (message, told) in
        [(r#"{"role":"user"}"#, "messages[0].content"), (r#"{"content":"x"}"#, "messages[0] has no role")]
    {
        fs::write(home.path().join("m.json"), format!("[{message}]")).unwrap();
        let (code, _, err) = run(&home, &["template", "--template", "t.jinja", "--messages", "m.json"]);
        assert!(code == Some(2) && err.contains(told), "{message}: {err}");
    }
    let (code, _, err) = run(&home, &["show", "hf:o/r"]);
    assert!(code == Some(2) && err.contains("tokki pull hf:o/r") && !err.contains("No such file"), "{err}");
}
