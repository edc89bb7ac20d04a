//! The file of saved log-probabilities, written and read one row at a time.
//!
//! Little-endian: the 8 bytes `TOKKI-LP`, then as u32: version (1), vocabulary, window, scored, step, number of tokens;
//! the tokens as u32; then one row per prediction in the order of computation: top and step as f32, and per token the u16
//! `round((top - ln p) / step)`. Log-probabilities further than 32 below the top are saved as 32 below it; the error of
//! the others stays under 0.0005.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::windows::Windows;
use crate::error::FileAction;
use crate::platform::input;
use crate::platform::output::OutputFile;
use crate::{Error, Result};

const LOGITS_MAGIC: &[u8; 8] = b"TOKKI-LP";
const LOGITS_VERSION: u32 = 1;
const RANGE: f64 = 32.0;
const LEVELS: f64 = 65535.0;

/// What a file belongs to: it only makes sense beside the same tokens, cut in the same way.
struct Header<'a> {
    vocab: usize,
    windows: Windows,
    tokens: &'a [u32],
}

impl Header<'_> {
    fn numbers(&self) -> [u32; 6] {
        let Windows { len, scored, step } = self.windows;
        [LOGITS_VERSION, self.vocab as u32, len as u32, scored as u32, step as u32, self.tokens.len() as u32]
    }
}

/// Saves log-probabilities.
pub struct LogitsWriter {
    out: OutputFile,
    bytes: Vec<u8>,
}

impl LogitsWriter {
    /// Begins the file for predictions over `tokens`; it has its name once it is finished.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created or written.
    pub fn create(path: &Path, vocab: usize, windows: Windows, tokens: &[u32]) -> Result<Self> {
        let mut writer = Self { out: OutputFile::begin(path)?, bytes: LOGITS_MAGIC.to_vec() };
        let header = Header { vocab, windows, tokens };
        for number in header.numbers().iter().chain(tokens) {
            writer.bytes.extend_from_slice(&number.to_le_bytes());
        }
        writer.put()?;
        Ok(writer)
    }

    /// Appends the log-probabilities of one prediction.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn row(&mut self, log_probs: &[f64]) -> Result<()> {
        let (low, top) = log_probs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, t), &x| (l.min(x), t.max(x)));
        let step = ((top - low).min(RANGE) / LEVELS).max(f64::MIN_POSITIVE) as f32;
        self.bytes.clear();
        self.bytes.extend_from_slice(&(top as f32).to_le_bytes());
        self.bytes.extend_from_slice(&step.to_le_bytes());
        for &x in log_probs {
            // A float that is too large for the integer becomes its largest value.
            let code = ((top - x) / f64::from(step).max(f64::MIN_POSITIVE)).round() as u16;
            self.bytes.extend_from_slice(&code.to_le_bytes());
        }
        self.put()
    }

    fn put(&mut self) -> Result<()> {
        self.out.write_all(&self.bytes).map_err(|e| self.out.failed(e))
    }

    /// Makes what was written the file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn finish(self) -> Result<()> {
        self.out.commit()
    }
}

/// Reads saved log-probabilities.
pub struct LogitsReader {
    path: PathBuf,
    input: BufReader<File>,
    bytes: Vec<u8>,
    log_probs: Vec<f64>,
    rows: usize,
}

impl LogitsReader {
    /// Opens a file of predictions over the same tokens, cut into the same windows.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Input`] when it is no such file, or belongs to something else.
    pub fn open(path: &Path, vocab: usize, windows: Windows, tokens: &[u32]) -> Result<Self> {
        let file = input::open_regular(path)?;
        let rows = windows.count(tokens.len()) * windows.scored;
        let log_probs = vec![0.0; vocab];
        let mut reader =
            Self { path: path.to_path_buf(), input: BufReader::new(file), bytes: Vec::new(), log_probs, rows };
        reader.take(LOGITS_MAGIC.len())?;
        if reader.bytes != LOGITS_MAGIC {
            return Err(reader.wrong("a file of saved logits", "another kind of file"));
        }
        let wanted = Header { vocab, windows, tokens }.numbers();
        let names = ["version", "vocabulary", "window", "scored predictions", "step", "tokens"];
        for (name, wanted) in names.into_iter().zip(wanted) {
            let found = reader.number()?;
            if found != wanted {
                return Err(reader.wrong(&format!("{name} {wanted}"), &found.to_string()));
            }
        }
        for (index, &wanted) in tokens.iter().enumerate() {
            let found = reader.number()?;
            if found != wanted {
                return Err(reader.wrong(&format!("token {wanted} at {index}"), &found.to_string()));
            }
        }
        Ok(reader)
    }

    /// The log-probabilities of the next prediction, normalized anew.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Input`] when it ends or holds something else.
    pub fn row(&mut self) -> Result<&[f64]> {
        let (top, step) = (f64::from(f32::from_bits(self.number()?)), f64::from(f32::from_bits(self.number()?)));
        if !(top.is_finite() && step.is_finite() && step >= 0.0) {
            return Err(self.wrong("log-probabilities", &format!("top {top}, step {step}")));
        }
        self.take(self.log_probs.len() * 2)?;
        let mut sum = 0.0;
        for (out, code) in self.log_probs.iter_mut().zip(self.bytes.chunks_exact(2)) {
            *out = -step * f64::from(u16::from_le_bytes([code[0], code[1]]));
            sum += out.exp();
        }
        let shift = f64::ln(sum);
        self.log_probs.iter_mut().for_each(|x| *x -= shift);
        Ok(&self.log_probs)
    }

    fn number(&mut self) -> Result<u32> {
        self.take(4)?;
        let bytes = &self.bytes;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn take(&mut self, len: usize) -> Result<()> {
        self.bytes.resize(len, 0);
        match self.input.read_exact(&mut self.bytes) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.wrong(&format!("log-probabilities of {} predictions", self.rows), "an early end"))
            }
            other => other.map_err(|e| Error::io(&self.path, FileAction::Read, e)),
        }
    }

    fn wrong(&self, wanted: &str, found: &str) -> Error {
        Error::input(self.path.display().to_string(), wanted, found)
            .hint("save it again with the same text, `ctx` and `stride`, and a model of the same vocabulary")
    }
}

crate::text::opaque!(LogitsWriter, LogitsReader);
