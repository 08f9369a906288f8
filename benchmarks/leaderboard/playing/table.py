"""Who writes and who searches for all games of a run: the model, the engine, and what was kept of a run before."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Literal, Protocol

from agents.codec import CharacterCodec, TextCodec
from agents.rollout import search_each, search_one
from agents.samplers.base import (
    ConversationKey,
    Generation,
    GenerationRequest,
    RememberingSampler,
    Sampler,
    SamplingSettings,
    StreamingSampler,
)
from agents.samplers.openai import CHARACTERS_PER_TOKEN, OpenAISampler
from benchmarks.leaderboard.playing.pace import Pace
from benchmarks.leaderboard.playing.player import BoardPlayer
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult, SyncSearchEngine

__all__ = ["PlayingTable", "Replay", "TokenCount"]

TokenCount = Literal["model", "server", "characters"]
"""Who counted tokens: the model's own tokenizer, its server, or nobody, so that four characters are taken for one."""

_SEARCH = "search"


class Replay(Protocol):
    """What models wrote before, by a key of everything that it depends on."""

    def lookup(self, key: str) -> Mapping[str, Any] | None:
        """What was stored for a key; None if nothing was."""

    def store(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep it."""


class PlayingTable:
    """The table of a run; see `benchmarks.leaderboard.agents.table.Table`.

    Args:
        player: Who writes.
        engine: Who searches.
        temperature: What logits are divided by; None for the likeliest token.
        replay: What was written before.

    Attributes:
        pace: Who waits for what.
        counted: How tokens were counted so far; the least exact way, if there were several.
    """

    def __init__(
        self,
        player: BoardPlayer,
        engine: SearchEngine,
        *,
        temperature: float | None = None,
        replay: Replay | None = None,
    ) -> None:
        self.pace = Pace(self._grant)
        self.counted: TokenCount | None = None
        self._player, self._engine, self._temperature, self._replay = player, engine, temperature, replay
        self._samplers: dict[tuple[str, ...], Sampler] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="board-player")

    @property
    def codec(self) -> TextCodec:
        """See `Table`."""
        return self._player.codec

    @property
    def is_function(self) -> bool:
        """See `Table`."""
        return self._player.function is not None

    def close(self, *, wait_s: float | None = None) -> None:
        """Let go of the thread that the model writes in.

        Args:
            wait_s: The most seconds to wait for what it is writing, which is left alone then; None for no limit.
        """
        if wait_s is None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            return
        free = self._thread.submit(lambda: None)
        wait([free], timeout=wait_s)
        self._thread.shutdown(wait=free.done(), cancel_futures=True)

    async def write(self, request: GenerationRequest, stop: tuple[str, ...]) -> Generation:
        """See `Table`."""
        sampler = self._sampler(stop)
        if self._replay is None:
            return await self._generate(sampler, request, stop)
        key = self._key(request, stop)
        stored = self._replay.lookup(key)
        if stored is not None:
            generation = _from_record(stored, self.codec)
            if isinstance(sampler, OpenAISampler):
                sampler.remember(request, generation)
            return generation
        generation = await self._generate(sampler, request, stop)
        self._replay.store(key, _to_record(generation, self.codec))
        return generation

    async def _generate(self, sampler: Sampler, request: GenerationRequest, stop: tuple[str, ...]) -> Generation:
        if isinstance(sampler, StreamingSampler):
            return await self.pace.elsewhere(asyncio.wrap_future(sampler.submit(request)))
        generation: Generation = await self.pace.wish(("write", stop), request)
        return generation

    def _sampler(self, stop: tuple[str, ...]) -> Sampler:
        if stop not in self._samplers:
            settings = SamplingSettings(
                greedy=self._temperature is None, temperature=self._temperature or 1.0, stop_strings=stop
            )
            self._samplers[stop] = self._player.sampler(settings)
        return self._samplers[stop]

    def _key(self, request: GenerationRequest, stop: tuple[str, ...]) -> str:
        """Of everything that the text depends on; of a greedy one, its seed isn't."""
        player = self._player
        parts = {
            "model": player.identity,
            "prompt": hashlib.sha256(repr(list(request.prompt_ids)).encode()).hexdigest(),
            "stop": list(stop),
            "max_new_tokens": request.max_new_tokens,
            "temperature": self._temperature,
            "seed": None if self._temperature is None else request.seed,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def count(self, request: GenerationRequest, generation: Generation) -> tuple[int, int]:
        """See `Table`."""
        if generation.usage is not None:
            self.counted = self.counted or "server"
            return generation.usage
        read, written = len(request.prompt_ids), len(generation.ids)
        if not isinstance(self.codec, CharacterCodec):
            self.counted = "model"
            return read, written
        self.counted = "characters"
        return math.ceil(read / CHARACTERS_PER_TOKEN), math.ceil(written / CHARACTERS_PER_TOKEN)

    def forget(self, conversations: list[ConversationKey]) -> None:
        """See `Table`."""
        for sampler in self._samplers.values():
            if isinstance(sampler, RememberingSampler):
                sampler.forget(conversations)

    async def act(self, observation: str) -> str:
        """See `Table`; a function that isn't `async` runs in a thread, one call at a time."""
        self.counted = "characters"
        function = self._player.function
        assert function is not None
        if inspect.iscoroutinefunction(function):
            said = await self.pace.elsewhere(function(observation))
        else:
            loop = asyncio.get_running_loop()
            said = await self.pace.elsewhere(loop.run_in_executor(self._thread, function, observation))
            if inspect.isawaitable(said):
                said = await self.pace.elsewhere(said)
        return said  # type: ignore[no-any-return]  # the episode sees that it is text

    async def search(self, request: SearchRequest) -> SearchResult:
        """See `Table`."""
        if isinstance(self._engine, SyncSearchEngine):
            result: SearchResult = await self.pace.wish(_SEARCH, request)
            return result
        return await self.pace.elsewhere(search_one(self._engine, request))

    async def _grant(self, kind: Hashable, items: list[Any]) -> list[Any]:
        if kind == _SEARCH:
            assert isinstance(self._engine, SyncSearchEngine)
            return list(search_each(self._engine, items))
        assert isinstance(kind, tuple)
        generate: Callable[[list[GenerationRequest]], list[Generation]] = self._samplers[kind[1]].generate
        generations = await asyncio.get_running_loop().run_in_executor(self._thread, generate, items)
        if len(generations) != len(items):
            raise RuntimeError(f"{len(generations)} generations came back for {len(items)} requests.")
        return generations


def _to_record(generation: Generation, codec: TextCodec) -> dict[str, Any]:
    record: dict[str, Any] = {"text": generation.text, "finish_reason": generation.finish_reason}
    if not isinstance(codec, CharacterCodec):
        record["ids"] = list(generation.ids)
    if generation.usage is not None:
        record["usage"] = list(generation.usage)
    return record


def _from_record(record: Mapping[str, Any], codec: TextCodec) -> Generation:
    try:
        text = record["text"]
        ids = codec.encode(text) if isinstance(codec, CharacterCodec) else record["ids"]
        usage = record.get("usage")
        return Generation(
            ids=tuple(ids),
            logprobs=(0.0,) * len(ids),
            finish_reason=record["finish_reason"],
            weight_version=0,
            text=text,
            usage=None if usage is None else (usage[0], usage[1]),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"Not what a replay keeps of a text ({error}): {record!r:.200}.") from error
