"""Splitting a batch among learners."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from agents.accumulation import Example
from agents.losses import token_weights
from agents.sharded import Share, put_together, split
from tests.agents.sharded.scenarios import batch_of, episode

# The prompt has 4 + group tokens, and each turn is followed by 5: totals of batch_of(0, 8) by index are
# 0: 4+9+5+14+5 = 37, 1: 13, 2: 11, 3: 12, 4: 22, 5: 42, 6: 30, 7: 17; by group 0: 90, 1: 35, 2: 42, 3: 17.


def test_whole_groups_go_to_the_learner_with_the_fewest_tokens_and_keep_their_order() -> None:
    shares = split(batch_of(0, 8), 2, "token_mean")
    # Group 0 (90) to the first, then 2 (42), 1 (35: 77 in all) and 3 (17: 94) to the second.
    assert [share.indices for share in shares] == [(0, 2, 5), (1, 3, 4, 6, 7)]
    assert [share.indices for share in split(batch_of(0, 8), 2, "token_mean")] == [share.indices for share in shares]


def test_episodes_go_alone_where_there_are_fewer_groups_than_learners() -> None:
    one_group = [Example.of(episode(0, member, 3 + member), 1.0) for member in range(5)]
    # 12 to 16 tokens, the longest first: 4, 3, 2, and then 1 and 0 to those with 14 and 15.
    assert [share.indices for share in split(one_group, 3, None)] == [(4,), (0, 3), (1, 2)]


def test_learners_without_an_example_have_an_empty_share() -> None:
    (example,) = batch_of(0, 1)
    shares = split([example], 3, "sequence_mean")
    assert [share.examples for share in shares] == [(example,), (), ()]
    assert [share.weights.tolist() for share in shares] == [pytest.approx([1 / 23]), [], []]
    assert all(share.filler is example.trajectory for share in shares)


@pytest.mark.parametrize("num_learners", [1, 2, 3, 8, 11])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "constant", None])
def test_together_shares_are_the_batch(num_learners: int, aggregation: str | None) -> None:
    examples = batch_of(0, 8)
    shares = split(examples, num_learners, aggregation)  # type: ignore[arg-type]
    assert len(shares) == num_learners
    assert Counter(index for share in shares for index in share.indices) == Counter(range(8))
    assert all(share.examples == tuple(examples[index] for index in share.indices) for share in shares)
    lengths = torch.tensor([example.trajectory.num_policy_tokens for example in examples])
    expected = token_weights(lengths, aggregation) if aggregation else torch.zeros(8)  # type: ignore[arg-type]
    found = put_together(shares, [list(share.weights) for share in shares])
    assert torch.equal(torch.stack(found), expected)
    assert {share.num_tokens for share in shares} == {int(lengths.sum())}
    assert {share.filler.num_tokens for share in shares} == {11}


def test_what_is_found_comes_back_in_the_order_of_the_batch() -> None:
    examples = batch_of(0, 8)
    shares = split(examples, 3, None)

    def found_by(share: Share) -> list[torch.Tensor]:
        return [torch.tensor(example.trajectory.num_policy_tokens) for example in share.examples]

    together = put_together(shares, [found_by(share) for share in shares])
    assert [int(one) for one in together] == [example.trajectory.num_policy_tokens for example in examples]
