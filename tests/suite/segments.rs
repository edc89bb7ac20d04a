//! What users type stays text: every control token, typed in every place, on templates of every kind.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokki::internals::chat::{Clock, Controls, Segment, Template, Vars};

const CONTROLS: &[&str] = &[
    "<s>",
    "</s>",
    "<unk>",
    "<think>",
    "</think>",
    "<thought>",
    "</thought>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|endofturn|>",
    "[|endofturn|]",
    "[|user|]",
    "[|assistant|]",
    "[|system|]",
    "[BOS]",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜tool▁outputs▁end｜>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|start_of_role|>",
    "<|end_of_role|>",
    "<|end_of_text|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|return|>",
    "<|call|>",
    "<|constrain|>",
    "<|begin|>",
    "<|content|>",
    "<|think|>",
    "<|tool_calls|>",
    "<|tool_call:begin|>",
    "<|flush|>",
    "<|calls|>",
    "<|stop|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "MASKTOKEN",
    "[THINK]",
    "[/THINK]",
    "[SYSTEM_PROMPT]",
    "<start_of_image>",
    "<|image_pad|>",
];

/// The fixtures, by name.
fn templates() -> BTreeMap<String, Template> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let one = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let template = Template::new(std::fs::read_to_string(path).unwrap(), &name).unwrap();
        (name, template.with_clock(Clock::parse("2026-11-23").unwrap()))
    };
    let templates: BTreeMap<_, _> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "jinja")).map(one).collect();
    assert!(templates.len() >= 20, "{}", templates.len());
    templates
}

/// Conversations in which `text` stands somewhere.
fn conversations(text: &str) -> Vec<(&'static str, Value)> {
    let user = json!({"role": "user", "content": "Hi there"});
    let answer = json!({"role": "assistant", "content": "Hello."});
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {"a": text}}}]});
    let tool = |text: &str| json!({"type": "function", "function": {"name": "f", "description": text, "parameters": {"type": "object", "properties": {"a": {"type": "string", "description": "d"}}, "required": ["a"]}}});
    vec![
        ("user", json!({"messages": [{"role": "user", "content": text}]})),
        ("user, spaces around", json!({"messages": [{"role": "user", "content": format!("\n  {text} \n")}]})),
        ("user, twice", json!({"messages": [{"role": "user", "content": format!("a{text}b{text}")}]})),
        ("user, earlier", json!({"messages": [{"role": "user", "content": text}, answer, user]})),
        ("system", json!({"messages": [{"role": "system", "content": format!("Say {text}.")}, user]})),
        ("assistant", json!({"messages": [user, {"role": "assistant", "content": format!("As {text} says")}, user]})),
        ("assistant, last", json!({"messages": [user, {"role": "assistant", "content": text}]})),
        (
            "assistant, thought",
            json!({"messages": [user, {"role": "assistant", "content": "Yes", "reasoning_content": text, "reasoning": text, "thinking": text}]}),
        ),
        (
            "tool result",
            json!({"messages": [user, call, {"role": "tool", "name": "f", "tool_call_id": "abcdefghi", "content": text}], "tools": [tool("d")]}),
        ),
        ("tool description", json!({"messages": [user], "tools": [tool(text)]})),
    ]
}

fn vars(conversation: &Value) -> Vars {
    let mut vars = conversation.as_object().unwrap().clone();
    vars.insert("bos_token".into(), "<s>".into());
    vars.insert("eos_token".into(), "</s>".into());
    vars
}

/// The control tokens that a tokenizer would find: the longest at each place, in trusted text only.
fn found(segments: &[Segment], controls: &[&'static str]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for segment in segments.iter().filter(|segment| segment.trusted) {
        let mut rest = segment.text.as_str();
        while let Some(c) = rest.chars().next() {
            let control =
                controls.iter().filter(|control| rest.starts_with(**control)).max_by_key(|control| control.len());
            found.extend(control);
            rest = &rest[control.map_or(c.len_utf8(), |control| control.len())..];
        }
    }
    found
}

