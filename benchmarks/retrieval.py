"""What real retrieval finds, beside what simulators make up (`python -m benchmarks retrieval`).

Two measurements whose balance decides between the two kinds of search:

- **On real questions and passages**: recall@k (questions for which a golden answer stands in the first k documents)
  and answer precision@k (documents of the first k that hold one), of retrieval and of simulators alike. Retrieval can
  only find what the corpus holds: both are of the *answerable* questions, those that have a golden answer in any
  passage, and the share of these is told. Where an answer means nothing to look for (yes, no, …), a question is left
  out and counted.
- **On the atlas**, whose facts are known: how many documents assert a wrong answer to the very thing that is asked
  (`assertions` says by which rule). This is the simulators' hallucination rate; a retriever over true passages has none
  of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import zs_env
from agents.runs import describe_machine
from benchmarks.assertions import check_result
from benchmarks.atlas_passages import write_passages
from benchmarks.engine_specs import EngineSpec, check_names, parse_spec
from zs_env.curriculum import check_whole
from zs_env.engines.around.keys import without_secrets
from zs_env.engines.retrieval import read_passages
from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.intervals import wilson_interval
from zs_env.matching import find_matcher
from zs_env.measuring.cases import Case, load_cases
from zs_env.measuring.figures import ratio_interval
from zs_env.measuring.running import run_cases
from zs_env.types import QuestionSource, SearchEngine, SearchRequest, SearchResult

__all__ = ["add_parser", "answerable", "run", "score_answers", "score_assertions"]

SCHEMA = "zerosearch.retrieval/1"
KS = (1, 3, 5, 10)

Search = tuple[SearchRequest, SearchResult]


def share(hits: int, n: int) -> dict[str, Any]:
    """A share with its 95 % Wilson interval."""
    return {"value": hits / n if n else None, "hits": hits, "n": n, "ci": list(wilson_interval(hits, n)) if n else None}


def answerable(requests: Sequence[SearchRequest], texts: Iterable[str]) -> list[bool | None]:
    """Of each request's question, whether a golden answer stands in any text; None where that can't be told."""
    matchers = [find_matcher(tuple(r.question.golden_answers), r.question.question) for r in requests]
    found: list[bool | None] = [None if matcher.excluded else False for matcher in matchers]
    for text in texts:  # outside: reading a text is dearer than looking for an answer in it
        for place, matcher in enumerate(matchers):
            if found[place] is False and matcher.is_held(text):
                found[place] = True
    return found


def score_answers(searches: Sequence[Search], ks: Sequence[int] = KS) -> dict[str, Any]:
    """Recall@k and answer precision@k of searches for answerable questions.

    Precision counts a place without a document as a document without an answer, but for searches that failed, which
    are left out and counted.

    Returns:
        `n`, `failed`, `recall` and `precision` by k; a precision's interval takes questions for independent.
    """
    rows = []
    for request, result in searches:
        if result.error is None:
            matcher = find_matcher(tuple(request.question.golden_answers), request.question.question)
            whole = [f"{document.title or ''}\n{document.text}" for document in result.documents]
            rows.append([bool(matcher.is_held(text)) for text in whole])
    precision = {}
    for k in ks:
        hits = [sum(row[:k]) for row in rows]
        value = sum(hits) / (k * len(rows)) if rows else None
        precision[str(k)] = {"value": value, "ci": ratio_interval([(float(hit), float(k)) for hit in hits])}
    return {
        "n": len(searches),
        "failed": len(searches) - len(rows),
        "recall": {str(k): share(sum(any(row[:k]) for row in rows), len(rows)) for k in ks},
        "precision": precision,
        "documents_per_search": sum(map(len, rows)) / len(rows) if rows else None,
    }


def score_assertions(searches: Sequence[Search]) -> dict[str, Any]:
    """What the documents of searches for the atlas' facts assert.

    Returns:
        `n`, `failed`; of documents: `right`, `wrong` and `silent` (neither) with intervals that take questions for
        independent; `searches_wrong`: the share of searches with a wrong document.
    """
    counts = []
    for request, result in searches:
        if result.error is None:
            verdicts = check_result(request.question, result)
            right = sum(verdict.right and not verdict.wrong for verdict in verdicts)
            wrong = sum(verdict.wrong for verdict in verdicts)
            counts.append((right, wrong, len(verdicts) - right - wrong, len(verdicts)))
    total = sum(row[3] for row in counts)
    found: dict[str, Any] = {"n": len(searches), "failed": len(searches) - len(counts)}
    for place, name in enumerate(("right", "wrong", "silent")):
        hits = sum(row[place] for row in counts)
        found[name] = {
            "value": hits / total if total else None,
            "hits": hits,
            "n": total,
            "ci": ratio_interval([(float(row[place]), float(row[3])) for row in counts if row[3]]),
        }
    found["searches_wrong"] = share(sum(row[1] > 0 for row in counts), len(counts))
    return found


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `retrieval` to the command line."""
    parser = commands.add_parser(
        "retrieval",
        help="recall and precision of real retrieval, beside the wrong answers of simulators",
        description="Measure retrieval engines and simulators on real questions (recall@k, answer precision@k on the "
        "answerable ones), and how many documents assert a wrong answer on the atlas, whose facts are known.",
    )
    add = parser.add_argument
    add("--corpus", type=Path, metavar="FILE", help="the passages; without them, only the atlas is measured")
    add("--questions", nargs="+", default=[], metavar="FILE", help="real questions to ask of them")
    add("--limit", type=int, default=200, metavar="N", help="questions of each file, drawn by the seed (200)")
    add("--engine", action="append", default=[], metavar="NAME[:key=value,…]", help="retrieval (bm25 and dense)")
    add("--simulator", action="append", default=[], metavar="NAME[:key=value,…]", help="simulators (template)")
    add("--atlas-limit", type=int, default=100, metavar="N", help="atlas questions of one hop (100); 0 for none")
    add("--k", type=int, nargs="+", default=list(KS), metavar="K", help="how many documents count (1 3 5 10)")
    add("--concurrency", type=int, default=8, metavar="N", help="searches at the same time (8)")
    add("--seed", type=int, default=0, help="of the draw of questions and of the searches (0)")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print the tables, write the record."""
    for name, least in (("limit", 1), ("atlas_limit", 0), ("concurrency", 1)):
        check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=least)
    ks = sorted({check_whole("--k", k, least=1) for k in options.k})
    if (options.corpus is None) != (not options.questions):
        raise ConfigError("--corpus and --questions belong together: give both, or neither to measure the atlas alone.")
    retrieval = [parse_spec(text) for text in options.engine]
    if not retrieval:
        retrieval = [EngineSpec(name=name, search_mode=name) for name in ("bm25", "dense")]
    simulators = [parse_spec(text) for text in options.simulator or ["template"]]
    check_names([*retrieval, *simulators])
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "version": zs_env.__version__,
        "seed": options.seed,
        "engines": {
            "retrieval": [spec.record() for spec in retrieval],
            "simulators": [spec.record() for spec in simulators],
        },
        "settings": {"limit": options.limit, "atlas_limit": options.atlas_limit, "k": ks},
        "machine": describe_machine(),
    }
    if options.corpus is not None:
        record["real"] = _measure_real(options, ks, retrieval, simulators)
        print(render_real(record["real"], ks), flush=True)
    if options.atlas_limit:
        record["atlas"] = _measure_atlas(options, ks, retrieval, simulators)
        print(("\n" if options.corpus else "") + render_atlas(record["atlas"]), flush=True)
    if options.json:
        write_json(options.json, record)


def _measure_real(
    options: argparse.Namespace, ks: Sequence[int], retrieval: Sequence[EngineSpec], simulators: Sequence[EngineSpec]
) -> dict[str, Any]:
    cases, sources = _cases(options.questions, None, options, limit=options.limit, topk=max(ks))
    texts = (passage.full_text for _, _, passage in read_passages(options.corpus) if passage is not None)
    told = answerable([case.request for case in cases], texts)
    kept = [case for case, is_there in zip(cases, told, strict=True) if is_there]
    known = [is_there for is_there in told if is_there is not None]
    found: dict[str, Any] = {
        "corpus": options.corpus.name,
        "questions": {source.name: source.fingerprint for source in sources},
        "answerable": share(sum(known), len(known)),
        "excluded": len(told) - len(known),
        "rows": [],
    }
    if not kept:
        raise ConfigError("No question has a golden answer in the corpus: there is nothing to find.")
    for kind, spec in [*(("retrieval", s) for s in retrieval), *(("simulated", s) for s in simulators)]:
        searches, seconds, fingerprint = _ask(
            _over(spec, options.corpus) if kind == "retrieval" else spec, kept, options
        )
        row = {"engine": spec.name, "kind": kind, "fingerprint": fingerprint, **score_answers(searches, ks)}
        found["rows"].append(row | {"seconds": seconds, "errors": _errors(searches)})
    return found


def _measure_atlas(
    options: argparse.Namespace, ks: Sequence[int], retrieval: Sequence[EngineSpec], simulators: Sequence[EngineSpec]
) -> dict[str, Any]:
    every, [source] = _cases(["atlas"], "test", options, limit=None, topk=5)
    single = [case for case in every if not case.multi_hop][: options.atlas_limit]
    corpus = write_passages("facts")
    rows = []
    for kind, spec in [*(("retrieval", s) for s in retrieval), *(("simulated", s) for s in simulators)]:
        asked = single
        if kind == "simulated":
            asked = single + [replace(c, request=replace(c.request, quality="noisy")) for c in single]
        searches, seconds, fingerprint = _ask(_over(spec, corpus) if kind == "retrieval" else spec, asked, options)
        for quality, some in (("useful", searches[: len(single)]), ("noisy", searches[len(single) :])):
            if some:
                row: dict[str, Any] = {"engine": spec.name, "kind": kind}
                row |= {
                    "quality": quality if kind == "simulated" else None,
                    "fingerprint": fingerprint,
                    "seconds": seconds,
                    "errors": _errors(some),
                }
                rows.append(row | score_assertions(some))
    return {"questions": {source.name: source.fingerprint}, "corpus": corpus.name, "rows": rows}


def _cases(
    paths: Sequence[str], split: str | None, options: argparse.Namespace, *, limit: int | None, topk: int
) -> tuple[list[Case], list[QuestionSource]]:
    """One search a question, for useful documents."""
    cases, sources = load_cases(
        paths, split=split, limit=limit, queries="question", hops=None, topk=topk, seed=options.seed
    )
    return [case for case in cases if case.request.quality == "useful"], sources


def _over(spec: EngineSpec, corpus: Path) -> EngineSpec:
    return replace(spec, options={"corpus": str(corpus), **spec.options})


def _ask(
    spec: EngineSpec, cases: Sequence[Case], options: argparse.Namespace
) -> tuple[list[Search], float, str | None]:
    engine: SearchEngine = spec.make()
    start = time.perf_counter()
    answers = run_cases(
        cases,
        engine,
        concurrency=options.concurrency,
        say=lambda line: print(f"{spec.name}: {line}", file=sys.stderr, flush=True),
    )
    seconds = time.perf_counter() - start
    if callable(close := getattr(engine, "close", None)):
        close()
    searches = [(case.request, answered.result) for case, answered in zip(cases, answers, strict=True)]
    return searches, seconds, getattr(engine, "fingerprint", None)


def _errors(searches: Sequence[Search]) -> list[str]:
    return sorted({without_secrets(result.error)[:200] for _, result in searches if result.error is not None})[:3]


def render_real(found: dict[str, Any], ks: Sequence[int]) -> str:
    """What was found for real questions, as a Markdown table."""
    heads = ["engine", *(f"recall@{k}" for k in ks), *(f"answer precision@{k}" for k in ks), "failed"]
    lines = [
        f"Answerable from {found['corpus']}: {_percent(found['answerable'])}; {found['excluded']} more can't be told.",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for row in found["rows"]:
        cells = [_percent(row[name][str(k)]) for name in ("recall", "precision") for k in ks]
        lines.append(f"| {row['engine']} ({row['kind']}) | {' | '.join(cells)} | {row['failed']} |")
    return "\n".join(lines)


def render_atlas(found: dict[str, Any]) -> str:
    """What documents assert on the atlas, as a Markdown table."""
    lines = [
        "| engine | asked for | documents: right | wrong | neither | searches with a wrong document | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        cells = [_percent(row[name]) for name in ("right", "wrong", "silent", "searches_wrong")]
        lines.append(
            f"| {row['engine']} ({row['kind']}) | {row['quality'] or '–'} | {' | '.join(cells)} | {row['failed']} |"
        )
    return "\n".join(lines)


def _percent(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    ends = figure.get("ci")
    interval = f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else ""
    counts = f" ({figure['hits']}/{figure['n']})" if "hits" in figure else ""
    return f"{100 * figure['value']:.1f} %{interval}{counts}"
