//! How `tokki run` shows one answer.

use super::flow::Flow;
use super::output::{self, Paint};
use super::progress::PromptProgress;
use crate::Result;
use crate::chat::{Kind, Part};
use crate::config::{Settings, ThinkingSetting, ThoughtView};
use crate::engine::Observer;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Shows an answer as it comes: the answer on stdout, the thought dimmed on stderr where that is a terminal.
pub(super) struct Show {
    json: bool,
    thoughts: bool,
    paint: Paint,
    prompt: PromptProgress,
    last: Option<Kind>,
    /// When a thought began that is not shown, and the seconds that are told of it.
    hidden: Option<(Instant, u64)>,
    ends_line: bool,
    /// Lays the answer out where a terminal shows it.
    flow: Option<Flow>,
}

impl Show {
    /// Thoughts are shown where a person can see them, unless something else was asked for.
    pub(super) fn new(json: bool, settings: &Settings) -> Self {
        let view = match (settings.thinking(), settings.thoughts()) {
            (Some(ThinkingSetting::View(view)), _) | (_, Some(view)) => Some(view),
            _ => None,
        };
        let thoughts = !json
            && match view {
                Some(ThoughtView::Show) => true,
                Some(ThoughtView::Hide | ThoughtView::Brief) => false,
                None => std::io::stderr().is_terminal(),
            };
        let flow = std::io::stdout().is_terminal().then(|| Flow::new(Paint::stdout()));
        let (paint, prompt) = (Paint::stderr(), PromptProgress::default());
        Self { json, thoughts, paint, prompt, last: None, hidden: None, ends_line: true, flow }
    }

    /// A newline after the last piece, where it has none.
    pub(super) fn end(&mut self) -> Result<()> {
        self.reveal();
        if self.last.take() == Some(Kind::Reasoning) {
            // No answer came after the thought, whose last line is still open.
            output::say("");
        }
        if let Some(flow) = &mut self.flow {
            output::piece(&flow.end(output::width().unwrap_or(usize::MAX)))?;
        }
        if !self.ends_line { output::result(|out| writeln!(out)) } else { Ok(()) }
    }
}

impl Show {
    /// Whether only words can tell a thought from an answer on the terminal: there are no colours.
    fn is_marked(&self) -> bool {
        std::io::stderr().is_terminal() && !self.paint.is_on()
    }

    /// Tells a person how long the model has been thinking.
    fn count(&mut self) {
        let (began, told) = self.hidden.get_or_insert_with(|| (Instant::now(), u64::MAX));
        let seconds = began.elapsed().as_secs();
        if *told != seconds && std::io::stderr().is_terminal() {
            *told = seconds;
            let mut err = std::io::stderr();
            // A closed stderr hides the counter and nothing else.
            let _ =
                write!(err, "\r\x1b[K{}", self.paint.dim(&format!("thinking: {seconds} s"))).and_then(|()| err.flush());
        }
    }

    /// Takes the counter away again.
    fn reveal(&mut self) {
        if self.hidden.take().is_some() && std::io::stderr().is_terminal() {
            let mut err = std::io::stderr();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
    }
}

impl Observer for Show {
    fn prefill(&mut self, done: usize, total: usize) {
        self.prompt.show(done, total);
    }

    fn part(&mut self, part: &Part) -> Result<()> {
        if self.json {
            return Ok(());
        }
        if part.kind == Kind::Unsaid {
            output::say("\ntokki: what stands above was the model's thought");
            return Ok(());
        }
        let text = output::for_reader(&part.text, part.kind == Kind::Reasoning || self.flow.is_some());
        if part.kind == Kind::Reasoning {
            if self.thoughts {
                let mut err = std::io::stderr();
                let mark = if self.last.is_none() && self.is_marked() { "[thought]\n" } else { "" };
                // A closed stderr hides the thought and nothing else.
                let _ = write!(err, "{mark}{}", self.paint.dim(&text)).and_then(|()| err.flush());
                self.last = Some(part.kind);
            } else {
                self.count();
            }
            return Ok(());
        }
        self.reveal();
        if self.last == Some(Kind::Reasoning) {
            output::say(if self.is_marked() { "\n[answer]" } else { "\n" });
        }
        self.last = Some(part.kind);
        self.ends_line = text.ends_with('\n');
        match (&mut self.flow, output::width()) {
            (Some(flow), Some(width)) => output::piece(&flow.push(&text, width)),
            _ => output::piece(&text),
        }
    }
}
