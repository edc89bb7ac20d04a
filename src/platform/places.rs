//! Where each system keeps what belongs to a user: an environment variable, and what lies below it.

/// The user's own folder.
#[cfg(feature = "pull")]
pub(crate) const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

/// Files of settings.
pub(crate) const SETTINGS: (&str, &str) = if cfg!(windows) {
    ("APPDATA", "tokki/config.toml")
} else if cfg!(target_os = "macos") {
    ("HOME", "Library/Application Support/tokki/config.toml")
} else {
    ("HOME", ".config/tokki/config.toml")
};

/// Data of programs.
#[cfg(feature = "pull")]
pub(crate) const DATA: (&str, &str) = if cfg!(windows) {
    ("LOCALAPPDATA", "tokki")
} else if cfg!(target_os = "macos") {
    ("HOME", "Library/Application Support/tokki")
} else {
    ("HOME", ".local/share/tokki")
};

/// Whether what is mapped stays when the name of its file goes.
#[cfg(feature = "cli")]
pub(crate) const MAPS_OUTLIVE_NAMES: bool = cfg!(unix);

/// Where a service of Ollama keeps its models, beside the user's own.
#[cfg(feature = "pull")]
pub(crate) const OLLAMA: &[&str] =
    if cfg!(windows) { &[] } else { &["/usr/share/ollama/.ollama/models", "/var/lib/ollama/models"] };
