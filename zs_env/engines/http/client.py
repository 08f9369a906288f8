"""Asks servers over HTTP for JSON: the same care for every kind of server.

Connections are shared by all clients with equal settings (`connections`); no hidden limit of connections; a limit on
time and on size everywhere; no redirect is followed. What a server does wrong ends in a `ServiceError` whose message is
short, says what to do, and never holds the key.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from zs_env.engines.draws import Draws
from zs_env.engines.http.addresses import redact
from zs_env.engines.http.connections import Connections, Pool, leave_pools
from zs_env.engines.http.replies import Wording, read_json
from zs_env.engines.http.settings import ServiceSettings
from zs_env.errors import ConfigError, ServiceError, require

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Call", "ServiceClient"]

_DOWN_S = 5.0

T = TypeVar("T")
S = TypeVar("S", bound=ServiceSettings)


class ServiceClient(Generic[S]):
    """Asks servers, from any number of threads and event loops; the base of clients of one kind of server.

    Args:
        settings: How.

    Attributes:
        wording: What its errors say.

    Raises:
        MissingPackageError: `aiohttp` isn't installed.
    """

    wording: ClassVar[Wording]

    def __init__(self, settings: S) -> None:
        require("aiohttp", needed_for=self.wording.asking, install='pip install "zerosearch-env[simulate]"')
        self.settings = settings
        self._turn = itertools.count()
        self._down_until: dict[str, float] = {}
        self._connections = Connections.of(settings)
        self._user = object()  # who this client is to the pools, which must not keep it alive
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        _clients.add(self)
        weakref.finalize(self, leave_pools, self._pools, self._user).atexit = False

    async def _call(
        self, attempt: Callable[[Pool, str, Call], Awaitable[T]], *, seed: int, deadline: float | None = None
    ) -> T:
        """Have servers tried, one after the other and again after a wait, until one of them does it.

        Args:
            attempt: One try, at the server that it is given. It raises `ServiceError` if that failed.
            seed: Where the waits between tries come from.
            deadline: When it must be done, by `time.monotonic()`. Left out: `deadline_s` from now.

        Raises:
            ServiceError: None did within the settings' limits.
        """
        settings = self.settings
        call = Call(seed, time.monotonic() + settings.deadline_s if deadline is None else deadline)
        try:
            return await self._try(attempt, call)
        except ServiceError as error:
            error.retries = max(len(call.failures) - 1, 0)
            raise
        except _TooLateError:
            because = f" Before that: {call.failures[-1]}" if call.failures else ""
            late = self.wording.error(
                f"No reply within deadline_s={settings.deadline_s:g}: the servers are too slow for this many requests "
                f"at once. Lower max_connections, raise deadline_s, or add a server.{because}",
                retried=True,
            )
            late.retries = len(call.failures)
            raise late from None

    async def _try(self, attempt: Callable[[Pool, str, Call], Awaitable[T]], call: Call) -> T:
        settings = self.settings
        pool = await self._pool()
        urls = self._order()
        failures = call.failures
        rest = list(urls)  # the servers that this round hasn't tried yet
        rounds = 0
        for _ in range(settings.max_retries + 1):
            if not rest:
                await asyncio.sleep(self._wait_s(call, rounds))
                rest, rounds = list(urls), rounds + 1
            url = rest.pop(0)
            try:
                reply = await attempt(pool, url, call)
                if self._down_until:
                    self._down_until.pop(url, None)
                return reply
            except ServiceError as error:
                failures.append(error)
                if error.is_down:
                    self._down_until[url] = time.monotonic() + _DOWN_S
                if not error.retried:
                    urls = [other for other in urls if other != url]
            if not urls:
                break
        tries = f" ({len(failures)} tries)" if len(failures) > 1 else ""
        last = failures[-1]
        raise self.wording.error(
            f"{last}{tries}", retried=last.retried, is_down=last.is_down, retry_after_s=last.retry_after_s
        ) from last

    def _wait_s(self, call: Call, rounds: int) -> float:
        """How long to wait before the servers are tried again.

        Raises:
            ServiceError: The deadline would be over by then.
        """
        settings, last = self.settings, call.failures[-1]
        if call.draws is None:
            call.draws = Draws(call.seed)
        backoff = min(settings.backoff_s * 2.0**rounds, settings.max_backoff_s)
        wait_s = max(backoff * (0.5 + call.draws.below(1000) / 1000), last.retry_after_s or 0.0)
        if time.monotonic() + wait_s >= call.deadline:
            raise self.wording.error(
                f"{last} The next try would be in {wait_s:.0f} s, past deadline_s={settings.deadline_s:g}.",
                retried=True,
                retry_after_s=last.retry_after_s,
            )
        return wait_s

    def _order(self) -> list[str]:
        """The servers in the order to try them: round and round, those that were just down last."""
        urls = self.settings.urls
        if len(urls) == 1:
            return list(urls)
        start = next(self._turn) % len(urls)
        now = time.monotonic()
        return sorted(urls[start:] + urls[:start], key=lambda url: self._down_until.get(url, 0.0) > now)

    async def _learn(self, pool: Pool, url: str, deadline: float, ask: Callable[[Pool, str], Awaitable[str]]) -> str:
        """What a server says of itself; asked once, whatever number of requests wait for it.

        Raises:
            ServiceError: It can't be learned.
        """
        task = pool.learned.get(url)
        if task is None:
            task = pool.learned[url] = asyncio.ensure_future(_outcome(ask(pool, url)))
        async with _until(deadline):
            found = await asyncio.shield(task)
        if isinstance(found, str):
            return found
        if pool.learned.get(url) is task:
            del pool.learned[url]
        raise found.again()

    async def _request(
        self, pool: Pool, method: str, url: str, path: str, body: Mapping[str, Any] | None, deadline: float
    ) -> Any:
        """One exchange: the JSON of the reply.

        Raises:
            ServiceError: Anything else came, or nothing.
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
        self, pool: Pool, method: str, url: str, path: str, body: Mapping[str, Any] | None, deadline: float
    ) -> Any:
        import aiohttp

        settings = self.settings
        try:
            key = settings.key_for(url)
        except ConfigError as error:
            raise self.wording.error(str(error)) from None
        send = (method, url, *self._write(url + path, body, key))
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
            raise self.wording.error(
                f"Can't connect to {url} ({reason}): is the server running there? base_url is where.",
                retried=True,
                is_down=True,
            ) from None
        except TimeoutError:
            if left_s < settings.timeout_s:
                raise _TooLateError from None
            raise self.wording.error(
                f"{url} gave no whole reply within timeout_s={settings.timeout_s:g}: raise it, or lower "
                "max_connections if the server has too much to do.",
                retried=True,
                is_down=True,
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.wording.error(
                f"{url} broke off its reply ({redact(f'{type(error).__name__}: {error}', key)}): see the server's log.",
                retried=True,
            ) from None
        return self._read_reply(*reply, url, key)

    def _write(
        self, address: str, body: Mapping[str, Any] | None, key: str | None
    ) -> tuple[str, dict[str, str], bytes | None]:
        """A request's address, headers and body."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return address, headers, None if body is None else json.dumps(body).encode()

    def _read_reply(self, raw: bytes, status: int, kind: str, waits: str | None, url: str, key: str | None) -> Any:
        """The JSON of a reply.

        Raises:
            ServiceError: It can't be used.
        """
        return read_json(
            raw,
            status,
            kind,
            waits,
            url,
            key=key,
            key_advice=self.settings.key_advice,
            wording=self.wording,
            is_usable=self._is_usable,
        )

    @staticmethod
    def _is_usable(payload: Any) -> bool:
        """Whether the JSON of a reply of status 200 is a reply, and not an error."""
        return isinstance(payload, dict) and not payload.get("error")

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
            raw = await self._read_body(response, url)
            replied = response.headers
            return raw, response.status, replied.get("Content-Type", ""), replied.get("Retry-After")

    async def _read_body(self, response: aiohttp.ClientResponse, url: str) -> bytes:
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
            raise self.wording.error(
                f"{url} replied with more than max_response_bytes={limit}: {self.wording.if_too_long}",
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
class Call:
    """What is to be done by servers, and what became of it so far.

    Attributes:
        seed: Where the waits between tries come from.
        deadline: When it must be done, by `time.monotonic()`.
        failures: The tries that failed.
    """

    seed: int
    deadline: float
    failures: list[ServiceError] = field(default_factory=list)
    draws: Draws | None = None


async def _outcome(asked: Awaitable[str]) -> str | ServiceError:
    try:
        return await asked
    except ServiceError as error:
        return error


class _TooLateError(Exception):
    """The deadline of a request is over."""


@asynccontextmanager
async def _until(deadline: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            yield
    except TimeoutError:
        raise _TooLateError from None


_clients: weakref.WeakSet[ServiceClient[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for client in list(_clients):
        leave_pools(client._pools, client._user, wait_s=1.0)
