//! Thought and answer in the formats of all families, the stream cut at every place.

use serde_json::{Value, json};
use std::path::PathBuf;
use tokki::internals::chat::{
    Capabilities, Clock, Content, Kind, Splitter, SystemRole, Template, Thinking, ThinkingMode, Vars,
};

fn template(name: &str) -> Template {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/templates/{name}.jinja"));
    Template::new(std::fs::read_to_string(path).unwrap(), name).unwrap().with_clock(Clock::parse("2026-11-23").unwrap())
}

fn prompt(template: &Template, extra: Value) -> String {
    let mut vars: Vars = json!({"messages": [{"role": "user", "content": "4명이 피자를 3조각씩?"}], "bos_token": "<s>", "eos_token": "</s>"}).as_object().unwrap().clone();
    vars.extend(extra.as_object().unwrap().clone());
    template.render(&vars).unwrap()
}

/// Reasoning, answer and calls of an output that comes in `pieces`.
fn split<'a>(template: &Template, prompt: &str, pieces: impl IntoIterator<Item = &'a str>) -> [String; 3] {
    let mut splitter = Splitter::new(template.source(), &|_| false, prompt);
    let mut texts = [const { String::new() }; 3];
    let mut take = |parts: Vec<tokki::internals::chat::Part>| {
        for part in parts {
            assert!(!part.text.is_empty(), "a part without text");
            texts[match part.kind {
                Kind::Reasoning => 0,
                Kind::Answer => 1,
                Kind::Call => 2,
                Kind::Unsaid => unreachable!("text has no markers that come as tokens"),
            }]
            .push_str(&part.text);
        }
    };
    for piece in pieces {
        take(splitter.push(piece));
    }
    take(splitter.finish());
    texts
}

struct Case {
    template: &'static str,
    vars: Value,
    output: &'static str,
    reasoning: &'static str,
    answer: &'static str,
    call: &'static str,
}

fn case(
    template: &'static str,
    vars: Value,
    output: &'static str,
    reasoning: &'static str,
    answer: &'static str,
) -> Case {
    Case { template, vars, output, reasoning, answer, call: "" }
}

