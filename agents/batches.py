"""From trajectories to tensors: the one place that pads.

Shapes: B episodes, T tokens of the longest of them. Padding is on the right and is never looked at: a causal model's
real tokens can't see it, and the mask comes from provenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.packed import PackedBatch, pack, split_packed
from agents.trajectory import Trajectory

__all__ = ["Batch", "Batching", "TokenBatch", "collate", "split_by_tokens"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Episodes as tensors.

    Attributes:
        ids: [B, T], int64, padded on the right.
        policy_mask: [B, T], bool: the tokens that the policy wrote.
        sampled_logprobs: [B, T], float32: what the policy's tokens were sampled with; 0 elsewhere.
    """

    ids: Tensor
    policy_mask: Tensor
    sampled_logprobs: Tensor

    def flat_rows(self) -> Tensor:
        """[N]: for each policy token, row by row, the row that it is in."""
        return self.policy_mask.nonzero()[:, 0]

    def flat_sampled_logprobs(self) -> Tensor:
        """[N]: the log-prob each policy token was sampled with."""
        return self.sampled_logprobs[self.policy_mask]


def collate(trajectories: Sequence[Trajectory], *, pad_id: int = 0) -> TokenBatch:
    """Lay trajectories side by side.

    Args:
        trajectories: At least one.
        pad_id: What fills the rest of a row. Any id will do, the end-of-turn id too: it has no meaning.
    """
    rows, longest = len(trajectories), max(trajectory.num_tokens for trajectory in trajectories)
    ids = torch.full((rows, longest), pad_id, dtype=torch.long)
    mask = torch.zeros((rows, longest), dtype=torch.bool)
    logprobs = torch.zeros((rows, longest), dtype=torch.float32)
    for row, trajectory in enumerate(trajectories):
        length = trajectory.num_tokens
        ids[row, :length] = torch.tensor(trajectory.ids())
        mask[row, :length] = torch.tensor(trajectory.policy_mask())
        logprobs[row, :length] = torch.tensor(trajectory.sampled_logprobs())
    # Nothing comes before a first token, so it can't be trained on whoever wrote it.
    mask[:, 0] = False
    return TokenBatch(ids, mask, logprobs)


def split_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split episodes into micro-batches of at most `max_tokens` tokens, padding included, alike in length.

    Args:
        lengths: Tokens of each episode.
        max_tokens: The most that rows × longest row may be. An episode longer than that is alone in its micro-batch.

    Returns:
        Indices into `lengths`, each exactly once, longest first (so that a run out of memory shows at once).

    Examples:
        >>> split_by_tokens([3, 10, 4, 9], max_tokens=20)
        [[1, 3], [2, 0]]
    """
    parts: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= max_tokens:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


Batch = TokenBatch | PackedBatch
"""What a model computes at once: padded side by side, or packed end to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How episodes become micro-batches.

    Attributes:
        max_tokens: The most tokens of a micro-batch, padding included where there is any.
        packed: Whether they lie end to end, without padding.
        share_prompts: Whether packed episodes that begin with the same prompt compute it once.
    """

    max_tokens: int
    packed: bool = False
    share_prompts: bool = False

    def split(self, trajectories: Sequence[Trajectory]) -> list[list[int]]:
        """Indices of the episodes of each micro-batch."""
        if self.packed:
            return split_packed(trajectories, self.max_tokens, share_prompts=self.share_prompts)
        return split_by_tokens([trajectory.num_tokens for trajectory in trajectories], self.max_tokens)

    def collate(self, trajectories: Sequence[Trajectory]) -> Batch:
        """One micro-batch."""
        return pack(trajectories, share_prompts=self.share_prompts) if self.packed else collate(trajectories)
