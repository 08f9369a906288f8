from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.tuning.helpers import CAPITALS, capitals, country_of, engine, find
from zs_env.engines.around import around
from zs_env.engines.scripted import ScriptedEngine
from zs_env.episode import EpisodeSettings
from zs_env.errors import BudgetError, ConfigError
from zs_env.tuning.collecting import Collected, CollectSettings, collect
from zs_env.tuning.kept_episodes import episodes_path
from zs_env.tuning.policies import FunctionPolicy, QueryPolicy
from zs_env.tuning.records import COLLECTED, CollectedSearch, read_header, read_records
from zs_env.types import SearchRequest

SETTINGS = CollectSettings(concurrency=3)


def play(path: Path, *, searched: Any = None, policy: Any = None, questions: Any = None, **changes: Any) -> Collected:
    return collect(
        questions or capitals(),
        searched or engine(),
        policy or QueryPolicy("question"),
        path,
        replace(SETTINGS, **changes),
    )


def read(path: Path) -> list[CollectedSearch]:
    return list(read_records(path, COLLECTED))


def own(function: Any) -> FunctionPolicy:
    return FunctionPolicy(function, name="own")


def search_then_answer(observation: str) -> str:
    """Right for half of the countries."""
    country = country_of(observation)
    if "Doc 1:" not in observation:
        return f"<think>hm</think><search>capital {country}</search>"
    return f"<answer>{CAPITALS[country] if len(country) == 5 else 'Atlantis'}</answer>"


def test_a_search_of_each_question_is_collected(tmp_path: Path) -> None:
    path = tmp_path / "collected.jsonl"
    counts = play(path).summary()
    searches = read(path)
    assert {search.question.id for search in searches} == {question.id for question in capitals()}
    assert len(searches) == len({search.key for search in searches}) == len(CAPITALS)
    for search in searches:
        request = SearchRequest(
            query=search.query, question=search.question, quality="useful", noise_probability=0, seed=0, topk=5
        )
        assert search.query == search.question.question
        assert search.documents == tuple(find(request))
        assert (search.engine, search.turn, search.exact_match) == ("scripted", 0, None)
    header = read_header(path, COLLECTED)
    assert header["policy"] == {"name": "question"}
    assert header["questions"]["fingerprint"] == capitals().fingerprint
    assert (counts["num_kept"], counts["num_documents"], counts["ended"]) == (8, 16, {"ended": 8})
    assert counts["num_right"] == counts["num_wrong"] == counts["num_failed"] == 0


def test_whether_the_answer_was_right_stands_at_each_search(tmp_path: Path) -> None:
    counts = play(tmp_path / "c.jsonl", policy=own(search_then_answer)).summary()
    assert len(read(tmp_path / "c.jsonl")) == 8
    for search in read(tmp_path / "c.jsonl"):
        assert search.exact_match is (len(country_of(search.query)) == 5)
    assert (counts["num_right"], counts["num_wrong"]) == (4, 4)


def test_a_policy_that_never_answers_was_not_right(tmp_path: Path) -> None:
    policy = own(lambda observation: f"<search>capital of {country_of(observation)}</search>")
    counts = play(tmp_path / "c.jsonl", policy=policy, episode=EpisodeSettings(max_turns=3)).summary()
    assert [search.turn for search in read(tmp_path / "c.jsonl")] == [0, 1] * 8
    assert all(search.exact_match is False for search in read(tmp_path / "c.jsonl"))
    assert counts["ended"] == {"out_of_turns": 8}


def test_an_asynchronous_policy_plays_several_episodes_at_once(tmp_path: Path) -> None:
    running = most = 0

    async def policy(observation: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * len(country_of(observation)))  # they end in another order than they began
        running -= 1
        return search_then_answer(observation)

    play(tmp_path / "a.jsonl", policy=own(policy), concurrency=4)
    assert most == 4
    play(tmp_path / "b.jsonl", policy=own(policy), concurrency=1)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_attempts_draw_otherwise_and_the_same_again(tmp_path: Path) -> None:
    class Drawing:
        draws = True
        identity = {"name": "drawing"}  # noqa: RUF012

        async def act(self, turn: Any) -> str | None:
            return None if turn.results else f"<search>{turn.question.question} {turn.seed}</search>"

    play(tmp_path / "a.jsonl", policy=Drawing(), attempts=2)
    play(tmp_path / "b.jsonl", policy=Drawing(), attempts=2)
    assert len({search.query for search in read(tmp_path / "a.jsonl")}) == 16
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="same at every attempt"):
        play(tmp_path / "c.jsonl", attempts=2)


