//! Files that are written whole or not at all: beside their final name, synced, then renamed over it.
//!
//! A link is followed, so that the file behind it is replaced and the link stays; a FIFO, device or socket is refused. What
//! a killed process left of the same file is cleared away by the next one that writes it.

use super::files::{self, Claim};
use crate::error::FileAction;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What stands between a file's name and the rest of its temporary's: `.NAME.tokki-PROCESS-NUMBER`.
const TEMPORARY_MARK: &str = ".tokki-";
const MAX_LINKS: usize = 40;

/// The temporaries of this process, for [`abandon`].
static TEMPORARIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file under way. Dropped without [`OutputFile::commit`], it leaves the old file as it was.
#[derive(Debug)]
pub struct OutputFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    /// The path that the user gave, for messages.
    shown: PathBuf,
}

impl OutputFile {
    /// Begins to write what will be the file `path`. A model is never replaced by something else.
    ///
    /// # Errors
    /// [`Error::Input`] for a place that holds a model or something else than a file, [`Error::Io`] when it cannot be
    /// written to.
    pub fn begin(path: &Path) -> Result<Self> {
        if is_model(path) {
            return Err(Error::input(path.display().to_string(), "a file that may be replaced", "a GGUF model")
                .hint("choose another name, or remove the model first"));
        }
        Self::begin_model(path)
    }

    /// The same of a model, which may replace another one.
    ///
    /// # Errors
    /// As [`Self::begin`], but for a model.
    pub fn begin_model(path: &Path) -> Result<Self> {
        // A link of the system to a pipe (/dev/stdout) leads to no name.
        if let Ok(meta) = std::fs::metadata(path)
            && !meta.is_file()
        {
            return Err(super::no_file(path, meta.file_type()));
        }
        let target = behind_links(path)?;
        let mut mode = None;
        match std::fs::metadata(&target) {
            Ok(meta) => mode = Some(meta.permissions()),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(path, FileAction::Write, e)),
        }
        sweep(&target);
        let (file, temporary) = create_beside(&target, mode).map_err(|e| Error::io(path, FileAction::Write, e))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 18, file), temporary, target, shown: path.to_path_buf() })
    }

    /// Makes what was written the file.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full or the folder does not allow it; the old file is then still there.
    pub fn commit(mut self) -> Result<()> {
        self.finish()
    }

    /// As [`Self::commit`], over a file that this process has claimed: the new one is then in its place.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) fn commit_over(mut self, claim: &mut Claim) -> Result<()> {
        let own = self.file.get_ref().try_clone().map_err(|e| Error::io(&self.shown, FileAction::Write, e))?;
        if cfg!(windows) {
            // No file is replaced there that is open; its name stays claimed.
            claim.file = None;
            let finished = self.finish();
            claim.file = match finished {
                Ok(()) => Some(own),
                Err(_) => File::options().read(true).write(true).open(&self.target).ok(),
            };
            return finished;
        }
        // It is locked before it has its name.
        if !files::take_lock(&own).map_err(|e| Error::io(&self.shown, FileAction::Lock, e))? {
            return Err(Error::failed("a new file", "it is locked"));
        }
        self.finish()?;
        claim.file = Some(own);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io(&self.shown, FileAction::Write, e))?;
        self.file.get_ref().sync_all().map_err(|e| Error::io(&self.shown, FileAction::Sync, e))?;
        files::rename_over(&self.temporary, &self.target).map_err(|e| {
            let in_use = files::is_in_use(&e);
            let failed = Error::io(&self.shown, FileAction::Write, e);
            if in_use {
                failed.hint("a program may have it open, such as another chat: end that first")
            } else {
                failed
            }
        })?;
        // A process that was killed a moment before this began is gone by now.
        sweep(&self.target);
        sync_dir(folder(&self.target)).map_err(|e| Error::io(&self.shown, FileAction::Sync, e))
    }

    /// The error for a write that failed.
    pub fn failed(&self, why: std::io::Error) -> Error {
        Error::io(&self.shown, FileAction::Write, why)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        // After a commit there is nothing of this name.
        drop(std::fs::remove_file(&self.temporary));
        live(|live| live.retain(|path| *path != self.temporary));
    }
}

/// Whether a regular file begins as models do.
fn is_model(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
        && File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic)).is_ok()
        && magic == *b"GGUF"
}

/// Whether `path` could be written now: its folder is there and writable, and it is a file or a new name.
///
/// # Errors
/// As [`OutputFile::begin`].
pub fn check(path: &Path) -> Result<()> {
    OutputFile::begin(path).map(drop)
}

