//! Fields of requests, in every dialect: each one that is known acts, changes nothing by its nature, or is refused by name.

use super::serve::{Reply, Server, chat, serve};
use serde_json::{Value, json};

fn hello() -> Value {
    json!([{ "role": "user", "content": "Hello there" }])
}

pub fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A short request of each dialect.
fn requests() -> Vec<(&'static str, Value)> {
    vec![
        ("/v1/chat/completions", json!({ "messages": hello(), "max_tokens": 2 })),
        ("/v1/completions", json!({ "prompt": "Hello there", "max_tokens": 2 })),
        ("/v1/responses", json!({ "input": "Hello there", "max_output_tokens": 2 })),
        ("/v1/messages", json!({ "messages": hello(), "max_tokens": 2 })),
        ("/completion", json!({ "prompt": "Hello there", "n_predict": 2 })),
    ]
}

fn refused(server: &Server, path: &str, body: &Value, words: &[&str]) -> Reply {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 400, "{path} {body}: {}", reply.body);
    for word in words {
        assert!(reply.body.contains(word), "{path} {body}: no '{word}' in {}", reply.body);
    }
    reply
}

fn answered(server: &Server, path: &str, body: &Value) -> Reply {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 200, "{path} {body}: {}", reply.body);
    reply
}

#[test]
fn what_is_not_done_is_refused_by_name_in_every_dialect() {
    let server = serve(&[]);
    for (path, body) in requests() {
        for (name, value) in [
            ("prompt_logprobs", json!(0)),
            ("chat_template", json!("{{ messages }}")),
            ("best_of", json!(2)),
            ("echo", json!(true)),
            ("bad_words", json!(["a"])),
            ("allowed_token_ids", json!([5])),
            ("truncate_prompt_tokens", json!(5)),
            ("use_beam_search", json!(true)),
            ("stop_token_ids", json!([99_999_999])),
            ("stop_token_ids", json!("5")),
            ("min_tokens", json!(-1)),
            ("skip_special_tokens", json!("no")),
            ("guided_choice", json!([])),
            ("structured_outputs", json!({ "structural_tag": { "a": 1 } })),
            ("reasoning_format", json!("deepseek-legacy")),
            ("web_search_options", json!({})),
            ("response_format", json!({ "type": "regex" })),
            ("response_format", json!({ "type": "grammar", "grammar": "" })),
        ] {
            refused(&server, path, &with(body.clone(), json!({ name: value })), &[name]);
        }
        // Said as it is anyway, it is taken.
        let neutral = json!({ "best_of": 1, "echo": false, "bad_words": [], "top_n_sigma": -1, "min_tokens": 0,
            "skip_special_tokens": true, "include_stop_str_in_output": false, "stop_token_ids": [], "cache_prompt": true });
        let reply = answered(&server, path, &with(body.clone(), neutral));
        assert!(!reply.head.contains("x-ignored-fields"), "{path}: {}", reply.head);
        let neutral = json!({ "modalities": ["text"], "audio": null, "functions": [], "function_call": "none", "lora": [],
            "chat_template": "", "regex": "", "guided_grammar": "", "guided_regex": "", "use_beam_search": false,
            "structured_outputs": {}, "mirostat": 0, "response_format": null });
        let reply = answered(&server, path, &with(body.clone(), neutral));
        assert!(!reply.head.contains("x-ignored-fields"), "{path}: {}", reply.head);
        refused(&server, path, &with(body.clone(), json!({ "modalities": ["text", "audio"] })), &["modalities"]);
        refused(&server, path, &with(body.clone(), json!({ "min_tokens": 3 })), &["min_tokens", "3 are wanted"]);
        answered(&server, path, &with(body.clone(), json!({ "min_tokens": 2 })));
        let both = json!({ "min_tokens": 1, "guided_json": { "type": "object" } });
        refused(&server, path, &with(body.clone(), both), &["min_tokens"]);
        let two = json!({ "regex": "a", "structured_outputs": { "choice": ["a"] } });
        refused(&server, path, &with(body, two), &["exclude each other"]);
    }
}

#[test]
fn what_says_nothing_is_as_if_it_were_not_there() {
    let server = serve(&[]);
    let nothing = json!({ "reasoning_effort": "", "logprobs": false, "stop": [], "tools": [], "tool_choice": "auto", "seed": -1 });
    for (path, more) in
        [("/v1/chat/completions", nothing), ("/v1/completions", json!({ "logprobs": false, "suffix": "" }))]
    {
        let (_, body) = requests().into_iter().find(|(own, _)| *own == path).unwrap();
        let reply = answered(&server, path, &with(body, more));
        assert!(!reply.head.contains("x-ignored-fields"), "{path}: {}", reply.head);
        assert_eq!(reply.json()["choices"][0]["logprobs"], Value::Null, "{path}");
    }
}

/// The text of a completion.
fn text(server: &Server, more: Value) -> (String, Value) {
    let body = json!({ "prompt": "Hello there", "max_tokens": 24, "temperature": 0, "ignore_eos": true });
    let answer = answered(server, "/v1/completions", &with(body, more)).json();
    (answer["choices"][0]["text"].as_str().unwrap().to_owned(), answer)
}

