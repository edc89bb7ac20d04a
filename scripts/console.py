#!/usr/bin/env python3
"""The first hour on Windows, as far as wine has it: a model is fetched from a server on this machine, another is linked and removed,
doctor, plan and bench say something, and the model is described, asked, asked again in a session, and talked to in a console, which is
a pseudo-terminal here; meanwhile it is removed, and then fetched again.

    scripts/console.py WINE TOKKI.EXE MODEL.gguf [TOKKI]

TOKKI is the binary of this machine, whose answers are the right ones. Says what was seen; ends with 1 at the first thing that is
not as it should be.
"""
import contextlib
import functools
import http.server
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time

WINE, EXE, MODEL = sys.argv[1], os.path.abspath(sys.argv[2]), pathlib.Path(sys.argv[3]).resolve()
TOKKI = sys.argv[4] if len(sys.argv) > 4 else "target/release/tokki"
PATIENCE = 90
QUESTION, ASKED = "hello", ["--temperature", "0", "--ctx", "256", "--max-tokens", "6"]


def wrong(what, seen):
    print(f"{what}:\n{seen[-2000:]}")
    sys.exit(1)


def environment(home):
    return {**os.environ, "WINEDEBUG": "-all", "TOKKI_HOME": home, "XDG_CONFIG_HOME": home, "NO_COLOR": "1"}


def said(command, home, wanted=0):
    done = subprocess.run(command, env=environment(home), capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    if done.returncode != wanted:
        wrong(f"{command} ended with {done.returncode}", (done.stdout + done.stderr).decode(errors="replace"))
    return done.stdout.decode()


def plain(seen):
    """Without what moves the cursor and paints. A step to the right is how wine writes a space that is there already."""
    stepped = re.sub(r"\x1b\[(\d*)C", lambda steps: " " * int(steps[1] or 1), seen)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07", "", stepped)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def handle(self):
        # Whoever has what was wanted goes.
        with contextlib.suppress(ConnectionError):
            super().handle()


class Console:
    """A program on a pseudo-terminal of its own."""

    def __init__(self, command, home):
        self.seen, (self.child, self.end) = "", pty.fork()
        if self.child == 0:
            os.environ.update(environment(home), TERM="xterm")
            os.execvp(command[0], command)

    def until(self, pattern, what):
        start, limit = len(self.seen), time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            if select.select([self.end], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.end, 1 << 16).decode(errors="replace")
                except OSError:
                    break
                text = plain(self.seen[start:])
                if re.search(pattern, text):
                    return text
        os.kill(self.child, signal.SIGKILL)
        wrong(what, self.seen[start:])

    def type(self, text):
        # Wine takes the terminal over a moment after the prompt; before that it would echo, and make another key of Enter.
        limit = time.monotonic() + PATIENCE
        while termios.tcgetattr(self.end)[3] & termios.ECHO and time.monotonic() < limit:
            time.sleep(0.05)
        os.write(self.end, text.encode())

    def ended(self):
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            if select.select([self.end], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.end, 1 << 16).decode(errors="replace")
                except OSError:
                    pass
            done, status = os.waitpid(self.child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.child, signal.SIGKILL)
        wrong("the chat did not end", self.seen)


def listed(home, name):
    """Whole, in whichever layout."""
    seen = said([WINE, EXE, "list", "--json"], home)
    if not any(entry["name"] == name and entry["state"].startswith("ready") for entry in json.loads(seen)["models"]):
        wrong(f"{name} is not whole in the list", seen)


def main():
    with tempfile.TemporaryDirectory() as home:
        serve = functools.partial(Quiet, directory=str(MODEL.parent))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{MODEL.name}"
        said([WINE, EXE, "pull", url], home)
        listed(home, MODEL.stem)
        print("pulled from a server on this machine, and whole in the list")
        said([WINE, EXE, "import", str(MODEL), "--name", "linked"], home)
        listed(home, "linked")
        said([WINE, EXE, "rm", "linked"], home)
        for command in (["doctor"], ["plan", MODEL.stem], ["bench", MODEL.stem, "-p", "8", "-n", "4"]):
            if not said([WINE, EXE, *command], home).strip():
                wrong(f"{command[0]}: nothing", "")
        print("another linked and removed; doctor, plan and bench")
        architecture = json.loads(said([TOKKI, "show", str(MODEL), "--json"], home))["architecture"]
        if architecture not in (shown := said([WINE, EXE, "show", MODEL.stem], home)):
            wrong(f"show: wanted {architecture}", shown)
        own = said([TOKKI, "run", str(MODEL), *ASKED, QUESTION], home).replace("\r\n", "\n")
        found = said([WINE, EXE, "run", MODEL.stem, *ASKED, QUESTION], home).replace("\r\n", "\n")
        if own != found:
            wrong(f"run: wanted {own!r}", found)
        print("shown, and run with the answer of this machine")
        for question in (QUESTION, "And then?"):
            asked = [*ASKED, "--session"]
            here = said([TOKKI, "run", str(MODEL), *asked, f"{home}/own.session", question], home)
            there = said([WINE, EXE, "run", MODEL.stem, *asked, f"{home}/windows.session", question], home)
            if here != there.replace("\r\n", "\n"):
                wrong(f"run --session: wanted {here!r}", there)
        print("a session kept, gone on with")
        chat = Console([WINE, EXE, "run", MODEL.stem, *ASKED], home)
        chat.until(r">>> ", "no prompt in a console")
        chat.type(QUESTION + "\r")
        words = own.split()[0] if own.split() else ""
        chat.until(rf"(?s){re.escape(words)}.*>>> ", "no answer in a console")
        chat.type("/help\r")
        chat.until(r"(?s)/model.*>>> ", "no help in a console")
        said([WINE, EXE, "rm", MODEL.stem], home)
        chat.type(QUESTION + "\r")
        chat.until(rf"(?s){QUESTION}\s+\S.*>>> ", "no answer of a model that was removed meanwhile")
        chat.type("/exit\r")
        if (code := chat.ended()) != 0:
            wrong(f"the chat ended with {code}", chat.seen)
        said([WINE, EXE, "pull", url], home)
        listed(home, MODEL.stem)
        if left := os.listdir(f"{home}/partial"):
            wrong("what was removed while it was in use is still there", str(left))
        print("talked to in a console, removed meanwhile, and fetched again")
        server.shutdown()


main()
