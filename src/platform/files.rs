//! Files by position, private ones, links, and the room that is left.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::path::{Path, PathBuf};

/// A link is opened itself, not what it leads to (Windows API, `CreateFileW`).
#[cfg(windows)]
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;

/// Reads some bytes from `at` on.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, buffer, at);
    #[cfg(not(unix))]
    {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = file;
        file.seek(SeekFrom::Start(at))?;
        file.read(buffer)
    }
}

/// Whether the page at this byte is in the page cache; true where the system does not tell.
pub(crate) fn is_cached(file: &File, at: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let mut byte = [0];
        let mut into = [std::io::IoSliceMut::new(&mut byte)];
        // A read that must not wait fails where the disk would be needed.
        preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, at);
        true
    }
}

/// Writes `bytes` at `offset`.
#[cfg(feature = "pull")]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let (mut bytes, mut offset) = (bytes, offset);
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            (bytes, offset) = (&bytes[written..], offset + written as u64);
        }
        Ok(())
    }
}

/// Whether `path` still leads to this open file; where the system does not tell, whether it leads to any.
pub(crate) fn is_same(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |meta: Metadata| (meta.dev(), meta.ino());
        file.metadata().map(place).is_ok_and(|own| std::fs::metadata(path).map(place).is_ok_and(|there| own == there))
    }
    #[cfg(windows)]
    {
        use same_file::Handle;
        let own = file.try_clone().and_then(Handle::from_file);
        own.is_ok_and(|own| Handle::from_path(path).is_ok_and(|there| own == there))
    }
    #[cfg(not(any(unix, windows)))]
    {
        let _ = file;
        path.exists()
    }
}

/// The path of what `path` leads to, without links, as people write it: Windows itself puts `\\?\` in front.
///
/// # Errors
/// Where nothing is there, or it may not be looked at.
#[cfg(feature = "pull")]
pub(crate) fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::fs::canonicalize(path)?;
    #[cfg(windows)]
    if let Some(plain) = whole.to_str().and_then(|text| text.strip_prefix(r"\\?\"))
        && plain.as_bytes().get(1) == Some(&b':')
        && plain.len() < MAX_PLAIN_PATH
    {
        return Ok(plain.into());
    }
    Ok(whole)
}

/// Longer paths are read in Windows' own form alone.
#[cfg(all(windows, feature = "pull"))]
const MAX_PLAIN_PATH: usize = 260;

/// `~/x` below the user's home, where a shell did not do that.
#[cfg(feature = "pull")]
pub(crate) fn home_path(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

/// Creates a folder, and those above it, that only its owner may look into.
pub(crate) fn private_folder(dir: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// How many names a file has; one where the system does not tell.
#[cfg(feature = "pull")]
pub(crate) fn names(meta: &Metadata) -> u64 {
    #[cfg(unix)]
    {
        std::os::unix::fs::MetadataExt::nlink(meta)
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        1
    }
}

/// Whether two paths name one file, or would: links are followed, and a file that is not there yet is known by its folder.
pub(crate) fn is_one_place(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        std::fs::canonicalize(path).ok().or_else(|| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?))
        })
    };
    a == b || place(a).zip(place(b)).is_some_and(|(a, b)| a == b)
}