#[test]
fn an_answer_ends_where_a_token_or_text_says_so_and_not_too_early() {
    let server = serve(&[]);
    let ask = json!({ "prompt": "Hello there", "n_predict": 24, "temperature": 0, "ignore_eos": true, "return_tokens": true });
    let tokens = answered(&server, "/completion", &ask).json()["tokens"].clone();
    let tokens: Vec<u64> = tokens.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    // A token that the answer has, not as the first.
    let at = (2..tokens.len()).find(|&at| !tokens[..at].contains(&tokens[at])).unwrap();
    let end = json!({ "stop_token_ids": [tokens[at]] });
    let (whole, _) = text(&server, json!({}));
    let (cut, answer) = text(&server, end.clone());
    assert!(whole.starts_with(&cut) && cut.len() < whole.len(), "{cut:?} of {whole:?}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], at);
    let (kept, _) = text(&server, with(end.clone(), json!({ "include_stop_str_in_output": true })));
    assert!(whole.starts_with(&kept) && kept.len() >= cut.len(), "{kept:?} of {whole:?}");
    let (_, answer) = text(&server, with(end, json!({ "min_tokens": 20 })));
    assert!(answer["usage"]["completion_tokens"].as_u64() >= Some(20), "{answer}");
    // The same with a stop text, in the middle of the answer.
    let stop: String = whole.chars().filter(|c| c.is_ascii_graphic()).take(1).collect();
    let (cut, answer) = text(&server, json!({ "stop": stop }));
    assert!(!cut.contains(&stop) && answer["choices"][0]["finish_reason"] == "stop", "{answer}");
    let (kept, _) = text(&server, json!({ "stop": stop, "include_stop_str_in_output": true }));
    assert_eq!(kept, format!("{cut}{stop}"));
    let (long, _) = text(&server, json!({ "stop": stop, "min_tokens": 24 }));
    assert_eq!(long, whole);
}

#[test]
fn control_tokens_are_shown_where_that_is_asked_for() {
    let server = serve(&[]);
    let (bos, banned) = (server.get("/props").json()["bos_token"].as_str().unwrap().to_owned(), 1000);
    assert!(!bos.is_empty());
    let ask = |more: Value| {
        let body = json!({ "prompt": "Hello", "n_predict": 2, "temperature": 0, "ignore_eos": true, "logit_bias": [[bos, banned]] });
        answered(&server, "/completion", &with(body, more)).json()["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(json!({})), "");
    assert_eq!(ask(json!({ "skip_special_tokens": false })), format!("{bos}{bos}"));
}

#[test]
fn forms_by_the_names_of_vllm() {
    let server = serve(&[]);
    // As many texts as a list of countries, words or codes has; one that another begins with ends where it should.
    let many: Vec<String> = (0..3000).map(|i| format!("red{}", "a".repeat(i % 8) + &i.to_string())).collect();
    let body = with(
        requests()[0].1.clone(),
        json!({ "guided_choice": many, "max_tokens": 60, "logit_bias": [["<think>", false]] }),
    );
    let answer = answered(&server, requests()[0].0, &body).json();
    let choice = &answer["choices"][0];
    let text = choice["text"].as_str().or(choice["message"]["content"].as_str()).unwrap();
    assert!(many.iter().any(|one| one == text), "{answer}");
    let schema = json!({ "type": "object", "properties": { "x": { "enum": ["yes"] } }, "required": ["x"],
                         "additionalProperties": false });
    for (form, wanted) in [
        (json!({ "guided_choice": ["left \"x\"", "left \"x\""] }), "left \"x\""),
        (json!({ "guided_regex": "ab{3}" }), "abbb"),
        (json!({ "guided_grammar": "start: \"one\"" }), "one"),
        (json!({ "structured_outputs": { "choice": ["only"] } }), "only"),
        (json!({ "structured_outputs": { "regex": "[7]{2}" } }), "77"),
    ] {
        for (path, body) in requests().into_iter().take(2) {
            let answer = answered(
                &server,
                path,
                &with(with(body, form.clone()), json!({ "max_tokens": 40, "logit_bias": [["<think>", false]] })),
            )
            .json();
            let choice = &answer["choices"][0];
            let text = choice["text"].as_str().or(choice["message"]["content"].as_str()).unwrap();
            assert_eq!(text, wanted, "{path} {form}");
        }
    }
    for form in [
        json!({ "guided_json": schema }),
        json!({ "guided_json": schema.to_string() }),
        json!({ "structured_outputs": { "json": schema } }),
    ] {
        let answer = answered(
            &server,
            "/v1/chat/completions",
            &chat(&with(form, json!({ "max_tokens": 60, "logit_bias": [["<think>", false]] }))),
        )
        .json();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!({ "x": "yes" }), "{text}");
    }
}

#[test]
fn a_request_that_wants_no_cache_gets_none() {
    let server = serve(&[]);
    let prompt: Vec<u32> = (0..300).map(|i| 3 + i % 50).collect();
    let cached = |more: Value| {
        let body = json!({ "prompt": prompt, "max_tokens": 2, "temperature": 0 });
        let answer = answered(&server, "/v1/completions", &with(body, more)).json();
        let told = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert_eq!(answer["timings"]["cache_n"], told);
        (told, answer["choices"][0]["text"].clone())
    };
    let (first, text) = cached(json!({}));
    assert_eq!(first, 0);
    assert_eq!(cached(json!({ "cache_prompt": false })), (0, text.clone()));
    let read = server.metric("tokki_prompt_tokens_cached_total");
    assert_eq!(read, 0.0);
    let (again, same) = cached(json!({ "cache_prompt": true }));
    assert!(again > 200 && same == text, "{again}");
}

#[test]
fn anthropics_own_tools_and_efforts_are_refused_by_name() {
    let server = serve(&[]);
    let body = |more: Value| with(json!({ "messages": hello(), "max_tokens": 2 }), more);
    let own = json!({ "name": "f", "input_schema": { "type": "object" } });
    for kind in ["web_search_20250305", "bash_20250124", "text_editor_20250728", "code_execution_20250825"] {
        let tool = json!({ "type": kind, "name": "x" });
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            refused(&server, path, &body(json!({ "tools": [own, tool] })), &["tools[1]", kind]);
        }
    }
    refused(&server, "/v1/messages", &body(json!({ "tools": [{ "name": "f" }] })), &["tools[0].input_schema"]);
    refused(&server, "/v1/messages", &body(json!({ "mcp_servers": [{ "url": "x" }] })), &["mcp_servers"]);
    refused(&server, "/v1/messages", &body(json!({ "compaction": { "type": "summary" } })), &["compaction", "summary"]);
    answered(&server, "/v1/messages", &body(json!({ "mcp_servers": [], "container": null, "compaction": null })));
    // The official client's loop over tools asks for a conversation that is kept, and sends all of it where it hears this.
    let thread = json!({ "thread": { "type": "continue", "previous_message_id": "msg_1" } });
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let error = refused(&server, path, &body(thread.clone()), &["thread", "send all messages"]).json();
        let details = json!({ "error_code": "thread_unsupported_request", "unsupported": ["thread"] });
        assert_eq!(error["error"]["details"], details, "{error}");
    }
    answered(&server, "/v1/messages", &body(json!({ "thread": null })));
    let document = |source: Value, more: Value| {
        let block = with(json!({ "type": "document", "title": "Tides", "source": source }), more);
        body(json!({ "messages": [{ "role": "user", "content": [block, { "type": "text", "text": "When?" }] }] }))
    };
    let text = json!({ "type": "text", "media_type": "text/plain", "data": "High at six." });
    let count = |body: &Value| answered(&server, "/v1/messages/count_tokens", body).json()["input_tokens"].clone();
    let plain = json!({ "messages": [{ "role": "user", "content": "Tides\nHigh at six.\nWhen?" }] });
    assert_eq!(count(&document(text.clone(), json!({}))), count(&body(plain)));
    let parts = json!({ "type": "content", "content": [{ "type": "text", "text": "High at six." }] });
    assert_eq!(count(&document(parts, json!({}))), count(&document(text.clone(), json!({}))));
    let cited = document(text, json!({ "citations": { "enabled": true } }));
    refused(&server, "/v1/messages", &cited, &["citations"]);
    let pdf = document(json!({ "type": "base64", "media_type": "application/pdf", "data": "" }), json!({}));
    refused(&server, "/v1/messages", &pdf, &["no text"]);
    let custom = with(own.clone(), json!({ "type": "custom" }));
    answered(&server, "/v1/messages", &body(json!({ "tools": [own, custom] })));
    let effort = |effort: &str| body(json!({ "output_config": { "effort": effort } }));
    refused(&server, "/v1/messages", &effort("banana"), &["output_config.effort", "low, medium, high"]);
    answered(&server, "/v1/messages", &effort("high"));
    refused(
        &server,
        "/v1/messages",
        &body(json!({ "output_config": { "format": { "type": "xml" } } })),
        &["format.type"],
    );
    let odd =
        answered(&server, "/v1/messages", &body(json!({ "output_config": { "odd": 1 }, "context_management": {} })));
    assert!(odd.head.contains("x-ignored-fields: output_config.odd\r\n"), "{}", odd.head);
    assert!(odd.head.contains("x-warnings: 'context_management' has no effect here\r\n"), "{}", odd.head);
    // Efforts of the others.
    refused(
        &server,
        "/v1/responses",
        &json!({ "input": "x", "reasoning": { "effort": "banana" } }),
        &["reasoning.effort", "low"],
    );
    refused(&server, "/v1/chat/completions", &chat(&json!({ "reasoning_effort": "banana" })), &["low, medium, high"]);
    for (path, body) in [("/v1/chat/completions", chat(&json!({}))), ("/v1/responses", json!({ "input": "x" }))] {
        for thinking in [json!({ "type": "banana" }), json!("yes"), json!({})] {
            refused(&server, path, &with(body.clone(), json!({ "thinking": thinking })), &["thinking"]);
        }
        for thinking in [json!({ "type": "disabled" }), json!(true), json!({ "type": "enabled", "budget_tokens": 5 })] {
            answered(&server, path, &with(body.clone(), json!({ "thinking": thinking })));
        }
    }
}

