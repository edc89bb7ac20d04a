//! What operators do with a server: several models, slots, addresses, numbers.

use super::fields::with;
use super::serve::{chat, serve, serve_model, serve_with};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

fn open_models(list: &Value) -> Vec<String> {
    let open = |model: &&Value| model["status"]["value"] == "loaded";
    let list = list["data"].as_array().unwrap();
    list.iter().filter(open).map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn models_are_opened_when_asked_for_and_closed_for_others() {
    let second = format!("second,other={}", fixture("qwen2.gguf").display());
    let third = format!("third={}", fixture("gemma2.gguf").display());
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.gguf");
    std::fs::copy(fixture("qwen2.gguf"), &broken).unwrap();
    let fourth = format!("broken={}", broken.display());
    // Models that are given first come first; the harness appends its own as the last.
    let server = serve(&[&second, &third, &fourth, "--max-open", "2"]);
    assert_eq!(open_models(&server.get("/v1/models").json()), ["second"]);
    let ask =
        |model: &str| server.post("/v1/completions", &json!({ "model": model, "prompt": [5, 6], "max_tokens": 2 }));
    assert_eq!(ask("third").json()["model"], "third");
    assert_eq!(open_models(&server.get("/v1/models").json()), ["second", "third"]);
    // An alias is the same model, and its use makes the other one the oldest.
    assert_eq!(ask("other").json()["model"], "second");
    assert_eq!(ask("llama").json()["model"], "llama");
    assert_eq!(open_models(&server.get("/v1/models").json()), ["second", "llama"]);
    // What a closed model counted is not forgotten.
    assert_eq!(server.metric("tokki_requests_total{model=\"third\"}"), 1.0);
    assert_eq!(server.metric("tokki_model_open{model=\"third\"}"), 0.0);
    assert_eq!(ask("none").status, 404);
    // For a file that is no model any more, none is closed.
    std::fs::write(&broken, "no model").unwrap();
    assert_eq!(ask("broken").status, 503);
    assert_eq!(open_models(&server.get("/v1/models").json()), ["second", "llama"]);
    let act = |what: &str, model: &str| server.post(&format!("/models/{what}"), &json!({ "model": model })).status;
    assert_eq!([act("unload", "second"), act("load", "third"), act("load", "none")], [200, 200, 404]);
    assert_eq!(open_models(&server.get("/v1/models").json()), ["third", "llama"]);
    // Ollama's way.
    let keep =
        |seconds: Value| server.post("/api/generate", &json!({ "model": "llama", "keep_alive": seconds })).json();
    assert_eq!(keep(json!("5m"))["done_reason"], "load");
    assert_eq!(keep(json!(0))["done_reason"], "unload");
    assert_eq!(open_models(&server.get("/v1/models").json()), ["third"]);
    assert_eq!(server.get("/api/ps").json()["models"].as_array().unwrap().len(), 1);
    assert!(keep(json!("soon"))["error"].as_str().unwrap().contains("keep_alive"));
}

#[test]
fn a_model_that_is_in_use_is_waited_for() {
    let second = format!("second={}", fixture("qwen2.gguf").display());
    let server = serve(&[&second, "--max-open", "1", "--parallel", "2"]);
    let ask = |model: &str, tokens: u32| {
        let body = json!({ "model": model, "prompt": [5, 6], "max_tokens": tokens, "ignore_eos": true });
        (server.post("/v1/completions", &body).status, Instant::now())
    };
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| ask("second", 480));
        while server.metric("tokki_requests_running{model=\"second\"}") < 1.0 {
            assert!(!busy.is_finished(), "it was never seen at work");
        }
        let other = scope.spawn(|| ask("llama", 2));
        while !other.is_finished() {
            let open = open_models(&server.get("/v1/models").json());
            assert!(open.len() <= 1, "{open:?}");
        }
        let (busy, other) = (busy.join().unwrap(), other.join().unwrap());
        assert_eq!((busy.0, other.0), (200, 200));
        assert!(busy.1 < other.1, "it was opened while the other one was in use");
    });
    assert_eq!(open_models(&server.get("/v1/models").json()), ["llama"]);
    assert_eq!(ask("second", 2).0, 200);
}

