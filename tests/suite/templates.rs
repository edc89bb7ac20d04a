//! Chat templates against the bytes of the reference implementation, and templates made to do harm.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokki::internals::chat::{Clock, Template, Vars};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates")
}

fn oracle() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

fn template(name: &str, now: &str) -> Template {
    let source = std::fs::read_to_string(fixtures().join(format!("{name}.jinja"))).unwrap();
    Template::new(source, "tokenizer.chat_template").unwrap().with_clock(Clock::parse(now).unwrap())
}

#[test]
fn equal_to_the_reference() {
    let oracle = oracle();
    let now = oracle["now"].as_str().unwrap();
    let expected = oracle["expected"].as_array().unwrap();
    let mut rendered = 0;
    for case in expected {
        let (name, conversation) = (case["template"].as_str().unwrap(), case["conversation"].as_str().unwrap());
        let mut vars: Vars = oracle["conversations"][conversation].as_object().unwrap().clone();
        vars.extend(oracle["tokens"].as_object().unwrap().clone());
        let got = template(name, now).render(&vars);
        match case["rendered"].as_str() {
            Some(wanted) => assert_eq!(got.unwrap(), wanted, "{name}, {conversation}"),
            None => {
                let error = got.expect_err(&format!("{name}, {conversation}: wanted {}", case["error"])).to_string();
                assert!(error.starts_with("tokenizer.chat_template, line "), "{error}");
                let (kind, message) = case["error"].as_str().unwrap().split_once(": ").unwrap();
                assert!(kind != "TemplateError" || error.contains(message), "{error} should say {message}");
            }
        }
        rendered += 1;
    }
    let files = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let templates = files.filter(|path| path.extension().is_some_and(|e| e == "jinja")).count();
    assert_eq!(rendered, templates * oracle["conversations"].as_object().unwrap().len());
    assert!(rendered >= 600, "{rendered}");
}

/// Templates made by chance (`scripts/record_templates.py chance`), and what Jinja 3.1.6 made of them; TOKKI_TEST_TEMPLATES names
/// others that were recorded.
#[test]
fn equal_to_jinja_on_generated_templates() {
    let file =
        std::env::var_os("TOKKI_TEST_TEMPLATES").map_or_else(|| fixtures().join("generated.json"), PathBuf::from);
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let vars: Vars = recorded["variables"].as_object().unwrap().clone();
    let clock = Clock::parse(recorded["now"].as_str().unwrap()).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    assert!(cases.len() >= 1000);
    let mut different = Vec::new();
    for case in cases {
        let source = case["template"].as_str().unwrap();
        let got = Template::new(source, "t").and_then(|template| template.with_clock(clock).render(&vars));
        match (case["output"].as_str(), got) {
            (Some(wanted), Ok(got)) if wanted == got => {}
            (None, Err(error)) if error.exit_code() == 2 => {}
            (wanted, got) => {
                different.push(format!("{source}\n  wanted {wanted:?} ({})\n  got {got:?}", case["refusal"]))
            }
        }
    }
    assert!(different.is_empty(), "{} of {}:\n{}", different.len(), cases.len(), different.join("\n"));
}

/// In the test of a loop `loop` is that of the loop around it, and no loop gives it another value (Jinja 3.1.6).
#[test]
fn the_loop_of_a_test_is_the_one_around() {
    let render = |source: &str| {
        Template::new(source, "t").and_then(|template| template.render(&Vars::new())).map_err(|why| why.to_string())
    };
    for (source, wanted) in [
        ("{% for x in [1, 2] %}{% for y in [1, 2] if loop.first %}{{ y }}{% endfor %}{% endfor %}", "12"),
        ("{% for x in [1] %}{% for y in [1] if loop is defined %}{{ y }}{% endfor %}{% endfor %}", "1"),
        ("{% for y in [1] if loop is defined %}{{ y }}{% endfor %}", ""),
        ("{% set loop = 5 %}{% for y in [1] if loop == 5 %}{{ loop.index }}{% endfor %}{{ loop }}", "15"),
        ("{% for x in [1] %}{% with loop = 3 %}{{ loop }}{% endwith %}{% endfor %}", "3"),
    ] {
        assert_eq!(render(source).as_deref(), Ok(wanted), "{source}");
    }
    for (source, wanted) in [
        ("{% for y in [1] if loop.first %}{{ y }}{% endfor %}", "'loop' is undefined"),
        ("{% for loop in [1] %}{% endfor %}", "can't assign"),
        ("{% for a, loop in [[1, 2]] %}{% endfor %}", "can't assign"),
        ("{% for a in [1] %}{% set loop = 1 %}{% endfor %}", "can't assign"),
    ] {
        assert!(render(source).is_err_and(|why| why.contains(wanted)), "{source}: {:?}", render(source));
    }
}

