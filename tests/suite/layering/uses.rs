//! Which modules a source uses: every path in it, whatever it is written in; and which other words it says.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A path that a source names, from the crate's root on, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub path: Vec<String>,
    pub line: usize,
}

/// What a source says outside of its unit tests.
#[derive(Debug, Default)]
pub struct Said {
    /// Paths from the root of the crate on: what begins with `crate`, `super` or `self`. `use crate as x`, which would hide
    /// the others, is the path `crate`.
    pub uses: Vec<Use>,
    /// Paths as they are written, with what stands before a group in front of each of its parts.
    pub paths: Vec<Vec<String>>,
    /// Every name, and every path joined by `::`.
    pub names: BTreeSet<String>,
    /// Methods that are called.
    pub methods: BTreeSet<String>,
    /// Names within `cfg(...)`, `cfg_attr(...)` and `cfg!(...)`.
    pub switches: BTreeSet<String>,
    /// Texts in quotes, but those of documentation.
    pub texts: BTreeSet<String>,
    /// Modules that are compiled into the crate.
    pub modules: Vec<String>,
    /// The names that `use` gives, each with its path as it is written.
    pub given: Vec<(String, Vec<String>)>,
    /// Those of them that are given to others, too.
    pub handed_on: BTreeSet<String>,
    /// Types and traits of the file that others may name.
    pub types: BTreeSet<String>,
    /// Constants of the file, each with its type and value as they are written.
    pub constants: Vec<(String, String)>,
}

impl Said {
    /// Paths that begin with a name that a `use` gives, from where that leads to on.
    fn resolved(&self) -> Vec<String> {
        let behind = |path: &Vec<String>| {
            let (_, whole) = self.given.iter().find(|(name, whole)| *name == path[0] && whole[..] != path[..1])?;
            Some(whole.iter().chain(&path[1..]).map(String::as_str).collect::<Vec<_>>().join("::"))
        };
        self.paths.iter().filter_map(behind).collect()
    }
}

/// What `source`, which is module `module` of its crate, says; unit tests are left out, and nothing else is.
pub fn said(source: &str, module: &[&str]) -> Said {
    let file = syn::parse_file(source).unwrap_or_else(|why| panic!("{}: {why}", module.join("::")));
    let module = module.iter().map(|name| (*name).to_owned()).collect();
    let mut found = Finder { module, inside: 0, said: Said::default() };
    found.visit_file(&file);
    found.said.names.extend(found.said.paths.iter().map(|path| path.join("::")));
    let resolved = found.said.resolved();
    found.said.names.extend(resolved);
    found.said.texts.extend(literals(source));
    let items = file.items.iter().filter(|item| !for_tests(attributes(item)));
    found.said.constants.extend(items.filter_map(constant));
    found.said
}

/// All paths that `source`, which is module `module` of its crate, names from `crate`, `super` or `self`.
pub fn uses(source: &str, module: &[&str]) -> Vec<Use> {
    said(source, module).uses
}

/// The path of a `use` line of `module`, from the crate's root on; `None` for one that does not begin there.
pub fn given_by(module: &[String], path: &[String]) -> Option<Vec<String>> {
    Finder { module: module.to_vec(), inside: 0, said: Said::default() }.absolute(path)
}

/// The names that a tree of a `use` line gives, with their paths.
fn names(tree: &syn::UseTree, before: &[String], into: &mut Vec<(String, Vec<String>)>) {
    let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
    match tree {
        syn::UseTree::Path(path) => names(&path.tree, &with(&path.ident), into),
        syn::UseTree::Name(name) => into.push((name.ident.to_string(), with(&name.ident))),
        syn::UseTree::Rename(name) => into.push((name.rename.to_string(), with(&name.ident))),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| names(tree, before, into)),
        syn::UseTree::Glob(_) => {}
    }
}

/// The names that the root of a crate gives to things of its modules.
pub fn given_by_root(source: &str) -> Vec<(String, Vec<String>)> {
    let mut given = Vec::new();
    for item in syn::parse_file(source).unwrap().items {
        if let syn::Item::Use(item) = item {
            names(&item.tree, &[], &mut given);
        }
    }
    given.iter_mut().filter(|(_, path)| path[0] == "crate").for_each(|(_, path)| drop(path.remove(0)));
    given
}

struct Finder {
    module: Vec<String>,
    /// How many modules of the file it is in.
    inside: usize,
    said: Said,
}

