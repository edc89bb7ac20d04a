//! The server, as a process, spoken to over sockets.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub struct Server {
    child: Child,
    pub address: String,
    said: Arc<Mutex<String>>,
    _home: tempfile::TempDir,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }

    /// The data of all server-sent events.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

pub fn serve(args: &[&str]) -> Server {
    serve_with(args, &[])
}

pub fn serve_with(args: &[&str], variables: &[(&str, &std::ffi::OsStr)]) -> Server {
    serve_model(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf"), args, variables)
}

/// Serves another model.
pub fn serve_model(model: &Path, args: &[&str], variables: &[(&str, &std::ffi::OsStr)]) -> Server {
    let mut command = crate::launch::tokki();
    command.args(["serve", "--port", "0", "--ctx", "512", "--threads", "2"]).args(args).arg(model);
    started(command, variables).unwrap()
}

/// The server that this command starts, in a home of its own; none where the command ends.
pub fn started(mut command: Command, variables: &[(&str, &std::ffi::OsStr)]) -> Option<Server> {
    let home = tempfile::tempdir().unwrap();
    command.env("TOKKI_HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).env("TOKKI_OFFLINE", "1");
    command.env_remove("TOKKI_API_KEY").stderr(Stdio::piped()).stdout(Stdio::null());
    command.envs(variables.iter().copied());
    let mut child = command.spawn().ok()?;
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut address = String::new();
    let mut said = String::new();
    while address.is_empty() {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 {
            eprintln!("the server ended: {said}");
            return None;
        }
        if let Some((_, at)) = line.trim().split_once("://") {
            address = at.to_owned();
        }
        said += &line;
    }
    let said = Arc::new(Mutex::new(said));
    let more = Arc::clone(&said);
    std::thread::spawn(move || {
        lines.lines().map_while(Result::ok).for_each(|line| *more.lock().unwrap() += &(line + "\n"))
    });
    Some(Server { child, address, said, _home: home })
}

impl Server {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    pub fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server may refuse and close before everything is sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = if head.to_lowercase().contains("transfer-encoding: chunked") { dechunk(body) } else { body.into() };
        Reply { status, head: head.to_lowercase(), body }
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let (host, length) = (&self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        self.raw(request.as_bytes())
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, "", &body.to_string())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The lines that it has written to stderr and that hold this text, once there are `count` of them.
    pub fn said(&self, text: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let all = self.said.lock().unwrap().clone();
            let lines: Vec<String> = all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "{text:?} {count} times in:\n{all}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success(),
            "kill {signal}"
        );
    }

    /// A number of the metrics page.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dechunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        out += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
    }
    out
}

pub fn chat(more: &Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": "Hello there" }], "max_tokens": 12, "seed": 3 });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn a_stream_says_what_a_whole_answer_says_in_every_dialect() {
    let server = serve(&[]);
    let whole = server.post("/v1/chat/completions", &chat(&json!({}))).json();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!text.is_empty());
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let stream = chat(&json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let reply = server.post("/v1/chat/completions", &stream);
    assert!(reply.head.contains("text/event-stream") && reply.body.ends_with("data: [DONE]\n\n"));
    let events = reply.events();
    let pieces = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 12);

    let ask = json!({ "messages": [{ "role": "user", "content": "Hello there" }], "max_tokens": 12, "seed": 3 });
    let message = server.post("/v1/messages", &ask).json();
    assert_eq!(message["content"][0]["text"], text);
    let mut streamed = ask.clone();
    streamed["stream"] = true.into();
    let events = server.post("/v1/messages", &streamed).events();
    let pieces = events.iter().filter_map(|event| event["delta"]["text"].as_str());
    assert_eq!(pieces.collect::<String>(), text);
    assert_eq!(events.first().unwrap()["type"], "message_start");
    assert_eq!(events.last().unwrap()["type"], "message_stop");

    let ask = json!({ "messages": [{ "role": "user", "content": "Hello there" }],
                      "options": { "num_predict": 12, "seed": 3 } });
    let lines = server.post("/api/chat", &ask).body;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect::<String>(), text);
    assert_eq!((&lines.last().unwrap()["done"], &lines.last().unwrap()["eval_count"]), (&json!(true), &json!(12)));

    let plain = json!({ "prompt": "Hello", "n_predict": 5, "seed": 1 });
    let whole = server.post("/completion", &plain).json();
    assert_eq!((&whole["tokens_predicted"], &whole["stop_type"]), (&json!(5), &json!("limit")));
    let mut streamed = plain.clone();
    streamed["stream"] = true.into();
    let events = server.post("/completion", &streamed).events();
    assert_eq!(events.iter().filter_map(|e| e["content"].as_str()).collect::<String>(), whole["content"]);
}

