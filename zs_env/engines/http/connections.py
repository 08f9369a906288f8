"""The connections of an event loop to servers: one session, shared by all clients with equal settings.

So thousands of environments, each with an engine of its own, open no more connections together than one would. A
session belongs to the loop that it was made on, and is closed there: when its last client leaves it, or when the loop
ends.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from zs_env.errors import ServiceError

if TYPE_CHECKING:
    import aiohttp

    from zs_env.engines.http.settings import ServiceSettings

__all__ = ["Connections", "Pool", "leave_pools"]


class Connections:
    """The pools of all event loops, for one `ServiceSettings`. It lives as long as a client holds it."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        # A loop touches its own entry alone, so that no lock is needed (which a fork could leave locked).
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}

    @classmethod
    def of(cls, settings: ServiceSettings) -> Connections:
        """Those that clients with equal settings share."""
        shared = _shared.get(settings)
        return _shared.setdefault(settings, cls(settings)) if shared is None else shared

    async def join(self, user: object) -> Pool:
        """This event loop's pool, open and with `user` among its users."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or not pool.is_usable:
            for other, old in list(self._pools.items()):
                if other is loop or other.is_closed() or old.pid != os.getpid():
                    self._pools.pop(other, None)
                    old.drop()
            pool = self._pools[loop] = Pool(self._settings, self._pools)
            pool.users.add(user)
            await pool.begin()
        pool.users.add(user)
        return pool


_shared: weakref.WeakValueDictionary[ServiceSettings, Connections] = weakref.WeakValueDictionary()


class Pool:
    """What belongs to one event loop: its session, its free places, and what its servers said of themselves.

    Attributes:
        session: Where requests go. It keeps connections, and opens as many as are asked for: `places` is the limit.
        places: The free places; None for no limit.
        learned: What each server said of itself, such as the model that it serves, or the asking for it.
        users: Who would miss it.
        pid: The process that it was made in.
    """

    __slots__ = (
        "_fresh",
        "_keeper",
        "_pools",
        "_settings",
        "learned",
        "opened_by",
        "pid",
        "places",
        "session",
        "users",
    )

    def __init__(self, settings: ServiceSettings, pools: dict[asyncio.AbstractEventLoop, Pool]) -> None:
        self._settings = settings
        self._pools = pools
        self.opened_by: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.session = self._new_session()
        self._fresh: aiohttp.ClientSession | None = None
        self.places = asyncio.Semaphore(settings.max_connections) if settings.max_connections else None
        self.learned: dict[str, asyncio.Task[str | ServiceError]] = {}
        self.users: set[object] = set()
        self.pid = os.getpid()
        self._keeper = _until_the_loop_ends(self)

    def _new_session(self, *, kept: bool = True) -> aiohttp.ClientSession:
        import aiohttp

        opened_by = self.opened_by

        class Connector(aiohttp.TCPConnector):
            async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
                """Remember whose request opens a connection: its failure isn't that of a kept one."""
                if (task := asyncio.current_task()) is not None:
                    opened_by.add(task)
                return await super()._create_connection(*args, **kwargs)

        # A kept connection is dropped earlier than servers' usual 5 s, so that they don't hang up on a request.
        how: dict[str, Any] = {"keepalive_timeout": 4.0} if kept else {"force_close": True}
        return aiohttp.ClientSession(
            connector=Connector(limit=0, limit_per_host=0, ttl_dns_cache=300, **how),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=self._settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "zerosearch-env"},
        )

    @property
    def fresh(self) -> aiohttp.ClientSession:
        """A session that opens a connection for each request."""
        if self._fresh is None:
            self._fresh = self._new_session(kept=False)
        return self._fresh

    @property
    def is_usable(self) -> bool:
        """Whether it is open, and not a parent process's."""
        return not self.session.closed and self.pid == os.getpid()

    async def begin(self) -> None:
        """Have it closed at the end of the event loop."""
        await anext(self._keeper)

    async def leave(self, user: object) -> None:
        """Take a user away, and close with the last one."""
        if self._is_missed_after(user):
            return
        for task in self.learned.values():
            task.cancel()
        await self._keeper.aclose()
        await self.close()

    def _is_missed_after(self, user: object) -> bool:
        self.users.discard(user)
        if self.users:
            return True
        for loop, pool in list(self._pools.items()):
            if pool is self:
                self._pools.pop(loop, None)
        return False

    async def close(self) -> None:
        """Close the sessions."""
        await self.session.close()
        if self._fresh is not None:
            await self._fresh.close()

    def drop(self, user: object = None) -> None:
        """Let go of sessions whose loop is closed, or belongs to the process that this one was forked from."""
        if user is not None and self._is_missed_after(user):
            return
        for session in (self.session, self._fresh):
            connector = None if session is None else session.connector
            if session is None or connector is None:
                continue
            session.detach()
            if self.pid == os.getpid():
                connector._close()
            else:
                # To close its sockets would take them out of the parent's selector, which both processes share.
                connector._closed = True
                _inherited.append(connector)


_inherited: list[aiohttp.BaseConnector] = []


async def _until_the_loop_ends(pool: Pool) -> AsyncGenerator[None, None]:
    """Close the sessions when the loop shuts its generators down, as `asyncio.run` does at its end."""
    try:
        yield
    finally:
        await pool.close()


def leave_pools(pools: dict[asyncio.AbstractEventLoop, Pool], user: object, wait_s: float = 0.0) -> None:
    """Leave pools, each on its own loop, and wait for those that run in other threads."""
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    waiting = []
    for loop in list(pools):
        pool = pools.pop(loop, None)
        if pool is None:
            continue
        if pool.pid != os.getpid() or loop.is_closed() or not loop.is_running():
            pool.drop(user)
            continue
        done = threading.Event()
        loop.call_soon_threadsafe(_leave_here, pool, user, done)
        if loop is not here:
            waiting.append(done)
    if wait_s:
        for done in waiting:
            done.wait(wait_s)


def _leave_here(pool: Pool, user: object, done: threading.Event) -> None:
    task = asyncio.ensure_future(pool.leave(user))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)
    task.add_done_callback(lambda _: done.set())


_leaving: set[asyncio.Future[None]] = set()
