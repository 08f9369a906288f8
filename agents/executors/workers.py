"""What the processes of a scaled-out run do: plain objects, which Ray puts elsewhere.

A `LearnerWorker` is one of those that the weights are sharded over; a `SamplerWorker` has a whole copy of the policy
and plays episodes; a `SimulatorWorker` keeps a simulator's server up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from agents.config import TrainConfig
from agents.conversation import EpisodeTask
from agents.executors.shipping import Shape, arrays_of, load_arrays, tensors_of, unpack
from agents.rollout import RolloutResult, rollout_sync
from agents.samplers.base import PublishedSampler, SamplingSettings
from agents.samplers.weights import named_weights
from agents.sharded.group import connect_store, join, make_store
from agents.sharded.learner import ShardedLearner
from agents.sharded.shares import Share
from zs_env.episode import EpisodeSettings

__all__ = ["LearnerWorker", "SamplerWorker", "SimulatorWorker", "WorkerPlace"]

Drawing = Literal["training", "greedy", "sampled"]
"""How episodes are played: as training samples, with the likeliest tokens, or by drawing at temperature 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """How a process starts.

    Attributes:
        folder: The folder that relative paths are meant from.
        threads: Threads that torch computes with; 0 for its own choice.
        on_gpu: Whether it computes on the GPU that it was given.
    """

    folder: str
    threads: int
    on_gpu: bool

    def settle(self) -> torch.device:
        """Be there."""
        if os.path.isdir(self.folder):  # not so on another machine without a shared disk
            os.chdir(self.folder)
        if self.threads:
            torch.set_num_threads(self.threads)
        return torch.device("cuda", 0) if self.on_gpu else torch.device("cpu")


def _identity() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES") or None,
        "threads": torch.get_num_threads(),
    }


def _own_address() -> str:
    """By which other machines of the cluster reach this one."""
    import ray

    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


class LearnerWorker:
    """One of the learners.

    Args:
        config: All settings.
        place: How it starts.
        rank: Its number among the learners, from 0.
    """

    def __init__(self, config: TrainConfig, place: WorkerPlace, rank: int) -> None:
        self._config, self._place, self._rank = config, place, rank
        self._device = torch.device("cpu")
        self._learner: ShardedLearner | None = None
        self._store: Any = None
        self._buckets: Any = None

    def ready(self) -> dict[str, Any]:
        """Who it is, once it is where it should be."""
        self._device = self._place.settle()
        return {"role": "learner", "rank": self._rank, **_identity()}

    def open_store(self, host: str | None) -> tuple[str, int]:
        """Of rank 0: where the others find it. Without a host, by the address of its machine."""
        address = _own_address() if host is None else host
        self._store = make_store(address, timeout_s=self._config.scale.start_timeout_s)
        return address, self._store.port

    def start(self, shape: Shape, weights: Sequence[Any], where: tuple[str, int]) -> None:
        """Join the group, and take this rank's part of the policy; all ranks do so together.

        Args:
            shape: The policy's.
            weights: Its weights, in parts.
            where: Of rank 0; see `open_store`.
        """
        scale = self._config.scale
        store = self._store or connect_store(*where, timeout_s=scale.start_timeout_s)
        timeout_s = scale.learner_timeout_s
        mesh = join(self._rank, scale.num_learners, store, device=self._device, timeout_s=timeout_s)
        policy = unpack(shape, _together(weights))
        self._learner = ShardedLearner(policy, self._config, mesh=mesh)

    def infer(self, what: str, share: Share) -> list[torch.Tensor]:
        """`with_reference`, `with_old_logprobs` or `with_values` of its share."""
        found: list[torch.Tensor] = getattr(self.learner, what)(share)
        return found

    def update(self, what: str, share: Share, loss_function: Any, learning_rate: float) -> dict[str, float]:
        """`update` or `update_critic`."""
        found: dict[str, float] = getattr(self.learner, what)(share, loss_function, learning_rate=learning_rate)
        return found

    def next_weights(self, max_bytes: int) -> tuple[dict[str, Any], bool]:
        """The next part of the trained weights, of rank 0; and whether there is another."""
        if self._buckets is None:
            self._buckets = _looking_ahead(self.learner.weights(max_bytes=max_bytes))
        bucket, more = next(self._buckets)
        if not more:
            self._buckets = None
        return arrays_of(bucket), more

    def save(self, folder: str) -> None:
        """Write this rank's part of the training state."""
        self.learner.save(Path(folder))

    def load(self, folder: str) -> None:
        """Take back this rank's part of what any number of learners saved."""
        self.learner.load(Path(folder))

    @property
    def learner(self) -> ShardedLearner:
        """The learner, once started."""
        assert self._learner is not None, "the learner wasn't started"
        return self._learner


def _together(parts: Sequence[Any]) -> dict[str, torch.Tensor]:
    import ray

    return {name: tensor for part in ray.get(list(parts)) for name, tensor in tensors_of(part)}