def test_searches_that_find_nothing_are_counted_and_not_kept(tmp_path: Path) -> None:
    nothing = ScriptedEngine(lambda request: [] if "Peru" in request.query else find(request))
    counts = play(tmp_path / "c.jsonl", searched=nothing).summary()
    assert (counts["num_searches"], counts["num_kept"], counts["num_empty"]) == (8, 7, 1)
    again = engine()
    play(tmp_path / "c.jsonl", searched=again)
    assert not again.requests


def test_failed_episodes_are_counted_and_played_again(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    counts = play(path, searched=engine(fail=lambda request: "Peru" in request.query)).summary()
    assert (counts["num_kept"], counts["num_failed"]) == (7, 1)
    assert counts["failures"] == {"search failed: scripted failure": 1}

    again = engine()
    counts = play(path, searched=again).summary()
    assert ["Peru" in request.query for request in again.requests] == [True]
    assert (counts["num_kept"], counts["num_failed"]) == (8, 0)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda observation: 1 / 0, "policy raised ZeroDivisionError: division by zero"),
        (lambda observation: 42, "ActionError: An action is the policy's text"),
    ],
)
def test_what_a_policy_gets_wrong_is_one_failed_episode(tmp_path: Path, broken: Any, said: str) -> None:
    policy = own(lambda observation: broken(observation) if "Chad" in observation else search_then_answer(observation))
    collected = play(tmp_path / "c.jsonl", policy=policy)
    (error,) = collected.failures
    assert error.startswith(said)
    assert len(read(tmp_path / "c.jsonl")) == 7


def test_secrets_in_errors_are_not_shown(tmp_path: Path) -> None:
    failing = engine(fail=lambda request: "Peru" in request.query, error="refused: api_key=abc123def")
    (error,) = play(tmp_path / "c.jsonl", searched=failing).failures
    assert "abc123def" not in error


def test_past_a_failure_rate_the_run_stops_and_keeps_the_rest(tmp_path: Path) -> None:
    many = [
        {"question": f"What is the capital of {name}? ({i})", "answer": "x"} for i in range(20) for name in CAPITALS
    ]
    broken = own(lambda observation: 1 / 0 if "Peru" in observation else search_then_answer(observation))
    with pytest.raises(ConfigError, match=r"episodes failed, more than the share of 0.05.*ZeroDivisionError"):
        play(tmp_path / "c.jsonl", policy=broken, questions=_questions(many), max_failures=0.05)
    kept = len(read(tmp_path / "c.jsonl"))
    assert 10 < kept < 140
    counts = play(tmp_path / "c.jsonl", policy=own(search_then_answer), questions=_questions(many)).summary()
    assert counts["num_kept"] == 160


def test_a_run_of_which_nothing_came_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(\d) of \1 episodes failed.*scripted failure"):
        play(tmp_path / "c.jsonl", searched=engine(fail=True))


def _questions(rows: Any) -> Any:
    from zs_env.questions import load_questions

    return load_questions(rows)


def test_a_budget_that_is_used_up_ends_the_run_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    play(whole, concurrency=1)
    for on_spent in ("error", "stop"):
        path = tmp_path / f"{on_spent}.jsonl"
        with pytest.raises(BudgetError, match="budget for searches is used up"):
            play(path, searched=around(engine(), budget={"requests": 5, "on_spent": on_spent}), concurrency=1)
        assert len(read(path)) == 5
        rest = engine()
        play(path, searched=rest, concurrency=1)
        assert len(rest.requests) == 3
        assert path.read_bytes() == whole.read_bytes()


