//! `tokki plan`: will a model fit, at which context, and how fast will it be.

mod suits;

use super::compute::Compute;
use super::flags::MachineFlags;
use super::measurements::Kept;
use super::output;
use super::progress::{self, Bar};
use super::readiness::{self, Standings};
use crate::config::Settings;
use crate::describe::{CONTEXTS, Description};
use crate::engine::KvKind;
use crate::engine::{DEFAULT_BATCH, not_generative};
use crate::gguf::layout_name;
use crate::machine::{Machine, busy};
use crate::predict::plan::{self, Need};
use crate::predict::speed::{Probe, Speed, can_be_tried};
use crate::shapes::{self, Plan};
use crate::store::{self, Preview, Store};
use crate::units::{show_bytes, show_rate};
use crate::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Says whether a model fits into this machine, at which context, and how fast it will be
///
/// The answer comes before the download: of a model on the hub or another server only the header is read, a few megabytes,
/// and a shape is the outline of a published model. Speeds are predicted from short measurements on this machine, which are
/// kept. Without a MODEL it says which models of the catalogue suit this machine.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  tokki plan                                      what suits this machine\n  tokki plan model.gguf\n  tokki plan hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M\n  \
    tokki plan https://example.org/model.gguf\n  tokki plan exaone-deep-32b:q4_k_m\n  \
    tokki plan r1-distill-qwen-32b:q4_k_m --ctx 32768 --json"
)]
pub(super) struct PlanArgs {
    /// A path, a store name, SHAPE:RECIPE, or what `tokki pull` takes; without it the catalogue
    model: Option<OsString>,

    /// Measure again, whatever was measured before
    #[arg(long)]
    measure: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: MachineFlags,
}

/// The caches that are compared.
const CACHE_KINDS: [KvKind; 2] = [KvKind::F16, KvKind::Q8];

/// One context and kind of cache.
#[derive(serde::Serialize)]
struct Row {
    kv_type: &'static str,
    #[serde(flatten)]
    need: Need,
    /// All of the above.
    total: u64,
    fits: bool,
    /// Of reading a prompt that fills the context.
    prefill_tok_s: Option<f64>,
    /// Of generating when the context is full.
    decode_tok_s: Option<f64>,
}

#[derive(serde::Serialize)]
struct Report {
    model: String,
    file_bytes: u64,
    /// How the rows of the weights lie.
    layout: &'static str,
    free_bytes: u64,
    threads: usize,
    /// Of a short prompt, and of generating after it; `None` where nothing fits, and nothing was tried.
    prefill_tok_s: Option<f64>,
    decode_tok_s: Option<f64>,
    /// The speeds come from what was measured at an earlier time.
    measured_before: bool,
    /// Other programs kept cores busy meanwhile.
    measured_busy: bool,
    /// For a model on another machine: bytes that were read of it.
    header_bytes: Option<u64>,
    /// For a model that is not on this machine.
    disk: Option<Disk>,
    rows: Vec<Row>,
    /// The context that was asked for.
    asked_ctx: Option<usize>,
    /// Tokens that the model was trained for.
    trained_ctx: usize,
    /// Tokens past which the model cannot be computed here.
    most_ctx: Option<usize>,
    recommended_ctx: Option<usize>,
    recommended_kv_type: Option<&'static str>,
    /// Why it cannot be run, however much memory there is.
    problem: Option<String>,
    advice: String,
}

/// The room for a download.
#[derive(serde::Serialize)]
struct Disk {
    #[serde(serialize_with = "crate::text::path")]
    path: PathBuf,
    needed_bytes: u64,
    /// `None` where the system does not tell.
    free_bytes: Option<u64>,
    fits: bool,
}

impl Disk {
    fn new(store: &Store, needed_bytes: u64) -> Self {
        let path = store.models_dir();
        let free_bytes = store::free(&path);
        let fits = store::has_room(&path, needed_bytes);
        Self { path, needed_bytes, free_bytes, fits }
    }
}

/// What is looked at.
enum Subject {
    /// A file of this machine.
    File(PathBuf),
    /// A file of which only the header exists.
    Shape(NamedTempFile),
    /// The header of a file elsewhere.
    Remote(Preview),
}

