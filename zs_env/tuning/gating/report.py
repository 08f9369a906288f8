"""What a gate found, as a record and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import zs_env
from zs_env.measuring.figures import Figures
from zs_env.tuning.gating.figures import Measured, compare, contender_figures
from zs_env.tuning.gating.rules import GateRules, check_rules, is_accepted

__all__ = ["SCHEMA", "make_report", "summary"]

SCHEMA = "zerosearch.gate/1"
"""The version of a report's form."""


def make_report(
    measured: Mapping[str, Measured],
    *,
    rules: GateRules,
    about: Mapping[str, Mapping[str, Any]],
    questions: Mapping[str, Any],
    settings: Mapping[str, Any],
    command: str,
    training_texts: Sequence[str] | None = None,
    num_examples: int = 5,
) -> dict[str, Any]:
    """Everything that is to be known of a gate, in plain JSON types.

    Args:
        measured: The searches of each simulator, by its role: "candidate", "reference", which the rules compare it
            with, and whatever else stands beside.
        rules: The rules.
        about: What each simulator is.
        questions: What is known of the questions: their source, and how many were left out and why.
        settings: Of the measurement.
        command: What to run to get it again.
        training_texts: What the candidate was trained to write.
        num_examples: Questions whose documents are shown.
    """
    figures = {role: contender_figures(each, training_texts) for role, each in measured.items()}
    candidate = measured["candidate"]
    paired = {role: compare(candidate, each) for role, each in measured.items() if role != "candidate"}
    rows = check_rules(rules, figures["candidate"], paired["reference"])
    return {
        "schema": SCHEMA,
        "accepted": is_accepted(rows),
        "version": zs_env.__version__,
        "rules": rows,
        "simulators": {role: {**about[role], "figures": each} for role, each in figures.items()},
        "paired": paired,
        "questions": {**questions, "excluded": _excluded(candidate)},
        "settings": dict(settings),
        "command": command,
        "examples": [*_examples(measured, num_examples)],
    }


def _excluded(candidate: Measured) -> dict[str, int]:
    """Why questions can't be judged, and how many."""
    found: dict[str, int] = {}
    for search in candidate.judged:
        if search.request.quality == "useful" and search.excluded is not None:
            found[search.excluded] = found.get(search.excluded, 0) + 1
    return found


def _examples(measured: Mapping[str, Measured], count: int) -> Iterator[dict[str, Any]]:
    for at, case in enumerate(measured["candidate"].cases[: 2 * count]):
        request = case.request
        yield {
            "question": request.question.question,
            "golden_answers": list(request.question.golden_answers),
            "query": request.query,
            "quality": request.quality,
            "documents": {
                role: [document.text for document in each.judged[at].result.documents]
                for role, each in measured.items()
            },
            "holds_answer": {role: each.judged[at].holds_answer for role, each in measured.items()},
        }


def summary(report: Mapping[str, Any]) -> str:
    """The verdict, each rule, and the figures side by side, in Markdown."""
    simulators = report["simulators"]
    verdict = "**accepted**" if report["accepted"] else "**refused**"
    lines = [f"# {simulators['candidate']['title']}: {verdict}", "", _asked(report), ""]
    lines += ["| rule | bound | figure | met |", "|---|---|---|---|"]
    for row in report["rules"]:
        word = {True: "yes", False: "**no**", None: "**no figure**"}[row["met"]]
        text = str(row["figure"]["value"]) if row["name"] == "min_questions" else _text(row["figure"])
        lines.append(f"| {row['title']} | {row['bound']} | {text} | {word} |")
    lines += ["", "| | " + " | ".join(each["title"] for each in simulators.values()) + " |"]
    lines.append("|---" * (1 + len(simulators)) + "|")
    for title, cells in _table(simulators):
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for role, paired in report["paired"].items():
        gain = paired["separation"]["gain"]
        lines += ["", f"Gain in separation over {simulators[role]['title']}: {_text(gain)}, {gain['n']} questions."]
    return "\n".join(lines)


def _asked(report: Mapping[str, Any]) -> str:
    questions = report["questions"]
    asked = f"{questions['num_asked']} questions of {questions['source']}"
    told = [f"{asked}, each asked once for useful documents and once for noisy ones"]
    excluded = ", ".join(f"{why}: {count}" for why, count in questions["excluded"].items())
    if excluded:
        told.append(f"not judged by where answers can't be looked for ({excluded})")
    held_out = questions["held_out"]
    if held_out is None:
        told.append("**not seen whether they were held out of the training**")
    else:
        why = ", ".join(f"{why}: {count}" for why, count in held_out["left_out"].items() if count)
        whose = "the training" if held_out.get("is_what_it_says") else "the data given (the simulator names no other)"
        told.append(f"the {held_out['num_trained']} questions of {whose} aren't among them")
        told += [f"left out of those drawn ({why})"] if why else []
    return "; ".join(told) + "."


def _table(simulators: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    figures = [each["figures"] for each in simulators.values()]
    rows = {
        "separation": "separation",
        "useful_holding": "useful searches holding an answer",
        "noisy_free": "noisy searches free of an answer",
        "similarity_ratio": "query similarity, noisy / useful",
        "documents": "documents that came, of those asked for",
        "repeated": "documents that repeat one of the same search",
        "repeated_elsewhere": "documents that repeat another question's",
        "copied": "documents that copy from the prompt",
        "memorised": "documents that copy words from the training text",
        "said_back": "documents that say back the query or question",
        "short": "documents of fewer than five words",
        "failed": "searches that failed",
    }
    for name, title in rows.items():
        yield title, [_text(each[name]) for each in figures]
    yield "seconds a search: p50, p95", [_latency(each["details"]["both"]["latency_s"]) for each in figures]
    yield "size of the model", [_size(each) for each in simulators.values()]
    yield (
        "query similarity: useful, noisy",
        [", ".join(_plain(each["similarity"][name], 3) for name in ("useful", "noisy")) for each in figures],
    )
    yield (
        "words a document: mean, median",
        [", ".join(_plain(each["words"][name], 1) for name in ("mean", "median")) for each in figures],
    )


def _text(figure: Figures | Mapping[str, Any]) -> str:
    """A figure as people read it.

    Examples:
        >>> _text({"value": 0.5, "hits": 2, "n": 4, "ci": [0.15, 0.85]}), _text({"value": None, "n": 0, "ci": None})
        ('0.500 [0.150, 0.850] (2/4)', '–')
    """
    if figure["value"] is None:
        return "–"
    ends = f" [{figure['ci'][0]:.3f}, {figure['ci'][1]:.3f}]" if figure.get("ci") else ""
    share = f" ({figure['hits']}/{figure['n']})" if "hits" in figure else ""
    return f"{figure['value']:.3f}{ends}{share}"


def _latency(seconds: Mapping[str, float]) -> str:
    return f"{seconds['p50']:.3g}, {seconds['p95']:.3g}" if seconds else "–"


def _size(about: Mapping[str, Any]) -> str:
    if about.get("bytes") is None:
        return "–"
    return f"{about['bytes'] / 1e6:,.0f} MB" + (f", {about['quantisation']}" if about["quantisation"] else "")


def _plain(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
