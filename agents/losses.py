"""Losses: pure functions of tensors, over the policy's own tokens only.

Shapes: N policy tokens of a batch, laid end to end (retrieved and prompt tokens are not among them); B episodes; V
vocabulary. A loss of a whole batch is `(weights * per_token).sum()` with the weights of `token_weights`, which state
the denominator; so the sum over any split into micro-batches is the whole batch's loss, and so is its gradient.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from zs_env.errors import ConfigError

__all__ = [
    "Aggregation",
    "ClippedSurrogate",
    "ClippedValueLoss",
    "Importance",
    "KlEstimator",
    "clipped_surrogate",
    "clipped_value_loss",
    "entropy_from_logits",
    "importance_log_ratio",
    "kl_penalty",
    "policy_gradient",
    "sampler_correction",
    "selective_log_softmax",
    "token_weights",
]

Aggregation = Literal["token_mean", "sequence_mean", "constant"]
"""How tokens share the loss: each token of the batch alike (DAPO, arXiv 2503.14476), each episode alike and the tokens
within it alike (GRPO as published), or each token alike with a denominator that no episode's length is in (Dr. GRPO,
arXiv 2503.20783)."""

Importance = Literal["token", "sequence", "sequence_token"]
"""What a ratio is of: one token (PPO, GRPO), or the whole episode, in units of a token (GSPO and GSPO-token,
arXiv 2507.18071)."""

KlEstimator = Literal["k1", "k2", "k3"]
"""Estimators of KL(policy || reference), named in John Schulman's note "Approximating KL Divergence" (2020)."""


def selective_log_softmax(logits: Tensor, ids: Tensor) -> Tensor:
    """The log-probs of chosen ids: naively `logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]`.

    It holds no second [N, V] tensor in the forward pass.

    Args:
        logits: [N, V].
        ids: [N].

    Returns:
        [N], float32.
    """
    logits = logits.float()
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)


def entropy_from_logits(logits: Tensor) -> Tensor:
    """The entropy of each distribution, in nats: naively `-(p * p.log()).sum(-1)` with `p = logits.softmax(-1)`.

    Args:
        logits: [N, V].

    Returns:
        [N], float32, in [0, log V].
    """
    logits = logits.float()
    return logits.logsumexp(-1) - (logits.softmax(-1) * logits.nan_to_num(neginf=0.0)).sum(-1)


def token_weights(lengths: Tensor, aggregation: Aggregation) -> Tensor:
    """What one policy token of each episode weighs in the loss of the whole batch.

    - "token_mean": 1 / (policy tokens of the batch).
    - "sequence_mean": 1 / (episodes of the batch × policy tokens of this episode).
    - "constant": 1 / (episodes of the batch). The rest of the denominator, a constant number of tokens, is a factor of
      the loss itself (`PolicyLoss.constant_tokens`), so that all of it is Dr. GRPO's (arXiv 2503.20783, listing 1): sum
      of all token losses / (episodes of the batch × constant).

    Args:
        lengths: [B], the number of policy tokens of each episode of the *whole* batch (all its micro-batches).
        aggregation: See `Aggregation`.

    Returns:
        [B], float32. Over the batch, `(lengths * weights).sum()` is 1 if no length is 0; with "constant" it is the mean
        length.

    Raises:
        ConfigError: The aggregation is unknown.
    """
    if aggregation not in get_args(Aggregation):
        raise ConfigError(f"aggregation must be one of {get_args(Aggregation)}; got {aggregation!r}.")
    lengths = lengths.to(torch.float64)
    if aggregation == "token_mean":
        weights = torch.ones_like(lengths) / lengths.sum().clamp(min=1)
    elif aggregation == "constant":
        weights = torch.ones_like(lengths) / max(len(lengths), 1)
    else:
        weights = 1.0 / (lengths.clamp(min=1) * max(len(lengths), 1))
    return weights.to(torch.float32)


class ClippedSurrogate(NamedTuple):
    """What `clipped_surrogate` gives, each [N].

    Attributes:
        loss: What to minimise, a token.
        ratio: π(token) / π_old(token), detached; with another importance than "token", that of its episode.
        clipped: Whether the clip took the token's gradient away.
    """

    loss: Tensor
    ratio: Tensor
    clipped: Tensor


def importance_log_ratio(
    logprobs: Tensor, old_logprobs: Tensor, importance: Importance = "token", *, rows: Tensor | None = None
) -> Tensor:
    """The logarithm of each token's importance ratio.

    - "token": logp - logp_old.
    - "sequence": log s, s = exp(mean of logp - logp_old over the episode's policy tokens): (π(y) / π_old(y))^(1/|y|).
    - "sequence_token": sg[log s] + logp - sg[logp]: s in value, the token's own in gradient.

    Source: GSPO (arXiv 2507.18071), equation 7, and equations 13 and 14 for "sequence_token". If all tokens of an
    episode have one advantage and one weight, the two have one loss and one gradient; if not, "sequence_token" lets
    each token have its own.

    Args:
        logprobs: [N], the learner's, with gradient.
        old_logprobs: [N], those to compare with.
        importance: See `Importance`.
        rows: [N], int64: which episode each token is of; each episode with all its policy tokens. "token" needs none.

    Returns:
        [N].

    Raises:
        ConfigError: The importance is unknown.
    """
    difference = logprobs - old_logprobs
    if importance == "token":
        return difference
    if importance not in get_args(Importance):
        raise ConfigError(f"importance must be one of {get_args(Importance)}; got {importance!r}.")
    assert rows is not None, "a ratio of whole episodes needs to know which tokens are of one"
    rows = rows.to(difference.device)
    counts = torch.bincount(rows).clamp(min=1)  # [B]
    of_episode = difference.new_zeros(len(counts)).index_add(0, rows, difference) / counts
    if importance == "sequence":
        return of_episode[rows]
    return of_episode.detach()[rows] + logprobs - logprobs.detach()


