"""llama.cpp's server in a process of its own, from the package xllamacpp.

`python llamacpp_server.py --model FILE --port N …`, a program that needs nothing but xllamacpp, so that it runs with
any Python that has that. The key that clients must send comes from the environment variable ZS_SERVER_API_KEY.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

__all__: list[str] = []


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description="llama.cpp's OpenAI-compatible server.")
    add = parser.add_argument
    add("--model", required=True, help="a .gguf file")
    add("--host", default="127.0.0.1", help="where it listens")
    add("--port", type=int, required=True, help="where it listens")
    add("--context-tokens", type=int, default=4096, help="the longest request with its reply")
    add("--parallel", type=int, default=4, help="requests at the same time; each has the whole context")
    add("--threads", type=int, default=0, help="all cores but one, where left out")
    add("--served-model-name", default="", help="the file's name, where left out")
    options = parser.parse_args()
    threads = options.threads or max(1, usable_cores() - 1)
    if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]  # the modules beside this file are no top-level modules
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = options.model
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = options.context_tokens * options.parallel
    params.model_alias = {options.served_model_name or os.path.splitext(os.path.basename(options.model))[0]}
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_threads_http = options.parallel + 4
    params.ui = False
    params.endpoint_slots = False  # it shows prompts, and so golden answers, to whoever asks
    params.cors_origins = ""  # no web page may ask through a browser
    key = os.environ.pop("ZS_SERVER_API_KEY", "")
    if key:
        params.api_keys = [key]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as SIGTERM: there is nothing to be saved
    server = Server(params)
    print(f"serving {params.model.path} at {server.listening_address} with {threads} threads", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
