"""The flags of `python -m benchmarks leaderboard run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.leaderboard.judging import add_judge_flags
from benchmarks.leaderboard.places import FRESH, shown
from benchmarks.leaderboard.playing import add_board_player_flags
from benchmarks.leaderboard.suites import SUITES

__all__ = ["add_parser"]

_WHAT = """\
Play every question of a suite with each agent on each engine. A pair of agent and engine leaves a record: a folder
with its figures, settings and every episode. Records are compared with `compare`, and put on the board with `submit`.
"""

_EXAMPLES = """\
examples, each after `python -m benchmarks leaderboard`:

  the bounds, without a model:
    run --agent oracle random --suite atlas --limit 200
  a trained policy, closed-book (its searches find nothing), on simulated and on real search; the atlas brings its own
  passages for bm25:
    run --agent zerosearch --model runs/quickstart --engine closed-book --engine template --engine bm25
  a Hugging Face model with the article's baselines, on files of questions and passages of your own:
    run --agent direct cot rag --model Qwen/Qwen2.5-3B-Instruct --questions nq.jsonl --limit 500 \\
        --engine bm25 --corpus passages.jsonl
  a server that speaks OpenAI's protocol, on the seven sets of the article:
    run --agent search-o1 --policy-url http://127.0.0.1:8000/v1 --suite zerosearch --engine wiki:base_url=http://…
  a function of your own, policy(observation) -> action:
    run --agent zerosearch --callable my_policy.py:act --engine template

A run that was stopped, or whose server failed, leaves a partial record that says so. The same command goes on with it:
what was played is kept, what failed is asked again.
"""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run` to the leaderboard's command line."""
    parser = actions.add_parser(
        "run",
        help="play questions, and leave records",
        description=_WHAT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.usage = (
        f"{parser.prog} --agent NAME… [--model MODEL | --policy-url URL | --callable FILE:NAME]\n"
        "           [--suite NAME | --questions FILE…] [--limit N] [--engine NAME…] [other flags]"
    )
    add_board_player_flags(parser)
    _add_questions(parser)
    _add_search(parser)
    _add_episodes(parser)
    _add_counting(parser)
    _add_judge(parser)
    _add_keeping(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from benchmarks.leaderboard.running import run

    return run(options)


def _add_questions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("questions")
    what = group.add_mutually_exclusive_group()
    what.add_argument("--suite", metavar="NAME", help=f"{', '.join(SUITES)}, or a .toml file (atlas)")
    what.add_argument(
        "--questions",
        nargs="+",
        metavar="FILE",
        help="files of questions instead (jsonl, json, csv or parquet), each a set; NAME=FILE names it",
    )
    add = group.add_argument
    add("--split", metavar="NAME", help="of files whose rows say which split they belong to")
    add("--sets", nargs="+", metavar="NAME", help="of a suite, only these sets")
    add(
        "--from",
        dest="places",
        action="append",
        default=[],
        metavar="SET=FILE",
        help="load a set of the suite from this file; it must hold what the suite pins",
    )
    add("--offline", action="store_true", help="take hub data sets from this machine's cache")
    add("--limit", type=int, metavar="N", help="a fixed sample of so many questions a set (all)")


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    add = group.add_argument
    add(
        "--engine",
        action="append",
        default=[],
        metavar="NAME[:key=value,…]",
        help="who answers searches: closed-book (finds nothing), template, simulate_prompt:simulation_llm=…, bm25, "
        "dense, wiki:base_url=…, …; label@NAME:… calls it something else; may be given several times (of the atlas, "
        "template)",
    )
    add("--engines", action="append", type=Path, default=[], metavar="FILE", help="engines of a TOML or JSON file")
    add("--corpus", metavar="FILE", help="the passages of bm25 and dense (of the atlas, its own)")
    add("--topk", type=int, metavar="N", help="documents a search (that of the policy's training, or 5)")
    add("--noise-probability", type=float, default=0.0, metavar="P", help="chance of noisy simulated documents (0)")
    add("--tries", type=int, default=1, metavar="N", help="the most tries of a search (1)")
    add("--timeout-s", type=float, metavar="S", help="the most seconds of a try")
    add("--max-in-flight", type=int, metavar="N", help="the most searches at the same time")


def _add_episodes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("episodes").add_argument
    add("--max-turns", type=int, metavar="N", help="actions a question (that of the policy's training, or 5)")
    add("--max-new-tokens", type=int, metavar="N", help="the most tokens of one reply")
    add("--max-episode-tokens", type=int, metavar="N", help="the most tokens of a question's whole transcript")
    add("--temperature", type=float, metavar="T", help="draw tokens at this temperature (greedy)")
    add("--seed", type=int, default=0, metavar="N", help="where all randomness comes from (0)")
    add("--concurrency", type=int, default=64, metavar="N", help="questions side by side (64)")


def _add_counting(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is counted").add_argument
    add("--price-per-hour", type=float, metavar="X", help="of the machine that plays")
    add("--price-in", type=float, metavar="X", help="of a million tokens that the model reads")
    add("--price-out", type=float, metavar="X", help="of a million tokens that it writes")
    add("--price-per-1000-searches", type=float, metavar="X", help="of 1,000 searches")


def _add_judge(parser: argparse.ArgumentParser) -> None:
    told = "A language model that says whether answers mean a golden one; a column beside exact match, which ranks."
    add_judge_flags(parser.add_argument_group("a judge", told).add_argument)


def _add_keeping(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("records").add_argument
    add("--policy-name", metavar="NAME", help="what the row calls the policy (the model's name)")
    add("--train-engine", metavar="NAME", help="the engine it was trained on (that of its run, or none)")
    add("--out", type=Path, default=FRESH, metavar="FOLDER", help=f"where records go ({shown(FRESH)})")
    add("--new", action="store_true", help="begin another record beside a stopped one of other settings")
    add("--replay", type=Path, metavar="FOLDER", help="keep all replies and searches there, and ask nothing twice")
    add("--replay-only", action="store_true", help="ask no one: what --replay doesn't hold fails")
    add("--json", type=Path, metavar="FILE", help="write the records' figures here, too")
