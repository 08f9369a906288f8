import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from agents.conversation import EpisodeTask, RolloutSettings
from agents.errors import RolloutError
from agents.policy import Policy
from agents.rollout import rollout_sync
from agents.samplers import Generation, GenerationRequest, SamplingSettings, ScriptedSampler
from agents.testing import byte_tokenizer, tiny_llama
from benchmarks.leaderboard.agents import AGENTS
from benchmarks.leaderboard.episodes import PlayedEpisode, read_episodes, write_episodes
from benchmarks.leaderboard.playing import MAX_FAILURES_IN_A_ROW, BoardPlayer, BoardTask
from tests.benchmarks.leaderboard.scripted import CODEC, LIMITS, QUESTION, play, player_of, task
from zs_env.engines import make_engine
from zs_env.engines.scripted import ScriptedEngine
from zs_env.episode import EpisodeSettings
from zs_env.errors import BudgetError, ChatError, ConfigError
from zs_env.questions import load_questions
from zs_env.types import Question

WITH_MODEL = [name for name, spec in AGENTS.items() if spec.needs_model]
SMALL = RolloutSettings(max_new_tokens=12, max_episode_tokens=3000)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(tiny_llama(), byte_tokenizer())


@pytest.fixture(scope="module")
def tasks() -> list[BoardTask]:
    atlas = load_questions("atlas", "test")
    return [BoardTask(set="atlas", index=at, question=atlas[at], noise_probability=0.5) for at in range(6)]


def timeless(episodes: Sequence[PlayedEpisode]) -> list[PlayedEpisode]:
    """Without what may differ between equal runs."""
    return [
        dataclasses.replace(
            episode,
            seconds=0.0,
            search_seconds=0.0,
            searches=tuple(dataclasses.replace(search, latency_s=0.0) for search in episode.searches),
        )
        for episode in episodes
    ]


@pytest.mark.parametrize("temperature", [None, 1.0])
@pytest.mark.parametrize("agent", ["cot", "rag", "zerosearch"])
def test_neither_order_nor_number_at_once_changes_anything(
    agent: str, temperature: float | None, policy: Policy, tasks: list[BoardTask]
) -> None:
    player = BoardPlayer.of_policy(policy, name="tiny")
    options: dict[str, Any] = {"rollout_settings": SMALL, "temperature": temperature, "engine": make_engine("template")}
    together = play(agent, player, tasks, concurrency=6, **options)
    assert timeless(together) == timeless(play(agent, player, tasks[::-1], concurrency=1, **options))
    assert [episode.index for episode in together] == [0, 1, 2, 3, 4, 5]
    drawn = [episode.segments for episode in play(agent, player, tasks, seed=1, **options)]
    if agent == "cot":  # the others draw noise, too
        assert (drawn == [episode.segments for episode in together]) == (temperature is None)


def test_a_policy_plays_as_the_rollout_plays_it(policy: Policy, tasks: list[BoardTask]) -> None:
    """`zerosearch` is what `python -m agents eval` plays: the same ids, the same draws."""
    rules = EpisodeSettings(max_turns=3)
    engine = make_engine("template")
    trajectories = rollout_sync(
        [EpisodeTask(question=t.question, group=0, key=t.key, noise_probability=t.noise_probability) for t in tasks],
        sampler=policy.sampler(SamplingSettings(temperature=1.0)),
        codec=policy.codec,
        engine=engine,
        episode_settings=rules,
        settings=SMALL,
        seed=7,
    ).trajectories
    player = BoardPlayer.of_policy(policy, name="tiny")
    options: dict[str, Any] = {"rollout_settings": SMALL, "episode_settings": rules, "engine": engine, "seed": 7}
    played = play("zerosearch", player, tasks, temperature=1.0, **options)
    for episode, trajectory in zip(played, trajectories, strict=True):
        assert "".join(segment.text for segment in episode.segments) == trajectory.text
        assert (episode.status, episode.answer, episode.exact_match, episode.f1) == (
            trajectory.status,
            trajectory.answer,
            trajectory.exact_match,
            trajectory.f1,
        )
        assert episode.completion_tokens == trajectory.num_policy_tokens
        assert episode.num_turns == len(trajectory.actions)
        prompts = 0
        for at, segment in enumerate(trajectory.segments):
            if segment.provenance == "policy":
                prompts += sum(len(before.ids) for before in trajectory.segments[:at])
        assert episode.prompt_tokens == prompts


