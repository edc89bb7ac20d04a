//! Every flag of every command, in every mode: it has an effect, or is refused. The flags are those of the real binary's own
//! help, so that a new one without a row here fails.

use crate::home::{Home, text};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How it is seen that a flag does something.
#[derive(Clone, Copy)]
enum Effect {
    /// The command ends well, and says something else than without these arguments.
    Differs(&'static [&'static str]),
    /// As that, both times with further arguments: those behind the bar are always there.
    DiffersIn(&'static [&'static str], &'static [&'static str]),
    /// The command is refused: what the flag asks for makes no sense there.
    Refused(&'static [&'static str]),
    /// The command says this.
    Says(&'static [&'static str], &'static str),
    /// This file is there afterwards.
    Writes(&'static [&'static str], &'static str),
    /// It does there what it does in that command: they share the room that reads it. A value that makes no sense is refused.
    As(&'static str, &'static str),
    /// A test of its own, which gives the flag to the real binary, is in this file.
    Tested(&'static str),
}

use Effect::{As, Differs, DiffersIn, Refused, Says, Tested, Writes};

/// A mode: a name, the command whose help lists the flags, and its arguments with a model in the place of `MODEL`.
struct Mode {
    name: &'static str,
    command: &'static str,
    args: &'static [&'static str],
    stdin: &'static str,
}

const fn mode(name: &'static str, command: &'static str, args: &'static [&'static str], stdin: &'static str) -> Mode {
    Mode { name, command, args, stdin }
}

const MODES: &[Mode] = &[
    mode("run", "run", &["run", "MODEL", "Hello there", "--max-tokens", "6", "--temperature", "0"], ""),
    mode("run --raw", "run", &["run", "MODEL", "Hello there", "--raw", "--max-tokens", "6", "--temperature", "0"], ""),
    mode(
        "run --json",
        "run",
        &["run", "MODEL", "Hello there", "--json", "--max-tokens", "6", "--temperature", "0"],
        "",
    ),
    mode(CHAT, "run", &["run", "MODEL", "--max-tokens", "6", "--temperature", "0"], ""),
    mode("bench", "bench", &["bench", "MODEL", "--prompt", "4", "--generate", "2", "--rounds", "1"], ""),
    mode("plan", "plan", &["plan", "MODEL"], ""),
    mode("logits", "logits", &["logits", "MODEL", "--tokens", "1,2,3", "-o", "l.f32"], ""),
    mode("embed", "embed", &["embed", "MODEL", "--pooling", "mean"], "one\ntwo three\n"),
    mode("rerank", "rerank", &["rerank", "MODEL"], ""),
    mode("tokenize", "tokenize", &["tokenize", "MODEL"], "Hello there"),
    mode("perplexity", "perplexity", &["perplexity", "MODEL", "--file", "long.txt", "--ctx", "64"], ""),
    mode("list", "list", &["list"], ""),
    mode("show", "show", &["show", "MODEL"], ""),
    mode("verify", "verify", &["verify"], ""),
    mode("rm", "rm", &["rm", "x"], ""),
    mode("history", "history", &["history"], ""),
    mode("import", "import", &["import", "MODEL"], ""),
    mode("export", "export", &["export", "m", "y.gguf"], ""),
    mode("config show", "config show", &["config", "show"], ""),
    mode("doctor", "doctor", &["doctor", "--no-measure"], ""),
    mode("completions", "completions", &["completions", "bash"], ""),
    mode("man", "man", &["man"], ""),
    mode("template", "template", &["template", "MODEL", "--messages", "m.json"], ""),
    mode("pull", "pull", &["pull", "x"], ""),
    mode("serve", "serve", &["serve", "MODEL"], ""),
    mode("batch", "batch", &["batch"], ""),
];

/// A chat in a terminal: a question, and `/show`.
const CHAT: &str = "run, as a chat";

