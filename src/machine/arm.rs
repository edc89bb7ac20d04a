//! Names of ARM cores, of which Linux tells numbers (`CPU implementer` and `CPU part` of `/proc/cpuinfo`: the MIDR register).

/// Makers by their numbers.
const MAKERS: &[(u32, &str)] =
    &[(0x41, "ARM"), (0x48, "HiSilicon"), (0x51, "Qualcomm"), (0x61, "Apple"), (0xc0, "Ampere")];

/// Cores by the numbers of their makers and their own.
const CORES: &[(u32, u32, &str)] = &[
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd04, "Cortex-A35"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd09, "Cortex-A73"),
    (0x41, 0xd0a, "Cortex-A75"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse-N1"),
    (0x41, 0xd0d, "Cortex-A77"),
    (0x41, 0xd40, "Neoverse-V1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x41, 0xd44, "Cortex-X1"),
    (0x41, 0xd46, "Cortex-A510"),
    (0x41, 0xd47, "Cortex-A710"),
    (0x41, 0xd48, "Cortex-X2"),
    (0x41, 0xd49, "Neoverse-N2"),
    (0x41, 0xd4b, "Cortex-A78C"),
    (0x41, 0xd4c, "Cortex-X1C"),
    (0x41, 0xd4d, "Cortex-A715"),
    (0x41, 0xd4e, "Cortex-X3"),
    (0x41, 0xd4f, "Neoverse-V2"),
    (0x41, 0xd80, "Cortex-A520"),
    (0x41, 0xd81, "Cortex-A720"),
    (0x41, 0xd82, "Cortex-X4"),
    (0x41, 0xd84, "Neoverse-V3"),
    (0x41, 0xd85, "Cortex-X925"),
    (0x41, 0xd8e, "Neoverse-N3"),
    (0x48, 0xd01, "TSV110"),
    (0x51, 0x001, "Oryon"),
    (0x51, 0x800, "Kryo 2xx Gold"),
    (0x51, 0x802, "Kryo 3xx Gold"),
    (0x51, 0x804, "Kryo 4xx Gold"),
    (0x61, 0x022, "M1 Icestorm"),
    (0x61, 0x023, "M1 Firestorm"),
    (0x61, 0x032, "M2 Blizzard"),
    (0x61, 0x033, "M2 Avalanche"),
    (0xc0, 0xac3, "Ampere-1"),
    (0xc0, 0xac4, "Ampere-1a"),
];

/// The kinds of cores, such as `ARM Cortex-A55 and Cortex-A76`, each once in the order in which they are told; a number where the
/// name is not known; empty where nothing is told.
pub(super) fn names(cpuinfo: &str) -> String {
    let numbers = |key: &'static str| {
        cpuinfo
            .lines()
            .filter_map(move |line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))
            .filter_map(|value| u32::from_str_radix(value.trim().trim_start_matches("0x"), 16).ok())
    };
    let mut kinds: Vec<(u32, u32)> = Vec::new();
    for kind in numbers("CPU implementer").zip(numbers("CPU part")) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut maker = None;
    let mut name = |(by, part): (u32, u32)| {
        let core = CORES.iter().find(|(of, number, _)| (*of, *number) == (by, part));
        let core = core.map_or_else(|| format!("core 0x{part:03x}"), |(.., name)| (*name).to_owned());
        let of = MAKERS.iter().find(|(number, _)| *number == by);
        let of = of.map_or_else(|| format!("maker 0x{by:02x}"), |(_, name)| (*name).to_owned());
        if maker.replace(by) == Some(by) { core } else { format!("{of} {core}") }
    };
    kinds.iter().map(|&kind| name(kind)).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_named_each_kind_once() {
        let core =
            |by, part| format!("processor\t: 0\nCPU implementer\t: {by}\nCPU variant\t: 0x1\nCPU part\t: {part}\n\n");
        assert_eq!(names(&core("0x41", "0xd08").repeat(4)), "ARM Cortex-A72");
        let mixed = core("0x41", "0xd05").repeat(2) + &core("0x41", "0xd0b").repeat(2);
        assert_eq!(names(&mixed), "ARM Cortex-A55 and Cortex-A76");
        assert_eq!(names(&core("0x51", "0x001")), "Qualcomm Oryon");
        assert_eq!(names(&core("0x41", "0xfff")), "ARM core 0xfff");
        assert_eq!(names(&core("0x99", "0x001")), "maker 0x99 core 0x001");
        assert_eq!(names("model name: x\nCPU implementer: none\nCPU part: 0x1\n"), "");
        assert_eq!(names(""), "");
    }
}
