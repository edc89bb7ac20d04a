//! What is known of a machine.

use serde::Serialize;
use std::collections::BTreeMap;

/// A core of the machine that this process may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Core {
    /// The logical CPUs of the core: two with simultaneous multithreading.
    pub cpus: Vec<usize>,
    /// What the core is built for.
    pub kind: CoreKind,
}

/// Kinds of cores that one machine mixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreKind {
    /// A full core.
    Performance,
    /// A smaller core that still carries its share, because work is claimed in small chunks.
    Efficiency,
    /// A core of less than half the speed of the largest: it would hold up every phase, and is left out.
    Little,
}

/// Memory in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All memory.
    pub total: u64,
    /// What can be had without swapping, by the kernel's estimate and within the control group's limit.
    pub available: u64,
    /// The control group's limit.
    pub limit: Option<u64>,
    /// Swap space in all.
    pub swap_total: u64,
    /// Swap space in use.
    pub swap_used: u64,
}

/// A memory node of a machine with several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its number.
    pub id: usize,
    /// Its logical CPUs.
    pub cpus: Vec<usize>,
    /// Its memory in bytes.
    pub memory: u64,
}

/// The machine as this process sees it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// The processor's name; empty if unknown.
    pub cpu: String,
    /// Logical CPUs that are switched on.
    pub online: Vec<usize>,
    /// Logical CPUs that this process may run on (affinity and cpusets).
    pub allowed: Vec<usize>,
    /// Cores with at least one allowed CPU.
    pub cores: Vec<Core>,
    /// CPU time per wall time that the control group grants, in CPUs.
    pub quota: Option<f64>,
    /// Control group version that a limit came from.
    pub cgroup: Option<&'static str>,
    /// Memory nodes.
    pub nodes: Vec<Node>,
    /// Frequency governors in use, by number of CPUs.
    pub governors: BTreeMap<String, usize>,
    /// What sets the frequency (`intel_pstate`, `acpi-cpufreq`, ...): it decides what a governor's name means.
    pub frequency_driver: Option<String>,
    /// It runs on its battery, as far as the kernel says.
    pub on_battery: bool,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Memory.
    pub memory: Memory,
}
