"""A client of chat servers that speak OpenAI's protocol: sglang, vLLM, llama.cpp's server, and hosted ones.

One `aiohttp` session for each event loop, so that connections are shared by everything that runs there; no hidden limit
of connections; a limit on time and on size everywhere. What a server does wrong ends in a `ChatError` whose message is
short, says what to do, and never holds the key.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import math
import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zs_env.actions import clean_text
from zs_env.engines.draws import PRIME, Draws
from zs_env.engines.llm.endpoints import api_key, as_base_urls, redact, retry_after_s
from zs_env.errors import ChatError, ConfigError, require

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ChatClient", "ChatReply", "ClientSettings"]

DEFAULT_KEY = "OPENAI_API_KEY"

_RETRIED = frozenset((408, 409, 425, 429))
_DOWN_S = 5.0
_MAX_TOKENS_COUNTED = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a chat server is reached.

    Attributes:
        base_url: Where the server is, with or without `/v1`; several, in a sequence or with commas between, share the
            work, and stand in for each other when one fails.
        model: The name of the model in requests. Left out: the one that the server says it serves.
        api_key_env: The environment variable that holds the key. Left out: `OPENAI_API_KEY`, if it is set; empty: no
            key is sent. The key itself is no setting: it is read when it is needed, and kept nowhere.
        timeout_s: The longest that one try may take.
        connect_timeout_s: The longest that connecting may take.
        deadline_s: The longest that a request may take with all of its tries, its waits between them and its wait for
            a free connection.
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
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}; got {value!r}.")
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
    def urls(self) -> tuple[str, ...]:
        """The servers, each ending in its version, as `http://127.0.0.1:6001/v1`."""
        return tuple(self.base_url)

    @property
    def key(self) -> str | None:
        """The key, from the environment; None if there is none."""
        return api_key(DEFAULT_KEY if self.api_key_env is None else self.api_key_env)


def _check_number(name: str, value: Any, *, above_zero: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} must be a finite number that isn't negative; got {value!r}.")
    if above_zero and not value:
        raise ConfigError(f"{name} must be above 0; got {value!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What the model wrote.

    Attributes:
        text: Its text; empty if it wrote none.
        cut: Whether it was cut off at the limit of tokens.
        model: The model's name, as it was asked for.
        input_tokens: Tokens of the prompt, as the server counts them; 0 if it doesn't.
        output_tokens: Tokens of the reply, likewise.
        cost: What both cost by the settings' prices.
        retries: Tries that failed before this one.
    """

    text: str
    cut: bool = False
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    retries: int = 0


class _LoopState:
    """What belongs to one event loop: its session, its free places, and what its servers said that they serve."""

    __slots__ = ("_keeper", "models", "pid", "places", "session")

    def __init__(self, settings: ClientSettings) -> None:
        import aiohttp

        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # `places` is the limit: waiting there doesn't count as a try's time
                limit_per_host=0,
                ttl_dns_cache=300,
                keepalive_timeout=4.0,  # less than servers' usual 5 s, so that they don't hang up on a request
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self.places = asyncio.Semaphore(settings.max_connections) if settings.max_connections else None
        self.models: dict[str, asyncio.Task[str | ChatError]] = {}
        self.pid = os.getpid()
        self._keeper = _until_the_loop_ends(self.session)

    async def begin(self) -> None:
        await anext(self._keeper)

    async def close(self) -> None:
        for task in self.models.values():
            task.cancel()
        await self._keeper.aclose()
        await self.session.close()

    def drop(self) -> None:
        """Let go of a session whose loop is closed, or belongs to the process that this one was forked from."""
        connector = self.session.connector
        self.session.detach()
        if connector is None:
            return
        if self.pid == os.getpid():
            connector._close()
        else:
            # To close its sockets would take them out of the parent's selector, which both processes share.
            connector._closed = True
            _inherited.append(connector)


_inherited: list[aiohttp.BaseConnector] = []


