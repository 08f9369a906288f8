"""`python -m zs_env tune collect`: let a policy search a real engine, and keep what comes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.command_options import add_search_option, lay_options, search_option
from zs_env.engines import SEARCH_MODES
from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.options import EpisodeMaker
from zs_env.tuning.collecting import Collected, CollectSettings, collect
from zs_env.tuning.models import add_model_flags, given_model_flags, reach_model
from zs_env.tuning.policies import BUILT_IN, Policy, make_policy
from zs_env.tuning.policy_model import ModelPolicy

__all__ = ["SIMULATORS", "add_parser", "run"]

SIMULATORS = frozenset(("template", "simulate_prompt", "simulate_sft", "hostile", "hybrid"))
"""Search modes whose documents are made up, wholly or in part."""


_SAMPLING: Any = {"temperature": 1.0, "max_tokens": 500}


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "collect",
        help="let a policy search a real engine, and keep what comes",
        description="Play episodes against a search engine, and keep each search with its documents. A run that was "
        "stopped goes on; so does one with a larger --limit or more --attempts.",
    )
    add = parser.add_argument
    add("--questions", required=True, metavar="SOURCE", help="atlas, a file, or hf:<id>")
    add("--split", help="of the questions (of the atlas: train)")
    add("--limit", type=int, metavar="N", help="so many questions, drawn by the seed (all)")
    add("--hops", type=int, metavar="N", help="searches that a question takes (what the source says)")
    add("--engine", required=True, metavar="MODE", help=f"search mode: {', '.join(SEARCH_MODES)}")
    add_search_option(add)
    add(
        "--search-around",
        action="append",
        default=[],
        type=search_option,
        metavar="NAME=VALUE",
        help="what is put around the engine, such as record=FILE, replay=FILE, tries=3 or budget.requests=1000; may be "
        "given several times",
    )
    add("--allow-simulator", action="store_true", help="collect from an engine that makes its documents up")
    add(
        "--policy",
        metavar="NAME",
        help=f"{', '.join(BUILT_IN)}, module:function or path.py:function (first-hop); or else a model:",
    )
    add_model_flags(add, "policy", **_SAMPLING)
    add("--attempts", type=int, default=1, metavar="N", help="episodes a question, for policies that draw (1)")
    add("--prompt", default="default", metavar="NAME", help="default, short, upstream, or a text with {question}")
    add("--topk", type=int, default=5, metavar="N", help="documents a search (5)")
    add("--max-turns", type=int, default=5, metavar="N", help="actions an episode, an answer included (5)")
    add("--max-information-chars", type=int, default=20_000, metavar="N", help="of one search's documents, as shown")
    add("--seed", type=int, default=0, help="of the draw of questions, and of what policies draw (0)")
    add("--concurrency", type=int, default=8, metavar="N", help="episodes at the same time (8)")
    add("--max-failures", type=float, default=0.25, metavar="SHARE", help="of failed episodes ends the run (0.25)")
    add("--out", type=Path, required=True, metavar="FILE", help="the file of searches, as DIR/collected.jsonl")
    add("--json", type=Path, metavar="FILE", help="write settings and counts here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Collect, and say what came; 130 if stopped, 1 if an episode failed, else 0."""
    _refuse_simulator(options, options.engine)
    maker = EpisodeMaker(
        questions=options.questions,
        split=options.split,
        search_mode=options.engine,
        search_options=lay_options({}, options.search_option or {}),
        search_around=lay_options({}, dict(options.search_around)),
        topk=options.topk,
        max_turns=options.max_turns,
        prompt=options.prompt,
        max_information_chars=options.max_information_chars,
    )
    _refuse_simulator(options, maker.engine.name)
    settings = CollectSettings(
        episode=maker.settings,
        limit=options.limit,
        attempts=options.attempts,
        hops=options.hops,
        seed=options.seed,
        concurrency=options.concurrency,
        max_failures=options.max_failures,
    )
    policy = _policy(options)
    try:
        collected = collect(
            maker.questions,
            maker.engine,
            policy,
            options.out,
            settings,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        print("stopped: what was played is kept, and the same command goes on with it", file=sys.stderr)
        return 130
    if options.json is not None:
        write_json(options.json, {"settings": dict(collected.header), "counts": collected.summary()})
    print(describe(collected))
    return int(bool(collected.failures))


def _refuse_simulator(options: argparse.Namespace, engine: str) -> None:
    if engine in SIMULATORS and not options.allow_simulator:
        raise ConfigError(
            f"The search engine {engine!r} makes its documents up, and a simulator is to learn from real ones: take "
            "bm25, dense, wiki or google; or say --allow-simulator."
        )


def _policy(options: argparse.Namespace) -> Policy:
    flags = given_model_flags(options, "policy")
    if not flags:
        return make_policy(options.policy or "first-hop")
    if options.policy is not None:
        raise ConfigError(
            f"Give either --policy (got {options.policy!r}) or a model that plays (got {', '.join(flags)}), not both."
        )
    return ModelPolicy(reach_model(options, "policy", **_SAMPLING))


def describe(collected: Collected) -> str:
    """The counts, for people."""
    counts: Mapping[str, Any] = collected.summary()
    lines = [
        f"{counts['num_episodes']} of {counts['num_wanted']} episodes, "
        f"{counts['num_kept']} searches with {counts['num_documents']} documents",
    ]
    if counts["num_episodes"] and not counts["num_searches"]:
        lines.append("no episode searched: a policy searches by <search>query</search>, outside of <think>")
    if counts["num_empty"]:
        lines.append(f"{counts['num_empty']} searches found nothing, and aren't kept")
    if counts["num_right"] + counts["num_wrong"]:
        lines.append(f"{counts['num_right']} episodes with a right answer, {counts['num_wrong']} without")
    if counts["num_invalid"]:
        lines.append(f"{counts['num_invalid']} actions were invalid")
    if counts["cost"]:
        lines.append(f"searches cost {counts['cost']:g}")
    if counts["num_failed"]:
        lines.append(f"{counts['num_failed']} episodes failed, and are played again by the same command:")
        lines += [f"  {count} x {error}" for error, count in list(counts["failures"].items())[:5]]
    return "\n".join(lines)
