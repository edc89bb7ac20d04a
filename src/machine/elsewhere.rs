//! The machine where the kernel offers no files about it (Windows, macOS, BSD): what a library can ask the system for.

use super::facts::{Core, CoreKind, Machine, Memory};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// This machine.
pub(super) fn read() -> Machine {
    let kinds = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything()).with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kinds);
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus: Vec<_> = (0..logical).collect();
    let memory = Memory {
        total: system.total_memory(),
        available: system.available_memory(),
        limit: None,
        swap_total: system.total_swap(),
        swap_used: system.used_swap(),
    };
    let cpu = system.cpus().first().map_or_else(String::new, |cpu| cpu.brand().trim().to_owned());
    Machine { cpu, cores: cores(&cpus), online: cpus.clone(), allowed: cpus, memory, ..Machine::default() }
}

/// The physical cores: siblings have neighbouring numbers. On a Mac those beyond the performance cores are little ones, of
/// less than half their speed.
fn cores(cpus: &[usize]) -> Vec<Core> {
    let physical = System::physical_core_count().unwrap_or(cpus.len()).clamp(1, cpus.len().max(1));
    let fast = performance_cores().unwrap_or(physical);
    let siblings = cpus.len() / physical;
    let kind = |core| if core < fast { CoreKind::Performance } else { CoreKind::Little };
    (0..physical).map(|core| Core { cpus: cpus[core * siblings..][..siblings].to_vec(), kind: kind(core) }).collect()
}

/// How many cores macOS calls the fastest kind.
#[cfg(target_os = "macos")]
fn performance_cores() -> Option<usize> {
    let asked =
        std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.perflevel0.physicalcpu"]).output().ok()?;
    std::str::from_utf8(&asked.stdout).ok()?.trim().parse().ok().filter(|&cores| cores > 0)
}

#[cfg(not(target_os = "macos"))]
fn performance_cores() -> Option<usize> {
    None
}

/// The load of the last minute, where the system keeps one (Windows does not).
pub(super) fn load() -> Option<f64> {
    let load = System::load_average().one;
    (!cfg!(windows) && load > 0.0).then_some(load)
}