async def _until_the_loop_ends(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Close the session when the loop shuts its generators down, as `asyncio.run` does at its end."""
    try:
        yield
    finally:
        await session.close()


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
        # A loop touches its own entry alone, so that no lock is needed (which a fork could leave locked).
        self._states: dict[asyncio.AbstractEventLoop, _LoopState] = {}
        _clients.add(self)
        weakref.finalize(self, _close_states, self._states).atexit = False

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        seed: int,
        options: Mapping[str, Any] | None = None,
        send_seed: bool = True,
    ) -> ChatReply:
        """Ask for one completion.

        Args:
            messages: The chat so far, each with `role` and `content`.
            seed: The draw of this request. It goes to the server, and the waits between tries come from it.
            options: What else stands in the request: `max_tokens`, `temperature`, …; those that are None are left out.
            send_seed: Whether the server is told the seed.

        Raises:
            ChatError: No server gave a usable reply within the settings' limits.
        """
        settings = self.settings
        body = {"model": "", "messages": list(messages), "seed": seed if send_seed else None, "stream": False}
        body = {name: value for name, value in {**body, **(options or {})}.items() if value is not None}
        last: list[ChatError] = []
        try:
            async with asyncio.timeout(settings.deadline_s):
                return await self._try(body, Draws(seed), last)
        except TimeoutError:
            because = f" Before that: {last[-1]}" if last else ""
            raise ChatError(
                f"No reply within deadline_s={settings.deadline_s:g}: the servers are too slow for this many requests "
                f"at once. Lower max_connections, raise deadline_s, or add a server.{because}"
            ) from None

    async def _try(self, body: dict[str, Any], draws: Draws, failures: list[ChatError]) -> ChatReply:
        settings = self.settings
        urls = self._order()
        loop = asyncio.get_running_loop()
        end = loop.time() + settings.deadline_s
        state = await self._state(loop)
        rest: list[str] = []  # the servers that this round hasn't tried yet
        rounds = 0
        for number in range(settings.max_retries + 1):
            if number == 0:
                rest = list(urls)
            elif not rest:
                backoff = min(settings.backoff_s * 2.0**rounds, settings.max_backoff_s)
                wait_s = max(backoff * (0.5 + draws.below(1000) / 1000), failures[-1].retry_after_s or 0.0)
                if loop.time() + wait_s >= end:
                    raise ChatError(
                        f"{failures[-1]} The next try would be in {wait_s:.0f} s, past "
                        f"deadline_s={settings.deadline_s:g}."
                    )
                await asyncio.sleep(wait_s)
                rest, rounds = list(urls), rounds + 1
            url = rest.pop(0)
            try:
                reply = await self._attempt(state, url, body, len(failures))
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

    def _order(self) -> list[str]:
        """The servers in the order to try them: round and round, those that were just down last."""
        urls = self.settings.urls
        start = next(self._turn) % len(urls)
        now = time.monotonic()
        return sorted(urls[start:] + urls[:start], key=lambda url: self._down_until.get(url, 0.0) > now)

    async def _attempt(self, state: _LoopState, url: str, body: dict[str, Any], retries: int) -> ChatReply:
        settings = self.settings
        if not body.get("model"):
            body = {**body, "model": settings.model or await self._served_model(state, url)}
        payload = await self._request(state, "POST", url, "/chat/completions", body)
        text, cut = _read_choice(payload, url)
        used = payload.get("usage")
        counts = used if isinstance(used, dict) else {}
        read, written = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
        cost = read * settings.price_per_million_input_tokens + written * settings.price_per_million_output_tokens
        return ChatReply(
            text=text,
            cut=cut,
            model=str(body["model"]),
            input_tokens=read,
            output_tokens=written,
            cost=cost / 1e6,
            retries=retries,
        )

    async def _served_model(self, state: _LoopState, url: str) -> str:
        """The one model that a server serves; asked once, whatever number of requests wait for it."""
        task = state.models.get(url)
        if task is None:
            task = state.models[url] = asyncio.create_task(self._discover(state, url))
        found = await asyncio.shield(task)
        if isinstance(found, str):
            return found
        if state.models.get(url) is task:
            del state.models[url]
        raise found.again()

    async def _discover(self, state: _LoopState, url: str) -> str | ChatError:
        try:
            payload = await self._request(state, "GET", url, "/models", None)
        except ChatError as error:
            return error
        rows = payload.get("data")
        names = (
            [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
            if (isinstance(rows, list))
            else []
        )
        if len(names) == 1 and names[0]:
            return str(names[0])
        shown = redact(", ".join(names[:10]), self.settings.key)
        return ChatError(
            f"{url} serves {len(names)} models{f' ({shown})' if names else ''}, so that one must be named: give "
            "simulation_llm."
        )

    async def _request(
        self, state: _LoopState, method: str, url: str, path: str, body: dict[str, Any] | None
    ) -> dict[str, Any]:
        """One exchange: the reply's JSON object.

        Raises:
            ChatError: Anything else came, or nothing.
        """
        if state.places is None:
            return await self._exchange(state, method, url, path, body)
        async with state.places:
            return await self._exchange(state, method, url, path, body)

    async def _exchange(
        self, state: _LoopState, method: str, url: str, path: str, body: dict[str, Any] | None
    ) -> dict[str, Any]:
        import aiohttp

        settings, key = self.settings, self.settings.key
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "zerosearch-env"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(settings.timeout_s),
                state.session.request(
                    method, url + path, data=data, headers=headers, allow_redirects=False
                ) as response,
            ):
                raw = await self._read(response, url)
                status, waits = response.status, response.headers.get("Retry-After")
                kind = response.headers.get("Content-Type", "")
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            reason = redact(getattr(error, "strerror", None) or str(error), key)
            raise ChatError(
                f"Can't connect to {url} ({reason}): is the server running there? base_url is where.",
                retried=True,
                is_down=True,
            ) from None
        except TimeoutError:
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
        return _check_reply(raw, status, kind, waits, url, key)

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        """Read a reply, but no more than is allowed."""
        limit = self.settings.max_response_bytes
        chunks: list[bytes] = []
        size = response.content_length or 0
        if size <= limit:
            size = 0
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

    async def _state(self, loop: asyncio.AbstractEventLoop) -> _LoopState:
        state = self._states.get(loop)
        if state is not None and state.pid == os.getpid() and not state.session.closed:
            return state
        for other, old in list(self._states.items()):
            if old.pid != os.getpid() or other.is_closed() or other is loop:
                self._states.pop(other, None)
                old.drop()
        state = self._states[loop] = _LoopState(self.settings)
        await state.begin()
        return state

    async def aclose(self) -> None:
        """Close this event loop's connections. The next request opens new ones."""
        state = self._states.pop(asyncio.get_running_loop(), None)
        if state is not None:
            await state.close()

    def close(self) -> None:
        """Close all connections, from outside of coroutines (there is `aclose`). The next request opens new ones."""
        _close_states(self._states, wait_s=5.0)


_clients: weakref.WeakSet[ChatClient] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for client in list(_clients):
        _close_states(client._states, wait_s=1.0)


def _close_states(states: dict[asyncio.AbstractEventLoop, _LoopState], wait_s: float = 0.0) -> None:
    """Close sessions, each on its own loop, and wait for those that run in other threads."""
    try:
        here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    waiting = []
    for loop in list(states):
        state = states.pop(loop, None)
        if state is None:
            continue
        if state.pid != os.getpid() or loop.is_closed() or not loop.is_running():
            state.drop()
            continue
        done = threading.Event()
        loop.call_soon_threadsafe(_close_here, state, done)
        if loop is not here:
            waiting.append(done)
    if wait_s:
        for done in waiting:
            done.wait(wait_s)


def _close_here(state: _LoopState, done: threading.Event) -> None:
    task = asyncio.ensure_future(state.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)
    task.add_done_callback(lambda _: done.set())


_closing: set[asyncio.Future[None]] = set()


def _check_reply(raw: bytes, status: int, kind: str, waits: str | None, url: str, key: str | None) -> dict[str, Any]:
    try:
        payload: Any = json.loads(raw)
    except (ValueError, RecursionError):
        payload = None
    if status == 200 and isinstance(payload, dict) and not payload.get("error"):
        return payload
    said = redact(_message(payload) or raw[:2_000].decode(errors="replace"), key)
    what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (401, 403):
        raise ChatError(f"{url} refuses the key ({what}): api_key_env names the environment variable that holds it.")
    if status == 404:
        raise ChatError(f"{url} has no such model or path ({what}): check simulation_llm and base_url.")
    if 300 <= status < 400:
        raise ChatError(f"{url} sends its callers elsewhere ({what}): give the address that it names as base_url.")
    if status == 429 or status == 503:
        raise ChatError(
            f"{url} is too busy ({what}): lower max_connections, or add a server.",
            retried=True,
            retry_after_s=retry_after_s(waits),
        )
    if 400 <= status < 500:
        raise ChatError(
            f"{url} refuses the request ({what}): check simulation_llm and the settings of generation.",
            retried=status in _RETRIED,
            retry_after_s=retry_after_s(waits),
        )
    if status >= 500:
        raise ChatError(
            f"{url} fails ({what}): see the server's log.", retried=True, retry_after_s=retry_after_s(waits)
        )
    kind = redact(kind, key)
    raise ChatError(
        f"{url} replied with something other than a chat completion ({kind or 'no content type'}: {said}): does "
        "base_url lead to an OpenAI-compatible server?",
        retried=True,
    )


def _message(payload: Any) -> str:
    """What a server says about its failure."""
    for _ in range(3):
        if isinstance(payload, dict):
            payload = next((payload[name] for name in ("error", "message", "detail") if payload.get(name)), None)
    return payload if isinstance(payload, str) else ""


def _read_choice(payload: dict[str, Any], url: str) -> tuple[str, bool]:
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ChatError(
            f"{url} replied without choices: does base_url lead to an OpenAI-compatible server, and does its model "
            "take chats?",
            retried=True,
        )
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    text = clean_text(content) if isinstance(content, str) else ""
    return text, choice.get("finish_reason") == "length"


def _count(value: Any) -> int:
    """A number of tokens, if it is one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    return int(min(max(value, 0), _MAX_TOKENS_COUNTED))


def combine_seed(seed: int, attempt: int) -> int:
    """The seed of one try, in [0, 2**31 - 1), which every server takes: the first try and the next are far apart."""
    return Draws(seed * 1_000_003 + attempt).below(PRIME)
