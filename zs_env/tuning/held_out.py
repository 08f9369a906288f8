"""The loss of what a simulator is to write, on examples that it doesn't learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from zs_env.tuning.tokenising import Encoded

__all__ = ["choose_held_out", "held_out_losses"]


def choose_held_out(examples: Sequence[Encoded], limit: int) -> list[Encoded]:
    """The first examples, useful and noisy ones in turn, up to a limit."""
    by_quality: dict[str, list[Encoded]] = {}
    for example in examples:
        by_quality.setdefault(example.quality, []).append(example)
    kinds = [by_quality[kind] for kind in sorted(by_quality)]
    longest = max(map(len, kinds), default=0)
    turns = [kind[place] for place in range(longest) for kind in kinds if place < len(kind)]
    return turns[:limit]


def held_out_losses(
    model: Any, examples: Sequence[Encoded], *, pad: int, batch_size: int, autocast: bool = False
) -> Mapping[str, float]:
    """Mean loss of a completion's token, in nats: over all examples, and over those of each quality.

    Args:
        model: The model; it is left in the mode it was in.
        examples: What to look at.
        pad: A token to pad with; it isn't looked at.
        batch_size: Examples that are computed together.
        autocast: Whether matrices are multiplied in bfloat16.

    Returns:
        "all" and each quality that there is; empty without examples.
    """
    import torch

    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    ordered = sorted(examples, key=len)
    computing = torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()
    with torch.no_grad(), computing:
        for start in range(0, len(ordered), batch_size):
            rows = ordered[start : start + batch_size]
            longest = max(map(len, rows))
            ids = torch.full((len(rows), longest), pad, dtype=torch.long)  # [B, T]
            seen = torch.zeros((len(rows), longest), dtype=torch.long)
            for at, row in enumerate(rows):
                ids[at, : len(row)] = torch.tensor(row.input_ids)
                seen[at, : len(row)] = 1
            first = min(len(row.prompt) for row in rows) - 1  # predicts the first token of a completion
            logits = model(
                input_ids=ids.to(device),
                attention_mask=seen.to(device),
                logits_to_keep=longest - first,
                use_cache=False,
            ).logits
            for at, row in enumerate(rows):
                begin, end = len(row.prompt) - 1 - first, len(row) - 1 - first
                loss = torch.nn.functional.cross_entropy(
                    logits[at, begin:end].float(), torch.tensor(row.completion, device=device), reduction="sum"
                )
                for kind in ("all", row.quality):
                    sums[kind] = sums.get(kind, 0.0) + float(loss)
                    counts[kind] = counts.get(kind, 0) + len(row.completion)
    model.train(was_training)
    return {kind: sums[kind] / counts[kind] for kind in sorted(sums)}
