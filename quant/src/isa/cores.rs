//! What Windows says of this CPU's cores, as bytes: which logical CPUs each has, and of what class it is.

use std::ffi::c_void;

// Windows API, `winbase.h` and `sysinfoapi.h`: both only write where they are told to.
#[link(name = "kernel32")]
unsafe extern "system" {
    fn GetLogicalProcessorInformationEx(relation: u32, buffer: *mut c_void, bytes: *mut u32) -> i32;
    fn GetProcessAffinityMask(process: *mut c_void, own: *mut usize, all: *mut usize) -> i32;
    fn GetCurrentProcess() -> *mut c_void;
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_has_a_record_for_each_core_and_allows_some_cpu() {
        let records = core_records().unwrap_or_default();
        assert!(records.len() >= 48 && records[..4] == CORES.to_le_bytes(), "{records:?}");
        assert!(allowed_mask().is_none_or(|mask| mask != 0));
    }
}