#[test]
fn fields_of_responses_act_or_are_refused() {
    let server = serve(&[]);
    let body = |more: Value| {
        with(json!({ "input": "Hello there", "max_output_tokens": 3, "temperature": 0, "seed": 3 }), more)
    };
    for (name, value) in [
        ("conversation", json!("conv_1")),
        ("conversation", json!({ "id": "conv_1" })),
        ("prompt", json!({ "id": "pmpt_1" })),
        ("conversation", json!({})),
        ("truncation", json!("auto")),
        ("max_tool_calls", json!(0)),
        ("service_tier", json!("first class")),
        ("include", json!(["everything"])),
        ("metadata", json!({ "a": 1 })),
        ("metadata", json!({ "a": "x".repeat(513) })),
        ("top_logprobs", json!(21)),
        ("text", json!({ "format": { "type": "xml" } })),
    ] {
        refused(&server, "/v1/responses", &body(json!({ name: value })), &[name]);
    }
    let empty = json!({ "previous_response_id": "", "truncation": "", "include": [], "reasoning": { "effort": "" } });
    assert_eq!(answered(&server, "/v1/responses", &body(empty)).json()["previous_response_id"], Value::Null);
    let said = json!({ "metadata": { "team": "blue" }, "truncation": "disabled", "service_tier": "auto", "max_tool_calls": 3,
        "include": ["reasoning.encrypted_content"], "instructions": "Be brief.", "user": "anna",
        "text": { "format": { "type": "text" }, "verbosity": "low" } });
    let reply = answered(&server, "/v1/responses", &body(said.clone()));
    assert!(!reply.head.contains("x-ignored-fields"), "{}", reply.head);
    let answer = reply.json();
    for name in ["metadata", "truncation", "max_tool_calls", "instructions", "user", "text"] {
        assert_eq!(answer[name], said[name], "{name}");
    }
    assert_eq!(answer["service_tier"], "default");
    assert!(
        reply.head.contains("x-warnings: 'include': there is no reasoning.encrypted_content here"),
        "{}",
        reply.head
    );
    // Tools that run elsewhere are left out, and that is said.
    let tools = json!({ "tools": [{ "type": "web_search" }, { "type": "custom", "name": "apply_patch" }] });
    let reply = answered(&server, "/v1/responses", &body(tools));
    assert!(
        reply.head.contains("x-warnings: tools of type 'web_search' are left out, tools of type 'custom'"),
        "{}",
        reply.head
    );
    // Probabilities, whole and in a stream.
    let wanted = json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 2, "ignore_eos": true });
    let whole = answered(&server, "/v1/responses", &body(wanted.clone())).json();
    let told = whole["output"][0]["content"][0]["logprobs"].as_array().unwrap().clone();
    assert_eq!((told.len(), told[0]["top_logprobs"].as_array().unwrap().len()), (3, 2), "{whole}");
    let events = answered(&server, "/v1/responses", &body(with(wanted, json!({ "stream": true })))).events();
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let pieces: Vec<Value> = deltas.flat_map(|event| event["logprobs"].as_array().unwrap().clone()).collect();
    assert_eq!(pieces, told);
    let done = events.iter().find(|event| event["type"] == "response.output_text.done").unwrap();
    assert_eq!(done["logprobs"], Value::from(told));
}

