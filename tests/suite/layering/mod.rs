//! The architecture, as a test: which module may use which, and which words stay in which rooms.

mod edges;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use uses::{Use, uses};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module that a file is, from the crate's root on.
fn module(src: &Path, path: &Path) -> Vec<String> {
    let inside = path.strip_prefix(src).unwrap().with_extension("");
    let mut names: Vec<String> = inside.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib" || name == "main") {
        names.pop();
    }
    names
}

/// Files that hold nothing but unit tests.
fn is_tests(module: &[String]) -> bool {
    module.iter().any(|name| name == "tests" || name.ends_with("_tests"))
}

/// A crate's files with their modules and what they use.
fn crate_uses(src: &Path) -> Vec<(PathBuf, Vec<String>, Vec<Use>)> {
    let read = |path: PathBuf| {
        let module = module(src, &path);
        let names: Vec<&str> = module.iter().map(String::as_str).collect();
        let found = if is_tests(&module) { Vec::new() } else { uses(&fs::read_to_string(&path).unwrap(), &names) };
        (path, module, found)
    };
    sources(src).into_iter().map(read).collect()
}

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Which top-level module uses which, and a place for each.
fn edges_of(files: &[(PathBuf, Vec<String>, Vec<Use>)]) -> (Edges, BTreeMap<(String, String), String>) {
    let files = || files.iter().filter(|(_, module, _)| !is_tests(module));
    let known: BTreeSet<&str> = files().filter_map(|(_, module, _)| Some(module.first()?.as_str())).collect();
    let (mut edges, mut places) = (Edges::new(), BTreeMap::new());
    for (path, module, uses) in files() {
        let Some(own) = module.first() else { continue };
        edges.entry(own.clone()).or_default();
        for used in uses {
            let target = &used.path[0];
            if known.contains(target.as_str()) && target != own {
                edges.entry(own.clone()).or_default().insert(target.clone());
                let place = || format!("{}:{}", path.display(), used.line);
                places.entry((own.clone(), target.clone())).or_insert_with(place);
            }
        }
    }
    (edges, places)
}

/// What in `found` the list does not allow, and what of the list nobody needs.
fn breaches(found: &Edges, allowed: &[(&str, &[&str])], everywhere: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (module, uses) in found {
        let Some((_, list)) = allowed.iter().find(|(name, _)| name == module) else {
            wrong.push(format!("{module} is not in the list"));
            continue;
        };
        wrong.extend(
            uses.iter()
                .filter(|used| !list.contains(&used.as_str()) && !everywhere.contains(&used.as_str()))
                .map(|used| format!("{module} may not use {used}")),
        );
        wrong.extend(
            list.iter()
                .filter(|name| !uses.contains(**name))
                .map(|name| format!("{module} does not use {name}: take it off the list")),
        );
    }
    wrong
}

