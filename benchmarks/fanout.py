"""What one search turn of many episodes costs (`python -m benchmarks fanout`).

A chat server answers each request after 100 ms, on the same machine, and counts. One turn of n episodes is timed in
four ways, one after the other and over again, so that what else the machine does falls on all of them: a bare aiohttp
client that posts the same bodies, ready made, and parses the replies' JSON; `SimulatedEngine.search` with n requests,
documents checked; a step of the vector environment, which is the whole turn: n actions parsed, prompts written, replies
checked, documents shown to the policy; and n searches of one request each, at the same time, as rollouts make them.
Connections are either all there already (warm) or all new (cold), for every one of the four alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym

import zs_env
from benchmarks.fanout_server import FanoutServer, answer_of, query_of, question_of
from zs_env.engines import SimulatedEngine, make_engine
from zs_env.errors import require
from zs_env.types import Question, SearchRequest

__all__ = ["Pool", "Turn", "add_parser", "measure", "measure_pool", "run"]

BARE = "aiohttp alone"
SIDES = (BARE, "engine.search", "vector step", "rollouts")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one way to make a turn costs.

    Attributes:
        episodes: How many search in the turn.
        side: One of `SIDES`.
        connections: "warm" or "cold".
        median_s: Seconds a turn, the median of the repeats.
        best_s: The best of the repeats.
        cpu_ms: Milliseconds of this process's processor time a turn, the median; less than time disturbed by others.
        latencies: The median as a multiple of the server's latency.
        ratio: The time over that of aiohttp alone, the median over the repeats, each against its own.
        requests: Requests that the server saw in a turn, the fewest and the most over the repeats.
        distinct: How many of them were different, the fewest over the repeats.
        peak_in_flight: The most that were there together in a turn, the fewest over the repeats.
        connections_opened: New connections of a turn, the most over the repeats.
        failed: Searches with an error or without the documents that were asked for, over all repeats.
    """

    episodes: int
    side: str
    connections: str
    median_s: float
    best_s: float
    cpu_ms: float
    latencies: float
    ratio: float
    requests: tuple[int, int]
    distinct: int
    peak_in_flight: int
    connections_opened: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How many connections many environments use together.

    Attributes:
        environments: How many, all of which search at the same time.
        made_by: "make_vec" (one vector environment) or "make" (each by itself, its engine too).
        max_connections: The engine's setting.
        seconds: The time of a turn.
        requests: Requests that the server saw.
        peak_in_flight: The most that were there together.
        connections_opened: Connections that they came on.
        failed: Searches with an error or without the documents that were asked for.
    """

    environments: int
    made_by: str
    max_connections: int
    seconds: float
    requests: int
    peak_in_flight: int
    connections_opened: int
    failed: int


class _Sides:
    """The four ways to make the same turn. Each method makes one and returns how many of its searches failed."""

    def __init__(self, server: FanoutServer, episodes: int, seed: int, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._seed = seed
        self._url = f"{server.base_url}/chat/completions"
        options = {"simulation_llm": "m", "base_url": server.base_url, "check": True}
        limit = max(1024, episodes)
        self._engine = make_engine("simulate_prompt", **options, max_connections=limit)
        self._stepped = make_engine("simulate_prompt", **options, max_connections=limit)
        self._questions = [
            Question(id=str(i), question=question_of(i), golden_answers=(answer_of(i),)) for i in range(episodes)
        ]
        self._requests = [
            SearchRequest(query=query_of(i), question=question, quality="useful", noise_probability=0.0, seed=i, topk=5)
            for i, question in enumerate(self._questions)
        ]
        self._envs = gym.make_vec(
            "ZeroSearch-v0",
            num_envs=episodes,
            questions=self._questions,
            engine=self._stepped,
            noise_probability=0.0,
        )
        self._actions: list[str] = []
        self._session: Any = None
        self._reset()
        server.counts()
        self.step()
        self._bodies = server.bodies()

    def _reset(self) -> None:
        self._envs.reset(seed=self._seed, options={"question": self._questions})
        self._actions = [f"<think>Ask.</think><search>{request.query}</search>" for request in self._requests]

    def prepare(self, side: str, *, cold: bool) -> None:
        """What comes before a turn and isn't timed."""
        if side == BARE:
            self._runner.run(self._open(cold))
        elif side == "vector step":
            self._reset()
            if cold:
                _close(self._stepped)
        elif cold:
            self._runner.run(_aclose(self._engine))

    async def _open(self, cold: bool) -> None:
        import aiohttp

        if self._session is not None and cold:
            await self._session.close()
            self._session = None
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    def turn(self, side: str) -> Callable[[], int]:
        """The turn of a side."""
        if side == "vector step":
            return self.step
        way = {BARE: self._alone, "engine.search": self._search, "rollouts": self._roll_out}[side]
        return partial(self._run, way)

    def _run(self, way: Callable[[], Awaitable[int]]) -> int:
        async def main() -> int:
            return await way()

        return self._runner.run(main())

    async def _alone(self) -> int:
        return (await asyncio.gather(*map(self._post, self._bodies))).count(False)

    async def _post(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers) as response:
            reply = json.loads(await response.read())
        return bool(reply["choices"][0]["message"]["content"])

    async def _search(self) -> int:
        results = await self._engine.search(self._requests)
        return sum(not _is_good(result.error, result.metadata) for result in results)

    async def _roll_out(self) -> int:
        found = await asyncio.gather(*(self._engine.search([request]) for request in self._requests))
        return sum(not _is_good(result.error, result.metadata) for [result] in found)

    def step(self) -> int:
        """A step of the vector environment."""
        search = self._envs.step(self._actions)[4]["search"]
        return sum(
            not _is_good(error, metadata) for error, metadata in zip(search["error"], search["metadata"], strict=True)
        )

    def close(self) -> None:
        """Close all connections."""

        async def close() -> None:
            await self._session.close()
            await _aclose(self._engine)

        self._runner.run(close())
        self._envs.close()
        _close(self._stepped)