#[test]
fn items_of_a_response_are_listed() {
    let server = serve(&[]);
    let ask = |body: Value| answered(&server, "/v1/responses", &with(body, json!({ "max_output_tokens": 2 }))).json();
    let first = ask(json!({ "input": "Hello there" }));
    let second = ask(json!({ "previous_response_id": first["id"], "input": [
        { "role": "user", "content": [{ "type": "input_text", "text": "And now?" }] },
        { "type": "function_call_output", "call_id": "call_1", "output": "7" } ] }));
    let list =
        |query: &str| server.get(&format!("/v1/responses/{}/input_items{query}", second["id"].as_str().unwrap()));
    let all = list("?order=asc").json();
    let data = all["data"].as_array().unwrap();
    let kinds: Vec<&str> = data.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "message", "message", "function_call_output"], "{all}");
    assert_eq!(data[0]["content"], json!([{ "type": "input_text", "text": "Hello there" }]));
    assert_eq!(data[1], first["output"][0]);
    assert!(data.iter().all(|item| item["id"].is_string()));
    assert_eq!((&all["has_more"], &all["first_id"]), (&json!(false), &data[0]["id"]));
    // Page by page, the latest first.
    let page = list("?limit=3").json();
    assert_eq!((&page["has_more"], &page["data"][0]), (&json!(true), &data[3]));
    let rest = list(&format!("?limit=3&after={}", page["last_id"].as_str().unwrap())).json();
    assert_eq!((&rest["has_more"], &rest["data"]), (&json!(false), &json!([data[0]])));
    for bad in ["?order=up", "?limit=0", "?limit=101", "?limit=x", "?after=none"] {
        assert_eq!(list(bad).status, 400, "{bad}");
    }
    assert_eq!(server.get("/v1/responses/resp_0/input_items").status, 404);
}

#[test]
fn several_prompts_are_answered_in_one_stream() {
    let server = serve(&["--parallel", "4"]);
    let body = json!({ "prompt": [[5, 6, 7], [8, 9], "Hello"], "n": 2, "max_tokens": 6, "temperature": 1, "seed": 3,
                       "ignore_eos": true, "logprobs": 1 });
    let whole = answered(&server, "/v1/completions", &body).json();
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let events = answered(&server, "/v1/completions", &with(body, more)).events();
    for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
        let own = events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
        let own: Vec<&Value> = own.collect();
        let text: String = own.iter().filter_map(|choice| choice["text"].as_str()).collect();
        assert_eq!(text, choice["text"].as_str().unwrap(), "{index}");
        assert_eq!(own.last().unwrap()["finish_reason"], choice["finish_reason"]);
    }
    assert_eq!(whole["choices"].as_array().unwrap().len(), 6);
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert_eq!(usage["prompt_tokens"], whole["usage"]["prompt_tokens"]);
    // In llama-server's form, with probabilities.
    let body =
        json!({ "prompt": [[5, 6, 7], [8, 9]], "n_predict": 5, "temperature": 0, "ignore_eos": true, "n_probs": 1 });
    let whole = answered(&server, "/completion", &body).json();
    let events = answered(&server, "/completion", &with(body, json!({ "stream": true }))).events();
    for index in 0..2 {
        let own: Vec<&Value> = events.iter().filter(|event| event["index"] == index).collect();
        let text: String = own.iter().filter_map(|event| event["content"].as_str()).collect();
        assert_eq!(text, whole[index]["content"].as_str().unwrap());
        let told = own.iter().filter_map(|event| event["completion_probabilities"].as_array());
        let told: Vec<Value> = told.flatten().cloned().collect();
        assert_eq!(Value::from(told), whole[index]["completion_probabilities"]);
        assert_eq!(own.last().unwrap()["prompt"], whole[index]["prompt"]);
    }
}

#[test]
fn ollama_tells_probabilities_and_what_it_does_not_know() {
    let server = serve(&[]);
    let options = json!({ "num_predict": 3, "temperature": 0, "ignore_eos": true, "foo": 1 });
    for (path, body) in [
        ("/api/chat", json!({ "messages": hello(), "options": options })),
        ("/api/generate", json!({ "prompt": "Hello there", "options": options })),
    ] {
        let wants = |more: Value| with(with(body.clone(), json!({ "logprobs": true, "top_logprobs": 2 })), more);
        let reply = answered(&server, path, &wants(json!({ "stream": false })));
        assert!(reply.head.contains("x-ignored-fields: options.foo\r\n"), "{}", reply.head);
        let told = reply.json()["logprobs"].as_array().unwrap().clone();
        assert_eq!((told.len(), told[0]["top_logprobs"].as_array().unwrap().len()), (3, 2));
        let lines = answered(&server, path, &wants(json!({}))).body;
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let pieces: Vec<Value> =
            lines.flat_map(|line| line["logprobs"].as_array().cloned().unwrap_or_default()).collect();
        assert_eq!(pieces, told);
        let plain = answered(&server, path, &with(body.clone(), json!({ "stream": false }))).json();
        assert!(plain.get("logprobs").is_none());
        for bad in
            [json!({ "top_logprobs": 2 }), json!({ "logprobs": true, "top_logprobs": 21 }), json!({ "truncate": true })]
        {
            let name = if bad.get("truncate").is_some() { "truncate" } else { "top_logprobs" };
            refused(&server, path, &with(body.clone(), bad), &[name]);
        }
    }
}

