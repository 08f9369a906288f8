from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.algorithm import TrainingSettings
from agents.config import load_config
from agents.conversation import EpisodeTask
from agents.errors import RolloutError
from agents.grpo import Grpo, GrpoSettings
from agents.metrics import METRICS
from agents.optimization import OptimizerSettings
from agents.questions import NoiseSchedule
from agents.rollout import RolloutResult, check_failures
from agents.runs import RunFolder
from agents.train import _count_episodes
from agents.trajectory import Trajectory
from tests.agents.doubles import PlayedBefore, make_trajectory
from zs_env.errors import ConfigError
from zs_env.types import Question

QUESTIONS = [Question(id=f"q{n}", question=f"What is {n}?", golden_answers=(str(n),)) for n in range(40)]

Outcome = Callable[[int, EpisodeTask, int], "float | None"]


class Played(PlayedBefore):
    """Plays each task as `outcome` says: round, task and place in the round to a reward, or None for a failure."""

    def __init__(self, outcome: Outcome, *, max_failure_rate: float = 1.0) -> None:
        super().__init__([])
        self.outcome = outcome
        self.max_failure_rate = max_failure_rate
        self.rounds: list[list[EpisodeTask]] = []

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        trajectories = []
        for place, task in enumerate(tasks):
            reward = self.outcome(len(self.rounds), task, place)
            trajectory = make_trajectory(task.group, reward or 0.0, 4)
            trajectory.question_id = task.question.id
            trajectory.status = "failed" if reward is None else "answered"
            trajectories.append(trajectory)
        self.rounds.append(list(tasks))
        result = RolloutResult(trajectories=trajectories, generate_s=1.0)
        if result.num_failed > self.max_failure_rate * len(trajectories):
            error = RolloutError("too many")
            error.result, error.max_failure_rate = result, self.max_failure_rate
            raise error
        return result


def make(outcome: Outcome, *, rounds: int, count: int = 3, size: int = 2, **changes: Any) -> tuple[Grpo, Played]:
    executor = Played(outcome, max_failure_rate=changes.pop("max_failure_rate", 1.0))
    options: dict[str, Any] = {"optimizer": OptimizerSettings(), "noise": NoiseSchedule(), "seed": 0} | changes
    training = TrainingSettings(total_steps=9, questions_per_step=count, group_size=size)
    settings = GrpoSettings(dynamic_sampling_rounds=rounds)
    return Grpo(executor, QUESTIONS, training, settings, **options), executor  # type: ignore[arg-type]


def varies_from(number: int) -> Outcome:
    """Groups of a step's first `number` rounds are all alike; later ones have a winner."""
    return lambda played, task, place: 1.0 if played < number or place % 2 else 0.0


def test_groups_that_teach_nothing_are_replaced_by_further_questions() -> None:
    # Of three groups the second is alike. Round two: alike again. Round three: it has a winner.
    def outcome(played: int, task: EpisodeTask, place: int) -> float:
        alike = (played == 0 and place in (2, 3)) or played == 1
        return 1.0 if alike or place % 2 else 0.0

    grpo, executor = make(outcome, rounds=4, noise=NoiseSchedule(mix=(0.0, 0.5, 0.25)))
    step = grpo.step(0)
    assert [len(tasks) for tasks in executor.rounds] == [6, 2, 2]
    asked = [tasks[0].question.id for tasks in executor.rounds[1:]]
    assert not {task.question.id for task in executor.rounds[0]} & set(asked)
    assert len(set(asked)) == 2
    # What replaces a question is as noisy as that was.
    assert [task.noise_probability for tasks in executor.rounds[1:] for task in tasks] == [0.5] * 4
    # Three groups to learn from, of five that were played.
    assert len({example.trajectory.group for example in executor.learned[0]}) == 3
    metrics = step.metrics
    assert (metrics["num_sampling_rounds"], metrics["num_episodes"], metrics["num_examples"]) == (3, 10, 6)
    assert metrics["zero_variance_share"] == pytest.approx(2 / 5)
    assert metrics["reward_mean"] == pytest.approx(7 / 10)
    assert metrics["generate_s"] == 3.0
    assert len(step.trajectories) == 10
    assert set(metrics) <= set(METRICS)


def test_it_ends_after_so_many_rounds_whatever_was_played() -> None:
    grpo, executor = make(lambda *_: 1.0, rounds=2)
    metrics = grpo.step(0).metrics
    assert [len(tasks) for tasks in executor.rounds] == [6, 6, 6]
    assert (metrics["num_sampling_rounds"], metrics["num_updates"], metrics["zero_variance_share"]) == (3, 0, 1.0)


def test_without_it_and_where_every_group_varies_a_step_is_one_round() -> None:
    plain, one = make(varies_from(0), rounds=0)
    dynamic, other = make(varies_from(0), rounds=3)
    first, second = plain.step(4).metrics, dynamic.step(4).metrics
    assert len(one.rounds) == len(other.rounds) == 1
    # The same questions with the same draws; the groups' numbers leave room for what might have been played.
    assert [(task.question, task.key) for task in one.rounds[0]] == [
        (task.question, task.key) for task in other.rounds[0]
    ]
    assert [task.group for task in one.rounds[0]] == [12, 12, 13, 13, 14, 14]
    assert "num_sampling_rounds" not in first
    assert second["num_sampling_rounds"] == 1


