//! Who may use the server: keys, the names it may be called by, and other sites' pages.

use super::error::ApiError;
use super::options::ServerOptions;
use crate::platform::input::read_text;
use crate::units::{hex, unhex};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Largest file of keys in bytes.
const MAX_KEY_FILE_BYTES: u64 = 1 << 20;

/// The keys that are accepted, as hashes: the keys themselves are not kept.
pub(super) struct ApiKeys {
    all: RwLock<Vec<Arc<ApiKey>>>,
    /// Whether a key has to be shown: from the start on, and even when all keys have been revoked.
    wanted: bool,
}

/// A key that lets in.
pub(super) struct ApiKey {
    hash: [u8; 32],
    /// What the metrics call it.
    name: String,
    used: AtomicU64,
}

impl ApiKey {
    /// A key as flags and files have it: the key itself or its SHA-256 as `sha256:` and 64 hexadecimal digits, with a name
    /// before it if it has one.
    fn read(line: &str) -> crate::Result<Self> {
        let (name, key) = line.rsplit_once(char::is_whitespace).unwrap_or(("", line));
        let hash: [u8; 32] = match key.strip_prefix("sha256:") {
            None => Sha256::digest(key.as_bytes()).into(),
            Some(digits) => unhex(digits).ok_or_else(|| {
                crate::Error::input("an API key", "sha256: and 64 hexadecimal digits", "another text")
                    .hint("printf %s KEY | sha256sum writes them")
            })?,
        };
        let short = || hex(&hash[..4]);
        let name = if name.trim().is_empty() { short() } else { name.trim().to_owned() };
        Ok(Self { hash, name, used: AtomicU64::new(0) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whose things are its own; the same after a restart. 0 stands for those who need no key.
    pub(super) fn owner(&self) -> u64 {
        self.hash[..8].iter().fold(0, |all, &byte| all << 8 | u64::from(byte))
    }
}

impl ApiKeys {
    /// The keys of the options and of their file.
    ///
    /// # Errors
    /// A key file that cannot be read or has no keys, a hash that is none.
    pub(super) fn load(options: &ServerOptions) -> crate::Result<Self> {
        let keys = Self { all: RwLock::default(), wanted: !options.keys.is_empty() || options.key_file.is_some() };
        match (keys.reload(options)?, &options.key_file) {
            (0, Some(path)) => {
                let hint = "write one into it, or leave out the file if everybody may use the server";
                Err(crate::Error::input(path.display().to_string(), "a file with a key on each line", "no key")
                    .hint(hint))
            }
            _ => Ok(keys),
        }
    }

    fn all(&self) -> RwLockReadGuard<'_, Vec<Arc<ApiKey>>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the key file again; returns how many keys there are. Those that are gone are revoked; where none is left, no client
    /// is let in.
    ///
    /// # Errors
    /// As [`ApiKeys::load`]; the old keys then stay.
    pub(super) fn reload(&self, options: &ServerOptions) -> crate::Result<usize> {
        let mut lines: Vec<String> = options.keys.clone();
        if let Some(path) = &options.key_file {
            let text = read_text(path, MAX_KEY_FILE_BYTES)?;
            let own = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.extend(own.map(str::to_owned));
        }
        let mut keys = Vec::with_capacity(lines.len());
        for line in lines {
            let key = ApiKey::read(&line)?;
            // A key that stays goes on counting.
            let known = self.all().iter().find(|old| old.hash == key.hash && old.name == key.name).cloned();
            keys.push(known.unwrap_or_else(|| Arc::new(key)));
        }
        let count = keys.len();
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(count)
    }

    pub(super) fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// Names of the keys, and how many requests each has let in.
    pub(super) fn used(&self) -> Vec<(String, u64)> {
        self.all().iter().map(|key| (key.name.clone(), key.used.load(Ordering::Relaxed))).collect()
    }

    /// The key that the request shows, in any of the usual ways; none where none is wanted. Takes as long for a wrong key as for a right one.
    ///
    /// # Errors
    /// 401 when it does not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let keys = self.all();
        if !self.wanted {
            return Ok(None);
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let bearer = text("authorization").map(|value| without_scheme(value).trim());
        for shown in [bearer, text("x-api-key"), text("api-key")].into_iter().flatten() {
            let hash: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
            let same = |known: &[u8; 32]| known.iter().zip(&hash).fold(0, |all, (a, b)| all | (a ^ b)) == 0;
            let found = keys.iter().fold(None, |found, key| if same(&key.hash) { Some(key) } else { found });
            if let Some(key) = found {
                key.used.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(Arc::clone(key)));
            }
        }
        Err(ApiError::unauthorized())
    }
}

/// What follows `Bearer`, in letters of either case; a key may also stand alone.
fn without_scheme(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key,
        _ => value,
    }
}

/// Whether the server may be called by the name in the `Host` header: a page of another site can point its own name at
/// this machine.
///
/// # Errors
/// 400 for none or several where one is wanted, 403 with the way to allow the name.
pub(super) fn check_host(options: &ServerOptions, version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if version < Version::HTTP_11 => return Ok(()),
        (None, _) => return Err(ApiError::bad("the head names no host: 'Host: ...' is wanted")),
        (Some(_), Some(_)) => return Err(ApiError::bad("the head names several hosts: one 'Host: ...' is wanted")),
    };
    let host = host.to_str().unwrap_or_default().to_lowercase();
    let name = host_name(&host);
    let known = LOCAL.contains(&name)
        || name.parse::<std::net::IpAddr>().is_ok()
        || options.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed == "*");
    if known {
        return Ok(());
    }
    let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
    Err(ApiError::forbidden(format!("this server does not answer to the name '{name}' (start it with --name {name})")))
}

