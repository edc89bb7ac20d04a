//! The machine where the kernel offers no files about it (Windows, macOS, BSD): what a library can ask the system for.

use super::facts::{Core, Machine, Memory};
use super::records;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// This machine.
pub(super) fn read() -> Machine {
    let kinds = RefreshKind::nothing().with_memory(MemoryRefreshKind::everything()).with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(kinds);
    let (cores, online, allowed) = cores();
    let memory = Memory {
        total: system.total_memory(),
        available: system.available_memory(),
        limit: None,
        swap_total: system.total_swap(),
        swap_used: system.used_swap(),
    };
    let cpu = system.cpus().first().map_or_else(String::new, |cpu| cpu.brand().trim().to_owned());
    Machine { cpu, cores, online, allowed, memory, on_battery: on_battery(), ..Machine::default() }
}

/// Whether a battery is being emptied.
#[cfg(feature = "cli")]
fn on_battery() -> bool {
    let batteries = starship_battery::Manager::new().and_then(|manager| manager.batteries());
    let emptied = |battery: starship_battery::Battery| battery.state() == starship_battery::State::Discharging;
    batteries.is_ok_and(|batteries| batteries.flatten().any(emptied))
}

#[cfg(not(feature = "cli"))]
fn on_battery() -> bool {
    false
}

/// The cores, all logical CPUs, and those that this process may use.
fn cores() -> (Vec<Core>, Vec<usize>, Vec<usize>) {
    #[cfg(windows)]
    {
        use tokki_quant::isa::cores::{allowed_mask, core_records};
        let found = records::windows(&core_records().unwrap_or_default(), allowed_mask());
        if !found.0.is_empty() {
            return found;
        }
    }
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus: Vec<_> = (0..logical).collect();
    let physical = System::physical_core_count().unwrap_or(logical);
    (records::numbered(&cpus, physical, performance_cores()), cpus.clone(), cpus)
}

/// How many cores macOS calls the fastest kind.
#[cfg(target_os = "macos")]
fn performance_cores() -> Option<usize> {
    let asked =
        std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.perflevel0.physicalcpu"]).output().ok()?;
    records::number_of_cores(&asked.stdout)
}

#[cfg(not(target_os = "macos"))]
fn performance_cores() -> Option<usize> {
    None
}

/// Cores that were busy in the last minute. What the system counts by the moment, it tells after a fifth of a second only.
#[cfg(not(windows))]
pub(super) fn load() -> Option<f64> {
    Some(System::load_average().one)
}
