//! Limits that control groups (containers, services) put on this process: v1, v2 and the mixed layout.
//!
//! A limit set on any ancestor binds too, so every directory from the process's own group up to the mount point is read
//! and the smallest value wins. A container may see the host's path in `/proc/self/cgroup` while its mount starts
//! further down; the fourth field of `mountinfo` says where, and that prefix is taken off.

use std::path::{Path, PathBuf};

/// What the control groups allow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupLimits {
    /// CPU time per wall time, in CPUs (1.5 = one and a half CPUs).
    pub cpus: Option<f64>,
    /// Bytes of memory in all.
    pub memory: Option<u64>,
    /// Bytes in use by the group that has the limit, without file pages, which the kernel gives back when asked.
    pub memory_used: Option<u64>,
    /// `v1` or `v2`: where the limits were found.
    pub version: Option<&'static str>,
}

/// One mounted hierarchy: the directory of this process's group, and the mount point above it.
struct Hierarchy {
    dir: PathBuf,
    top: PathBuf,
}

impl Hierarchy {
    /// The group's directory and its ancestors, up to the mount point.
    fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.dir.ancestors().take_while(|dir| dir.starts_with(&self.top))
    }
}

/// Reads the limits under `root` (`/`, or a fixture tree that looks like it).
pub fn read(root: &Path) -> GroupLimits {
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (text("proc/self/cgroup"), text("proc/self/mountinfo"));
    let mut limits = GroupLimits::default();
    if let Some(group) = find(root, &groups, &mounts, None) {
        read_v2(&group, &mut limits);
    }
    if let Some(group) = find(root, &groups, &mounts, Some("cpu")) {
        read_v1_cpu(&group, &mut limits);
    }
    if let Some(group) = find(root, &groups, &mounts, Some("memory")) {
        read_v1_memory(&group, &mut limits);
    }
    limits
}

/// The hierarchy of a v1 controller, or of v2 when `controller` is `None`.
fn find(root: &Path, groups: &str, mounts: &str, controller: Option<&str>) -> Option<Hierarchy> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match controller {
            Some(name) => names.split(',').any(|n| n == name),
            None => names.is_empty(),
        };
        ours.then_some(path)
    })?;
    let (mount_root, top) = mounts.lines().find_map(|line| mount(line, controller))?;
    let inside = Path::new(path).strip_prefix(&mount_root).or_else(|_| Path::new(path).strip_prefix("/"));
    let top = root.join(top.trim_start_matches('/'));
    let dir = inside.map_or_else(|_| top.clone(), |inside| top.join(inside));
    // The path of another namespace leads nowhere here: then the mount point itself is this process's group.
    let dir = if dir.is_dir() { dir } else { top.clone() };
    Some(Hierarchy { dir, top })
}

/// `(root, mount point)` of a line of `mountinfo` if it mounts the wanted hierarchy.
fn mount(line: &str, controller: Option<&str>) -> Option<(String, String)> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
    let ours = match controller {
        Some(name) => kind == "cgroup" && options.split(',').any(|o| o == name),
        None => kind == "cgroup2",
    };
    let mut left = left.split(' ').skip(3);
    let (root, top) = (left.next()?, left.next()?);
    ours.then(|| (root.to_owned(), top.to_owned()))
}

fn number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of `key` in a `key value` file such as `memory.stat`.
fn stat(path: &Path, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok());
    value.unwrap_or(0)
}

fn read_v2(group: &Hierarchy, limits: &mut GroupLimits) {
    for dir in group.dirs() {
        if let Some(cpus) = std::fs::read_to_string(dir.join("cpu.max")).ok().and_then(|t| cpu_max(&t)) {
            lower_cpus(limits, cpus, "v2");
        }
        let high = number::<u64>(&dir.join("memory.high"));
        let max = number::<u64>(&dir.join("memory.max"));
        if let Some(limit) = high.into_iter().chain(max).min() {
            let stat_file = dir.join("memory.stat");
            let files = stat(&stat_file, "inactive_file") + stat(&stat_file, "active_file");
            let used = number::<u64>(&dir.join("memory.current")).map(|used| used.saturating_sub(files));
            lower_memory(limits, limit, used, "v2");
        }
    }
}

