//! The bar that shows downloads and checks, on a terminal only.

use super::output::say;
use crate::machine::Machine;
use crate::predict::plan;
use crate::store::{StopFlag, StoreProgress};
use crate::units::show_bytes;
use crate::{Error, Result, interrupt};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Draws a bar on stderr; when stderr is no terminal, a line now and then says how far it is.
#[derive(Debug, Default)]
pub(super) struct Bar {
    bar: Mutex<Option<Shown>>,
    /// A download was not asked for by name: it is announced, and a large one begun only after a yes.
    announce: bool,
    /// The yes was given beforehand.
    yes: bool,
}

/// A bar of bytes, and when the last of them came.
#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    last: Instant,
    /// Something has come.
    begun: bool,
    waits: bool,
    lines: ProgressLines,
}

/// When the lines come that stand for a bar where there is no terminal: the longer it takes, the fewer.
#[derive(Debug)]
pub(super) struct ProgressLines {
    last: Instant,
    pause: Duration,
}

impl ProgressLines {
    const FIRST: Duration = Duration::from_secs(5);
    const MAX_PAUSE: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self { last: Instant::now(), pause: Self::FIRST }
    }

    /// Whether it is time for the next one.
    pub(super) fn due(&mut self) -> bool {
        let due = self.last.elapsed() >= self.pause;
        if due {
            *self = Self { last: Instant::now(), pause: (self.pause * 2).min(Self::MAX_PAUSE) };
        }
        due
    }
}

/// How long nothing may come before the bar says that it waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is fetched without asking.
const SMALL: u64 = 1_000_000_000;

impl Bar {
    /// For a command that fetches a model only because it is to run it.
    pub(super) fn asking(yes: bool) -> Self {
        Self { announce: true, yes, ..Self::default() }
    }

    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(shown) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            act(&shown.bar);
        }
    }
}

impl StoreProgress for Bar {
    fn stop(&self) -> StopFlag {
        interrupt::flag().into()
    }

    fn begin(&self, what: &str, total: u64, done: u64) {
        // ProgressBar::new draws nothing where stderr is no terminal.
        let bar = ProgressBar::new(total).with_message(what.to_owned());
        dress(&bar, BEGINS);
        // What is there already is seen before the speed is reckoned, so that it does not count as fetched now.
        bar.set_position(done);
        bar.tick();
        bar.reset_eta();
        let shown = Shown { bar, last: Instant::now(), begun: false, waits: false, lines: ProgressLines::new() };
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }

    fn advance(&self, bytes: u64) {
        let mut shown = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Shown { bar, last, begun, waits, lines }) = shown.as_mut() else { return };
        if bytes > 0 {
            *last = Instant::now();
            if !std::mem::replace(begun, true) {
                dress(bar, DISK);
            }
        }
        let still = last.elapsed() >= PATIENCE;
        if std::mem::replace(waits, still) != still {
            dress(bar, if still { WAITS } else { DISK });
            if !still {
                bar.reset_eta();
            }
        }
        if bytes > 0 || still {
            bar.inc(bytes);
        }
        if bar.is_hidden() && lines.due() {
            let waits = if still { ", nothing comes: waiting" } else { "" };
            say(&format!("tokki: {}{waits}", far(bar)));
        }
    }

    fn end(&self) {
        self.with(ProgressBar::finish_and_clear);
    }

    fn found(&self, name: &str, source: &str, total: Option<u64>) -> Result<()> {
        if !self.announce {
            return Ok(());
        }
        let size = total.map_or("of unknown size".to_owned(), |total| format!("of {}", show_bytes(total)));
        let free = plan::free_memory(&Machine::read());
        let fit = match total {
            Some(total) if total > free => format!("; more than the {} of memory that are free", show_bytes(free)),
            Some(_) => format!("; it fits into the {} of memory that are free", show_bytes(free)),
            None => String::new(),
        };
        let source = if source == name { "the catalogue" } else { source };
        say(&format!("tokki: {name} is not here yet: a file {size} from {source}{fit}"));
        if self.yes || total.is_some_and(|total| total <= SMALL) {
            return Ok(());
        }
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            let hint = format!("fetch it with tokki pull {source}, or give --yes");
            return Err(
                Error::failed(name, "it is large, and without a terminal no one can agree to fetching it").hint(hint)
            );
        }
        if agrees("Fetch it?") { Ok(()) } else { Err(Error::failed(name, "not fetched")) }
    }

    fn note(&self, line: &str) {
        self.with(ProgressBar::finish_and_clear);
        say(&super::words::with_flags(line));
    }
}

