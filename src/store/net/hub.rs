//! The hub's listing of a repository: names, lengths and hashes of its files, and the choice among them.

use super::http::{HttpFault, Net, escape_path};
use super::remote::Remote;
use crate::store::name;
use crate::{Error, ErrorKind, Result, suggest};
use serde::Deserialize;
use std::io::Read;
use ureq::http::header;

const MAX_PAGES: usize = 100;
const MAX_LISTING_BYTES: u64 = 32 << 20;

/// Quantizations to take when none is asked for, best first.
const PREFERRED: &[&str] =
    &["Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0"];

/// A repository, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Repository {
    /// `organization/name`.
    pub(in crate::store) repo: String,
    /// Branch, tag or commit.
    pub(in crate::store) revision: String,
    pub(in crate::store) want: WantedFile,
}

/// Which files of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum WantedFile {
    /// The best that 4 bits give.
    Best,
    /// The file with this quantization's name in its own.
    Quant(String),
    /// This path.
    File(String),
}

#[derive(Debug, Clone, Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// The files of `repository` that make up the model that is wanted: its shards in order, or one file.
pub(in crate::store) fn files(net: &Net, repository: &Repository) -> Result<Vec<(String, Remote)>> {
    let place = format!("hf:{}", repository.repo);
    let listed = list(net, repository);
    // What was cut short by the user is no fault of the hub.
    net.stop().check()?;
    let items = listed.map_err(HttpFault::error)?;
    let chosen = choose(&place, &items, &repository.want)?;
    let remote = |item: &&Item| {
        let url =
            format!("{}/{}/resolve/{}/{}", net.hub(), repository.repo, repository.revision, escape_path(&item.path));
        let name = name::file_name(&item.path)?;
        let (size, sha256) = match &item.lfs {
            Some(lfs) => (lfs.size, Some(hash(&place, &lfs.oid)?)),
            None => (item.size, None),
        };
        Ok((item.path.clone(), Remote { url, name, size: Some(size), sha256 }))
    };
    chosen.iter().map(remote).collect()
}

fn hash(place: &str, oid: &str) -> Result<String> {
    let lower = oid.strip_prefix("sha256:").unwrap_or(oid).to_lowercase();
    if lower.len() == 64 && lower.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(lower)
    } else {
        Err(Error::failed(place, format!("the listing's sha256 is {oid:?}")))
    }
}

/// All files of the repository, page by page.
fn list(net: &Net, repository: &Repository) -> std::result::Result<Vec<Item>, HttpFault> {
    let api = format!("{}/api/models/{}/tree/{}", net.hub(), repository.repo, repository.revision);
    let mut url = format!("{api}?recursive=true");
    let mut items = Vec::new();
    for _ in 0..MAX_PAGES {
        let answer = net.get(&url, None)?;
        let fault = |why: String| HttpFault::lasting(&repository.repo, why);
        let next = answer.headers.get(header::LINK).and_then(|value| next_page(value.to_str().ok()?));
        let mut bytes = Vec::new();
        let read = answer.reader().take(MAX_LISTING_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| fault(format!("its listing cannot be read: {e}")))?;
        if bytes.len() as u64 > MAX_LISTING_BYTES {
            return Err(fault("its listing does not end".to_owned()));
        }
        let page: Vec<Item> =
            serde_json::from_slice(&bytes).map_err(|e| fault(format!("its listing is invalid: {e}")))?;
        items.extend(page.into_iter().filter(|item| item.kind == "file"));
        match next {
            // Only the same listing goes on; a page elsewhere would be another's.
            Some(next) if next.starts_with(&api) => url = next,
            Some(next) if next.starts_with('/') => url = format!("{}{next}", net.hub()),
            _ => return Ok(items),
        }
    }
    Err(HttpFault::lasting(&repository.repo, format!("its listing has more than {MAX_PAGES} pages")))
}

/// The address in `<ADDRESS>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let part = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    Some(part.split_once('<')?.1.split_once('>')?.0.to_owned())
}

/// The files that `want` means. Several candidates are an error that lists them: nothing is guessed.
fn choose<'a>(place: &str, items: &'a [Item], want: &WantedFile) -> Result<Vec<&'a Item>> {
    let firsts: Vec<&Item> = items.iter().filter(|item| is_model(&item.path)).collect();
    let first = match want {
        WantedFile::File(path) => {
            let found = items.iter().find(|item| item.path == *path);
            found.ok_or_else(|| {
                let near = suggest::did_you_mean(path, firsts.iter().map(|item| item.path.as_str()));
                Error::input(place, format!("a file {path}"), "none of this name").of(ErrorKind::NotFound).hint(near)
            })?
        }
        WantedFile::Quant(quant) => one_of(place, quant, &firsts)?,
        WantedFile::Best => match firsts.as_slice() {
            [only] => only,
            _ => {
                let preferred = PREFERRED.iter().find(|quant| firsts.iter().any(|item| has_quant(&item.path, quant)));
                one_of(place, preferred.copied().unwrap_or("one file"), &firsts)?
            }
        },
    };
    let (folder, file) = first.path.rsplit_once('/').map_or(("", first.path.as_str()), |(folder, file)| (folder, file));
    let shard = |name: String| {
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let found = items.iter().find(|item| item.path == path);
        found.ok_or_else(|| Error::input(place, format!("all shards of {}", first.path), format!("no {path}")))
    };
    name::shards(file).into_iter().map(shard).collect()
}

