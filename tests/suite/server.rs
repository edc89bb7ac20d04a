//! A small HTTP/1.1 server for tests, with every bad habit that a server can have.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokki::testing::Rng;

/// What a client asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub path: String,
    /// Bytes `start .. end`.
    pub range: Option<(u64, u64)>,
    pub token: Option<String>,
    /// The method is `CONNECT`, the path `host:port`.
    pub tunnel: bool,
}

/// What it gets.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// A `Content-Length` other than the body's.
    pub length: Option<u64>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Bytes to send at once, and the pause after them.
    pub pace: Option<(usize, Duration)>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// What an honest server answers for a file.
    pub fn file(request: &Request, bytes: &[u8]) -> Self {
        let size = bytes.len() as u64;
        match request.range {
            None => Self::new(200, bytes),
            Some((start, end)) if start < size => {
                let end = end.min(size);
                let body = &bytes[start as usize..end as usize];
                Self::new(206, body).header("Content-Range", format!("bytes {start}-{}/{size}", end - 1))
            }
            Some(_) => Self::new(416, "").header("Content-Range", format!("bytes */{size}")),
        }
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(302, "").header("Location", to)
    }
}

/// A running server; it stops when dropped.
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (log, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler = Arc::new(handler);
        let (log_of_thread, over_of_thread) = (Arc::clone(&log), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over_of_thread.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log_of_thread));
                // A client that goes away is the point of these tests.
                std::thread::spawn(move || drop(serve(stream.unwrap(), &*handler, &log)));
            }
        });
        Self { address, log, over }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.log.lock().unwrap().clear();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: TcpStream, handler: &dyn Fn(&Request) -> Reply, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    out.set_nodelay(true)?;
    loop {
        let Some(request) = read_request(&mut reader)? else { return Ok(()) };
        log.lock().unwrap().push(request.clone());
        if request.tunnel {
            // As a proxy: whatever host is asked for, this server is it.
            out.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            continue;
        }
        let reply = handler(&request);
        let length = reply.length.unwrap_or(reply.body.len() as u64);
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {length}\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        out.write_all(format!("{head}\r\n").as_bytes())?;
        let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
        let (size, pause) = reply.pace.unwrap_or((usize::MAX, Duration::ZERO));
        for piece in body.chunks(size.min(body.len()).max(1)) {
            out.write_all(piece)?;
            std::thread::sleep(pause);
        }
        if reply.cut.is_some() || length != reply.body.len() as u64 {
            return out.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request { path, tunnel: line.starts_with("CONNECT "), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { return Ok(Some(request)) };
        match name.to_lowercase().as_str() {
            "range" => {
                let range = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
                request.range = range.map(|(a, b)| (a.parse().unwrap(), b.parse::<u64>().unwrap() + 1));
            }
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// A GGUF file of about `bytes` bytes: one tensor of pseudo-random numbers, no byte of them zero.
pub fn model(bytes: usize, seed: u64) -> Vec<u8> {
    shard(bytes, seed, None)
}

/// The same as file `part.0` (from 0) of `part.1`.
pub fn shard(bytes: usize, seed: u64, part: Option<(u16, u16)>) -> Vec<u8> {
    let rows = bytes / 4 / 32;
    let mut file = Vec::new();
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.bytes());
    };
    file.extend(b"GGUF");
    file.extend(3u32.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend((if part.is_some() { 3u64 } else { 1 }).to_le_bytes());
    text(&mut file, "general.architecture");
    file.extend(8u32.to_le_bytes());
    text(&mut file, "llama");
    if let Some((number, count)) = part {
        for (key, value) in [("split.no", number), ("split.count", count)] {
            text(&mut file, key);
            file.extend(2u32.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
    }
    text(&mut file, &format!("tensor{seed}.weight"));
    file.extend(2u32.to_le_bytes());
    file.extend(32u64.to_le_bytes());
    file.extend((rows as u64).to_le_bytes());
    file.extend(0u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    let mut random = Rng::new(seed);
    for _ in 0..rows * 32 {
        let low = random.bits() as u16 | 0x0101;
        file.extend(low.to_le_bytes());
        file.extend(0x3c01u16.to_le_bytes());
    }
    file
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hub with one repository `o/r` of these files, whose bytes a second server has.
pub fn hub(files: Vec<(&'static str, Vec<u8>)>, token: Option<&'static str>) -> (Server, Server) {
    let files = Arc::new(files);
    let store = Arc::clone(&files);
    let content = Server::start(move |request| {
        let file = store.iter().find(|(name, _)| request.path == format!("/store/{name}?signed=1"));
        file.map_or_else(|| Reply::new(404, ""), |(_, bytes)| Reply::file(request, bytes))
    });
    let base = content.url("/store/");
    let hub = Server::start(move |request| {
        if token.is_some_and(|token| request.token.as_deref() != Some(&format!("Bearer {token}"))) {
            return Reply::new(401, "");
        }
        if request.path == "/api/models/o/r/tree/main?recursive=true" {
            return Reply::new(200, listing(&files));
        }
        match request.path.strip_prefix("/o/r/resolve/main/") {
            Some(file) => Reply::redirect(format!("{base}{file}?signed=1")),
            None => Reply::new(404, ""),
        }
    });
    (hub, content)
}

pub fn listing(files: &[(&str, Vec<u8>)]) -> String {
    let entry = |(name, bytes): &(&str, Vec<u8>)| {
        let (size, hash) = (bytes.len(), sha256(bytes));
        format!(r#"{{"type":"file","path":"{name}","size":{size},"oid":"x","lfs":{{"oid":"{hash}","size":{size}}}}}"#)
    };
    format!(r#"[{{"type":"directory","path":"d","size":0}},{}]"#, files.iter().map(entry).collect::<Vec<_>>().join(","))
}
