//! `tokki doctor`: what this machine is, what it can do at most, and what to change.

mod advice;
mod facts;

use super::compute::Compute;
use super::output::{Paint, json, result};
use super::readiness::Standings;
use crate::config::{Settings, file_path};
use crate::machine::{self, CoreKind, Machine};
use crate::parallel::Isa;
use crate::predict::measure;
use crate::store::{Store, free};
use crate::units::show_bytes;
use crate::{Result, suggest};
use facts::{Examined, Health};
use std::path::Path;

/// Says what this machine can do, and what to change
///
/// Reads the cores, limits, memory and disk that matter for running models, measures how fast memory can be read, and
/// says in plain words what stands in the way.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  tokki doctor
  tokki doctor --json               the same for programs
  tokki doctor --no-measure         without the second of measuring
  TOKKI_ISA=scalar tokki doctor     as if the CPU had no vector instructions")]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Leave out the measurements
    #[arg(long)]
    no_measure: bool,
    /// Threads to examine, instead of those that would be used
    #[arg(short = 't', long, value_name = "N")]
    threads: Option<String>,
    /// How hard the machine is to work: full or cool, instead of what is set
    #[arg(long, value_name = "full|cool")]
    power: Option<String>,
}

/// Memory that the measurement of bandwidth takes.
const BUFFER: u64 = 1 << 30;

pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    // What cannot be read of them is one more thing that stands in the way.
    let (mut settings, unread) = Settings::readable();
    for (key, value) in [("threads", &args.threads), ("power", &args.power)] {
        if let Some(value) = value {
            settings = settings.with_text(key, value)?;
        }
    }
    let mut facts = examine(&settings, !args.no_measure)?;
    facts.settings_unread = unread.iter().map(ToString::to_string).collect();
    let advice = advice::advice(&facts);
    if args.json {
        let mut value = serde_json::to_value(&facts).map_err(|e| crate::Error::failed("JSON", e.to_string()))?;
        if let Some(object) = value.as_object_mut() {
            object.insert("advice".to_owned(), advice.into());
        }
        return json(&value);
    }
    let paint = Paint::stdout();
    result(|out| {
        for (name, value) in lines(&facts) {
            writeln!(out, "{}  {value}", paint.bold(&format!("{name:<12}")))?;
        }
        writeln!(out)?;
        if advice.is_empty() {
            return writeln!(out, "{}", paint.good("No problems found."));
        }
        for text in &advice {
            writeln!(out, "{} {text}", paint.bad("*"))?;
        }
        Ok(())
    })
}

fn examine(settings: &Settings, measured: bool) -> Result<Examined> {
    // Before anything of our own adds to it.
    let load = machine::load();
    let machine = Machine::read();
    let (mut threads_default, mut threads_reason) = machine.threads();
    let pool = Compute::pool_of(settings)?;
    let (threads, threads_decode) = (pool.threads(), pool.few_threads());
    let cool = super::compute::cool(settings);
    if let Some((_, origin)) = settings.get("threads") {
        threads_reason = format!("set by {origin}");
    } else if machine.mixed().is_some() {
        let fast = machine.cores.iter().filter(|core| core.kind == CoreKind::Performance).count();
        threads_reason = tried_on(fast, threads_default);
        threads_default = if cool { threads_default } else { threads };
    }
    if settings.get("threads").is_none() && cool {
        let some = if threads_default > 1 { format!("half of the {threads_default}") } else { "one".to_owned() };
        threads_reason = format!("{some}, to stay cool ({threads_reason})");
    }
    if pool.is_on_cores() {
        threads_reason.push_str("; each is kept on a core of its own");
    }
    if cool {
        threads_reason.push_str("; they rest half of the time");
    }
    let room = measured && machine.memory.available >= 2 * BUFFER;
    // Without a home there is no store, and nothing in it.
    let store = Store::of(settings).ok();
    let presets_of_none = store.as_ref().and_then(|store| presets_of_none(settings, store).ok()).unwrap_or_default();
    let store = store.map_or(Health::default(), |store| {
        health(&store).unwrap_or_else(|why| Health {
            home: store.home().to_path_buf(),
            unreadable: Some(why.to_string()),
            ..Health::default()
        })
    });
    Ok(Examined {
        version: env!("CARGO_PKG_VERSION"),
        isa: pool.isa().name(),
        isa_available: Isa::available().iter().map(|isa| isa.name()).collect(),
        isa_default: Isa::best().name(),
        isa_off: Isa::unused().filter(|(name, _)| pool.isa().name() != *name),
        threads,
        threads_decode,
        threads_reason,
        threads_default,
        cool,
        read_bandwidth: room.then(|| measure::read_bandwidth(&pool)),
        integer_peak: measured.then(|| measure::integer_peak(&pool)),
        machine,
        load,
        store,
        presets_of_none,
        settings_unread: Vec::new(),
        config_file: file_path(&|name| std::env::var(name).ok()).map(|(path, _)| path).filter(|path| path.exists()),
    })
}

