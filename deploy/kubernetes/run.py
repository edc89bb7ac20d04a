#!/usr/bin/env python3
"""Tries tokki.yaml without a cluster: runs the container's own arguments on loopback, as its probes and its Service would see it.

    pip install kubernetes-validate
    TOKKI=target/release/tokki python3 deploy/kubernetes/run.py MODEL.gguf
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from replicas import TIED, fetch, free_port, wait_for  # noqa: E402

KEY = "trial"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name in ("tokki.yaml", "inference-pool.yaml"):
        documents = list(yaml.safe_load_all((HERE / name).read_text()))
        for document in documents:
            # What Kubernetes itself knows; an InferencePool comes with its gateway.
            if "inference" not in document["apiVersion"]:
                kubernetes_validate.validate(document, "1.37", strict=True)
                print(f"{name}: {document['kind']} is valid")
    deployment, service, budget = yaml.safe_load_all((HERE / "tokki.yaml").read_text())
    pods = deployment["spec"]["template"]
    container = pods["spec"]["containers"][0]
    labels = pods["metadata"]["labels"].items()
    for selector in (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
                     budget["spec"]["selector"]["matchLabels"], documents[0]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= labels, selector
    assert container["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"]
    assert documents[0]["spec"]["targetPorts"][0]["number"] == container["ports"][0]["containerPort"] == 8080
    print("all of them, and the InferencePool, mean the same pods and port")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as keys:
        keys.write(KEY + "\n")
        keys.flush()
        here = {"0.0.0.0": "127.0.0.1", "/keys/keys.txt": keys.name, "chat=/models/model.gguf": f"chat={sys.argv[1]}"}
        command = [os.environ.get("TOKKI", "tokki"), *(here.pop(word, word) for word in container["args"]), "--port", str(port)]
        assert not here, f"no longer in the arguments: {list(here)}"
        server = subprocess.Popen(["sh", "-c", TIED, "sh", *command], stdin=subprocess.PIPE)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            wait_for(lambda path=path: fetch(url + path)[0] == 200)
            print(f"{probe}: {path} answers 200 without a key")
        assert fetch(url + "/metrics")[0] == fetch(url + "/v1/models")[0] == 401

        def ask(path, body=None, name="tokki"):
            """As another pod does: by the Service's name and with the key."""
            head = {"host": name, "authorization": f"Bearer {KEY}", "content-type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(url + path, body, head)) as answer:
                return answer.read().decode()
        for name in ("tokki", "tokki.default.svc.cluster.local"):
            ask("/v1/models", name=name)
            print(f"called {name}, with the key: it answers")
        body = b'{"messages": [{"role": "user", "content": "A long one?"}], "max_tokens": 200, "ignore_eos": true}'
        answers = []
        work = threading.Thread(target=lambda: answers.append(json.loads(ask("/v1/chat/completions", body))))
        work.start()
        wait_for(lambda: any(line.startswith("tokki_requests_running") and float(line.split()[-1]) > 0
                             for line in ask("/metrics").splitlines()))
        server.send_signal(signal.SIGTERM)
        work.join()
        code = server.wait(pods["spec"]["terminationGracePeriodSeconds"])
        assert code == 0 and answers[0]["usage"]["completion_tokens"] == 200, (answers, code)
        print("SIGTERM: the running answer came to its end, then the process ended with 0")


if __name__ == "__main__":
    main()
