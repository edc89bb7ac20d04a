#!/usr/bin/env python3
"""Answers a file of requests with workers of tokki, which Ray spreads over the CPUs of a machine or a cluster.

    pip install "ray[data]"
    TOKKI=target/release/tokki python3 deploy/ray/run.py MODEL.gguf IN.jsonl OUT.jsonl
    TOKKI=target/release/tokki python3 deploy/ray/run.py MODEL.gguf --test 60      # try it, with kill -9 in between

IN has lines of OpenAI's batch format, OUT gets a line for each answer. OUT is the journal, and only this process writes it: what
it has is synced and is not asked again, a torn last line is cut off. Each worker is an actor with its own `tokki serve`; Ray
starts those anew that get lost, and gives their requests to others. Whatever is killed: start it again, and in the end every
custom_id has one line. With RAY_ADDRESS it uses that cluster, whose machines need tokki and the model at the same paths.
"""
import argparse
import collections
import concurrent.futures
import fcntl
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if "RAY_ADDRESS" not in os.environ:
    # Without room for other machines Ray listens on loopback only, otherwise on all addresses.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
import ray  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import replicas  # noqa: E402

# Workers get this module's code with their own, whatever machine they are on.
ray.cloudpickle.register_pickle_by_value(replicas)
AT_ONCE = 8  # as many as `tokki serve` writes at the same time
LINES = 2 * AT_ONCE  # of a block at most: what is asked again when a worker gets lost


class Worker:
    """Asks a `tokki serve` of its own."""

    def __init__(self, *replica):
        self.replica = replica
        self.server = replicas.Replica(*replica)
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)

    def ask(self, text):
        """The answer as a line; None if it is worth another try."""
        line = json.loads(text)
        try:
            status, headers, body = replicas.fetch(self.server.url + line["url"], line["body"], timeout=600)
        except (OSError, http.client.HTTPException):
            return None
        if status in (429, 503):
            return None
        name = headers.get("x-request-id", "")
        answer = {"status_code": status, "request_id": name, "body": body}
        return json.dumps({"id": name, "custom_id": line["custom_id"], "error": None, "response": answer})

    def __call__(self, batch):
        answers = dict.fromkeys(batch["item"])
        for tries in range(10):
            waiting = [text for text, answer in answers.items() if answer is None]
            answers.update(zip(waiting, self.pool.map(self.ask, waiting)))
            if None not in answers.values():
                return {"item": list(answers.values())}
            time.sleep(tries)
            try:
                replicas.fetch(self.server.url + "/readyz")
            except OSError:
                self.server.kill()
                self.server = replicas.Replica(*self.replica)
        raise RuntimeError("requests were refused ten times: see the log of tokki serve")


def read_requests(path):
    """The lines of IN by their custom_id; every line is looked at before anything is asked."""
    requests = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            line = json.loads(text)
            name, wanted = line["custom_id"], isinstance(line["url"], str) and isinstance(line["body"], dict)
        except (ValueError, KeyError, TypeError):
            wanted = False
        if not wanted or not isinstance(name, str):
            sys.exit(f"{path}, line {number}: no request with custom_id, url and body")
        if requests.setdefault(name, text) is not text:
            sys.exit(f"{path}, line {number}: the custom_id {name!r} is there twice")
    return requests


def open_journal(path):
    """OUT, ready to be written on, and the custom_ids that it answers."""
    journal = path.open("a+b")
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{path}: another run writes it")
    journal.seek(0)
    whole, _, torn = journal.read().rpartition(b"\n")
    journal.truncate(journal.tell() - len(torn))
    return journal, {json.loads(line)["custom_id"] for line in whole.splitlines()}


