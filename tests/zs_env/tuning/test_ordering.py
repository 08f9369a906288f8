"""The order of examples: all of them, as often as asked for, alike in length where they are computed together."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from zs_env.tuning.ordering import learning_order, padding_share

LENGTHS = [random.Random(place).randint(50, 400) for place in range(203)]


@pytest.mark.parametrize("num_epochs", [1, 2, 3])
def test_each_example_is_learned_once_an_epoch(num_epochs: int) -> None:
    order = learning_order(LENGTHS, num_epochs=num_epochs, micro_batch_size=8, seed=0)
    assert Counter(order) == dict.fromkeys(range(203), num_epochs)


def test_a_part_of_an_epoch_is_that_share_of_the_examples() -> None:
    order = learning_order(LENGTHS, num_epochs=1.5, micro_batch_size=8, seed=0)
    assert len(order) == 304
    assert set(Counter(order).values()) == {1, 2}


def test_an_order_is_its_seed_s() -> None:
    first, same, other = (learning_order(LENGTHS, num_epochs=1, micro_batch_size=8, seed=seed) for seed in (3, 3, 4))
    assert first == same
    assert first != other


def test_micro_batches_are_alike_in_length_but_steps_are_mixed() -> None:
    order = learning_order(LENGTHS, num_epochs=4, micro_batch_size=4, seed=0)
    shuffled = list(range(203))
    random.Random(0).shuffle(shuffled)
    assert padding_share(LENGTHS, order, 4) < 0.05 < 0.2 < padding_share(LENGTHS, shuffled, 4)
    means = [sum(LENGTHS[place] for place in order[at : at + 4]) / 4 for at in range(0, 800, 4)]
    rises = sum(one < other for one, other in pairwise(means))
    assert 0.35 < rises / len(means) < 0.65  # neither from short to long nor the reverse


def test_padding_share_by_hand() -> None:
    assert padding_share([1, 3, 2, 2], [0, 1, 2, 3], 2) == pytest.approx(1 - 8 / 10)


def test_examples_of_one_search_follow_each_other() -> None:
    lengths, groups = LENGTHS[:200], [place // 2 for place in range(200)]
    order = learning_order(lengths, num_epochs=2, micro_batch_size=8, seed=0, groups=groups)
    assert Counter(order) == dict.fromkeys(range(200), 2)
    together = [groups[order[at]] == groups[order[at + 1]] for at in range(0, 400, 2)]
    assert sum(together) > 0.95 * len(together)
    alone = learning_order(lengths, num_epochs=2, micro_batch_size=8, seed=0)
    assert sum(groups[alone[at]] == groups[alone[at + 1]] for at in range(0, 400, 2)) < 0.2 * 200
