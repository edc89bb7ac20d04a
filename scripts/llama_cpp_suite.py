#!/usr/bin/env python3
"""Runs the tests of llama.cpp's own server against `tokki serve`, by way of as-llama-server.

    llama_cpp_suite.py SOURCES MODEL [PYTEST'S ARGUMENTS]

SOURCES is the unpacked source package of llama-cpp-python (pip download --no-deps --no-binary :all: llama-cpp-python), MODEL a
small chat model, which stands for all that the tests take from a hub but the ones written here with drawn weights: a Llama of
single letters, a BERT with its true vocabulary, and the same with a head for scores. TOKKI names the binary (default: tokki).
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
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


class Drawn:
    """A model file with drawn weights."""

    def __init__(self, path, arch, context):
        self.file, self.rng = gguf.GGUFWriter(path, arch), np.random.default_rng(1)
        self.file.add_context_length(context)
        self.file.add_embedding_length(WIDTH)
        self.file.add_block_count(LAYERS)
        self.file.add_feed_forward_length(FEED)
        self.file.add_head_count(2)

    def matrix(self, name, rows, columns=WIDTH, bias=False):
        weights = self.rng.standard_normal((rows, columns)) / columns**0.5
        self.file.add_tensor(f"{name}.weight", weights.astype(np.float32))
        if bias:
            self.file.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))

    def norm(self, name, bias=False):
        self.file.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        if bias:
            self.file.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    def write(self):
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()


def letters(path):
    """A Llama that writes nonsense, with a vocabulary of single letters, nearly as small as that of stories260K."""
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    first = len(tokens)
    tokens += [(letter, NORMAL) for letter in ["\u2581", *map(chr, range(33, 127))]]
    last = len(tokens)
    tokens += [(f"<|fim_{place}|>", CONTROL) for place in ("prefix", "suffix", "middle")]
    model = Drawn(path, "llama", 4096)
    model.file.add_layer_norm_rms_eps(1e-5)
    model.file.add_rope_dimension_count(WIDTH // 2)
    model.file.add_tokenizer_model("llama")
    model.file.add_token_list([text for text, _ in tokens])
    model.file.add_token_types([kind for _, kind in tokens])
    model.file.add_token_scores([-float(i) for i in range(len(tokens))])
    model.file.add_bos_token_id(1)
    model.file.add_eos_token_id(2)
    model.file.add_add_bos_token(True)
    model.file.add_chat_template(CHATML)
    model.matrix("token_embd", len(tokens))
    model.norm("output_norm")
    # Letters are likelier than what is none.
    output = model.rng.standard_normal((len(tokens), WIDTH)).astype(np.float32) / 4
    output[:first] = output[last:] = 0
    model.file.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            model.matrix(f"blk.{layer}.{name}", WIDTH)
        model.matrix(f"blk.{layer}.ffn_gate", FEED)
        model.matrix(f"blk.{layer}.ffn_up", FEED)
        model.matrix(f"blk.{layer}.ffn_down", WIDTH, FEED)
        model.norm(f"blk.{layer}.attn_norm")
        model.norm(f"blk.{layer}.ffn_norm")
    model.write()


def bert(path, vocabulary, rank):
    """A BERT that reads as bge-small does: no sense in its vectors, but the right number of tokens."""
    fields = gguf.GGUFReader(vocabulary).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    model = Drawn(path, "bert", 512)
    model.file.add_layer_norm_eps(1e-12)
    model.file.add_causal_attention(False)
    model.file.add_uint32("bert.pooling_type", POOLING_RANK if rank else POOLING_MEAN)
    model.file.add_tokenizer_model("bert")
    model.file.add_tokenizer_pre("bert-bge")
    model.file.add_token_list(tokens)
    model.file.add_token_types(fields["tokenizer.ggml.token_type"].contents())
    for name, token in {"bos": 101, "eos": 102, "unknown": 100, "seperator": 102, "padding": 0}.items():
        model.file.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    model.matrix("token_embd", len(tokens))
    model.matrix("position_embd", 512)
    model.matrix("token_types", 2)
    model.norm("token_embd_norm", bias=True)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            model.matrix(f"blk.{layer}.{name}", WIDTH, bias=True)
        model.norm(f"blk.{layer}.attn_output_norm", bias=True)
        model.matrix(f"blk.{layer}.ffn_up", FEED, bias=True)
        model.matrix(f"blk.{layer}.ffn_down", WIDTH, FEED, bias=True)
        model.norm(f"blk.{layer}.layer_output_norm", bias=True)
    if rank:
        model.matrix("cls", WIDTH, bias=True)
        model.matrix("cls.output", 1, bias=True)
    model.write()


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
        letters(root / "letters.gguf")
        bert(root / "vectors.gguf", vocabulary, rank=False)
        bert(root / "scores.gguf", vocabulary, rank=True)
        hub = [
            f"bert-bge-small={root / 'vectors.gguf'}", f"jina-reranker={root / 'scores.gguf'}",
            f"ggml-org/tinygemma3-GGUF:Q8_0={model}", f"ggml-org/test-model-stories260K:F32={root / 'letters.gguf'}",
            f"ggml-org/test-model-stories260K-infill:F32={root / 'letters.gguf'}", str(model),
        ]
        shim = Path(__file__).resolve().parent / "as-llama-server"
        env = os.environ | {"LLAMA_SERVER_BIN_PATH": str(shim), "AS_LLAMA_SERVER_MODEL": ",".join(hub)}
        run = [sys.executable, "-m", "pytest", "-v", "--timeout", "60", "-p", "no:cacheprovider", "-m", "not slow", *sys.argv[3:]]
        sys.exit(subprocess.run(run, cwd=tests, env=env).returncode)


if __name__ == "__main__":
    main()
