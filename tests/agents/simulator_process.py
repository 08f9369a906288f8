"""A chat server in a process of its own, which fails every fifth call and may be told to die: `PORT LOG DIE_AT`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, as_json, documents

FAULTS = {
    "refused": as_json({"error": {"message": "A FAULT: the request is refused"}}, status=400),  # no use in retrying
    "500": as_json({"error": "A FAULT: out of memory"}, status=500),
    "cut": Do("cut", body=b'{"choices": [{"message": "A FAULT'),
    "refused again": as_json({"error": "A FAULT"}, status=422),
    "not JSON": Do(body=b"<html>A FAULT</html>", headers={"Content-Type": "text/html"}),
    "hang": Do("hang"),
}


def main(port: int, log: Path, die_at: int) -> None:
    def answer(seen: Seen) -> Do:
        kinds = list(FAULTS)
        kind = kinds[seen.number // 5 % len(kinds)] if seen.number % 5 == 4 else "answered"
        if seen.number == die_at:
            kind = "killed"
        with log.open("a") as file:
            file.write(kind + "\n")
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return FAULTS.get(kind) or documents(*(f"The capital of nowhere is number {number}." for number in range(5)))

    with FaultServer(answer, port=port):
        sys.stdout.write("up\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
