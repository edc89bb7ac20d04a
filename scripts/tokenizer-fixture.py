#!/usr/bin/env python3
"""Cuts a model's vocabulary down to what a list of texts can touch, for tests that run without the model.

usage: tokenizer-fixture.py MODEL.gguf ORACLE.json OUT.json

ORACLE.json holds the texts under "texts". A token or merge is kept when its bytes occur in a text: others cannot take
part in tokenizing it. Single bytes, control and user-defined tokens are kept too (but not the unused ones). The order
stays, so ranks and scores keep their meaning; "original" holds the id that each kept token has in the model.
Needs the `gguf` package.
"""

import json
import sys

from gguf import GGUFReader

SPACE = "\u2581"


def byte_alphabet():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(moved)}


def main(model, oracle, out):
    reader = GGUFReader(model)

    def value(name):
        field = reader.fields.get("tokenizer.ggml." + name)
        return None if field is None else field.contents()

    alphabet = byte_alphabet()
    is_bpe = value("model") == "gpt2"
    texts = json.load(open(oracle, encoding="utf-8"))["texts"]
    if is_bpe:
        haystack = "\0".join(texts).encode()
        raw = lambda token: bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else None
    else:
        haystack = "\0".join(" " + text for text in texts).replace(" ", SPACE).encode()
        raw = lambda token: token.encode()

    tokens, kinds = value("tokens"), value("token_type")
    scores, merges = value("scores"), value("merges")

    def keep(token, kind):
        if kind in (3, 4):
            return "unused" not in token and "[PAD" not in token
        if kind != 1:
            return kind == 6
        as_bytes = raw(token)
        return as_bytes is not None and (len(as_bytes) == 1 or as_bytes in haystack)

    kept = [i for i, (token, kind) in enumerate(zip(tokens, kinds)) if keep(token, kind)]
    renumber = {old: new for new, old in enumerate(kept)}
    fixture = {"model": value("model"), "pre": value("pre")}
    for key in ("bos_token_id", "eos_token_id", "unknown_token_id"):
        if value(key) in renumber:
            fixture[key] = renumber[value(key)]
    for key in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        if value(key) is not None:
            fixture[key] = bool(value(key))
    fixture["original"] = kept
    fixture["tokens"] = [tokens[i] for i in kept]
    fixture["token_type"] = [kinds[i] for i in kept]
    if scores is not None and not is_bpe:
        fixture["scores"] = [float(scores[i]) for i in kept]
    if is_bpe:
        joined = lambda merge: raw(merge[0] + merge[1:].replace(" ", "", 1))
        fixture["merges"] = [merge for merge in merges if (both := joined(merge)) is not None and both in haystack]
    with open(out, "w", encoding="utf-8") as file:
        json.dump(fixture, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
