//! The handler of SIGBUS: pages of a mapped file that are gone become zeros, and the map is marked.
//!
//! Everything that the handler touches is static and atomic, and all that it calls is `mmap`: it may run in any thread at
//! any moment. What it does not know goes to the handler that was there before.
#![allow(unsafe_code, reason = "a signal handler; every block says why it is sound")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most files that are mapped at once: more than the most parts of a model.
const MAX_MAPPED_FILES: usize = 4096;

/// A range of addresses that is a mapped file.
struct Slot {
    /// 0: the slot is free; 1: it is being taken; else the first byte.
    start: AtomicUsize,
    end: AtomicUsize,
    damaged: AtomicBool,
}

static MAPPED_FILES: [Slot; MAX_MAPPED_FILES] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), damaged: AtomicBool::new(false) } };
        MAX_MAPPED_FILES];

const FREE: usize = 0;
const TAKING: usize = 1;

/// A map that the handler knows, for as long as this value lives.
pub(super) struct Guarded(&'static Slot);

impl Guarded {
    /// Makes the map of these bytes known; `None` when there are too many.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        system::install();
        let (start, end) = (bytes.as_ptr().addr(), bytes.as_ptr().addr() + bytes.len());
        let take =
            |slot: &&Slot| slot.start.compare_exchange(FREE, TAKING, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = MAPPED_FILES.iter().find(take)?;
        slot.damaged.store(false, Ordering::Relaxed);
        slot.end.store(end, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Some(Self(slot))
    }

    /// Whether a part of the file was gone when it was read.
    pub(super) fn is_damaged(&self) -> bool {
        self.0.damaged.load(Ordering::Acquire)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.start.store(FREE, Ordering::Release);
    }
}

/// The slot of the map that holds this address, and where that ends.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
fn slot_of(address: usize) -> Option<(&'static Slot, usize)> {
    MAPPED_FILES.iter().find_map(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        let end = slot.end.load(Ordering::Relaxed);
        (start > TAKING && (start..end).contains(&address)).then_some((slot, end))
    })
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
mod system {
    use super::{Ordering, slot_of};
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;

    /// Who handled the signal before; written once, before the handler is set.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();
    static PAGE: AtomicUsize = AtomicUsize::new(4096);

    /// The stack that the standard library sets aside is for threads whose own is full, which this signal tells on macOS
    /// alone. Elsewhere the thread's own has more room: what the system saves of a thread that has used tiles (AMX, 11 kB)
    /// fills the other one.
    const ON_STACK: libc::c_int = if cfg!(target_os = "macos") { libc::SA_ONSTACK } else { 0 };

    /// Sets the handler, once.
    pub(super) fn install() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            // SAFETY: `sysconf` reads a number; an all-zero `sigaction` is a valid one, and `sigaction` gets pointers to
            // two that live through the calls. The handler has the signature that SA_SIGINFO asks for.
            unsafe {
                if let Ok(page @ 1..) = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)) {
                    PAGE.store(page, Ordering::Relaxed);
                }
                let mut before: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) != 0 {
                    return;
                }
                let _ = BEFORE.set(before);
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | ON_STACK;
                libc::sigemptyset(&mut action.sa_mask);
                // Where it is refused, a file that is cut short ends the process, as it would anyway.
                let _ = libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
            }
        });
    }

    extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the system calls a SA_SIGINFO handler with a valid `info`, whose address is set for this signal.
        let address = unsafe { (*info).si_addr() }.addr();
        if !mend(address) {
            pass_on(signal, info, context);
        }
    }

    /// Puts zeros where the file has no page any more, from `address` to the map's end; false if it is in no map.
    fn mend(address: usize) -> bool {
        let Some((slot, end)) = slot_of(address) else { return false };
        let page = PAGE.load(Ordering::Relaxed);
        let start = address / page * page;
        slot.damaged.store(true, Ordering::Release);
        let kept = errno();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let at = std::ptr::without_provenance_mut(start);
        // SAFETY: the range lies in a read-only map that is alive, for a thread is reading it; it stays mapped, readable
        // and as long as it was, so that every view of it stays valid. Its bytes become zeros, which views accept as they
        // accept any bytes that another process may write to the file. The call is a plain system call.
        let mended = unsafe { libc::mmap(at, end - start, libc::PROT_READ, flags, -1, 0) } != libc::MAP_FAILED;
        set_errno(kept);
        mended
    }

    /// Leaves the signal to the handler that was there before.
    fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let before = BEFORE.get();
        match before.map_or(libc::SIG_DFL, |before| before.sa_sigaction) {
            // SAFETY: setting the default action is async-signal-safe. The access is repeated after the return, and ends
            // the process as it would have without us.
            libc::SIG_DFL | libc::SIG_IGN => unsafe {
                libc::signal(signal, libc::SIG_DFL);
            },
            handler if before.is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0) => {
                // SAFETY: the system recorded this address as a handler of three arguments.
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    unsafe { std::mem::transmute(handler) };
                handler(signal, info, context);
            }
            handler => {
                // SAFETY: the system recorded this address as a handler of one argument.
                let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
                handler(signal);
            }
        }
    }

    fn location() -> *mut libc::c_int {
        // SAFETY: gives the address of this thread's error number.
        #[cfg(target_os = "linux")]
        return unsafe { libc::__errno_location() };
        // SAFETY: as above.
        #[cfg(target_os = "android")]
        return unsafe { libc::__errno() };
        // SAFETY: as above.
        #[cfg(target_os = "macos")]
        return unsafe { libc::__error() };
    }

    fn errno() -> libc::c_int {
        // SAFETY: the address is this thread's own.
        unsafe { *location() }
    }

    fn set_errno(value: libc::c_int) {
        // SAFETY: the address is this thread's own.
        unsafe { *location() = value }
    }
}

/// Other systems refuse to cut a file that is mapped, or have no such signal.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
mod system {
    pub(super) fn install() {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::map;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_is_cut_reads_as_zeros_and_is_marked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7u8; 100_000]).unwrap();
        let (whole, _) = map(file.path()).unwrap();
        let (cut, _) = map(file.path()).unwrap();
        assert!(whole.iter().all(|&byte| byte == 7) && !whole.is_damaged());
        std::fs::File::options().write(true).open(file.path()).unwrap().set_len(5000).unwrap();
        // In two threads at once, as in a phase of the pool.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(cut[99_999], 0));
            }
        });
        assert!(cut.is_damaged() && !whole.is_damaged(), "only what was read is found out");
        assert!(cut[..5000].iter().all(|&byte| byte == 7));
        drop(cut);
        assert_eq!(whole[50_000], 0);
        assert!(whole.is_damaged());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_slot_is_used_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "bytes").unwrap();
        for _ in 0..super::MAX_MAPPED_FILES + 10 {
            assert!(!map(file.path()).unwrap().0.is_damaged());
        }
    }
}
