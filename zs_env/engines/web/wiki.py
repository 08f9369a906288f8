"""A retrieval server answers searches: one that speaks Search-R1's protocol, or ZeroSearch's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, ClassVar, Literal

from zs_env.curriculum import check_whole
from zs_env.engines.http import Call, ServiceClient, ServiceSettings, Wording
from zs_env.engines.http.addresses import as_addresses
from zs_env.engines.http.connections import Pool
from zs_env.engines.web.failures import failed
from zs_env.engines.web.protocols import (
    PROTOCOLS,
    Protocol,
    is_reply,
    read_search_r1,
    read_zerosearch,
    write_request,
)
from zs_env.errors import ConfigError, ServiceError
from zs_env.types import Document, SearchRequest, SearchResult

__all__ = ["WikiEngine", "WikiSettings", "wiki"]

EXAMPLE = "http://127.0.0.1:8000"
_PATH = "/retrieve"


@dataclass(frozen=True, slots=True, kw_only=True)
class WikiSettings(ServiceSettings):
    """How a retrieval server is reached and asked.

    Attributes:
        base_url: Where the server is, with or without `/retrieve`; several, in a sequence or with commas between, share
            the work, and stand in for each other when one fails. They hold the same corpus and speak the same protocol.
        protocol: "search-r1", "zerosearch", or "auto": the first request finds out, by a search of its own.
        batch_size: The most queries of one request, where the protocol takes several.
        corpus: What the server's corpus is called, such as `"wiki-18"`: caches then know its answers wherever it is
            served. Left out: they know them by `base_url`.
    """

    protocol: Literal["auto", "search-r1", "zerosearch"] = "auto"
    batch_size: int = 64
    corpus: str | None = None

    def __post_init__(self) -> None:
        ServiceSettings.__post_init__(self)
        if self.protocol not in ("auto", *PROTOCOLS):
            known = ", ".join(map(repr, ("auto", *PROTOCOLS)))
            raise ConfigError(f"protocol must be one of {known}; got {self.protocol!r}.")
        object.__setattr__(self, "batch_size", check_whole("batch_size", self.batch_size, least=1))
        if self.corpus is not None and (not isinstance(self.corpus, str) or not self.corpus.strip()):
            raise ConfigError(f"corpus must be a text that isn't empty, or be left out; got {self.corpus!r}.")

    @staticmethod
    def read_urls(value: Any) -> tuple[str, ...]:
        """The servers, without `/retrieve`."""
        urls = as_addresses(value, server="a retrieval server", example=EXAMPLE)
        return tuple(dict.fromkeys(url.removesuffix(_PATH).rstrip("/") for url in urls))


class WikiClient(ServiceClient[WikiSettings]):
    """Asks retrieval servers, from any number of threads and event loops."""

    wording: ClassVar[Wording] = Wording(
        asking="Asking a retrieval server",
        server="a retrieval server",
        reply="documents",
        missing="path",
        if_missing="base_url, which is the address before /retrieve",
        if_refused="protocol",
        if_too_long="does base_url lead to a retrieval server? Lower topk or batch_size if it does.",
    )

    def __init__(self, settings: WikiSettings) -> None:
        super().__init__(settings)
        self._known: Protocol | None = None if settings.protocol == "auto" else settings.protocol

    async def protocol(self, query: str, *, seed: int) -> Protocol:
        """What the servers speak; asked once, with a search for `query`.

        Raises:
            ServiceError: No server said.
        """
        if self._known is None:

            async def asked(pool: Pool, url: str) -> str:
                return await self._find_out(pool, url, query)

            def attempt(pool: Pool, url: str, call: Call) -> Coroutine[Any, Any, str]:
                return self._learn(pool, url, call.deadline, asked)

            found = await self._call(attempt, seed=seed)
            self._known = protocol = next(protocol for protocol in PROTOCOLS if protocol == found)
            return protocol
        return self._known

    async def _find_out(self, pool: Pool, url: str, query: str) -> str:
        """Ask in both protocols at once, as servers leave alone what they don't know; then in each, if they don't."""
        both = {**write_request("zerosearch", [query], 1), **write_request("search-r1", [query], 1)}
        bodies = [both, *(write_request(protocol, [query], 1) for protocol in PROTOCOLS)]
        failures: list[ServiceError] = []
        for body in bodies:
            try:
                found = is_reply(await self._request(pool, "POST", url, _PATH, body, math.inf))
            except ServiceError as error:
                if error.is_down:
                    raise
                failures.append(error)
            else:
                assert found is not None
                return found
        raise self.wording.error(
            f"{url} speaks neither Search-R1's protocol nor ZeroSearch's. {failures[0]}", retried=failures[0].retried
        )

    async def retrieve(
        self, protocol: Protocol, queries: Sequence[str], topk: int, *, seed: int
    ) -> list[tuple[Document, ...]]:
        """The documents of each query, by one request.

        Raises:
            ServiceError: No server gave them within the settings' limits.
        """
        body = write_request(protocol, queries, topk)

        async def attempt(pool: Pool, url: str, call: Call) -> list[tuple[Document, ...]]:
            try:
                payload = await self._request(pool, "POST", url, _PATH, body, call.deadline)
            except ServiceError as error:
                if not error.retried:
                    self._forget(pool, url)
                raise
            try:
                if protocol == "search-r1":
                    return read_search_r1(payload, len(queries), topk)
                return [read_zerosearch(payload, topk)]
            except ValueError as error:
                self._forget(pool, url)
                raise self.wording.error(
                    f"{url} replied {error}: does it speak {protocol}'s protocol? protocol is which.", retried=True
                ) from None

        return await self._call(attempt, seed=seed)

    def _forget(self, pool: Pool, url: str) -> None:
        """Have the protocol found out again by the next search: another server may be there now."""
        if self.settings.protocol == "auto":
            self._known = None
            pool.learned.pop(url, None)

    @staticmethod
    def _is_usable(payload: Any) -> bool:
        return is_reply(payload) is not None


class WikiEngine:
    """Asks a retrieval server for the documents of each search.

    It reads the query and `topk` of a request, and nothing else. Requests of one call with equal `topk` go together,
    where the protocol takes several queries; if such a batch fails, so do its requests and no others. A document's
    `metadata` has its `score`, if the server gives one, and whatever else of plain values the server knows of it.

    An engine may be shared by any number of environments, threads and event loops; copies are the engine itself.

    Args:
        settings: How.

    Raises:
        MissingPackageError: `aiohttp` isn't installed.
    """

    name = "wiki"
    uses_draw = False

    def __init__(self, settings: WikiSettings) -> None:
        self.settings = settings
        self._client = WikiClient(settings)

    @property
    def fingerprint(self) -> str:
        """A short hash of what its answers depend on: the corpus, or the servers if it has no name."""
        known = self.settings.corpus or list(self.settings.urls)
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, all of them at the same time."""
        asked = list(requests)
        if not asked:
            return []
        begin = time.perf_counter()
        try:
            protocol = await self._client.protocol(asked[0].query, seed=asked[0].seed)
        except Exception as error:
            return [failed(self.name, error, time.perf_counter() - begin)] * len(asked)
        size = self.settings.batch_size if protocol == "search-r1" else 1
        order = sorted(range(len(asked)), key=lambda i: asked[i].topk)
        batches = []
        for _, same in groupby(order, key=lambda i: asked[i].topk):
            places = list(same)
            batches += [places[i : i + size] for i in range(0, len(places), size)]
        answers = await asyncio.gather(*(self._answer(protocol, [asked[i] for i in batch], begin) for batch in batches))
        found: dict[int, SearchResult] = {}
        for batch, results in zip(batches, answers, strict=True):
            found.update(zip(batch, results, strict=True))
        return [found[i] for i in range(len(asked))]

    async def _answer(self, protocol: Protocol, requests: list[SearchRequest], begin: float) -> list[SearchResult]:
        try:
            queries = [request.query for request in requests]
            lists = await self._client.retrieve(protocol, queries, requests[0].topk, seed=requests[0].seed)
        except Exception as error:  # the engine's boundary: a batch that fails must not take others with it
            return [failed(self.name, error, time.perf_counter() - begin)] * len(requests)
        latency_s = time.perf_counter() - begin
        return [SearchResult(documents=found, engine=self.name, latency_s=latency_s) for found in lists]

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._client.aclose()

    def close(self) -> None:
        """Close all connections, from outside of coroutines."""
        self._client.close()

    def __copy__(self) -> WikiEngine:
        return self

    def __deepcopy__(self, memo: object) -> WikiEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)


def wiki(base_url: str | Sequence[str] | None = None, **options: Any) -> WikiEngine:
    """The engine of `search_mode="wiki"`: a retrieval server.

    Args:
        base_url: The server's address, or several.
        **options: The other attributes of `WikiSettings`.

    Raises:
        ConfigError: An option is wrong, or unknown, or `base_url` is missing.
        MissingPackageError: `aiohttp` isn't installed.
    """
    known = [item.name for item in fields(WikiSettings)]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(
            f"Search mode 'wiki' doesn't take {', '.join(map(repr, unknown))}. It takes {', '.join(known)}."
        )
    if base_url is None:
        raise ConfigError(
            f"Search mode 'wiki' needs base_url, the address of a retrieval server, such as {EXAMPLE}. To serve one: "
            "python -m zs_env serve retriever --engine bm25 --corpus passages.jsonl"
        )
    return WikiEngine(WikiSettings(base_url=base_url, **options))