fn cases() -> Vec<Case> {
    let on = || json!({"enable_thinking": true});
    let off = || json!({"enable_thinking": false});
    let none = || json!({});
    vec![
        // The prompt opened the thought.
        case(
            "thought-tag",
            none(),
            "네 명이 3조각.\n\n12조각.\n</thought>\n\n답: **12조각**\n",
            "네 명이 3조각.\n\n12조각.",
            "답: **12조각**\n",
        ),
        case("thought-tag", none(), "<thought>\n다시 연 생각\n</thought>\n\n답", "다시 연 생각", "답"),
        case("thought-tag", none(), "끝나지 않는 생각 </though", "끝나지 않는 생각 </though", ""),
        case(
            "thought-tag",
            none(),
            "a < b and </b> </ thought>\n</thought>ok </thought> end",
            "a < b and </b> </ thought>",
            "ok </thought> end",
        ),
        case("thought-tag", none(), "</thought>바로 답", "", "바로 답"),
        case("namespaces", on(), "Okay,\nso 4*3.\n</think>\n\n12", "Okay,\nso 4*3.", "12"),
        case("always-thinks", none(), "Okay.\n</think>\n\n12", "Okay.", "12"),
        case("opened-thought", on(), "음… 계산\n</think>\n\n12조각 😀", "음… 계산", "12조각 😀"),
        case("empty-thought", on(), "생각\n</think>\n\n답", "생각", "답"),
        case("closed-thought", none(), "생각\n</think>\n\n답", "생각", "답"),
        // The prompt closed it.
        case("namespaces", off(), "12 <think> is a tag", "", "12 <think> is a tag"),
        case("opened-thought", off(), "12", "", "12"),
        case("empty-thought", none(), "답", "", "답"),
        case("closed-thought", json!({"thinking": false}), "답", "", "답"),
        case("thoughts", off(), "\n12", "", "12"),
        // The model opens it, or not.
        case("thoughts", none(), "<think>\nOkay\n</think>\n\n12 is the answer.", "Okay", "12 is the answer."),
        case("thoughts", none(), "<think>\n\n</think>\n\n12", "", "12"),
        case("thoughts", none(), " \n<thin is not a tag", "", " \n<thin is not a tag"),
        case("thoughts", none(), "12 <think>no</think> 13", "", "12 <think>no</think> 13"),
        case("thoughts", none(), "<think>never closed\n ", "never closed", ""),
        case("thoughts", none(), "", "", ""),
        case("documents", json!({"thinking": true}), "<think>4*3</think><response>12</response>", "4*3", "12"),
        case("documents", none(), "12", "", "12"),
        case("bracket-thought", none(), "[THINK]4*3[/THINK]12", "4*3", "12"),
        case("bracket-thought", none(), "[THINK]never [/THIN", "never [/THIN", ""),
        case("bracket-thought", none(), "12 [THINK]no[/THINK]", "", "12 [THINK]no[/THINK]"),
        // Segments.
        case(
            "segments",
            none(),
            "<|think|>사람 4명.\n12조각<|end|><|begin|>assistant<|content|>12조각입니다.\n",
            "사람 4명.\n12조각",
            "12조각입니다.\n",
        ),
        case("segments", none(), "<|content|>12조각입니다.<|flush|>", "", "12조각입니다."),
        case("segments", json!({"reasoning_effort": "low"}), "<|content|>12", "", "12"),
        case("segments", none(), "<|think|>never closed", "never closed", ""),
        case("segments", none(), "no markers at all", "", "no markers at all"),
        Case {
            call: "<|tool_call:begin|>a1<|tool_call:name|>f<|tool_call:args|>{}<|tool_call:end|>",
            ..case(
                "segments",
                none(),
                "<|think|>call f<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>a1<|tool_call:name|>f<|tool_call:args|>{}<|tool_call:end|><|calls|>",
                "call f",
                "",
            )
        },
        case(
            "channels",
            none(),
            "<|channel|>analysis<|message|>4*3 = 12.<|end|><|start|>assistant<|channel|>final<|message|>12조각<|return|>",
            "4*3 = 12.",
            "12조각",
        ),
        case("channels", none(), "<|channel|>final<|message|>12", "", "12"),
        case("channels", none(), "<|channel|>analysis<|message|>never closed", "never closed", ""),
        case(
            "channels",
            none(),
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>",
            "ab",
            "I will look.",
        ),
        Case {
            call: "assistant commentary to=functions.get_weather json\n{\"city\": \"서울\"}",
            ..case(
                "channels",
                none(),
                "<|channel|>analysis<|message|>weather<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"서울\"}<|call|>",
                "weather",
                "",
            )
        },
        case(
            "thinking-head",
            none(),
            "/think\n사람 4명.\n12.<|im_end|>\n<|im_start|>assistant\n12조각\n입니다.",
            "사람 4명.\n12.",
            "12조각\n입니다.",
        ),
        case("thinking-head", none(), "\n12조각\n입니다.<|im_end|>", "", "12조각\n입니다."),
        case(
            "thinking-head",
            json!({"force_reasoning": true}),
            "생각<|im_end|>\n<|im_start|>assistant\n답",
            "생각",
            "답",
        ),
        case("thinking-head", json!({"skip_reasoning": true}), "답", "", "답"),
        Case {
            call: "assistant -> tool/function_call\n[{\"name\": \"f\"}]",
            ..case(
                "thinking-head",
                none(),
                "/think\n부르자<|im_end|>\n<|im_start|>assistant -> tool/function_call\n[{\"name\": \"f\"}]<|im_end|><|stop|>",
                "부르자",
                "",
            )
        },
        // No thoughts at all.
        case("alternation", none(), "<think> is just text </think>", "", "<think> is just text </think>"),
        case("headers", none(), "\n\n12", "", "\n\n12"),
    ]
}

#[test]
fn every_cut_gives_the_same() {
    for case in cases() {
        let template = template(case.template);
        let prompt = prompt(&template, case.vars.clone());
        let wanted = [case.reasoning, case.answer, case.call].map(str::to_owned);
        let name = format!("{} {} {:?}", case.template, case.vars, case.output);
        assert_eq!(split(&template, &prompt, [case.output]), wanted, "{name}");
        let cuts: Vec<usize> = case.output.char_indices().map(|(i, _)| i).collect();
        let chars = case.output.char_indices().map(|(i, c)| &case.output[i..i + c.len_utf8()]);
        assert_eq!(split(&template, &prompt, chars), wanted, "{name}, one by one");
        for (n, &a) in cuts.iter().enumerate() {
            for &b in &cuts[n..] {
                let pieces = [&case.output[..a], &case.output[a..b], &case.output[b..]];
                assert_eq!(split(&template, &prompt, pieces), wanted, "{name}, cut at {a} and {b}");
            }
        }
    }
}

