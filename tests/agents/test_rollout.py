import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.batches import collate
from agents.codec import TextCodec
from agents.conversation import EpisodeTask, RolloutSettings, episode_generator, is_inside_thought
from agents.errors import NonFiniteError, RolloutError
from agents.policy import Policy
from agents.rollout import RolloutResult, rollout, rollout_sync
from agents.samplers import Generation, GenerationRequest, RememberingSampler, SamplingSettings, ScriptedSampler
from agents.testing import byte_tokenizer
from zs_env.episode import Episode, EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.rewards import Outcome
from zs_env.types import Document, Question, SearchRequest, SearchResult

SHORT = EpisodeSettings(prompt="short")
SEARCH, ANSWER = "<search>capital of Dolmira</search>", "<answer>Karthen</answer>"
CODEC = TextCodec(byte_tokenizer())


def tasks_for(questions: Sequence[Question], noise: float = 0.0) -> list[EpisodeTask]:
    return [
        EpisodeTask(question=question, group=index, key=(0, index), noise_probability=noise)
        for index, question in enumerate(questions)
    ]


def play(sampler: Any, engine: Any, tasks: Sequence[EpisodeTask], **changes: Any) -> RolloutResult:
    options: dict[str, Any] = {
        "codec": CODEC,
        "episode_settings": SHORT,
        "settings": RolloutSettings(max_new_tokens=120, max_episode_tokens=1500, max_failure_rate=1.0),
        "seed": 0,
    }
    return rollout_sync(tasks, sampler=sampler, engine=engine, **(options | changes))


ACTIONS = st.sampled_from(
    [
        SEARCH,
        ANSWER,
        "<search>capital of Ostavia</search>",
        "<think>hm </think><search>Sammet of Velloria</search>",
        "no action at all",
        "<think>say <answer>x</answer></think><answer>Tilbra</answer>",
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    script=st.lists(ACTIONS, min_size=5, max_size=5), noise=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99)
)
def test_a_rollout_is_the_episode_played_by_hand(script: list[str], noise: float, seed: int) -> None:
    engine = make_engine()
    question = Question(id="q", question="What is the capital of Dolmira?", golden_answers=("Karthen",))
    task = EpisodeTask(question=question, group=0, key=(3, 1), noise_probability=noise)
    result = play(ScriptedSampler(CODEC, script), engine, [task], seed=seed)
    trajectory = result.trajectories[0]

    episode = Episode(question, SHORT, episode_generator(seed, (3, 1)), noise)
    step: Any = episode.begin()
    draws, turn = [], 0
    while not (step.terminated or step.truncated):
        step = episode.act(script[turn])
        turn += 1
        if isinstance(step, SearchRequest):
            draws.append((step.query, step.quality, step.seed, step.noise_probability))
            step = episode.observe(engine.search_now([step])[0])

    assert trajectory.text == episode.transcript
    assert [(s.provenance, s.text) for s in trajectory.segments] == [(s.provenance, s.text) for s in episode.segments]
    assert (trajectory.reward, trajectory.status) == (step.reward, step.info["status"])
    assert (trajectory.exact_match, trajectory.answer) == (step.info["exact_match"], step.info["answer"])
    assert draws == [(s.query, s.quality, s.seed, s.noise_probability) for s in trajectory.searches]
    assert all(CODEC.decode(segment.ids) == segment.text for segment in trajectory.segments)


def make_engine() -> Any:
    class Engine:
        name = "capitals"

        def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            return [
                SearchResult(documents=(Document(f"{request.query}: {request.quality} {request.seed}"),), engine="e")
                for request in requests
            ]

        async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            return self.search_now(requests)

    return Engine()