/// A circle in the edges, if there is one.
fn circle(edges: &Edges) -> Option<Vec<String>> {
    fn walk(edges: &Edges, at: &str, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        if let Some(from) = path.iter().position(|name| name == at) {
            return Some(path[from..].to_vec());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        path.push(at.to_owned());
        let found = edges.get(at).into_iter().flatten().find_map(|next| walk(edges, next, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| walk(edges, start, &mut Vec::new(), &mut done))
}

fn check(src: &Path, untied: bool, allowed: &[(&str, &[&str])], everywhere: &[&str]) {
    let files = crate_uses(src);
    let (edges, places) = edges_of(&files);
    let wrong: Vec<String> = breaches(&edges, allowed, everywhere);
    let place = |text: &String| {
        let found = places.iter().find(|((from, to), _)| *text == format!("{from} may not use {to}"));
        found.map_or_else(|| text.clone(), |(_, place)| format!("{text} ({place})"))
    };
    assert!(wrong.is_empty(), "{}", wrong.iter().map(place).collect::<Vec<_>>().join("\n"));
    assert!(!untied || circle(&edges).is_none(), "a circle: {:?}", circle(&edges));
}

#[test]
fn modules_use_only_what_the_list_allows() {
    check(&root().join("src"), true, edges::SRC, edges::EVERYWHERE);
}

#[test]
fn modules_of_the_number_crate_use_only_what_the_list_allows() {
    check(&root().join("quant/src"), false, edges::QUANT, &[]);
}

#[test]
fn dialects_and_commands_do_not_know_each_other() {
    for (folder, rooms) in [("src/server", edges::DIALECTS), ("src/cli", edges::COMMANDS)] {
        let name = folder.trim_start_matches("src/");
        for (path, module, uses) in crate_uses(&root().join("src")) {
            let [own_folder, own, ..] = &module[..] else { continue };
            if own_folder != name || !rooms.contains(&own.as_str()) {
                continue;
            }
            for used in uses.iter().filter(|used| used.path[0] == name && used.path.len() > 1) {
                let other = used.path[1].as_str();
                let fine = other == own || !rooms.contains(&other);
                assert!(fine, "{}:{} names its sibling {other}", path.display(), used.line);
            }
        }
    }
}

#[test]
fn words_stay_in_their_rooms() {
    let src = ["src", "quant/src"].map(|folder| sources(&root().join(folder)));
    for path in src.into_iter().flatten() {
        let inside = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for (word, rooms) in edges::WORDS {
            let here = rooms.iter().any(|room| inside.starts_with(room));
            assert!(here || !text.contains(word), "{inside} says {word}");
        }
    }
}

/// Another system is a change in few rooms: what differs is not spread over the code that uses it.
#[test]
fn systems_differ_in_their_rooms() {
    for path in sources(&root().join("src")) {
        let inside = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let here = edges::SYSTEM_ROOMS.iter().any(|room| inside.starts_with(room));
        if here || is_tests(&module(&root().join("src"), &path)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let said: Vec<_> = edges::SYSTEMS.iter().filter(|word| text.contains(**word)).collect();
        assert!(said.is_empty(), "{inside} says {said:?}");
    }
}

/// A program that embeds the library has no flags: messages name a setting (`` `kv_type` ``), and the command line spells it.
#[test]
fn the_library_names_no_flag() {
    let flag = |text: &str| {
        let letter = |at: usize| text[at..].starts_with(|c: char| c.is_ascii_lowercase());
        text.match_indices("--").any(|(at, _)| (at == 0 || text[..at].ends_with([' ', '(', '`'])) && letter(at + 2))
    };
    // The words of what is typed; `pip`'s own flags; flags that a server was started with.
    let rooms = ["src/cli/", "src/config/", "src/server/", "src/store/net/package.rs"];
    for path in sources(&root().join("src")) {
        let inside = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if rooms.iter().any(|room| inside.starts_with(room)) || is_tests(&module(&root().join("src"), &path)) {
            continue;
        }
        let literals = uses::literals(&fs::read_to_string(&path).unwrap());
        // A whole command to type is no message's flag.
        let named: Vec<_> = literals.into_iter().filter(|text| flag(text) && !text.contains("tokki ")).collect();
        assert!(named.is_empty(), "{inside} says {named:?}");
    }
    assert!(flag("use --raw") && flag("--ctx") && flag("(--x)") && !flag("a--b") && !flag("-- "));
}

#[test]
fn no_architecture_is_named_where_things_are_computed() {
    let names = tokki::arch::ARCHITECTURES.iter().map(|(name, _)| name.replace('-', "_"));
    // Words that mean something else, too.
    let names: Vec<String> = names.filter(|name| !["plm"].contains(&name.as_str())).collect();
    for room in ["forward", "kv", "engine"] {
        for path in sources(&root().join("src").join(room)) {
            let text = fs::read_to_string(&path).unwrap().to_lowercase();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let named = names.iter().find(|name| words.contains(name.as_str()));
            assert_eq!(named, None, "{} names an architecture", path.display());
        }
    }
}

/// The standard library leaves these functions to the system's own, which differ in the last bit between Linux, Windows and
/// macOS: what is computed takes them from `libm`.
#[test]
fn functions_that_systems_round_differently_are_libm_s() {
    let own = [
        "ln", "log2", "log10", "exp", "exp2", "exp_m1", "ln_1p", "powf", "powi", "sin", "cos", "sin_cos", "tan", "tanh",
    ];
    let breach = |text: &str| own.iter().find(|name| text.contains(&format!(".{name}("))).copied();
    let rooms =
        ["src/arch", "src/forward", "src/model", "src/kv", "src/engine", "src/sample", "src/server", "quant/src"];
    for path in rooms.iter().flat_map(|room| sources(&root().join(room))) {
        let inside = path.strip_prefix(root()).unwrap().with_extension("");
        let module: Vec<_> = inside.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
        if is_tests(&module) || inside.ends_with("testing") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found: Vec<_> = lines.filter_map(breach).collect();
        assert_eq!(found, [""; 0], "{}", path.display());
    }
    assert_eq!((breach("x.ln()"), breach("libm::logf(x)")), (Some("ln"), None));
}

/// Every kind of breach that a test of lines would not see is seen.
#[test]
fn planted_breaches_are_found() {
    let paths =
        |source: &str| uses(source, &["kv", "page"]).into_iter().map(|used| used.path.join("::")).collect::<Vec<_>>();
    for (source, wanted) in [
        ("use crate::engine::Session;", "engine::Session"),
        ("use crate::{Result, engine::Session};", "engine::Session"),
        ("use crate::{\n    Result,\n    engine::{\n        self,\n        Session,\n    },\n};", "engine"),
        ("#[cfg(test)]\nmod tests { use crate::store; }\nuse crate::cli;", "cli"),
        ("use super::super::engine;", "engine"),
        ("use super::prefix;", "kv::prefix"),
        ("pub use crate::cli::run as walk;", "cli::run"),
        ("use crate::engine::*;", "engine"),
        ("fn f() -> crate::engine::Session { todo() }", "engine::Session"),
        ("fn f() { let x = crate::cli::run(1); }", "cli::run"),
        ("fn f() { println!(\"{}\", crate::cli::NAME); }", "cli::NAME"),
        ("mod inner { use super::super::super::cli::x; }", "cli::x"),
        ("impl crate::engine::Act for X {}", "engine::Act"),
    ] {
        assert!(paths(source).contains(&wanted.to_owned()), "{source}: {:?}", paths(source));
    }
    assert_eq!(
        paths("#[cfg(test)]\nmod tests { use crate::cli; }\n#[cfg(test)]\nuse crate::engine;"),
        Vec::<String>::new()
    );
    let edges = |list: &[(&str, &str)]| {
        let mut edges = Edges::new();
        for (from, to) in list {
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            edges.entry((*to).to_owned()).or_default();
        }
        edges
    };
    let found = edges(&[("a", "b"), ("b", "c"), ("c", "a")]);
    assert_eq!(circle(&found).map(|circle| circle.len()), Some(3));
    assert_eq!(circle(&edges(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let allowed: &[(&str, &[&str])] = &[("a", &["b", "d"]), ("b", &[])];
    assert_eq!(
        breaches(&found, allowed, &["text"]),
        ["a does not use d: take it off the list", "b may not use c", "c is not in the list",]
    );
}
