#!/usr/bin/env python3
"""The token ids of some texts under every pre-tokenizer that llama.cpp knows, by llama.cpp itself.

usage: tokenizer-names.py VOCABULARY.gguf TEXTS.json NAMES.txt OUT.json

TEXTS.json holds the texts under "texts", NAMES.txt a name in each line. Names with equal ids become a group. The vocabulary should
have merges of digits and many scripts (as tokenizer-own.py makes it), or names look alike that are not. Where llama.cpp is known to differ from
the model's own tokenizer (it maps blanks to one before it cuts, and knows no letter case outside of its own tables), take the
text out. Needs the package llama-cpp-python.
"""

import ctypes
import json
import pathlib
import struct
import sys
import tempfile

import llama_cpp as lib

KEY = b"tokenizer.ggml.pre"


@lib.llama_log_callback
def silent(level, text, data):
    pass


def renamed(gguf, name):
    """The file under another pre-tokenizer's name."""
    at = gguf.find(struct.pack("<Q", len(KEY)) + KEY + struct.pack("<I", 8))
    if at < 0:
        sys.exit("the vocabulary names no pre-tokenizer")
    at += 8 + len(KEY) + 4
    (length,) = struct.unpack_from("<Q", gguf, at)
    return gguf[:at] + struct.pack("<Q", len(name)) + name.encode() + gguf[at + 8 + length:]


def ids(path, texts):
    params = lib.llama_model_default_params()
    params.vocab_only, params.use_mmap = True, False
    model = lib.llama_model_load_from_file(path.encode(), params)
    if not model:
        return None
    vocabulary, found = lib.llama_model_get_vocab(model), []
    for text in texts:
        text = text.encode()
        room = (lib.llama_token * (4 * len(text) + 16))()
        count = lib.llama_tokenize(vocabulary, text, len(text), room, len(room), False, False)
        found.append(list(room[:count]))
    lib.llama_model_free(model)
    return found


def main(vocabulary, texts, names, out):
    lib.llama_log_set(silent, ctypes.c_void_p(0))
    gguf = pathlib.Path(vocabulary).read_bytes()
    texts = json.loads(pathlib.Path(texts).read_text())["texts"]
    groups = {}
    for name in pathlib.Path(names).read_text().split():
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(renamed(gguf, name))
            file.flush()
            found = ids(file.name, texts)
        if found is None:
            print(f"llama.cpp refuses this vocabulary under {name}", file=sys.stderr)
            continue
        groups.setdefault(json.dumps(found, separators=(",", ":")), []).append(name)
    rows = [f'{{"names":{json.dumps(names)},"ids":{ids}}}' for ids, names in groups.items()]
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    pathlib.Path(out).write_text(f'{{"texts":{text},\n"groups":[\n' + ",\n".join(rows) + "]}\n")


main(*sys.argv[1:])
