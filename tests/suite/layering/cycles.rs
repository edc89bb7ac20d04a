//! Circles between the files of a crate: names are followed through what modules hand on, to the file that says them.

use std::collections::{BTreeMap, BTreeSet};

use super::uses::{Said, given_by};

type Module = Vec<String>;

/// What a file says, by its module.
pub type Modules<'a> = BTreeMap<Module, &'a Said>;

/// Which file uses which, by their modules, and what of it.
pub type Uses = BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>;

/// The path behind each name that a module's `use` lines give.
type Given = BTreeMap<Module, BTreeMap<String, Module>>;

/// The module of the file that `path`, from the crate's root on, comes from in the end.
fn home(modules: &Modules<'_>, given: &Given, path: &[String], depth: usize) -> Option<Module> {
    let at = (0..=path.len()).rev().map(|n| &path[..n]).find(|part| modules.contains_key(*part))?;
    match path.get(at.len()).and_then(|name| given.get(at)?.get(name)) {
        Some(from) if depth < 8 => {
            let path: Vec<String> = from.iter().chain(&path[at.len() + 1..]).cloned().collect();
            home(modules, given, &path, depth + 1)
        }
        _ => Some(at.to_vec()),
    }
}

/// `path` from the crate's root on, where it begins with a module of the file's own. (`f32` is a type of the language first.)
fn own(modules: &Modules<'_>, module: &[String], path: &[String]) -> Option<Module> {
    let first = path.first().filter(|name| *name != "f32")?;
    let own: Vec<String> = module.iter().chain([first]).cloned().collect();
    modules.contains_key(&own).then(|| module.iter().chain(path).cloned().collect())
}

/// The paths of names that a file only hands on: it does not use what it says nothing else of.
fn passed_on<'a>(said: &Said, given: &'a BTreeMap<String, Module>) -> Vec<&'a Module> {
    let used = |name: &String| said.paths.iter().any(|path| path.first() == Some(name));
    given.iter().filter(|(name, _)| said.handed_on.contains(*name) && !used(name)).map(|(_, path)| path).collect()
}

/// Which file uses which.
pub fn uses_of(modules: &Modules<'_>) -> Uses {
    let behind = |module: &Module, said: &Said| {
        let path = |path: &Module| given_by(module, path).or_else(|| own(modules, module, path));
        said.given.iter().filter_map(|(name, given)| Some((name.clone(), path(given)?))).collect()
    };
    let given: Given = modules.iter().map(|(module, said)| (module.clone(), behind(module, said))).collect();
    let of = |module: &Module, said: &Said| {
        let mut uses: BTreeMap<Module, BTreeSet<String>> = BTreeMap::new();
        let below = said.paths.iter().filter_map(|path| own(modules, module, path));
        let passed = passed_on(said, &given[module]);
        let all = said.uses.iter().map(|used| used.path.clone()).chain(below);
        for path in all.filter(|path| !passed.contains(&path)) {
            let name = path.last().cloned().unwrap_or_default();
            if let Some(home) = home(modules, &given, &path, 0).filter(|home| home != module) {
                uses.entry(home).or_default().insert(name);
            }
        }
        uses
    };
    modules.iter().map(|(module, said)| (module.clone(), of(module, said))).collect()
}

/// The uses that lie on a cycle, as `from -> to: what`: `to` leads back to `from`.
pub fn cycles(uses: &Uses) -> Vec<(Module, Module, String)> {
    let reached = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            let next = uses.get(at).into_iter().flat_map(BTreeMap::keys);
            open.extend(next.filter(|next| seen.insert((*next).clone())));
        }
        seen
    };
    let reached: BTreeMap<_, _> = uses.keys().map(|module| (module, reached(module))).collect();
    let all = uses.iter().flat_map(|(from, to)| to.iter().map(move |(to, names)| (from, to, names)));
    let back = all.filter(|(from, to, _)| reached.get(to).is_some_and(|seen| seen.contains(*from)));
    let words = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    back.map(|(from, to, names)| (from.clone(), to.clone(), words(names))).collect()
}
