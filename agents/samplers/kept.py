"""What a sampler keeps of conversations: keys and values of all tokens read so far, so that no turn is read twice.

Shapes: M layers, B rows of a batch, K key heads, C tokens that a row has room for, D width of a head, W the most new
tokens of a row, L tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from agents.packed.attention import NAME
from agents.samplers.base import ConversationKey, GenerationRequest
from agents.samplers.recorded import RecordedStep, Recorder

__all__ = ["KeptBatch", "KeptStates", "StateShape", "state_shape"]


@dataclass(frozen=True, slots=True)
class StateShape:
    """What a model keeps of a token.

    Attributes:
        layers: M.
        heads: K.
        width: D.
        dtype: Of keys and values.
        device: Where they lie.
    """

    layers: int
    heads: int
    width: int
    dtype: torch.dtype
    device: torch.device


@torch.no_grad()
def state_shape(model: Any, cache_name: str) -> StateShape | None:
    """The shape of a model's states; None if rows of different lengths can't be continued side by side for it.

    They can if every layer attends to everything before it, through our attention function, with keys of one shape.
    """
    if getattr(model.config, "_attn_implementation", None) != NAME:
        return None
    cache = DynamicCache(config=model.config)
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=True, **{cache_name: cache})
    layers: list[Any] = cache.layers
    first: Tensor = layers[0].keys  # [1, K, 1, D]
    if any(states.shape != first.shape for layer in layers for states in (layer.keys, layer.values)):
        return None
    return StateShape(len(layers), first.shape[1], first.shape[3], first.dtype, first.device)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One conversation's states.

    Attributes:
        ids: The tokens that they are of.
        states: [M, 2, K, len(ids), D]: keys, then values.
    """

    ids: tuple[int, ...]
    states: Tensor


class KeptStates:
    """The states of conversations between their turns.

    Args:
        max_tokens: The most tokens that are kept in all; conversations beyond that are read anew at each turn.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._kept: dict[ConversationKey, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def num_tokens(self) -> int:
        """Tokens that are kept."""
        return sum(len(one.ids) for one in list(self._kept.values()))

    def take(self, request: GenerationRequest) -> _Kept | None:
        """What is kept of a request's beginning, which is then no longer kept here.

        At least one token is left to be read, for its logits.
        """
        kept = None if request.conversation is None else self._kept.pop(request.conversation, None)
        if kept is None:
            return None
        size = len(kept.ids)
        fits = size < len(request.prompt_ids) and kept.ids == tuple(request.prompt_ids[:size])
        return kept if fits else None

    def keep(self, conversation: ConversationKey, ids: Sequence[int], states: Tensor) -> None:
        """Keep a conversation's states, [M, 2, K, len(ids), D], if there is room."""
        if self.num_tokens + len(ids) <= self.max_tokens:
            self._kept[conversation] = _Kept(tuple(ids), states.clone())

    def forget(self, conversations: Collection[ConversationKey]) -> None:
        """Let go of these."""
        for conversation in conversations:
            self._kept.pop(conversation, None)

    def clear(self) -> None:
        """Let go of all: they are of other weights."""
        self._kept.clear()