#[test]
fn an_idle_model_is_closed_and_opened_again() {
    let server = serve(&["--keep-alive", "1s"]);
    let props = || server.get("/props").json();
    let deadline = Instant::now() + Duration::from_secs(20);
    while props()["is_sleeping"] == false {
        assert!(Instant::now() < deadline, "the model is still open");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(props()["model_alias"], "llama");
    assert_eq!(open_models(&server.get("/v1/models").json()), Vec::<String>::new());
    assert_eq!(server.post("/v1/chat/completions", &chat(&json!({}))).status, 200);
    assert_eq!(props()["is_sleeping"], false);
}

#[test]
fn slots_are_saved_and_restored() {
    let home = tempfile::tempdir().unwrap();
    // The folder is made where there is none.
    let folder = home.path().join("of/slots");
    let path = folder.to_str().unwrap().to_owned();
    let tokens: Vec<u32> = (0..200).map(|i| 3 + i % 50).collect();
    let ask = |server: &super::serve::Server| {
        let body = json!({ "prompt": tokens, "n_predict": 4, "id_slot": 1, "temperature": 0 });
        server.post("/completion", &body).json()
    };
    let server = serve(&["--slot-save-path", &path]);
    let first = ask(&server);
    assert_eq!(first["timings"]["prompt_n"], 200);
    let act = |id: u32, action: &str, name: &str| {
        server.post(&format!("/slots/{id}?action={action}"), &json!({ "filename": name }))
    };
    let saved = act(1, "save", "one.bin").json();
    assert_eq!(saved["n_saved"], 203, "{saved}");
    assert_eq!(act(1, "erase", "").json()["n_erased"], 204);
    assert_eq!(ask(&server)["timings"]["prompt_n"], 200);
    assert_eq!(act(99, "save", "x").status, 400);
    assert_eq!(act(1, "forget", "x").status, 400);
    for name in ["../out", "/etc/x", "", ".hidden", "a\nb"] {
        assert_eq!(act(1, "save", name).status, 400, "{name:?}");
    }
    drop(server);
    let server = serve(&["--slot-save-path", &path]);
    let restored = server.post("/slots/0?action=restore", &json!({ "filename": "one.bin" })).json();
    assert_eq!(restored["n_restored"], 203, "{restored}");
    let again = ask(&server);
    assert_eq!(again["timings"]["cache_n"], 199);
    assert_eq!(again["content"], first["content"]);
    std::fs::write(folder.join("bad.bin"), "no session").unwrap();
    for name in ["bad.bin", "none.bin"] {
        assert_eq!(server.post("/slots/0?action=restore", &json!({ "filename": name })).status, 400, "{name}");
    }
    assert_eq!(serve(&[]).post("/slots/0?action=save", &json!({ "filename": "x" })).status, 501);
}

#[test]
fn several_addresses_and_what_is_switched_off() {
    let server = serve(&["--host", "127.0.0.1,127.0.0.2", "--no-slots", "--no-metrics", "--no-page"]);
    let port = server.address.rsplit(':').next().unwrap();
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.2:{port}")).unwrap();
    use std::io::{Read, Write};
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!([server.get("/slots").status, server.get("/metrics").status, server.get("/").status], [501, 501, 404]);
}

#[test]
fn metrics_have_llama_servers_names() {
    let server = serve(&[]);
    let answer = server.post("/completion", &json!({ "prompt": [7, 8, 9], "n_predict": 5, "ignore_eos": true })).json();
    assert_eq!(answer["timings"]["predicted_n"], 5);
    assert!(!answer["generation_settings"]["logit_bias"].as_array().unwrap().is_empty());
    assert_eq!(server.metric("llamacpp:tokens_predicted_total"), 5.0);
    assert_eq!(server.metric("llamacpp:prompt_tokens_total"), 3.0);
    assert!(server.metric("llamacpp:n_tokens_max") >= 7.0);
    // Speeds are those since the last look: nothing has happened since.
    assert_eq!(server.metric("llamacpp:predicted_tokens_seconds"), 0.0);
    assert!(server.get("/metrics").head.contains("process-start-time-unix: "));
}

/// What gateways of vLLM choose a replica by, where it is asked for.
#[test]
fn metrics_have_vllms_names_on_request() {
    assert!(!serve(&[]).get("/metrics").body.contains("vllm:"));
    let server = serve(&["--vllm-metrics"]);
    server.post("/completion", &json!({ "prompt": [7, 8, 9], "n_predict": 5, "ignore_eos": true }));
    let text = server.get("/metrics").body;
    let value = |row: &str| -> f64 {
        let found = text.lines().find(|line| line.starts_with(row));
        found.unwrap_or_else(|| panic!("{row}: {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    let named = |row: &str| value(&format!("vllm:{row}{{model_name=\"llama\",engine=\"0\""));
    assert_eq!(["num_requests_waiting", "num_requests_running"].map(named), [0.0; 2]);
    assert!(named("kv_cache_usage_perc") > 0.0);
    assert_eq!(
        ["generation_tokens_total", "prefix_cache_queries_total", "prefix_cache_hits_total"].map(named),
        [5.0, 3.0, 0.0]
    );
    for histogram in [
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
        "request_inference_time_seconds",
        "time_to_first_token_seconds",
        "request_prompt_tokens",
        "request_generation_tokens",
    ] {
        assert_eq!(named(&format!("{histogram}_count")), 1.0, "{histogram}");
        assert!(text.contains(&format!("# TYPE vllm:{histogram} histogram\n")));
    }
    assert_eq!(["request_prompt_tokens_sum", "request_generation_tokens_sum"].map(named), [3.0, 5.0]);
    let ends = |why: &str| {
        value(&format!("vllm:request_success_total{{model_name=\"llama\",engine=\"0\",finished_reason=\"{why}\"}}"))
    };
    assert_eq!(["stop", "length", "abort", "error"].map(ends), [0.0, 1.0, 0.0, 0.0]);
    let facts = text.lines().find(|line| line.starts_with("vllm:cache_config_info{")).unwrap();
    assert!(
        facts.contains("block_size=\"128\"") && facts.contains("num_gpu_blocks=\"") && facts.ends_with(" 1"),
        "{facts}"
    );
    assert!(text.contains("vllm:lora_requests_info{model_name=\"llama\",engine=\"0\",max_lora=\"0\""), "{text}");
    // Memory and guesses under the own names.
    for row in ["process_resident_memory_bytes", "cache_bytes{", "cache_limit_bytes{"] {
        assert!(value(&format!("tokki_{row}")) > 0.0, "{row}");
    }
    assert_eq!(
        ["guessed_tokens_offered_total", "guessed_tokens_accepted_total"].map(|row| value(&format!("tokki_{row}"))),
        [0.0; 2]
    );
}

/// What became of a model's file is said in each dialect's shape, before anything is promised.
#[test]
fn a_model_whose_file_is_cut_is_a_503_in_every_dialect() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.gguf");
    std::fs::copy(fixture("llama.gguf"), &path).unwrap();
    let server = serve_model(&path, &["--pooling", "mean"], &[]);
    let messages = json!([{ "role": "user", "content": "Hello there" }]);
    let long = json!({ "messages": messages, "max_tokens": 480, "ignore_eos": true, "stream": true }).to_string();
    // One stream is under way when it happens.
    let mut stream = server.connect();
    use std::io::{Read, Write};
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        long.len()
    );
    stream.write_all(format!("{head}{long}").as_bytes()).unwrap();
    let mut begun = [0; 600];
    stream.read_exact(&mut begun).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    // (On a busy machine it may have come to its end before.)
    let failed = rest.contains("event: error") && rest.contains("\"api_error\"");
    assert!(failed || rest.contains("event: message_stop"), "{rest}");
    for (path, body, shape) in [
        ("/v1/chat/completions", json!({ "messages": messages }), "{\"error\":{"),
        ("/v1/completions", json!({ "prompt": "Hello" }), "{\"error\":{"),
        ("/v1/responses", json!({ "input": "Hello" }), "{\"error\":{"),
        ("/completion", json!({ "prompt": "Hello" }), "{\"error\":{"),
        ("/v1/embeddings", json!({ "input": "Hello" }), "{\"error\":{"),
        ("/v1/messages", json!({ "messages": messages, "max_tokens": 3 }), "{\"type\":\"error\",\"error\":{"),
        ("/api/chat", json!({ "messages": messages }), "{\"error\":\""),
        ("/api/generate", json!({ "prompt": "Hello" }), "{\"error\":\""),
        ("/api/embed", json!({ "input": "Hello" }), "{\"error\":\""),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = stream.into();
            let reply = server.post(path, &body);
            assert_eq!(reply.status, 503, "{path} {body}: {}", reply.body);
            assert!(reply.head.contains("content-type: application/json"), "{path}: {}", reply.head);
            assert!(
                reply.body.starts_with(shape) && reply.body.contains("while it was in use"),
                "{path}: {}",
                reply.body
            );
            if path == "/v1/messages" {
                let error = reply.json();
                assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("api_error")));
            }
            // The same fails again: official clients need not try.
            assert!(reply.head.contains("x-should-retry: false"), "{path}: {}", reply.head);
        }
    }
    // The process lives, and takes no work of those who ask first.
    assert_eq!(["/livez", "/health", "/readyz"].map(|path| server.get(path).status), [200, 503, 503]);
}