def _is_good(error: str | None, metadata: Any) -> bool:
    return error is None and bool(metadata["quality_checked"])


async def _aclose(engine: Any) -> None:
    assert isinstance(engine, SimulatedEngine)
    await engine.aclose()


def _close(engine: Any) -> None:
    assert isinstance(engine, SimulatedEngine)
    engine.close()


def measure(
    server: FanoutServer, episodes: int, *, latency_s: float = 0.1, repeats: int = 9, seed: int = 0
) -> list[Turn]:
    """Time turns of one number of episodes, in every way.

    Args:
        server: The server.
        episodes: How many.
        latency_s: Its latency.
        repeats: How often to time each way, after one turn that isn't timed.
        seed: The seed of the environments.
    """
    turns: list[Turn] = []
    with asyncio.Runner() as runner:
        sides = _Sides(server, episodes, seed, runner)
        for cold in (False, True):
            times: dict[str, list[float]] = {side: [] for side in SIDES}
            cpu: dict[str, list[float]] = {side: [] for side in SIDES}
            counts: dict[str, list[dict[str, int]]] = {side: [] for side in SIDES}
            failed = dict.fromkeys(SIDES, 0)
            for repeat in range(-1, repeats):
                shift = repeat % len(SIDES)
                for side in SIDES[shift:] + SIDES[:shift]:
                    sides.prepare(side, cold=cold)
                    turn = sides.turn(side)
                    server.counts()
                    start, cpu_start = time.perf_counter(), time.process_time()
                    failures = turn()
                    taken_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
                    if repeat >= 0:
                        times[side].append(taken_s)
                        cpu[side].append(cpu_s * 1000)
                        counts[side].append(server.counts())
                        failed[side] += failures
            for side in SIDES:
                median_s = statistics.median(times[side])
                requests = [count["requests"] for count in counts[side]]
                turns.append(
                    Turn(
                        episodes=episodes,
                        side=side,
                        connections="cold" if cold else "warm",
                        median_s=median_s,
                        best_s=min(times[side]),
                        cpu_ms=statistics.median(cpu[side]),
                        latencies=median_s / latency_s,
                        ratio=statistics.median(a / b for a, b in zip(times[side], times[BARE], strict=True)),
                        requests=(min(requests), max(requests)),
                        distinct=min(count["distinct"] for count in counts[side]),
                        peak_in_flight=min(count["peak_in_flight"] for count in counts[side]),
                        connections_opened=max(count["connections_opened"] for count in counts[side]),
                        failed=failed[side],
                    )
                )
        sides.close()
    return turns


