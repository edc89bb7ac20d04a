//! What the doctor prescribes: each rule looks at the facts and says what to change, or nothing.

use super::facts::Examined;
use crate::parallel::Isa;
use crate::units::show_bytes;

/// Frequency drivers whose `powersave` still goes to full speed under load.
const DRIVERS_THAT_SCALE: &[&str] = &["intel_pstate", "amd-pstate-epp", "amd_pstate_epp"];

/// THE TABLE OF RULES, most important first.
const RULES: &[fn(&Examined) -> Option<String>] = &[
    slow_instructions,
    busy,
    quota,
    fraction_of_quota,
    too_many_threads,
    too_few_threads,
    governor,
    battery,
    nodes,
    little_memory,
    swap,
    no_place,
    unreadable,
    closed,
    disk,
    damaged,
    unread,
    presets,
];

/// What to change on this machine, in plain words.
pub(super) fn advice(facts: &Examined) -> Vec<String> {
    RULES.iter().filter_map(|rule| rule(facts)).collect()
}

fn slow_instructions(facts: &Examined) -> Option<String> {
    let best = facts.isa_default;
    let place = |name: &str| facts.isa_available.iter().position(|isa| *isa == name);
    if place(facts.isa) < place(best) {
        return Some(format!(
            "TOKKI_ISA makes it use {} although this CPU has {best}: unset it for full speed.",
            facts.isa
        ));
    }
    let lacks = Isa::by_name(facts.isa)?.lacks()?;
    Some(format!(
        "This CPU (or the virtual machine) offers {lacks}. In a virtual machine, let the guest see the host's CPU model."
    ))
}

fn busy(facts: &Examined) -> Option<String> {
    let cores = facts.machine.useful_cores();
    let load = facts.load.filter(|&load| crate::machine::is_busy(load, cores))?;
    let so = match facts.read_bandwidth.or(facts.integer_peak) {
        Some(_) => "what was measured here is less than the machine can do",
        None => "a model computes more slowly beside them",
    };
    let kept = load.min(cores as f64);
    Some(format!("Other programs keep about {kept:.1} of {cores} cores busy: {so}."))
}

fn quota(facts: &Examined) -> Option<String> {
    let (quota, cores) = (facts.machine.quota?, facts.machine.useful_cores());
    (quota < cores as f64).then(|| {
        format!(
            "The control group grants {quota:.1} CPUs of {cores} cores: raise its CPU limit (docker: --cpus {cores})."
        )
    })
}

fn fraction_of_quota(facts: &Examined) -> Option<String> {
    let quota = facts.machine.quota.filter(|&quota| quota < facts.machine.useful_cores() as f64 && quota > 1.0)?;
    let rest = quota - quota.floor();
    (rest > 0.05)
        .then(|| format!("{rest:.1} CPUs of the quota of {quota:.1} cannot be used: whole numbers of CPUs work best."))
}

fn too_many_threads(facts: &Examined) -> Option<String> {
    (facts.threads > facts.threads_default).then(|| {
        format!(
            "{} threads are set, but {} can run at full speed at the same time: more of them wait for each other.",
            facts.threads, facts.threads_default
        )
    })
}

fn too_few_threads(facts: &Examined) -> Option<String> {
    (facts.threads < facts.threads_default && !facts.cool).then(|| {
        format!(
            "{} threads are set, and {} could run: unset it unless others need them.",
            facts.threads, facts.threads_default
        )
    })
}

fn governor(facts: &Examined) -> Option<String> {
    let machine = &facts.machine;
    let scales = machine.frequency_driver.as_deref().is_some_and(|driver| DRIVERS_THAT_SCALE.contains(&driver));
    (!scales && machine.governors.contains_key("powersave")).then(|| {
        "The frequency governor is powersave, which keeps the CPU slow: sudo cpupower frequency-set -g schedutil \
         (or performance)."
            .to_owned()
    })
}

fn battery(facts: &Examined) -> Option<String> {
    (facts.machine.on_battery && !facts.cool).then(|| {
        "It runs on its battery: --power cool computes on half of the cores, half of the time (power = \"cool\" in the \
         settings makes it the habit)."
            .to_owned()
    })
}

fn nodes(facts: &Examined) -> Option<String> {
    let first = facts.machine.nodes.first().filter(|_| facts.machine.nodes.len() > 1)?.id;
    Some(format!(
        "This machine has {} memory nodes, and reading from another node is slow. If the model fits into one: \
         numactl --cpunodebind={first} --membind={first} tokki ...",
        facts.machine.nodes.len()
    ))
}

fn little_memory(facts: &Examined) -> Option<String> {
    let memory = &facts.machine.memory;
    (memory.total > 0 && memory.available < 2 << 30).then(|| {
        let limit = memory.limit.map(|_| ", or raise the control group's memory limit").unwrap_or_default();
        format!("Only {} of memory are available: close other programs{limit}.", show_bytes(memory.available))
    })
}

fn swap(facts: &Examined) -> Option<String> {
    let memory = &facts.machine.memory;
    (memory.swap_used > memory.total / 10).then(|| {
        format!(
            "{} lie in swap: memory is short, and a model that does not fit is read from disk for every token.",
            show_bytes(memory.swap_used)
        )
    })
}

fn no_place(facts: &Examined) -> Option<String> {
    facts.store.home.as_os_str().is_empty().then(|| {
        "There is no home directory, so there is no place for models: --home DIR (home in the configuration, TOKKI_HOME) \
         names one."
            .to_owned()
    })
}

fn unreadable(facts: &Examined) -> Option<String> {
    let why = facts.store.unreadable.as_ref()?;
    Some(format!("The models cannot be seen: {why}. Choose another place with --home DIR."))
}

