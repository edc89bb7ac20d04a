//! What stops a template.

/// `Result` of everything in here. Boxed, so that the good path stays small.
pub(in crate::chat) type Result<T> = std::result::Result<T, Box<Fault>>;

/// Longest message, in bytes: templates can make messages of any length.
const MAX_SHOWN_BYTES: usize = 1000;

/// Why a template stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chat) enum FaultKind {
    /// The template does not parse.
    Syntax,
    /// The template's own `raise_exception`.
    Raised,
    /// What Python or Jinja would raise.
    Runtime,
    /// A limit of work, memory or depth.
    Limit,
    /// The user asked to stop.
    Interrupted,
}

/// A reason to stop, and the line where it came up (0: not known yet).
#[derive(Debug, Clone)]
pub(in crate::chat) struct Fault {
    pub(in crate::chat) kind: FaultKind,
    pub(in crate::chat) message: String,
    pub(in crate::chat) line: usize,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, message: &str) -> Box<Self> {
        Box::new(Self { kind, message: shortened(message), line: 0 })
    }

    pub(super) fn syntax(line: usize, message: &str) -> Box<Self> {
        Box::new(Self { kind: FaultKind::Syntax, message: shortened(message), line })
    }
}

/// A fault of the template's own making.
pub(super) fn runtime<T>(message: impl AsRef<str>) -> Result<T> {
    Err(Fault::new(FaultKind::Runtime, message.as_ref()))
}

/// A limit that was reached.
pub(super) fn limit<T>(message: impl AsRef<str>) -> Result<T> {
    Err(Fault::new(FaultKind::Limit, message.as_ref()))
}

/// The beginning of a text that may be of any length.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= MAX_SHOWN_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_SHOWN_BYTES).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}... ({} bytes)", &text[..end], text.len())
}

/// The beginning of a name, in quotes, for messages.
pub(super) fn quoted(name: &str) -> String {
    format!("'{}'", shortened(name))
}
