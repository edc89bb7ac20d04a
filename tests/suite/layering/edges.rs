//! THE LIST: what each module may use. A module that needs one more is thought over twice, and then gets it here.

/// Leaves that every module of `src` may use.
pub const EVERYWHERE: &[&str] = &["error", "text", "units", "suggest"];

/// Modules of `src`, and modules within them that have edges of their own: formats and facts at the bottom, then weights, then computing, then what speaks with people.
pub const SRC: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("error", &[]),
    ("units", &[]),
    ("suggest", &[]),
    ("platform", &["tokki_quant"]),
    ("interrupt", &["platform"]),
    ("machine", &["tokki_quant"]),
    ("parallel", &["machine", "platform", "tokki_quant"]),
    ("config", &["platform", "sample", "tokki_quant"]),
    ("gguf", &["platform", "tokki_quant"]),
    ("arch", &["gguf"]),
    ("model", &["arch", "gguf", "tokki_quant"]),
    ("kv", &["arch", "tokki_quant"]),
    ("forward", &["arch", "kv", "model", "parallel", "tokki_quant"]),
    ("tokenizer", &["gguf"]),
    ("sample", &["gguf"]),
    ("chat", &["gguf", "interrupt"]),
    ("shapes", &["arch", "gguf", "tokenizer", "tokki_quant"]),
    ("testing", &["arch", "gguf", "tokenizer", "tokki_quant"]),
    ("predict", &["arch", "forward", "gguf", "kv", "machine", "model", "parallel", "platform", "tokki_quant"]),
    (
        "engine",
        &[
            "arch",
            "chat",
            "forward",
            "gguf",
            "kv",
            "machine",
            "model",
            "parallel",
            "platform",
            "sample",
            "tokenizer",
            "tokki_quant",
        ],
    ),
    ("describe", &["arch", "chat", "gguf", "kv", "sample", "shapes", "tokenizer"]),
    // What calls out knows no store: only these leaves of it.
    ("store::progress", &[]),
    ("store::disk", &["platform"]),
    ("store::hash", &["platform", "store::progress"]),
    ("store::name", &["gguf"]),
    ("store::net", &["platform", "store::disk", "store::hash", "store::name", "store::progress"]),
    ("store", &["config", "gguf", "platform", "store::disk", "store::hash", "store::name", "store::net"]),
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
    ("main", &["cli"]),
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
    ("prefetch", &["isa"]),
    ("floats", &["fma", "formats", "isa", "prefetch", "product"]),
    ("dot", &["activation", "fma", "formats"]),
    ("gemv", &["activation", "formats", "isa", "layout", "matrix", "prefetch", "share"]),
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
    ("random", &["dtype", "formats", "matrix"]),
    ("testing", &["activation", "dtype", "formats", "isa", "matmul", "matrix", "share"]),
];

/// Modules of `formats` that the others may use: what several formats are made of.
pub const PARTS_OF_FORMATS: &[&str] = &["bits", "grids"];

/// Modules that may use each other in cycles, each with its reason.
pub const CYCLES_OF_SRC: &[(&[&str], &str)] = &[(
    &["chat::jinja::filters", "chat::jinja::predicates"],
    "`select` takes a test by its name, and the test `filter` knows the names of filters",
)];

/// The same of `quant`.
pub const CYCLES_OF_QUANT: &[(&[&str], &str)] = &[];

/// Names that are several types': the two that each system has its own of, of which one is compiled.
pub const DOUBLED: &[&str] = &["Hangup", "Keyboard"];

/// Names that are several constants': each dialect's own way to tell errors.
pub const CONSTANTS: &[&str] = &["DIALECT"];

/// The same of `quant`: the table of scales of each of two formats.
pub const CONSTANTS_OF_QUANT: &[&str] = &["SCALES"];

/// Dialects of the server that do not know each other. (`decisions` takes its input in the form of `responses`; what
/// `completion` tells of speeds is told by others, too.)
pub const DIALECTS: &[&str] = &["openai", "responses", "anthropic", "ollama", "llama_server"];

/// Commands that know another one: `batch` opens models as `serve` does, which names poolings as `embed` does. Otherwise no
/// command of the table in `cli` knows another.
pub const COMMANDS_KNOW: &[(&str, &str)] = &[("batch", "serve"), ("serve", "embed")];

/// Words for what systems differ in, with the modules that are made of it: the platform, mapped files, the machine; and what has to
/// come before `main`.
pub const SYSTEMS: &[&str] = &["std::os", "std::env::consts", "rustix", "libc"];

/// The same as the beginning of a text: places that one system has.
pub const SYSTEM_PLACES: &[&str] = &["/proc/", "/sys/", "/dev/", "/etc/"];

/// What a `cfg` asks of a system.
pub const SYSTEM_SWITCHES: &[&str] = &["unix", "windows", "target_os", "target_family", "target_env", "target_arch"];

