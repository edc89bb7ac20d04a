//! What commands write: results to stdout, the rest to stderr; colours on terminals only, and never against `NO_COLOR`.

use crate::error::FileAction;
pub(super) use crate::platform::files::home_path;
use crate::{Error, Result, text};
use std::io::{IsTerminal, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Stdout has no reader any more.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Says whether stdout was closed when the process began.
pub(super) fn set_closed(closed: bool) {
    CLOSED.store(closed, Ordering::Relaxed);
}

/// Stdout, if it is open.
///
/// # Errors
/// [`Error::Io`] where it was closed: what is written there is lost.
pub(super) fn stdout() -> Result<StdoutLock<'static>> {
    match CLOSED.load(Ordering::Relaxed) {
        true => Err(Error::io("stdout", FileAction::Write, std::io::Error::other("it is closed"))),
        false => Ok(std::io::stdout().lock()),
    }
}

/// Writes a command's result to stdout through `write`. A reader that has gone away (`| head`) is no failure. A terminal gets
/// our own colours, and nothing else that it would obey: names and paths are often others'.
pub(super) fn result(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut out = std::io::BufWriter::new(stdout()?);
    let written = if std::io::stdout().is_terminal() {
        let mut shown = Vec::new();
        write(&mut shown).and_then(|()| out.write_all(text::painted(&String::from_utf8_lossy(&shown)).as_bytes()))
    } else {
        write(&mut out)
    };
    match written.and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("stdout", FileAction::Write, e)),
        _ => Ok(()),
    }
}

/// Text that others wrote as its reader takes it: a program byte for byte, a `terminal` without what it would obey.
pub(super) fn for_reader(text: &str, terminal: bool) -> std::borrow::Cow<'_, str> {
    if terminal { text::clean(text) } else { text.into() }
}

/// Writes text that others wrote to stdout.
pub(super) fn foreign(text: &str) -> Result<()> {
    let shown = for_reader(text, std::io::stdout().is_terminal());
    result(|out| out.write_all(shown.as_bytes()))
}

/// Writes a value as JSON, indented, to stdout.
pub(super) fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::failed("JSON", e.to_string()))?;
    let text = escaped(&text);
    result(|out| writeln!(out, "{text}"))
}

/// JSON without the control characters that JSON itself allows in texts, and a terminal obeys.
fn escaped(json: &str) -> std::borrow::Cow<'_, str> {
    let obeyed = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !json.contains(obeyed) {
        return json.into();
    }
    let escape = |c: char| if obeyed(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() };
    json.chars().map(escape).collect::<String>().into()
}

/// Says that other programs keep cores busy, and what follows for `threads` of our own; whether they do.
pub(super) fn say_busy(threads: usize, so: &str) -> bool {
    let load = crate::machine::busy(threads);
    if let Some(load) = load {
        say(&format!("tokki: other programs keep about {load:.1} cores busy: {so}"));
    }
    load.is_some()
}

/// Writes a line for the user to stderr, with what others wrote made harmless. If stderr is closed there is no one to
/// tell.
pub(super) fn say(line: &str) {
    let line = text::clean(line);
    let width = width().filter(|_| std::io::stderr().is_terminal());
    let shown = width.map_or_else(|| line.clone().into_owned(), |width| words_whole(&line, width));
    let _ = writeln!(std::io::stderr(), "{shown}");
}

/// Tells the user what went wrong, in the command line's words.
pub(super) fn complain(error: &Error) {
    say(&format!("tokki: {}", super::words::with_flags(&error.to_string())));
}

/// Tells what of the settings cannot be read, where a command goes on without it.
pub(super) fn without(setting: &Error) {
    say(&format!("tokki: this of the settings is left out: {setting}"));
}

/// Tells which chats cannot be read.
pub(super) fn left_out(chats: &[Error]) {
    chats.iter().for_each(|why| say(&format!("tokki: a chat is left out: {why}")));
}

/// The text with a line break before each word that would be broken at the edge of a terminal of this width. What has room
/// stays as it is, blanks and all.
fn words_whole(text: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthStr;
    let row = |line: &str| {
        if line.width() <= width {
            return line.to_owned();
        }
        let (mut out, mut taken) = (String::new(), 0);
        for word in line.split_inclusive(' ') {
            let cells = word.trim_end().width();
            if taken > 0 && taken + cells > width {
                out.truncate(out.trim_end().len());
                out.push('\n');
                taken = 0;
            }
            out.push_str(word);
            taken += word.width();
        }
        out
    };
    text.split('\n').map(row).collect::<Vec<_>>().join("\n")
}

/// Writes a word and what it means to stderr: the meaning in a column of its own, its words whole at the edge of the
/// terminal.
pub(super) fn columns(word: &str, column: usize, meaning: &str) {
    /// Columns that a meaning needs beside its word; with less it stands below it.
    const MIN_ROOM: usize = 20;
    const BELOW: usize = 4;
    let width = width().unwrap_or(usize::MAX);
    let beside = width.saturating_sub(column + 3);
    let (column, room) =
        if beside < MIN_ROOM { (BELOW, width.saturating_sub(BELOW + 3).max(1)) } else { (column, beside) };
    let mut rows = vec![String::new()];
    for part in meaning.split(' ') {
        let row = rows.last().map_or(0, |row| row.chars().count());
        if row > 0 && row + 1 + part.chars().count() > room {
            rows.push(String::new());
        }
        if let Some(row) = rows.last_mut() {
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(part);
        }
    }
    if word.chars().count() > column {
        say(&format!("  {word}"));
        rows.iter().for_each(|row| say(&format!("  {:column$} {row}", "")));
        return;
    }
    for (at, row) in rows.iter().enumerate() {
        say(&format!("  {:<column$} {row}", if at == 0 { word } else { "" }));
    }
}

