//! One HTTP GET, done carefully: short connect timeouts, the user's proxy and certificates, redirects followed by hand
//! so that the hub's token goes to the hub alone and nothing falls back from https to http.

use crate::platform::process;
use crate::store::progress::StopFlag;
use crate::{Error, ErrorKind, text};
use std::io::Read;
use std::time::{Duration, Instant};
pub(in crate::store) use ureq::http::header;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{RootCerts, TlsConfig};

const MAX_REDIRECTS: usize = 8;
/// A server that sends less than this in so much time of waiting isn't worth waiting for.
const MIN_RATE: (u64, Duration) = (15_000, Duration::from_secs(15));

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Timeouts {
    /// For a name to resolve, and for a connection to stand.
    pub(in crate::store) connect: Duration,
    /// For the next bytes of an answer.
    pub(in crate::store) read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), read: Duration::from_secs(30) }
    }
}

/// The way to the network.
#[derive(Debug, Clone)]
pub(in crate::store) struct Net {
    agent: ureq::Agent,
    hub: String,
    token: Option<String>,
    stop: StopFlag,
}

/// An answer with status 200 or 206.
pub(in crate::store) struct HttpAnswer {
    pub(in crate::store) status: u16,
    pub(in crate::store) headers: HeaderMap,
    pub(in crate::store) body: ureq::Body,
    stop: StopFlag,
}

impl HttpAnswer {
    /// A header's text.
    pub(in crate::store) fn text(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Refuses an answer whose bytes are not the file's own.
    pub(in crate::store) fn check_plain(&self, place: &str) -> Result<(), HttpFault> {
        match self.text(header::CONTENT_ENCODING) {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
                Err(HttpFault::lasting(place, "the server compresses the file, though asked not to"))
            }
            _ => Ok(()),
        }
    }

    /// The server's mark of exactly these bytes: a strong ETag. A weak one says that they are "as good as".
    pub(in crate::store) fn mark(&self) -> Option<&str> {
        self.text(header::ETAG).filter(|etag| etag.starts_with('"') && etag.len() < 256)
    }

    /// Its bytes, as long as they come at a speed that is worth waiting for.
    pub(in crate::store) fn reader(self) -> Paced<impl Read + 'static> {
        Paced::new(self.body.into_with_config().limit(u64::MAX).reader(), self.stop)
    }
}

/// Reads on as long as bytes come at a speed that is worth waiting for, and no interrupt comes.
pub(in crate::store) struct Paced<R> {
    inner: R,
    stop: StopFlag,
    least: (u64, Duration),
    bytes: u64,
    waited: Duration,
}

impl<R> Paced<R> {
    fn new(inner: R, stop: StopFlag) -> Self {
        Self { inner, stop, least: MIN_RATE, bytes: 0, waited: Duration::ZERO }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.stop.is_raised() {
            return Err(std::io::Error::other("interrupted"));
        }
        // What is done with the bytes between the reads is not the server's time.
        let start = Instant::now();
        let n = self.inner.read(buffer)?;
        self.waited += start.elapsed();
        self.bytes += n as u64;
        if n > 0 && self.waited >= self.least.1 {
            if self.bytes < self.least.0 {
                let why = format!("{} bytes in {} s are too slow", self.bytes, self.waited.as_secs());
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why));
            }
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
        Ok(n)
    }
}

/// Why a request gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct HttpFault {
    /// The address, as far as it may be shown.
    pub(in crate::store) place: String,
    /// One line.
    pub(in crate::store) why: String,
    /// Whether the same request may succeed a little later.
    pub(in crate::store) passing: bool,
    /// How long the server asks to wait.
    pub(in crate::store) wait: Option<Duration>,
    /// The HTTP status, if there was an answer.
    pub(in crate::store) status: Option<u16>,
}

impl HttpFault {
    pub(in crate::store) fn lasting(place: &str, why: impl Into<String>) -> Self {
        Self { place: place.to_owned(), why: why.into(), passing: false, wait: None, status: None }
    }

    pub(in crate::store) fn passing(place: &str, why: impl Into<String>) -> Self {
        Self { passing: true, ..Self::lasting(place, why) }
    }

