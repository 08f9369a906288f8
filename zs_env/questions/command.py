"""`python -m zs_env questions prepare`: make questions ready to train on."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.questions.hub import PREFIX, token_from
from zs_env.questions.prepare import Access, Prepared, PrepareSettings, Source, expand, prepare
from zs_env.questions.prepare.settings import CONFLICTS, FLAGS, FORMATS, NEAR

__all__ = ["add_parser", "run_prepare"]

_STOPPED = 130


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    top = commands.add_parser("questions", help="make questions ready to train on")
    actions = top.add_subparsers(dest="action", required=True)
    made = actions.add_parser(
        "prepare",
        help="read, check, deduplicate, decontaminate and divide questions",
        description="--split, --revision, --into and --data-source say more of the --from or --against before them.",
    )
    add = made.add_argument
    source_help = (
        "a jsonl, json, csv, tsv or parquet file, hf:<id>[:<config>][@<revision>], zerosearch, flashrag[:<set>]"
    )
    add(
        "--from", action=_AddSource, dest="sources", metavar="SOURCE", help=f"{source_help}; may be given several times"
    )
    add("--against", action=_AddSource, dest="against", metavar="SOURCE", help="an evaluation set to keep free of")
    add("--split", action=_Describe, help="the split of it that is read (all)")
    add("--revision", action=_Describe, help="the branch, tag or commit of it (the newest)")
    add(
        "--into",
        action=_Describe,
        metavar="SPLIT",
        help="the split that its questions are given (as they say, or train)",
    )
    add("--data-source", action=_Describe, metavar="NAME", help="what its data set is called, where rows don't say")
    add("--out", required=True, type=Path, metavar="DIR", help="the folder to make")
    add("--name", help="what the data set is called in its card (the folder's name)")
    add("--format", choices=FORMATS, default="jsonl", help="what is written (jsonl)")
    add("--split-shares", type=_shares, metavar="NAME=SHARE,…", help="divide: train=0.9,dev=0.05,test=0.05")
    add("--seed", type=int, default=0, help="what the division is drawn from (0)")
    add("--limit", type=int, metavar="N", help="read the first N rows of each --from")
    add("--strict", action="store_true", help="a malformed row is an error")
    add(
        "--drop",
        action="append",
        choices=FLAGS,
        default=[],
        help="take out what a check marks; may be given several times",
    )
    add("--near-duplicates", choices=NEAR, default="drop", help="what becomes of nearly equal questions (drop)")
    add("--conflicts", choices=CONFLICTS, default="first", help="what becomes of equal ones with other answers (first)")
    add("--max-question-chars", type=int, default=1_000, metavar="N", help="a longer question is overlong (1000)")
    add("--max-answer-chars", type=int, default=200, metavar="N", help="so is one with a longer answer (200)")
    add("--streaming", action=argparse.BooleanOptionalAction, default=True, help="read the hub without a copy here")
    add("--token-env", metavar="VARIABLE", help="the environment variable that holds the hub's token (HF_TOKEN)")
    add("--timeout", type=float, default=30.0, metavar="SECONDS", help="how long the hub may stay silent (30)")
    add("--force", action="store_true", help="replace another preparation in that folder")
    made.set_defaults(run=run_prepare)


class _AddSource(argparse.Action):
    """Adds a source to its list, and lets what follows describe it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        assert self.dest is not None
        found = [*(getattr(namespace, self.dest) or ()), Source(place=values)]
        setattr(namespace, self.dest, found)
        namespace.described = self.dest


class _Describe(argparse.Action):
    """Says more of the source before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        where = getattr(namespace, "described", None)
        if where is None:
            parser.error(f"{option_string} says more of a source: write it behind the --from or --against it is of")
        *others, source = getattr(namespace, where)
        if self.dest == "revision":
            if not source.place.startswith((PREFIX, "flashrag", "zerosearch")) or "@" in source.place:
                parser.error(f"--revision is of a data set of the hub without one; {source.place!r} is none")
            source = replace(source, place=f"{source.place}@{values}")
        elif self.dest == "into" and where == "against":
            parser.error("--into is of a --from; what is given with --against isn't written")
        else:
            source = replace(source, **{self.dest: values})
        setattr(namespace, where, [*others, source])


def _shares(text: str) -> dict[str, float]:
    """Read `train=0.9,dev=0.1`.

    Examples:
        >>> _shares("train=0.9,dev=0.1")
        {'train': 0.9, 'dev': 0.1}
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} isn't NAME=SHARE, such as train=0.9") from None
    return shares


def run_prepare(options: argparse.Namespace) -> int:
    """Prepare, and say what was done."""
    if options.timeout <= 0:
        raise ConfigError(f"--timeout is above 0 seconds; got {options.timeout:g}.")
    settings = PrepareSettings(
        sources=_expanded(options.sources),
        against=_expanded(options.against),
        name=options.name or options.out.resolve().name,
        file_format=options.format,
        split_shares=options.split_shares,
        seed=options.seed,
        limit=options.limit,
        strict=options.strict,
        drop=tuple(sorted(set(options.drop))),
        near=options.near_duplicates,
        conflicts=options.conflicts,
        max_question_chars=options.max_question_chars,
        max_answer_chars=options.max_answer_chars,
    )
    access = Access(token=token_from(options.token_env), streaming=options.streaming, timeout_s=options.timeout)
    try:
        made = prepare(settings, options.out, access=access, force=options.force, tell=print)
    except KeyboardInterrupt:
        print(f"\nStopped: nothing was written to {options.out}. The same command begins anew.")
        return _STOPPED
    _tell(made)
    return 0


def _expanded(sources: Sequence[Source] | None) -> tuple[Source, ...]:
    return tuple(one for source in sources or () for one in expand(source))


def _tell(made: Prepared) -> None:
    record = made.record
    if not made.is_new:
        print(f"{made.folder} holds this preparation already; nothing was done.")
    for note in made.notes:
        print(f"note: {note}")
    for name, count in record["counts"].items():
        print(f"  {name.replace('_', ' ')}: {count:,}")
    for flag, count in record["flags"].items():
        print(f"  marked {flag.replace('_', ' ')}: {count:,}")
    for split in record["splits"].values():
        print(f"{made.folder / split['file']}: {split['questions']:,} questions, fingerprint {split['fingerprint']}")
    first = next(iter(record["splits"].values()))
    print(f"Train on it: python -m agents train --questions {shlex.quote(str(made.folder / first['file']))}")
