from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.simulator.figures import BARS
from tests.benchmarks.simulator.helpers import CAPITALS, Writing, capitals, country_of, measure, write_well

TITLES = [bar.title for bar in BARS]


def test_a_good_engine_meets_every_bar(tmp_path: Path) -> None:
    figures, met = measure(capitals(tmp_path), Writing(write_well))
    assert met == dict.fromkeys(TITLES, True)
    assert figures["num_questions"] == 6
    assert figures["useful"]["holding"]["value"] == 1.0
    # Wilson's interval of 6 of 6 begins at 6 / (6 + 1.96²).
    assert figures["noisy"]["free"]["ci"] == pytest.approx([6 / (6 + 1.95996**2), 1.0], abs=1e-4)
    both = figures["both"]
    assert (both["tries"], both["input_tokens_per_1000"]["value"]) == ({"2": 12}, 100_000)
    assert both["cost_per_1000"]["value"] == pytest.approx(1.0)
    assert list(both["latency_s"]) == ["p50", "p95", "p99"]


def test_an_engine_that_always_leaks_misses_the_bar_of_noise(tmp_path: Path) -> None:
    def leak(request):  # type: ignore[no-untyped-def]
        return [f"The capital of {country_of(request)} is {CAPITALS[country_of(request)].upper()}!"]

    figures, met = measure(capitals(tmp_path), Writing(leak))
    assert figures["noisy"]["free"] == {"value": 0.0, "hits": 0, "n": 6, "ci": pytest.approx([0.0, 0.39], abs=0.01)}
    assert met["noisy, delivered: free of an answer"] is False
    assert met["useful, delivered: holding an answer"] is True


def test_noise_off_the_topic_misses_the_bar_of_similarity(tmp_path: Path) -> None:
    def wander(request):  # type: ignore[no-untyped-def]
        if request.quality == "useful":
            return write_well(request)
        return [f"Cats number {request.seed % 97} sleep near {request.seed % 89} warm ovens."]

    figures, met = measure(capitals(tmp_path), Writing(wander))
    assert figures["similarity_ratio"]["value"] == 0.0
    assert met["query similarity, noisy / useful"] is False
    assert met["noisy, delivered: free of an answer"] is True


def test_one_document_again_and_again_misses_the_bars_of_repeats(tmp_path: Path) -> None:
    def repeat(request):  # type: ignore[no-untyped-def]
        return ["The same words in the same row again."] * 2

    figures, met = measure(capitals(tmp_path), Writing(repeat))
    # The second of each two; and both of the last five of six questions, for each quality.
    assert (figures["both"]["repeated"]["hits"], figures["both"]["repeated"]["n"]) == (12, 24)
    assert figures["both"]["repeated_elsewhere"]["hits"] == 20
    assert met["documents that repeat one of the same result"] is False
    assert met["documents that repeat another question's"] is False


def test_what_wasnt_delivered_is_outside_the_bar_and_beside_it(tmp_path: Path) -> None:
    class Doubting(Writing):
        def _answer(self, request):  # type: ignore[no-untyped-def]
            result = super()._answer(request)
            if country_of(request) == "Peru":
                result.metadata["quality_checked"] = False
            return result

    def leak_one(request):  # type: ignore[no-untyped-def]
        return ["Lima is in Peru."] if country_of(request) == "Peru" else write_well(request)

    figures, met = measure(capitals(tmp_path), Doubting(leak_one))
    assert figures["noisy"]["free"]["hits"] == 5
    assert (figures["noisy"]["of_delivered"]["free"]["hits"], figures["noisy"]["of_delivered"]["free"]["n"]) == (5, 5)
    assert (figures["both"]["delivered"]["hits"], figures["both"]["delivered"]["n"]) == (10, 12)
    assert met["noisy, delivered: free of an answer"] is True


def test_errors_are_counted_without_where_the_server_is(tmp_path: Path) -> None:
    figures, met = measure(
        capitals(tmp_path), Writing(lambda request: None if request.quality == "noisy" else write_well(request))
    )
    assert figures["noisy"]["failed"]["value"] == 1.0
    assert figures["noisy"]["errors"] == {"no server at <server>": 6}
    assert met["requests delivered"] is False
    assert met["noisy, delivered: free of an answer"] is None
    assert figures["similarity_ratio"] == {"value": None, "n": 0, "ci": None}
