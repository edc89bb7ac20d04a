//! What a server keeps apart: its clients from each other, its user from pages of other sites, everybody from its disk.

use super::serve::{Reply, Server, chat, serve, serve_model, started};
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

#[test]
fn pages_of_other_sites_change_nothing_on_a_server_without_keys() {
    let server = serve(&["--cors", "https://chat.example"]);
    let body = chat(&json!({ "max_tokens": 1 })).to_string();
    let routes = [
        ("POST", "/v1/chat/completions", body.as_str()),
        ("POST", "/v1/messages", &body),
        ("POST", "/api/chat", &body),
        ("POST", "/models/unload", "{\"model\": \"llama\"}"),
        ("POST", "/slots/0?action=erase", ""),
        ("POST", "/v1/files", ""),
        ("POST", "/v1/batches", "{}"),
        ("DELETE", "/v1/stream?conv_id=x", ""),
        ("POST", "/no/such/route", ""),
    ];
    let foreign = [
        "origin: https://evil.example\r\n",
        "origin: http://localhost.evil.example\r\n",
        "origin: null\r\n",
        "origin: https://evil.example\r\nsec-fetch-site: cross-site\r\n",
        "sec-fetch-site: cross-site\r\n",
    ];
    for (method, path, body) in routes {
        for head in foreign {
            let reply = server.send(method, path, &format!("content-type: text/plain\r\n{head}"), body);
            assert_eq!(reply.status, 403, "{method} {path} {head}: {}", reply.body);
            assert!(reply.body.contains("pages of other sites"), "{}", reply.body);
        }
    }
    let reply = server.send("POST", "/v1/chat/completions", foreign[0], &body);
    assert!(reply.body.contains("--cors https://evil.example"), "{}", reply.body);
    // Programs, pages of this machine or of this very server, and those of sites that may ask.
    let own = format!("origin: http://{}\r\n", server.address);
    for head in [
        "content-type: text/plain\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        &own,
        "origin: http://localhost:3000\r\n",
        "origin: vscode-webview://1a2b\r\n",
        "origin: https://proxy.example\r\nsec-fetch-site: same-origin\r\n",
        "origin: https://chat.example\r\nsec-fetch-site: cross-site\r\n",
    ] {
        let reply = server.send("POST", "/v1/chat/completions", head, &body);
        assert_eq!(reply.status, 200, "{head}: {}", reply.body);
    }
    assert_eq!(server.send("GET", "/v1/models", foreign[0], "").status, 200);
    // A key is nothing that a browser sends by itself.
    let server = serve(&["--api-key", "one"]);
    let head = format!("{}authorization: Bearer one\r\n", foreign[0]);
    assert_eq!(server.send("POST", "/v1/chat/completions", &head, &body).status, 200);
}

#[test]
fn the_head_of_an_answer_is_there_for_every_route_that_is_read() {
    let server = serve(&[]);
    let length = |reply: &Reply| {
        let line = reply.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.and_then(|length| length.parse::<usize>().ok())
    };
    for path in ["/", "/health", "/version", "/props", "/v1/models", "/v1/models/llama", "/api/tags", "/openapi.json"] {
        let (whole, head) = (server.get(path), server.send("HEAD", path, "", ""));
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(length(&head), length(&whole), "{path}");
    }
    assert_eq!(server.send("HEAD", "/nothing", "", "").status, 404);
    let refused = server.send("HEAD", "/v1/chat/completions", "", "");
    assert!(refused.status == 405 && refused.head.contains("allow: post\r\n"), "{}", refused.head);
    let refused = server.send("DELETE", "/v1/models", "", "");
    assert!(refused.status == 405 && refused.head.contains("allow: get, head\r\n"), "{}", refused.head);
    // Lines of a head are counted.
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(server.send("GET", "/health", &lines(97), "").status, 200);
    assert_eq!(server.send("GET", "/health", &lines(98), "").status, 431);
}

#[test]
fn a_slot_is_its_keys_own() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(&["--api-key", "one,two", "--slot-save-path", folder.path().to_str().unwrap()]);
    let post = |key: &str, path: &str, body: &Value| {
        server.send("POST", path, &format!("authorization: Bearer {key}\r\n"), &body.to_string())
    };
    let act =
        |key: &str, action: &str| post(key, &format!("/slots/0?action={action}"), &json!({ "filename": "mine.bin" }));
    let tokens: Vec<u32> = (0..200).map(|i| 3 + i % 50).collect();
    let ask = json!({ "prompt": tokens, "n_predict": 4, "id_slot": 0, "temperature": 0 });
    let cached = || post("one", "/completion", &ask).json()["timings"]["cache_n"].as_u64().unwrap();
    assert_eq!(cached(), 0);
    let told =
        |key: &str| server.send("GET", "/slots", &format!("x-api-key: {key}\r\n"), "").json()[0]["n_tokens"].clone();
    assert_eq!([told("one"), told("two")], [json!(204), json!(0)]);
    assert_eq!(act("two", "erase").json()["n_erased"], 0);
    assert!(cached() > 190);
    // What another key asks, even the same, takes none of its slots.
    let same = json!({ "prompt": tokens, "n_predict": 4, "temperature": 0 });
    assert_eq!(post("two", "/completion", &same).status, 200);
    assert_eq!([told("one"), told("two")], [json!(204), json!(204)]);
    act("two", "erase");
    cached();
    assert!(act("one", "save").json()["n_saved"].as_u64() > Some(200));
    let other = act("two", "restore");
    assert!(other.status == 400 && other.body.contains("no slot was saved as mine.bin"), "{}", other.body);
    assert_eq!(act("one", "erase").json()["n_erased"], 204);
    assert_eq!(cached(), 0);
    act("one", "erase");
    assert!(act("one", "restore").json()["n_restored"].as_u64() > Some(200));
    assert!(cached() > 190);
}

