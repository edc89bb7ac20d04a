//! Standard input that is not closed yet: what is waited for is said, and not waited for where it isn't needed.

use super::output::say;
use crate::Result;
use crate::platform::input;
use crate::platform::process::stdin_is_ready;
use std::path::Path;

/// As [`comes`], where `path` is stdin: `-`, or a name that the system has for it.
pub(super) fn for_path(path: &Path) {
    if path == Path::new("-") || input::is_stdin(path) {
        comes(false);
    }
}

/// The text of a file, or of stdin, which is called `-`.
///
/// # Errors
/// A file that cannot be read, or is no text, or too long.
pub(super) fn read_text(path: &Path) -> Result<String> {
    for_path(path);
    if path != Path::new("-") {
        return input::read_text(path, input::MAX_TEXT_BYTES);
    }
    input::text("stdin", input::bounded(&mut std::io::stdin().lock(), "stdin", input::MAX_TEXT_BYTES)?)
}

/// Whether there is, or may be, something to read on stdin. After a second of silence the user is told; where it is
/// `optional`, two more are the end of it.
pub(super) fn comes(optional: bool) -> bool {
    const PATIENCE: i64 = 1;
    const MORE: i64 = 2;
    if stdin_is_ready(PATIENCE) {
        return true;
    }
    if !optional {
        say("tokki: waiting for text on stdin, which is open (end it with Ctrl-D, or give < /dev/null)");
        return true;
    }
    if stdin_is_ready(MORE) {
        return true;
    }
    say("tokki: nothing came on stdin, which is open: going on without it (< /dev/null closes it)");
    false
}