def sampler_correction(old_logprobs: Tensor, sampled_logprobs: Tensor, *, cap: float) -> Tensor:
    """Truncated importance sampling: min(π_old / π_sampler, cap), what a token's loss weighs for having been drawn by a
    sampler that doesn't compute quite what the learner does.

    Source: Yao et al., "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" (2025), the loss under
    "Truncated Importance Sampling".

    Args:
        old_logprobs: [N], the learner's, of the weights that sampled.
        sampled_logprobs: [N], the sampler's.
        cap: C, the most that a token may weigh.

    Returns:
        [N], without gradient.
    """
    return (old_logprobs - sampled_logprobs).detach().exp().clamp(max=cap)


def clipped_surrogate(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    importance: Importance = "token",
    rows: Tensor | None = None,
) -> ClippedSurrogate:
    """PPO's clipped surrogate, a token: -min(r·A, clip(r, 1 - clip_low, 1 + clip_high)·A), r = exp(logp - logp_old).

    Source: PPO (arXiv 1707.06347), equation 7; the wider upper bound is DAPO's "clip-higher" (arXiv 2503.14476,
    equation 10).

    Args:
        logprobs: [N], the learner's, with gradient.
        old_logprobs: [N], what the tokens were sampled with.
        advantages: [N], of each token's episode.
        clip_low: How far the ratio may fall below 1 before a worse-than-expected token stops being pushed.
        clip_high: How far it may rise above 1 before a better-than-expected token stops being pushed.
        importance: See `importance_log_ratio`; one that isn't "token" clips whole episodes.
        rows: See `importance_log_ratio`.
    """
    ratio = importance_log_ratio(logprobs, old_logprobs, importance, rows=rows).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantages
    return ClippedSurrogate(-torch.minimum(free, bounded), ratio.detach(), (bounded < free).detach())


def policy_gradient(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """The plain policy gradient's loss, a token: -A·logp, whose gradient is -A·∇logp.

    Source: REINFORCE (Williams, 1992). Right only where the tokens were drawn from the very weights that are
    differentiated: there it has the gradient of the surrogate with r = 1.

    Args:
        logprobs: [N], the learner's, with gradient.
        advantages: [N], of each token.
    """
    return -advantages * logprobs


class ClippedValueLoss(NamedTuple):
    """What `clipped_value_loss` gives, each [N].

    Attributes:
        loss: What to minimise, a token.
        clipped: Whether the clip took the token's gradient away.
    """

    loss: Tensor
    clipped: Tensor


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float | None = None
) -> ClippedValueLoss:
    """A critic's loss, a token: ½·max((V - R)², (V_clipped - R)²), V_clipped = V_old + clamp(V - V_old, ±clip).

    Source: the value clipping of OpenAI's PPO ("PPO2"; Engstrom et al., arXiv 2005.12729, section 3).

    Args:
        values: [N], the critic's now, with gradient.
        old_values: [N], the critic's before this step's updates.
        returns: [N], what it should have said.
        clip: How far a value may move in a step; None for the plain ½·(V - R)².
    """
    free = (values - returns) ** 2
    if clip is None:
        return ClippedValueLoss(0.5 * free, torch.zeros_like(values, dtype=torch.bool))
    moved = values - old_values
    near = old_values + moved.clamp(-clip, clip)
    bounded = (near - returns) ** 2
    # Where nothing was clipped, the two differ by rounding.
    clipped = (bounded > free) & (moved.abs() > clip)
    return ClippedValueLoss(0.5 * torch.maximum(free, bounded), clipped.detach())


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor, estimator: KlEstimator = "k3") -> Tensor:
    """An estimate of KL(policy || reference) a token, to be *added* to the loss: minimising it pulls to the reference.

    With d = logp - logp_ref, the values are k1: d (unbiased); k2: d²/2 (biased, never negative); k3: exp(-d) - 1 + d
    (unbiased, never negative; GRPO's, arXiv 2402.03300, equation 4). The gradient of k1 as it stands has expectation
    zero and would pull nowhere, so here k1 has k1's value and k2's gradient, which in expectation is that of the KL
    itself (k2's gradient is d·∇logp, and E[d·∇logp] = ∇KL). k3's gradient is (1 - exp(-d))·∇logp, in expectation that
    of KL(reference || policy): it pulls to the reference, too, but not by the same way.

    Args:
        logprobs: [N], the learner's, with gradient.
        ref_logprobs: [N], the reference model's.
        estimator: See `KlEstimator`.

    Raises:
        ConfigError: The estimator is unknown.
    """
    difference = logprobs - ref_logprobs
    if estimator == "k3":
        return torch.expm1(-difference) + difference
    square = 0.5 * difference**2
    if estimator == "k2":
        return square
    if estimator == "k1":
        return square + (difference - square).detach()
    raise ConfigError(f"kl_estimator must be one of {get_args(KlEstimator)}; got {estimator!r}.")
