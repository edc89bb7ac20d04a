//! The header of a model that is not on this machine: enough to plan with, a few megabytes of many gigabytes.
//!
//! How long a header is, only its end tells. So it is read in ranges, each as long as all before it, until the scan of
//! what is there finds that end. Beside the header the file is a hole of its true length.

use super::catalogue;
use super::net::http::header;
use super::net::http::{HttpFault, Net, Timeouts, shown};
use super::net::probe::{FileProbe, content_range, rest};
use super::net::remote::Remote;
use super::pull::{entry_file, online, places, repository_files, url_files};
use super::source::{self, PullSource};
use super::{StoreProgress, name};
use crate::config::Settings;
use crate::error::FileAction;
use crate::gguf::header_len;
use crate::units::show_bytes;
use crate::{Error, Result};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The first range: all of a small model's header, a part of a large vocabulary's.
const FIRST: u64 = 1 << 20;

/// The most that is read of all files of a model together. The header of one is bounded by its scan.
const MAX_PREVIEW_BYTES: u64 = 512 << 20;

/// Failures in a row, of those that may pass, that end the attempt.
const RETRIES: u32 = 3;

/// Files that begin with the headers of a model and hold nothing else; they are removed with this value.
#[derive(Debug)]
pub struct Preview {
    dir: TempDir,
    first: String,
    /// Bytes that were read of it.
    pub read: u64,
}

impl Preview {
    /// The file to open. What is beyond its header reads as zeros.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join(&self.first)
    }
}

/// Whether `text` means a model of the catalogue, the hub or another server, rather than a file here.
pub fn is_remote(settings: &Settings, text: &str) -> bool {
    let path = Path::new(text);
    // `models/7b/x.gguf` could be a repository's file; where that folder is here, it is a file that is missing.
    let local = text.ends_with(".gguf") && path.parent().is_some_and(Path::is_dir);
    // What can be nothing else is told what is wrong with it.
    let meant = text.starts_with("hf:") || text.starts_with("hf.co/");
    !local && (meant || source::parse(text, &source::hub_of(settings)).is_ok())
}

/// Reads the headers of the model that `what` means, as [`super::pull()`] reads it.
///
/// # Errors
/// [`Error::Input`] for an invalid request or header, [`Error::Failed`] for a network or server that fails,
/// and in offline mode.
pub fn preview(settings: &Settings, what: &str, progress: &dyn StoreProgress) -> Result<Preview> {
    let net = Net::new(source::hub_of(settings), Timeouts::default(), progress.stop());
    let source = source::parse(what, net.hub())?;
    online(settings, what)?;
    match source {
        PullSource::Hub(repository) => {
            let (_, remotes) = repository_files(&net, &repository)?;
            of_files(&net, &remotes)
        }
        PullSource::Url(url) => of_files(&net, &url_files(&url)?),
        PullSource::Catalogue(entry) => {
            for place in places(settings, &net, entry) {
                // A package gives all of its bytes or none.
                let catalogue::Place::Url(url) = place else { continue };
                match of_files(&net, &[entry_file(entry, url)]) {
                    Ok(preview) => return Ok(preview),
                    Err(error) => progress.note(&error.to_string()),
                }
            }
            let why = format!("no source gave its header alone; all of it are {}", show_bytes(entry.size));
            Err(Error::failed(entry.name, why).hint(format!("fetch it with: tokki pull {}", entry.name)))
        }
    }
}

fn of_files(net: &Net, remotes: &[Remote]) -> Result<Preview> {
    let mut headers = Vec::new();
    let mut read = 0;
    for remote in remotes {
        let mut reader = Reader::new(net, remote, MAX_PREVIEW_BYTES.saturating_sub(read));
        let header = reader.header()?;
        read += reader.read;
        headers.push((header, reader.size.unwrap_or_default()));
    }
    // Only now, so that an interruption of the slow part leaves nothing behind.
    let dir = tempfile::Builder::new().prefix("tokki-plan-").tempdir();
    let dir = dir.map_err(|e| Error::io(std::env::temp_dir(), FileAction::Create, e))?;
    for (remote, (header, size)) in remotes.iter().zip(headers) {
        let path = dir.path().join(name::file_name(&remote.name)?);
        let write = || {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(&header)?;
            file.set_len(size)
        };
        write().map_err(|e| Error::io(&path, FileAction::Write, e))?;
    }
    let first = remotes.first().map(|remote| remote.name.clone()).unwrap_or_default();
    Ok(Preview { dir, first, read })
}

