//! AMX: a unit of eight tiles, beside the vectors of AVX-512.
//!
//! The system saves 8 kB of tiles with each thread that uses them, so it wants to be asked first, once for a process; and
//! a thread should not keep tiles while it does something else. Loading the configuration and releasing the unit take some 200
//! cycles together, and a product of a band of weights takes a hundred times as long at least: each product does both.

use std::arch::asm;
use std::arch::x86_64::_xgetbv;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::Avx512;
use crate::isa::caches::cpuid;
use crate::isa::simd::Token;
use crate::isa::tiles::{TileConfig, TileMemory, TileUnit};

/// Proof that this thread's tiles are configured. They are released when it goes; it does not leave its thread.
pub(in crate::isa) struct Amx(PhantomData<*mut ()>);

impl Amx {
    /// Why it is not used where nobody asks for it by its name. It was run by emulation alone: where a machine with AMX has
    /// passed the tests and measured what it gains, this becomes `None`.
    pub(in crate::isa) const NOT_BY_ITSELF: Option<&'static str> = Some("it has not been chosen: TOKKI_ISA=amx");

    /// Why there are no tiles; `None` where there are. The system is asked for them once.
    pub(in crate::isa) fn missing() -> Option<&'static str> {
        static WHY: OnceLock<Option<&'static str>> = OnceLock::new();
        *WHY.get_or_init(|| match in_cpu() {
            false => Some("this CPU has no AMX"),
            true => (!is_allowed()).then_some("the system does not allow it"),
        })
    }

    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// [`Amx::missing`] must have said `None`, and this thread must not have another one.
    pub(in crate::isa) unsafe fn new() -> Self {
        // SAFETY: the CPU has the instruction and the system allows it; it reads the 64 bytes of a valid configuration.
        unsafe {
            asm!("ldtilecfg [{config}]", config = in(reg) &TileConfig::WHOLE, options(readonly, nostack, preserves_flags));
        }
        Self(PhantomData)
    }
}

impl Drop for Amx {
    fn drop(&mut self) {
        // SAFETY: `self` proves that the CPU has the instruction; nothing else holds tiles of this thread.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Whether the CPU has eight tiles of sixteen rows of 64 bytes, and products of bytes, beside AVX-512 (Intel SDM, CPUID leaves
/// 7 and 0x1d).
fn in_cpu() -> bool {
    const TILES: u32 = 1 << 24;
    const BYTES: u32 = 1 << 25;
    if !Avx512::supported() || cpuid(0, 0).eax < 0x1d || cpuid(7, 0).edx & (TILES | BYTES) != TILES | BYTES {
        return false;
    }
    let palette = cpuid(0x1d, 1);
    palette.eax >> 16 == 1024 && palette.ebx == 8 << 16 | 64 && palette.ecx & 0xffff == 16
}

/// Whether the system saves tiles, and lets this process use them.
fn is_allowed() -> bool {
    // XTILECFG and XTILEDATA.
    const TILES: u64 = 0b11 << 17;
    // SAFETY: AVX-512, which is looked for first, is seen only where the system has switched XSAVE on.
    Avx512::supported() && unsafe { _xgetbv(0) } & TILES == TILES && is_granted()
}

/// Asks the system for tiles.
#[cfg(target_os = "linux")]
fn is_granted() -> bool {
    // From Linux 5.16 on: Documentation/arch/x86/xstate.rst.
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XTILEDATA: usize = 18;
    let answer: isize;
    // SAFETY: the call touches no memory of ours; a kernel that does not know it answers with an error. Of registers it changes
    // those that are named.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => answer, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XTILEDATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer == 0
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
fn is_granted() -> bool {
    false
}

// The compiler uses tiles for intrinsics of AMX alone, of which there are none: what one instruction leaves in a tile, the next
// one finds there. Instructions that are not pure stay in the order written.
impl TileUnit for Amx {
    #[inline(always)]
    fn zero<const T: u8>(&mut self) {
        // SAFETY: `self` proves that the tiles are configured; nothing but a tile changes.
        unsafe { asm!("tilezero tmm{t}", t = const T, options(nomem, nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn load<const T: u8>(&mut self, from: &TileMemory) {
        // SAFETY: `self` proves that the tiles are configured, as sixteen rows of 64 bytes: those of `from`, 64 bytes apart.
        unsafe {
            asm!("tileloadd tmm{t}, [{from} + {row} * 1]", t = const T, from = in(reg) from, row = in(reg) 64usize,
                options(readonly, nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn store<const T: u8>(&mut self, to: &mut TileMemory) {
        // SAFETY: as in `load`; all that is written is `to`.
        unsafe {
            asm!("tilestored [{to} + {row} * 1], tmm{t}", t = const T, to = in(reg) to, row = in(reg) 64usize,
                options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn add_product<const C: u8, const A: u8, const B: u8, const SIGNED: bool>(&mut self) {
        const { assert!(C != A && A != B && B != C, "a product has three tiles") };
        macro_rules! product {
            ($name:literal) => {
                asm!(concat!($name, " tmm{c}, tmm{a}, tmm{b}"), c = const C, a = const A, b = const B,
                    options(nomem, nostack, preserves_flags))
            };
        }
        // SAFETY: `self` proves that the tiles are configured, in shapes that fit; nothing but a tile changes.
        unsafe {
            if SIGNED {
                product!("tdpbssd");
            } else {
                product!("tdpbsud");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_stays_and_agrees_with_the_parts() {
        assert_eq!(Amx::missing(), Amx::missing());
        assert_eq!(Amx::missing().is_none(), in_cpu() && is_allowed());
        if !in_cpu() {
            assert_eq!(Amx::missing(), Some("this CPU has no AMX"));
            assert!(!is_granted(), "a system grants no tiles that are not there");
        }
    }
}
