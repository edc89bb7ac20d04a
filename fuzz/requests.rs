//! The bodies of requests in every dialect, against a server of this process.

use super::{model, options, pool};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokki::engine::{Engine, EngineOptions, Llm, least_cache};
use tokki::internals::{Defaults, Models, Notice, Offer, OnNotice, Residency, ServerOptions, serve};

/// Routes that read JSON, each with a body that is good.
const ROUTES: &[(&str, &str)] = &[
    ("/v1/chat/completions", r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":2}"#),
    ("/v1/completions", r#"{"prompt":"hi","max_tokens":2}"#),
    ("/v1/responses", r#"{"input":"hi","max_output_tokens":2}"#),
    ("/v1/messages", r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"max_tokens":2}"#),
    ("/v1/messages/count_tokens", r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#),
    ("/api/chat", r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"options":{"num_predict":2}}"#),
    ("/api/generate", r#"{"model":"tiny","prompt":"hi","options":{"num_predict":2}}"#),
    ("/api/embed", r#"{"model":"tiny","input":"hi"}"#),
    ("/api/show", r#"{"model":"tiny"}"#),
    ("/completion", r#"{"prompt":"hi","n_predict":2}"#),
    ("/infill", r#"{"input_prefix":"a","input_suffix":"b","n_predict":2}"#),
    ("/tokenize", r#"{"content":"hi"}"#),
    ("/detokenize", r#"{"tokens":[1,2]}"#),
    ("/apply-template", r#"{"messages":[{"role":"user","content":"hi"}]}"#),
    ("/v1/embeddings", r#"{"input":"hi"}"#),
    ("/v1/rerank", r#"{"query":"a","documents":["b"]}"#),
    ("/v1/decisions", r#"{"prompt":"hi","options":["a","b"]}"#),
    ("/v1/batches", r#"{"input_file_id":"x","endpoint":"/v1/completions"}"#),
];

/// Fields that some dialect knows.
const FIELDS: &[&str] = &[
    "messages",
    "prompt",
    "input",
    "content",
    "tokens",
    "model",
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "tools",
    "tool_choice",
    "response_format",
    "format",
    "grammar",
    "json_schema",
    "system",
    "thinking",
    "reasoning",
    "reasoning_effort",
    "options",
    "chat_template_kwargs",
    "samplers",
    "cache_prompt",
    "id_slot",
    "suffix",
    "raw",
    "images",
    "keep_alive",
    "documents",
    "query",
    "dimensions",
    "encoding_format",
    "truncate",
    "instructions",
    "text",
    "store",
    "metadata",
    "user",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "ignore_eos",
    "n_probs",
    "previous_response_id",
    "include",
    "parallel_tool_calls",
    "echo",
    "t_max_predict_ms",
    "return_tokens",
    "input_extra",
    "context",
    "template",
    "think",
];

fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let open = || {
            let session = tokki::Options { context: 64, ..options() };
            let cache_bytes = 4 * least_cache(&model().spec, &session);
            let llm = Arc::new(Llm::for_vectors(model())?);
            let options = EngineOptions { session, parallel: 2, queue: 8, cache_bytes, shared: None, disk: None };
            Engine::start(llm, pool(), options)
        };
        let offer = Offer {
            names: vec!["tiny".to_owned()],
            tags: Vec::new(),
            path: PathBuf::from("tiny"),
            defaults: Defaults { max_tokens: Some(4), seed: Some(1), ..Defaults::default() },
            check: Box::new(|| Ok(())),
            peek: Box::new(|| Ok((Llm::for_vectors(model())?, 64))),
            open: Box::new(open),
        };
        let models = Models::new([offer], Residency::default());
        let options = ServerOptions { port: 0, ..ServerOptions::default() };
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let told: OnNotice = Arc::new(move |notice| {
                if let Notice::Listening(address) = notice {
                    // Nobody waits any more.
                    let _ = tell.send(address);
                }
            });
            serve(models, options, &told)
        });
        told.recv().expect("a server")
    })
}

thread_local! {
    /// The connection that goes on from request to request.
    static CONNECTION: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

/// What a server answers to a request, on a connection that it may have closed since the last one.
fn answered(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let old = CONNECTION.take();
    for connection in [old, None] {
        let is_new = connection.is_none();
        let mut stream = connection.unwrap_or_else(|| {
            let stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
            stream.set_nodelay(true).expect("small packets");
            stream
        });
        // A server may refuse and close before everything is sent.
        let sent = stream.write_all(request).is_ok();
        let answer = read(&mut stream);
        if sent && is_whole(&answer) && !head(&answer).is_some_and(|(head, _)| head.contains("connection: close")) {
            CONNECTION.set(Some(stream));
        }
        if is_new || !answer.is_empty() {
            return answer;
        }
    }
    Vec::new()
}

/// An answer, or what there is of it.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    while !is_whole(&answer) {
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => answer.extend_from_slice(&piece[..n]),
            _ => break,
        }
    }
    answer
}

/// The head of an answer, in small letters, and its length.
fn head(answer: &[u8]) -> Option<(String, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    Some((String::from_utf8_lossy(&answer[..end]).to_lowercase(), end))
}

/// Whether an answer has ended, as its head says.
fn is_whole(answer: &[u8]) -> bool {
    let Some((head, end)) = head(answer) else { return false };
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
    match length {
        Some(length) => answer.len() - end >= length,
        None => head.contains("transfer-encoding: chunked") && answer.ends_with(b"0\r\n\r\n"),
    }
}

/// The first byte chooses the route; the second whether the rest is the body, or a name and a value that are put into a good
/// one. Every request is answered, in time, and none of them is the server's own fault.
pub fn requests(data: &[u8]) {
    let Some((&[route, way], rest)) = data.split_first_chunk::<2>() else { return };
    let (path, good) = ROUTES[usize::from(route) % ROUTES.len()];
    let body = match (way % 4, rest.split_first()) {
        (0, _) | (_, None) => rest.to_vec(),
        (_, Some((&field, value))) => {
            let text = String::from_utf8_lossy(value);
            let value = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text.into_owned()));
            let mut body: serde_json::Value = serde_json::from_str(good).expect("a good body");
            body[FIELDS[usize::from(field) % FIELDS.len()]] = value;
            body.to_string().into_bytes()
        }
    };
    let (start, address) = (Instant::now(), server());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = answered(address, &[head.as_bytes(), &body].concat());
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    let body = String::from_utf8_lossy(&body);
    assert!(status.is_some_and(|status| (200..500).contains(&status) || status == 501), "{path} {body}: {answer}");
    assert!(!answer.contains("panicked"), "{path} {body}: {answer}");
    assert!(start.elapsed().as_secs() < 15, "{path} {body}: {:?}", start.elapsed());
}
