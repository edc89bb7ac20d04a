"""Drives a running `tokki serve` with the official clients: `clients.py http://127.0.0.1:8080 [KEY]`.

Needs `pip install openai anthropic ollama litellm jsonschema`; what is missing is skipped and said. Prints one line per check and, last,
`N passed, N failed, N skipped`; exits with 1 if any failed.
"""
import json
import os
import sys
import traceback

BASE = sys.argv[1].rstrip("/")
KEY = sys.argv[2] if len(sys.argv) > 2 else "none"
MESSAGES = [{"role": "user", "content": "Say something about rain."}]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"],
    "additionalProperties": False}}}]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer",
          "minimum": 0, "maximum": 120}}, "required": ["name", "age"], "additionalProperties": False}
CHECKS = []


def check(package):
    def add(function):
        CHECKS.append((package, function))
        return function
    return add


def openai_client():
    import openai
    return openai.OpenAI(base_url=BASE + "/v1", api_key=KEY, max_retries=0)


def model():
    return openai_client().models.list().data[0].id


@check("openai")
def chat_whole():
    answer = openai_client().chat.completions.create(model=model(), messages=MESSAGES, max_tokens=16, seed=1)
    assert answer.choices[0].message.content and answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@check("openai")
def chat_stream_is_the_whole_answer():
    client, name = openai_client(), model()
    settings = dict(model=name, messages=MESSAGES, max_tokens=24, seed=7, temperature=0.8)
    whole = client.chat.completions.create(**settings)
    pieces, usage = [], None
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **settings):
        pieces += [choice.delta.content or "" for choice in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(pieces) == whole.choices[0].message.content
    assert usage.completion_tokens == whole.usage.completion_tokens


@check("openai")
def chat_stream_helper():
    import openai
    try:
        with openai_client().chat.completions.stream(model=model(), messages=MESSAGES, max_tokens=400, n=2, seed=1) as stream:
            for event in stream:
                pass
            assert len(stream.get_final_completion().choices) == 2
    except openai.LengthFinishReasonError:
        pass  # the helper's own word for an answer that ends at max_tokens


@check("openai")
def a_schema_is_kept():
    import jsonschema
    for seed in range(4):
        answer = openai_client().chat.completions.create(
            model=model(), messages=MESSAGES, seed=seed, max_tokens=120, temperature=1.0,
            response_format={"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}})
        if answer.choices[0].finish_reason == "stop":
            jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)


@check("openai")
def a_call_can_be_required():
    for stream in (False, True):
        settings = dict(model=model(), messages=MESSAGES, tools=TOOLS, tool_choice="required", max_tokens=200, seed=1)
        if stream:
            with openai_client().chat.completions.stream(**settings) as events:
                for _ in events:
                    pass
                answer = events.get_final_completion()
        else:
            answer = openai_client().chat.completions.create(**settings)
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == "weather" and "city" in json.loads(call.function.arguments)
        assert answer.choices[0].finish_reason == "tool_calls" and call.id


@check("openai")
def a_conversation_with_tools_goes_on():
    messages = MESSAGES + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Seoul\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."}]
    answer = openai_client().chat.completions.create(model=model(), messages=messages, tools=TOOLS, max_tokens=8)
    assert answer.choices[0].finish_reason


@check("openai")
def probabilities():
    answer = openai_client().chat.completions.create(model=model(), messages=MESSAGES, max_tokens=4, logprobs=True,
                                                     top_logprobs=3, temperature=0)
    content = answer.choices[0].logprobs.content
    assert len(content) == 4 and all(len(entry.top_logprobs) == 3 and entry.logprob <= 0 for entry in content)
    assert all(entry.top_logprobs[0].token == entry.token for entry in content)


@check("openai")
def completions():
    client, name = openai_client(), model()
    answer = client.completions.create(model=name, prompt=["Once upon", "The sea"], max_tokens=8, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    text = "".join(chunk.choices[0].text for chunk in client.completions.create(
        model=name, prompt="Once upon", max_tokens=8, temperature=0, stream=True))
    assert text == answer.choices[0].text


@check("openai")
def errors_have_their_types():
    import openai
    client, name = openai_client(), model()
    def fails(error, **settings):
        try:
            client.chat.completions.create(**{"model": name, "messages": MESSAGES, **settings})
        except error as found:
            return found
        raise AssertionError(f"no {error.__name__} for {settings}")
    long = fails(openai.BadRequestError, messages=[{"role": "user", "content": "word " * 200_000}])
    assert long.code == "context_length_exceeded" and "maximum context length is" in long.message
    assert fails(openai.BadRequestError, temperature="hot").param == "temperature"
    fails(openai.BadRequestError, messages=[])
    fails(openai.BadRequestError, messages=[{"content": "no role"}])
    fails(openai.BadRequestError, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])
    fails(openai.BadRequestError, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}})


def anthropic_client():
    import anthropic
    return anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0)