/// The messages of errors of a model whose file is gone or no model, and of a session that is none, hold no folders.
#[test]
fn errors_tell_clients_no_folders() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap().to_owned();
    let (gone, slots) = (folder.path().join("gone.gguf"), folder.path().join("slots"));
    std::fs::copy(fixture("qwen2.gguf"), &gone).unwrap();
    let server = serve_model(
        &gone,
        &["--slot-save-path", slots.to_str().unwrap(), fixture("llama.gguf").to_str().unwrap()],
        &[],
    );
    std::fs::remove_file(&gone).unwrap();
    let reply = server.post("/v1/chat/completions", &chat(&json!({ "model": "gone" })));
    assert!(reply.status == 503 && !reply.body.contains(&place), "{}", reply.body);
    assert!(reply.body.contains("gone.gguf"), "{}", reply.body);
    std::fs::write(slots.join("bad.bin"), "no session").unwrap();
    let reply = server.post("/slots/0?action=restore", &json!({ "filename": "bad.bin" }));
    assert!(
        reply.status == 400 && reply.body.contains("bad.bin is not a session") && !reply.body.contains(&place),
        "{}",
        reply.body
    );
    let reply = server.post("/v1/rerank", &json!({ "query": "a", "documents": ["b"] }));
    let fixtures = fixture("");
    assert!(reply.status == 400 && !reply.body.contains(fixtures.to_str().unwrap()), "{}", reply.body);
    assert!(reply.body.contains("llama.gguf"), "{}", reply.body);
}

/// A server whose folder for everything that it writes is a disk of so many KiB.
fn on_a_small_disk(folder: &Path, kib: usize) -> Option<Server> {
    let (data, slots) = (folder.join("data"), folder.join("slots"));
    let mut command = Command::new("unshare");
    let script = format!("mount -t tmpfs -o size={kib}k none \"$0\" && exec \"$@\"");
    command.args(["-rm", "sh", "-c", &script]).arg(folder).arg(crate::launch::BINARY);
    command.args(["serve", "--port", "0", "--ctx", "512", "--threads", "2", "--data"]).arg(data);
    command.arg("--slot-save-path").arg(slots).arg(fixture("llama.gguf"));
    started(command, &[])
}

#[test]
fn a_full_disk_is_said_and_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = on_a_small_disk(folder.path(), 96) else {
        eprintln!("skipped: no disk of its own can be given to a server here");
        return;
    };
    let place = folder.path().to_str().unwrap();
    let upload = |content: &str| {
        let body = format!(
            "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; \
             name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{content}\r\n--x--\r\n"
        );
        server.send("POST", "/v1/files", "content-type: multipart/form-data; boundary=x\r\n", &body)
    };
    let full = |reply: &Reply| {
        assert_eq!(reply.status, 507, "{}", reply.body);
        assert!(reply.head.contains("x-should-retry: false"), "{}", reply.head);
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("No space left") && !message.contains(place), "{message}");
    };
    full(&upload(&"a".repeat(200_000)));
    let prompt: Vec<u32> = (0..500).map(|i| 3 + i % 50).collect();
    let ask = json!({ "prompt": prompt, "n_predict": 2, "id_slot": 0 });
    assert_eq!(server.post("/completion", &ask).status, 200);
    full(&server.post("/slots/0?action=save", &json!({ "filename": "a.bin" })));
    // What was begun takes no room, and nothing else suffers.
    assert_eq!(upload(&"a".repeat(1000)).status, 200);
    assert_eq!(server.get("/v1/files").json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(server.post("/completion", &ask).status, 200);
    // A batch that there is no room for fails, and what it has written by then can be read.
    let line = |id: usize| {
        let body = json!({ "prompt": [5, 6], "max_tokens": 4, "logprobs": 5 });
        json!({ "custom_id": format!("r{id}"), "url": "/v1/completions", "body": body }).to_string() + "\n"
    };
    let file = upload(&(0..200).map(line).collect::<String>()).json();
    let batch = json!({ "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h" });
    let batch = server.post("/v1/batches", &batch).json();
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    let failed = loop {
        let object = server.get(&path).json();
        if object["status"] == "failed" {
            break object;
        }
        assert!(object["status"] != "completed" && Instant::now() < deadline, "{object}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let why = failed["errors"]["data"][0]["message"].as_str().unwrap();
    assert!(why.contains("No space left") && !why.contains(place), "{why}");
    let output = server.get(&format!("/v1/files/{}/content", failed["output_file_id"].as_str().unwrap())).body;
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 5 && output.ends_with('\n'), "{output}");
    assert_eq!(failed["request_counts"]["completed"], lines.len());
}

#[test]
fn an_error_in_a_stream_tells_the_requests_number() {
    let server = serve(&["--drain", "0"]);
    let body = chat(&json!({ "stream": true, "max_tokens": 480, "ignore_eos": true })).to_string();
    let mut connection = server.connect();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-request-id: my-own.7\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
    let mut first = [0; 300];
    connection.read_exact(&mut first).unwrap();
    server.signal("-TERM");
    let mut rest = String::new();
    connection.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: error") && rest.contains("\"request_id\":\"my-own.7\""), "{rest}");
}
