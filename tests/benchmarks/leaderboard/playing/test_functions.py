"""Functions of one's own, `policy(observation) -> action`."""

import asyncio
from pathlib import Path

import pytest

from agents.conversation import RolloutSettings
from agents.evaluate import evaluate_callable
from benchmarks.leaderboard.playing import BoardPlayer, play_questions
from tests.benchmarks.leaderboard.playing.test_player import load
from tests.benchmarks.leaderboard.scripted import LIMITS, QUESTION, play
from zs_env.engines.scripted import ScriptedEngine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError


def searcher(observation: str) -> str:
    return "<answer>the Saale</answer>" if "Saale" in observation else "hm <search>river Ilm</search> and so on"


async def slow_searcher(observation: str) -> str:
    await asyncio.sleep(0.001)
    return searcher(observation)


@pytest.mark.parametrize("function", [searcher, slow_searcher])
def test_a_function_plays_the_environment(function: object) -> None:
    player = BoardPlayer(model_name="mine", function=function)  # type: ignore[arg-type]
    (episode,) = play("zerosearch", player)
    assert (episode.status, episode.exact_match, episode.num_searches, episode.num_turns) == ("answered", 1.0, 1, 2)
    assert [segment.provenance for segment in episode.segments] == ["prompt", "policy", "environment", "policy"]
    assert episode.segments[1].text == "hm <search>river Ilm</search>"
    assert episode.prompt_tokens > episode.completion_tokens > 0
    assert episode.searches[0].contains_golden


def test_it_is_measured_as_evaluate_callable_measures_it() -> None:
    engine = ScriptedEngine("It ends in the Saale.")
    measured = evaluate_callable(searcher, [QUESTION], engine=engine, episode_settings=EpisodeSettings())
    (episode,) = play("zerosearch", BoardPlayer(model_name="mine", function=searcher), engine=engine)
    assert (measured["em_greedy"], measured["searches_per_episode"]) == (episode.exact_match, episode.num_searches)


@pytest.mark.parametrize("ended", [SystemExit("mine broke"), KeyboardInterrupt("mine broke")])
@pytest.mark.parametrize("is_async", [False, True])
def test_one_that_ends_its_program_fails_the_question_and_hangs_nothing(ended: BaseException, is_async: bool) -> None:
    def function(observation: str) -> str:
        raise ended

    async def other(observation: str) -> str:
        raise ended

    limits = RolloutSettings(max_new_tokens=10, max_episode_tokens=100, max_failure_rate=1.0)
    player = BoardPlayer(model_name="mine", function=other if is_async else function)
    (episode,) = play("zerosearch", player, rollout_settings=limits)
    assert episode.status == "failed"
    assert "mine broke" in str(episode.error)


@pytest.mark.parametrize("said", [None, 3, RuntimeError("mine broke")])
def test_what_is_no_text_or_raises_fails_the_question(said: object) -> None:
    def function(observation: str) -> object:
        if isinstance(said, Exception):
            raise said
        return said

    limits = RolloutSettings(max_new_tokens=10, max_episode_tokens=100, max_failure_rate=1.0)
    (episode,) = play("zerosearch", BoardPlayer(model_name="mine", function=function), rollout_settings=limits)
    assert episode.status == "failed"
    assert ("mine broke" if isinstance(said, Exception) else "An action is the policy's text") in str(episode.error)


def test_it_plays_no_agent_that_asks_for_text() -> None:
    with pytest.raises(ConfigError, match=r"can't be the agent 'rag': take zerosearch"):
        play("rag", BoardPlayer(model_name="mine", function=searcher))


def test_tokens_of_a_function_are_characters() -> None:
    counted = play_questions(
        "zerosearch",
        BoardPlayer(model_name="mine", function=searcher),
        [],
        engine=ScriptedEngine("a"),
        episode_settings=EpisodeSettings(),
        rollout_settings=LIMITS,
        seed=0,
        concurrency=1,
        keep=lambda episode: None,
    )
    assert counted is None


def test_it_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def answer(observation):\n    return '<answer>the Saale</answer>'\n", encoding="utf-8")
    player = load(["--agent", "zerosearch", "--callable", f"{path}:answer"])
    assert player.model_name == "mine.py:answer"
    assert set(player.fingerprints) == {"function"}
    assert str(tmp_path) not in str(player.record())
    (episode,) = play("zerosearch", player)
    assert episode.exact_match == 1.0
    with pytest.raises(ConfigError, match="no function 'other'"):
        load(["--agent", "zerosearch", "--callable", f"{path}:other"])
    for name in ("question", "mine.py"):
        with pytest.raises(ConfigError, match=f"--callable '{name}' names no function"):
            load(["--agent", "zerosearch", "--callable", name])
    with pytest.raises(ConfigError, match=r"There is no file 'gone\.py', which --callable names"):
        load(["--agent", "zerosearch", "--callable", "gone.py:answer"])
    with pytest.raises(ConfigError, match="leave out --model"):
        load(["--agent", "zerosearch", "--callable", f"{path}:answer", "--model", "smollm2"])
