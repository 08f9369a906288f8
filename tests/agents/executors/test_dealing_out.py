"""Which episodes are played together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.conversation import EpisodeTask
from agents.executors.pool import deal_out
from zs_env.types import Question


def tasks_of(groups: list[int]) -> list[EpisodeTask]:
    question = Question(id="q", question="?", golden_answers=("a",))
    return [EpisodeTask(question=question, group=group, key=(index,)) for index, group in enumerate(groups)]


@pytest.mark.parametrize(
    ("groups", "num_parts", "parts"),
    [
        ([0, 0, 1, 1, 2, 2, 3, 3], 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ([0, 0, 1, 1, 2, 2], 2, [[0, 1], [2, 3, 4, 5]]),
        ([0, 0, 0], 2, [[0, 1, 2]]),  # a group is never split
        ([0, 1, 0, 1], 2, [[0, 2], [1, 3]]),
        ([], 3, []),
    ],
)
def test_parts(groups: list[int], num_parts: int, parts: list[list[int]]) -> None:
    assert deal_out(tasks_of(groups), num_parts) == parts


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 9))
def test_every_task_is_in_one_part_and_groups_are_whole(groups: list[int], num_parts: int) -> None:
    parts = deal_out(tasks_of(groups), num_parts)
    assert sorted(index for part in parts for index in part) == list(range(len(groups)))
    assert len(parts) <= num_parts
    assert all(parts)
    where = {groups[index]: number for number, part in enumerate(parts) for index in part}
    assert all(where[groups[index]] == number for number, part in enumerate(parts) for index in part)
    sizes = [len({groups[index] for index in part}) for part in parts]
    assert not sizes or max(sizes) - min(sizes) <= 1
