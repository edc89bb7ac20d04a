"""llama_cpp_peer.py MODEL PROMPT_TOKENS GENERATED_TOKENS THREADS

One timed run of llama.cpp, as the package llama-cpp-python has it compiled for this CPU, after an untimed one, as JSON.
Calls the library itself with tokens known in advance, one call per batch or token: nothing but the model is in the timed
loops.
"""

import ctypes
import json
import sys
import time

import llama_cpp as lib


@lib.llama_log_callback
def silent(level, text, data):
    pass


def main():
    model_path, prompt, generated, threads = sys.argv[1], *map(int, sys.argv[2:5])
    lib.llama_log_set(silent, ctypes.c_void_p(0))
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(model_path.encode(), lib.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp cannot load {model_path}")
    params = lib.llama_context_default_params()
    params.n_ctx = prompt + generated + 16
    params.n_batch = params.n_ubatch = max(prompt, 1)
    params.n_threads = params.n_threads_batch = threads
    context = lib.llama_init_from_model(model, params)
    vocabulary = min(lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model)), 30000)

    def decode(position, count):
        batch = lib.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        for i in range(count):
            batch.token[i] = ((position + i) * 7919 + 13) % vocabulary
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i == count - 1
        # Filling the batch is not what is measured.
        start = time.perf_counter()
        if lib.llama_decode(context, batch):
            sys.exit("llama.cpp could not decode")
        # Waits for the result.
        lib.llama_get_logits_ith(context, -1)
        seconds = time.perf_counter() - start
        lib.llama_batch_free(batch)
        return seconds

    def run():
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        prefill = decode(0, prompt)
        decoding = sum(decode(prompt + i, 1) for i in range(generated))
        return {"pp_tok_s": prompt / prefill, "tg_tok_s": generated / decoding}

    run()
    print(json.dumps(run()))


main()
