"""A real chat server on a real socket, which does what it is told to: reply, or fail as servers do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """A request that arrived: its number, counted from 0, its path, headers in lower case, and JSON body."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]


@dataclass
class Do:
    """What to do with a request.

    `how` is one of "reply" (status, headers and body as given), "hang", "close" (before a reply), "cut" (close in the
    middle of the body), "endless" (a body that never ends), "trickle" (a byte a while), "huge" (a body of 100 MB, its
    length told) and "garbage" (what isn't HTTP).
    """

    how: str = "reply"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def say(text: str | None, *, finish_reason: str = "stop", **more: Any) -> Do:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return as_json({"object": "chat.completion", "choices": [choice], **more})


def as_json(payload: Any, status: int = 200, **headers: str) -> Do:
    return Do(status=status, headers={"Content-Type": "application/json", **headers}, body=json.dumps(payload).encode())


def documents(*texts: str, **more: Any) -> Do:
    return say("\n".join(f"Doc {i}: {text}" for i, text in enumerate(texts, 1)), **more)


Script = Callable[[Seen], Do]


class FaultServer:
    """Serves on a free port of 127.0.0.1, in a thread of its own, while its context lasts.

    Args:
        script: What to do with each chat request.
        models: What `/v1/models` lists, or what to do with it.
        hold_until: Chats are answered once this many are there together, and none before.
        port: Where to serve instead of on a free port.

    Attributes:
        chats: The chat requests so far.
        model_requests: How often the models were asked for.
        most_together: The most chats that were there together.
        connections: Connections accepted so far.
    """

    def __init__(
        self, script: Script | Do, *, models: tuple[str, ...] | Do = ("served",), hold_until: int = 0, port: int = 0
    ) -> None:
        self._script: Script = (lambda _: script) if isinstance(script, Do) else script
        self._models = models
        self._hold_until = hold_until
        self.port = port
        self.chats: list[Seen] = []
        self.model_requests = 0
        self.most_together = 0
        self.connections = 0
        self._together = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-server", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    async def _start(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split(" ")
        pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        headers = {name.lower(): value for name, value in pairs}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            self.model_requests += 1
            listed = self._models
            if isinstance(listed, tuple):
                listed = as_json({"object": "list", "data": [{"id": name, "object": "model"} for name in listed]})
            return await self._do(listed, writer)
        seen = Seen(len(self.chats), path, headers, json.loads(raw))
        self.chats.append(seen)
        self._together += 1
        self.most_together = max(self.most_together, self._together)
        try:
            if self._hold_until:
                if self._together >= self._hold_until:
                    self._held.set()
                await self._held.wait()
            return await self._do(self._script(seen), writer)
        finally:
            self._together -= 1

    async def _do(self, do: Do, writer: asyncio.StreamWriter) -> bool:
        if do.how == "hang":
            await asyncio.Event().wait()
        if do.how == "garbage":
            writer.write(b"\x00\x01 what is this\r\n\r\n")
            await writer.drain()
        if do.how in ("close", "garbage"):
            return False
        length = {"cut": len(do.body) + 100, "huge": 100_000_000, "trickle": 50_000}.get(do.how, len(do.body))
        chunked = do.how == "endless"
        headers = {**do.headers, **({"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(length)})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {do.status} Whatever\r\n{lines}\r\n".encode() + do.body)
        await writer.drain()
        if do.how == "cut":
            return False
        while do.how != "reply":
            piece = b"x" if do.how == "trickle" else b"x" * 65_536
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            if do.how == "trickle":
                await asyncio.sleep(0.02)
        return True


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