/// Reads one file from its front.
struct Reader<'a> {
    net: &'a Net,
    remote: &'a Remote,
    host: String,
    /// Bytes that may still be read.
    budget: u64,
    bytes: Vec<u8>,
    /// The answer of a server that serves no ranges: it is read on, and dropped when that is enough.
    whole: Option<Box<dyn Read>>,
    size: Option<u64>,
    etag: Option<String>,
    /// Bytes that came.
    read: u64,
}

impl<'a> Reader<'a> {
    fn new(net: &'a Net, remote: &'a Remote, budget: u64) -> Self {
        let host = shown(&remote.url);
        Self { net, remote, host, budget, bytes: Vec::new(), whole: None, size: remote.size, etag: None, read: 0 }
    }

    fn header(&mut self) -> Result<Vec<u8>> {
        let mut goal = FIRST;
        loop {
            self.read_to(goal)?;
            let size = self.size.unwrap_or_default();
            if let Some(end) = header_len(&self.bytes, size, &self.remote.name)? {
                self.bytes.truncate(end);
                return Ok(std::mem::take(&mut self.bytes));
            }
            goal = goal.saturating_mul(2);
        }
    }

    /// Reads until `goal` bytes are there, or the whole file.
    fn read_to(&mut self, goal: u64) -> Result<()> {
        let mut misses = 0;
        while self.missing(goal) > 0 {
            let before = self.bytes.len();
            let fault = match self.request(goal) {
                Ok(()) => continue,
                Err(fault) => fault,
            };
            self.whole = None;
            misses = if self.bytes.len() > before { 1 } else { misses + 1 };
            if !fault.passing || misses >= RETRIES {
                return Err(fault.error());
            }
            rest(fault.wait.unwrap_or(Duration::from_millis(500) * misses), || self.net.stop().is_raised());
            self.net.stop().check()?;
        }
        Ok(())
    }

    fn missing(&self, goal: u64) -> u64 {
        self.size.map_or(goal, |size| goal.min(size)).saturating_sub(self.bytes.len() as u64)
    }

    /// One request, or more of the answer to the one before.
    fn request(&mut self, goal: u64) -> std::result::Result<(), HttpFault> {
        if let Some(mut whole) = self.whole.take() {
            self.take(&mut *whole, goal)?;
            self.whole = Some(whole);
            return Ok(());
        }
        let start = self.bytes.len() as u64;
        let answer = self.net.get(&self.remote.url, Some((start, start + self.missing(goal))))?;
        answer.check_plain(&self.host)?;
        let lasting = |why: &str| HttpFault::lasting(&self.host, why);
        let probe = FileProbe::of(&answer, self.remote)?;
        if self.etag.is_some() && probe.etag != self.etag || self.size.is_some_and(|size| size != probe.size) {
            return Err(lasting("the file changed while it was read"));
        }
        (self.size, self.etag) = (Some(probe.size), probe.etag);
        let range = answer.text(header::CONTENT_RANGE).and_then(content_range);
        if probe.ranges && range.is_none_or(|range| range.0 != start) {
            return Err(lasting("another part of the file than was asked for"));
        }
        let mut body = answer.reader();
        if probe.ranges {
            return self.take(&mut body, goal);
        }
        self.bytes.clear();
        self.take(&mut body, goal)?;
        self.whole = Some(Box::new(body));
        Ok(())
    }

    /// Reads from `body` until `goal` bytes are there.
    fn take(&mut self, body: &mut dyn Read, goal: u64) -> std::result::Result<(), HttpFault> {
        let missing = self.missing(goal);
        if missing > self.budget {
            let why = format!("the header goes on after {}: that is no model", show_bytes(self.read));
            return Err(HttpFault::lasting(&self.host, why));
        }
        let before = self.bytes.len();
        let outcome = body.take(missing).read_to_end(&mut self.bytes);
        let came = (self.bytes.len() - before) as u64;
        self.read += came;
        self.budget = self.budget.saturating_sub(came);
        match outcome {
            Ok(_) if came == missing => Ok(()),
            Ok(_) => Err(HttpFault::passing(&self.host, "the connection ended early")),
            // A header is short: a server this slow gives no model either.
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(HttpFault::lasting(&self.host, format!("the server is too slow ({error})")))
            }
            Err(error) => Err(HttpFault::passing(&self.host, format!("the connection broke: {error}"))),
        }
    }
}
