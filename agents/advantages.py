"""Advantages: how much better an episode did than it was expected to. Pure functions of tensors.

Shapes: B episodes, G groups, n policy tokens of an episode, N policy tokens in all, laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from zs_env.errors import ConfigError

__all__ = [
    "Baseline",
    "GroupAdvantages",
    "Std",
    "baselines",
    "generalized_advantages",
    "group_advantages",
    "overlong_penalty",
    "returns_to_go",
    "token_rewards",
    "whiten",
]

Std = Literal["sample", "population", "none"]
"""What a group's rewards are divided by: the sample standard deviation (n - 1 below the root), the population's (n), or
nothing (Dr. GRPO, arXiv 2503.20783)."""


Baseline = Literal["leave_one_out", "group_mean", "batch_mean", "none"]
"""What is taken off an episode's return: the mean reward of the *other* episodes of its group (RLOO, arXiv 2402.14740),
the mean reward of its whole group (REINFORCE++-baseline, arXiv 2501.03262), the mean reward of all episodes of the
step, or nothing (REINFORCE as ZeroSearch's code has it, and REINFORCE++)."""


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


def baselines(rewards: Tensor, groups: Tensor, baseline: Baseline = "leave_one_out") -> Tensor:
    """What to expect of each episode before it is played, to be taken off its return.

    - "leave_one_out": (sum of the group's other rewards) / (their number); unbiased, as it doesn't depend on the
      episode's own reward.
    - "group_mean": the mean of its group, its own reward among them: with n episodes, what is left is (n - 1)/n of what
      "leave_one_out" leaves. Source: REINFORCE++ (arXiv 2501.03262), its variant with a baseline.
    - "batch_mean": the mean over all episodes, its own among them: a bias of 1/B towards 0.
    - "none": 0.

    Args:
        rewards: [B], finite.
        groups: [B], whole numbers: equal exactly for episodes of one group.
        baseline: See `Baseline`.

    Returns:
        [B], float32.

    Raises:
        ConfigError: A group has a single member where the others are wanted, the shapes differ, or the name is unknown.

    Examples:
        >>> baselines(torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 0, 1, 1]))
        tensor([0.0000, 0.5000, 0.5000, 1.0000, 1.0000])
    """
    if baseline not in get_args(Baseline):
        raise ConfigError(f"baseline must be one of {get_args(Baseline)}; got {baseline!r}.")
    if rewards.ndim != 1 or rewards.shape != groups.shape:
        raise ConfigError(f"rewards and groups must both be [B]; got {tuple(rewards.shape)} and {tuple(groups.shape)}.")
    values = rewards.to(torch.float64)
    if baseline == "none" or not len(values):
        return torch.zeros(len(values), dtype=torch.float32)
    if baseline == "batch_mean":
        return values.mean().expand(len(values)).to(torch.float32)
    _, index = torch.unique(groups, return_inverse=True)  # [B], in [0, G)
    count = torch.bincount(index).to(torch.float64)  # [G]
    if bool((count == 1).any()):
        raise ConfigError(
            f"baseline={baseline!r} needs at least two episodes in each group; some have one. Sample more episodes a "
            "question (group_size), or choose baseline='batch_mean'."
        )
    total = torch.zeros(len(count), dtype=torch.float64).index_add(0, index, values)  # [G]
    if baseline == "group_mean":
        return (total / count)[index].to(torch.float32)
    return ((total[index] - values) / (count[index] - 1)).to(torch.float32)


def token_rewards(reward: float, num_tokens: int, kl: Tensor | None = None, *, kl_coef: float = 0.0) -> Tensor:
    """The reward of each policy token of an episode: all of it at the last one, less a penalty for each token's KL.

    Source: InstructGPT (arXiv 2203.02155), equation 2, where the penalty is coef·(logp - logp_ref).

    Args:
        reward: Of the episode.
        num_tokens: n.
        kl: [n], without gradient: log-prob as sampled less the reference model's; None for no penalty.
        kl_coef: What the penalty weighs.

    Returns:
        [n], float32.

    Examples:
        >>> token_rewards(1.0, 3, torch.tensor([0.5, 0.0, -1.0]), kl_coef=0.1)
        tensor([-0.0500,  0.0000,  1.1000])
    """
    rewards = torch.zeros(num_tokens, dtype=torch.float32)
    if kl is not None:
        rewards -= kl_coef * kl
    if num_tokens:
        rewards[-1] += reward
    return rewards


def overlong_penalty(num_tokens: int, *, max_tokens: int, buffer_tokens: int) -> float:
    """What is taken off the reward of an episode for its length: nothing up to max_tokens - buffer_tokens, then more
    with each token, 1 past max_tokens.

    With n tokens: 0 if n ≤ max - buffer; (max - buffer - n) / buffer up to max; -1 past it.

    Source: DAPO (arXiv 2503.14476), equation 13 (L_max and L_cache).

    Args:
        num_tokens: How many the policy wrote.
        max_tokens: L_max; 0 for no penalty at all.
        buffer_tokens: L_cache, in [0, max_tokens].

    Returns:
        In [-1, 0], to be added to the reward.

    Examples:
        >>> [overlong_penalty(n, max_tokens=100, buffer_tokens=20) for n in (80, 85, 100, 101)]
        [0.0, -0.25, -1.0, -1.0]
    """
    if not max_tokens or num_tokens <= max_tokens - buffer_tokens:
        return 0.0
    return -1.0 if num_tokens > max_tokens else (max_tokens - buffer_tokens - num_tokens) / buffer_tokens


def returns_to_go(rewards: Tensor, *, gamma: float = 1.0) -> Tensor:
    """What is still to come from each token on: R_t = r_t + γ·R_{t+1}.

    Args:
        rewards: [n], of one episode's policy tokens.
        gamma: What the next token's return counts, in [0, 1].

    Returns:
        [n], float32.

    Examples:
        >>> returns_to_go(torch.tensor([0.0, 0.0, 1.0]), gamma=0.5)
        tensor([0.2500, 0.5000, 1.0000])
    """
    return generalized_advantages(rewards, torch.zeros_like(rewards), gamma=gamma, lam=1.0)


def generalized_advantages(rewards: Tensor, values: Tensor, *, gamma: float = 1.0, lam: float = 1.0) -> Tensor:
    """Generalized advantage estimation over the policy's own tokens of one episode.

    A_t = δ_t + γλ·A_{t+1}, δ_t = r_t + γ·V_{t+1} - V_t, with t counting policy tokens alone: what the environment wrote
    between two of them is no step of the policy's. After the last one V is 0: an episode that is out of turns or tokens
    has ended by the task's own rules, with its reward, so nothing is bootstrapped.

    Source: arXiv 1506.02438, equation 16.

    Args:
        rewards: [n].
        values: [n], the critic's, before each token.
        gamma: What the next token's value counts, in [0, 1].
        lam: λ: 1 trusts the return alone, 0 the critic's next value alone.

    Returns:
        [n], float32; the critic's target is this plus `values`.

    Examples:
        >>> generalized_advantages(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.25]), gamma=1.0, lam=0.5)
        tensor([0.1250, 0.7500])
    """
    if rewards.ndim != 1 or rewards.shape != values.shape:
        raise ConfigError(f"rewards and values must both be [n]; got {tuple(rewards.shape)} and {tuple(values.shape)}.")
    advantages, after, next_value = [], 0.0, 0.0
    for reward, value in zip(reversed(rewards.tolist()), reversed(values.tolist()), strict=True):
        after = reward + gamma * next_value - value + gamma * lam * after
        next_value = value
        advantages.append(after)
    return torch.tensor(advantages[::-1], dtype=torch.float32)


def whiten(parts: Sequence[Tensor], *, eps: float = 1e-8) -> list[Tensor]:
    """Advantages shifted and scaled to mean 0 and (sample) standard deviation 1 over all policy tokens of a step.

    Args:
        parts: [n] for each episode; no retrieved token is among them.
        eps: Added to the standard deviation.

    Returns:
        The same shapes. If all are equal (or there is one alone), they become 0.

    Examples:
        >>> whiten([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])
        [tensor([-1.,  0.]), tensor([1.])]
    """
    if not parts:
        return []
    flat = torch.cat(list(parts)).to(torch.float64)
    deviation = flat.std() if len(flat) > 1 else torch.zeros((), dtype=torch.float64)
    mean = flat.mean() if len(flat) else deviation
    return [((part.to(torch.float64) - mean) / (deviation + eps)).to(torch.float32) for part in parts]
