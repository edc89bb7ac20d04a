//! What a rendering may cost, paid while the work is done.
//!
//! One unit of work is about the time of one step of the evaluator or of looking at 32 bytes. Memory is what values hold
//! at the moment: each carries a [`Charge`] that gives its bytes back when it goes.

use super::fault::{Fault, FaultKind, Result, limit};
use std::cell::Cell;
use std::rc::Rc;

/// Bytes that one unit of work copies, compares or looks through.
const BYTES_PER_UNIT: usize = 32;
/// Units between two looks at whether the user wants to stop.
const UNITS_BETWEEN_LOOKS: u64 = 1 << 16;
/// What a value costs beside its content.
pub(super) const OVERHEAD: usize = 64;

/// The account of one rendering.
#[derive(Debug)]
pub(super) struct Meter {
    work: Cell<u64>,
    since: Cell<u64>,
    live: Cell<usize>,
    most: Cell<usize>,
}

impl Meter {
    pub(super) fn new(work: u64) -> Rc<Self> {
        Rc::new(Self { work: Cell::new(work), since: Cell::new(0), live: Cell::new(0), most: Cell::new(usize::MAX) })
    }

    /// From now on so many bytes more than are held already.
    pub(super) fn allow(&self, bytes: usize) {
        self.most.set(self.live.get().saturating_add(bytes));
    }

    /// Pays for units of work.
    pub(super) fn work(&self, units: usize) -> Result<()> {
        let units = units as u64;
        let since = self.since.get() + units;
        self.since.set(since);
        if since >= UNITS_BETWEEN_LOOKS {
            self.since.set(0);
            // A program that embeds the library handles its signals itself.
            #[cfg(feature = "cli")]
            if crate::interrupt::requested() {
                return Err(Fault::new(FaultKind::Interrupted, "interrupted"));
            }
        }
        match self.work.get().checked_sub(units) {
            Some(left) => self.work.set(left),
            None => return limit("the template does more work than a chat template may"),
        }
        Ok(())
    }

    /// Pays for looking at so many bytes.
    pub(super) fn look(&self, bytes: usize) -> Result<()> {
        self.work(bytes / BYTES_PER_UNIT + 1)
    }

    /// Takes so many bytes of memory until the charge is dropped.
    pub(super) fn charge(self: &Rc<Self>, bytes: usize) -> Result<Charge> {
        let mut charge = Charge { meter: Rc::clone(self), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }

    /// An empty text that grows.
    pub(super) fn buffer(self: &Rc<Self>) -> Result<Buffer> {
        Ok(Buffer { text: String::new(), charge: self.charge(OVERHEAD)? })
    }
}

/// Memory in use.
#[derive(Debug)]
pub(super) struct Charge {
    meter: Rc<Meter>,
    bytes: usize,
}

impl Charge {
    /// Takes more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        let live = self.meter.live.get().saturating_add(bytes);
        if live > self.meter.most.get() {
            return limit("the template's values need more memory than a chat template may use");
        }
        self.meter.live.set(live);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.live.set(self.meter.live.get().saturating_sub(self.bytes));
    }
}

/// A text in the making: every byte is paid for before it is written.
#[derive(Debug)]
pub(super) struct Buffer {
    text: String,
    charge: Charge,
}

impl Buffer {
    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        self.charge.meter.look(text.len())?;
        self.charge.grow(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_char(&mut self, c: char) -> Result<()> {
        self.push(c.encode_utf8(&mut [0; 4]))
    }

    /// The same text so many times.
    pub(super) fn repeat(&mut self, text: &str, times: usize) -> Result<()> {
        let bytes = text.len().saturating_mul(times);
        self.charge.meter.look(bytes)?;
        self.charge.grow(bytes)?;
        self.text.extend(std::iter::repeat_n(text, times));
        Ok(())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn meter(&self) -> &Rc<Meter> {
        &self.charge.meter
    }

    /// The text, safe for HTML or not, with what it holds of memory.
    pub(super) fn into_text(self, markup: bool) -> Text {
        Text::new(self.text.into_boxed_str(), markup, self.charge)
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

/// A text; `markup` says that it is safe for HTML.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) text: Box<str>,
    pub(super) chars: usize,
    pub(super) markup: bool,
    _charge: Charge,
}

impl Text {
    pub(super) fn new(text: Box<str>, markup: bool, charge: Charge) -> Self {
        Self { chars: text.chars().count(), text, markup, _charge: charge }
    }

    /// The byte where the character of this number begins (the end for the one after the last).
    pub(super) fn byte(&self, char: usize) -> usize {
        if self.chars == self.text.len() {
            return char.min(self.text.len());
        }
        self.text.char_indices().nth(char).map_or(self.text.len(), |(at, _)| at)
    }
}
