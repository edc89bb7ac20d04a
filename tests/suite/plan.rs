//! Plans of models that are not on this machine: the real binary reads their headers from a real server.

use crate::home;
use crate::server;

use home::{Home, told};
use serde_json::Value;
use server::{Reply, Request, Server, hub};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokki::internals::{Plan, outline};
use tokki::testing::{Writer, tiny};

const MIB: u64 = 1 << 20;

fn planned(home: &Home, args: &[&str]) -> Value {
    let (code, out, err) = told(&home.run(&[&["plan", "--json"], args].concat()));
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

/// What a plan says of the model itself, whatever the machine does meanwhile.
fn needs(plan: &Value) -> Vec<(&Value, &Value, &Value)> {
    plan["rows"].as_array().unwrap().iter().map(|row| (&row["context"], &row["weights"], &row["cache"])).collect()
}

/// Leaves nothing behind: neither in the home nor among temporary files.
fn home() -> Home {
    let home = Home::new();
    std::fs::create_dir(home.path().join("tmp")).unwrap();
    home
}

fn refused(home: &Home, what: &str, code: i32, parts: &[&str]) {
    let (found, out, err) = told(&home.run(&["plan", what]));
    assert_eq!((found, out.as_str()), (Some(code), ""), "{err}");
    for part in parts {
        assert!(err.contains(part), "{part} in {err}");
    }
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// The name of a stored model is that model, whatever shape has it too.
#[test]
fn models_of_the_store_come_before_shapes() {
    let home = home();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/arch/llama.gguf");
    let shape = planned(&home, &["exaone-deep-2.4b", "--ctx", "64"]);
    assert!(shape["file_bytes"].as_u64().unwrap() > 1 << 30, "{shape}");
    assert_eq!(told(&home.run(&["import", fixture, "--name", "exaone-deep-2.4b"])).0, Some(0));
    let stored = planned(&home, &["exaone-deep-2.4b", "--ctx", "64"]);
    assert_eq!(stored["file_bytes"].as_u64(), Some(std::fs::metadata(fixture).unwrap().len()));
}

#[test]
fn a_repository_is_planned_by_its_header_alone() {
    let bytes =
        tiny("llama", 1).unwrap().tensor_f32("blk.0.attn_q.input_scale", &[1024, 4096], &vec![1.0; 1 << 22]).bytes();
    let (hub, content) = hub(vec![("M-Q4_K_M.gguf", bytes.clone()), ("README.md", vec![1])], None);
    let home = home();
    let local = home.path().join("local.gguf");
    std::fs::write(&local, &bytes).unwrap();
    let here = planned(&home, &[local.to_str().unwrap()]);
    assert!(here["disk"].is_null() && here["header_bytes"].is_null());

    let args = ["plan", "--json", "hf:o/r:q4_k_m"];
    let mut command = home.command(&args);
    command.env("HF_ENDPOINT", hub.url("")).env("TMPDIR", home.path().join("tmp"));
    let (code, out, err) = told(&command.output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(needs(&plan), needs(&here));
    assert_eq!(plan["file_bytes"], bytes.len());
    assert_eq!(plan["header_bytes"], MIB, "one range of a file of {}", bytes.len());
    assert_eq!(plan["disk"]["needed_bytes"], bytes.len());
    assert_eq!(plan["disk"]["fits"], true);
    let ranges: Vec<_> = content.requests().iter().map(|request| request.range).collect();
    assert_eq!(ranges, [Some((0, MIB))]);
    assert!(!home.path().join("models").exists(), "a plan fetches nothing");
    assert_eq!(std::fs::read_dir(home.path().join("tmp")).unwrap().count(), 0, "temporary files stay behind");

    command.env("TOKKI_OFFLINE", "1");
    hub.forget();
    let (code, _, err) = told(&command.output().unwrap());
    assert!(code == Some(1) && err.contains("offline"), "{err}");
    assert!(hub.requests().is_empty(), "offline is offline");
}

/// Cuts a model in two files.
fn split(whole: Writer) -> [Vec<u8>; 2] {
    let mut parts = [whole.clone(), Writer::new("llama")];
    let middle = whole.tensors.len() / 2;
    parts[0].tensors.truncate(middle);
    parts[1].tensors.extend_from_slice(&whole.tensors[middle..]);
    let mut number = 0u16;
    parts.map(|part| {
        let key = |value: u16| value.to_le_bytes().to_vec();
        number += 1;
        part.raw("split.no", 2, key(number - 1)).raw("split.count", 2, key(2)).bytes()
    })
}

#[test]
fn all_files_of_a_split_model_count() {
    let whole = tiny("llama", 2).unwrap();
    let [first, second] = split(whole);
    let (hub, content) =
        hub(vec![("d/S-00001-of-00002.gguf", first.clone()), ("d/S-00002-of-00002.gguf", second.clone())], None);
    let home = home();
    let output = home.command(&["plan", "--json", "o/r"]).env("HF_ENDPOINT", hub.url("")).output().unwrap();
    let (code, out, err) = told(&output);
    assert_eq!(code, Some(0), "{err}");
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(plan["file_bytes"], first.len() + second.len());
    assert_eq!(plan["disk"]["needed_bytes"], first.len() + second.len());
    assert_eq!(content.requests().len(), 2);
}

/// A server of one large file, most of which is a hole.
fn large(ranges: bool) -> (Server, u64) {
    let file = outline(&Plan::parse("r1-distill-qwen-32b:q4_k_m").unwrap(), &std::env::temp_dir()).unwrap();
    let size = file.as_file().metadata().unwrap().len();
    let file = Arc::new(file);
    let server = Server::start(move |request: &Request| {
        if request.path == "/elsewhere.gguf" {
            return Reply::redirect("/m.gguf");
        }
        let (start, end) = if ranges { request.range.unwrap() } else { (0, 64 * MIB) };
        let mut body = vec![0; (end.min(size) - start) as usize];
        file.as_file().read_exact_at(&mut body, start).unwrap();
        if ranges {
            Reply::new(206, body).header("Content-Range", format!("bytes {start}-{}/{size}", end.min(size) - 1))
        } else {
            Reply { length: Some(size), ..Reply::new(200, body) }
        }
    });
    (server, size)
}

#[test]
fn of_nineteen_gigabytes_only_a_few_million_bytes_are_read() {
    let home = home();
    for ranges in [true, false] {
        let (server, size) = large(ranges);
        let plan = planned(&home, &[&server.url("/elsewhere.gguf")]);
        assert!(size > 19_000_000_000 && plan["file_bytes"] == size);
        let read = plan["header_bytes"].as_u64().unwrap();
        assert!((MIB..=16 * MIB).contains(&read), "{read} bytes were read, ranges: {ranges}");
        let requests = server.requests().into_iter().filter(|request| request.path == "/m.gguf").count();
        // A server without ranges is asked once and its answer is cut off; else each range doubles what is there.
        assert!(if ranges { (2..=5).contains(&requests) } else { requests == 1 }, "{requests} requests");
    }
}

/// A server that answers every request with `reply`.
fn answering(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Server, String) {
    let server = Server::start(reply);
    let url = server.url("/m.gguf");
    (server, url)
}

#[test]
fn what_is_no_model_is_refused_early() {
    let home = home();
    let page = format!("<html>{}", "x".repeat(3 << 20));
    let (server, url) = answering(move |request| Reply::file(request, page.as_bytes()));
    refused(&home, &url, 2, &["m.gguf", "GGUF"]);
    assert_eq!(server.requests().len(), 1);
    let (_server, url) = answering(|_| Reply::new(404, ""));
    refused(&home, &url, 1, &["no such file"]);
    let (_server, url) = answering(|_| Reply::new(206, vec![0; 64]).header("Content-Range", "bytes 0-63/*"));
    refused(&home, &url, 1, &["does not say how long"]);
    let (_server, url) = answering(|_| Reply::new(206, vec![0; 64]).header("Content-Range", "bytes 64-127/9999"));
    refused(&home, &url, 1, &["another part"]);
    refused(&home, "./missing.gguf", 2, &["missing.gguf"]);
    refused(&home, "smolm2-135m-instruct", 2, &["smollm2-135m-instruct"]);
    // Ends in the middle of its header, and says that this is all of it.
    let cut = tiny("llama", 3).unwrap().bytes()[..200].to_vec();
    let (_server, url) = answering(move |request| Reply::file(request, &cut));
    refused(&home, &url, 2, &["cut short"]);
}

#[test]
fn a_header_without_end_is_left_in_time() {
    let home = home();
    // One key, an array of texts, all of them empty: zeros as far as anybody reads, of a file of a terabyte.
    let mut front = b"GGUF".to_vec();
    front.extend(3u32.to_le_bytes());
    front.extend(0u64.to_le_bytes());
    front.extend(1u64.to_le_bytes());
    front.extend(tokki::testing::text(b"a"));
    front.extend(9u32.to_le_bytes());
    front.extend(8u32.to_le_bytes());
    front.extend((33_554_000u64).to_le_bytes());
    let total = 1u64 << 40;
    let (server, url) = answering(move |request| {
        let (start, end) = request.range.unwrap();
        let mut body = vec![0; (end - start) as usize];
        if start == 0 {
            body[..front.len()].copy_from_slice(&front);
        }
        Reply::new(206, body).header("Content-Range", format!("bytes {start}-{}/{total}", end - 1))
    });
    refused(&home, &url, 2, &["m.gguf"]);
    let asked: u64 = server.requests().iter().map(|request| request.range.map_or(0, |(start, end)| end - start)).sum();
    assert!(asked <= 512 * MIB, "{asked} bytes were asked for");
}

#[test]
fn a_file_that_changes_between_two_ranges_is_not_planned() {
    let home = home();
    let bytes = Arc::new({
        let mut front = vec![0; 8 << 20];
        let plan = Plan::parse("llama3-8b:q4_k_m").unwrap();
        outline(&plan, home.path()).unwrap().as_file().read_exact_at(&mut front, 0).unwrap();
        front
    });
    let served = Arc::clone(&bytes);
    let (_server, url) = answering(move |request| {
        let first = request.range.unwrap().0 == 0;
        Reply::file(request, &served).header("ETag", if first { "\"a\"" } else { "\"b\"" })
    });
    refused(&home, &url, 1, &["changed"]);
    // A connection that breaks is continued.
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (server, url) = answering(move |request| {
        let cut = (!broken.swap(true, std::sync::atomic::Ordering::SeqCst)).then_some(1000);
        Reply { cut, ..Reply::file(request, &bytes) }
    });
    let (_, _, err) = told(&home.run(&["plan", &url]));
    assert!(err.contains("tensor"), "the header was read to its end: {err}");
    assert_eq!(server.requests()[1].range.unwrap().0, 1000, "what came before the break is kept");
}