def run(args):
    tokki = shutil.which(os.environ.get("TOKKI", "tokki")) or sys.exit("there is no tokki: say with TOKKI=... where it is")
    requests = read_requests(args.input)
    journal, done = open_journal(args.output)
    left = [text for name, text in requests.items() if name not in done]
    print(f"{len(requests)} requests, {len(requests) - len(left)} of them answered before", flush=True)
    if not left:
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False)
    else:
        ray.init("local", num_cpus=args.workers * args.threads, object_store_memory=200 << 20, include_dashboard=False,
                 log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # A name of the store stays as it is.
    model = str(args.model.resolve()) if args.model.exists() else str(args.model)
    # A few requests go in smaller blocks, so that every worker has some.
    lines = min(LINES, -(-len(left) // (8 * args.workers)))
    data = ray.data.from_items(left, override_num_blocks=-(-len(left) // lines)).map_batches(
        Worker, fn_constructor_args=(model, args.threads, os.path.abspath(tokki)), batch_size=lines,
        compute=ray.data.ActorPoolStrategy(size=args.workers), num_cpus=args.threads)
    for batch in data.iter_batches(batch_size=None, prefetch_batches=0):
        journal.write("".join(line + "\n" for line in batch["item"]).encode())
        journal.flush()
        os.fsync(journal.fileno())
    print("all are answered", flush=True)


def workers_of(driver):
    """The processes of a run's workers, and of their servers."""
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = {int(pid): (int(parent), command) for pid, parent, command in (row.split(None, 2) for row in listing.splitlines())}

    def belongs(pid):
        return pid == driver or (pid in rows and belongs(rows[pid][0]))
    servers = {pid: parent for pid, (parent, command) in rows.items()
               if rows.get(parent, (0, ""))[1].startswith("ray::") and " serve " in command and belongs(pid)}
    return sorted(set(servers.values())), sorted(servers)


def is_alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test(model, count):
    """Kills workers, servers and the whole run with kill -9 in between; in the end every custom_id has one line."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        names = [f"request-{number}" for number in range(count)]
        # Longer answers if there are few, so that there is time to kill.
        common = {"max_tokens": max(4, 4000 // count), "ignore_eos": True, "temperature": 0}
        bodies = [{"messages": [{"role": "user", "content": f"Say {name}."}], **common} for name in names]
        source.write_text("".join(json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"
                                  for name, body in zip(names, bodies)))

        def written():
            return output.read_bytes().splitlines() if output.exists() else []

        def is_time(wanted):
            assert driver.poll() is None, "it ended too soon to be killed: take more requests"
            return len(written()) >= wanted and all(workers_of(driver.pid))

        def start():
            command = [sys.executable, __file__, str(model), str(source), str(output)]
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        driver, seen, victims = start(), set(), ["worker", "server", "run", "worker", "run", "server"]
        for number, victim in enumerate(victims, 1):
            replicas.wait_for(functools.partial(is_time, number * count // (len(victims) + 2)), 900)
            workers, servers = workers_of(driver.pid)
            seen.update(workers + servers)
            kept = written()
            os.kill({"worker": workers[-1], "server": servers[0], "run": driver.pid}[victim], signal.SIGKILL)
            print(f"{len(kept)} of {count} answered: kill -9 of a {victim}", flush=True)
            if victim == "run":
                driver.wait()
                replicas.wait_for(lambda: not any(map(is_alive, seen)))
                kept = written()
                with output.open("a") as journal:
                    journal.write('{"id":"torn')
                driver = start()
                said = driver.stdout.readline()
                print(f"  started again: {said}", end="")
                assert said == f"{count} requests, {len(kept)} of them answered before\n", said
        driver.communicate()
        assert driver.returncode == 0, driver.returncode
        lines = [json.loads(line) for line in written()]
        times = collections.Counter(line["custom_id"] for line in lines)
        good = sum(line["response"]["status_code"] == 200 for line in lines)
        again = subprocess.run(driver.args, capture_output=True, text=True, check=True).stdout.strip()
        print(f"requests {count}, lines {len(lines)}, custom_ids {len(times)}, twice {sum(n > 1 for n in times.values())}, "
              f"missing {len(set(names) - set(times))}, answered with 200 {good}; started once more: {again}")
        assert set(times) == set(names) and len(lines) == good == count
        replicas.wait_for(lambda: not any(map(is_alive, seen)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("input", type=Path, nargs="?")
    parser.add_argument("output", type=Path, nargs="?")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--test", type=int, metavar="REQUESTS")
    args = parser.parse_args()
    if args.test:
        test(args.model, args.test)
    elif args.output:
        run(args)
    else:
        parser.error("IN.jsonl and OUT.jsonl, or --test, are wanted")


if __name__ == "__main__":
    main()
