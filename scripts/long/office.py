#!/usr/bin/env python3
"""office.py TOKKI MODEL [SECONDS [CLIENTS]]: a server with many clients of all dialects that wait, cancel, vanish and err.

Every answer is a complete one or a clean error; afterwards nothing runs, and memory, descriptors and threads are what they were
after the first minute (or the first third of a short run). Prints how many faults it saw.
"""
import atexit
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

TOKKI, MODEL = map(os.path.abspath, sys.argv[1:3])
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 300
CLIENTS = int(sys.argv[4]) if len(sys.argv) > 4 else 64
faults, counts, lock = [], {}, threading.Lock()


def fault(text):
    with lock:
        faults.append(text)
        print("fault:", text[:300], file=sys.stderr)


def count(what):
    with lock:
        counts[what] = counts.get(what, 0) + 1


server = subprocess.Popen([TOKKI, "serve", "--port", "0", "--ctx", "1024", "--parallel", "8", "--cache-size", "64M", "--queue", "256", MODEL],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
atexit.register(server.kill)
port = None
for line in server.stderr:
    if "listening at" in line:
        port = int(line.rsplit(":", 1)[1])
        break
threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()


def state():
    """Resident kilobytes that are not the mapped file's, open descriptors, threads."""
    status = open(f"/proc/{server.pid}/status").read()
    number = lambda name: int(status.split(name + ":")[1].split()[0])
    return number("RssAnon"), len(os.listdir(f"/proc/{server.pid}/fd")), number("Threads")


def body(rng, stream):
    text = " ".join(rng.choice(["the", "server", "rabbit", "of", "an", "office", "answers"]) for _ in range(rng.randint(1, 80)))
    most = rng.randint(1, 24)
    messages = [{"role": "user", "content": text}]
    return rng.choice([
        ("/v1/chat/completions", {"messages": messages, "max_tokens": most, "stream": stream, "n": rng.choice([1, 1, 1, 2])}),
        ("/v1/completions", {"prompt": text, "max_tokens": most, "stream": stream}),
        ("/v1/responses", {"input": text, "max_output_tokens": most, "stream": stream}),
        ("/v1/messages", {"messages": messages, "max_tokens": most, "stream": stream}),
        ("/api/chat", {"messages": messages, "stream": stream, "options": {"num_predict": most}}),
        ("/completion", {"prompt": text, "n_predict": most, "stream": stream}),
        ("/v1/chat/completions", {"messages": messages, "max_tokens": 8, "response_format": {"type": "json_object"}}),
    ])


END = {"/v1/chat/completions": b"[DONE]", "/v1/completions": b"[DONE]", "/v1/responses": b"response.", "/v1/messages": b"message_stop",
       "/api/chat": b'"done":true', "/completion": b'"stop":true'}


def client(number, until):
    rng = random.Random(number)
    while time.time() < until:
        kind = rng.choice(["wait", "wait", "wait", "vanish", "vanish", "reset", "bad", "half"])
        stream = rng.random() < 0.6
        path, ask = body(rng, stream)
        try:
            if kind == "half":
                with socket.create_connection(("127.0.0.1", port), 30) as raw:
                    raw.sendall(b"POST " + path.encode() + b" HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999\r\n\r\n{")
                    time.sleep(rng.random() * 0.3)
                count(kind)
                continue
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            data = json.dumps(ask).encode()
            connection.request("POST", path, data[:-1] if kind == "bad" else data, {"content-type": "application/json"})
            if kind in ("vanish", "reset") and rng.random() < 0.3:
                time.sleep(rng.random() * 0.2)
                connection.close()
                count(kind)
                continue
            answer = connection.getresponse()
            if kind == "bad":
                text = answer.read()
                if answer.status != 400:
                    fault(f"{path}: broken JSON got {answer.status} {text[:200]}")
            elif answer.status != 200:
                text = answer.read()
                if answer.status != 429:
                    fault(f"{path}: {answer.status} {text[:200]}")
            elif kind == "wait":
                text = answer.read()
                if stream and ask.get("stream") and END[path] not in text:
                    fault(f"{path}: a stream without its end: {text[-200:]}")
                elif not ask.get("stream"):
                    json.loads(text)
            else:
                answer.read(rng.randint(1, 300))
                if kind == "reset":
                    connection.sock and connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            count(f"{kind} {answer.status}")
        except (OSError, http.client.HTTPException, ValueError) as why:
            fault(f"{path} {kind}: {type(why).__name__} {why}")


start = time.time()
threads = [threading.Thread(target=client, args=(n, start + SECONDS)) for n in range(CLIENTS)]
[thread.start() for thread in threads]
time.sleep(min(60, SECONDS / 3))
first = state()
[thread.join() for thread in threads]


def metric(name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


deadline = time.time() + 10
while metric("tokki_requests_running") + metric("tokki_requests_waiting") > 0 and time.time() < deadline:
    time.sleep(0.05)
if metric("tokki_requests_running") + metric("tokki_requests_waiting") > 0:
    fault("work goes on for nobody")
time.sleep(1)
last = state()
print(f"memory, descriptors, threads: {first} then {last}", file=sys.stderr)
if last[0] > first[0] * 1.25 + 32768:
    fault(f"memory grew from {first[0]} to {last[0]} kB")
if last[1] > 64:
    fault(f"{last[1]} descriptors are open with no client")
if last[2] > first[2] + 2:
    fault(f"threads grew from {first[2]} to {last[2]}")
server.send_signal(signal.SIGTERM)
if server.wait(60) != 0:
    fault(f"it ended with {server.returncode}")
print(json.dumps(counts, sort_keys=True), file=sys.stderr)
print(len(faults))
