//! What this machine is: cores, limits and memory, read from the files that Linux offers.
//!
//! Everything is read below a root directory, so that tests hand in a fixture tree. Systems without these files (macOS,
//! Windows) are asked through a library (`elsewhere`), which knows less.

#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "the reading of what Linux tells, which is tested on every system")
)]

mod arm;
pub mod cgroup;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod facts;
mod keep;
#[cfg(any(not(target_os = "linux"), test))]
mod records;

pub use facts::{Core, CoreKind, Machine, Memory, Node};

use cgroup::GroupLimits;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// How many threads to compute with, and why: `min(affinity, control group quota, physical cores)`.
///
/// Siblings of one core share its vector units and its path to memory, so they add nothing; threads beyond a quota
/// are stopped by the kernel in the middle of a phase while the others wait for them. Read once per process.
pub fn threads() -> (usize, &'static str) {
    static CHOICE: OnceLock<(usize, String)> = OnceLock::new();
    let (count, reason) = CHOICE.get_or_init(|| Machine::read().threads());
    (*count, reason)
}

impl Machine {
    /// Reads this machine.
    pub fn read() -> Self {
        #[cfg(target_os = "linux")]
        let machine = {
            let mut machine = Self::read_from(Path::new("/"));
            if machine.memory.total == 0 {
                let told = rustix::system::sysinfo();
                machine.memory = without_files(told.totalram, told.freeram, told.mem_unit);
            }
            machine
        };
        #[cfg(not(target_os = "linux"))]
        let machine = elsewhere::read();
        machine
    }

    /// Reads the machine whose `proc` and `sys` lie under `root`.
    pub fn read_from(root: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let limits = cgroup::read(root);
        let online = cpu_list(&text("sys/devices/system/cpu/online"));
        let mut allowed = allowed_cpus(&text("proc/self/status"));
        if allowed.is_empty() {
            allowed.clone_from(&online);
        }
        Self {
            cpu: cpu_name(&text("proc/cpuinfo")),
            cores: cores(root, &allowed),
            quota: limits.cpus,
            cgroup: limits.version,
            nodes: nodes(root),
            governors: governors(root, &allowed),
            frequency_driver: driver(root, &allowed),
            on_battery: on_battery(root),
            huge_pages: chosen(&text("sys/kernel/mm/transparent_hugepage/enabled")),
            memory: memory(&text("proc/meminfo"), &limits),
            online,
            allowed,
        }
    }

    /// Cores that are worth a thread: all but little ones.
    pub fn useful_cores(&self) -> usize {
        self.cores.iter().filter(|core| core.kind != CoreKind::Little).count()
    }

    /// Where the cores that are worth a thread are of several kinds, the numbers of threads that may be the fastest, in rising
    /// order: the performance cores alone, and all. Which of them it is, and whether it is the same for prompts and for
    /// answers, only a measurement tells.
    pub fn mixed(&self) -> Option<[usize; 2]> {
        let all = self.useful_cores();
        let fast = self.cores.iter().filter(|core| core.kind == CoreKind::Performance).count();
        // A quota is of time, whatever the core.
        (self.threads().0 == all && (1..all).contains(&fast)).then_some([fast, all])
    }

    /// The number of threads for this machine and the reason in words; see [`threads`].
    pub fn threads(&self) -> (usize, String) {
        let cores = self.useful_cores();
        if cores == 0 {
            let count = std::thread::available_parallelism().map_or(1, usize::from);
            return (count, "CPUs by the operating system".to_owned());
        }
        let little = self.cores.len() - cores;
        let mut reason = match (self.online.len() > self.allowed.len(), little) {
            (true, _) if self.allowed.len() == 1 => "the one CPU allowed to this process".to_owned(),
            (true, _) => format!("physical cores among the {} CPUs allowed to this process", self.allowed.len()),
            (false, 0) => "physical cores".to_owned(),
            (false, 1) => "physical cores without a little one".to_owned(),
            (false, n) => format!("physical cores without {n} little ones"),
        };
        let mut count = cores;
        if let Some(quota) = self.quota.filter(|&quota| quota < count as f64) {
            reason = format!("the control group's quota of {quota:.1} CPUs (of {count} physical cores)");
            count = (quota as usize).max(1);
        }
        (count, reason)
    }