def test_searches_and_draws_of_a_scripted_policy_are_the_rollout_s(tasks: list[BoardTask]) -> None:
    script = ["<search>capital</search>", "<search>river</search>", "<answer>x</answer>"]
    trajectories = rollout_sync(
        [EpisodeTask(question=t.question, group=0, key=t.key, noise_probability=t.noise_probability) for t in tasks],
        sampler=ScriptedSampler(CODEC, script),
        codec=CODEC,
        engine=make_engine("template"),
        episode_settings=EpisodeSettings(),
        settings=LIMITS,
        seed=3,
    ).trajectories
    played = play("zerosearch", player_of(script), tasks, make_engine("template"), seed=3)
    for episode, trajectory in zip(played, trajectories, strict=True):
        draws = [(search.quality, search.seed, search.contains_golden) for search in episode.searches]
        assert draws == [(search.quality, search.seed, search.contains_golden) for search in trajectory.searches]
    assert {search.quality for episode in played for search in episode.searches} == {"useful", "noisy"}


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def lookup(self, key: str) -> dict[str, Any] | None:
        return self.kept.get(key)

    def store(self, key: str, record: dict[str, Any]) -> None:
        self.kept[key] = dict(record)


class Counting:
    """A sampler that counts what it is asked for."""

    weight_version = 0

    def __init__(self, sampler: Any) -> None:
        self.sampler, self.count = sampler, 0

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        self.count += len(requests)
        generations: list[Generation] = self.sampler.generate(requests)
        return generations


@pytest.mark.parametrize("agent", WITH_MODEL)
def test_a_replay_asks_nothing_and_gives_the_same(agent: str, policy: Policy, tasks: list[BoardTask]) -> None:
    memory = Memory()
    counters: list[Counting] = []

    def make(settings: SamplingSettings) -> Counting:
        counters.append(Counting(policy.sampler(settings)))
        return counters[-1]

    player = BoardPlayer(model_name="tiny", codec=policy.codec, sampler_maker=make)
    options: dict[str, Any] = {"rollout_settings": SMALL, "engine": make_engine("template"), "replay": memory}
    first = play(agent, player, tasks, temperature=1.0, **options)
    asked = sum(counter.count for counter in counters)
    assert asked == len(memory.kept) > 0
    assert timeless(play(agent, player, tasks, temperature=1.0, **options)) == timeless(first)
    assert sum(counter.count for counter in counters) == asked
    play(agent, player, tasks, temperature=0.5, **options)
    assert sum(counter.count for counter in counters) > asked


def test_what_was_played_can_be_kept(tmp_path: Any, policy: Policy, tasks: list[BoardTask]) -> None:
    player = BoardPlayer.of_policy(policy, name="tiny")
    for agent in ("search-o1", "zerosearch", "oracle"):
        episodes = play(agent, player, tasks, rollout_settings=SMALL, engine=make_engine("template"))
        write_episodes(tmp_path / "episodes.jsonl.gz", episodes)
        assert list(read_episodes(tmp_path / "episodes.jsonl.gz")) == episodes


class Failing:
    """A sampler whose server fails for prompts that hold a word, or for all."""

    weight_version = 0

    def __init__(self, word: str, error: Exception) -> None:
        self.sampler = ScriptedSampler(CODEC, ["the Saale\n"])
        self.word, self.error, self.count = word, error, 0

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        self.count += len(requests)
        if any(self.word in CODEC.decode(request.prompt_ids) for request in requests):
            raise self.error
        return self.sampler.generate(requests)


def rivers(count: int, bad: Sequence[int] = ()) -> list[BoardTask]:
    return [
        task(
            Question(id=str(at), question=f"{'Bad' if at in bad else 'River'} {at}?", golden_answers=("the Saale",)),
            at,
        )
        for at in range(count)
    ]


def failing_player(word: str, error: Exception) -> tuple[BoardPlayer, Failing]:
    sampler = Failing(word, error)
    return BoardPlayer(model_name="failing", codec=CODEC, sampler_maker=lambda settings: sampler), sampler


