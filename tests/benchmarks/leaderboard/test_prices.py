import pytest

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.prices import Prices, costs_of, costs_of_record
from zs_env.errors import ConfigError


def played(index: int, **given: object) -> PlayedEpisode:
    values = {"set": "nq", "index": index, "question_id": str(index), "question": "who?", "golden_answers": ("I",)}
    return PlayedEpisode(**{"status": "answered", **values, **given})  # type: ignore[arg-type]


def test_tokens_and_searches_by_hand() -> None:
    """2,000 tokens at 3 a million are 0.006, 100 at 15 are 0.0015; two searches at 5 a thousand are 0.01."""
    prices = Prices(per_million_in=3, per_million_out=15, per_1000_searches=5)
    episodes = [played(0, prompt_tokens=2000, completion_tokens=100, num_searches=2, search_cost=9.0), played(1)]
    costs = costs_of(episodes, prices, seconds=100)
    assert costs is not None
    assert costs["nq", 0] == pytest.approx(0.0175)
    assert costs["nq", 1] == 0.0


def test_an_hour_of_a_machine_is_shared_out_once_however_many_play_side_by_side() -> None:
    episodes = [played(0, seconds=30.0), played(1, seconds=90.0)]  # side by side, so 120 s of waiting in 100
    costs = costs_of(episodes, Prices(per_hour=3.6), seconds=100)
    assert costs is not None
    assert costs["nq", 0] == pytest.approx(0.025)
    assert costs["nq", 1] == pytest.approx(0.075)


def test_without_a_price_only_what_the_engine_says_counts() -> None:
    assert costs_of([played(0)], Prices(), seconds=1) is None
    assert costs_of([played(0, search_cost=0.5), played(1)], Prices(), seconds=1) == {("nq", 0): 0.5, ("nq", 1): 0.0}


@pytest.mark.parametrize(("kind", "cost"), [("real", 0.01), ("closed-book", 0.0)])
def test_what_a_closed_book_is_asked_costs_no_search(kind: str, cost: float) -> None:
    content = {"settings": {"prices": {"per_1000_searches": 5}}, "seconds": 1.0, "engine": {"kind": kind}}
    assert costs_of_record(content, [played(0, num_searches=2)]) == {("nq", 0): cost}


def test_a_record_names_its_prices() -> None:
    engine = {"kind": "real"}
    content = {"settings": {"prices": Prices(per_hour=36).record()}, "seconds": 100.0, "engine": engine}
    assert costs_of_record(content, [played(0, seconds=5.0)]) == {("nq", 0): pytest.approx(1.0)}
    assert costs_of_record({"settings": {"prices": None}, "seconds": 1.0, "engine": engine}, [played(0)]) is None
    with pytest.raises(ConfigError, match="per_minute"):
        costs_of_record({"settings": {"prices": {"per_minute": 1}}, "seconds": 1.0, "engine": engine}, [played(0)])


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ({"per_hour": -1.0}, "isn't negative; got -1.0"),
        ({"per_hour": float("nan")}, "got nan"),
        ({"per_million_in": 1.0}, "give both"),
        ({"per_hour": 1.0, "per_million_in": 1.0, "per_million_out": 1.0}, "give one kind"),
    ],
)
def test_what_is_no_price_is_refused(prices: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Prices(**prices)
