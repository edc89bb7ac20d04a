"""Tokens per second of a running `tokki serve` with several clients at once: `load.py http://127.0.0.1:8080 [CLIENTS ...]`.

Each client asks one question and reads 64 tokens as a stream. Needs nothing but Python.
"""
import json
import sys
import threading
import time
import urllib.request

BASE = sys.argv[1].rstrip("/")
TOKENS = 64


def ask(seed, times):
    body = {"messages": [{"role": "user", "content": f"Write a story about the number {seed}."}], "stream": True,
            "max_tokens": TOKENS, "ignore_eos": True, "seed": seed}
    request = urllib.request.Request(BASE + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if b'"content":"' in line:
                times.append(time.time())


def run(clients):
    times = [[] for _ in range(clients)]
    threads = [threading.Thread(target=ask, args=(1000 * clients + i, times[i])) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # From when everybody writes until the first one has finished.
    start, end = max(t[0] for t in times), min(t[-1] for t in times)
    count = sum(start < moment <= end for t in times for moment in t)
    return count / (end - start)


alone = None
for clients in [int(n) for n in sys.argv[2:]] or [1, 4, 8]:
    rate = sorted(run(clients) for _ in range(3))[1]
    alone = alone or rate / clients
    print(f"{clients} clients: {rate:.1f} tokens/s together, {rate / alone:.2f} times one")
