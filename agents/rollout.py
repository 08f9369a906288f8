"""Playing episodes with a policy: many at once, no barrier between them, token ids in and out.

Each episode goes on as its own search returns: those that can speak are generated together while slow searches of
others are still under way. With a sampler that takes requests one by one, each goes on as its own generation returns,
too. This is also the error boundary: whatever an engine (or a reward, or a policy) raises
becomes a failed trajectory with its error recorded, which is counted and kept out of the loss; nothing of an error's
text becomes tokens; past a set failure rate the run stops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from agents.codec import TextCodec
from agents.conversation import Conversation, EpisodeTask, RolloutSettings
from agents.errors import RolloutError
from agents.samplers.base import (
    ConversationKey,
    Generation,
    GenerationRequest,
    RememberingSampler,
    Sampler,
    StreamingSampler,
)
from agents.trajectory import Trajectory
from zs_env.bridge import run_blocking
from zs_env.episode import EpisodeSettings
from zs_env.errors import BudgetError, EngineContractError, ServiceError, ZeroSearchError
from zs_env.types import SearchEngine, SearchRequest, SearchResult, SyncSearchEngine

__all__ = [
    "EpisodeTask",
    "RolloutResult",
    "RolloutSettings",
    "check_failures",
    "rollout",
    "rollout_sync",
    "search_each",
    "search_one",
]


@dataclass(slots=True, kw_only=True)
class RolloutResult:
    """What a rollout gave.

    Attributes:
        trajectories: One a task, in the order of the tasks, failed ones included.
        generate_s: Seconds in which the sampler was at work.
        search_s: Seconds in which nothing but searches was under way.
        total_s: Seconds in all.
        metrics: What whoever plays a step has to say of how, by name.
    """

    trajectories: list[Trajectory] = field(default_factory=list)
    generate_s: float = 0.0
    search_s: float = 0.0
    total_s: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def num_failed(self) -> int:
        """Episodes that something else than the policy ended."""
        return sum(trajectory.failed for trajectory in self.trajectories)

    def __add__(self, other: RolloutResult) -> RolloutResult:
        """Both, one after the other."""
        return RolloutResult(
            trajectories=[*self.trajectories, *other.trajectories],
            generate_s=self.generate_s + other.generate_s,
            search_s=self.search_s + other.search_s,
            total_s=self.total_s + other.total_s,
            metrics=self.metrics | other.metrics,
        )


async def rollout(
    tasks: Sequence[EpisodeTask],
    *,
    sampler: Sampler,
    codec: TextCodec,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    settings: RolloutSettings,
    seed: int,
) -> RolloutResult:
    """Play one episode a task.

    With an engine that answers equal requests equally, the result depends on the arguments alone (up to rounding in the
    last bits, where slow searches change which episodes are generated together).

    Args:
        tasks: What to play.
        sampler: The policy. A `StreamingSampler` is given each request as it comes; any other is called in a thread of
            its own, so searches go on meanwhile.
        codec: Its tokenizer's codec.
        engine: Who answers searches, one call an episode; an engine that never waits is called directly, with all
            searches that are wanted at that time.
        episode_settings: The rules of the episodes.
        settings: Budgets, and how much may fail.
        seed: Where all randomness comes from, with each task's key.

    Raises:
        RolloutError: More episodes failed than `settings.max_failure_rate` allows.
        NonFiniteError: The policy's logits are NaN or infinite.
        BudgetError: The budget for searches is used up, and the engine asks for the run to stop.
    """
    began = time.perf_counter()
    play = _Play(sampler, engine)
    conversations = [Conversation(task, codec, episode_settings, settings, seed) for task in tasks]
    await play.run([conversation for conversation in conversations if conversation.begin()])
    result = RolloutResult(
        trajectories=[conversation.trajectory for conversation in conversations],
        generate_s=play.generate_s,
        search_s=play.search_s,
        total_s=time.perf_counter() - began,
    )
    check_failures(result, settings.max_failure_rate, play.error)
    return result


def rollout_sync(
    tasks: Sequence[EpisodeTask],
    *,
    sampler: Sampler,
    codec: TextCodec,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    settings: RolloutSettings,
    seed: int,
) -> RolloutResult:
    """`rollout` for callers without an event loop; all calls share one, so an engine keeps its connections."""
    return run_blocking(
        rollout(
            tasks,
            sampler=sampler,
            codec=codec,
            engine=engine,
            episode_settings=episode_settings,
            settings=settings,
            seed=seed,
        )
    )


def check_failures(result: RolloutResult, max_failure_rate: float, cause: Exception | None = None) -> None:
    """Refuse a rollout of which too much failed.

    Raises:
        RolloutError: More than this share of its episodes.
    """
    failed = [trajectory for trajectory in result.trajectories if trajectory.failed]
    if len(failed) > max_failure_rate * len(result.trajectories):
        error = RolloutError(
            f"{len(failed)} of {len(result.trajectories)} episodes failed, more than max_failure_rate="
            f"{max_failure_rate} allows. The first (question {failed[0].question_id!r}): {failed[0].error}"
        )
        error.result, error.max_failure_rate = result, max_failure_rate
        raise error from cause


class _Play:
    """One rollout in progress."""

    def __init__(self, sampler: Sampler, engine: SearchEngine) -> None:
        self.generate_s = 0.0
        self.search_s = 0.0
        self.error: Exception | None = None
        self._sampler = sampler
        self._streamer = sampler if isinstance(sampler, StreamingSampler) else None
        self._engine = engine
        self._open: dict[ConversationKey, Conversation] = {}
        self._ready: list[Conversation] = []
        self._speaking: list[Conversation] = []
        self._generating: asyncio.Future[list[Generation]] | None = None
        self._streaming: dict[asyncio.Future[Generation], Conversation] = {}
        self._searching: dict[asyncio.Future[SearchResult], Conversation] = {}
        self._done: set[asyncio.Future[Any]] = set()
        self._wake = asyncio.Event()

    async def run(self, conversations: Sequence[Conversation]) -> None:
        """Drive the conversations to their ends."""
        self._ready = list(conversations)
        self._open = {conversation.key: conversation for conversation in conversations}
        with ThreadPoolExecutor(1, thread_name_prefix="sampler") as thread:
            try:
                while self._ready or self._generating or self._streaming or self._searching:
                    if self._streamer is not None:
                        self._submit(self._streamer)
                    elif self._ready and self._generating is None:
                        self._start_generating(thread)
                    await self._next()
                    self._forget([key for key, conversation in self._open.items() if conversation.done])
            finally:
                for search in self._searching:
                    search.cancel()
                for generating in self._streaming:
                    if not generating.cancel() and not generating.cancelled():
                        generating.exception()  # nobody asks any more; asyncio would complain of that
                self._forget(list(self._open))

    def _forget(self, keys: list[ConversationKey]) -> None:
        """Tell a sampler that remembers that these conversations are over."""
        for key in keys:
            del self._open[key]
        if keys and isinstance(self._sampler, RememberingSampler):
            self._sampler.forget(keys)

    def _submit(self, sampler: StreamingSampler) -> None:
        """Ask for what each conversation that can speak says next, one by one."""
        ready, self._ready = self._ready, []
        for conversation in ready:
            try:
                generating = asyncio.wrap_future(sampler.submit(conversation.request()))
            except Exception as error:
                self._fail([conversation], error)
                continue
            self._streaming[generating] = conversation
            self._watch(generating)

    def _start_generating(self, thread: ThreadPoolExecutor) -> None:
        self._speaking, self._ready = self._ready, []
        requests = [conversation.request() for conversation in self._speaking]
        self._generating = asyncio.get_running_loop().run_in_executor(thread, self._generate, requests)
        self._watch(self._generating)

    def _generate(self, requests: list[GenerationRequest]) -> list[Generation]:
        began = time.perf_counter()
        try:
            return self._sampler.generate(requests)
        finally:
            self.generate_s += time.perf_counter() - began

    def _watch(self, future: asyncio.Future[Any]) -> None:
        # `asyncio.wait` would look at all that are pending whenever one is done.
        future.add_done_callback(self._note)

    def _note(self, future: asyncio.Future[Any]) -> None:
        self._done.add(future)
        self._wake.set()

    async def _next(self) -> None:
        """Wait until something is done, then go on with everything that is."""
        if not (self._searching or self._streaming or self._generating):  # nobody could be asked
            return
        began = time.perf_counter()
        await self._wake.wait()
        self._wake.clear()
        done, self._done = self._done, set()
        waited_s = time.perf_counter() - began
        if self._streaming:
            self.generate_s += waited_s
        elif self._generating is None:
            self.search_s += waited_s
        # By their own order, not the set's, so that equal runs make equal batches.
        for search in [search for search in self._searching if search in done]:
            conversation = self._searching.pop(search)
            self._observe(conversation, search.result())
        if self._generating is not None and self._generating in done:
            generating, self._generating = self._generating, None
            self._take_all(generating)
        self._take_each([generating for generating in self._streaming if generating in done])

    def _take_all(self, generating: asyncio.Future[list[Generation]]) -> None:
        try:
            generations = generating.result()
            if len(generations) != len(self._speaking):
                raise RuntimeError(f"{len(generations)} generations came back for {len(self._speaking)} requests.")
        except Exception as error:
            self._fail(self._speaking, error)
            return
        self._take(list(zip(self._speaking, generations, strict=True)))

    def _take_each(self, done: Sequence[asyncio.Future[Generation]]) -> None:
        spoken: list[tuple[Conversation, Generation]] = []
        ended = [(self._streaming.pop(generating), generating) for generating in done]
        for conversation, generating in ended:
            try:
                spoken.append((conversation, generating.result()))
            except asyncio.CancelledError:
                self._fail([conversation], RuntimeError("The sampler gave up a request that it had taken."))
            except Exception as error:
                self._fail([conversation], error)
        self._take(spoken)

    def _fail(self, conversations: Sequence[Conversation], error: Exception) -> None:
        """End episodes whose policy failed them.

        Raises:
            ZeroSearchError: The error itself, if it says that the rollout can't go well.
        """
        if isinstance(error, ZeroSearchError) and not isinstance(error, ServiceError):
            raise error
        self.error = self.error or error
        for conversation in conversations:
            conversation.fail(error)

    def _take(self, spoken: Sequence[tuple[Conversation, Generation]]) -> None:
        wanted: list[tuple[Conversation, SearchRequest]] = []
        for conversation, generation in spoken:
            request = self._guard(conversation, lambda c=conversation, g=generation: c.take(g))  # type: ignore[misc]
            if isinstance(request, SearchRequest):
                wanted.append((conversation, request))
            elif not conversation.done:
                self._ready.append(conversation)
        self._search(wanted)

    def _search(self, wanted: Sequence[tuple[Conversation, SearchRequest]]) -> None:
        if not isinstance(self._engine, SyncSearchEngine):
            for conversation, request in wanted:
                search = asyncio.ensure_future(search_one(self._engine, request))
                self._searching[search] = conversation
                self._watch(search)
            return
        began = time.perf_counter()
        results = search_each(self._engine, [request for _, request in wanted])
        self.search_s += time.perf_counter() - began
        for (conversation, _), result in zip(wanted, results, strict=True):
            self._observe(conversation, result)

    def _observe(self, conversation: Conversation, result: SearchResult) -> None:
        self._guard(conversation, lambda: conversation.observe(result))
        if not conversation.done:
            self._ready.append(conversation)

    def _guard(self, conversation: Conversation, act: Callable[[], SearchRequest | None]) -> SearchRequest | None:
        try:
            return act()
        except Exception as error:
            self.error = self.error or error
            conversation.fail(error)
            return None


def search_each(engine: SyncSearchEngine, requests: list[SearchRequest]) -> list[SearchResult]:
    """Search all at once; if that raises, one by one, so that only what is at fault fails.

    Raises:
        BudgetError: The budget for searches is used up.
    """
    if not requests:
        return []
    try:
        results = engine.search_now(requests)
        if isinstance(results, list) and len(results) == len(requests):
            return results
        error: Exception = _wrong_count(engine, len(requests), results)
    except BudgetError:
        raise
    except Exception as raised:
        error = raised
    if len(requests) == 1:
        return [_failure(engine, error)]
    return [search_each(engine, [request])[0] for request in requests]


async def search_one(engine: SearchEngine, request: SearchRequest) -> SearchResult:
    """One search; whatever the engine raises becomes a failed one.

    Raises:
        BudgetError: The budget for searches is used up.
    """
    try:
        results = await engine.search([request])
        if isinstance(results, list) and len(results) == 1:
            return results[0]
        return _failure(engine, _wrong_count(engine, 1, results))
    except BudgetError:
        raise
    except Exception as error:
        return _failure(engine, error)


def _wrong_count(engine: SearchEngine, wanted: int, results: object) -> EngineContractError:
    got = f"{len(results)} results" if isinstance(results, list) else f"a {type(results).__name__}"
    return EngineContractError(f"Engine {engine.name!r} was given {wanted} requests and returned {got}.")


def _failure(engine: SearchEngine, error: Exception) -> SearchResult:
    name = getattr(engine, "name", type(engine).__name__)
    return SearchResult(documents=(), engine=str(name), error=f"{type(error).__name__}: {error}")