/// What is decided is shown at once: nothing but a possible marker and its whitespace is held back.
#[test]
fn text_is_not_delayed() {
    let template = template("thought-tag");
    let mut splitter = Splitter::new(template.source(), &|_| false, &prompt(&template, json!({})));
    let mut push = |text: &str| splitter.push(text).into_iter().map(|part| part.text).collect::<String>();
    assert_eq!(push("하나"), "하나");
    assert_eq!(push(" <"), "");
    assert_eq!(push("b"), " <b");
    assert_eq!(push("\n</tho"), "");
    assert_eq!(push("se"), "\n</those");
    assert_eq!(push("</thought>"), "");
    assert_eq!(push("\n\n"), "");
    assert_eq!(push("답"), "답");
    assert_eq!(push(" \n"), " \n");
}

/// Closing a thought from outside: the closing text, put into the stream, leads to the answer.
#[test]
fn closing_text_leads_to_the_answer() {
    for case in cases().into_iter().filter(|case| !case.reasoning.is_empty()) {
        let template = template(case.template);
        let prompt = prompt(&template, case.vars);
        let mut splitter = Splitter::new(template.source(), &|_| false, &prompt);
        let mut chars = case.output.chars();
        while !splitter.is_thinking() {
            splitter.push(&chars.next().unwrap().to_string());
        }
        splitter.push("half a thought");
        let closing = splitter.closing_text().unwrap();
        let mut parts = splitter.push(closing);
        assert!(!splitter.is_thinking() && splitter.has_thought());
        parts.extend(splitter.push("the answer"));
        parts.extend(splitter.finish());
        let answer: String =
            parts.iter().filter(|part| part.kind == Kind::Answer).map(|part| part.text.as_str()).collect();
        assert_eq!(answer, "the answer", "{}", case.template);
    }
}

/// A closing tag that the model has begun is gone on with: no half of one is left in the thought.
#[test]
fn a_closing_tag_that_has_begun_is_gone_on_with() {
    let tag = "</thought>";
    for cut in 1..tag.len() {
        let mut splitter = Splitter::new("", &|_| false, "prompt<thought>\n");
        let mut parts = splitter.push("so it is\n");
        parts.extend(splitter.push(&tag[..cut]));
        let closing = splitter.closing_text().unwrap();
        parts.extend(splitter.push(closing));
        parts.extend(splitter.push("Yes."));
        parts.extend(splitter.finish());
        let of =
            |kind| parts.iter().filter(|part| part.kind == kind).map(|part| part.text.as_str()).collect::<String>();
        assert_eq!((of(Kind::Reasoning).trim(), of(Kind::Answer).as_str()), ("so it is", "Yes."), "after {cut} bytes");
    }
}

/// Vocabulary and prompt tell the format where the template does not.
#[test]
fn format_without_the_template() {
    let tags = |text: &str| text == "<think>" || text == "</think>";
    let mut by_vocabulary = Splitter::new("", &tags, "prompt");
    by_vocabulary.push("<think>a");
    assert!(by_vocabulary.is_thinking());
    let by_prompt = Splitter::new("", &|_| false, "prompt<thought>\n");
    assert!(by_prompt.is_thinking());
    assert_eq!(by_prompt.format(), Some("<thought>"));
    assert_eq!(Splitter::new("", &|_| false, "prompt").format(), None);
}

fn capabilities(name: &str) -> Capabilities {
    template(name).capabilities().unwrap()
}