/// THE TABLE: mode, flag, effect.
const ROWS: &[(&str, &str, Effect)] = &[
    // One answer.
    ("run", "--raw", Differs(&["--raw"])),
    ("run", "--special", Refused(&["--special"])),
    ("run", "--stop", Refused(&["--stop", ""])),
    ("run", "--json", Differs(&["--json"])),
    ("run", "--json-schema", Refused(&["--json-schema", r#"{"uniqueItems":true}"#])),
    ("run", "--grammar", Says(&["--grammar", r#"root ::= "yes""#], "yes")),
    ("run", "--yes", Tested("pull.rs")),
    ("run", "--session", Writes(&["--session", "s.bin"], "s.bin")),
    ("run", "--continue", Refused(&["--continue"])),
    ("run", "--verbose", Says(&["--verbose"], "tok/s")),
    ("run", "--max-tokens", Differs(&["--max-tokens", "2"])),
    ("run", "--temperature", DiffersIn(&["--temperature", "50", "--top-k", "0", "--top-p", "1"], &["--seed", "3"])),
    ("run", "--top-k", DiffersIn(&["--top-k", "1"], HOT)),
    ("run", "--top-p", DiffersIn(&["--top-p", "0.001"], HOT)),
    ("run", "--min-p", DiffersIn(&["--min-p", "1"], HOT)),
    ("run", "--typical-p", DiffersIn(&["--typical-p", "0.001"], HOT)),
    ("run", "--xtc-probability", DiffersIn(&["--xtc-probability", "1"], WARM)),
    ("run", "--xtc-threshold", DiffersIn(&["--xtc-threshold", "0.02"], XTC)),
    (
        "run",
        "--repeat-last-n",
        DiffersIn(&["--repeat-last-n", "0"], &["--max-tokens", "60", "--repeat-penalty", "100"]),
    ),
    ("run", "--dry-multiplier", DiffersIn(&["--dry-multiplier", "100"], LONG)),
    ("run", "--dry-base", DiffersIn(&["--dry-base", "100"], MILD)),
    ("run", "--dry-allowed-length", DiffersIn(&["--dry-allowed-length", "0"], DRY)),
    ("run", "--dry-penalty-last-n", DiffersIn(&["--dry-penalty-last-n", "0"], DRY)),
    ("run", "--dry-sequence-breakers", DiffersIn(&["--dry-sequence-breakers", BREAKERS], DRY)),
    ("run", "--repeat-penalty", DiffersIn(&["--repeat-penalty", "100"], &["--max-tokens", "60"])),
    ("run", "--presence-penalty", DiffersIn(&["--presence-penalty", "100"], &["--max-tokens", "60"])),
    ("run", "--frequency-penalty", DiffersIn(&["--frequency-penalty", "100"], &["--max-tokens", "60"])),
    ("run", "--seed", DiffersIn(&["--seed", "8"], HOT)),
    ("run", "--system", DiffersIn(&["--system", "Be brief and kind."], &["--json"])),
    ("run", "--thoughts", Says(&["--thoughts", "hide"], "does not think")),
    ("run", "--overflow", Says(&["--overflow", "tail"], "--overflow changes nothing")),
    ("run", "--history", Says(&["--history=true"], "--history changes nothing")),
    ("run", "--thinking", Says(&["--thinking", "off"], "does not think")),
    ("run", "--threads", DiffersIn(&["--threads", "3!"], &["--json"])),
    ("run", "--power", DiffersIn(&["--power", "cool"], &["--json"])),
    ("run", "--ctx", DiffersIn(&["--ctx", "77"], &["--json"])),
    ("run", "--kv-type", DiffersIn(&["--kv-type", "q8_0"], &["--json"])),
    ("run", "--latent-prefill", Says(&["--latent-prefill", "expanded"], "no latent attention")),
    ("run", "--interleave", Tested("layout.rs")),
    ("run", "--read-ahead", DiffersIn(&["--read-ahead", "on"], &["--json"])),
    // Text that goes on.
    ("run --raw", "--raw", As("run", "x")),
    ("run --raw", "--special", Tested("answers.rs")),
    ("run --raw", "--json", Differs(&["--json"])),
    ("run --raw", "--continue", Refused(&["--continue"])),
    ("run --raw", "--system", Refused(&["--system", "x"])),
    ("run --raw", "--thoughts", Refused(&["--thoughts", "hide"])),
    ("run --raw", "--thinking", Refused(&["--thinking", "off"])),
    ("run --raw", "--overflow", Refused(&["--overflow", "tail"])),
    ("run --raw", "--json-schema", Says(&["--json-schema", r#"{"const":7}"#], "7")),
    ("run --raw", "--grammar", Says(&["--grammar", r#"root ::= "yes""#], "yes")),
    ("run --raw", "--dry-base", As("run", "0")),
    ("run --raw", "--dry-sequence-breakers", As("run", "")),
    ("run --raw", "--dry-penalty-last-n", As("run", "x")),
    // An answer for a program.
    ("run --json", "--json", As("run", "x")),
    ("run --json", "--raw", Differs(&["--raw"])),
    ("run --json", "--continue", Refused(&["--continue"])),
    ("run --json", "--thoughts", Refused(&["--thoughts", "hide"])),
    ("run --json", "--verbose", Says(&["--verbose"], "tok/s")),
    // A chat. What is not here does there what it does in one answer.
    (CHAT, "--json", Refused(&["--json"])),
    (CHAT, "--seed", Says(&["--seed", "8"], "seed               8")),
    (CHAT, "--system", Says(&["--system", "Be brief and kind."], "Be brief and kind.")),
    (CHAT, "--threads", Says(&["--threads", "3!"], "threads            3")),
    (CHAT, "--power", Says(&["--power", "cool"], "power              cool")),
    (CHAT, "--ctx", Says(&["--ctx", "777"], "of 777 tokens")),
    (CHAT, "--kv-type", Says(&["--kv-type", "q8_0"], "kv_type            q8_0")),
    (CHAT, "--read-ahead", Refused(&["--read-ahead", "often"])),
    (CHAT, "--temperature", Says(&["--temperature", "0.25"], "temperature        0.25")),
    (CHAT, "--top-k", Says(&["--top-k", "7"], "top_k              7")),
    (CHAT, "--top-p", Says(&["--top-p", "0.25"], "top_p              0.25")),
    (CHAT, "--min-p", Says(&["--min-p", "0.25"], "min_p              0.25")),
    (CHAT, "--repeat-penalty", Says(&["--repeat-penalty", "1.5"], "repeat_penalty     1.5")),
    (CHAT, "--presence-penalty", Says(&["--presence-penalty", "1.5"], "presence_penalty   1.5")),
    (CHAT, "--frequency-penalty", Says(&["--frequency-penalty", "1.5"], "frequency_penalty  1.5")),
    (CHAT, "--overflow", Says(&["--overflow", "tail"], "overflow           tail")),
    (CHAT, "--history", Tested("daily.rs")),
    (CHAT, "--max-tokens", Says(&["--max-tokens", "2"], "max_tokens         2")),
    // Speed.
    ("bench", "--shape", Refused(&["--shape", "nosuch"])),
    ("bench", "--prompt", Differs(&["--prompt", "8"])),
    ("bench", "--generate", Differs(&["--generate", "3"])),
    ("bench", "--rounds", Refused(&["--rounds", "0"])),
    ("bench", "--depth", Differs(&["--depth", "5"])),
    ("bench", "--json", Differs(&["--json"])),
    ("bench", "--threads", Says(&["--threads", "5000!"], "1024")),
    ("bench", "--power", As("run", "warm")),
    ("bench", "--ctx", DiffersIn(&["--ctx", "77"], &["--json"])),
    ("bench", "--kv-type", DiffersIn(&["--kv-type", "q8_0"], &["--json"])),
    ("bench", "--latent-prefill", Says(&["--latent-prefill", "expanded"], "no latent attention")),
    ("bench", "--interleave", Tested("layout.rs")),
    ("bench", "--read-ahead", DiffersIn(&["--read-ahead", "on"], &["--json"])),
    ("plan", "--json", Differs(&["--json"])),
    ("plan", "--measure", Tested("daily.rs")),
    ("plan", "--threads", Says(&["--threads", "3!"], "3 threads")),
    ("plan", "--power", As("run", "warm")),
    ("plan", "--ctx", Says(&["--ctx", "777"], "777")),
    ("plan", "--kv-type", Says(&["--kv-type", "f32"], "f32")),
    ("plan", "--latent-prefill", Refused(&["--latent-prefill", "expanded"])),
    ("plan", "--interleave", Tested("layout.rs")),
    ("plan", "--read-ahead", Refused(&["--read-ahead", "on"])),
    // Numbers.
    ("logits", "--tokens", Refused(&["--tokens", "1,x"])),
    ("logits", "--output", Writes(&[], "l.f32")),
    ("logits", "--trace", Writes(&["--trace", "t.txt"], "t.txt")),
    ("logits", "--threads", As("run", "0")),
    ("logits", "--power", As("run", "warm")),
    ("logits", "--ctx", Refused(&["--ctx", "2"])),
    ("logits", "--kv-type", As("run", "q9")),
    ("logits", "--latent-prefill", Says(&["--latent-prefill", "expanded"], "no latent attention")),
    ("logits", "--interleave", Refused(&["--interleave=x"])),
    ("logits", "--read-ahead", As("run", "often")),
    ("embed", "--raw", Differs(&["--raw"])),
    ("embed", "--no-normalize", Differs(&["--no-normalize"])),
    ("embed", "--pooling", Differs(&["--pooling", "cls"])),
    ("embed", "--tokens", Tested("outputs.rs")),
    ("embed", "--output", Writes(&["--output", "v.f32"], "v.f32")),
    ("embed", "--threads", As("run", "0")),
    ("embed", "--power", As("run", "warm")),
    ("embed", "--ctx", Refused(&["--ctx", "1"])),
    ("embed", "--kv-type", As("run", "q9")),
    ("embed", "--latent-prefill", Says(&["--latent-prefill", "expanded"], "no latent attention")),
    ("embed", "--interleave", Refused(&["--interleave=x"])),
    ("embed", "--read-ahead", As("run", "often")),
    ("rerank", "--query", Refused(&["--query", ""])),
    ("rerank", "--top", Refused(&["--top", "0"])),
    ("rerank", "--threads", As("run", "0")),
    ("rerank", "--power", As("run", "warm")),
    ("rerank", "--ctx", As("run", "0")),
    ("rerank", "--kv-type", As("run", "q9")),
    ("rerank", "--latent-prefill", As("run", "often")),
    ("rerank", "--interleave", Refused(&["--interleave=x"])),
    ("rerank", "--read-ahead", As("run", "often")),
    ("perplexity", "--file", Refused(&["--file", "none.txt"])),
    ("perplexity", "--stride", Differs(&["--stride", "8"])),
    ("perplexity", "--windows", Differs(&["--windows", "1"])),
    ("perplexity", "--save-logits", Writes(&["--save-logits", "p.lp"], "p.lp")),
    ("perplexity", "--kl-against", Refused(&["--kl-against", "none.lp"])),
    ("perplexity", "--json", Differs(&["--json"])),
    ("perplexity", "--threads", As("run", "0")),
    ("perplexity", "--power", As("run", "warm")),
    ("perplexity", "--ctx", Differs(&["--ctx", "32"])),
    ("perplexity", "--kv-type", Differs(&["--kv-type", "q8_0"])),
    ("perplexity", "--latent-prefill", Says(&["--latent-prefill", "expanded"], "no latent attention")),
    ("perplexity", "--interleave", Refused(&["--interleave=x"])),
    ("perplexity", "--read-ahead", As("run", "often")),
    // Text.
    ("tokenize", "--special", Tested("cli_tokenize.rs")),
    ("tokenize", "--ids", Refused(&["--ids", "--decode"])),
    ("tokenize", "--pieces", Differs(&["--pieces"])),
    ("tokenize", "--nul", Tested("cli_tokenize.rs")),
    ("tokenize", "--decode", Refused(&["--decode"])),
    ("template", "--template", Tested("template_command.rs")),
    ("template", "--messages", Refused(&["--messages", "none.json"])),
    ("template", "--var", Says(&["--var", "nonsense=1"], "never reads")),
    ("template", "--now", Refused(&["--now", "soon"])),
    // The store.
    ("list", "--json", Differs(&["--json"])),
    ("list", "--catalogue", Differs(&["--catalogue"])),
    ("list", "--names", Differs(&["--names"])),
    ("show", "--json", Differs(&["--json"])),
    ("show", "--keys", Differs(&["--keys"])),
    ("show", "--tensors", Differs(&["--tensors"])),
    ("show", "--template", Differs(&["--template"])),
    ("history", "--show", Refused(&["--show", "1"])),
    ("history", "--forget", Refused(&["--forget", "1"])),
    ("history", "--clear", Differs(&["--clear", "--yes"])),
    ("history", "--yes", Differs(&["--clear", "--yes"])),
    ("history", "--json", Differs(&["--json"])),
    ("export", "--force", Differs(&["--force"])),
    ("import", "--name", Differs(&["--name", "other"])),
    ("import", "--interleave", Differs(&["--interleave"])),
    ("import", "--from", Tested("daily.rs")),
    ("config show", "--json", Differs(&["--json"])),
    ("doctor", "--json", Differs(&["--json"])),
    ("doctor", "--no-measure", Says(&[], "threads")),
    ("doctor", "--threads", Says(&["--threads", "7!"], "7")),
    ("doctor", "--power", Says(&["--power", "cool"], "rest half of the time")),
    ("man", "--dir", Writes(&["--dir", "m"], "m/tokki-run.1")),
    ("pull", "--layout", Refused(&["--layout", "upright"])),
    ("pull", "--name", Tested("pull.rs")),
    ("pull", "--sha256", Tested("pull.rs")),
    ("pull", "--restart", Tested("pull.rs")),
    ("pull", "--hub", Refused(&["--hub", "nonsense"])),
    ("pull", "--mirror", Refused(&["--mirror", "nonsense"])),
    ("pull", "--connections", Refused(&["--connections", "0"])),
    ("pull", "--part-size", Refused(&["--part-size", "1"])),
    // The server: what its flags do is seen by clients.
    ("serve", "--store", Tested("operation.rs")),
    ("serve", "--max-open", Tested("operation.rs")),
    ("serve", "--keep-alive", Tested("operation.rs")),
    ("serve", "--pooling", Refused(&["--pooling", "nonsense"])),
    ("serve", "--no-page", Tested("operation.rs")),
    ("serve", "--verbose", Tested("operation.rs")),
    ("serve", "--no-metrics", Tested("operation.rs")),
    ("serve", "--vllm-metrics", Tested("operation.rs")),
    ("serve", "--no-slots", Tested("operation.rs")),
    ("serve", "--slot-save-path", Tested("operation.rs")),
    ("serve", "--data", Tested("operation.rs")),
    ("serve", "--tag", Tested("operation.rs")),
    ("serve", "--host", Refused(&["--host", "nowhere.invalid"])),
    ("serve", "--port", Tested("serve.rs")),
    ("serve", "--api-key", Tested("serve.rs")),
    ("serve", "--api-key-file", Refused(&["--api-key-file", "none.txt"])),
    ("serve", "--queue", Tested("serve.rs")),
    ("serve", "--cors", Tested("serve.rs")),
    ("serve", "--name", Tested("operation.rs")),
    ("serve", "--tls-cert", Refused(&["--tls-cert", "none.pem", "--tls-key", "none.pem"])),
    ("serve", "--tls-key", Refused(&["--tls-key", "none.pem"])),
    ("serve", "--drain", Tested("operation.rs")),
    ("serve", "--log", Tested("operation.rs")),
    ("serve", "--billing-line", Tested("fields.rs")),
    ("serve", "--parallel", Refused(&["--parallel", "0"])),
    ("serve", "--cache-disk", Tested("disk.rs")),
    ("serve", "--cache-disk-size", Refused(&["--cache-disk", "x", "--cache-disk-size", "x"])),
    ("serve", "--cache-size", Refused(&["--cache-size", "x"])),
    ("serve", "--batch", Refused(&["--batch", "0"])),
    ("serve", "--chat-template-file", Refused(&["--chat-template-file", "none.jinja"])),
    ("serve", "--threads", As("run", "0")),
    ("serve", "--power", As("run", "warm")),
    ("serve", "--ctx", As("run", "0")),
    ("serve", "--kv-type", As("run", "q9")),
    ("serve", "--latent-prefill", As("run", "often")),
    ("serve", "--interleave", Refused(&["--interleave=x"])),
    ("serve", "--read-ahead", As("run", "often")),
    ("serve", "--max-tokens", As("run", "x")),
    ("serve", "--temperature", As("run", "x")),
    ("serve", "--top-k", As("run", "x")),
    ("serve", "--top-p", As("run", "2")),
    ("serve", "--min-p", As("run", "2")),
    ("serve", "--typical-p", As("run", "0")),
    ("serve", "--xtc-probability", As("run", "2")),
    ("serve", "--xtc-threshold", As("run", "2")),
    ("serve", "--repeat-last-n", As("run", "x")),
    ("serve", "--dry-multiplier", As("run", "x")),
    ("serve", "--dry-base", As("run", "0")),
    ("serve", "--dry-allowed-length", As("run", "x")),
    ("serve", "--dry-penalty-last-n", As("run", "x")),
    ("serve", "--dry-sequence-breakers", As("run", "")),
    ("serve", "--repeat-penalty", As("run", "0")),
    ("serve", "--presence-penalty", As("run", "x")),
    ("serve", "--frequency-penalty", As("run", "x")),
    ("serve", "--seed", As("run", "x")),
    ("serve", "--thinking", As("run", "x")),
    ("batch", "--model", Tested("serve.rs")),
    ("batch", "--parallel", Refused(&["--parallel", "0"])),
    ("batch", "--cache-disk", Refused(&["--cache-disk", "in.jsonl/x"])),
    ("batch", "--cache-disk-size", Refused(&["--cache-disk", "x", "--cache-disk-size", "x"])),
    ("batch", "--cache-size", Refused(&["--cache-size", "x"])),
    ("batch", "--batch", Refused(&["--batch", "0"])),
    ("batch", "--chat-template-file", Refused(&["--chat-template-file", "none.jinja"])),
    ("batch", "--threads", As("run", "0")),
    ("batch", "--power", As("run", "warm")),
    ("batch", "--ctx", As("run", "0")),
    ("batch", "--kv-type", As("run", "q9")),
    ("batch", "--latent-prefill", As("run", "often")),
    ("batch", "--interleave", Refused(&["--interleave=x"])),
    ("batch", "--read-ahead", As("run", "often")),
];

/// An answer that is long enough to repeat itself.
const LONG: &[&str] = &["--max-tokens", "60"];
/// One in which repetitions are weakened.
const DRY: &[&str] = &["--max-tokens", "60", "--dry-multiplier", "1"];
/// What that answer repeats.
const BREAKERS: &str = r#"["3", "x"]"#;
/// One in which they are weakened by little.
const MILD: &[&str] = &["--max-tokens", "60", "--dry-multiplier", "0.03"];
/// A choice among a few tokens.
const WARM: &[&str] = &["--temperature", "0.5", "--seed", "3"];
/// The same without the likeliest.
const XTC: &[&str] = &["--temperature", "0.5", "--seed", "3", "--xtc-probability", "1"];
/// A choice among many tokens.
const HOT: &[&str] = &["--temperature", "50", "--seed", "3"];

/// Flags of a mode that do there what they do in the first mode of the same command.
fn row(mode: &Mode, flag: &str) -> Option<Effect> {
    let of = |name: &str| ROWS.iter().find(|(mode, f, _)| *mode == name && *f == flag).map(|(.., effect)| *effect);
    of(mode.name).or_else(|| of(mode.command))
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf")
}

/// A home with the files that the modes read.
fn prepared() -> Home {
    let home = Home::new();
    let file = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
    file("long.txt", &"a b c d e f g h ".repeat(60));
    file("m.json", r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    file("t.jinja", "{{ messages[0].content }}!");
    file("y.gguf", "something else");
    let imported = home.run(&["import", model().to_str().unwrap(), "--name", "m"]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    home
}

fn run(home: &Home, mode: &Mode, more: &[&str]) -> Output {
    let model = model();
    let mut args: Vec<String> = mode.args.iter().map(|arg| arg.replace("MODEL", model.to_str().unwrap())).collect();
    for pair in more.chunk_by(|_, next| !next.starts_with("--")) {
        // A flag that is given again takes the place of the mode's own.
        let at = args.iter().position(|arg| arg == pair[0]);
        if let (Some(at), [_, value]) = (at, pair) {
            args[at + 1] = (*value).to_owned();
        } else if at.is_some() && pair.len() == 1 {
            // A switch is there already.
        } else {
            args.extend(pair.iter().map(|&arg| arg.to_owned()));
        }
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    #[cfg(target_os = "linux")]
    if mode.name == CHAT {
        return in_a_terminal(&args, home);
    }
    let mut command: Command = home.command(&args);
    command.current_dir(home.path()).env("TOKKI_OFFLINE", "1").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let written = std::io::Write::write_all(&mut child.stdin.take().unwrap(), mode.stdin.as_bytes());
    // A command that is refused need not read.
    drop(written);
    child.wait_with_output().unwrap()
}

/// Asks a question in a chat and what holds there, and leaves.
#[cfg(target_os = "linux")]
fn in_a_terminal(args: &[&str], home: &Home) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let mut command = crate::launch::tokki();
    command.args(args).env_clear().env("TOKKI_HOME", home.path()).env("HOME", home.path());
    command.current_dir(home.path()).env("TOKKI_OFFLINE", "1").env("TERM", "xterm").env("NO_COLOR", "1");
    let mut terminal = crate::terminal::Terminal::start(command, 120);
    let mut ended = None;
    for line in ["Hello there\r", "/show\r", "\u{4}"] {
        ended = terminal.prompt_or_end();
        if ended.is_some() {
            break;
        }
        let rows = terminal.screen.rows().len();
        terminal.send(line);
        terminal.until("an echo", |terminal| line == "\u{4}" || terminal.screen.rows().len() > rows);
    }
    let code = ended.unwrap_or_else(|| terminal.end());
    // The seed is another one each time.
    let rows: Vec<String> = terminal.screen.rows();
    let shown: Vec<String> =
        rows.iter().filter(|row| !row.starts_with("seed") || row.ends_with(" 8")).cloned().collect();
    Output {
        status: std::process::ExitStatus::from_raw(code << 8),
        stdout: shown.join("\n").into_bytes(),
        stderr: Vec::new(),
    }
}

fn check(mode: &Mode, flag: &str, effect: Effect) -> Result<(), String> {
    let home = prepared();
    // Vectors may be bytes.
    let said = |output: &Output| format!("{}{}", String::from_utf8_lossy(&output.stdout), text(&output.stderr));
    let fail = |why: &str, output: &Output| Err(format!("{} {flag}: {why}: {}", mode.name, said(output)));
    match effect {
        Differs(_) | DiffersIn(..) => {
            let (with, both) = match effect {
                DiffersIn(with, both) => (with, both),
                Differs(with) => (with, &[][..]),
                _ => unreachable!(),
            };
            let all: Vec<&str> = both.iter().chain(with).copied().collect();
            let (with, without) = (run(&prepared(), mode, &all), run(&prepared(), mode, both));
            if with.status.code() != Some(0) {
                return fail("it was to end well", &with);
            }
            if steady(&said(&with)) == steady(&said(&without)) {
                return fail("it changes nothing", &with);
            }
        }
        Refused(with) => {
            let output = run(&home, mode, with);
            if output.status.code() != Some(2) {
                return fail("it was to be refused", &output);
            }
        }
        Says(with, wanted) => {
            let output = run(&home, mode, with);
            if !said(&output).contains(wanted) {
                return fail(&format!("it was to say {wanted:?}"), &output);
            }
        }
        Writes(with, file) => {
            let output = run(&home, mode, with);
            if !home.path().join(file).exists() {
                return fail(&format!("it was to write {file}"), &output);
            }
        }
        As(command, bad) => {
            assert!(ROWS.iter().any(|(name, f, _)| *name == command && *f == flag), "{command} has no {flag}");
            let output = if mode.name.starts_with("run") { return Ok(()) } else { run(&home, mode, &[flag, bad]) };
            if output.status.code() != Some(2) {
                return fail("a value that makes no sense was to be refused", &output);
            }
        }
        Tested(file) => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite").join(file);
            let source = std::fs::read_to_string(path).unwrap();
            if !source.contains(&format!("\"{flag}\"")) && !source.contains(&format!("\"{flag}=")) {
                return Err(format!("{} {flag}: {file} does not give it to the binary", mode.name));
            }
        }
    }
    Ok(())
}

/// What was said without what differs from run to run.
fn steady(said: &str) -> String {
    let numbers =
        |line: &str| ["seconds", "_s\"", "bytes\"", "peak", "_mb", "\"seed\""].iter().any(|word| line.contains(word));
    let kept = said.lines().filter(|line| !numbers(line) || line.contains("read_ahead"));
    kept.collect::<Vec<_>>().join("\n")
}

/// The flags that the help of a command lists, but those of every command.
fn flags(home: &Home, command: &str) -> BTreeSet<String> {
    let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
    let help = text(&home.run(&args).stdout);
    let begins = |line: &str| line.starts_with("  ") && line.trim_start().starts_with('-');
    let flag = |line: &str| {
        let rest = &line[line.find("--")?..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let all = help.lines().filter(|line| begins(line)).filter_map(flag);
    all.filter(|flag| !["--help", "--version", "--home", "--offline"].contains(&flag.as_str())).collect()
}

#[test]
fn every_flag_has_an_effect_or_is_refused() {
    let home = Home::new();
    let mut work = Vec::new();
    let mut missing = Vec::new();
    for mode in MODES {
        for flag in flags(&home, mode.command) {
            match row(mode, &flag) {
                Some(effect) => work.push((mode, flag, effect)),
                None => missing.push(format!("{} {flag}", mode.name)),
            }
        }
    }
    assert!(missing.is_empty(), "flags without a row that says what they do: {missing:?}");
    for (mode, flag, _) in ROWS {
        assert!(work.iter().any(|(m, f, _)| m.name == *mode && f == flag), "{mode} has no flag {flag} any more");
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || {
        let mut faults = Vec::new();
        while let Some((mode, flag, effect)) = work.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            faults.extend(check(mode, flag, *effect).err());
        }
        faults
    };
    let faults: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{} flags:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_command_is_walked() {
    let home = Home::new();
    let help = text(&home.run(&["--help"]).stdout);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let walked = MODES.iter().any(|mode| mode.command.split(' ').next() == Some(name));
        assert!(walked, "no mode walks the flags of {name}");
    }
}
