"""`python -m benchmarks quantisation`: the same simulator in several formats, side by side on the same questions.

Each GGUF file gets a llama.cpp server of its own; whatever else is served, sglang or vLLM with a GPU, is given by its
address. All are asked every search one after another, in an order that turns, so that what else the machine does meets
them alike: speeds are told as ratios to the first. Documents aren't checked: it is the models that are measured. What
takes a server that isn't given is listed as not run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zs_env
from agents.runs import describe_machine
from zs_env.curriculum import check_whole
from zs_env.engines import make_engine
from zs_env.engines.around.base import ask
from zs_env.engines.llm.gguf import MODEL_NAMES, find_gguf
from zs_env.errors import ConfigError
from zs_env.files import write_json, write_text
from zs_env.intervals import difference_interval
from zs_env.measuring.cases import QUERIES, Case, load_cases
from zs_env.quality import judge, report
from zs_env.serving import serve
from zs_env.tuning.simulator_file import read_simulator
from zs_env.types import SearchRequest, SearchResult

__all__ = ["SCHEMA", "add_parser", "measure", "run", "table"]

SCHEMA = "zerosearch.quantisation/1"

_GPU_FORMATS = ("fp8", "gptq", "awq")


@dataclass(slots=True, kw_only=True)
class _Row:
    """One format of the model, and what came of it."""

    name: str
    path: Path | None
    url: str | None
    mode: str
    engine: Any = None
    pid: int | None = None
    seconds: float = 0.0
    tokens: int = 0
    searches: list[tuple[SearchRequest, SearchResult]] = field(default_factory=list)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `quantisation` to the command line."""
    parser = commands.add_parser(
        "quantisation",
        help="the same simulator in several formats: size, memory, speed and separation on the same questions",
        description=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model", nargs="+", required=True, metavar="FILE", help="the .gguf files, and folders for GPUs; first: ratios"
    )
    add("--server", action="append", default=[], metavar="NAME=URL", help="a server with the folder of that name")
    add("--mode", choices=("simulate_sft", "simulate_prompt"), default="simulate_sft", help="how they are asked")
    add("--questions", nargs="+", default=["atlas"], metavar="SOURCE", help="what `load_questions` takes (atlas)")
    add("--split", help="of the questions (of the atlas: test)")
    add("--limit", type=int, default=20, metavar="N", help="questions of each source (20)")
    add("--queries", choices=QUERIES, default="first-hop", help="how a query is made of a question (first-hop)")
    add("--topk", type=int, default=3, metavar="N", help="documents a search (3)")
    add("--seed", type=int, default=0, help="of the draw and of the searches (0)")
    add("--threads", type=int, default=1, metavar="N", help="threads of each llama.cpp server (1)")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    add("--page", type=Path, metavar="FILE", help="write the table here, as Markdown")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, write the record; returns the exit status."""
    for name, least in (("limit", 1), ("topk", 1), ("threads", 1), ("seed", 0)):
        check_whole(f"--{name}", getattr(options, name), least=least)
    cases, sources = load_cases(
        options.questions,
        split=options.split or ("test" if options.questions == ["atlas"] else None),
        limit=options.limit,
        queries=options.queries,
        hops=None,
        topk=options.topk,
        seed=options.seed,
    )
    rows = _rows(options.model, options.server, options.mode)
    settings = {name: getattr(options, name) for name in ("limit", "queries", "topk", "seed", "threads", "mode")}
    try:
        figures = measure(rows, cases, threads=options.threads, say=lambda line: print(line, file=sys.stderr))
    except KeyboardInterrupt:
        print("stopped: nothing was kept; a smaller --limit takes less time", file=sys.stderr)
        return 130
    record = {
        "schema": SCHEMA,
        "version": zs_env.__version__,
        "settings": settings,
        "questions": {source.name: source.fingerprint for source in sources},
        "machine": describe_machine(),
        "rows": figures,
    }
    if options.json is not None:
        write_json(options.json, record)
    if options.page is not None:
        write_text(options.page, table(figures))
    print(table(figures))
    return int(all("not_run" in row for row in figures))


def _rows(models: Sequence[str], servers: Sequence[str], mode: str) -> list[_Row]:
    """What is to be compared, in order; servers without a folder come last."""
    urls: dict[str, str] = {}
    for each in servers:
        name, equals, url = each.partition("=")
        if not equals or not name or "://" not in url or name in urls:
            raise ConfigError(f"--server takes NAME=URL, each name once; got {each!r:.100}.")
        urls[name] = url
    rows: list[_Row] = []
    for model in models:
        path = find_gguf(model) if model.lower() in MODEL_NAMES else Path(model).expanduser()
        if not path.exists():
            raise ConfigError(f"There is no model at {model!r}: give .gguf files and folders.")
        name = model if model.lower() in MODEL_NAMES else path.name
        if any(row.name == name for row in rows):
            raise ConfigError(f"Models are told apart by the names of their files, and {name!r} is there twice.")
        rows.append(_Row(name=name, path=path, url=urls.pop(name, None), mode=mode))
    return rows + [_Row(name=name, path=None, url=url, mode=mode) for name, url in urls.items()]


def measure(rows: Sequence[_Row], cases: Sequence[Case], *, threads: int, say: Any) -> list[dict[str, Any]]:
    """Ask every row every search, and judge what comes.

    Args:
        rows: What is compared; ratios are to the first that is run.
        cases: The searches.
        threads: Threads of each llama.cpp server.
        say: Is told how it goes, a line each.

    Returns:
        The figures of each row, in plain JSON types.
    """
    with contextlib.ExitStack() as stack:
        for row in rows:
            if row.url is None and row.path is not None and row.path.is_file():
                server = stack.enter_context(serve("llamacpp", row.path, port=0, threads=threads, parallel=1, say=say))
                row.url, row.pid = server.base_url, server.pid
            if row.url is not None:
                row.engine = make_engine(row.mode, base_url=row.url, check=False, **_asked(row))
                stack.callback(row.engine.close)
        running = [row for row in rows if row.engine is not None]
        asyncio.run(_ask_all(running, cases, say))
        memory = {row.name: _memory(row.pid) for row in running}
    first = next((row for row in running if row.seconds and row.tokens), None)
    return [_figures(row, first, memory.get(row.name)) for row in rows]


def _asked(row: _Row) -> dict[str, Any]:
    known = row.mode == "simulate_sft" and row.path is not None and read_simulator(row.path) is not None
    return {"simulator": str(row.path)} if known else {}


async def _ask_all(rows: Sequence[_Row], cases: Sequence[Case], say: Any) -> None:
    for number, case in enumerate(cases):
        turned = [rows[(number + at) % len(rows)] for at in range(len(rows))]
        for row in turned:
            begin = time.perf_counter()
            (result,) = await ask(row.engine, [case.request])
            row.searches.append((case.request, result))
            if result.error is None:
                row.seconds += time.perf_counter() - begin
                row.tokens += int((result.metadata or {}).get("output_tokens") or 0)
        if number % 10 == 9:
            say(f"{number + 1} of {len(cases)} searches")
    for row in rows:
        await row.engine.aclose()


def _memory(pid: int | None) -> int | None:
    """The most memory that a process has held, in bytes; None where that can't be told."""
    if pid is None:
        return None
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return None


