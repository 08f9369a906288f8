from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from tests.zs_env.engines.around.doubles import bad, request
from zs_env.checker import check_engine
from zs_env.engines import ScriptedEngine, TemplateEngine, make_engine
from zs_env.engines.draws import Draws, mix
from zs_env.engines.hybrid import HybridEngine
from zs_env.errors import BudgetError, ConfigError
from zs_env.types import SearchRequest, SearchResult


def side(name: str, **options: Any) -> ScriptedEngine:
    return ScriptedEngine(f"from {name}", name=name, error=f"{name} is down", **options)


def make(**options: Any) -> tuple[HybridEngine, ScriptedEngine, ScriptedEngine]:
    simulated, real = side("sim", fail=options.pop("fail_sim", False)), side("web", fail=options.pop("fail_web", False))
    return HybridEngine(simulated, real, **options), simulated, real


def routes(results: list[SearchResult]) -> list[tuple[str, str, str]]:
    return [(r.engine, (r.metadata or {})["route"], (r.metadata or {})["route_reason"]) for r in results]


def about_now(word: SearchRequest) -> bool:
    return "now" in word.query


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_it_keeps_the_contract(probability: float) -> None:
    engine = HybridEngine(TemplateEngine(), side("web"), real_probability=probability, rule="freshness")
    check_engine(engine)


def test_the_share_of_real_searches_is_the_probability_and_comes_from_the_seed() -> None:
    engine, _, real = make(real_probability=0.2)
    asked = [request(seed=seed * 977) for seed in range(2_000)]
    first = engine.search_now(asked)
    assert routes(first) == routes(engine.search_now(asked))
    share = len(real.requests) / 4_000
    assert 0.17 < share < 0.23  # 3.3 standard deviations of 0.2 over 2,000


def test_the_draw_of_the_route_is_not_the_draw_of_what_is_inside() -> None:
    """Were it the same, the real side would take all searches of some kinds of simulated reply."""
    engine = make(real_probability=0.5)[0]
    for scale in (1, 977, 2**40 + 7):
        for inside in (lambda seed: mix(seed) % 8, lambda seed: Draws(seed).below(8)):
            seen: dict[int, list[bool]] = {}
            for seed in range(scale, scale * 1_601, scale):
                seen.setdefault(inside(seed), []).append(engine.route_of("x", seed=seed)[0] == "real")
            assert len(seen) == 8
            assert all(0.3 < sum(real) / len(real) < 0.7 for real in seen.values())


def test_a_rule_comes_before_the_draw_and_says_what_it_saw() -> None:
    engine, simulated, real = make(rule="freshness")
    results = engine.search_now([request("capital of France"), request("latest news about France")])
    assert routes(results) == [("sim", "simulated", "default"), ("web", "real", "rule")]
    assert results[1].metadata == {
        "route": "real",
        "route_reason": "rule",
        "route_rule": "latest",
        "quality_applied": False,
    }
    assert (results[0].metadata or {})["quality_applied"] is True
    assert (len(simulated.requests), len(real.requests)) == (1, 1)


def test_the_question_is_read_for_freshness_too() -> None:
    engine, _, _ = make(rule="freshness")
    question = request().question.__class__(id="2", question="Who is mayor right now?", golden_answers=("Ada",))
    [result] = engine.search_now([request("mayor of Lima", question=question)])
    assert (result.metadata or {})["route_rule"] == "right now"


def test_a_rule_of_ones_own() -> None:
    engine, _, _ = make(rule=about_now)
    assert [way[1] for way in routes(engine.search_now([request("x"), request("now")]))] == ["simulated", "real"]


def test_a_rule_that_raises_fails_its_own_search_alone() -> None:
    def rule(asked: SearchRequest) -> bool:
        return len(asked.query) < 2 or bool(1 / 0)

    engine, _, _ = make(rule=rule)
    good, broken = engine.search_now([request("x"), request("now")])
    assert good.error is None
    assert broken.error == "The rule raised ZeroDivisionError: division by zero"
    assert broken.documents == ()


