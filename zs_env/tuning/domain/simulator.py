"""The third step of a domain: its own simulator, by the commands that make any, one after another.

    collect → label → build → train → quantise → gate

Each command goes on by itself where it was stopped. This one remembers which of them ended well, with which flags and
on which files, and passes over those. One that left something with other flags, or on other files, is refused; with
`again` what it left gets another name, and it is done again, as are those behind it that change by it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zs_env.errors import ConfigError
from zs_env.files import remove, write_json
from zs_env.questions import load_questions
from zs_env.tuning.domain.corpus import CORPUS, TRAIN_CORPUS
from zs_env.tuning.domain.questions import QUESTIONS
from zs_env.tuning.domain.reports import read_report
from zs_env.tuning.keeping import differences
from zs_env.tuning.simulator_file import sidecar

__all__ = ["LEDGER", "SCHEMA", "STEP_NAMES", "SimulatorSettings", "Step", "plan_steps", "run_steps"]

LEDGER = "simulator_steps.json"
SCHEMA = "zerosearch.domain_simulator/1"
STEP_NAMES = ("collect", "label", "build", "train", "quantise", "gate")
_SAMPLE_BYTES = 1 << 20

Runner = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command.

    Attributes:
        name: Its name.
        arguments: What stands behind `python -m zs_env`.
        inputs: Files and folders that it reads: it runs again when they change.
        outputs: What is there when it is done.
        leaves: What else it leaves, or keeps while it runs: all of it gets another name before it is done anew.
    """

    name: str
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    leaves: tuple[Path, ...] = ()

    @property
    def command(self) -> str:
        """What a person would type."""
        return f"python -m zs_env {shlex.join(self.arguments)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """How a domain's simulator is made.

    Attributes:
        persona: Which search engine it is: the domain, in a few words.
        base_model: What is tuned: a folder, a .gguf file, smollm2, or a name on the hub.
        quantise_to: What it is served as, as "gguf:q8_0"; None leaves it as a folder.
        train_split: The split of the questions that searches are collected for.
        gate_split: The split that the gate judges by: of documents that training never saw.
        more: Further flags of each command, by its name.

    Raises:
        ConfigError: The persona is empty, both splits are one, or `more` names no command.
    """

    persona: str
    base_model: str
    quantise_to: str | None = "gguf:q8_0"
    train_split: str = "train"
    gate_split: str = "test"
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.persona.strip():
            raise ConfigError("A simulator's persona says which search engine it is, as 'Acme handbook'.")
        if self.train_split == self.gate_split:
            raise ConfigError(f"A simulator isn't judged by what it learned from: both splits are {self.gate_split!r}.")
        unknown = [name for name in self.more if name not in STEP_NAMES]
        if unknown:
            raise ConfigError(f"There is no step {unknown[0]!r}; steps are {', '.join(STEP_NAMES)}.")
        if self.quantise_to is not None and not self.quantise_to.startswith("gguf:"):
            raise ConfigError(
                f"quantise_to is a GGUF kind such as 'gguf:q8_0', which runs in this process, or none; got "
                f"{self.quantise_to!r}. For GPUs run `tune quantise` on the model's folder afterwards."
            )


def plan_steps(folder: Path, settings: SimulatorSettings) -> list[Step]:
    """The commands that make a domain's simulator, in order.

    Args:
        folder: The domain's folder, with `corpus.jsonl`, `questions.jsonl` and `corpus_train.jsonl`.
        settings: How it is made.

    Raises:
        ConfigError: A file is missing, or the questions lack a split.
    """
    questions, corpus = folder / QUESTIONS, folder / TRAIN_CORPUS
    for path, step in ((folder / CORPUS, "passages"), (questions, "questions"), (corpus, "questions")):
        if not path.is_file():
            raise ConfigError(f"There is no {path}: run `tune domain {step}` first.")
    for split in (settings.train_split, settings.gate_split):
        load_questions(questions, split)
    collected, labelled, sft = folder / "collected.jsonl", folder / "labelled.jsonl", folder / "sft"
    model, gate = folder / "model", folder / "gate"
    gguf = folder / "simulator.gguf"
    searched: list[str | Path] = ["--questions", questions, "--split", settings.train_split, "--engine", "bm25"]
    searched += ["--search-option", f"corpus={corpus}", "--out", collected]
    steps = [
        _step(
            "collect",
            searched,
            (questions, corpus),
            (collected,),
            settings,
            (folder / "collected.episodes.jsonl",),
        ),
        _step("label", [collected, "--by", "answer", "--out", labelled], (collected,), (labelled,), settings),
        _step("build", [labelled, "--persona", settings.persona, "--out", sft], (labelled,), (sft,), settings),
        _step(
            "train",
            ["--data", sft, "--model", settings.base_model, "--out", model],
            (sft,),
            (model,),
            settings,
            (folder / "model.partial",),
        ),
    ]
    served = model
    if settings.quantise_to is not None:
        served = gguf
        arguments: list[str | Path] = ["--model", model, "--to", settings.quantise_to, "--out", gguf]
        steps.append(_step("quantise", arguments, (model,), (gguf,), settings, (sidecar(gguf),)))
    judged: list[str | Path] = ["--model", served, "--against", settings.base_model, "--questions", questions]
    judged += ["--split", settings.gate_split, "--data", sft, "--out", gate]
    steps.append(_step("gate", judged, (served, questions), (gate / "gate.json",), settings, (gate,)))
    return steps


def _step(
    name: str,
    arguments: Sequence[str | Path],
    inputs: tuple[Path, ...],
    outputs: tuple[Path, ...],
    settings: SimulatorSettings,
    leaves: tuple[Path, ...] = (),
) -> Step:
    whole = ("tune", name, *map(str, arguments), *settings.more.get(name, ()))
    return Step(name=name, arguments=whole, inputs=inputs, outputs=outputs, leaves=leaves)


def run_steps(
    steps: Sequence[Step], ledger: Path, run: Runner, *, say: Callable[[str], None], again: bool = False
) -> int:
    """Run the steps that aren't done, in order; stop at the first that fails.

    Args:
        steps: The steps.
        ledger: Where it is kept what was done, in the domain's folder.
        run: Runs a command, and returns its exit status.
        say: Is told each command before it runs.
        again: Whether steps whose flags or files changed are done again.

    Returns:
        0, or the exit status of the step that failed.

    Raises:
        ConfigError: A step left something with other flags or on other files, and `again` isn't given.
    """
    report = read_report(ledger, SCHEMA) or {"schema": SCHEMA, "steps": {}}
    known: dict[str, Any] = dict(report["steps"])

    def note(step: Step, is_done: bool) -> None:
        known[step.name] = {**_trace(step, ledger.parent), "is_done": is_done}
        write_json(ledger, {**report, "steps": known})

    for number, step in enumerate(steps, start=1):
        shown = f"[{number}/{len(steps)}] {step.name}"
        before = known.get(step.name)
        if before is not None and _is_same(before, step, ledger.parent):
            if before["is_done"] and all(path.exists() for path in step.outputs):
                say(f"{shown}: done before")
                continue
        elif before is not None or again:
            _clear(step, before or {}, ledger.parent, again)
        if before is not None or not _left(step):  # else others made it: its command says whether it is as asked for
            note(step, False)
        say(f"{shown}: {step.command}")
        status = run(step.arguments)
        if status == 1 and step.name == "gate":
            say(f"{shown} refused the simulator: {step.outputs[0]} says why. What came before is done.")
            return status
        if status:
            say(f"{shown} ended with status {status}. The same command goes on with it; what came before is done.")
            return status
        missing = [str(path) for path in step.outputs if not path.exists()]
        if missing:
            raise ConfigError(f"`{step.command}` ended well, and {missing[0]} isn't there.")
        note(step, True)
    return 0


def _trace(step: Step, folder: Path) -> dict[str, Any]:
    """What a step is done with; the folder may be moved."""
    inside = f"{folder}{os.sep}"
    told = [argument.replace(inside, "") for argument in step.arguments]
    return {"arguments": told, "inputs": {path.name: _fingerprint(path) for path in step.inputs}}


def _is_same(before: Any, step: Step, folder: Path) -> bool:
    now = _trace(step, folder)
    return isinstance(before, Mapping) and all(before.get(name) == now[name] for name in now)


def _left(step: Step) -> list[Path]:
    return [path for path in dict.fromkeys((*step.leaves, *step.outputs)) if path.exists()]


def _clear(step: Step, before: Mapping[str, Any], folder: Path, again: bool) -> None:
    """Give what a step left with other flags or files another name; it takes the place of what was put aside before."""
    left = _left(step)
    if left and not again:
        told = differences(before, _trace(step, folder))
        raise ConfigError(
            f"{left[0]} is there, and `{step.name}` was run with other flags or files: "
            f"{'; '.join(line for line in told if not line.startswith('is_done')) or 'they changed'}. Give --again to "
            "do it and what stands behind it again (what is there gets another name), or take another folder."
        )
    for path in left:
        if path.exists():  # not within what was put aside just now
            old = path.with_name(f"{path.name}.old")
            remove(old)
            path.replace(old)


def _fingerprint(path: Path) -> str | None:
    """A short hash of a file, or of the files of a folder: their names, sizes, and of what is large a sample."""
    if not path.exists():
        return None
    digest = hashlib.blake2b(digest_size=12)
    for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix()}:{size}\n".encode())
        with file.open("rb") as stream:
            for start in sorted({0, max(size // 2, 0), max(size - _SAMPLE_BYTES, 0)}):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()
