"""Gradients of a whole batch from shares of it: all learners make as many passes, and sum what they found."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from agents.accumulation import Accumulator, Example, Sums, TokenLoss
from agents.batches import Batch, Batching
from agents.optimization import TrainedParameters
from agents.sharded.modules import device_of
from agents.sharded.shares import Share

__all__ = ["SharedAccumulator"]


class SharedAccumulator(Accumulator):
    """One learner's `Accumulator` in a group of them. All learners call each method together.

    Args:
        parameters: Whose gradients.
        batching: What is differentiated at once.
        mesh: The learners.
    """

    def __init__(self, parameters: TrainedParameters, *, batching: Batching, mesh: DeviceMesh) -> None:
        super().__init__(parameters, batching=batching, num_workers=1)
        self._group, self._device = mesh.get_group(), device_of(mesh)

    def accumulate_share(
        self, share: Share, loss_of: Callable[[list[Example], Batch], TokenLoss], compute: Callable[[Batch], Tensor]
    ) -> dict[str, float]:
        """Add the gradient of the whole batch's loss, of which this learner has a share.

        Args:
            share: This learner's.
            loss_of: The loss of a micro-batch's policy tokens.
            compute: [N] with gradient for a micro-batch; what `loss_of` begins with.

        Returns:
            What `Accumulator.accumulate` gives for the whole batch, the same on each learner.
        """
        spare = self._num_spare(share)
        sums = self.accumulate_weighted(share.examples, share.weights, loss_of)
        filler = self._batching.collate([share.filler])
        for _ in range(spare):
            (compute(filler) * 0.0).sum().backward()  # type: ignore[no-untyped-call]
        every: list[Sums] = [Sums()] * dist.get_world_size(self._group)
        dist.all_gather_object(every, sums, group=self._group)
        whole = Sums()
        for one in every:
            whole.add(one)
        return whole.metrics(share.num_tokens)

    @torch.no_grad()
    def infer_share(self, share: Share, compute: Callable[[Batch], Tensor]) -> list[Tensor]:
        """[n] on the CPU for each example of the share, of a function that gives [N] for a micro-batch."""
        spare = self._num_spare(share)
        found = self.infer(share.examples, compute)
        filler = self._batching.collate([share.filler])
        for _ in range(spare):
            compute(filler)
        return found

    def _num_spare(self, share: Share) -> int:
        """How many passes others make beyond this learner's own."""
        own = len(self._micro_batches(share.examples))
        most = torch.tensor(own, device=self._device)
        dist.all_reduce(most, dist.ReduceOp.MAX, group=self._group)
        return int(most) - own
