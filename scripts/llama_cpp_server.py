#!/usr/bin/env python3
"""llama.cpp's own server out of the package xllamacpp, which has it prebuilt (for AVX2), with llama-server's flags that
compare-servers uses: -m MODEL -c CONTEXT -np SLOTS -t THREADS --host HOST --port PORT."""

import argparse
import signal

import xllamacpp


def main():
    usage = argparse.ArgumentParser(description=__doc__)
    usage.add_argument("-m", required=True)
    usage.add_argument("-c", type=int, default=0)
    usage.add_argument("-np", type=int, default=1)
    usage.add_argument("-t", type=int, default=1)
    usage.add_argument("--host", default="127.0.0.1")
    usage.add_argument("--port", type=int, default=8080)
    args = usage.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = args.m
    params.n_ctx, params.n_parallel, params.port = args.c, args.np, args.port
    params.hostnames = [args.host]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.t
    params.n_gpu_layers = 0
    server = xllamacpp.Server(params)
    print("listening at", server.listening_address, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


main()
