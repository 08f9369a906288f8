"""`TokenModule`: a small RLlib module that reads token ids. This file imports ray and torch."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from agents.rllib.tokens import PADDING, SEPARATOR
from zs_env.errors import ConfigError

__all__ = ["TokenModule"]


class TokenModule(TorchRLModule, ValueFunctionAPI):
    """Embeds token ids, convolves them, pools the question and what came after it apart, and chooses a slot.

    It is for observations of `FixedLengthTokens` and discrete actions, and for algorithms that need logits and values,
    such as PPO. Observations that are a dict with an `"action_mask"` are masked. Its `model_config` may hold
    `embedding` (32), `channels` (32), `kernel` (3, odd) and `hidden` (128).

    Legend: B batch, T tokens, C channels.
    """

    def setup(self) -> None:
        """Make the layers."""
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            space = space["observations"]
        if not (
            isinstance(space, spaces.Box) and len(space.shape) == 1 and isinstance(self.action_space, spaces.Discrete)
        ):
            raise ConfigError(
                "TokenModule reads a Box of token ids and chooses among Discrete actions (wrapper 'tokens+menu'); got "
                f"{self.observation_space} and {self.action_space}."
            )
        sizes = {"embedding": 32, "channels": 32, "kernel": 3, "hidden": 128}
        given = self.model_config if isinstance(self.model_config, dict) else {}
        sizes |= {name: given[name] for name in sizes if name in given}
        self._embedding = nn.Embedding(int(space.high.max()) + 1, sizes["embedding"], padding_idx=PADDING)
        self._convolution = nn.Conv1d(
            sizes["embedding"], sizes["channels"], sizes["kernel"], padding=sizes["kernel"] // 2
        )
        # Beside the pooled channels, how much has been read.
        self._body = nn.Sequential(nn.Linear(2 * sizes["channels"] + 1, sizes["hidden"]), nn.ReLU())
        self._logits = nn.Linear(sizes["hidden"], int(self.action_space.n))
        self._value = nn.Linear(sizes["hidden"], 1)

    def _read(self, batch: dict[str, Any]) -> Tensor:
        """What the heads see, [B, hidden]."""
        observations = batch[Columns.OBS]
        ids = observations["observations"] if isinstance(observations, dict) else observations
        ids = ids.long()  # [B, T]
        seen = torch.relu(self._convolution(self._embedding(ids).transpose(1, 2)))  # [B, C, T]; not negative
        is_later = (ids == SEPARATOR).cumsum(1) > 0  # [B, T]
        is_there = ids != PADDING
        parts = [(seen * part.unsqueeze(1)).amax(2) for part in (~is_later & is_there, is_later & is_there)]
        length = is_there.float().mean(1, keepdim=True)
        embedded: Tensor = self._body(torch.cat([*parts, length], 1))
        return embedded

    def _choose(self, batch: dict[str, Any], embedded: Tensor) -> Tensor:
        logits: Tensor = self._logits(embedded)
        observations = batch[Columns.OBS]
        if isinstance(observations, dict):
            logits = logits.masked_fill(observations["action_mask"] < 0.5, torch.finfo(logits.dtype).min)
        return logits

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: self._choose(batch, self._read(batch))}

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        embedded = self._read(batch)
        return {Columns.ACTION_DIST_INPUTS: self._choose(batch, embedded), Columns.EMBEDDINGS: embedded}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """The value of each observation, [B]."""
        value: Tensor = self._value(self._read(batch) if embeddings is None else embeddings)
        return value.squeeze(-1)
