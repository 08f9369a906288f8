from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.zs_env.tuning.domain.library import ARTICLES, write_rows
from zs_env.__main__ import main, parser
from zs_env.errors import ConfigError
from zs_env.tuning.domain.corpus import read_corpus
from zs_env.tuning.domain.questions import QuestionSettings, make_questions
from zs_env.tuning.domain.simulator import SimulatorSettings, Step, plan_steps, run_steps

SETTINGS = SimulatorSettings(persona="Danish culture", base_model="smollm2", more={"train": ["--minutes", "3"]})


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    folder = tmp_path / "domain"
    corpus = write_rows(tmp_path / "articles.jsonl", ARTICLES)
    make_questions(folder, QuestionSettings(rules=("encyclopedic",)), passages=corpus)
    return folder


class Commands:
    """Plays the commands: each writes what it reads, with its flags, into what it gives."""

    def __init__(self, failing: str | None = None) -> None:
        self.failing = failing
        self.ran: list[str] = []

    def run(self, arguments: Sequence[str]) -> int:
        name, output = arguments[1], Path(arguments[arguments.index("--out") + 1])
        self.ran.append(name)
        if name == self.failing:
            return 3
        if name in ("build", "train", "gate"):
            output.mkdir(exist_ok=True)
            output = output / "gate.json" if name == "gate" else output / "content"
        output.write_text(" ".join(arguments))
        return 0


def test_steps_hand_on_what_they_made(domain: Path) -> None:
    steps = {step.name: step for step in plan_steps(domain, SETTINGS)}
    assert list(steps) == ["collect", "label", "build", "train", "quantise", "gate"]
    assert f"--search-option corpus={domain / 'corpus_train.jsonl'}" in steps["collect"].command
    assert "--persona 'Danish culture'" in steps["build"].command
    assert steps["train"].arguments[-2:] == ("--minutes", "3")
    assert "--split train" in steps["collect"].command
    assert "--split test" in steps["gate"].command
    assert f"--model {domain / 'simulator.gguf'} --against smollm2" in steps["gate"].command
    made = [set(step.outputs) for step in steps.values()]
    for place, step in enumerate(list(steps.values())[1:], start=1):
        assert any(path in made[earlier] for path in step.inputs for earlier in range(place))
    whole = SimulatorSettings(persona="x", base_model="m", quantise_to=None)
    assert f"--model {domain / 'model'} " in plan_steps(domain, whole)[-1].command


def test_all_steps_are_flags_that_the_commands_take(domain: Path) -> None:
    for settings in (SETTINGS, SimulatorSettings(persona="x", base_model="m", quantise_to=None)):
        for step in plan_steps(domain, settings):
            assert parser().parse_args(step.arguments).step == step.name


def test_first_steps_run(domain: Path) -> None:
    for step in plan_steps(domain, SETTINGS)[:3]:
        assert main(step.arguments) == 0


def test_nothing_of_a_document_that_is_held_out_is_collected_or_learned(domain: Path) -> None:
    rows = [json.loads(line) for line in (domain / "questions.jsonl").read_text().splitlines()]
    held_out = {row["metadata"]["source"] for row in rows if row["metadata"]["split"] != "train"}
    passages = read_corpus(domain / "corpus.jsonl")
    assert held_out
    assert read_corpus(domain / "corpus_train.jsonl") == [one for one in passages if one.source not in held_out]
    for step in plan_steps(domain, SETTINGS)[:3]:
        assert main(step.arguments) == 0
    learned = "".join(path.read_text() for path in (domain / "collected.jsonl", domain / "sft" / "train.jsonl"))
    for passage in passages:
        if passage.source in held_out:
            assert passage.text[:60] not in learned