#[test]
fn a_completion_tells_tokens_speeds_and_probabilities() {
    let server = serve(&[]);
    let body = |more: Value| {
        let mut body = json!({ "prompt": [7, 8, 9], "n_predict": 6, "ignore_eos": true, "temperature": 1, "seed": 5 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let whole = server.post("/completion", &body(json!({ "return_tokens": true }))).json();
    assert_eq!(whole["tokens"].as_array().unwrap().len(), 6);
    let chunks = server.post("/completion", &body(json!({ "stream": true, "return_progress": true }))).events();
    let tokens: Vec<Value> = chunks.iter().flat_map(|chunk| chunk["tokens"].as_array().unwrap().clone()).collect();
    assert_eq!(whole["tokens"], Value::from(tokens));
    let progress: Vec<&Value> = chunks.iter().filter(|chunk| !chunk["prompt_progress"].is_null()).collect();
    assert_eq!(progress[0]["timings"]["prompt_ms"], 0.0);
    assert_eq!(progress.last().unwrap()["prompt_progress"]["processed"], 3);
    let after =
        server.post("/completion", &body(json!({ "n_probs": 3, "post_sampling_probs": true, "top_k": 2 }))).json();
    for token in after["completion_probabilities"].as_array().unwrap() {
        let top: Vec<f64> =
            token["top_probs"].as_array().unwrap().iter().map(|p| p["prob"].as_f64().unwrap()).collect();
        assert!(top.len() <= 2 && (top.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{token}");
        assert!(token["prob"].as_f64().unwrap() > 0.0);
    }
    let paced = server.post("/v1/chat/completions", &chat(&json!({ "stream": true, "timings_per_token": true })));
    let deltas = paced.events().into_iter().filter(|chunk| chunk["choices"][0]["delta"]["content"].is_string());
    assert!(deltas.into_iter().all(|chunk| chunk["timings"]["predicted_n"].as_u64() > Some(0)));
    let told = server.post("/v1/chat/completions", &chat(&json!({ "verbose": true }))).json();
    assert!(told["__verbose"]["prompt"].as_str().unwrap().contains("Hello there"));
}

#[test]
fn decisions_are_probabilities() {
    let server = serve_with(&["--temperature", "0"], &[]);
    let questions = json!([
        { "type": "predicate", "instructions": "Is it warm?", "name": "warm" },
        { "type": "choice", "instructions": "What is it?", "choices": [{ "value": "soup" }, { "value": true }] },
        { "type": "score", "instructions": "How warm?", "levels": [{ "label": "cold" }, { "label": "mild" }, { "label": "hot" }] },
    ]);
    let body = json!({ "model": "m", "input": "The soup is hot.", "questions": questions });
    let decision = server.post("/v1/decisions", &body).json();
    let answers = decision["answers"].as_array().unwrap_or_else(|| panic!("{decision}"));
    assert_eq!(answers[0]["name"], "warm");
    assert!((0.0..=1.0).contains(&answers[0]["probability"].as_f64().unwrap()));
    for answer in &answers[1..] {
        let all = answer["probabilities"].as_array().unwrap().iter();
        let sum: f64 = all.map(|entry| entry["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{answer}");
    }
    assert!(answers[2]["score"].as_f64().unwrap() <= 2.0);
    // The same again, from the cache: the same bits.
    let again = server.post("/v1/decisions", &body).json();
    assert_eq!(again["answers"], decision["answers"]);
    assert!(again["usage"]["input_tokens_details"]["cached_tokens"].as_u64() > Some(0));
    for bad in [json!([]), json!([{ "type": "wish", "instructions": "x" }])] {
        let body = json!({ "input": "x", "questions": bad });
        assert_eq!(server.post("/v1/decisions", &body).status, 400);
    }
    // Each ends with its first token: that is no abort.
    assert_eq!(server.metric("tokki_answers_total{model=\"llama\",finished_reason=\"abort\"}"), 0.0);
}

#[test]
fn what_is_missing_is_filled_in_by_the_model_that_was_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fim.gguf");
    let writer = tokki::testing::tiny("llama", 1).unwrap();
    let tokens = [("pre", 5), ("suf", 6), ("mid", 7)];
    let writer = tokens
        .iter()
        .fold(writer, |writer, (name, id)| writer.u32(&format!("tokenizer.ggml.fim_{name}_token_id"), *id));
    writer.write(&path).unwrap();
    let (first, second) = (format!("first={}", fixture("qwen2.gguf").display()), format!("fim={}", path.display()));
    let server = serve(&[&first, &second]);
    let body = json!({ "model": "fim", "input_prefix": "a", "input_suffix": "b", "n_predict": 2 });
    let reply = server.post("/infill", &body);
    assert_eq!((reply.status, &reply.json()["model"]), (200, &json!("fim")), "{}", reply.body);
    let card = server.post("/api/show", &json!({ "model": "fim" })).json();
    assert!(card["capabilities"].as_array().unwrap().contains(&json!("insert")), "{card}");
}

#[test]
fn a_tools_schema_is_kept_to_as_far_as_can_be_with_a_warning() {
    let server = serve(&[]);
    let call = |parameters: Value| {
        let tool = json!({ "type": "function", "function": { "name": "f", "parameters": parameters } });
        let body = chat(&json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 60 }));
        server.post("/v1/chat/completions", &body)
    };
    let plain = call(json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"] }));
    assert_eq!(plain.status, 200, "{}", plain.body);
    let warnings = |head: &str| head.lines().find(|line| line.starts_with("x-warnings")).map(str::to_owned);
    // The small model's template knows none, which is told as well.
    assert!(plain.head.contains("knows no tools") && !plain.head.contains("unique"), "{}", plain.head);
    for odd in [
        json!({ "type": "object", "properties": { "a": { "type": "array", "uniqueItems": true } } }),
        json!({ "type": "object", "properties": { "a": { "const": 1e20 } } }),
        json!({ "type": "object", "properties": { "a": { "$ref": "#/nowhere" } } }),
    ] {
        let reply = call(odd.clone());
        assert_eq!(reply.status, 200, "{odd}: {}", reply.body);
        assert_ne!(warnings(&reply.head), warnings(&plain.head), "{odd}: {}", reply.head);
    }
}

/// A form with a file, as clients upload it.
fn upload(server: &super::serve::Server, purpose: &str, content: &str) -> super::serve::Reply {
    let part = |head: &str, body: &str| format!("--xyz\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n");
    let body = part("name=\"purpose\"", purpose)
        + &part("name=\"file\"; filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream", content)
        + "--xyz--\r\n";
    server.send("POST", "/v1/files", "content-type: multipart/form-data; boundary=xyz\r\n", &body)
}

fn wait_for(server: &super::serve::Server, batch: &str, over: &[&str]) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let object = server.get(&format!("/v1/batches/{batch}")).json();
        if over.contains(&object["status"].as_str().unwrap()) {
            return object;
        }
        assert!(Instant::now() < deadline, "{object}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn batches_are_answered_in_the_background_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let line = |id: usize, tokens: usize| {
        json!({ "custom_id": format!("r{id}"), "method": "POST", "url": "/v1/completions",
                "body": { "prompt": [5 + id % 40, 6], "max_tokens": tokens, "ignore_eos": true, "seed": id } })
        .to_string()
    };
    let lines = |count: usize, tokens: usize| (0..count).map(|id| line(id, tokens) + "\n").collect::<String>();
    let begin = |server: &super::serve::Server, content: &str| {
        let file = upload(server, "batch", content).json();
        assert_eq!(file["bytes"], content.len(), "{file}");
        let body = json!({ "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h" });
        server.post("/v1/batches", &body).json()["id"].as_str().unwrap().to_owned()
    };
    let mut server = serve(&["--data", &data]);
    // A second server would answer the same batches.
    let second = crate::launch::tokki()
        .args(["serve", "--port", "0", "--data", &data])
        .arg(fixture("llama.gguf"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(1) && said.contains("another tokki serve"), "{said}");
    let short = begin(&server, &lines(5, 3));
    let done = wait_for(&server, &short, &["completed"]);
    assert_eq!(done["request_counts"], json!({ "total": 5, "completed": 5, "failed": 0 }));
    let output = server.get(&format!("/v1/files/{}/content", done["output_file_id"].as_str().unwrap())).body;
    assert_eq!(output.lines().count(), 5);
    // Killed in the middle: each request is answered once.
    let long = begin(&server, &lines(60, 40));
    while server.get(&format!("/v1/batches/{long}")).json()["request_counts"]["completed"].as_u64() < Some(3) {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill();
    let server = serve(&["--data", &data]);
    let done = wait_for(&server, &long, &["completed"]);
    let output = server.get(&format!("/v1/files/{}/content", done["output_file_id"].as_str().unwrap())).body;
    let mut ids: Vec<String> = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["custom_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), output.lines().count()), (60, 60));
    // Cancelled, refused, listed, deleted.
    let endless = begin(&server, &lines(200, 400));
    assert_eq!(server.post(&format!("/v1/batches/{endless}/cancel"), &json!({})).json()["status"], "cancelling");
    wait_for(&server, &endless, &["cancelled"]);
    assert_eq!(server.post(&format!("/v1/batches/{endless}/cancel"), &json!({})).status, 409);
    // Others may read the folder; what people wrote stays the server's.
    #[cfg(unix)]
    for entry in std::fs::read_dir(&data).unwrap().flatten().filter(|entry| entry.file_name() != "lock") {
        let mode = std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions());
        assert_eq!(mode & 0o77, 0, "{:?}: {mode:o}", entry.file_name());
    }
    let failed = begin(&server, "no json\n");
    let why = wait_for(&server, &failed, &["failed"])["errors"].to_string();
    assert!(why.contains("line 1") && !why.contains(&data), "{why}");
    assert_eq!(
        server.send("DELETE", &format!("/v1/files/{}", done["output_file_id"].as_str().unwrap()), "", "").status,
        200
    );
    // Page by page, the latest first.
    let page = server.get("/v1/batches?limit=1").json();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (1, &json!(true)), "{page}");
    let last = page["last_id"].as_str().unwrap();
    let rest = server.get(&format!("/v1/batches?after={last}")).json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (3, &json!(false)), "{rest}");
    assert_eq!(server.get("/v1/files?limit=0").status, 400);
    let file = upload(&server, "batch", &lines(1, 1)).json();
    let odd = json!({ "input_file_id": file["id"], "endpoint": "/v1/bogus", "completion_window": "24h" });
    assert_eq!(server.post("/v1/batches", &odd).status, 400);
    let week = json!({ "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "7d" });
    assert!(server.post("/v1/batches", &week).body.contains("'completion_window': only '24h'"));
    assert_eq!(server.get("/v1/batches").json()["data"].as_array().unwrap().len(), 4);
    assert_eq!(upload(&server, "fine-tune", "x").status, 400);
    assert_eq!(server.post("/v1/files", &json!({})).status, 400);
    let file = upload(&server, "batch", "x").json()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.send("DELETE", &format!("/v1/files/{file}"), "", "").json()["deleted"], true);
    assert_eq!(server.get(&format!("/v1/files/{file}")).status, 404);
    assert_eq!(server.get("/v1/files/..%2f..%2fetc%2fpasswd/content").status, 404);
}

#[test]
fn lines_of_a_batch_that_fail_have_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let line = |id: usize, tokens: i64| {
        json!({ "custom_id": format!("r{id}"), "url": "/v1/completions",
                "body": { "prompt": [5, 6], "max_tokens": tokens, "ignore_eos": true } })
        .to_string()
            + "\n"
    };
    let run = |server: &super::serve::Server, content: &str| {
        let file = upload(server, "batch", content).json();
        let body = json!({ "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h" });
        server.post("/v1/batches", &body).json()["id"].as_str().unwrap().to_owned()
    };
    let lines_of = |server: &super::serve::Server, id: &Value| -> Vec<Value> {
        let content = server.get(&format!("/v1/files/{}/content", id.as_str().unwrap()));
        assert_eq!(content.status, 200, "{}", content.body);
        content.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut server = serve(&["--data", &data]);
    let good = run(&server, &(line(0, 2) + &line(1, 2)));
    assert_eq!(wait_for(&server, &good, &["completed"])["error_file_id"], Value::Null);
    // Killed in the middle, no failure is told twice.
    let mixed = run(&server, &(0..40).map(|id| line(id, if id % 4 == 0 { -7 } else { 40 })).collect::<String>());
    while server.get(&format!("/v1/batches/{mixed}")).json()["request_counts"]["completed"].as_u64() < Some(3) {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill();
    let server = serve(&["--data", &data]);
    let done = wait_for(&server, &mixed, &["completed"]);
    assert_eq!(done["request_counts"], json!({ "total": 40, "completed": 30, "failed": 10 }));
    let (answers, errors) = (lines_of(&server, &done["output_file_id"]), lines_of(&server, &done["error_file_id"]));
    assert_eq!((answers.len(), errors.len()), (30, 10));
    assert!(answers.iter().all(|line| line["response"]["status_code"] == 200));
    for line in &errors {
        assert_eq!(line["response"]["status_code"], 400, "{line}");
        assert!(line["response"]["body"]["error"]["message"].as_str().unwrap().contains("max_tokens"), "{line}");
    }
    let file = server.get(&format!("/v1/files/{}", done["error_file_id"].as_str().unwrap())).json();
    assert_eq!(file["purpose"], "batch_output");
}

#[test]
fn vectors_come_in_every_dialect() {
    let server = serve(&["--pooling", "mean"]);
    let length = |vector: &Value| vector.as_array().unwrap().iter().map(|x| x.as_f64().unwrap().powi(2)).sum::<f64>();
    let body =
        json!({ "input": ["Hello there", [5, 6, 7], { "content": [{ "type": "text", "text": "Hello there" }] }] });
    let answer = server.post("/v1/embeddings", &body).json();
    let data = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(data.len(), 3);
    assert!(data.iter().all(|entry| (length(&entry["embedding"]) - 1.0).abs() < 1e-5));
    assert_eq!(data[0]["embedding"], data[2]["embedding"]);
    assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
    // They are counted as prompts are, one pass each, and nothing is generated.
    let read = answer["usage"]["prompt_tokens"].as_f64().unwrap();
    assert_eq!(server.metric("tokki_prompt_tokens_total"), read);
    assert_eq!(server.metric("llamacpp:prompt_tokens_total"), read);
    assert_eq!(server.metric("llamacpp:n_decode_total"), 3.0);
    assert_eq!(server.metric("llamacpp:tokens_predicted_total"), 0.0);
    // Little-endian floats in base64.
    let packed = server.post("/v1/embeddings", &json!({ "input": [5, 6, 7], "encoding_format": "base64" })).json();
    let text = packed["data"][0]["embedding"].as_str().unwrap();
    assert_eq!(text.len(), (data[1]["embedding"].as_array().unwrap().len() * 4).div_ceil(3) * 4);
    let ollama = server.post("/api/embed", &json!({ "model": "llama", "input": "Hello there" })).json();
    assert_eq!(ollama["embeddings"][0], data[0]["embedding"]);
    let old = server.post("/api/embeddings", &json!({ "model": "llama", "prompt": "Hello there" })).json();
    assert_eq!(old["embedding"].as_array().unwrap().len(), data[0]["embedding"].as_array().unwrap().len());
    let plain = server.post("/embeddings", &json!({ "input": "Hello there" })).json();
    assert_eq!(plain[0]["embedding"][0], data[0]["embedding"]);
    // A chat goes on beside it.
    assert_eq!(server.post("/v1/chat/completions", &chat(&json!({}))).status, 200);
    for bad in [json!({}), json!({ "input": [] }), json!({ "input": 5 }), json!({ "input": "x", "dimensions": 3000 })] {
        assert_eq!(server.post("/v1/embeddings", &bad).status, 400, "{bad}");
    }
    let long: Vec<u32> = vec![5; 600];
    let refused = server.post("/v1/embeddings", &json!({ "input": long })).body;
    assert!(refused.contains("too large"), "{refused}");
    // Not a model that ranks.
    let rerank = json!({ "query": "q", "documents": ["a", "b"] });
    assert_eq!(server.post("/v1/rerank", &rerank).status, 400);
    let tokens = serve(&["--pooling", "none"]);
    assert_eq!(tokens.post("/v1/embeddings", &json!({ "input": [5, 6, 7] })).status, 400);
    let rows = tokens.post("/embeddings", &json!({ "input": [5, 6, 7] })).json();
    assert_eq!(rows[0]["embedding"].as_array().unwrap().len(), 3);
}

#[test]
fn a_thought_that_is_not_there_cannot_be_ended() {
    let server = serve(&[]);
    let control = |body: Value| server.post("/v1/chat/completions/control", &body).status;
    assert_eq!(control(json!({ "id": "chatcmpl-none", "action": "reasoning_end" })), 404);
    assert_eq!(control(json!({ "id": "chatcmpl-none", "action": "sing" })), 400);
    assert_eq!(control(json!({ "action": "reasoning_end" })), 400);
}

/// An answer that was cut in its thought goes on there; nothing of it stands as a turn of its own.
#[test]
fn an_answer_that_was_cut_in_its_thought_goes_on_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("thinks.jinja");
    let text = "{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}\
                {% if add_generation_prompt %}[assistant]<think>\n{% endif %}";
    std::fs::write(&template, text).unwrap();
    let server = serve(&["--chat-template-file", template.to_str().unwrap()]);
    let prompt = |last: Value| {
        let body = json!({
            "messages": [{ "role": "user", "content": "Why?" }, last], "continue_final_message": true, "verbose": true,
            "max_tokens": 4
        });
        let reply = server.post("/v1/chat/completions", &body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["__verbose"]["prompt"].as_str().unwrap().to_owned()
    };
    let cut = json!({ "role": "assistant", "content": "", "reasoning_content": "Because of" });
    assert!(prompt(cut).ends_with("[user]Why?[end][assistant]<think>\nBecause of"));
    let empty = prompt(json!({ "role": "assistant", "content": "" }));
    assert!(empty.ends_with("[user]Why?[end][assistant]<think>\n"), "{empty}");
}

/// Another key's answer is not there for whoever asks.
#[test]
fn only_who_asked_for_an_answer_ends_its_thoughts() {
    use std::io::{Read, Write};
    let server = serve(&["--api-key", "one,two"]);
    let body = chat(&json!({ "stream": true, "max_tokens": 400, "ignore_eos": true })).to_string();
    let mut connection = server.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer one\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let (mut said, mut piece) = (String::new(), [0; 512]);
    let id = loop {
        let read = connection.read(&mut piece).unwrap();
        assert!(read > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&piece[..read]));
        let id = said.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((id, _)) = id {
            break id.to_owned();
        }
    };
    let body = json!({ "id": id, "action": "reasoning_end" }).to_string();
    let control = |key: &str| {
        let key = format!("authorization: Bearer {key}\r\n");
        server.send("POST", "/v1/chat/completions/control", &key, &body).status
    };
    assert_eq!([control("two"), control("one")], [404, 200]);
}

#[test]
fn a_request_that_is_under_way_at_sigterm_is_answered_however_long_it_takes() {
    use std::io::{Read, Write};
    let server = serve(&["--drain", "30"]);
    let body = chat(&json!({})).to_string();
    let (first, second) = body.split_at(body.len() / 2);
    let mut connection = server.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-TERM");
    // Longer than commands may take to end.
    std::thread::sleep(Duration::from_millis(1500));
    connection.write_all(second.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_is_served_is_called_and_marked_as_told() {
    let home = crate::home::Home::new();
    let file = fixture("qwen2.gguf");
    let (code, _, err) = crate::home::told(&home.run(&["import", file.to_str().unwrap(), "--name", "stored"]));
    assert_eq!(code, Some(0), "{err}");
    let flags = ["--store", "--tag", "for tests", "--name", "models.test", "--verbose"];
    let server = serve_with(&flags, &[("TOKKI_HOME", home.path().as_os_str())]);
    let list = server.get("/v1/models").json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"stored") && ids.contains(&"llama"), "{list}");
    assert!(list.to_string().contains("for tests"), "{list}");
    let called = |host: &str| {
        server.raw(format!("GET /v1/models HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
    };
    assert_eq!((called("models.test").status, called("other.test").status), (200, 403));
    let ask =
        |server: &crate::serve::Server| server.post("/v1/chat/completions", &chat(&json!({ "max_tokens": 2 }))).json();
    let (said, plain) = (ask(&server), ask(&serve(&[])));
    assert!(said["__verbose"].is_object() && plain.get("__verbose").is_none(), "{said}");
}

/// What is set for one model holds for its answers, and lists tell of models that are not open what they tell of open ones.
#[test]
fn presets_and_lists_are_of_each_model() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let text = "max_tokens = 9\ntemperature = 0.33\n[models.llama]\nmax_tokens = 2\nseed = 5\ntemperature = 0.11\n";
    std::fs::write(&config, text).unwrap();
    let second = format!("second={}", fixture("qwen2.gguf").display());
    let server = serve_with(&[&second], &[("TOKKI_CONFIG", config.as_os_str())]);
    let list = server.get("/v1/models").json();
    let at = list["data"].as_array().unwrap().iter().position(|model| model["id"] == "llama").unwrap();
    let (open, closed) = (&list["data"][1 - at], &list["data"][at]);
    assert_eq!([&open["status"]["value"], &closed["status"]["value"]], ["loaded", "unloaded"], "{list}");
    for model in [open, closed] {
        assert!(model["max_model_len"] == 512 && model["meta"]["n_ctx"] == 512, "{list}");
    }
    assert_eq!([&list["models"][1 - at], &list["models"][at]].map(|m| &m["details"]["family"]), ["qwen2", "llama"]);
    assert_eq!(server.get("/v1/models/llama").json()["max_model_len"], 512);
    assert_eq!(server.get("/api/tags").json()["models"][at]["details"]["family"], "llama");
    let written = |model: &str, more: Value| {
        let messages = json!([{ "role": "user", "content": "Hello" }]);
        let body = with(json!({ "model": model, "messages": messages, "ignore_eos": true }), more);
        server.post("/v1/chat/completions", &body).json()["usage"]["completion_tokens"].as_u64()
    };
    assert_eq!(written("llama", json!({})), Some(2));
    assert_eq!(written("llama", json!({ "max_tokens": 4 })), Some(4), "a request beats it");
    assert_eq!(written("second", json!({})), Some(9));
    let settings = server.get("/props?model=llama").json()["default_generation_settings"]["params"].clone();
    assert_eq!((&settings["seed"], &settings["n_predict"]), (&json!(5), &json!(2)), "{settings}");
    assert!((settings["temperature"].as_f64().unwrap() - 0.11).abs() < 1e-6, "{settings}");
}

/// Slots and properties of each model by its name; a second name for the same content shares no folder of the cache on disk.
#[test]
fn each_model_has_its_own_slots_and_properties() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, slots) = (folder.path().join("cache"), folder.path().join("slots"));
    let second = format!("second={}", fixture("qwen2.gguf").display());
    let twin = format!("twin={}", fixture("qwen2.gguf").display());
    let (cache, slots) = (cache.to_str().unwrap(), slots.to_str().unwrap());
    let server = serve(&[&second, &twin, "--cache-disk", cache, "--slot-save-path", slots, "--parallel", "2"]);
    let ask = |model: &str| {
        let body = json!({ "model": model, "prompt": [5, 6, 7], "n_predict": 3, "id_slot": 1 });
        assert_eq!(server.post("/completion", &body).status, 200, "{model}");
    };
    ask("llama");
    ask("twin");
    let tokens = |model: &str| server.get(&format!("/slots?model={model}")).json()[1]["n_tokens"].as_u64();
    assert_eq!((tokens("second"), tokens("llama").is_some_and(|n| n > 3)), (Some(0), true));
    let path = |model: &str| server.get(&format!("/props?model={model}")).json()["model_path"].to_string();
    assert!(path("llama").contains("llama.gguf") && path("second").contains("qwen2.gguf"));
    assert_eq!((server.get("/props?model=none").status, server.get("/slots?model=none").status), (404, 404));
    let save = |body: Value| server.post("/slots/1?action=save", &body).json()["n_saved"].as_u64();
    assert_eq!(save(json!({ "filename": "a", "model": "second" })), Some(0));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(Path::new(slots).join("a")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "what was said is its owner's");
    assert!(save(json!({ "filename": "a", "model": "llama" })) > Some(3));
}

/// A short text does not wait for all texts of another request, and those who compute vectors are counted.
#[test]
fn requests_for_vectors_take_turns_text_by_text() {
    let server = serve(&["--pooling", "mean"]);
    let long: Vec<String> = (0..400).map(|i| format!("{i} ").repeat(60)).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(server.post("/v1/embeddings", &json!({ "input": long })).status, 200);
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let start = Instant::now();
        while server.metric("tokki_requests_running{model=\"llama\"}") == 0.0 {
            assert!(start.elapsed() < Duration::from_secs(30), "nothing is computed");
        }
        assert_eq!(server.post("/v1/embeddings", &json!({ "input": "short" })).status, 200);
        assert!(!done.load(std::sync::atomic::Ordering::SeqCst), "it waited for the whole of the other request");
    });
    assert_eq!(server.metric("tokki_requests_total{model=\"llama\"}"), 2.0);
}

/// Without a model of its own, a server of the store fetches and opens none.
#[test]
fn a_server_of_the_store_opens_what_is_asked_for() {
    let home = crate::home::Home::new();
    let start = || {
        let mut command = crate::launch::tokki();
        command.args(["serve", "--port", "0", "--threads", "2", "--store"]);
        super::serve::started(command, &[("TOKKI_HOME", home.path().as_os_str())])
    };
    assert!(start().is_none(), "there is nothing to serve");
    let file = fixture("qwen2.gguf");
    let (code, _, err) = crate::home::told(&home.run(&["import", file.to_str().unwrap(), "--name", "stored"]));
    assert_eq!(code, Some(0), "{err}");
    let server = start().unwrap();
    let list = server.get("/v1/models").json();
    assert_eq!((list["data"].as_array().unwrap().len(), open_models(&list)), (1, Vec::new()), "{list}");
    let body = json!({ "model": "stored", "prompt": [5, 6], "max_tokens": 2 });
    assert_eq!(server.post("/v1/completions", &body).status, 200);
    assert_eq!(open_models(&server.get("/v1/models").json()), ["stored"]);
}

#[test]
fn two_models_of_one_name_are_refused() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/arch/llama.gguf");
    let home = tempfile::tempdir().unwrap();
    let mut command = crate::launch::tokki();
    command.args(["serve", "--port", "0", model, &format!("other,llama={model}")]).env("TOKKI_HOME", home.path());
    let output = command.env("XDG_CONFIG_HOME", home.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("\"llama\"") && said.contains("NAME=PATH"), "{said}");
}