#[test]
fn what_templates_can_do() {
    use SystemRole::{Ignored, Refused, Supported};
    let switch = |name: &str| {
        let Thinking::Switch(switch) = capabilities(name).thinking else { panic!("{name}: no switch") };
        (switch.on.0, switch.off.0, switch.off.1, switch.default_on)
    };
    assert_eq!(switch("thoughts"), ("enable_thinking", "enable_thinking", json!(false), true));
    assert_eq!(switch("opened-thought"), ("enable_thinking", "enable_thinking", json!(false), false));
    assert_eq!(switch("empty-thought"), ("enable_thinking", "enable_thinking", json!(false), false));
    assert_eq!(switch("closed-thought"), ("thinking", "thinking", json!(false), true));
    assert_eq!(switch("thinking-head"), ("force_reasoning", "skip_reasoning", json!(true), true));
    assert_eq!(switch("documents"), ("thinking", "thinking", json!(false), false));
    assert_eq!(switch("segments"), ("reasoning_effort", "reasoning_effort", json!("low"), true));
    for (name, system, tools, thinking) in [
        ("thought-tag", Supported, false, Thinking::Forced),
        ("always-thinks", Supported, false, Thinking::Forced),
        ("bracket-thought", Supported, false, Thinking::Free),
        ("channels", Supported, true, Thinking::Effort),
        ("alternation", Refused, false, Thinking::None),
        ("folded-system", Supported, false, Thinking::None),
        ("parts", Supported, false, Thinking::None),
        ("calls", Supported, true, Thinking::None),
        ("headers", Supported, true, Thinking::None),
        ("plain", Supported, false, Thinking::None),
        ("brackets", Supported, true, Thinking::None),
    ] {
        let found = capabilities(name);
        assert_eq!((found.system, found.tools, found.thinking), (system, tools, thinking), "{name}");
    }
    assert_eq!(capabilities("parts").content, Content::Parts);
    assert_eq!(capabilities("folded-system").content, Content::Text);
    for cuts in [
        "{{ messages[0].content[:40] }}",
        "{% for m in messages if m.content|length < 99 %}{{ m.content }}{% endfor %}",
    ] {
        let why = Template::new(cuts, "t").unwrap().capabilities().unwrap_err().to_string();
        assert!(why.contains("cuts long questions"), "{cuts}: {why}");
    }
    for cuts in
        ["splitlines()[0]", "split(':')[0]", "split('\"')[0]", "split(' - ')[-1].split('#')[0]", "replace('w7x', '')"]
    {
        let source = format!("{{{{ messages[-1].content.{cuts} }}}}");
        let why = Template::new(&source, "t").unwrap().capabilities().unwrap_err().to_string();
        assert!(why.contains("one that cuts a question at a line"), "{cuts}: {why}");
    }
    for keeps in ["|trim", "|upper", "|e", ".strip().replace('\n', ' ')", "|replace('  ', ' ')", "|tojson"] {
        let source = format!("{{{{ messages[-1].content{keeps} }}}}");
        Template::new(&source, "t").unwrap().capabilities().unwrap();
    }
    // Of what the system says all, nothing, and some.
    for (content, system) in [
        ("m.content", Supported),
        ("''", Ignored),
        ("m.content[40:]", SystemRole::Cut),
        ("m.content.split('\n')[0]", SystemRole::Cut),
        ("m.content[:20]", SystemRole::Cut),
    ] {
        let source = format!(
            "{{% for m in messages %}}{{% if m.role == 'system' %}}{{{{ {content} }}}}{{% else %}}{{{{ m.content }}}}{{% endif %}}{{% endfor %}}"
        );
        assert_eq!(Template::new(&source, "t").unwrap().capabilities().unwrap().system, system, "{content}");
    }
    for (when, system) in [("m.role != 'system' or messages|length < 3", SystemRole::Cut), ("true", Supported)] {
        let source =
            format!("{{% for m in messages %}}{{% if {when} %}}{{{{ m.content }}}}{{% endif %}}{{% endfor %}}");
        assert_eq!(Template::new(&source, "t").unwrap().capabilities().unwrap().system, system, "{when}");
    }
    // One question alone, and all of them, and what comes in between.
    for (source, later) in [
        ("{{ messages[0].content }}", false),
        ("{% for m in messages[:3] %}{{ m.content }}{% endfor %}", false),
        ("{% for m in messages %}{% if loop.index0 % 4 != 2 %}{{ m.content }}{% endif %}{% endfor %}", false),
        ("{% for m in messages|unique(attribute='role') %}{{ m.content }}{% endfor %}", false),
        ("{% for m in messages[-3:] %}{{ m.content }}{% endfor %}", true),
        ("{% if messages|length > 1 %}{{ raise_exception('one') }}{% endif %}{{ messages[0].content }}", true),
    ] {
        let template = Template::new(source, "t").unwrap();
        assert_eq!(template.capabilities().unwrap().later, later, "{source}");
    }
    // Of parts a part is no form of the words.
    let slices = Template::new("{% for m in messages %}{{ m.content[:10] }}{% endfor %}", "t").unwrap();
    assert!(slices.capabilities().is_err_and(|why| why.to_string().contains("drops")));
    let drops = Template::new("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "t").unwrap();
    assert_eq!(drops.capabilities().unwrap().system, Ignored);
}

/// Each family's marks tell its format, by the template alone.
#[test]
fn every_format_is_told_by_a_template() {
    for (name, format) in [
        ("channels", Some("channels (analysis, commentary, final)")),
        ("segments", Some("<|think|>")),
        ("thinking-head", Some("assistant/think")),
        ("thought-tag", Some("<thought>")),
        ("bracket-thought", Some("[THINK]")),
        ("documents", Some("<think>, <response>")),
        ("thoughts", Some("<think>")),
        ("opened-thought", Some("<think>")),
        ("always-thinks", Some("<think>")),
        ("calls", None),
        ("plain", None),
    ] {
        assert_eq!(capabilities(name).format, format, "{name}");
    }
}

#[test]
fn thinking_on_and_off() {
    let apply = |name: &str, mode: &str| {
        let mut vars = Vars::new();
        mode.parse::<ThinkingMode>().unwrap().apply(&capabilities(name), &mut vars).map(|()| Value::Object(vars))
    };
    assert_eq!(apply("thoughts", "off").unwrap(), json!({"enable_thinking": false}));
    assert_eq!(apply("empty-thought", "on").unwrap(), json!({"enable_thinking": true}));
    assert_eq!(apply("empty-thought", "500").unwrap(), json!({"enable_thinking": true}));
    assert_eq!(apply("thinking-head", "on").unwrap(), json!({"force_reasoning": true}));
    assert_eq!(apply("thinking-head", "off").unwrap(), json!({"skip_reasoning": true}));
    assert_eq!(apply("segments", "off").unwrap(), json!({"reasoning_effort": "low"}));
    assert_eq!(apply("thought-tag", "on").unwrap(), json!({}));
    assert_eq!(apply("alternation", "off").unwrap(), json!({}));
    for (name, mode, says) in [
        ("thought-tag", "off", "thinking of 0"),
        ("channels", "off", "reasoning_effort=low"),
        ("alternation", "on", "knows no thoughts"),
    ] {
        let error = apply(name, mode).unwrap_err();
        assert!(error.to_string().contains(says) && error.exit_code() == 2, "{error}");
    }
    assert!("maybe".parse::<ThinkingMode>().is_err() && "-3".parse::<ThinkingMode>().is_err());
}

/// The history gives each template the thought where it looks for it; the template keeps or drops it.
#[test]
fn history() {
    let render = |name: &str, extra: Value| {
        let template = template(name);
        let turn = template.assistant_turn("old-thought", "old-answer");
        let mut messages = vec![json!({"role": "user", "content": "Q"}), turn];
        messages.extend(extra.as_array().unwrap().iter().cloned());
        let vars = json!({"messages": messages, "bos_token": "", "eos_token": "", "add_generation_prompt": true});
        template.render(vars.as_object().unwrap()).unwrap()
    };
    let next = json!([{"role": "user", "content": "R"}]);
    for name in [
        "thoughts",
        "segments",
        "channels",
        "thought-tag",
        "empty-thought",
        "always-thinks",
        "opened-thought",
        "bracket-thought",
        "alternation",
    ] {
        let text = render(name, next.clone());
        assert!(text.contains("old-answer") && !text.contains("old-thought"), "{name}: {text}");
    }
    // After the last question the thought is still wanted.
    for name in ["thoughts", "segments"] {
        let text = render(name, json!([]));
        assert!(text.contains("old-answer") && text.contains("old-thought"), "{name}: {text}");
    }
}

/// An answer that is gone on with goes on in its thought, where that was opened and not closed.
#[test]
fn a_thought_that_was_left_open_is_gone_on_with() {
    let split = |said: &str, more: &str| {
        let tags = |text: &str| text == "<think>" || text == "</think>";
        let mut splitter = Splitter::new("", &tags, &format!("prompt{said}"));
        splitter.go_on(said);
        let mut parts = splitter.push(more);
        parts.extend(splitter.finish());
        let of =
            |kind| parts.iter().filter(|part| part.kind == kind).map(|part| part.text.as_str()).collect::<String>();
        [of(Kind::Reasoning), of(Kind::Answer)]
    };
    assert_eq!(split("<think>\nSo", " it is</think>\nYes."), [" it is", "Yes."]);
    assert_eq!(split("<think>\n", " So</think>\nYes."), ["So", "Yes."]);
    assert_eq!(split("<think>a</think>b", " c"), ["", " c"]);
    assert_eq!(split("plain", " c"), ["", " c"]);
}
