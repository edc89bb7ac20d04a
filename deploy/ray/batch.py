#!/usr/bin/env python3
"""Many prompts over several tokki workers with Ray Data; workers and this program may be killed in between.

    pip install 'ray[data]'
    TOKKI=target/release/tokki python3 deploy/ray/batch.py --model MODEL.gguf --workers 2 in.jsonl out

IN has lines of OpenAI's batch format; OUT is a folder with a file per finished block. Started again, only lines without an answer are
computed, so that each custom_id is answered once. A block is written beside and renamed: it is whole or not there.
"""
import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def answered(out):
    """Answers by custom_id, of all blocks that are whole."""
    found = {}
    for path in sorted(Path(out).glob("*.jsonl")):
        for line in read_lines(path):
            found.setdefault(line["custom_id"], line)
    return found


class Worker:
    """A tokki server of its own in each of Ray's actors."""

    def __init__(self, model, out):
        from replicas import Replica

        self.replica, self.out = Replica(model), Path(out)

    def __call__(self, block):
        from replicas import fetch

        lines = []
        for text in block["line"]:
            line = json.loads(text)
            status, _, body = fetch(self.replica.url + line["url"], line["body"])
            response = {"status_code": status, "body": body}
            lines.append(json.dumps({"custom_id": line["custom_id"], "response": response, "error": None}))
        first = json.loads(block["line"][0])["custom_id"]
        path = self.out / f"{os.getpid()}-{abs(hash(first)):x}.jsonl"
        beside = path.with_suffix(".part")
        with open(beside, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        return {"answered": [len(lines)]}

    def __del__(self):
        if hasattr(self, "replica"):
            self.replica.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--block", type=int, default=16, help="lines that are written together")
    parser.add_argument("input")
    parser.add_argument("output")
    args = parser.parse_args()
    import ray

    out = Path(args.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    lines = read_lines(args.input)
    done = answered(out)
    # Neighbours share the beginnings of their prompts.
    left = sorted(json.dumps(line, sort_keys=True) for line in lines if line["custom_id"] not in done)
    print(f"{len(lines)} lines, {len(done)} answered before, {len(left)} to do", flush=True)
    if left:
        here = str(Path(__file__).resolve().parents[1])
        variables = {"PYTHONPATH": here, "TOKKI": os.environ.get("TOKKI", "tokki")}
        ray.init(num_cpus=args.workers, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables})
        blocks = max(1, len(left) // args.block)
        data = ray.data.from_items([{"line": line} for line in left]).repartition(blocks)
        worker = {"fn_constructor_args": (str(Path(args.model).resolve()), str(out)), "concurrency": args.workers, "max_restarts": -1}
        worker["max_task_retries"] = -1
        data.map_batches(Worker, batch_size=args.block, num_cpus=1, **worker).materialize()
    done = answered(out)
    missing = [line["custom_id"] for line in lines if line["custom_id"] not in done]
    with open(out / "all.json", "w", encoding="utf-8") as file:
        json.dump([done[line["custom_id"]] for line in lines if line["custom_id"] in done], file)
    print(f"{len(done)} answered, {len(missing)} missing", flush=True)
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