def test_defect_06_every_turn_continues_the_ids_before_it_and_is_trained_as_sampled(
    tiny_policy: Policy, engine: Any, questions: list[Question]
) -> None:
    class Recording:
        def __init__(self) -> None:
            self.inner, self.said, self.weight_version = tiny_policy.sampler(SamplingSettings()), [], 7

        def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
            generations = self.inner.generate(requests)
            self.said += [(tuple(r.prompt_ids), g.ids) for r, g in zip(requests, generations, strict=True)]
            return generations

    sampler = Recording()
    short: dict[str, Any] = {
        "settings": RolloutSettings(max_new_tokens=12, max_episode_tokens=1500),
        "episode_settings": EpisodeSettings(prompt="short", max_turns=3),
    }
    first = play(sampler, engine, tasks_for(questions, 0.5), seed=5, **short)
    second = play(tiny_policy.sampler(), engine, tasks_for(questions, 0.5), seed=5, **short)
    other = play(tiny_policy.sampler(), engine, tasks_for(questions, 0.5), seed=6, **short)
    assert first.trajectories == second.trajectories
    assert [t.ids() for t in first.trajectories] != [t.ids() for t in other.trajectories]
    # Defect 6: every policy segment is what was sampled after exactly the ids before it.
    said = set(sampler.said)
    for trajectory in first.trajectories:
        ids, start = trajectory.ids(), 0
        for segment in trajectory.segments:
            if segment.provenance == "policy":
                assert (tuple(ids[:start]), segment.ids) in said
            start += len(segment.ids)


def test_defect_06_odd_bytes_of_a_policy_are_kept_as_sampled(engine: Any, questions: list[Question]) -> None:
    # Half of a two-byte character decodes to U+FFFD; encoding that again would give other ids.
    half = CODEC.encode("é")[:1]

    class Odd(ScriptedSampler):
        def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
            ids = (*half, *CODEC.encode(ANSWER))
            return [
                Generation(
                    ids=ids,
                    logprobs=(-1.0,) * len(ids),
                    finish_reason="stop",
                    weight_version=0,
                    text=CODEC.decode(ids),
                )
                for _ in requests
            ]

    trajectory = play(Odd(CODEC, []), engine, tasks_for(questions[:1])).trajectories[0]
    assert trajectory.segments[1].ids[:1] == tuple(half)
    assert trajectory.status == "answered"


def test_defect_06_the_end_of_turn_token_of_an_action_is_among_what_is_trained_on(
    engine: Any, questions: list[Question]
) -> None:
    end = CODEC.tokenizer.eos_token_id  # it pads, too

    class Ending(ScriptedSampler):
        def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
            ids = (*CODEC.encode("Paris!"), end)
            return [
                Generation(
                    ids=ids,
                    logprobs=(*(-1.0,) * 6, -0.25),
                    finish_reason="eos",
                    weight_version=0,
                    text="Paris!",
                )
                for _ in requests
            ]

    # Five turns of six bytes and the end-of-turn token, which was drawn with a log-prob of its own.
    batch = collate(play(Ending(CODEC, []), engine, tasks_for(questions[:1])).trajectories, pad_id=end)
    assert batch.ids[batch.policy_mask].tolist() == [*CODEC.encode("Paris!"), end] * 5
    assert batch.flat_sampled_logprobs().tolist() == [*[-1.0] * 6, -0.25] * 5


class SlowEngine:
    """Answers after a time that the query names."""

    name = "slow"

    def __init__(self) -> None:
        self.under_way = self.most_under_way = 0
        self.finished: list[str] = []

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        assert len(requests) == 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        deadline = time.monotonic() + 20
        while requests[0].query == "slow" and "fast" not in self.finished and time.monotonic() < deadline:
            await asyncio.sleep(0.001)
        self.under_way -= 1
        self.finished.append(requests[0].query)
        return [SearchResult(documents=(Document("nothing"),), engine=self.name)]


def test_an_episode_goes_on_while_the_search_of_another_is_pending(questions: list[Question]) -> None:
    # The slow search only ends after the other episode has searched twice more: with a barrier this would hang.
    def speak(said: str) -> str:
        if "Dolmira" in said:
            return ANSWER if "</information>" in said else "<search>slow</search>"
        turns = said.count("</information>")
        return ("<search>first</search>", "<search>second</search>", "<search>fast</search>", ANSWER)[turns]

    engine = SlowEngine()
    result = play(ScriptedSampler(CODEC, speak), engine, tasks_for(questions[:2]))
    assert engine.finished == ["first", "second", "fast", "slow"]
    assert engine.most_under_way == 2
    assert [trajectory.status for trajectory in result.trajectories] == ["answered", "answered"]


