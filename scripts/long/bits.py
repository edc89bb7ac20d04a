#!/usr/bin/env python3
"""bits.py TOKKI MODEL...: the logits of each model on 1 to 4 threads, with rows as they lie and interleaved, with every kind of cache,
on every instruction set that this machine has. Prints how many differ. (Pieces of prompts, batches and caches: `same_bits`,
`every_architecture` and `sessions` in the suite.)
"""
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile

TOKKI = os.path.abspath(sys.argv[1])
TOKENS = ",".join(str((i * 37 + 11) % 97) for i in range(150))


def logits(model, folder, *args, isa=None):
    out = os.path.join(folder, "out")
    env = {**os.environ, **({"TOKKI_ISA": isa} if isa else {})}
    done = subprocess.run([TOKKI, "logits", model, "--tokens", TOKENS, "--ctx", "256", "-o", out, *args], env=env, capture_output=True)
    if done.returncode:
        return done.stderr.decode(errors="replace")[-120:]
    with open(out, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def levels():
    names = ("scalar", "sse41", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neondot", "neoni8mm")
    known = lambda name: subprocess.run([TOKKI, "doctor"], env={**os.environ, "TOKKI_ISA": name}, capture_output=True).returncode == 0
    return [name for name in names if known(name)]


differ, count = 0, 0
with tempfile.TemporaryDirectory() as folder:
    isas = levels()
    for model in map(os.path.abspath, sys.argv[2:]):
        for kind in ("f16", "q8_0", "f32"):
            wanted = logits(model, folder, "--kv-type", kind, "--threads", "1")
            ways = [(t, form, None) for t, form in itertools.product(("1", "2", "3!", "4!"), ("false", "true"))]
            for threads, form, isa in ways + [("2", form, isa) for form in ("false", "true") for isa in isas]:
                got = logits(model, folder, "--kv-type", kind, "--threads", threads, f"--interleave={form}", isa=isa)
                count += 1
                if got != wanted:
                    differ += 1
                    print(f"{model} {kind} {threads} threads, interleaved {form}, {isa}: {got[:60]}, wanted {wanted[:60]}", file=sys.stderr)
print(f"{count} comparisons on {isas}", file=sys.stderr)
print(differ)
