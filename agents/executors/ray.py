"""The work of a run on other processes, GPUs and machines, by Ray.

Learners (`LearnerGroup`) shard weights, gradients and optimizer with PyTorch's FSDP2; samplers (`SamplerPool`) play
whole episodes, searches included, each with a copy of the policy. After a training step the new weights go from the
learners into shared memory, and each sampler fetches them before it plays on. The driver, this process, computes
nothing: it deals out episodes and examples, and keeps a copy of the policy for checkpoints.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents.accumulation import Example
from agents.config import TrainConfig
from agents.conversation import EpisodeTask
from agents.critic import ValueLossFunction
from agents.errors import CheckpointError, TrainingError, WorkersLostError, first_line
from agents.executors.cluster import Cluster
from agents.executors.learners import LearnerGroup
from agents.executors.placement import check_placement, needs_of, there_are, wants_gpus
from agents.executors.pool import SamplerPool
from agents.executors.shipping import arrays_of, load_arrays, shape_of, weights_of
from agents.executors.workers import Drawing, LearnerWorker, SamplerWorker, SimulatorWorker, WorkerPlace
from agents.learner import TokenLossFunction
from agents.losses import Aggregation
from agents.policy import Policy
from agents.rollout import RolloutResult, check_failures
from agents.sharded.learner import check_shardable
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine

__all__ = ["LEARNERS_FOLDER", "RayExecutor"]

LEARNERS_FOLDER = "learners"
"""Where a checkpoint has the learners' state, as torch's distributed checkpoints are."""


class RayExecutor:
    """See the module.

    Args:
        config: All settings.
        policy: What is trained, on the CPU. It is brought up to date by `sync_policy`.
        engine: Who answers searches in this process; each sampler makes one of its own by the same settings.
        note: Is told what happened to processes: a kind, and a sentence.
        say: Is told what is going on.
        log_folder: Where simulator servers write their logs.

    Raises:
        ConfigError: The processes don't fit the cluster, or the settings don't go with sharded learners.
    """

    def __init__(
        self,
        config: TrainConfig,
        policy: Policy,
        engine: SearchEngine,
        *,
        note: Callable[[str, str], None] | None = None,
        say: Callable[[str], None] | None = None,
        log_folder: Path = Path("runs/servers"),
    ) -> None:
        check_shardable(config)
        config.sampling.settings().check_for_training()
        policy.check_context(config.rollout.max_episode_tokens)
        self.policy = policy
        self._pinned: int | None = None
        self._config, self._note, self._tell = config, note or (lambda kind, text: None), say or (lambda line: None)
        self._log_folder = log_folder.absolute()
        scale = config.scale
        self._cluster = Cluster(scale, say=self._tell)
        self._ray = self._cluster.ray
        try:
            self._start(scale.num_samplers)
        except BaseException:
            self.close()
            raise

    def _start(self, num_samplers: int) -> None:
        config, scale, cluster = self._config, self._config.scale, self._cluster
        nodes = cluster.nodes()
        on_gpu = wants_gpus(config.run.device, sum(node.gpus for node in nodes))
        cores = (os.cpu_count() or 1) if cluster.own else None
        needs = needs_of(scale, on_gpu=on_gpu, share_cpus_of=cores)
        check_placement(needs, nodes)
        self._needs = {need.name: need for need in needs}
        self._tell(f"Starting {' and '.join(f'{need.count} {need.name}' for need in needs)} …")
        self._threads = config.run.threads or (_threads_of(scale.num_learners + num_samplers) if cluster.own else 0)
        self._shape = self._ray.put(shape_of(self.policy))
        self._start_weights = [self._ray.put(arrays_of(weights_of(self.policy)))]
        self._version, self._weights = 0, list(self._start_weights)
        self._older: dict[int, list[Any]] = {0: self._weights}
        self._simulators = [self._simulator(number) for number in range(scale.num_simulators)]
        timeout_s = scale.start_timeout_s
        self._simulator_places = self._wait_for_simulators(timeout_s)
        limits: dict[str, Any] = {"start_timeout_s": timeout_s}
        self.learners = LearnerGroup(
            self._ray,
            self._learner,
            count=scale.num_learners,
            timeout_s=scale.learner_timeout_s,
            bucket_bytes=scale.bucket_megabytes * 2**20,
            room=partial(self._room, "learners"),
            **limits,
        )
        training, num_parts = config.training, num_samplers * scale.chunks_per_sampler
        self.samplers = SamplerPool(
            self._ray,
            self._sampler,
            count=num_samplers,
            timeout_s=scale.sampler_timeout_s,
            usual_episodes=-(-training.questions_per_step // num_parts) * training.group_size,
            max_replacements=scale.max_replacements,
            chunks_per_sampler=scale.chunks_per_sampler,
            note=self._note,
            room=partial(self._room, "samplers"),
            **limits,
        )
        self.samplers.start()  # while the learners load
        self._start_learners()
        self.samplers.wait()

    def _start_learners(self) -> None:
        # Also those that take the place of others: what they begin with is what a reference model stays.
        self.learners.start(self._shape, self._start_weights, host=self._cluster.host)

    def _place(self, kind: str) -> WorkerPlace:
        return WorkerPlace(folder=os.getcwd(), threads=self._threads, on_gpu=self._needs[kind].gpus > 0)

    def _actor(self, worker: type[Any], kind: str) -> Any:
        need = self._needs[kind]
        # Restarts are ours to make: an actor that Ray restarted would have lost its weights without a word.
        return self._ray.remote(worker).options(num_cpus=need.cpus, num_gpus=need.gpus, max_restarts=0)

    def _learner(self, rank: int) -> Any:
        return self._actor(LearnerWorker, "learners").remote(self._config, self._place("learners"), rank)

    def _sampler(self, number: int) -> tuple[Any, Any]:
        urls = [place["base_url"] for place in self._simulator_places]
        episode = self._config.episode.settings(self._config.search.topk)
        made = self._actor(SamplerWorker, "samplers").remote(
            self._config, self._place("samplers"), number, episode, ",".join(urls) or None
        )
        return made, made.start.remote(self._shape, self._start_weights, 0)

    def _wait_for_simulators(self, timeout_s: float) -> list[dict[str, Any]]:
        try:
            asked = [one.ready.remote() for one in self._simulators]
            places: list[dict[str, Any]] = self._ray.get(asked, timeout=timeout_s)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (self._ray.exceptions.RayError, TimeoutError) as error:
            raise TrainingError(
                f"The simulators' servers aren't ready within start_timeout_s={timeout_s:g} ({first_line(error)}). "
                f"What they say is in {self._log_folder}."
            ) from error
        return places

    def _room(self, kind: str, actor: Any) -> str:
        """Of a process that no machine has taken: what it asks for and what there is; else an empty text."""
        if self._cluster.is_placed(actor):
            return ""
        need, nodes = self._needs[kind], self._cluster.nodes()
        return (
            f"It asks for {need.gpus:g} GPUs and {need.cpus:g} cores on one machine; free are {there_are(nodes)}. Add "
            f"machines to the cluster, or go on with fewer {kind} ({need.flag})."
        )

    def _simulator(self, number: int) -> Any:
        return self._actor(SimulatorWorker, "simulators").remote(
            self._config, self._place("simulators"), number, self._cluster.host, str(self._log_folder)
        )

    @property
    def workers(self) -> list[dict[str, Any]]:
        """The processes as they are now: role, rank, process id and GPUs of each."""
        found = [{"role": "driver", "rank": 0, "pid": os.getpid()}, *self.learners.places, *self.samplers.places]
        return found + [{**place, "base_url": None} for place in self._simulator_places]

    def rollout(self, tasks: Sequence[EpisodeTask]) -> RolloutResult:
        """See `Executor.rollout`."""
        result = self.play(tasks, "training", seed=self._config.run.seed, version=self._pinned)
        check_failures(result, self._config.rollout.max_failure_rate)
        return result

    def pin(self, weight_version: int | None) -> None:
        """Let rollouts take place with these weights, which must be among the newest; None for the newest, again."""
        self._pinned = weight_version

    def play(
        self, tasks: Sequence[EpisodeTask], drawing: Drawing, *, seed: int, version: int | None = None
    ) -> RolloutResult:
        """One episode a task, however many fail.

        Args:
            tasks: What to play.
            drawing: How tokens are drawn.
            seed: Where all randomness comes from, with each task's key.
            version: The weights to play with; the newest if left out.
        """
        chosen = self._version if version is None else version
        return self.samplers.play(tasks, drawing, seed=seed, version=chosen, weights=self._older[chosen])

    def with_reference(self, examples: Sequence[Example]) -> list[Example]:
        """See `Executor.with_reference`."""
        return self.learners.infer("with_reference", examples, "ref_logprobs")

    def with_old_logprobs(self, examples: Sequence[Example]) -> list[Example]:
        """See `Executor.with_old_logprobs`."""
        return self.learners.infer("with_old_logprobs", examples, "old_logprobs")

    def with_values(self, examples: Sequence[Example]) -> list[Example]:
        """See `Executor.with_values`."""
        return self.learners.infer("with_values", examples, "values")

    def update(
        self,
        examples: Sequence[Example],
        loss_function: TokenLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """See `Executor.update`."""
        options: dict[str, Any] = {"aggregation": aggregation, "learning_rate": learning_rate}
        return self.learners.update("update", examples, loss_function, **options)

    def update_critic(
        self,
        examples: Sequence[Example],
        loss_function: ValueLossFunction,
        *,
        aggregation: Aggregation,
        learning_rate: float,
    ) -> dict[str, float]:
        """See `Executor.update_critic`."""
        options: dict[str, Any] = {"aggregation": aggregation, "learning_rate": learning_rate}
        return self.learners.update("update_critic", examples, loss_function, **options)

    def publish(self, weight_version: int) -> None:
        """Gather the learners' weights for whoever samples under this version."""
        self._weights = self.learners.gather()
        self._version = weight_version
        self._older[weight_version] = self._weights
        for old in [one for one in self._older if one < weight_version - self._config.scale.max_staleness]:
            del self._older[old]
        self.samplers.progressed()

    def sync_policy(self) -> None:
        """Bring the driver's copy of the policy up to date."""
        try:
            for part in self._weights:  # each step publishes, so these are the learners'
                load_arrays(self.policy, self._ray.get(part, timeout=self._config.scale.learner_timeout_s))
        except (self._ray.exceptions.RayError, TimeoutError) as error:
            raise WorkersLostError(f"Weights that were published are lost ({first_line(error)}).") from error

    def restart_learners(self) -> None:
        """Other learners in the place of those that are lost; `load_state` then gives them their state."""
        self.learners.close()
        self._start_learners()

    def save_state(self, folder: Path) -> dict[str, Any]:
        """See `Executor.save_state`."""
        target = folder / LEARNERS_FOLDER
        target.mkdir(mode=0o777)
        self.learners.save(str(target.absolute()))
        if not any(target.iterdir()):
            raise CheckpointError(
                f"The learners wrote nothing to {target}: runs with --address need a --runs folder that all machines "
                "share."
            )
        return {"executor": "ray", "num_learners": self._config.scale.num_learners}

    def load_state(self, state: Mapping[str, Any], folder: Path, *, weight_version: int) -> None:
        """See `Executor.load_state`."""
        if state.get("executor") != "ray":
            raise ConfigError(f"The checkpoint {str(folder)!r} is of the local executor: go on with --executor local.")
        self.learners.load(str((folder / LEARNERS_FOLDER).absolute()))
        self._older.clear()
        self.publish(weight_version)

    def close(self) -> None:
        """End all processes, and the cluster if it was started here."""
        for name in ("samplers", "learners"):
            if (group := getattr(self, name, None)) is not None:
                group.close()
        for one in getattr(self, "_simulators", ()):
            with contextlib.suppress(self._ray.exceptions.RayError, TimeoutError):
                self._ray.get(one.stop.remote(), timeout=15)
            self._ray.kill(one)
        self._cluster.close()


def _threads_of(num_processes: int) -> int:
    return max(1, (os.cpu_count() or 1) // num_processes)
