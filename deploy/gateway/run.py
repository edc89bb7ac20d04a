#!/usr/bin/env python3
"""Two replicas of tokki behind a gateway that keeps a conversation on the replica that knows it.

    pip install smg
    TOKKI=target/release/tokki python3 deploy/gateway/run.py MODEL.gguf          # serve at http://127.0.0.1:30000
    TOKKI=target/release/tokki python3 deploy/gateway/run.py MODEL.gguf --test   # try it, and end

The gateway (smg, cache-aware policy) looks at the text of a request and sends it where its beginning is known; the two
thresholds make it spread requests that share a system prompt. With --test: a conversation stays on its replica and is read once, a replica
that is killed takes no request with it, one that is drained loses nothing.
"""
import argparse
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from replicas import Replica, fetch, free_port, wait_for  # noqa: E402


def gateway(replicas, port):
    command = [sys.executable, "-m", "smg", "launch", "--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware"]
    command += ["--balance-abs-threshold", "2", "--balance-rel-threshold", "1.2"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    command += ["--worker-urls", *(replica.url for replica in replicas)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def chat(url, messages, tokens=16):
    body = {"model": "chat", "messages": messages, "max_tokens": tokens, "temperature": 0, "seed": 1}
    status, _, answer = fetch(url + "/v1/chat/completions", body)
    if status != 200:
        sys.exit(f"{status}: {answer}")
    return answer


def conversation(url, name, turns):
    """Speaks for some turns; returns how many tokens of the last prompt were cached, and how many it had."""
    messages = [{"role": "system", "content": f"You are the assistant of {name}. " * 20}]
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Question {turn} of {name}?"})
        answer = chat(url, messages)
        messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
    usage = answer["usage"]
    return usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]


def test(url, replicas):
    names = ["Ada", "Bo", "Chae", "Dina"]
    for name in names:
        cached, prompt = conversation(url, name, 4)
        print(f"{name}: {cached} of {prompt} tokens of the fourth turn were cached")
        assert cached > prompt / 2, "a conversation left its replica"
    served = [replica.metric("tokki_requests_total") for replica in replicas]
    print("requests:", served)
    assert all(served) and sum(served) >= 4 * len(names), served
    replicas[0].kill()
    for turn in range(6):
        chat(url, [{"role": "user", "content": f"After the loss, question {turn}?"}])
    print("a replica was killed: the next six requests were answered")
    replicas[0] = None
    last = replicas[1]
    answers = []
    work = threading.Thread(target=lambda: answers.append(chat(last.url, [{"role": "user", "content": "A long one?"}], 200)))
    work.start()
    wait_for(lambda: last.metric("tokki_requests_running") > 0)
    last.drain()
    work.join()
    assert answers and answers[0]["usage"]["completion_tokens"] > 0
    print("a replica was drained: its running answer came to its end")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--test", action="store_true")
    args = parser.parse_args()
    replicas = [Replica(f"chat={args.model}") for _ in range(2)]
    port = free_port() if args.test else args.port
    url = f"http://127.0.0.1:{port}"
    router = gateway(replicas, port)
    try:
        wait_for(lambda: fetch(url + "/health")[0] == 200)
        # Until it knows the replicas' model.
        hello = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        wait_for(lambda: fetch(url + "/v1/chat/completions", hello)[0] == 200)
        if args.test:
            test(url, replicas)
        else:
            print(f"the gateway listens at {url}, the replicas at {', '.join(replica.url for replica in replicas)}")
            router.wait()
    finally:
        router.kill()
        for replica in filter(None, replicas):
            replica.kill()


if __name__ == "__main__":
    main()
