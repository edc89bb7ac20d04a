//! The commands around the store and the settings as a user meets them: help, exit codes, what goes where.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn tokki(home: &Path, args: &[&str]) -> Command {
    let mut command = crate::launch::tokki();
    command.env("TOKKI_HOME", home).env("HOME", home).env_remove("XDG_CONFIG_HOME").env_remove("TOKKI_CONFIG");
    command.args(args).stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> Output {
    tokki(home, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names of all commands, out of the help.
fn commands(home: &Path) -> Vec<String> {
    let help = text(&run(home, &["--help"]).stdout);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[test]
fn every_command_teaches_by_example() {
    let home = tempfile::tempdir().unwrap();
    let commands = commands(home.path());
    for name in ["run", "pull", "list", "show", "verify", "rm", "import", "config", "doctor", "completions", "man"] {
        assert!(commands.iter().any(|command| command == name), "{name} in {commands:?}");
    }
    for command in commands {
        let output = run(home.path(), &[&command, "--help"]);
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains("Example") && help.contains(&format!("tokki {command}")), "{command}:\n{help}");
        assert!(!help.contains('\x1b'), "escape codes in a pipe: {command}");
    }
}

#[test]
fn bad_usage_is_2_and_says_what_would_do() {
    let home = tempfile::tempdir().unwrap();
    for (args, told) in [
        (&["lst"][..], "list"),
        (&["pull"], "MODEL"),
        (&["rm"], "NAME"),
        (&["rm", "gemma"], "No model named \"gemma\" in"),
        (&["verify", "nothing-here"], "tokki list"),
        (&["pull", "gemma3-270n"], "gemma3-270m"),
        (&["import", "/nowhere/x.gguf"], "/nowhere/x.gguf"),
        (&["pull", "a/b", "--connections", "0"], "from 1 to 32"),
        (&["pull", "a/b", "--part-size", "7X"], "64M"),
        (&["completions", "tcsh"], "bash"),
        (&["config"], "show"),
    ] {
        let output = run(home.path(), args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(told), "{args:?}: {error}");
        assert!(output.stdout.is_empty() && !error.contains('\x1b'), "{args:?}");
    }
}

#[test]
fn settings_tell_their_origin() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("my.toml");
    std::fs::write(&file, "ctx = 4096\nthreads = 3\n").unwrap();
    let show = |more: &[&str]| {
        let mut command = tokki(home.path(), &["config", "show", "--json"]);
        json(&command.args(more).env("TOKKI_CONFIG", &file).env("TOKKI_THREADS", "2").output().unwrap())
    };
    let settings = show(&["--offline"]);
    assert_eq!((&settings["ctx"]["value"], &settings["ctx"]["origin"]["kind"]), (&"4096".into(), &"file".into()));
    assert_eq!(
        (&settings["threads"]["value"], &settings["threads"]["origin"]["name"]),
        (&"2".into(), &"TOKKI_THREADS".into())
    );
    assert_eq!(
        (&settings["offline"]["value"], &settings["offline"]["origin"]["kind"]),
        (&"true".into(), &"flag".into())
    );
    assert_eq!((&settings["seed"]["value"], &settings["seed"]["origin"]["kind"]), (&().into(), &"default".into()));

    std::fs::write(&file, "thread = 3\n").unwrap();
    let output = tokki(home.path(), &["config", "show"]).env("TOKKI_CONFIG", &file).output().unwrap();
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("my.toml") && error.contains("\"threads\""), "{error}");
}