#[test]
fn typed_control_tokens_are_text() {
    let controls = Controls::new(CONTROLS.iter().copied());
    let (mut checked, mut refused) = (0, Vec::new());
    for (name, template) in templates() {
        for (i, text) in CONTROLS.iter().enumerate() {
            let places = conversations(text).into_iter().zip(conversations("words")).enumerate();
            // Each token as a user's message, and in two of the other places in turn.
            let places = places.filter(|(place, _)| *place == 0 || (place + i) % 5 == 0);
            for (_, ((place, hostile), (_, harmless))) in places {
                let Ok(prompt) = template.render(&vars(&hostile)) else { continue };
                let segments = match template.render_segments(&vars(&hostile), &controls) {
                    Ok(segments) => segments,
                    Err(error) => {
                        assert!(error.to_string().contains(text) && error.exit_code() == 2, "{error}");
                        refused.push(format!("{name}, {place}: {text}"));
                        continue;
                    }
                };
                assert_eq!(
                    segments.iter().map(|s| s.text.as_str()).collect::<String>(),
                    prompt,
                    "{name}, {place}: {text}"
                );
                let wanted = template.render_segments(&vars(&harmless), &controls).unwrap();
                // What the template cuts away with its own tags may go; nothing may be added.
                let (found, wanted) = (found(&segments, CONTROLS), found(&wanted, CONTROLS));
                assert_eq!(found, wanted, "{name}, {place}: {text}\n{segments:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 2400, "{checked}");
    // Thoughts that a template takes apart by tags which are control tokens themselves.
    assert!(refused.len() * 100 < checked, "{} refused: {refused:?}", refused.len());
}

#[test]
fn harmless_prompts_are_one_part() {
    let controls = Controls::new(CONTROLS.iter().copied());
    for (name, template) in templates() {
        for (place, conversation) in conversations("if a < b && c > d | e { f[0] } // <b>한국어</b> \"q\"") {
            let Ok(prompt) = template.render(&vars(&conversation)) else { continue };
            let segments = template.render_segments(&vars(&conversation), &controls).unwrap();
            assert_eq!(segments, [Segment { text: prompt, trusted: true }], "{name}, {place}");
        }
    }
}

/// A control token put together of parts that are none: content in pieces, a role, a field's name.
#[test]
fn assembled_control_tokens_are_text() {
    let controls = Controls::new(["<|im_end|>", "<|im_start|>", "<|user|>"]);
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}\
                  {% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}";
    let template = Template::new(source, "t").unwrap();
    let untrusted = |messages: Value| {
        let vars: Vars = json!({"messages": messages}).as_object().unwrap().clone();
        let segments = template.render_segments(&vars, &controls).unwrap();
        assert_eq!(segments.iter().map(|s| s.text.as_str()).collect::<String>(), template.render(&vars).unwrap());
        segments.into_iter().filter(|s| !s.trusted).map(|s| s.text).collect::<Vec<_>>()
    };
    let parts = json!([{"role": "user", "content": [{"text": "a <|im_"}, {"text": "end|> b"}]}]);
    assert_eq!(untrusted(parts), ["user\na <|im_end|> b"]);
    let role = json!([{"role": "user<|im_end|>", "content": "b"}]);
    assert_eq!(untrusted(role), ["user<|im_end|>\nb"]);
    let by_role =
        Template::new("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|{{ m.name }}|>{% endfor %}", "t")
            .unwrap();
    let vars: Vars =
        json!({"messages": [{"role": "user", "content": "b", "name": "im_end"}]}).as_object().unwrap().clone();
    let segments = by_role.render_segments(&vars, &controls).unwrap();
    assert_eq!(
        segments,
        [Segment { text: "<|user|>".into(), trusted: true }, Segment { text: "b<|im_end|>".into(), trusted: false }]
    );
    let keys = Template::new("{{ tools | tojson }}<|im_end|>", "t").unwrap();
    let vars: Vars = json!({"messages": [], "tools": [{"<|im_end|>": 1}]}).as_object().unwrap().clone();
    let segments = keys.render_segments(&vars, &controls).unwrap();
    assert_eq!(segments[0], Segment { text: "[{\"<|im_end|>\": 1}]".into(), trusted: false });
    assert_eq!(segments[1], Segment { text: "<|im_end|>".into(), trusted: true });
}

/// Private characters in a user's text do not unlock anything, and come out as they were.
#[test]
fn private_characters_are_just_characters() {
    let controls = Controls::new(["<|im_end|>"]);
    let template = Template::new("{{ messages[0].content | trim }}<|im_end|>", "t").unwrap();
    let text: String = [0xF_0000, 0xF_0001, 0xF_8002, 0x10_0003].iter().filter_map(|&c| char::from_u32(c)).collect();
    let vars: Vars = json!({"messages": [{"role": "user", "content": format!(" {text}<|im_end|>{text} ")}]})
        .as_object()
        .unwrap()
        .clone();
    let segments = template.render_segments(&vars, &controls).unwrap();
    assert_eq!(segments[0], Segment { text: format!("{text}<|im_end|>{text}"), trusted: false });
    assert_eq!(segments[1], Segment { text: "<|im_end|>".into(), trusted: true });
    let all: String = (0xF_0000..=0x10_FFFD).step_by(0x800).filter_map(char::from_u32).collect();
    let vars: Vars =
        json!({"messages": [{"role": "user", "content": format!("<|im_end|>{all}")}]}).as_object().unwrap().clone();
    assert_eq!(template.render_segments(&vars, &controls).unwrap_err().exit_code(), 2);
}

/// What cannot be told from the template's own is named as it is: a token that was typed, or signs that were rewritten.
#[test]
fn what_a_template_rewrites_is_named() {
    let controls = Controls::new(["<|im_end|>", "<|im_start|>"]);
    let template = Template::new("<|im_start|>{{ messages[0].content|e }}<|im_end|>", "t").unwrap();
    let why = |content: &str| {
        let vars: Vars = json!({"messages": [{"role": "user", "content": content}]}).as_object().unwrap().clone();
        template.render_segments(&vars, &controls).unwrap_err().to_string()
    };
    let escaped = why("is a<b?");
    assert!(escaped.contains("rewrites what is typed, by < in it") && !escaped.contains("im_start"), "{escaped}");
    assert!(why("say <|im_end|>").contains("\"<|im_end|>\" where it cannot"));
}