/// What the settings say of single models that are not in the store: a typing error, or a file elsewhere.
fn presets_of_none(settings: &Settings, store: &Store) -> Result<Vec<(String, Option<String>)>> {
    let mut names = Vec::new();
    for entry in store.models()? {
        let files = entry.manifest.map_or(Vec::new(), |manifest| manifest.files).into_iter().map(|file| file.name);
        names.extend(files.filter_map(|file| Some(Path::new(&file).file_stem()?.to_str()?.to_lowercase())));
        names.push(entry.name.to_lowercase());
    }
    let of_none = settings.presets().filter(|preset| !names.iter().any(|name| name == preset));
    let near = |preset: &str| suggest::nearest(preset, names.iter().map(String::as_str)).map(str::to_owned);
    Ok(of_none.map(|preset| (preset.to_owned(), near(preset))).collect())
}

/// Why nothing can be written to a folder, or to the place where it would be made.
fn closed(home: &Path) -> Option<String> {
    let there = home.ancestors().find(|folder| folder.is_dir())?;
    crate::platform::output::check(&there.join(".tokki-doctor")).err().map(|why| why.to_string())
}

fn health(store: &Store) -> Result<Health> {
    let models = store.models()?;
    let standings = Standings::of(Some(store));
    let standing = models.iter().map(|entry| (entry, standings.look(entry)));
    let (ready, unusable): (Vec<_>, Vec<_>) = standing.partition(|(_, standing)| standing.is_ready());
    let sizes = ready.iter().filter_map(|(entry, _)| entry.manifest.as_ref().ok()).map(crate::store::Manifest::size);
    let bytes = sizes.fold(0, u64::saturating_add);
    Ok(Health {
        home: store.home().to_path_buf(),
        unreadable: None,
        closed: closed(store.home()),
        disk_free: free(store.home()),
        ready: ready.len(),
        damaged: unusable.iter().map(|(entry, standing)| format!("{} ({})", entry.name, standing.state)).collect(),
        partial: store.partials().into_iter().map(|partial| partial.name).collect(),
        bytes,
    })
}

/// `name: value` for people.
fn lines(facts: &Examined) -> Vec<(&'static str, String)> {
    let Examined { machine, store, .. } = facts;
    let mut lines = vec![("tokki", facts.version.to_owned())];
    if !machine.cpu.is_empty() {
        lines.push(("CPU", machine.cpu.clone()));
    }
    let off = facts.isa_off.map(|(name, why)| format!("; {name} is off: {why}")).unwrap_or_default();
    lines.push(("instructions", format!("{} (this CPU has {}{off})", facts.isa, facts.isa_available.join(", "))));
    if !machine.cores.is_empty() {
        lines.push(("cores", cores(machine)));
    }
    let threads = match facts.threads_decode {
        few if few == facts.threads => few.to_string(),
        few => format!("{} for prompts, {few} for answers", facts.threads),
    };
    lines.push(("threads", format!("{threads}: {}", facts.threads_reason)));
    if let Some(quota) = machine.quota {
        lines.push(("CPU quota", format!("{quota:.1} CPUs, by the control group")));
    }
    if !machine.governors.is_empty() {
        let governors: Vec<&str> = machine.governors.keys().map(String::as_str).collect();
        let driver = machine.frequency_driver.as_deref().map(|d| format!(" ({d})")).unwrap_or_default();
        lines.push(("governor", format!("{}{driver}", governors.join(", "))));
    }
    if machine.nodes.len() > 1 {
        let node = |node: &machine::Node| format!("{} with {}", node.id, show_bytes(node.memory));
        lines.push(("memory nodes", machine.nodes.iter().map(node).collect::<Vec<_>>().join(", ")));
    }
    if machine.memory.total > 0 {
        lines.push(("memory", memory(machine)));
    }
    if let Some(choice) = &machine.huge_pages {
        lines.push(("huge pages", choice.clone()));
    }
    if let Some(speed) = facts.read_bandwidth {
        let words =
            format!("{:.1} GB/s: a model of 5 GB gives at most {:.1} tokens a second", speed / 1e9, speed / 5e9);
        lines.push(("memory speed", words));
    }
    if let Some(peak) = facts.integer_peak {
        lines.push(("arithmetic", format!("{:.0} billion 4-bit multiply-adds a second", peak / 1e9)));
    }
    if let Some(free) = store.disk_free {
        lines.push(("disk", format!("{} free at {}", show_bytes(free), store.home.display())));
    }
    let mut models = format!("{} ready, {}", store.ready, show_bytes(store.bytes));
    if !store.partial.is_empty() {
        models.push_str(&format!("; unfinished: {}", store.partial.join(", ")));
    }
    if store.unreadable.is_some() {
        "cannot be read".clone_into(&mut models);
    }
    lines.push(("models", models));
    lines
        .push(("settings", facts.config_file.as_ref().map_or("no file".to_owned(), |path| path.display().to_string())));
    lines
}

