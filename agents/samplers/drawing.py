"""Drawing tokens: the same request draws the same tokens, whatever else is in its batch.

Shapes: B rows, V vocabulary, K tokens to draw a row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agents.errors import NonFiniteError

__all__ = ["draw", "log_normalizer", "truncate", "uniforms"]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seeds: npt.NDArray[np.uint64], count: int) -> Tensor:
    """The first `count` uniforms of each seed's stream, all rows at once.

    The generator is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose n-th output is a function of seed and n alone.

    Args:
        seeds: [B].
        count: K.

    Returns:
        [B, K], float64, strictly between 0 and 1.
    """
    steps = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = seeds[:, None] + _GAMMA * steps[None, :]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    # 48 bits, so that u times a total rounds to less than the total.
    return torch.from_numpy(((z >> np.uint64(16)).astype(np.float64) + 0.5) * 2.0**-48)


def log_normalizer(logits: Tensor) -> Tensor:
    """[B]: the logsumexp of each row of logits [B, V], which is where NaN and infinity show.

    Raises:
        NonFiniteError: A row holds NaN or +inf, or nothing above -inf.
    """
    normalizer = logits.logsumexp(-1)
    if not bool(torch.isfinite(normalizer).all()):
        rows = (~torch.isfinite(normalizer)).nonzero()[:, 0].tolist()
        raise NonFiniteError(
            f"The model's logits are NaN or infinite in {len(rows)} of {len(normalizer)} rows (row {rows[0]} first). "
            "The weights have likely diverged: lower the learning rate, or load an earlier checkpoint."
        )
    return normalizer


def draw(logits: Tensor, normalizer: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token a row by inverting the cumulative distribution.

    Args:
        logits: [B, V], float32, temperature applied.
        normalizer: [B], their logsumexp.
        uniform: [B], float64, strictly between 0 and 1.

    Returns:
        [B], ids. A token of probability 0 is never drawn.
    """
    cumulative = (logits - normalizer[:, None]).exp().cumsum(-1, dtype=torch.float64)
    target = (uniform * cumulative[:, -1])[:, None]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)


def truncate(logits: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Take tokens out of the distribution: all but the `top_k` likeliest, then all outside the `top_p` nucleus.

    Args:
        logits: [B, V].
        top_k: 0 for all.
        top_p: In (0, 1]; the token that crosses it is kept.

    Returns:
        [B, V], -inf where a token was taken out.
    """
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        logits = logits.masked_fill((before >= top_p).scatter(-1, order, before >= top_p), -torch.inf)
    return logits
