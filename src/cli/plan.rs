//! `tokki plan`: will a model fit, at which context, and how fast will it be.

use super::output;
use crate::config::{MachineFlags, Settings};
use crate::engine::DEFAULT_BATCH;
use crate::engine::plan::{self, Need, Speed, gib};
use crate::machine::{self, Machine};
use crate::model::Model;
use crate::parallel::Pool;
use crate::shapes::{self, Plan};
use crate::{Result, store};
use clap::Args;
use std::path::PathBuf;
use tempfile::NamedTempFile;
use tokki_quant::attention::KvKind;

/// Says whether a model fits into this machine, at which context, and how fast it will be
///
/// MODEL is a file, a store name, or the shape of a real model with a quantization, so that the answer comes before the
/// download. Speeds are predicted from short measurements of the formats that the model holds.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tokki plan model.gguf\n  tokki plan exaone-deep-32b:q4_k_m\n  \
    tokki plan r1-distill-qwen-32b:q4_k_m --ctx 32768 --json")]
pub(super) struct PlanArgs {
    /// A path, a store name, or SHAPE:RECIPE
    model: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: MachineFlags,
}

/// One context and kind of cache.
#[derive(serde::Serialize)]
struct Row {
    kv_type: &'static str,
    #[serde(flatten)]
    need: Need,
    fits: bool,
    decode_tok_s: f64,
}

#[derive(serde::Serialize)]
struct Report {
    model: String,
    file_bytes: u64,
    free_bytes: u64,
    threads: usize,
    prefill_tok_s: f64,
    rows: Vec<Row>,
    recommended_ctx: Option<usize>,
    recommended_kv_type: Option<&'static str>,
    advice: String,
}

/// Runs the command.
pub(super) fn run(args: &PlanArgs) -> Result<()> {
    let settings = Settings::load()?.with(&args.machine);
    let (_outline, path) = file(&args.model)?;
    let model = Model::open(&path)?;
    let pool = Pool::new(settings.threads().unwrap_or_else(|| machine::threads().0))?;
    let free = plan::free_memory(&Machine::read());
    let speed = Speed::measure(&model, &pool, DEFAULT_BATCH)?;
    let report = report(args, &settings, &model, &speed, free, pool.threads());
    if args.json {
        return output::json(&report);
    }
    output::result(|out| show(out, &report))
}

/// The file to look at; of a shape only its header exists.
fn file(name: &str) -> Result<(Option<NamedTempFile>, PathBuf)> {
    if !Plan::is_shape(name) {
        return Ok((None, store::resolve(name)?));
    }
    let outline = shapes::outline(&Plan::parse(name)?, &std::env::temp_dir())?;
    let path = outline.path().to_path_buf();
    Ok((Some(outline), path))
}

fn report(args: &PlanArgs, settings: &Settings, model: &Model, speed: &Speed, free: u64, threads: usize) -> Report {
    let trained = model.spec.context_train;
    let mut contexts: Vec<usize> = [2048, 8192, 32768, 131_072].into_iter().filter(|&c| c < trained).collect();
    contexts.push(trained);
    contexts.extend(settings.ctx().filter(|ctx| !contexts.contains(ctx)));
    contexts.sort_unstable();
    let kinds = [KvKind::F16, KvKind::Q8];
    let rows: Vec<Row> = contexts
        .iter()
        .flat_map(|&context| kinds.map(|kind| (context, kind)))
        .map(|(context, kind)| {
            let need = Need::new(model, context, kind, DEFAULT_BATCH);
            Row {
                kv_type: kind.name(),
                need,
                fits: need.total() <= free,
                decode_tok_s: speed.decode(model, context, kind),
            }
        })
        .collect();
    // Not every model bears an 8-bit cache: it's recommended where f16 does not fit only.
    let fits = |kind: KvKind| rows.iter().rfind(|row| row.fits && row.kv_type == kind.name());
    let best = fits(KvKind::F16).or_else(|| fits(KvKind::Q8));
    let least = rows.iter().map(|row| row.need.total()).min().unwrap_or(0);
    let advice = match best {
        Some(row) => format!("fits: --ctx {} --kv-type {}", row.need.context, row.kv_type),
        None => format!(
            "does not fit: {} needed at least, {} free; weights would be read from disk for every token. Take a smaller \
             quantization or model, or a machine with {} more memory",
            gib(least),
            gib(free),
            gib(least.saturating_sub(free))
        ),
    };
    Report {
        model: args.model.clone(),
        file_bytes: model.gguf.file_bytes(),
        free_bytes: free,
        threads,
        prefill_tok_s: speed.prefill(model, DEFAULT_BATCH),
        recommended_ctx: best.map(|row| row.need.context),
        recommended_kv_type: best.map(|row| row.kv_type),
        advice,
        rows,
    }
}

fn show(out: &mut dyn std::io::Write, r: &Report) -> std::io::Result<()> {
    writeln!(out, "{}: {} of weights; {} free; {} threads", r.model, gib(r.file_bytes), gib(r.free_bytes), r.threads)?;
    writeln!(out, "prefill about {:.1} tok/s\n", r.prefill_tok_s)?;
    let rows: Vec<Vec<String>> = r
        .rows
        .iter()
        .map(|row| {
            vec![
                row.need.context.to_string(),
                row.kv_type.to_owned(),
                gib(row.need.cache),
                gib(row.need.scratch),
                gib(row.need.total()),
                if row.fits { "yes" } else { "no" }.to_owned(),
                format!("{:.1}", row.decode_tok_s),
            ]
        })
        .collect();
    let head = ["CONTEXT", "CACHE", "CACHE SIZE", "BUFFERS", "ALL", "FITS", "DECODE TOK/S WHEN FULL"];
    output::table(out, output::Paint::stdout(), &head, &rows)?;
    writeln!(out, "\n{}", r.advice)
}