#[test]
fn options_of_ollama_act_or_are_listed() {
    let server = serve(&["--pooling", "mean"]);
    let ask = |options: Value| {
        let body = json!({ "messages": hello(), "options": options, "stream": false });
        server.post("/api/chat", &with(body, json!({ "keep_alive": "5m" })))
    };
    let hardware = json!({ "num_predict": 1, "num_ctx": 4096, "num_gpu": 1, "num_thread": 2, "num_batch": 8, "num_keep": 4,
                           "main_gpu": 0, "use_mmap": true, "low_vram": false, "numa": false });
    let reply = ask(hardware.clone());
    assert_eq!(reply.status, 200, "{}", reply.body);
    let listed = reply.head.lines().find_map(|line| line.strip_prefix("x-ignored-fields: ")).unwrap();
    let mut listed: Vec<&str> = listed.split(", ").collect();
    let mut wanted: Vec<String> = hardware.as_object().unwrap().keys().map(|name| format!("options.{name}")).collect();
    wanted.retain(|name| name != "options.num_predict");
    listed.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    // The whole of the server's context, and what leaves it to the server.
    for same in [json!(512), json!(0), json!(-1)] {
        let reply = ask(json!({ "num_predict": 1, "num_ctx": same }));
        assert!(reply.status == 200 && !reply.head.contains("x-ignored-fields"), "{}", reply.head);
    }
    // Less than the server has: for prompt and answer together.
    let prompt = ask(json!({ "num_predict": 1 })).json()["prompt_eval_count"].as_u64().unwrap();
    for room in [1, 3] {
        let most = |more: Value| with(json!({ "num_ctx": prompt + room, "ignore_eos": true }), more);
        let answer = ask(most(json!({}))).json();
        assert_eq!((&answer["eval_count"], &answer["done_reason"]), (&json!(room), &json!("length")), "{answer}");
        assert_eq!(ask(most(json!({ "num_predict": 1 }))).json()["eval_count"], 1);
    }
    for small in [prompt, 1] {
        let reply = ask(json!({ "num_ctx": small }));
        let says = format!("{prompt} tokens > {} maximum", small - 1);
        assert!(reply.status == 400 && reply.body.contains(&says) && reply.body.contains("num_ctx"), "{}", reply.body);
    }
    assert_eq!(ask(json!({ "num_ctx": "many" })).status, 400);
    for (path, body) in [("/api/embed", json!({ "input": "Hello" })), ("/api/embeddings", json!({ "prompt": "Hello" }))]
    {
        let reply =
            answered(&server, path, &with(body.clone(), json!({ "options": { "num_gpu": 1 }, "keep_alive": 60 })));
        assert!(reply.head.contains("x-ignored-fields: options.num_gpu\r\n"), "{}", reply.head);
        refused(&server, path, &with(body, json!({ "keep_alive": "soon" })), &["keep_alive"]);
    }
}

#[test]
fn vectors_are_cut_where_that_is_asked_for() {
    let server = serve(&["--pooling", "mean"]);
    let vector = |path: &str, more: Value| {
        let answer = answered(&server, path, &with(json!({ "input": "Hello there" }), more)).json();
        let vector =
            if path == "/api/embed" { answer["embeddings"][0].clone() } else { answer["data"][0]["embedding"].clone() };
        vector.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let length = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    for path in ["/v1/embeddings", "/api/embed"] {
        let whole = vector(path, json!({}));
        let short = vector(path, json!({ "dimensions": 8 }));
        let part = length(&whole[..8]);
        assert!(short.len() == 8 && (length(&short) - 1.0).abs() < 1e-6);
        assert!(short.iter().zip(&whole).all(|(a, b)| (a - b / part).abs() < 1e-6));
        assert_eq!(vector(path, json!({ "dimensions": whole.len() })).len(), whole.len());
        for bad in [json!(0), json!(whole.len() + 1), json!(-1), json!("8")] {
            refused(&server, path, &json!({ "input": "Hello there", "dimensions": bad }), &["dimensions"]);
        }
    }
    let packed = json!({ "input": "Hello there", "dimensions": 3, "encoding_format": "base64" });
    let packed = answered(&server, "/v1/embeddings", &packed).json();
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), 16);
    // A text that is too long is cut by Ollama's route, unless that is not wanted.
    let long: Vec<u32> = vec![5; 600];
    let cut = answered(&server, "/api/embed", &json!({ "input": long })).json();
    assert_eq!(cut["prompt_eval_count"], 512);
    assert_eq!(
        cut["embeddings"],
        answered(&server, "/api/embed", &json!({ "input": long[..512] })).json()["embeddings"]
    );
    refused(&server, "/api/embed", &json!({ "input": long, "truncate": false }), &["too large"]);
    refused(&server, "/v1/embeddings", &json!({ "input": long }), &["too large"]);
}

#[test]
fn a_wrong_method_or_query_is_told_what_is_right() {
    let server = serve(&[]);
    for (method, path, allowed) in [
        ("PUT", "/v1/models", "get, head"),
        ("TRACE", "/v1/responses/resp_1", "get, head, delete"),
        ("GET", "/v1/responses/resp_1/cancel", "post"),
        ("DELETE", "/v1/batches", "post, get, head"),
        ("PUT", "/", "get, head"),
        ("GET", "/v1/responses/input_tokens", "post"),
    ] {
        let reply = server.send(method, path, "", "");
        assert_eq!(reply.status, 405, "{method} {path}: {}", reply.body);
        assert!(reply.head.contains(&format!("\r\nallow: {allowed}\r\n")), "{method} {path}: {}", reply.head);
    }
    for path in ["/v1/responses/a/b", "/v1/batches/a/b", "/v1/files/a/b", "/slots/0/1", "/v1/responses/"] {
        let method = if path.starts_with("/slots") { "POST" } else { "GET" };
        assert!([404, 405].contains(&server.send(method, path, "", "").status), "{path}");
    }
    // A slot is not erased by a request that makes no sense.
    assert_eq!(server.post("/slots/0?action=erase", &json!({ "filename": 3 })).status, 400);
    assert_eq!(server.post("/slots/0?x=1&action=erase", &json!({})).status, 200);
}

