#!/usr/bin/env python3
"""kill.py TOKKI MODEL [KILLS]: kills session saves, batches, imports and exports with SIGKILL at random moments.

Afterwards a session is the old one or the new one, a batch that is started again answers each request once, an import is
whole or not there, and an export is the old file or the new one. Prints how often that was not so.
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOKKI, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
KILLS = int(sys.argv[3]) if len(sys.argv) > 3 else 100
ENV = {**os.environ, "NO_COLOR": "1"}
random.seed(1)


def run(args, cwd, kill_after=None):
    """Exit code and stdout; None for the code of what was killed."""
    home = {"HOME": str(cwd), "TOKKI_HOME": str(cwd / "home")}
    process = subprocess.Popen([TOKKI, *args], cwd=cwd, env={**ENV, **home}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        out, _ = process.communicate(timeout=kill_after or 120)
        return process.returncode, out
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None, b""


def took(args, cwd):
    start = time.time()
    code, _ = run(args, cwd)
    return code, time.time() - start


def sessions(cwd, kills):
    """Each round continues a session; whatever is killed, the file can be continued, and nothing else stays behind."""
    say = ["run", MODEL, "hi", "--raw", "--max-tokens", "3", "--temperature", "0", "--ctx", "512", "--session", "s"]
    faults, (_, seconds) = 0, took(say, cwd)
    for _ in range(kills):
        run(say, cwd, kill_after=random.uniform(0.01, 1.2 * seconds))
        code, _ = run([*say[:3], "--raw", "--max-tokens", "1", "--temperature", "0", "--ctx", "512", "--session", "s"], cwd)
        left = [name for name in os.listdir(cwd) if ".tokki-" in name]
        if code == 0 and not left:
            continue
        # A context that is full is no fault: begin again.
        if code == 2:
            (cwd / "s").unlink(missing_ok=True)
            continue
        faults += 1
        print("session:", code, left, file=sys.stderr)
    return faults


def batches(cwd, kills):
    """A batch is killed until it is done: then each id is there once, and every line is whole."""
    faults, done, count = 0, 0, 12
    lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": {"prompt": f"{i}", "max_tokens": 2}}
             for i in range(count)]
    (cwd / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["batch", "--model", MODEL, "in.jsonl", "out.jsonl"]
    _, seconds = took(command, cwd)
    while done < kills:
        (cwd / "out.jsonl").unlink(missing_ok=True)
        code = None
        while code is None and done < kills:
            code, _ = run(command, cwd, kill_after=random.uniform(0.05, 1.5 * seconds))
            done += code is None
        code, _ = run(command, cwd)
        try:
            ids = [json.loads(line)["custom_id"] for line in (cwd / "out.jsonl").read_text().splitlines()]
        except (OSError, ValueError, KeyError) as why:
            ids = [str(why)]
        if code != 0 or sorted(ids, key=str) != sorted((line["custom_id"] for line in lines), key=str):
            faults += 1
            print("batch:", code, ids, file=sys.stderr)
    return faults


def imports(cwd, kills):
    """An import is whole or not there, and can be made again."""
    faults = 0
    command = ["import", MODEL, "--name", "m"]
    code, seconds = took(command, cwd)
    for _ in range(kills):
        run(["rm", "m"], cwd)
        run(command, cwd, kill_after=random.uniform(0.002, 1.2 * seconds))
        listed, _ = run(["verify", "m"], cwd)
        again, _ = run(command, cwd)
        whole, _ = run(["verify", "m"], cwd)
        if whole != 0 or listed not in (0, 2):
            faults += 1
            print("import:", listed, again, whole, file=sys.stderr)
    return faults if code == 0 else faults + 1


def exports(cwd, kills):
    """The file is the old one or the new one."""
    faults = 0
    run(["import", MODEL, "--name", "m"], cwd)
    command, out, whole = ["export", "m", "out", "--force"], cwd / "out", Path(MODEL).read_bytes()
    out.write_bytes(b"old")
    code, seconds = took(command, cwd)
    for _ in range(kills):
        out.write_bytes(b"old")
        run(command, cwd, kill_after=random.uniform(0.002, 1.2 * seconds))
        found = out.read_bytes()
        if found not in (b"old", whole):
            faults += 1
            print("export:", len(found), "bytes", file=sys.stderr)
    return faults if code == 0 else faults + 1


total = 0
for look in (sessions, batches, imports, exports):
    with tempfile.TemporaryDirectory() as folder:
        faults = look(Path(folder), KILLS)
        print(f"{look.__name__}: {KILLS} kills, {faults} faults", file=sys.stderr)
        total += faults
print(total)