/// Keys that have all been taken out of their file let nobody in, and that is told.
#[test]
fn an_emptied_file_of_keys_locks_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "secret\n").unwrap();
    let server = serve(&["--api-key-file", file.to_str().unwrap()]);
    let status = |key: &str| server.send("GET", "/v1/models", key, "").status;
    assert_eq!((status("Authorization: Bearer secret\r\n"), status("")), (200, 401));
    std::fs::write(&file, "# all gone\n").unwrap();
    server.signal("-HUP");
    let deadline = Instant::now() + Duration::from_secs(20);
    while status("Authorization: Bearer secret\r\n") == 200 {
        assert!(Instant::now() < deadline, "the key still opens");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((status("Authorization: Bearer secret\r\n"), status("")), (401, 401));
}

/// What one key has made is not there for another, whichever way a key is shown.
#[test]
fn keys_do_not_see_each_others_answers_files_and_batches() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let args = ["--data", &data, "--api-key", "one,two"];
    let mut server = serve(&args);
    let (own, same, other) = ("authorization: Bearer one\r\n", "x-api-key: one\r\n", "authorization: Bearer two\r\n");
    let ask = |key: &str, body: &Value| server.send("POST", "/v1/responses", key, &body.to_string());
    let first = ask(own, &json!({ "input": "a", "max_output_tokens": 16 })).json();
    let id = first["id"].as_str().unwrap();
    let item = first["output"][0]["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}");
    let go_on = json!({ "input": "b", "max_output_tokens": 16, "previous_response_id": id });
    let named = json!({ "input": [{ "type": "item_reference", "id": item }], "max_output_tokens": 16 });
    for (method, path) in [("GET", path.clone()), ("GET", format!("{path}/input_items")), ("DELETE", path.clone())] {
        assert_eq!(server.send(method, &path, other, "").status, 404, "{method} {path}");
    }
    assert_eq!(server.send("POST", &format!("{path}/cancel"), other, "").status, 404);
    assert_eq!([ask(other, &go_on).status, ask(other, &named).status], [400, 404]);
    assert_eq!([ask(same, &go_on).status, ask(own, &named).status], [200; 2]);
    assert_eq!(server.send("GET", &path, same, "").status, 200);
    // Files and batches, after a new start as well.
    let form = "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: \
                form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n{\"custom_id\":\"a\",\"url\":\"/v1/completions\",\
                \"body\":{\"prompt\":[5,6],\"max_tokens\":2}}\n\r\n--x--\r\n";
    let kind = "content-type: multipart/form-data; boundary=x\r\n";
    let file = server.send("POST", "/v1/files", &format!("{own}{kind}"), form).json();
    let file = file["id"].as_str().unwrap().to_owned();
    let batch = json!({ "input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h" }).to_string();
    assert_eq!(server.send("POST", "/v1/batches", other, &batch).status, 404);
    let batch = server.send("POST", "/v1/batches", own, &batch).json();
    assert!(batch["tokki_owner"].is_null());
    let batch = batch["id"].as_str().unwrap().to_owned();
    let paths = [
        ("GET", format!("/v1/files/{file}")),
        ("GET", format!("/v1/files/{file}/content")),
        ("DELETE", format!("/v1/files/{file}")),
        ("GET", format!("/v1/batches/{batch}")),
        ("POST", format!("/v1/batches/{batch}/cancel")),
    ];
    let check = |server: &super::serve::Server| {
        for (method, path) in &paths {
            assert_eq!(server.send(method, path, other, "").status, 404, "{method} {path}");
        }
        for list in ["/v1/files", "/v1/batches"] {
            let all = |key: &str| server.send("GET", list, key, "").json()["data"].as_array().unwrap().len();
            assert!(all(own) > 0 && all(other) == 0, "{list}");
        }
    };
    check(&server);
    let deadline = Instant::now() + Duration::from_secs(60);
    let done = loop {
        let object = server.send("GET", &format!("/v1/batches/{batch}"), own, "").json();
        if object["status"] == "completed" {
            break object;
        }
        assert!(Instant::now() < deadline, "{object}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let output = format!("/v1/files/{}/content", done["output_file_id"].as_str().unwrap());
    server.kill();
    let server = serve(&args);
    check(&server);
    assert_eq!([own, other].map(|key| server.send("GET", &output, key, "").status), [200, 404]);
}

/// Two models share what `--cache-size` gives: who is idle gives way, and neither is refused what it needs.
#[test]
fn the_memory_for_caches_is_one_for_all_models() {
    let second = format!("second={}", fixture("llama.gguf").display());
    // A conversation of 512 tokens needs 5 pages.
    let page = {
        let server = serve(&["--cache-size", "1G"]);
        server.post("/v1/completions", &json!({ "model": "llama", "prompt": [5, 6], "max_tokens": 1 }));
        server.metric("tokki_cache_bytes{") as usize
    };
    let size = 16 * page;
    let server = serve(&[&second, "--cache-size", &size.to_string(), "--parallel", "2"]);
    let ask = |model: &str, number: u32| {
        let prompt: Vec<u32> = (0..400).map(|i| 3 + (i * 7 + number * 31) % 250).collect();
        let body = json!({ "model": model, "prompt": prompt, "max_tokens": 8, "ignore_eos": true, "temperature": 0 });
        let reply = server.post("/v1/completions", &body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let used = server.metric("tokki_cache_budget_used_bytes");
        assert!(used <= size as f64, "{used} of {size}");
        reply.json()
    };
    let of = |model: &str, name: &str| server.metric(&format!("tokki_{name}{{model=\"{model}\"}}")) as usize / page;
    // One model alone fills what the other, which is not open, does not need.
    let first = ask("second", 0);
    (1..6).for_each(|number| drop(ask("second", number)));
    assert!(of("second", "cache_bytes") > 11, "{}", of("second", "cache_bytes"));
    assert_eq!(server.metric("tokki_cache_budget_bytes"), size as f64);
    // The other is opened: the idle one gives way until both have half of it and more.
    (0..6).for_each(|number| drop(ask("llama", number)));
    assert!(of("llama", "cache_bytes") > 8, "{}", of("llama", "cache_bytes"));
    assert!(of("second", "cache_bytes") <= 6, "{}", of("second", "cache_bytes"));
    let limits = [of("llama", "cache_limit_bytes"), of("second", "cache_limit_bytes")];
    assert!(limits.iter().all(|limit| (10..=11).contains(limit)), "{limits:?}");
    // The same bits, whoever else has the memory; both at once get on.
    assert_eq!(ask("second", 0)["choices"], first["choices"]);
    std::thread::scope(|scope| {
        for model in ["second", "llama", "second", "llama"] {
            scope.spawn(move || (10..14).for_each(|number| drop(ask(model, number))));
        }
    });
    // Where there is memory for one of them at a time they take turns, however busy the other is.
    let server = serve(&[&second, "--cache-size", &(7 * page).to_string(), "--parallel", "2"]);
    std::thread::scope(|scope| {
        for (model, count) in [("second", 12), ("second", 12), ("llama", 3)] {
            let server = &server;
            scope.spawn(move || {
                for number in 0..count {
                    let body =
                        json!({ "model": model, "prompt": [5, 6, 7 + number], "max_tokens": 30, "ignore_eos": true });
                    let reply = server.post("/v1/completions", &body);
                    assert_eq!(reply.status, 200, "{model}: {}", reply.body);
                }
            });
        }
    });
}

/// A request leaves a line that tells what became of it and nothing of what was said.
#[test]
fn requests_are_told_in_lines_without_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "Anna secret\n").unwrap();
    let server = serve(&["--log", "json", "--api-key-file", keys.to_str().unwrap()]);
    let key = "authorization: Bearer secret\r\nx-request-id: mine\r\n";
    let body = chat(&json!({ "messages": [{ "role": "user", "content": "zebra" }], "max_tokens": 5, "stream": true }));
    assert_eq!(server.send("POST", "/v1/chat/completions", key, &body.to_string()).status, 200);
    let line = server.said("\"request_id\":\"mine\"", 1).remove(0);
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        [&told["key"], &told["method"], &told["route"], &told["model"], &told["status"], &told["cached_tokens"]],
        [&json!("Anna"), &json!("POST"), &json!("/v1/chat/completions"), &json!("llama"), &json!(200), &json!(0)],
        "{line}"
    );
    assert!(told["prompt_tokens"].as_u64() > Some(0) && told["time"].is_string(), "{line}");
    assert!((1..=5).contains(&told["generated_tokens"].as_u64().unwrap()), "{line}");
    assert!(told["first_token_s"].as_f64().unwrap() <= told["duration_s"].as_f64().unwrap(), "{line}");
    assert!(["stop", "length"].contains(&told["end"].as_str().unwrap()), "{line}");
    server.send("GET", "/zebra?zebra", "x-request-id: none\r\n", "");
    let none: Value = serde_json::from_str(&server.said("\"request_id\":\"none\"", 1)[0]).unwrap();
    assert_eq!([&none["status"], &none["route"], &none["key"]], [&json!(401), &json!("-"), &json!(null)]);
    assert!(server.said("zebra", 0).is_empty());
    // A reload is told, whether or not it was one.
    server.signal("-HUP");
    server.said("the keys were read again: 1", 1);
    std::fs::write(&keys, "Anna sha256:no\n").unwrap();
    server.signal("-HUP");
    server.said("were not read again, and the old ones stay", 1);
    let text = serve(&["--log", "text"]);
    text.post("/v1/completions", &json!({ "prompt": [5, 6], "max_tokens": 3, "ignore_eos": true }));
    let line = text.said("POST /v1/completions 200 model=llama prompt=2 cached=0 generated=3 first=", 1).remove(0);
    assert!(line.contains(" end=length"), "{line}");
    let quiet = serve(&[]);
    quiet.post("/v1/completions", &json!({ "prompt": [5, 6], "max_tokens": 3 }));
    quiet.signal("-HUP");
    quiet.said("read again", 1);
    assert!(quiet.said("/v1/completions", 0).is_empty());
}