/// `1 request`, `2 requests`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Columns of the terminal that stdout, or else stderr, is; `None` where neither is one.
pub(super) fn width() -> Option<usize> {
    crate::platform::terminal::width()
}

/// Writes a piece of an answer to stdout at once.
pub(super) fn piece(text: &str) -> Result<()> {
    let mut out = stdout()?;
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(lost)
}

/// The error for an answer that could not be written to stdout.
pub(super) fn lost(why: std::io::Error) -> Error {
    match why.kind() {
        // Its reader has gone: there is no one to compute for.
        std::io::ErrorKind::BrokenPipe => Error::Interrupted,
        _ => Error::io("stdout", FileAction::Write, why),
    }
}

/// Sentences for the foot of a table, their words whole at the edge of a terminal.
pub(super) fn prose(text: &str, paint: Paint) -> String {
    paint.width.map_or_else(|| text.to_owned(), |width| words_whole(text, width))
}

/// The least columns of a terminal in which a table's last column is laid out.
const MAX_NARROW: usize = 16;

/// Escape codes, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
    /// Columns of the terminal, where it is one.
    width: Option<usize>,
}

/// Whether the environment wants no colours, or the terminal has none.
fn refused(var: &dyn Fn(&str) -> Option<String>) -> bool {
    var("NO_COLOR").is_some_and(|value| !value.is_empty()) || var("TERM").as_deref() == Some("dumb")
}

/// How help is shown: what wants no colours gets no bold letters either.
pub(super) fn help_colours() -> clap::ColorChoice {
    if refused(&|name| std::env::var(name).ok()) { clap::ColorChoice::Never } else { clap::ColorChoice::Auto }
}

impl Paint {
    /// For stdout.
    pub(super) fn stdout() -> Self {
        Self::new(std::io::stdout().is_terminal(), &|name| std::env::var(name).ok())
    }

    /// For stderr.
    pub(super) fn stderr() -> Self {
        Self::new(std::io::stderr().is_terminal(), &|name| std::env::var(name).ok())
    }

    fn new(terminal: bool, var: &dyn Fn(&str) -> Option<String>) -> Self {
        let on = terminal && !refused(var) && crate::platform::terminal::reads_escape_codes();
        Self { on, width: width().filter(|_| terminal) }
    }

    /// With or without, whatever the terminal is.
    pub(super) fn fixed(on: bool) -> Self {
        Self { on, width: None }
    }

    /// Whether there are any.
    pub(super) fn is_on(self) -> bool {
        self.on
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.code("31", text)
    }
}

/// Rows as aligned columns, two spaces apart; the last column is not padded. Cells may hold what others wrote.
pub(super) fn table(out: &mut dyn Write, paint: Paint, head: &[&str], rows: &[Vec<String>]) -> std::io::Result<()> {
    use unicode_width::UnicodeWidthStr;
    let cell = |cell: &String| text::line(&text::shorten(cell, text::BRIEF)).into_owned();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    // The last column goes on below itself, where a terminal would break it anywhere.
    let hang: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
    let room = paint.width.and_then(|width| width.checked_sub(hang)).filter(|&room| room >= MAX_NARROW);
    for (number, row) in std::iter::once(&head).chain(&rows).enumerate() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                let cell = room.map_or_else(|| cell.clone(), |room| words_whole(cell, room));
                line.push_str(&cell.replace('\n', &format!("\n{}", " ".repeat(hang))));
            } else {
                line.push_str(cell);
                let pad = widths.get(column).copied().unwrap_or(0).saturating_sub(cell.width()) + 2;
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        let line = line.trim_end();
        if number == 0 { writeln!(out, "{}", paint.bold(line))? } else { writeln!(out, "{line}")? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn colours_only_where_they_are_wanted() {
        let none = |_: &str| None;
        assert_eq!(Paint::new(true, &none).bold("x"), "\x1b[1mx\x1b[0m");
        assert_eq!(Paint::new(false, &none).bold("x"), "x");
        assert_eq!(Paint::new(true, &|n| (n == "NO_COLOR").then(|| "1".into())).bad("x"), "x");
        assert_eq!(Paint::new(true, &|n| (n == "TERM").then(|| "dumb".into())).good("x"), "x");
        assert_eq!(Paint::new(true, &|n| (n == "NO_COLOR").then(String::new)).good("x"), "\x1b[32mx\x1b[0m");
    }

    #[test]
    fn remarks_keep_their_words_whole() {
        assert_eq!(words_whole("one two three", 8), "one two\nthree");
        assert_eq!(words_whole("  ab  cd", 8), "  ab  cd");
        assert_eq!(words_whole("문맥이 가득 찼다\nx", 12), "문맥이 가득\n찼다\nx");
        assert_eq!(words_whole("https://example.org/a/very/long b", 10), "https://example.org/a/very/long\nb");
    }

    #[test]
    fn json_holds_nothing_that_a_terminal_obeys() {
        let text = "a\u{9b}31m\u{7f}b가";
        let json = escaped(&serde_json::to_string(text).unwrap()).into_owned();
        assert_eq!(json, "\"a\\u009b31m\\u007fb가\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn columns_line_up_for_wide_letters_too() {
        let mut out = Vec::new();
        let rows = [vec!["모델".to_owned(), "1".to_owned()], vec!["a".to_owned(), "22".to_owned()]];
        table(&mut out, Paint::fixed(false), &["NAME", "N"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME  N\n모델  1\na     22\n");
        let mut out = Vec::new();
        let rows = [vec!["a".to_owned(), "writes code, calls tools".to_owned()]];
        table(&mut out, Paint { on: false, width: Some(22) }, &["N", "WHAT"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "N  WHAT\na  writes code, calls\n   tools\n");
    }
}
