//! `tokki bench`: how fast a model runs here, beside what the machine can do at most.

use super::compute::Compute;
use super::flags::MachineFlags;
use super::output;
use crate::config::count;
use crate::engine::{Session, not_generative};
use crate::gguf::layout_name;
use crate::predict::{measure, plan};
use crate::shapes::{self, Plan};
use crate::{Error, Result, interrupt};
use std::ffi::OsString;
use std::time::Instant;
use tempfile::NamedTempFile;

/// Measures prefill and decode speed, beside the limits of this machine
///
/// Prefill is compared with the measured peak of integer multiply-adds, decode with the measured speed of reading memory:
/// a token cannot be generated faster than its weights can be read.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  tokki bench model.gguf\n  tokki bench model.gguf -p 512 -n 64 --depth 4096 --json\n  \
    tokki bench --shape exaone-deep-32b:q4_k_m      speed of a model before its download"
)]
pub(super) struct BenchArgs {
    /// A path or a store name; without it the default model
    #[arg(conflicts_with = "shape")]
    model: Option<OsString>,

    /// Measure random weights of a real model's shape and quantization, SHAPE:RECIPE, instead of a file
    #[arg(long, value_name = "SHAPE:RECIPE")]
    shape: Option<String>,

    /// Tokens of the prompt; 0 skips prefill
    #[arg(short = 'p', long = "prompt", default_value_t = 512, value_name = "N", value_parser = count)]
    prompt: usize,

    /// Tokens to generate; 0 skips decode
    #[arg(short = 'n', long = "generate", default_value_t = 64, value_name = "N", value_parser = count)]
    generate: usize,

    /// Rounds; the best is reported, after one that is not counted
    #[arg(short = 'r', long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,

    /// Tokens that are in the cache before each measurement
    #[arg(short = 'd', long, default_value_t = 0, value_name = "N", value_parser = count)]
    depth: usize,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    machine: MachineFlags,
}

/// What was measured.
#[derive(serde::Serialize)]
struct Report {
    model: String,
    threads: usize,
    isa: &'static str,
    kv_type: &'static str,
    layout: &'static str,
    pp_tokens: usize,
    pp_tok_s: f64,
    pp_gmac_s: f64,
    tg_tokens: usize,
    tg_tok_s: f64,
    depth: usize,
    bytes_per_token: u64,
    read_gb_s: f64,
    /// At which the model's own weights were read between the rounds: median, least and most.
    bandwidth_gb_s: f64,
    bandwidth_least_gb_s: f64,
    bandwidth_most_gb_s: f64,
    peak_gmac_s: f64,
    load_s: f64,
    peak_rss_mb: f64,
    peak_anon_mb: f64,
    options: serde_json::Value,
}

/// Runs the command.
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let positions = positions(args)?;
    let (file, name) = source(args)?;
    let start = Instant::now();
    let compute = Compute::open(&name, &args.machine)?;
    // The map keeps what it needs: whatever ends this process leaves no file behind.
    let file = file.filter(|_| !crate::platform::places::MAPS_OUTLIVE_NAMES);
    let trained = compute.model.spec.context_train;
    let asked = compute.settings.ctx();
    if positions > asked.unwrap_or(trained.max(plan::DEFAULT_CONTEXT)) {
        let limit = match asked {
            Some(context) => format!("the context of {context} that was asked for"),
            None => format!("the context of {trained} that this model was trained for"),
        };
        return Err(Error::usage(format!(
            "{positions} positions are more than {limit}. Take fewer, or give --ctx {positions}."
        )));
    }
    let mut session = compute.session(positions)?;
    let load_s = start.elapsed().as_secs_f64();
    let shown = args.shape.clone().unwrap_or_else(|| name.to_string_lossy().into_owned());
    output::say_busy(compute.pool.threads(), "what is measured beside them is less than this machine can do");
    let report = measure_all(args, &compute, &mut session, shown, load_s)?;
    drop(file);
    if args.json { output::json(&report) } else { output::result(|out| writeln!(out, "{}", table(&report))) }
}

