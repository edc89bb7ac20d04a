//! Which modules a source uses: every path in it, whatever it is written in.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A path that a source names, from the crate's root on, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub path: Vec<String>,
    pub line: usize,
}

/// All paths that `source`, which is module `module` of its crate, names from `crate`, `super` or `self`; unit tests are
/// left out, and nothing else is.
pub fn uses(source: &str, module: &[&str]) -> Vec<Use> {
    let file = syn::parse_file(source).unwrap_or_else(|why| panic!("{}: {why}", module.join("::")));
    let mut found = Finder { module: module.iter().map(|name| (*name).to_owned()).collect(), uses: Vec::new() };
    found.visit_file(&file);
    found.uses
}

struct Finder {
    module: Vec<String>,
    uses: Vec<Use>,
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
        if let Some(path) = self.absolute(path).filter(|path| !path.is_empty()) {
            self.uses.push(Use { path, line });
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(before, name.ident.span().start().line),
            syn::UseTree::Name(name) => self.note(&with(&name.ident), name.ident.span().start().line),
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
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let mut path = vec![first.to_string()];
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

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.note(&names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}

/// The texts in quotes of everything but tests and documentation.
pub fn literals(source: &str) -> Vec<String> {
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
