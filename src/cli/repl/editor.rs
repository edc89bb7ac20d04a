//! The line that the user edits: history, completion, several lines.

use super::commands::NAMES;
use super::line_history::{FENCE, HISTORY, failed, unfenced};
use super::output;
use crate::config::{KEYS, WORDS};
use crate::platform::terminal::is_closed;
use crate::{Result, store};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Cmd, CompletionType, Config, Context, Helper, KeyCode, KeyEvent, Modifiers};
use std::borrow::Cow;
use std::cell::RefCell;
use std::path::PathBuf;

/// What came of asking for a line.
pub(super) enum LineInput {
    /// A line, or several.
    Text(String),
    /// Ctrl-C: the line was thrown away.
    Cleared,
    /// Ctrl-D, or the terminal is gone.
    Left,
}

/// Reads lines from the terminal.
pub(super) struct Editor {
    inner: rustyline::Editor<Assist, FileHistory>,
    /// The file of the lines of all chats.
    lines: Option<PathBuf>,
    /// Whether those of this one go there.
    keeps: bool,
}

impl Editor {
    /// An editor with the lines of earlier chats, which remembers those of this one if it `keeps` them.
    pub(super) fn new(keeps: bool) -> Result<Self> {
        let config = Config::builder().auto_add_history(false).max_history_size(HISTORY);
        let config = config.map_err(failed)?.bracketed_paste(true);
        // As shells do it: a second Tab lists what fits, and takes nothing back.
        let config = config.completion_type(CompletionType::List).build();
        let mut inner = rustyline::Editor::with_config(config).map_err(failed)?;
        inner.set_helper(Some(Assist { files: FilenameCompleter::new(), typed: RefCell::default() }));
        inner.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), Cmd::Newline);
        let lines = store::Store::open().ok().map(|store| store::chats::typed_lines(store.home()));
        let mut editor = Self { inner, lines, keeps };
        editor.load();
        Ok(editor)
    }

    fn load(&mut self) {
        if let Some(path) = &self.lines {
            // No lines yet, or a file that cannot be read: the chat works without.
            let _ = self.inner.load_history(path);
        }
    }

    /// Whether lines are kept from now on; those from before stay as they are.
    pub(super) fn keep(&mut self, keeps: bool) {
        if keeps && !self.keeps {
            // What was not to be kept is not written with the next line.
            let _ = self.inner.clear_history();
            self.load();
        }
        self.keeps = keeps;
    }

    /// Asks for input; `text` is there already, to be edited.
    pub(super) fn read(&mut self, text: &str) -> Result<LineInput> {
        let mut line = self.inner.readline_with_initial(">>> ", (text, ""));
        // A byte of another encoding ends the reading of the line. It goes on where it was, with a character that says so.
        while matches!(&line, Err(ReadlineError::Io(why)) if why.kind() == std::io::ErrorKind::InvalidData) {
            let typed = self.inner.helper().map(|assist| assist.typed.take()).unwrap_or_default();
            if !typed.contains(char::REPLACEMENT_CHARACTER) {
                output::say(
                    "(what was typed or pasted is not UTF-8, and a part of it is lost: set the terminal to UTF-8)",
                );
            }
            line = self.inner.readline_with_initial(">>> ", (&format!("{typed}{}", char::REPLACEMENT_CHARACTER), ""));
        }
        match line {
            Ok(line) => {
                let text = unfenced(&line).replace("\\\n", "\n");
                self.remember(&line);
                Ok(LineInput::Text(text))
            }
            Err(ReadlineError::Interrupted) => Ok(LineInput::Cleared),
            Err(ReadlineError::Eof) => Ok(LineInput::Left),
            // A terminal that was closed is a user who left.
            Err(why) if is_closed(&why) => Ok(LineInput::Left),
            Err(why) => Err(failed(why)),
        }
    }

    /// Asks a question that only a clear yes answers.
    pub(super) fn agrees(&mut self, question: &str) -> bool {
        let answer = self.inner.readline(&format!("{question} [y/N] "));
        answer.is_ok_and(|answer| matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        // History is a comfort: a full disk must not end the chat.
        let kept = self.lines.as_ref().filter(|_| self.keeps);
        if kept.is_some_and(|path| !path.exists()) {
            // Nothing was typed yet, or it was all to be forgotten meanwhile.
            let _ = self.inner.clear_history();
        }
        let _ = self.inner.add_history_entry(line);
        if let Some(path) = kept {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.inner.append_history(path).or_else(|_| self.inner.save_history(path));
        }
    }
}

/// Names of models in the store; none where it cannot be read.
fn models() -> Vec<String> {
    let models = store::Store::open().and_then(|store| store.models()).unwrap_or_default();
    models.into_iter().map(|entry| entry.name).collect()
}