/// What templates seldom show (Jinja 3.1.6; times as glibc writes them).
#[test]
fn rare_values_are_shown_as_jinja_shows_them() {
    let render = |source: &str| Template::new(source, "t").unwrap().render(&Vars::new()).unwrap();
    assert_eq!(render("{% macro m(x, y=2) %}{% endmacro %}{{ m.arguments }}"), "('x', 'y')");
    assert_eq!(render("{{ '{:.3}|{:.3}|{:.1}|{:g}'.format(996.5, 99.65, 5.0, 996.5) }}"), "9.96e+02|99.7|5e+00|996.5");
    assert_eq!(render("{{ dict }} {{ namespace }}"), "<class 'dict'> <class 'jinja2.utils.Namespace'>");
    assert_eq!(render("{{ strftime_now('%Q %-é 100%') }}"), "%Q %-é 100%");
}

fn with_user(text: &str) -> Vars {
    json!({"messages": [{"role": "user", "content": text}]}).as_object().unwrap().clone()
}

#[test]
fn harm_ends_with_an_error() {
    let deep = |open: &str, close: &str, n: usize| format!("{{{{ {}1{} }}}}", open.repeat(n), close.repeat(n));
    let doubling = (0..60).map(|_| "{% set x = x + x %}").collect::<String>();
    let cases: Vec<(&str, String)> = vec![
        ("parentheses", deep("(", ")", 6000)),
        ("lists", deep("[", "]", 20_000)),
        ("negations", format!("{{{{ {}(1{} }}}}", "not (".repeat(5_000), ")".repeat(5_000))),
        ("filters on parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")|string".repeat(5000))),
        ("ifs", format!("{}{}", "{% if 1 %}".repeat(50_000), "{% endif %}".repeat(50_000))),
        ("unclosed ifs", "{% if 1 %}".repeat(50_000)),
        ("range", "{{ range(1000000000000) | list | length }}".into()),
        ("loops in loops", "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}".into()),
        ("macro calling itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into()),
        ("macros calling each other", "{% macro a(x) %}{{ b(x ~ x) }}{% endmacro %}{% macro b(x) %}{{ a(x ~ x) }}{% endmacro %}{{ a('x') }}".into()),
        ("recursive loop", "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}".into()),
        ("string doubling", format!("{{% set x = 'abcdefgh' %}}{doubling}{{{{ x | length }}}}")),
        ("doubling with ~", "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}".into()),
        ("doubling by capture", "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}".into()),
        ("doubling by replace", "{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}".into()),
        ("doubling by tojson", "{% set ns = namespace(x='\"') %}{% for i in range(64) %}{% set ns.x = ns.x | tojson %}{% endfor %}".into()),
        ("doubling by join", "{% set ns = namespace(x='aa') %}{% for i in range(64) %}{% set ns.x = ns.x | join(ns.x) %}{% endfor %}".into()),
        ("list doubling by constants", format!("{{% set x = {}[1] * 99999999{} %}}", "[0] + (".repeat(40), ")".repeat(40))),
        ("list doubling at the right", "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [1] + (ns.x + ns.x) %}{% endfor %}".into()),
        ("list doubling by macro", "{% macro m(x) %}{{ m(x + x) }}{% endmacro %}{{ m([1]) }}".into()),
        ("list doubling", "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | list | length }}".into()),
        ("repeated string", "{{ 'ab' * 1000000000000 }}".into()),
        ("repeated list", "{{ ([1] * 99999999) | list | length }}".into()),
        ("wide format", "{{ '%1000000000d' | format(1) }}".into()),
        ("wide str.format", "{{ '{:1000000000}'.format(1) }}".into()),
        ("indent", "{{ [1] | tojson(indent=1000000000) }}".into()),
        ("endless output", "{% for a in range(9999) %}{% for b in range(9999) %}{{ 'x' * 9999 }}{% endfor %}{% endfor %}".into()),
        ("power", "{{ 9 ** 9 ** 9 ** 9 ** 9 ** 9 }}".into()),
        ("division by zero", "{{ 1 // 0 }}".into()),
        ("include", "{% include 'chat_template' %}".into()),
        ("import of itself", "{% import 'chat_template' as t %}".into()),
        ("extends itself", "{% extends 'chat_template' %}".into()),
    ];
    for (name, source) in cases {
        let start = Instant::now();
        let outcome = Template::new(source, "hostile").and_then(|template| template.render(&with_user("Hi")));
        let error = outcome.map(|text| text.chars().take(80).collect::<String>()).expect_err(name);
        assert_eq!(error.exit_code(), 2, "{name}: {error}");
        assert!(error.to_string().starts_with("hostile"), "{name}: {error}");
        assert!(start.elapsed() < Duration::from_secs(10), "{name} took {:?}", start.elapsed());
    }
}

/// Values that hold themselves, that are nested as deep as loops allow, or that double: whatever is done with them, it
/// ends in time and without running out of stack or memory.
#[test]
fn harm_by_values_ends() {
    let itself = "{% set ns = namespace() %}{% set m = namespace() %}{% set ns.a = [ns] %}{% set ns.b = [m] %}\
                  {% set m.a = ns %}{% set m.b = [m, ns] %}";
    let nested = "{% set ns = namespace(a=[], b=[]) %}{% for i in range(450) %}{% for j in range(444) %}\
                  {% set ns.a = [ns.a] %}{% set ns.b = {'k': ns.b} %}{% endfor %}{% endfor %}";
    let doubled = "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}\
                   {% set ns.b = [ns.b, ns.b] %}{% endfor %}";
    let chained = "{% set ns = namespace() %}{% set ns.c = ns %}{% for i in range(90000) %}{% set c = ns.c %}\
                   {% set ns.a = namespace() %}{% set c.x = ns.a %}{% set ns.c = ns.a %}{% set ns.b = ns %}{% endfor %}";
    let looped = "{% set ns = namespace(a=[1], b=[2]) %}{% for i in range(50000) %}{% for x in ns.a %}\
                  {% set ns.a = [loop] %}{% if loop.changed(loop) %}{% endif %}{% endfor %}{% endfor %}";
    let uses = [
        "{{ ns.a }}",
        "{{ ns.a == ns.b }}",
        "{{ ns.a < ns.b }}",
        "{{ [ns.a, ns.b] | sort }}",
        "{{ [ns.a, ns.b] | min }}",
        "{{ {ns.a: 1} }}",
        "{{ [{'x': ns.a}, {'x': ns.b}] | groupby('x') }}",
        "{{ [ns.a] | join }}",
        "{{ ns.a ~ '' }}",
        "{{ 'x' | replace(ns.a, 'y') }}",
        "{{ ns.a | pprint }}",
        "{{ ns.a | tojson }}",
        "{{ '%s' | format(ns.a) }}",
        "{{ [ns.a] | unique | list }}",
        "{{ ns.a in [ns.b] }}",
        "{{ [ns.a].count(ns.b) }}",
        "{{ raise_exception(ns.a) }}",
        "{{ ns.a | upper }}",
        "{{ {'x': ns.a, 'y': ns.b} | dictsort(by='value') }}",
        "{{ ns.a | sum(start=[]) }}",
        "{{ ns }}",
        "{{ '{}'.format(ns.a) }}",
        "{{ [ns.a, ns.b] | max }}",
        "{{ ns.a | string | length }}",
    ];
    for make in [itself, nested, doubled, chained, looped] {
        for use_ in uses {
            let start = Instant::now();
            let template = Template::new(format!("{make}{use_}"), "hostile").unwrap();
            if let Err(error) = template.render(&with_user("Hi")) {
                let message = error.to_string();
                assert!(message.starts_with("hostile") && message.len() < 4096, "{make}{use_}: {message}");
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{make}{use_} took {:?}", start.elapsed());
        }
    }
    let long =
        "{% set s = 'x' * 2000000 %}{% set t = s ~ '' %}{% for i in range(90000) %}{% if USE %}{% endif %}{% endfor %}";
    for use_ in ["s == t", "s < t", "s in [t]", "{s: 1}", "[s, t] | sort", "s is lower", "s | upper", "s.split()"] {
        let error = Template::new(long.replace("USE", use_), "hostile").unwrap().render(&with_user("Hi")).unwrap_err();
        assert!(error.to_string().contains("limits of work"), "{use_}: {error}");
    }
}

/// Values nested as deep as fuel allows are dropped without running out of stack, and what serializes them is bounded.
#[test]
fn deep_values_are_harmless() {
    for body in [
        "",
        "{{ ns.x }}",
        "{{ ns.x | tojson }}",
        "{{ ns.x | string }}",
        "{{ ns.x == [[]] }}",
        "{{ ns.x | list | length }}",
    ] {
        let loops =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}";
        for n in [2000, 99_999] {
            let source = format!(
                "{{% set ns = namespace(x=[]) %}}{}{body}",
                loops.replacen("9999", &n.to_string(), 1).replace("9999)", "9)")
            );
            let outcome = Template::new(source, "hostile").unwrap().render(&with_user("Hi"));
            assert!(outcome.is_ok() || outcome.unwrap_err().to_string().contains("hostile"));
        }
    }
}

/// Long chains make deep trees without nesting in the source: each ends, as text or as an error.
#[test]
fn long_chains_are_harmless() {
    let cases = [
        ("sum", "{{ 1", "+1", " }}"),
        ("sum of variables", "{{ a", "+a", " }}"),
        ("concatenation", "{{ a", "~a", " }}"),
        ("attributes", "{{ a", ".a", " }}"),
        ("items", "{{ a", "[0]", " }}"),
        ("filters", "{{ a", "|e", " }}"),
        ("tests", "{{ a", " is none", " }}"),
        ("calls", "{{ a", "()", " }}"),
        ("or", "{{ a", " or a", " }}"),
        ("and", "{{ a", " and a", " }}"),
        ("comparisons", "{{ a", " == a", " }}"),
        ("powers", "{{ 1", "**1", " }}"),
        ("inline ifs", "{{ a", " if a else a", " }}"),
        ("elifs", "{% if a %}", "{% elif a %}", "{% endif %}"),
        ("negations", "{{ ", "not ", "a }}"),
        ("minus", "{{ ", "-", "1 }}"),
        ("concatenated literals", "{{ 'a'", " 'a'", " }}"),
        ("statements", "", "{% set a = 1 %}", ""),
        ("comments", "", "{##}", ""),
        ("loops", "", "{% for a in b %}", ""),
    ];
    for (name, open, link, close) in cases {
        let start = Instant::now();
        let source = format!("{open}{}{close}", link.repeat((1_000_000 - 20) / link.len()));
        let outcome = Template::new(source, "hostile").and_then(|template| template.render(&with_user("Hi")));
        assert!(outcome.is_ok() || outcome.unwrap_err().to_string().starts_with("hostile"), "{name}");
        assert!(start.elapsed() < Duration::from_secs(20), "{name} took {:?}", start.elapsed());
    }
}

#[test]
fn errors_name_the_place() {
    let cases = [
        ("\n\n{% for %}", "chat, line 3: wanted a chat template that parses"),
        ("a\n{{ messages[0].nope.nope }}", "chat, line 2: wanted a chat template that renders"),
        ("{{ raise_exception('Only user and assistant roles') }}", "its refusal: Only user and assistant roles"),
        ("{{ nope() }}", "'nope' is undefined"),
        ("{{ messages | nope }}", "unknown filter"),
    ];
    for (source, wanted) in cases {
        let error = Template::new(source, "chat").and_then(|template| template.render(&with_user("Hi"))).unwrap_err();
        assert!(error.to_string().contains(wanted), "{source}: {error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn dialect() {
    let cases = [
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "Hi"),
        ("{% if true %}\n  x\n  {% endif %}\ny", "  x\ny"),
        (
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "013",
        ),
        ("{{ {'가': '<b>', 'z': 1} | tojson }}", "{\"가\": \"<b>\", \"z\": 1}"),
        ("{{ {'가': 1} | tojson(ensure_ascii=True) }}", "{\"\\uac00\": 1}"),
        ("{{ {'가': 1} | tojson(ensure_ascii=False, indent=2) }}", "{\n  \"가\": 1\n}"),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ strftime_now('%d %b %Y') }}", "23 Nov 2026"),
        ("{{ add_generation_prompt }}", "True"),
        ("{{ nope }}|{{ nope is defined }}", "|False"),
        ("x\n", "x"),
    ];
    for (source, wanted) in cases {
        let template = Template::new(source, "chat").unwrap().with_clock(Clock::parse("2026-11-23").unwrap());
        assert_eq!(template.render(&with_user("Hi")).unwrap(), wanted, "{source}");
    }
}

