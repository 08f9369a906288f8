"""A library that is none, behind the same talk as the peers' programs: it asks the server, and can do it wrongly."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.fanout_server import answer_of, query_of
from benchmarks.peers.speaking import check_read, serve


class FakeTurn:
    def __init__(self, way: str, episodes: int, url: str) -> None:
        self._url = f"{url}/retrieve"
        self._times = 2 if way == "twice" else 1
        self._queries = [query_of(0 if way == "another's" else i) for i in range(episodes)]
        self._threads = ThreadPoolExecutor(max_workers=episodes)

    def prepare(self, *, cold: bool) -> None:
        pass

    def play(self) -> list[str]:
        return list(self._threads.map(self._search, self._queries))

    def _search(self, query: str) -> str:
        body = json.dumps({"query": query, "topk": 5}).encode()
        text = ""
        for _ in range(self._times):
            with urllib.request.urlopen(self._url, data=body, timeout=30) as response:
                [found] = json.loads(response.read())["result"]
            text = "\n".join(each["document"]["contents"] for each in found)
        return text

    def close(self) -> None:
        self._threads.shutdown()


class FakeSide:
    def describe(self) -> dict[str, Any]:
        sys.stdout.write("a library that prints\n")
        sys.stdout.flush()
        return {
            "packages": {"fake": "1.0"},
            "steps": {"still": "nothing"},
            "turns": {"once": "urllib", "twice": "urllib, two times", "another's": "urllib, for one question alone"},
        }

    def player(self, way: str, num_envs: int) -> Callable[[int], int]:
        if way == "unread":
            check_read("[SearchTool Error: no]", 0)
        return lambda num_steps: len(answer_of(0)) * num_envs * num_steps

    def turn(self, way: str, episodes: int, url: str) -> FakeTurn:
        if way == "ends":
            sys.exit("goodbye")
        if way == "hangs":
            time.sleep(60)
        return FakeTurn(way, episodes, url)


def make() -> FakeSide:
    if "--broken" in sys.argv:
        import no_such_library  # type: ignore[import-not-found]  # noqa: F401
    return FakeSide()


if __name__ == "__main__":
    serve(make)
