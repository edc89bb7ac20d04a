//! Ctrl-C: the first asks the running command to stop at a clean point, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The flag that Ctrl-C sets. Commands that loop hand it to whatever has to stop.
pub fn flag() -> &'static Arc<AtomicBool> {
    FLAG.get_or_init(Arc::default)
}

/// Turns Ctrl-C (and a polite kill) into the flag. Where the system refuses, the default action stays.
pub fn install() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Order matters: at the first signal the flag is still down when the shutdown looks at it.
            let shutdown = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag()));
            if shutdown.is_ok() {
                drop(signal_hook::flag::register(signal, Arc::clone(flag())));
            }
        }
    });
}

/// True once the user has asked to stop.
pub fn requested() -> bool {
    flag().load(Ordering::Relaxed)
}

/// [`crate::Error::Interrupted`] once the user has asked to stop.
pub fn check() -> crate::Result<()> {
    if requested() { Err(crate::Error::Interrupted) } else { Ok(()) }
}
