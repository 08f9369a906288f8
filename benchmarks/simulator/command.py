"""`python -m benchmarks simulator`: measure an engine's searches, and compare records."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks.simulator.meaning import find_meaning
from benchmarks.simulator.page import write_page
from benchmarks.simulator.record import make_record, read_records
from benchmarks.simulator.table import PAGE_HEAD, render_table
from benchmarks.simulator.table_sources import read_published, read_sources
from benchmarks.simulator.tables import render
from zs_env.curriculum import check_whole
from zs_env.engines import SEARCH_MODES, make_engine
from zs_env.errors import ConfigError
from zs_env.files import write_json, write_text
from zs_env.measuring.cases import ASKED, load_cases
from zs_env.measuring.describing import prompt_texts
from zs_env.measuring.facts import engine_facts
from zs_env.measuring.running import run_cases
from zs_env.quality import judge
from zs_env.types import SearchEngine

__all__ = ["add_parser", "run", "run_report", "run_table"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `simulator` to the command line."""
    parser = commands.add_parser(
        "simulator",
        help="what an engine's useful and noisy searches are worth",
        description="Ask an engine each question's query once for useful documents and once for noisy ones, and score "
        "what comes: whether it holds an answer, stays on topic, repeats itself, what it takes. Golden answers are "
        "looked for by a matcher of its own, not by the engine's check. With --out, a run that was stopped goes on.",
    )
    add = parser.add_argument
    add("--engine", default="template", metavar="MODE", help=f"search mode: {', '.join(SEARCH_MODES)} (template)")
    add("--questions", nargs="+", default=["atlas"], metavar="SOURCE", help="atlas, or files, or hf:<id> (atlas)")
    add("--split", help="of the questions (of the atlas: test)")
    add("--limit", type=int, default=200, metavar="N", help="questions of each source, drawn by the seed (200)")
    add("--queries", choices=ASKED, default="first-hop", help=_QUERIES_HELP)
    hops = parser.add_mutually_exclusive_group()
    hops.add_argument("--multi-hop", dest="hops", action="store_const", const=2, help="all questions take several hops")
    hops.add_argument("--single-hop", dest="hops", action="store_const", const=1, help="all questions take one hop")
    add("--topk", type=int, default=5, metavar="N", help="documents a search (5)")
    add("--seed", type=int, default=0, help="of the draw of questions and of the searches (0)")
    add("--concurrency", type=int, default=8, metavar="N", help="searches at the same time (8)")
    add("--simulation-llm", metavar="NAME", help="the model that plays the search engine")
    add("--base-url", metavar="URL", help="the model's server; several with commas between")
    add("--check", action=argparse.BooleanOptionalAction, help="whether the engine checks its documents (its default)")
    add("--max-tries", type=int, metavar="N", help="the most replies that a checked search asks for (the engine's)")
    add("--search-option", action="append", default=[], metavar="NAME=VALUE", help="any other option of the engine")
    add("--model-file", type=Path, metavar="PATH", help="where a served simulator's weights lie, to read their size")
    add("--tuned", action=argparse.BooleanOptionalAction, help="whether the simulator was fine-tuned, for the record")
    add("--name", help="what tables call the engine")
    add("--out", type=Path, metavar="DIR", help="keep every search here, go on with a stopped run, write the record")
    add("--retry-failed", action="store_true", help="ask the failed searches in --out again")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    add("--examples", type=int, default=5, metavar="N", help="questions whose documents the record shows (5)")
    add("--meaning", action=argparse.BooleanOptionalAction, default=True, help=_MEANING_HELP)
    add("--bars", action="store_true", help="end with status 1 if a bar is missed")
    parser.set_defaults(run=run)
    kinds = parser.add_subparsers(dest="kind", metavar="report|table")
    compare = kinds.add_parser("report", help="tables of several records, side by side")
    compare.add_argument("records", nargs="+", type=Path, metavar="RECORD")
    compare.add_argument(
        "--page", type=Path, metavar="FILE", help="write them to this Markdown file, a chart beside it"
    )
    compare.set_defaults(run=run_report)
    table = kinds.add_parser("table", help="simulators by kind and size, with the published ones beside")
    table.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD", help="records, gate.json, summary.json of trainings; folders"
    )
    table.add_argument("--page", type=Path, metavar="FILE", help="write it to this Markdown file")
    table.set_defaults(run=run_table)


_QUERIES_HELP = (
    "how a query is made of a question: first-hop is the question itself, or the names in it if it takes several hops; "
    "keywords are its words that say something; given is what the metadata of the question says (first-hop)"
)


_MEANING_HELP = "whether similarity is also measured by embeddings, if the package wordllama is installed (yes)"