fn closed(facts: &Examined) -> Option<String> {
    let why = facts.store.closed.as_ref()?;
    Some(format!("No model can be stored: {why}. Choose another place with --home DIR."))
}

fn disk(facts: &Examined) -> Option<String> {
    let free = facts.store.disk_free.filter(|&free| free < 5_000_000_000)?;
    let home = facts.store.home.display();
    Some(format!(
        "Only {} are free at {home}: a 7B model takes about 5 GB. Choose another place with --home DIR.",
        show_bytes(free)
    ))
}

fn damaged(facts: &Examined) -> Option<String> {
    let names = &facts.store.damaged;
    (!names.is_empty())
        .then(|| format!("Models that cannot be used: {}. `tokki list` says why, and what to do.", names.join(", ")))
}

fn unread(facts: &Examined) -> Option<String> {
    let told = &facts.settings_unread;
    (!told.is_empty()).then(|| format!("Settings that cannot be read keep models from being run: {}.", told.join("; ")))
}

fn presets(facts: &Examined) -> Option<String> {
    let shown = |(name, near): &(String, Option<String>)| match near {
        Some(near) => format!("[models.{name}] (did you mean {near}?)"),
        None => format!("[models.{name}]"),
    };
    let names: Vec<String> = facts.presets_of_none.iter().map(shown).collect();
    (!names.is_empty()).then(|| {
        format!(
            "No model of the store has the name of {} in the settings: what stands there holds for a file of that name alone.",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use crate::machine::{Core, CoreKind, Machine, Memory, Node};

    fn healthy() -> Examined {
        let core = |cpu| Core { cpus: vec![cpu], kind: CoreKind::Performance };
        let memory = Memory { total: 32 << 30, available: 28 << 30, ..Memory::default() };
        Examined {
            isa: "avx2",
            isa_available: vec!["scalar", "avx2"],
            isa_default: "avx2",
            threads: 4,
            threads_default: 4,
            cool: false,
            machine: Machine { cores: (0..4).map(core).collect(), memory, ..Machine::default() },
            store: Health { home: "/home/me".into(), disk_free: Some(100 << 30), ..Health::default() },
            ..Examined::default()
        }
    }

    /// The one piece of advice after `change`.
    fn told(change: impl FnOnce(&mut Examined)) -> String {
        let mut facts = healthy();
        change(&mut facts);
        let advice = advice(&facts);
        assert_eq!(advice.len(), 1, "{advice:?}");
        advice.concat()
    }

    #[test]
    fn a_healthy_machine_is_left_alone() {
        assert!(advice(&healthy()).is_empty());
        let mut facts = healthy();
        // What is better, but not chosen by itself, is no one's fault, whether it is used or not.
        facts.isa_available.push("amx");
        assert!(advice(&facts).is_empty());
        facts.isa = "amx";
        assert!(advice(&facts).is_empty());
        facts.machine.governors.insert("powersave".into(), 4);
        facts.machine.frequency_driver = Some("intel_pstate".into());
        facts.machine.quota = Some(8.0);
        assert!(advice(&facts).is_empty());
    }

    #[test]
    fn every_rule_speaks_alone() {
        assert!(told(|f| f.isa = "scalar").contains("TOKKI_ISA"));
        let only = |f: &mut Examined, isa, available| {
            (f.isa, f.isa_default, f.isa_available) = (isa, isa, available);
        };
        assert!(told(|f| only(f, "scalar", vec!["scalar"])).contains("many times slower"));
        if Isa::by_name("sse41").is_some() {
            assert!(told(|f| only(f, "sse41", vec!["scalar", "sse41"])).contains("no AVX2"));
        }
        assert!(told(|f| f.machine.quota = Some(2.0)).contains("--cpus 4"));
        assert!(told(|f| f.threads = 8).contains("wait for each other"));
        assert!(told(|f| f.threads = 1).contains("could run"));
        assert!(told(|f| f.machine.governors.extend([("powersave".to_owned(), 4)])).contains("cpupower"));
        assert!(told(|f| f.machine.on_battery = true).contains("--power cool"));
        let mut cool = healthy();
        (cool.machine.on_battery, cool.cool, cool.threads) = (true, true, 2);
        assert!(advice(&cool).is_empty());
        let node = |id| Node { id, cpus: vec![id], memory: 1 << 30 };
        assert!(told(|f| f.machine.nodes = vec![node(0), node(1)]).contains("numactl --cpunodebind=0"));
        assert!(told(|f| f.machine.memory.available = 1 << 30).contains("available"));
        assert!(told(|f| f.machine.memory.swap_used = 8 << 30).contains("swap"));
        assert!(told(|f| f.store.disk_free = Some(1 << 30)).contains("--home"));
        assert!(told(|f| f.store.closed = Some("read-only".into())).contains("can be stored: read-only"));
        assert!(told(|f| f.store.unreadable = Some("no permission".into())).contains("be seen: no permission"));
        assert!(told(|f| f.store.home = std::path::PathBuf::new()).contains("no home directory"));
        assert!(told(|f| f.store.damaged = vec!["m".into()]).contains("tokki list"));
        assert!(told(|f| f.settings_unread = vec!["line 3".into()]).contains("line 3"));
        assert!(told(|f| f.presets_of_none = vec![("qwn".into(), Some("qwen".into()))]).contains("did you mean qwen?"));
    }

    #[test]
    fn a_fraction_of_a_cpu_is_lost() {
        let mut facts = healthy();
        facts.machine.quota = Some(2.5);
        assert!(advice(&facts).iter().any(|text| text.contains("0.5 CPUs")));
    }
}
