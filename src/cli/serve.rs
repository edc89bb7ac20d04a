//! `tokki serve`: the HTTP server.

use super::compute::Compute;
use super::flags::{MachineFlags, SamplingFlags, ServerFlags, ThinkingFlags};
use super::output;
use crate::chat::Template;
use crate::config::{Bytes, Item, Settings};
use crate::engine::{DEFAULT_BATCH, DiskCache, Engine, EngineOptions, Llm, Pooling, SharedBudget, least_cache};
use crate::gguf::Gguf;
use crate::machine::Machine;
use crate::model::Model;
use crate::parallel::Pool;
use crate::platform::input::read_text;
use crate::platform::process::notify_ready;
use crate::server::{Defaults, LogForm, Models, Notice, Offer, OnNotice, Residency, ServerOptions, Tls, check, serve};
use crate::units::show_bytes;
use crate::{Error, ErrorKind, Result, engine, interrupt, store};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Largest file of a template in bytes; a longer one would be refused when it is parsed.
const MAX_TEMPLATE: u64 = 4 << 20;

/// Serves models over HTTP
///
/// Speaks the dialects of OpenAI (/v1/chat/completions, /v1/completions), Anthropic (/v1/messages), Ollama (/api/chat) and
/// llama-server (/completion). Without a MODEL it serves the default model. It listens on this machine only unless --host
/// says otherwise, which needs a key.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  tokki serve model.gguf\n  tokki serve --host 0.0.0.0 --api-key-file keys.txt model.gguf\n  \
    curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
)]
pub(super) struct ServeArgs {
    /// Paths or store names; NAME=PATH serves a path under another name, NAME,NAME=PATH under several. The first is opened
    /// at once, the others when they are first asked for
    models: Vec<OsString>,

    /// Serve every model of the store, each opened when it is first asked for, besides those that are named
    #[arg(long)]
    store: bool,

    /// Models that are open at the same time at most; the one unused for the longest time is closed for another, and while
    /// all are in use, another waits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    max_open: Option<u16>,

    /// Close a model that has been idle for so long, such as 30m or 2h; by default none
    #[arg(long, value_name = "TIME", value_parser = time)]
    keep_alive: Option<Duration>,

    /// How vectors of tokens become one of a text; default: as the file says
    #[arg(long, value_parser = super::embed::pooling_names())]
    pooling: Option<Pooling>,

    /// No chat page at /
    #[arg(long)]
    no_page: bool,

    /// Show the prompt and the settings with every chat answer, as "__verbose"
    #[arg(long)]
    verbose: bool,

    /// No numbers at /metrics
    #[arg(long)]
    no_metrics: bool,

    /// Give the numbers at /metrics also under the names that gateways of vLLM read
    #[arg(long, conflicts_with = "no_metrics")]
    vllm_metrics: bool,

    /// /slots does not tell what runs
    #[arg(long)]
    no_slots: bool,

    /// The folder of the files that /slots/N?action=save writes; without it slots cannot be saved
    #[arg(long, value_name = "FOLDER")]
    slot_save_path: Option<PathBuf>,

    /// The folder of uploaded files and batches, which a later start goes on with; without it they go with the server
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// A word that the list of models shows beside the first one; may be given several times
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    tag: Vec<String>,

    /// Address to listen at; may be given several times
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    host: Vec<IpAddr>,

    /// Port to listen at; 0 takes one that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// A key that clients must show; may be given several times
    #[arg(long, value_name = "KEY", env = "TOKKI_API_KEY", hide_env_values = true, value_delimiter = ',')]
    api_key: Vec<String>,

    /// A file with one key per line; read again at SIGHUP, as certificates are
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Requests that may wait besides those that are answered; more get "429 Too Many Requests"
    #[arg(long, default_value_t = 128, value_name = "N")]
    queue: u16,

    /// A site whose pages may use the server, such as `https://chat.example`, or localhost, or *; may be given several times
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    cors: Vec<String>,

    /// A name besides localhost by which the server may be called; may be given several times
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    name: Vec<String>,

    /// Certificate chain in PEM; with --tls-key the server speaks HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Seconds that running answers may go on after SIGTERM
    #[arg(long, default_value_t = 30, value_name = "SECONDS", allow_negative_numbers = true)]
    drain: u16,

    #[command(flatten)]
    engine: EngineFlags,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    thinking: ThinkingFlags,
    #[command(flatten)]
    told: ServerFlags,
}