impl Finder {
    /// `path` as it stands in the source, from the root of the crate on; `None` for one that does not begin there.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut at = match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        let mut rest = path;
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rest = more;
        }
        at.extend_from_slice(rest);
        Some(at)
    }

    fn note(&mut self, path: &[String], line: usize) {
        self.said.names.extend(path.iter().cloned());
        self.said.paths.push(path.to_vec());
        match self.absolute(path) {
            // All of the root.
            Some(path) if path.is_empty() => self.hide(line),
            Some(path) => self.said.uses.push(Use { path, line }),
            None => {}
        }
    }

    /// Notes what hides the paths that are used: other names for the root, all of its names, another file's text.
    fn hide(&mut self, line: usize) {
        self.said.uses.push(Use { path: vec!["crate".into()], line });
    }

    /// The names within a `cfg`.
    fn switches(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.switches(group.stream()),
                TokenTree::Ident(name) => drop(self.said.switches.insert(name.to_string())),
                _ => {}
            }
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(before, name.ident.span().start().line),
            syn::UseTree::Name(name) => self.note(&with(&name.ident), name.ident.span().start().line),
            syn::UseTree::Rename(name) if name.ident == "self" => self.note(before, name.ident.span().start().line),
            syn::UseTree::Rename(name) => self.note(&with(&name.ident), name.ident.span().start().line),
            syn::UseTree::Glob(glob) => self.note(before, glob.star_token.spans[0].start().line),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
        }
    }

    /// Paths within a macro, which are tokens only.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at..] {
                // Who may see something is no use of it.
                [TokenTree::Ident(word), TokenTree::Group(_), ..] if word == "pub" => at += 1,
                [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(group), ..] if word == "mod" => {
                    self.module.push(name.to_string());
                    self.tokens(group.stream());
                    self.module.pop();
                    at += 2;
                }
                [TokenTree::Group(group), ..] => self.tokens(group.stream()),
                [TokenTree::Ident(first), ..] => {
                    let line = first.span().start().line;
                    let mut path = vec![first.to_string()];
                    if at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(dot) if dot.as_char() == '.') {
                        self.said.methods.insert(first.to_string());
                    }
                    if let ("cfg", [TokenTree::Punct(_), TokenTree::Group(group), ..] | [TokenTree::Group(group), ..]) =
                        (path[0].as_str(), &tokens[at + 1..])
                    {
                        self.switches(group.stream());
                    }
                    while let [TokenTree::Punct(a), TokenTree::Punct(b), TokenTree::Ident(next), ..] = &tokens[at + 1..]
                        && a.as_char() == ':'
                        && b.as_char() == ':'
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.note(&path, line);
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// Whether something is there for unit tests only.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The type or trait that an item is, and who may see it.
fn type_of(item: &syn::Item) -> Option<(&syn::Visibility, &syn::Ident)> {
    match item {
        syn::Item::Enum(item) => Some((&item.vis, &item.ident)),
        syn::Item::Struct(item) => Some((&item.vis, &item.ident)),
        syn::Item::Trait(item) => Some((&item.vis, &item.ident)),
        // A `Result` with the error of its module is a habit of the language.
        syn::Item::Type(item) if item.ident != "Result" => Some((&item.vis, &item.ident)),
        _ => None,
    }
}

/// The name of a constant, and its type and value.
fn constant(item: &syn::Item) -> Option<(String, String)> {
    let (name, of, value) = match item {
        syn::Item::Const(item) => (&item.ident, &item.ty, &item.expr),
        syn::Item::Static(item) => (&item.ident, &item.ty, &item.expr),
        _ => return None,
    };
    let text = |span: proc_macro2::Span| span.source_text().unwrap_or_default();
    Some((name.to_string(), format!("{} = {}", text(of.span()), text(value.span()))))
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if for_tests(attributes(item)) {
            return;
        }
        if let (0, Some((syn::Visibility::Public(_) | syn::Visibility::Restricted(_), name))) =
            (self.inside, type_of(item))
        {
            self.said.types.insert(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if item.ident == "self" {
            self.hide(item.ident.span().start().line);
        }
        visit::visit_item_extern_crate(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            self.hide(item.ident.span().start().line);
        }
        self.said.modules.push(item.ident.to_string());
        self.module.push(item.ident.to_string());
        self.inside += 1;
        visit::visit_item_mod(self, item);
        self.inside -= 1;
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        item.attrs.iter().for_each(|attribute| self.visit_attribute(attribute));
        self.tree(&item.tree, &[]);
        if self.inside == 0 {
            let before = self.said.given.len();
            names(&item.tree, &[], &mut self.said.given);
            if !matches!(item.vis, syn::Visibility::Inherited) {
                self.said.handed_on.extend(self.said.given[before..].iter().map(|(name, _)| name.clone()));
            }
        }
    }

    /// Who may see something is no use of it.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.note(&names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        if call.path.is_ident("include") {
            self.hide(0);
        }
        if call.path.is_ident("cfg") {
            self.switches(call.tokens.clone());
        }
        self.tokens(call.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        if list.path.is_ident("cfg") || list.path.is_ident("cfg_attr") {
            self.switches(list.tokens.clone());
        }
        self.visit_path(&list.path);
        self.tokens(list.tokens.clone());
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.said.methods.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_ident(&mut self, name: &'ast syn::Ident) {
        self.said.names.insert(name.to_string());
    }
}

/// The texts in quotes of everything but tests and documentation.
fn literals(source: &str) -> Vec<String> {
    fn texts(tokens: TokenStream, into: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => texts(group.stream(), into),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                        into.push(text.value());
                    }
                }
                _ => {}
            }
        }
    }
    let mut found = Literals(Vec::new());
    found.visit_file(&syn::parse_file(source).unwrap());
    struct Literals(Vec<String>);
    impl<'ast> Visit<'ast> for Literals {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            if !for_tests(attributes(item)) {
                visit::visit_item(self, item);
            }
        }
        fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
        fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
            self.0.push(text.value());
        }
        fn visit_macro(&mut self, call: &'ast syn::Macro) {
            texts(call.tokens.clone(), &mut self.0);
        }
    }
    found.0
}
