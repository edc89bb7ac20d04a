//! The architecture, as a test: which module may use which, and which words stay in which modules.

mod cycles;
mod edges;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use uses::{Said, given_by_root, said, uses};

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
    if names.last().is_some_and(|name| name == "mod" || name == "lib") {
        names.pop();
    }
    names
}

/// Files that hold nothing but unit tests.
fn is_tests(module: &[String]) -> bool {
    module.iter().any(|name| name == "tests" || name.ends_with("_tests"))
}

/// A file of a crate, without its unit tests.
struct File {
    path: PathBuf,
    /// Below the root of the repository.
    inside: String,
    module: Vec<String>,
    said: Said,
}

/// A crate's files but those of unit tests.
fn files(src: &Path) -> Vec<File> {
    let read = |path: PathBuf| {
        let module = module(src, &path);
        let names: Vec<&str> = module.iter().map(String::as_str).collect();
        let said = said(&fs::read_to_string(&path).unwrap(), &names);
        let inside = path.strip_prefix(root()).map_or(path.clone(), Path::to_owned);
        File { inside: inside.to_str().unwrap().to_owned(), path, module, said }
    };
    sources(src).into_iter().filter(|path| !is_tests(&module(src, path))).map(read).collect()
}

/// The files of both crates.
fn all_files() -> Vec<File> {
    ["src", "quant/src"].iter().flat_map(|folder| files(&root().join(folder))).collect()
}

type Edges = BTreeMap<String, BTreeSet<String>>;

/// The row of the list that a path from the crate's root on belongs to: that of a module within a module, or the module's.
fn row(path: &[String], modules: &[&str]) -> String {
    let parts = (2..=path.len()).rev().map(|n| path[..n].join("::"));
    parts.into_iter().find(|part| modules.contains(&part.as_str())).unwrap_or_else(|| path[0].clone())
}

/// Which module uses which (`given`: the module behind each name that the root gives), and a place for each. Those of the
/// crate's root count, and the `modules` within them that have a row of their own; `tokki_quant` counts as a module; what names
/// `crate` itself hides what it uses.
fn edges_of(
    files: &[File],
    given: &[(String, Vec<String>)],
    modules: &[&str],
) -> (Edges, BTreeMap<(String, String), String>) {
    let mut known: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.module.first()?.as_str())).collect();
    known.extend(["tokki_quant", "crate"]);
    let (mut edges, mut places) = (Edges::new(), BTreeMap::new());
    for file in files {
        if file.module.is_empty() {
            continue;
        }
        let own = row(&file.module, modules);
        let uses = edges.entry(own.clone()).or_insert_with(BTreeSet::new);
        let elsewhere = file.said.paths.iter().filter_map(|path| match path[0].as_str() {
            "tokki_quant" => Some((&path[..], 1)),
            // The command, which is a crate of its own.
            "tokki" => path.get(1..).filter(|rest| !rest.is_empty()).map(|rest| (rest, 1)),
            _ => None,
        });
        for (path, line) in file.said.uses.iter().map(|used| (&used.path[..], used.line)).chain(elsewhere) {
            let behind = given.iter().find(|(name, _)| *name == path[0]).map_or(path, |(_, path)| path);
            let behind_row = row(behind, modules);
            if known.contains(behind[0].as_str()) && behind_row != own {
                uses.insert(behind_row.clone());
                let place = || format!("{}:{line}", file.path.display());
                places.entry((own.clone(), behind_row)).or_insert_with(place);
            }
        }
    }
    (edges, places)
}

/// What in `found` the list does not allow, and what of the list no module needs.
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