/// The one model file of this quantization.
fn one_of<'a>(place: &str, quant: &str, firsts: &[&'a Item]) -> Result<&'a Item> {
    let matching: Vec<&&Item> = firsts.iter().filter(|item| has_quant(&item.path, quant)).collect();
    match matching.as_slice() {
        [only] => Ok(only),
        [] if firsts.is_empty() => Err(Error::input(place, "a repository with GGUF files", "none in it")
            .hint("look for a repository whose name ends with -GGUF")),
        [] => Err(Error::input(place, format!("a file of {quant}"), format!("only {}", names(firsts.iter().copied())))),
        several => {
            let found = names(several.iter().map(|item| **item));
            Err(Error::input(place, format!("one file of {quant}"), found).hint("name one: hf:ORG/REPO/FILE.gguf"))
        }
    }
}

fn names<'a>(items: impl Iterator<Item = &'a Item>) -> String {
    const MAX_NAMED: usize = 20;
    let mut names: Vec<&str> = items.map(|item| item.path.as_str()).collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names.join(", "))
}

/// A model's only or first file; no projectors and importance matrices.
fn is_model(path: &str) -> bool {
    let lower = path.to_lowercase();
    let Ok(file) = name::file_name(path) else { return false };
    let first = name::ShardName::parse(&file).is_none_or(|shard| shard.number == 1);
    first && !lower.contains("mmproj") && !lower.contains("imatrix")
}

/// The quantization's name stands in the path as a word of its own.
fn has_quant(path: &str, quant: &str) -> bool {
    let (path, quant) = (path.to_uppercase(), quant.to_uppercase());
    path.split(['-', '.', '/']).any(|word| word == quant || word.strip_suffix(&quant).is_some_and(|w| w.ends_with('_')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn items(paths: &[&str]) -> Vec<Item> {
        let item = |path: &&str| Item { kind: "file".into(), path: (*path).to_owned(), size: 1, lfs: None };
        paths.iter().map(item).collect()
    }

    fn chosen(paths: &[&str], want: &WantedFile) -> Result<Vec<String>> {
        let items = items(paths);
        choose("hf:o/r", &items, want).map(|chosen| chosen.iter().map(|item| item.path.clone()).collect())
    }

    const FILES: &[&str] =
        &["README.md", "M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M-Q8_0.gguf", "mmproj-M-Q8_0.gguf", "m.imatrix.gguf"];

    #[test]
    fn a_quantization_is_a_whole_word() {
        let quant = |q: &str| chosen(FILES, &WantedFile::Quant(q.into()));
        assert_eq!(quant("q8_0").unwrap(), ["M-Q8_0.gguf"]);
        let error = quant("Q4_K").unwrap_err().to_string();
        assert!(error.contains("M-Q4_K_M.gguf") && !error.contains("mmproj"), "{error}");
        assert_eq!(
            chosen(&["a_q4_0.gguf", "a_q4_0_x.gguf"], &WantedFile::Quant("Q4_0".into())).unwrap(),
            ["a_q4_0.gguf"]
        );
        assert!(chosen(&["a.Q4_0.gguf", "b.Q4_0.gguf"], &WantedFile::Quant("Q4_0".into())).is_err());
    }

    #[test]
    fn the_best_is_four_bits_or_the_only_one() {
        assert_eq!(chosen(FILES, &WantedFile::Best).unwrap(), ["M-Q4_K_M.gguf"]);
        assert_eq!(chosen(&["odd.gguf", "x.txt"], &WantedFile::Best).unwrap(), ["odd.gguf"]);
        assert!(chosen(&["a.gguf", "b.gguf"], &WantedFile::Best).unwrap_err().to_string().contains("a.gguf, b.gguf"));
        assert!(chosen(&["model.safetensors"], &WantedFile::Best).unwrap_err().to_string().contains("-GGUF"));
    }

    #[test]
    fn shards_come_together_or_not_at_all() {
        let two = ["d/M-Q4_0-00001-of-00002.gguf", "d/M-Q4_0-00002-of-00002.gguf"];
        assert_eq!(chosen(&two, &WantedFile::Quant("Q4_0".into())).unwrap(), two);
        assert!(chosen(&two[..1], &WantedFile::Best).unwrap_err().to_string().contains("00002-of-00002"));
    }

    #[test]
    fn hostile_paths_are_never_candidates() {
        assert!(chosen(&["../x-Q4_K_M.gguf"], &WantedFile::Best).is_err());
        assert!(chosen(&["a\\..\\x.gguf"], &WantedFile::Best).is_err());
    }

    #[test]
    fn pages_and_hashes() {
        let link = "<https://h/api?cursor=x>; rel=\"next\", <https://h/y>; rel=\"first\"";
        assert_eq!(next_page(link).as_deref(), Some("https://h/api?cursor=x"));
        assert_eq!(next_page("<https://h/y>; rel=\"first\""), None);
        assert!(hash("x", "../../x").is_err() && hash("x", &"A".repeat(64)).is_ok());
    }
}
