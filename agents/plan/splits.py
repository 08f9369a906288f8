"""Which split of the GPUs makes a step shortest, among those that fit their memory."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agents.plan.memory import GB, Item, MemoryPlan, cache_bytes_per_token, plan_memory
from agents.plan.scaling import (
    Cluster,
    Phases,
    Split,
    Update,
    fetch_seconds,
    publish_seconds,
    rollout_seconds,
    update_phase,
)
from agents.plan.serving import Server
from agents.plan.settings import Precision
from zs_env.errors import ConfigError

__all__ = ["Found", "Planner", "learner_memory"]

_LADDER = (*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
"""How many of a kind are tried."""

_WORTH = 0.02
"""GPUs that make a step at most so much shorter aren't worth it."""

_SIMULATED_AT_ONCE = 64
"""Searches that a simulator on the learner's own GPU has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A split, and what a step takes with it.

    Attributes:
        split: Who gets which GPUs.
        phases: Seconds.
        asynchronous: Whether playing and learning go on at once.
    """

    split: Split
    phases: Phases
    asynchronous: bool

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.phases.step(asynchronous=self.asynchronous)

    @property
    def bottleneck(self) -> str:
        """See `Phases.bottleneck`."""
        return self.phases.bottleneck(asynchronous=self.asynchronous)

    def gpu_hours(self, num_steps: int) -> float:
        """GPU hours of so many steps."""
        return self.step * num_steps / 3600 * self.split.num_gpus


def learner_memory(cluster: Cluster, learners: int, *, micro_batch_tokens: int) -> MemoryPlan:
    """What lies on each learner's GPU: what `plan_memory` counts without the sampler, and the layers that are gathered.

    A learner's shard is its float32 master, whatever the weights are computed in (and its optimizer AdamW). FSDP2 has
    two of its units whole at a time, with the gradients of one; the largest is a layer, or the embedding.
    """
    run = replace(
        cluster.run,
        sampler="transformers",
        micro_batch_tokens=micro_batch_tokens,
        masters="float32",
        optimizer="adamw",
    )
    sharing = replace(cluster.hardware, num_devices=learners)
    whole = plan_memory(cluster.policy, run, sharing, cluster.assumptions)
    policy, precision = cluster.policy, run.precision
    twice = bool(precision.master) and not run.lora_rank
    items = [item for item in whole.items if item.phase != "rollout" and not (twice and item.name == "weights")]
    largest = max(policy.layer_parameters / policy.num_layers, policy.embedding_parameters)
    gathered = largest * (2 * precision.weight + precision.gradient)
    items.append(Item("gathered layers and their gradients", "update", gathered))
    return replace(whole, items=tuple(items))


