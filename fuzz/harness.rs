//! What the fuzz targets do with their bytes; `tests/suite/fuzzed.rs` replays saved inputs and some thousands of drawn ones.
//!
//! A harness panics on a fault and returns on everything else: errors are what malformed input is for.

#[path = "requests.rs"]
mod requests;
#[path = "schemas.rs"]
mod schemas;

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use tokki::engine::{Embedder, Options, Session, session_file};
use tokki::internals::Description;
use tokki::internals::chat::{CallFinder, Splitter, StopMatcher, Template, Tools, Vars};
use tokki::internals::gguf::Gguf;
use tokki::internals::model::Model;
use tokki::internals::parallel::Pool;
use tokki::internals::sample::{Constraint, Form, Grammars};
use tokki::internals::tokenizer::{Special, Tokenizer};
use tokki::testing::{Writer, tiny};
use tokki_quant::attention::KvKind;
use tokki_quant::dtype::DType;
use tokki_quant::isa::Isa;
use tokki_quant::matrix::Matrix;
use tokki_quant::testing::{activations, product};

/// A harness by its name.
pub type Harness = (&'static str, fn(&[u8]));

/// All of them; a fuzz target each.
pub const ALL: &[Harness] = &[
    ("gguf", gguf),
    ("gguf_edited", gguf_edited),
    ("kernels", kernels),
    ("tokenizer", tokenizer),
    ("template", template),
    ("schema", schema),
    ("schema_grown", schemas::grown),
    ("grammar", grammar),
    ("session", session),
    ("config", config),
    ("answers", answers),
    ("journal", journal),
    ("requests", requests::requests),
];

/// Runs the harness `name`.
pub fn run(name: &str, data: &[u8]) {
    let (_, harness) = ALL.iter().find(|(known, _)| *known == name).expect("a harness of this name");
    harness(data);
}

fn pool() -> Arc<Pool> {
    static POOL: OnceLock<Arc<Pool>> = OnceLock::new();
    Arc::clone(POOL.get_or_init(|| Arc::new(Pool::new(1).expect("a thread"))))
}

fn options() -> Options {
    Options { context: 16, kv: KvKind::F16, batch: 4, read_ahead: 0, expand_latents: false }
}

/// Opens, describes, binds, and runs what is small.
fn opened(bytes: &[u8]) {
    let Ok(gguf) = Gguf::from_bytes(Path::new("fuzz.gguf"), bytes) else { return };
    let described = Description::of(&gguf).expect("no shortage");
    drop(Tokenizer::from_gguf(&gguf));
    let Ok(model) = Model::from_gguf(gguf) else { return };
    assert!(
        described.problems.iter().all(|why| why.contains("tokens, but")),
        "it binds, though {:?}",
        described.problems
    );
    let Some(size) = model.spec.embd.checked_mul(model.spec.layers.len()).filter(|&size| size < 1 << 16) else {
        return;
    };
    let tokens = [1, 2].map(|token: u32| token.min(model.spec.vocab as u32 - 1));
    let model = Arc::new(model);
    if size > 0 && matches!(model.spec.output, tokki::internals::arch::Output::Vectors) {
        drop(Embedder::new(model, pool(), options()).embed(&tokens, &AtomicBool::new(false)));
    } else {
        drop(Session::new(model, pool(), options()).feed(&tokens, &mut |_| ()));
    }
}

/// Any bytes as a model. Half of them are headers, behind which lie as many weights as a tiny model has.
pub fn gguf(data: &[u8]) {
    if data.len().is_multiple_of(2) && data.starts_with(b"GGUF") {
        return opened(&[data, &[0; 64 << 10]].concat());
    }
    opened(data);
}

/// Small files to begin with, and where their headers end.
fn seeds() -> &'static [(Vec<u8>, usize)] {
    static SEEDS: OnceLock<Vec<(Vec<u8>, usize)>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let names = ["llama", "qwen3moe", "deepseek2", "gemma3", "gpt-oss", "phi3"];
        let of = |name: &&str| tiny(name, 1).ok().map(|writer: Writer| (writer.bytes(), writer.header().len()));
        names.iter().filter_map(of).collect()
    })
}

/// What a target begins with, where bytes that are drawn would take long to become anything that is read.
pub fn beginnings(name: &str) -> Vec<Vec<u8>> {
    match name {
        "gguf" => seeds().iter().map(|(bytes, header)| bytes[..header.next_multiple_of(2)].to_vec()).collect(),
        "gguf_edited" => (0..seeds().len() as u8).map(|which| vec![which, 9, 0, 0, 3]).collect(),
        "session" => vec![vec![1], vec![255, 20, 0, 0, 9], vec![0]],
        "journal" => {
            let hash = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";
            vec![format!("\x010 {hash}\n3 {hash}\n4 700 {hash}\n").into_bytes()]
        }
        _ => Vec::new(),
    }
}