def test_results_stand_in_order_and_both_sides_are_asked_at_once() -> None:
    meeting = asyncio.Barrier(2)

    class Meets(ScriptedEngine):
        async def search(self, requests: Any) -> list[SearchResult]:
            await asyncio.wait_for(meeting.wait(), 5)  # each waits until the other has been asked
            return self.search_now(requests)

    engine = HybridEngine(
        Meets(lambda asked: f"sim {asked.query}", name="sim"),
        Meets(lambda asked: f"web {asked.query}", name="web"),
        rule=about_now,
    )
    results = asyncio.run(engine.search([request(query) for query in ("a", "now b", "c", "now d", "e")]))
    assert [r.documents[0].text for r in results] == ["sim a", "web now b", "sim c", "web now d", "sim e"]


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        (None, [("sim", "simulated", "default"), ("web", "real", "rule")]),
        ("simulated", [("sim", "simulated", "default"), ("sim", "simulated", "fallback")]),
        ("real", [("sim", "simulated", "default"), ("web", "real", "rule")]),
        ("both", [("sim", "simulated", "default"), ("sim", "simulated", "fallback")]),
    ],
)
def test_when_the_real_engine_fails(fallback: Any, expected: list[tuple[str, str, str]]) -> None:
    engine, _, _ = make(rule=about_now, fail_web=True, fallback=fallback)
    results = engine.search_now([request("x"), request("now")])
    assert routes(results) == expected
    fell_back = results[1]
    if expected[1][2] == "fallback":
        assert fell_back.error is None
        assert (fell_back.metadata or {})["route_error"] == "web is down"
        assert (fell_back.metadata or {})["route_first"] == "rule"
        assert "down" not in fell_back.documents[0].text
    else:
        assert (fell_back.error, fell_back.documents) == ("web is down", ())


@pytest.mark.parametrize(("fallback", "real"), [(None, 0), ("simulated", 0), ("real", 1), ("both", 1)])
def test_when_the_simulator_fails(fallback: Any, real: int) -> None:
    engine, _, web = make(rule=about_now, fail_sim=True, fallback=fallback)
    [result] = engine.search_now([request("x")])
    assert len(web.requests) == real
    assert (result.error is None) == bool(real)
    assert (result.metadata or {})["route"] == ("real" if real else "simulated")


def test_when_both_fail_the_error_names_both() -> None:
    engine, simulated, web = make(real_probability=1.0, fail_sim=True, fail_web=True, fallback="both")
    [result] = engine.search_now([request("x")])
    assert result.error == "sim is down (and before that the real engine: web is down)"
    assert (len(simulated.requests), len(web.requests)) == (1, 1)


def test_a_fallback_costs_what_both_cost() -> None:
    simulated = ScriptedEngine(lambda _: SearchResult(documents=(), engine="sim", cost=0.25), name="sim")
    web = ScriptedEngine(lambda _: bad(cost=0.5, latency_s=2.0), name="web")
    engine = HybridEngine(simulated, web, real_probability=1.0)
    [result] = engine.search_now([request("x")])
    assert (result.cost, result.latency_s) == (0.75, 2.0)


@pytest.mark.parametrize("fallback", ["simulated", "both", None])
def test_once_the_budget_is_used_up_searches_are_simulated_before_a_request_is_sent(fallback: Any) -> None:
    engine, _, web = make(real_probability=1.0, real_budget={"requests": 2}, fallback=fallback)
    results = engine.search_now([request(str(number)) for number in range(4)])
    assert [way[1:] for way in routes(results)] == [
        ("real", "probability"),
        ("real", "probability"),
        ("simulated", "budget"),
        ("simulated", "budget"),
    ]
    assert len(web.requests) == 2
    assert engine.spent is not None
    assert engine.spent.requests == 2
    assert "used up" in (results[3].metadata or {})["route_error"]


def test_a_budget_in_a_file_outlives_the_engine(tmp_path: Path) -> None:
    budget = {"requests": 3, "path": str(tmp_path / "real.sqlite")}
    for expected in (2, 1, 0):
        engine, _, web = make(real_probability=1.0, real_budget=budget)
        engine.search_now([request("a"), request("b")])
        assert len(web.requests) == expected


def test_a_fallback_to_the_real_side_is_paid_from_the_budget_too() -> None:
    engine, _, web = make(fail_sim=True, fallback="real", real_budget={"requests": 1})
    first, second = engine.search_now([request("a"), request("b")])
    assert first.error is None
    assert second.error == "sim is down"
    assert (second.metadata or {})["route_fallback"] == "budget"
    assert len(web.requests) == 1