/// Positions that are computed at most.
fn positions(args: &BenchArgs) -> Result<usize> {
    if args.prompt == 0 && args.generate == 0 {
        return Err(Error::usage("There is nothing to measure: -p or -n has to be over 0."));
    }
    let sum = args.depth.checked_add(args.prompt.max(args.generate)).filter(|&sum| sum <= plan::MAX_PLANNED_CONTEXT);
    sum.ok_or_else(|| {
        let (more, depth, most) = (args.prompt.max(args.generate), args.depth, plan::MAX_PLANNED_CONTEXT);
        Error::usage(format!("{more} positions after a --depth of {depth} are too many: {most} in all at most."))
    })
}

/// The file to measure; a temporary one for a shape.
fn source(args: &BenchArgs) -> Result<(Option<NamedTempFile>, OsString)> {
    let (Some(shape), None) = (&args.shape, &args.model) else {
        let model = match &args.model {
            Some(model) => model.clone(),
            None => super::compute::default_model()?.into_os_string(),
        };
        return Ok((None, model));
    };
    let plan = Plan::parse(shape)?;
    let bar = super::progress::bytes("making weights", plan.weight_bytes());
    // Asked to end while it is written, nothing of it stays.
    let file = shapes::temporary(&plan, &std::env::temp_dir(), &mut |done, _| {
        bar.set_position(done);
        if interrupt::requested() { Err(std::io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    })?;
    bar.finish_and_clear();
    let name = file.path().as_os_str().to_owned();
    Ok((Some(file), name))
}

fn measure_all(
    args: &BenchArgs,
    compute: &Compute,
    session: &mut Session,
    model: String,
    load_s: f64,
) -> Result<Report> {
    // A model that reads whole texts writes no tokens.
    let generate = if not_generative(&compute.model.spec).is_some() { 0 } else { args.generate };
    let mut seconds = (f64::INFINITY, f64::INFINITY);
    // The first round warms caches and pages, and is not counted. Its prefill may be short: decode reads all weights.
    let rounds = usize::from(args.rounds);
    fill(session, args.depth)?;
    prefill(session, args.depth, args.prompt.min(64))?;
    decode(session, args.depth, generate.min(4))?;
    let mut bandwidths = vec![measure::model_bandwidth(&compute.pool, &compute.model.gguf)?];
    let bar = super::progress::rounds("measuring", rounds);
    bar.tick();
    for _ in 0..rounds {
        seconds.0 = seconds.0.min(prefill(session, args.depth, args.prompt)?);
        seconds.1 = seconds.1.min(decode(session, args.depth, generate)?);
        bandwidths.push(measure::model_bandwidth(&compute.pool, &compute.model.gguf)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    bandwidths.sort_by(f64::total_cmp);
    let bandwidth = |at: usize| bandwidths.get(at).copied().unwrap_or_default() / 1e9;
    let rate = |tokens: usize, seconds: f64| if tokens == 0 { 0.0 } else { tokens as f64 / seconds };
    let (pp, tg) = (rate(args.prompt, seconds.0), rate(generate, seconds.1));
    let cost = compute.model.cost();
    let shape = session.cache().shape();
    let cached = shape.bytes_per_position();
    let bytes = cost.bytes + cached * (args.depth + generate / 2) as u64;
    let (rss, anon) = crate::platform::process::peak_memory();
    Ok(Report {
        model,
        threads: compute.pool.threads(),
        isa: compute.pool.isa().name(),
        kv_type: shape.kind().name(),
        layout: layout_name(compute.model.gguf.layout()),
        pp_tokens: args.prompt,
        pp_tok_s: pp,
        pp_gmac_s: pp * cost.layer_macs as f64 / 1e9,
        tg_tokens: generate,
        tg_tok_s: tg,
        depth: args.depth,
        bytes_per_token: bytes,
        read_gb_s: tg * bytes as f64 / 1e9,
        bandwidth_gb_s: bandwidth(bandwidths.len() / 2),
        bandwidth_least_gb_s: bandwidth(0),
        bandwidth_most_gb_s: bandwidth(bandwidths.len() - 1),
        options: super::compute::options(session),
        peak_gmac_s: measure::integer_peak(&compute.pool) / 1e9,
        load_s,
        peak_rss_mb: rss as f64 / 1e6,
        peak_anon_mb: anon as f64 / 1e6,
    })
}

/// Token ids that are spread over the vocabulary.
fn tokens(session: &Session, n: usize) -> Vec<u32> {
    let vocab = session.model().spec.vocab;
    (0..n).map(|i| ((i * 7919 + 13) % vocab) as u32).collect()
}

fn fill(session: &mut Session, depth: usize) -> Result<()> {
    let tokens = tokens(session, depth);
    let bar = super::progress::tokens("filling the cache", depth);
    session.feed(&tokens, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(())
}

/// Back to `depth` tokens; those that cannot be gone back to (of models with a recurrent state) are read again.
fn back_to(session: &mut Session, depth: usize) -> Result<()> {
    interrupt::check()?;
    session.truncate(depth);
    let (have, tokens) = (session.tokens().len(), tokens(session, depth));
    if have < depth {
        session.feed(&tokens[have..], &mut |_| {})?;
    }
    Ok(())
}

/// Seconds for a prompt of `n` tokens after `depth` others.
fn prefill(session: &mut Session, depth: usize, n: usize) -> Result<f64> {
    back_to(session, depth)?;
    let tokens = tokens(session, n);
    let start = Instant::now();
    session.feed(&tokens, &mut |_| {})?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds for `n` tokens, one by one, after `depth` others.
fn decode(session: &mut Session, depth: usize, n: usize) -> Result<f64> {
    back_to(session, depth)?;
    let tokens = tokens(session, n);
    let start = Instant::now();
    for token in &tokens {
        session.feed(std::slice::from_ref(token), &mut |_| {})?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn table(r: &Report) -> String {
    /// Memory that is shared with others is at one speed now and at another in a minute.
    const UNSTEADY: f64 = 1.25;
    let (least, most) = (r.bandwidth_least_gb_s, r.bandwidth_most_gb_s);
    let unsteady = if most > least * UNSTEADY {
        format!(
            "\nthe memory's own speed went from {least:.1} to {most:.1} GB/s meanwhile: compare within one run only"
        )
    } else {
        String::new()
    };
    let percent = |a: f64, b: f64| if b > 0.0 { 100.0 * a / b } else { 0.0 };
    let skipped = |name: &str| format!("{name:<9}skipped");
    let prefill = match r.pp_tokens {
        0 => skipped("prefill"),
        tokens => format!(
            "prefill  {:>9.2} tok/s  ({tokens} tokens)   {:>7.1} GMAC/s of {:.1} measured: {:.0}%",
            r.pp_tok_s,
            r.pp_gmac_s,
            r.peak_gmac_s,
            percent(r.pp_gmac_s, r.peak_gmac_s)
        ),
    };
    let decode = match r.tg_tokens {
        0 => skipped("decode"),
        tokens => format!(
            "decode   {:>9.2} tok/s  ({tokens} tokens)   {:>7.2} GB/s of {:.2} measured: {:.0}%   {:.1} MB per token",
            r.tg_tok_s,
            r.read_gb_s,
            r.bandwidth_gb_s,
            percent(r.read_gb_s, r.bandwidth_gb_s),
            r.bytes_per_token as f64 / 1e6
        ),
    };
    format!(
        "{}\n{} threads, {}, rows {}, {} cache, depth {}\n{prefill}\n{decode}\n\
         ready in {:.2} s, memory {:.0} MB, of which not the file's own pages {:.0} MB{unsteady}",
        r.model, r.threads, r.isa, r.layout, r.kv_type, r.depth, r.load_s, r.peak_rss_mb, r.peak_anon_mb,
    )
}