    /// True if two logical CPUs share a core somewhere.
    pub fn has_smt(&self) -> bool {
        self.cores.iter().any(|core| core.cpus.len() > 1)
    }
}

/// Parses the kernel's lists of numbers: `0-3,8,10-11`. Damaged parts are skipped.
pub fn cpu_list(text: &str) -> Vec<usize> {
    const MAX_CPUS: usize = 1 << 16;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            cpus.extend(first..=last.min(MAX_CPUS));
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

fn allowed_cpus(status: &str) -> Vec<usize> {
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(cpu_list).unwrap_or_default()
}

fn cpu_name(cpuinfo: &str) -> String {
    let value = |key: &str| {
        cpuinfo.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':')).map(str::trim)
    };
    let told = value("model name").or_else(|| value("Model")).or_else(|| value("Hardware"));
    told.map_or_else(|| arm::names(cpuinfo), str::to_owned)
}

/// What tells apart the kinds of cores that one machine mixes.
struct Kinds {
    /// Hybrid Intel processors: lists of the smaller cores, and of those of their low-power island.
    atoms: Vec<usize>,
    low_power: Vec<usize>,
    /// Speed by the kernel's measure (ARM), else the highest frequency; and the largest of all.
    speeds: BTreeMap<usize, u64>,
    largest: u64,
    /// The speeds are frequencies.
    by_frequency: bool,
}

impl Kinds {
    fn read(root: &Path, allowed: &[usize]) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join("sys/devices").join(path)).unwrap_or_default();
        let list = |path: &str| cpu_list(&text(path));
        let numbers = |file: &str| -> BTreeMap<usize, u64> {
            let number =
                |&cpu: &usize| text(&format!("system/cpu/cpu{cpu}/{file}")).trim().parse().ok().map(|n| (cpu, n));
            allowed.iter().filter_map(number).collect()
        };
        let capacities = numbers("cpu_capacity");
        let by_frequency = capacities.is_empty();
        let speeds = if by_frequency { numbers("cpufreq/cpuinfo_max_freq") } else { capacities };
        let largest = speeds.values().copied().max().unwrap_or(0);
        Self { atoms: list("cpu_atom/cpus"), low_power: list("cpu_lowpower/cpus"), speeds, largest, by_frequency }
    }

    fn of(&self, cpu: usize) -> CoreKind {
        if self.low_power.contains(&cpu) {
            return CoreKind::Little;
        }
        if self.atoms.contains(&cpu) {
            return CoreKind::Efficiency;
        }
        let Some(&speed) = self.speeds.get(&cpu) else { return CoreKind::Performance };
        // Cores of one kind differ a little in frequency: the best of them may go higher. Those of the compact kind (Zen 4c)
        // reach three quarters. A hybrid Intel processor has said already which its smaller ones are.
        let full = if !self.by_frequency { self.largest } else { self.largest / 5 * 4 };
        if speed.saturating_mul(2) < self.largest {
            CoreKind::Little
        } else if speed < full && self.atoms.is_empty() {
            CoreKind::Efficiency
        } else {
            CoreKind::Performance
        }
    }
}

/// The allowed CPUs grouped into cores.
fn cores(root: &Path, allowed: &[usize]) -> Vec<Core> {
    let text = |path: &str| std::fs::read_to_string(root.join("sys/devices").join(path)).unwrap_or_default();
    let kinds = Kinds::read(root, allowed);
    let mut cores: Vec<Core> = Vec::new();
    for &cpu in allowed {
        if cores.iter().any(|core| core.cpus.contains(&cpu)) {
            continue;
        }
        let topology = format!("system/cpu/cpu{cpu}/topology");
        let names = ["core_cpus_list", "thread_siblings_list"];
        let siblings = names.iter().map(|name| cpu_list(&text(&format!("{topology}/{name}")))).find(|l| !l.is_empty());
        let cpus = siblings.filter(|list| list.contains(&cpu)).unwrap_or_else(|| vec![cpu]);
        cores.push(Core { cpus, kind: kinds.of(cpu) });
    }
    cores
}

