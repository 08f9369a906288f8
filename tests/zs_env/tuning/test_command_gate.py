from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.simulator.helpers import Writing
from tests.zs_env.measuring.test_facts import write_gguf
from tests.zs_env.tuning.gating.simulators import PLACES, Write, leaking, place_of, well, write_questions
from tests.zs_env.tuning.gating.test_held_out import write_training
from zs_env.__main__ import main
from zs_env.engines import SEARCH_MODES
from zs_env.types import SearchRequest

URL = "http://127.0.0.1:9/v1"


class Playing(Writing):
    """A simulator that was asked for with these options."""

    def __init__(self, write: Write, options: dict[str, Any]) -> None:
        super().__init__(write)
        self.options = options
        self.fingerprint = json.dumps(options, sort_keys=True)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Playing]:
    """Tuned simulators do well, prompted ones leak; gives all that were made."""
    return play(monkeypatch, well, leaking)


def play(monkeypatch: pytest.MonkeyPatch, tuned: Write, prompted: Write) -> list[Playing]:
    made: list[Playing] = []

    def make(write: Write) -> Any:
        def maker(**options: Any) -> Playing:
            made.append(Playing(write, options))
            return made[-1]

        return maker

    monkeypatch.setitem(SEARCH_MODES, "simulate_sft", make(tuned))
    monkeypatch.setitem(SEARCH_MODES, "simulate_prompt", make(prompted))
    return made


def simulator_folder(folder: Path, **given: Any) -> Path:
    """A folder as `tune train` leaves one, with a server for its weights."""
    model = folder / "model"
    model.mkdir()
    told = {"schema": "zerosearch.tuned_simulator/1", "base_model": URL, "persona": "Wikipedia", "document_words": 25, "topk": 2}  # fmt: skip  # noqa: E501
    (model / "simulator.json").write_text(json.dumps({**told, **given}))
    return model


def arguments(folder: Path, *more: str) -> list[str]:
    questions = folder / "questions_held_out.jsonl"
    if not questions.exists():
        write_questions(folder)
        write_training(folder, [("t", "What do foxes eat?")])
    topk = [] if "--model" in more else ["--topk", "2"]
    known = ["--base-url", URL, "--questions", str(questions), "--out", str(folder / "gate")]
    return ["tune", "gate", *known, *topk, *more]


def test_a_good_simulator_is_accepted_and_says_so(
    tmp_path: Path, made: list[Playing], capsys: pytest.CaptureFixture[str]
) -> None:
    model = simulator_folder(tmp_path)
    assert main(arguments(tmp_path, "--model", str(model))) == 0
    shown = capsys.readouterr().out
    assert "**accepted**" in shown
    assert "| useful searches holding an answer | at least 0.85 | 1.000 [0.862, 1.000] (24/24) | yes |" in shown
    report = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert (report["schema"], report["accepted"]) == ("zerosearch.gate/1", True)
    assert report["questions"]["held_out"]["left_out"]["the same"] == 0
    assert [*report["simulators"]] == ["candidate", "reference"]
    assert report["simulators"]["candidate"]["tuned"] is True
    assert len(report["examples"]) == 10
    assert str(tmp_path) not in (tmp_path / "gate" / "gate.json").read_text()
    # Both play as the simulator learnt, and neither is checked.
    assert all(one.options["persona"] == "Wikipedia" and one.options["document_words"] == 25 for one in made)
    assert all(one.options["check"] is False for one in made)
    assert {request.topk for one in made for request in one.asked} == {2}
    told = json.loads((model / "simulator.json").read_text())
    assert told["gate"]["accepted"] is True
    assert (told["persona"], told["base_model"]) == ("Wikipedia", URL)


def test_a_refused_simulator_is_recorded_as_accepted_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(monkeypatch, leaking, leaking)
    model = simulator_folder(tmp_path, gate={"accepted": True})
    assert main(arguments(tmp_path, "--model", str(model))) == 1
    shown = capsys.readouterr().out
    assert "**refused**" in shown
    assert "no longer says that it was accepted" in shown
    assert json.loads((tmp_path / "gate" / "gate.json").read_text())["accepted"] is False
    assert "gate" not in json.loads((model / "simulator.json").read_text())