/// Completion of commands and files; lines that are not finished.
struct Assist {
    files: FilenameCompleter,
    /// The line as it was shown last.
    typed: RefCell<String>,
}

impl Helper for Assist {}
/// A pasted line may hold what a terminal would obey.
impl Highlighter for Assist {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        crate::text::clean(line)
    }

    fn highlight_char(&self, line: &str, _: usize, _: CmdKind) -> bool {
        line.contains(|c: char| c.is_control() && c != '\n')
    }
}

/// Gives no hints: it is told the line at each change.
impl Hinter for Assist {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        line.clone_into(&mut self.typed.borrow_mut());
        None
    }
}

impl Validator for Assist {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let open = is_open(context.input());
        Ok(if open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

/// Whether a text goes on in the next line: a fence that is not closed, or a backslash at its end.
fn is_open(text: &str) -> bool {
    let text = text.trim();
    if text.ends_with('\\') {
        return true;
    }
    text.starts_with(FENCE) && (text.len() < 2 * FENCE.len() || !text.ends_with(FENCE))
}

impl Completer for Assist {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        if let Some(start) = before.strip_prefix('/').filter(|rest| !rest.contains(' ')) {
            let names = NAMES.iter().filter(|name| name.starts_with(start));
            let pair = |name: &&str| Pair { display: format!("/{name}"), replacement: format!("/{name} ") };
            return Ok((0, names.map(pair).collect()));
        }
        for (command, words) in [
            ("/set ", KEYS.iter().map(|key| key.name.to_owned()).collect::<Vec<_>>()),
            ("/think ", ["on", "off", "show", "hide", "brief"].map(str::to_owned).to_vec()),
            ("/model ", models()),
        ] {
            if let Some(start) = before.strip_prefix(command).filter(|rest| !rest.contains(' ')) {
                let found = words.iter().filter(|word| word.starts_with(start));
                let pair = |word: &String| Pair { display: word.clone(), replacement: format!("{word} ") };
                let pairs: Vec<Pair> = found.map(pair).collect();
                if !pairs.is_empty() {
                    return Ok((command.len(), pairs));
                }
            }
        }
        if let Some((key, start)) = before.strip_prefix("/set ").and_then(|rest| rest.split_once(' ')) {
            let words = WORDS.iter().find(|(name, _)| *name == key).map_or(&[][..], |(_, words)| words);
            let found = words.iter().chain(&["default"]).filter(|word| word.starts_with(start));
            let pair = |word: &&str| Pair { display: (*word).to_owned(), replacement: (*word).to_owned() };
            return Ok((at - start.len(), found.map(pair).collect()));
        }
        let word = before.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        if before[word..].starts_with('@') || before.starts_with('/') {
            let mut path = before.replacen('@', " ", 1);
            // Below the user's home: that takes its place.
            if let Some(tilde) = path.rfind("~/").filter(|&tilde| path[..tilde].ends_with([' ', '"', '\''])) {
                let home = output::home_path(&path[tilde..]);
                path.replace_range(tilde.., &home.to_string_lossy());
            }
            let (start, pairs) = self.files.complete(&path, path.len(), context)?;
            return Ok((start.max(word), pairs));
        }
        Ok((at, Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Tab makes of the line, where there is one way on.
    fn completed(line: &str) -> Option<String> {
        let history = FileHistory::new();
        let assist = Assist { files: FilenameCompleter::new(), typed: RefCell::default() };
        let (start, pairs) = assist.complete(line, line.len(), &Context::new(&history)).ok()?;
        let [only] = pairs.as_slice() else { return None };
        Some(format!("{}{}", &line[..start], only.replacement))
    }

    #[test]
    fn tab_goes_on_with_what_fits() {
        let is = |line: &str, wanted: &str| assert_eq!(completed(line).as_deref(), Some(wanted), "{line}");
        is("/sav", "/save ");
        is("/set kv", "/set kv_type ");
        is("/set kv_type q", "/set kv_type q8_0");
        is("/set thoughts h", "/set thoughts hide");
        is("/think sh", "/think show ");
        is("what is in @Cargo.t", "what is in @Cargo.toml");
        is("/file Cargo.t", "/file Cargo.toml");
        assert_eq!(completed("/set seed C"), None, "no files as values");
    }

    #[test]
    fn fences_hold_several_lines() {
        assert!(is_open("\"\"\""));
        assert!(is_open("\"\"\"first\nsecond"));
        assert!(!is_open("\"\"\"first\nsecond\"\"\""));
        assert!(!is_open("plain") && is_open("goes on\\"));
        assert_eq!(unfenced("\"\"\"\nfirst\nsecond\n\"\"\""), "first\nsecond");
        assert_eq!(unfenced("\"quoted\""), "\"quoted\"");
    }
}