fn nodes(root: &Path) -> Vec<Node> {
    let dir = root.join("sys/devices/system/node");
    let mut nodes: Vec<Node> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.strip_prefix("node")?.parse().ok()?;
            let cpus = cpu_list(&std::fs::read_to_string(path.join("cpulist")).ok()?);
            let meminfo = std::fs::read_to_string(path.join("meminfo")).unwrap_or_default();
            let memory = meminfo.lines().find_map(|line| kib(line.split_once("MemTotal:")?.1)).unwrap_or(0);
            Some(Node { id, cpus, memory })
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn governors(root: &Path, allowed: &[usize]) -> BTreeMap<String, usize> {
    let mut governors = BTreeMap::new();
    for cpu in allowed {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        if let Ok(name) = std::fs::read_to_string(root.join(path)) {
            *governors.entry(name.trim().to_owned()).or_insert(0) += 1;
        }
    }
    governors
}

fn driver(root: &Path, allowed: &[usize]) -> Option<String> {
    let path = format!("sys/devices/system/cpu/cpu{}/cpufreq/scaling_driver", allowed.first()?);
    std::fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned())
}

/// Whether a battery is being emptied: those of mice and the like do not count.
fn on_battery(root: &Path) -> bool {
    let Ok(supplies) = std::fs::read_dir(root.join("sys/class/power_supply")) else { return false };
    let is = |path: &Path, file, word| std::fs::read_to_string(path.join(file)).is_ok_and(|text| text.trim() == word);
    supplies
        .flatten()
        .map(|entry| entry.path())
        .any(|path| is(&path, "type", "Battery") && is(&path, "status", "Discharging") && !is(&path, "scope", "Device"))
}

/// The bracketed choice of `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// `  24000 kB` in bytes.
fn kib(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn memory(meminfo: &str, limits: &GroupLimits) -> Memory {
    let value = |key: &str| meminfo.lines().find_map(|line| kib(line.strip_prefix(key)?.strip_prefix(':')?));
    let total = value("MemTotal").unwrap_or(0);
    let mut available = value("MemAvailable").or_else(|| value("MemFree")).unwrap_or(0);
    let limit = limits.memory.filter(|&limit| limit < total);
    if let Some(limit) = limit {
        available = available.min(limit.saturating_sub(limits.memory_used.unwrap_or(0)));
    }
    let swap_total = value("SwapTotal").unwrap_or(0);
    let swap_used = swap_total.saturating_sub(value("SwapFree").unwrap_or(swap_total));
    Memory { total, available, limit, swap_total, swap_used }
}

/// Memory where no `/proc` is mounted (a bare chroot), in units of some bytes: the kernel's call knows nothing of pages that hold
/// files, which it would give back, so that half of all is believed to be available if less is free.
fn without_files(total: impl Into<u64>, free: impl Into<u64>, unit: u32) -> Memory {
    let bytes = |units: u64| units.saturating_mul(u64::from(unit.max(1)));
    let (total, free) = (bytes(total.into()), bytes(free.into()));
    Memory { total, available: free.max(total / 2).min(total), ..Memory::default() }
}

/// Bytes of all last-level caches together, below `root`; `None` where the system does not tell.
pub fn last_level_caches(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let mut caches = BTreeMap::new();
    for cpu in std::fs::read_dir(root.join("sys/devices/system/cpu")).ok()?.flatten() {
        let last = (0..8).rev().map(|index| cpu.path().join(format!("cache/index{index}"))).find(|dir| dir.exists());
        let Some(last) = last else { continue };
        let size = read(&last.join("size"))?;
        let (number, unit) = match size.strip_suffix('M') {
            Some(number) => (number, 1u64 << 20),
            None => (size.trim_end_matches('K'), 1 << 10),
        };
        caches.insert(read(&last.join("shared_cpu_list"))?, number.parse::<u64>().ok()?.checked_mul(unit)?);
    }
    (!caches.is_empty()).then(|| caches.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)))
}

