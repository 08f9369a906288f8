"""A server that takes its time and little of the machine's: the other side of `python -m benchmarks fanout`.

Each request is answered after the same wait, whatever else is there, with five short documents. One of them holds the
answer to the question in the prompt (`answer_of`), so that a reply that reached another request wouldn't pass the
check. It speaks what its clients speak, with the same documents: chat completions, and at `/retrieve` JSON as
Search-R1's retrieval server does (SkyRL-gym's search asks so) or msgpack as GEM's. It runs in a process of its own,
counts, and ends when its standard input does. It imports the standard library alone, so that any program may have its
documents.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import struct
import subprocess
import sys
import urllib.request
from functools import cache
from types import TracebackType
from typing import Any, Self

__all__ = [
    "FanoutServer",
    "allow_many_connections",
    "answer_of",
    "documents_of",
    "pack",
    "query_of",
    "question_of",
]

_STATION = re.compile(rb"station (\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SENTENCES = (
    "Station {0} keeps a small collection of instruments, which visitors may see on the first Sunday of a month.",
    "Built on a ridge above the fjord, station {0} could be reached by a mule path alone for many years before a road.",
    "The crew of nine at station {0} measures wind, snow and light, and sends it to three universities on the coast.",
    "In summer a ferry calls at station {0} twice a week; in winter the mail comes by sledge, if the ice will bear it.",
    "Painters came to station {0} for the colours of the evening sky, and one left a large picture in the dining room.",
)


def question_of(number: int) -> str:
    """The question of one episode."""
    return f"Which place gave its name to station {number}?"


def answer_of(number: int) -> str:
    """Its golden answer, which stands in no other question's reply."""
    return f"Tarn{number}fels"


def query_of(number: int) -> str:
    """What one episode searches for."""
    return f"name of station {number}"


def documents_of(number: int) -> list[str]:
    """The five documents that it finds."""
    texts = [sentence.format(number) for sentence in _SENTENCES]
    texts[number % 5] = f"Station {number} has its name from {answer_of(number)}. {texts[number % 5]}"
    return texts


def pack(value: Any) -> bytes:
    """Plain values as msgpack, for short lists and dicts."""
    if isinstance(value, dict):
        parts = b"".join(pack(key) + pack(each) for key, each in value.items())
        return bytes([0x80 | len(value)]) + parts
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(pack, value))
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    raw: bytes = value.encode()
    return b"\xda" + struct.pack(">H", len(raw)) + raw


@cache
def _retrieved(number: int, packed: bool) -> bytes:
    found = [{"document": {"contents": f"Station {number}\n{text}"}, "score": 0.5} for text in documents_of(number)]
    # GEM asks one query a request and gets its documents; Search-R1's protocol has a list of documents a query.
    return _with_head(pack({"result": found}) if packed else json.dumps({"result": [found]}).encode())


@cache
def _chat(number: int) -> bytes:
    content = "\n".join(f"Doc {i}: {text}" for i, text in enumerate(documents_of(number), 1))
    message = {"role": "assistant", "content": content}
    body = json.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 330, "completion_tokens": 150, "total_tokens": 480},
        }
    ).encode()
    return _with_head(body)


def _with_head(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class _Counts:
    """What was seen since it was last asked for."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.in_flight = self.peak = self.opened = 0

    def take(self) -> dict[str, int]:
        counts = {
            "requests": len(self.bodies),
            "distinct": len(set(self.bodies)),
            "peak_in_flight": self.peak,
            "connections_opened": self.opened,
        }
        self.bodies, self.peak, self.opened = [], self.in_flight, 0
        return counts


class _Connection(asyncio.Protocol):
    def __init__(self, counts: _Counts, latency_s: float) -> None:
        self._counts = counts
        self._latency_s = latency_s
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._chats = 0

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        size = end + (int(length[1]) if length else 0)
        if len(self._buffer) < size:
            return
        head, body, self._buffer = self._buffer[:end], self._buffer[end:size], self._buffer[size:]
        counts = self._counts
        if head.startswith(b"GET /counts "):
            self._transport.write(_with_head(json.dumps(counts.take()).encode()))
        elif head.startswith(b"GET /bodies "):
            self._transport.write(_with_head(b"\n".join(counts.bodies)))
        else:
            counts.opened += self._chats == 0
            self._chats += 1
            counts.bodies.append(body)
            counts.in_flight += 1
            counts.peak = max(counts.peak, counts.in_flight)
            station = _STATION.search(body)
            number = int(station[1]) if station else 0
            retrieves = head.startswith(b"POST /retrieve ")
            reply = _retrieved(number, not body.startswith(b"{")) if retrieves else _chat(number)
            self._loop.call_later(self._latency_s, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        self._counts.in_flight -= 1
        if not self._transport.is_closing():
            self._transport.write(reply)


def allow_many_connections(wanted: int = 16_384) -> None:
    """Raise this process's limit of open files, which connections count as; many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(latency_s: float) -> None:
    allow_many_connections()
    loop = asyncio.get_running_loop()
    counts = _Counts()
    server = await loop.create_server(lambda: _Connection(counts, latency_s), "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until the parent closes it, or ends
    server.close()


class FanoutServer:
    """The server's process, while its context lasts.

    Args:
        latency_s: How long each request waits for its reply.
    """

    def __init__(self, latency_s: float = 0.1) -> None:
        self._latency_s = latency_s

    def __enter__(self) -> Self:
        command = [sys.executable, "-P", __file__, "--latency-s", str(self._latency_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._root = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)

    @property
    def root_url(self) -> str:
        """Its address."""
        return self._root

    @property
    def base_url(self) -> str:
        """Its address as a chat server, ending in the version."""
        return f"{self._root}/v1"

    def counts(self) -> dict[str, int]:
        """What it has seen since this was last asked for."""
        return dict(json.loads(self._get("/counts")))

    def bodies(self) -> list[bytes]:
        """The requests since the counts were last asked for, as they came."""
        return self._get("/bodies").split(b"\n")

    def _get(self, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._root + path, timeout=30) as response:
            return bytes(response.read())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency-s", type=float, default=0.1)
    asyncio.run(_serve(parser.parse_args().latency_s))
