//! Cores by what systems without files tell of them: Windows by records, a Mac by numbers.

#![cfg_attr(
    not(windows),
    allow(dead_code, reason = "the reading of what Windows tells, which is tested on every system")
)]

use super::facts::{Core, CoreKind};

/// Bytes of an address, and so of a mask of CPUs.
const MASK: usize = size_of::<usize>();
/// Logical CPUs that Windows counts in one group.
const CPUS_PER_GROUP: usize = 64;

/// A core in the records of Windows.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    /// Higher is faster.
    class: u8,
    cpus: Vec<usize>,
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// One `PROCESSOR_RELATIONSHIP`: after the head of 8 bytes flags, the class, 20 bytes, the number of groups, and for each
/// a mask, the group, and 6 bytes.
fn record(bytes: &[u8]) -> Option<Record> {
    let groups = number(bytes, 30, 2)? as usize;
    let mut cpus = Vec::new();
    for at in (0..groups).map(|group| 32 + group * (MASK + 8)) {
        let (mask, group) = (number(bytes, at, MASK)?, number(bytes, at + MASK, 2)? as usize);
        cpus.extend((0..CPUS_PER_GROUP).filter(|bit| mask >> bit & 1 == 1).map(|bit| group * CPUS_PER_GROUP + bit));
    }
    Some(Record { class: *bytes.get(9)?, cpus })
}

/// All cores that the records have; what is damaged ends them.
fn records(mut bytes: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    while let (Some(relation), Some(size)) = (number(bytes, 0, 4), number(bytes, 4, 4)) {
        let Some((own, rest)) =
            usize::try_from(size).ok().filter(|&size| size >= 8).and_then(|n| bytes.split_at_checked(n))
        else {
            break;
        };
        // Other relations are not of cores.
        found.extend((relation == 0).then(|| record(own)).flatten().filter(|core| !core.cpus.is_empty()));
        bytes = rest;
    }
    found
}

