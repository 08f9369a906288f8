"""`python -m zs_env tune domain`: a simulator for any domain, from a folder of files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.files import write_json
from zs_env.tuning.domain import command_simulator
from zs_env.tuning.domain.chunking import ChunkSettings
from zs_env.tuning.domain.passages import PassageSettings, make_passages
from zs_env.tuning.domain.questions import RULES, QuestionSettings, make_questions
from zs_env.tuning.domain.splitting import Shares
from zs_env.tuning.models import add_model_flags, given_model_flags, reach_model

__all__ = ["add_parser", "passages", "questions"]

_SAMPLING: Any = {"temperature": 0.7, "max_tokens": 120}


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    top = commands.add_parser("domain", help="a simulator for any domain, from a folder of files")
    steps = top.add_subparsers(dest="domain_step", required=True)
    _add_passages(steps)
    _add_questions(steps)
    command_simulator.add_parsers(steps)


def _add_passages(steps: Any) -> None:
    parser = steps.add_parser(
        "passages",
        help="read a folder of text, markdown, HTML and PDF files into passages",
        description="Read a folder's files into DIR/corpus.jsonl, which bm25 and dense search as it is, and say in "
        "DIR/passages.json what became of each.",
    )
    default = PassageSettings()
    add = parser.add_argument
    add("folder", type=Path, help="the folder of files; folders in it are read too, hidden ones and links aren't")
    add("--out", type=Path, required=True, metavar="DIR", help="the domain's folder")
    add("--max-words", type=int, default=default.chunks.max_words, metavar="N", help="words a passage (120)")
    add("--min-words", type=int, default=default.chunks.min_words, metavar="N", help="shorter ones join others (8)")
    add("--with-code", action="store_true", help="keep code blocks")
    add("--english-only", action="store_true", help="drop passages that don't look English")
    add("--encoding", default=default.encoding, help="of text and markdown files (utf-8)")
    add("--max-mib", type=float, default=default.max_mib, metavar="N", help="larger files aren't read (50)")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="paths not to read, as 'drafts/*'")
    _add_common(add)
    parser.set_defaults(run=passages)


def _add_questions(steps: Any) -> None:
    parser = steps.add_parser(
        "questions",
        help="make questions that the passages answer",
        description="Make DIR/questions.jsonl from DIR/corpus.jsonl, by rules, or by a model where one is given, and "
        "say in DIR/questions.json what was kept and what was dropped for which reason. The split is by file.",
    )
    default = QuestionSettings()
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="the domain's folder")
    add("--passages", type=Path, metavar="FILE", help="begin from this corpus; it is copied into DIR")
    add("--rules", metavar="NAMES", help=f"some of {','.join(RULES)} (all; with a model none)")
    add("--topk", type=int, default=default.topk, metavar="K", help="BM25 must find the passage among K (5)")
    add("--max-per-passage", type=int, default=default.max_per_passage, metavar="N", help="questions a passage (3)")
    add("--max-answer-words", type=int, default=default.max_answer_words, metavar="N", help="words an answer (8)")
    add("--dev", type=float, default=default.shares.dev, metavar="SHARE", help="of the questions, about (0.1)")
    add("--test", type=float, default=default.shares.test, metavar="SHARE", help="of the questions, about (0.2)")
    add("--seed", type=int, default=default.seed, help="of order and draws (0)")
    add_model_flags(add, "llm", **_SAMPLING)
    add("--llm-passages", type=int, metavar="N", help="ask the model about so many passages (all)")
    add("--concurrency", type=int, default=4, metavar="N", help="requests to the model at the same time (4)")
    _add_common(add)
    parser.set_defaults(run=questions)


def _add_common(add: Any) -> None:
    add("--again", action="store_true", help="do it again, also with other settings")
    add("--json", type=Path, metavar="FILE", help="write the report here too")


def passages(options: argparse.Namespace) -> int:
    """Make passages, and say what became of the files; 130 if stopped."""
    settings = PassageSettings(
        chunks=ChunkSettings(max_words=options.max_words, min_words=options.min_words),
        with_code=options.with_code,
        english_only=options.english_only,
        encoding=options.encoding,
        max_mib=options.max_mib,
        exclude=tuple(options.exclude),
    )
    try:
        report = make_passages(options.folder, options.out, settings, again=options.again)
    except KeyboardInterrupt:
        print("stopped: what was read is kept, and the same command goes on with it", file=sys.stderr)
        return 130
    _finish(report, options)
    files = report["num_files"]
    print(
        f"{report['num_passages']:,} passages of {report['num_words']:,} words from {files['read']:,} files, "
        f"{files['skipped']:,} not read"
    )
    for name, about in list(report["files"].items()):
        if about["why"] is not None and not about["why"].startswith("its ending"):
            print(f"  not read: {name}: {about['why']}")
    _print_dropped(report["num_dropped"])
    return 0


def questions(options: argparse.Namespace) -> int:
    """Make questions, and say what was kept and dropped; 130 if stopped."""
    by_model = bool(given_model_flags(options, "llm"))
    rules = (() if by_model else RULES) if options.rules is None else tuple(filter(None, options.rules.split(",")))
    settings = QuestionSettings(
        topk=options.topk,
        max_per_passage=options.max_per_passage,
        max_answer_words=options.max_answer_words,
        shares=Shares(dev=options.dev, test=options.test),
        seed=options.seed,
        rules=rules,
    )
    try:
        report = make_questions(
            options.folder,
            settings,
            passages=options.passages,
            model=reach_model(options, "llm", **_SAMPLING) if by_model else None,
            limit=options.llm_passages,
            concurrency=options.concurrency,
            again=options.again,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        print("stopped: what the model wrote is kept, and the same command goes on with it", file=sys.stderr)
        return 130
    _finish(report, options)
    print(
        f"{report['num_kept']:,} questions kept of {report['num_candidates']:,} from {report['num_passages']:,} "
        "passages"
    )
    _print_dropped(report["num_dropped"])
    print("  " + ", ".join(f"{name}: {count:,}" for name, count in report["patterns"].items()))
    for name, told in report["splits"].items():
        print(f"  {name}: {told['questions']:,} questions of {told['documents']:,} documents")
    print(f"  nearly the same question in two splits: {report['near_across_splits']['pairs']:,} pairs")
    return 0


def _finish(report: Mapping[str, Any], options: argparse.Namespace) -> None:
    if not report["is_new"]:
        print("This was done before; nothing is done. --again does it again.")
    if options.json is not None:
        write_json(options.json, {name: value for name, value in report.items() if name != "is_new"})


def _print_dropped(dropped: Mapping[str, int]) -> None:
    for why, count in dropped.items():
        print(f"  dropped {count:,}: {why}")
