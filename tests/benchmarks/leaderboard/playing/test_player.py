import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.config import ModelConfig
from agents.samplers import SamplingSettings
from benchmarks.leaderboard.playing import BoardPlayer, add_board_player_flags, load_board_player
from tests.benchmarks.leaderboard.playing.test_harness import Memory, timeless
from tests.benchmarks.leaderboard.scripted import play, task
from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, say
from zs_env.engines import make_engine
from zs_env.errors import ConfigError
from zs_env.questions import load_questions
from zs_env.serving import Server, WatchSettings, serve
from zs_env.types import Question

USED = {"usage": {"prompt_tokens": 70, "completion_tokens": 3}, "model": "served"}


def load(arguments: Sequence[str]) -> BoardPlayer:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_board_player_flags(parser)
    parser.add_argument("--max-turns", type=int)
    parser.add_argument("--max-new-tokens", type=int)
    return load_board_player(parser.parse_args(arguments), say=lambda line: None)


def server_flags(server: Any, *more: str) -> list[str]:
    return ["--sampler", "openai", "--policy-url", server.base_url, *more]


def test_the_quickstart_policy_plays_by_what_it_was_trained_with() -> None:
    player = load(["--agent", "zerosearch", "--model", "preset:quickstart_warmstart", "--max-turns", "3"])
    assert player.model_name == "preset:quickstart_warmstart"
    assert set(player.fingerprints) == {"model", "tokenizer"}
    assert player.characters_per_token == 1
    assert player.episode_settings.max_turns == 3
    atlas = load_questions("atlas", "test")
    tasks = [task(atlas[at], at, set="atlas") for at in range(12)]
    rules, limits = player.episode_settings, player.rollout_settings
    played = play("zerosearch", player, tasks, make_engine("template"), episode_settings=rules, rollout_settings=limits)
    assert sum(episode.status == "answered" for episode in played) >= 10
    assert sum(episode.num_searches for episode in played) >= 10
    player.close()


def test_a_checkpoint_is_called_by_its_run(tmp_path: Path) -> None:
    shutil.copytree(ModelConfig(source="preset:quickstart_warmstart").path, tmp_path / "mine" / "checkpoint")
    player = load(["--agent", "zerosearch", "--model", str(tmp_path / "mine" / "checkpoint")])
    assert player.model_name == "mine"
    player.close()


def test_nobody_is_needed_for_the_bounds() -> None:
    player = load(["--agent", "oracle", "random"])
    assert (player.model_name, player.train_engine, player.record(), player.fingerprints) == (None, "none", {}, {})
    assert play("oracle", player)[0].exact_match == 1.0
    with pytest.raises(ConfigError, match="can't write text"):
        player.sampler(SamplingSettings())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agent", "oracle", "cot"], "'cot' needs a model: give --model"),
        (["--agent", "cot", "--model", "smollm2", "--policy-url", "http://127.0.0.1:1/v1"], "--policy-url is for"),
        (["--agent", "cot", "--sampler", "openai"], "needs --policy-url"),
        (["--agent", "cot", "--model", "preset:quickstart_warmstart", "--max-new-tokens", "99999"], "max_new_tokens"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(arguments)


def test_an_unknown_agent_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--agent", "nosuch"])
    assert "search-o1" in capsys.readouterr().err


@pytest.mark.parametrize("told", [True, False])
def test_a_server_s_tokens_are_those_that_it_counts(told: bool) -> None:
    with FaultServer(lambda seen: say("the Saale", **(USED if told else {}))) as server:
        player = load(["--agent", "direct", *server_flags(server, "--model", "org/some-model")])
        assert player.characters_per_token == 4
        (episode,) = play("direct", player)
        body = server.chats[0].body
        record = player.record()
        player.close()
    assert (episode.status, episode.exact_match) == ("answered", 1.0)
    tokens = (70, 3) if told else (-(-len(body["messages"][0]["content"]) // 4), 3)
    assert (episode.prompt_tokens, episode.completion_tokens) == tokens
    assert (body["stop"], body["temperature"], body["max_tokens"]) == (["\n"], 0.0, 200)
    assert body["messages"][0]["content"].endswith("Question: Where does the river Ilm end?\nAnswer:")
    assert player.model_name == "some-model"
    assert "127.0.0.1" not in str(record)


def chat(seen: Seen) -> Do:
    """Searches as the prompt of ra-agent asks, with the closing mark cut off as servers do."""
    turns = len(seen.body["messages"])
    return say("Hm. <|begin_search_query|>river Ilm" if turns == 1 else "So \\boxed{the Saale}", **USED)


def test_a_server_s_tool_calls_are_closed_and_answered_in_its_chat() -> None:
    with FaultServer(chat) as server:
        player = load(["--agent", "ra-agent", *server_flags(server)])
        (episode,) = play("ra-agent", player)
        messages = server.chats[-1].body["messages"]
        player.close()
    assert (episode.exact_match, [search.query for search in episode.searches]) == (1.0, ["river Ilm"])
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"].startswith("<|end_search_query|>\n\n<|begin_search_result|>\nDoc 1: The Ilm")


def test_a_server_that_was_stopped_goes_on_from_what_is_kept() -> None:
    """The first turn comes from the replay, the second from the server, which is told of the first."""
    memory, questions = Memory(), [task(Question(id="1", question="Where?", golden_answers=("the Saale",)))]
    with FaultServer(chat) as server:
        player = load(["--agent", "ra-agent", *server_flags(server, "--model", "m")])
        whole = play("ra-agent", player, questions, replay=memory)
        first = server.chats[-1].body
        assert len(memory.kept) == 2
        assert timeless(play("ra-agent", player, questions, replay=memory)) == timeless(whole)
        assert len(server.chats) == 2
        memory.kept.popitem()
        assert timeless(play("ra-agent", player, questions, replay=memory)) == timeless(whole)
        assert server.chats[-1].body == first
        assert len(server.chats) == 3
        player.close()


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    watch = WatchSettings(log_dir=tmp_path_factory.mktemp("logs"), start_timeout_s=120.0)
    with serve("llamacpp", "smollm2", port=0, parallel=2, context_tokens=4096, watch=watch) as server:
        yield server


@pytest.mark.parametrize("agent", ["direct", "rag"])
def test_a_real_model_on_a_real_server_answers(agent: str, llamacpp: Server) -> None:
    player = load(["--agent", agent, *server_flags(llamacpp, "--policy-concurrency", "2")])
    question = Question(id="1", question="What is the capital of France?", golden_answers=("Paris",))
    limits = player.rollout_settings.__class__(max_new_tokens=24, max_episode_tokens=1024)
    (episode,) = play(agent, player, [task(question)], rollout_settings=limits)
    assert episode.status == "answered"
    assert 20 < episode.prompt_tokens < 400
    assert 0 < episode.completion_tokens <= 24
    assert "SmolLM2" in str(player.record()["served_as"])
    player.close()
