from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import zs_env
from tests.zs_env.playing import WaitingEngine
from zs_env import Question, SimulatedSearchEnv, SimulatedSearchVectorEnv
from zs_env.errors import ActionError, ConfigError, EpisodeStateError, QuestionError

OWN = {"id": "own", "question": "Who wrote Emma?", "golden_answers": ["Jane Austen"]}
CURRICULUM = {"start": 0.25, "end": 0.5, "total_steps": 203}


def test_importing_registers_the_environment() -> None:
    gym.register_envs(zs_env)
    assert isinstance(gym.make("ZeroSearch-v0").unwrapped, SimulatedSearchEnv)
    assert isinstance(gym.make_vec("ZeroSearch-v0", num_envs=64).unwrapped, SimulatedSearchVectorEnv)


def test_one_line_makes_it_and_needs_no_torch() -> None:
    code = (
        "import gymnasium, sys; env = gymnasium.make('zs_env:ZeroSearch-v0'); env.reset(seed=0);"
        "env.step('<search>capital of France</search>');"
        "bad = {'torch', 'transformers', 'ray', 'pyarrow', 'datasets'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_what_they_say() -> None:
    public = {name for name in vars(zs_env) if not name.startswith("_")}
    modules = {name for name in public if type(vars(zs_env)[name]) is type(zs_env)}
    assert set(zs_env.__all__) == public - modules - {"annotations"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("given", [{}, {"noise_probability": 0.5, "observation": "new"}, {"curriculum": CURRICULUM}])
def test_gymnasiums_checker_has_nothing_to_say(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    check_env(gym.make("ZeroSearch-v0", **given).unwrapped)


@pytest.mark.filterwarnings("error")
def test_random_play_through_gymnasiums_wrappers() -> None:
    env = gym.make("ZeroSearch-v0")
    env.action_space.seed(0)
    statuses = set()
    for seed in range(60):
        _, info = env.reset(seed=seed)
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            done = terminated or truncated
        statuses.add(info["status"])
    assert statuses == {"answered", "out_of_turns"}


def test_specs_survive_json() -> None:
    given = {"topk": 3, "max_turns": 4, "reward": {"em": 1.0, "format": 0.1}, "curriculum": CURRICULUM, "split": "test"}
    spec = gym.make("ZeroSearch-v0", **given).spec
    assert spec is not None
    loaded = type(spec).from_json(spec.to_json())
    assert gym.make(loaded).reset(seed=3)[0] == gym.make("ZeroSearch-v0", **given).reset(seed=3)[0]
    json.loads(spec.to_json())
    vector_spec = gym.make_vec("ZeroSearch-v0", num_envs=2, **given).spec
    assert gym.make_vec(type(spec).from_json(vector_spec.to_json())).unwrapped.maker.settings.topk == 3


def test_observation_modes() -> None:
    whole, new = SimulatedSearchEnv(), SimulatedSearchEnv(observation="new")
    transcript = whole.reset(seed=0)[0]
    assert new.reset(seed=0)[0] == transcript
    for action in ("<search>capital of France</search>", "oops", "<answer>x</answer>"):
        seen, *_, info = whole.step(action)
        added, *_ = new.step(action)
        transcript += action + info["new_text"]
        assert (seen, added) == (transcript, info["new_text"])


def test_a_question_of_ones_own() -> None:
    env = SimulatedSearchEnv()
    for question in (OWN, Question(id="own", question="Who wrote Emma?", golden_answers=("Jane Austen",))):
        text, info = env.reset(options={"question": question})
        assert "Who wrote Emma?" in text
        assert info["question_id"] == "own"
        assert env.step("<answer>jane austen</answer>")[1] == 1.0
    assert env.reset(seed=0)[1]["question_id"] != "own"
    assert OWN == {"id": "own", "question": "Who wrote Emma?", "golden_answers": ["Jane Austen"]}


def test_a_question_for_each_environment() -> None:
    envs = SimulatedSearchVectorEnv(2)
    _, info = envs.reset(options={"question": [OWN, {**OWN, "id": "other"}]})
    assert list(info["question_id"]) == ["own", "other"]
    _, info = envs.reset(options={"question": OWN})
    assert list(info["question_id"]) == ["own", "own"]


@pytest.mark.parametrize(
    "bad",
    [
        {"question": "Who?"},
        {"question": "Who?", "golden_answers": []},
        {"question": " ", "golden_answers": ["x"]},
        {"question": "Who?", "golden_answers": [" "]},
        {"question": "Who?", "golden_answers": [3]},
        {"question": "Who?", "golden_answers": ["x"], "gold": 1},
        "Who?",
    ],
)
def test_bad_questions_are_refused(bad: object) -> None:
    with pytest.raises(QuestionError, match=r"golden_answers|aren't empty"):
        SimulatedSearchEnv().reset(options={"question": bad})


def test_golden_answers_appear_nowhere_before_the_end() -> None:
    env = SimulatedSearchEnv(questions=[{**OWN, "golden_answers": ["Zyxgold"]}], noise_probability=1.0)
    seen = [env.reset(seed=0), env.step("<search>who wrote Emma</search>"), env.step("oops")]
    assert "Zyxgold" not in repr(seen)
    assert "Zyxgold" in repr(env.step("<answer>x</answer>"))


def test_noise_of_a_reset_holds_until_the_next() -> None:
    env = SimulatedSearchEnv(noise_probability=0.1)
    assert env.reset(options={"noise_probability": 0.9})[1]["noise_probability"] == 0.9
    assert env.reset()[1]["noise_probability"] == 0.1


def test_automatic_resets_keep_the_noise() -> None:
    envs = SimulatedSearchVectorEnv(2, autoreset_mode="SameStep")
    envs.reset(seed=0, options={"noise_probability": 0.9})
    *_, info = envs.step(["<answer>x</answer>"] * 2)
    assert list(info["noise_probability"]) == [0.9, 0.9]


def test_a_training_step_moves_the_curriculum_and_stays() -> None:
    env = SimulatedSearchEnv(curriculum=CURRICULUM)
    assert env.reset()[1]["noise_probability"] == 0.25
    assert env.reset(options={"training_step": 203})[1]["noise_probability"] == 0.5
    assert env.reset()[1]["noise_probability"] == 0.5
    assert env.reset(options={"training_step": 10_000})[1]["noise_probability"] == 0.5
    assert env.reset(options={"training_step": 0})[1]["noise_probability"] == 0.25


def test_default_noise_is_none() -> None:
    assert SimulatedSearchEnv().reset()[1]["noise_probability"] == 0.0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"search_mode": "no_such_mode"}, "template"),
        ({"search_mode": "template", "simulation_llm": "x"}, "simulation_llm"),
        ({"questions": "/no/such/file.jsonl"}, "no/such/file"),
        ({"split": "no_such_split"}, "validation"),
        ({"reward": "bleu"}, "containment"),
        ({"noise_probability": 1.5}, "noise_probability"),
        ({"noise_probability": 0.5, "curriculum": CURRICULUM}, "both"),
        ({"curriculum": {"start": 0}}, "total_steps"),
        ({"observation": "all"}, "transcript"),
        ({"prompt": "hello"}, "question"),
        ({"topk": 0}, "topk"),
        ({"max_turns": -1}, "max_turns"),
        ({"render_mode": "rgb_array"}, "ansi"),
        ({"engine": object()}, "search"),
        ({"engine": WaitingEngine(), "base_url": "x"}, "base_url"),
        ({"questions": []}, "question"),
    ],
)
@pytest.mark.parametrize("make", [SimulatedSearchEnv, SimulatedSearchVectorEnv])
def test_defect_18_bad_options_are_errors_that_say_what_to_do(
    make: Callable[..., Any], given: dict[str, Any], says: str
) -> None:
    with pytest.raises((ConfigError, QuestionError), match=says):
        make(**given)