fn tried_on(fast: usize, all: usize) -> String {
    let s = if fast == 1 { "" } else { "s" };
    format!("tried on {fast} performance core{s} and on all {all} that are not little")
}

fn cores(machine: &Machine) -> String {
    let count = |kind: CoreKind| machine.cores.iter().filter(|core| core.kind == kind).count();
    let mut text = format!("{} physical", machine.cores.len());
    for (kind, one, many) in [
        (CoreKind::Efficiency, "an efficiency core", "efficiency cores"),
        (CoreKind::Little, "a little core", "little cores"),
    ] {
        match count(kind) {
            0 => {}
            1 => text.push_str(&format!(", 1 of them {one}")),
            n => text.push_str(&format!(", {n} of them {many}")),
        }
    }
    if machine.has_smt() {
        text.push_str(", with two threads each");
    }
    if machine.allowed.len() < machine.online.len() {
        text.push_str(&format!(
            "; {} of {} CPUs are allowed to this process",
            machine.allowed.len(),
            machine.online.len()
        ));
    }
    text
}

fn memory(machine: &Machine) -> String {
    let memory = &machine.memory;
    let mut text = format!("{} available of {}", show_bytes(memory.available), show_bytes(memory.total));
    if let Some(limit) = memory.limit {
        text.push_str(&format!(", the control group allows {}", show_bytes(limit)));
    }
    if memory.swap_total > 0 {
        text.push_str(&format!("; {} of {} swap used", show_bytes(memory.swap_used), show_bytes(memory.swap_total)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Core;

    #[test]
    fn why_something_better_is_off_stands_beside_the_instructions() {
        let told = |isa_off| {
            let facts = Examined { isa: "avx2", isa_available: vec!["scalar", "avx2"], isa_off, ..Examined::default() };
            lines(&facts)
                .into_iter()
                .find(|(name, _)| *name == "instructions")
                .map_or(String::new(), |(_, value)| value)
        };
        assert_eq!(told(None), "avx2 (this CPU has scalar, avx2)");
        assert_eq!(told(Some(("amx", "no tiles"))), "avx2 (this CPU has scalar, avx2; amx is off: no tiles)");
    }

    #[test]
    fn kinds_of_cores_are_counted_in_words() {
        let of = |kinds: &[CoreKind]| {
            let core = |(cpu, &kind)| Core { cpus: vec![cpu], kind };
            cores(&Machine { cores: kinds.iter().enumerate().map(core).collect(), ..Machine::default() })
        };
        use CoreKind::{Efficiency as E, Little as L, Performance as P};
        assert_eq!(of(&[P, P]), "2 physical");
        assert_eq!(of(&[P, E, L]), "3 physical, 1 of them an efficiency core, 1 of them a little core");
        assert_eq!(of(&[P, E, E, L, L, L]), "6 physical, 2 of them efficiency cores, 3 of them little cores");
        assert_eq!(tried_on(1, 2), "tried on 1 performance core and on all 2 that are not little");
        assert!(tried_on(4, 8).starts_with("tried on 4 performance cores and on all 8"));
    }
}
