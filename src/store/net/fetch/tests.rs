#![allow(clippy::unwrap_used, reason = "tests")]
#[path = "../../../../tests/suite/server.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the tests of the command")]
mod server;

use super::super::http::Timeouts;
use super::*;
use crate::store::progress::Silent;
use server::{Reply, Request, Server, model, sha256 as hash_of};
use std::sync::atomic::AtomicUsize;

const TUNING: Tuning = Tuning { connections: 4, part: 256 << 10, retries: 3, pause: Duration::from_millis(1) };
const SIZE: usize = 1 << 20;

fn net(read: Duration) -> Net {
    Net::new(String::new(), Timeouts { connect: Duration::from_secs(2), read }, StopFlag::default())
}

/// A directory to fetch into, a file to fetch, and what is known of it.
struct Case {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    listed: bool,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), bytes: model(SIZE, 7), listed: true }
    }

    fn part(&self) -> PathBuf {
        self.dir.path().join("m.gguf.part")
    }

    fn fetch_with(&self, server: &Server, read: Duration) -> Result<Fetched> {
        let remote = Remote {
            url: server.url("/m.gguf"),
            name: "m.gguf".into(),
            size: self.listed.then_some(self.bytes.len() as u64),
            sha256: self.listed.then(|| hash_of(&self.bytes)),
        };
        fetch(&net(read), &remote, &self.part(), TUNING, &Silent)
    }

    fn fetch(&self, server: &Server) -> Result<Fetched> {
        self.fetch_with(server, Duration::from_secs(5))
    }

    /// The fetch succeeds and the bytes are right.
    fn right(&self, server: &Server) {
        let fetched = self.fetch(server).unwrap();
        assert_eq!((fetched.head.size, fetched.sha256), (self.bytes.len() as u64, hash_of(&self.bytes)));
        assert!(std::fs::read(self.part()).unwrap() == self.bytes);
    }

    fn wrong(&self, server: &Server) -> String {
        self.fetch(server).unwrap_err().to_string()
    }

    /// A server of these bytes whose answers `twist` may change; it sees how many there were before.
    fn server(&self, twist: impl Fn(usize, &Request, Reply) -> Reply + Send + Sync + 'static) -> Server {
        let (bytes, count) = (self.bytes.clone(), AtomicUsize::new(0));
        Server::start(move |request| {
            let reply = Reply::file(request, &bytes);
            // The probe asks for one byte and is answered honestly.
            if request.range == Some((0, 1)) {
                reply
            } else {
                twist(count.fetch_add(1, Ordering::SeqCst), request, reply)
            }
        })
    }
}

#[test]
fn an_honest_server() {
    let case = Case::new();
    let server = case.server(|_, _, reply| reply);
    case.right(&server);
    let mut starts: Vec<u64> = server.requests().iter().skip(1).map(|r| r.range.unwrap().0).collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, 256 << 10, 512 << 10, 768 << 10, 1 << 20], "one request per part");
    server.forget();
    case.right(&server);
    assert_eq!(server.requests().len(), 1, "everything is there: only the probe is asked");
}

#[test]
fn connections_that_break_cost_only_what_was_lost() {
    let case = Case::new();
    let server = case.server(|_, _, reply| Reply { cut: Some(100_000), ..reply });
    case.right(&server);
    let starts: Vec<u64> = server.requests().iter().skip(1).map(|r| r.range.unwrap().0).collect();
    assert!(starts.iter().any(|start| start % (64 << 10) != 0), "goes on within a block: {starts:?}");
}

#[test]
fn a_server_that_gives_nothing_is_left() {
    let case = Case::new();
    let server = case.server(|_, _, reply| Reply { cut: Some(0), ..reply });
    let error = case.wrong(&server);
    assert!(error.contains("4 times in a row"), "{error}");
    let busy = case.server(|count, _, reply| if count < 2 { Reply::new(503, "") } else { reply });
    case.right(&busy);
    let gone = case.server(|_, _, _| Reply::new(404, ""));
    std::fs::remove_file(case.part()).unwrap();
    assert!(case.wrong(&gone).contains("404") && !case.part().exists(), "nothing came, nothing stays");
    assert!(!case.part().with_extension("journal").exists());
}