@pytest.mark.parametrize(
    "given",
    [{"speed": 1}, {"training_step": 3}, {"noise_probability": 2}, {"noise_probability": 0.1, "training_step": 1}],
)
def test_bad_reset_options_are_refused(given: dict[str, Any]) -> None:
    for env in (SimulatedSearchEnv(), SimulatedSearchVectorEnv(2)):
        with pytest.raises(ConfigError):
            env.reset(options=given)


def test_stepping_out_of_order_says_what_to_do() -> None:
    env, envs = SimulatedSearchEnv(), SimulatedSearchVectorEnv(2, autoreset_mode="Disabled")
    for one, action in ((env, "x"), (envs, ["x", "x"])):
        with pytest.raises(EpisodeStateError, match="reset"):
            one.step(action)  # type: ignore[arg-type]
    env.reset()
    env.step("<answer>x</answer>")
    with pytest.raises(EpisodeStateError, match="reset"):
        env.step("x")
    envs.reset()
    envs.step(["<answer>x</answer>"] * 2)
    with pytest.raises(EpisodeStateError, match="reset_mask"):
        envs.step(["x", "x"])


@pytest.mark.parametrize("bad", ["one text", ["x"], ["x", 3], ["x", None]])
def test_a_vector_refuses_bad_actions_before_anything_moved(bad: Any) -> None:
    envs = SimulatedSearchVectorEnv(2)
    before, _ = envs.reset(seed=0)
    with pytest.raises(ActionError):
        envs.step(bad)
    after, *_ = envs.step(["<answer>x</answer>"] * 2)
    assert [text.removesuffix("<answer>x</answer>") for text in after] == list(before)