def _looking_ahead(buckets: Any) -> Any:
    """Each with whether there is another; at least one."""
    following: Any = next(buckets, {})
    for bucket in buckets:
        yield following, True
        following = bucket
    yield following, False


class SamplerWorker:
    """Plays episodes with a copy of the policy.

    Args:
        config: All settings.
        place: How it starts.
        number: Its number among the samplers, from 0.
        episode_settings: The rules, with the reward.
        base_url: Of the simulator, where the run started one.
    """

    def __init__(
        self,
        config: TrainConfig,
        place: WorkerPlace,
        number: int,
        episode_settings: EpisodeSettings,
        base_url: str | None,
    ) -> None:
        self._config, self._place, self._number = config, place, number
        self._episode_settings, self._base_url = episode_settings, base_url
        self._loaded: list[str] = []
        self._engine: Any = None
        self._policy: Any = None
        self._samplers: dict[str, Any] = {}

    def start(self, shape: Shape, weights: Sequence[Any], version: int) -> dict[str, Any]:
        """Load the policy, and all else that it plays with.

        Returns:
            Who it is.
        """
        import ray

        where, search = self._place.settle(), self._config.search
        search = search if self._base_url is None else replace(search, base_url=self._base_url)
        self._engine = search.make_engine()
        is_copy = self._config.sampling.sampler == "vllm"  # which has the GPU for a model of its own
        device = torch.device("cpu") if is_copy else where
        own = {n: t.to(device, copy=True) for part in ray.get(list(weights)) for n, t in tensors_of(part)}
        self._policy = unpack(shape, own)
        self._policy.model.to(device)  # buffers
        settings = self._config.sampling.settings()
        if is_copy:
            from agents.samplers.vllm import VllmSampler

            training: Any = VllmSampler(self._policy, settings, **self._config.vllm_sampler_options)
        else:
            training = self._policy.sampler(settings, **self._config.sampler_options)
        self._samplers = {
            "training": training,
            "greedy": training.with_settings(SamplingSettings(greedy=True)),
            "sampled": training.with_settings(SamplingSettings()),
        }
        self._tell(version)
        self._loaded = _names(weights)
        return {"role": "sampler", "rank": self._number, **_identity()}

    def play(
        self,
        tasks: Sequence[EpisodeTask],
        drawing: Drawing,
        seed: int,
        version: int,
        weights: Sequence[Any],
    ) -> RolloutResult:
        """Play one episode a task, with the weights of this version.

        Args:
            tasks: What to play.
            drawing: How.
            seed: Where all randomness comes from, with each task's key.
            version: Of the weights.
            weights: Where they are, in parts; they are fetched if it has others.
        """
        import ray

        # By what they are and not by their version: learners that began again make weights of the same number anew.
        if (wanted := _names(weights)) != self._loaded:
            self._loaded = []  # should it break off, what is there is neither
            for part in weights:
                load_arrays(self._policy, ray.get(part))
            training = self._samplers["training"]
            if isinstance(training, PublishedSampler):
                training.publish_weights(named_weights(self._policy.model), version)
            self._tell(version)
            self._loaded = wanted
        # How many may fail is a share of the whole step's episodes, which is counted where they come together.
        rollout = replace(self._config.rollout, max_failure_rate=1.0)
        return rollout_sync(
            tasks,
            sampler=self._samplers[drawing],
            codec=self._policy.codec,
            engine=self._engine,
            episode_settings=self._episode_settings,
            settings=rollout,
            seed=seed,
        )

    def _tell(self, version: int) -> None:
        for sampler in self._samplers.values():
            if not isinstance(sampler, PublishedSampler):
                sampler.weight_version = version


def _names(weights: Sequence[Any]) -> list[str]:
    """What tells published weights from all others."""
    return [part.hex() for part in weights]


class SimulatorWorker:
    """Keeps a simulator's server up, on the GPUs that Ray gave to this process.

    Args:
        config: All settings.
        place: How it starts.
        number: Its number among the simulators, from 0.
        host: Where the server listens; left out: the address of its machine.
        log_folder: Where its log goes.
    """

    def __init__(self, config: TrainConfig, place: WorkerPlace, number: int, host: str | None, log_folder: str) -> None:
        from zs_env.serving import WatchSettings, serve

        place.settle()
        scale, self._number = config.scale, number
        address = _own_address() if host is None else host
        options: dict[str, Any] = (
            {} if scale.simulator_backend == "llamacpp" else {"tp": max(scale.gpus_per_simulator, 1)}
        )
        self._server = serve(
            scale.simulator_backend,  # type: ignore[arg-type]
            str(config.search.simulation_llm),
            watch=WatchSettings(log_dir=log_folder, start_timeout_s=scale.start_timeout_s),
            host=address,
            port=0,
            **options,
        )

    def ready(self) -> dict[str, Any]:
        """Who it is, once its server is up."""
        self._server.start()
        found = {"role": "simulator", "rank": self._number, **_identity()}
        return found | {"base_url": self._server.base_url, "server_pid": self._server.pid}

    def stop(self) -> None:
        """End the server."""
        self._server.stop()
