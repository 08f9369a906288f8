"""Learners that share a batch and the weights learn what one learner does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.sharded import check_shardable
from tests.agents.sharded.ranks import run_ranks
from tests.agents.sharded.scenarios import SCENARIOS, config_of
from zs_env.errors import ConfigError

# What a group does is done once; later names may need what earlier ones have written.
USUAL = {
    2: (
        "llama_packed",
        "llama_padded",
        "tied_recomputed",
        "lora",
        "critic",
        "nan",
        "nothing_written",
        "buckets",
        "saves",
        "other_states",
        "listens",
    ),
    1: ("llama_packed", "goes_on"),
    4: ("llama_packed",),
}
LEARNING = [
    "llama_packed",
    "llama_padded",
    "llama_recomputed",
    "tied_padded",
    "tied_recomputed",
    "lfm2_recomputed",
    "cohere",
    "lora",
]
CRITICS = ["critic", "critic_padded", "critic_lora"]
ROUNDED = ["bfloat16", "lora_bfloat16"]

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(folder: Path) -> Found:
    """What two ranks found."""
    return run_ranks(2, USUAL[2], folder)


@pytest.fixture(scope="module")
def groups(two: Found, folder: Path) -> dict[int, Found]:
    """What one, two and four ranks found, one group after the other."""
    return {2: two, **{size: run_ranks(size, USUAL[size], folder) for size in (1, 4)}}


@cache
def alone(name: str) -> dict[str, Any]:
    """What the plain learners of one process find."""
    return SCENARIOS[name](None, Path())


def assert_same_numbers(found: Any, expected: Any, *, rel: float = 1e-4) -> None:
    """Metrics of each update; in PPO's, which tokens were clipped depends on the last bit of those that weren't."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - ({"clip_fraction"} if "ratio_max" not in one else set()):
            assert one[name] == pytest.approx(other[name], rel=rel, abs=1e-6), name


def assert_same_tensors(found: Any, expected: Any, *, rtol: float = 1e-4) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=1e-5)


def assert_same_moves(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor]
) -> None:
    """How far each weight has come: within 1e-4 of the way, root mean square."""
    assert found.keys() == expected.keys() == start.keys()
    for name, began in start.items():
        way = (expected[name] - began).norm()
        assert way > 2e-4 * began.numel() ** 0.5, f"{name} hardly moved"
        assert (found[name] - expected[name]).norm() < 1e-4 * way, name


def check_learning(ranks: Found, name: str) -> None:
    expected = alone(name)
    for rank in ranks:
        found = rank[name]
        assert found["untouched"], "the policy that was given is not the learner's to change"
        assert_same_moves(found["masters"], expected["masters"], expected["start"])
        assert found["metrics"] == ranks[0][name]["metrics"]
        assert_same_numbers(found["metrics"], expected["metrics"])
        assert_same_tensors(found["before"], expected["before"])
        assert_same_tensors(found["after"], expected["after"])
        if "reference" in expected:
            assert_same_tensors(found["reference"], expected["reference"])
            assert_same_tensors(found["reference_after"], expected["reference"])
            for one, now in zip(expected["reference"], expected["after"], strict=True):
                assert not torch.allclose(one, now, atol=1e-3)  # or the reference would be anything


def check_critic(ranks: Found, name: str) -> None:
    expected = alone(name)
    for rank in ranks:
        assert_same_numbers(rank[name]["metrics"], expected["metrics"])
        assert_same_tensors(rank[name]["after"], expected["after"], rtol=1e-3)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_groups_of_any_size_make_the_updates_of_one_learner(groups: dict[int, Found], size: int) -> None:
    check_learning(groups[size], "llama_packed")


@pytest.mark.parametrize("name", ["llama_padded", "tied_recomputed", "lora"])
def test_two_ranks_make_the_updates_of_one_learner(two: Found, name: str) -> None:
    check_learning(two, name)


def test_two_ranks_teach_a_critic_what_one_learner_does(two: Found) -> None:
    check_critic(two, "critic")


def test_a_rank_whose_episodes_have_nothing_to_predict_does_not_leave_the_others_waiting(two: Found) -> None:
    expected = alone("nothing_written")
    for rank in two:
        assert_same_numbers(rank["nothing_written"]["metrics"], expected["metrics"])
        assert_same_tensors(rank["nothing_written"]["after"], expected["after"])
        assert [len(one) for one in rank["nothing_written"]["after"]] == [23, 0]


def test_a_loss_that_is_not_finite_is_refused_by_all_ranks_and_changes_nothing(two: Found) -> None:
    expected = alone("nan")
    for rank in two:
        assert rank["nan"]["said"].startswith("The loss is nan")
        assert rank["nan"]["said"] == two[0]["nan"]["said"]
        assert rank["nan"]["unchanged"]
        assert_same_numbers(rank["nan"]["metrics"], expected["metrics"])
    for name, one in two[0]["nan"]["weights"].items():
        torch.testing.assert_close(one, expected["weights"][name], rtol=1e-4, atol=1e-6)


