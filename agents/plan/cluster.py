"""What a cluster adds to a plan: links between GPUs and machines, Ray's object store, the spread of episodes' lengths.

One record of named numbers, each with where it is from, so that a page can list them and a flag can change them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["Basis", "ClusterNumbers", "basis_of"]

Basis = Literal["vendor", "measured", "assumption"]
"""Where a number is from: a vendor's data sheet; a measurement on the machine that this project is developed on, which
has two CPU cores and no GPU; or nobody has measured it, and it is a guess."""


def _from(basis: Basis, default: Any, why: str) -> Any:
    return field(default=default, metadata={"basis": basis, "why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNumbers:
    """Numbers of a cluster; where each is from is in its field's metadata, see `basis_of`.

    Attributes:
        gpus_per_node: GPUs of a machine.
        nvlink_gb_s: 10⁹ bytes a second that a GPU takes in from the others of its machine (vendor).
        network_gb_s: 10⁹ bytes a second that a machine takes in from others, all its adapters together (vendor).
        link_share: The share of both that collective operations reach (assumption).
        hop_us: Microseconds from one GPU to the next in a ring, on top of the bytes (assumption).
        overlap: The share of an update's computing behind which weights and gradients travel unseen (assumption).
        allreduce_us: Microseconds of adding up a layer's results among the GPUs of one sampler, twice a layer
            (assumption).
        pcie_gb_s: 10⁹ bytes a second between a GPU and its machine's memory (assumption: most of the vendor's 64).
        put_gb_s: 10⁹ bytes a second into Ray's object store (measured).
        transfer_gb_s: 10⁹ bytes a second of an object from one machine to another through Ray (assumption).
        call_ms: Milliseconds of a call of a Ray actor and its answer (measured).
        episode_ms: Milliseconds of the driver for each episode: tasks out, trajectories in, advantages (assumption).
        spread: Standard deviation of the policy's tokens in an episode, as a share of their mean (assumption).
        memory_share: The share of a GPU's memory that a sampler or simulator of its own fills (vLLM's default).
        eager_layer_us: `Assumptions.layer_overhead_us` of the sampler of transformers (assumption).
        simulator_prompt_tokens: Tokens that a simulator reads before it writes documents (assumption).
    """

    gpus_per_node: int = _from("vendor", 8, "NVIDIA DGX H100 data sheet")
    nvlink_gb_s: float = _from("vendor", 450.0, "NVLink 4: 900 GB/s, both directions together")
    network_gb_s: float = _from("vendor", 400.0, "DGX H100: eight ConnectX-7 adapters of 400 Gb/s")
    link_share: float = _from("assumption", 0.8, "of large messages")
    hop_us: float = _from("assumption", 5.0, "a ring, so as many hops as there are GPUs")
    overlap: float = _from("assumption", 0.7, "FSDP2 fetches the next layer while one computes")
    allreduce_us: float = _from("assumption", 15.0, "tensor parallel, within a machine")
    pcie_gb_s: float = _from("assumption", 50.0, "PCIe 5 × 16 is 64 by the vendor's sheet")
    put_gb_s: float = _from("measured", 2.1, "1 GB into memory not used before, two shared cores; a server's is faster")
    transfer_gb_s: float = _from("assumption", 2.0, "TCP over the machines' network")
    call_ms: float = _from("measured", 0.8, "one machine, no payload")
    episode_ms: float = _from("assumption", 1.0, "in Python, one after the other")
    spread: float = _from("assumption", 0.5, "of the policy's tokens, around their mean")
    memory_share: float = _from("vendor", 0.9, "vLLM's default of gpu_memory_utilization")
    eager_layer_us: float = _from("assumption", 500.0, "the plan's own, for transformers on a GPU")
    simulator_prompt_tokens: float = _from("assumption", 300.0, "instructions, question, an example")

    def __post_init__(self) -> None:
        check_whole("gpus_per_node", self.gpus_per_node, least=1)
        may_be_zero = {"hop_us", "overlap", "allreduce_us", "call_ms", "episode_ms", "spread", "eager_layer_us"}
        for item in fields(self):
            value = getattr(self, item.name)
            if not math.isfinite(value) or value < 0 or (value == 0 and item.name not in may_be_zero):
                raise ConfigError(f"{item.name} must be a finite number above 0; got {value!r}.")
        for name in ("link_share", "overlap", "memory_share"):
            if getattr(self, name) > 1:
                raise ConfigError(f"{name} is a share of a whole, so at most 1; got {getattr(self, name)!r}.")


def basis_of(name: str) -> tuple[Basis, str]:
    """Where a number of `ClusterNumbers` is from, and a word on it."""
    known = {item.name: item.metadata for item in fields(ClusterNumbers)}
    basis, why = known[name]["basis"], known[name]["why"]
    assert basis in get_args(Basis)
    return basis, str(why)
