"""The parts of a training step, each beside what it takes the place of (`python -m benchmarks kernels`).

- attention, forward and backward: a packed group that shares its prompt, beside `scaled_dot_product_attention` over the
  same episodes side by side, each with its own copy of the prompt;
- attention of one new token a row: query heads as rows of their key head, beside torch's `enable_gqa`;
- log-probs and entropies, forward and backward: a block of the vocabulary at a time, beside whole logits.

Both sides of a pair take turns, and processor time is counted, so that other work on the machine matters little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zs_env.curriculum import check_whole

__all__ = ["SCHEMA", "add_parser", "measure", "run"]

SCHEMA = "zerosearch.kernels/1"

_HEADS, _KEY_HEADS, _WIDTH, _HIDDEN, _VOCABULARY = 9, 3, 64, 576, 49_152
"""SmolLM2-135M's."""


def measure(*, repeats: int = 7, threads: int = 1, seed: int = 0) -> list[dict[str, Any]]:
    """Time each pair in float32 and bfloat16.

    Args:
        repeats: Times of each side, after one that isn't counted.
        threads: That torch computes with.
        seed: Of the numbers that are computed with.

    Returns:
        For each pair and type: `part`, `dtype`, `ours_ms` and `other_ms` (medians of processor time), and `ratio`, the
        other's over ours.
    """
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for part, (ours, other) in (
            ("attention of a group, 200 + 8 × 340 tokens", _attention(dtype)),
            ("attention of one token, 32 rows of 450", _decoding(dtype)),
            ("log-probs of 1,024 tokens", _head(dtype)),
        ):
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(repeats + 1):
                for kept, function in zip(times, (ours, other), strict=True):
                    began = time.process_time()
                    function()
                    kept.append((time.process_time() - began) * 1000)
            medians = [statistics.median(kept[1:]) for kept in times]
            rows.append(
                {
                    "part": part,
                    "dtype": str(dtype).removeprefix("torch."),
                    "ours_ms": medians[0],
                    "other_ms": medians[1],
                    "ratio": medians[1] / medians[0],
                }
            )
    return rows


def _attention(dtype: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    from agents.packed import PackedLayout
    from agents.packed.blockwise import blockwise_attention

    layout = PackedLayout.of([(200, [340] * 8)])

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, dtype=dtype, requires_grad=True)

    query, key, value = (draw(heads, layout.num_tokens, _WIDTH) for heads in (_HEADS, _KEY_HEADS, _KEY_HEADS))
    pull = torch.randn(_HEADS, layout.num_tokens, _WIDTH, dtype=dtype)
    side = [draw(8, heads, 540, _WIDTH) for heads in (_HEADS, _KEY_HEADS, _KEY_HEADS)]
    side_pull = torch.randn(8, _HEADS, 540, _WIDTH, dtype=dtype)

    def ours() -> None:
        found: Any = blockwise_attention(query, key, value, layout, scale=_WIDTH**-0.5)
        found.backward(pull)

    def other() -> None:
        # As transformers does it: keys repeated for the heads that share them.
        keys, values = (states.repeat_interleave(_HEADS // _KEY_HEADS, 1) for states in side[1:])
        found: Any = scaled_dot_product_attention(side[0], keys, values, is_causal=True)
        found.backward(side_pull)

    return ours, other


def _decoding(dtype: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    query = torch.randn(32, _HEADS, 1, _WIDTH, dtype=dtype)
    key, value = (torch.randn(32, _KEY_HEADS, 450, _WIDTH, dtype=dtype) for _ in range(2))
    rows = query.reshape(32, _KEY_HEADS, -1, _WIDTH)
    return (
        lambda: scaled_dot_product_attention(rows, key, value),
        lambda: scaled_dot_product_attention(query, key, value, enable_gqa=True),
    )


def _head(dtype: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import torch

    from agents.head import head_logprobs
    from agents.losses import entropy_from_logits, selective_log_softmax

    hidden = torch.randn(1024, _HIDDEN, dtype=dtype, requires_grad=True)
    weight = (torch.randn(_VOCABULARY, _HIDDEN) * 0.05).to(dtype).requires_grad_()
    targets = torch.randint(0, _VOCABULARY, (1024,))

    def other() -> None:
        logits = (hidden @ weight.T).float()
        with torch.no_grad():
            entropy_from_logits(logits)
        selective_log_softmax(logits, targets).sum().backward()  # type: ignore[no-untyped-call]

    return lambda: head_logprobs(hidden, weight, targets).logprobs.sum().backward(), other  # type: ignore[no-untyped-call]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `kernels` to the command line."""
    parser = commands.add_parser("kernels", help="attention and log-probs beside what they take the place of")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print a table, and write the record."""
    from agents.runs import describe_machine

    for name in ("repeats", "threads"):
        check_whole(f"--{name}", getattr(options, name), least=1)
    rows = measure(repeats=options.repeats, threads=options.threads, seed=options.seed)
    if options.json is not None:
        settings = {"repeats": options.repeats, "threads": options.threads}
        record = {"schema": SCHEMA, "seed": options.seed, "settings": settings, "rows": rows}
        options.json.write_text(json.dumps(record | {"machine": describe_machine()}, indent=2) + "\n", encoding="utf-8")
    print("| part | type | ours, processor time | the other's | times ours |")
    print("|---|---|---|---|---|")
    for row in rows:
        times = f"{row['ours_ms']:.1f} ms | {row['other_ms']:.1f} ms | {row['ratio']:.2f}"
        print(f"| {row['part']} | {row['dtype']} | {times} |")
