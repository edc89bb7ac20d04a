#!/usr/bin/env python3
"""calls.py TOKKI MODEL [MOST]: makes each system call on files fail in turn (a full disk, a failing one), in every command that writes.

The call that writes, reads, syncs, opens for writing or renames fails once, or it and all after it do; at most MOST (30) places
of each kind and command. Afterwards the exit code is 0, 1 or 2 with a short sentence, what was there is whole (the old or the
new, never mixed), nothing is left beside it, and the command can be run again. Prints how often that was not so. Needs a C
compiler; MODEL should be tiny.
"""
import errno
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

TOKKI, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
MOST = int(sys.argv[3]) if len(sys.argv) > 3 else 30
HERE = Path(__file__).resolve().parent
KINDS = {"write": errno.ENOSPC, "open": errno.ENOSPC, "rename": errno.ENOSPC, "sync": errno.EIO, "read": errno.EIO}
GREEDY = ["--temperature", "0", "--threads", "1"]


def library(folder):
    out = folder / "failing_calls.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", out, HERE / "failing_calls.c", "-ldl"], check=True)
    return out


def serve_model():
    class Answer(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=os.path.dirname(MODEL))

        def log_message(self, *args):
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *args):
            """A pull that failed hung up."""

    server = Quiet(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/{os.path.basename(MODEL)}"


class Place:
    """A folder with a home of its own, where commands run."""

    def __init__(self, folder):
        self.folder = Path(folder)
        # A folder whose name nothing else has.
        self.inside = self.folder / "inside"
        self.inside.mkdir()
        (self.inside / "home").mkdir()
        (self.inside / "home" / "config.toml").write_text("max_tokens = 4\n")

    def run(self, args, env=None):
        own = {"HOME": str(self.inside), "TOKKI_HOME": str(self.inside / "home"), "NO_COLOR": "1", "PATH": os.environ["PATH"]}
        try:
            done = subprocess.run([TOKKI, *args], cwd=self.inside, env={**own, **(env or {})}, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:
            return None, b"", "no end within 60 s"
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def read(self, name):
        path = self.inside / name
        return path.read_bytes() if path.exists() else None

    def left(self):
        """What should not be there: files that were to be renamed."""
        return [str(path.relative_to(self.inside)) for path in self.inside.rglob("*") if ".tokki-" in path.name]


class Job:
    """A command that writes: what is there before it, and what is right after it."""

    def __init__(self, name, args, before=lambda place: None, after=lambda place, code: None):
        self.name, self.args, self.before, self.after = name, args, before, after


def one_of(name, old, again=None):
    """The file holds what it held before, or what the command writes when nothing fails."""
    def check(place, code):
        found = place.read(name)
        if found == check.new:
            return None
        if found == old and code != 0:
            return None
        return f"{name} is {'not there' if found is None else 'another'} after exit {code}"
    check.new, check.file = None, name
    return check


def session_goes_on(place, code):
    again, _, said = place.run(["run", MODEL, "--raw", "--session", "s", "--ctx", "512", "--max-tokens", "1", *GREEDY, "b"])
    return None if again == 0 else f"the session does not go on: {again} {said}"


def model_or_none(place, code):
    verified, _, said = place.run(["verify", "m"])
    if verified == 0 or (verified == 2 and code != 0):
        again, _, said = place.run(model_or_none.args)
        there, _, said = place.run(["verify", "m"])
        return None if there == 0 else f"cannot be had afterwards: {again} {said}"
    return f"verify says {verified} after exit {code}: {said}"


def gone_or_whole(place, code):
    listed = json.loads(place.run(["list", "--json"])[1] or "[]")
    names = [model["name"] for model in listed] if isinstance(listed, list) else [model["name"] for model in listed["models"]]
    if "m" not in names:
        return None
    verified = place.run(["verify", "m"])[0]
    return None if code != 0 and verified == 0 else f"exit {code}, still there, verify says {verified}"


def batch_done(place, code):
    again, _, said = place.run(["batch", "--model", MODEL, "in.jsonl", "out.jsonl"])
    try:
        ids = sorted(json.loads(line)["custom_id"] for line in (place.read("out.jsonl") or b"").splitlines())
    except (ValueError, KeyError) as why:
        return f"a broken line: {why}"
    return None if again == 0 and ids == ["0", "1", "2", "3"] else f"{again} {ids} {said}"


def batch_input(place):
    body = {"prompt": "a", "max_tokens": 2}
    line = lambda i: json.dumps({"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": body}) + "\n"
    (place.inside / "in.jsonl").write_text("".join(line(i) for i in range(4)))


def first_session(place):
    place.run(["run", MODEL, "--raw", "--session", "s", "--ctx", "512", "--max-tokens", "2", *GREEDY, "a"])


def old(name):
    return lambda place: (place.inside / name).write_bytes(b"old")


def text(place):
    old("out")(place)
    (place.inside / "text").write_text("the quick brown fox " * 200)


def jobs(url):
    imported = lambda place: place.run(["import", MODEL, "--name", "m"])
    pulled = ["pull", url, "--name", "m"]
    return [
        Job("a session", ["run", MODEL, "--raw", "--session", "s", "--ctx", "512", "--max-tokens", "2", *GREEDY, "b"],
            first_session, session_goes_on),
        Job("logits", ["logits", MODEL, "--tokens", "1,2,3", "--output", "out"], old("out"), one_of("out", b"old")),
        Job("perplexity", ["perplexity", MODEL, "--file", "text", "--ctx", "64", "--save-logits", "out"], text,
            one_of("out", b"old")),
        Job("export", ["export", "m", "out", "--force"], lambda place: (imported(place), old("out")(place)), one_of("out", b"old")),
        Job("import", ["import", MODEL, "--name", "m"], after=model_or_none),
        Job("pull", pulled, after=model_or_none),
        Job("rm", ["rm", "m"], imported, gone_or_whole),
        Job("batch", ["batch", "--model", MODEL, "in.jsonl", "out.jsonl"], batch_input, batch_done),
    ]


def in_place(job, env=None):
    """Runs the job in a new place; gives the place's folder, the place, and what the command did."""
    folder = tempfile.TemporaryDirectory()
    place = Place(folder.name)
    job.before(place)
    return folder, place, place.run(job.args, env and env(place))


def look(job, shim):
    """All places of failure of one command; the faults."""
    model_or_none.args = job.args
    faults, tried = 0, 0
    for kind, number in KINDS.items():
        env = lambda at, on: lambda place: {
            "LD_PRELOAD": str(shim), "FAIL_UNDER": str(place.inside), "FAIL_KIND": kind, "FAIL_AT": str(at), "FAIL_ON": str(on),
            "FAIL_ERRNO": str(number), "FAIL_COUNT": str(place.folder / "count")}
        folder, place, (code, _, said) = in_place(job, env(0, 0))
        count = int((place.folder / "count").read_text() or 0) if (place.folder / "count").exists() else 0
        if code != 0:
            print(f"{job.name}: does not run: {code} {said}", file=sys.stderr)
            return 1, 1
        if hasattr(job.after, "file"):
            job.after.new = place.read(job.after.file)
        folder.cleanup()
        step = max(1, -(-count // MOST))
        for at in range(1, count + 1, step):
            for on in (0, 1):
                tried += 1
                folder, place, (code, _, said) = in_place(job, env(at, on))
                wrong = job.after(place, code)
                if code not in (0, 1, 2) or "panicked" in said or len(said) > 4096:
                    wrong = f"exit {code}, {len(said)} bytes of message"
                elif code != 0 and not said.strip():
                    wrong = f"exit {code} without a word"
                elif place.left():
                    wrong = f"left behind: {place.left()}"
                if wrong:
                    faults += 1
                    print(f"{job.name}, {kind} {at} of {count}{' and all after' if on else ''}: {wrong}\n    {said[:400]}",
                          file=sys.stderr)
                folder.cleanup()
    return faults, tried


def main():
    with tempfile.TemporaryDirectory() as folder:
        shim = library(Path(folder))
        total = 0
        for job in jobs(serve_model()):
            faults, tried = look(job, shim)
            print(f"{job.name}: {tried} failures, {faults} faults", file=sys.stderr)
            total += faults
        print(total)


main()
