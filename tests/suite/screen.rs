//! What a terminal shows: the part of a VT100 that line editing needs.

use unicode_width::UnicodeWidthChar;

/// A screen of characters. A wide one fills two cells, the second of which holds nothing.
pub struct Screen {
    cols: usize,
    cells: Vec<Vec<Option<char>>>,
    row: usize,
    col: usize,
    /// The last column is written: the next character goes to the next row.
    full: bool,
    /// Bytes of a character or a command that is not complete.
    rest: Vec<u8>,
}

impl Screen {
    pub fn new(cols: usize) -> Self {
        Self { cols, cells: vec![Vec::new()], row: 0, col: 0, full: false, rest: Vec::new() }
    }

    /// The rows, without spaces at their ends.
    pub fn rows(&self) -> Vec<String> {
        let text = |row: &Vec<Option<char>>| row.iter().flatten().collect::<String>().trim_end().to_owned();
        self.cells.iter().map(text).collect()
    }

    /// The row that the cursor is in.
    pub fn current(&self) -> String {
        self.rows().swap_remove(self.row)
    }

    /// All rows from the last that begins with `start` on, as one line.
    pub fn line_from(&self, start: &str) -> String {
        let rows = self.rows();
        let from = rows.iter().rposition(|row| row.starts_with(start)).unwrap_or(0);
        rows[from..].concat()
    }

    /// Changes the width: rows that wrapped stay as they are, which is what many terminals do.
    pub fn resize(&mut self, cols: usize) {
        self.cols = cols;
        self.col = self.col.min(cols - 1);
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        let mut bytes = [std::mem::take(&mut self.rest), bytes.to_vec()].concat();
        while !bytes.is_empty() {
            let used = self.step(&bytes);
            if used == 0 {
                break;
            }
            bytes.drain(..used);
        }
        self.rest = bytes;
    }

    /// Handles one character or command; 0 = more bytes are needed.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match bytes[0] {
            0x1b => return self.command(bytes),
            b'\r' => (self.col, self.full) = (0, false),
            b'\n' => self.down(1),
            0x08 => (self.col, self.full) = (self.col.saturating_sub(1), false),
            0..0x20 => {}
            first => {
                let len = match first {
                    0..0x80 => 1,
                    0xc0..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                let Some(text) = bytes.get(..len) else { return 0 };
                let c = std::str::from_utf8(text).unwrap().chars().next().unwrap();
                self.put(c);
                return len;
            }
        }
        1
    }

    fn command(&mut self, bytes: &[u8]) -> usize {
        if bytes.len() < 2 {
            return 0;
        }
        if bytes[1] != b'[' {
            return 2;
        }
        let Some(end) = bytes[2..].iter().position(|byte| (0x40..0x7f).contains(byte)) else { return 0 };
        let text = std::str::from_utf8(&bytes[2..2 + end]).unwrap();
        let n: usize = text.parse().unwrap_or(0);
        self.full &= bytes[2 + end] == b'm';
        match bytes[2 + end] {
            b'A' => self.row = self.row.saturating_sub(n.max(1)),
            b'B' => self.down(n.max(1)),
            b'C' => self.col = (self.col + n.max(1)).min(self.cols - 1),
            b'D' => self.col = self.col.saturating_sub(n.max(1)),
            b'G' => self.col = n.max(1) - 1,
            b'K' => self.cells[self.row].truncate(self.col),
            b'J' => {
                self.cells[self.row].truncate(self.col);
                self.cells.truncate(self.row + 1);
            }
            _ => {}
        }
        end + 3
    }

    fn down(&mut self, n: usize) {
        self.row += n;
        self.full = false;
        while self.cells.len() <= self.row {
            self.cells.push(Vec::new());
        }
    }

    fn put(&mut self, c: char) {
        let width = c.width().unwrap_or(0);
        if self.full || self.col + width > self.cols {
            self.down(1);
            self.col = 0;
        }
        let row = &mut self.cells[self.row];
        row.resize(row.len().max(self.col + width), Some(' '));
        if width == 0 {
            return;
        }
        row[self.col] = Some(c);
        row[self.col + 1..self.col + width].fill(None);
        self.col += width;
        if self.col == self.cols {
            (self.col, self.full) = (self.cols - 1, true);
        }
    }
}
