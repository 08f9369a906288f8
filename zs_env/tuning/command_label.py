"""`python -m zs_env tune label`: tell useful documents of collected searches from noisy ones."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from zs_env.errors import ConfigError
from zs_env.files import write_json, write_text
from zs_env.intervals import wilson_interval
from zs_env.tuning.judging import Judged, JudgeSettings, judge_identity, judge_searches, load_prompt, verdicts_path
from zs_env.tuning.keeping import check_header
from zs_env.tuning.labelling import Agreement, By, Prefer, find_agreement, label_search, summarise
from zs_env.tuning.models import AskedModel, add_model_flags, given_model_flags, reach_model
from zs_env.tuning.records import COLLECTED, LABELLED, CollectedSearch, LabelledSearch, read_header, read_records

__all__ = ["add_parser", "describe", "describe_agreement", "run"]

_SAMPLING: Any = {"temperature": 0.0, "max_tokens": 100}


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "label",
        help="tell useful documents of collected searches from noisy ones",
        description="Label each document of collected searches as useful or noisy: by whether it holds a golden "
        "answer, by the judgement of a model, or by both, where they agree. What gets no label is counted, and why. "
        "Verdicts of a judge are kept as they come, and a run that was stopped goes on.",
    )
    add = parser.add_argument
    add("collected", type=Path, help="the file that `tune collect` wrote")
    add("--by", choices=get_args(By), default="answer", help="what decides (answer)")
    add("--prefer", choices=get_args(Prefer), help="with --by both: whose word counts where they disagree (nobody's)")
    add_model_flags(add, "judge", **_SAMPLING)
    add("--judge-prompt", type=Path, metavar="FILE", help="a prompt of one's own, with {document}, {question}, {query}")
    add("--judge-asks", type=int, default=3, metavar="N", help="how often to ask until there is a verdict (3)")
    add("--seed", type=int, default=0, help="of what the judge draws (0)")
    add("--concurrency", type=int, default=8, metavar="N", help="documents at the same time (8)")
    add("--max-failures", type=float, default=0.25, metavar="SHARE", help="of failed requests ends the run (0.25)")
    add("--examples", type=int, default=5, metavar="N", help="of each kind of disagreement in the record (5)")
    add("--out", type=Path, required=True, metavar="FILE", help="the file of labels, as DIR/labelled.jsonl")
    add("--json", type=Path, metavar="FILE", help="write settings, counts and agreement here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Label, and say what came; 130 if stopped, 1 if the judge failed for a document, else 0."""
    collected = read_header(options.collected, COLLECTED)
    searches: list[CollectedSearch] = list(read_records(options.collected, COLLECTED))
    if not searches:
        raise ConfigError(f"{str(options.collected)!r} holds no searches: let `tune collect` play some episodes.")
    if options.out.absolute() == options.collected.absolute():
        raise ConfigError(f"--out must be another file than that of the searches; got {str(options.out)!r}.")
    if options.prefer is not None and options.by != "both":
        raise ConfigError(f"--prefer {options.prefer} is for --by both; got --by {options.by}.")
    flags = given_model_flags(options, "judge") + ["--judge-prompt"] * (options.judge_prompt is not None)
    if flags and options.by == "answer":
        raise ConfigError(f"{', '.join(flags)} say who judges, and --by answer asks nobody: say --by judge or both.")
    del collected["schema"]
    header: dict[str, Any] = {"schema": LABELLED, "by": options.by, "prefer": options.prefer, "collected": collected}
    judging: tuple[AskedModel, JudgeSettings] | None = None
    if options.by != "answer":
        judging = _judging(options)
        header |= judge_identity(*judging)
    if options.out.exists():
        check_header(options.out, header)
    judged: Judged | None = None
    if judging is not None:
        try:
            model, settings = judging
            judged = judge_searches(searches, model, verdicts_path(options.out), settings, say=_say)
        except KeyboardInterrupt:
            print("stopped: verdicts are kept, and the same command goes on with them", file=sys.stderr)
            return 130
    labelled = [_label(search, options, judged) for search in searches]
    record: dict[str, Any] = {"settings": header, "counts": summarise(labelled)}
    _write(options.out, header, labelled)
    print(describe(record["counts"]))
    if judged is not None:
        agreement = find_agreement(labelled, num_examples=options.examples)
        record |= {"agreement": agreement.to_json(), "failures": dict(judged.failures.most_common())}
        print(describe_agreement(agreement))
        for error, count in judged.failures.most_common(5):
            print(f"the judge failed for {count} documents, which the same command asks again: {error}")
    if options.json is not None:
        write_json(options.json, record)
    return int(judged is not None and bool(judged.failures))


def _judging(options: argparse.Namespace) -> tuple[AskedModel, JudgeSettings]:
    settings = JudgeSettings(
        prompt=load_prompt(options.judge_prompt),
        max_asks=options.judge_asks,
        seed=options.seed,
        concurrency=options.concurrency,
        max_failures=options.max_failures,
    )
    return reach_model(options, "judge", **_SAMPLING), settings


def _label(search: CollectedSearch, options: argparse.Namespace, judged: Judged | None) -> LabelledSearch:
    if judged is None:
        return label_search(search, options.by)
    verdicts, why_not = judged.of(search)
    return label_search(search, options.by, verdicts, why_not=why_not, prefer=options.prefer)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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


def describe_agreement(agreement: Agreement) -> str:
    """How far the judge goes with golden answers, for people."""
    raw, kappa = agreement.raw, agreement.kappa
    if raw is None:
        return "agreement: no document of which both golden answers and the judge tell something"
    low, high = wilson_interval(agreement.both_useful + agreement.both_noisy, agreement.num_documents)
    return "\n".join(
        (
            f"agreement on {agreement.num_documents} documents: {raw:.1%} (95 % interval {low:.1%} to {high:.1%}), "
            f"Cohen's kappa {'undefined' if kappa is None else f'{kappa:.2f}'}, which says: {agreement.meaning}",
            "                      judged useful  judged noisy",
            f"  holds an answer     {agreement.both_useful:13d}{agreement.answer_alone:14d}",
            f"  holds none          {agreement.judge_alone:13d}{agreement.both_noisy:14d}",
        )
    )


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else "0"