def test_searches_go_on_while_the_policy_writes(questions: list[Question]) -> None:
    # The sampler waits, in its thread, for a search to end: that takes an event loop that runs meanwhile.
    engine = SlowEngine()

    def speak(said: str) -> str:
        if "Dolmira" in said:
            return ANSWER if "</information>" in said else "<search>a</search>"
        if "</information>" in said and "slow" not in engine.finished:
            engine.finished.append("fast")
            deadline = time.monotonic() + 20
            while "slow" not in engine.finished and time.monotonic() < deadline:
                time.sleep(0.001)
        query = "slow" if "Ostavia" in said else "b"
        return ANSWER if "</information>" in said else f"<search>{query}</search>"

    result = play(ScriptedSampler(CODEC, speak), engine, tasks_for(questions[:3]))
    assert "slow" in engine.finished
    assert {trajectory.status for trajectory in result.trajectories} == {"answered"}


def test_rollouts_work_inside_a_running_loop(engine: Any, questions: list[Question]) -> None:
    async def main() -> RolloutResult:
        return play(ScriptedSampler(CODEC, [ANSWER]), engine, tasks_for(questions[:1]))

    assert asyncio.run(main()).trajectories[0].reward == 1.0


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("<think>maybe <answer>x</answer>", True),
        ("<think>maybe</think> <search></search>", False),
        ("</search>", False),
        ("<think>a</think><think>b <search>c</search>", True),
    ],
)
def test_where_a_thought_is_open(text: str, inside: bool) -> None:
    assert is_inside_thought(text) is inside


def test_defect_10_a_stop_string_quoted_in_a_thought_ends_nothing(engine: Any, questions: list[Question]) -> None:
    pieces = ["<think>I could <answer>Rome</answer>", " but no</think>" + ANSWER]
    trajectory = play(ScriptedSampler(CODEC, pieces), engine, tasks_for(questions[:1])).trajectories[0]
    assert trajectory.actions == ["answer"]
    assert [segment.provenance for segment in trajectory.segments] == ["prompt", "policy"]
    assert trajectory.segments[1].text == "".join(pieces)
    assert len(trajectory.segments[1].logprobs or ()) == len(CODEC.encode("".join(pieces)))
    assert trajectory.reward == 1.0


def test_a_thought_that_never_ends_stays_within_the_budget_of_an_action(engine: Any, questions: list[Question]) -> None:
    endless = ScriptedSampler(CODEC, ["<think>" + "x" * 20 + "</search>"])
    limits = RolloutSettings(max_new_tokens=50, max_episode_tokens=1500)
    trajectory = play(endless, engine, tasks_for(questions[:1]), settings=limits).trajectories[0]
    assert trajectory.status == "out_of_turns"
    policy = [segment for segment in trajectory.segments if segment.provenance == "policy"]
    assert [len(segment.ids) for segment in policy] == [50] * 5


class LongEngine:
    name = "long"

    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        documents = tuple(Document(f"word{n} " * 60) for n in range(5))
        return [SearchResult(documents=documents, engine=self.name) for _ in requests]

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return self.search_now(requests)


def test_defect_08_documents_are_cut_and_neither_question_nor_tags_are(questions: list[Question]) -> None:
    limits = RolloutSettings(max_new_tokens=60, max_episode_tokens=1100)
    script = [SEARCH, ANSWER]
    trajectory = play(ScriptedSampler(CODEC, script), LongEngine(), tasks_for(questions[:1]), settings=limits)
    (trajectory,) = trajectory.trajectories
    assert trajectory.status == "answered"
    assert trajectory.searches[0].cut
    assert 500 < trajectory.num_tokens <= 1100 - 400  # about half of what there was is left to later turns
    prompt, _, documents, _ = trajectory.segments
    assert questions[0].question in prompt.text
    assert documents.text.startswith("\n<information>\nDoc 1: ")
    assert documents.text.endswith("\n</information>\n")
    assert documents.text.count("Doc ") == 5
    assert CODEC.decode(documents.ids) == documents.text