/// Flags of every command that answers many requests.
#[derive(clap::Args, Debug, Clone)]
pub(super) struct EngineFlags {
    /// Answers that are written at the same time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,

    /// Memory for the key-value cache of all conversations with all models, such as 4G; by default what fits
    #[arg(long, value_name = "SIZE", value_parser = size)]
    cache_size: Option<usize>,

    /// A folder for what that memory has no room for, which a later start begins with: conversations are not read again
    #[arg(long, value_name = "FOLDER")]
    cache_disk: Option<PathBuf>,

    /// Most bytes of that folder for each model
    #[arg(long, default_value = "16G", value_name = "SIZE", value_parser = size, requires = "cache_disk")]
    cache_disk_size: usize,

    /// Tokens of a prompt that are read in one pass at most
    #[arg(long, default_value_t = DEFAULT_BATCH as u16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,

    /// Chat template to use instead of the file's own
    #[arg(long, value_name = "FILE")]
    chat_template_file: Option<PathBuf>,

    #[command(flatten)]
    machine: MachineFlags,
}

/// A size such as 512M or 4G.
fn size(text: &str) -> std::result::Result<usize, String> {
    let bytes = Bytes::parse(text).ok().and_then(|Bytes(bytes)| usize::try_from(bytes).ok());
    bytes
        .filter(|bytes| (1..1_000_000_000_000_000).contains(bytes))
        .ok_or_else(|| "a size such as 512M or 4G".to_owned())
}

/// Runs the command.
pub(super) fn run(args: &ServeArgs) -> Result<()> {
    if args.api_key.iter().any(String::is_empty) {
        return Err(Error::usage(
            "An API key is empty. To serve without one, leave out --api-key and unset TOKKI_API_KEY.",
        ));
    }
    for file in [&args.api_key_file, &args.tls_cert, &args.tls_key].into_iter().flatten() {
        super::stdin::for_path(file);
    }
    let settings = Settings::load()?.with(&args.sampling).with(&args.thinking).with(&args.told);
    let options = options(args, &settings);
    // A model may take minutes: what needs none comes first.
    check(&options)?;
    let models = models(args, settings)?;
    interrupt::check()?;
    let told = tell(if options.tls.is_some() { "https" } else { "http" });
    serve(models, options, &told)
}

fn options(args: &ServeArgs, settings: &Settings) -> ServerOptions {
    ServerOptions {
        hosts: args.host.clone(),
        port: args.port,
        keys: args.api_key.clone(),
        key_file: args.api_key_file.clone(),
        cors: args.cors.clone(),
        names: args.name.clone(),
        tls: args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| Tls { cert, key }),
        drain: Duration::from_secs(args.drain.into()),
        page: !args.no_page,
        slots: !args.no_slots,
        verbose: args.verbose,
        metrics: !args.no_metrics,
        vllm_metrics: args.vllm_metrics,
        data: args.data.clone(),
        slot_dir: args.slot_save_path.clone(),
        log: match settings.log().as_deref() {
            Some("json") => LogForm::Json,
            Some("text") => LogForm::Text,
            _ => LogForm::Off,
        },
        keep_billing_line: settings.billing_line().as_deref() == Some("keep"),
        ..ServerOptions::default()
    }
}

/// What is served; of models that are named, the first is opened.
fn models(args: &ServeArgs, settings: Settings) -> Result<Models> {
    let opening = Opening::new(&args.engine, args.queue, settings)?;
    let mut list = if args.store && args.models.is_empty() { Vec::new() } else { offers(&args.models, &opening)? };
    let named = !list.is_empty();
    if args.store {
        list.extend(stored(&list, &opening)?);
        if list.is_empty() {
            let why = "has no models yet: tokki pull NAME or tokki import FILE puts one there";
            return Err(Error::failed(store::Store::open()?.home().display().to_string(), why).of(ErrorKind::NotFound));
        }
    }
    if let Some(first) = list.first_mut() {
        first.tags.clone_from(&args.tag);
    }
    let residency =
        Residency { most: args.max_open.map_or(usize::MAX, usize::from), keep: args.keep_alive, pooling: args.pooling };
    let models = Models::new(list, residency);
    if named {
        models.open_first()?;
    }
    Ok(models)
}

