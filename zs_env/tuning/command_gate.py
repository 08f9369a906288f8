"""`python -m zs_env tune gate`: accept a tuned simulator, or refuse it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from zs_env.command_options import search_option
from zs_env.curriculum import check_whole
from zs_env.files import write_json, write_text
from zs_env.measuring.cases import ASKED, Case, load_cases
from zs_env.measuring.describing import plain_settings, prompt_texts
from zs_env.measuring.running import Answered
from zs_env.tuning.gating.asking import ask, identity, keep_settings, model_name
from zs_env.tuning.gating.contenders import Asked, find_contenders
from zs_env.tuning.gating.figures import measure
from zs_env.tuning.gating.held_out import TrainingData, check_trained_on, find_training, read_training, split_seen
from zs_env.tuning.gating.report import make_report, summary
from zs_env.tuning.gating.rules import GateRules
from zs_env.tuning.gating.simulators import is_address, note_verdict

__all__ = ["add_parser", "run"]

_RULES = {
    "min_separation_gain": "lower end of the paired interval of the gain in separation, to be above",
    "min_noisy_free": "noisy searches free of an answer, at least",
    "min_noisy_free_gain": "their share less the prompted model's, at least",
    "min_useful_holding": "useful searches holding an answer, at least",
    "min_similarity_ratio": "query similarity, noisy / useful, at least",
    "min_useful_similarity": "query similarity of useful searches, by the prompted model's, at least",
    "max_repeated": "documents that repeat one of the same search, at most",
    "max_repeated_elsewhere": "documents that repeat another question's, at most",
    "max_said_back": "documents that say back the query or question, at most",
    "max_short": "documents of fewer than five words, at most",
    "min_documents": "documents that came, of those asked for, at least",
    "max_memorised": "documents that copy words from the training text, at most (no such rule)",
    "min_questions": "questions that both can be judged by, at least",
}


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "gate",
        help="accept a tuned simulator, or refuse it",
        description="Ask a tuned simulator and the prompted model the very same held-out questions, useful and noisy, "
        "unchecked. The simulator is accepted only if it tells the two apart better, stays on topic and doesn't repeat "
        "itself; refused, the status is 1. A run that was stopped goes on.",
    )
    add = parser.add_argument
    add("--model", metavar="MODEL", help="a folder of `tune train`, a .gguf file, or a model's name on --base-url")
    add("--base-url", metavar="URL", help="the simulator's server")
    add("--against", metavar="MODEL", help="smollm2, a .gguf file, a folder or a server's address (the base model)")
    add("--against-model", metavar="NAME", help="that model's name on its server (what it serves)")
    add(
        "--beside",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="further tuned simulators to show, such as quantised ones",
    )
    add("--beside-untuned", action="store_true", help="also ask that model with the short prompt of tuned simulators")
    add("--questions", required=True, metavar="SOURCE", help="held-out questions: a file, atlas, or hf:<id>")
    add("--split", help="of the questions (of the atlas: test)")
    add("--limit", type=int, metavar="N", help="so many questions, drawn by the seed (all)")
    add("--queries", choices=ASKED, default="given", help="how a query is made of a question (given, else first-hop)")
    add(
        "--data", metavar="DIR", help="what it was trained on: the folder of `tune build`, or none (beside --questions)"
    )
    add("--leave-out-seen", action="store_true", help="leave out questions it was trained on, instead of ending")
    add("--topk", type=int, metavar="N", help="documents a search (the simulator's, else 5)")
    add("--seed", type=int, default=0, help="of the draw of questions and of the searches (0)")
    add("--concurrency", type=int, default=4, metavar="N", help="searches at the same time (4)")
    more = {"action": "append", "default": [], "type": search_option, "metavar": "NAME=VALUE"}
    add("--search-option", **more, help="how all simulators play or are reached, such as persona=Wikipedia or slots=2")
    add("--candidate-option", **more, help="the same of the tuned simulator alone")
    add("--against-option", **more, help="the same of the prompted model alone")
    add("--out", type=Path, required=True, metavar="DIR", help="where searches are kept, and gate.json written")
    add("--json", type=Path, metavar="FILE", help="write the record here too")
    add("--retry-failed", action="store_true", help="ask the failed searches in --out again")
    add("--examples", type=int, default=5, metavar="N", help="questions whose documents the record shows (5)")
    rules = parser.add_argument_group("rules, all of which must be met")
    for item in fields(GateRules):
        kind = int if item.name == "min_questions" else float
        default = "" if item.default is None else f" ({item.default})"
        flag = f"--{item.name.replace('_', '-')}"
        rules.add_argument(flag, type=kind, metavar="X", help=_RULES[item.name] + default)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print the verdict, write it; 0 if accepted, 1 if refused, 130 if stopped."""
    for name, least in (("limit", 1), ("topk", 1), ("concurrency", 1), ("examples", 0), ("seed", 0)):
        if getattr(options, name) is not None:
            check_whole(f"--{name.replace('_', '-')}", getattr(options, name), least=least)
    given = {item.name: getattr(options, item.name) for item in fields(GateRules)}
    rules = GateRules(**{name: value for name, value in given.items() if value is not None})
    training = find_training(options.data, options.questions)
    data = None if training is None else read_training(training)
    asked = Asked(
        model=options.model,
        base_url=options.base_url,
        against=options.against,
        against_model=options.against_model,
        beside=options.beside,
        beside_untuned=options.beside_untuned,
        options=dict(options.search_option),
        candidate_options=dict(options.candidate_option),
        against_options=dict(options.against_option),
    )
    options.out.mkdir(parents=True, exist_ok=True)
    contenders = find_contenders(asked, options.out)
    simulator = asked.simulator()
    topk = options.topk or simulator.get("topk") or 5
    cases, questions = _cases(options, topk, data)
    if data is not None:
        questions["held_out"]["is_what_it_says"] = check_trained_on(data, simulator)
    settings = {"queries": options.queries, "hops": 1, "topk": topk, "seed": options.seed, "split": options.split}
    keep_settings(options.out, {**settings, "simulators": {one.role: identity(one) for one in contenders}})
    answers: list[list[Answered]] = []
    prompts: list[list[str]] = []
    about: dict[str, dict[str, Any]] = {}
    for one in contenders:
        engine = one.make()
        prompts.append(prompt_texts(engine))
        about[one.role] = {
            "title": one.title,
            "settings": plain_settings(engine),
            "fingerprint": getattr(engine, "fingerprint", None),
            **one.facts(),
        }
        try:
            answers.append(
                ask(
                    one,
                    engine,
                    cases,
                    out=options.out,
                    concurrency=options.concurrency,
                    retry_failed=options.retry_failed,
                )
            )
        except KeyboardInterrupt:
            print("stopped: the same command goes on where it stopped", file=sys.stderr)
            return 130
        about[one.role]["model"] = model_name(answers[-1])
    measured = measure(cases, answers, prompts)
    report = make_report(
        {one.role: each for one, each in zip(contenders, measured, strict=True)},
        rules=rules,
        about=about,
        questions=questions,
        settings={**settings, "limit": options.limit, "concurrency": options.concurrency},
        command=_command(options),
        training_texts=None if data is None else data.texts,
        num_examples=options.examples,
    )
    return _finish(options, report, asked.path)