impl Subject {
    fn find(name: &OsStr, settings: &Settings) -> Result<Self> {
        let Some(name) = name.to_str() else { return store::resolve(name).map(Self::File) };
        let here = Path::new(name).is_file() || Store::of(settings)?.find(name)?.is_some();
        if !here && Plan::is_shape(name) {
            return shapes::outline(&Plan::parse(name)?, &std::env::temp_dir()).map(Self::Shape);
        }
        if here || !store::is_remote(settings, name) {
            return store::resolve(name).map(Self::File).map_err(|error| match (error, shapes::nearest(name)) {
                (Error::Usage { message, .. }, Some(near)) => {
                    Error::usage(format!("{message} The nearest shape of a published model is {near}."))
                }
                (error, _) => error,
            });
        }
        store::preview(settings, name, &Bar::default()).map(Self::Remote)
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Shape(file) => file.path().to_path_buf(),
            Self::Remote(preview) => preview.path(),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &PlanArgs) -> Result<()> {
    let settings = Settings::load()?;
    for key in ["read_ahead", "latent_prefill"] {
        if settings.clone().with(&args.machine).is_flag(key) {
            let flag = key.replace('_', "-");
            return Err(Error::usage(format!("--{flag} is of running a model; it changes nothing that plan says.")));
        }
    }
    let Some(name) = &args.model else { return suits::run(&args.machine, args.json) };
    let subject = Subject::find(name, &settings)?;
    let elsewhere = !matches!(subject, Subject::File(_));
    if elsewhere && args.machine.get("interleave").is_some_and(|text| text == "true") {
        return Err(Error::usage(
            "--interleave arranges the weights of a model on this machine; of this one only the header is here.",
        ));
    }
    let compute = Compute::open_path(&subject.path(), &args.machine)?;
    // Without a store there is no place to tell of.
    let store = Store::of(&settings).ok().filter(|_| elsewhere);
    let disk = store.map(|store| Disk::new(&store, compute.model.gguf.file_bytes()));
    let header_bytes = match &subject {
        Subject::Remote(preview) => Some(preview.read),
        _ => None,
    };
    let problem = match &subject {
        Subject::File(path) => Standings::of(Store::of(&settings).ok().as_ref()).problem_of(path),
        Subject::Remote(_) => readiness::problem(&Description::of(&compute.model.gguf)?),
        // Outlines of published models have no words.
        Subject::Shape(_) => None,
    };
    // The map keeps what it needs: an interruption from here on leaves no file behind.
    if crate::platform::places::MAPS_OUTLIVE_NAMES {
        drop(subject);
    }
    let name = name.to_string_lossy().into_owned();
    let mut report = Report { header_bytes, disk, problem, ..known(name, &compute) }.advised();
    if args.json {
        report.tried(&compute, args.measure)?;
        return output::json(&report);
    }
    // What the header tells comes at once, what has to be tried after it.
    output::result(|out| show_memory(out, &report))?;
    report.tried(&compute, args.measure)?;
    output::result(|out| show_speed(out, &report))
}

/// What was measured of a model, kept.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptProbe {
    probe: Probe,
    /// Other programs kept cores busy meanwhile: it holds as long as some do.
    busy: bool,
}

/// What speeds that were measured hold for: what is computed and in which formats, this machine, and this version. Not one of
/// the weights is read for it.
fn probe_key(compute: &Compute) -> String {
    let gguf = &compute.model.gguf;
    format!(
        "{} {:?} {} {} {} threads {} {}",
        crate::engine::session_file::spec_mark(&compute.model),
        gguf.formats(),
        layout_name(gguf.layout()),
        env!("CARGO_PKG_VERSION"),
        compute.pool.threads(),
        compute.pool.isa().name(),
        Machine::read().cpu
    )
}

/// The caches that are compared: the one asked for, else those that are worth it.
fn kinds(compute: &Compute) -> Vec<KvKind> {
    let asked = compute.settings.kv_type().and_then(|name| KvKind::by_name(&name));
    asked.map_or(CACHE_KINDS.to_vec(), |kind| vec![kind])
}

