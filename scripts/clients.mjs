// Drives a running `tokki serve` with the official clients for Node: `node clients.mjs http://127.0.0.1:8080 [KEY]`.
//
// Needs `npm install openai @anthropic-ai/sdk ai @ai-sdk/openai-compatible` in the folder that it is run from; what is missing is
// skipped and said. Prints one line per check and, last, `N passed, N failed, N skipped`; exits with 1 if any failed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const base = process.argv[2].replace(/\/+$/, "");
const key = process.argv[3] ?? "none";
const here = createRequire(path.join(process.cwd(), "package.json"));
const load = async (name) => import(pathToFileURL(here.resolve(name)).href);
const messages = [{ role: "user", content: "Say something about rain." }];
const parameters = { type: "object", properties: { city: { type: "string", maxLength: 20 } }, required: ["city"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "weather", description: "The weather of a city", parameters } }];
const model = (await (await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).json()).data[0].id;

const openai = async () => new (await load("openai")).default({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const anthropic = async () => new (await load("@anthropic-ai/sdk")).default({ baseURL: base, apiKey: key, maxRetries: 0 });
const sdk = async () => {
  const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
  return { ...(await load("ai")), rabbit: createOpenAICompatible({ name: "tokki", baseURL: `${base}/v1`, apiKey: key })(model) };
};

const checks = {
  openai: {
    "a stream is the whole answer": async () => {
      const client = await openai();
      const ask = { model, messages, max_tokens: 24, seed: 7, temperature: 0.8 };
      const whole = await client.chat.completions.create(ask);
      let text = "", usage = null;
      for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
        text += chunk.choices[0]?.delta?.content ?? "";
        usage = chunk.usage ?? usage;
      }
      assert.equal(text, whole.choices[0].message.content);
      assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
    },
    "the stream helper": async () => {
      const stream = (await openai()).chat.completions.stream({ model, messages, max_tokens: 16, stream_options: { include_usage: true } });
      let text = "";
      stream.on("content", (piece) => (text += piece));
      const final = await stream.finalChatCompletion();
      assert.equal(final.choices[0].message.content, text);
      assert.ok((await stream.totalUsage()).completion_tokens > 0);
    },
    "a call, streamed": async () => {
      const stream = (await openai()).chat.completions.stream({ model, messages, tools, tool_choice: "required", max_tokens: 120 });
      const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
      assert.equal(call.function.name, "weather");
      assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
    },
    "two answers, streamed": async () => {
      const stream = (await openai()).chat.completions.stream({ model, messages, n: 2, max_tokens: 8 });
      assert.equal((await stream.finalChatCompletion()).choices.length, 2);
    },
    "responses": async () => {
      const client = await openai();
      const whole = await client.responses.create({ model, input: "Say something about rain.", max_output_tokens: 400 });
      assert.ok(["completed", "incomplete"].includes(whole.status) && whole.output_text.length > 0);
      let text = "";
      const stream = client.responses.stream({ model, input: "Say one word.", max_output_tokens: 400 });
      stream.on("response.output_text.delta", (event) => (text += event.delta));
      for await (const event of stream) if (["response.completed", "response.incomplete"].includes(event.type)) break;
      assert.ok(text.length > 0);
    },
    "an error has its class": async () => {
      const { BadRequestError } = await load("openai");
      await assert.rejects((await openai()).chat.completions.create({ model, messages, temperature: "hot" }), BadRequestError);
    },
  },
  "@anthropic-ai/sdk": {
    "a message, whole and streamed": async () => {
      const client = await anthropic();
      const whole = await client.messages.create({ model, messages, max_tokens: 16, temperature: 0 });
      const stream = client.messages.stream({ model, messages, max_tokens: 16, temperature: 0 });
      let text = "";
      stream.on("text", (piece) => (text += piece));
      const final = await stream.finalMessage();
      assert.equal(final.content[0].text, whole.content[0].text);
      assert.equal(text, whole.content[0].text);
      assert.ok(final.usage.output_tokens > 0);
    },
    "a call, streamed": async () => {
      const own = [{ name: "weather", description: "The weather of a city", input_schema: parameters }];
      const stream = (await anthropic()).messages.stream({ model, messages, max_tokens: 120, tools: own, tool_choice: { type: "any" } });
      const call = (await stream.finalMessage()).content.find((block) => block.type === "tool_use");
      assert.equal(call.name, "weather");
      assert.equal(typeof call.input.city, "string");
    },
    "an error has its class": async () => {
      const { default: Anthropic } = await load("@anthropic-ai/sdk");
      await assert.rejects((await anthropic()).messages.create({ model, messages: [], max_tokens: 4 }), Anthropic.BadRequestError);
    },
    "tokens are counted": async () => {
      assert.ok((await (await anthropic()).messages.countTokens({ model, messages })).input_tokens > 0);
    },
  },
  "@ai-sdk/openai-compatible": {
    "text, whole": async () => {
      const { generateText, rabbit } = await sdk();
      const answer = await generateText({ model: rabbit, messages, maxOutputTokens: 16 });
      assert.ok(answer.text.length > 0 && answer.usage.outputTokens > 0);
    },
    "text, streamed": async () => {
      const { streamText, rabbit } = await sdk();
      const stream = streamText({ model: rabbit, messages, maxOutputTokens: 16, onError: ({ error }) => { throw error; } });
      let text = "";
      for await (const piece of stream.textStream) text += piece;
      assert.ok(text.length > 0);
      assert.ok(["stop", "length"].includes(await stream.finishReason));
    },
    "a call, streamed": async () => {
      const { streamText, tool, jsonSchema, rabbit } = await sdk();
      const weather = tool({ description: "The weather of a city", inputSchema: jsonSchema(parameters) });
      const stream = streamText({ model: rabbit, messages, tools: { weather }, toolChoice: "required", maxOutputTokens: 120 });
      const calls = await stream.toolCalls;
      assert.equal(calls[0].toolName, "weather");
      assert.equal(typeof calls[0].input.city, "string");
    },
  },
};

const counts = { passed: 0, failed: 0, skipped: 0 };
for (const [name, all] of Object.entries(checks)) {
  let there = true;
  try {
    await load(name);
  } catch {
    there = false;
  }
  for (const [what, run] of Object.entries(all)) {
    if (!there) {
      counts.skipped += 1;
      console.log(`skipped: ${name}: ${what}: no package ${name}`);
      continue;
    }
    try {
      await run();
      counts.passed += 1;
      console.log(`ok: ${name}: ${what}`);
    } catch (why) {
      counts.failed += 1;
      console.log(`FAILED: ${name}: ${what}\n${why?.stack ?? why}`);
    }
  }
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(counts.failed ? 1 : 0);