    pub(in crate::store) fn error(self) -> Error {
        Error::failed(self.place, self.why).of(ErrorKind::Network)
    }
}

impl Net {
    /// The way to `hub` and everywhere else, until `stop` is raised.
    pub(in crate::store) fn new(hub: String, timeouts: Timeouts, stop: StopFlag) -> Self {
        let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.trim().is_empty());
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("tokki/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.read))
            .timeout_per_read(Some(timeouts.read))
            .timeout_per_write(Some(timeouts.read))
            .build();
        let token = token.map(|token| token.trim().to_owned());
        Self { agent: config.new_agent(), hub, token, stop }
    }

    /// The hub's address, without a slash at the end.
    pub(in crate::store) fn hub(&self) -> &str {
        &self.hub
    }

    /// What ends the work early.
    pub(in crate::store) fn stop(&self) -> &StopFlag {
        &self.stop
    }

    /// GETs `url`, or the bytes `range.0 .. range.1` of it.
    pub(in crate::store) fn get(&self, url: &str, range: Option<(u64, u64)>) -> Result<HttpAnswer, HttpFault> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let host = shown(&url);
            let proxy = proxy_for(&url, &|name| std::env::var(name).ok());
            // Names are looked up on a thread of their own, which the library takes for granted.
            process::spare(2, 2).map_err(|why| HttpFault::lasting(&host, why.to_string()))?;
            let response = self.send(&url, range, proxy.as_ref());
            let response = response.map_err(|e| transport_fault(&host, proxy.as_ref(), &e))?;
            let (parts, body) = response.into_parts();
            match parts.status.as_u16() {
                status @ (200 | 206) => {
                    return Ok(HttpAnswer { status, headers: parts.headers, body, stop: self.stop.clone() });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
                    let location = location.ok_or_else(|| HttpFault::lasting(&host, "a redirect to nowhere"))?;
                    let next = join(&url, location);
                    url = next.ok_or_else(|| HttpFault::lasting(&host, "a redirect to an address that is refused"))?;
                }
                status => return Err(self.status_fault(&url, status, &parts.headers)),
            }
        }
        Err(HttpFault::lasting(&shown(&url), format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn send(
        &self,
        url: &str,
        range: Option<(u64, u64)>,
        proxy: Option<&NamedProxy>,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let proxy = proxy.map(|proxy| ureq::Proxy::new(&proxy.address)).transpose()?;
        // Compressed answers would make lengths and ranges mean something else.
        let mut request = self.agent.get(url).config().proxy(proxy).build().header(header::ACCEPT_ENCODING, "identity");
        if let Some((start, end)) = range {
            request = request.header(header::RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
        }
        if let Some(token) = self.token.as_deref().filter(|_| same_origin(url, &self.hub)) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call()
    }

    fn status_fault(&self, url: &str, status: u16, headers: &HeaderMap) -> HttpFault {
        // The token goes to the hub alone, so it is no help elsewhere.
        let hub = same_origin(url, &self.hub);
        let help = match (status, hub, self.token.is_some()) {
            (401 | 403, true, false) => {
                ": a token may be needed (set HF_TOKEN, after accepting the model's terms on its page)"
            }
            (401 | 403, true, true) => {
                ": the token in HF_TOKEN has no access (are the model's terms accepted on its page?)"
            }
            (401 | 403, false, _) => ": the server does not let this file be fetched without a login",
            (404 | 410, true, _) => ": there is no such file or repository",
            (404 | 410, false, _) => ": there is no such file",
            (407, ..) => ": the proxy wants a login",
            (429, ..) => ": too many requests; try again later",
            (500.., ..) => ": the server has a problem of its own; try again later",
            _ => "",
        };
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let passing = status == 408 || status == 429 || status >= 500;
        let wait = seconds.map(|seconds| Duration::from_secs(seconds.min(60)));
        let why = format!("HTTP status {status}{help}");
        HttpFault { passing, wait, status: Some(status), ..HttpFault::lasting(&shown(url), why) }
    }
}

/// Why nothing came from `host`; where a proxy stands before it, that is what was spoken to.
fn transport_fault(host: &str, proxy: Option<&NamedProxy>, error: &ureq::Error) -> HttpFault {
    let why = match error {
        ureq::Error::HostNotFound => UNKNOWN_HOST.to_owned(),
        ureq::Error::Timeout(_) => format!("no answer in time ({error})"),
        ureq::Error::Io(e) => unreachable(e),
        other => other.to_string(),
    };
    let why = match proxy {
        None => why,
        Some(proxy) if why == UNKNOWN_HOST => format!("{proxy}, through which this goes, is not known here"),
        Some(proxy) if why == CONNECTION_REFUSED => format!("{proxy}, through which this goes, refuses the connection"),
        Some(proxy) => format!("{} (this goes through {proxy})", why.lines().next().unwrap_or_default()),
    };
    let passing = matches!(error, ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed)
        || matches!(error, ureq::Error::HostNotFound | ureq::Error::Protocol(_));
    HttpFault { passing, ..HttpFault::lasting(host, why.lines().next().unwrap_or_default()) }
}

/// What is said of a name that cannot be looked up.
const UNKNOWN_HOST: &str =
    "this server is not known here. Is there a network, and is the name right? (HTTPS_PROXY names a proxy)";

const CONNECTION_REFUSED: &str = "nothing answers there: the connection was refused";

/// Why a server could not be reached, in a person's words.
fn unreachable(why: &std::io::Error) -> String {
    let text = why.to_string();
    match why.kind() {
        // The resolver's own errors have no kind.
        _ if text.contains("failed to lookup address") => UNKNOWN_HOST.to_owned(),
        std::io::ErrorKind::ConnectionRefused => CONNECTION_REFUSED.to_owned(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
            "there is no way to this server: is there a network?".to_owned()
        }
        _ => text,
    }
}

/// A URL for messages: without user, query and fragment, where secrets are, and not longer than a line.
pub(in crate::store) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    };
    text::shorten(&plain, 200).into_owned()
}