#[test]
fn together_is_as_alone() {
    let server = serve(&["--parallel", "6"]);
    let ask = |seed: u64| {
        let body = chat(&json!({ "seed": seed, "max_tokens": 40, "temperature": 1.0 }));
        server.post("/v1/chat/completions", &body).json()["choices"][0]["message"]["content"].clone()
    };
    let alone: Vec<Value> = (0..6).map(ask).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|seed| scope.spawn(move || ask(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert!(alone.iter().any(|answer| answer != &alone[0]));
}

#[test]
fn bad_requests_are_400_and_the_server_lives() {
    let server = serve(&[]);
    let bad: Vec<String> = vec![
        "{".into(),
        "[]".into(),
        "3".into(),
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"temperature\": NaN}".into(),
        "{\"messages\": [{\"role\": \"user\", \"content\": \"\\ud800\"}]}".into(),
        "[".repeat(100_000),
        json!({}).to_string(),
        json!({ "messages": "hello" }).to_string(),
        json!({ "messages": [] }).to_string(),
        json!({ "messages": [3] }).to_string(),
        json!({ "messages": [{ "content": "a" }] }).to_string(),
        json!({ "messages": [{ "role": 3, "content": "a" }] }).to_string(),
        json!({ "messages": [{ "role": "user", "content": 3 }] }).to_string(),
        chat(&json!({ "temperature": "hot" })).to_string(),
        chat(&json!({ "temperature": 1e30 })).to_string(),
        chat(&json!({ "top_p": -1 })).to_string(),
        chat(&json!({ "n": 0 })).to_string(),
        chat(&json!({ "n": 1e9 })).to_string(),
        chat(&json!({ "max_tokens": -7 })).to_string(),
        chat(&json!({ "stop": 3 })).to_string(),
        chat(&json!({ "stream": "yes" })).to_string(),
        chat(&json!({ "logit_bias": { "99999999": 1 } })).to_string(),
        chat(&json!({ "top_logprobs": 3 })).to_string(),
        chat(&json!({ "tools": [3] })).to_string(),
        chat(&json!({ "tools": "weather" })).to_string(),
        chat(&json!({ "response_format": { "type": "xml" } })).to_string(),
        chat(&json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": "no" } } } }))
            .to_string(),
        chat(&json!({ "audio": { "voice": "x" } })).to_string(),
        chat(&json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] })).to_string(),
        chat(&json!({ "messages": [{ "role": "user", "content": "long ".repeat(2000) }] })).to_string(),
    ];
    for body in &bad {
        let shown: String = body.chars().take(100).collect();
        let reply = server.send("POST", "/v1/chat/completions", "", body);
        assert_eq!(reply.status, 400, "{shown}: {}", reply.body);
        let error = &reply.json()["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty() && text.len() < 4096), "{shown}");
        assert!(error["type"].is_string(), "{shown}");
        let reply = server.send("POST", "/v1/messages", "", body);
        assert!(reply.status == 400 || reply.status == 200, "{shown}: {}", reply.body);
        if reply.status == 400 {
            assert_eq!(reply.json()["type"], "error");
        }
        let reply = server.send("POST", "/api/chat", "", body);
        assert!(reply.status == 400 || reply.status == 200, "{shown}: {}", reply.body);
        assert!(reply.status == 200 || reply.json()["error"].is_string());
    }
    let invalid = server.raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 3\r\n\r\n\xff\xfe\xfd");
    assert_eq!(invalid.status, 400);
    assert_eq!(server.get("/nothing").status, 404);
    assert_eq!(server.get("/v1/chat/completions").status, 405);
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": [] })).status, 400);
    assert_eq!(server.post("/v1/chat/completions", &chat(&json!({}))).status, 200);
}

#[test]
fn too_long_a_prompt_says_the_numbers_in_words_that_clients_look_for() {
    let server = serve(&[]);
    let body = chat(&json!({ "messages": [{ "role": "user", "content": "long ".repeat(2000) }] }));
    let error = server.post("/v1/chat/completions", &body).json()["error"].clone();
    assert_eq!((&error["code"], &error["n_ctx"]), (&json!("context_length_exceeded"), &json!(512)));
    assert!(error["n_prompt_tokens"].as_u64().unwrap() > 512);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("maximum context length is") && message.contains("exceeds the available context size"));
    // Every dialect and kind of request has them, and the numbers are those of the prompt and of the most that it may have.
    let long = "long ".repeat(2000);
    let server = serve(&["--pooling", "mean"]);
    let messages = json!([{ "role": "user", "content": long }]);
    for (path, body, most) in [
        ("/v1/chat/completions", json!({ "messages": messages }), 511),
        ("/v1/completions", json!({ "prompt": long }), 511),
        ("/v1/responses", json!({ "input": long }), 511),
        ("/v1/messages", json!({ "messages": messages, "max_tokens": 5 }), 511),
        ("/api/chat", json!({ "messages": messages }), 511),
        ("/v1/embeddings", json!({ "input": long }), 512),
        ("/api/embed", json!({ "input": long, "truncate": false }), 512),
    ] {
        let reply = server.post(path, &body);
        let error = &reply.json()["error"];
        let message = error["message"].as_str().or(error.as_str()).unwrap();
        let tokens = message.strip_prefix("prompt is too long: ").and_then(|rest| rest.split_once(" tokens > "));
        let (tokens, rest) = tokens.unwrap_or_else(|| panic!("{path}: {message}"));
        assert!(reply.status == 400 && tokens.parse::<usize>().unwrap() > most, "{path}: {message}");
        assert!(rest.starts_with(&format!("{most} maximum")), "{path}: {message}");
        assert!(
            message.contains("maximum context length is 512") && message.contains("exceeds the available context size")
        );
    }
}

