#!/usr/bin/env python3
"""limits.py TOKKI MODEL: every command under limits of address space (RLIMIT_AS) and of file sizes (RLIMIT_FSIZE), in steps.

Each run ends with an exit code of the contract and a short sentence, never by a signal; a file that could not be written leaves
the old one. Prints how many did not.
"""
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TOKKI, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
MEGABYTE = 1 << 20
COMMANDS = {
    "run": ["run", MODEL, "hi", "--raw", "--max-tokens", "4"],
    "schema": ["run", MODEL, "hi", "--raw", "--max-tokens", "4", "--json-schema", "schema.json"],
    "show": ["show", MODEL],
    "plan": ["plan", MODEL],
    "bench": ["bench", MODEL, "-p", "16", "-n", "4", "-r", "1"],
    "doctor": ["doctor"],
    "perplexity": ["perplexity", MODEL, "--file", "text", "--ctx", "64"],
    "tokenize": ["tokenize", MODEL],
    # Of a model that is stored: what a limit keeps from being read is not damaged.
    "list": ["list"],
    "verify": ["verify", "m"],
    "export": ["export", "m", "exported.gguf", "--force"],
    "interleave": ["import", MODEL, "--interleave", "--name", "i"],
}
WRITING = {
    "session": ["run", MODEL, "hi", "--raw", "--max-tokens", "4", "--session", "out"],
    "logits": ["logits", MODEL, "--tokens", "1,2,3", "--output", "out"],
}


def run(args, cwd, kind, limit):
    def limited():
        resource.setrlimit(kind, (limit, limit))
        if kind == resource.RLIMIT_FSIZE:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = subprocess.run([TOKKI, *args], cwd=cwd, input=b"some text " * 400, capture_output=True, timeout=120, preexec_fn=limited,
                          env={**os.environ, "HOME": str(cwd), "TOKKI_HOME": str(cwd / "store")})
    return done.returncode, done.stderr.decode(errors="replace")


faults, count = 0, 0
with tempfile.TemporaryDirectory() as folder:
    cwd = Path(folder)
    (cwd / "text").write_text("some text in the thin " * 200)
    (cwd / "schema.json").write_text('{"type": "object"}')
    run(["import", MODEL, "--name", "m"], cwd, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
    for name, args in COMMANDS.items():
        for megabytes in (40, 80, 120, 160, 200, 260, 340, 500, 800, 1200, 2000):
            code, said = run(args, cwd, resource.RLIMIT_AS, megabytes * MEGABYTE)
            count += 1
            # Where the loader itself finds no memory, nothing of the program has run.
            if code not in (0, 1, 2) and "error while loading shared libraries" not in said or len(said) > 4096:
                faults += 1
                print(f"{name} in {megabytes} MB: exit {code}: {said[-160:]!r}", file=sys.stderr)
            run(["rm", "i", "--yes"], cwd, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        code, said = run(["run", "m", "hi", "--max-tokens", "1"], cwd, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        listed = subprocess.run([TOKKI, "list"], cwd=cwd, capture_output=True, text=True, env={**os.environ, "HOME": str(cwd), "TOKKI_HOME": str(cwd / "store")})
        if code != 0 or "cannot" in listed.stdout + listed.stderr:
            faults += 1
            print(f"after {name} within limits: exit {code}: {said[-160:]!r}; {listed.stdout!r}", file=sys.stderr)
    for name, args in WRITING.items():
        for limit in (0, 1, 100, 4096, 10_000, 100_000, 1 << 20):
            old = b"the old file"
            (cwd / "out").unlink(missing_ok=True)
            if name != "session":
                (cwd / "out").write_bytes(old)
            code, said = run(args, cwd, resource.RLIMIT_FSIZE, limit)
            count += 1
            kept = name == "session" or code == 0 or (cwd / "out").read_bytes() == old
            left = [entry for entry in os.listdir(cwd) if ".tokki-" in entry]
            if code not in (0, 1, 2) or not kept or left:
                faults += 1
                print(f"{name} with files of {limit} bytes: exit {code}, kept {kept}, left {left}: {said[-160:]!r}", file=sys.stderr)
print(f"{count} runs", file=sys.stderr)
print(faults)
