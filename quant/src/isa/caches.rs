//! Sizes of this CPU's caches, which decide how much is worked on at once. Never what comes out.

use std::sync::OnceLock;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Bytes of the second-level cache of a core; 512 KiB where the CPU does not tell.
pub(crate) fn second_level() -> usize {
    /// What is believed: virtual machines misreport.
    const MIN_CACHE: usize = 256 << 10;
    const MAX_CACHE: usize = 4 << 20;
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| asked(2).unwrap_or(512 << 10).clamp(MIN_CACHE, MAX_CACHE))
}

/// Bytes of the data cache of that level, as the CPU describes it (Intel SDM, CPUID leaf 4; AMD APM, leaf 0x8000_001D, of
/// the same layout).
#[cfg(target_arch = "x86_64")]
fn asked(level: u32) -> Option<usize> {
    const MAX_CACHES: u32 = 8;
    [4, 0x8000_001d].into_iter().find_map(|leaf: u32| {
        if cpuid(leaf & 0x8000_0000, 0).eax < leaf {
            return None;
        }
        (0..MAX_CACHES).map(|i| cpuid(leaf, i)).find_map(|cache| {
            let (kind, found) = (cache.eax & 31, cache.eax >> 5 & 7);
            // Data or unified caches alone.
            let fits = found == level && matches!(kind, 1 | 3);
            let (ways, parts, line) = (cache.ebx >> 22, cache.ebx >> 12 & 0x3ff, cache.ebx & 0xfff);
            fits.then(|| (ways as usize + 1) * (parts as usize + 1) * (line as usize + 1) * (cache.ecx as usize + 1))
        })
    })
}

/// What the CPU tells of itself under a leaf and its sub-leaf.
#[cfg(target_arch = "x86_64")]
pub(super) fn cpuid(leaf: u32, sub_leaf: u32) -> std::arch::x86_64::CpuidResult {
    // SAFETY: every x86-64 CPU has the instruction, and it only reads.
    #[allow(unused_unsafe, reason = "newer compilers call it safe, older ones do not")]
    unsafe {
        std::arch::x86_64::__cpuid_count(leaf, sub_leaf)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn asked(_level: u32) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_found_and_is_one_of_a_second_level_cache() {
        let bytes = second_level();
        assert!((256 << 10..=4 << 20).contains(&bytes), "{bytes}");
        if let Some(first) = asked(1) {
            assert!(first < bytes, "{first} of the first level, {bytes} of the second");
        }
    }
}