/// Cores that are busy now; `None` where the system does not tell. On Linux and Windows looked at for a twentieth of a second in which
/// this process does nothing, elsewhere what the system kept of the last minute.
pub fn load() -> Option<f64> {
    #[cfg(any(target_os = "linux", windows))]
    let load = {
        /// Long enough to see what runs, short enough not to be felt.
        const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
        let before = times()?;
        std::thread::sleep(LOOK);
        busy_cores(before, times()?, available_cores())
    };
    #[cfg(not(any(target_os = "linux", windows)))]
    let load = elsewhere::load();
    load
}

/// Time of all cores that was spent, and that was not.
#[cfg(any(target_os = "linux", windows))]
fn times() -> Option<(u64, u64)> {
    #[cfg(windows)]
    return tokki_quant::isa::cores::times();
    #[cfg(not(windows))]
    return std::fs::read_to_string("/proc/stat").ok().and_then(|stat| core_times(&stat));
}

/// Cores whose times are added up.
#[cfg(any(target_os = "linux", windows))]
fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Time of all cores that was spent at all and that was not, by the first line of `/proc/stat`. What a host takes from this
/// machine is spent as well.
fn core_times(stat: &str) -> Option<(u64, u64)> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user, nice, system, idle, waiting for disks, interrupts of two kinds, stolen; what follows is counted in the first two.
    let times: Vec<u64> = times.take(8).map(|time| time.parse().ok()).collect::<Option<_>>()?;
    let idle = times.get(3)?.saturating_add(*times.get(4)?);
    Some((times.iter().fold(0u64, |sum, time| sum.saturating_add(*time)).saturating_sub(idle), idle))
}

/// How many of `cores` were busy between two looks.
fn busy_cores(before: (u64, u64), after: (u64, u64), cores: usize) -> Option<f64> {
    let (busy, idle) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    (busy + idle > 0).then(|| cores as f64 * busy as f64 / (busy + idle) as f64)
}

/// Whether other programs want so many cores that what is measured with `threads` threads now says little of another day.
pub fn is_busy(load: f64, threads: usize) -> bool {
    load > (threads as f64 / 4.0).max(0.5)
}

