#!/usr/bin/env python3
"""Runs the tests of llama.cpp's own server against `tokki serve`, by way of as-llama-server.

    llama_cpp_suite.py SOURCES MODEL [PYTEST'S ARGUMENTS]

SOURCES is the unpacked source package of llama-cpp-python (pip download --no-deps --no-binary :all: llama-cpp-python), MODEL a
small chat model, which stands for all that the tests take from a hub but the ones written here: a BERT with its true vocabulary
and drawn weights, and the same with a head for scores. TOKKI names the binary (default: tokki).
Needs: pip install pytest pytest-timeout filelock requests openai wget gguf numpy
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

LAYERS, WIDTH, FEED = 2, 64, 128
POOLING_MEAN, POOLING_RANK = 1, 4


def bert(path, vocabulary, rank):
    """A BERT that reads as bge-small does: no sense in its vectors, but the right number of tokens."""
    fields = gguf.GGUFReader(vocabulary).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    rng = np.random.default_rng(1)
    out = gguf.GGUFWriter(path, "bert")
    out.add_context_length(512)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED)
    out.add_head_count(2)
    out.add_layer_norm_eps(1e-12)
    out.add_causal_attention(False)
    out.add_uint32("bert.pooling_type", POOLING_RANK if rank else POOLING_MEAN)
    out.add_tokenizer_model("bert")
    out.add_tokenizer_pre("bert-bge")
    out.add_token_list(tokens)
    out.add_token_types(fields["tokenizer.ggml.token_type"].contents())
    for name, token in {"bos": 101, "eos": 102, "unknown": 100, "seperator": 102, "padding": 0}.items():
        out.add_uint32(f"tokenizer.ggml.{name}_token_id", token)

    def drawn(name, *shape):
        out.add_tensor(name, (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32))

    def product(name, rows, columns):
        drawn(f"{name}.weight", rows, columns)
        out.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))

    def norm(name):
        out.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        out.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    drawn("token_embd.weight", len(tokens), WIDTH)
    drawn("position_embd.weight", 512, WIDTH)
    drawn("token_types.weight", 2, WIDTH)
    norm("token_embd_norm")
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            product(f"blk.{layer}.{name}", WIDTH, WIDTH)
        norm(f"blk.{layer}.attn_output_norm")
        product(f"blk.{layer}.ffn_up", FEED, WIDTH)
        product(f"blk.{layer}.ffn_down", WIDTH, FEED)
        norm(f"blk.{layer}.layer_output_norm")
    if rank:
        product("cls", WIDTH, WIDTH)
        product("cls.output", 1, WIDTH)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    found = sorted(Path(sys.argv[1]).glob("**/tools/server/tests/utils.py"))
    if not found:
        sys.exit(f"llama_cpp_suite: no tools/server/tests in {sys.argv[1]}")
    suite, model = found[0].parent, Path(sys.argv[2]).resolve()
    sources = suite.parents[2]
    with tempfile.TemporaryDirectory(prefix="llama-cpp-suite-") as folder:
        root = Path(folder)
        tests = root / "tools/server/tests"
        shutil.copytree(suite, tests)
        shutil.copytree(sources / "models/templates", root / "models/templates")
        (tests / "tmp").mkdir()
        # Nothing is fetched from a hub beforehand.
        conftest = (tests / "conftest.py").read_text()
        (tests / "conftest.py").write_text(re.sub(r"^ *ServerPreset\.load_all\(\)", "        pass", conftest, flags=re.M))
        vocabulary = sources / "models/ggml-vocab-bert-bge.gguf"
        bert(root / "vectors.gguf", vocabulary, rank=False)
        bert(root / "scores.gguf", vocabulary, rank=True)
        hub = [
            f"bert-bge-small={root / 'vectors.gguf'}", f"jina-reranker={root / 'scores.gguf'}",
            f"ggml-org/tinygemma3-GGUF:Q8_0={model}", f"ggml-org/test-model-stories260K:F32={model}",
            f"ggml-org/test-model-stories260K-infill:F32={model}", str(model),
        ]
        shim = Path(__file__).resolve().parent / "as-llama-server"
        env = os.environ | {"LLAMA_SERVER_BIN_PATH": str(shim), "AS_LLAMA_SERVER_MODEL": ",".join(hub)}
        run = [sys.executable, "-m", "pytest", "-v", "--timeout", "60", "-p", "no:cacheprovider", "-m", "not slow", *sys.argv[3:]]
        sys.exit(subprocess.run(run, cwd=tests, env=env).returncode)


if __name__ == "__main__":
    main()