/// Writes `bytes` as the file `path`.
///
/// # Errors
/// As [`OutputFile::begin`] and [`OutputFile::commit`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut out = OutputFile::begin(path)?;
    out.write_all(bytes).map_err(|e| out.failed(e))?;
    out.commit()
}

/// The same for a file that only its owner may read.
///
/// # Errors
/// As [`write`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut out = OutputFile::begin(path)?;
    files::make_private(out.file.get_ref()).map_err(|e| out.failed(e))?;
    out.write_all(bytes).map_err(|e| out.failed(e))?;
    out.commit()
}

/// Removes every temporary of this process, which is about to end.
pub fn abandon() {
    live(|live| live.drain(..).for_each(|path| drop(std::fs::remove_file(path))));
}

/// Makes the names in a directory durable. Systems that cannot open directories need no such call.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(dir).and_then(|dir| dir.sync_all()) } else { Ok(()) }
}

fn live<T>(act: impl FnOnce(&mut Vec<PathBuf>) -> T) -> T {
    act(&mut TEMPORARIES.lock().unwrap_or_else(PoisonError::into_inner))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where the bytes go: the end of a chain of links, whether or not there is a file yet.
fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(to) => path = folder(&path).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(Error::input(path.display().to_string(), "a file to write", "links that lead in a circle"))
}

/// `.NAME.tokki-`: how the temporaries of `target` begin.
fn prefix(target: &Path) -> OsString {
    let mut name = OsString::from(".");
    match target.file_name() {
        // A name can be as long as the system allows; that of its temporary cannot be longer.
        Some(own) if own.len() <= 200 => name.push(own),
        _ => name.push("long"),
    }
    name.push(TEMPORARY_MARK);
    name
}

fn create_beside(target: &Path, mode: Option<Permissions>) -> std::io::Result<(File, PathBuf)> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let mut name = prefix(target);
        name.push(format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let path = folder(target).join(name);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => {
                live(|live| live.push(path.clone()));
                // Of Windows these would be one that keeps the file from going again.
                if let Some(mode) = mode.filter(|_| cfg!(unix)) {
                    // Where it cannot be kept, the file is at least not more open than the user's default.
                    drop(file.set_permissions(mode));
                }
                return Ok((file, path));
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

/// Removes the temporaries of `target` whose process is gone.
fn sweep(target: &Path) {
    let prefix = prefix(target);
    for entry in std::fs::read_dir(folder(target)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let process = rest.and_then(|rest| std::str::from_utf8(rest).ok()?.split_once('-')?.0.parse().ok());
        if process.is_some_and(|process| !runs(process)) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

/// Whether there is a process of this number; `true` where the system does not say.
fn runs(process: i32) -> bool {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, test_kill_process};
        let gone = |pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
        Pid::from_raw(process).is_some_and(|pid| !gone(pid))
    }
    #[cfg(not(unix))]
    {
        use sysinfo::{Pid, ProcessesToUpdate, System};
        let mut system = System::new();
        let process = Pid::from_u32(process as u32);
        system.refresh_processes(ProcessesToUpdate::Some(&[process]), true);
        system.process(process).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "old").unwrap();
        let mut out = OutputFile::begin(&path).unwrap();
        out.write_all(b"half").unwrap();
        drop(out);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn links_stay_and_other_things_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("b", at("a")).unwrap();
        std::os::unix::fs::symlink(at("c"), at("b")).unwrap();
        write(&at("a"), b"through").unwrap();
        assert!(at("a").is_symlink() && std::fs::read(at("c")).unwrap() == b"through");
        std::os::unix::fs::symlink("y", at("x")).unwrap();
        std::os::unix::fs::symlink("x", at("y")).unwrap();
        assert_eq!(check(&at("x")).unwrap_err().exit_code(), 2);
        let error = check(Path::new("/dev/null")).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("a device"), "{error}");
        assert_eq!(check(dir.path()).unwrap_err().exit_code(), 2);
        let error = check(&at("none/x")).unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().starts_with(at("none/x").to_str().unwrap()), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn what_a_killed_process_left_is_swept() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let gone = {
            let mut child = std::process::Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            child.id()
        };
        let own = format!(".x.tokki-{}-77", std::process::id());
        let (left, other) = (format!(".x.tokki-{gone}-0"), format!(".y.tokki-{gone}-0"));
        for name in [&own, &left, &other, &"x".to_owned()] {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::set_permissions(at("x"), Permissions::from_mode(0o600)).unwrap();
        write(&at("x"), b"new").unwrap();
        assert!(!at(&left).exists() && at(&own).exists() && at(&other).exists());
        assert_eq!(std::fs::metadata(at("x")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