#[test]
fn long_conversations_fit() {
    let turn = |role: &str| json!({"role": role, "content": "낱말 ".repeat(2000)});
    let messages: Vec<Value> = (0..300).map(|i| turn(if i % 2 == 0 { "user" } else { "assistant" })).collect();
    let vars = json!({"messages": messages}).as_object().unwrap().clone();
    for name in ["thoughts", "segments", "channels", "headers"] {
        let text = template(name, "2026-11-23").render(&vars).unwrap();
        assert!(text.len() > 300 * 2000 * 7, "{name}: {}", text.len());
    }
}

#[test]
fn date_and_tools_as_texts_where_a_template_knows_them_so() {
    let source = "{{ functions }}|{{ datetime }}|{{ date_string }}";
    let template = || Template::new(source, "chat").unwrap().with_clock(Clock::parse("2026-11-03").unwrap());
    let mut vars = with_user("Hi");
    assert_eq!(template().with_extras().render(&vars).unwrap(), "|Nov 03 2026|03 Nov 2026");
    vars.insert("tools".into(), json!([{ "type": "function" }]));
    let told = "[\n  {\n    \"type\": \"function\"\n  }\n]|Nov 03 2026|03 Nov 2026";
    assert_eq!(template().with_extras().render(&vars).unwrap(), told);
    // What a rendering says itself counts, and the reference has none of them.
    vars.insert("functions".into(), "mine".into());
    assert!(template().with_extras().render(&vars).unwrap().starts_with("mine|"));
    assert_eq!(template().render(&vars).unwrap(), "mine||");
}
