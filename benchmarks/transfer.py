"""From simulated to real search: one policy, the same questions, several engines (`python -m benchmarks transfer`).

The policy is played greedily **closed-book** (its searches find nothing), on the **simulated** engine, and on **bm25**
over real passages. Differences are of the same questions, so their intervals are of pairs (bootstrap over questions).
For questions of the atlas the passages are the atlas' own facts, so nothing is downloaded: once a fact a passage,
worded as the template engine words it, and once all facts about a place in one passage, which no simulated document
looks like. For other questions `--corpus` names the passages.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import zs_env
from agents.runs import describe_machine
from benchmarks.atlas_passages import KINDS, write_passages
from benchmarks.engine_specs import EngineSpec, check_names, parse_spec
from zs_env.curriculum import check_probability, check_whole
from zs_env.engines import ScriptedEngine
from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.questions import QuestionList, load_questions
from zs_env.types import Question, SearchEngine

__all__ = ["CLOSED_BOOK", "add_parser", "paired_difference", "run"]

SCHEMA = "zerosearch.transfer/1"
CLOSED_BOOK = "closed-book"
_RESAMPLES = 10_000


def paired_difference(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """The mean of `first` − `second` over pairs, with its 95 % bootstrap interval (percentiles of 10,000 resamples).

    Examples:
        >>> paired_difference([1, 1, 1, 1], [0, 0, 0, 0])
        {'value': 1.0, 'ci': [1.0, 1.0], 'n': 4}
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if not len(differences):
        return {"value": None, "ci": None, "n": 0}
    values, counts = np.unique(differences, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(differences), counts / len(differences), size=_RESAMPLES)
    low, high = np.percentile(drawn @ values / len(differences), [2.5, 97.5])
    return {"value": float(differences.mean()), "ci": [float(low), float(high)], "n": len(differences)}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `transfer` to the command line."""
    parser = commands.add_parser(
        "transfer",
        help="the same policy closed-book, on simulated search and on bm25",
        description="Play a policy greedily on the same questions with searches that find nothing, with simulated "
        "search and with bm25 over real passages, and tell the differences with intervals of pairs.",
    )
    add = parser.add_argument
    add(
        "--model",
        default="preset:quickstart_warmstart",
        metavar="MODEL",
        help="the policy: a run's folder, a folder in Hugging Face format, an id of the hub "
        "(preset:quickstart_warmstart, which ships and isn't trained by reinforcement)",
    )
    add("--questions", default="atlas", metavar="SOURCE", help="atlas, a file, or hf:<id> (atlas)")
    add("--split", help="the split (test, of the atlas)")
    add("--limit", type=int, default=200, metavar="N", help="a fixed sample of this many questions (200)")
    add("--simulated", default="template", metavar="NAME[:key=value,…]", help="the simulated engine (template)")
    add("--corpus", metavar="FILE", help="the passages, for questions that aren't the atlas'")
    add("--real", action="append", default=[], metavar="NAME[:key=value,…]", help="real engines, instead of bm25")
    add("--noise-probability", type=float, default=0.0, metavar="P", help="chance of noisy simulated documents (0)")
    add("--seed", type=int, default=0, help="of the draws of searches (0)")
    add("--threads", type=int, default=1, metavar="N", help="threads that torch computes with (1)")
    add("--json", type=Path, metavar="FILE", help="write the record here")
    parser.set_defaults(run=run)


def engines_of(options: argparse.Namespace) -> list[tuple[str, EngineSpec]]:
    """The engines that are searched, each with its kind: "simulated" or "real"."""
    simulated = parse_spec(options.simulated)
    real = [parse_spec(text) for text in options.real]
    if not real and options.corpus:
        real = [EngineSpec(name="bm25", search_mode="bm25", options={"corpus": options.corpus})]
    elif not real and options.questions == "atlas":
        real = [
            EngineSpec(name=f"bm25, {kind}", search_mode="bm25", options={"corpus": str(write_passages(kind))})
            for kind in KINDS
        ]
    elif not real:
        raise ConfigError(f"bm25 needs passages for the questions {options.questions!r}: give --corpus, or --real.")
    elif options.corpus:
        real = [
            replace(spec, options={"corpus": options.corpus, **spec.options})
            if spec.search_mode in ("bm25", "dense")
            else spec
            for spec in real
        ]
    check_names([simulated, *real])
    return [("simulated", simulated), *(("real", spec) for spec in real)]


def run(options: argparse.Namespace) -> None:
    """Play, print the tables, write the record."""
    from agents.assembly import load_model
    from agents.config import ModelConfig, load_config
    from agents.evaluate import pick_questions
    from agents.runs import read_checkpoint_settings

    check_whole("--limit", options.limit, least=1)
    check_whole("--threads", options.threads, least=1)
    check_probability("--noise-probability", options.noise_probability)
    specs = engines_of(options)
    split = "test" if options.split is None and options.questions == "atlas" else options.split
    source = load_questions(options.questions, split)
    questions = pick_questions(source, options.limit)
    sections: dict[str, Any] = read_checkpoint_settings(Path(ModelConfig(source=options.model).path))
    sections["model"] = sections.get("model", {}) | {"source": options.model}
    sections["search"] = {"topk": sections.get("search", {}).get("topk", 5)}
    config = load_config(sections, origin="flags or the checkpoint's settings")
    _quiet(options.threads)
    policy = load_model(config, config.model.path)
    config = config.fitted(policy.max_context_tokens, _say)
    policy.check_context(config.rollout.max_episode_tokens)
    rows: list[dict[str, Any]] = []
    matches: dict[str, list[float]] = {}
    began = time.perf_counter()
    for kind, name, spec in [("closed-book", CLOSED_BOOK, None), *((kind, spec.name, spec) for kind, spec in specs)]:
        _say(f"{name}: {len(questions)} questions …")
        engine: SearchEngine = ScriptedEngine(name=CLOSED_BOOK) if spec is None else spec.make()
        measured, matches[name] = _play(config, policy, questions, engine, options)
        rows.append({"engine": name, "kind": kind, "fingerprint": getattr(engine, "fingerprint", None), **measured})
        if callable(close := getattr(engine, "close", None)):
            close()
    simulated = specs[0][1].name
    pairs = [(spec.name, CLOSED_BOOK) for _, spec in specs] + [(spec.name, simulated) for _, spec in specs[1:]]
    record = {
        "schema": SCHEMA,
        "version": zs_env.__version__,
        "seed": options.seed,
        "seconds": time.perf_counter() - began,
        "model": config.model.shown,
        "questions": {"source": source.name, "split": source.split, "n": len(questions)},
        "settings": {
            "noise_probability": options.noise_probability,
            "topk": config.search.topk,
            "engines": [spec.record() for _, spec in specs],
        },
        "fingerprints": {
            "questions": QuestionList(questions, name=source.name, split=source.split).fingerprint,
            **policy.fingerprints(),
        },
        "machine": describe_machine(),
        "rows": rows,
        "differences": [
            {"of": first, "minus": second, **paired_difference(*_paired(matches[first], matches[second]))}
            for first, second in pairs
        ],
    }
    print(render(record))
    if options.json:
        write_json(options.json, record)


def _play(
    config: Any, policy: Any, questions: Sequence[Question], engine: SearchEngine, options: argparse.Namespace
) -> tuple[dict[str, Any], list[float]]:
    """What `measure` says of the episodes, and the exact match of each; NaN of one that failed."""
    from agents.evaluate import evaluate_policy

    kept: list[Any] = []
    measured = evaluate_policy(
        policy,
        questions,
        engine=engine,
        episode_settings=config.episode.settings(config.search.topk),
        rollout_settings=config.rollout,
        noise_probability=options.noise_probability,
        sampled=False,
        seed=options.seed,
        keep=kept.extend,
    )
    found = [search for trajectory in kept for search in trajectory.searches if search.error is None]
    measured["contains_golden_share"] = sum(s.contains_golden for s in found) / len(found) if found else None
    return measured, [float("nan") if t.failed else float(t.exact_match) for t in kept]


def _paired(first: Sequence[float], second: Sequence[float]) -> tuple[list[float], list[float]]:
    """The pairs of which neither failed."""
    both = [(a, b) for a, b in zip(first, second, strict=True) if a == a and b == b]
    return [a for a, _ in both], [b for _, b in both]


def render(record: Mapping[str, Any]) -> str:
    """The record as Markdown tables."""
    lines = [
        f"{record['model']}, {record['questions']['n']} questions of {record['questions']['source']}, greedy",
        "",
        "| engine | exact match | searches an episode | searches that show a golden answer | failed |",
        "|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        low, high = row["em_greedy_ci"]
        shown = row["contains_golden_share"]
        match = "–" if row["em_greedy"] is None else f"{row['em_greedy']:.3f} [{low:.3f}, {high:.3f}]"
        searches = row["searches_per_episode"]
        lines.append(
            f"| {row['engine']} | {match} | {'–' if searches is None else format(searches, '.2f')} "
            f"| {'–' if shown is None else format(shown, '.3f')} | {row['num_failed']} |"
        )
    lines += ["", "| exact match of | minus that of | difference, of the same questions |", "|---|---|---|"]
    for row in record["differences"]:
        shown = "–" if row["value"] is None else f"{row['value']:+.3f} [{row['ci'][0]:+.3f}, {row['ci'][1]:+.3f}]"
        lines.append(f"| {row['of']} | {row['minus']} | {shown} |")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _quiet(threads: int) -> None:
    import torch
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
