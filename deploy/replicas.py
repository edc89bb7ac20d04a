"""Replicas of `tokki serve` on this machine, for the examples beside this file."""
import json
import os
import signal
import socket
import subprocess
import sys
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
    sys.exit("it did not happen in time")


class Replica:
    """One `tokki serve`."""

    def __init__(self, model, *flags, tokki=os.environ.get("TOKKI", "tokki")):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [tokki, "serve", "--port", str(self.port), "--threads", "1", "--ctx", "2048", "--drain", "120", *flags, model]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda: fetch(self.url + "/readyz")[0] == 200)

    def metric(self, name):
        """The sum of a number of /metrics over all models."""
        lines = fetch(self.url + "/metrics")[2].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def drain(self):
        """No new work; running answers end."""
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        if self.process.poll() is None:
            self.kill()
