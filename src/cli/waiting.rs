//! Standard input that is not closed yet: what is waited for is said, and not waited for where it isn't needed.

#[cfg(unix)]
use super::output::say;

/// Whether there is, or may be, something to read on stdin. After a second of silence the user is told; where it is
/// `optional`, two more are the end of it.
#[cfg(unix)]
pub(super) fn comes(optional: bool) -> bool {
    const PATIENCE: i64 = 1;
    const MORE: i64 = 2;
    if readable(PATIENCE) {
        return true;
    }
    if !optional {
        say("tokki: waiting for text on stdin, which is open (end it with Ctrl-D, or give < /dev/null)");
        return true;
    }
    if readable(MORE) {
        return true;
    }
    say("tokki: nothing came on stdin, which is open: going on without it (< /dev/null closes it)");
    false
}

/// Whether a read would return within so many seconds: with bytes, or at the end.
#[cfg(unix)]
fn readable(seconds: i64) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = rustix::stdio::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    // Where the system cannot tell, a read will.
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).map_or(true, |n| n > 0)
}

/// Other systems do not tell.
#[cfg(not(unix))]
pub(super) fn comes(_: bool) -> bool {
    true
}
