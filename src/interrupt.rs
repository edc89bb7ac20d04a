//! Ctrl-C, a polite kill and a terminal that is closed: the first asks the running command to stop at a clean point, and ends
//! the process after a moment if it can't (it waits for a server, a pipe, a long pass); the second ends it at once.

use crate::platform::{output, process};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a command may take to stop by itself.
const GRACE: Duration = Duration::from_millis(700);
/// How long a chat may take to keep what was said.
const GRACE_OF_A_CHAT: Duration = Duration::from_secs(20);

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// The signal that came last and had no effect yet.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The signal that asked a chat to leave. It stays, whatever answer ends at the same moment.
static LEAVING: AtomicI32 = AtomicI32::new(0);
/// A chat runs: Ctrl-C ends an answer, not the process.
static IN_CHAT: AtomicBool = AtomicBool::new(false);
/// A server listens: it has its own way to come to an end.
static IN_SERVER: AtomicBool = AtomicBool::new(false);

/// The flag that Ctrl-C sets. Commands that loop hand it to whatever has to stop.
pub fn flag() -> &'static Arc<AtomicBool> {
    FLAG.get_or_init(Arc::default)
}

/// Turns Ctrl-C (and a polite kill) into the flag. Where the system refuses, the default action stays.
pub fn install() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| process::on_signals(received));
}

/// Ctrl-C came as a key: as if it had been the signal.
pub fn by_key() {
    received(SIGINT);
}

fn received(signal: i32) {
    if IN_SERVER.load(Ordering::SeqCst) {
        return;
    }
    let before = SIGNAL.swap(signal, Ordering::SeqCst);
    let chat = IN_CHAT.load(Ordering::SeqCst);
    if chat && signal != SIGINT {
        leave(signal);
    }
    flag().store(true, Ordering::SeqCst);
    if before != 0 {
        // The end of a terminal is told by the system and by its shell: the second tells nothing new.
        if signal != process::SIGHUP {
            end(signal);
        }
        return;
    }
    if chat && signal == SIGINT {
        return;
    }
    let countdown = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(if chat { GRACE_OF_A_CHAT } else { GRACE });
        end(signal);
    });
    if countdown.is_err() {
        end(signal);
    }
}

/// Ends the process now. Nothing unfinished stays on the disk.
fn end(signal: i32) {
    /// How long a stderr that takes nothing, or that another thread writes to, is waited for.
    const PATIENCE: Duration = Duration::from_millis(150);
    output::abandon();
    let (told, wait) = std::sync::mpsc::channel();
    let telling = std::thread::Builder::new().spawn(move || {
        tell();
        let _ = told.send(());
    });
    if telling.is_ok() {
        let _ = wait.recv_timeout(PATIENCE);
    }
    signal_hook::low_level::exit(code_of(signal).into());
}

/// Says that the work was interrupted, over what a bar may have left on the line.
pub fn tell() {
    use std::io::{IsTerminal, Write};
    let mut err = std::io::stderr();
    let clear = if err.is_terminal() { "\r\x1b[K" } else { "" };
    // A closed stderr leaves no place to report to.
    let _ = writeln!(err, "{clear}tokki: interrupted");
}

fn code_of(signal: i32) -> u8 {
    match signal {
        0 => 0,
        SIGTERM => 143,
        process::SIGHUP => 129,
        _ => 130,
    }
}

/// The exit code of a process that was asked to stop: 130 by Ctrl-C, 143 by a polite kill, 129 by a terminal that was closed;
/// 0 if it was not asked.
pub fn exit_code() -> u8 {
    let of = if leaving() { &LEAVING } else { &SIGNAL };
    code_of(of.load(Ordering::SeqCst))
}

/// From now on Ctrl-C only raises the flag, which the chat takes down again: it ends an answer and keeps the chat.
pub fn of_a_chat() {
    IN_CHAT.store(true, Ordering::SeqCst);
}

/// From now on signals are left to the server, which lets running answers end.
pub fn of_a_server() {
    IN_SERVER.store(true, Ordering::SeqCst);
}

/// A chat was asked to leave by this signal: whatever runs in it stops. Two threads hear of it, in any order; to say it
/// twice is to say it once.
pub fn leave(signal: i32) {
    LEAVING.store(signal, Ordering::SeqCst);
    flag().store(true, Ordering::SeqCst);
}

/// Whether a chat was asked to leave.
pub fn leaving() -> bool {
    LEAVING.load(Ordering::SeqCst) != 0
}

/// Forgets a Ctrl-C that has had its effect. A chat that was asked to leave begins nothing any more: its flag stays up.
pub fn answered() {
    SIGNAL.store(0, Ordering::SeqCst);
    flag().store(false, Ordering::SeqCst);
    // Also where that came between.
    if leaving() {
        flag().store(true, Ordering::SeqCst);
    }
}

/// True once the user has asked to stop.
pub fn requested() -> bool {
    flag().load(Ordering::Relaxed)
}

/// [`crate::Error::Interrupted`] once the user has asked to stop.
pub fn check() -> crate::Result<()> {
    if requested() { Err(crate::Error::Interrupted) } else { Ok(()) }
}
