//! The `tokki` command.

/// Looks, before Rust's runtime puts `/dev/null` in its place, whether stdout was closed (`>&-`): what is written to it then
/// is lost, which is a failure.
#[cfg(unix)]
#[ctor::ctor(unsafe)]
fn look_at_stdout() {
    if rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err() {
        STDOUT_CLOSED.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

static STDOUT_CLOSED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn main() -> std::process::ExitCode {
    tokki::command(STDOUT_CLOSED.load(std::sync::atomic::Ordering::Relaxed))
}
