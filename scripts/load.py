"""Tokens per second of a running `tokki serve` with several clients at once: `load.py http://127.0.0.1:8080 [CLIENTS ...]`.

llama-server can be asked as well. Each client asks one question and reads 64 tokens as a stream. Needs nothing but Python.
"""
import json
import sys
import threading
import time
import urllib.request

TOKENS = 64


def stream(base, body):
    """Asks; returns the moments at which text came, and the tokens of the answer (some chunks may hold two)."""
    body = {"stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True, **body}
    request = urllib.request.Request(base + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    times, usage = [], None
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            moment = time.time()
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(chunk["error"])
            usage = chunk.get("usage") or usage
            deltas = [choice["delta"] for choice in chunk["choices"]]
            if any(delta.get("content") or delta.get("reasoning_content") for delta in deltas):
                times.append(moment)
    return times, usage["completion_tokens"]


def at_once(base, bodies):
    """What `stream` returns for each of some requests that are sent together."""
    answers = [None] * len(bodies)

    def ask(i):
        answers[i] = stream(base, bodies[i])
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if None in answers:
        sys.exit("a request failed")
    return answers


def rate(base, clients, tokens=TOKENS, **options):
    """Tokens per second of so many clients together."""
    bodies = [{"messages": [{"role": "user", "content": f"Write a story about the number {seed}."}], "max_tokens": tokens,
               "seed": seed, **options} for seed in range(1000 * clients, 1001 * clients)]
    answers = at_once(base, bodies)
    # From when everybody writes until the first one has finished.
    start, end = max(times[0] for times, _ in answers), min(times[-1] for times, _ in answers)
    counts = [sum(start < moment <= end for moment in times) * tokens / len(times) for times, tokens in answers]
    return sum(counts) / (end - start)


def main():
    base, alone = sys.argv[1].rstrip("/"), None
    for clients in [int(n) for n in sys.argv[2:]] or [1, 4, 8]:
        together = sorted(rate(base, clients) for _ in range(3))[1]
        alone = alone or together / clients
        print(f"{clients} clients: {together:.1f} tokens/s together, {together / alone:.2f} times one")


if __name__ == "__main__":
    main()
