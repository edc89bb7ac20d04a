//! Text that comes in pieces, laid out for a terminal: words are not broken at its edge, and the few marks of Markdown that
//! models use are shown as what they mean. Code is left as it is, so that it can be copied.

use crate::cli::output::Paint;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Narrower than this nothing can be laid out.
const NARROW: usize = 12;

/// A stream of text on its way to a terminal.
pub(super) struct Flow {
    paint: Paint,
    /// What was not shown yet: a word, or a row of a table, that may go on.
    word: String,
    /// Cells of the current row that are taken.
    column: usize,
    /// Blanks before the next word, and before continued rows.
    blanks: usize,
    hang: usize,
    /// The line has begun with something else than blanks.
    begun: bool,
    /// What the line is.
    line: Line,
    /// Between two fences.
    code: bool,
    bold: bool,
    /// Rows of a table that is not complete.
    table: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Text,
    Heading,
    /// Shown as it is: code and the fences around it.
    Plain,
    /// A row of a table, shown when the table is complete.
    Row,
}

impl Flow {
    pub(in crate::cli) fn new(paint: Paint) -> Self {
        Self {
            paint,
            word: String::new(),
            column: 0,
            blanks: 0,
            hang: 0,
            begun: false,
            line: Line::Text,
            code: false,
            bold: false,
            table: Vec::new(),
        }
    }

    /// What is to be shown now that `text` came, on a terminal of `width` columns.
    pub(in crate::cli) fn push(&mut self, text: &str, width: usize) -> String {
        let mut out = String::new();
        for c in text.chars() {
            self.take(c, width.max(NARROW), &mut out);
        }
        out
    }

    /// What is left to be shown when no more text comes.
    pub(in crate::cli) fn end(&mut self, width: usize) -> String {
        let mut out = String::new();
        if self.line == Line::Row {
            let row = std::mem::take(&mut self.word);
            self.table.push(row);
        }
        self.end_table(width, &mut out);
        self.flush(width.max(NARROW), &mut out);
        (self.column, self.blanks, self.hang, self.begun) = (0, 0, 0, false);
        (self.line, self.code, self.bold) = (Line::Text, false, false);
        out
    }

    fn take(&mut self, c: char, width: usize, out: &mut String) {
        match c {
            '\n' => self.new_line(width, out),
            _ if self.line == Line::Row => self.word.push(c),
            _ if self.line == Line::Plain => {
                out.push(c);
                self.column += c.width().unwrap_or(0);
            }
            ' ' if !self.begun => {
                self.blanks += 1;
                if self.code {
                    self.begin_plain(out);
                }
            }
            ' ' => {
                self.flush(width, out);
                // A heading's mark is not shown, nor the blank after it.
                self.blanks += usize::from(self.line != Line::Heading || self.column > 0);
            }
            '|' if !self.begun && self.paint.is_on() && !self.code => {
                (self.begun, self.line) = (true, Line::Row);
                self.word.push(c);
            }
            _ if self.code && !self.begun && c != '`' => {
                self.begin_plain(out);
                self.take(c, width, out);
            }
            c => {
                self.end_table(width, out);
                self.begun = true;
                self.word.push(c);
                if self.word == "```" {
                    self.code = !self.code;
                    let fence = std::mem::take(&mut self.word);
                    self.begin_plain(out);
                    out.push_str(&self.paint.dim(&fence));
                } else if self.code && !"```".starts_with(&self.word) {
                    let begun = std::mem::take(&mut self.word);
                    self.begin_plain(out);
                    out.push_str(&begun);
                } else if is_wide_script(c) {
                    // Scripts without blanks may be broken after any letter.
                    self.flush(width, out);
                }
            }
        }
    }

    fn begin_plain(&mut self, out: &mut String) {
        (self.begun, self.line) = (true, Line::Plain);
        out.extend(std::iter::repeat_n(' ', self.blanks));
        self.blanks = 0;
    }

    fn new_line(&mut self, width: usize, out: &mut String) {
        if self.line == Line::Row {
            let row = std::mem::take(&mut self.word);
            self.table.push(row);
        } else {
            self.flush(width, out);
            self.end_table(width, out);
            out.push('\n');
        }
        if self.line == Line::Heading {
            self.bold = false;
        }
        (self.column, self.blanks, self.hang, self.begun, self.line) = (0, 0, 0, false, Line::Text);
    }

