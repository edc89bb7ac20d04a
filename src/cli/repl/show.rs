//! An answer on the screen as it comes.

use super::output;
use crate::Result;
use crate::chat::{Kind, Part};
use crate::cli::output::Paint;
use crate::cli::progress::Prompt;
use crate::config::{Settings, Thinking, ThoughtView};
use crate::engine::Listener;
use std::io::{IsTerminal, Write};

/// How thoughts are shown: folded (`Brief`) means one line that counts.
pub(super) fn view(settings: &Settings) -> ThoughtView {
    match (settings.thinking(), settings.thoughts()) {
        (Some(Thinking::View(view)), _) | (_, Some(view)) => view,
        _ => ThoughtView::Show,
    }
}

/// Shows one answer.
pub(super) struct Screen {
    thoughts: ThoughtView,
    paint: Paint,
    terminal: bool,
    prompt: Prompt,
    /// Pieces of thought so far.
    thought: usize,
    last: Option<Kind>,
    ends_line: bool,
}

impl Screen {
    pub(super) fn new(thoughts: ThoughtView) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            thoughts,
            paint: Paint::stdout(),
            terminal,
            prompt: Prompt::default(),
            thought: 0,
            last: None,
            ends_line: true,
        }
    }

    /// Ends the last line.
    pub(super) fn end(&mut self) -> Result<()> {
        self.fold()?;
        if self.ends_line { Ok(()) } else { output::piece("\n") }
    }

    fn think(&mut self, text: &str) -> Result<()> {
        self.thought += 1;
        match self.thoughts {
            ThoughtView::Hide => Ok(()),
            ThoughtView::Show => {
                self.ends_line = text.ends_with('\n');
                output::piece(&self.paint.dim(text))
            }
            // One line that is written over; only a terminal can do that.
            ThoughtView::Brief if self.terminal => {
                output::piece(&format!("\r{}", self.paint.dim(&format!("thinking: {} pieces", self.thought))))
            }
            ThoughtView::Brief => Ok(()),
        }
    }

    /// Between the thought and the answer.
    fn fold(&mut self) -> Result<()> {
        if self.last != Some(Kind::Reasoning) {
            return Ok(());
        }
        self.last = None;
        match self.thoughts {
            ThoughtView::Show => {
                let gap = if self.ends_line { "\n" } else { "\n\n" };
                self.ends_line = true;
                output::piece(gap)
            }
            ThoughtView::Brief if self.terminal => output::piece("\n"),
            ThoughtView::Brief | ThoughtView::Hide => Ok(()),
        }
    }
}

impl Listener for Screen {
    fn prefill(&mut self, done: usize, total: usize) {
        self.prompt.show(done, total);
    }

    fn part(&mut self, part: &Part) -> Result<()> {
        if part.kind == Kind::Unsaid {
            output::say("\nwhat stands above was the model's thought; only what follows is kept as its answer");
            self.ends_line = true;
            return Ok(());
        }
        let text = crate::text::clean(&part.text);
        if part.kind == Kind::Reasoning {
            self.last = Some(part.kind);
            return self.think(&text);
        }
        self.fold()?;
        self.last = Some(part.kind);
        self.ends_line = text.ends_with('\n');
        let mut out = output::stdout()?;
        let shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        shown.map_err(|why| crate::Error::io("stdout", "write", why))
    }
}