def test_records_are_replayed(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    play(tmp_path / "a.jsonl", searched=around(engine(), record=record))
    play(tmp_path / "b.jsonl", searched=around(engine(fail=True), replay=record))
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"policy": QueryPolicy("keywords")}, "policy.name is 'question' there and 'keywords' here"),
        ({"searched": engine(name="other")}, "engine.name is 'scripted' there and 'other' here"),
        ({"episode": EpisodeSettings(topk=3)}, "topk is 5 there and 3 here"),
        ({"questions": _questions([{"question": "capital of France?", "answer": "Paris"}])}, "questions.fingerprint"),
    ],
)
def test_files_of_other_settings_are_refused(tmp_path: Path, changes: Any, said: str) -> None:
    play(tmp_path / "c.jsonl")
    before = (tmp_path / "c.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=said):
        play(tmp_path / "c.jsonl", **changes)
    assert (tmp_path / "c.jsonl").read_bytes() == before


def test_files_that_hold_nothing_are_made_anew(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="episodes failed"):
        play(tmp_path / "c.jsonl", searched=engine(fail=True))
    play(tmp_path / "c.jsonl", seed=1)
    assert read_header(tmp_path / "c.jsonl", COLLECTED)["seed"] == 1
    assert len(read(tmp_path / "c.jsonl")) == 8


def test_episodes_without_a_search_are_something(tmp_path: Path) -> None:
    play(tmp_path / "c.jsonl", policy=own(lambda observation: "<answer>Paris</answer>"))
    before = (tmp_path / "c.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="seed is 0 there and 1 here"):
        play(tmp_path / "c.jsonl", policy=own(lambda observation: "<answer>Paris</answer>"), seed=1)
    assert (tmp_path / "c.jsonl").read_bytes() == before


def test_a_larger_limit_goes_on(tmp_path: Path) -> None:
    play(tmp_path / "c.jsonl", limit=3)
    first = (tmp_path / "c.jsonl").read_bytes()
    more = engine()
    play(tmp_path / "c.jsonl", searched=more)
    assert len(more.requests) == 5
    assert (tmp_path / "c.jsonl").read_bytes().startswith(first)


def test_one_of_the_two_files_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    play(path)
    shutil.move(episodes_path(path), tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"without 'c.episodes.jsonl' beside it"):
        play(path)
    shutil.move(tmp_path / "elsewhere", episodes_path(path))
    path.unlink()
    with pytest.raises(ConfigError, match=r"without 'c.jsonl' beside it"):
        play(path)


def test_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    from zs_env.questions import QuestionList

    twice = QuestionList([*capitals(), capitals()[0]], name="twice")  # type: ignore[misc]
    with pytest.raises(ConfigError, match="occur more than once"):
        play(tmp_path / "c.jsonl", questions=twice)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"attempts": 0}, {"concurrency": 0}, {"max_failures": 1.5}])
def test_settings_that_are_wrong(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CollectSettings(**wrong)
    with pytest.raises(ConfigError, match="max_turns must be at least 2"):
        CollectSettings(episode=EpisodeSettings(max_turns=1))


@settings(max_examples=25, deadline=None)
@given(searches=st.floats(0, 1), episodes=st.floats(0, 1))
def test_whatever_a_kill_or_a_power_cut_leaves_is_gone_on_with(
    tmp_path_factory: pytest.TempPathFactory, searches: float, episodes: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole, path = folder / "whole.jsonl", folder / "c.jsonl"
    play(whole)
    for source, target, share in (
        (whole, path, searches),
        (episodes_path(whole), episodes_path(path), episodes),
    ):
        data = source.read_bytes()
        header = data.index(b"\n") + 1
        target.write_bytes(data[: header + int((len(data) - header) * share)])
    play(path)
    assert path.read_bytes() == whole.read_bytes()
    assert episodes_path(path).read_bytes() == episodes_path(whole).read_bytes()


_KILLED = """
import sys, time
from pathlib import Path
from tests.zs_env.tuning.helpers import find
from tests.zs_env.tuning.test_collecting import play
from zs_env.engines.scripted import ScriptedEngine

def slow(request):
    if "Peru" in request.query and sys.argv[2] == "hang":
        Path(sys.argv[1] + ".hangs").touch()
        time.sleep(600)
    return find(request)

play(Path(sys.argv[1]), searched=ScriptedEngine(slow), concurrency=int(sys.argv[3]))
"""


def test_a_killed_run_goes_on_to_the_same_file(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "c.jsonl"
    play(whole)
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path), "hang", "1"], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    try:
        while not Path(f"{path}.hangs").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < len(read(path)) < 8
    play(path)
    assert path.read_bytes() == whole.read_bytes()


def test_interrupted_what_was_played_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"

    def interrupted(request: SearchRequest) -> Any:
        if "Peru" in request.query:
            os.kill(os.getpid(), signal.SIGINT)
        return find(request)

    with pytest.raises(KeyboardInterrupt):
        play(path, searched=ScriptedEngine(interrupted), concurrency=2)
    kept = len(read(path))
    rest = engine()
    play(path, searched=rest)
    assert 0 < kept < 8
    assert len(rest.requests) == 8 - kept


def test_episodes_that_wait_for_an_earlier_one_are_kept_when_the_run_ends(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"

    async def policy(observation: str) -> str:
        first = country_of(observation) == country_of(read_first)
        if first and len(played) == 5:
            raise KeyboardInterrupt
        while first:
            await asyncio.sleep(0)
            if len(played) == 5:
                raise asyncio.CancelledError
        if "Doc 1:" in observation:
            played.add(country_of(observation))
        return search_then_answer(observation)

    play(tmp_path / "whole.jsonl")
    read_first = read(tmp_path / "whole.jsonl")[0].query
    played: set[str] = set()
    with pytest.raises(asyncio.CancelledError):
        play(path, policy=own(policy), concurrency=2)
    assert country_of(read_first) not in {country_of(search.query) for search in read(path)}
    assert 4 <= len(read(path)) <= 7
    play(path, policy=own(search_then_answer))
    assert len(read(path)) == 8
