//! THE LIST: what each module may use. Whoever needs one more thinks twice, and then adds it here.

/// Leaves that every module of `src` may use.
pub const EVERYWHERE: &[&str] = &["error", "text", "units", "suggest"];

/// Modules of `src`: formats and facts at the bottom, then weights, then computing, then what speaks with people.
pub const SRC: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("error", &[]),
    ("units", &[]),
    ("suggest", &[]),
    ("platform", &[]),
    ("interrupt", &["platform"]),
    ("machine", &[]),
    ("parallel", &[]),
    ("config", &["platform", "sample"]),
    ("gguf", &["platform"]),
    ("arch", &["gguf"]),
    ("model", &["arch", "gguf"]),
    ("kv", &["arch"]),
    ("forward", &["arch", "kv", "model", "parallel"]),
    ("tokenizer", &["gguf"]),
    ("sample", &["gguf"]),
    ("chat", &["gguf", "interrupt", "sample"]),
    ("shapes", &["gguf"]),
    ("testing", &["arch", "gguf"]),
    ("predict", &["arch", "forward", "gguf", "kv", "machine", "model", "parallel"]),
    (
        "engine",
        &["arch", "chat", "forward", "gguf", "kv", "machine", "model", "parallel", "platform", "sample", "tokenizer"],
    ),
    ("describe", &["arch", "chat", "gguf", "kv", "sample", "shapes", "tokenizer"]),
    ("store", &["config", "gguf", "interrupt", "platform"]),
    ("perplexity", &["engine", "platform"]),
    ("server", &["chat", "describe", "engine", "platform", "sample", "tokenizer"]),
    (
        "cli",
        &[
            "chat",
            "config",
            "describe",
            "engine",
            "gguf",
            "interrupt",
            "machine",
            "model",
            "parallel",
            "perplexity",
            "platform",
            "predict",
            "sample",
            "server",
            "shapes",
            "store",
            "tokenizer",
        ],
    ),
];

/// Modules of `quant`: leaves, instruction sets, formats, then products that put them together.
pub const QUANT: &[(&str, &[&str])] = &[
    ("fma", &[]),
    ("half_float", &[]),
    ("share", &[]),
    ("team", &[]),
    ("isa", &["fma", "half_float"]),
    ("elementary", &["isa"]),
    ("ceiling", &["isa"]),
    ("formats", &["isa"]),
    ("activation", &["isa", "share"]),
    ("dtype", &["activation", "formats"]),
    ("layout", &["formats", "isa"]),
    ("matrix", &["dtype", "formats", "layout"]),
    ("product", &["activation", "matrix", "share"]),
    ("floats", &["fma", "formats", "isa", "product"]),
    ("dot", &["activation", "fma", "formats"]),
    ("gemv", &["activation", "formats", "isa", "layout", "matrix", "share"]),
    ("gemm", &["activation", "formats", "isa", "layout", "matrix", "product", "share"]),
    (
        "matmul",
        &[
            "activation",
            "dot",
            "dtype",
            "floats",
            "formats",
            "gemm",
            "gemv",
            "isa",
            "layout",
            "matrix",
            "product",
            "share",
        ],
    ),
    ("attention", &["elementary", "fma", "half_float", "isa"]),
    ("norms", &["isa", "ops"]),
    ("gates", &["elementary", "isa", "ops"]),
    ("recurrent", &["elementary", "isa"]),
    ("ops", &["elementary", "isa"]),
    ("testing", &["activation", "dtype", "isa", "matmul", "matrix", "share"]),
];

/// Dialects of the server that do not know each other. (`decisions` takes its input in the form of `responses`; what
/// `completion` tells of speeds is told by others, too.)
pub const DIALECTS: &[&str] = &["openai", "responses", "anthropic", "ollama", "llama_server"];

/// Commands that do not know each other. (`run` begins the chat, `batch` opens models as `serve` does.)
pub const COMMANDS: &[&str] = &[
    "bench",
    "config",
    "doctor",
    "history",
    "import",
    "list",
    "logits",
    "perplexity",
    "plan",
    "pull",
    "rm",
    "serve",
    "show",
    "template",
    "tokenize",
    "verify",
];

/// Words for what systems differ in, with the rooms that are made of it: the platform, mapped files, the machine; what has to
/// come before `main`; and an error that the line editor has on some systems only.
pub const SYSTEMS: &[&str] = &[
    "cfg(unix)",
    "cfg(not(unix))",
    "cfg(windows)",
    "cfg!(windows)",
    "cfg!(unix)",
    "target_os",
    "std::os::",
    "rustix::",
    "libc::",
];
pub const SYSTEM_ROOMS: &[&str] =
    &["src/platform/", "src/gguf/map", "src/machine", "src/main.rs", "src/cli/repl/editor.rs"];

/// Words that stay in their rooms.
pub const WORDS: &[(&str, &[&str])] = &[
    ("std::arch", &["quant/src/isa/"]),
    ("core::arch", &["quant/src/isa/"]),
    ("asm!", &["quant/src/isa/"]),
    ("target_feature", &["quant/src/isa/"]),
    ("is_x86_feature_detected", &["quant/src/isa/"]),
    ("_mm256_", &["quant/src/isa/"]),
    ("_mm512_", &["quant/src/isa/"]),
    ("ureq", &["src/store/net/"]),
    ("TcpStream", &["src/store/net/", "src/server/listen.rs"]),
    ("TcpListener", &["src/server/listen.rs"]),
    ("memmap2", &["src/gguf/"]),
    ("gguf_rs", &["src/gguf/"]),
];
