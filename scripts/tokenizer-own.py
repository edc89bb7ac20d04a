#!/usr/bin/env python3
"""Makes two small vocabularies from the project's own words: tests/fixtures/tokenizers/own-bytes.json and own-pieces.json.

usage: tokenizer-own.py TEXTS.json BYTES.gguf

They learn from README, docs and the texts under "texts" (own-pieces.json has the present ones); when those have changed, names.json has to be
made anew by tokenizer-names.py. The first is byte-level BPE, whose merges cross every border between letters,
digits, marks and blanks, so that each way of cutting a text shows in its ids; it is written to BYTES.gguf as well, for
tokenizer-names.py. The second is SentencePiece BPE with single bytes for what is rare, and holds SentencePiece's own ids of the texts.
Needs: pip install tokenizers sentencepiece gguf
"""

import io
import json
import pathlib
import sys

import gguf
import sentencepiece
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/fixtures/tokenizers"
SPECIAL = "<|end|>"
# Pieces that are never taken apart, whatever stands around them.
WHOLE = ["\n\n", "\u2581\u2581\u2581", "don't", "ㅋㅋ"]
# Tokens that no merges lead to: only where whole pieces are looked up first are they found.
UNMERGED = ["xylem", "Jukebox"]


def corpus(texts):
    pages = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md"))]
    learned = [text for text in texts if not any(word in text for word in UNMERGED)]
    return [page.read_text(encoding="utf-8") for page in pages] + learned * 12


def write(name, fixture):
    with open(OUT / name, "w", encoding="utf-8") as file:
        json.dump(fixture, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


def bytes_of(texts, path):
    tokenizer = Tokenizer(models.BPE())
    chunks = pre_tokenizers.Split(Regex(r"[\s\S]{1,24}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([chunks, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2600, initial_alphabet=sorted(alphabet), min_frequency=2, show_progress=False)
    tokenizer.train_from_iterator(corpus(texts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    assert not set(UNMERGED) & set(tokens)
    tokens += UNMERGED + [SPECIAL]
    merges = [" ".join(pair) for pair in model["merges"]]
    kinds = [1] * (len(tokens) - 1) + [3]
    end = len(tokens) - 1
    write("own-bytes.json", {"model": "gpt2", "pre": "gpt-2", "bos_token_id": end, "eos_token_id": end, "tokens": tokens,
                             "token_type": kinds, "merges": merges})
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def pieces_of(texts):
    lines = [line for page in corpus(texts) for line in page.split("\n") if line]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=1600, character_coverage=0.998, byte_fallback=True,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2, user_defined_symbols=WHOLE)
    learned = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(learned.vocab_size())
    kind = lambda i: 4 if learned.id_to_piece(i) in WHOLE else 3 if learned.is_control(i) else 2 if learned.is_unknown(i) else 6 if learned.is_byte(i) else 1
    # In a GGUF file, pieces that are looked up in the text have its blanks.
    piece = lambda i: learned.id_to_piece(i).replace("\u2581", " ") if kind(i) == 4 else learned.id_to_piece(i)
    write("own-pieces.json", {
        "model": "llama", "pre": "default", "bos_token_id": learned.bos_id(), "eos_token_id": learned.eos_id(),
        "unknown_token_id": learned.unk_id(), "add_bos_token": True, "add_eos_token": False, "add_space_prefix": False,
        "tokens": [piece(i) for i in ids], "token_type": [kind(i) for i in ids],
        "scores": [learned.get_score(i) for i in ids], "texts": texts, "ids": [learned.encode(text) for text in texts]})


def main(texts, path):
    texts = json.loads(pathlib.Path(texts).read_text(encoding="utf-8"))["texts"]
    bytes_of(texts, path)
    pieces_of(texts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