#[test]
fn silence_is_noticed() {
    let case = Case::new();
    let stall = Duration::from_secs(3);
    let server = case
        .server(move |count, _, reply| if count < 4 { Reply { pace: Some((80_000, stall)), ..reply } } else { reply });
    let start = std::time::Instant::now();
    case.fetch_with(&server, Duration::from_millis(200)).unwrap();
    assert!(start.elapsed() < stall, "went on elsewhere instead of waiting");
    assert!(std::fs::read(case.part()).unwrap() == case.bytes);
}

#[test]
fn lies_about_lengths() {
    let case = Case::new();
    let longer = Server::start(|request| {
        Reply::file(request, &[1; 100]).header("Content-Range", "bytes 0-0/999999999999999999")
    });
    assert!(case.wrong(&longer).contains("the listing says"));
    let mut unlisted = Case::new();
    unlisted.listed = false;
    let endless = Server::start(|_| Reply::new(206, "x").header("Content-Range", "bytes 0-0/18446744073709551615"));
    assert!(unlisted.wrong(&endless).contains("no model"));
    let empty = Server::start(|_| Reply::new(200, ""));
    assert!(unlisted.wrong(&empty).contains("no model"));
    let unknown = Server::start(|_| Reply::new(206, "G").header("Content-Range", "bytes 0-0/*"));
    assert!(unlisted.wrong(&unknown).contains("how long"));
    let grown = case.server(|_, request, reply| {
        let (start, end) = request.range.unwrap();
        Reply { headers: vec![("Content-Range".into(), format!("bytes {start}-{}/5", end - 1))], ..reply }
    });
    assert!(case.wrong(&grown).contains("has 5 bytes now"));
    let short = case.server(|_, _, reply| Reply { length: Some(1 << 40), ..reply });
    case.right(&short);
}

#[test]
fn ranges_that_are_others_are_not_taken() {
    let case = Case::new();
    let shifted = case.server(|count, request, reply| {
        let (start, end) = request.range.unwrap();
        let range = format!("bytes {}-{}/{}", start + 1, end, SIZE);
        if count < 3 { Reply { headers: vec![("Content-Range".into(), range)], ..reply } } else { reply }
    });
    // The total of this server differs from the probe's by the head of the file.
    assert!(case.fetch(&shifted).is_err());
    let whole = Case::new();
    let bytes = whole.bytes.clone();
    let ignoring = whole.server(move |count, _, reply| if count < 2 { Reply::new(200, bytes.clone()) } else { reply });
    whole.right(&ignoring);
}

#[test]
fn a_server_without_ranges_is_read_from_the_front() {
    let case = Case::new();
    let (bytes, count) = (case.bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| {
        let cut = (count.fetch_add(1, Ordering::SeqCst) == 1).then_some(300_000);
        Reply { cut, ..Reply::new(200, bytes.clone()) }
    });
    case.right(&server);
    assert_eq!(server.requests().len(), 3, "the probe, a broken answer, a whole one");
}

#[test]
fn wrong_bytes_are_found_and_fetched_again() {
    let case = Case::new();
    let flip = |mut reply: Reply| {
        reply.body[10] ^= 1;
        reply
    };
    let once = case.server(move |count, _, reply| if count == 2 { flip(reply) } else { reply });
    case.right(&once);
    let case = Case::new();
    let always = case.server(move |_, _, reply| flip(reply));
    let error = case.wrong(&always);
    assert!(error.contains("sha256") && error.contains("thrown away") && !case.part().exists(), "{error}");
}

#[test]
fn blocks_that_the_disk_damaged_are_fetched_again_alone() {
    let case = Case::new();
    let server = case.server(|_, _, reply| reply);
    case.right(&server);
    let file = File::options().write(true).open(case.part()).unwrap();
    files::write_at(&file, &[0; 8], 3 * (64 << 10) + 5).unwrap();
    server.forget();
    case.right(&server);
    let ranges: Vec<_> = server.requests().iter().filter_map(|r| r.range).skip(1).collect();
    assert_eq!(ranges, [(3 * (64 << 10), 4 * (64 << 10))]);
    std::fs::remove_file(case.part()).unwrap();
    case.right(&server);
}