def test_weights_come_whole_in_buckets_to_the_first_rank(two: Found) -> None:
    first, second = (rank["buckets"] for rank in two)
    whole = first["whole"]
    assert len(first["buckets"][1]) == len(whole)  # none has room for two
    assert 1 < len(first["buckets"][20_000]) < len(whole)
    assert len(first["buckets"][10**9]) == 1
    for size, buckets in (*first["buckets"].items(), (10**9, first["again"])):
        assert [len(bucket) for bucket in second["buckets"][size]] == [0] * len(buckets)
        found = {name: one for bucket in buckets for name, one in bucket.items()}
        assert list(found) == list(whole)
        assert all(torch.equal(found[name], one) and found[name].dtype == torch.bfloat16 for name, one in whole.items())
        for bucket in buckets:
            assert len(bucket) == 1 or sum(one.nbytes for one in bucket.values()) <= size


def test_masters_of_rounded_weights_are_saved_and_not_their_rounding(two: Found) -> None:
    for rank in two:
        found = rank["buckets"]
        for name, saved in found["saved"].items():
            assert torch.equal(found["loaded"][name], saved)
            assert not torch.equal(found["moved"][name], saved)
        assert any(not torch.equal(saved, saved.bfloat16().float()) for saved in found["saved"].values())
    assert all(
        torch.equal(one, two[0]["buckets"]["saved"][name].bfloat16()) for name, one in found_by_first(two).items()
    )


def found_by_first(two: Found) -> dict[str, torch.Tensor]:
    published: dict[str, torch.Tensor] = two[0]["buckets"]["published"]
    return published


def check_going_on(ranks: Found, saved: Found) -> None:
    """From the state before all updates, with which an optimizer has to forget what it has, and from one in between."""
    expected = saved[0]["saves"]
    for part, start in (("before", expected["start"]), ("after", expected["before"]["masters"])):
        for rank in ranks:
            found = rank["goes_on"][part]
            assert_same_numbers(found["metrics"], expected[part]["metrics"], rel=1e-3)
            assert_same_tensors(found["values"], expected[part]["values"], rtol=1e-3)
            assert_same_moves(found["masters"], expected[part]["masters"], start)


def test_a_single_rank_goes_on_as_the_two_that_saved(groups: dict[int, Found]) -> None:
    check_going_on(groups[1], groups[2])


@pytest.mark.slow
def test_four_ranks_go_on_as_the_two_that_saved(two: Found, folder: Path) -> None:
    check_going_on(run_ranks(4, ["goes_on"], folder), two)


def test_the_state_of_something_else_is_refused_and_changes_nothing(two: Found) -> None:
    for rank in two:
        said = {what: text for what, (text, _) in rank["other_states"].items()}
        assert "another model or another algorithm" in said["algorithm"]
        assert "for example 'critic" in said["algorithm"]
        assert "another model or another algorithm" in said["model"]
        assert "No learners' state can be read" in said["none"]
        assert all(unchanged for _, unchanged in rank["other_states"].values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' table of sockets")
def test_ranks_of_this_machine_listen_on_its_loopback_alone(two: Found) -> None:
    for rank in two:
        assert set(rank["listens"]["addresses"]) == {"0100007F"}


@pytest.mark.parametrize("section", ["optimizer", "critic"])
@pytest.mark.parametrize(
    ("given", "said"),
    [({"kind": "adafactor"}, "kind='adafactor' looks at whole"), ({"masters": "none"}, "masters='none': a sharded")],
)
def test_optimizers_that_cannot_be_sharded_are_refused(section: str, given: dict[str, str], said: str) -> None:
    config = config_of(run={"algorithm": "ppo"}, model={"dtype": "bfloat16"}, **{section: given})
    with pytest.raises(ConfigError, match=rf"\[{section}\] {said}"):
        check_shardable(config)
    check_shardable(config_of(run={"algorithm": "ppo"}))


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_all_layouts_and_models_learn_alike_in_a_group(size: int, folder: Path) -> None:
    ranks = run_ranks(size, [*LEARNING, *CRITICS, *ROUNDED], folder)
    for name in LEARNING:
        check_learning(ranks, name)
    for name in CRITICS:
        check_critic(ranks, name)
    for name in ROUNDED:
        # A bfloat16 has 8 bits: a gradient depends by some 1/256 on how episodes lie in micro-batches, and where two
        # masters differ by less than can be seen, one may be rounded up and the other down. Five updates later, the
        # masters have still come the same way but for a tenth of it.
        expected = alone(name)
        assert ranks[0][name]["untouched"]
        for key, began in expected["start"].items():
            way = expected["masters"][key] - began
            assert (ranks[0][name]["masters"][key] - expected["masters"][key]).norm() < 0.1 * way.norm(), key
