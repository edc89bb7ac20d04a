"""Chat templates as those who write them run them: Jinja 3.1.6, sandboxed, values unchangeable, blocks trimmed, with `break` and
`continue`, `{% generation %}`, `raise_exception`, `strftime_now` and a `tojson` without HTML escapes. And conversations to render.

Needs: pip install jinja2==3.1.6
"""
import copy
import json
from datetime import datetime

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2026, 11, 23, 9, 5, 7)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, as transformers has it."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _support(self, context, caller):
        return caller()


def environment():
    assert jinja2.__version__ == "3.1.6", jinja2.__version__

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def outcome(env, source, conversation):
    """("rendered", the prompt), or ("error", why there is none)."""
    try:
        variables = {"add_generation_prompt": True} | TOKENS | copy.deepcopy(conversation)
        return "rendered", env.from_string(source).render(**variables)
    except Exception as error:  # noqa: BLE001 (whatever it raises is a refusal)
        return "error", f"{type(error).__name__}: {error}"


def _user(content):
    return {"role": "user", "content": content}


def _assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def _system(content):
    return {"role": "system", "content": content}


def _call(name, arguments, id="a1B2c3D4e"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(content, name, id="a1B2c3D4e"):
    return {"role": "tool", "name": name, "tool_call_id": id, "content": content}


def _tool(name, description, properties, required=()):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


_TIDE = _tool("tide_at", "When the sea is high", {
    "port": {"type": "string", "description": "항구 이름"},
    "unit": {"type": "string", "enum": ["m", "ft"], "default": "m"},
}, ["port"])
_PLAN = _tool("plan_trip", "Plans \"a trip\" <by boat>", {
    "stops": {"type": "array", "items": {"type": "object", "properties": {
        "place": {"type": "string", "description": "where\nto stop"}, "nights": {"type": ["integer", "null"]}}, "required": ["place"]}},
    "budget": {"anyOf": [{"type": "number"}, {"type": "string"}], "description": "money"},
    "tags": {"type": "array", "items": {"type": "string"}, "nullable": True},
    "grid": {"type": "array", "items": {"type": "array", "items": {"enum": [1, 2.5, None]}}},
    "extra": {"type": "object", "properties": {}}, "quick": {"type": "boolean", "default": False}, "any": {},
})
_NOW = {"type": "function", "function": {"name": "now", "description": ""}}
_ASK = _user("부산 만조가 언제야?")
_TALK = [_system("Be exact."), _user("Which sea is the saltiest?"), _assistant("The Dead Sea, a lake."), _user("And of the real seas?\nName one.")]

# What templates are given. Every one is rendered with each: a refusal is an outcome too.
CONVERSATIONS = {
    "question": {"messages": [_user("배 3척에 7명씩 타면 모두 몇 명이야?")]},
    "history": {"messages": _TALK},
    "no_generation": {"messages": _TALK[1:3], "add_generation_prompt": False},
    "spaces_and_marks": {"messages": [_system(" \n"), _user("\n\t a <b> & \"c\" 'd' \\ {{ e }} {% f %} 👩‍🚀 \n")]},
    "thought_in_content": {"messages": [
        _user("2+3?"), _assistant("<think>\ntwo and three\n</think>\n\n5"), _user("minus 1?"), _assistant("<thought>\nfour\n</thought>\n\n4"), _user("and?")]},
    "thought_in_fields": {"messages": [
        _user("2+3?"), _assistant("5", reasoning_content="\nfive\n", reasoning="five", thinking="five"), _user("why?"),
        _assistant("Because.", reasoning_content="so", reasoning="so", thinking="so")]},
    "thoughts_kept": {"messages": [_user("2+3?"), _assistant("5", reasoning="five", thinking="five"), _user("why?")], "keep_thoughts": "all"},
    "last_thought_unfinished": {"messages": [_user("Q"), _assistant("A", thinking="t")], "add_generation_prompt": False},
    "thinking_on": {"messages": [_user("Hi")], "enable_thinking": True, "thinking": True},
    "thinking_off": {"messages": [_user("Hi")], "enable_thinking": False, "thinking": False, "skip_reasoning": True},
    "thinking_forced": {"messages": [_user("Hi")], "force_reasoning": True},
    "low_effort": {"messages": [_user("Hi")], "reasoning_effort": "low"},
    "tools": {"messages": [_ASK], "tools": [_TIDE]},
    "many_tools": {"messages": [_system("Use tools."), _ASK], "tools": [_PLAN, _TIDE, _NOW]},
    "tools_with_system": {"messages": [_system("Use tools."), _ASK], "tools": [_TIDE], "tools_in_user_message": False},
    "call": {"messages": [_ASK, _assistant("", tool_calls=[_call("tide_at", {"port": "부산", "n": 1.5, "deep": [None, True]})]),
                          _result("{\"high\": \"06:12\"}", "tide_at")], "tools": [_TIDE]},
    "call_with_text": {"messages": [_ASK, _assistant("I look.", tool_calls=[_call("tide_at", "{\"port\": \"부산\"}")]),
                                    _result("06:12", "tide_at"), _assistant("At 06:12."), _user("Thanks")], "tools": [_TIDE]},
    "two_calls": {"messages": [
        _ASK, _assistant(None, thinking="both", tool_calls=[_call("now", {}, "callNo001"), _call("tide_at", {"port": "a\"b"}, "callNo002")]),
        _result("09:05", "now", "callNo001"), _result("06:12", "tide_at", "callNo002"), _assistant("Gone."), _ASK], "tools": [_TIDE, _NOW]},
    "short_identifier": {"messages": [_ASK, _assistant("", tool_calls=[_call("now", {}, "1")]), _result("", "now", "1")]},
    "built_in_call": {"messages": [_ASK, _assistant("", tool_calls=[_call("search", {"query": "tide", "in": "한국"})]), _result("[]", "search")],
                      "builtin_tools": ["search", "code_interpreter", "browser"]},
    "result_without_call": {"messages": [_ASK, _result("x", "now")]},
    "parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "Look."}]}, {"role": "user", "content": [
        {"type": "text", "text": " What is "}, {"type": "image"}, {"type": "text", "text": "this? "}, {"type": "box", "parts": [{"type": "text"}]}]}]},
    "wrong_order": {"messages": [_assistant("Hello?"), _user("Hi")]},
    "same_role_twice": {"messages": [_user("Hi"), _user("Are you there?")]},
    "late_system": {"messages": [_user("Hi"), _system("Now in French."), _assistant("Oui."), _user("Hi")]},
    "other_role": {"messages": [{"role": "developer", "content": "Short."}, _user("Hi"), {"role": "critic", "content": "No."}]},
    "no_content": {"messages": [_user("Hi"), {"role": "assistant"}, _user(None)]},
    "no_messages": {"messages": []},
    "result_in_question": {"messages": [_user("Q"), _assistant("A", reasoning_content="t"), _user("<tool_response>\n1\n</tool_response>")]},
    "documents": {"messages": [_user("Who?")], "documents": [{"doc_id": 7, "text": "Ada."}, {"text": "Bo."}], "controls": {"citations": True, "n": 1},
                  "tools": [_NOW], "date_string": "23 Nov 2026", "response_format": {"type": "object"}},
    "long": {"messages": _TALK + [_assistant("The Red Sea."), _user("And then?")] * 4},
}