def test_a_server_that_fails_one_question_fails_no_other() -> None:
    player, _ = failing_player("Bad", ChatError("The server is gone."))
    episodes = play("direct", player, rivers(10, bad=[3]), concurrency=1)
    assert [episode.status for episode in episodes] == ["answered"] * 3 + ["failed"] + ["answered"] * 6
    assert episodes[3].error == "ChatError: The server is gone."
    assert (episodes[3].answer, episodes[3].exact_match) == (None, 0.0)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_server_that_is_gone_ends_the_run(concurrency: int) -> None:
    player, sampler = failing_player("?", ChatError("The server is gone."))
    kept: list[PlayedEpisode] = []
    with pytest.raises(RolloutError, match=r"questions failed, the last 8 of them one after the other.*server is gone"):
        play("direct", player, rivers(200), concurrency=concurrency, keep=kept.append)
    assert len(kept) >= MAX_FAILURES_IN_A_ROW
    assert all(episode.failed for episode in kept)
    assert sampler.count < 40


def test_too_many_failures_end_the_run() -> None:
    player, _ = failing_player("Bad", ChatError("The server is gone."))
    limits = dataclasses.replace(LIMITS, max_failure_rate=0.2)
    kept: list[PlayedEpisode] = []
    with pytest.raises(RolloutError, match="3 of 10 questions failed, so the rest isn't asked"):
        play("direct", player, rivers(10, bad=[0, 2, 4]), concurrency=1, rollout_settings=limits, keep=kept.append)
    assert len(kept) == 5


def test_an_error_that_is_every_question_s_is_raised() -> None:
    player, sampler = failing_player("?", ConfigError("No such model."))
    with pytest.raises(ConfigError, match="No such model"):
        play("direct", player, rivers(10))
    assert sampler.count <= 4

    class Spent(ScriptedEngine):
        def search_now(self, requests: Any) -> Any:
            raise BudgetError("The budget is used up.")

    with pytest.raises(BudgetError, match="used up"):
        play("rag", player_of(["x\n"]), rivers(3), Spent("a"))


def test_an_engine_that_breaks_the_protocol_fails_its_question() -> None:
    engine = ScriptedEngine(lambda request: ["a"] * 9)
    engine._answer = lambda request: "nonsense"  # type: ignore[assignment, method-assign]
    limits = dataclasses.replace(LIMITS, max_failure_rate=1.0)
    for agent in ("rag", "zerosearch"):
        script = ["<search>Ilm</search>"] if agent == "zerosearch" else ["x\n"]
        (episode,) = play(agent, player_of(script), engine=engine, rollout_settings=limits)
        assert episode.status == "search_failed"
        assert "SearchResult" in str(episode.error)


def test_slow_searches_hold_up_nobody_else() -> None:
    """An engine that waits is asked by each question for itself, many at the same time."""

    class Slow:
        name = "slow"

        def __init__(self) -> None:
            self.engine, self.now, self.most = ScriptedEngine("It ends in the Saale.", delay_s=0.02), 0, 0

        async def search(self, requests: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                return await self.engine.search(requests)
            finally:
                self.now -= 1

    engine = Slow()
    episodes = play("rag", player_of(["the Saale\n"]), rivers(12), engine, concurrency=4)
    assert [episode.exact_match for episode in episodes] == [1.0] * 12
    assert engine.most == 4


def test_what_is_kept_is_kept_by_the_caller_and_its_errors_end_the_run() -> None:
    kept: list[PlayedEpisode] = []

    def keep(episode: PlayedEpisode) -> None:
        assert threading.current_thread() is threading.main_thread()
        kept.append(episode)
        if len(kept) == 3:
            raise KeyboardInterrupt

    sampler = ScriptedSampler(CODEC, ["the Saale\n"])
    player = BoardPlayer(model_name="scripted", codec=CODEC, sampler_maker=lambda settings: sampler)
    with pytest.raises(KeyboardInterrupt):
        play("direct", player, rivers(5000), concurrency=2, keep=keep)
    assert len(kept) == 3
    asked = len(sampler.requests)
    assert asked < 5000
    for thread in threading.enumerate():  # the writer ends by itself, and nobody waits for it after a signal
        if thread.name.startswith("board-player"):
            thread.join(60)
            assert not thread.is_alive()


def test_nothing_to_play_is_nothing_played() -> None:
    assert play("direct", player_of(["x"]), []) == []


def test_the_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match="concurrency"):
        play("direct", player_of(["x"]), concurrency=0)
    with pytest.raises(ConfigError, match=r"no agent 'nosuch'.*direct, cot"):
        play("nosuch", player_of(["x"]))
    with pytest.raises(ConfigError, match=r"'direct' needs a model"):
        play("direct", BoardPlayer())
    assert play("oracle", BoardPlayer())[0].answer == QUESTION.golden_answers[0]
