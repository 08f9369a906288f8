from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import msgpack
import pytest

from benchmarks.fanout_server import FanoutServer, answer_of, documents_of, pack, query_of
from benchmarks.peers.installing import ROOT


@pytest.fixture(scope="module")
def server() -> Iterator[FanoutServer]:
    with FanoutServer(0.01) as server:
        yield server


def post(url: str, body: bytes) -> bytes:
    with urllib.request.urlopen(url, data=body, timeout=30) as response:
        return bytes(response.read())


def test_every_protocol_gets_the_same_documents(server: FanoutServer) -> None:
    asked = {"query": query_of(7), "topk": 5, "return_scores": True}
    [found] = json.loads(post(f"{server.root_url}/retrieve", json.dumps(asked).encode()))["result"]
    packed = msgpack.unpackb(post(f"{server.root_url}/retrieve", msgpack.packb(asked)))["result"]
    assert packed == found
    assert [each["document"]["contents"] for each in found] == [f"Station 7\n{text}" for text in documents_of(7)]
    assert sum(answer_of(7) in text for text in documents_of(7)) == 1
    chat = {"model": "m", "messages": [{"role": "user", "content": query_of(7)}]}
    reply = json.loads(post(f"{server.base_url}/chat/completions", json.dumps(chat).encode()))
    lines = reply["choices"][0]["message"]["content"].split("\n")
    assert [line.partition(": ")[2] for line in lines] == documents_of(7)


def test_more_files_are_allowed_than_a_shell_begins_with() -> None:
    code = (
        "import resource as r; from benchmarks.fanout_server import allow_many_connections as allow;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (100, hard)); allow(200);"
        "print(r.getrlimit(r.RLIMIT_NOFILE) == (200, hard)); allow(150); print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "200"]


def test_retrieval_requests_are_counted_as_all_others(server: FanoutServer) -> None:
    server.counts()
    for number in (1, 2, 2):
        post(f"{server.root_url}/retrieve", json.dumps({"query": query_of(number)}).encode())
    counts = server.counts()
    assert (counts["requests"], counts["distinct"], counts["connections_opened"]) == (3, 2, 3)


@pytest.mark.parametrize("value", [{}, [], 0.5, "", "ü" * 300, {"a": [{"b": "c", "d": -1.5}] * 15}])
def test_packed_values_are_read_by_msgpack(value: object) -> None:
    assert msgpack.unpackb(pack(value)) == value