/// What is known without trying anything.
fn known(name: String, compute: &Compute) -> Report {
    let (model, free) = (&compute.model, plan::free_memory_for(&compute.model, &Machine::read()));
    let most = model.spec.longest();
    let trained = model.spec.context_train.min(most.unwrap_or(usize::MAX));
    let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|&c| c < trained).collect();
    contexts.push(trained);
    contexts.extend(compute.settings.ctx().filter(|ctx| !contexts.contains(ctx)));
    contexts.sort_unstable();
    contexts.retain(|&context| context <= most.unwrap_or(plan::MAX_PLANNED_CONTEXT));
    let kinds = kinds(compute);
    let cases = || contexts.iter().flat_map(|&context| kinds.iter().map(move |&kind| (context, kind)));
    let need = |(context, kind)| Need::new(model, context, kind, DEFAULT_BATCH);
    let rows: Vec<Row> = cases()
        .map(|(context, kind)| {
            let need = need((context, kind));
            Row {
                kv_type: kind.name(),
                need,
                total: need.total(),
                fits: need.total() <= free,
                prefill_tok_s: None,
                decode_tok_s: None,
            }
        })
        .collect();
    // Not every model bears an 8-bit cache: it's recommended where f16 does not fit only.
    // The context that was asked for is the one to say something about, if it fits.
    let asked = compute.settings.ctx().filter(|&ctx| rows.iter().any(|row| row.fits && row.need.context == ctx));
    let fitting = || rows.iter().filter(|row| row.fits && asked.is_none_or(|ctx| row.need.context == ctx));
    let fits = |kind: KvKind| fitting().rfind(|row| row.kv_type == kind.name());
    let best = fits(KvKind::F16).or_else(|| fits(KvKind::Q8)).or_else(|| fitting().next_back());
    Report {
        model: name,
        file_bytes: model.gguf.file_bytes(),
        layout: layout_name(model.gguf.layout()),
        free_bytes: free,
        threads: compute.pool.threads(),
        prefill_tok_s: None,
        decode_tok_s: None,
        measured_before: false,
        measured_busy: false,
        asked_ctx: compute.settings.ctx(),
        trained_ctx: trained,
        most_ctx: most,
        recommended_ctx: best.map(|row| row.need.context),
        recommended_kv_type: best.map(|row| row.kv_type),
        problem: None,
        advice: String::new(),
        header_bytes: None,
        disk: None,
        rows,
    }
}

impl Report {
    /// With the speeds, where something fits: what was measured before, or is measured now.
    fn tried(&mut self, compute: &Compute, again: bool) -> Result<()> {
        let model = &compute.model;
        // What cannot run is not tried: a trial of it might be what takes all the memory.
        if !self.rows.iter().any(|row| row.fits) || !can_be_tried(model) {
            return model.gguf.intact();
        }
        let kinds = kinds(compute);
        let probes: Kept<KeptProbe> =
            Kept::in_store(Store::of(&compute.settings).ok().as_ref(), "probes.json", 1 << 20);
        let key = probe_key(compute);
        let before = probes.find(&key).filter(|kept| !again && (!kept.busy || busy(self.threads).is_some()));
        let before = before.and_then(|kept| Some((Speed::from_probe(model, &kept.probe, &kinds)?, kept.busy)));
        self.measured_before = before.is_some();
        let (speed, is_busy) = match before {
            Some(before) => before,
            None => {
                let is_busy = output::say_busy(self.threads, "without them it will be faster");
                let bar = progress::working("measuring how fast this machine runs it");
                let speed = Speed::measure(model, &compute.pool, &kinds);
                bar.finish_and_clear();
                let speed = speed?;
                probes.keep(key, KeptProbe { probe: speed.probe(), busy: is_busy });
                (speed, is_busy)
            }
        };
        self.measured_busy = is_busy;
        model.gguf.intact()?;
        let kind = kinds.first().copied().unwrap_or(KvKind::F16);
        self.prefill_tok_s = Some(speed.prefill(DEFAULT_BATCH, 0, kind));
        // A model that reads whole texts writes no tokens.
        let writes = not_generative(&model.spec).is_none();
        self.decode_tok_s = writes.then(|| speed.decode(DEFAULT_BATCH, kind));
        for row in &mut self.rows {
            let kind = KvKind::by_name(row.kv_type).unwrap_or(KvKind::F16);
            row.prefill_tok_s = Some(speed.prefill(row.need.context, 0, kind));
            row.decode_tok_s = writes.then(|| speed.decode(row.need.context, kind));
        }
        Ok(())
    }

