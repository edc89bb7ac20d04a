//! What a client gets, byte by byte: one file per dialect and shape. And what all dialects have in common: parameters of
//! sampling, streams that are gone on with, the document of the routes.

use crate::serve::{Reply, Server, chat, serve, serve_with};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The shapes: a name, method, path, and the body.
fn shapes() -> Vec<(&'static str, &'static str, Value)> {
    let say = |more: Value| {
        let mut body = chat(&json!({ "max_tokens": 4, "temperature": 0 }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let ollama = |stream: bool| {
        json!({ "messages": [{ "role": "user", "content": "Hello there" }], "stream": stream,
                "options": { "num_predict": 4, "temperature": 0 } })
    };
    let anthropic = |more: Value| say(more);
    let items = |more: Value| {
        let mut body = json!({ "input": "Hello there", "max_output_tokens": 4, "temperature": 0, "seed": 3 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let text = |more: Value| {
        let mut body = json!({ "prompt": "Hello there", "max_tokens": 4, "temperature": 0, "seed": 3 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": {
        "type": "object", "properties": { "x": { "enum": ["yes"] } }, "required": ["x"], "additionalProperties": false } } }]);
    let calls = json!({ "tools": tool, "tool_choice": "required", "max_tokens": 200 });
    let mut streamed_calls = calls.clone();
    streamed_calls["stream"] = true.into();
    let flat = json!([{ "type": "function", "name": "f", "parameters": tool[0]["function"]["parameters"] }]);
    let own = json!([{ "name": "f", "input_schema": tool[0]["function"]["parameters"] }]);
    vec![
        ("openai-chat", "/v1/chat/completions", say(json!({}))),
        (
            "openai-chat-stream",
            "/v1/chat/completions",
            say(json!({ "stream": true, "stream_options": { "include_usage": true } })),
        ),
        ("openai-chat-two", "/v1/chat/completions", say(json!({ "n": 2, "max_tokens": 2, "stream": true }))),
        (
            "openai-chat-logprobs",
            "/v1/chat/completions",
            say(json!({ "logprobs": true, "top_logprobs": 1, "max_tokens": 1 })),
        ),
        ("openai-chat-call", "/v1/chat/completions", say(calls)),
        ("openai-chat-call-stream", "/v1/chat/completions", say(streamed_calls)),
        ("openai-chat-error", "/v1/chat/completions", say(json!({ "temperature": "hot" }))),
        (
            "openai-chat-too-long",
            "/v1/chat/completions",
            say(json!({ "messages": [{ "role": "user", "content": "long ".repeat(900) }] })),
        ),
        ("openai-text", "/v1/completions", text(json!({}))),
        ("openai-text-stream", "/v1/completions", text(json!({ "stream": true }))),
        ("openai-responses", "/v1/responses", items(json!({}))),
        ("openai-responses-stream", "/v1/responses", items(json!({ "stream": true }))),
        (
            "openai-responses-call-stream",
            "/v1/responses",
            items(json!({ "tools": flat, "tool_choice": "required", "max_output_tokens": 200, "stream": true })),
        ),
        ("openai-responses-error", "/v1/responses", items(json!({ "input": 3 }))),
        ("openai-embeddings-error", "/v1/embeddings", json!({ "input": "" })),
        ("anthropic", "/v1/messages", anthropic(json!({}))),
        ("anthropic-stream", "/v1/messages", anthropic(json!({ "stream": true }))),
        (
            "anthropic-call-stream",
            "/v1/messages",
            anthropic(json!({ "tools": own, "tool_choice": { "type": "any" }, "max_tokens": 200, "stream": true })),
        ),
        ("anthropic-error", "/v1/messages", anthropic(json!({ "messages": "hello" }))),
        ("ollama-chat", "/api/chat", ollama(false)),
        ("ollama-chat-stream", "/api/chat", ollama(true)),
        (
            "ollama-generate-stream",
            "/api/generate",
            json!({ "prompt": "Hello there", "options": { "num_predict": 4, "temperature": 0 } }),
        ),
        ("ollama-error", "/api/chat", json!({ "messages": 3 })),
        (
            "llama-server",
            "/completion",
            json!({ "prompt": "Hello there", "n_predict": 4, "temperature": 0, "seed": 3 }),
        ),
        (
            "llama-server-stream",
            "/completion",
            json!({ "prompt": "Hello there", "n_predict": 4, "temperature": 0, "seed": 3, "stream": true }),
        ),
        ("llama-server-error", "/completion", json!({ "prompt": "Hello there", "n_predict": "many" })),
    ]
}

/// Members whose values differ from run to run.
const VOLATILE: &[&str] = &[
    "id",
    "item_id",
    "call_id",
    "created",
    "created_at",
    "request_id",
    "system_fingerprint",
    "build_info",
    "model_path",
    "date",
];
/// Members that are times or speeds, or hold them.
const TIMES: &[&str] = &[
    "prompt_ms",
    "prompt_per_token_ms",
    "prompt_per_second",
    "predicted_ms",
    "predicted_per_token_ms",
    "predicted_per_second",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "time_ms",
];

/// JSON with its volatile values masked; ids keep what they begin with.
fn masked(value: Value) -> Value {
    let mask = |name: &str, value: Value| match &value {
        Value::String(text) if VOLATILE.contains(&name) => {
            let head = text.find(['-', '_']).map_or("", |at| &text[..=at]);
            format!("{head}*").into()
        }
        Value::Number(_) if VOLATILE.contains(&name) && name != "id" => "*".into(),
        Value::Number(_) if TIMES.contains(&name) => "*".into(),
        _ => masked(value),
    };
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| {
                let value = mask(&name, value);
                (name, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(masked).collect(),
        other => other,
    }
}

/// An answer as text: its status, the heads that clients read, and its body line by line.
fn shown(reply: &Reply) -> String {
    let kept =
        ["content-type", "cache-control", "x-accel-buffering", "x-ignored-fields", "x-warnings", "x-should-retry"];
    let head = reply.head.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let mut out = format!("{}\n{}\n\n", reply.status, head.collect::<Vec<_>>().join("\n"));
    for line in reply.body.lines() {
        let (mark, rest) = match line.strip_prefix("data: ") {
            Some(rest) => ("data: ", rest),
            None => ("", line),
        };
        match serde_json::from_str::<Value>(rest) {
            Ok(value) => out += &format!("{mark}{}\n", masked(value)),
            Err(_) => out += &format!("{line}\n"),
        }
    }
    out
}

/// `TOKKI_TEST_WRITE=1` writes the files anew.
#[test]
fn every_shape_is_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dialects");
    let write = std::env::var_os("TOKKI_TEST_WRITE").is_some();
    let mut known = std::collections::BTreeSet::new();
    let mut odd = Vec::new();
    for (name, path, body) in shapes() {
        // A server of its own: what is cached shows in the answer.
        let server = serve(&[]);
        let found = shown(&server.post(path, &body));
        let file = folder.join(format!("{name}.txt"));
        if write {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &found).unwrap();
        }
        let wanted = std::fs::read_to_string(&file).unwrap_or_default();
        if found != wanted {
            let at = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
            odd.push(format!("{name}: {at:?}"));
        }
        known.insert(format!("{name}.txt"));
    }
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<std::collections::BTreeSet<_>>(), known);
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arch").join(name)
}

/// A path, how a request for it is made of OpenAI's fields, and where the text is in the answer.
type Way = (&'static str, fn(Value) -> Value, &'static str);

/// In every dialect a parameter acts, and one out of its range is refused by name.
#[test]
fn parameters_of_sampling_act_in_every_dialect() {
    let server = serve(&[]);
    let hot = json!({ "ignore_eos": true, "temperature": 0.2, "top_p": 1, "min_p": 0, "seed": 5, "max_tokens": 120, "n_predict": 120, "max_output_tokens": 120 });
    let with = |more: &Value| {
        let mut all = hot.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let dialects: [Way; 6] = [
        (
            "/v1/chat/completions",
            |o| {
                let mut o = o;
                o["messages"] = json!([{ "role": "user", "content": "a b a b a b a b" }]);
                o
            },
            "/choices/0/message",
        ),
        (
            "/v1/completions",
            |o| {
                let mut o = o;
                o["prompt"] = "a b a b a b a b".into();
                o
            },
            "/choices/0/text",
        ),
        (
            "/completion",
            |o| {
                let mut o = o;
                o["prompt"] = "a b a b a b a b".into();
                o
            },
            "/content",
        ),
        (
            "/v1/responses",
            |o| {
                let mut o = o;
                o["input"] = "a b a b a b a b".into();
                o
            },
            "/output/0/content",
        ),
        (
            "/v1/messages",
            |o| {
                let mut o = o;
                o["messages"] = json!([{ "role": "user", "content": "a b a b a b a b" }]);
                o
            },
            "/content",
        ),
        (
            "/api/generate",
            |o| {
                json!({ "prompt": "a b a b a b a b", "stream": false, "options": {
            "ignore_eos": true, "num_predict": 120, "temperature": o["temperature"], "top_p": 1, "min_p": 0, "seed": 5,
            "typical_p": o["typical_p"], "xtc_probability": o["xtc_probability"], "xtc_threshold": o["xtc_threshold"],
            "dry_multiplier": o["dry_multiplier"], "dry_base": o["dry_base"], "dry_allowed_length": o["dry_allowed_length"],
            "dry_sequence_breakers": o["dry_sequence_breakers"] } })
            },
            "/response",
        ),
    ];
    for (path, body, place) in dialects {
        let text = |more: Value| {
            let reply = server.post(path, &body(with(&more)));
            assert_eq!(reply.status, 200, "{path} {more}: {}", reply.body);
            let answer = reply.json();
            answer.pointer(place).unwrap_or_else(|| panic!("{path}: {}", reply.body)).to_string()
        };
        let plain = text(json!({}));
        assert_ne!(text(json!({ "typical_p": 0.01 })), plain, "{path}");
        assert_ne!(text(json!({ "xtc_probability": 1, "xtc_threshold": 0.05 })), plain, "{path}");
        let dry = json!({ "dry_multiplier": 100, "dry_base": 4, "dry_allowed_length": 0, "dry_sequence_breakers": [] });
        assert_ne!(text(dry), plain, "{path}");
        // As they are when they are off.
        assert_eq!(text(json!({ "typical_p": 1, "xtc_probability": 0, "dry_multiplier": 0 })), plain, "{path}");
        for bad in [
            json!({ "typical_p": 0 }),
            json!({ "xtc_probability": 2 }),
            json!({ "dry_multiplier": -1 }),
            json!({ "dry_sequence_breakers": [""] }),
        ] {
            let reply = server.post(path, &body(with(&bad)));
            let name = bad.as_object().unwrap().keys().next().unwrap();
            assert!(reply.status == 400 && reply.body.contains(name), "{path} {bad}: {} {}", reply.status, reply.body);
        }
    }
}

/// Alone or beside others: the same bits, with every filter on.
#[test]
fn an_empty_prompt_of_ollama_opens_or_closes_a_model() {
    let server = serve(&[]);
    for (path, member) in [("/api/generate", "response"), ("/api/chat", "message")] {
        for (keep, reason) in [(json!("5m"), "load"), (json!(0), "unload"), (json!(null), "load")] {
            for (stream, kind) in [
                (json!(true), "application/x-ndjson"),
                (json!(null), "application/x-ndjson"),
                (json!(false), "application/json"),
            ] {
                let body =
                    json!({ "model": "llama", "messages": [], "prompt": "", "keep_alive": keep, "stream": stream });
                let reply = server.post(path, &body);
                assert_eq!(reply.status, 200, "{path} {body}: {}", reply.body);
                assert!(reply.head.contains(&format!("content-type: {kind}\r\n")), "{path} {body}: {}", reply.head);
                assert_eq!(reply.body.ends_with('\n'), kind.ends_with("ndjson"), "{path} {body}");
                assert_eq!(reply.body.trim_end().lines().count(), 1);
                let object = reply.json();
                assert_eq!((&object["done"], &object["done_reason"]), (&json!(true), &json!(reason)), "{path} {body}");
                assert_eq!(object["model"], "llama");
                let empty = if member == "message" { json!({ "role": "assistant", "content": "" }) } else { json!("") };
                assert_eq!(object[member], empty, "{path} {body}");
            }
        }
    }
    // To look at a closed model does not open it.
    server.post("/api/generate", &json!({ "keep_alive": 0 }));
    assert_eq!((server.get("/slots").json(), server.get("/api/ps").json()["models"].clone()), (json!([]), json!([])));
    // It is read as carefully as one with a prompt.
    for wrong in [json!({ "stream": "yes" }), json!({ "images": ["AAAA"] }), json!({ "keep_alive": "soon" })] {
        let reply = server.post("/api/generate", &wrong);
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.body);
    }
    let ignored = server.post("/api/generate", &json!({ "whatever": 1, "system": "Be brief." })).head;
    assert!(ignored.contains("x-ignored-fields: whatever\r\n"), "{ignored}");
}

#[test]
fn samplers_draw_alone_as_together() {
    let server = serve(&["--parallel", "4"]);
    let ask = |seed: u64| {
        let body =
            chat(&json!({ "seed": seed, "max_tokens": 40, "temperature": 2, "typical_p": 0.9, "xtc_probability": 0.5,
            "xtc_threshold": 0.02, "dry_multiplier": 1, "dry_allowed_length": 1, "repeat_penalty": 1.2 }));
        server.post("/v1/chat/completions", &body).json()["choices"][0]["message"]["content"].clone()
    };
    let alone: Vec<Value> = (0..4).map(ask).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || ask(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn the_document_tells_every_route_and_names_fields_that_are_read() {
    let server = serve(&[]);
    let document = server.get("/openapi.json").json();
    let mut tried = 0;
    for (path, place) in document["paths"].as_object().unwrap() {
        for (method, operation) in place.as_object().unwrap() {
            // Every route of the document is there.
            let own = path.replace("{id}", "none").replace("{name}", "none");
            let reply = server.send(&method.to_uppercase(), &own, "", "");
            assert_ne!(reply.status, 405, "{method} {path}");
            let fields = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
            for (name, schema) in fields.as_object().into_iter().flatten() {
                // A field of a single type is refused by name when it has another.
                let types: Vec<&str> =
                    schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                if types.iter().any(|kind| ["object", "array"].contains(kind))
                    || types.is_empty()
                    || path.contains('{')
                    || path == "/infill"
                {
                    continue;
                }
                let mut body = json!({ "messages": [{ "role": "user", "content": "a" }], "prompt": "a", "input": "a", "query": "a",
                    "documents": ["a"], "questions": [{ "type": "predicate", "instructions": "a" }], "id": "a", "input_file_id": "a", "endpoint": "/v1/completions", "action": "reasoning_end",
                    "max_tokens": 1, "n_predict": 1 });
                // Fields of one route that another refuses.
                let foreign = |field: &str| match field {
                    "documents" => !path.contains("rerank"),
                    "prompt" => path.contains("responses"),
                    _ => false,
                };
                body.as_object_mut().unwrap().retain(|field, _| !foreign(field));
                body[name] = json!({ "odd": 1 });
                if path == "/v1/batches" && name == "completion_window" || path == "/api/show" && name == "name" {
                    continue;
                }
                let reply = server.post(path, &body);
                assert!(
                    (400..500).contains(&reply.status) && reply.body.contains(name.as_str()),
                    "{path} {name}: {}",
                    reply.body
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn a_model_is_found_by_its_name_as_clients_write_it() {
    let named = format!("org/small:q4={}", fixture("qwen2.gguf").display());
    let server = serve(&[&named]);
    for path in ["org/small:q4", "org%2Fsmall:q4", "org%2fsmall%3Aq4"] {
        assert_eq!(server.get(&format!("/v1/models/{path}")).json()["id"], "org/small:q4", "{path}");
    }
}

#[test]
fn a_stream_is_gone_on_with_from_any_byte() {
    let server = serve(&[]);
    let body = chat(&json!({ "stream": true, "max_tokens": 60 })).to_string();
    let whole = server.send("POST", "/v1/chat/completions", "x-conversation-id: c 1\r\n", &body);
    assert!(whole.status == 200 && whole.body.ends_with("data: [DONE]\n\n"));
    let from = |at: usize| server.get(&format!("/v1/stream?conv_id=c%201&from={at}"));
    for at in [0, 1, 100, whole.body.len()] {
        assert_eq!(from(at).body, whole.body[at..]);
    }
    assert_eq!(from(whole.body.len() + 1).status, 400);
    assert_eq!(server.get("/v1/stream?conv_id=other").status, 404);
    assert_eq!(server.get("/v1/stream").status, 400);
    assert_eq!(server.get("/v1/stream?conv_id=c%201&from=x").status, 400);
    let looked = server.post("/v1/streams/lookup", &json!({ "conversation_ids": ["c 1", "other"] })).json();
    assert_eq!(
        (looked[0]["is_done"].as_bool(), looked[0]["total_bytes"].as_u64()),
        (Some(true), Some(whole.body.len() as u64))
    );
    assert_eq!(looked.as_array().unwrap().len(), 1);
    let gone = server.send("DELETE", "/v1/stream?conv_id=c%201", "", "");
    assert_eq!((gone.status, from(0).status), (204, 404));
}

#[test]
fn a_named_stream_outlives_its_connection_until_it_is_stopped() {
    use std::io::{Read, Write};
    let server = serve(&[]);
    let body = chat(&json!({ "stream": true, "max_tokens": 480, "ignore_eos": true })).to_string();
    let begin = |name: &str| {
        let mut stream = server.connect();
        let head = format!("host: localhost\r\ncontent-length: {}\r\nx-conversation-id: {name}\r\n", body.len());
        stream.write_all(format!("POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n{body}").as_bytes()).unwrap();
        let mut some = [0; 400];
        stream.read_exact(&mut some).unwrap();
        stream
    };
    drop(begin("gone"));
    let looked =
        |name: &str| server.post("/v1/streams/lookup", &json!({ "conversation_ids": [name] })).json()[0].clone();
    let start = Instant::now();
    while looked("gone")["is_done"] != true {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", looked("gone"));
    }
    // So does an answer that comes as a whole.
    let body_of_whole = chat(&json!({ "max_tokens": 200, "ignore_eos": true })).to_string();
    let mut stream = server.connect();
    let length = body_of_whole.len();
    let head = format!("host: localhost\r\ncontent-length: {length}\r\nx-conversation-id: whole\r\n");
    stream.write_all(format!("POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n{body_of_whole}").as_bytes()).unwrap();
    while server.metric("tokki_requests_running") == 0.0 {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not begin");
    }
    drop(stream);
    while looked("whole")["is_done"] != true {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", looked("whole"));
    }
    let kept: Value = serde_json::from_str(&server.get("/v1/stream?conv_id=whole").body).unwrap();
    assert_eq!(
        (&kept["choices"][0]["finish_reason"], &kept["usage"]["completion_tokens"]),
        (&json!("length"), &json!(200))
    );
    let whole = server.get("/v1/stream?conv_id=gone").body;
    assert!(whole.ends_with("data: [DONE]\n\n") && whole.contains("\"finish_reason\":\"length\""), "{whole}");
    // Half an answer says that it is one: what takes its place, or ends it, is told to who reads it.
    let (mut first, mut second) = (begin("gone"), begin("gone"));
    assert_eq!(server.send("DELETE", "/v1/stream?conv_id=gone", "", "").status, 204);
    for (stream, why) in [(&mut first, "taken the place"), (&mut second, "ended by a request")] {
        let mut rest = Vec::new();
        // The server lets the connection wait for another request.
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.contains(why) && rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
    }
    let start = Instant::now();
    while server.metric("tokki_requests_running") > 0.0 {
        assert!(start.elapsed() < Duration::from_secs(5), "the work goes on");
    }
    // Another key's streams are not to be seen.
    let server = serve_with(&["--api-key", "one,two"], &[]);
    let short = chat(&json!({ "stream": true })).to_string();
    let with = |key: &str| format!("authorization: Bearer {key}\r\nx-conversation-id: c\r\n");
    assert_eq!(server.send("POST", "/v1/chat/completions", &with("one"), &short).status, 200);
    assert_eq!(server.send("GET", "/v1/stream?conv_id=c", &with("two"), "").status, 404);
    assert_eq!(server.send("GET", "/v1/stream?conv_id=c", &with("one"), "").status, 200);
}

#[test]
fn responses_in_the_background() {
    let server = serve(&[]);
    let wait = |id: &str| {
        let start = Instant::now();
        loop {
            let object = server.get(&format!("/v1/responses/{id}")).json();
            if object["status"] != "in_progress" {
                return object;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{object}");
        }
    };
    let body = json!({ "input": "Hello there", "max_output_tokens": 20, "background": true, "seed": 3 });
    let begun = server.post("/v1/responses", &body).json();
    assert_eq!(begun["status"], "in_progress");
    let done = wait(begun["id"].as_str().unwrap());
    assert!(!done["output"][0]["content"][0]["text"].as_str().unwrap().is_empty());
    // Its events, all and after one of them.
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let all = server.post("/v1/responses", &streamed).events();
    let id = all[0]["response"]["id"].as_str().unwrap();
    let again = server.get(&format!("/v1/responses/{id}?stream=true")).events();
    assert_eq!(again, all);
    let after = server.get(&format!("/v1/responses/{id}?stream=true&starting_after=5")).events();
    assert_eq!(after, all[6..]);
    // One that is not waited for.
    let mut long = body.clone();
    (long["max_output_tokens"], long["ignore_eos"]) = (480.into(), true.into());
    let begun = server.post("/v1/responses", &long).json();
    let id = begun["id"].as_str().unwrap();
    let ended = server.post(&format!("/v1/responses/{id}/cancel"), &json!({})).json();
    assert!(ended["status"] == "cancelled" || ended["status"] == "incomplete", "{ended}");
    // Nothing goes on from what has no answer.
    if ended["status"] == "cancelled" {
        let reply = server.post("/v1/responses", &json!({ "input": "And?", "previous_response_id": id }));
        assert!(reply.status == 400 && reply.body.contains("is cancelled and has no answer"), "{}", reply.body);
    }
    assert_eq!(wait(id), ended);
    let events = server.get(&format!("/v1/responses/{id}?stream=true")).events();
    let last = events.last().unwrap();
    assert_eq!(last["type"], format!("response.{}", ended["status"].as_str().unwrap()), "{last}");
    assert_eq!(
        (last["sequence_number"].as_u64(), &last["response"]["id"]),
        (Some(events.len() as u64 - 1), &begun["id"])
    );
    // Deleted, it is not made any longer.
    let begun = server.post("/v1/responses", &long).json();
    let early = server.post("/v1/responses", &json!({ "input": "And?", "previous_response_id": begun["id"] }));
    assert!(early.status == 409 && early.body.contains("still being made"), "{}", early.body);
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    assert_eq!(server.send("DELETE", &path, "", "").status, 200);
    let start = Instant::now();
    while server.metric("tokki_requests_running") > 0.0 {
        assert!(start.elapsed() < Duration::from_secs(1), "it goes on");
    }
    assert_eq!(server.get(&path).status, 404);
    // One in the foreground has ended when its id is known.
    let plain = server.post("/v1/responses", &json!({ "input": "Hello", "max_output_tokens": 2 })).json();
    let path = format!("/v1/responses/{}/cancel", plain["id"].as_str().unwrap());
    assert_eq!(server.post(&path, &json!({})).status, 400);
    let mut unstored = body;
    unstored["store"] = false.into();
    assert_eq!(server.post("/v1/responses", &unstored).status, 400);
}

/// What a server cannot do, or what contradicts itself, is said; it is never left out in silence.
#[test]
fn what_cannot_be_done_is_refused() {
    let server = serve(&[]);
    let hello = || json!([{ "role": "user", "content": "Hello" }]);
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let allowed = |name: &str| {
        let tools = json!([{ "type": "function", "function": { "name": name } }]);
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": tools } })
    };
    for (path, body, status, word) in [
        ("/api/chat", json!({ "messages": [{ "role": "user", "content": "x", "images": ["iVBOR"] }] }), 400, "images"),
        ("/v1/chat/completions", json!({ "messages": hello(), "tool_choice": "required" }), 400, "tools"),
        ("/v1/chat/completions", json!({ "messages": hello(), "tool_choice": "none", "max_tokens": 1 }), 200, ""),
        (
            "/v1/chat/completions",
            json!({ "messages": hello(), "tools": [tool], "tool_choice": allowed("g"), "max_tokens": 1 }),
            400,
            "names no tool",
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": hello(), "tools": [tool], "tool_choice": allowed("f"), "max_tokens": 1 }),
            200,
            "",
        ),
        (
            "/v1/messages",
            json!({ "messages": hello(), "max_tokens": 1, "tool_choice": { "type": "any" } }),
            400,
            "providing tools",
        ),
        ("/v1/messages/zzz", json!({}), 404, "\"type\":\"error\""),
        ("/api/pull", json!({ "model": "x" }), 404, "{\"error\":\""),
    ] {
        let reply = server.post(path, &body);
        assert!(reply.status == status && reply.body.contains(word), "{path} {body}: {} {}", reply.status, reply.body);
    }
    assert_eq!(server.get("/v1/responses/resp_1/other").status, 404);
}

/// The assistant's words at the end are gone on with, by Anthropic's clients as by OpenAI's.
#[test]
fn a_prefilled_answer_is_gone_on_with() {
    let server = serve(&[]);
    let messages = json!([{ "role": "user", "content": "Hello" }, { "role": "assistant", "content": "The answer" }]);
    let body = json!({ "messages": messages, "max_tokens": 4, "temperature": 0 });
    let chat = server.post("/v1/chat/completions", &body).json();
    let message = server.post("/v1/messages", &body).json();
    let read = ["input_tokens", "cache_read_input_tokens"].map(|name| message["usage"][name].as_u64().unwrap_or(0));
    assert_eq!(chat["usage"]["prompt_tokens"], read.iter().sum::<u64>(), "{chat} {message}");
    assert_eq!(chat["choices"][0]["message"]["content"], message["content"][0]["text"]);
}

/// Completions tell probabilities in lists, whole and in streams.
#[test]
fn probabilities_of_completions() {
    let server = serve(&[]);
    let body = json!({ "prompt": [5, 6], "max_tokens": 3, "logprobs": 2, "temperature": 0, "ignore_eos": true });
    let whole = server.post("/v1/completions", &body).json()["choices"][0]["logprobs"].clone();
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset", "content"] {
        assert_eq!(list(&whole, name).len(), 3, "{name}: {whole}");
    }
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let reply = server.post("/v1/completions", &streamed);
    let told: Vec<Value> = reply.events().iter().map(|chunk| chunk["choices"][0]["logprobs"].clone()).collect();
    for name in ["tokens", "token_logprobs", "text_offset"] {
        let pieces: Vec<Value> = told.iter().flat_map(|part| list(part, name)).collect();
        assert_eq!(pieces, list(&whole, name), "{name}");
    }
    // The likeliest token alone.
    let greedy = |more: Value| {
        let mut body = json!({ "prompt": "Hello", "max_tokens": 8, "ignore_eos": true });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let answer = server.post("/v1/completions", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["choices"][0]["text"].clone()
    };
    assert_eq!(greedy(json!({ "top_p": 0, "temperature": 1, "seed": 5 })), greedy(json!({ "temperature": 0 })));
    // A letter is one, of however many tokens it is made.
    let body = json!({ "prompt": [5, 6], "max_tokens": 40, "logprobs": 0, "regex": "한글xy" });
    let told = server.post("/v1/completions", &body).json()["choices"][0]["logprobs"].clone();
    let (tokens, offsets) = (list(&told, "tokens"), list(&told, "text_offset"));
    let at = tokens.iter().position(|token| token == "x").unwrap();
    assert!(at >= 2 && offsets[at] == 2 && offsets[at + 1] == 3, "{told}");
}

/// Thoughts and content of an answer in a dialect, sent whole and as a stream.
fn split(server: &Server, path: &str, body: &Value) -> [(String, String); 2] {
    let mut streamed = body.clone();
    (streamed["stream"], streamed["logprobs"]) = (true.into(), Value::Null);
    let whole = server.post(path, body).json();
    let streamed = server.post(path, &streamed).body;
    let events = streamed.lines().filter_map(|line| {
        serde_json::from_str::<Value>(line.trim_start_matches("data: ")).ok().filter(Value::is_object)
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let blocks = |value: &Value, list: &str, kind: &str, name: &str| {
        let own = value[list].as_array().into_iter().flatten().filter(|block| block["type"] == kind);
        own.map(|block| block[name].as_str().or(block["content"][0]["text"].as_str()).unwrap_or_default().to_owned())
            .collect::<String>()
    };
    let (mut thought, mut said) = (String::new(), String::new());
    let whole = match path {
        "/v1/messages" => {
            (blocks(&whole, "content", "thinking", "thinking"), blocks(&whole, "content", "text", "text"))
        }
        "/v1/responses" => (blocks(&whole, "output", "reasoning", ""), blocks(&whole, "output", "message", "")),
        "/api/chat" => (text(&whole["message"]["thinking"]), text(&whole["message"]["content"])),
        _ => {
            let message = &whole["choices"][0]["message"];
            (text(&message["reasoning_content"]), text(&message["content"]))
        }
    };
    for event in events {
        let (a, b) = match path {
            "/v1/messages" => (text(&event["delta"]["thinking"]), text(&event["delta"]["text"])),
            "/v1/responses" if event["type"] == "response.reasoning_text.delta" => {
                (text(&event["delta"]), String::new())
            }
            "/v1/responses" if event["type"] == "response.output_text.delta" => (String::new(), text(&event["delta"])),
            "/v1/responses" => Default::default(),
            "/api/chat" => (text(&event["message"]["thinking"]), text(&event["message"]["content"])),
            _ => {
                let delta = &event["choices"][0]["delta"];
                (text(&delta["reasoning_content"]), text(&delta["content"]))
            }
        };
        thought += &a;
        said += &b;
    }
    [whole, (thought, said)]
}

#[test]
fn a_thought_that_was_never_opened_is_content_whole_and_streamed() {
    let server = serve(&[]);
    let mut met = 0;
    for seed in 0..12 {
        let sampling = json!({ "seed": seed, "temperature": 1, "logit_bias": [["</think>", 7], ["<think>", false]] });
        let with = |more: Value| {
            let mut body = sampling.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let hello = json!([{ "role": "user", "content": "Hello there" }]);
        for (path, body) in [
            ("/v1/chat/completions", with(json!({ "messages": hello, "max_tokens": 16 }))),
            ("/v1/messages", with(json!({ "messages": hello, "max_tokens": 16 }))),
            ("/v1/responses", with(json!({ "input": hello, "max_output_tokens": 16 }))),
            ("/api/chat", json!({ "messages": hello, "stream": false, "options": with(json!({ "num_predict": 16 })) })),
        ] {
            let [whole, streamed] = split(&server, path, &body);
            assert_eq!(whole, streamed, "{path}, seed {seed}");
            assert_eq!(whole.0, "", "{path}, seed {seed}");
            met += usize::from(whole.1.find("</think>").is_some_and(|at| at > 0));
        }
    }
    assert!(met >= 4, "only {met} answers have such an end");
}
