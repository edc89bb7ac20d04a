//! Types of values: how each is read from a text and written back.

use std::path::PathBuf;

/// A value that a text can hold.
pub trait Item: Sized {
    /// How the configuration file writes it: `number`, `true or false`, `text` or `path`.
    const KIND: &'static str;
    /// Reads it; the error says what was wanted.
    fn parse(text: &str) -> Result<Self, String>;
    /// Writes it so that [`Item::parse`] reads the same.
    fn show(&self) -> String;
}

macro_rules! whole_numbers {
    ($($ty:ty, $wanted:literal),+) => {$(
        impl Item for $ty {
            const KIND: &'static str = "number";
            fn parse(text: &str) -> Result<Self, String> {
                whole(text).and_then(|n| n.try_into().ok()).ok_or_else(|| $wanted.to_owned())
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_numbers!(
    usize,
    "a whole number from 0, such as 512 or 8k",
    // Counts nothing: any number will do, as long as there is room for it.
    u64,
    "a whole number from 0 to 18446744073709551615"
);

/// `512`, `100_000`, `8k` (8192), `1m`.
pub(super) fn whole(text: &str) -> Option<u64> {
    let text = text.trim().replace('_', "").to_lowercase();
    let (digits, scale) = match (text.strip_suffix('k'), text.strip_suffix('m')) {
        (Some(digits), _) => (digits, 1 << 10),
        (_, Some(digits)) => (digits, 1 << 20),
        _ => (text.as_str(), 1),
    };
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

/// Reads a number of tokens as every setting of that kind is read, for flags of a single command.
///
/// # Errors
/// What was wanted.
pub fn count(text: &str) -> Result<usize, String> {
    usize::parse(text)
}

/// A number of threads: `8`, or `8!` for as many whatever the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// How many.
    pub count: usize,
    /// More than there are CPUs is meant.
    pub forced: bool,
}

impl Item for Threads {
    const KIND: &'static str = "number";
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let number = text.strip_suffix('!').unwrap_or(text);
        let count = usize::parse(number).map_err(|_| "a whole number from 1, such as 8".to_owned())?;
        Ok(Self { count, forced: number.len() < text.len() })
    }
    fn show(&self) -> String {
        format!("{}{}", self.count, if self.forced { "!" } else { "" })
    }
}

/// As [`count`], but not zero.
///
/// # Errors
/// What was wanted.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match usize::parse(text)? {
        0 => Err("a whole number from 1".to_owned()),
        count => Ok(count),
    }
}

impl Item for f32 {
    const KIND: &'static str = "number";
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().ok().filter(|v: &Self| v.is_finite()).ok_or_else(|| "a number".to_owned())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Item for bool {
    const KIND: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Item for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

impl Item for PathBuf {
    const KIND: &'static str = "path";
    fn parse(text: &str) -> Result<Self, String> {
        // Bytes that are no text come as this sign, and would name another folder.
        if text.is_empty() || text.contains(char::REPLACEMENT_CHARACTER) {
            return Err("a path of UTF-8 text".to_owned());
        }
        Ok(crate::platform::files::home_path(text))
    }
    fn show(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

/// A number of bytes: `4096`, `64K`, `64M`, `1.5G` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(
    /// The number.
    pub u64,
);

impl Item for Bytes {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        let wanted = || "a size such as 4096, 64M or 1.5G".to_owned();
        let lower = text.trim().to_lowercase();
        let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
        let (digits, unit) = match lower.find(|c: char| c.is_ascii_alphabetic()) {
            Some(at) => lower.split_at(at),
            None => (lower, ""),
        };
        let scale = match unit {
            "" => 1u64,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            "t" => 1 << 40,
            _ => return Err(wanted()),
        };
        if let Ok(whole) = digits.trim().parse::<u64>() {
            return whole.checked_mul(scale).map(Self).ok_or_else(wanted);
        }
        let number: f64 = digits.trim().parse().map_err(|_| wanted())?;
        let bytes = number * scale as f64;
        if (0.0..1e18).contains(&bytes) { Ok(Self(bytes as u64)) } else { Err(wanted()) }
    }
    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Whether a reasoning model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingSetting {
    /// As long as it likes.
    On,
    /// Not at all.
    Off,
    /// At most this many tokens.
    Budget(usize),
    /// As by itself; only what is seen of it changes.
    View(ThoughtView),
}

/// What is seen of thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThoughtView {
    /// All, as it comes.
    Show,
    /// Nothing.
    Hide,
    /// That there is one, and how long.
    Brief,
}

impl Item for ThoughtView {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "show" => Ok(Self::Show),
            "hide" => Ok(Self::Hide),
            "brief" => Ok(Self::Brief),
            _ => Err("show, hide or brief".to_owned()),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Show => "show",
            Self::Hide => "hide",
            Self::Brief => "brief",
        }
        .to_owned()
    }
}

impl Item for ThinkingSetting {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_lowercase().as_str() {
            "on" | "true" => Ok(Self::On),
            "off" | "false" => Ok(Self::Off),
            other => match (other.parse(), ThoughtView::parse(other)) {
                (Ok(tokens), _) => Ok(Self::Budget(tokens)),
                (_, Ok(view)) => Ok(Self::View(view)),
                _ => Err("on, off, a number of tokens, or show, hide, brief".to_owned()),
            },
        }
    }
    fn show(&self) -> String {
        match self {
            Self::On => "on".to_owned(),
            Self::Off => "off".to_owned(),
            Self::Budget(tokens) => tokens.to_string(),
            Self::View(view) => view.show(),
        }
    }
}
