"""A client of chat servers that speak OpenAI's protocol: sglang, vLLM, llama.cpp's server, and hosted ones.

Connections are shared by all clients with equal settings (`connections`); no hidden limit of connections; a limit on
time and on size everywhere. What a server does wrong ends in a `ChatError` whose message is short, says what to do, and
never holds the key.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import math
import os
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zs_env.curriculum import check_whole
from zs_env.engines.draws import PRIME, Draws
from zs_env.engines.llm.connections import Connections, Pool, leave_pools
from zs_env.engines.llm.endpoints import api_key, as_base_urls, keeps_secrets, redact
from zs_env.engines.llm.replies import ChatReply, read_json, read_models, read_reply
from zs_env.errors import ChatError, ConfigError, require

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ChatClient", "ClientSettings", "combine_seed"]

DEFAULT_KEY = "OPENAI_API_KEY"

_DOWN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a chat server is reached.

    Attributes:
        base_url: Where the server is, with or without `/v1`; several, in a sequence or with commas between, share the
            work, and stand in for each other when one fails.
        model: The name of the model in requests. Left out: the one that the server says it serves.
        api_key_env: The environment variable that holds the key, which is then sent to every server of `base_url`.
            Left out: `OPENAI_API_KEY`, if it is set, but to addresses with https or on this machine alone; empty: no
            key is sent. The key itself is no setting: it is read when it is needed, and kept nowhere.
        timeout_s: The longest that one try may take.
        connect_timeout_s: The longest that connecting may take.
        deadline_s: The longest that a search may take with all the replies it asks for, their tries, the waits between
            them and for a free connection.
        max_retries: How often a failed try is made again.
        backoff_s: The wait before the second try; it doubles each time, with a random part. A server that says how
            long to wait (`Retry-After`) is heard, if that is within the deadline.
        max_backoff_s: The longest such wait, if the server doesn't say.
        max_connections: How many requests may be at the servers at the same time, from one event loop; 0 for no limit.
        max_response_bytes: The longest reply that is read.
        price_per_million_input_tokens: What a million tokens of prompt cost, in the currency you like.
        price_per_million_output_tokens: What a million tokens of reply cost.
    """

    base_url: str | Sequence[str]
    model: str | None = None
    api_key_env: str | None = None
    timeout_s: float = 120.0
    connect_timeout_s: float = 10.0
    deadline_s: float = 300.0
    max_retries: int = 3
    backoff_s: float = 0.5
    max_backoff_s: float = 20.0
    max_connections: int = 1024
    max_response_bytes: int = 4 * 1024 * 1024
    price_per_million_input_tokens: float = 0.0
    price_per_million_output_tokens: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", as_base_urls(self.base_url))
        for name in ("timeout_s", "connect_timeout_s", "deadline_s"):
            _check_number(name, getattr(self, name), above_zero=True)
        for name in (
            "backoff_s",
            "max_backoff_s",
            "price_per_million_input_tokens",
            "price_per_million_output_tokens",
        ):
            _check_number(name, getattr(self, name))
        for name, least in (("max_retries", 0), ("max_connections", 0), ("max_response_bytes", 1024)):
            object.__setattr__(self, name, check_whole(name, getattr(self, name), least=least))
        if self.model is not None and (not isinstance(self.model, str) or not self.model.strip()):
            raise ConfigError(
                f"The name of the model must be a text that isn't empty; got {self.model!r}. Leave it out, and the "
                "server is asked which one it serves."
            )
        if self.api_key_env and not os.environ.get(self.api_key_env):
            raise ConfigError(
                f"api_key_env names the environment variable {self.api_key_env!r}, which isn't set. Set it to the key, "
                'or give api_key_env="" for a server without one.'
            )

    @property
    def identity(self) -> list[Any]:
        """What replies depend on: the model, or its server if it has no name."""
        return [self.model] if self.model else [None, self.base_url]

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers, each ending in its version, as `http://127.0.0.1:6001/v1`."""
        return tuple(self.base_url)

    def key_for(self, url: str) -> str | None:
        """The key that a server is sent, from the environment; None if there is none, or it isn't for that server.

        Raises:
            ConfigError: It can't be sent.
        """
        if self.api_key_env is None:
            return api_key(DEFAULT_KEY) if keeps_secrets(url) else None
        return api_key(self.api_key_env)

    def key_advice(self, url: str) -> str:
        """What to do if a server refuses the key that it was sent, or not sent."""
        if self.api_key_env is None and not keeps_secrets(url) and os.environ.get(DEFAULT_KEY):
            return (
                f"{DEFAULT_KEY} is sent by default to addresses with https or on this machine alone, and this is "
                f"neither. Give api_key_env={DEFAULT_KEY!r} to send it there all the same, where anyone on the way can "
                "read it."
            )
        if self.api_key_env:
            return f"is the one in the environment variable {self.api_key_env} right?"
        return "api_key_env names the environment variable that holds it."


def _check_number(name: str, value: Any, *, above_zero: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} must be a finite number that isn't negative; got {value!r}.")
    if above_zero and not value:
        raise ConfigError(f"{name} must be above 0; got {value!r}.")


class ChatClient:
    """Asks chat servers, from any number of threads and event loops.

    Args:
        settings: How.

    Raises:
        MissingPackageError: `aiohttp` isn't installed.
    """

    def __init__(self, settings: ClientSettings) -> None:
        require("aiohttp", needed_for="Asking a chat server", install='pip install "zerosearch-env[simulate]"')
        self.settings = settings
        self._turn = itertools.count()
        self._down_until: dict[str, float] = {}
        self._connections = Connections.of(settings)
        self._user = object()  # who this client is to the pools, which must not keep it alive
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        _clients.add(self)
        weakref.finalize(self, leave_pools, self._pools, self._user).atexit = False

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        seed: int,
        options: Mapping[str, Any] | None = None,
        send_seed: bool = True,
        deadline: float | None = None,
    ) -> ChatReply:
        """Ask for one completion.

        Args:
            messages: The chat so far, each with `role` and `content`.
            seed: The draw of this request. It goes to the server, and the waits between tries come from it.
            options: What else stands in the request: `max_tokens`, `temperature`, …; those that are None are left out.
            send_seed: Whether the server is told the seed.
            deadline: When the reply must be there, by `time.monotonic()`, for requests that share one. Left out:
                `deadline_s` from now.

        Raises:
            ChatError: No server gave a usable reply within the settings' limits.
        """
        settings = self.settings
        body = {
            "model": settings.model or "",
            "messages": messages if isinstance(messages, list) else list(messages),
            "seed": seed if send_seed else None,
            "stream": False,
        }
        if options:
            body.update(options)
        body = {name: value for name, value in body.items() if value is not None}
        request = _Request(body, seed, time.monotonic() + settings.deadline_s if deadline is None else deadline)
        try:
            return await self._try(request)
        except _TooLateError:
            because = f" Before that: {request.failures[-1]}" if request.failures else ""
            raise ChatError(
                f"No reply within deadline_s={settings.deadline_s:g}: the servers are too slow for this many requests "
                f"at once. Lower max_connections, raise deadline_s, or add a server.{because}"
            ) from None

    async def _try(self, request: _Request) -> ChatReply:
        settings = self.settings
        pool = await self._pool()
        urls = self._order()
        failures = request.failures
        rest = list(urls)  # the servers that this round hasn't tried yet
        rounds = 0
        for _ in range(settings.max_retries + 1):
            if not rest:
                await asyncio.sleep(self._wait_s(request, rounds))
                rest, rounds = list(urls), rounds + 1
            url = rest.pop(0)
            try:
                reply = await self._attempt(pool, url, request)
                if self._down_until:
                    self._down_until.pop(url, None)
                return reply
            except ChatError as error:
                failures.append(error)
                if error.is_down:
                    self._down_until[url] = time.monotonic() + _DOWN_S
                if not error.retried:
                    urls = [other for other in urls if other != url]
            if not urls:
                break
        tries = f" ({len(failures)} tries)" if len(failures) > 1 else ""
        raise ChatError(f"{failures[-1]}{tries}") from failures[-1]

    def _wait_s(self, request: _Request, rounds: int) -> float:
        """How long to wait before the servers are tried again.

        Raises:
            ChatError: The deadline would be over by then.
        """
        settings, last = self.settings, request.failures[-1]
        if request.draws is None:
            request.draws = Draws(request.seed)
        backoff = min(settings.backoff_s * 2.0**rounds, settings.max_backoff_s)
        wait_s = max(backoff * (0.5 + request.draws.below(1000) / 1000), last.retry_after_s or 0.0)
        if time.monotonic() + wait_s >= request.deadline:
            raise ChatError(f"{last} The next try would be in {wait_s:.0f} s, past deadline_s={settings.deadline_s:g}.")
        return wait_s

    def _order(self) -> list[str]:
        """The servers in the order to try them: round and round, those that were just down last."""
        urls = self.settings.urls
        if len(urls) == 1:
            return list(urls)
        start = next(self._turn) % len(urls)
        now = time.monotonic()
        return sorted(urls[start:] + urls[:start], key=lambda url: self._down_until.get(url, 0.0) > now)

    async def _attempt(self, pool: Pool, url: str, request: _Request) -> ChatReply:
        settings = self.settings
        body = request.body
        if not body.get("model"):
            async with _until(request.deadline):
                body = {**body, "model": await self._served_model(pool, url)}
        payload = await self._request(pool, "POST", url, "/chat/completions", body, request.deadline)
        text, cut, read, written = read_reply(payload, url)
        cost = read * settings.price_per_million_input_tokens + written * settings.price_per_million_output_tokens
        return ChatReply(
            text=text,
            cut=cut,
            model=str(body["model"]),
            input_tokens=read,
            output_tokens=written,
            cost=cost / 1e6,
            retries=len(request.failures),
        )

    async def _served_model(self, pool: Pool, url: str) -> str:
        """The one model that a server serves; asked once, whatever number of requests wait for it."""
        task = pool.models.get(url)
        if task is None:
            task = pool.models[url] = asyncio.create_task(self._discover(pool, url))
        found = await asyncio.shield(task)
        if isinstance(found, str):
            return found
        if pool.models.get(url) is task:
            del pool.models[url]
        raise found.again()

    async def _discover(self, pool: Pool, url: str) -> str | ChatError:
        try:
            payload = await self._request(pool, "GET", url, "/models", None, math.inf)
        except ChatError as error:
            return error
        names = read_models(payload)
        if len(names) == 1 and names[0]:
            return str(names[0])
        shown = redact(", ".join(names[:10]), self.settings.key_for(url))
        return ChatError(
            f"{url} serves {len(names)} models{f' ({shown})' if names else ''}, so that one must be named: give "
            "simulation_llm."
        )

    async def _request(
        self, pool: Pool, method: str, url: str, path: str, body: dict[str, Any] | None, deadline: float
    ) -> dict[str, Any]:
        """One exchange: the reply's JSON object.

        Raises:
            ChatError: Anything else came, or nothing.
        """
        places = pool.places
        if places is None:
            return await self._exchange(pool, method, url, path, body, deadline)
        if places.locked():
            async with _until(deadline):
                await places.acquire()
        else:
            await places.acquire()
        try:
            return await self._exchange(pool, method, url, path, body, deadline)
        finally:
            places.release()

    async def _exchange(
        self, pool: Pool, method: str, url: str, path: str, body: dict[str, Any] | None, deadline: float
    ) -> dict[str, Any]:
        import aiohttp

        settings = self.settings
        try:
            key = settings.key_for(url)
        except ConfigError as error:
            raise ChatError(str(error)) from None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        send = (method, url, url + path, headers, data)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise _TooLateError
        try:
            async with asyncio.timeout(min(settings.timeout_s, left_s)):
                try:
                    reply = await self._send(pool.session, *send)
                except (aiohttp.ServerDisconnectedError, ConnectionError):
                    if asyncio.current_task() in pool.opened_by:
                        raise
                    # A connection that was kept from an earlier request, to a server that has been started anew since,
                    # or that hung up at the moment of sending: it says nothing about the server as it is now.
                    reply = await self._send(pool.fresh, *send)
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            reason = redact(getattr(error, "strerror", None) or str(error), key)
            raise ChatError(
                f"Can't connect to {url} ({reason}): is the server running there? base_url is where.",
                retried=True,
                is_down=True,
            ) from None
        except TimeoutError:
            if left_s < settings.timeout_s:
                raise _TooLateError from None
            raise ChatError(
                f"{url} gave no whole reply within timeout_s={settings.timeout_s:g}: raise it, or lower "
                "max_connections if the server has too much to do.",
                retried=True,
                is_down=True,
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ChatError(
                f"{url} broke off its reply ({redact(f'{type(error).__name__}: {error}', key)}): see the server's log.",
                retried=True,
            ) from None
        return read_json(*reply, url, key=key, key_advice=settings.key_advice)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        address: str,
        headers: dict[str, str],
        data: bytes | None,
    ) -> tuple[bytes, int, str, str | None]:
        async with session.request(method, address, data=data, headers=headers, allow_redirects=False) as response:
            raw = await self._read(response, url)
            replied = response.headers
            return raw, response.status, replied.get("Content-Type", ""), replied.get("Retry-After")

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        """Read a reply, but no more than is allowed."""
        limit = self.settings.max_response_bytes
        length = response.content_length
        if length is not None and length <= limit:
            return await response.read()
        chunks: list[bytes] = []
        size = length or 0
        if size <= limit:
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > limit:
                    break
                chunks.append(chunk)
        if size > limit:
            response.close()
            raise ChatError(
                f"{url} replied with more than max_response_bytes={limit}: does base_url lead to a chat server? Lower "
                "max_tokens if it does.",
                retried=True,
            )
        return b"".join(chunks)

    async def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or not pool.is_usable:
            for other, old in list(self._pools.items()):
                if other is loop or other.is_closed() or not old.is_usable:
                    self._pools.pop(other, None)
                    old.drop(self._user)
            pool = self._pools[loop] = await self._connections.join(self._user)
        return pool

    async def aclose(self) -> None:
        """Close this event loop's connections, unless others use them. The next request opens new ones."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.leave(self._user)

    def close(self) -> None:
        """Close all connections, from outside of coroutines (there is `aclose`), unless others use them.

        The next request opens new ones.
        """
        leave_pools(self._pools, self._user, wait_s=5.0)


@dataclass(slots=True)
class _Request:
    """A request, and what became of it so far."""

    body: dict[str, Any]
    seed: int
    deadline: float
    failures: list[ChatError] = field(default_factory=list)
    draws: Draws | None = None


class _TooLateError(Exception):
    """The deadline of a request is over."""


@asynccontextmanager
async def _until(deadline: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError:
        raise _TooLateError from None


_clients: weakref.WeakSet[ChatClient] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for client in list(_clients):
        leave_pools(client._pools, client._user, wait_s=1.0)


def combine_seed(seed: int, attempt: int) -> int:
    """The seed of one try, in [0, 2**31 - 1), which every server takes: the first try and the next are far apart."""
    return Draws(seed * 1_000_003 + attempt).below(PRIME)
