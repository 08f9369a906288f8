"""The default sampler: a decode loop of our own over any Hugging Face causal language model.

Why not `model.generate`: each row must draw from its own stream whatever its batch mates are, the log-prob of each
token must be that of the distribution it was drawn from, stop strings must be found in text rather than tokens, and
rows that have ended must leave the batch.

Shapes: B rows of the batch (shrinking as rows end), R requests, P the longest prompt, K the most new tokens, V
vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from agents.codec import TextCodec
from agents.errors import ModelError
from agents.samplers.base import ConversationKey, FinishReason, Generation, GenerationRequest, SamplingSettings
from agents.samplers.drawing import draw, log_normalizer, truncate, uniforms
from agents.samplers.kept import KeptBatch, KeptStates, state_shape
from agents.samplers.recorded import Recorder, records_on
from agents.samplers.stopping import StopMatcher
from zs_env.errors import ConfigError

__all__ = ["TransformersSampler"]

_WORTH_RECORDING = 6
"""The fewest new tokens of a batch whose steps are recorded: of fewer, there is little to play back."""

_COMPACT_RECORDED = 0.25
"""Another number of rows has to be recorded anew, so rows leave once no more than this share of them is alive."""


class TransformersSampler:
    """Samples from a model that lives in this process.

    Where every layer of the model attends to everything before it, the key-value cache of a conversation is kept from
    turn to turn, and equal prompts are read once. Else it is kept within a turn, and prompts are padded on the left,
    which changes nothing but rounding.

    Args:
        model: A causal language model; it is read, never changed, so it may be the learner's own.
        codec: Its tokenizer's codec.
        settings: How tokens are drawn.
        eos_ids: The ids that end a turn.
        max_batch_tokens: The most that rows × (longest prompt + new tokens) of one batch may be; more requests than fit
            are taken in turns, alike in length.
        num_workers: Python threads among which the batches are shared out. For small models on a CPU: two threads that
            compute for themselves beat one whose every small operation waits for two. What comes out is the same.
        compact_below: Rows that have ended leave the batch once the share of live ones is at most this.
        keep_cache: Whether the cache is kept from turn to turn where it can be.
        max_cached_tokens: The most tokens whose keys and values are kept between turns; conversations beyond that are
            read anew at each turn.
        record_steps: Whether decoding steps are recorded and played back, where the cache is kept from turn to turn;
            left out: on a GPU, with one worker. Rows that have ended then stay in the batch longer, for a batch of
            another size is recorded anew.
    """

    def __init__(
        self,
        model: Any,
        codec: TextCodec,
        settings: SamplingSettings | None = None,
        *,
        eos_ids: Collection[int] = (),
        max_batch_tokens: int = 65_536,
        num_workers: int = 1,
        compact_below: float = 0.8,
        keep_cache: bool = True,
        max_cached_tokens: int = 262_144,
        record_steps: bool | None = None,
    ) -> None:
        self.model = model
        self.codec = codec
        self.settings = settings or SamplingSettings()
        self.kept = KeptStates(max_cached_tokens)
        self._weight_version = 0
        self._max_batch_tokens = max_batch_tokens
        self._num_workers = num_workers
        self._compact_below = compact_below
        self._vocabulary_size = model.get_output_embeddings().weight.shape[0]
        self._is_eos = torch.zeros(self._vocabulary_size, dtype=torch.bool)
        self._is_eos[[eos for eos in eos_ids if eos < self._vocabulary_size]] = True
        self._matcher = StopMatcher(codec.tokenizer, codec.decode, self.settings.stop_strings, self._vocabulary_size)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_logits_to_keep = "logits_to_keep" in accepted
        # transformers 5.24 renamed it.
        self._cache_name = next((name for name in ("cache", "past_key_values") if name in accepted), "")
        if not self._cache_name:
            raise ModelError(f"{type(model).__name__} takes no key-value cache, so it can't be sampled.")
        can_keep = keep_cache and self._takes_positions and self._takes_logits_to_keep
        self._state_shape = state_shape(model, self._cache_name) if can_keep else None
        self._recorder: Recorder | None = None
        if self._state_shape is not None:
            where = self._state_shape.device
            if (records_on(where) and num_workers == 1) if record_steps is None else record_steps:
                self._recorder = Recorder(where)
        # Rows of one length need no padding, which not every recurrent model leaves out of its states.
        self._pads = self._state_shape is not None or self._padding_changes_nothing()

    @property
    def weight_version(self) -> int:
        """See `Sampler.weight_version`; when it is set, what was kept of older weights is let go."""
        return self._weight_version

    @weight_version.setter
    def weight_version(self, version: int) -> None:
        self.kept.clear()
        self._weight_version = version

    def forget(self, conversations: Collection[ConversationKey]) -> None:
        """See `RememberingSampler.forget`."""
        self.kept.forget(conversations)

    def with_settings(self, settings: SamplingSettings) -> TransformersSampler:
        """A sampler of the same model that draws in another way."""
        if settings.stop_strings != self.settings.stop_strings:
            raise ConfigError("with_settings keeps the stop strings; make a new sampler to change them.")
        other = object.__new__(TransformersSampler)
        other.__dict__.update(self.__dict__, settings=settings, kept=KeptStates(self.kept.max_tokens))
        return other

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Continue every prompt; see `Sampler.generate`.

        Raises:
            NonFiniteError: The model gave NaN or infinite logits.
        """
        chunks = self._chunks(requests)
        batches = [[requests[index] for index in chunk] for chunk in chunks]
        if self._num_workers > 1 and len(batches) > 1:
            with ThreadPoolExecutor(self._num_workers, thread_name_prefix="sampler-worker") as workers:
                parts = list(workers.map(self._generate, batches))
        else:
            parts = [self._generate(batch) for batch in batches]
        generations: dict[int, Generation] = {}
        for chunk, part in zip(chunks, parts, strict=True):
            generations.update(zip(chunk, part, strict=True))
        return [generations[index] for index in range(len(requests))]

    def _chunks(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        """Indices of the requests, alike in length, in batches that fit the token budget."""
        chunks: list[list[int]] = []
        widest = 0
        for index in sorted(range(len(requests)), key=lambda index: -len(requests[index].prompt_ids)):
            width = len(requests[index].prompt_ids) + requests[index].max_new_tokens
            alike = (
                self._pads or not chunks or len(requests[chunks[-1][0]].prompt_ids) == len(requests[index].prompt_ids)
            )
            if chunks and alike and (len(chunks[-1]) + 1) * max(widest, width) <= self._max_batch_tokens:
                chunks[-1].append(index)
                widest = max(widest, width)
            else:
                chunks.append([index])
                widest = width
        return chunks

    @torch.inference_mode()
    def _padding_changes_nothing(self) -> bool:
        """Whether rows padded on the left get the logits that they get alone, at the prompt's end and a token later."""
        requests = [
            GenerationRequest(prompt_ids=[token % self._vocabulary_size for token in ids], seed=0, max_new_tokens=2)
            for ids in ((1, 5, 2, 7, 3, 1), (4, 2))
        ]
        next_tokens = torch.tensor([3, 1]) % self._vocabulary_size

        def logits_of(rows: list[int]) -> list[Tensor]:
            batch = _Batch(self, [requests[row] for row in rows], 2)
            first = batch.logits().float()
            batch.append(next_tokens[rows])
            return [first, batch.logits().float()]

        together, alone = logits_of([0, 1]), [logits_of([row]) for row in (0, 1)]
        for step in (0, 1):
            wanted = torch.cat([alone[row][step] for row in (0, 1)])
            if not float((together[step] - wanted).norm()) <= 0.1 * float(wanted.norm()):
                return False
        return True

    @torch.inference_mode()
    def _generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        num_requests = len(requests)
        limits = torch.tensor([request.max_new_tokens for request in requests])  # [R]
        most = int(limits.max())
        drawn = uniforms(np.array([request.seed for request in requests], dtype=np.uint64), most)  # [R, K]
        tokens = torch.zeros((num_requests, most), dtype=torch.long)  # [R, K]
        logprobs = torch.zeros((num_requests, most))  # [R, K]
        counts = limits.clone()  # [R]
        reasons: list[FinishReason] = ["length"] * num_requests

        compact_below = self._compact_below
        batch: _Batch | KeptBatch
        if self._state_shape is None:
            batch = _Batch(self, requests, most)
        else:
            recorder = self._recorder if most >= _WORTH_RECORDING else None
            batch = KeptBatch(
                self.model, self._cache_name, self._state_shape, self.kept, requests, most, recorder=recorder
            )
            if recorder is not None:
                compact_below = min(compact_below, _COMPACT_RECORDED)
        rows, live = torch.arange(num_requests), torch.ones(num_requests, dtype=torch.bool)  # [B], [B]
        for step in range(most):
            chosen, chosen_logprobs = self._choose(batch.logits(), drawn[rows, step])  # [B], [B]
            tokens[rows, step], logprobs[rows, step] = chosen, chosen_logprobs
            ended = live & (self._is_eos[chosen] | (limits[rows] == step + 1))
            for row in (live & self._is_eos[chosen]).nonzero()[:, 0].tolist():
                reasons[rows[row]] = "eos"
            for row in (live & self._matcher.may_complete(chosen)).nonzero()[:, 0].tolist():
                if self._matcher.completes(tokens[rows[row], : step + 1].tolist()):
                    reasons[rows[row]] = "stop"
                    ended[row] = True
            counts[rows[ended]] = step + 1
            if isinstance(batch, KeptBatch):
                for row in ended.nonzero()[:, 0].tolist():
                    batch.end(row, tokens[rows[row], : step + 1].tolist())
            live &= ~ended
            num_live = int(live.sum())
            if not num_live:
                break
            if num_live <= compact_below * len(live):
                kept = live.nonzero()[:, 0]
                batch.keep(kept)
                rows, chosen, live = rows[kept], chosen[kept], live[kept]
            batch.append(chosen)
        return [
            self._generation(tokens[row, :count].tolist(), logprobs[row, :count].tolist(), reason)
            for row, (count, reason) in enumerate(zip(counts.tolist(), reasons, strict=True))
        ]

    def _choose(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One token a row from logits [B, V], and the log-prob it was drawn with."""
        settings = self.settings
        logits = logits.float()
        if settings.greedy:
            normalizer = log_normalizer(logits)
            chosen = logits.argmax(-1)
        else:
            logits = logits / settings.temperature
            normalizer = log_normalizer(logits)
            if settings.top_k or settings.top_p < 1:
                logits = truncate(logits, top_k=settings.top_k, top_p=settings.top_p)
                normalizer = logits.logsumexp(-1)
            chosen = draw(logits, normalizer, uniform.to(logits.device))
        logprobs = logits.gather(-1, chosen[:, None])[:, 0] - normalizer
        return chosen.cpu(), logprobs.cpu()

    def _generation(self, ids: list[int], logprobs: list[float], reason: FinishReason) -> Generation:
        return Generation(
            ids=tuple(ids),
            logprobs=tuple(logprobs),
            finish_reason=reason,
            weight_version=self.weight_version,
            text=self.codec.decode(ids[:-1] if reason == "eos" else ids),
        )


class _Batch:
    """The rows that are being decoded: their cache, and the logits of their next token."""

    def __init__(self, sampler: TransformersSampler, requests: Sequence[GenerationRequest], most: int) -> None:
        self._sampler = sampler
        model = sampler.model
        lengths = torch.tensor([len(request.prompt_ids) for request in requests])
        width = int(lengths.max())  # P
        ids = torch.zeros((len(requests), width), dtype=torch.long)  # [B, P], padded on the left
        for row, request in enumerate(requests):
            ids[row, width - len(request.prompt_ids) :] = torch.as_tensor(request.prompt_ids)
        mask = torch.arange(width + most)[None, :] >= (width - lengths)[:, None]  # [B, P + K]
        self._device = model.get_input_embeddings().weight.device
        self._mask = mask.to(self._device, torch.long) if bool((lengths < width).any()) else None
        self._cache = _make_cache(model.config, width + most)
        self._length = 0
        # Of padding, the position is clamped; it is masked away.
        positions = (torch.arange(width)[None, :] - (width - lengths)[:, None]).clamp(min=0)
        self._forward(ids, positions)
        self._next_positions = lengths[:, None]  # [B, 1]

    def logits(self) -> Tensor:
        """[B, V]: the logits of each row's next token."""
        return self._logits

    def append(self, tokens: Tensor) -> None:
        """Give each row its next token, [B]."""
        self._forward(tokens[:, None], self._next_positions)
        self._next_positions = self._next_positions + 1

    def keep(self, rows: Tensor) -> None:
        """Let the other rows go."""
        rows_there = rows.to(self._device)
        self._cache.reorder_cache(rows_there)
        if self._mask is not None:
            self._mask = self._mask[rows_there]
        self._next_positions = self._next_positions[rows]

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        sampler = self._sampler
        self._length += ids.shape[1]
        options: dict[str, Any] = {sampler._cache_name: self._cache, "use_cache": True}
        if self._mask is not None:
            options["attention_mask"] = self._mask[:, : self._length]
        if sampler._takes_positions:
            options["position_ids"] = positions.to(self._device)
        if sampler._takes_logits_to_keep:
            options["logits_to_keep"] = 1
        self._logits: Tensor = sampler.model(input_ids=ids.to(self._device), **options).logits[:, -1]


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer that is allocated once, where transformers' own copies itself for every token.

    Args:
        capacity: Tokens to make room for.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._capacity = capacity
        self._length = 0
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values ([rows, heads, tokens, width of a head]) and give all of them."""
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._buffers = tuple(  # type: ignore[assignment]
                states.new_empty((*states.shape[:2], self._capacity, states.shape[3]))
                for states in (key_states, value_states)
            )
        assert self._buffers is not None
        keys, values = self._buffers
        end = self._length + key_states.shape[2]
        keys[:, :, self._length : end] = key_states
        values[:, :, self._length : end] = value_states
        self._length = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows."""
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = (keys.index_select(0, beam_idx), values.index_select(0, beam_idx))
            self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)


def _make_cache(config: Any, capacity: int) -> Any:
    """A cache for the model, with room for `capacity` tokens where a layer attends to everything."""
    cache = DynamicCache(config=config)
    cache.layers = [_RoomyLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
