"""Google answers searches, through SerpAPI: each search is a request that costs money."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from zs_env.curriculum import check_whole
from zs_env.engines.http import Call, ServiceClient, ServiceSettings, Wording
from zs_env.engines.http.addresses import as_addresses, keeps_secrets, redact
from zs_env.engines.http.connections import Pool
from zs_env.engines.http.replies import said_by
from zs_env.engines.http.settings import check_number
from zs_env.engines.web.failures import failed
from zs_env.engines.web.serp import found_nothing, is_final, read_documents
from zs_env.errors import ConfigError
from zs_env.types import Document, SearchRequest, SearchResult

__all__ = ["KEY_NAMES", "GoogleEngine", "GoogleSettings", "google"]

BASE_URL = "https://serpapi.com"
KEY_NAMES = ("SERPAPI_API_KEY", "SER_API_KEY")
"""Where the key is looked for, in this order; ZeroSearch's name is the second."""

_QUERY_NAMES = {"yahoo": "p", "yandex": "text", "naver": "query"}
_OWN_NAMES = frozenset(
    ("api_key", "async", "engine", "gl", "hl", "location", "num", "output", *_QUERY_NAMES.values(), "q")
)
_DEFAULT_NUM = 10
_MIN_KEY_CHARS = 8  # what is shorter is no key, and may stand in any text


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSettings(ServiceSettings):
    """How SerpAPI is asked.

    Attributes:
        base_url: Where it is. An address that others can listen in on, without https, is refused, but for one on this
            machine.
        api_key_env: The environment variable that holds the key. Left out: `SERPAPI_API_KEY`, or else `SER_API_KEY`.
        max_retries: How often a failed try is made again. 0, so that a search is one request, which a budget counts;
            `tries` around the engine asks again within the budget.
        engine: Which search engine SerpAPI asks: "google", or another that it knows, such as "bing" or "duckduckgo".
        gl: The country to search from, such as "us".
        hl: The language of the interface, such as "en".
        location: Where to search from, such as "Austin, Texas, United States".
        num: How many results are asked for. Left out: as many as `topk`, if that is above ten, and else Google's ten.
        answer_box: Whether Google's own answer, if there is one, is the first document.
        knowledge_graph: Whether what it knows of a thing by itself comes next.
        params: More parameters of SerpAPI, such as `{"safe": "active"}`.
        price_per_search: What a search costs that isn't refused, in the currency you like.
    """

    base_url: str | Sequence[str] = BASE_URL
    max_retries: int = 0
    max_connections: int = 16
    engine: str = "google"
    gl: str | None = None
    hl: str | None = None
    location: str | None = None
    num: int | None = None
    answer_box: bool = True
    knowledge_graph: bool = True
    params: Mapping[str, Any] | tuple[tuple[str, str], ...] = field(default=())
    price_per_search: float = 0.0

    def __post_init__(self) -> None:
        if self.api_key_env is None:
            held = next((name for name in KEY_NAMES if os.environ.get(name)), None)
            object.__setattr__(self, "api_key_env", held or "")
        ServiceSettings.__post_init__(self)
        if not self.api_key_env:
            raise ConfigError(
                f"Search mode 'google' needs a key of SerpAPI, in the environment variable {' or '.join(KEY_NAMES)}, "
                "or in another one that api_key_env names. It is never given as an option, where it would be recorded."
            )
        check_number("price_per_search", self.price_per_search)
        if self.num is not None:
            object.__setattr__(self, "num", check_whole("num", self.num, least=1))
        for name in ("engine", "gl", "hl", "location"):
            value = getattr(self, name)
            if (value is None and name == "engine") or (
                value is not None and (not isinstance(value, str) or not value.strip())
            ):
                raise ConfigError(f"{name} must be a text that isn't empty; got {value!r}.")
        for name in ("answer_box", "knowledge_graph"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be True or False; got {getattr(self, name)!r}.")
        object.__setattr__(self, "params", _as_params(self.params))

    @staticmethod
    def read_urls(value: Any) -> tuple[str, ...]:
        """SerpAPI's addresses, without `/search.json`."""
        urls = as_addresses(value, server="SerpAPI", example=BASE_URL)
        for url in urls:
            if not keeps_secrets(url):
                raise ConfigError(
                    f"base_url must have https, for the key is sent there, or be on this machine; got {url!r}."
                )
        return tuple(dict.fromkeys(url.removesuffix("/search.json").removesuffix("/search") for url in urls))

    def query_of(self, query: str, topk: int) -> dict[str, str]:
        """The parameters of a search, without the key."""
        num = self.num or (topk if topk > _DEFAULT_NUM else None)
        named = {"gl": self.gl, "hl": self.hl, "location": self.location, "num": num}
        return {
            "engine": self.engine,
            _QUERY_NAMES.get(self.engine, "q"): query,
            **{name: str(value) for name, value in named.items() if value is not None},
            **dict(self.params),
        }


def _as_params(given: Any) -> tuple[tuple[str, str], ...]:
    """More parameters, such as `True` for "true", in a form that can be compared."""
    try:
        pairs = dict(given)
    except (TypeError, ValueError):
        pairs = None
    if pairs is None or not all(isinstance(value, (str, int, float)) for value in pairs.values()):
        raise ConfigError(f"params must be a mapping of names to plain values; got {type(given).__name__}.")
    if own := sorted(set(pairs) & _OWN_NAMES):
        raise ConfigError(
            f"params can't hold {', '.join(map(repr, own))}: the query and the key come by themselves, and engine, gl, "
            "hl, location and num are options of their own."
        )
    return tuple(sorted((str(name), _written(value)) for name, value in pairs.items()))


def _written(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class SerpClient(ServiceClient[GoogleSettings]):
    """Asks SerpAPI, from any number of threads and event loops."""

    wording: ClassVar[Wording] = Wording(
        asking="Asking SerpAPI",
        server="SerpAPI",
        reply="a search",
        missing="path",
        if_missing="base_url",
        if_refused="engine, gl, hl, location and params",
        if_too_long="does base_url lead to SerpAPI? Lower num if it does.",
    )

    async def find(self, query: str, topk: int, *, seed: int) -> tuple[Document, ...]:
        """The documents that a search finds.

        Raises:
            ServiceError: It failed.
        """
        settings = self.settings
        params = settings.query_of(query, topk)

        async def attempt(pool: Pool, url: str, call: Call) -> tuple[Document, ...]:
            payload = await self._request(pool, "GET", url, "/search.json", params, call.deadline)
            return read_documents(
                payload, topk, answer_box=settings.answer_box, knowledge_graph=settings.knowledge_graph
            )

        return await self._call(attempt, seed=seed)

    def _write(
        self, address: str, body: Mapping[str, Any] | None, key: str | None
    ) -> tuple[str, dict[str, str], bytes | None]:
        params = {**(body or {}), "api_key": key or ""}
        return f"{address}?{urlencode(params, quote_via=quote, errors='replace')}", {}, None

    def _read_reply(self, raw: bytes, status: int, kind: str, waits: str | None, url: str, key: str | None) -> Any:
        if key and len(key) >= _MIN_KEY_CHARS:  # a reply that repeats the request must not carry it into records
            for form in {key, quote(key, safe="")}:
                raw = raw.replace(form.encode(), b"[key]")
        try:
            payload = json.loads(raw)
        except (ValueError, RecursionError):
            payload = None
        if isinstance(payload, dict) and payload.get("error"):
            said = redact(said_by(payload), key)
            if is_final(said):
                raise self.wording.error(
                    f"SerpAPI answers no more searches (HTTP {status}: {said}): see its dashboard. "
                    f"{self.settings.api_key_env} holds the key."
                )
            if status == 200 and found_nothing(payload):
                return {}
            if status == 200:
                raise self.wording.error(f"SerpAPI's search failed ({said}).", retried=True)
        if isinstance(payload, dict) and status == 200 and (state := _unfinished(payload)):
            raise self.wording.error(f"SerpAPI's search isn't done (its status is {state}).", retried=True)
        return ServiceClient._read_reply(self, raw, status, kind, waits, url, key)


def _unfinished(payload: Mapping[str, Any]) -> str | None:
    metadata = payload.get("search_metadata")
    status = metadata.get("status") if isinstance(metadata, Mapping) else None
    return str(status)[:50] if status not in (None, "Success", "Cached") else None


class GoogleEngine:
    """Asks Google, or another search engine, through SerpAPI.

    It reads the query and `topk` of a request, and nothing else. Titles and snippets are titles and texts of documents;
    their `metadata` have `kind` ("answer_box", "knowledge_graph" or "organic"), `url` and `date`. A search that finds
    nothing has no documents and no error. A search that failed costs nothing, as SerpAPI has it.

    An engine may be shared by any number of environments, threads and event loops; copies are the engine itself.

    Args:
        settings: How.

    Raises:
        MissingPackageError: `aiohttp` isn't installed.
    """

    name = "google"
    uses_draw = False

    def __init__(self, settings: GoogleSettings) -> None:
        self.settings = settings
        self._client = SerpClient(settings)

    @property
    def fingerprint(self) -> str:
        """A short hash of what its answers depend on, but for the day."""
        names = ("base_url", "engine", "gl", "hl", "location", "num", "answer_box", "knowledge_graph", "params")
        known = [getattr(self.settings, name) for name in names]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    @property
    def price_per_search(self) -> float:
        """What a search costs; a budget puts it aside before the first one is sent."""
        return float(self.settings.price_per_search)

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, all of them at the same time."""
        return list(await asyncio.gather(*map(self._answer, requests)))

    async def _answer(self, request: SearchRequest) -> SearchResult:
        begin = time.perf_counter()
        try:
            documents = await self._client.find(request.query, request.topk, seed=request.seed)
        except Exception as error:  # the engine's boundary: one search that fails must not take others with it
            return failed(self.name, error, time.perf_counter() - begin)
        return SearchResult(
            documents=documents,
            engine=self.name,
            latency_s=time.perf_counter() - begin,
            cost=self.price_per_search,
        )

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._client.aclose()

    def close(self) -> None:
        """Close all connections, from outside of coroutines."""
        self._client.close()

    def __copy__(self) -> GoogleEngine:
        return self

    def __deepcopy__(self, memo: object) -> GoogleEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)


def google(**options: Any) -> GoogleEngine:
    """The engine of `search_mode="google"`: SerpAPI.

    Args:
        **options: Attributes of `GoogleSettings`.

    Raises:
        ConfigError: An option is wrong, or unknown, or there is no key in the environment.
        MissingPackageError: `aiohttp` isn't installed.
    """
    known = [item.name for item in fields(GoogleSettings)]
    if unknown := sorted(set(options) - set(known)):
        hint = " The key stays in the environment: api_key_env names the variable." if "api_key" in unknown else ""
        raise ConfigError(
            f"Search mode 'google' doesn't take {', '.join(map(repr, unknown))}. It takes {', '.join(known)}.{hint}"
        )
    return GoogleEngine(GoogleSettings(**options))