fn tools() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "enum": ["Paris"] } }, "required": ["city"],
                             "additionalProperties": false });
    json!([{ "type": "function", "function": { "name": "weather", "parameters": parameters } }])
}

/// No form is thrown away for another one, and none is waited out by `min_tokens`.
#[test]
fn tools_and_forms_go_together_or_are_refused() {
    let server = serve(&[]);
    let path = "/v1/chat/completions";
    let demanded = json!({ "tools": tools(), "tool_choice": "required", "max_tokens": 100 });
    for (more, words) in [
        (json!({ "min_tokens": 60 }), "min_tokens"),
        (json!({ "grammar": "start: \"a\"" }), "tool_choice"),
        (json!({ "guided_regex": "a" }), "tool_choice"),
        (json!({ "response_format": { "type": "json_object" } }), "tool_choice"),
    ] {
        refused(&server, path, &with(chat(&demanded), more), &[words]);
    }
    refused(&server, path, &with(chat(&json!({ "tools": tools() })), json!({ "regex": "a" })), &["tools"]);
    let schema = json!({ "type": "object", "additionalProperties": false, "required": ["n"],
        "properties": { "n": { "$ref": "#/$defs/few" } }, "$defs": { "few": { "enum": [1, 2] } } });
    let own = json!([{ "name": "weather", "input_schema": { "type": "object" } }]);
    let config = json!({ "format": { "type": "json_schema", "schema": schema } });
    let body = json!({ "messages": hello(), "max_tokens": 9, "tools": own, "output_config": config });
    refused(&server, "/v1/messages", &with(body, json!({ "tool_choice": { "type": "any" } })), &["tool_choice"]);
    let text = json!({ "format": { "type": "json_schema", "name": "n", "schema": schema } });
    let body = json!({ "input": "Hello", "text": text });
    refused(&server, "/v1/responses", &with(body.clone(), json!({ "regex": "a" })), &["text.format"]);
    refused(&server, "/v1/responses", &with(body, json!({ "min_tokens": 5 })), &["min_tokens"]);
    // Free to call, the answer keeps the form or is a call.
    let form = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    let (mut called, mut kept) = (0, 0);
    for seed in 0..12 {
        let more =
            json!({ "tools": tools(), "response_format": form, "max_tokens": 200, "temperature": 2, "seed": seed });
        let answer = answered(&server, path, &chat(&more)).json();
        let choice = &answer["choices"][0];
        match (choice["finish_reason"].as_str().unwrap(), choice["message"]["content"].as_str()) {
            ("tool_calls", _) => called += 1,
            ("stop", Some(content)) if !content.is_empty() => {
                let value: Value = serde_json::from_str(content).unwrap_or_else(|why| panic!("{why}: {content}"));
                assert!(value == json!({ "n": 1 }) || value == json!({ "n": 2 }), "{content}");
                kept += 1;
            }
            // It ended in its thought, or the arguments of a call, which are free, came to no end.
            _ => {}
        }
    }
    assert!(kept > 0 && called + kept <= 12, "{kept} kept, {called} called");
}

/// Gateways drop fields that they do not know, but not the variables of the template.
#[test]
fn forms_among_the_variables_of_the_template_act() {
    let server = serve(&[]);
    let more = |more: Value| chat(&with(json!({ "temperature": 0, "max_tokens": 40 }), more));
    let inside = json!({ "chat_template_kwargs": { "regex": "(yes|no)" } });
    let answer = answered(&server, "/v1/chat/completions", &more(inside)).json();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(["yes", "no"].contains(&content), "{content}");
    let twice = json!({ "regex": "a", "chat_template_kwargs": { "regex": "b" } });
    refused(&server, "/v1/chat/completions", &more(twice), &["regex", "chat_template_kwargs"]);
}

/// Several prompts are one request: together they take one place of the queue.
#[test]
fn more_prompts_than_may_wait_are_answered() {
    let server = serve(&["--parallel", "2", "--queue", "1"]);
    let prompts = vec!["Hello"; 40];
    let answer = answered(&server, "/v1/completions", &json!({ "prompt": prompts, "max_tokens": 1 })).json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 40);
    assert_eq!((server.metric("tokki_requests_waiting"), server.metric("tokki_requests_running")), (0.0, 0.0));
    let many = json!({ "prompt": vec!["a"; 257], "max_tokens": 1 });
    refused(&server, "/v1/completions", &many, &["256", "257"]);
}

#[test]
fn dialects_of_one_answer_do_not_take_a_number_of_them() {
    let server = serve(&[]);
    for (path, body) in requests().into_iter().filter(|(path, _)| ["/v1/responses", "/v1/messages"].contains(path)) {
        refused(&server, path, &with(body.clone(), json!({ "n": 2 })), &["'n'"]);
        answered(&server, path, &with(body, json!({ "n": 1 })));
    }
}

