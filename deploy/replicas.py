"""Replicas of `tokki serve` on this machine, for the examples beside this file."""
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, body=None, timeout=120):
    """Status, headers and JSON (or text) of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, headers, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, headers, text = error.code, error.headers, error.read().decode()
    try:
        return status, headers, json.loads(text)
    except ValueError:
        return status, headers, text


def wait_for(what, seconds=60):
    """Waits until `what` is true; a server that does not answer yet is no error."""
    end = time.time() + seconds
    while time.time() < end:
        try:
            if what():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("it did not happen in time")


# Becomes the command; a shell beside it kills it when standard input ends: so it never outlives who started it, even by kill -9.
TIED = 'exec 3<&0; (cat <&3 >/dev/null; kill -9 $$ 2>/dev/null) & exec "$@" 3<&- </dev/null'


class Replica:
    """One `tokki serve`, which ends with this process at the latest."""

    def __init__(self, model, threads=1, tokki=os.environ.get("TOKKI", "tokki")):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [tokki, "serve", "--port", str(self.port), "--threads", str(threads), "--ctx", "2048", "--drain", "120", model]
        self.process = subprocess.Popen(["sh", "-c", TIED, "sh", *command], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wait_for(self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended at once, try it: {' '.join(self.process.args[4:])}")
        return fetch(self.url + "/readyz")[0] == 200

    def metric(self, name):
        """The sum of a number of /metrics over all models."""
        lines = fetch(self.url + "/metrics")[2].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def kill(self):
        self.process.stdin.close()
        self.process.wait()

    def drain(self):
        """No new work; running answers end."""
        self.process.send_signal(signal.SIGTERM)