def _figures(row: _Row, first: _Row | None, memory: int | None) -> dict[str, Any]:
    told: dict[str, Any] = {"name": row.name, "bytes": _size(row.path), "made": _made(row.path)}
    if row.engine is None:
        return told | {"not_run": "needs a server of sglang or vLLM, given by --server NAME=URL"}
    judged = judge(row.searches)
    useful = report([each for each in judged if each.request.quality == "useful"])
    noisy = report([each for each in judged if each.request.quality == "noisy"])
    held, leaked = useful.holding, noisy.holding
    low, high = difference_interval(held.hits, held.n, leaked.hits, leaked.n)
    rate = row.tokens / row.seconds if row.seconds else None
    base = first.tokens / first.seconds if first is not None else None
    return told | {
        "memory_bytes": memory,
        "tokens_per_s": rate,
        "speed_ratio": rate / base if rate and base else None,
        "useful_holding": {"hits": held.hits, "n": held.n},
        "noisy_holding": {"hits": leaked.hits, "n": leaked.n},
        "separation": held.value - leaked.value if held.value is not None and leaked.value is not None else None,
        "separation_interval": [low, high],
        "similarity": {"useful": useful.similarity, "noisy": noisy.similarity},
        "failed": useful.failed.hits + noisy.failed.hits,
        "searches": len(row.searches),
    }


def _size(path: Path | None) -> int | None:
    if path is None:
        return None
    files = [path] if path.is_file() else path.rglob("*.safetensors")
    return sum(file.stat().st_size for file in files)


def _made(path: Path | None) -> str | None:
    """What `tune quantise` says that it is."""
    record = None if path is None else read_simulator(path)
    found = (record or {}).get("quantisation")
    return found.get("to") if isinstance(found, Mapping) else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of the figures."""
    lines = [
        "| model | format | weights, MB | memory, MB | speed | useful with an answer | noisy with one "
        "| separation (95 %) |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        begin = f"| {row['name']} | {row['made'] or '–'} | {_mb(row['bytes'])} "
        if "not_run" in row:
            lines.append(f"{begin}| – | not run: {row['not_run']} | – | – | – |")
            continue
        low, high = row["separation_interval"]
        gap = "–" if row["separation"] is None else f"{row['separation']:+.2f} ({low:+.2f} to {high:+.2f})"
        ratio = "–" if row["speed_ratio"] is None else f"{row['speed_ratio']:.2f} ×"
        shares = [f"{row[name]['hits']} of {row[name]['n']}" for name in ("useful_holding", "noisy_holding")]
        lines.append(f"{begin}| {_mb(row['memory_bytes'])} | {ratio} | {shares[0]} | {shares[1]} | {gap} |")
    missing = [name for name in _GPU_FORMATS if not any(row["made"] == name for row in rows)]
    if missing:
        lines += ["", f"Not given, so not run: {', '.join(missing)} (served by sglang or vLLM, mostly on a GPU)."]
    return "\n".join(lines) + "\n"


def _mb(num_bytes: int | None) -> str:
    return "–" if num_bytes is None else f"{num_bytes / 1e6:.0f}"
