"""One rank of a group of learners, each of which has a part of all weights and a share of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from agents.accumulation import Example, TokenLoss
from agents.batches import Batch
from agents.config import TrainConfig
from agents.critic import CriticLearner, ValueLossFunction
from agents.learner import Learner, TokenLossFunction
from agents.optimization import OptimizerSettings, TrainedParameters
from agents.policy import Policy
from agents.sharded.modules import ShardedCritic, ShardedPolicy, ShardedReference, release
from agents.sharded.passes import SharedAccumulator
from agents.sharded.shares import Share
from agents.sharded.state import Trained, load_state, save_state
from zs_env.errors import ConfigError

__all__ = ["ShardedLearner", "check_shardable"]


def check_shardable(config: TrainConfig) -> None:
    """Refuse settings that sharded learners can't follow, before anything is started.

    `[run] workers` says nothing here: the learners are what works side by side.

    Raises:
        ConfigError: An optimizer is other than AdamW, or keeps no masters.
    """
    sections: dict[str, OptimizerSettings] = {"optimizer": config.optimizer}
    if config.run.algorithm == "ppo":
        sections["critic"] = config.critic
    for section, settings in sections.items():
        if settings.kind != "adamw":
            raise ConfigError(
                f"[{section}] kind={settings.kind!r} looks at whole matrices, and a sharded learner has parts of them: "
                'take kind = "adamw", or train in one process.'
            )
        if settings.masters != "float32":
            raise ConfigError(
                f"[{section}] masters={settings.masters!r}: a sharded learner's part of a weight is its float32 "
                'master, the smaller the more learners there are. Take masters = "float32", or train in one process.'
            )


class ShardedLearner:
    """One rank of a group of learners: policy, and reference and critic where the settings want them, sharded by FSDP2.

    All ranks call each method together, with their shares of the same batch (see `shares.split`). What they return or
    raise is the same on each, but for what belongs to a share's own examples. If a rank fails alone (out of memory,
    say) the others wait for it until the group's time is up: then make a new group, and load.

    Args:
        policy: A whole one on the CPU, the same on all ranks. It stays as it is: its tensors are read and never
            written, so they may be memory that ranks share.
        config: All settings.
        mesh: The learners; see `group.join`.

    Raises:
        ConfigError: See `check_shardable`.
        ModelError: The model can't be sharded, or has no trunk for a critic.
    """

    def __init__(self, policy: Policy, config: TrainConfig, *, mesh: DeviceMesh) -> None:
        check_shardable(config)
        self._temperature = config.sampling.temperature
        options: dict[str, Any] = {
            "batching": policy.batching(config.learner.micro_batch_tokens, config.learner.packing),
            "recompute": config.learner.gradient_checkpointing,
        }
        self.dtype = next(iter({one.dtype for one in policy.model.parameters() if one.requires_grad}))
        self.policy = ShardedPolicy(policy, mesh)
        self._learner = Learner(
            self.policy,
            config.optimizer,
            temperature=self._temperature,
            entropy_gradient=config.training.entropy_coef > 0,
            **options,
        )
        self._reference = ShardedReference(policy, self.policy, mesh) if config.training.kl_coef else None
        passes: dict[str, Any] = {"batching": options["batching"], "mesh": mesh}
        self._passes = SharedAccumulator(self._learner.parameters, **passes)
        self._trained = {"policy": Trained(self.policy.model, self._learner.parameters)}
        self._critic: CriticLearner | None = None
        if config.run.algorithm == "ppo":
            self._critic = CriticLearner(ShardedCritic(policy, mesh), config.critic, **options)
            self._critic_passes = SharedAccumulator(self._critic.parameters, **passes)
            self._trained["critic"] = Trained(self._critic.critic, self._critic.parameters)

    def with_reference(self, share: Share) -> list[Tensor]:
        """[n] for each of the share's examples: the reference model's log-probs of the policy's tokens."""
        assert self._reference is not None, "the learner was made without a reference"
        return self._logprobs(share, self._reference)

    def with_old_logprobs(self, share: Share) -> list[Tensor]:
        """[n] for each of the share's examples: the policy's own log-probs, by the weights as they are now."""
        return self._logprobs(share, self.policy)

    def with_values(self, share: Share) -> list[Tensor]:
        """[n] for each of the share's examples: the critic's values."""
        assert self._critic is not None, "the learner was made without a critic"
        found = self._critic_passes.infer_share(share, self._critic.critic.token_values)
        release(self._critic.critic)
        return found

    def update(self, share: Share, loss_function: TokenLossFunction, *, learning_rate: float) -> dict[str, float]:
        """One optimizer step on the whole batch; see `Learner.update`.

        Raises:
            NonFiniteError: The batch's loss or its gradient isn't finite; the weights are as before.
        """
        learner = self._learner
        return _update(
            learner.parameters,
            self._passes,
            share,
            lambda part, batch: loss_function(learner.loss_tokens(part, batch)),
            lambda batch: learner.compute(batch).logprobs,
            learning_rate,
        )

    def update_critic(
        self, share: Share, loss_function: ValueLossFunction, *, learning_rate: float
    ) -> dict[str, float]:
        """One optimizer step of the critic on the whole batch; see `CriticLearner.update`.

        Raises:
            NonFiniteError: See `update`.
        """
        critic = self._critic
        assert critic is not None, "the learner was made without a critic"
        return _update(
            critic.parameters,
            self._critic_passes,
            share,
            lambda part, batch: loss_function(critic.value_tokens(part, batch)),
            critic.compute,
            learning_rate,
        )

    @torch.no_grad()
    def weights(self, *, max_bytes: int) -> Iterator[dict[str, Tensor]]:
        """The policy's weights that are trained, whole, on the CPU, in the type that it computes in; bucket by bucket.

        All ranks go through it together. Only one weight at a time is whole on the device.

        Args:
            max_bytes: The most that a bucket's tensors take; a weight that alone takes more is alone in its bucket.

        Yields:
            On rank 0, name (as in `model.named_parameters()`) to a tensor of its own memory; on the others nothing, as
            often.
        """
        bucket: dict[str, Tensor] = {}
        num_bytes = 0
        is_first = torch.distributed.get_rank() == 0
        for name, shard in self._trained["policy"].named():
            size = shard.numel() * self.dtype.itemsize
            if num_bytes and num_bytes + size > max_bytes:
                yield bucket
                bucket, num_bytes = {}, 0
            num_bytes += size
            whole = shard.detach().to(self.dtype).full_tensor()  # type: ignore[attr-defined]
            if is_first:
                bucket[name] = whole.to("cpu", copy=True)
        if num_bytes:
            yield bucket

    def save(self, folder: Path) -> None:
        """Write what training goes on from: see `state.save_state`."""
        save_state(folder, self._trained)

    def load(self, folder: Path) -> None:
        """Take back what `save` wrote, by as many learners or others: see `state.load_state`."""
        load_state(folder, self._trained)

    def _logprobs(self, share: Share, policy: ShardedPolicy | ShardedReference) -> list[Tensor]:
        found = self._passes.infer_share(
            share, lambda batch: policy.token_logprobs(batch, temperature=self._temperature).logprobs
        )
        release(policy.root)
        return found


def _update(
    parameters: TrainedParameters,
    passes: SharedAccumulator,
    share: Share,
    loss_of: Callable[[list[Example], Batch], TokenLoss],
    compute: Callable[[Batch], Tensor],
    learning_rate: float,
) -> dict[str, float]:
    try:
        metrics = passes.accumulate_share(share, loss_of, compute)
    except BaseException:
        parameters.zero_grad()  # who tries again begins with none
        raise
    norm = parameters.step(loss=metrics["loss"], learning_rate=learning_rate)
    return {**metrics, "grad_norm": norm}