fn read_v1_cpu(group: &Hierarchy, limits: &mut GroupLimits) {
    for dir in group.dirs() {
        let quota = number::<i64>(&dir.join("cpu.cfs_quota_us"));
        let period = number::<i64>(&dir.join("cpu.cfs_period_us"));
        if let (Some(quota @ 1..), Some(period @ 1..)) = (quota, period) {
            lower_cpus(limits, quota as f64 / period as f64, "v1");
        }
    }
}

fn read_v1_memory(group: &Hierarchy, limits: &mut GroupLimits) {
    for dir in group.dirs() {
        // "No limit" is the largest multiple of the page size that fits an i64.
        let Some(limit) = number::<u64>(&dir.join("memory.limit_in_bytes")).filter(|&limit| limit < 1 << 60) else {
            continue;
        };
        let stat_file = dir.join("memory.stat");
        let files = stat(&stat_file, "total_inactive_file") + stat(&stat_file, "total_active_file");
        let used = number::<u64>(&dir.join("memory.usage_in_bytes")).map(|used| used.saturating_sub(files));
        lower_memory(limits, limit, used, "v1");
    }
}

/// `cpu.max`: `QUOTA PERIOD` in microseconds, or `max PERIOD`.
fn cpu_max(text: &str) -> Option<f64> {
    let mut fields = text.split_whitespace();
    let quota: f64 = fields.next()?.parse().ok()?;
    let period: f64 = fields.next().map_or(Some(100_000.0), |p| p.parse().ok())?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn lower_cpus(limits: &mut GroupLimits, cpus: f64, version: &'static str) {
    if limits.cpus.is_none_or(|old| cpus < old) {
        limits.cpus = Some(cpus);
        limits.version = Some(version);
    }
}

/// Keeps the limit that leaves the least room.
fn lower_memory(limits: &mut GroupLimits, limit: u64, used: Option<u64>, version: &'static str) {
    let room = |limit: u64, used: Option<u64>| limit.saturating_sub(used.unwrap_or(0));
    let old = limits.memory.map(|old| room(old, limits.memory_used));
    if old.is_none_or(|old| room(limit, used) < old) {
        (limits.memory, limits.memory_used, limits.version) = (Some(limit), used, Some(version));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::machine::tests::tree;

    #[test]
    fn the_smallest_quota_of_all_ancestors_binds() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/memory.max", "8589934592\n"),
            ("sys/fs/cgroup/a/memory.current", "3000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 1000\nactive_file 500\ninactive_file 1500\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ]);
        let limits = read(root.path());
        assert_eq!(limits.cpus, Some(1.5));
        assert_eq!((limits.memory, limits.memory_used), (Some(8 << 30), Some(1000)));
        assert_eq!(limits.version, Some("v2"));
    }

    #[test]
    fn v1_container_that_sees_the_hosts_path() {
        let root = tree(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n"),
            (
                "proc/self/mountinfo",
                "31 30 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                 32 30 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4294967296\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 700\ntotal_active_file 300\n"),
        ]);
        let limits = read(root.path());
        assert_eq!(limits.cpus, Some(4.0));
        assert_eq!((limits.memory, limits.memory_used), (Some(4 << 30), Some(1000)));
    }

    #[test]
    fn no_limit_and_no_files_are_no_limit() {
        assert_eq!(read(tree(&[]).path()), GroupLimits::default());
        let root = tree(&[
            ("proc/self/cgroup", "1:cpu:/\n2:memory:/\n0::/\n"),
            ("proc/self/mountinfo", "1 1 0:1 / /c rw - cgroup c rw,cpu\n2 1 0:1 / /m rw - cgroup m rw,memory\nbad\n"),
            ("c/cpu.cfs_quota_us", "-1\n"),
            ("c/cpu.cfs_period_us", "100000\n"),
            ("m/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(read(root.path()), GroupLimits::default());
    }

    #[test]
    fn damaged_cpu_max_is_ignored() {
        for text in ["", "0 100000", "1 0", "x y", "-5 10"] {
            assert_eq!(cpu_max(text), None, "{text:?}");
        }
        assert_eq!(cpu_max("50000"), Some(0.5));
    }
}