/// Edits of a good file's header: the first byte chooses it, then three bytes for a place and one for a value, again and
/// again; a place past the end cuts the file there.
pub fn gguf_edited(data: &[u8]) {
    let Some((&which, edits)) = data.split_first() else { return };
    let (bytes, header) = &seeds()[which as usize % seeds().len()];
    let mut bytes = bytes.clone();
    for edit in edits.chunks_exact(4).take(16) {
        let at = usize::from(edit[0]) | usize::from(edit[1]) << 8 | usize::from(edit[2]) << 16;
        if at >= 1 << 23 {
            bytes.truncate((at - (1 << 23)) % (header + 64));
        } else if let Some(byte) = bytes.get_mut(at % header) {
            *byte = edit[3];
        }
    }
    opened(&bytes);
}

/// Blocks of any bytes, decoded and multiplied on every instruction set of this machine: the same bits everywhere.
pub fn kernels(data: &[u8]) {
    let Some((&[which, shape, seed], blocks)) = data.split_first_chunk::<3>() else { return };
    let dtype = DType::ALL[usize::from(which) % DType::ALL.len()];
    let (rows, columns) = (usize::from(shape & 31) + 1, usize::from(shape >> 5) * 3 + 1);
    let cols = 256 * (1 + usize::from(seed & 1));
    let Some(size) = dtype.row_bytes(cols).map(|row| row * rows) else { return };
    // What is missing repeats what is there.
    let bytes: Vec<u8> = blocks.iter().chain(&[0x3c]).copied().cycle().take(size).collect();
    let matrix = Matrix::new(dtype, rows, cols, &bytes).expect("whole blocks");
    let x: Vec<f32> = (0..columns * cols).map(|i| ((i * 31 + usize::from(seed)) % 61) as f32 / 7.0 - 4.0).collect();
    let run = |isa: Isa| product(isa, &matrix, &activations(isa, &x, cols));
    let scalar = run(Isa::by_name("scalar").expect("the definition"));
    for isa in Isa::available() {
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(run(isa).iter().zip(&scalar).all(same), "{dtype} {rows} x {cols}, {columns} columns on {}", isa.name());
    }
    let mut row = vec![0.0; cols];
    matrix.decode_row(rows - 1, &mut row);
}

/// A file of this thread, in memory where the system has a place for that.
fn scratch(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    folder.join(format!("tokki-fuzz-{name}-{}-{:?}", std::process::id(), std::thread::current().id()))
}

fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let made = || {
        let bytes = tiny("llama", 3).expect("a tiny model").bytes();
        Arc::new(Model::from_gguf(Gguf::from_bytes(Path::new("tiny"), &bytes).expect("it opens")).expect("it binds"))
    };
    Arc::clone(MODEL.get_or_init(made))
}

fn shared_tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| Tokenizer::from_gguf(&model().gguf).expect("a tokenizer"))
}

/// A text goes into tokens and comes out again, in one piece or token by token.
pub fn tokenizer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let tokenizer = shared_tokenizer();
    for special in [Special::Plain, Special::Parse] {
        let ids = tokenizer.encode(&text, special);
        let mut stream = tokenizer.stream_with(true);
        let mut streamed: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, tokenizer.decode(&ids, true), "piece by piece and at once");
        assert_eq!(streamed, text, "back to the text");
    }
}

/// Any text as a chat template.
pub fn template(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(template) = Template::new(source, "fuzz.jinja") else { return };
    let vars = serde_json::json!({"messages": [{"role": "user", "content": "hi {{ x }}"}], "add_generation_prompt": true,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"minimum": 1e-7}}}]});
    let serde_json::Value::Object(vars) = vars else { return };
    let start = std::time::Instant::now();
    if let Ok(text) = template.render(&Vars::from_iter(vars)) {
        assert!(text.len() < 64 << 20, "{} bytes", text.len());
    }
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

fn grammars() -> &'static Grammars {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    GRAMMARS.get_or_init(|| {
        let words = (0..=255u8).map(|byte| vec![byte]).chain([b"\": ".to_vec(), b"true".to_vec(), Vec::new()]);
        Grammars::new(words, &[258]).expect("a vocabulary")
    })
}

/// Follows a form, always by the first token that is allowed from some place on.
fn followed(form: &Form, json: bool) {
    let Ok(mut constraint) = grammars().constraint(form) else { return };
    let mut text = Vec::new();
    for step in 0..64u32 {
        let Ok(mask) = constraint.allowed() else { return };
        let Some(token) = (0..259).map(|i| (i + step * 37) % 259).find(|&token| mask.contains(token)) else { return };
        if constraint.accept(token).is_err() {
            return;
        }
        match token {
            258 => {
                let whole = std::str::from_utf8(&text)
                    .is_ok_and(|text| serde_json::from_str::<serde_json::Value>(text).is_ok());
                assert!(!json || whole, "{}", String::from_utf8_lossy(&text));
                return;
            }
            256 => text.extend_from_slice(b"\": "),
            257 => text.extend_from_slice(b"true"),
            byte => text.push(byte as u8),
        }
    }
}

