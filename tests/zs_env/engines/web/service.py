"""A real HTTP server on a real socket, which answers as its script says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from aiohttp import web

from zs_env.types import Question, SearchRequest

FRANCE = Question(id="france", question="What is the capital of France?", golden_answers=("Paris",))


class Seen(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Service:
    """Serves on a free port of 127.0.0.1, in a thread of its own, while its context lasts.

    Args:
        script: Gives what to reply, as JSON, perhaps with a status, or as a response.

    Attributes:
        seen: The requests so far.
    """

    def __init__(self, script: Callable[[Seen], Any]) -> None:
        self._script = script
        self.seen: list[Seen] = []
        self.base_url = ""

    def __enter__(self) -> Service:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._reply)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _reply(self, request: web.Request) -> web.Response:
        raw = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Seen(request.method, request.path, dict(request.query), headers, json.loads(raw) if raw else None)
        self.seen.append(seen)
        given = self._script(seen)
        if isinstance(given, web.Response):
            return given
        payload, status = given if isinstance(given, tuple) else (given, 200)
        return web.json_response(payload, status=status)


class Running:
    """Runs an object with async `start` and `stop` in a thread of its own, while its context lasts."""

    def __init__(self, served: Any) -> None:
        self._served = served

    def __enter__(self) -> Any:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._served.start(), self._loop).result(30)
        return self._served

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._served.stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


def ask(query: str = "capital of France", **given: Any) -> SearchRequest:
    values: dict[str, Any] = {"quality": "useful", "noise_probability": 0.5, "seed": 1, "topk": 2, **given}
    return SearchRequest(query=query, question=values.pop("question", FRANCE), **values)
