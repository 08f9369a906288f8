"""The data card: what a preparation holds, in the form that the hub and `datasets.load_dataset(folder)` read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from zs_env.questions.prepare.settings import PrepareSettings

__all__ = ["command_line", "data_card"]

_WHY = {
    "malformed": "rows that can't be read",
    "exact_repeat": "the same question again, with an answer in common: its other answers were added to the first's",
    "conflict": "the same question again, with no answer in common",
    "near_repeat": "nearly the same question as an earlier one, with an answer in common",
    "evaluation_exact": "a question of an evaluation set",
    "evaluation_near": "nearly a question of an evaluation set",
    "yes_no": "a golden answer is yes or no",
    "holds_answer": "the question holds a golden answer",
    "bare_answer": "a golden answer has no word but articles",
    "overlong": "the question or an answer is overlong",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


def data_card(
    settings: PrepareSettings,
    record: Mapping[str, Any],
    columns: Mapping[str, str],
    examples: Mapping[str, Sequence[Mapping[str, Any]]],
    out_name: str,
) -> str:
    """Write the card.

    Args:
        settings: What was asked.
        record: What `prepared.json` says.
        columns: The files' columns and their types.
        examples: The first rows of each split.
        out_name: The name of the folder.
    """
    parts = [_front(settings, record, columns), f"# {settings.name}\n", _summary(record)]
    parts += ["## Where it comes from\n", _sources(record["sources"], "read")]
    if record["against"]:
        parts += ["Kept free of the questions of:\n", _sources(record["against"], "read")]
    parts += ["## What was done\n", _steps(record), _checks(record)]
    parts += [f"```bash\n{command_line(settings, out_name)}\n```\n"]
    parts += ["## What it looks like\n", _examples(examples)]
    parts += [_caveats(record)]
    return "\n".join(parts)


def command_line(settings: PrepareSettings, out_name: str) -> str:
    """The command that makes the same files, with the names of files in place of where they lie."""
    words = ["python", "-m", "zs_env", "questions", "prepare"]
    for option, sources in (("--from", settings.sources), ("--against", settings.against)):
        for source in sources:
            words += [option, source.name]
            words += ["--split", source.split] if source.split else []
            words += ["--into", source.into] if source.into and option == "--from" else []
            words += ["--data-source", source.data_source] if source.data_source else []
    words += ["--name", settings.name, "--format", settings.file_format, "--seed", str(settings.seed)]
    if settings.split_shares is not None:
        words += ["--split-shares", ",".join(f"{name}={share:g}" for name, share in settings.split_shares.items())]
    words += ["--limit", str(settings.limit)] if settings.limit else []
    words += ["--strict"] if settings.strict else []
    words += [word for flag in settings.drop for word in ("--drop", flag)]
    words += ["--near-duplicates", settings.near, "--conflicts", settings.conflicts]
    words += ["--max-question-chars", str(settings.max_question_chars)]
    words += ["--max-answer-chars", str(settings.max_answer_chars), "--out", out_name]
    return shlex.join(words)


def _front(settings: PrepareSettings, record: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The YAML that the hub and `datasets` read. JSON strings are YAML strings."""
    total = sum(split["questions"] for split in record["splits"].values())
    lines = ["---"]
    licences = {source.get("licence") for source in record["sources"]}
    if len(licences) == 1 and None not in licences:
        lines.append(f"license: {json.dumps(licences.pop())}")
    lines += [
        f"pretty_name: {json.dumps(settings.name, ensure_ascii=False)}",
        "task_categories:",
        "- question-answering",
        "size_categories:",
        f"- {next((name for size, name in _SIZES if total < size), 'n>10M')}",
        "configs:",
        "- config_name: default",
        "  data_files:",
    ]
    for name, split in record["splits"].items():
        lines += [f"  - split: {name}", f"    path: {split['file']}"]
    lines += ["dataset_info:", "- config_name: default", "  features:"]
    for name, type_ in columns.items():
        lines += [f"  - name: {json.dumps(name, ensure_ascii=False)}"]
        lines += ["    list: string" if type_ == "list" else f"    dtype: {type_}"]
    return "\n".join([*lines, "---", ""])


def _summary(record: Mapping[str, Any]) -> str:
    lines = ["| split | questions | of | fingerprint |", "|---|---|---|---|"]
    for name, split in record["splits"].items():
        of = ", ".join(f"{source} {count:,}" for source, count in split["data_sources"].items())
        lines.append(f"| {name} | {split['questions']:,} | {_cell(of)} | `{split['fingerprint']}` |")
    return "\n".join([*lines, ""])


def _sources(sources: Sequence[Mapping[str, Any]], read: str) -> str:
    lines = [f"| source | split | at | licence | {read} | malformed |", "|---|---|---|---|---|---|"]
    for source in sources:
        at = f"sha256 {source['sha256'][:16]}" if "sha256" in source else source["commit"] or "a copy in the cache"
        malformed = sum(source["malformed"].values())
        licence = source.get("licence") or "not known"
        lines.append(
            f"| {_cell(source['place'])} | {source['split'] or 'all'} | {at} | {licence} | {source['questions']:,} | "
            f"{malformed:,} |"
        )
    return "\n".join([*lines, ""])


def _steps(record: Mapping[str, Any]) -> str:
    lines = ["| taken out | because |", "|---|---|"]
    lines += [
        f"| {record['counts'].get(why, 0):,} | {told} (`{why}`) |"
        for why, told in _WHY.items()
        if record["counts"].get(why)
    ]
    rows = "\n".join(lines) if len(lines) > 2 else "Nothing was taken out."
    return f"{rows}\n\n`removed.jsonl` lists each with its reason, and the question that it repeats.\n"


def _checks(record: Mapping[str, Any]) -> str:
    found = {flag: count for flag, count in record["flags"].items() if count}
    if not found:
        return "No question was marked by the checks.\n"
    told = "; ".join(f"{count:,}: {_WHY[flag]} (`{flag}`)" for flag, count in found.items())
    return f"Marked among all that was read, in a column each: {told}.\n"


def _examples(examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows = [json.dumps(row, ensure_ascii=False) for shown in examples.values() for row in shown]
    return "\n".join(["```json", *rows, "```", ""])


def _caveats(record: Mapping[str, Any]) -> str:
    lines = ["## What to know\n"]
    near = record["settings"]["near_duplicates"]
    if near == "ignore":
        lines.append("- Near duplicates weren't looked for.")
    else:
        lines.append(
            "- Near duplicates are found by their words. A paraphrase in other words isn't, neither among these "
            "questions nor against evaluation sets."
        )
    if record["counts"].get("near_other_answer"):
        lines.append(
            f"- {record['counts']['near_other_answer']:,} pairs are nearly the same question with other answers: both "
            "stay, in one split."
        )
    if record["counts"].get("held_exact_repeats"):
        lines.append(
            f"- {record['counts']['held_exact_repeats']:,} questions of given splits repeat others of them: those "
            "splits stay as published."
        )
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