@check("openai")
def responses_list_their_items():
    client = openai_client()
    settings = dict(model=model(), max_output_tokens=8, metadata={"from": "clients"}, include=["message.output_text.logprobs"])
    first = client.responses.create(input="Say something about rain.", **settings)
    assert first.metadata == {"from": "clients"} and first.output[-1].content[0].logprobs
    second = client.responses.create(input=[MESSAGES[0]] * 3, previous_response_id=first.id, **settings)
    roles = [item.role for item in client.responses.input_items.list(second.id, order="asc", limit=2)]
    assert roles == ["user", "assistant", "user", "user", "user"], roles


@check("openai")
def several_prompts_in_one_stream():
    ask = dict(model=model(), prompt=["One", "Two"], max_tokens=8, temperature=0)
    whole = openai_client().completions.create(**ask)
    texts = ["", ""]
    for chunk in openai_client().completions.create(stream=True, **ask):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]


@check("anthropic")
def messages_whole_and_streamed():
    client, name = anthropic_client(), model()
    settings = dict(model=name, max_tokens=16, messages=MESSAGES, system=[
        {"type": "text", "text": "x-anthropic-billing-header: cch=1"}, {"type": "text", "text": "Be short."}],
        extra_body={"temperature": 0})
    whole = client.messages.create(**settings)
    with client.messages.stream(**settings) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert whole.stop_reason in ("end_turn", "max_tokens")


@check("anthropic")
def tools_of_anthropic():
    tools = [{"name": "weather", "description": "The weather", "input_schema": TOOLS[0]["function"]["parameters"]}]
    with anthropic_client().messages.stream(model=model(), max_tokens=200, messages=MESSAGES, tools=tools,
                                            tool_choice={"type": "any"}) as stream:
        final = stream.get_final_message()
    call = final.content[-1]
    assert call.type == "tool_use" and call.name == "weather" and "city" in call.input and final.stop_reason == "tool_use"


@check("anthropic")
def counting_tokens():
    counted = anthropic_client().messages.count_tokens(model=model(), messages=MESSAGES)
    used = anthropic_client().messages.create(model=model(), messages=MESSAGES, max_tokens=1).usage
    assert counted.input_tokens == used.input_tokens + used.cache_read_input_tokens


@check("anthropic")
def errors_of_anthropic():
    import anthropic
    try:
        anthropic_client().messages.create(model=model(), max_tokens=8, messages=[])
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error"
        return
    raise AssertionError("no error")


def ollama_client():
    import ollama
    return ollama.Client(host=BASE, headers={"Authorization": "Bearer " + KEY})


@check("ollama")
def ollama_chat_and_generate():
    client, name = ollama_client(), model()
    options = {"temperature": 0, "num_predict": 12}
    whole = client.chat(model=name, messages=MESSAGES, options=options)
    text = "".join(part.message.content for part in client.chat(model=name, messages=MESSAGES, options=options, stream=True))
    assert whole.message.content == text and whole.done and whole.eval_count == 12
    assert client.generate(model=name, prompt="Hello", options=options).response


@check("ollama")
def ollama_tells_probabilities():
    answer = ollama_client().chat(model=model(), messages=MESSAGES, options={"num_predict": 4}, logprobs=True, top_logprobs=2)
    assert 0 < len(answer.logprobs) <= 4 and len(answer.logprobs[0].top_logprobs) == 2


@check("ollama")
def ollama_lists():
    client = ollama_client()
    assert client.list().models[0].model and client.ps().models[0].size > 0
    shown = client.show(model())
    assert "completion" in shown.capabilities and shown.modelinfo["general.architecture"]


@check("ollama")
def ollama_formats():
    import jsonschema
    answer = ollama_client().chat(model=model(), messages=MESSAGES, format=SCHEMA, options={"temperature": 0, "num_predict": 120})
    if answer.done_reason == "stop":
        jsonschema.validate(json.loads(answer.message.content), SCHEMA)


@check("litellm")
def litellm_whole_and_streamed():
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    ask = dict(model="openai/" + model(), messages=MESSAGES, api_base=BASE + "/v1", api_key=KEY, max_tokens=16, temperature=0, num_retries=0)
    whole = litellm.completion(**ask).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(stream=True, **ask)]
    assert whole and "".join(pieces) == whole


@check("litellm")
def litellm_knows_a_prompt_that_is_too_long():
    import litellm
    try:
        litellm.completion(model="openai/" + model(), messages=[{"role": "user", "content": "long " * 200_000}],
                           api_base=BASE + "/v1", api_key=KEY, max_tokens=4, num_retries=0)
    except litellm.ContextWindowExceededError:
        return
    raise AssertionError("it was not refused")


def main():
    passed = failed = skipped = 0
    for package, function in CHECKS:
        name = function.__name__.replace("_", " ")
        try:
            __import__(package)
        except ImportError:
            skipped += 1
            print(f"skipped: {name}: no package {package}")
            continue
        try:
            function()
            passed += 1
            print(f"ok: {name}")
        except Exception:
            failed += 1
            print(f"FAILED: {name}\n{traceback.format_exc()}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