    /// With the advice that follows from the rest.
    fn advised(mut self) -> Self {
        let least = self.rows.iter().map(|row| row.need.total()).min().unwrap_or(0);
        self.advice = match (self.recommended_ctx, self.recommended_kv_type) {
            (Some(context), Some(kind)) => {
                let asked = self.asked_ctx.filter(|&asked| asked != context);
                let unfit = asked.map(|asked| format!("context {asked} does not fit; ")).unwrap_or_default();
                format!("{unfit}fits: --ctx {context} --kv-type {kind}")
            }
            _ => format!(
                "does not fit: {} needed at least, {} free; weights would be read from disk for every token. Take a \
                 smaller quantization or model, or a machine with {} more memory",
                show_bytes(least),
                show_bytes(self.free_bytes),
                show_bytes(least.saturating_sub(self.free_bytes))
            ),
        };
        if let Some(problem) = &self.problem {
            self.advice += &format!("\nit cannot be run: {problem}");
        }
        if let Some(most) = self.most_ctx.filter(|&most| self.asked_ctx.is_some_and(|asked| asked > most)) {
            self.advice += &format!("\ncontexts of this model end at {most} tokens here");
        }
        if let Some(context) = self.recommended_ctx.filter(|&context| context > self.trained_ctx) {
            self.advice += &format!(
                "\ncontext {context} is more than the {} that the model was trained for: past those its answers may make no \
                 sense",
                self.trained_ctx
            );
        }
        if let Some(disk) = self.disk.as_ref().filter(|disk| !disk.fits) {
            let free = show_bytes(disk.free_bytes.unwrap_or_default());
            let needed = show_bytes(disk.needed_bytes);
            let place = disk.path.display();
            self.advice += &format!("\nthe download does not fit: {needed} needed, {free} free at {place}; see --home");
        }
        self
    }
}

/// What is known at once: sizes, and what fits.
fn show_memory(out: &mut dyn std::io::Write, r: &Report) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: a file of {}, rows {}; {} of memory free; {} threads",
        crate::text::line(&r.model),
        show_bytes(r.file_bytes),
        r.layout,
        show_bytes(r.free_bytes),
        r.threads
    )?;
    if let Some(bytes) = r.header_bytes {
        writeln!(out, "its header was read: {}", show_bytes(bytes))?;
    }
    if let Some(Disk { path, free_bytes: Some(free), .. }) = &r.disk {
        writeln!(
            out,
            "disk: {} to download, {} free at {}",
            show_bytes(r.file_bytes),
            show_bytes(*free),
            path.display()
        )?;
    }
    writeln!(out)?;
    let row = |row: &Row| {
        vec![
            row.need.context.to_string(),
            row.kv_type.to_owned(),
            show_bytes(row.need.cache),
            show_bytes(row.need.scratch + row.need.program),
            show_bytes(row.need.total()),
            if row.fits { "yes" } else { "no" }.to_owned(),
        ]
    };
    let rows: Vec<_> = r.rows.iter().map(row).collect();
    let head = ["CONTEXT", "CACHE", "CACHE SIZE", "OTHER", "ALL", "FITS"];
    output::table(out, output::Paint::stdout(), &head, &rows)?;
    writeln!(out, "\n{}", r.advice)
}

/// How fast answers are written; where one waits for each token, how long.
fn per_second(rate: f64) -> String {
    let wait = if rate > 0.0 && rate < 0.5 { format!(" ({:.0} s a token)", 1.0 / rate) } else { String::new() };
    format!("{} tok/s{wait}", show_rate(rate))
}

/// What had to be tried: how fast.
fn show_speed(out: &mut dyn std::io::Write, r: &Report) -> std::io::Result<()> {
    let Some(prefill) = r.prefill_tok_s else {
        return writeln!(out, "\nspeed: not tried on this machine");
    };
    let before = match (r.measured_before, r.measured_busy) {
        (false, _) => "",
        (true, false) => " (measured before; --measure tries again)",
        (true, true) => " (measured before, beside other programs; --measure tries again)",
    };
    let decode = r.decode_tok_s.map(|decode| format!(", decode about {}", per_second(decode))).unwrap_or_default();
    writeln!(out, "\nprefill about {} tok/s{decode}{before}\n", show_rate(prefill))?;
    let speed = |rate: Option<f64>| rate.map_or("-".to_owned(), show_rate);
    let columns = if r.decode_tok_s.is_some() { 4 } else { 3 };
    let row = |row: &Row| {
        let context = row.need.context.to_string();
        let mut cells = vec![context, row.kv_type.to_owned(), speed(row.prefill_tok_s), speed(row.decode_tok_s)];
        cells.truncate(columns);
        cells
    };
    let rows: Vec<_> = r.rows.iter().map(row).collect();
    output::table(out, output::Paint::stdout(), &["CONTEXT", "CACHE", "PREFILL", "DECODE"][..columns], &rows)?;
    write!(out, "PREFILL: tok/s of reading a prompt that fills the context")?;
    writeln!(out, "{}", if columns == 4 { "; DECODE: tok/s when it is full" } else { "" })
}