/// A cycle in the edges, if there is one.
fn cycle(edges: &Edges) -> Option<Vec<String>> {
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

fn check(src: &Path, allowed: &[(&str, &[&str])], everywhere: &[&str]) {
    let given = given_by_root(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let modules: Vec<&str> = allowed.iter().map(|(name, _)| *name).filter(|name| name.contains("::")).collect();
    let (edges, places) = edges_of(&files(src), &given, &modules);
    let wrong: Vec<String> = breaches(&edges, allowed, everywhere);
    let place = |text: &String| {
        let found = places.iter().find(|((from, to), _)| *text == format!("{from} may not use {to}"));
        found.map_or_else(|| text.clone(), |(_, place)| format!("{text} ({place})"))
    };
    assert!(wrong.is_empty(), "{}", wrong.iter().map(place).collect::<Vec<_>>().join("\n"));
    assert!(cycle(&edges).is_none(), "a cycle: {:?}", cycle(&edges));
}

#[test]
fn modules_use_only_what_the_list_allows() {
    check(&root().join("src"), edges::SRC, edges::EVERYWHERE);
}

#[test]
fn modules_of_the_number_crate_use_only_what_the_list_allows() {
    check(&root().join("quant/src"), edges::QUANT, &[]);
}

/// The cycles between the files of `files`, but those within modules that are still to be untied.
fn cycles_but_known(files: &[File], known: &[(&[&str], &str)]) -> Vec<String> {
    let modules = files.iter().map(|file| (file.module.clone(), &file.said)).collect();
    let found = cycles::cycles(&cycles::uses_of(&modules));
    let here = |file: &[String], module: &str| format!("{}::", file.join("::")).starts_with(&format!("{module}::"));
    let within = |modules: &[&str], file: &[String]| modules.iter().any(|module| here(file, module));
    let is_known =
        |a: &[String], b: &[String]| known.iter().any(|(modules, _)| within(modules, a) && within(modules, b));
    let left = found.iter().filter(|(a, b, _)| !is_known(a, b));
    let unneeded =
        known.iter().filter(|(modules, _)| !found.iter().any(|(a, b, _)| within(modules, a) && within(modules, b)));
    left.map(|(a, b, what)| format!("{} uses {what} of {}, which leads back", a.join("::"), b.join("::")))
        .chain(unneeded.map(|(modules, _)| format!("{modules:?} has no cycle: take it off the list")))
        .collect()
}

#[test]
fn files_do_not_use_each_other_in_cycles() {
    for (folder, known) in [("src", edges::CYCLES_OF_SRC), ("quant/src", edges::CYCLES_OF_QUANT)] {
        let wrong = cycles_but_known(&files(&root().join(folder)), known);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn planted_cycles_are_found() {
    let found = |sources: &[(&str, &str)]| {
        let file = |(module, source): &(&str, &str)| {
            let module: Vec<String> = module.split("::").map(str::to_owned).collect();
            let names: Vec<&str> = module.iter().map(String::as_str).collect();
            File { path: PathBuf::new(), inside: String::new(), said: said(source, &names), module }
        };
        cycles_but_known(&sources.iter().map(file).collect::<Vec<_>>(), &[])
    };
    // Two siblings; by a path in a body; through what their parent hands on; a child that names its parent's own.
    for sources in [
        &[("a::b", "use super::c::X;"), ("a::c", "use super::b::Y;")][..],
        &[("a::b", "fn f() { crate::a::c::g() }"), ("a::c", "use super::b::Y;")],
        &[("a", "mod b; mod c; pub use b::Y;"), ("a::b", "use super::c::X;"), ("a::c", "use super::Y;")],
        &[("a", "mod b; use b::Y; struct Own(Y);"), ("a::b", "use super::Own;")],
        &[("a", "mod b; fn f() { b::g() }"), ("a::b", "use super::Own;")],
    ] {
        assert_eq!(found(sources).len(), if sources.len() == 3 { 2 } else { sources.len() }, "{sources:?}");
    }
    // Who may see something is no use of it, within a macro either; and a module within one is where its paths begin.
    for sources in [
        &[("a", "mod b; fn f() { b::g() }"), ("a::b", "m! { pub(super) fn g() {} }")][..],
        &[("a", "mod b; fn f() { b::g() }"), ("a::b", "macro_rules! m { () => { mod own { use super::*; } } }")],
    ] {
        assert_eq!(found(sources), [""; 0], "{sources:?}");
    }
    // What is only handed on is no use, nor is who may see something, nor what a unit test names.
    for sources in [
        &[("a", "mod b; pub use b::Y; struct Own;"), ("a::b", "use super::Own;")][..],
        &[("a", "mod b; use b::Y; struct Own(Y);"), ("a::b", "pub(super) struct Y;")],
        &[("a::b", "#[cfg(test)]\nmod tests { use crate::a::c::X; }"), ("a::c", "use super::b::Y;")],
    ] {
        assert_eq!(found(sources), [""; 0], "{sources:?}");
    }
}

/// Names of types that several files of a crate give to what others may name, but for those that are known.
fn doubled(files: &[File], known: &[&str]) -> Vec<String> {
    let mut homes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files {
        file.said.types.iter().for_each(|name| homes.entry(name).or_default().push(file.module.join("::")));
    }
    homes.retain(|_, homes| homes.len() > 1);
    let new = homes.iter().filter(|(name, _)| !known.contains(*name));
    let gone = known.iter().filter(|name| !homes.contains_key(**name));
    new.map(|(name, homes)| format!("{name} is a type of {}: give each a name of its own", homes.join(" and of ")))
        .chain(gone.map(|name| format!("{name} is one type: take it off the list")))
        .collect()
}

#[test]
fn a_name_that_leaves_its_file_is_one_type_s() {
    for (folder, known) in [("src", edges::DOUBLED), ("quant/src", &[][..])] {
        let wrong = doubled(&files(&root().join(folder)), known);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    let file = |module: &str, source: &str| File {
        path: PathBuf::new(),
        inside: String::new(),
        module: vec![module.to_owned()],
        said: said(source, &[module]),
    };
    let planted = [file("a", "pub struct Plan; struct Row;"), file("b", "pub(super) enum Plan {} struct Row;")];
    assert_eq!(doubled(&planted, &[]), ["Plan is a type of a and of b: give each a name of its own"]);
    assert_eq!(doubled(&planted, &["Plan"]), [""; 0]);
    let hidden = [file("a", "#[cfg(test)]\npub struct Plan;"), file("b", "pub type Plan = u8;")];
    assert_eq!(doubled(&hidden, &["Plan"]), ["Plan is one type: take it off the list"]);
}

/// Names of constants that mean one thing in one file and another in another, but for those that are known.
fn ambiguous(files: &[File], known: &[&str]) -> Vec<String> {
    let mut meanings: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for file in files {
        for (name, meaning) in file.said.constants.iter().filter(|(name, _)| name != "_") {
            meanings.entry(name).or_default().entry(meaning).or_insert_with(|| file.module.join("::"));
        }
    }
    meanings.retain(|_, homes| homes.len() > 1);
    let new = meanings.iter().filter(|(name, _)| !known.contains(*name));
    let homes = |homes: &BTreeMap<&str, String>| homes.values().cloned().collect::<Vec<_>>().join(" and in ");
    let gone = known.iter().filter(|name| !meanings.contains_key(**name));
    new.map(|(name, found)| format!("{name} means several things, in {}: give each a name of its own", homes(found)))
        .chain(gone.map(|name| format!("{name} means one thing: take it off the list")))
        .collect()
}

#[test]
fn a_constant_s_name_has_one_meaning() {
    for (folder, known) in [("src", edges::CONSTANTS), ("quant/src", edges::CONSTANTS_OF_QUANT)] {
        let wrong = ambiguous(&files(&root().join(folder)), known);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    let file = |module: &str, source: &str| File {
        path: PathBuf::new(),
        inside: String::new(),
        module: vec![module.to_owned()],
        said: said(source, &[module]),
    };
    let planted = |a, b| ambiguous(&[file("a", a), file("b", b)], &[]);
    for (a, b) in [
        ("const MAX: usize = 1 << 20;", "pub(crate) const MAX: usize = 4 << 20;"),
        ("const COLUMNS: usize = 4;", "static COLUMNS: u64 = 4;"),
    ] {
        assert_eq!(planted(a, b).len(), 1, "{a} {b}");
    }
    for (a, b) in [
        ("const MAX: usize = 8;", "const MAX: usize = 8;"),
        ("const MAX: usize = 8;", "fn f() { const MAX: usize = 9; }"),
        ("const MAX: usize = 8;", "#[cfg(test)]\nconst MAX: usize = 9;"),
    ] {
        assert_eq!(planted(a, b), [""; 0], "{a} {b}");
    }
    assert_eq!(ambiguous(&[], &["MAX"]), ["MAX means one thing: take it off the list"]);
}

/// The page of the architecture shows the same lists.
#[test]
fn the_page_of_the_architecture_has_the_lists() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let names = |list: &[&str]| list.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for (title, list) in [("### Modules of tokki\n", edges::SRC), ("### Modules of tokki-quant\n", edges::QUANT)] {
        let section = page.split(title).nth(1).unwrap_or_else(|| panic!("no section {title}"));
        let shown: Vec<&str> = section.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2).collect();
        let wanted: Vec<String> = list.iter().map(|(name, uses)| format!("| `{name}` | {} |", names(uses))).collect();
        assert_eq!(shown, wanted, "{title}{}", wanted.join("\n"));
    }
}

#[test]
fn dialects_and_commands_do_not_know_each_other() {
    let table = fs::read_to_string(root().join("src/cli/mod.rs")).unwrap();
    let rows = table.split("\ncommands! {").nth(1).unwrap().split('}').next().unwrap();
    let commands: Vec<&str> = rows.lines().filter_map(|row| row.split(" = ").nth(1)?.split("::").next()).collect();
    assert!(commands.len() > 20 && commands.contains(&"run"), "{commands:?}");
    for (name, modules, known) in
        [("server", edges::DIALECTS, &[][..]), ("cli", commands.as_slice(), edges::COMMANDS_KNOW)]
    {
        for file in files(&root().join("src")) {
            let [folder, own, ..] = &file.module[..] else { continue };
            if folder != name || !modules.contains(&own.as_str()) {
                continue;
            }
            for used in file.said.uses.iter().filter(|used| used.path[0] == name && used.path.len() > 1) {
                let other = used.path[1].as_str();
                let fine = other == own || !modules.contains(&other) || known.contains(&(own, other));
                assert!(fine, "{}:{} names its sibling {other}", file.inside, used.line);
            }
        }
    }
}

/// Whether a source says a word: a name, a path, or with `*` at the end a name that begins so.
fn says(said: &Said, word: &str) -> bool {
    let path = |path: &str, beginning: &str| path == beginning || path.starts_with(&format!("{beginning}::"));
    match word.strip_suffix('*') {
        Some(beginning) => said.names.iter().any(|name| name.starts_with(beginning)),
        None if word.contains("::") => said.names.iter().any(|name| path(name, word)),
        None => said.names.contains(word),
    }
}

#[test]
fn words_stay_in_their_modules() {
    let mut wrong = Vec::new();
    for file in all_files() {
        for (word, modules) in edges::WORDS {
            let here = modules.iter().any(|module| file.inside.starts_with(module));
            wrong.extend((!here && says(&file.said, word)).then(|| format!("{} says {word}", file.inside)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Another system is a change in few modules: what differs is not spread over the code that uses it.
#[test]
fn systems_differ_in_their_modules() {
    for file in files(&root().join("src")) {
        let here = edges::SYSTEM_MODULES.iter().any(|module| file.inside.starts_with(module));
        if here {
            continue;
        }
        let words = edges::SYSTEMS.iter().filter(|word| says(&file.said, word));
        let switches = edges::SYSTEM_SWITCHES.iter().filter(|word| file.said.switches.contains(**word));
        let places = edges::SYSTEM_PLACES.iter();
        let places = places.filter(|place| file.said.texts.iter().any(|text| text.starts_with(**place)));
        let found: Vec<_> = words.chain(switches).chain(places).collect();
        assert!(found.is_empty(), "{} says {found:?}", file.inside);
    }
}

/// A format is one file: it knows no other one.
#[test]
fn formats_do_not_know_each_other() {
    let siblings = |files: &[File]| {
        let mut wrong = Vec::new();
        for file in files {
            let [module, own] = &file.module[..] else { continue };
            for used in file.said.uses.iter().filter(|used| module == "formats" && used.path[0] == "formats") {
                let other = used.path.get(1).map_or("", String::as_str);
                let is_file = files.iter().any(|file| file.module[..] == ["formats", other]);
                if is_file && other != own && !edges::PARTS_OF_FORMATS.contains(&other) {
                    wrong.push(format!("{own} knows {other}"));
                }
            }
        }
        wrong
    };
    assert_eq!(siblings(&files(&root().join("quant/src"))), [""; 0]);
    let file = |name: &str, source: &str| File {
        path: PathBuf::new(),
        inside: String::new(),
        module: vec!["formats".to_owned(), name.to_owned()],
        said: said(source, &["formats", name]),
    };
    let planted = [file("a", "use super::b::scale;"), file("b", "use super::bits::low;"), file("bits", "")];
    assert_eq!(siblings(&planted), ["a knows b"]);
}

/// What is called tests is compiled for tests alone: it is not looked at.
#[test]
fn tests_are_no_part_of_the_crates() {
    for file in all_files() {
        let tests: Vec<_> = file.said.modules.iter().filter(|name| is_tests(&[(*name).clone()])).collect();
        assert!(tests.is_empty(), "{}: {tests:?} without #[cfg(test)]", file.inside);
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
    let modules = ["src/cli/", "src/config/", "src/server/", "src/store/net/package.rs"];
    for file in files(&root().join("src")) {
        if modules.iter().any(|module| file.inside.starts_with(module)) {
            continue;
        }
        // A whole command to type is no message's flag.
        let named: Vec<_> = file.said.texts.iter().filter(|text| flag(text) && !text.contains("tokki ")).collect();
        assert!(named.is_empty(), "{} says {named:?}", file.inside);
    }
    assert!(flag("use --raw") && flag("--ctx") && flag("(--x)") && !flag("a--b") && !flag("-- "));
}

#[test]
fn architectures_are_named_by_rows_of_tables_alone() {
    // Words of a name: `is_phi3`, `GptOssThing` and `"gpt-oss"` are several.
    fn words(name: &str) -> Vec<String> {
        let spaced = |c: char| [Some(' ').filter(|_| c.is_uppercase()), Some(c)];
        let spaced: String = name.chars().flat_map(spaced).flatten().collect();
        let parts = spaced.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
        parts.map(str::to_lowercase).collect()
    }
    // Words that mean something else, too.
    let names = tokki::internals::arch::ARCHITECTURES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !edges::ALSO_WORDS.contains(name));
    let names: Vec<Vec<String>> = names.chain(edges::FAMILIES.iter().copied()).map(words).collect();
    let named = |said: &Said| {
        let texts = said.names.iter().chain(&said.texts);
        let found = |text: &&String| {
            let text = edges::NO_FAMILIES.iter().fold((*text).clone(), |text, other| text.replace(other, " "));
            let words = words(&text);
            names.iter().any(|name| words.windows(name.len()).any(|part| part == name.as_slice()))
        };
        texts.into_iter().find(found).cloned()
    };
    let found: Vec<(String, String)> =
        all_files().into_iter().filter_map(|file| named(&file.said).map(|name| (file.inside, name))).collect();
    let allowed = |file: &str| edges::NAMED.iter().any(|(module, _)| file.starts_with(module));
    let wrong: Vec<_> = found.iter().filter(|(file, _)| !allowed(file)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    for (module, _) in edges::NAMED {
        assert!(found.iter().any(|(file, _)| file.starts_with(module)), "{module} names none: take it off the list");
    }
    for source in [
        "fn is_phi3() {}",
        "struct GptOssThing;",
        "fn f() { x(gpt_oss); }",
        "fn f() { m!(a.phi3); }",
        "fn f() { if arch == \"gpt-oss\" {} }",
        "fn f() { m!(\"phi3\"); }",
        "mod mixtral;",
    ] {
        assert!(named(&said(source, &[])).is_some(), "{source}");
    }
    for source in ["fn f() { say(\"merge them with llama.cpp\") }", "mod llama_server;"] {
        assert_eq!(named(&said(source, &[])), None, "{source}");
    }
}

/// Tensors are named once, by the table of their roles: what reads one names the role.
#[test]
fn tensors_are_named_by_their_roles() {
    // Names with a mark in them; a word alone may mean anything.
    let stems: BTreeSet<&str> = tokki::internals::arch::Role::ALL
        .iter()
        .map(|role| role.stem())
        .filter(|stem| stem.contains(['_', '.']))
        .collect();
    let spelled = |said: &Said| {
        let is_stem = |word: &str| stems.iter().any(|stem| word == *stem || word.ends_with(&format!(".{stem}")));
        let is_name = |word: &str| {
            let bare = [".weight", ".bias", ".scale"].iter().find_map(|end| word.strip_suffix(end));
            is_stem(word) || bare.is_some_and(is_stem)
        };
        let has_name =
            |text: &&String| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).any(is_name);
        said.texts.iter().find(has_name).cloned()
    };
    let files = all_files()
        .into_iter()
        .filter(|file| edges::TENSORS_UNNAMED.iter().any(|module| file.inside.starts_with(module)));
    let wrong: Vec<_> =
        files.filter_map(|file| Some(format!("{} says {}", file.inside, spelled(&file.said)?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for source in [
        "fn f() { scope.product(\"attn_q\") }",
        "fn f() { gguf.tensor(\"blk.0.ffn_up.weight\") }",
        "fn f() { format!(\"blk.{layer}.exp_probs_b.bias\") }",
        "fn f() { m!(\"token_embd has no rows\") }",
    ] {
        assert!(spelled(&said(source, &[])).is_some(), "{source}");
    }
    assert_eq!(spelled(&said("fn f() { say(\"the output\") }", &[])), None);
}

/// What depends on how weights are stored is asked of the table of formats: only recipes of files, and what is tried before there
/// is a model, name one.
#[test]
fn formats_of_blocks_are_named_by_recipes_alone() {
    // Those of single numbers are types of the language and kinds of caches, too.
    let blocks = tokki_quant::dtype::DType::ALL.iter().filter(|dtype| dtype.block_len() > 1);
    let names: BTreeSet<String> = blocks.flat_map(|dtype| [format!("{dtype:?}"), dtype.to_string()]).collect();
    assert!(names.contains("Q4K") && names.contains("Q4_K") && names.contains("MXFP4"), "{names:?}");
    let named = |said: &Said| said.names.iter().chain(&said.texts).find(|name| names.contains(*name)).cloned();
    let others = all_files()
        .into_iter()
        .filter(|file| !edges::FORMATS_NAMED.iter().any(|module| file.inside.starts_with(module)));
    let wrong: Vec<_> =
        others.filter_map(|file| Some(format!("{} says {}", file.inside, named(&file.said)?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for source in [
        "fn f(d: DType) -> bool { d == DType::Q4K }",
        "fn f() { m!(tokki_quant::dtype::DType::NVFP4) }",
        "use DType as D; fn f() { D::Q6K; }",
        "use DType::*; fn f() { matches!(d, Q6K) }",
        "fn f() { d.name() == \"Q4_K\" }",
    ] {
        assert!(named(&said(source, &[])).is_some(), "{source}");
    }
    assert!(named(&said("fn f() { DType::F32; DType::from_gguf(1); say(\"like Q4_K\") }", &[])).is_none());
}

/// Instruction sets are named by the table of them: everything else asks what one can do.
#[test]
fn instruction_sets_are_named_by_their_table() {
    let table = fs::read_to_string(root().join("quant/src/isa/levels.rs")).unwrap();
    let word = |text: &String| text.len() > 2 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let levels: BTreeSet<String> = said(&table, &[]).texts.into_iter().filter(word).collect();
    assert!(["scalar", "sse41", "avx512vnni", "amx", "neon"].iter().all(|name| levels.contains(*name)), "{levels:?}");
    let named = |said: &Said| said.texts.iter().find(|text| levels.contains(*text)).cloned();
    let processors = |said: &Said| said.switches.contains("target_arch") || said.switches.contains("target_feature");
    for file in all_files().into_iter().filter(|file| !file.inside.starts_with("quant/src/isa/")) {
        assert_eq!(named(&file.said), None, "{}", file.inside);
        let known = edges::PROCESSORS_NAMED.iter().any(|(module, _)| file.inside.starts_with(module));
        assert_eq!(processors(&file.said), known, "{}: {:?}", file.inside, file.said.switches);
    }
    for source in ["fn f() { isa.name() == \"avx2\" }", "fn f() { m!(\"scalar\") }"] {
        assert!(named(&said(source, &[])).is_some(), "{source}");
    }
    for source in ["#[cfg(target_arch = \"x86_64\")] fn f() {}", "fn f() { if cfg!(target_feature = \"avx2\") {} }"] {
        assert!(processors(&said(source, &[])), "{source}");
    }
}

/// The standard library leaves these functions to the system's own, which differ in the last bit between Linux, Windows and
/// macOS: what is computed takes them from `libm`.
#[test]
fn functions_that_systems_round_differently_are_libm_s() {
    let own = [
        "ln", "log", "log2", "log10", "exp", "exp2", "exp_m1", "ln_1p", "powf", "powi", "sin", "cos", "sin_cos", "tan",
        "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "cbrt", "hypot",
    ];
    let breach = |said: &Said| {
        own.iter().copied().find(|name| {
            let path = |of: &str| said.names.contains(&format!("{of}::{name}"));
            said.methods.contains(*name) || path("f32") || path("f64")
        })
    };
    for file in all_files().iter().filter(|file| edges::COMPUTE.iter().any(|module| file.inside.starts_with(module))) {
        assert_eq!(breach(&file.said), None, "{}", file.inside);
    }
    let breach = |source: &str| breach(&said(source, &[]));
    for source in ["fn f() { x.ln() }", "fn f() { f32::ln(x) }", "fn f() { vec![x.ln()] }", "fn f() { map(f32::ln) }"] {
        assert_eq!(breach(source), Some("ln"), "{source}");
    }
    assert_eq!(breach("fn f() { libm::logf(x); log(1) }"), None);
}

/// Files beside a folder of their name: a module that has files of its own is `mod.rs` in its folder.
fn beside_their_folders(files: &[PathBuf]) -> Vec<&PathBuf> {
    let has_folder = |file: &&PathBuf| {
        let folder = file.with_extension("");
        files.iter().any(|other| other.parent() == Some(&folder))
    };
    files.iter().filter(has_folder).collect()
}

#[test]
fn modules_with_files_of_their_own_are_mod_rs() {
    let folders = ["src", "tests/suite", "quant/src", "quant/tests"];
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| sources(&root().join(folder))).collect();
    assert_eq!(beside_their_folders(&files), Vec::<&PathBuf>::new());
    let planted = ["a/mod.rs", "a/b.rs", "a/b/c.rs", "a/d.rs"].map(PathBuf::from);
    assert_eq!(beside_their_folders(&planted), [Path::new("a/b.rs")]);
}

/// Tests of the command start it by one launcher.
#[test]
fn the_command_is_started_in_one_place() {
    let folder = root().join("tests");
    let starts =
        |source: &str| source.contains(concat!("CARGO_BIN", "_EXE")) || source.contains(concat!("cargo", "_bin"));
    for path in sources(&folder).into_iter().filter(|path| !path.ends_with("launch.rs")) {
        assert!(!starts(&fs::read_to_string(&path).unwrap()), "{} starts the command itself", path.display());
    }
    assert!(starts(&fs::read_to_string(folder.join("suite/launch.rs")).unwrap()), "it is elsewhere");
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
    for (source, word) in [
        ("use std::{fs, os::fd};", "std::os"),
        ("use core::{arch::x86_64};", "core::arch"),
        ("fn f() { ::libc::kill(1, 2) }", "libc"),
        ("fn f() { say!(std::net::UdpSocket::bind(x)) }", "UdpSocket"),
        ("#[cfg(test)]\nfn early() {}\nuse std::os::fd;", "std::os"),
        ("fn f() { _mm_add_ps(a, b) }", "_mm*"),
        ("use std::process;\nfn f() { process::Command::new(x) }", "std::process::Command"),
        ("use std::env as e;\nfn f() { e::consts::OS }", "std::env::consts"),
    ] {
        assert!(says(&said(source, &[]), word), "{source}");
    }
    for source in [
        "#[cfg(not(windows))]\nfn f() {}",
        "#[cfg(all(unix, debug))]\nuse a::b;",
        "fn f() { if cfg!(target_family = \"unix\") {} }",
        "fn f() { m!(cfg!(unix)) }",
    ] {
        assert!(edges::SYSTEM_SWITCHES.iter().any(|word| said(source, &[]).switches.contains(*word)), "{source}");
    }
    assert_eq!(said("mod hidden_tests;\n#[cfg(test)]\nmod tests;", &[]).modules, ["hidden_tests"]);
    // What hides the others.
    for source in [
        "use crate as root;",
        "use crate::{self as root};",
        "use crate::*;",
        "use super::super::*;",
        "extern crate self as me;",
        "#[path = \"../cli/run.rs\"]\nmod elsewhere;",
        "include!(\"../cli/run.rs\");",
    ] {
        assert!(paths(source).contains(&"crate".to_owned()), "{source}: {:?}", paths(source));
    }
    let given = given_by_root("pub use engine::{Llm, Watch as Observer};\npub use crate::a::B;");
    let given: Vec<_> = given.iter().map(|(name, path)| (name.as_str(), path.join("::"))).collect();
    assert_eq!(given, [("Llm", "engine::Llm".into()), ("Observer", "engine::Watch".into()), ("B", "a::B".into())]);
    let file = |module: &str, source: &str| File {
        path: PathBuf::new(),
        inside: String::new(),
        module: vec![module.to_owned()],
        said: said(source, &[module]),
    };
    let files = [file("engine", ""), file("kv", "use crate::Llm; fn f() { tokki_quant::x() }")];
    let given = [("Llm".to_owned(), vec!["engine".to_owned(), "Llm".to_owned()])];
    assert_eq!(Vec::from_iter(&edges_of(&files, &given, &[]).0["kv"]), ["engine", "tokki_quant"]);
    let inner = |name: &str, source: &str| File {
        path: PathBuf::new(),
        inside: String::new(),
        module: vec!["store".to_owned(), name.to_owned()],
        said: said(source, &["store", name]),
    };
    let files = [inner("net", "use super::Store; use super::disk::free; use crate::store::net::x;"), inner("disk", "")];
    let (modules, _) = edges_of(&files, &[], &["store::net", "store::disk"]);
    assert_eq!(Vec::from_iter(&modules["store::net"]), ["store", "store::disk"]);
    let edges = |list: &[(&str, &str)]| {
        let mut edges = Edges::new();
        for (from, to) in list {
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            edges.entry((*to).to_owned()).or_default();
        }
        edges
    };
    let found = edges(&[("a", "b"), ("b", "c"), ("c", "a")]);
    assert_eq!(cycle(&found).map(|cycle| cycle.len()), Some(3));
    assert_eq!(cycle(&edges(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let allowed: &[(&str, &[&str])] = &[("a", &["b", "d"]), ("b", &[])];
    assert_eq!(
        breaches(&found, allowed, &["text"]),
        ["a does not use d: take it off the list", "b may not use c", "c is not in the list",]
    );
}
