// llama_cpp_peer.mjs MODEL PROMPT_TOKENS GENERATED_TOKENS THREADS
// One timed run of llama.cpp's prebuilt CPU library after an untimed one, as JSON. Calls the library's decode directly with
// tokens known in advance: nothing but the model is in the timed loops. Run by compare-llama-cpp from the folder that
// holds the package.
import {getLlama} from "node-llama-cpp";

const [model, ...numbers] = process.argv.slice(2);
const [prompt, generated, threads] = numbers.map(Number);

const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, logLevel: "error"});
const loaded = await llama.loadModel({modelPath: model});
const context = await loaded.createContext({contextSize: prompt + generated + 16, batchSize: prompt, threads});
const native = context._ctx;
const vocabulary = loaded.fileInfo.metadata?.tokenizer?.ggml?.tokens?.length ?? 30000;
const token = (i) => (i * 7919 + 13) % Math.min(vocabulary, 30000);

/** Decodes `count` tokens from `position` on in one batch; asks for the logits of the last. */
async function decode(position, count) {
    const tokens = Uint32Array.from({length: count}, (_, i) => token(position + i));
    native.initBatch(count);
    native.addToBatch(0, position, tokens, Uint32Array.of(count - 1));
    await native.decodeBatch();
}

async function seconds(work) {
    const start = performance.now();
    await work();
    return (performance.now() - start) / 1000;
}

async function run() {
    native.disposeSequence(0);
    const prefill = await seconds(() => decode(0, prompt));
    const decoding = await seconds(async () => {
        for (let i = 0; i < generated; i++) await decode(prompt + i, 1);
    });
    return {pp_tok_s: prompt / prefill, tg_tok_s: generated / decoding};
}

await run();
console.log(JSON.stringify(await run()));
process.exit(0);