/// A file with hash, and a server of it that marks its answers so and breaks off after the first part.
fn marked(bytes: &[u8], mark: &'static str, whole: bool) -> Server {
    let bytes = bytes.to_vec();
    Server::start(move |request| {
        let reply = Reply::file(request, &bytes);
        let reply = if mark.is_empty() { reply } else { reply.header("ETag", mark) };
        let far = request.range.is_none_or(|(start, _)| start >= 512 << 10);
        if far && !whole {
            Reply { cut: Some(if request.range.is_none() { 300_000 } else { 0 }), ..reply }
        } else {
            reply
        }
    })
}

#[test]
fn only_what_is_proven_to_be_the_same_file_is_continued() {
    let other = model(SIZE, 8);
    for (first, second) in [("\"a\"", "\"b\""), ("\"a\"", ""), ("W/\"a\"", "W/\"a\""), ("", ""), ("", "\"a\"")] {
        let case = Case { listed: false, ..Case::new() };
        let error = case.wrong(&marked(&case.bytes, first, false));
        assert_eq!(case.part().exists(), first == "\"a\"", "{error}");
        assert_eq!(error.contains("`sha256`"), first != "\"a\"", "{error}");
        // Another server, or the same one later: the same length and name, other bytes.
        let case = Case { bytes: other.clone(), ..case };
        case.right(&marked(&other, second, true));
    }
    // The same mark at another address is another file's.
    let case = Case { listed: false, ..Case::new() };
    case.wrong(&marked(&case.bytes, "\"a\"", false));
    let case = Case { bytes: other.clone(), ..case };
    case.right(&marked(&other, "\"a\"", true));
}

#[test]
fn what_is_proven_is_continued() {
    let case = Case { listed: false, ..Case::new() };
    let (bytes, broken) = (case.bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let reply = Reply::file(request, &bytes).header("ETag", "\"a\"");
        let far = request.range.is_none_or(|(start, _)| start >= 512 << 10);
        let cut = (far && broken.fetch_add(1, Ordering::SeqCst) < 8).then_some(0);
        Reply { cut, ..reply }
    });
    while case.fetch(&server).is_err() {}
    case.right(&server);
    let starts: Vec<u64> = server.requests().iter().filter_map(|r| r.range).map(|(start, _)| start).collect();
    assert_eq!(starts.iter().filter(|&&start| start == 256 << 10).count(), 1, "{starts:?}");
}

