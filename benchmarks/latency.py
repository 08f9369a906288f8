"""How long searches take, simulated and retrieved, at many searches at the same time (`python -m benchmarks latency`).

So many callers on one event loop each search, wait for their result and search again. A search's time begins when its
caller wants it, so that waiting behind the other callers is part of it, as it is for a rollout. Every engine is
measured at every number of callers in each round, in turn, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import zs_env
from agents.runs import describe_machine
from benchmarks.engine_specs import EngineSpec, check_names, parse_spec, read_specs
from zs_env.curriculum import check_whole
from zs_env.engines.around.base import ask
from zs_env.engines.around.keys import without_secrets
from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.measuring.cases import load_cases
from zs_env.types import SearchEngine, SearchRequest

__all__ = ["Load", "add_parser", "interval_of", "measure", "run", "run_load"]

SCHEMA = "zerosearch.latency/1"
LEVELS = (1, 4, 16, 64, 256)
PERCENTILES = (50, 95, 99)
_RESAMPLES = 1_000
_ENOUGH = {50: 2, 95: 20, 99: 100}
"""Below so many searches, a percentile would be the slowest search alone."""


@dataclass(slots=True, kw_only=True)
class Load:
    """What some callers at the same time saw of an engine.

    Attributes:
        latencies_s: Seconds of each search that didn't fail.
        rates: Searches a second of each round, failed ones left out.
        errors: What failed searches say, and how often.
        documents: Documents that came.
    """

    latencies_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    documents: int = 0


async def run_load(
    engine: SearchEngine,
    requests: Sequence[SearchRequest],
    concurrency: int,
    load: Load,
    *,
    seconds: float = 10.0,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Let callers search until the requests are through or the time is up; what has begun is waited for.

    Args:
        engine: What is asked.
        requests: The searches.
        concurrency: How many callers there are. Each makes one search at least.
        load: Is added to.
        seconds: After this time no search begins.
        clock: Tells the time.
    """
    waiting = iter(requests)
    done, began = 0, clock()

    async def caller() -> None:
        nonlocal done
        for number in itertools.count():
            start = clock()
            if number and start - began > seconds:
                return
            request = next(waiting, None)
            if request is None:
                return
            await asyncio.sleep(0)  # the others are as early: an engine that never waits serves one after the other
            [result] = await ask(engine, [request])
            if result.error is not None:
                load.errors[without_secrets(result.error)[:200]] += 1
                continue
            load.latencies_s.append(clock() - start)
            load.documents += len(result.documents)
            done += 1

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    load.rates.append(done / max(clock() - began, 1e-9))


