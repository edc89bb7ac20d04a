//! Reading what others wrote: at most so many bytes, and only from where bytes end.

use crate::error::FileAction;
use crate::units::show_bytes;
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;
use std::time::Duration;

/// The most that is read of a text that a user names: more than any context holds.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Opens the regular file at `path`; a FIFO or a device is refused before it is touched, because it may never answer.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened, [`Error::Input`] when it is something else than a file.
pub fn open_regular(path: &Path) -> Result<File> {
    let io = |e| Error::io(path, FileAction::Open, e);
    regular(path, std::fs::metadata(path).map_err(io)?.file_type())?;
    let mut options = File::options();
    options.read(true);
    // Whatever took the file's place since then must not hold us up.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(io)?;
    regular(path, file.metadata().map_err(io)?.file_type())?;
    Ok(file)
}

fn regular(path: &Path, kind: std::fs::FileType) -> Result<()> {
    if kind.is_file() { Ok(()) } else { Err(super::no_file(path, kind)) }
}

/// All bytes of the regular file at `path`, if they are no more than `most`.
///
/// # Errors
/// As [`open_regular`], and [`Error::Input`] for a longer file.
pub fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>> {
    bounded(&mut open_regular(path)?, &path.display().to_string(), most)
}

/// The text of the regular file at `path`, as [`text`] has it.
///
/// # Errors
/// As [`read_regular`], and [`Error::Input`] for what is no text.
pub fn read_regular_text(path: &Path, most: u64) -> Result<String> {
    text_file(path, read_regular(path, most)?)
}

/// The text that a user names on the command line: a file, a FIFO, or the end of a pipe that a shell put in its place
/// (`<(command)`). What has a writer is waited for as stdin is: until it ends, or the user interrupts. A FIFO that no process
/// writes to is refused, and so are devices, which may never end.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Input`] for what is no file, too long a text, or none in UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    let open_already = ["/dev/fd", "/dev/stdin", "/proc/self/fd"].iter().any(|place| path.starts_with(place));
    if !open_already && !is_fifo(path) {
        return read_regular_text(path, most);
    }
    let place = path.display().to_string();
    let mut file = open_pipe(path)?;
    text_file(path, bounded(&mut file, &place, most)?)
}

/// Whether a path is a name of stdin.
#[cfg(feature = "cli")]
pub fn is_stdin(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

/// As [`text`], of a file that a person named: a program, a picture, an archive is told to be none.
fn text_file(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let broken = std::str::from_utf8(&bytes).err().map(|why| format!("byte {} is not UTF-8", why.valid_up_to()));
    let zero = bytes.iter().position(|&byte| byte == 0).map(|at| format!("there is a zero at byte {at}"));
    let control = bytes.iter().any(|&byte| byte < b' ' && !byte.is_ascii_whitespace());
    match zero.or(broken).filter(|_| !wide) {
        // Text of before UTF-8 has neither, whatever its language.
        Some(why) if !control => Err(Error::usage(format!(
            "{} is not text in UTF-8: {why}. Convert it first; from Korean, for example: iconv -f CP949 -t UTF-8",
            path.display()
        ))),
        Some(why) => Err(Error::usage(format!("{} is not a text file: {why}.", path.display()))),
        None => text(&path.display().to_string(), bytes),
    }
}

#[cfg(unix)]
fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type()))
}

/// Named pipes of Windows are no files.
#[cfg(not(unix))]
fn is_fifo(_: &Path) -> bool {
    false
}

/// Opens a pipe, which waits for a writer; for a moment only.
fn open_pipe(path: &Path) -> Result<File> {
    const PATIENCE: Duration = Duration::from_millis(400);
    let (opened, wait) = std::sync::mpsc::channel();
    let place = path.to_path_buf();
    // If none ever comes, the thread waits until the process ends.
    let thread = std::thread::Builder::new().spawn(move || drop(opened.send(File::open(place))));
    thread.map_err(|e| Error::io(path, FileAction::Open, e))?;
    match wait.recv_timeout(PATIENCE) {
        Ok(file) => file.map_err(|e| Error::io(path, FileAction::Open, e)),
        Err(_) => Err(Error::input(path.display().to_string(), "a file", "a FIFO without a writer")),
    }
}

/// All of a stream of at most `most` bytes; `place` stands for it in errors.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Input`] when it goes on.
pub fn bounded(reader: &mut dyn Read, place: &str, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(place, FileAction::Read, e))?;
    if bytes.len() as u64 > most {
        return Err(Error::input(place, format!("at most {}", show_bytes(most)), "a longer text, or no text at all"));
    }
    Ok(bytes)
}

/// Bytes as text: UTF-8, without the byte order mark that some editors put in front.
///
/// # Errors
/// [`Error::Input`] that tells where the bytes stop being text.
pub fn text(place: &str, bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Error::input(place, "text in UTF-8", "text in UTF-16")
            .hint("convert it first, for example with: iconv -f UTF-16 -t UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        Error::input(place, "text in UTF-8", format!("an invalid byte at {at}"))
            .hint("convert it first; from Korean, for example: iconv -f CP949 -t UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Reads the next line of `reader`, its end included, after what `bytes` holds; returns how many bytes, 0 at the end.
///
/// # Errors
/// A line of more than `most` bytes, and what cannot be read; `place` is named.
pub fn line(reader: &mut impl BufRead, place: &str, most: u64, bytes: &mut Vec<u8>) -> Result<usize> {
    let mut limited = reader.take(most + 1);
    let read = limited.read_until(b'\n', bytes).map_err(|why| Error::failed(place, why.to_string()))?;
    if read as u64 > most {
        return Err(Error::input(format!("a line of {place}"), format!("at most {most} bytes"), "a longer one"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bounds_and_kinds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"hello");
        assert_eq!(read_text(&path, 5).unwrap(), "hello");
        assert!(read_regular(&path, 4).unwrap_err().to_string().contains("at most 4 B"));
        assert!(read_regular(dir.path(), 4).unwrap_err().to_string().contains("a folder"));
        assert!(read_text(dir.path(), 4).unwrap_err().to_string().contains("a folder"));
        if cfg!(target_os = "linux") {
            let zero = Path::new("/dev/zero");
            assert!(read_regular(zero, 9).unwrap_err().to_string().contains("a device"));
            assert!(read_text(zero, 9).unwrap_err().to_string().contains("a device"));
            let endless = &mut std::io::repeat(0);
            assert!(bounded(endless, "stdin", 9).unwrap_err().to_string().contains("at most 9 B"));
        }
    }

    #[test]
    fn marks_in_front_are_no_text() {
        assert_eq!(text("x", b"\xef\xbb\xbfhi".to_vec()).unwrap(), "hi");
        for (bad, found) in [(&b"\xff\xfeh\0"[..], "UTF-16"), (b"\xfe\xff\0h", "UTF-16"), (b"a\x80", "byte at 1")] {
            let error = text("x", bad.to_vec()).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(found), "{error}");
        }
    }
}