/// Scheme, host and port are the same.
fn same_origin(a: &str, b: &str) -> bool {
    let origin = |url: &str| {
        let uri = url.parse::<Uri>().ok()?;
        let scheme = uri.scheme_str()?.to_lowercase();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_lowercase(), port))
    };
    origin(a).is_some_and(|a| Some(a) == origin(b))
}

/// The address that a redirect from `base` means; `None` if it is no web address or leaves https.
fn join(base: &str, location: &str) -> Option<String> {
    let uri = base.parse::<Uri>().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let joined = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let joined = joined.split('#').next().unwrap_or_default().to_owned();
    let next = joined.parse::<Uri>().ok()?.scheme_str()?.to_lowercase();
    (next == "https" || (next == "http" && scheme == "http")).then_some(joined)
}

/// A proxy, and the variable that names it.
struct NamedProxy {
    variable: String,
    address: String,
}

impl std::fmt::Display for NamedProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without a user's name and password.
        let (scheme, rest) = self.address.split_once("://").unwrap_or(("http", &self.address));
        let address = shown(&format!("{scheme}://{rest}"));
        write!(f, "the proxy {} ({})", address.trim_end_matches('/'), self.variable)
    }
}

/// The proxy that the environment (`var`) names for `url`: by scheme, then `ALL_PROXY`, unless `NO_PROXY` excepts the
/// host. The upper-case `HTTP_PROXY` counts too: this is no CGI program.
fn proxy_for(url: &str, var: &dyn Fn(&str) -> Option<String>) -> Option<NamedProxy> {
    let named = |variable: String| {
        let address = var(&variable).filter(|value| !value.trim().is_empty())?;
        Some(NamedProxy { variable, address })
    };
    let either = |name: &str| named(name.to_lowercase()).or_else(|| named(name.to_owned()));
    let uri = url.parse::<Uri>().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']).to_lowercase();
    let excepted = either("NO_PROXY").map_or(String::new(), |named| named.address.to_lowercase());
    let matches = |entry: &str| {
        let entry = entry.trim_start_matches('*').trim_start_matches('.');
        host == entry || host.strip_suffix(entry).is_some_and(|head| head.ends_with('.'))
    };
    let mut entries = excepted.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    if entries.any(|entry| entry == "*" || matches(entry)) {
        return None;
    }
    let own = if uri.scheme_str() == Some("https") { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    either(own).or_else(|| either("ALL_PROXY"))
}

/// A path with everything but unreserved characters and `/` escaped.
pub(in crate::store) fn escape_path(path: &str) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn redirects_stay_on_the_web_and_on_https() {
        let join = |base: &str, to: &str| join(base, to);
        assert_eq!(join("https://a/x/y", "z?q=1#f").as_deref(), Some("https://a/x/z?q=1"));
        assert_eq!(join("https://a:8/x/y", "/z").as_deref(), Some("https://a:8/z"));
        assert_eq!(join("https://a/x", "//b/z").as_deref(), Some("https://b/z"));
        assert_eq!(join("http://a/x", "https://b/z").as_deref(), Some("https://b/z"));
        assert_eq!(join("https://a/x", "http://b/z"), None);
        assert_eq!(join("http://a/x", "file:///etc/passwd"), None);
        assert_eq!(join("http://a/x", "ftp://b/z"), None);
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        assert_eq!(shown("https://me:pass@h:8/a/b.gguf?sig=secret#x"), "https://h:8/a/b.gguf");
        assert_eq!(shown("http://h"), "http://h");
    }

    #[test]
    fn bytes_that_only_trickle_are_given_up() {
        struct Slow;
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                std::thread::sleep(Duration::from_millis(2));
                Ok(buffer.len().min(3))
            }
        }
        let all =
            |least| Paced { least, ..Paced::new(Slow.take(120), StopFlag::default()) }.read_to_end(&mut Vec::new());
        let error = all((1000, Duration::from_millis(20))).unwrap_err().to_string();
        assert!(error.contains("too slow"), "{error}");
        assert_eq!(all((3, Duration::from_millis(20))).ok(), Some(120));
    }

    #[test]
    fn the_token_belongs_to_one_origin() {
        assert!(same_origin("https://HuggingFace.co/x", "https://huggingface.co:443"));
        for other in ["http://huggingface.co/x", "https://cdn.huggingface.co", "https://huggingface.co:8443/x", "x"] {
            assert!(!same_origin(other, "https://huggingface.co"), "{other}");
        }
    }

    #[test]
    fn proxies_by_scheme_and_exception() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned())
        };
        let both = env(&[
            ("HTTPS_PROXY", "http://s:1"),
            ("http_proxy", "http://p:1"),
            ("NO_PROXY", "localhost, .corp.com,b.org"),
        ]);
        let shown =
            |url: &str, var: &dyn Fn(&str) -> Option<String>| proxy_for(url, var).map(|proxy| proxy.to_string());
        assert_eq!(shown("https://x.org/", &both).as_deref(), Some("the proxy http://s:1 (HTTPS_PROXY)"));
        assert_eq!(shown("http://x.org/", &both).as_deref(), Some("the proxy http://p:1 (http_proxy)"));
        for host in ["localhost:80", "corp.com", "a.corp.com", "b.org", "a.b.org"] {
            assert_eq!(shown(&format!("http://{host}/"), &both), None, "{host}");
        }
        assert!(proxy_for("http://notcorp.com/", &both).is_some());
        assert_eq!(shown("http://x/", &env(&[("ALL_PROXY", "http://a"), ("NO_PROXY", "*")])), None);
        let secret = env(&[("ALL_PROXY", "me:secret@a:3")]);
        assert_eq!(shown("http://x/", &secret).as_deref(), Some("the proxy http://a:3 (ALL_PROXY)"));
        assert_eq!(shown("http://x/", &env(&[])), None);
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape_path("a b/c?#%.gguf"), "a%20b/c%3F%23%25.gguf");
    }

    proptest::proptest! {
        /// Whatever a server redirects to: no panic, and never from https to anything else.
        #[test]
        fn any_redirect(location in ".{0,60}", absolute in proptest::bool::ANY) {
            let location = if absolute { format!("http://{location}") } else { location };
            if let Some(next) = join("https://h/a/b", &location) {
                assert!(next.to_lowercase().starts_with("https://"), "{next}");
            }
        }
    }
}