/// The example is a valid file, as it is and with every setting switched on.
#[test]
fn the_example_is_a_configuration_file() {
    let home = tempfile::tempdir().unwrap();
    let example = text(&run(home.path(), &["config", "example"]).stdout);
    let path = text(&run(home.path(), &["config", "path"]).stdout);
    let path = Path::new(path.trim_end());
    assert!(path.starts_with(home.path()), "{path:?}");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, &example).unwrap();
    assert_eq!(run(home.path(), &["config", "show"]).status.code(), Some(0));
    let on = example.replace("\n# ", "\n");
    let lines = on.lines().filter(|line| line.contains(" = "));
    std::fs::write(path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let output = run(home.path(), &["config", "show"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("default:"), "all are set:\n{}", text(&output.stdout));
}

#[test]
fn the_doctor_examines_without_measuring() {
    let home = tempfile::tempdir().unwrap();
    let facts = json(&run(home.path(), &["doctor", "--json", "--no-measure", "--threads", "1000!"]));
    assert!(facts["threads_default"].as_u64().unwrap() >= 1 && !facts["isa_available"].as_array().unwrap().is_empty());
    assert_eq!((&facts["threads"], &facts["read_bandwidth"]), (&1000.into(), &().into()));
    let advice = facts["advice"].as_array().unwrap();
    assert!(advice.iter().any(|line| line.as_str().unwrap().contains("1000 threads")), "{advice:?}");
    let words = run(home.path(), &["doctor", "--no-measure"]);
    assert!(words.status.success() && text(&words.stdout).contains("threads") && !text(&words.stdout).contains('\x1b'));
    let scalar = tokki(home.path(), &["doctor", "--no-measure", "--json"]).env("TOKKI_ISA", "scalar").output().unwrap();
    assert_eq!(json(&scalar)["isa"], "scalar");
    let unknown = tokki(home.path(), &["doctor"]).env("TOKKI_ISA", "mmx").output().unwrap();
    assert!(unknown.status.code() == Some(2) && text(&unknown.stderr).contains("scalar"));
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let home = tempfile::tempdir().unwrap();
    let commands = commands(home.path());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&run(home.path(), &["completions", shell]).stdout);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{command} in {shell}");
        }
    }
    let dir = home.path().join("man");
    assert!(run(home.path(), &["man", "--dir", dir.to_str().unwrap()]).status.success());
    for command in &commands {
        let page = std::fs::read_to_string(dir.join(format!("tokki-{command}.1"))).unwrap();
        assert!(page.contains(".SH") && page.to_lowercase().contains("example"), "{command}");
    }
    assert!(text(&run(home.path(), &["man"]).stdout).starts_with(".ie"));
}

#[test]
fn empty_and_damaged_stores() {
    let home = tempfile::tempdir().unwrap();
    let list = run(home.path(), &["list"]);
    assert!(list.status.success() && list.stdout.is_empty());
    assert!(text(&list.stderr).contains("tokki pull"));
    assert_eq!(json(&run(home.path(), &["list", "--json"]))["models"], serde_json::json!([]));
    let dir = home.path().join("models/broken");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("manifest.json"), "{\"version\":1,\"name\":\"broken\",\"source\":\"s\",\"files\":[{}]}")
        .unwrap();
    assert!(text(&run(home.path(), &["list"]).stdout).contains("damaged"));
    let list = json(&run(home.path(), &["list", "--json"]));
    assert!(list["models"][0]["problem"].as_str().unwrap().contains("tokki rm broken"));
    assert_eq!(run(home.path(), &["verify"]).status.code(), Some(1));
    let removed = run(home.path(), &["rm", "broken"]);
    assert!(removed.status.success() && !dir.exists());
    assert_eq!(json(&run(home.path(), &["list", "--catalogue", "--json"]))[0]["name"], "smollm2-135m-instruct");
}

/// A reader that goes away is no failure and no panic.
#[test]
#[cfg(unix)]
fn half_read_pipes() {
    let home = tempfile::tempdir().unwrap();
    for args in ["config example", "completions bash", "man", "list --catalogue"] {
        let script = format!("{} {args} | head -c 1 >/dev/null; echo \"${{PIPESTATUS[0]}}\"", crate::launch::BINARY);
        let output = Command::new("bash").args(["-c", &script]).env("TOKKI_HOME", home.path()).output().unwrap();
        assert_eq!((text(&output.stdout).trim(), text(&output.stderr).as_str()), ("0", ""), "{args}");
    }
}