#[test]
fn items_are_named_by_their_ids() {
    let server = serve(&[]);
    let ask =
        |input: Value| server.post("/v1/responses", &json!({ "input": input, "max_output_tokens": 4, "seed": 1 }));
    let first = ask(json!("Hello there")).json();
    let item = first["output"][0].clone();
    let named = json!([{ "role": "user", "content": "Hello there" }, { "type": "item_reference", "id": item["id"] },
                       { "role": "user", "content": "And now?" }]);
    let mut whole = named.clone();
    whole[1] = item.clone();
    let (by_name, in_full) = (ask(named).json(), ask(whole).json());
    assert_eq!(by_name["usage"]["input_tokens"], in_full["usage"]["input_tokens"], "{by_name}");
    let path = format!("/v1/responses/{}/input_items?order=asc", by_name["id"].as_str().unwrap());
    assert_eq!(server.get(&path).json()["data"][1], item);
    // Instructions alone are something to answer; nothing at all is not.
    let told = json!({ "input": [], "instructions": "Be brief.", "max_output_tokens": 2 });
    answered(&server, "/v1/responses", &told);
    refused(&server, "/v1/responses", &json!({ "input": [] }), &["input"]);
    let unknown = ask(json!([{ "type": "item_reference", "id": "msg_none" }]));
    assert!(unknown.status == 404 && unknown.body.contains("msg_none"), "{}", unknown.body);
    let sealed = ask(json!([{ "type": "compaction", "encrypted_content": "x" }, { "role": "user", "content": "a" }]));
    assert!(sealed.status == 400 && sealed.body.contains("compaction"), "{}", sealed.body);
}

#[test]
fn as_many_texts_as_clients_send_at_once_become_vectors() {
    let server = serve(&["--pooling", "mean"]);
    let texts = vec!["a"; 300];
    let answer = answered(&server, "/v1/embeddings", &json!({ "input": texts })).json();
    assert_eq!(answer["data"].as_array().unwrap().len(), 300);
    refused(&server, "/v1/embeddings", &json!({ "input": vec!["a"; 2049] }), &["input", "2048", "2049"]);
}

/// The line that changes with every request is no part of the prompt, in any dialect.
#[test]
fn the_line_that_changes_with_every_request_goes() {
    let server = serve(&[]);
    for (path, of, count) in [
        ("/v1/chat/completions", "messages", "/usage/prompt_tokens"),
        ("/v1/messages", "system", "/usage/input_tokens"),
        ("/v1/responses", "instructions", "/usage/input_tokens"),
        ("/api/chat", "messages", "/prompt_eval_count"),
        ("/api/generate", "system", "/prompt_eval_count"),
    ] {
        let read = |system: &str| {
            let asked = [("/v1/responses", "input", json!("Hi")), ("/api/generate", "prompt", json!("Hi"))];
            let (_, name, value) = asked.into_iter().find(|row| row.0 == path).unwrap_or((path, "messages", hello()));
            let plain = json!({ name: value, "max_tokens": 1, "stream": false });
            let turns = json!([{ "role": "system", "content": system }, { "role": "user", "content": "Hello there" }]);
            let own = if of == "messages" { turns } else { json!(system) };
            let answer = answered(&server, path, &with(plain, json!({ of: own }))).json();
            answer.pointer(count).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {answer}"))
        };
        assert_eq!(read("x-anthropic-billing-header: cch=4711;\nBe brief."), read("Be brief."), "{path}");
    }
}

#[test]
fn texts_are_tokenized_by_either_name() {
    let server = serve(&[]);
    let tokens = |name: &str| answered(&server, "/tokenize", &json!({ name: "Hello there" })).json()["tokens"].clone();
    assert!(tokens("content") == tokens("prompt") && tokens("prompt") != json!([]));
}

/// What is wrong with an item is told by its place in the request.
#[test]
fn items_of_a_response_are_named_by_their_places() {
    let server = serve(&[]);
    let hello = json!({ "role": "user", "content": "Hello" });
    for (item, place) in [
        (json!({ "role": "wizard", "content": "x" }), "input[1].role"),
        (json!({ "role": "user", "content": 5 }), "input[1].content"),
        (json!({ "role": "user", "content": [{ "type": "input_image" }] }), "input[1].content[0]"),
        (json!({ "type": "function_call_output", "output": 5 }), "input[1].output"),
    ] {
        let reply = server.post("/v1/responses", &json!({ "input": [hello, item] }));
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status, &error["param"]), (400, &json!(place)), "{error}");
    }
}

/// A token that ends the answer is no part of it, and has no probability in it.
#[test]
fn the_end_has_no_probability() {
    let server = serve(&[]);
    let end = server.get("/props").json()["eos_token"].clone();
    let end = server.post("/tokenize", &json!({ "content": end, "parse_special": true })).json()["tokens"].clone();
    let bias = json!([[end[0], 100]]);
    let body = chat(&json!({ "logprobs": true, "top_logprobs": 1, "logit_bias": bias, "max_tokens": 20 }));
    let choice = answered(&server, "/v1/chat/completions", &body).json()["choices"][0].clone();
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("stop"), &json!("")), "{choice}");
    assert!(choice["logprobs"]["content"].as_array().is_none_or(Vec::is_empty), "{choice}");
}

/// A call that was cut is text, and that is said: in the answer, or in its last piece.
#[test]
fn a_call_that_cannot_be_read_is_told() {
    let server = serve(&[]);
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    // The small model likes to begin a thought.
    let cut = json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 3, "logit_bias": { "<think>": -100 } });
    let told = |value: &Value| value["warnings"][0].as_str().is_some_and(|text| text.contains("could not be read"));
    assert!(told(&answered(&server, "/v1/chat/completions", &chat(&cut)).json()));
    let events = answered(&server, "/v1/chat/completions", &with(chat(&cut), json!({ "stream": true }))).events();
    assert!(events.iter().any(told), "{events:?}");
    let whole = answered(&server, "/v1/chat/completions", &chat(&json!({ "tools": [tool], "max_tokens": 3 }))).json();
    assert!(whole.get("warnings").is_none(), "{whole}");
}