def test_rules_can_be_given(tmp_path: Path, made: list[Playing], capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(tmp_path, "--against", URL)
    assert main([*given, "--min-questions", "30"]) == 1
    assert "| questions that both can be judged by | at least 30 | 24 | **no** |" in capsys.readouterr().out
    assert main([*given, "--min-noisy-free", "7"]) == 2
    assert "min_noisy_free must be in [0, 1]" in capsys.readouterr().err
    assert main(given) == 0


def test_a_stopped_gate_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopping(request: SearchRequest) -> list[str]:
        if place_of(request) == PLACES[3]:
            raise KeyboardInterrupt
        return well(request)

    play(monkeypatch, stopping, leaking)
    given = arguments(tmp_path, "--against", URL, "--concurrency", "1")
    assert main(given) == 130
    assert "goes on where it stopped" in capsys.readouterr().err
    assert not (tmp_path / "gate" / "gate.json").exists()
    made = play(monkeypatch, well, leaking)
    assert main(given) == 0
    kept = 48 - sum(len(one.asked) for one in made if one.write is well)
    assert 0 < kept < 48
    assert f"{kept} of 48 searches are kept" in capsys.readouterr().err
    # And once more: nothing is asked.
    again = play(monkeypatch, well, leaking)
    assert main(given) == 0
    assert not any(one.asked for one in again)


def test_other_settings_in_the_same_folder_are_refused(
    tmp_path: Path, made: list[Playing], capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(tmp_path, "--against", URL)
    assert main(given) == 0
    assert main([*given, "--topk", "3"]) == 2
    assert "topk: 2 there, 3 here" in capsys.readouterr().err
    assert main([*given, "--candidate-option", "persona=Bing"]) == 2
    assert "the candidate is another (engine)" in capsys.readouterr().err
    # Another simulator beside them is none of other settings.
    assert main([*given, "--beside-untuned"]) == 0
    report = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert report["simulators"]["untuned"]["title"] == "a server's model, untuned, short prompt"


def test_more_simulators_beside_are_shown_and_decide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = play(monkeypatch, well, leaking)
    small = tmp_path / "small.gguf"
    write_gguf(small)
    (tmp_path / "small.gguf.json").write_text('{"schema": "zerosearch.tuned_simulator/1", "persona": "Bing"}')
    given = arguments(tmp_path, "--against", URL, "--search-option", "language=German")
    assert main([*given, "--beside", str(small), "http://127.0.0.1:8/v1"]) == 0
    assert "| size of the model | – | – | 0 MB, q4_k_m | – |" in capsys.readouterr().out
    report = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert [role.partition("-")[0] for role in report["simulators"]] == ["candidate", "reference", "beside", "beside"]
    assert all(each["separation"]["gain"]["n"] == 24 for each in report["paired"].values())
    options = next(one.options for one in made if one.options.get("simulation_llm") == str(small))
    assert (options["persona"], options["language"]) == ("Bing", "German")
    assert "gate" not in json.loads((tmp_path / "small.gguf.json").read_text())


def test_questions_of_the_training_are_refused(
    tmp_path: Path, made: list[Playing], capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(tmp_path, "--against", URL)
    write_training(tmp_path, [("t", f"what is the capital of {PLACES[0].lower()}")])
    assert main(given) == 2
    assert "1 of 24 questions are ones that the simulator was trained on" in capsys.readouterr().err
    assert main([*given, "--leave-out-seen"]) == 0
    shown = capsys.readouterr().out
    assert "23 questions of questions_held_out.jsonl" in shown
    assert "the 1 questions of the data given (the simulator names no other) aren't among them; left out" in shown
    assert main([*given, "--data", "none"]) == 0
    assert "**not seen whether they were held out" in capsys.readouterr().out


def test_other_training_data_than_its_own_is_refused(
    tmp_path: Path, made: list[Playing], capsys: pytest.CaptureFixture[str]
) -> None:
    model = simulator_folder(tmp_path, data={"train": "0123456789abcdef"})
    assert main(arguments(tmp_path, "--model", str(model))) == 2
    assert "trained on other examples (fingerprint 0123456789abcdef)" in capsys.readouterr().err
    own = hashlib.sha256((tmp_path / "train.jsonl").read_bytes()).hexdigest()[:16]
    simulator = json.loads((model / "simulator.json").read_text())
    (model / "simulator.json").write_text(json.dumps({**simulator, "data": {"train": own}}))
    assert main(arguments(tmp_path, "--model", str(model))) == 0
    assert json.loads((tmp_path / "gate" / "gate.json").read_text())["questions"]["held_out"]["is_what_it_says"] is True


def test_own_prompts_are_those_that_it_learnt(tmp_path: Path, made: list[Playing]) -> None:
    prompts = {"sft_useful": "Useful for {query}\n", "sft_noisy": "Noisy for {query}\n"}
    assert main(arguments(tmp_path, "--model", str(simulator_folder(tmp_path, prompts=prompts)))) == 0
    (folder,) = {one.options["prompts"] for one in made if "prompts" in one.options}
    assert (Path(folder) / "sft_noisy.txt").read_text() == "Noisy for {query}\n"
    assert all("prompts" not in one.options for one in made if one.write is leaking)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "There is no simulator to judge"),
        (["--model", "some/model", "--against", URL], "There is no model 'some/model'"),
        (["--base-url", URL], "There is no prompted model to compare with"),
        (["--base-url", URL, "--against", "gone.gguf"], "There is no file 'gone.gguf'"),
        (["--base-url", URL, "--against", URL, "--limit", "0"], "--limit"),
    ],
)
def test_what_cant_be_judged_is_said(
    tmp_path: Path, given: list[str], message: str, made: list[Playing], capsys: pytest.CaptureFixture[str]
) -> None:
    questions = write_questions(tmp_path)
    known = ["tune", "gate", "--questions", str(questions), "--data", "none", "--out", str(tmp_path / "gate")]
    assert main([*known, *given]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_model(tmp_path: Path, made: list[Playing], capsys: pytest.CaptureFixture[str]) -> None:
    questions, model = write_questions(tmp_path), simulator_folder(tmp_path)
    known = ["tune", "gate", "--questions", str(questions), "--data", "none", "--out", str(tmp_path / "gate")]
    assert main([*known, "--model", str(model)]) == 2
    assert "holds no model" in capsys.readouterr().err