@pytest.mark.parametrize("bad", [[1, 2, 3], "x"])
def test_bad_seeds_are_refused(bad: Any) -> None:
    with pytest.raises((ConfigError, ValueError)):
        SimulatedSearchVectorEnv(2).reset(seed=bad)


@pytest.mark.parametrize("bad", [np.zeros(2, bool), np.ones(3, bool), np.ones(2), "x"])
def test_bad_reset_masks_are_refused(bad: Any) -> None:
    envs = SimulatedSearchVectorEnv(2)
    envs.reset()
    with pytest.raises(ConfigError, match="reset_mask"):
        envs.reset(options={"reset_mask": bad})


def test_resetting_does_not_change_the_callers_options() -> None:
    envs = SimulatedSearchVectorEnv(2)
    envs.reset()
    given = {"reset_mask": np.array([True, False])}
    envs.reset(options=given)
    assert list(given) == ["reset_mask"]


def test_an_unknown_autoreset_mode_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="SameStep"):
        SimulatedSearchVectorEnv(2, autoreset_mode="later")
    for spelling in ("SameStep", "same_step", "SAME_STEP"):
        assert SimulatedSearchVectorEnv(1, autoreset_mode=spelling).autoreset_mode.value == "SameStep"


def test_an_engine_is_shared_by_all_copies() -> None:
    engine = WaitingEngine()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("ZeroSearch-v0", engine=engine)
        assert env.unwrapped.engine is engine
        assert env.spec is not None
    envs = gym.make_vec("ZeroSearch-v0", num_envs=2, engine=engine)
    assert envs.unwrapped.engine is engine
    assert copy.deepcopy(env.unwrapped).engine is engine


def test_an_environment_can_be_pickled_in_the_middle_of_an_episode() -> None:
    env = SimulatedSearchEnv(noise_probability=0.5)
    env.reset(seed=0)
    env.step("<search>capital of France</search>")
    again = pickle.loads(pickle.dumps(env))
    for action in ("<search>capital of Spain</search>", "<answer>Madrid</answer>"):
        assert again.step(action) == env.step(action)


def test_the_ansi_transcript_shows_all_and_steers_no_terminal() -> None:
    env = SimulatedSearchEnv(render_mode="ansi", noise_probability=1.0)
    env.reset(seed=0, options={"question": {**OWN, "question": "Who \x1b[2Jwrote \u202eEmma?"}})
    env.step("<think>I look\nit up</think><search>Emma \x07</search>")
    env.step("nonsense")
    env.step("<answer>Bront\u00eb</answer>")
    shown = env.render()
    assert shown is not None
    for part in ("Turn 1 of 5", "I look it up", "asked to be noisy", "no valid action", "Brontë", "it is Jane Austen"):
        assert part in shown
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "\x07" not in shown


def test_human_rendering_prints_as_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    env = SimulatedSearchEnv(render_mode="human")
    env.reset(seed=0)
    first = capsys.readouterr().out
    env.step("<answer>x</answer>")
    second = capsys.readouterr().out
    assert "Question" in first
    assert "Question" not in second
    assert "not right" in second
    assert env.render() is None