/// Creates a file that only its owner may read, or empties the one that is there.
pub(crate) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a file one that only its owner may read, where the system has such rights.
pub(crate) fn make_private(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Makes opening refuse a link, or open the link itself, instead of what it leads to.
#[cfg(feature = "pull")]
pub(crate) fn follow_no_link(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::custom_flags(options, FILE_FLAG_OPEN_REPARSE_POINT);
}

/// Bytes that can still be written where `dir`, which is there, lies; `None` where the system does not say.
#[cfg(feature = "pull")]
pub(crate) fn free(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(dir).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
    #[cfg(windows)]
    fs4::available_space(dir).ok()
}

/// Whether the system tells how much of a file with holes is on disk.
#[cfg(feature = "pull")]
pub(crate) const TELLS_HOLES: bool = cfg!(unix);

/// Bytes that a file, perhaps with holes, already takes on disk.
#[cfg(feature = "pull")]
pub(crate) fn allocated(meta: &Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(meta).saturating_mul(512);
    #[cfg(not(unix))]
    return meta.len();
}

/// Whether a file or folder could not be opened, replaced or removed since some program has it, or a file in it, open: only Windows
/// cares about that, and keeps what is removed for as long.
pub(crate) fn is_in_use(why: &std::io::Error) -> bool {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    const DIR_NOT_EMPTY: i32 = 145;
    const USER_MAPPED_FILE: i32 = 1224;
    let codes = [ACCESS_DENIED, SHARING_VIOLATION, DIR_NOT_EMPTY, USER_MAPPED_FILE];
    cfg!(windows) && why.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Renames a file over another one. Windows refuses that while any program has the other one open, as readers and scanners do for a
/// moment: they are waited for.
pub(crate) fn rename_over(from: &Path, to: &Path) -> std::io::Result<()> {
    #[cfg(windows)]
    for _ in 0..25 {
        match std::fs::rename(from, to) {
            Err(why) if is_in_use(&why) => std::thread::sleep(std::time::Duration::from_millis(20)),
            renamed => return renamed,
        }
    }
    std::fs::rename(from, to)
}

/// A link at `link` to the file `target`.
#[cfg(feature = "pull")]
pub(crate) fn link(target: &Path, link: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, link);
    // Symbolic links need a privilege on Windows; hard links do not, on the same drive. Some systems say that a link was made, and
    // make none.
    #[cfg(windows)]
    return match std::os::windows::fs::symlink_file(target, link) {
        Ok(()) if std::fs::symlink_metadata(link).is_ok() => Ok(()),
        _ => std::fs::hard_link(target, link),
    };
    #[cfg(not(any(unix, windows)))]
    return std::fs::hard_link(target, link);
}

/// Takes the file at `path`, which is made if it is not there, for as long as the returned handle is open; `None` where another
/// process has it.
///
/// # Errors
/// A file that cannot be made or locked.
pub fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    Ok(take_lock(&file)?.then_some(file))
}

/// Locks an open file; false where another process has it.
pub(crate) fn take_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(why)) => Err(why),
    }
}

/// A file that one process of this program writes at a time; all may read it.
#[derive(Debug)]
pub(crate) struct Claim {
    /// It; none where it could not be opened again after it was not replaced.
    pub(crate) file: Option<File>,
    /// On Windows, where a file is replaced by none that is open, what is locked in its place.
    _name: Option<File>,
}

/// Claims the file at `path`, which is made if it is not there. `None` where another process has it.
///
/// # Errors
/// A file that cannot be made, opened or locked.
pub(crate) fn claim(path: &Path) -> std::io::Result<Option<Claim>> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(windows)]
    {
        let Some(name) = lock(&lock_of(path)?)? else { return Ok(None) };
        Ok(Some(Claim { file: Some(options.open(path)?), _name: Some(name) }))
    }
    #[cfg(not(windows))]
    loop {
        let file = options.open(path)?;
        if !take_lock(&file)? {
            return Ok(None);
        }
        // Otherwise it was replaced in this very moment.
        if is_same(&file, path) {
            return Ok(Some(Claim { file: Some(file), _name: None }));
        }
    }
}

/// The file among temporary ones that stands for the one at `path`. It stays there, empty: removing it would let two processes hold
/// two files of its name. (A lock on the file itself would also keep its own process from reading it by another handle.)
#[cfg(windows)]
fn lock_of(path: &Path) -> std::io::Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder)?;
    let name = folder.join(path.file_name().unwrap_or_default());
    let mut hash = DefaultHasher::new();
    name.to_string_lossy().to_lowercase().hash(&mut hash);
    let locks = std::env::temp_dir().join("tokki-locks");
    std::fs::create_dir_all(&locks)?;
    Ok(locks.join(format!("{:016x}", hash.finish())))
}
