"""A retrieval server: any real search engine, behind the protocols of Search-R1 and of ZeroSearch at once.

Both are spoken on `/retrieve`, and told apart by the names in a request; see `zs_env.engines.web.protocols`. What goes
wrong is JSON with an `error` and a status that says whose fault it was.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from zs_env.curriculum import check_whole
from zs_env.engines.around.keys import uses_draw
from zs_env.engines.web.protocols import Protocol, as_json
from zs_env.errors import ConfigError, ServerError, require
from zs_env.types import Document, Question, SearchEngine, SearchRequest, SearchResult

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Retriever", "RetrieverSettings"]

DEFAULT_PORT = 8000
_STAND_IN = "retrieval"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverSettings:
    """How a retrieval server listens, and what it takes.

    Attributes:
        host: Where it listens. It asks for no key, so whoever reaches it may search.
        port: Where it listens; 0 takes any port that is free.
        topk: How many documents a query gets that doesn't say.
        max_topk: The most documents of a query.
        max_queries: The most queries of a request.
        max_request_bytes: The longest request that is read.
        num_threads: How many requests are searched for at the same time, by an engine that computes. Left out: as many
            as there are processors.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    topk: int = 3
    max_topk: int = 100
    max_queries: int = 1024
    max_request_bytes: int = 4 * 1024 * 1024
    num_threads: int | None = None

    def __post_init__(self) -> None:
        check_whole("port", self.port, least=0)
        if self.port > 65_535:
            raise ConfigError(f"port must be at most 65535; got {self.port!r}.")
        for name in ("topk", "max_topk", "max_queries", "max_request_bytes"):
            check_whole(name, getattr(self, name), least=1)
        if self.num_threads is not None:
            check_whole("num_threads", self.num_threads, least=1)
        if self.topk > self.max_topk:
            raise ConfigError(f"topk must be at most max_topk; got {self.topk} and {self.max_topk}.")


class _Asked(NamedTuple):
    """A request, read."""

    protocol: Protocol
    queries: list[str]
    topk: int
    scores: bool