def test_a_budget_may_stop_the_run() -> None:
    engine, _, _ = make(real_probability=1.0, real_budget={"requests": 0, "on_spent": "stop"})
    with pytest.raises(BudgetError):
        engine.search_now([request("a")])


def test_an_engine_that_raises_is_a_failure_that_falls_back() -> None:
    class Broken:
        name = "broken"

        async def search(self, requests: Any) -> list[SearchResult]:
            raise OSError("no route to host")

    engine = HybridEngine(side("sim"), Broken(), real_probability=1.0)
    assert not hasattr(engine, "search_now")
    [result] = asyncio.run(engine.search([request("a")]))
    assert result.error is None
    assert (result.metadata or {})["route_error"] == "OSError: no route to host"


def test_what_tells_hybrids_apart_and_copies() -> None:
    prints = {
        make(real_probability=0.1)[0].fingerprint,
        make(real_probability=0.2)[0].fingerprint,
        make(rule="freshness")[0].fingerprint,
        make(rule="freshness", since_year=2025)[0].fingerprint,
        make(rule=about_now)[0].fingerprint,
        make(real_probability=0.1, fallback="both")[0].fingerprint,
        HybridEngine(TemplateEngine(), side("web"), real_probability=0.1).fingerprint,
    }
    assert len(prints) == 7
    assert make(real_probability=0.1)[0].fingerprint in prints
    engine = make(real_probability=0.1)[0]
    assert copy.deepcopy(engine) is engine is copy.copy(engine)
    assert engine.uses_draw


def test_it_is_closed_with_both_sides() -> None:
    class Closes(ScriptedEngine):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    sides = Closes("a"), Closes("b")
    engine = HybridEngine(*sides, real_probability=0.5)
    engine.close()
    asyncio.run(engine.aclose())
    assert [one.closed for one in sides] == [2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Nothing would ever go to the real engine"),
        ({"real_probability": 1.5}, "real_probability"),
        ({"rule": "freshnes"}, "'freshness'"),
        ({"real_probability": 0.1, "fallback": "web"}, "fallback"),
        ({"real_probability": 0.1, "real_budget": {}}, "budget"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_spec_makes_it_and_can_be_saved() -> None:
    options = {
        "real": {"search_mode": "template", "around": {"max_in_flight": 4}},
        "simulated": {"search_mode": "hostile", "probability": 0.0},
        "real_probability": 0.5,
        "real_budget": {"requests": 100},
        "rule": "freshness",
        "since_year": 2025,
    }
    env = gym.make("ZeroSearch-v0", search_mode="hybrid", search_options=options)
    assert json.loads(env.spec.to_json())["kwargs"]["search_options"] == options  # type: ignore[union-attr]
    env.reset(seed=0)
    _, _, _, _, info = env.step("<search>latest capital of Kenya</search>")
    assert info["search"]["engine"] == "template"
    assert info["search"]["metadata"]["route"] == "real"
    assert info["search"]["metadata"]["route_rule"] == "latest"
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs 'real'"),
        ({"real": {"corpus": "x"}}, "search mode"),
        ({"real": "hybrid"}, "other than 'hybrid'"),
        ({"real": "template", "reel_probability": 0.1}, "'reel_probability'"),
        ({"real": {"search_mode": "template", "around": {"cash": 1}}}, "'cash'"),
        ({"real": {"search_mode": "template", "around": 1}}, "mapping"),
        ({"real": "template", "simulated": ScriptedEngine(), "base_url": "http://x"}, "leave out base_url"),
        ({"real": "template", "simulated": {"search_mode": "hostile", "check": True}, "check": True}, "given twice"),
    ],
)
def test_wrong_specs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_engine("hybrid", **options)


def test_a_simulator_that_is_named_is_the_simulated_side() -> None:
    engine = make_engine(
        "hybrid", real="template", real_probability=0.1, simulation_llm="m", base_url="http://127.0.0.1:9"
    )
    assert isinstance(engine, HybridEngine)
    assert engine._inner[0].name == "simulate_prompt"
    engine.close()
