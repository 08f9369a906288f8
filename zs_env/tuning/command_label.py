"""`python -m zs_env tune label`: tell useful documents of collected searches from noisy ones."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import write_json, write_text
from zs_env.tuning.keeping import check_header
from zs_env.tuning.labelling import label_search, summarise
from zs_env.tuning.records import COLLECTED, LABELLED, CollectedSearch, LabelledSearch, read_header, read_records

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "label",
        help="tell useful documents of collected searches from noisy ones",
        description="Label each document of collected searches as useful or noisy: useful is what holds a golden "
        "answer. Where that can't be told, as for answers of yes or no, it gets no label, and why not is said.",
    )
    add = parser.add_argument
    add("collected", type=Path, help="the file that `tune collect` wrote")
    add("--by", choices=("answer",), default="answer", help="what decides (answer)")
    add("--out", type=Path, required=True, metavar="FILE", help="the file of labels, as DIR/labelled.jsonl")
    add("--json", type=Path, metavar="FILE", help="write settings and counts here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Label, and say what came."""
    collected = read_header(options.collected, COLLECTED)
    searches: list[CollectedSearch] = list(read_records(options.collected, COLLECTED))
    if not searches:
        raise ConfigError(f"{str(options.collected)!r} holds no searches: let `tune collect` play some episodes.")
    if options.out.absolute() == options.collected.absolute():
        raise ConfigError(f"--out must be another file than that of the searches; got {str(options.out)!r}.")
    del collected["schema"]
    header = {"schema": LABELLED, "by": options.by, "collected": collected}
    if options.out.exists():
        check_header(options.out, header)
    labelled = [label_search(search, options.by) for search in searches]
    counts = summarise(labelled)
    _write(options.out, header, labelled)
    if options.json is not None:
        write_json(options.json, {"settings": header, "counts": counts})
    print(describe(counts))
    return 0


def _write(path: Path, header: Mapping[str, Any], labelled: Sequence[LabelledSearch]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(one.to_json() for one in labelled)]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def describe(counts: Mapping[str, Any]) -> str:
    """The counts, for people."""
    lines = []
    for what, useful, noisy in (
        ("searches", "with a useful document", "with noisy ones alone"),
        ("documents", "useful", "noisy"),
    ):
        total = counts[f"num_{what}"]
        parts = (("useful", useful), ("noisy", noisy), ("unlabelled", "without a label"))
        shown = ", ".join(f"{_share(counts[f'{what}_{part}'], total)} {words}" for part, words in parts)
        lines.append(f"{total} {what}: {shown}")
    if counts["why"]:
        lines.append("no label: " + ", ".join(f"{count} x {why}" for why, count in counts["why"].items()))
    for name in ("right", "wrong"):
        if f"useful_when_{name}" in counts:
            useful_ones, told = counts[f"useful_when_{name}"]
            lines.append(f"of episodes that ended {name}: {_share(useful_ones, told)} of {told} documents useful")
    return "\n".join(lines)


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else "0"