def measure_pool(server: FanoutServer, environments: int, *, max_connections: int = 1024, seed: int = 0) -> list[Pool]:
    """Let many environments search at the same time, and count their connections.

    Args:
        server: The server.
        environments: How many.
        max_connections: The engines' setting.
        seed: The seed of the environments.
    """
    make = partial(
        make_engine,
        "simulate_prompt",
        simulation_llm="m",
        base_url=server.base_url,
        check=True,
        max_connections=max_connections,
    )
    questions = [Question(id=str(i), question=question_of(i), golden_answers=(answer_of(i),)) for i in range(10)]
    given: dict[str, Any] = {"questions": questions, "noise_probability": 0.0}
    rows = []
    for made_by, turn in (("make_vec", _step_vector), ("make", _step_each)):
        server.counts()
        start, failed = turn(environments, make, given, seed)
        seconds = time.perf_counter() - start
        counts = server.counts()
        rows.append(
            Pool(
                environments=environments,
                made_by=made_by,
                max_connections=max_connections,
                seconds=seconds,
                requests=counts["requests"],
                peak_in_flight=counts["peak_in_flight"],
                connections_opened=counts["connections_opened"],
                failed=failed,
            )
        )
    return rows


def _action(question: str) -> str:
    return f"<search>{question}</search>"


def _step_vector(environments: int, make: Callable[[], Any], given: dict[str, Any], seed: int) -> tuple[float, int]:
    engine = make()
    envs = gym.make_vec("ZeroSearch-v0", num_envs=environments, engine=engine, **given)
    _, info = envs.reset(seed=seed)
    actions = list(map(_action, info["question"]))
    start = time.perf_counter()
    search = envs.step(actions)[4]["search"]
    failed = sum(not _is_good(*pair) for pair in zip(search["error"], search["metadata"], strict=True))
    _close(engine)
    return start, failed


def _step_each(environments: int, make: Callable[[], Any], given: dict[str, Any], seed: int) -> tuple[float, int]:
    envs: list[Any] = [
        gym.make("ZeroSearch-v0", engine=make(), disable_env_checker=True, **given).unwrapped
        for _ in range(environments)
    ]
    actions = [_action(env.reset(seed=seed + i)[1]["question"]) for i, env in enumerate(envs)]

    async def main() -> int:
        steps = await asyncio.gather(*(env.astep(action) for env, action in zip(envs, actions, strict=True)))
        searches = [step[4]["search"] for step in steps]
        return sum(not _is_good(search["error"], search["metadata"]) for search in searches)

    start = time.perf_counter()
    return start, asyncio.run(main())


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `fanout` to the command line."""
    parser = commands.add_parser("fanout", help="what one search turn of many episodes costs beside a bare HTTP client")
    parser.add_argument("--episodes", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--latency-ms", type=float, default=100.0, help="of the server (100)")
    parser.add_argument(
        "--pool", type=int, default=4096, help="environments that share a pool of connections (4096); 0 for none"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print tables, and write the record."""
    require("aiohttp", needed_for="Measuring fan-out", install='pip install "zerosearch-env[simulate]"')
    latency_s = options.latency_ms / 1000
    turns: list[Turn] = []
    with FanoutServer(latency_s) as server:
        for episodes in options.episodes:
            rows = measure(server, episodes, latency_s=latency_s, repeats=options.repeats, seed=options.seed)
            _print_turns(rows, with_head=not turns)
            turns += rows
        pools = measure_pool(server, options.pool, seed=options.seed) if options.pool else []
    if pools:
        print("\n| environments | made by | requests | in flight, most | connections | failed | seconds |")
        print("|---|---|---|---|---|---|---|")
        for pool in pools:
            print(
                f"| {pool.environments} | `{pool.made_by}` | {pool.requests} | {pool.peak_in_flight} "
                f"| {pool.connections_opened} | {pool.failed} | {pool.seconds:.2f} |"
            )
    if options.json is not None:
        record = {
            "schema": "zerosearch.fanout/1",
            "version": zs_env.__version__,
            "seed": options.seed,
            "settings": {"latency_s": latency_s, "repeats": options.repeats, "topk": 5, "check": True},
            "machine": {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                "arch": platform.machine(),
                "aiohttp": sys.modules["aiohttp"].__version__,
            },
            "turns": [asdict(turn) for turn in turns],
            "pools": [asdict(pool) for pool in pools],
        }
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _print_turns(rows: Sequence[Turn], *, with_head: bool) -> None:
    if with_head:
        print(
            "| episodes | connections | way | median | processor time | × latency | × aiohttp alone | requests "
            "| in flight | opened | failed |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        least, most = row.requests
        print(
            f"| {row.episodes} | {row.connections} | {row.side} | {row.median_s * 1000:.0f} ms "
            f"| {row.cpu_ms:.0f} ms | {row.latencies:.2f} "
            f"| {row.ratio:.2f} | {least if least == most else f'{least} to {most}'} | {row.peak_in_flight} "
            f"| {row.connections_opened} | {row.failed} |",
            flush=True,
        )