#[test]
fn a_raised_flag_ends_a_fetch_that_goes_on_later() {
    let case = Case { listed: false, ..Case::new() };
    let (bytes, raised) = (case.bytes.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let raise = Arc::clone(&raised);
    // Raised by the first request for what is past the first run; its bytes never come.
    let server = Server::start(move |request| {
        let late = request.range.is_some_and(|(start, _)| start >= 256 << 10);
        raise.fetch_or(late, Ordering::SeqCst);
        let cut = late.then_some(0);
        Reply { cut, ..Reply::file(request, &bytes) }.header("ETag", "\"a\"")
    });
    let timeouts = Timeouts { connect: Duration::from_secs(2), read: Duration::from_secs(5) };
    let net = Net::new(String::new(), timeouts, StopFlag::from(&raised));
    let remote = Remote { url: server.url("/m.gguf"), name: "m.gguf".into(), size: None, sha256: None };
    let tuning = Tuning { connections: 1, ..TUNING };
    let outcome = fetch(&net, &remote, &case.part(), tuning, &Silent);
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert!(journal::read(&journal_of(&case.part())).unwrap().done.contains_key(&0));
}

#[test]
fn what_came_of_a_block_is_not_fetched_again() {
    for (ranges, damaged) in [(true, false), (true, true), (false, false)] {
        let case = Case { listed: false, ..Case::new() };
        let (bytes, whole) = (case.bytes.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let whole_now = Arc::clone(&whole);
        let server = Server::start(move |request| {
            let cut = (request.range != Some((0, 1)) && !whole_now.load(Ordering::SeqCst)).then_some(9_000);
            let reply = if ranges { Reply::file(request, &bytes) } else { Reply::new(200, bytes.clone()) };
            Reply { cut, ..reply }.header("ETag", "\"a\"")
        });
        case.wrong(&server);
        let told = journal::read(&journal_of(&case.part())).unwrap();
        assert!(told.done.is_empty() && told.begun.contains_key(&0), "{:?}", told.begun);
        if damaged {
            let file = File::options().write(true).open(case.part()).unwrap();
            files::write_at(&file, &[0; 8], 5).unwrap();
        }
        whole.store(true, Ordering::SeqCst);
        server.forget();
        case.right(&server);
        // But for the one that asks what the file is.
        let asked = server.requests().into_iter().filter_map(|request| request.range);
        let starts: Vec<_> = asked.filter(|&range| range != (0, 1)).collect();
        let first = if damaged { 0 } else { told.begun[&0].0 };
        assert!(!ranges || starts.iter().any(|&(start, _)| start == first), "{first}: {starts:?}");
        assert!(damaged || starts.iter().all(|&(start, _)| start != 0 || !ranges), "{starts:?}");
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_not_mixed() {
    let (old, new) = (model(SIZE, 7), model(SIZE, 8));
    for marks in [["\"a\"", "\"b\""], ["\"a\"", ""], ["", ""]] {
        let (files, count) = ([old.clone(), new.clone()], AtomicUsize::new(0));
        let server = Server::start(move |request| {
            let probe = request.range == Some((0, 1));
            let now = usize::from(!probe && count.fetch_add(1, Ordering::SeqCst) > 0);
            let reply = Reply::file(request, &files[now]);
            let reply = if marks[now].is_empty() { reply } else { reply.header("ETag", marks[now]) };
            Reply { cut: (now == 0 && !probe).then_some(200_000), ..reply }
        });
        let case = Case { listed: false, bytes: new.clone(), dir: tempfile::tempdir().unwrap() };
        match case.fetch(&server) {
            Ok(_) => assert!(std::fs::read(case.part()).unwrap() == new, "{marks:?}"),
            Err(error) => assert!(error.to_string().contains("changed"), "{marks:?}: {error}"),
        }
    }
}

#[test]
fn what_cannot_be_a_model_is_seen_at_its_first_byte() {
    let case = Case { listed: false, ..Case::new() };
    for (body, what) in [("<html>", "a web page"), ("{\"error\":1}", "JSON"), ("version https://", "'v'")] {
        let server = Server::start(move |request| Reply::file(request, body.as_bytes()));
        let error = case.fetch(&server).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(what), "{error}");
        assert!(server.requests().len() == 1 && !case.part().exists());
    }
}

#[test]
fn redirects_end() {
    let case = Case::new();
    let circle = Server::start(|_| Reply::redirect("/m.gguf"));
    assert!(case.wrong(&circle).contains("redirects"));
    assert!(circle.requests().len() < 20);
    let file = Server::start(|_| Reply::redirect("file:///etc/passwd"));
    assert!(case.wrong(&file).contains("refused"));
    let nowhere = Server::start(|_| Reply::new(302, ""));
    assert!(case.wrong(&nowhere).contains("nowhere"));
}

#[test]
fn compressed_answers_are_refused() {
    let case = Case::new();
    let server = case.server(|_, _, reply| reply.header("Content-Encoding", "br"));
    assert!(case.wrong(&server).contains("compresses"));
}

#[test]
fn nobody_at_home_is_told_at_once() {
    let case = Case::new();
    let server = case.server(|_, _, reply| reply);
    let url = server.url("/m.gguf");
    drop(server);
    let remote = Remote { url, name: "m.gguf".into(), size: None, sha256: None };
    let start = std::time::Instant::now();
    assert!(fetch(&net(Duration::from_secs(5)), &remote, &case.part(), TUNING, &Silent).is_err());
    assert!(start.elapsed() < Duration::from_secs(2) && !case.part().exists());
}
