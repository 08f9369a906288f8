from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.batches import collate, split_by_tokens
from agents.trajectory import SearchRecord, TokenSegment, Trajectory, read_trajectories, write_trajectories
from zs_env.errors import ConfigError

EOS = 256  # the end-of-turn token, which also pads


def make_trajectory(**changes: object) -> Trajectory:
    values: dict[str, object] = {
        "question_id": "q1",
        "question": "Which?",
        "golden_answers": ("a", "b"),
        "group": 3,
        "segments": [
            TokenSegment("prompt", (1, 2, EOS), "Wh\u2028ich?<e>"),
            TokenSegment("policy", (4, EOS), "x<e>", (-0.5, -1.25)),
            TokenSegment("environment", (4, EOS, 6), "doc"),
            TokenSegment("policy", (7,), "y", (-2.0,)),
        ],
    }
    return Trajectory(**(values | changes))  # type: ignore[arg-type]


def test_defect_07_the_mask_comes_from_provenance_and_never_from_an_id() -> None:
    # Token 4 and the end-of-turn token, which pads too, appear on both sides: only the policy's own are trained on.
    trajectory = make_trajectory()
    assert trajectory.policy_mask() == [False, False, False, True, True, False, False, False, True]
    longer = make_trajectory(segments=[*trajectory.segments, TokenSegment("environment", (9,) * 4, "more")])
    batch = collate([trajectory, longer], pad_id=EOS)
    assert batch.ids[0].tolist() == [1, 2, EOS, 4, EOS, 4, EOS, 6, 7, EOS, EOS, EOS, EOS]
    assert batch.policy_mask[0].nonzero()[:, 0].tolist() == [3, 4, 8]
    assert batch.flat_sampled_logprobs().tolist() == [-0.5, -1.25, -2.0] * 2
    assert batch.flat_rows().tolist() == [0, 0, 0, 1, 1, 1]


def test_the_padding_id_changes_nothing_but_itself() -> None:
    trajectories = [make_trajectory(), make_trajectory(segments=[TokenSegment("policy", (5, 5), "z", (-1.0, -1.0))])]
    one, other = collate(trajectories, pad_id=0), collate(trajectories, pad_id=EOS)
    assert torch.equal(one.policy_mask, other.policy_mask)
    assert torch.equal(one.sampled_logprobs, other.sampled_logprobs)


def test_policy_tokens_need_their_logprobs() -> None:
    with pytest.raises(ConfigError, match="one log-prob a token"):
        TokenSegment("policy", (1, 2), "ab", (-1.0,))
    with pytest.raises(ConfigError, match="environment"):
        TokenSegment("environment", (1,), "a", (-1.0,))


def test_trajectories_come_back_from_their_file_with_every_draw(tmp_path: Path) -> None:
    search = SearchRecord(
        turn=1,
        query="capital of X",
        quality="noisy",
        noise_probability=0.25,
        seed=2**52 + 1,
        supports_query=None,
        contains_golden=False,
        engine="e",
        num_documents=2,
        cut=False,
        cached=False,
        latency_s=0.5,
        cost=0.0,
        error=None,
    )
    written = [make_trajectory(searches=[search], status="answered", answer="a"), make_trajectory(error="down")]
    path = tmp_path / "t.jsonl"
    write_trajectories(path, written[:1], step=0)
    write_trajectories(path, written[1:], step=1)
    assert list(read_trajectories(path)) == written
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"question_id": 1, "segments": 2}'])
def test_a_line_that_is_no_trajectory_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    write_trajectories(path, [make_trajectory()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=r"t\.jsonl, line 2"):
        list(read_trajectories(path))


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_micro_batches_hold_each_episode_once_and_keep_their_budget(lengths: list[int], max_tokens: int) -> None:
    parts = split_by_tokens(lengths, max_tokens)
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[index] for index in part) <= max_tokens
