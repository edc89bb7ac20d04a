//! Who may use the server: keys, the names it may be called by, and other sites' pages.

use super::ServerOptions;
use super::error::ApiError;
use crate::platform::input::read_text;
use axum::http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};
use std::sync::{PoisonError, RwLock};

/// Largest file of keys in bytes.
const MAX_KEYS: u64 = 1 << 20;

/// The keys that are accepted, as hashes: the keys themselves are not kept.
pub(super) struct Keys {
    hashes: RwLock<Vec<[u8; 32]>>,
}

impl Keys {
    /// The keys of the options and of their file.
    ///
    /// # Errors
    /// A key file that cannot be read.
    pub(super) fn load(options: &ServerOptions) -> crate::Result<Self> {
        let keys = Self { hashes: RwLock::default() };
        keys.reload(options)?;
        Ok(keys)
    }

    /// Reads the key file again: keys that are gone are revoked.
    ///
    /// # Errors
    /// As [`Keys::load`]; the old keys then stay.
    pub(super) fn reload(&self, options: &ServerOptions) -> crate::Result<()> {
        let mut keys: Vec<String> = options.keys.clone();
        if let Some(path) = &options.key_file {
            let text = read_text(path, MAX_KEYS)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            keys.extend(lines.map(str::to_owned));
        }
        let hashes = keys.iter().map(|key| Sha256::digest(key.as_bytes()).into()).collect();
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hashes;
        Ok(())
    }

    pub(super) fn are_wanted(&self) -> bool {
        !self.hashes.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether the request shows a key, in any of the usual ways. Takes as long for a wrong key as for a right one.
    ///
    /// # Errors
    /// 401 when it does not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        if hashes.is_empty() {
            return Ok(());
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let bearer = text("authorization").map(|value| value.strip_prefix("Bearer ").unwrap_or(value).trim());
        for shown in [bearer, text("x-api-key"), text("api-key")].into_iter().flatten() {
            let hash: [u8; 32] = Sha256::digest(shown.as_bytes()).into();
            let same = |known: &[u8; 32]| known.iter().zip(&hash).fold(0, |all, (a, b)| all | (a ^ b)) == 0;
            if hashes.iter().fold(false, |found, known| found | same(known)) {
                return Ok(());
            }
        }
        Err(ApiError::unauthorized())
    }
}

/// Whether the server may be called by the name in the `Host` header: a page of another site can point its own name at
/// this machine.
///
/// # Errors
/// 403 with the way to allow the name.
pub(super) fn check_host(options: &ServerOptions, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
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

/// The origin that may read the answer, for a page's request.
pub(super) fn allowed_origin(options: &ServerOptions, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let allowed = |allowed: &String| match allowed.as_str() {
        "*" => true,
        "localhost" => is_local(origin.to_str().unwrap_or_default()),
        site => site.as_bytes() == origin.as_bytes(),
    };
    let allowed = options.cors.iter().any(allowed);
    allowed.then(|| origin.clone())
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
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}
