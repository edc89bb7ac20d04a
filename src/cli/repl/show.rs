//! An answer on the screen as it comes.

use super::output;
use crate::chat::{Kind, Part};
use crate::cli::flow::Flow;
use crate::cli::output::Paint;
use crate::cli::progress::PromptProgress;
use crate::config::{Settings, ThinkingSetting, ThoughtView};
use crate::engine::Observer;
use crate::tokenizer::{Special, Tokenizer};
use crate::{Error, Result, interrupt};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How thoughts are shown: folded (`Brief`) means one line that counts.
pub(super) fn view(settings: &Settings) -> ThoughtView {
    match (settings.thinking(), settings.thoughts()) {
        (Some(ThinkingSetting::View(view)), _) | (_, Some(view)) => view,
        _ => ThoughtView::Show,
    }
}

/// Where answers go: the terminal, or where stdout was sent when the chat began.
pub(super) type Sink = Option<Arc<std::fs::File>>;

/// Shows one answer.
pub(super) struct Screen {
    thoughts: ThoughtView,
    paint: Paint,
    terminal: bool,
    sink: Sink,
    /// Of the answer, and of the thought.
    flow: Flow,
    thought_flow: Flow,
    tokenizer: Arc<Tokenizer>,
    prompt: PromptProgress,
    /// Tokens of thought so far, and when it began.
    thought: usize,
    since: Option<Instant>,
    last: Option<Kind>,
    ends_line: bool,
    /// Why nothing more can be shown.
    lost: Option<Error>,
}

impl Screen {
    pub(super) fn new(thoughts: ThoughtView, sink: &Sink, tokenizer: &Arc<Tokenizer>) -> Self {
        let terminal = std::io::stdout().is_terminal() && sink.is_none();
        Self {
            thoughts,
            paint: Paint::stdout(),
            terminal,
            sink: sink.clone(),
            flow: Flow::new(Paint::stdout()),
            thought_flow: Flow::new(Paint::fixed(false)),
            tokenizer: Arc::clone(tokenizer),
            prompt: PromptProgress::default(),
            thought: 0,
            since: None,
            last: None,
            ends_line: true,
            lost: None,
        }
    }

    /// Ends the last line.
    ///
    /// # Errors
    /// A terminal that takes no more. Where a file does not, that is told, and the chat goes on.
    pub(super) fn end(&mut self) -> Result<()> {
        self.prompt.clear();
        match self.lost.take() {
            Some(error) if self.sink.is_none() => return Err(error),
            Some(error) => output::complain(&error),
            None => {}
        }
        self.fold()?;
        let rest = self.flow.end(output::width().unwrap_or(usize::MAX));
        if !rest.is_empty() {
            self.put(&rest)?;
        }
        if self.ends_line { Ok(()) } else { self.put("\n") }
    }

    /// Writes to where answers go.
    fn put(&self, text: &str) -> Result<()> {
        use std::io::Write;
        match &self.sink {
            Some(file) => (&**file).write_all(text.as_bytes()).map_err(output::lost),
            None => output::piece(text),
        }
    }

    /// Writes a part of the answer, laid out where a terminal shows it.
    fn lay_out(&mut self, text: &str) -> Result<()> {
        match output::width().filter(|_| self.terminal) {
            Some(width) => {
                let text = self.flow.push(text, width);
                self.put(&text)
            }
            None => self.put(text),
        }
    }

    fn think(&mut self, text: &str) -> Result<()> {
        let first = self.thought == 0;
        self.thought += self.tokenizer.encode(text, Special::Plain).len().max(1);
        let since = *self.since.get_or_insert_with(Instant::now);
        match self.thoughts {
            ThoughtView::Show if self.sink.is_none() => {
                if first && self.terminal && !self.paint.is_on() {
                    // Without colours only words can tell a thought from an answer.
                    output::piece("[thought]\n")?;
                }
                self.ends_line = text.ends_with('\n');
                let text = match output::width().filter(|_| self.terminal) {
                    Some(width) => self.thought_flow.push(text, width),
                    None => text.to_owned(),
                };
                if text.is_empty() { Ok(()) } else { output::piece(&self.paint.dim(&text)) }
            }
            // One line that is written over; only a terminal can do that.
            ThoughtView::Brief | ThoughtView::Hide if self.terminal => {
                let seconds = since.elapsed().as_secs();
                let tokens = output::count(self.thought, "token");
                let counted = format!("thinking: {tokens}, {seconds} s (Esc ends it)");
                output::piece(&format!("\r{}", self.paint.dim(&counted)))
            }
            _ => Ok(()),
        }
    }

    /// Between the thought and the answer.
    fn fold(&mut self) -> Result<()> {
        if self.last != Some(Kind::Reasoning) {
            return Ok(());
        }
        self.last = None;
        match self.thoughts {
            ThoughtView::Show if self.sink.is_none() => {
                let rest = self.thought_flow.end(output::width().unwrap_or(usize::MAX));
                if !rest.is_empty() {
                    output::piece(&self.paint.dim(&rest))?;
                }
                if self.terminal && !self.paint.is_on() {
                    output::piece(if self.ends_line { "[answer]" } else { "\n[answer]" })?;
                    self.ends_line = true;
                    return output::piece("\n");
                }
                let gap = if self.ends_line { "\n" } else { "\n\n" };
                self.ends_line = true;
                output::piece(gap)
            }
            ThoughtView::Brief if self.terminal => output::piece("\n"),
            // It was only to be seen while there was nothing else.
            ThoughtView::Hide if self.terminal => output::piece("\r\x1b[K"),
            _ => Ok(()),
        }
    }
}

impl Observer for Screen {
    fn prefill(&mut self, done: usize, total: usize) {
        self.prompt.show(done, total);
    }

    /// What can no longer be shown ends the answer, and what there is of it stays.
    fn part(&mut self, part: &Part) -> Result<()> {
        if self.lost.is_none()
            && let Err(error) = self.show(part)
        {
            self.lost = Some(error);
            interrupt::flag().store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Screen {
    fn show(&mut self, part: &Part) -> Result<()> {
        if part.kind == Kind::Unsaid {
            output::say("\nwhat stands above was the model's thought; only what follows is kept as its answer");
            self.ends_line = true;
            return Ok(());
        }
        let text = output::for_reader(&part.text, part.kind == Kind::Reasoning || self.terminal);
        if part.kind == Kind::Reasoning {
            self.last = Some(part.kind);
            return self.think(&text);
        }
        self.fold()?;
        self.last = Some(part.kind);
        self.ends_line = text.ends_with('\n');
        self.lay_out(&text)
    }
}
