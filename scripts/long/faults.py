#!/usr/bin/env python3
"""faults.py TOKKI MODEL: what a server must bear: idle and half-open connections, floods, bodies of every bad kind in every
dialect, a model file that is cut while it is served. Prints how many of these it did not bear.
"""
import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOKKI, MODEL = map(os.path.abspath, sys.argv[1:3])
faults = []


def check(good, text):
    if not good:
        faults.append(text)
        print("fault:", str(text)[:400], file=sys.stderr)


class Server:
    all = []

    def __init__(self, model, *args):
        Server.all.append(self)
        self.process = subprocess.Popen([TOKKI, "serve", "--port", "0", "--ctx", "512", *args, model], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening at" in line:
                self.port = int(line.rsplit(":", 1)[1])
                break
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def ask(self, path, body, method="POST", timeout=60):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def memory(self):
        return int(open(f"/proc/{self.process.pid}/status").read().split("RssAnon:")[1].split()[0])

    def lives(self, what):
        check(self.process.poll() is None, f"{what}: the process has ended")
        status, text = self.ask("/v1/completions", {"prompt": "hi", "max_tokens": 2})
        check(status == 200, f"{what}: afterwards {status} {text[:200]}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        check(self.process.wait(60) == 0, f"it ended with {self.process.returncode}")


DIALECTS = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 2},
    "/v1/completions": lambda text: {"prompt": text, "max_tokens": 2},
    "/v1/responses": lambda text: {"input": text, "max_output_tokens": 2},
    "/v1/messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 2},
    "/v1/embeddings": lambda text: {"input": text},
    "/v1/decisions": lambda text: {"input": text, "questions": [{"type": "predicate", "instructions": "Is it?"}]},
    "/api/chat": lambda text: {"stream": False, "messages": [{"role": "user", "content": text}], "options": {"num_predict": 2}},
    "/api/generate": lambda text: {"stream": False, "prompt": text, "options": {"num_predict": 2}},
    "/completion": lambda text: {"prompt": text, "n_predict": 2},
    "/tokenize": lambda text: {"content": text},
}
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "9" * 400, "18446744073709551616", "-9223372036854775809", "0.1.2", "0x10", "--1", "1e"]


def shape(path, text):
    """Whether an error has its dialect's shape."""
    try:
        error = json.loads(text)
    except ValueError:
        return False
    if path.startswith("/api/"):
        return isinstance(error.get("error"), str)
    if path.startswith("/v1/messages"):
        return error.get("type") == "error" and isinstance(error["error"].get("message"), str)
    return isinstance(error.get("error"), dict) and isinstance(error["error"].get("message"), str)


def bodies(server):
    deep = lambda n: b"[" * n + b"]" * n
    before = server.memory()
    for path, ask in DIALECTS.items():
        whole = json.dumps(ask("hi")).encode()
        cases = [b"{", b"[]", b"null", b"\"text\"", b"{\"a\":1}}", whole[:-1], whole + whole, b"\xff\xfe" + whole, whole.replace(b"hi", b"\xff\xc0\xaf"),
                 whole.replace(b"\"hi\"", b"\"\\ud800\""), whole.replace(b"\"hi\"", deep(100_000)), whole.replace(b"\"hi\"", b"{\"a\":" * 5000 + b"1" + b"}" * 5000),
                 deep(1_000_000), b"\x00" * 1000, b"{\"a\":" + b"\"" + b"x" * 1_000_000]
        cases += [whole.replace(b"\"hi\"", n.encode()) for n in NUMBERS]
        fields = ["temperature", "top_p", "seed", "n", "max_tokens", "n_predict", "max_output_tokens", "logit_bias", "stop", "typical_p", "dry_base"]
        for case in cases:
            status, text = server.ask(path, case)
            check(400 <= status < 500 and shape(path, text), f"{path} {case[:60]}: {status} {text[:120]}")
        for field in fields:
            for value in [n for n in NUMBERS if n[0] in "NI-" or "e999" in n or "." in n]:
                case = whole[:-1] + f", \"{field}\": {value}}}".encode()
                status, text = server.ask(path, case)
                check((400 <= status < 500 and shape(path, text)) or status in (200, 501), f"{path} {field} {value}: {status} {text[:120]}")
    with server.connect() as one:
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (17 << 20))
        check(b" 413" in one.recv(100)[:16], "17 MB are not refused")
    server.lives("bad bodies")
    check(server.memory() < before * 1.5 + 65536, f"bad bodies: memory from {before} to {server.memory()} kB")