#[test]
fn keys_names_and_origins() {
    let server = serve(&["--api-key", "one,two", "--cors", "https://chat.example"]);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/v1/models").status, 401);
    for header in ["authorization: Bearer two\r\n", "x-api-key: one\r\n"] {
        assert_eq!(server.send("GET", "/v1/models", header, "").status, 200, "{header}");
    }
    for header in ["authorization: Bearer \r\n", "authorization: Bearer onetwo\r\n", "x-api-key: on\r\n"] {
        let reply = server.send("GET", "/v1/models", header, "");
        assert_eq!(reply.status, 401, "{header}");
        assert_eq!(reply.json()["error"]["type"], "authentication_error");
    }
    let named = server.raw(b"GET /health HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    assert_eq!(named.status, 403);
    let page = server.send("GET", "/health", "origin: https://chat.example\r\n", "");
    assert!(page.head.contains("access-control-allow-origin: https://chat.example"));
    let page = server.send("GET", "/health", "origin: https://evil.example\r\n", "");
    assert!(!page.head.contains("access-control-allow-origin"));
    // A browser's own credentials go to sites that are named only.
    let asked = "origin: https://chat.example\r\n";
    assert!(server.send("GET", "/health", asked, "").head.contains("access-control-allow-credentials: true"));
    let before =
        format!("{asked}access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n");
    let before = server.send("OPTIONS", "/v1/chat/completions", &before, "").head;
    assert!(
        before.contains("access-control-allow-headers: authorization") && before.contains("x-warnings"),
        "{before}"
    );
    let open = serve(&["--cors", "*"]).send("GET", "/health", asked, "").head;
    assert!(
        open.contains("access-control-allow-origin: https://chat.example") && !open.contains("credentials"),
        "{open}"
    );
    let id = server.send("GET", "/health", "x-request-id: my-id.7\r\n", "");
    assert!(id.head.contains("x-request-id: my-id.7"));
}

#[test]
fn an_open_address_needs_a_key() {
    let home = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    let mut command = crate::launch::tokki();
    command.args(["serve", "--host", "0.0.0.0", "--port", "0", "--ctx", "256"]).arg(model);
    let output = command.env("TOKKI_HOME", home.path()).env_remove("TOKKI_API_KEY").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--api-key"));
}

#[test]
fn what_needs_no_model_is_told_before_one_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let here = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(here("empty"), "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (args, said) in [
        (&["--host", "0.0.0.0"][..], "--api-key"),
        (&["--tls-cert", &here("empty"), "--tls-key", &here("empty")], "in PEM, found none"),
        (&["--api-key-file", &here("empty")], "a key on each line"),
        (&["--port", &port], "another program listens there"),
        (&["--host", "192.0.2.1", "--api-key", "x"], "no such address"),
        (&["--data", &here("empty/data")], "empty/data"),
        (&["--slot-save-path", &here("empty/slots")], "empty/slots"),
    ] {
        let mut command = crate::launch::tokki();
        let free: &[&str] = if args[0] == "--port" { &[] } else { &["--port", "0"] };
        command.arg("serve").args(free).args(args).arg("nowhere.gguf").current_dir(home.path());
        let output = command.env("TOKKI_HOME", home.path()).env_remove("TOKKI_API_KEY").output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && err.contains(said) && !err.contains("nowhere"), "{args:?}: {err}");
    }
}