/// A template that knows no tools is given their descriptions, calls and results as texts.
#[test]
fn tools_are_told_to_templates_that_know_none() {
    let server = serve(&[]);
    let tool = json!({ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } });
    let call =
        json!({ "id": "c", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": 1}" } });
    let messages = json!([
        { "role": "user", "content": "Hello" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c", "content": "rain" },
    ]);
    let reply = answered(&server, "/apply-template", &json!({ "messages": messages, "tools": [tool] }));
    let prompt = reply.json()["prompt"].as_str().unwrap().to_owned();
    let parts = ["\"name\":\"weather\"", "Hello", "<tool_call>\n{\"name\":\"weather\"", "<tool_response>\nrain"];
    let places: Vec<Option<usize>> = parts.iter().map(|part| prompt.find(part)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}: {prompt}");
}

/// Instructions hold for one answer; a system prompt among the items stays.
#[test]
fn instructions_hold_for_one_answer() {
    let server = serve(&[]);
    // All answers are the same, so that what is read after them differs by the system prompt alone.
    let same = json!({ "regex": "yes", "logit_bias": { "yes": 100 }, "max_output_tokens": 20, "seed": 1 });
    let ask = |more: Value| answered(&server, "/v1/responses", &with(same.clone(), more)).json();
    let read = |answer: &Value| answer["usage"]["input_tokens"].as_u64().unwrap();
    let second = |first: &Value| read(&ask(json!({ "previous_response_id": first["id"], "input": "And now?" })));
    let plain = ask(json!({ "input": "Hello there" }));
    let told = ask(json!({ "input": "Hello there", "instructions": "Be brief, and answer in French." }));
    assert!(read(&told) > read(&plain));
    assert_eq!(second(&told), second(&plain));
    let system = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello there" }]);
    let kept = ask(json!({ "input": system, "instructions": "In French." }));
    assert!(second(&kept) > second(&plain) && read(&kept) > read(&plain));
}

/// What nobody reads is told, wherever it stands.
#[test]
fn unknown_fields_within_others_are_told_in_every_dialect() {
    let server = serve(&[]);
    let told = |path: &str, body: Value| {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        let line = reply.head.lines().find_map(|line| line.strip_prefix("x-ignored-fields: "));
        line.unwrap_or_default().to_owned()
    };
    let messages = json!([{ "role": "user", "foo": 1, "content": [{ "type": "text", "text": "a", "bar": 1 }] }]);
    let tools =
        json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" }, "baz": 1 } }]);
    let chat = json!({ "messages": messages, "max_tokens": 1, "tools": tools, "stream_options": { "odd": 1 },
                       "tool_choice": "none" });
    let inner = "messages[0].foo, messages[0].content[0].bar";
    let line = told("/v1/chat/completions", chat.clone());
    assert!(
        line.contains(inner) && line.contains("tools[0].function.baz") && line.contains("stream_options.odd"),
        "{line}"
    );
    let formed = json!({ "messages": messages, "max_tokens": 1, "response_format": { "type": "text", "odd": 1 } });
    assert!(told("/v1/chat/completions", formed).contains("response_format.odd"));
    assert!(told("/v1/messages", json!({ "messages": messages, "max_tokens": 1 })).contains(inner));
    let ollama = json!({ "messages": [{ "role": "user", "content": "a", "foo": 1 }], "options": { "num_predict": 1 } });
    assert_eq!(told("/api/chat", ollama), "messages[0].foo");
    let input = json!([{ "role": "user", "content": "a", "foo": 1 }]);
    assert_eq!(told("/v1/responses", json!({ "input": input, "max_output_tokens": 1 })), "input[0].foo");
    let question = json!({ "type": "predicate", "instructions": "Is it?", "foo": 1 });
    let asked = json!({ "input": "a", "questions": [question], "temperature": 1 });
    let line = told("/v1/decisions", asked.clone());
    assert!(line.contains("questions[0].foo") && line.contains("temperature"), "{line}");
    refused(&server, "/v1/decisions", &with(asked, json!({ "stream": true })), &["stream"]);
}

#[test]
fn roles_slots_and_samplers_that_there_are_not_are_refused() {
    let server = serve(&["--parallel", "2"]);
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let body = json!({ "messages": [{ "role": "wizard", "content": "a" }], "max_tokens": 1 });
        refused(&server, path, &body, &["wizard", "user", "assistant"]);
    }
    let body = |more: Value| with(json!({ "prompt": [5, 6], "n_predict": 1 }), more);
    refused(&server, "/completion", &body(json!({ "id_slot": 2 })), &["id_slot", "0 to 1"]);
    for more in [json!({ "samplers": ["top_k", "temperature"] }), json!({ "samplers": "kt" }), json!({ "samplers": 3 })]
    {
        refused(&server, "/completion", &body(more), &["samplers"]);
    }
    let usual = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"];
    for more in [json!({ "id_slot": 1 }), json!({ "id_slot": -1 }), json!({ "samplers": usual, "n_keep": 5 })] {
        let reply = answered(&server, "/completion", &body(more));
        assert!(!reply.head.contains("x-ignored-fields"), "{}", reply.head);
    }
}

/// The line goes in every dialect that has a system prompt, that is said once, and it can be left in.
#[test]
fn the_line_that_changes_is_told_once_and_may_stay() {
    let line = |n: u32| format!("x-anthropic-billing-header: cch={n};\nYou are helpful.");
    let tokens = |server: &Server, n: u32| {
        let body = json!({ "system": line(n), "messages": [{ "role": "user", "content": "Hi" }] });
        server.post("/v1/messages/count_tokens", &body).json()["input_tokens"].as_u64().unwrap()
    };
    let server = serve(&[]);
    let (short, again) = (tokens(&server, 1), tokens(&server, 2));
    let chat = json!({ "messages": [{ "role": "system", "content": line(3) }, hello()[0]], "max_tokens": 1 });
    answered(&server, "/v1/chat/completions", &chat);
    assert_eq!(short, again);
    assert_eq!(server.said("x-anthropic-billing-header", 1).len(), 1);
    let keeps = serve(&["--billing-line", "keep"]);
    assert!(tokens(&keeps, 1) > short);
    assert!(keeps.said("x-anthropic-billing-header", 0).is_empty());
}
