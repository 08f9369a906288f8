"""Finding out, by trying, whether a model can be computed on packed rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from agents.packed.attention import LAYOUT, NAME, register
from agents.packed.layout import PackedLayout

__all__ = ["packed_hidden_states", "try_packing"]

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.35, torch.float16: 0.1}
"""How far hidden states may differ, root mean square over root mean square: by rounding, and nothing else.

Thirty layers in bfloat16 differ by 0.11 from one kernel to another; attention that ignores the layout, by 1.
"""


def packed_hidden_states(trunk: Any, ids: Tensor, layout: PackedLayout) -> Tensor:
    """The last hidden states [T, width] of a packed row.

    Args:
        trunk: A model without its head, of which `try_packing` said that it can.
        ids: [T].
        layout: Which tokens see which.
    """
    # A mask of four dimensions is passed on as it is; the attention function goes by the layout instead.
    unused = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
    hidden: Tensor = trunk(
        input_ids=ids[None],
        position_ids=layout.positions().to(ids.device)[None],
        attention_mask=unused,
        use_cache=False,
        **{LAYOUT: layout},
    ).last_hidden_state[0]
    return hidden


def try_packing(model: Any) -> str | None:
    """Give a model the attention function of this package, if that changes nothing.

    Episodes that share a prompt are computed packed and one by one; where that differs (convolutions, recurrent states,
    attention of a model's own) the model is left as it was.

    Args:
        model: A causal language model of transformers, in evaluation mode.

    Returns:
        None if it has the function now; else why not, in words.
    """
    trunk = getattr(model, "base_model", None)
    if trunk is None or trunk is model:
        return "it has no trunk apart from its head"
    try:
        kinds = {type(layer) for layer in DynamicCache(config=model.config).layers}
    except Exception as error:  # configs of models with code of their own
        return f"transformers knows no cache for it ({type(error).__name__})"
    if not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return "not all of its layers are attention"
    before = model.config._attn_implementation
    if before not in ("sdpa", "flash_attention_2", NAME):
        return f"its attention is {before!r}"
    register()
    model.config._attn_implementation = NAME
    reason = _compare(model, trunk)
    if reason is not None:
        model.config._attn_implementation = before
    return reason


@torch.no_grad()
def _compare(model: Any, trunk: Any) -> str | None:
    weight = model.get_input_embeddings().weight
    vocabulary = len(weight)
    prompt, tails = [1, 5, 2, 7], ([3, 1, 6], [4, 8, 2, 9, 5], [2])
    layout = PackedLayout.of([(len(prompt), [len(tail) for tail in tails]), (0, [6])])
    alone = [5, 9, 1, 3, 3, 2]
    row = [token % vocabulary for token in (*prompt, *(token for tail in tails for token in tail), *alone)]
    try:
        packed = packed_hidden_states(trunk, torch.tensor(row, device=weight.device), layout)
        wanted = []
        for tokens in (*([*prompt, *tail] for tail in tails), alone):
            ids = torch.tensor([[token % vocabulary for token in tokens]], device=weight.device)
            hidden = trunk(input_ids=ids, use_cache=False).last_hidden_state[0]
            wanted.append(hidden if tokens is alone else hidden[len(prompt) :])
    except Exception as error:
        return f"its attention takes no layout ({type(error).__name__}: {error})"
    expected = torch.cat(wanted).float()
    found = packed[len(prompt) :].float()
    off = float((found - expected).norm() / expected.norm().clamp(min=1e-12))
    if not off <= _TOLERANCE.get(weight.dtype, 1e-3):
        return f"packed, its hidden states differ by {off:.2g} of their size"
    return None
