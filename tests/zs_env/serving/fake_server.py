"""A small model server that behaves, or misbehaves as `ZS_FAKE` says; a program, run by the tests.

`ZS_FAKE` holds words: `workers` starts two processes, one in a session of its own; `stubborn` doesn't heed SIGTERM;
`never` doesn't listen; `oom`, `taken`, `broken` end before it is up. `ZS_FAKE_PIDS` names a file that gets process ids.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAST_WORDS = {
    "oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "taken": "OSError: [Errno 98] Address already in use",
    "broken": "\x1b[31mValueError: else\x1b[0m",
}


class Handler(BaseHTTPRequestHandler):
    key = ""

    def do_GET(self) -> None:
        if self.path != "/health" and self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self.send_error(401)
            return
        body = json.dumps({"data": [{"id": "fake"}]}).encode() if self.path == "/v1/models" else b""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--api-key", default=os.environ.get("VLLM_API_KEY", ""))
    options, rest = parser.parse_known_args()
    words = os.environ.get("ZS_FAKE", "").split()
    pids = [os.getpid()]
    if "stubborn" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "workers" in words:
        pids += [subprocess.Popen(["sleep", "600"], start_new_session=own).pid for own in (False, True)]
    if "ZS_FAKE_PIDS" in os.environ:
        with open(os.environ["ZS_FAKE_PIDS"], "a") as file:
            file.write(" ".join(map(str, pids)) + "\n")
    sys.stderr.write(f"arguments: {rest}\n")
    for word, said in LAST_WORDS.items():
        if word in words:
            sys.stderr.write(f"{said}\n")
            sys.exit(3)
    if "never" in words:
        time.sleep(600)
    Handler.key = options.api_key
    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
