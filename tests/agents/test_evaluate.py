import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.conversation import RolloutSettings
from agents.evaluate import evaluate_callable, evaluate_policy, measure, pick_questions
from agents.policy import Policy
from agents.report import comparison_table, measure_table
from agents.report_html.measures import measures
from agents.samplers import ScriptedSampler
from agents.trajectory import SearchRecord, Trajectory
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.intervals import difference_interval, wilson_interval
from zs_env.types import Question

SHORT = EpisodeSettings(prompt="short")


def searched(turn: int, quality: str) -> SearchRecord:
    return SearchRecord(
        turn=turn,
        query="q",
        quality=quality,  # type: ignore[arg-type]
        noise_probability=0.5,
        seed=0,
        supports_query=None,
        contains_golden=False,
        engine="e",
        num_documents=1,
        cut=False,
        cached=False,
        latency_s=0.0,
        cost=0.0,
        error=None,
    )


def played(actions: str, qualities: str, match: float, hops: int, status: str = "answered") -> Trajectory:
    """Actions by first letters (s, a, i), and the quality (n, u) of each search that was carried out."""
    kinds = {"s": "search", "a": "answer", "i": "invalid"}
    turns = [turn for turn, action in enumerate(actions, 1) if action == "s"]
    return Trajectory(
        question_id="q",
        question="q",
        golden_answers=("a",),
        group=0,
        actions=[kinds[action] for action in actions],
        searches=[searched(t, {"n": "noisy", "u": "useful"}[q]) for t, q in zip(turns, qualities, strict=False)],
        exact_match=match,
        status=status,  # type: ignore[arg-type]
        hops=hops,
    )


def test_the_record_by_hand() -> None:
    greedy = [
        played("ssa", "nu", 1.0, 1),  # again after noisy: yes; after useful: no
        played("sa", "n", 0.0, 1),  # after noisy: no
        played("ssa", "uu", 1.0, 2),  # after useful: yes, then no
        # After the invalid action comes a search, but it is not the next action; the last search is not carried out.
        played("sis", "n", 0.0, 2, "out_of_turns"),  # after noisy: no
        played("s", "", 0.0, 1, "search_failed"),  # in no other number
    ]
    record = measure(greedy, [played("a", "", 1.0, 1), played("a", "", 0.0, 1)])
    assert record["n"] == 4
    assert record["num_failed"] == 1
    assert record["em_greedy"] == 0.5
    assert record["em_sampled"] == 0.5
    assert record["searches_per_episode"] == 6 / 4
    assert record["search_again_after_noisy"] == pytest.approx(1 / 3)
    assert record["search_again_after_useful"] == pytest.approx(1 / 3)
    single = record["search_again_single_hop"]
    assert (single["after_noisy"], single["n_noisy"], single["after_useful"], single["n_useful"]) == (0.5, 2, 0.0, 1)
    assert single["difference"] == 0.5
    assert record["em_greedy_by_hops"]["1"]["em"] == 0.5
    assert record["em_greedy_by_hops"]["2"]["n"] == 2
    assert record["answered_share"] == 0.75


def test_the_docs_name_every_key_of_the_record() -> None:
    record = measure([played("a", "", 1.0, 1)], None)
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    table = text.partition("What an evaluation records")[2]
    for key in (*record, *record["search_again_single_hop"], *record["em_greedy_by_hops"]["1"]):
        assert f"`{key}`" in table, key


def attacked(
    answer: str | None, match: float, *attacks: tuple[str, str | None], status: str = "answered"
) -> Trajectory:
    trajectory = played("s" * len(attacks) + "a", "u" * len(attacks), match, 1, status)
    told = [{"attack": name, "variant": "v", "pushes": pushes} for name, pushes in attacks]
    trajectory.searches = [
        replace(search, attacks=(attack,)) for search, attack in zip(trajectory.searches, told, strict=True)
    ]
    trajectory.answer = answer
    return trajectory


