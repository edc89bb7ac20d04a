//! Child processes with all that they start, the memory and the CPUs of this one, and what other processes tell it and hear from it.

use crate::units::show_bytes;
use crate::{Error, ErrorKind, Result};
#[cfg(feature = "pull")]
use std::process::{Child, Command};

/// Gives the child a group of its own, for [`end_group`].
#[cfg(feature = "pull")]
pub(crate) fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Ends the child and everything that it started: politely, then not.
#[cfg(feature = "pull")]
pub(crate) fn end_group(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        for (signal, naps) in [(Signal::TERM, 8), (Signal::KILL, 1)] {
            // A group that is gone already needs no signal.
            if group.is_none_or(|group| kill_process_group(group, signal).is_err()) {
                break;
            }
            for _ in 0..naps {
                drop(child.try_wait());
                std::thread::sleep(std::time::Duration::from_millis(50));
                if group.is_none_or(|group| test_kill_process_group(group).is_err()) {
                    break;
                }
            }
        }
    }
    drop(child.kill());
    drop(child.wait());
}

/// Keeps the thread that calls it on these logical CPUs; false where the system does not let it, or has no such thing (a Mac
/// moves its threads by what they are for).
pub(crate) fn keep_on(cpus: &[usize]) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::thread::{CpuSet, sched_setaffinity};
        let mut set = CpuSet::new();
        cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
        sched_setaffinity(None, &set).is_ok()
    }
    #[cfg(windows)]
    {
        tokki_quant::isa::cores::keep_thread_on(cpus)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
    {
        let _ = cpus;
        false
    }
}

/// Bytes of this process that are resident, and of these those that are no pages of files. 0 where the system does not tell.
#[cfg(feature = "server")]
pub(crate) fn memory() -> (u64, u64) {
    let [resident, anonymous] = status(["VmRSS:", "RssAnon:"]);
    (resident, anonymous)
}

/// `(resident, anonymous)` bytes of this process: the most that was resident, and what of that was no pages of files (of
/// which as many as now are taken to have been there then). 0 where the system does not tell.
#[cfg(feature = "cli")]
pub(crate) fn peak_memory() -> (u64, u64) {
    let [peak, file, shared] = status(["VmHWM:", "RssFile:", "RssShmem:"]);
    (peak, peak.saturating_sub(file + shared))
}

/// Bytes that this process may still map, where a limit is set: of addresses (`ulimit -v`), or of what it writes to and of
/// stacks of threads (`ulimit -d`).
pub(crate) fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let limit = |name: &str| -> Option<u64> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let left =
        [("Max address space", "VmSize:"), ("Max data size", "VmData:")].into_iter().filter_map(|(name, used)| {
            let [used] = status([used]);
            Some(limit(name)?.saturating_sub(used))
        });
    left.min()
}

/// Of a limit of address space, what the smallest command takes, or the smallest work with a mapped file.
pub(crate) const SMALLEST_ROOM: u64 = 64 << 20;

/// # Errors
/// [`ErrorKind::TooLarge`] where a limit of address space (`ulimit -v`, `ulimit -d`) leaves less than these bytes for `what`: an allocation
/// beyond it would end the process.
pub(crate) fn room(bytes: u64, what: &str) -> Result<()> {
    match address_space() {
        Some(left) if left < bytes => {
            let (wanted, found) =
                (format!("{} of address space", show_bytes(bytes)), format!("{} left", show_bytes(left)));
            Err(Error::input(what, wanted, found)
                .of(ErrorKind::TooLarge)
                .hint("raise the limit (ulimit -v, ulimit -d)"))
        }
        _ => Ok(()),
    }
}

/// Makes sure that so many threads can be started and files opened at once, for what would not come to an orderly end where
/// they cannot.
///
/// # Errors
/// [`ErrorKind::OutOfMemory`] where a limit (`ulimit -u`, `ulimit -n`) leaves fewer.
#[cfg(any(feature = "server", feature = "pull"))]
pub(crate) fn spare(threads: usize, files: usize) -> Result<()> {
    const NOTHING: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let short = |what: String, why: std::io::Error, limit: &str| {
        Error::failed(what, why.to_string()).of(ErrorKind::OutOfMemory).hint(format!("raise the limit ({limit})"))
    };
    let opened: std::io::Result<Vec<_>> = (0..files).map(|_| std::fs::File::open(NOTHING)).collect();
    drop(opened.map_err(|why| short(format!("{files} files at once"), why, "ulimit -n"))?);
    // All of them are there before the first may go.
    let gate = std::sync::RwLock::new(());
    std::thread::scope(|scope| {
        let _closed = gate.write();
        let wait = || drop(gate.read());
        let started = (0..threads).try_for_each(|_| std::thread::Builder::new().spawn_scoped(scope, wait).map(drop));
        started.map_err(|why| short(format!("{threads} threads"), why, "ulimit -u"))
    })?;
    // The system counts a thread a moment longer than it runs.
    std::thread::sleep(std::time::Duration::from_millis(1));
    Ok(())
}

/// From now on an abort (memory that the system refuses in the middle of something) ends the process with exit code 1, after what was
/// said of it, instead of by a signal; and a write beyond a limit of sizes (`ulimit -f`) is an error of that write.
#[cfg(feature = "cli")]
pub(crate) fn signals_as_failures() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGABRT, SIGXFSZ};
        let always = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        // Where the system refuses, the default action stays.
        drop(signal_hook::flag::register_conditional_shutdown(SIGABRT, 1, always));
        drop(signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default()));
    }
}

/// Sizes that Linux tells of this process, in bytes; 0 for what it does not.
fn status<const N: usize>(keys: [&str; N]) -> [u64; N] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    keys.map(|key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    })
}

/// The signal of a terminal that is closed, which not every system has.
#[cfg(feature = "cli")]
pub(crate) const SIGHUP: i32 = 1;

/// Whether the signal of a terminal that is closed asks to stop: not where who started this process has it ignored (nohup), nor
/// where the system does not tell. It is asked once, before anything handles the signal.
#[cfg(all(unix, feature = "cli"))]
pub(crate) fn hangup_ends() -> bool {
    static ENDS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ENDS.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        ignored.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 0)
    })
}

/// Calls `received` with the number of each signal that asks to stop, on a thread of its own. Where the system refuses,
/// the default action stays.
#[cfg(feature = "cli")]
pub(crate) fn on_signals(received: fn(i32)) {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let asking = if hangup_ends() { &[SIGINT, SIGTERM, SIGHUP][..] } else { &[SIGINT, SIGTERM] };
        let watch = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            // In the thread, so that where there is none the default action stays.
            if let Ok(mut signals) = signal_hook::iterator::Signals::new(asking) {
                signals.forever().for_each(received);
            }
        });
        drop(watch);
    }
    // Ctrl-C and Ctrl-Break come on a thread of the system.
    #[cfg(windows)]
    let _ = ctrlc::set_handler(move || received(signal_hook::consts::SIGINT));
}

/// Tells systemd, if it started this process, that the server listens (sd_notify(3)).
#[cfg(feature = "cli")]
pub(crate) fn notify_ready() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET") {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address?)?;
    }
    Ok(())
}

/// Whether a read of stdin would return within so many seconds: with bytes, or at the end. True where the system cannot
/// tell.
#[cfg(feature = "cli")]
pub(crate) fn stdin_is_ready(seconds: i64) -> bool {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdin = rustix::stdio::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        // Where the system cannot tell, a read will.
        poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).map_or(true, |n| n > 0)
    }
    #[cfg(not(unix))]
    {
        let _ = seconds;
        true
    }
}
