"""Rollouts with samplers that take requests one by one: no episode waits for the words of another."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from agents.codec import TextCodec
from agents.conversation import EpisodeTask, RolloutSettings
from agents.errors import NonFiniteError, RolloutError
from agents.rollout import RolloutResult, rollout, rollout_sync
from agents.samplers import Generation, GenerationRequest, ScriptedEngine, ScriptedSampler, StreamingSampler
from agents.samplers.stepping import SteppedSampler
from agents.testing import byte_tokenizer
from zs_env.episode import EpisodeSettings
from zs_env.errors import ChatError
from zs_env.types import Document, Question, SearchRequest, SearchResult

CODEC = TextCodec(byte_tokenizer())
SEARCH, ANSWER = "<search>capital of Dolmira</search>", "<answer>Karthen</answer>"
LIMITS = RolloutSettings(max_new_tokens=120, max_episode_tokens=1500, max_failure_rate=1.0)


def tasks_for(questions: Sequence[Question], noise: float = 0.0) -> list[EpisodeTask]:
    return [
        EpisodeTask(question=question, group=index, key=(0, index), noise_probability=noise)
        for index, question in enumerate(questions)
    ]


def options_with(**changes: Any) -> dict[str, Any]:
    return {
        "codec": CODEC,
        "episode_settings": EpisodeSettings(prompt="short"),
        "settings": LIMITS,
        "seed": 0,
    } | changes


def play(sampler: Any, engine: Any, tasks: Sequence[EpisodeTask], **changes: Any) -> RolloutResult:
    return rollout_sync(tasks, sampler=sampler, engine=engine, **options_with(**changes))


class ByHand:
    """A streaming sampler whose requests stay open until somebody settles them."""

    weight_version = 0

    def __init__(self, took: Callable[["ByHand", str, Future[Generation]], None]) -> None:
        self.futures: list[Future[Generation]] = []
        self._took = took

    def submit(self, request: GenerationRequest) -> Future[Generation]:
        future: Future[Generation] = Future()
        self.futures.append(future)
        self._took(self, CODEC.decode(list(request.prompt_ids)), future)
        return future

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        raise AssertionError("a rollout asks a streaming sampler one by one")


def saying(text: str) -> Generation:
    ids = tuple(CODEC.encode(text))
    return Generation(ids=ids, logprobs=(-1.0,) * len(ids), finish_reason="stop", weight_version=0, text=text)


def test_an_episode_goes_on_while_the_words_of_another_are_awaited(engine: Any, questions: list[Question]) -> None:
    # Dolmira's first words come only after Ostavia has searched twice and answered: with a barrier this would hang.
    held: list[Future[Generation]] = []
    ends: list[str] = []

    def took(sampler: ByHand, said: str, future: Future[Generation]) -> None:
        if "Dolmira" in said.partition("\n")[0]:
            if not held:
                held.append(future)
                return
            ends.append("Dolmira")
            future.set_result(saying(ANSWER))
        elif said.count("</information>") < 2:
            future.set_result(saying("<search>Ostavia</search>"))
        else:
            ends.append("Ostavia")
            future.set_result(saying("<answer>Brunnel</answer>"))
            held[0].set_result(saying(SEARCH))

    sampler = ByHand(took)
    assert isinstance(sampler, StreamingSampler)
    result = play(sampler, engine, tasks_for(questions[:2]))
    assert ends == ["Ostavia", "Dolmira"]
    assert [trajectory.question_id for trajectory in result.trajectories] == ["capital-Dolmira", "capital-Ostavia"]
    assert [trajectory.reward for trajectory in result.trajectories] == [1.0, 1.0]
    assert [trajectory.num_searches for trajectory in result.trajectories] == [1, 2]


def test_words_go_on_while_a_search_is_pending(questions: list[Question]) -> None:
    loop_side = threading.Event()

    class Slow:
        name = "slow"

        async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            while not loop_side.is_set():
                await asyncio.sleep(0.001)
            return [SearchResult(documents=(Document("x"),), engine="slow")]

    def took(sampler: ByHand, said: str, future: Future[Generation]) -> None:
        if "Dolmira" in said:
            future.set_result(saying(ANSWER if "</information>" in said else SEARCH))
        else:
            future.set_result(saying(ANSWER))
            if len(sampler.futures) >= 2:
                loop_side.set()

    result = play(ByHand(took), Slow(), tasks_for(questions[:2]))
    assert [trajectory.status for trajectory in result.trajectories] == ["answered", "answered"]


def test_the_same_episodes_as_with_a_sampler_of_batches(engine: Any, questions: list[Question]) -> None:
    def speak(said: str) -> str:
        country = next(word for word in ("Dolmira", "Ostavia", "Velloria", "Quandor") if f"of {word}?" in said)
        turns = said.count("</information>")
        wanted = {"Dolmira": 0, "Ostavia": 1, "Velloria": 3, "Quandor": 9}[country]
        return f"<search>capital of {country}</search>" if turns < wanted else ANSWER

    tasks = tasks_for(questions, 0.5)
    streaming = SteppedSampler(ScriptedEngine(CODEC, speak), CODEC)
    ours, theirs = play(streaming, engine, tasks), play(ScriptedSampler(CODEC, speak), engine, tasks)
    streaming.close()
    assert ours.trajectories == theirs.trajectories
    assert {trajectory.status for trajectory in ours.trajectories} == {"answered", "out_of_turns"}
    assert ours.generate_s > 0


@pytest.mark.parametrize("error", [OSError("gone"), ChatError("the server replied with status 500")])
def test_an_error_of_one_request_fails_its_episode_alone(
    error: Exception, engine: Any, questions: list[Question]
) -> None:
    def took(sampler: ByHand, said: str, future: Future[Generation]) -> None:
        if "Ostavia" in said:
            future.set_exception(error)
        else:
            future.set_result(saying(ANSWER))

    result = play(ByHand(took), engine, tasks_for(questions))
    assert [trajectory.status for trajectory in result.trajectories] == ["answered", "failed", "answered", "answered"]
    assert result.trajectories[1].error == f"{type(error).__name__}: {error}"
    assert str(error) not in result.trajectories[1].text
    strict = RolloutSettings(max_new_tokens=120, max_episode_tokens=1500, max_failure_rate=0.2)
    with pytest.raises(RolloutError, match=r"1 of 4 .*capital-Ostavia") as caught:
        play(ByHand(took), engine, tasks_for(questions), settings=strict)
    assert caught.value.__cause__ is error


def test_a_request_that_is_refused_fails_its_episode_alone(engine: Any, questions: list[Question]) -> None:
    def took(sampler: ByHand, said: str, future: Future[Generation]) -> None:
        if "Ostavia" in said:
            raise ValueError("too long")
        future.set_result(saying(ANSWER))

    assert play(ByHand(took), engine, tasks_for(questions)).num_failed == 1
    assert play(ByHand(took), engine, tasks_for(questions[1:2])).num_failed == 1  # nothing is left to wait for


def test_what_the_sampler_gives_up_fails_its_episode(engine: Any, questions: list[Question]) -> None:
    def took(sampler: ByHand, said: str, future: Future[Generation]) -> None:
        if "Ostavia" in said:
            future.cancel()
        else:
            future.set_result(saying(ANSWER))

    result = play(ByHand(took), engine, tasks_for(questions))
    assert "gave up" in (result.trajectories[1].error or "")
    assert result.num_failed == 1


def test_weights_that_diverged_stop_the_rollout_and_what_is_under_way_is_cancelled(
    engine: Any, questions: list[Question]
) -> None:
    def took(sampler: ByHand, said: str, future: Future[Generation]) -> None:
        if "Velloria" in said:
            future.set_exception(NonFiniteError("nan"))

    sampler = ByHand(took)

    async def main() -> None:
        with pytest.raises(NonFiniteError):
            await rollout(tasks_for(questions), sampler=sampler, engine=engine, **options_with())
        await asyncio.sleep(0)

    asyncio.run(main())
    assert [future.cancelled() for future in sampler.futures] == [True, True, False, True]


def test_a_rollout_that_is_cancelled_cancels_what_it_asked_for(engine: Any, questions: list[Question]) -> None:
    sampler = ByHand(lambda sampler, said, future: None)

    async def main() -> None:
        playing = asyncio.ensure_future(rollout(tasks_for(questions), sampler=sampler, engine=engine, **options_with()))
        while len(sampler.futures) < 4:
            await asyncio.sleep(0.001)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        await asyncio.sleep(0)

    asyncio.run(main())
    assert all(future.cancelled() for future in sampler.futures)