/// Any JSON as a schema.
pub fn schema(data: &[u8]) {
    let Ok(schema) = serde_json::from_slice(data) else { return };
    followed(&Form::JsonSchema(schema), true);
}

/// Any text as a grammar or regular expression.
pub fn grammar(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    followed(&Form::Lark(text.to_owned()), false);
    followed(&Form::Regex(text.to_owned()), false);
}

/// Edits of a good session file, or any bytes: refused, or the session that was saved. With a checksum that agrees it may be
/// another session, that goes on.
pub fn session(data: &[u8]) {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    let path = scratch("session");
    let good = GOOD.get_or_init(|| {
        let mut session = Session::new(model(), pool(), options());
        session.feed(&[1, 2, 3], &mut |_| ()).expect("three tokens");
        session_file::save(&session, serde_json::json!({"a": 1}), &path).expect("a session file");
        std::fs::read(&path).expect("what was written")
    });
    let mut bytes = good.clone();
    let agrees = matches!(data.first(), Some(128..));
    match data.split_first() {
        Some((0, rest)) => bytes = rest.to_vec(),
        Some((_, edits)) => {
            for edit in edits.chunks_exact(4) {
                let at = usize::from(edit[0]) | usize::from(edit[1]) << 8 | usize::from(edit[2]) << 16;
                let len = bytes.len();
                bytes[at % len] = edit[3];
            }
        }
        None => {}
    }
    if agrees {
        let end = bytes.len() - 32;
        let digest = Sha256::digest(&bytes[..end]);
        bytes[end..].copy_from_slice(&digest);
    }
    std::fs::write(&path, &bytes).expect("a file");
    if let Ok((mut session, _)) = session_file::load(&path, model(), pool(), options()) {
        assert!(agrees || &bytes == good, "another file than the saved one is believed");
        if agrees {
            drop(session.feed(&[1], &mut |_| ()));
        }
    }
    drop(std::fs::remove_file(&path));
}

/// Any text as the configuration file and the environment.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = scratch("config");
    std::fs::write(&path, data).expect("a file");
    let file = path.to_string_lossy().into_owned();
    drop(tokki::internals::Settings::from_sources(&|name| (name == "TOKKI_CONFIG").then(|| file.clone())));
    drop(tokki::internals::Settings::from_sources(&|name| (name != "TOKKI_CONFIG").then(|| text.clone().into_owned())));
    drop(std::fs::remove_file(&path));
}

/// A model's answer in pieces: thoughts, calls and stop texts are found in it, and no text is lost.
pub fn answers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pieces: Vec<String> =
        text.chars().collect::<Vec<_>>().chunks(1 + data.len() % 5).map(|c| c.iter().collect()).collect();
    let mut plain = Splitter::plain();
    let mut parts: String = pieces.iter().flat_map(|piece| plain.push(piece)).map(|part| part.text).collect();
    parts.extend(plain.finish().into_iter().map(|part| part.text));
    assert_eq!(parts, text, "the parts make up the text");
    let has = |_: &str| true;
    let mut splitter = Splitter::new("{{ '<think>' }}</think>", &has, "");
    pieces.iter().for_each(|piece| drop(splitter.push(piece)));
    drop(splitter.finish());
    let mut stops = StopMatcher::new(["</s>", "STOP", "a"]);
    pieces.iter().for_each(|piece| drop(stops.push(piece)));
    let mut calls = CallFinder::new(Tools::default());
    pieces.iter().for_each(|piece| drop(calls.push(piece)));
}

/// Any bytes as the record of a download: what it vouches for are blocks of the file that it names.
pub fn journal(data: &[u8]) {
    let head = r#"{"version":2,"url":"https://h/m.gguf","size":1000000,"block":65536,"sha256":null,"etag":"\"x\""}"#;
    let bytes = match data.split_first() {
        // Behind a good first line.
        Some((0..128, lines)) => [head.as_bytes(), b"\n", lines].concat(),
        _ => data.to_vec(),
    };
    let vouched = tokki::internals::vouched(&bytes);
    assert!(
        vouched.as_ref().is_none_or(|(size, blocks)| *size > 0 && blocks.iter().all(|block| block.end <= *size)),
        "blocks past the end"
    );
    // Without its last, torn line it says the same.
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    assert_eq!(tokki::internals::vouched(&bytes[..whole]), vouched, "read twice");
}