/// Says on the terminal what happens to a server, whose addresses begin with `scheme`.
fn tell(scheme: &'static str) -> OnNotice {
    Arc::new(move |notice| match notice {
        Notice::Listening(address) => {
            interrupt::of_a_server();
            output::say(&format!("tokki: listening at {scheme}://{address}"));
            if let Err(why) = notify_ready() {
                output::say(&format!("tokki: cannot tell systemd that the server is ready: {why}"));
            }
        }
        Notice::Reloaded(0) => output::say("tokki: the keys were read again: there are none, so nobody is let in"),
        Notice::Reloaded(keys) => output::say(&format!("tokki: the keys were read again: {keys}")),
        Notice::NotReloaded(why) => {
            output::say(&format!("tokki: keys or certificates were not read again, and the old ones stay: {why}"));
        }
        Notice::LineDropped => output::say(
            "tokki: a line that changes with every request (x-anthropic-billing-header) was taken out of a system prompt, so \
             that the conversation is found in the cache; this is said once, and --billing-line keep leaves it in",
        ),
        Notice::Request(line) => output::say(&line),
    })
}

/// An address to listen at.
fn address(text: &str) -> std::result::Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        _ => text.parse().map_err(|_| "an address such as 127.0.0.1 or 0.0.0.0".to_owned()),
    }
}

/// A site as browsers name it: without a path, which would never match.
fn origin(text: &str) -> std::result::Result<String, String> {
    let site = text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace())
    });
    match text {
        "*" | "localhost" | "null" => Ok(text.to_owned()),
        _ if site => Ok(text.to_owned()),
        _ => Err("a site such as https://chat.example, localhost or *".to_owned()),
    }
}

/// A name by which clients call the server: without a scheme or a port.
fn host_name(text: &str) -> std::result::Result<String, String> {
    let good = |c: char| c.is_alphanumeric() || "-._*".contains(c);
    match !text.is_empty() && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => Err("a name such as models.example, without scheme and port, or *".to_owned()),
    }
}

/// A time such as 90s, 30m or 2h.
fn time(text: &str) -> std::result::Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| "a time such as 90s, 30m or 2h".to_owned())
}

/// Models to serve, none of them open; without any the default model.
pub(super) fn offers(models: &[impl AsRef<OsStr>], opening: &Arc<Opening>) -> Result<Vec<Offer>> {
    let named: Vec<(Vec<String>, PathBuf)> = if models.is_empty() {
        let path = store::default_model(&super::progress::Bar::default())?;
        vec![(vec![store::name_of(&path)], path)]
    } else {
        models.iter().map(|model| names_and_path(model.as_ref())).collect::<Result<_>>()?
    };
    let mut known = HashSet::new();
    if let Some(twice) = named.iter().flat_map(|(names, _)| names).find(|name| !known.insert(name.as_str())) {
        return Err(Error::usage(format!(
            "Two models are called {twice:?}. Give one of them another name: NAME=PATH."
        )));
    }
    for (_, path) in named.iter().skip(1) {
        // What cannot be run is said now and not to a client.
        Model::open(path)?;
    }
    Ok(named.into_iter().map(|(names, path)| opening.offer(names, path)).collect())
}

/// The models of the store that are not in `list`.
fn stored(list: &[Offer], opening: &Arc<Opening>) -> Result<Vec<Offer>> {
    let known = |name: &String| list.iter().any(|offer| offer.names.contains(name));
    let names = store::Store::open()?.models()?.into_iter().map(|entry| entry.name).filter(|name| !known(name));
    let mut offers = Vec::new();
    for name in names {
        match store::resolve(&name) {
            Ok(path) => offers.push(opening.offer(vec![name], path)),
            Err(why) => output::say(&format!("tokki: {name} is left out: {why}")),
        }
    }
    Ok(offers)
}

/// A model's names and its file. A path is served under its file's name, without the ending.
fn names_and_path(model: &OsStr) -> Result<(Vec<String>, PathBuf)> {
    let Some(model) = model.to_str() else {
        // No name has such bytes, but a path may.
        let path = store::resolve(model)?;
        return Ok((vec![store::name_of(&path)], path));
    };
    if let Some((names, path)) = model.split_once('=').filter(|_| !PathBuf::from(model).exists()) {
        let names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(Error::usage(format!("{model:?} lacks a name: a model is PATH, NAME=PATH or NAME,NAME=PATH.")));
        }
        return Ok((names, store::resolve(path)?));
    }
    let path = store::resolve(model)?;
    let name = match PathBuf::from(model).is_file() {
        true => path.file_stem().map_or_else(|| model.to_owned(), |stem| stem.to_string_lossy().into_owned()),
        false => model.to_owned(),
    };
    Ok((vec![name], path))
}

