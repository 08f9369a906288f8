"""[scale]: over how many processes, GPUs and machines a run is spread. Nothing here imports ray."""

from __future__ import annotations

from dataclasses import dataclass

from zs_env.curriculum import check_whole
from zs_env.engines.around.timing import check_seconds
from zs_env.errors import ConfigError

__all__ = ["EXECUTORS", "ScaleSettings"]

EXECUTORS = ("local", "ray")
"""Where the work of a run may be done: in this process, or by processes that Ray starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSettings:
    """[scale]: what `executor = "ray"` starts. The results don't depend on it, but for rounding and `max_staleness`.

    Attributes:
        num_learners: Processes that the weights, gradients and optimizer are sharded over.
        num_samplers: Processes that play episodes, each with a whole copy of the policy.
        gpus_per_learner: GPUs of each, at most 1; left out: 1 if `device` is a GPU, or "auto" and some are free, else
            0. Below 1 to share a GPU with a sampler.
        gpus_per_sampler: The same of samplers; above 1 for vLLM over several GPUs.
        address: A running Ray cluster, as `ray start` tells it, or "auto" for any that runs on this machine; left out:
            one is started on this machine alone, that no other machine can reach, and ended with the run.
        chunks_per_sampler: In how many parts, for each sampler, the episodes of a step are dealt out, whole groups
            together. More parts balance better, and generate fewer episodes side by side.
        max_staleness: How many training steps the weights that episodes are played with lie behind those that learn
            from them; 0 for none. Above it, episodes of coming steps are played while a step is learned from.
        sampler_timeout_s: How long one part of a step's episodes may take, before its sampler is taken for hanging; one
            of a measurement as much longer as it has more episodes.
        learner_timeout_s: How long a learner's work may take, before all learners are taken for hanging.
        start_timeout_s: How long it may take until all processes are ready.
        max_replacements: How many samplers may be replaced, and how often the learners begin again, before the run gets
            a training step further.
        bucket_megabytes: How much of the weights is gathered at once to be published.
        num_simulators: Simulator servers that are started for the run, each on GPUs of its own.
        gpus_per_simulator: GPUs of each.
        simulator_backend: What they run: "vllm", "sglang" or "llamacpp"; see `python -m zs_env serve`.
    """

    num_learners: int = 1
    num_samplers: int = 1
    gpus_per_learner: float | None = None
    gpus_per_sampler: float | None = None
    address: str | None = None
    chunks_per_sampler: int = 1
    max_staleness: int = 0
    sampler_timeout_s: float = 1800.0
    learner_timeout_s: float = 1800.0
    start_timeout_s: float = 600.0
    max_replacements: int = 3
    bucket_megabytes: int = 512
    num_simulators: int = 0
    gpus_per_simulator: int = 1
    simulator_backend: str = "vllm"

    def __post_init__(self) -> None:
        for name in ("num_learners", "num_samplers", "chunks_per_sampler", "bucket_megabytes"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("max_staleness", "max_replacements", "num_simulators", "gpus_per_simulator"):
            check_whole(name, getattr(self, name), least=0)
        for name in ("sampler_timeout_s", "learner_timeout_s", "start_timeout_s"):
            check_seconds(name, getattr(self, name))
        for name, most in (("gpus_per_learner", 1.0), ("gpus_per_sampler", float("inf"))):
            gpus = getattr(self, name)
            if gpus is None:
                continue
            if not 0 <= gpus <= most or (gpus >= 1 and gpus != int(gpus)):
                above = "1, as a learner computes on one GPU" if most == 1 else "a whole number"
                raise ConfigError(
                    f"{name} must be 0, a fraction below 1 (several processes share a GPU), or {above}; got {gpus!r}."
                )
        if self.num_learners > 1 and 0 < (self.gpus_per_learner or 0) <= 0.5:
            raise ConfigError(
                f"gpus_per_learner={self.gpus_per_learner} could put two of num_learners={self.num_learners} on one "
                "GPU, which NCCL refuses: give more than 0.5 (what is left may serve a sampler), or one learner."
            )
        if self.address == "local":
            object.__setattr__(self, "address", None)
        if (self.address or "").startswith("ray://"):
            raise ConfigError(
                f"address={self.address!r} is a client's, and the driver must be one of the cluster's own processes: "
                "give its host and port (of GCS, 6379 by default), and start the run on one of its machines."
            )
        if self.address is not None and not self.address.strip():
            raise ConfigError("address is empty: give a running Ray cluster, such as '10.0.0.1:6379', or leave it out.")