#[test]
fn a_client_that_goes_away_frees_its_work() {
    let server = serve(&[]);
    let body = chat(&json!({ "stream": true, "max_tokens": 480, "ignore_eos": true })).to_string();
    for stream in [true, false] {
        let body = if stream { body.clone() } else { body.replace("\"stream\":true", "\"stream\":false") };
        let mut connection = server.connect();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).unwrap();
        if stream {
            let mut first = [0; 16];
            connection.read_exact(&mut first).unwrap();
        } else {
            std::thread::sleep(Duration::from_millis(30));
        }
        drop(connection);
        let start = Instant::now();
        while server.metric("tokki_requests_running") > 0.0 {
            assert!(start.elapsed() < Duration::from_secs(5), "still running (stream: {stream})");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_full_queue_is_429_with_retry_after() {
    let body = chat(&json!({ "max_tokens": 480, "ignore_eos": true, "stream": true })).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for (parallel, queue) in [(1, 0), (2, 0), (1, 1), (2, 3)] {
        let server = serve(&["--parallel", &parallel.to_string(), "--queue", &queue.to_string()]);
        let mut held = Vec::new();
        let mut statuses = Vec::new();
        for _ in 0..parallel + queue + 2 {
            let mut connection = server.connect();
            connection.write_all(request.as_bytes()).unwrap();
            let mut head = [0; 12];
            connection.read_exact(&mut head).unwrap();
            if head.ends_with(b"429") {
                let mut rest = vec![0; 200];
                let n = connection.read(&mut rest).unwrap();
                assert!(String::from_utf8_lossy(&rest[..n]).to_lowercase().contains("retry-after:"));
            }
            statuses.push(String::from_utf8_lossy(&head[9..]).into_owned());
            held.push(connection);
        }
        // Exactly those that are served and those that may wait, if none has ended meanwhile.
        if server.metric("tokki_answers_total{model=\"llama\",finished_reason=\"length\"}") == 0.0 {
            let (taken, refused) = statuses.split_at(parallel + queue);
            assert!(taken.iter().all(|status| status == "200"), "{parallel}, {queue}: {statuses:?}");
            assert!(refused.iter().all(|status| status == "429"), "{parallel}, {queue}: {statuses:?}");
        }
    }
    // Vectors have a queue of the same length.
    let server = serve(&["--queue", "0", "--pooling", "mean"]);
    let texts: Vec<Vec<u32>> = vec![vec![5; 500]; 200];
    std::thread::scope(|scope| {
        let long = || server.post("/v1/embeddings", &json!({ "input": texts })).status;
        let both = [scope.spawn(long), scope.spawn(long)].map(|thread| thread.join().unwrap());
        assert!(both.contains(&429) && both.contains(&200), "{both:?}");
    });
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": "Hello" })).status, 200);
    // One after the other they never wait, even where nobody may.
    let server = serve(&["--parallel", "1", "--queue", "0"]);
    for _ in 0..20 {
        assert_eq!(server.post("/v1/chat/completions", &chat(&json!({ "max_tokens": 1 }))).status, 200);
    }
}

#[test]
fn sigterm_lets_answers_end_and_takes_no_new_ones() {
    let mut server = serve(&[]);
    let body = chat(&json!({ "stream": true, "max_tokens": 300, "ignore_eos": true })).to_string();
    let mut connection = server.connect();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 16];
    connection.read_exact(&mut first).unwrap();
    server.signal("-TERM");
    let mut rest = String::new();
    connection.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"), "the answer was cut: {rest}");
    assert!(TcpStream::connect(&server.address).is_err());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn who_asked_for_nothing_holds_up_no_end() {
    const WHOLE: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let halves = ["GET /v1/mod", "POST /v1/completions HTTP/1.1\r\nhost: loc"];
    let seconds = halves.map(|half| format!("{WHOLE}{half}"));
    for said in halves.into_iter().chain(seconds.iter().map(String::as_str)) {
        let mut server = serve(&[]);
        let mut connection = server.connect();
        connection.write_all(said.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        server.signal("-TERM");
        assert_eq!(server.child.wait().unwrap().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "{said:?}: {:?}", start.elapsed());
    }
}

#[test]
fn a_conversation_is_read_once() {
    let server = serve(&[]);
    let first = server.post("/v1/chat/completions", &chat(&json!({}))).json();
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let said = &first["choices"][0]["message"]["content"];
    let messages = json!([{ "role": "user", "content": "Hello there" }, { "role": "assistant", "content": said },
                          { "role": "user", "content": "And now?" }]);
    let second = server.post("/v1/chat/completions", &chat(&json!({ "messages": messages }))).json();
    let (prompt, cached) =
        (&first["usage"]["prompt_tokens"], &second["usage"]["prompt_tokens_details"]["cached_tokens"]);
    assert!(cached.as_u64().unwrap() + 4 >= prompt.as_u64().unwrap(), "{cached} of {prompt}");
}

#[test]
fn slow_and_endless_heads_are_given_up() {
    let server = serve(&[]);
    let mut idle: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for connection in &mut idle {
        connection.write_all(b"GET /health HT").unwrap();
    }
    let flood = [b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ".as_slice(), &[b'a'; 200_000], b"\r\n\r\n"].concat();
    assert!(matches!(server.raw(&flood).status, 0 | 431));
    let head = |lines: &str| server.raw(format!("GET /health HTTP/1.1\r\n{lines}connection: close\r\n\r\n").as_bytes());
    let large = head(&format!("host: localhost\r\nx: {}\r\n", "a".repeat(70_000)));
    assert!(large.status == 431, "{}", large.head);
    assert_eq!(head(&format!("host: localhost\r\nx: {}\r\n", "a".repeat(60_000))).status, 200);
    assert_eq!([head(""), head("host: localhost\r\nhost: localhost\r\n")].map(|reply| reply.status), [400; 2]);
    assert_eq!(server.raw(b"GET /health HTTP/1.0\r\n\r\n").status, 200);
    let large = server.raw(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n{");
    assert!(matches!(large.status, 0 | 413 | 400), "{}", large.status);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn utilities_of_llama_server() {
    let server = serve(&[]);
    let tokens = server.post("/tokenize", &json!({ "content": "Hello", "with_pieces": true })).json();
    let ids: Vec<Value> = tokens["tokens"].as_array().unwrap().iter().map(|token| token["id"].clone()).collect();
    assert_eq!(server.post("/detokenize", &json!({ "tokens": ids })).json()["content"], "Hello");
    let prompt = server.post("/apply-template", &chat(&json!({}))).json();
    assert!(prompt["prompt"].as_str().unwrap().contains("Hello there"));
    // It is the very prompt that a chat is answered with, also where that goes on with an answer.
    let begun = json!([{ "role": "user", "content": "Hello there" }, { "role": "assistant", "content": "I am" }]);
    for more in [
        json!({}),
        json!({ "messages": begun }),
        json!({ "messages": begun, "continue_final_message": true, "add_generation_prompt": false }),
        json!({ "messages": begun, "continue_final_message": false }),
        json!({ "messages": begun, "add_generation_prompt": true }),
    ] {
        let mut body = chat(&more);
        body["verbose"] = true.into();
        let prompt = server.post("/apply-template", &body).json()["prompt"].clone();
        let answered = server.post("/v1/chat/completions", &body).json()["__verbose"]["prompt"].clone();
        assert!(answered.as_str().unwrap().ends_with(prompt.as_str().unwrap()), "{more}: {prompt} {answered}");
        let goes_on = more["continue_final_message"] == true;
        assert!(!goes_on || prompt.as_str().unwrap().ends_with("I am"), "{prompt}");
    }
    let both = json!({ "messages": begun, "continue_final_message": true, "add_generation_prompt": true });
    assert_eq!(server.post("/apply-template", &both).status, 400);
    let props = server.get("/props").json();
    assert_eq!((&props["n_ctx"], &props["total_slots"]), (&json!(512), &json!(8)));
    assert_eq!(server.get("/v1/models").json()["data"][0]["max_model_len"], 512);
    assert_eq!(server.get("/").body, "Ollama is running");
    let banned = json!({ "prompt": "Hello", "n_predict": 4, "temperature": 0, "x_unknown": 1 });
    let reply = server.post("/completion", &banned);
    assert!(reply.head.contains("x-ignored-fields: x_unknown"), "{}", reply.head);
}

#[test]
fn responses_go_on_from_each_other() {
    let server = serve(&[]);
    let ask = json!({ "input": "Hello there", "max_output_tokens": 12, "seed": 3 });
    let first = server.post("/v1/responses", &ask).json();
    assert_eq!((&first["object"], &first["status"]), (&json!("response"), &json!("incomplete")));
    let text = first["output"][0]["content"][0]["text"].as_str().unwrap();
    let mut streamed = ask.clone();
    streamed["stream"] = true.into();
    let events = server.post("/v1/responses", &streamed).events();
    let pieces =
        events.iter().filter(|e| e["type"] == "response.output_text.delta").map(|e| e["delta"].as_str().unwrap());
    assert_eq!(pieces.collect::<String>(), text);
    assert_eq!(events.first().unwrap()["type"], "response.created");
    let numbers: Vec<u64> = events.iter().map(|e| e["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.iter().enumerate().all(|(at, n)| at as u64 == *n));
    let next = json!({ "input": "And now?", "previous_response_id": first["id"], "max_output_tokens": 4 });
    let next = server.post("/v1/responses", &next).json();
    assert!(next["usage"]["input_tokens"].as_u64() > first["usage"]["input_tokens"].as_u64());
    assert!(next["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    assert_eq!(server.get(&path).json()["id"], first["id"]);
    assert_eq!(server.send("DELETE", &path, "", "").status, 200);
    assert_eq!(server.get(&path).status, 404);
    // By this code clients send the whole conversation.
    let gone = server.post("/v1/responses", &json!({ "input": "And now?", "previous_response_id": first["id"] }));
    assert_eq!((gone.status, &gone.json()["error"]["code"]), (400, &json!("previous_response_not_found")));
    let history = json!([{ "type": "web_search_call", "id": "ws_1", "status": "completed" },
                         { "type": "local_shell_call_output", "id": "ls_1", "output": "x" }, { "role": "user", "content": "Hi" }]);
    let told = server.post("/v1/responses", &json!({ "input": history, "max_output_tokens": 2 }));
    assert_eq!(told.status, 200, "{}", told.body);
}

#[test]
fn grammars_probabilities_and_mixed_prompts() {
    let server = serve(&[]);
    let ask = json!({ "prompt": "Hello", "grammar": "root ::= (\"a\" | \"b\"){3,3}", "n_predict": 9, "n_probs": 2 });
    let answer = server.post("/completion", &ask).json();
    let text = answer["content"].as_str().unwrap();
    assert!(text.len() == 3 && text.chars().all(|c| "ab".contains(c)), "{text}");
    let told = answer["completion_probabilities"].as_array().unwrap();
    assert!(told.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2));
    let bad = server.post("/completion", &json!({ "prompt": "a", "grammar": "root ::= \"a" }));
    assert_eq!(bad.status, 400);
    let both = server.post("/completion", &json!({ "prompt": ["Hello", [5, 6]], "n_predict": 2 })).json();
    assert_eq!(both.as_array().unwrap().len(), 2);
    let mixed =
        server.post("/completion", &json!({ "prompt": [5, "Hello", 6], "n_predict": 2, "ignore_eos": true })).json();
    assert_eq!(mixed["tokens_predicted"], 2);
}

#[test]
fn the_page_comes_to_browsers_only() {
    let server = serve(&[]);
    let page = server.send("GET", "/", "accept: text/html,*/*\r\n", "");
    assert!(page.head.contains("text/html") && page.head.contains("content-security-policy"));
    assert!(
        page.body.contains("<title>tokki</title>")
            && !page.body.contains("http://")
            && !page.body.contains("innerHTML")
    );
    assert_eq!(server.get("/").body, "Ollama is running");
}

#[test]
fn systemd_is_told_when_the_server_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _server = serve_with(&[], &[("NOTIFY_SOCKET", path.as_os_str())]);
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1");
}

/// Runs `tokki batch`, killed after a moment if that is wished; the lines of the output.
fn batch(folder: &Path, kill: Option<Duration>) -> Vec<Value> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf");
    let mut command = crate::launch::tokki();
    command.args(["batch", "--ctx", "256", "--model"]).arg(model).args(["in.jsonl", "out.jsonl"]).current_dir(folder);
    let mut child = command.env("TOKKI_HOME", folder).stderr(Stdio::null()).spawn().unwrap();
    match kill {
        Some(after) => {
            std::thread::sleep(after);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        None => assert_eq!(child.wait().unwrap().code(), Some(0), "the exit code"),
    }
    let text = std::fs::read_to_string(folder.join("out.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A model that breaks under a batch is no fault of its requests: they have no answer yet, and get it from the next run.
#[test]
fn a_batch_whose_model_breaks_goes_on_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let whole = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch/llama.gguf")).unwrap();
    std::fs::write(at("m.gguf"), &whole).unwrap();
    let line = |id: usize| {
        json!({ "custom_id": format!("r{id}"), "url": "/v1/completions",
                "body": { "prompt": format!("Number {id}"), "max_tokens": 40, "ignore_eos": true } })
        .to_string()
    };
    std::fs::write(at("in.jsonl"), (0..60).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let start = || {
        let mut command = crate::launch::tokki();
        command
            .args(["batch", "--ctx", "256", "--model", "m.gguf", "in.jsonl", "out.jsonl"])
            .current_dir(folder.path());
        command.env("TOKKI_HOME", folder.path()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let answers = || std::fs::read_to_string(at("out.jsonl")).unwrap_or_default();
    let child = start();
    while answers().lines().count() < 2 {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::fs::File::options().write(true).open(at("m.gguf")).unwrap().set_len(whole.len() as u64 / 3).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && said.contains("cut short") && said.contains("goes on"), "{said}");
    std::fs::write(at("m.gguf"), &whole).unwrap();
    let ended = start().wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let text = answers();
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(all.len() == 60 && all.iter().all(|answer| answer["response"]["status_code"] == 200), "{text}");
}

/// Without --model the requests say which models of the store answer them; where one is given, it is said that it is another.
#[test]
fn a_batch_is_answered_by_the_models_that_it_names() {
    let home = crate::home::Home::new();
    let fixture = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name);
        path.to_str().unwrap().to_owned()
    };
    for (file, name) in [("llama.gguf", "first"), ("qwen2.gguf", "second")] {
        let (code, _, err) = crate::home::told(&home.run(&["import", &fixture(file), "--name", name]));
        assert_eq!(code, Some(0), "{err}");
    }
    let line = |model: &str| {
        let body = json!({ "model": model, "prompt": "Hello", "max_tokens": 2 });
        json!({ "custom_id": model, "url": "/v1/completions", "body": body }).to_string()
    };
    let input = home.path().join("in.jsonl");
    std::fs::write(&input, ["second", "first"].map(line).join("\n")).unwrap();
    let run = |more: &[&str], out: &str| {
        let out = home.path().join(out);
        let args = ["batch", input.to_str().unwrap(), out.to_str().unwrap(), "--ctx", "256"];
        let (code, _, err) = crate::home::told(&home.run(&[&args[..], more].concat()));
        assert_eq!(code, Some(0), "{err}");
        let text = std::fs::read_to_string(out).unwrap();
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names = |answer: &Value| {
            let answered = &answer["response"]["body"]["model"];
            (answer["custom_id"].as_str().unwrap().to_owned(), answered.as_str().unwrap().to_owned())
        };
        (answers.iter().map(names).collect::<std::collections::BTreeMap<_, _>>(), err)
    };
    let (named, _) = run(&[], "out.jsonl");
    assert!(named.iter().all(|(asked, answered)| asked == answered), "{named:?}");
    let (named, said) = run(&["--model", &fixture("llama-mixed.gguf")], "other.jsonl");
    assert!(named.values().all(|answered| answered == "llama-mixed"), "{named:?}");
    assert!(said.contains("requests name first, second: llama-mixed answers them"), "{said}");
}

#[test]
fn a_batch_that_was_killed_goes_on_and_answers_each_request_once() {
    let folder = tempfile::tempdir().unwrap();
    let line = |id: usize| {
        let body = json!({ "messages": [{ "role": "user", "content": format!("Number {id}") }], "max_tokens": 30,
                           "seed": id, "ignore_eos": true });
        json!({ "custom_id": format!("r{id}"), "method": "POST", "url": "/v1/chat/completions", "body": body })
            .to_string()
    };
    let lines: Vec<String> = (0..60).map(line).collect();
    std::fs::write(folder.path().join("in.jsonl"), lines.join("\n")).unwrap();
    for after in [150, 250, 400] {
        batch(folder.path(), Some(Duration::from_millis(after)));
    }
    let mut answers = batch(folder.path(), None);
    assert_eq!(answers.len(), 60);
    answers.sort_by_key(|answer| answer["custom_id"].as_str().unwrap()[1..].parse::<u32>().unwrap());
    for (id, answer) in answers.iter().enumerate() {
        assert_eq!(answer["custom_id"], format!("r{id}"));
        assert_eq!(answer["response"]["status_code"], 200);
    }
    let alone = serve(&[]);
    let body: Value = serde_json::from_str::<Value>(&lines[7]).unwrap()["body"].clone();
    let content = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
    assert_eq!(content(&answers[7]["response"]["body"]), content(&alone.post("/v1/chat/completions", &body).json()));
}