def test_defect_08_every_request_begins_with_the_question_and_no_action_is_cut(questions: list[Question]) -> None:
    # The documents of one search would fill the budget twice over.
    sampler = ScriptedSampler(CODEC, lambda said: ANSWER if "</information>" in said else SEARCH)
    limits = RolloutSettings(max_new_tokens=60, max_episode_tokens=900)
    (trajectory,) = play(sampler, LongEngine(), tasks_for(questions[:1]), settings=limits).trajectories
    prompt, search, documents, answer = (list(segment.ids) for segment in trajectory.segments)
    assert CODEC.decode(prompt) == "Question: What is the capital of Dolmira?\n"
    assert [list(request.prompt_ids) for request in sampler.requests] == [prompt, prompt + search + documents]
    assert (CODEC.decode(search), CODEC.decode(answer)) == (SEARCH, ANSWER)


def test_what_does_not_fit_even_when_cut_ends_the_episode(questions: list[Question]) -> None:
    limits = RolloutSettings(max_new_tokens=60, max_episode_tokens=200)
    (trajectory,) = play(
        ScriptedSampler(CODEC, [SEARCH, SEARCH]), LongEngine(), tasks_for(questions[:1]), settings=limits
    ).trajectories
    assert (trajectory.status, trajectory.reward, trajectory.truncated) == ("out_of_tokens", 0.0, True)
    assert not trajectory.failed
    assert [segment.provenance for segment in trajectory.segments][-1] == "policy"
    assert trajectory.num_tokens <= 200


def test_out_of_tokens_is_scored_as_any_unanswered_episode(questions: list[Question]) -> None:
    outcomes: list[Outcome] = []

    def reward(outcome: Outcome) -> float:
        outcomes.append(outcome)
        return -1.0 if outcome.answer is None else 1.0

    (trajectory,) = play(
        ScriptedSampler(CODEC, [SEARCH, SEARCH]),
        LongEngine(),
        tasks_for(questions[:1]),
        settings=RolloutSettings(max_new_tokens=60, max_episode_tokens=200),
        episode_settings=EpisodeSettings(prompt="short", reward=reward),
    ).trajectories
    assert (trajectory.status, trajectory.reward) == ("out_of_tokens", -1.0)
    (outcome,) = outcomes
    assert (outcome.num_turns, outcome.num_searches, outcome.num_invalid_actions) == (2, 2, 0)
    assert outcome.actions == (SEARCH, SEARCH)


def test_defect_08_a_prompt_that_does_not_fit_is_never_cut(engine: Any, questions: list[Question]) -> None:
    limits = RolloutSettings(max_new_tokens=20, max_episode_tokens=40)
    with pytest.raises(RolloutError, match=r"capital-Dolmira.*max_episode_tokens=40.*never cut"):
        play(ScriptedSampler(CODEC, [ANSWER]), engine, tasks_for(questions[:1]), settings=limits)