def test_groups_and_keys_are_the_runs_own_and_a_resumed_run_plays_the_same() -> None:
    def all_of(grpo: Grpo, executor: Played, steps: Sequence[int]) -> dict[int, list[Any]]:
        played = {}
        for step in steps:
            executor.rounds = []
            grpo.step(step)
            played[step] = [task for tasks in executor.rounds for task in tasks]
        return played

    whole = all_of(*make(lambda *_: 0.0, rounds=2), range(6))
    tasks = [task for played in whole.values() for task in played]
    assert len(tasks) == len({task.key for task in tasks}) == 6 * 3 * 6
    questions: dict[int, set[str]] = {}
    for task in tasks:
        questions.setdefault(task.group, set()).add(task.question.id)
    assert len(questions) == 6 * 9
    assert all(len(ids) == 1 for ids in questions.values())
    # Each round of each step goes on in the order of what replaces.
    extra = {tuple(task.question.id for task in played[n : n + 6]) for played in whole.values() for n in (6, 12)}
    assert len(extra) == 6 * 2
    resumed = all_of(*make(lambda *_: 0.0, rounds=2), range(4, 6))
    assert resumed == {step: whole[step] for step in (4, 5)}
    other = all_of(*make(lambda *_: 0.0, rounds=2, seed=1), range(4, 6))
    assert other != resumed


def test_a_small_source_asks_again_when_nothing_is_left() -> None:
    grpo, executor = make(lambda *_: 0.0, rounds=2, count=30)
    grpo.step(0)
    first, second = ({task.question.id for task in tasks} for tasks in executor.rounds[:2])
    # 40 questions, 30 of them asked: the 10 others come first, if the further 30 hold them.
    assert len(first) == len(second) == 30
    further = grpo._spare.take(0, 30)
    assert {f"q{n}" for n in further} == second
    fresh = [n for n in further if f"q{n}" not in first]
    assert 0 < len(fresh) <= 10
    assert [task.question.id for task in executor.rounds[1][: 2 * len(fresh) : 2]] == [f"q{n}" for n in fresh]


def test_defect_17_failed_episodes_of_every_round_are_counted_and_a_group_of_them_is_replaced() -> None:
    # The first group fails as a whole, then one of the two episodes in its place: nothing to compare with either time.
    def outcome(played: int, task: EpisodeTask, place: int) -> float | None:
        if (played == 0 and place < 2) or (played == 1 and place == 0):
            return None
        return float(place % 2)

    grpo, executor = make(outcome, rounds=5)
    metrics = grpo.step(0).metrics
    assert [len(tasks) for tasks in executor.rounds] == [6, 2, 2]
    assert (metrics["num_failed"], metrics["num_episodes"], metrics["num_examples"]) == (3, 10, 6)


def test_how_many_may_fail_is_a_share_of_the_whole_step() -> None:
    # Half of the second round's two episodes fail, more than a quarter; of the step's eight it is one.
    def outcome(played: int, task: EpisodeTask, place: int) -> float | None:
        if played == 0:
            return 1.0 if place < 2 or place % 2 else 0.0
        return None if place == 0 else 1.0

    grpo, _ = make(outcome, rounds=1, max_failure_rate=0.25)
    assert grpo.step(0).metrics["num_failed"] == 1
    # With three rounds it is one of 8, two of 10 and three of 12, a quarter; with four, 4 of 14, and that is too many.
    assert make(outcome, rounds=3, max_failure_rate=0.25)[0].step(0).metrics["num_failed"] == 3
    with pytest.raises(RolloutError):
        make(outcome, rounds=4, max_failure_rate=0.25)[0].step(0)


def test_what_is_kept_is_not_replaced() -> None:
    with pytest.raises(ConfigError, match="zero_variance='keep'"):
        GrpoSettings(dynamic_sampling_rounds=1, zero_variance="keep")
    with pytest.raises(ConfigError, match="dynamic_sampling_rounds"):
        GrpoSettings(dynamic_sampling_rounds=-1)


def test_a_rollouts_error_holds_what_was_played() -> None:
    failed = Trajectory(question_id="q", question="?", golden_answers=("a",), group=0)
    result = RolloutResult(trajectories=[failed])
    with pytest.raises(RolloutError) as raised:
        check_failures(result, 0.25, None)
    assert (raised.value.result, raised.value.max_failure_rate) == (result, 0.25)


def test_a_run_counts_the_episodes_of_every_round(tmp_path: Path) -> None:
    # 2 questions × 3 episodes a step; the second step says that it played 9.
    run = RunFolder("counted", root=tmp_path)
    lines = [{"num_failed": 1}, {"num_failed": 2, "num_episodes": 9}]
    text = "".join(json.dumps({"step": step, "metrics": metrics}) + "\n" for step, metrics in enumerate(lines))
    run.path.mkdir()
    (run.path / "metrics.jsonl").write_text(text)
    config = load_config({"model": {"source": "m"}, "training": {"questions_per_step": 2, "group_size": 3}})
    assert _count_episodes(config, run) == {"num_played": 15, "num_failed": 3}
