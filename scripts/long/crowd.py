#!/usr/bin/env python3
"""crowd.py TOKKI MODEL: many threads on one core, and several processes at once. Prints how many did not end in time."""
import os
import subprocess
import sys
import time

TOKKI, MODEL = map(os.path.abspath, sys.argv[1:3])
ANSWER = [TOKKI, "run", MODEL, "hi", "--raw", "--max-tokens", "16", "--temperature", "0"]
LIMIT = 120
late = 0


def together(count, threads, cores):
    global late
    start = time.time()
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    all_ = [subprocess.Popen([*ANSWER, "--threads", str(threads)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL, preexec_fn=pin) for _ in range(count)]
    answers = set()
    for process in all_:
        try:
            answers.add((process.communicate(timeout=max(1, LIMIT - (time.time() - start)))[0], process.returncode))
        except subprocess.TimeoutExpired:
            process.kill()
            late += 1
    late += len(answers) > 1 or any(code for _, code in answers)
    print(f"{count} with {threads} threads on {cores or 'all'} cores: {time.time() - start:.1f} s", file=sys.stderr)


one = {min(os.sched_getaffinity(0))}
for count, threads, cores in [(1, 1, one), (1, 8, one), (1, 32, one), (4, 4, one), (8, 8, None), (1, 64, None)]:
    together(count, threads, cores)
print(late)