class Planner:
    """Splits of a cluster; what one of its parts takes is worked out once.

    Args:
        cluster: What is planned.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.local = replace(cluster, run=replace(cluster.run, sampler="transformers"))
        self._sampler = functools.cache(cluster.sampler)
        self._searcher = functools.cache(cluster.searcher)
        self._micro_batch = functools.cache(self._find_micro_batch)
        self._update = functools.cache(self._find_update)
        self._publish = functools.cache(functools.partial(publish_seconds, cluster))
        self._rollout = functools.cache(self._find_rollout)

    def phases(self, split: Split) -> Phases:
        """What a step takes with a split.

        Raises:
            ConfigError: It doesn't fit.
        """
        self._check(split)
        return self._phases(split)

    def _phases(self, split: Split) -> Phases:
        playing, search = self._rollout(
            split.samplers, split.gpus_per_sampler, split.simulators, split.gpus_per_simulator
        )
        update = self._update(split.learners)
        cluster, numbers = self.cluster, self.cluster.numbers
        calls = 2 * split.samplers + 4 * split.learners if split.samplers else 0
        return Phases(
            rollout=playing,
            search=search,
            update=update.computing,
            exchange=update.waiting,
            publish=self._publish(split.learners) if split.samplers else 0.0,
            fetch=fetch_seconds(cluster, split) if split.samplers else 0.0,
            driver=(cluster.run.num_episodes * numbers.episode_ms + calls * numbers.call_ms) / 1e3,
        )

    def best(self, num_gpus: int, *, asynchronous: bool = False) -> Found:
        """The split of so many GPUs with the shortest step, and of those that are hardly longer one of few GPUs.

        Asynchronously, playing needs samplers of its own.

        Raises:
            ConfigError: None fits.
        """
        best: Found | None = None
        for split in self._splits(num_gpus):
            if split.samplers or not asynchronous:
                found = self._found(split, asynchronous=asynchronous)
                if best is None or found.step < best.step:
                    best = found
        if best is None:
            raise ConfigError(self._why_none(num_gpus, asynchronous=asynchronous))
        return self._thinned(best)

    def _found(self, split: Split, *, asynchronous: bool) -> Found:
        return Found(split=split, phases=self._phases(split), asynchronous=asynchronous)

    def _thinned(self, best: Found) -> Found:
        """With fewer simulators, learners and samplers, as long as a step is at most `_WORTH` longer."""
        most = best.step * (1 + _WORTH)
        for kind in ("simulators", "learners", "samplers"):
            for count in _counts(getattr(best.split, kind))[:-1]:
                split = replace(best.split, **{kind: count})
                if kind != "learners" or (split.samplers and self._micro_batch(count)):
                    found = self._found(split, asynchronous=best.asynchronous)
                    if found.step <= most:
                        best = found
                        break
        return best

    def least_gpus(self) -> dict[str, int | None]:
        """The fewest GPUs on which learners, a sampler and a simulator fit; None where no number of them does."""
        return {
            "learners": next((count for count in _LADDER if self._micro_batch(count)), None),
            "a sampler": next(iter(self._sampler_gpus()), None),
            "a simulator": next(iter(self._simulator_gpus()), None),
        }

    def _splits(self, num_gpus: int) -> Iterator[Split]:
        """Those that fit. Simulators get what learners and samplers leave, as more of them never make a step longer."""
        for gpus_per_simulator in self._simulator_gpus():
            kept = (num_gpus - 1) // gpus_per_simulator
            if (kept or gpus_per_simulator == 1) and self._local_fits(kept):
                yield Split(learners=1, samplers=0, simulators=kept, gpus_per_simulator=gpus_per_simulator)
            for gpus_per_sampler in self._sampler_gpus():
                for learners in _counts(num_gpus):
                    if not self._micro_batch(learners):
                        continue
                    left = num_gpus - learners - gpus_per_simulator
                    for samplers in _counts(left // gpus_per_sampler):
                        yield Split(
                            learners=learners,
                            samplers=samplers,
                            gpus_per_sampler=gpus_per_sampler,
                            simulators=(num_gpus - learners - samplers * gpus_per_sampler) // gpus_per_simulator,
                            gpus_per_simulator=gpus_per_simulator,
                        )

    def _sampler_gpus(self) -> list[int]:
        widths = (1,) if self.cluster.run.sampler == "transformers" else self._widths(self.cluster.policy.num_kv_heads)
        return [count for count in widths if self._sampler(count).fits]

    def _simulator_gpus(self) -> list[int]:
        return [count for count in self._widths(self.cluster.simulator.num_kv_heads) if self._searcher(count).fits]

    def _widths(self, key_heads: int) -> list[int]:
        most = min(key_heads, self.cluster.numbers.gpus_per_node)
        return [count for count in (1, 2, 4, 8) if count <= most]

    def _simulator_gb(self) -> float:
        tokens = self.cluster.numbers.simulator_prompt_tokens + self.cluster.run.document_tokens
        shape, precision = self.cluster.simulator, Precision.of("bfloat16")
        cache = _SIMULATED_AT_ONCE * tokens * cache_bytes_per_token(shape, precision)
        return (shape.num_parameters * precision.weight + cache) / GB

    def _local_memory(self, simulators: int) -> MemoryPlan:
        cluster = self.local
        assumptions = cluster.assumptions
        if not simulators:
            assumptions = replace(assumptions, simulator_gb=self._simulator_gb())
        return plan_memory(cluster.policy, cluster.run, cluster.hardware, assumptions)

    def _local_fits(self, simulators: int) -> bool:
        return self._local_memory(simulators).fits

    def _find_micro_batch(self, learners: int) -> int:
        """The most tokens of a micro-batch that fit: as set, or half, and so on; 0 if none do."""
        tokens = self.cluster.run.micro_batch_tokens
        least = min(tokens, self.cluster.run.max_episode_tokens)
        while True:
            if learner_memory(self.cluster, learners, micro_batch_tokens=tokens).fits:
                return tokens
            if tokens == least:
                return 0
            tokens = max(tokens // 2, least)

    def _find_update(self, learners: int) -> Update:
        tokens = self._micro_batch(learners) or self.cluster.run.micro_batch_tokens
        return update_phase(self.cluster, learners, micro_batch_tokens=tokens)

    def _find_rollout(
        self, samplers: int, gpus_per_sampler: int, simulators: int, gpus_per_simulator: int
    ) -> tuple[float, float]:
        searcher = self._searcher(gpus_per_simulator)
        if not simulators:
            searcher = replace(searcher, rows=float(_SIMULATED_AT_ONCE), missing_gb=0.0)
        if samplers:
            return rollout_seconds(self.cluster, self._sampler(gpus_per_sampler), samplers, searcher, simulators)
        return rollout_seconds(self.local, _without_own_weights(self.local.sampler(1)), 1, searcher, simulators)

    def _check(self, split: Split) -> None:
        """Refuse a split that makes no sense or doesn't fit."""
        if not split.samplers:
            if split.learners != 1:
                raise ConfigError(
                    f"{split.learners} learners and no samplers: only a single learner's GPU plays, too. "
                    "Give --samplers."
                )
            memory = self._local_memory(split.simulators)
            if not memory.fits:
                raise ConfigError(
                    f"{self.cluster.policy.name} does not fit a GPU that learns and plays"
                    f"{'' if split.simulators else ' beside a simulator'}: {memory.most / GB:.1f} of "
                    f"{memory.available / GB:.1f} GB. Give it samplers and simulators of their own."
                )
        elif not self._micro_batch(split.learners):
            tokens = min(self.cluster.run.micro_batch_tokens, self.cluster.run.max_episode_tokens)
            memory = learner_memory(self.cluster, split.learners, micro_batch_tokens=tokens)
            raise ConfigError(
                f"{self.cluster.policy.name} does not fit {split.learners} learners: {memory.most / GB:.1f} of "
                f"{memory.available / GB:.1f} GB on each. Give more learners."
            )
        for what, name, server, count, width in (
            ("sampler", self.cluster.policy.name, self._sampler, split.samplers, split.gpus_per_sampler),
            ("simulator", self.cluster.simulator.name, self._searcher, split.simulators, split.gpus_per_simulator),
        ):
            if count and not server(width).fits:
                raise ConfigError(
                    f"{name} does not fit a {what} of {width} GPUs: each lacks {server(width).missing_gb:.1f} GB. "
                    f"Give more GPUs a {what}."
                )
            if count and width > 1 and width not in self._widths(server(width).shape.num_kv_heads):
                raise ConfigError(
                    f"A {what} of {width} GPUs: {name} can be spread over "
                    f"{', '.join(map(str, self._widths(server(width).shape.num_kv_heads)))} of them."
                )

    def _why_none(self, num_gpus: int, *, asynchronous: bool) -> str:
        least = self.least_gpus()
        names = (self.cluster.policy.name, self.cluster.simulator.name)
        words = ", ".join(f"{what} {count if count else 'more than any number tried'}" for what, count in least.items())
        total = sum(count for count in least.values() if count) if all(least.values()) else math.inf
        together = f" together {total:.0f}" if total < math.inf else ""
        how = "asynchronously, " if asynchronous else ""
        return (
            f"{how}{names[0]} with a simulator of {names[1]} does not fit {num_gpus} GPUs of "
            f"{self.cluster.hardware.memory_gb:.4g} GB. GPUs of their own need: {words};{together}."
        )


def _without_own_weights(sampler: Server) -> Server:
    """A sampler that reads the learner's weights; whether its cache fits is known from the whole GPU's memory."""
    return replace(sampler, missing_gb=0.0)


def _counts(most: int) -> list[int]:
    """The ladder up to a number, and that number."""
    if most < 1:
        return []
    rungs = list(_LADDER[: bisect.bisect_right(_LADDER, most)])
    return rungs if rungs[-1] == most else [*rungs, most]