/// Cores that other programs keep busy, where the machine [is busy](is_busy).
pub fn busy(threads: usize) -> Option<f64> {
    load().filter(|&load| is_busy(load, threads)).map(|load| load.min(Machine::read().useful_cores() as f64))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn busy_cores_are_those_of_the_time_between_two_looks() {
        let before = core_times("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1").unwrap();
        let after = core_times("cpu  130 10 60 840 50 0 0 10 0 0\ncpu0 1").unwrap();
        assert_eq!((before, after), ((150, 850), (210, 890)));
        assert_eq!(busy_cores(before, after, 4), Some(2.4));
        assert_eq!(busy_cores(after, after, 4), None);
        assert_eq!((core_times("intr 5"), core_times("cpu  1 2")), (None, None));
    }

    #[test]
    fn caches_that_several_cores_share_count_once() {
        let cpu = |n: u32, cache: &str| format!("sys/devices/system/cpu/cpu{n}/cache/{cache}");
        let root = tree(&[
            (&cpu(0, "index2/size"), "512K"),
            (&cpu(0, "index3/size"), "32M"),
            (&cpu(0, "index3/shared_cpu_list"), "0-1\n"),
            (&cpu(1, "index3/size"), "32768K"),
            (&cpu(1, "index3/shared_cpu_list"), "0-1"),
            (&cpu(2, "index3/size"), "1024K"),
            (&cpu(2, "index3/shared_cpu_list"), "2"),
        ]);
        assert_eq!(last_level_caches(root.path()), Some(33 << 20));
        assert_eq!(last_level_caches(Path::new("/none")), None);
    }

    /// A temporary directory with these files.
    pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const CPU: &str = "sys/devices/system/cpu";

    fn machine(status: &str, siblings: &[&str], more: &[(&str, &str)]) -> Machine {
        let paths: Vec<String> =
            (0..siblings.len()).map(|cpu| format!("{CPU}/cpu{cpu}/topology/core_cpus_list")).collect();
        let online = format!("0-{}\n", siblings.len() - 1);
        let mut files = vec![("sys/devices/system/cpu/online", online.as_str()), ("proc/self/status", status)];
        files.extend(paths.iter().map(String::as_str).zip(siblings.iter().copied()));
        files.extend(more);
        Machine::read_from(tree(&files).path())
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpu_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cpu_list("2"), [2]);
        assert!(cpu_list("").is_empty() && cpu_list("\n").is_empty() && cpu_list("x-,-,3-1").is_empty());
        assert!(cpu_list("0-18446744073709551615").len() < 100_000);
    }

    #[test]
    fn siblings_are_one_core() {
        let m = machine("Cpus_allowed_list:\t0-3\n", &["0,2", "1,3", "0,2", "1,3"], &[]);
        assert_eq!(m.cores.len(), 2);
        assert!(m.has_smt());
        assert_eq!(m.threads(), (2, "physical cores".to_owned()));
    }

    #[test]
    fn affinity_limits_and_is_named() {
        let m = machine("Name:\tx\nCpus_allowed_list:\t2-3\n", &["0", "1", "2", "3"], &[]);
        assert_eq!(m.threads(), (2, "physical cores among the 2 CPUs allowed to this process".to_owned()));
        let m = machine("Cpus_allowed_list:\t3\n", &["0", "1", "2", "3"], &[]);
        assert_eq!(m.threads(), (1, "the one CPU allowed to this process".to_owned()));
    }

    #[test]
    fn quota_is_rounded_down_but_never_to_zero() {
        for (quota, wanted) in [("250000 100000", 2), ("30000 100000", 1), ("800000 100000", 4)] {
            let m = machine(
                "Cpus_allowed_list:\t0-3\n",
                &["0", "1", "2", "3"],
                &[
                    ("proc/self/cgroup", "0::/\n"),
                    ("proc/self/mountinfo", "1 1 0:1 / /sys/fs/cgroup rw - cgroup2 c rw\n"),
                    ("sys/fs/cgroup/cpu.max", quota),
                ],
            );
            assert_eq!(m.threads().0, wanted, "{quota}");
        }
    }

    #[test]
    fn kinds_of_cores() {
        let arm = machine(
            "Cpus_allowed_list:\t0-2\n",
            &["0", "1", "2"],
            &[
                ("sys/devices/system/cpu/cpu0/cpu_capacity", "250\n"),
                ("sys/devices/system/cpu/cpu1/cpu_capacity", "800\n"),
                ("sys/devices/system/cpu/cpu2/cpu_capacity", "1024\n"),
            ],
        );
        let kinds: Vec<_> = arm.cores.iter().map(|core| core.kind).collect();
        assert_eq!(kinds, [CoreKind::Little, CoreKind::Efficiency, CoreKind::Performance]);
        assert_eq!(arm.threads(), (2, "physical cores without a little one".to_owned()));
        let intel = machine("", &["0-1", "0-1", "2", "3"], &[("sys/devices/cpu_atom/cpus", "2-3\n")]);
        assert_eq!(intel.cores.iter().filter(|core| core.kind == CoreKind::Efficiency).count(), 2);
        assert_eq!(intel.threads().0, 3);
    }

    #[test]
    fn numbers_to_choose_from_on_mixed_cores() {
        // Two large cores of two threads, four smaller ones, two of the low-power island.
        let siblings = ["0-1", "0-1", "2-3", "2-3", "4", "5", "6", "7", "8", "9"];
        let lists = [("sys/devices/cpu_atom/cpus", "4-7\n"), ("sys/devices/cpu_lowpower/cpus", "8-9\n")];
        let intel = machine("", &siblings, &lists);
        assert_eq!(intel.mixed(), Some([2, 6]));
        // On half of them alone, and under a quota, there's nothing to choose.
        assert_eq!(machine("Cpus_allowed_list:\t0-3\n", &siblings, &lists).mixed(), None);
        let mut limited = intel.clone();
        limited.quota = Some(3.0);
        assert_eq!(limited.mixed(), None);
        assert_eq!(machine("", &["0,2", "1,3", "0,2", "1,3"], &[]).mixed(), None);
    }

    #[test]
    fn kinds_by_frequency_where_the_kernel_has_no_measure() {
        let speed = |cpu| format!("{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq");
        let kinds = |speeds: [&str; 4], more: &[(&str, &str)]| {
            let paths = [0, 1, 2, 3].map(speed);
            let mut files: Vec<_> = paths.iter().map(String::as_str).zip(speeds).collect();
            files.extend(more);
            machine("", &["0", "1", "2", "3"], &files).cores.iter().map(|core| core.kind).collect::<Vec<_>>()
        };
        use CoreKind::{Efficiency as E, Little as L, Performance as P};
        // Favoured cores are no kind of their own; compact ones are; a board's little ones too.
        assert_eq!(kinds(["5800000", "5800000", "5500000", "5500000"], &[]), [P, P, P, P]);
        assert_eq!(kinds(["5100000", "5000000", "3700000", "3700000"], &[]), [P, P, E, E]);
        assert_eq!(kinds(["2400000", "2400000", "1100000", "1100000"], &[]), [P, P, L, L]);
        // Efficiency cores have a lower frequency, and are known by their list.
        let atoms = [("sys/devices/cpu_atom/cpus", "2-3")];
        assert_eq!(kinds(["5000000", "5000000", "3800000", "3800000"], &atoms), [P, P, E, E]);
        // The kernel's own measure counts for more.
        let capacity = format!("{CPU}/cpu1/cpu_capacity");
        let first = format!("{CPU}/cpu0/cpu_capacity");
        let measured = [(first.as_str(), "1024"), (capacity.as_str(), "700")];
        assert_eq!(kinds(["2000000", "2000000", "2000000", "2000000"], &measured), [P, E, P, P]);
    }

    #[test]
    fn memory_within_the_groups_limit() {
        let text = "MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 900 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n";
        let free = memory(text, &GroupLimits::default());
        assert_eq!((free.total, free.available, free.limit), (1_024_000, 921_600, None));
        assert_eq!((free.swap_total, free.swap_used), (51_200, 30_720));
        let limits = GroupLimits { memory: Some(500_000), memory_used: Some(100_000), ..GroupLimits::default() };
        assert_eq!(memory(text, &limits).available, 400_000);
        assert_eq!(memory("", &GroupLimits::default()), Memory::default());
    }

    #[test]
    fn memory_where_no_files_tell_of_it() {
        let available = |total: u64, free: u64| without_files(total, free, 1).available;
        assert_eq!((available(1000, 100), available(1000, 700), available(0, 0)), (500, 700, 0));
        assert_eq!(without_files(10u64, 20u64, 100), Memory { total: 1000, available: 1000, ..Memory::default() });
        assert_eq!(without_files(7u64, 7u64, 0).total, 7);
        #[cfg(target_os = "linux")]
        assert!(Machine::read().memory.total > 0);
    }

    #[test]
    fn nodes_governors_and_huge_pages() {
        let m = machine(
            "Cpus_allowed_list:\t0-1\n",
            &["0", "1"],
            &[
                ("sys/devices/system/node/node1/cpulist", "1\n"),
                ("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:  64 kB\n"),
                ("sys/devices/system/node/node0/cpulist", "0\n"),
                ("sys/devices/system/node/possible", "0-1\n"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "acpi-cpufreq\n"),
                ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
                ("sys/class/power_supply/BAT0/type", "Battery\n"),
                ("sys/class/power_supply/BAT0/status", "Discharging\n"),
                ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Example CPU\n"),
            ],
        );
        assert_eq!(m.nodes.len(), 2);
        assert_eq!((m.nodes[1].id, m.nodes[1].memory), (1, 65536));
        assert_eq!(m.governors.get("powersave"), Some(&1));
        assert_eq!(m.frequency_driver.as_deref(), Some("acpi-cpufreq"));
        assert_eq!(m.huge_pages.as_deref(), Some("madvise"));
        assert_eq!(m.cpu, "Example CPU");
        assert!(m.on_battery);
    }

    #[test]
    fn this_machine_has_at_least_one_thread() {
        let (count, reason) = threads();
        assert!(count >= 1 && !reason.is_empty());
    }
}