/// How the models of one process are opened: on the same threads, with the same flags.
pub(super) struct Opening {
    flags: EngineFlags,
    queue: u16,
    /// What holds for answers, before what is set for a single model.
    settings: Settings,
    pool: Arc<Pool>,
    /// The memory for caches, which all models share.
    cache: OnceLock<Arc<SharedBudget>>,
}

impl Opening {
    pub(super) fn new(flags: &EngineFlags, queue: u16, settings: Settings) -> Result<Arc<Self>> {
        // A template that is none is told before a model is opened for it.
        flags.chat_template_file.as_deref().map(template).transpose()?;
        let pool = Compute::pool(&flags.machine)?;
        Ok(Arc::new(Self { flags: flags.clone(), queue, settings, pool, cache: OnceLock::new() }))
    }

    /// What all models compute on.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The memory for the caches of all models, where the first one needs `least` bytes for a conversation: what was asked for,
    /// or half of what is free.
    fn cache(&self, least: usize) -> &Arc<SharedBudget> {
        self.cache.get_or_init(|| {
            let half = || crate::predict::plan::free_memory(&Machine::read()) as usize / 2;
            SharedBudget::new(self.flags.cache_size.unwrap_or_else(|| half().max(least)))
        })
    }

    fn offer(self: &Arc<Self>, names: Vec<String>, path: PathBuf) -> Offer {
        let (this, name, file) = (Arc::clone(self), names[0].clone(), path.clone());
        let open = Box::new(move || open(&this, &name, &file));
        let file = path.clone();
        let check = Box::new(move || Gguf::open(&file).map(drop));
        let (this, file) = (Arc::clone(self), path.clone());
        let peek = Box::new(move || {
            let (model, context) = super::compute::peek(&file, &this.flags.machine)?;
            Ok((Llm::for_vectors(Arc::new(model))?, context))
        });
        let settings = self.settings.clone().for_model(&path);
        let defaults = Defaults {
            sampling: settings.sampling(),
            max_tokens: settings.max_tokens(),
            seed: settings.seed(),
            thinking: super::turn::thinking(&settings),
        };
        Offer { names, tags: Vec::new(), path, defaults, check, peek, open }
    }
}

/// The template of a file.
fn template(path: &Path) -> Result<Template> {
    Template::new(read_text(path, MAX_TEMPLATE)?, path.display().to_string())
}

fn open(opening: &Opening, name: &str, path: &Path) -> Result<Engine> {
    let Opening { flags: args, queue, pool, .. } = opening;
    let compute = Compute::with_pool(path, &args.machine, Arc::clone(pool))?;
    let session = compute.session(0)?;
    let batch = compute.batch(usize::from(args.batch));
    let options = engine::Options { batch, expand_latents: false, ..session.options().clone() };
    let mut llm = Llm::for_vectors(Arc::clone(&compute.model))?;
    if let Some(path) = &args.chat_template_file {
        llm = llm.with_template(template(path)?)?;
    }
    let llm = Arc::new(llm);
    if let Some(why) = llm.template().is_none().then_some("it has no chat template: only plain completions work") {
        output::say(&format!("tokki: {name}: {why}"));
    }
    let one = least_cache(&compute.model.spec, &options);
    let shared = opening.cache(one);
    let cache_bytes = match args.cache_size {
        Some(bytes) => bytes,
        // Several whole conversations, as long as there is room for them.
        None => shared.limit().min(one.saturating_mul(usize::from(args.parallel))),
    };
    let parallel = usize::from(args.parallel);
    let bytes = args.cache_disk_size as u64;
    let disk = args.cache_disk.clone().map(|folder| DiskCache { folder, bytes });
    let options = EngineOptions {
        session: options,
        parallel,
        queue: usize::from(*queue),
        cache_bytes,
        shared: Some(Arc::clone(shared)),
        disk,
    };
    output::say(&format!(
        "tokki: {name}: context {} for each conversation, {} at the same time, at most {} of cache",
        options.session.context,
        parallel,
        show_bytes(cache_bytes as u64)
    ));
    Engine::start(llm, Arc::clone(pool), options).map_err(|error| match error {
        Error::Input { .. } => error.hint("use a larger --cache-size, a smaller --ctx, or --kv-type q8_0"),
        other => other,
    })
}
