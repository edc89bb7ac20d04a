//! What comes from the keyboard.

/// What came from the keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Nothing, or a key that means nothing here.
    Nothing,
    /// Esc alone.
    Escape,
    /// Ctrl-C, where it comes as a key and not as a signal.
    #[cfg_attr(unix, allow(dead_code, reason = "a signal there"))]
    Interrupt,
    /// Text.
    Text(Vec<u8>),
    /// The terminal is gone.
    End,
}