def test_done_steps_are_passed_over_and_a_change_runs_what_stands_behind_it(domain: Path) -> None:
    said: list[str] = []
    ledger = domain / "ledger.json"

    def run(settings: SimulatorSettings, commands: Commands, *, again: bool = False) -> int:
        said.clear()
        return run_steps(plan_steps(domain, settings), ledger, commands.run, say=said.append, again=again)

    first = Commands(failing="train")
    assert run(SETTINGS, first) == 3
    assert first.ran == ["collect", "label", "build", "train"]
    assert "train ended with status 3" in said[-1]

    second = Commands()
    assert run(SETTINGS, second) == 0
    assert second.ran == ["train", "quantise", "gate"]
    assert said[0] == "[1/6] collect: done before"

    third = Commands()
    assert run(SETTINGS, third) == 0
    assert third.ran == []

    other = SimulatorSettings(persona="Danish culture", base_model="smollm2", more={"label": ["--seed", "1"]})
    changed = Commands()
    with pytest.raises(ConfigError, match=r"labelled.jsonl is there, and `label` was run with other .* Give --again"):
        run(other, changed)
    assert changed.ran == []
    stopped = Commands(failing="train")
    assert run(other, stopped, again=True) == 3
    assert stopped.ran == ["label", "build", "train"]
    assert (domain / "labelled.jsonl.old").is_file()
    assert not (domain / "model").exists()
    (domain / "model.partial").write_text("a checkpoint")
    assert run(other, changed, again=True) == 0
    assert changed.ran[0] == "train"
    assert (domain / "model.partial").exists(), "a stopped training goes on, and isn't put aside"
    assert {path.name for path in domain.glob("*.old")} >= {"labelled.jsonl.old", "sft.old", "model.old"}

    moved = domain.with_name("moved")
    domain.rename(moved)
    commands = Commands()
    assert run_steps(plan_steps(moved, other), moved / "ledger.json", commands.run, say=said.append) == 0
    assert commands.ran == []
    moved.rename(domain)

    (domain / "simulator.gguf").unlink()
    again = Commands()
    run(other, again)
    assert again.ran[0] == "quantise"


def test_what_others_left_is_refused_by_its_command_and_put_aside_if_asked(domain: Path) -> None:
    (domain / "labelled.jsonl").write_text("of other settings")
    steps, ledger = plan_steps(domain, SETTINGS), domain / "ledger.json"
    for _ in range(2):
        assert run_steps(steps, ledger, Commands(failing="label").run, say=lambda line: None) == 3
    assert run_steps(steps, ledger, Commands().run, say=lambda line: None, again=True) == 0
    assert (domain / "labelled.jsonl.old").read_text() == "of other settings"


def test_a_refusal_of_the_gate_is_no_invitation_to_go_on(domain: Path) -> None:
    said: list[str] = []

    def run(arguments: Sequence[str]) -> int:
        return Commands().run(arguments) or int(arguments[1] == "gate")

    assert run_steps(plan_steps(domain, SETTINGS), domain / "ledger.json", run, say=said.append) == 1
    assert said[-1].startswith("[6/6] gate refused the simulator")


def test_both_splits_are_looked_for_before_anything_is_done(domain: Path) -> None:
    lines = (domain / "questions.jsonl").read_text().splitlines()
    (domain / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines if '"split": "train"' in line))
    with pytest.raises(ConfigError, match="no split 'test'"):
        plan_steps(domain, SETTINGS)


def test_a_step_that_leaves_nothing_is_no_success(tmp_path: Path) -> None:
    step = Step(name="train", arguments=("tune", "train"), inputs=(), outputs=(tmp_path / "model",))
    with pytest.raises(ConfigError, match=r"ended well, and .*model isn't there"):
        run_steps([step], tmp_path / "ledger.json", lambda arguments: 0, say=lambda line: None)


def test_the_plan_can_be_printed(domain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--persona", "Danish culture", "--base-model", "smollm2", "--with", "train", "--minutes 3", "--dry-run"]
    assert main(["tune", "domain", "simulator", str(domain), *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [step.command for step in plan_steps(domain, SETTINGS)]
    assert not (domain / "simulator_steps.json").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"persona": " "}, "persona says which"),
        ({"gate_split": "train"}, "isn't judged by what it learned from"),
        ({"more": {"bake": ["--hot"]}}, "no step 'bake'"),
        ({"quantise_to": "awq"}, "got 'awq'"),
    ],
)
def test_wrong_settings_are_told(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimulatorSettings(**{"persona": "x", "base_model": "m", **given})  # type: ignore[arg-type]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tune domain passages"):
        plan_steps(tmp_path, SETTINGS)
    write_rows(tmp_path / "corpus.jsonl", ARTICLES)
    with pytest.raises(ConfigError, match="tune domain questions"):
        plan_steps(tmp_path, SETTINGS)


def test_a_flag_that_does_not_exist_ends_the_run_with_its_step(
    domain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--persona", "x", "--base-model", "m", "--with", "collect", "--nonsense 1"]
    assert main(["tune", "domain", "simulator", str(domain), *given]) == 2
    captured = capsys.readouterr()
    assert "--nonsense" in captured.err
    assert "collect ended with status 2" in captured.out
    assert not json.loads((domain / "simulator_steps.json").read_text())["steps"]["collect"]["is_done"]