/// Whether a request that may change something comes from a page of another site: a browser sends some of them without
/// asking the server first. What does not come from a page passes, and so do programs with pages of their own
/// (`vscode-webview://...`).
///
/// # Errors
/// 403 with the way to let that site in.
pub(super) fn check_page(options: &ServerOptions, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    // Told by the browser itself, which no page can change.
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    let is_page = ["http://", "https://"].iter().any(|scheme| origin.starts_with(scheme)) || origin == "null";
    let is_own =
        site == "same-origin" || origin.split_once("://").is_some_and(|(_, at)| at == host) || is_local(origin);
    let is_foreign = (is_page && !is_own) || (origin.is_empty() && site == "cross-site");
    if !is_foreign || allowed_origin(options, headers).is_some() {
        return Ok(());
    }
    let origin: String = if is_page { origin.chars().take(100).collect() } else { "another site".to_owned() };
    let mut message =
        format!("this server takes nothing from pages of other sites, and this request comes from {origin}");
    if origin.contains("://") {
        message += &format!(" (start it with --cors {origin} to allow that)");
    }
    Err(ApiError::forbidden(message))
}

/// The origin that may read the answer, for a page's request, and whether the browser may send credentials of its own: not
/// where any page may ask.
pub(super) fn allowed_origin(options: &ServerOptions, headers: &HeaderMap) -> Option<(HeaderValue, bool)> {
    let origin = headers.get(header::ORIGIN)?;
    let everyone = options.cors.iter().any(|allowed| allowed == "*");
    let allowed = |allowed: &String| match allowed.as_str() {
        "*" => true,
        "localhost" => is_local(origin.to_str().unwrap_or_default()),
        site => site.as_bytes() == origin.as_bytes(),
    };
    let allowed = options.cors.iter().any(allowed);
    allowed.then(|| (origin.clone(), !everyone))
}

/// Whether an origin is a page of this machine.
fn is_local(origin: &str) -> bool {
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    LOCAL.contains(&host_name(host))
}

/// Names of this machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A host without its port.
fn host_name(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    // With a dot at its end a name is whole, and the same.
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn keys_may_be_hashes_with_names() {
        let hash = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, format!("# keys\nsecret\nAnna sha256:{hash}\n")).unwrap();
        let mut options = ServerOptions { key_file: Some(file.clone()), ..ServerOptions::default() };
        let keys = ApiKeys::load(&options).unwrap();
        let shows =
            |key: &str| keys.check(&HeaderMap::from_iter([(header::AUTHORIZATION, key.parse().unwrap())])).is_ok();
        assert!(shows("Bearer key") && shows("bearer secret") && shows("key"));
        // The hash itself opens nothing.
        assert!(!shows(hash) && !shows(&format!("sha256:{hash}")) && !shows("Bearer other"));
        assert_eq!(keys.used()[1], ("Anna".to_owned(), 2));
        std::fs::write(&file, format!("Anna sha256:{hash}\n")).unwrap();
        keys.reload(&options).unwrap();
        assert_eq!(keys.used(), [("Anna".to_owned(), 2)]);
        options.keys = vec!["sha256:12".to_owned()];
        assert_eq!(keys.reload(&options).unwrap_err().exit_code(), 2);
        assert_eq!(keys.used().len(), 1, "the old keys stay");
    }

    #[test]
    fn an_emptied_file_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, "secret\n").unwrap();
        let options = ServerOptions { key_file: Some(file.clone()), ..ServerOptions::default() };
        let keys = ApiKeys::load(&options).unwrap();
        std::fs::write(&file, "# none\n\n").unwrap();
        assert_eq!(keys.reload(&options).unwrap(), 0);
        let shown = HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer secret".parse().unwrap())]);
        assert!(keys.are_wanted() && keys.check(&shown).is_err() && keys.check(&HeaderMap::new()).is_err());
        // A server is not begun so.
        assert_eq!(ApiKeys::load(&options).err().unwrap().exit_code(), 2);
    }
}