class KeptBatch:
    """Rows that are being decoded, each with its own length: the next token of a row lies right behind its last.

    Args:
        model: The model.
        cache_name: What its forward calls the cache.
        shape: Of its states.
        kept: Where states come from, and go back to.
        requests: What is continued.
        most: The most tokens that are appended.
        recorder: Given, a token a row is computed by a `RecordedStep`: over all the room that rows have, since what is
            recorded can't grow.
    """

    def __init__(
        self,
        model: Any,
        cache_name: str,
        shape: StateShape,
        kept: KeptStates,
        requests: Sequence[GenerationRequest],
        most: int,
        *,
        recorder: Recorder | None = None,
    ) -> None:
        self._model, self._cache_name, self._shape, self._kept = model, cache_name, shape, kept
        self._recorder = recorder
        self._step: RecordedStep | None = None
        self._requests = list(requests)
        found = [kept.take(request) for request in requests]
        # Equal prompts, as those of a group's first turn, are read once.
        places: dict[tuple[int, ...], int] = {}
        unique: list[int] = []
        source: list[int] = []
        for row, (request, one) in enumerate(zip(requests, found, strict=True)):
            key = tuple(request.prompt_ids) if one is None else (-1, row)
            if key not in places:
                places[key] = len(unique)
                unique.append(row)
            source.append(places[key])
        lengths = [len(request.prompt_ids) for request in requests]
        capacity = max(lengths) + most
        self._logits: Tensor
        self._states = self._room(len(unique), capacity)
        before = torch.zeros(len(unique), dtype=torch.long)
        for place, row in enumerate(unique):
            one = found[row]
            if one is not None:
                before[place] = len(one.ids)
                self._states[:, :, place, :, : len(one.ids)] = one.states
        found.clear()
        new = [list(requests[row].prompt_ids[int(start) :]) for row, start in zip(unique, before, strict=True)]
        self._lengths = before
        self._forward(new)
        if len(unique) < len(requests):
            order = torch.tensor(source)
            there = order.to(shape.device)
            self._states, self._logits = self._states[:, :, there], self._logits[there]
            self._lengths = self._lengths[order]

    def logits(self) -> Tensor:
        """[B, V]: the logits of each row's next token."""
        return self._logits

    def append(self, tokens: Tensor) -> None:
        """Give each row its next token, [B]."""
        if self._recorder is None:
            self._forward(tokens[:, None].tolist())
            return
        if self._step is None:
            # Not a method of this object, which would then hold itself, and with it all states, until it is collected.
            compute = partial(_one_token, self._model, self._cache_name, self._states)
            self._step = RecordedStep(compute, len(tokens), self._recorder)
        self._logits = self._step(tokens[:, None], self._lengths[:, None])
        self._lengths = self._lengths + 1

    def keep(self, rows: Tensor) -> None:
        """Let the other rows go."""
        self._step = None
        self._states = self._states[:, :, rows.to(self._shape.device)]
        self._lengths = self._lengths[rows]
        self._requests = [self._requests[row] for row in rows.tolist()]

    def end(self, row: int, sampled: Sequence[int]) -> None:
        """Keep what was read of a row that has ended, for its conversation's next turn.

        Args:
            row: Which.
            sampled: Its new tokens, the last of which has not been read.
        """
        request = self._requests[row]
        if request.conversation is not None:
            ids = [*request.prompt_ids, *sampled[:-1]]
            self._kept.keep(request.conversation, ids, self._states[:, :, row, :, : len(ids)])

    def _room(self, rows: int, capacity: int) -> Tensor:
        """[M, 2, rows, K, capacity + 1, D]: the last place takes what padding writes, and is never seen."""
        shape = self._shape
        size = (shape.layers, 2, rows, shape.heads, capacity + 1, shape.width)
        return torch.zeros(size, dtype=shape.dtype, device=shape.device)

    def _forward(self, new: Sequence[Sequence[int]]) -> None:
        """Read the new tokens of each row, at least one of each."""
        rows, device = len(new), self._shape.device
        counts = torch.tensor([len(tokens) for tokens in new])
        width = int(counts.max())  # W
        ids = torch.zeros(rows, width, dtype=torch.long)
        for row, tokens in enumerate(new):  # on the right, so that the last column has each row's last token
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
        # [B, W]: where each token lies in its row; negative for padding.
        places = torch.arange(width) - (width - counts)[:, None]
        is_padding = places < 0
        places = (places + self._lengths[:, None]).masked_fill(is_padding, 0)
        self._lengths = self._lengths + counts
        longest = int(self._lengths.max())  # L
        mask = None
        if width > 1 or int(self._lengths.min()) < longest:
            mask = (torch.arange(longest) <= places[:, :, None])[:, None].to(device)  # [B, 1, W, L]
        writes = places.masked_fill(is_padding, self._states.shape[4] - 1).to(device)
        self._logits = _logits_of(
            self._model, self._cache_name, self._states, ids.to(device), places.to(device), writes, mask, longest
        )


def _one_token(model: Any, cache_name: str, states: Tensor, ids: Tensor, places: Tensor) -> Tensor:
    """[B, V] of ids and places [B, 1], over all the room that rows have in states [M, 2, B, K, C + 1, D]."""
    room = states.shape[4] - 1
    seen = torch.arange(room, device=places.device) <= places[:, :, None]  # [B, 1, C]
    return _logits_of(model, cache_name, states, ids, places, places, seen[:, None], room)


def _logits_of(
    model: Any,
    cache_name: str,
    states: Tensor,
    ids: Tensor,
    places: Tensor,
    writes: Tensor,
    mask: Tensor | None,
    length: int,
) -> Tensor:
    """[B, V]: the logits after the last of ids [B, W], whose states are written and which see the first `length`."""
    cache = DynamicCache(config=model.config)
    owners = torch.arange(len(ids), device=ids.device)[:, None]  # [B, 1]
    cache.layers = [_KeptLayer(layer, owners, writes, length) for layer in states]
    logits: Tensor = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=places,
        use_cache=True,
        logits_to_keep=1,
        **{cache_name: cache},
    ).logits[:, -1]
    return logits


class _KeptLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A layer's states, written row by row at each row's own place.

    Args:
        states: [2, B, K, C + 1, D], which is written.
        rows: [B, 1]: the number of each row.
        writes: [B, W]: the places.
        length: L, how much is seen.
    """

    def __init__(self, states: Tensor, rows: Tensor, writes: Tensor, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self._states, self._rows, self._writes = states, rows, writes
        self._seen = states[0, :, :, :length], states[1, :, :, :length]
        self.keys, self.values = self._seen

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values ([B, K, W, D]) and give all of them."""
        self._states[0][self._rows, :, self._writes] = key_states.transpose(1, 2)
        self._states[1][self._rows, :, self._writes] = value_states.transpose(1, 2)
        return self._seen