class BrokenEngine:
    """Misbehaves towards the question about Ostavia only."""

    name = "broken"

    def __init__(self, how: str) -> None:
        self.how = how

    def misbehave(self) -> Any:
        if self.how == "raises":
            raise ValueError("secret stack trace")
        if self.how == "documents":
            return [SearchResult(documents=(None,), engine="broken")]  # type: ignore[arg-type]
        return {
            "none": None,
            "no results": [],
            "two results": [SearchResult(documents=(), engine="broken")] * 2,
            "text": ["secret stack trace"],
            "too many documents": [SearchResult(documents=(Document("x"),) * 99, engine="broken")],
            "reports": [SearchResult(documents=(), engine="broken", error="secret stack trace")],
        }[self.how]

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return self.reply(requests)

    def reply(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        if any("Ostavia" in request.question.question for request in requests):
            return self.misbehave()  # type: ignore[no-any-return]
        return [SearchResult(documents=(Document("fine"),), engine="broken") for _ in requests]


class BrokenSyncEngine(BrokenEngine):
    def search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return self.reply(requests)


HOW = ["raises", "documents", "none", "no results", "two results", "text", "too many documents", "reports"]


@pytest.mark.parametrize("kind", [BrokenEngine, BrokenSyncEngine])
@pytest.mark.parametrize("how", HOW)
def test_defect_17_a_broken_search_fails_its_own_episode_and_never_becomes_text(
    how: str, kind: type, questions: list[Question]
) -> None:
    result = play(ScriptedSampler(CODEC, [SEARCH, ANSWER]), kind(how), tasks_for(questions))
    good, bad = result.trajectories[0], result.trajectories[1]
    assert bad.failed
    assert bad.reward == 0.0
    assert bad.error
    assert "secret" not in bad.text
    assert [segment.provenance for segment in bad.segments] == ["prompt", "policy"]
    assert good.status == "answered"
    assert result.num_failed == 1


def test_past_the_failure_rate_the_run_stops(questions: list[Question]) -> None:
    limits = RolloutSettings(max_new_tokens=60, max_episode_tokens=1500, max_failure_rate=0.2)
    with pytest.raises(RolloutError, match=r"1 of 4 .*capital-Ostavia.*secret"):
        play(ScriptedSampler(CODEC, [SEARCH, ANSWER]), BrokenEngine("raises"), tasks_for(questions), settings=limits)


def test_a_reward_that_raises_fails_the_episode(engine: Any, questions: list[Question]) -> None:
    def reward(outcome: object) -> float:
        raise KeyError("mine")

    rules = EpisodeSettings(prompt="short", reward=reward)
    (trajectory,) = play(
        ScriptedSampler(CODEC, [ANSWER]), engine, tasks_for(questions[:1]), episode_settings=rules
    ).trajectories
    assert trajectory.status == "failed"
    assert "mine" in (trajectory.error or "")


def test_a_sampler_that_raises_stops_the_run_with_its_cause(engine: Any, questions: list[Question]) -> None:
    def speak(said: str) -> str:
        raise OSError("gone")

    limits = RolloutSettings(max_new_tokens=60, max_episode_tokens=1500)
    with pytest.raises(RolloutError, match=r"4 of 4.*OSError: gone") as caught:
        play(ScriptedSampler(CODEC, speak), engine, tasks_for(questions), settings=limits)
    assert isinstance(caught.value.__cause__, OSError)


def test_logits_that_are_not_finite_stop_the_run(engine: Any, questions: list[Question]) -> None:
    def speak(said: str) -> str:
        raise NonFiniteError("nan")

    with pytest.raises(NonFiniteError):
        play(ScriptedSampler(CODEC, speak), engine, tasks_for(questions))


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_new_tokens=10 must be below max_episode_tokens=10"):
        RolloutSettings(max_new_tokens=10, max_episode_tokens=10)


def test_no_rollout_at_all(engine: Any) -> None:
    assert rollout_is_empty(asyncio.run(_nothing(engine)))


async def _nothing(engine: Any) -> RolloutResult:
    return await rollout(
        [],
        sampler=ScriptedSampler(CODEC, [ANSWER]),
        codec=CODEC,
        engine=engine,
        episode_settings=SHORT,
        settings=RolloutSettings(),
        seed=0,
    )


def rollout_is_empty(result: RolloutResult) -> bool:
    return result.trajectories == [] and result.num_failed == 0


def test_a_sampler_that_remembers_is_told_of_each_conversation_that_ends(
    engine: Any, questions: list[Question]
) -> None:
    class Remembering(ScriptedSampler):
        def __init__(self) -> None:
            super().__init__(CODEC, [SEARCH, ANSWER])
            self.forgotten: list[tuple[int, ...]] = []

        def forget(self, conversations: Collection[tuple[int, ...]]) -> None:
            self.forgotten.extend(conversations)

    sampler = Remembering()
    assert isinstance(sampler, RememberingSampler)
    play(sampler, engine, tasks_for(questions[:3]))
    assert sorted(sampler.forgotten) == [(0, 0), (0, 1), (0, 2)]
    assert [request.conversation for request in sampler.requests] == [(0, 0), (0, 1), (0, 2)] * 2
