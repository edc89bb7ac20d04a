//! Where the value of a parameter comes from.

/// Where a value comes from. Later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in: neither the user nor the file nor a recommendation sets it.
    Default,
    /// The model's maker recommends it for this family.
    Family(&'static str),
    /// The model's file says it (`general.sampling.*`).
    File,
    /// The user said it.
    User,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Family(name) => write!(f, "recommended for {name}"),
            Self::File => f.write_str("the model's file"),
            Self::User => f.write_str("given"),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}
