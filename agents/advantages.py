"""Advantages: how much better an episode did than it was expected to. Pure functions of tensors.

Shapes: B episodes, G groups.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from zs_env.errors import ConfigError

__all__ = ["GroupAdvantages", "Std", "group_advantages"]

Std = Literal["sample", "population", "none"]
"""What a group's rewards are divided by: the sample standard deviation (n - 1 below the root), the population's (n), or
nothing (Dr. GRPO, arXiv 2503.20783)."""


class GroupAdvantages(NamedTuple):
    """What `group_advantages` gives.

    Attributes:
        advantages: [B], float32. 0 in groups whose rewards are all equal.
        zero_variance: [B], bool: whether the rewards of the episode's group are all equal, so that it teaches nothing.
        num_groups: G.
        num_zero_variance_groups: How many of them teach nothing.
    """

    advantages: Tensor
    zero_variance: Tensor
    num_groups: int
    num_zero_variance_groups: int


def group_advantages(rewards: Tensor, groups: Tensor, *, std: Std = "sample", eps: float = 1e-6) -> GroupAdvantages:
    """Group-relative advantages: (reward - mean of its group) / (std of its group + eps).

    Source: DeepSeekMath (arXiv 2402.03300), section 4.1.2. The paper writes "std" and leaves open which; the two
    conventions differ, so it has a name here: for rewards [1, 0, 0, 0] the winner gets +1.50 with "sample", +1.73 with
    "population" and +0.75 with "none".

    Args:
        rewards: [B], finite.
        groups: [B], whole numbers: equal exactly for episodes of one group. Groups may differ in size and lie in any
            order.
        std: See `Std`.
        eps: Added to the standard deviation.

    Raises:
        ConfigError: A group has a single member (there is nothing to compare it with), a reward is not finite, the
            shapes differ, or `std` is unknown.

    Examples:
        >>> group_advantages(torch.tensor([1.0, 0, 0, 0]), torch.tensor([7, 7, 7, 7])).advantages
        tensor([ 1.5000, -0.5000, -0.5000, -0.5000])
    """
    if std not in get_args(Std):
        raise ConfigError(f"std must be one of {get_args(Std)}; got {std!r}.")
    if rewards.ndim != 1 or rewards.shape != groups.shape:
        raise ConfigError(f"rewards and groups must both be [B]; got {tuple(rewards.shape)} and {tuple(groups.shape)}.")
    values = rewards.to(torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise ConfigError(f"Every reward must be a finite number; got {rewards.tolist()!r:.200}.")
    _, index = torch.unique(groups, return_inverse=True)  # [B], in [0, G)
    num_groups = int(index.max()) + 1 if len(index) else 0
    count = torch.bincount(index, minlength=num_groups).to(torch.float64)  # [G]
    if bool((count == 1).any()):
        lonely = groups[count[index] == 1].tolist()
        raise ConfigError(
            f"A group needs at least two episodes to compare; the groups {lonely!r:.100} have one. Sample more "
            "episodes a question, or leave these out."
        )
    zeros = torch.zeros(num_groups, dtype=torch.float64)
    mean = zeros.index_add(0, index, values) / count  # [G]
    centred = values - mean[index]  # [B]
    lowest = zeros.scatter_reduce(0, index, values, "amin", include_self=False)
    highest = zeros.scatter_reduce(0, index, values, "amax", include_self=False)
    flat = lowest == highest  # [G]
    if std != "none":
        below = count - 1 if std == "sample" else count
        deviation = (zeros.index_add(0, index, centred**2) / below).sqrt()  # [G]
        centred = centred / (deviation[index] + eps)
    zero_variance = flat[index]  # [B]
    advantages = torch.where(zero_variance, torch.zeros_like(centred), centred).to(torch.float32)
    return GroupAdvantages(advantages, zero_variance, num_groups, int(flat.sum()))
