//! The real binary with a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home of its own, and commands that know no other.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::launch::tokki();
        command.env_clear().env("TOKKI_HOME", self.path()).env("HOME", self.path()).env("TOKKI_PART_SIZE", "256K");
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// All files under `models`.
    pub fn models(&self) -> Vec<PathBuf> {
        let dirs = std::fs::read_dir(self.path().join("models")).into_iter().flatten().flatten();
        dirs.flat_map(|dir| std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path())).collect()
    }
}

pub fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    // Answers may hold any character by itself.
    assert!(!text.contains("\x1b["), "escape codes in a pipe: {text:?}");
    text
}

/// The exit code, stdout and stderr of a command.
pub fn told(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