/// The cores in the records of Windows (`GetLogicalProcessorInformationEx`), all logical CPUs, and those that `mask` allows.
///
/// Of two classes the lower one is of efficiency cores. Of three the lowest is of little ones: such processors have an island
/// of low power.
pub(super) fn windows(bytes: &[u8], mask: Option<u64>) -> (Vec<Core>, Vec<usize>, Vec<usize>) {
    let records = records(bytes);
    let mut classes: Vec<u8> = records.iter().map(|core| core.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let kind = |class: u8| match classes.iter().rev().position(|&other| other == class) {
        Some(0) | None => CoreKind::Performance,
        Some(below) if below >= 2 && below + 1 == classes.len() => CoreKind::Little,
        Some(_) => CoreKind::Efficiency,
    };
    let mut online: Vec<usize> = records.iter().flat_map(|core| core.cpus.iter().copied()).collect();
    online.sort_unstable();
    online.dedup();
    // A mask speaks of one group: with several it says nothing of the others.
    let mask = mask.filter(|_| online.iter().all(|&cpu| cpu < CPUS_PER_GROUP));
    let may = |cpu: usize| mask.is_none_or(|mask| mask >> cpu & 1 == 1);
    let allowed: Vec<usize> = online.iter().copied().filter(|&cpu| may(cpu)).collect();
    let mine = records.into_iter().filter(|core| core.cpus.iter().any(|&cpu| may(cpu)));
    (mine.map(|core| Core { kind: kind(core.class), cpus: core.cpus }).collect(), online, allowed)
}

/// So many physical cores of these logical CPUs, whose siblings have neighbouring numbers. Those beyond the first `fast` are
/// little ones: a Mac's efficiency cores have less than half the speed of the others.
pub(super) fn numbered(cpus: &[usize], physical: usize, fast: Option<usize>) -> Vec<Core> {
    let physical = physical.clamp(1, cpus.len().max(1));
    let fast = fast.unwrap_or(physical);
    let siblings = (cpus.len() / physical).max(1);
    let kind = |core| if core < fast { CoreKind::Performance } else { CoreKind::Little };
    let cores = cpus.chunks_exact(siblings).take(physical).enumerate();
    cores.map(|(core, cpus)| Core { cpus: cpus.to_vec(), kind: kind(core) }).collect()
}

/// The number that `sysctl -n` says on a Mac, where there are such cores.
#[cfg(any(target_os = "macos", test))]
pub(super) fn number_of_cores(said: &[u8]) -> Option<usize> {
    std::str::from_utf8(said).ok()?.trim().parse().ok().filter(|&cores| cores > 0)
}

#[cfg(test)]
mod tests {
    use super::super::Machine;
    use super::*;
    use CoreKind::{Efficiency as E, Little as L, Performance as P};

    /// A record as Windows writes it, of a class and of masks of groups.
    fn core(relation: u32, class: u8, masks: &[(u64, u16)]) -> Vec<u8> {
        let size = 32 + masks.len() * (MASK + 8);
        let mut bytes = [relation, size as u32].map(u32::to_le_bytes).concat();
        bytes.extend([u8::from(masks[0].0.count_ones() > 1), class]);
        bytes.extend([0; 20]);
        bytes.extend((masks.len() as u16).to_le_bytes());
        for (mask, group) in masks {
            bytes.extend(&mask.to_le_bytes()[..MASK]);
            bytes.extend(group.to_le_bytes());
            bytes.extend([0xee; 6]);
        }
        bytes
    }

    fn machine(bytes: &[u8], mask: Option<u64>) -> Machine {
        let (cores, online, allowed) = windows(bytes, mask);
        Machine { cores, online, allowed, ..Machine::default() }
    }

    fn kinds(machine: &Machine) -> Vec<CoreKind> {
        machine.cores.iter().map(|core| core.kind).collect()
    }

    #[test]
    fn cores_of_windows_by_class_and_without_siblings() {
        // Two large cores of two threads, four small ones.
        let large = [0b11, 0b1100].map(|mask| core(0, 1, &[(mask, 0)]));
        let small = [1 << 4, 1 << 5, 1 << 6, 1 << 7].map(|mask| core(0, 0, &[(mask, 0)]));
        let hybrid = [large.concat(), small.concat()].concat();
        let found = machine(&hybrid, Some(0xff));
        assert_eq!(kinds(&found), [P, P, E, E, E, E]);
        assert_eq!((found.cores[1].cpus.clone(), found.online.len(), found.allowed.len()), (vec![2, 3], 8, 8));
        assert!(found.has_smt());
        assert_eq!((found.threads().0, found.mixed()), (6, Some([2, 6])));
        // Some of them alone, as `start /affinity` has it.
        let some = machine(&hybrid, Some(0b1_0110));
        assert_eq!((kinds(&some), some.allowed.clone()), (vec![P, P, E], vec![1, 2, 4]));
        assert_eq!(some.threads(), (3, "physical cores among the 3 CPUs allowed to this process".to_owned()));
    }

    #[test]
    fn one_class_is_of_full_cores_and_the_lowest_of_three_of_little_ones() {
        let of = |classes: &[u8]| -> Vec<u8> {
            classes.iter().enumerate().flat_map(|(cpu, &class)| core(0, class, &[(1 << cpu, 0)])).collect()
        };
        assert_eq!(kinds(&machine(&of(&[0, 0, 0]), None)), [P, P, P]);
        assert_eq!(kinds(&machine(&of(&[3, 3]), None)), [P, P]);
        let three = machine(&of(&[2, 1, 0, 2]), None);
        assert_eq!(kinds(&three), [P, E, L, P]);
        assert_eq!((three.threads().0, three.mixed()), (3, Some([2, 3])));
    }

    #[test]
    fn groups_of_cpus_are_counted_through_and_a_mask_of_one_says_nothing_of_two() {
        let bytes = [core(0, 0, &[(0b11, 0)]), core(3, 0, &[(1, 0)]), core(0, 0, &[(0b11, 1)])].concat();
        let found = machine(&bytes, Some(1));
        assert_eq!(found.online, [0, 1, 64, 65]);
        assert_eq!((found.allowed.len(), found.cores.len()), (4, 2));
    }

    #[test]
    fn damaged_records_end_where_they_are() {
        let good = core(0, 0, &[(1, 0)]);
        for size in [0u32, 7, 31, 4000, u32::MAX] {
            let mut bad = good.clone();
            bad[4..8].copy_from_slice(&size.to_le_bytes());
            assert!(records(&[good.clone(), bad].concat()).len() <= 2, "{size}");
        }
        let mut many = good.clone();
        many[30..32].fill(0xff);
        assert_eq!(records(&many), []);
        for end in 0..good.len() {
            assert_eq!(records(&good[..end]), [], "{end}");
        }
        assert_eq!((records(&[]), records(&good).len()), (Vec::new(), 1));
        assert_eq!(machine(&[], None).cores, []);
    }

    #[test]
    fn a_macs_cores_beyond_the_fast_ones_are_little() {
        let cpus: Vec<usize> = (0..8).collect();
        let kinds = |physical, fast| numbered(&cpus, physical, fast).iter().map(|core| core.kind).collect::<Vec<_>>();
        assert_eq!(kinds(8, Some(4)), [P, P, P, P, L, L, L, L]);
        assert_eq!(kinds(4, None), [P, P, P, P]);
        assert_eq!(numbered(&cpus, 4, None)[1].cpus, [2, 3]);
        // What does not fit is nothing to fail on.
        assert_eq!((kinds(3, None).len(), kinds(0, Some(0)).len(), kinds(99, Some(99)).len()), (3, 1, 8));
        assert_eq!(numbered(&[], 4, None), []);
        let said: [&[u8]; 5] = [b"4\n", b"0\n", b"", b"sysctl: unknown oid\n", b"\xff"];
        assert_eq!(said.map(number_of_cores), [Some(4), None, None, None, None]);
    }
}