pub const SYSTEM_MODULES: &[&str] = &["src/platform/", "src/gguf/map", "src/machine", "src/main.rs"];

/// Modules whose numbers are the same on every system.
pub const COMPUTE: &[&str] =
    &["src/arch/", "src/forward/", "src/model/", "src/kv/", "src/engine/", "src/sample/", "src/server/", "quant/src/"];

/// Modules that name a family, each with its reason. Everything else knows words of mathematics.
pub const NAMED: &[(&str, &str)] = &[
    ("src/arch/", "the table of architectures, and their facts"),
    ("src/shapes/table.rs", "the table of published models' shapes"),
    ("src/shapes/keys.rs", "a shape's file needs some tokenizer's name"),
    ("src/sample/vendor.rs", "the table of recommended sampling"),
    ("src/store/catalogue.rs", "the table of models that are known by a short name"),
    ("src/store/source.rs", "an example of a name on the hub"),
    ("src/cli/config.rs", "an example of settings for one model"),
    ("src/tokenizer/", "tokenizers and pre-tokenizers are told by such names in files"),
    ("src/chat/file.rs", "a tokenizer's name in files"),
    ("src/server/common.rs", "a word that clients send for thoughts apart from the answer"),
    ("src/testing/", "tiny models of each architecture"),
];

/// What is no family's name, though it has one in it: programs, and a unit.
pub const NO_FAMILIES: &[&str] = &["llama.cpp", "llama-server", "llama_server", "YiB"];

/// Names of architectures that are words of their own, too.
pub const ALSO_WORDS: &[&str] = &["plm"];

/// Names of families that are no architecture's. (RWKV is a recurrence as well.)
pub const FAMILIES: &[&str] = &["mistral", "mixtral", "gpt", "kimi", "hermes", "yi"];

/// Modules that read tensors, or what is known of them, by their roles. (`arch` has their names; what a trace tells is named as
/// other engines do.)
pub const TENSORS_UNNAMED: &[&str] = &[
    "src/model/",
    "src/shapes/",
    "src/predict/",
    "src/describe/",
    "src/kv/",
    "src/engine/",
    "src/sample/",
    "src/chat/",
    "src/store/",
    "src/server/",
    "src/cli/",
];

/// Modules that name formats of blocks: their table and their files; recipes of files; what is tried before there is a model; what
/// files are called on a hub.
pub const FORMATS_NAMED: &[&str] =
    &["quant/src/dtype.rs", "quant/src/formats/", "src/shapes/", "src/predict/threads.rs", "src/store/net/hub.rs"];

/// What asks outside of `isa` which processor it is compiled for, each with its reason.
pub const PROCESSORS_NAMED: &[(&str, &str)] =
    &[("quant/src/gemm/mod.rs", "what tiles alone use would be dead code elsewhere")];

/// Words that stay in their modules: a name, the beginning of a path, or with `*` the beginning of a name.
pub const WORDS: &[(&str, &[&str])] = &[
    ("std::arch", &["quant/src/isa/"]),
    ("core::arch", &["quant/src/isa/"]),
    ("asm", &["quant/src/isa/"]),
    ("target_feature", &["quant/src/isa/"]),
    ("is_x86_feature_detected", &["quant/src/isa/"]),
    ("is_aarch64_feature_detected", &["quant/src/isa/"]),
    ("_mm*", &["quant/src/isa/"]),
    ("vdotq*", &["quant/src/isa/"]),
    ("vld1q*", &["quant/src/isa/"]),
    ("vfmaq*", &["quant/src/isa/"]),
    // Numbers depend on no surroundings.
    (
        "std::env",
        &["src/config/", "src/platform/", "src/cli/", "src/store/", "src/parallel.rs", "quant/src/testing.rs"],
    ),
    ("ureq", &["src/store/net/"]),
    ("clap", &["src/cli/"]),
    ("clap_complete", &["src/cli/"]),
    ("clap_mangen", &["src/cli/"]),
    ("hyper", &["src/server/listen.rs"]),
    ("hyper_util", &["src/server/listen.rs"]),
    ("TcpSocket", &[]),
    ("TcpStream", &["src/store/net/", "src/server/listen.rs"]),
    ("TcpListener", &["src/server/listen.rs"]),
    ("UdpSocket", &[]),
    ("UnixStream", &[]),
    ("UnixListener", &[]),
    ("UnixDatagram", &["src/platform/process.rs"]),
    ("UnixSocket", &[]),
    ("tokio::net", &["src/server/listen.rs"]),
    ("ToSocketAddrs", &["src/server/listen.rs"]),
    ("lookup_host", &[]),
    ("std::process::Command", &["src/platform/", "src/machine/", "src/store/net/"]),
    ("memmap2", &["src/gguf/"]),
    ("WillNeed", &["src/gguf/map/mod.rs"]),
    ("ReadAhead", &["src/forward/ahead.rs", "src/forward/product.rs"]),
    ("gguf_rs", &["src/gguf/"]),
];