def run(options: argparse.Namespace) -> int:
    """Measure, print tables, write the record; 1 if a bar was to be met and isn't, 130 if stopped, else 0."""
    for name, least in (("limit", 1), ("topk", 1), ("concurrency", 1), ("max_tries", 1), ("examples", 0), ("seed", 0)):
        if getattr(options, name) is not None:
            check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=least)
    cases, sources = load_cases(
        options.questions,
        split=options.split or ("test" if options.questions == ["atlas"] else None),
        limit=options.limit,
        queries=options.queries,
        hops=options.hops,
        topk=options.topk,
        seed=options.seed,
    )
    given = _engine_options(options)
    engine = make_engine(options.engine, **given)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    try:
        answers = run_cases(
            cases,
            engine,
            concurrency=options.concurrency,
            path=None if options.out is None else options.out / "searches.jsonl",
            retry_failed=options.retry_failed,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        kept = "nothing was kept" if options.out is None else "the same command goes on where it stopped"
        print(f"stopped: {kept}", file=sys.stderr)
        return 130
    finally:
        _close(engine)
    searches = [(case.request, answered.result) for case, answered in zip(cases, answers, strict=True)]
    meaning = find_meaning() if options.meaning else None
    settings = {name: getattr(options, name) for name in ("limit", "queries", "hops", "topk", "seed", "concurrency")}
    record = make_record(
        name=options.name or _default_name(options),
        engine=engine,
        sources=sources,
        cases=cases,
        answers=answers,
        judged=judge(searches, prompt_texts=prompt_texts(engine), meaning=meaning),
        settings=settings
        | {
            "split": options.split,
            "max_tries": options.max_tries,
            "check": options.check,
            "meaning": meaning is not None,
        },
        command=_command(options),
        num_examples=options.examples,
        facts=engine_facts(engine, file=options.model_file, tuned=options.tuned),
    )
    for path in (options.json, None if options.out is None else options.out / "record.json"):
        if path is not None:
            write_json(path, record)
    print(render([record]))
    if all(result.error for _, result in searches):
        print("error: every search failed", file=sys.stderr)
        return 1
    return int(options.bars and any(bar["met"] is not True for bar in record["bars"]))


def run_report(options: argparse.Namespace) -> int:
    """Print the tables of several records, and write their page."""
    records = read_records(options.records)
    if options.page is not None:
        write_page(records, options.page)
    print(render(records))
    return 0


def run_table(options: argparse.Namespace) -> int:
    """Print the table of simulators, and write its page."""
    text = render_table(read_sources(options.records), read_published())
    if options.page is not None:
        write_text(options.page, PAGE_HEAD + text + "\n")
    print(text)
    return 0


def _close(engine: SearchEngine) -> None:
    close = getattr(engine, "close", None)
    if callable(close):
        close()


def _engine_options(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "simulation_llm": options.simulation_llm,
        "base_url": options.base_url,
        "check": options.check,
        "max_tries": options.max_tries,
    }
    found = {name: value for name, value in given.items() if value is not None}
    for each in options.search_option:
        name, equals, value = each.partition("=")
        if not equals or not name or name in found:
            raise ConfigError(f"--search-option takes NAME=VALUE, each name once; got {each!r:.100}.")
        found[name] = _as_value(value)
    return found


def _as_value(text: str) -> Any:
    """JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _default_name(options: argparse.Namespace) -> str:
    parts = [options.engine, Path(options.simulation_llm).name if options.simulation_llm else ""]
    checked = "" if options.check is None else "checked" if options.check else "unchecked"
    return " ".join(part for part in (*parts, checked) if part)


def _command(options: argparse.Namespace) -> str:
    """The command that was run, without what is this machine's alone."""
    words: list[str] = ["python", "-m", "benchmarks", "simulator", "--engine", options.engine, "--questions"]
    words += [Path(source).name if not source.startswith("hf:") else source for source in options.questions]
    for name in ("split", "limit", "queries", "topk", "seed", "concurrency", "max_tries"):
        if getattr(options, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    words += {1: ["--single-hop"], 2: ["--multi-hop"]}.get(options.hops, [])
    words += ["--simulation-llm", Path(options.simulation_llm).name] if options.simulation_llm else []
    words += ["--base-url", "SERVER"] if options.base_url else []
    words += [] if options.check is None else ["--check" if options.check else "--no-check"]
    words += [] if options.tuned is None else ["--tuned" if options.tuned else "--no-tuned"]
    words += ["--model-file", options.model_file.name] if options.model_file else []
    for each in options.search_option:
        words += ["--search-option", _without_path(each)]
    return shlex.join(words)


def _without_path(option: str) -> str:
    name, _, value = option.partition("=")
    return f"{name}={Path(value).name}" if "/" in value else option
