//! The first look at a file on a server: how long it is, whether a part of it can be asked for, what marks this version of
//! it, and whether it can be a model at all.

use super::http::{HttpAnswer, HttpFault, Net, shown};
use super::journal::JournalHead;
use super::remote::{Remote, Tuning};
use crate::{Error, ErrorKind, Result};
use std::io::Read;
use std::time::Duration;
use ureq::http::header;

/// More than any file has.
const MAX_FILE_BYTES: u64 = 1 << 44;

/// What an answer says about a file.
pub(in crate::store) struct FileProbe {
    pub(in crate::store) size: u64,
    /// The server serves ranges.
    pub(in crate::store) ranges: bool,
    pub(in crate::store) etag: Option<String>,
    /// What proves nothing where it's the same, but tells of a change where it isn't: a weak ETag, the date.
    weak_etag: Option<String>,
    modified: Option<String>,
}

impl FileProbe {
    /// Whether an answer that came later says that the file is another one now.
    pub(in crate::store) fn has_changed(&self, later: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b);
        let marks = [(&self.etag, &later.etag), (&self.weak_etag, &later.weak_etag), (&self.modified, &later.modified)];
        self.size != later.size || marks.into_iter().any(|(a, b)| differ(a, b))
    }

    /// What it says of a file whose blocks have this length.
    pub(super) fn head(&self, remote: &Remote, block: u64) -> JournalHead {
        let head = JournalHead::new(&remote.url, self.size, block);
        JournalHead { sha256: remote.sha256.clone(), etag: self.etag.clone(), ..head }
    }

    /// Whether the server has the file now that `head` describes.
    pub(in crate::store) fn is_still(&self, remote: &Remote, head: &JournalHead) -> bool {
        head.same_file(&self.head(remote, head.block))
    }

    /// Reads the answer to the request for a range of `remote`.
    ///
    /// # Errors
    /// Where it tells no length, or one that cannot be.
    pub(in crate::store) fn of(answer: &HttpAnswer, remote: &Remote) -> std::result::Result<Self, HttpFault> {
        let host = shown(&remote.url);
        let (size, ranges) = match answer.status {
            206 => (answer.text(header::CONTENT_RANGE).and_then(content_range).and_then(|range| range.2), true),
            _ => (answer.text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok()), false),
        };
        let size = size.ok_or_else(|| HttpFault::lasting(&host, "the server does not say how long the file is"))?;
        if let Some(listed) = remote.size.filter(|&listed| listed != size) {
            let why = format!("{} has {size} bytes, but the listing says {listed}", remote.name);
            return Err(HttpFault::lasting(&host, why));
        }
        if size == 0 || size > MAX_FILE_BYTES {
            return Err(HttpFault::lasting(&host, format!("{} has {size} bytes, which is no model", remote.name)));
        }
        let short = |name| answer.text(name).filter(|text| text.len() < 256).map(str::to_owned);
        let etag = answer.mark().map(str::to_owned);
        let weak_etag = short(header::ETAG).filter(|_| etag.is_none());
        Ok(Self { size, ranges, etag, weak_etag, modified: short(header::LAST_MODIFIED) })
    }
}

/// Asks for one byte: is the server there, how long is the file, does it serve ranges, can it be a model?
pub(in crate::store) fn probe(net: &Net, remote: &Remote, tuning: Tuning) -> Result<FileProbe> {
    let mut tries = 0;
    loop {
        match net.get(&remote.url, Some((0, 1))) {
            Ok(answer) => {
                let probe = FileProbe::of(&answer, remote).map_err(HttpFault::error)?;
                let mut first = Vec::new();
                // A connection that breaks here breaks again, where it is tried again.
                drop(answer.reader().take(1).read_to_end(&mut first));
                net.stop().check()?;
                return match first.first() {
                    Some(&byte) if byte != b'G' => Err(no_model(remote, byte)),
                    _ => Ok(probe),
                };
            }
            // A server that cannot be reached now is left for the next source at once; a busy one is asked again.
            Err(fault) if fault.passing && fault.status.is_some() && tries < tuning.retries.min(2) => {
                tries += 1;
                rest(fault.wait.unwrap_or(tuning.pause * 2u32.pow(tries)), || net.stop().is_raised());
                net.stop().check()?;
            }
            Err(fault) => return Err(fault.error()),
        }
    }
}

fn no_model(remote: &Remote, first: u8) -> Error {
    let found = match first {
        b'<' => "a web page".to_owned(),
        b'{' => "JSON".to_owned(),
        byte => format!("a file that begins with {:?}", char::from(byte)),
    };
    Error::input(shown(&remote.url), "a GGUF file", found)
        .of(ErrorKind::NotAModel)
        .hint("nothing was kept of it; open the address in a browser")
}

/// `bytes START-END/TOTAL`; the total may be `*`.
pub(in crate::store) fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.parse().ok()?, end.parse().ok()?, total))
}

/// Sleeps in short naps until `stop` says so.
pub(in crate::store) fn rest(time: Duration, stop: impl Fn() -> bool) {
    const NAP: Duration = Duration::from_millis(20);
    let mut left = time;
    while !left.is_zero() && !stop() {
        std::thread::sleep(NAP.min(left));
        left = left.saturating_sub(NAP);
    }
}
