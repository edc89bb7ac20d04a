#!/usr/bin/env python3
"""Writes tests/fixtures/arch-all/rows.txt from a folder with headers.tar.gz, index.json and expected numbers.

Usage: arch_rows.py ORACLES NAME... > rows.txt
Needs: numpy. The format is described in tests/suite/every_architecture.rs.
"""
import io
import json
import pathlib
import struct
import sys
import tarfile

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
NAMES = {4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "str"}
COLUMNS = 12


def read_header(data):
    f = io.BytesIO(data)
    get = lambda fmt: struct.unpack("<" + fmt, f.read(struct.calcsize("<" + fmt)))[0]
    text = lambda: f.read(get("Q")).decode()

    def value(kind):
        if kind == 9:
            inner, n = get("I"), get("Q")
            return ("array", inner, [value(inner)[2] for _ in range(n)])
        return ("one", kind, text() if kind == 8 else get(SCALARS[kind]))

    assert f.read(4) == b"GGUF" and get("I") == 3
    n_tensors, n_keys = get("Q"), get("Q")
    keys = []
    for _ in range(n_keys):
        name = text()
        keys.append((name, value(get("I"))))
    infos = []
    for _ in range(n_tensors):
        name, shape = text(), [get("Q") for _ in range(get("I"))]
        infos.append((name, shape, get("I")))
        get("Q")
    return keys, infos


def word(kind, value):
    if kind == 6:
        return repr(float(np.float32(value)))
    return str(int(value)) if kind == 7 else str(value)


def main():
    oracles, wanted = pathlib.Path(sys.argv[1]), set(sys.argv[2:])
    rows = {}
    for line in (oracles / "index.json").read_text().splitlines():
        if line.startswith('{"name"'):
            row = json.loads(line.rstrip(","))
            rows[row["name"]] = row
    with tarfile.open(oracles / "headers.tar.gz") as archive:
        for member in archive:
            name = member.name.removesuffix(".gguf")
            if name not in wanted:
                continue
            row = rows[name]
            keys, infos = read_header(archive.extractfile(member).read())
            print("row", name, row["kind"], row["tolerance"])
            print("tokens", *row["tokens"])
            for key, (form, kind, value) in keys:
                if key.startswith("tokenizer") or key.startswith("general.") and key != "general.architecture":
                    continue
                kind = {0: 4, 2: 4, 10: 4, 11: 5, 12: 6}.get(kind, kind)
                if form == "array":
                    print("keys", key, NAMES[kind], *[word(kind, v) for v in value])
                else:
                    print("key", key, NAMES[kind], word(kind, value))
            for tensor, shape, kind in infos:
                print("f16" if kind == 1 else "f32", tensor, *shape)
            cols = row["shape"][1]
            count = row["shape"][0] * cols
            numbers = np.fromfile(oracles / row["file"], "<f4", count=count, offset=4 * row["offset"]).reshape(row["shape"])
            for at in sorted({len(numbers) // 2, len(numbers) - 1}):
                step = max(1, cols // COLUMNS)
                print("expect", at, step, *["%.9g" % v for v in numbers[at][::step]])


main()