def _cases(options: argparse.Namespace, topk: int, data: TrainingData | None) -> tuple[list[Case], dict[str, Any]]:
    """What is asked, and what is known of the questions.

    All are asked as questions of one search: the useful documents of any are to hold the answer, as in training; a
    prompted model would else be told not to give it.
    """
    cases, (source,) = load_cases(
        [options.questions],
        split=options.split or ("test" if options.questions == "atlas" else None),
        limit=options.limit,
        queries=options.queries,
        hops=1,
        topk=topk,
        seed=options.seed,
    )
    held_out = None
    if data is not None:
        cases, left_out = split_seen(cases, data, leave_out=options.leave_out_seen)
        held_out = {"left_out": left_out, "num_trained": len(data.questions), "data": data.fingerprint}
    about = {"source": source.name, "fingerprint": source.fingerprint, "num_asked": len(cases) // 2}
    return cases, {**about, "held_out": held_out}


def _finish(options: argparse.Namespace, report: dict[str, Any], model: Path | None) -> int:
    for path in (options.out / "gate.json", options.json):
        if path is not None:
            write_json(path, report)
    text = summary(report)
    write_text(options.out / "gate.md", text + "\n")
    print(text)
    if model is not None:
        noted = note_verdict(model, _verdict(report) if report["accepted"] else None)
        if noted is not None:
            print(f"{noted.name} {'says so' if report['accepted'] else 'no longer says that it was accepted'}")
    return 0 if report["accepted"] else 1


def _verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside the simulator."""
    figures = report["simulators"]["candidate"]["figures"]
    held_out = report["questions"]["held_out"]
    return {
        "accepted": True,
        "held_out": "not checked"
        if held_out is None
        else "checked"
        if held_out.get("is_what_it_says")
        else "checked against data that the simulator doesn't name",
        "against": report["simulators"]["reference"]["title"],
        "questions": {name: report["questions"][name] for name in ("source", "fingerprint", "num_asked")},
        "separation_gain": report["paired"]["reference"]["separation"]["gain"],
        **{name: figures[name] for name in ("separation", "useful_holding", "noisy_free", "similarity_ratio")},
        "rules": {row["name"]: row["bound"] for row in report["rules"]},
    }


def _command(options: argparse.Namespace) -> str:
    """The command that was run, without what is this machine's alone."""
    words = ["python", "-m", "zs_env", "tune", "gate"]
    for name in ("model", "against", "questions", "data"):
        value = getattr(options, name)
        if value is not None:
            here = not is_address(value) and not value.startswith("hf:")
            words += [f"--{name}", Path(value).name if here else value if value.startswith("hf:") else "SERVER"]
    words += ["--base-url", "SERVER"] if options.base_url else []
    for name in ("against_model", "split", "limit", "queries", "topk", "seed", "concurrency"):
        if getattr(options, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    if options.beside:
        words += ["--beside", *("SERVER" if is_address(one) else Path(one).name for one in options.beside)]
    words += ["--beside-untuned"] if options.beside_untuned else []
    words += ["--leave-out-seen"] if options.leave_out_seen else []
    for name in ("search_option", "candidate_option", "against_option"):
        for key, value in getattr(options, name):
            shown = Path(value).name if isinstance(value, str) and "/" in value else value
            words += [f"--{name.replace('_', '-')}", f"{key}={shown}"]
    for item in fields(GateRules):
        if getattr(options, item.name) is not None:
            words += [f"--{item.name.replace('_', '-')}", str(getattr(options, item.name))]
    return shlex.join(words)