    /// Shows the word, on a new row where the current one has no room for it.
    fn flush(&mut self, width: usize, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let mut word = std::mem::take(&mut self.word);
        if self.column == 0
            && self.line == Line::Text
            && let Some(shown) = self.mark(&word)
        {
            word = shown;
            if word.is_empty() {
                self.blanks = 0;
                return;
            }
        }
        let (shown, cells) = self.styled(&word);
        if self.column > 0 && self.column + self.blanks + cells > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', self.hang.min(width / 2)));
            self.column = self.hang.min(width / 2);
        } else {
            out.extend(std::iter::repeat_n(' ', self.blanks));
            self.column += self.blanks;
        }
        self.blanks = 0;
        out.push_str(&shown);
        self.column = if cells > width { (self.column + cells) % width } else { self.column + cells };
        if self.hang == 0 && (word == "•" || is_number(&word)) && self.column <= 8 {
            self.hang = self.column + 1;
        }
    }

    /// What stands for a mark at the beginning of a line; `None` where the word is none.
    fn mark(&mut self, word: &str) -> Option<String> {
        if !self.paint.is_on() {
            return None;
        }
        if (1..=6).contains(&word.len()) && word.bytes().all(|b| b == b'#') {
            (self.line, self.bold) = (Line::Heading, true);
            return Some(String::new());
        }
        matches!(word, "-" | "*" | "+").then(|| "•".to_owned())
    }

    /// The word with its marks turned into what they mean, and the cells that it takes.
    fn styled(&mut self, word: &str) -> (String, usize) {
        if !self.paint.is_on() {
            return (word.to_owned(), word.width());
        }
        let (mut shown, mut cells) = (String::new(), 0);
        for (at, part) in word.split("**").enumerate() {
            if at > 0 && self.line != Line::Heading {
                self.bold = !self.bold;
            }
            if !part.is_empty() {
                shown.push_str(&if self.bold { self.paint.bold(part) } else { part.to_owned() });
                cells += part.width();
            }
        }
        (shown, cells)
    }

    /// Shows the rows of a table with their columns lined up, where they have room; else as they came.
    fn end_table(&mut self, width: usize, out: &mut String) {
        let rows = std::mem::take(&mut self.table);
        if rows.is_empty() {
            return;
        }
        let cells = |row: &String| -> Vec<String> {
            row.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace("**", "")).collect()
        };
        let table: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let is_rule =
            |row: &Vec<String>| row.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-: ".contains(c)));
        let columns = table.iter().map(Vec::len).max().unwrap_or(0);
        let cells_of = |column: usize| table.iter().filter(|row| !is_rule(row)).filter_map(move |row| row.get(column));
        let widths: Vec<usize> =
            (0..columns).map(|at| cells_of(at).map(|cell| cell.width()).max().unwrap_or(0)).collect();
        if widths.iter().map(|width| width + 2).sum::<usize>() > width + 2 {
            rows.iter().for_each(|row| out.push_str(&format!("{row}\n")));
            return;
        }
        for (number, row) in table.iter().enumerate() {
            if is_rule(row) {
                continue;
            }
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
            }
            let line = line.trim_end();
            let head = number == 0 && table.get(1).is_some_and(is_rule);
            out.push_str(&format!("{}\n", if head { self.paint.bold(line) } else { line.to_owned() }));
        }
    }
}

/// `1.`, `23)`.
fn is_number(word: &str) -> bool {
    word.strip_suffix(['.', ')']).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a line may be broken after this letter: Chinese and Japanese write no blanks.
fn is_wide_script(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff60}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text shown, given in pieces of every size.
    fn shown(text: &str, width: usize, paint: bool) -> String {
        let all = |size: usize| {
            let mut flow = Flow::new(Paint::fixed(paint));
            let letters: Vec<char> = text.chars().collect();
            let mut out: String =
                letters.chunks(size).map(|piece| flow.push(&piece.iter().collect::<String>(), width)).collect();
            out.push_str(&flow.end(width));
            out
        };
        let whole = all(text.len().max(1));
        for size in 1..6 {
            assert_eq!(all(size), whole, "pieces of {size}");
        }
        whole
    }

    #[test]
    fn words_are_not_broken_at_the_edge() {
        assert_eq!(shown("the quick brown fox jumps", 12, false), "the quick\nbrown fox\njumps");
        assert_eq!(shown("이것은 한국어로 쓴 글이다", 12, false), "이것은\n한국어로 쓴\n글이다");
        assert_eq!(shown("a verylongwordthatfitsnowhere b", 12, false), "a\nverylongwordthatfitsnowhere b");
        assert_eq!(shown("中文没有空格所以到处可以断", 12, false), "中文没有空格\n所以到处可以\n断");
        assert_eq!(shown("one\n\n  two  three\n", 40, false), "one\n\n  two  three\n");
    }

    #[test]
    fn marks_are_shown_as_what_they_mean() {
        assert_eq!(shown("# Title here\ntext", 40, true), "\u{1b}[1mTitle\u{1b}[0m \u{1b}[1mhere\u{1b}[0m\ntext");
        assert_eq!(shown("- one two three four", 14, true), "• one two\n  three four");
        assert_eq!(shown("a **b** c", 40, true), "a \u{1b}[1mb\u{1b}[0m c");
        assert_eq!(
            shown("| a | bb |\n|---|---|\n| ccc | d |\nend", 40, true),
            "\u{1b}[1ma    bb\u{1b}[0m\nccc  d\nend"
        );
        // Without colours the marks are all there is.
        assert_eq!(shown("# T\n- **a**", 40, false), "# T\n- **a**");
    }

    #[test]
    fn code_is_left_as_it_is() {
        let code = "```py\ndef f(x):\n    return '# no heading ' + \"- no bullet and a long line\"\n```\nend";
        assert_eq!(shown(code, 20, false), code);
        let painted = shown(code, 20, true).replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
        assert_eq!(painted, code);
    }
}
