//! What instructions cost where CPUs of one instruction set differ: it decides how integers are summed up, never what comes out.

/// Whether a product of 32-bit integers takes the multiplying units twice, as it does on Intel's CPUs (uops.info, `VPMULLD`).
pub(crate) fn mul_u32_is_double() -> bool {
    #[cfg(test)]
    if let Some(assumed) = ASSUMED.get() {
        return assumed;
    }
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::OnceLock;
        // The vendor's name, in the order of the registers (Intel SDM, CPUID leaf 0).
        const INTEL: [&[u8; 4]; 3] = [b"Genu", b"ineI", b"ntel"];
        // Kept: a virtual machine is left for the question.
        static IS_INTEL: OnceLock<bool> = OnceLock::new();
        *IS_INTEL.get_or_init(|| {
            let vendor = super::caches::cpuid(0, 0);
            [vendor.ebx, vendor.edx, vendor.ecx] == INTEL.map(|letters| u32::from_le_bytes(*letters))
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
thread_local! {
    /// What [`mul_u32_is_double`] says to a test, whatever the CPU.
    pub(crate) static ASSUMED: std::cell::Cell<Option<bool>> = const { std::cell::Cell::new(None) };
}