def test_attack_success_by_hand() -> None:
    greedy = [
        attacked("the wrong", 0.0, ("tags", "Wrong")),
        attacked("right", 1.0, ("tags", "Wrong"), ("injection", "Wrong")),
        attacked(None, 0.0, ("injection", "Wrong"), status="out_of_turns"),
        attacked("right", 1.0, ("empty", None)),  # pushes nothing: in the counts of `empty` alone
        attacked("Wrong", 0.0, ("tags", "Wrong"), status="search_failed"),  # in no number
        played("sa", "u", 1.0, 1),  # not attacked
    ]
    record = measure(greedy, None)
    found = record["attack_success"]
    assert (found["n"], found["share"], tuple(found["ci"])) == (3, 1 / 3, wilson_interval(1, 3))
    assert list(found["by_attack"]) == ["empty", "injection", "tags"]
    tags, empty = found["by_attack"]["tags"], found["by_attack"]["empty"]
    assert (tags["n"], tags["em"], tags["n_pushed"], tags["share"]) == (2, 0.5, 2, 0.5)
    assert (empty["n"], empty["em"], empty["n_pushed"], empty["share"]) == (1, 1.0, 0, None)
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `attack_success`"))
    assert all(f"`{key}`" in row for key in (*found, *tags))
    assert "gave a pushed answer (of 3)" in measure_table({"noise_0": record})
    assert "tags: gave it" in measures({"noise_0": record}, {})
    calm = measure([played("sa", "u", 1.0, 1)], None)
    assert "attack_success" not in calm  # only where there were attacks
    table = comparison_table({"noise_0": calm}, {"noise_0": record})
    assert re.search(r"gave a pushed answer \(of 3\) +– +0\.333", table)


def test_a_hybrid_s_real_searches_are_counted_and_have_no_quality() -> None:
    """Two searches, both drawn noisy, both followed by a search: of three, the real one counts for no quality."""
    trajectory = played("ssa", "nn", 1.0, 1)
    trajectory.searches[0] = replace(trajectory.searches[0], route="real")
    trajectory.searches[1] = replace(trajectory.searches[1], route="simulated")
    record = measure([trajectory], None)
    assert record["real_search_share"] == 0.5
    assert record["search_again_single_hop"]["n_noisy"] == 1
    assert record["search_again_after_noisy"] == 0.0
    assert "real_search_share" not in measure([played("ssa", "nn", 1.0, 1)], None)


def test_nothing_counted_is_none_and_not_zero() -> None:
    record = measure([played("a", "", 1.0, 1)], None)
    assert record["search_again_after_noisy"] is None
    assert record["search_again_single_hop"]["difference_ci"] is None
    assert record["em_sampled"] is None


def test_intervals_by_their_papers() -> None:
    # Newcombe 1998b, table II, example (a): 56/70 against 48/80: 0.0524 to 0.3339. Wilson of 81/263: .2553 to .3662.
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def act(transcript: str) -> str:
    for country, capital in (("Dolmira", "Karthen"), ("Ostavia", "Brunnel")):
        if f"of {country}?" in transcript:
            known = f"The capital of {country} is {capital}" in transcript
            return f"<answer>{capital}</answer>" if known else f"<search>capital of {country}</search>"
    return "<answer>no idea</answer>"


def test_a_callable_and_a_model_are_measured_alike(tiny_policy: Policy, engine: Any, questions: list[Question]) -> None:
    common: dict[str, Any] = {
        "engine": engine,
        "episode_settings": SHORT,
        "noise_probability": 0.5,
        "seed": 4,
    }
    by_callable = evaluate_callable(act, questions * 5, **common)
    scripted = ScriptedSampler(tiny_policy.codec, act)
    by_model = evaluate_policy(
        tiny_policy,
        questions * 5,
        rollout_settings=RolloutSettings(max_new_tokens=60, max_episode_tokens=3000),
        samplers=(scripted, scripted),
        **common,
    )
    assert by_callable == by_model | {"em_sampled": None}
    assert by_callable["em_greedy"] > 0.4
    assert by_callable["search_again_after_noisy"] > 0.5 > by_callable["search_again_after_useful"]


def test_evaluation_with_a_real_sampler_is_repeatable(
    tiny_policy: Policy, engine: Any, questions: list[Question]
) -> None:
    limits = RolloutSettings(max_new_tokens=8, max_episode_tokens=800)
    options: dict[str, Any] = {"engine": engine, "episode_settings": SHORT, "rollout_settings": limits}
    first = evaluate_policy(tiny_policy, questions, **options)
    assert first == evaluate_policy(tiny_policy, questions, **options)
    assert first["em_sampled"] is not None


def test_a_limit_picks_the_same_questions_in_every_run() -> None:
    source: Any = [Question(id=str(n), question=f"{n}?", golden_answers=("x",)) for n in range(100)]
    some = pick_questions(source, 10)
    assert [question.id for question in some] == [question.id for question in pick_questions(source, 10)]
    assert len({question.id for question in some}) == 10
    assert [question.id for question in some] != [str(n) for n in range(10)]
    for wrong in (0, -5):
        with pytest.raises(ConfigError, match="limit must be a whole number of at least 1"):
            pick_questions(source, wrong)
    assert pick_questions(source, None) == pick_questions(source, 1000) == source
