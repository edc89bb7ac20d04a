//! `tokki perplexity`: how well a model predicts a text, and how far it is from another model of the same vocabulary.

use super::compute::Compute;
use super::flags::MachineFlags;
use super::output::{json, result, say};
use super::stdin;
use crate::engine::not_generative;
use crate::perplexity::{
    Comparison, Divergence, LogitsReader, LogitsWriter, Outputs, Score, Windows, check_length, run as compute,
};
use crate::platform::files::is_one_place;
use crate::platform::output;
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result, interrupt};
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::OsString;
use std::path::PathBuf;

/// Tokens of a window where no --ctx is given: what published numbers are made with.
const DEFAULT_WINDOW: usize = 512;

/// Measures how well a model predicts a text
///
/// The text is cut into windows of --ctx tokens (512). Each is computed on its own, and the predictions of its second
/// half count; with --stride N, windows start N tokens apart and the last N predictions of each count. Log-probabilities
/// saved from one model (a better quantization, say) tell with --kl-against how far another one is from it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  tokki perplexity model-q8_0.gguf --file text.txt --save-logits base.lp\n  \
    tokki perplexity model-q4_k_m.gguf --file text.txt --kl-against base.lp")]
pub(super) struct PerplexityArgs {
    /// A path or a store name
    model: OsString,

    /// The text, in UTF-8; - is stdin
    #[arg(short, long, value_name = "TEXT")]
    file: PathBuf,

    /// Tokens from the start of a window to the next, and predictions that count in each
    #[arg(long, value_name = "N")]
    stride: Option<usize>,

    /// Stop after so many windows
    #[arg(long, value_name = "N", value_parser = crate::config::at_least_one)]
    windows: Option<usize>,

    /// Save the log-probabilities of all predictions (2 bytes per token of the vocabulary each)
    #[arg(long, value_name = "FILE")]
    save_logits: Option<PathBuf>,

    /// Compare with saved log-probabilities
    #[arg(long, value_name = "FILE")]
    kl_against: Option<PathBuf>,

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
    file: String,
    kv_type: &'static str,
    tokens: usize,
    window: usize,
    windows: usize,
    predictions: usize,
    loss: f64,
    perplexity: f64,
    perplexity_error: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    divergence: Option<Divergence>,
}

/// Refuses models that predict no next token.
fn generates(machine: &Compute) -> Result<()> {
    let Some(why) = not_generative(&machine.model.spec) else { return Ok(()) };
    let place = machine.model.gguf.path().display().to_string();
    Err(Error::input(place, "a model that predicts the next token", why))
}

/// Runs the command.
pub(super) fn run(args: &PerplexityArgs) -> Result<()> {
    check_files(args)?;
    let text = stdin::read_text(&args.file)?;
    let machine = Compute::open(&args.model, &args.machine)?;
    generates(&machine)?;
    let windows = Windows::new(machine.settings.ctx().unwrap_or(DEFAULT_WINDOW), args.stride)?;
    let tokenizer = Tokenizer::from_gguf(&machine.model.gguf)?;
    let mut tokens = tokenizer.encode_with_bos(&text, Special::Plain);
    check_length(&args.file, tokens.len(), windows)?;
    let count = args.windows.unwrap_or(usize::MAX).min(windows.count(tokens.len()));
    tokens.truncate((count - 1) * windows.step + windows.len);
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());

    let vocab = machine.model.spec.vocab;
    let open = |path: &PathBuf| LogitsReader::open(path, vocab, windows, &tokens);
    let mut reader = args.kl_against.as_ref().map(open).transpose()?;
    let create = |path: &PathBuf| LogitsWriter::create(path, vocab, windows, &tokens);
    let mut writer = args.save_logits.as_ref().map(create).transpose()?;
    let mut comparison = Comparison::default();
    let mut outputs = Outputs { save: writer.as_mut(), against: reader.as_mut().map(|r| (r, &mut comparison)) };

    let mut session = machine.session(windows.len)?;
    let bar = bar(count as u64);
    let score = compute(&mut session, &tokens, windows, bos, &mut outputs, &mut |done, score| {
        bar.set_message(format!("perplexity {:.4}", score.perplexity()));
        bar.set_position(done as u64);
        interrupt::check()
    })?;
    bar.finish_and_clear();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    let report = Report {
        model: args.model.to_string_lossy().into_owned(),
        file: args.file.display().to_string(),
        kv_type: session.options().kv.name(),
        tokens: tokens.len(),
        window: windows.len,
        windows: count,
        predictions: score.predictions,
        loss: score.loss(),
        perplexity: score.perplexity(),
        perplexity_error: score.error(),
        divergence: comparison.summary(),
    };
    if args.json { json(&report) } else { show(&report, &score) }
}

/// The files are checked before the weights are read.
fn check_files(args: &PerplexityArgs) -> Result<()> {
    let Some(save) = &args.save_logits else { return Ok(()) };
    output::check(save)?;
    let inputs = [("--file", Some(&args.file)), ("--kl-against", args.kl_against.as_ref())];
    let replaced = inputs.iter().find(|(_, input)| input.is_some_and(|input| is_one_place(save, input)));
    if let Some((flag, _)) = replaced {
        return Err(Error::usage(format!("--save-logits would replace the file of {flag}: name another file.")));
    }
    Ok(())
}

/// Shows progress and an estimate on a terminal, nothing elsewhere.
fn bar(windows: u64) -> ProgressBar {
    let bar = ProgressBar::new(windows);
    match ProgressStyle::with_template("{msg}  [{bar:30}] window {pos} of {len}, {eta} left") {
        Ok(style) => bar.set_style(style.progress_chars("=> ")),
        Err(e) => say(&e.to_string()),
    }
    bar
}

fn show(report: &Report, score: &Score) -> Result<()> {
    result(|out| {
        let Report { predictions, windows, window, .. } = report;
        writeln!(out, "perplexity     {:.4} +- {:.4}", score.perplexity(), score.error())?;
        writeln!(
            out,
            "predictions    {predictions} in {windows} window{} of {window} tokens, {} cache",
            if *windows == 1 { "" } else { "s" },
            report.kv_type
        )?;
        let Some(kl) = &report.divergence else { return Ok(()) };
        writeln!(out, "base           {:.4}, ratio {:.5}", kl.base_perplexity, kl.perplexity_ratio)?;
        writeln!(out, "KL divergence  {:.6} +- {:.6}, largest {:.4}", kl.mean, kl.mean_error, kl.max)?;
        let Divergence { median, p90, p95, p99, p999, .. } = kl;
        writeln!(
            out,
            "  percentiles  50%: {median:.6}  90%: {p90:.5}  95%: {p95:.5}  99%: {p99:.5}  99.9%: {p999:.4}"
        )?;
        writeln!(out, "same top token {:.3}%", kl.same_top * 100.0)?;
        let (mean, rms) = (kl.probability_change * 100.0, kl.probability_change_rms * 100.0);
        writeln!(out, "true token     {mean:+.4}% probability on average, {rms:.4}% rms")
    })
}
