"""How often a run begins again when workers are lost: as long as it gets further. (Real processes: `executors`.)"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.assembly import make_executor
from agents.config import TrainConfig, load_config
from agents.errors import TrainingError, WorkersLostError
from agents.executors.watched import WatchedExecutor
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_lfm2
from tests.agents.doubles import first_letters
from tests.agents.resuming import begin, lines_of, sections
from zs_env.rewards import REWARDS

LIMIT_S = 30.0


def losing(is_lost: Callable[[int, int], bool], tries: Counter[int]) -> Callable[..., Any]:
    """What makes an executor that learns in this process, and loses its learner in steps, at their n-th try."""

    def executor_for(config: TrainConfig, policy: Policy, engine: Any) -> Any:
        settings = config.record()
        settings["run"]["executor"] = "local"
        for name in ("scale", "ppo", "reinforce", "critic"):
            settings.pop(name, None)
        executor: Any = make_executor(load_config(settings), policy, engine)
        whole = executor.update

        def update(*given: Any, **options: Any) -> Any:
            step = executor.sampler.weight_version
            tries[step] += 1
            if is_lost(step, tries[step]):
                raise WorkersLostError("The learner died.")
            return whole(*given, **options)

        executor.update, executor.restart_learners, executor.workers = update, lambda: None, []
        return executor

    return executor_for


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.setitem(REWARDS, "letters", first_letters)  # type: ignore[arg-type]
    Policy(tiny_lfm2(), byte_tokenizer()).save(tmp_path / "tiny")
    return sections(
        tmp_path / "tiny",
        run={"executor": "ray", "checkpoint_every": 0},
        scale={"max_replacements": 2},
        evaluation={"limit": 1, "noise": [0.0]},
    )


def test_steps_that_are_taken_anew_are_no_way_forward(settings: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    tries = Counter[int]()
    with pytest.raises(TrainingError, match=r"2 times since the last step that was new.*max_replacements"):
        begin(tmp_path, "stuck", settings, executor_for=losing(lambda step, number: step == 3 and number < 9, tries))
    assert tries == {0: 3, 1: 3, 2: 3, 3: 3}
    assert [line["step"] for line in lines_of(tmp_path / "stuck" / "events.jsonl")] == [3, 3]


def test_a_run_that_gets_further_may_begin_again_each_time(settings: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    tries = Counter[int]()
    begin(tmp_path, "slow", settings, executor_for=losing(lambda _, number: number == 1, tries))
    assert [line["step"] for line in lines_of(tmp_path / "slow" / "events.jsonl")] == [0, 1, 2, 3, 4]
    assert [line["step"] for line in lines_of(tmp_path / "slow" / "metrics.jsonl")] == [0, 1, 2, 3, 4]


class Plays:
    """Plays until it may go on, and then or when it learns has no memory."""

    def __init__(self) -> None:
        self.began, self.goes_on = threading.Event(), threading.Event()

    def rollout(self, tasks: Any) -> Any:
        self.began.set()
        assert self.goes_on.wait(LIMIT_S)
        raise MemoryError

    def update(self) -> Any:
        raise MemoryError


def test_what_ran_out_of_memory_while_others_played_ahead_did_not_play() -> None:
    plays = Plays()
    executor = WatchedExecutor(plays)  # type: ignore[arg-type]
    found: list[BaseException] = []

    def play() -> None:
        try:
            executor.rollout([])
        except MemoryError as error:
            found.append(error)

    thread = threading.Thread(target=play)
    thread.start()
    assert plays.began.wait(LIMIT_S)
    with pytest.raises(MemoryError) as caught:
        executor.update()
    assert not executor.ended_rollout(caught.value)
    plays.goes_on.set()
    thread.join(LIMIT_S)
    assert executor.ended_rollout(found[0])
    assert not executor.ended_rollout(caught.value)