def measure(
    engines: Mapping[str, SearchEngine],
    requests: Sequence[SearchRequest],
    *,
    levels: Sequence[int] = LEVELS,
    rounds: int = 3,
    searches: int = 512,
    seconds: float = 10.0,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Measure engines at numbers of callers.

    Args:
        engines: Name to engine.
        requests: What is searched for, over and over, each time with another draw.
        levels: Numbers of callers.
        rounds: How often each is measured.
        searches: Searches of a round, at least one a caller.
        seconds: The most seconds of a round, but for the searches that have begun.
        say: Is told how it goes.

    Returns:
        A row for each engine and number of callers; see `docs/real_or_simulated.md`.
    """
    loads = {(name, level): Load() for name in engines for level in levels}
    setup = {}
    with asyncio.Runner() as runner:
        for name, engine in engines.items():
            start = time.perf_counter()
            runner.run(_first(engine, requests[0]))
            setup[name] = time.perf_counter() - start
        for number in range(rounds):
            for level in levels:
                names = list(engines)
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    count = max(searches, level)
                    asked = [_again(requests, number * count + place) for place in range(count)]
                    runner.run(run_load(engines[name], asked, level, loads[name, level], seconds=seconds))
                    say(f"round {number + 1} of {rounds}: {name}, {level} at the same time")
        for engine in engines.values():
            runner.run(_close(engine))
    return [_row(name, level, load, setup[name]) for (name, level), load in loads.items()]


async def _first(engine: SearchEngine, request: SearchRequest) -> None:
    await ask(engine, [request])


async def _close(engine: SearchEngine) -> None:
    closing = getattr(engine, "aclose", None)
    closed = closing() if callable(closing) else None
    if inspect.isawaitable(closed):
        await closed


def _again(requests: Sequence[SearchRequest], place: int) -> SearchRequest:
    request = requests[place % len(requests)]
    return replace(request, seed=(request.seed + place // len(requests)) % 2**63)


def _row(name: str, level: int, load: Load, first_s: float) -> dict[str, Any]:
    failed = sum(load.errors.values())
    return {
        "engine": name,
        "concurrency": level,
        "searches": len(load.latencies_s) + failed,
        "failed": failed,
        "errors": dict(load.errors.most_common(3)),
        "documents_per_search": load.documents / len(load.latencies_s) if load.latencies_s else None,
        "first_search_s": first_s,
        "latency_s": {f"p{share}": interval_of(load.latencies_s, share) for share in PERCENTILES},
        "searches_per_s": {
            "median": float(np.median(load.rates)),
            "low": min(load.rates),
            "high": max(load.rates),
        },
    }


def interval_of(values: Sequence[float], share: int) -> dict[str, Any]:
    """A percentile with its 95 % bootstrap interval (percentiles of 1,000 resamples); None of too few values.

    Examples:
        >>> interval_of([2.0] * 50, 50)
        {'value': 2.0, 'ci': [2.0, 2.0]}
        >>> interval_of([2.0] * 50, 99)
        {'value': None, 'ci': None}
    """
    if len(values) < _ENOUGH[share]:
        return {"value": None, "ci": None}
    known = np.sort(np.asarray(values, dtype=float))
    rng = np.random.default_rng(0)
    found = [float(np.percentile(known[rng.integers(0, len(known), len(known))], share)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(found, [2.5, 97.5])
    return {"value": float(np.percentile(known, share)), "ci": [float(low), float(high)]}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `latency` to the command line."""
    parser = commands.add_parser(
        "latency",
        help="what searches take, simulated and retrieved, at 1 to 256 at the same time",
        description="Time searches of several engines, in turn, at several numbers of searches at the same time: "
        "percentiles with intervals, searches a second, failures. Without --engine: template; bm25 and dense with "
        "--corpus; simulate_prompt with --simulation-llm or --base-url.",
    )
    add = parser.add_argument
    add("--engine", action="append", default=[], metavar="NAME[:key=value,…]", help="an engine; may be given again")
    add("--engines", type=Path, metavar="FILE", help="a TOML or JSON file with [[engine]] entries")
    add("--corpus", metavar="FILE", help="passages for bm25 and dense, where --engine isn't given")
    add("--simulation-llm", metavar="NAME", help="the model that plays the search engine, where --engine isn't given")
    add("--base-url", metavar="URL", help="its server")
    add("--questions", default="atlas", metavar="SOURCE", help="whose questions are searched for (atlas)")
    add("--split", help="of the questions (of the atlas: test)")
    add("--limit", type=int, default=200, metavar="N", help="questions, drawn by the seed (200)")
    add("--concurrency", type=int, nargs="+", default=list(LEVELS), metavar="N", help="searches at the same time")
    add("--searches", type=int, default=512, metavar="N", help="searches of a round (512)")
    add("--seconds", type=float, default=10.0, metavar="S", help="after which no search of a round begins (10)")
    add("--rounds", type=int, default=3, metavar="N", help="how often each engine is measured at each number (3)")
    add("--topk", type=int, default=5, metavar="N", help="documents a search (5)")
    add("--seed", type=int, default=0, help="of the draw of questions and of the searches (0)")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    parser.set_defaults(run=run)


def specs_of(options: argparse.Namespace) -> list[EngineSpec]:
    """The engines that the flags ask for."""
    specs = [parse_spec(text) for text in options.engine] + (read_specs(options.engines) if options.engines else [])
    if not specs:
        specs = [EngineSpec(name="template", search_mode="template")]
        if options.corpus:
            specs += [EngineSpec(name=n, search_mode=n, options={"corpus": options.corpus}) for n in ("bm25", "dense")]
        given = {"simulation_llm": options.simulation_llm, "base_url": options.base_url}
        if llm := {name: value for name, value in given.items() if value is not None}:
            specs.append(EngineSpec(name="simulate_prompt", search_mode="simulate_prompt", options=llm))
    elif options.corpus or options.simulation_llm or options.base_url:
        raise ConfigError(
            "--corpus, --simulation-llm and --base-url are for the engines that are measured without --engine: give "
            "them inside, as in --engine bm25:corpus=passages.jsonl"
        )
    check_names(specs)
    return specs


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the record."""
    for name in ("limit", "searches", "rounds", "topk"):
        check_whole(f"--{name}", getattr(options, name), least=1)
    for level in options.concurrency:
        check_whole("--concurrency", level, least=1)
    specs = specs_of(options)
    cases, [source] = load_cases(
        [options.questions],
        split=options.split or ("test" if options.questions == "atlas" else None),
        limit=options.limit,
        queries="question",
        hops=None,
        topk=options.topk,
        seed=options.seed,
    )
    rows = measure(
        {spec.name: spec.make() for spec in specs},
        [case.request for case in cases],
        levels=options.concurrency,
        rounds=options.rounds,
        searches=options.searches,
        seconds=options.seconds,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(render(rows))
    if options.json:
        names = ("limit", "searches", "seconds", "rounds", "topk")
        record = {
            "schema": SCHEMA,
            "version": zs_env.__version__,
            "seed": options.seed,
            "engines": [spec.record() for spec in specs],
            "settings": {name: getattr(options, name) for name in names},
            "fingerprints": {"questions": source.fingerprint},
            "machine": describe_machine(),
            "rows": rows,
        }
        write_json(options.json, record)


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| engine | at the same time | searches | failed | p50, ms | p95, ms | p99, ms | searches a second (range) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [_milliseconds(row["latency_s"][f"p{share}"]) for share in PERCENTILES]
        rate = row["searches_per_s"]
        lines.append(
            f"| {row['engine']} | {row['concurrency']} | {row['searches']} | {row['failed']} | {' | '.join(cells)} "
            f"| {rate['median']:.4g} ({rate['low']:.4g} to {rate['high']:.4g}) |"
        )
    return "\n".join(lines)


def _milliseconds(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    low, high = figure["ci"]
    return f"{1000 * figure['value']:.3g} [{1000 * low:.3g}, {1000 * high:.3g}]"
