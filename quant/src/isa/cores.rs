//! What Windows says of this CPU's cores, as bytes: which logical CPUs each has, and of what class it is.

use std::ffi::c_void;

// Windows API, `winbase.h`, `sysinfoapi.h` and `processthreadsapi.h`: they only write where they are told to.
#[link(name = "kernel32")]
unsafe extern "system" {
    fn GetLogicalProcessorInformationEx(relation: u32, buffer: *mut c_void, bytes: *mut u32) -> i32;
    fn GetProcessAffinityMask(process: *mut c_void, own: *mut usize, all: *mut usize) -> i32;
    fn GetCurrentProcess() -> *mut c_void;
    fn GetCurrentThread() -> *mut c_void;
    fn SetThreadGroupAffinity(thread: *mut c_void, wanted: *const GroupAffinity, before: *mut GroupAffinity) -> i32;
    fn GetSystemTimes(idle: *mut FileTime, kernel: *mut FileTime, user: *mut FileTime) -> i32;
}

/// `FILETIME` of `minwinbase.h`: units of 100 ns.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct FileTime {
    low: u32,
    high: u32,
}

impl FileTime {
    fn units(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

/// `GROUP_AFFINITY` of `winnt.h`.
#[repr(C)]
struct GroupAffinity {
    mask: usize,
    group: u16,
    reserved: [u16; 3],
}

/// Logical CPUs of a group, as [`core_records`] and their masks count them.
const CPUS_PER_GROUP: usize = usize::BITS as usize;

/// `RelationProcessorCore`: one record for each core.
const CORES: u32 = 0;
/// A thousand cores have some 50 kB of records.
const MAX_BYTES: usize = 1 << 20;

/// The records of all cores (`SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX`, one after another); `None` where Windows has none.
pub fn core_records() -> Option<Vec<u8>> {
    let mut bytes = 0;
    // SAFETY: no bytes may be written; how many there would be is written to `bytes`.
    unsafe { GetLogicalProcessorInformationEx(CORES, std::ptr::null_mut(), &raw mut bytes) };
    let wanted = usize::try_from(bytes).ok().filter(|wanted| (1..=MAX_BYTES).contains(wanted))?;
    // Records begin where addresses may.
    let mut buffer = vec![0u64; wanted.div_ceil(size_of::<u64>())];
    // SAFETY: the buffer has at least `bytes` bytes, and is aligned as records are.
    let done = unsafe { GetLogicalProcessorInformationEx(CORES, buffer.as_mut_ptr().cast(), &raw mut bytes) };
    let written = usize::try_from(bytes).ok().filter(|&written| done != 0 && written <= wanted)?;
    let mut records: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    records.truncate(written);
    Some(records)
}

/// The logical CPUs that this process may run on, a bit for each; `None` where it may run on several groups of them.
pub fn allowed_mask() -> Option<u64> {
    let (mut own, mut all) = (0, 0);
    // SAFETY: the handle of the process itself is always valid, and two masks are written to where there is room for them.
    let done = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &raw mut own, &raw mut all) };
    (done != 0 && own != 0).then_some(own as u64)
}

/// Time of all cores since the start that was spent, and that was not; `None` where Windows does not tell.
pub fn times() -> Option<(u64, u64)> {
    let mut times = [FileTime::default(); 3];
    let [idle, kernel, user] = &mut times;
    // SAFETY: three times are written to where there is room for them.
    let done = unsafe { GetSystemTimes(&raw mut *idle, &raw mut *kernel, &raw mut *user) };
    let [idle, kernel, user] = times.map(FileTime::units);
    // What is idle counts as the kernel's.
    (done != 0).then(|| (kernel.saturating_add(user).saturating_sub(idle), idle))
}

/// Keeps the thread that calls it on these logical CPUs, numbered through the groups. False, and nothing is changed, where they are
/// of several groups, or Windows does not let it.
pub fn keep_thread_on(cpus: &[usize]) -> bool {
    let Some(&first) = cpus.first() else { return false };
    let Ok(group) = u16::try_from(first / CPUS_PER_GROUP) else { return false };
    if cpus.iter().any(|cpu| cpu / CPUS_PER_GROUP != first / CPUS_PER_GROUP) {
        return false;
    }
    let mask = cpus.iter().fold(0, |mask, cpu| mask | 1usize << (cpu % CPUS_PER_GROUP));
    let wanted = GroupAffinity { mask, group, reserved: [0; 3] };
    // SAFETY: the handle of the thread itself is always valid; `wanted` lives through the call, and what was before is not asked for.
    unsafe { SetThreadGroupAffinity(GetCurrentThread(), &raw const wanted, std::ptr::null_mut()) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_has_a_record_for_each_core_and_allows_some_cpu() {
        let records = core_records().unwrap_or_default();
        assert!(records.len() >= 48 && records[..4] == CORES.to_le_bytes(), "{records:?}");
        assert!(allowed_mask().is_none_or(|mask| mask != 0));
        let (before, after) = (times().unwrap_or_default(), times().unwrap_or_default());
        assert!(before.0 > 0 && after.0 >= before.0 && after.1 >= before.1, "{before:?}, {after:?}");
    }

    #[test]
    fn a_thread_is_kept_on_cpus_that_are_there() {
        std::thread::spawn(|| {
            let first = allowed_mask().map_or(0, |mask| mask.trailing_zeros() as usize);
            assert!(keep_thread_on(&[first]));
            assert!(
                !keep_thread_on(&[])
                    && !keep_thread_on(&[0, CPUS_PER_GROUP])
                    && !keep_thread_on(&[CPUS_PER_GROUP << 16])
            );
        })
        .join()
        .unwrap_or_else(|_| panic!("the thread"));
    }
}
