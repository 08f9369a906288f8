"""`python -m zs_env tune build`: the examples that a simulator learns from."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean, median
from typing import Any

from zs_env.engines.llm.prompts import load_prompts
from zs_env.errors import ConfigError
from zs_env.files import write_folder, write_json
from zs_env.likeness import words_of
from zs_env.tuning.building import BuildSettings, Built, build
from zs_env.tuning.records import EXAMPLES, LABELLED, Example, LabelledSearch, read_header, read_records

__all__ = ["SCHEMA", "add_parser", "describe", "run"]

SCHEMA = "zerosearch.build/1"
"""The version of `build.json`."""

_FLAGS = {
    "persona": (str, "which search engine the simulator is"),
    "style": (str, "how its documents read, for prompts that have a place for it"),
    "language": (str, "the language of its documents"),
    "document_words": (int, "about how many words a document has"),
    "min_documents": (int, "the least documents of an example"),
    "max_documents": (int, "the most documents of an example"),
    "min_likeness": (float, "the least query similarity of noise, as a share of that of useful documents"),
    "max_a_question": (int, "the most searches of one question"),
    "prompts": (str, "a folder with sft_useful.txt and sft_noisy.txt of one's own"),
    "held_out": (float, "the share of questions that are held out"),
    "seed": (int, "of what is drawn"),
}

_ORDER_HELP = "best: documents that hold an answer come first, as engines rank; shuffled: at drawn places (best)"


def add_parser(commands: Any) -> None:
    """Add the step to a parser's sub-commands."""
    parser = commands.add_parser(
        "build",
        help="make balanced examples of labelled searches, and hold questions out",
        description="Make the examples that a simulator learns from: the paper's prompt, and documents as long as it "
        "says. Whole questions are held out, and with them all that share a useful document.",
    )
    add = parser.add_argument
    add("labelled", nargs="+", type=Path, help="what `tune label` wrote; several files are taken together")
    add("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    defaults = {each.name: each.default for each in fields(BuildSettings)}
    for name, (kind, help_text) in _FLAGS.items():
        default = defaults[name]
        add(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            metavar="N" if kind is not str else "TEXT",
            help=help_text if default is None else f"{help_text} ({default})",
        )
    add("--order", choices=("best", "shuffled"), default="best", help=_ORDER_HELP)
    add(
        "--fill",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether useful examples also hold documents without an answer, as real results do (yes)",
    )
    add(
        "--balance",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether as many noisy as useful examples are kept (yes)",
    )
    add("--force", action="store_true", help="write over a folder of other settings")
    add("--json", type=Path, metavar="FILE", help="write build.json here too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Build, and say what came of it."""
    settings = BuildSettings(**{each.name: getattr(options, each.name) for each in fields(BuildSettings)})
    sources = [_source(path) for path in options.labelled]
    asked = {"schema": SCHEMA, "settings": _named(settings), "sources": sources}
    found = _read(options.out)
    if found is not None and not options.force:
        different = [name for name in asked if found.get(name) != asked[name]]
        if different:
            raise ConfigError(
                f"{options.out} was built otherwise: {_difference(found, asked)}. --force builds it anew."
            )
        _check_whole(options.out, found)
        print(f"{options.out} is built already")
        record = found
    else:
        if found is None and os.path.lexists(options.out) and not options.force:
            raise ConfigError(
                f"--out {str(options.out)!r} exists and wasn't built by this command: name another folder."
            )
        searches = [each for path in options.labelled for each in read_records(path, LABELLED)]
        searches = _with_own_keys(searches, len(options.labelled))
        built = build(searches, settings)
        prompts = dict(load_prompts("sft", settings.prompts))
        record = asked | {"topk": settings.max_documents, "prompts": prompts} | describe(built, searches)
        command = _command(options)
        write_folder(options.out, lambda folder: _write(folder, built, record, command))
    if options.json is not None:
        write_json(options.json, record)
    _say(record)


def describe(built: Built, searches: Sequence[LabelledSearch]) -> dict[str, Any]:
    """What was built, in figures."""
    return {
        "num_searches": len(searches),
        "num_questions": len({each.search.question.id for each in searches}),
        "num_questions_held_out": len(built.questions),
        "left_out": dict(built.left_out.most_common()),
        "train": _figures(built.train),
        "held_out": _figures(built.held_out),
        "fingerprints": {"train": _fingerprint(built.train), "held_out": _fingerprint(built.held_out)},
    }


def _figures(examples: Sequence[Example]) -> dict[str, Any]:
    words = [len(words_of(each.completion[0]["content"])) for each in examples]
    found: dict[str, Any] = {"num_examples": len(examples), "median_words": median(words) if words else None}
    for quality in ("useful", "noisy"):
        some = [each for each in examples if each.quality == quality]
        found[quality] = {
            "num_examples": len(some),
            "num_documents": dict(sorted(Counter(str(each.num_documents) for each in some).items())),
            "mean_likeness": round(fmean(each.metadata["likeness"] for each in some), 4) if some else None,
        }
    return found


def _fingerprint(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for each in examples:
        digest.update(json.dumps(each.to_json(), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def _source(path: Path) -> dict[str, Any]:
    header = read_header(path, LABELLED)
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16], "header": header}


def _named(settings: BuildSettings) -> dict[str, Any]:
    """The settings without a path: of prompts, what they say."""
    named = asdict(settings)
    if settings.prompts is not None:
        named["prompts"] = dict(load_prompts("sft", settings.prompts))
    return named


def _with_own_keys(searches: Sequence[LabelledSearch], num_files: int) -> list[LabelledSearch]:
    seen = Counter(each.search.key for each in searches)
    twice = [key for key, count in seen.items() if count > 1]
    if twice:
        raise ConfigError(
            f"{len(twice)} searches stand in the labelled files more than once, as {twice[0]!r}: give each of the "
            f"{num_files} files once, and questions of different files ids of their own."
        )
    return list(searches)


def _write(folder: Path, built: Built, record: Mapping[str, Any], command: str) -> None:
    for name, examples in (("train", built.train), ("held_out", built.held_out)):
        lines = [{"schema": EXAMPLES, "fingerprint": record["fingerprints"][name]}, *(e.to_json() for e in examples)]
        _write_lines(folder / f"{name}.jsonl", lines)
    rows = [
        {
            "id": each.search.question.id,
            "question": each.search.question.question,
            "golden_answers": list(each.search.question.golden_answers),
            **each.search.question.metadata,
            "search_query": each.search.query,
        }
        for each in built.questions
    ]
    _write_lines(folder / "questions_held_out.jsonl", rows)
    write_json(folder / "build.json", record)
    (folder / "README.md").write_text(_card(record, built, command), encoding="utf-8")


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _card(record: Mapping[str, Any], built: Built, command: str) -> str:
    """What the data is, for people."""
    rows = "\n".join(
        f"| {part} | {record[part]['useful']['num_examples']} | {record[part]['noisy']['num_examples']} | "
        f"{record[part]['useful']['mean_likeness']} | {record[part]['noisy']['mean_likeness']} |"
        for part in ("train", "held_out")
    )
    reasons = "\n".join(f"- {why}: {count}" for why, count in record["left_out"].items() if count) or "- nothing"
    shown = {each.quality: each for each in reversed(built.train)}
    examples = "\n\n".join(
        f"{each.quality}, for the query `{each.query}`:\n\n```text\n{each.completion[0]['content']}\n```"
        for each in shown.values()
    )
    return (
        "# Examples for a search simulator\n\n"
        f"Prompts and completions made from {record['num_searches']} searches of {record['num_questions']} questions; "
        f"{record['num_questions_held_out']} questions are held out, with all that share a useful document.\n\n"
        f"```console\n{command}\n```\n\n"
        "| part | useful | noisy | query similarity, useful | noisy |\n|---|---|---|---|---|\n"
        f"{rows}\n\nLeft out:\n\n{reasons}\n\n{examples}\n\n"
        "The documents are excerpts of those that were collected, and stand under their licence.\n"
    )


def _command(options: argparse.Namespace) -> str:
    words = ["python", "-m", "zs_env", "tune", "build", *(path.name for path in options.labelled), "--out", "DIR"]
    for each in fields(BuildSettings):
        value = getattr(options, each.name)
        if value == each.default:
            continue
        flag = each.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{flag}")
        else:
            words += [f"--{flag}", Path(value).name if each.name == "prompts" else str(value)]
    return shlex.join(words)


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check_whole(folder: Path, record: Mapping[str, Any]) -> None:
    """See that the examples are those that were built."""
    for name, told in record["fingerprints"].items():
        path = folder / f"{name}.jsonl"
        here = _fingerprint(list(read_records(path, EXAMPLES)))
        if here != told:
            raise ConfigError(
                f"{path} isn't what was built (its fingerprint is {here}, and build.json says {told}): --force builds "
                "it anew."
            )


def _difference(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    before, now = found.get("settings", {}), asked["settings"]
    told = [f"{name} {before.get(name)!r:.60}, now {now[name]!r:.60}" for name in now if before.get(name) != now[name]]
    return "; ".join(told) or "of other files"


def _say(record: Mapping[str, Any]) -> None:
    for part in ("train", "held_out"):
        kinds = ", ".join(
            f"{record[part][quality]['num_examples']} {quality} (query similarity "
            f"{record[part][quality]['mean_likeness']})"
            for quality in ("useful", "noisy")
        )
        print(f"{part.replace('_', ' ')}: {record[part]['num_examples']} examples: {kinds}")
    print(f"held-out questions to judge by: {record['num_questions_held_out']}")
    for why, count in record["left_out"].items():
        if count:
            print(f"  left out, {why}: {count}")
