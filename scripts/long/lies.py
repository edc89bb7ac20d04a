#!/usr/bin/env python3
"""lies.py TOKKI: pulls from servers that lie about lengths, ranges, marks, codings and redirects, with and without a hash.

Each pull ends in time with an exit code of the contract and a message that is short and harmless; what is stored afterwards is the
file, or nothing. Prints how often that was not so.
"""
import hashlib
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOKKI = os.path.abspath(sys.argv[1])
FILE = (Path(__file__).parents[2] / "tests/fixtures/arch/llama-q4k.gguf").read_bytes()
HASH = hashlib.sha256(FILE).hexdigest()
OTHER = FILE[: len(FILE) // 2] + bytes([FILE[len(FILE) // 2] ^ 1]) + FILE[len(FILE) // 2 + 1:]
MARK = {"ETag": '"v1"'}
count = 0


def whole(server, body, headers=None, status=200, length=None):
    server.send_response(status)
    for name, value in (headers or {}).items():
        server.send_header(name, value)
    server.send_header("Content-Length", str(len(body) if length is None else length))
    server.end_headers()
    server.wfile.write(body)


def part(server, source=FILE, headers=MARK, total=None, shift=0, short=0):
    asked = server.headers.get("Range")
    if not asked:
        return whole(server, source, headers)
    first, last = asked.split("=")[1].split("-")
    first, last = int(first), min(int(last), len(source) - 1)
    span = {"Content-Range": f"bytes {first}-{last}/{len(source) if total is None else total}"}
    whole(server, source[first + shift: last + 1 + shift - short], {**headers, **span}, 206)


def raw(server, text):
    server.wfile.write(text)
    server.close_connection = True


def closing(server, *args, **more):
    whole(server, *args, **more)
    server.close_connection = True


def turns(one, other):
    return lambda server: (one if count % 2 else other)(server)


WAYS = {
    "the truth": part,
    "no ranges": lambda s: whole(s, FILE),
    "parts that end early": lambda s: part(s, short=7),
    "parts of another place": lambda s: part(s, shift=1),
    "another file each time, with another mark": lambda s: part(s, FILE if count % 2 else OTHER, {"ETag": f'"v{count}"'}),
    "a total beyond reason": lambda s: part(s, total=10**15),
    "a negative total": lambda s: part(s, total=-5),
    "no total": lambda s: part(s, total="*"),
    "a total of nothing": lambda s: part(s, total=0),
    "a range that is text": lambda s: whole(s, FILE[:100], {**MARK, "Content-Range": "bytes nonsense"}, 206),
    "a part that says no range": lambda s: whole(s, FILE[:4096], MARK, 206),
    "a longer length": lambda s: closing(s, FILE, MARK, length=len(FILE) + 1000),
    "a length beyond reason": lambda s: closing(s, FILE, MARK, length=2**63),
    "a length that is text": lambda s: whole(s, FILE, MARK, length="abc"),
    "nothing": lambda s: whole(s, b"", MARK),
    "a coding": lambda s: whole(s, FILE, {**MARK, "Content-Encoding": "gzip"}),
    "a circle of redirects": lambda s: whole(s, b"", {"Location": s.path}, 302),
    "a redirect to a file": lambda s: whole(s, b"", {"Location": "file:///etc/passwd"}, 302),
    "a redirect to nothing": lambda s: whole(s, b"", {"Location": ""}, 302),
    "statuses that nobody knows": turns(lambda s: whole(s, FILE, MARK, 299), lambda s: whole(s, b"x", MARK, 999)),
    "no such range": lambda s: whole(s, b"", MARK, 416),
    "a mark that is long": lambda s: part(s, headers={"ETag": '"' + "x" * 5000 + '"'}),
    "a mark that a terminal obeys": lambda s: part(s, headers={"ETag": '"\x1b[31m\x07"'}),
    "chunks that are none": lambda s: raw(s, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\nabc"),
    "an end in the middle": lambda s: raw(s, b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nGGUF"),
    "noise": lambda s: raw(s, os.urandom(5000)),
    "200,000 headers": lambda s: raw(s, b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(200000)) + b"\r\n"),
    "a header of 5 MB": lambda s: raw(s, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 5000000 + b"\r\n\r\n"),
    "a page": lambda s: whole(s, b"<!DOCTYPE html><html>" + b"x" * 5000, {"Content-Type": "text/html"}),
    "a pointer": lambda s: whole(s, b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"),
    "a name that climbs": lambda s: part(s, headers={**MARK, "Content-Disposition": 'attachment; filename="../../evil.gguf"'}),
}


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        global count
        count += 1
        try:
            list(WAYS.values())[int(self.path.split("/")[1])](self)
        except OSError:
            self.close_connection = True


def fault(number, more):
    with tempfile.TemporaryDirectory() as home:
        command = [TOKKI, "pull", f"{base}/{number}/m.gguf", "--layout", "plain", "--name", "m", *more]
        env = {"TOKKI_HOME": home, "HOME": home, "TOKKI_PART_SIZE": "64K"}
        start = time.time()
        try:
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        except subprocess.TimeoutExpired:
            return "it does not end"
        said, stored = done.stderr.decode(errors="replace"), Path(home, "models/m/m.gguf")
        if done.returncode not in (0, 1, 2) or (done.returncode == 0) != stored.exists():
            return f"exit {done.returncode}, stored: {stored.exists()}: {said[-200:]!r}"
        if stored.exists() and stored.read_bytes() != FILE:
            return "other bytes are stored"
        if len(said) > 1500 or "\x1b" in said or "panicked" in said:
            return f"the message: {said[:200]!r}"
        print(f"{list(WAYS)[number]}: exit {done.returncode}, {time.time() - start:.1f} s", file=sys.stderr)


http.server.ThreadingHTTPServer.handle_error = lambda *_: None
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_address[1]}"
faults = 0
for number, name in enumerate(WAYS):
    for more in ([], ["--sha256", HASH]):
        why = fault(number, more)
        faults += why is not None
        if why:
            print(f"{name}: {why}", file=sys.stderr)
print(faults)