class _RefusedError(Exception):
    """A request can't be answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Retriever:
    """Serves a search engine to clients of Search-R1 and of ZeroSearch.

        async with Retriever(make_engine("bm25", corpus="passages.jsonl")) as retriever:
            print(retriever.base_url)
            await asyncio.Event().wait()

    Args:
        engine: What answers. It must be a real one: a request holds a query and no question, from which a simulator
            would know what to write.
        settings: How.

    Attributes:
        base_url: Where it listens, once it does.
        num_queries: How many queries it was asked so far.

    Raises:
        ConfigError: The engine is a simulator.
        MissingPackageError: `aiohttp` isn't installed.
    """

    def __init__(self, engine: SearchEngine, settings: RetrieverSettings | None = None) -> None:
        require("aiohttp", needed_for="A retrieval server", install='pip install "zerosearch-env[simulate]"')
        if uses_draw(engine):
            raise ConfigError(
                f"The engine {engine.name!r} can't be served as a retriever: it writes documents for the question and "
                "the draw of a search, and a retrieval request holds a query alone. Serve one that looks them up, such "
                "as bm25 or dense (an engine of your own says that it does by uses_draw = False)."
            )
        self.engine = engine
        self.settings = settings or RetrieverSettings()
        self.base_url = ""
        self.num_queries = 0
        self._runner: web.AppRunner | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Retriever:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            ServerError: The port is taken, or the host isn't this machine's.
        """
        from aiohttp import web

        settings = self.settings
        self._threads = ThreadPoolExecutor(settings.num_threads or os.cpu_count() or 1, "retriever")

        @web.middleware
        async def in_json(request: web.Request, handler: Any) -> web.StreamResponse:
            try:
                return await handler(request)  # type: ignore[no-any-return]
            except web.HTTPException as error:  # another path, another method
                says = f"{error.reason}: this server has POST /retrieve and GET /health."
                return web.json_response({"error": says, "detail": says}, status=error.status)

        app = web.Application(client_max_size=settings.max_request_bytes, middlewares=[in_json])
        app.router.add_post("/retrieve", self._retrieve)
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, settings.host, settings.port).start()
        except OSError as error:
            await self.stop()
            raise ServerError(
                f"Can't listen on port {settings.port} of {settings.host} ({error.strerror or error}): is another "
                "server there? Take another port, or 0 for any that is free."
            ) from None
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Answer what is under way, for a few seconds, and listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _health(self, request: web.Request) -> web.Response:
        from aiohttp import web

        fingerprint = getattr(self.engine, "fingerprint", None)
        told = {"status": "ok", "engine": self.engine.name, "fingerprint": fingerprint, "queries": self.num_queries}
        return web.json_response(told)

    async def _retrieve(self, request: web.Request) -> web.Response:
        from aiohttp import web

        try:
            asked = self._read(await self._body(request))
            self.num_queries += len(asked.queries)
            lists = await self._search(asked)
        except _RefusedError as error:
            return web.json_response({"error": str(error), "detail": str(error)}, status=error.status)
        written = [as_json(asked.protocol, documents, scores=asked.scores) for documents in lists]
        return web.json_response({"result": written} if asked.protocol == "search-r1" else written[0])

    async def _body(self, request: web.Request) -> Any:
        from aiohttp import web

        try:
            return json.loads(await request.read())
        except web.HTTPRequestEntityTooLarge:
            raise _RefusedError(
                413, f"The request has more than {self.settings.max_request_bytes} bytes: send fewer queries at once."
            ) from None
        except (ValueError, RecursionError):
            raise _RefusedError(400, "The request is no JSON.") from None

    def _read(self, body: Any) -> _Asked:
        """What a request asks for, in whichever protocol."""
        settings = self.settings
        if not isinstance(body, dict) or not ("queries" in body or "query" in body):
            raise _RefusedError(
                422,
                'The request must be {"queries": [...], "topk": 3, "return_scores": true}, as Search-R1\'s, or '
                '{"query": "...", "top_k": 5}, as ZeroSearch\'s.',
            )
        if "queries" in body:
            topk, scores = body.get("topk"), bool(body.get("return_scores"))
            asked = _Asked("search-r1", body["queries"], settings.topk if topk is None else topk, scores)
        else:
            topk = body.get("top_k")
            asked = _Asked("zerosearch", [body["query"]], settings.topk if topk is None else topk, False)
        queries = asked.queries
        if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
            raise _RefusedError(422, "queries must be a list of texts, and query a text.")
        if len(queries) > settings.max_queries:
            raise _RefusedError(
                413, f"{len(queries)} queries are too many: {settings.max_queries} are the most. Send them in parts."
            )
        if isinstance(asked.topk, bool) or not isinstance(asked.topk, int) or not 1 <= asked.topk <= settings.max_topk:
            raise _RefusedError(422, f"topk must be a whole number from 1 to {settings.max_topk}; got {asked.topk!r}.")
        return asked

    async def _search(self, asked: _Asked) -> list[tuple[Document, ...]]:
        """The documents of each query; none for a query without a letter."""
        requests = [_request(query.strip(), asked.topk) for query in asked.queries if query.strip()]
        try:
            results = await self._answers(requests) if requests else []
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise _RefusedError(500, f"The engine {self.engine.name!r} broke ({why}).") from None
        found = [result for result in results if result.error is not None]
        if found or len(results) != len(requests):
            why = str(found[0].error) if found else f"{len(results)} results for {len(requests)} requests"
            failed = f"{len(found)} of {len(requests)} queries" if found else "its contract"
            raise _RefusedError(502, f"The engine {self.engine.name!r} failed {failed}: {why}")
        left = iter(results)
        return [next(left).documents if query.strip() else () for query in asked.queries]

    async def _answers(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        search_now = getattr(self.engine, "search_now", None)
        if not callable(search_now):
            return await self.engine.search(requests)
        # An engine that computes would hold up everybody else: it does so in a thread.
        return await asyncio.get_running_loop().run_in_executor(self._threads, search_now, requests)


def _request(query: str, topk: int) -> SearchRequest:
    """A search without an episode: no real engine reads more than its query and `topk`."""
    question = Question(id=_STAND_IN, question=query, golden_answers=(_STAND_IN,))
    return SearchRequest(query=query, question=question, quality="useful", noise_probability=0.0, seed=0, topk=topk)