/// What is under way when the time is over ends with its dialect's error, and the server soon after.
#[test]
fn answers_that_are_cut_short_at_the_deadline_are_told_so() {
    let mut server = serve(&["--drain", "0", "--parallel", "8", "--log", "text"]);
    let endless = |more: Value| {
        let mut body =
            json!({ "ignore_eos": true, "max_tokens": 480, "messages": [{ "role": "user", "content": "a" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let requests = [
        ("/v1/chat/completions", endless(json!({ "stream": true })), 200, "data: {\"error\":"),
        ("/v1/messages", endless(json!({ "stream": true })), 200, "event: error\n"),
        ("/api/chat", endless(json!({ "options": { "num_predict": 480 } })), 200, "{\"error\":"),
        ("/v1/chat/completions", endless(json!({})), 503, "stopping"),
        ("/v1/messages", endless(json!({})), 529, "overloaded_error"),
    ];
    // One that takes all places, so that the others are there for long enough.
    let long = json!({ "prompt": [5, 6], "n": 8, "max_tokens": 500, "ignore_eos": true });
    let ended = std::thread::scope(|scope| {
        let server = &server;
        let deadline = Instant::now() + Duration::from_secs(20);
        let wait = |what: &str, count: f64| {
            while server.metric(what) < count {
                assert!(Instant::now() < deadline, "no {count} of {what}");
            }
        };
        let first = scope.spawn(|| server.post("/v1/completions", &long).status);
        wait("tokki_rows_total{", 80.0);
        let asked: Vec<_> =
            requests.iter().map(|(path, body, ..)| scope.spawn(move || server.post(path, body))).collect();
        wait("tokki_requests_waiting{", 5.0);
        server.signal("-TERM");
        let start = Instant::now();
        for (asked, (path, _, status, words)) in asked.into_iter().zip(&requests) {
            let reply = asked.join().unwrap();
            let end = &reply.body[reply.body.floor_char_boundary(reply.body.len().saturating_sub(400))..];
            assert!(reply.status == *status && end.contains(words), "{path}: {} {end}", reply.status);
        }
        assert_eq!(first.join().unwrap(), 503);
        start
    });
    server.wait();
    let took = ended.elapsed();
    // What had been said by then is counted.
    let cut = server.said("end=abort", requests.len() + 1);
    assert_eq!(cut.iter().filter(|line| !line.contains("generated=0 ")).count(), 1, "{cut:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// llama-server's flags, as its users have them in their scripts.
#[cfg(unix)]
#[test]
fn llama_servers_flags_are_translated_or_told() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/as-llama-server");
    let run = |flags: &str| {
        let mut command = std::process::Command::new("python3");
        let is_variable = |word: &&str| word.starts_with("LLAMA_");
        command.env("TOKKI", "echo").env_remove("AS_LLAMA_SERVER_MODEL").arg(&script);
        command.args(flags.split_whitespace().filter(|word| !is_variable(word)));
        command.envs(flags.split_whitespace().filter(is_variable).filter_map(|word| word.split_once('=')));
        let output = command.output().ok()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some((text(output.stdout), text(output.stderr)))
    };
    if run("-m x").is_none() {
        eprintln!("skipped: there is no python3 here");
        return;
    }
    let run = |flags: &str| run(flags).unwrap();
    let (out, told) =
        run("-m m.gguf -fa -c 4096 -np 2 -ngl 99 -ncmoe 3 -sm row -ts 1,2 --no-mmap --prio 2 -ub 512 --jinja");
    assert_eq!(out, "serve --parallel 2 --ctx 2048 --thinking on --no-metrics --cors * m.gguf\n");
    for words in
        ["-fa (", "-ngl -ncmoe -sm -ts (nothing", "--no-mmap (", "--prio (", "-ub (", "--jinja (", "pages of any site"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (out, told) =
        run("-m m.gguf -fa on -kvu -c 4096 -np 2 -ctk q8_0 -ctv q8_0 --cors-origins localhost --log-jsonl");
    assert_eq!(
        out,
        "serve --parallel 2 --cors localhost --log json --kv-type q8_0 --ctx 4096 --thinking on --no-metrics m.gguf\n"
    );
    assert!(!told.contains("any site"), "{told}");
    // What is left to the server.
    let (out, _) = run("-m m.gguf -np -1 -t -1 -n -1 -s -1 --sleep-idle-seconds -1 -c 4096 --cors-origins localhost");
    assert_eq!(out, "serve --cors localhost --ctx 4096 --thinking on --no-metrics m.gguf\n");
    // Its variables are its flags, as far as these are not given.
    let (out, told) = run(
        "LLAMA_ARG_MODEL=m.gguf LLAMA_ARG_CTX_SIZE=4096 LLAMA_ARG_N_PARALLEL=2 LLAMA_API_KEY=k LLAMA_ARG_WEBUI=off \
         LLAMA_ARG_N_GPU_LAYERS=99 LLAMA_ARG_CONT_BATCHING=on LLAMA_ARG_NEW=1 -c 1024 --cors-origins localhost --metrics",
    );
    assert_eq!(out, "serve --api-key k --parallel 2 --no-page --cors localhost --ctx 512 --thinking on m.gguf\n");
    assert!(told.contains("LLAMA_ARG_NEW is not") && told.contains("--n-gpu-layers (nothing"), "{told}");
    assert!(run("LLAMA_ARG_MLOCK=maybe -m m").1.contains("on or off"));
    assert!(run("LLAMA_ARG_LORA=x -m m").1.contains("--lora is not supported"));
    assert!(run("LLAMA_ARG_ROPE_SCALING_TYPE=yarn -m m").1.contains("--rope-scaling is not supported"));
    assert!(run("LLAMA_ARG_NO_ENDPOINT_SLOTS=1 -m m -t 0").0.contains("--no-slots"));
    let (twice, _) = run("-m m --temp 0.1 -np 2 --temperature 0.2 -np 3 -v -v");
    assert!(twice.contains("--temperature 0.2") && !twice.contains("0.1") && twice.contains("--parallel 3"), "{twice}");
    assert_eq!(twice.matches("--verbose").count(), 1, "{twice}");
    assert!(run("-m m --port=8099").0.contains("--port 8099"));
    assert!(!run("-m m --version").0.starts_with("serve"), "the binary tells its own");
    for flags in ["--help", "-m m -h"] {
        let (out, _) = run(flags);
        assert!(out.contains("--ctx-size VALUE") && out.contains("refused:\n"), "{out}");
    }
    for (flags, words) in [
        ("-m m -ctk q4_0", "-ctk q4_0"),
        ("-m m -ctk q8_0 -ctv f16", "-ctv f16"),
        ("-m m --samplers top_k", "--samplers is not"),
        ("-m m --mirostat 2", "--mirostat 2"),
        ("-m m --bogus", "unknown flag --bogus ("),
        ("-m m --n-gpu-layer 3", "did you mean --n-gpu-layers?"),
        ("-m m -c many", "a number is wanted"),
    ] {
        let (out, told) = run(flags);
        assert!(out.is_empty() && told.contains(words), "{flags}: {out} {told}");
    }
}

/// One tool whose schema cannot be kept to takes none of the others' away, and is named; so it is where calls are free.
#[test]
fn a_tool_with_an_odd_schema_leaves_the_others_alone() {
    // Two tools are long texts to a vocabulary of bytes.
    let mut command = crate::launch::tokki();
    command.args(["serve", "--port", "0", "--ctx", "2048", "--threads", "2"]).arg(fixture("llama.gguf"));
    let server = crate::serve::started(command, &[]).unwrap();
    let tool = |name: &str, parameters: Value| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    let good = json!({ "type": "object", "properties": { "city": { "enum": ["Qxq", "Zvz"] } }, "required": ["city"] });
    for odd in [
        json!({ "type": "string", "pattern": "^a(?=b)" }),
        json!({ "$ref": "#/definitions/zz" }),
        json!({ "type": "integer", "minimum": 3, "maximum": 1 }),
        json!({ "enum": null }),
    ] {
        let bad = tool("bad", json!({ "type": "object", "properties": { "r": odd }, "required": ["r"] }));
        let tools = json!([tool("good", good.clone()), bad]);
        // The name is as good as given: what the small model writes after it is its own.
        let bias = json!({ "<think>": -100, "b": -100 });
        let body = json!({ "tools": tools, "tool_choice": "required", "max_tokens": 90, "logit_bias": bias });
        let reply = server.post("/v1/chat/completions", &chat(&body));
        let answer = reply.json();
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        let arguments = call["arguments"].as_str().unwrap_or_default();
        assert!(arguments.contains("Qxq") || arguments.contains("Zvz"), "{odd}: {answer}");
        assert!(
            reply.head.lines().any(|line| line.starts_with("x-warnings") && line.contains("bad")),
            "{odd}: {}",
            reply.head
        );
        let free = json!({ "tools": tools, "max_tokens": 2 });
        let reply = server.post("/v1/chat/completions", &chat(&free));
        let told = reply.head.lines().find(|line| line.starts_with("x-warnings")).unwrap_or_default();
        assert!(told.contains("'bad'") || odd["enum"].is_null() || odd["minimum"].is_i64(), "{odd}: {told}");
    }
}

/// A tool that lists no parameters takes none: no argument is made up for it.
#[test]
fn a_tool_without_parameters_is_called_without_arguments() {
    let server = serve(&[]);
    for parameters in [json!({ "type": "object", "properties": {} }), json!({}), Value::Null] {
        let tool = json!({ "type": "function", "function": { "name": "now", "parameters": parameters } });
        // The small model likes to begin a thought.
        let bias = json!({ "<think>": -100 });
        let body = json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 90, "logit_bias": bias });
        let answer = server.post("/v1/chat/completions", &chat(&body)).json();
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!([&call["name"], &call["arguments"]], ["now", "{}"], "{answer}");
    }
}