/// How far a bar is, in words.
fn far(bar: &ProgressBar) -> String {
    let (done, total) = (bar.position(), bar.length().unwrap_or_default());
    let percent = (done * 100).checked_div(total).map(|percent| format!("{percent}%, ")).unwrap_or_default();
    format!("{}: {percent}{} of {}", bar.message(), show_bytes(done), show_bytes(total))
}

/// Asks a question that only a clear yes answers.
pub(super) fn agrees(question: &str) -> bool {
    use std::io::Write;
    let mut err = std::io::stderr();
    let asked = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    asked.and_then(|()| std::io::stdin().read_line(&mut answer)).is_ok()
        && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// The bar of a prompt that takes a while to read.
#[derive(Default)]
pub(super) struct PromptProgress {
    bar: Option<ProgressBar>,
    /// The first report: before the second one there is no rate to tell.
    first: Option<(usize, Instant)>,
}

impl PromptProgress {
    /// Shows that `done` of `total` tokens are read.
    pub(super) fn show(&mut self, done: usize, total: usize) {
        /// Prompts below this are read in no time.
        const LONG: usize = 512;
        if total < LONG {
            return;
        }
        let template = "{msg}  {percent:>3}% [{wide_bar}] {pos} of {len} tokens{prefix}";
        let bar = self.bar.get_or_insert_with(|| styled("reading the prompt", total as u64, template));
        bar.set_position(done as u64);
        let &mut (start, since) = self.first.get_or_insert_with(|| (done, Instant::now()));
        let seconds = since.elapsed().as_secs_f64();
        if done > start && seconds > 0.0 {
            let rate = (done - start) as f64 / seconds;
            bar.set_prefix(format!(", {rate:.0}/s, {:.0} s left", (total - done) as f64 / rate));
        }
        if done == total {
            bar.finish_and_clear();
        }
    }
}

impl PromptProgress {
    /// Takes the bar off the screen, before anything else is said there.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for PromptProgress {
    fn drop(&mut self) {
        // An interrupted one must not stay on the screen.
        self.clear();
    }
}

/// That something is under way that cannot be counted.
pub(super) fn working(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar that counts tokens.
pub(super) fn tokens(what: &'static str, total: usize) -> ProgressBar {
    styled(what, total as u64, "{msg}  {percent:>3}% [{wide_bar}] {pos} of {len} tokens, {per_sec}, {eta} left")
}

/// A bar that counts what is done of a few. It is drawn only when one more is done, so that it disturbs no measurement.
pub(super) fn rounds(what: &'static str, total: usize) -> ProgressBar {
    styled(what, total as u64, "{msg}  [{wide_bar}] {pos} of {len}")
}

/// Counts what comes, of a length that is unknown.
pub(super) fn counted(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// A bar that counts bytes.
pub(super) fn bytes(what: &'static str, total: u64) -> ProgressBar {
    styled(what, total, "{msg}  {percent:>3}% [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}, {eta} left")
}

/// A bar that counts bytes that come from a disk.
pub(super) fn reading(what: &'static str, total: u64) -> ProgressBar {
    styled(what, total, DISK)
}

/// Bytes with their speed.
const DISK: &str =
    "{msg}  {percent:>3}% [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
/// Bytes of which none have come: there is no speed to tell.
const BEGINS: &str = "{msg}  {percent:>3}% [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}";
/// Bytes of which none come.
const WAITS: &str =
    "{msg}  {percent:>3}% [{wide_bar}] {decimal_bytes} of {decimal_total_bytes}, nothing comes: waiting";

/// What is left of a template where a line has this many columns, and a message takes some of them.
fn narrowed(template: &'static str, columns: usize, message: usize) -> &'static str {
    /// The numbers, and a bar that can be seen.
    const NUMBERS: usize = 56;
    match template {
        _ if columns >= NUMBERS + message => template,
        WAITS => "{wide_msg} {percent:>3}%, waiting",
        BEGINS => "{wide_msg} {percent:>3}%",
        _ => "{wide_msg} {percent:>3}%, {eta} left",
    }
}

fn dress(bar: &ProgressBar, template: &'static str) {
    let columns = super::output::width().unwrap_or(usize::MAX);
    let message = bar.message().chars().count();
    if let Ok(style) = ProgressStyle::with_template(narrowed(template, columns, message)) {
        bar.set_style(style.progress_chars("=> "));
    }
}

fn styled(what: &'static str, total: u64, template: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    dress(&bar, template);
    bar
}
