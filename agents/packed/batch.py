"""From trajectories to one packed row, and what of them a model has to compute.

Shapes: T tokens of the row, N policy tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.packed.layout import PackedLayout
from agents.trajectory import Trajectory

__all__ = ["PackedBatch", "pack", "split_packed"]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Episodes laid end to end.

    Attributes:
        ids: [T], int64. What comes after an episode's last policy token, and that token itself, is not among them:
            nothing is predicted from there.
        layout: Which tokens see which.
        places: [N], int64: for each policy token, episode by episode, the place in the row that predicts it.
        targets: [N], int64: the ids of the policy tokens.
        rows: [N], int64: which episode each is of.
        sampled_logprobs: [N], float32: what each was sampled with.
    """

    ids: Tensor
    layout: PackedLayout
    places: Tensor
    targets: Tensor
    rows: Tensor
    sampled_logprobs: Tensor

    def flat_rows(self) -> Tensor:
        """[N]: see `rows`."""
        return self.rows

    def flat_sampled_logprobs(self) -> Tensor:
        """[N]: see `sampled_logprobs`."""
        return self.sampled_logprobs


@dataclass(frozen=True, slots=True)
class _Episode:
    """What is computed of a trajectory.

    Attributes:
        prompt: The ids of its first segment, if the policy didn't write it; else nothing.
        rest: The ids after it, up to the last one that predicts a policy token.
        places: Where policy tokens are predicted, counted from the first id of the prompt.
        targets: Their ids.
        logprobs: What they were sampled with.
    """

    prompt: tuple[int, ...]
    rest: tuple[int, ...]
    places: tuple[int, ...]
    targets: tuple[int, ...]
    logprobs: tuple[float, ...]

    @classmethod
    def of(cls, trajectory: Trajectory) -> _Episode:
        ids, mask, logprobs = trajectory.ids(), trajectory.policy_mask(), trajectory.sampled_logprobs()
        # Nothing comes before a first token, so it can't be trained on whoever wrote it.
        said = [place for place in range(1, len(ids)) if mask[place]]
        end = said[-1] if said else 0
        first = trajectory.segments[0] if trajectory.segments else None
        prompt = first.ids if first is not None and first.provenance == "prompt" else ()
        prompt = prompt[:end]
        return cls(
            prompt=tuple(prompt),
            rest=tuple(ids[len(prompt) : end]),
            places=tuple(place - 1 for place in said),
            targets=tuple(ids[place] for place in said),
            logprobs=tuple(logprobs[place] for place in said),
        )


def pack(trajectories: Sequence[Trajectory], *, share_prompts: bool = True) -> PackedBatch:
    """Lay trajectories end to end.

    Args:
        trajectories: At least one.
        share_prompts: Whether a prompt that several of them begin with is laid down once.
    """
    episodes = [_Episode.of(trajectory) for trajectory in trajectories]
    trees: dict[object, list[int]] = {}
    for index, episode in enumerate(episodes):
        trees.setdefault(episode.prompt if share_prompts and episode.prompt else index, []).append(index)
    ids: list[int] = []
    shape: list[tuple[int, list[int]]] = []
    begins: dict[int, tuple[int, int, int]] = {}  # of each episode: its prompt's place and length, and its rest's place
    for members in trees.values():
        if len(members) == 1:
            index = members[0]
            whole = episodes[index].prompt + episodes[index].rest
            begins[index] = (len(ids), len(whole), len(ids))
            if whole:
                shape.append((0, [len(whole)]))
                ids.extend(whole)
            continue
        start, prompt = len(ids), episodes[members[0]].prompt
        ids.extend(prompt)
        for index in members:
            begins[index] = (start, len(prompt), len(ids))
            ids.extend(episodes[index].rest)
        shape.append((len(prompt), [len(episodes[index].rest) for index in members if episodes[index].rest]))
    if not ids:  # nobody wrote anything that is learned from, and a model's forward wants a token
        ids, shape = [0], [(0, [1])]
    places = [
        (start if place < length else rest - length) + place
        for index, episode in enumerate(episodes)
        for start, length, rest in [begins[index]]
        for place in episode.places
    ]
    return PackedBatch(
        ids=torch.tensor(ids, dtype=torch.long),
        layout=PackedLayout.of(shape),
        places=torch.tensor(places, dtype=torch.long),
        targets=torch.tensor([token for episode in episodes for token in episode.targets], dtype=torch.long),
        rows=torch.tensor([row for row, episode in enumerate(episodes) for _ in episode.targets], dtype=torch.long),
        sampled_logprobs=torch.tensor([one for episode in episodes for one in episode.logprobs], dtype=torch.float32),
    )


def split_packed(trajectories: Sequence[Trajectory], max_tokens: int, *, share_prompts: bool = True) -> list[list[int]]:
    """Split episodes into micro-batches of at most `max_tokens` tokens, those with the same prompt together.

    Args:
        trajectories: The episodes.
        max_tokens: The most tokens of a packed row, a shared prompt counted once. An episode longer than that is alone.
        share_prompts: See `pack`.

    Returns:
        Indices, each exactly once, the longest group of episodes first (so that a run out of memory shows at once).
    """
    groups: dict[object, list[int]] = {}
    for index, trajectory in enumerate(trajectories):
        prompt = trajectory.segments[0].ids if share_prompts and trajectory.segments else index
        groups.setdefault(prompt, []).append(index)
    lengths = [trajectory.num_tokens for trajectory in trajectories]
    parts: list[list[int]] = []
    room = 0
    for members in sorted(groups.values(), key=lambda members: -sum(lengths[index] for index in members)):
        first = trajectories[members[0]].segments
        prompt_length = len(first[0].ids) if share_prompts and first else 0
        fresh = True  # whether the prompt still has to be paid for in this micro-batch
        whole = sum(lengths[index] for index in members) - prompt_length * (len(members) - 1)
        if room < whole <= max_tokens:
            parts.append([])
            room = max_tokens
        for index in members:
            cost = lengths[index] - (0 if fresh else prompt_length)
            if not parts or cost > room:
                parts.append([])
                room, cost = max_tokens, lengths[index]
            parts[-1].append(index)
            room -= cost
            fresh = False
    return parts
