#!/usr/bin/env python3
"""limits.py TOKKI MODEL: every command under limits of address space, data, descriptors, threads and file sizes, in steps.

(RLIMIT_AS, _DATA, _NOFILE, _NPROC, _FSIZE. Threads are counted for ordinary users alone: as root these run as nobody.)

Each run ends with an exit code of the contract and a short sentence, never by a signal; a file that could not be written leaves
the old one. Prints how many did not.
"""
import os
import resource
import signal
import shutil
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
    "batch": ["batch", "--model", MODEL, "in.jsonl", "answers.jsonl"],
    "pull": ["pull", "http://127.0.0.1:9/x.gguf"],
    "serve": ["serve", MODEL, "--port", "0"],
}
STEPS = {
    resource.RLIMIT_AS: [n * MEGABYTE for n in (40, 80, 120, 160, 200, 260, 340, 500, 800, 1200, 2000)],
    resource.RLIMIT_DATA: [n * MEGABYTE for n in (2, 8, 24, 64, 100, 160, 300)],
    resource.RLIMIT_NOFILE: [*range(6, 20), 24, 32],
    resource.RLIMIT_NPROC: [*range(1, 12), 16],
}
NAMES = {resource.RLIMIT_AS: "address space", resource.RLIMIT_DATA: "data", resource.RLIMIT_NOFILE: "descriptors",
         resource.RLIMIT_NPROC: "threads"}
NOBODY = 65534
WRITING = {
    "session": ["run", MODEL, "hi", "--raw", "--max-tokens", "4", "--session", "out"],
    "logits": ["logits", MODEL, "--tokens", "1,2,3", "--output", "out"],
}


def run(args, cwd, kind, limit):
    def limited():
        if kind == resource.RLIMIT_NPROC and os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        resource.setrlimit(kind, (limit, limit))

    process = subprocess.Popen([TOKKI, *args], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               preexec_fn=limited, env={**os.environ, "HOME": str(cwd), "TOKKI_HOME": str(cwd / "store")})
    try:
        # A server that has come up is asked to go.
        said = process.communicate(b"some text " * 10, timeout=2 if args[0] == "serve" else 120)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    return process.returncode, said.decode(errors="replace")


faults, count = 0, 0
with tempfile.TemporaryDirectory() as folder:
    cwd = Path(folder)
    MODEL = shutil.copy(MODEL, cwd / "model.gguf")
    for args in [*COMMANDS.values(), *WRITING.values()]:
        args[:] = [MODEL if word == sys.argv[2] or word == os.path.abspath(sys.argv[2]) else word for word in args]
    (cwd / "in.jsonl").write_text('{"custom_id": "a", "body": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}}\n')
    (cwd / "text").write_text("some text in the thin " * 200)
    (cwd / "schema.json").write_text('{"type": "object"}')
    run(["import", MODEL, "--name", "m"], cwd, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
    for path in [cwd, *cwd.rglob("*")]:
        path.chmod(0o777)
    for name, args in COMMANDS.items():
        for kind, limit in [(kind, limit) for kind, limits in STEPS.items() for limit in limits]:
            (cwd / "answers.jsonl").unlink(missing_ok=True)
            code, said = run(args, cwd, kind, limit)
            count += 1
            # Where the loader itself finds no room, nothing of the program has run.
            ended = code in (0, 1, 2) or "error while loading shared libraries" in said
            if not ended or len(said) > 4096 or "panicked" in said or "memory allocation" in said:
                faults += 1
                print(f"{name}, {NAMES[kind]} {limit}: exit {code}: {said[-160:]!r}", file=sys.stderr)
            run(["rm", "i"], cwd, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
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