def connections(server):
    before = server.memory()
    idle = [server.connect() for _ in range(1000)]
    server.lives("1000 idle connections")
    check(server.memory() < before + 65536, f"idle connections: memory from {before} to {server.memory()} kB")
    for one in idle[:500]:
        one.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ")
    server.lives("500 half heads")
    [one.close() for one in idle]
    # Heads without end, in one line and in many.
    for piece in (b"y" * 1000, b"x-a: b\r\n" * 100, b"\r\n", b"\x00\xff" * 500):
        one = server.connect()
        one.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        try:
            for _ in range(2000):
                one.sendall(piece)
            one.settimeout(20)
            answer = one.recv(100)
            check(b" 4" in answer[:16] or b" 200" in answer[:16] or answer == b"", f"endless head: {answer}")
        except OSError:
            pass
        one.close()
    server.lives("endless heads")
    # A body that does not come, and one that comes by the byte.
    half = [server.connect() for _ in range(100)]
    for one in half:
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n{")
    server.lives("100 half bodies")
    for one in half:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
    # Two lengths, both ways to say one, a method that is none, a version that is none.
    for head in (b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
                 b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
                 b"BREW / HTTP/1.1\r\nhost: localhost\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET " + b"a" * 60000 + b" HTTP/1.1\r\n\r\n",
                 b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"):
        one = server.connect()
        one.sendall(head)
        one.settimeout(20)
        try:
            answer = one.recv(200)
            check(answer == b"" or b" 4" in answer[:16], f"{head[:60]}: {answer[:80]}")
        except OSError:
            pass
        one.close()
    server.lives("odd heads")


def slow_reader(server):
    """A client that does not read its stream holds nobody up."""
    one = server.connect()
    body = json.dumps({"prompt": "hi", "max_tokens": 400, "ignore_eos": True, "stream": True, "n_probs": 20}).encode()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    one.sendall(b"POST /completion HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    server.lives("a client that does not read")
    one.close()


def cut_model():
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "m.gguf")
        shutil.copy(MODEL, copy)
        server = Server(copy)
        server.lives("a copy")
        size = os.path.getsize(copy)
        os.truncate(copy, size // 2)
        for path, ask in DIALECTS.items():
            if path == "/tokenize":
                continue
            status, text = server.ask(path, ask("something that was not asked before"))
            check(status in (503, 501) and shape(path, text), f"cut file: {path} {status} {text[:200]}")
            check(server.process.poll() is None, "a cut file ends the process")
        status, text = server.ask("/health", b"", "GET")
        check(status in (200, 503), f"cut file: /health {status}")
        # In the middle of a stream.
        server.end()
        shutil.copy(MODEL, copy)
        server = Server(copy)
        server.lives("a copy")
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "hi", "max_tokens": 450, "stream": True, "ignore_eos": True}))
        answer = connection.getresponse()
        answer.read(200)
        os.truncate(copy, size // 2)
        rest = answer.read()
        check(b"[DONE]" in rest or b"\"error\"" in rest, f"cut file in a stream: {rest[-300:]}")
        check(server.process.poll() is None, "a file cut in a stream ends the process")
        server.end()


atexit.register(lambda: [one.process.kill() for one in Server.all])
server = Server(MODEL)
for look in (bodies, connections, slow_reader):
    start = time.time()
    look(server)
    print(f"{look.__name__}: {time.time() - start:.1f} s", file=sys.stderr)
server.end()
cut_model()
print(len(faults))
