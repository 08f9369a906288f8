"""A training step over a cluster, in seconds: playing, searching, updating, exchanging, publishing.

Learners share one copy of the policy's states (FSDP2), samplers hold a copy each, simulators answer searches; each kind
has GPUs of its own. What one GPU does is worked out in `timing` and `memory`; here is what many of them add. E episodes
of a step, m policy tokens in a mean one, S samplers, L learners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from agents.plan.cluster import ClusterNumbers
from agents.plan.hardware import Hardware
from agents.plan.serving import Server, exchange_seconds, longest_of, make_server
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import ModelShape
from agents.plan.timing import plan_time, prefill_seconds

__all__ = [
    "PHASES",
    "Cluster",
    "Phases",
    "Split",
    "Update",
    "fetch_seconds",
    "publish_seconds",
    "rollout_seconds",
    "search_seconds",
    "update_phase",
]

PHASES = ("rollout", "search", "update", "exchange", "publish", "fetch", "driver")
"""What a step's seconds go into."""

_WEIGHTS_PER_LAYER = 12
"""Matrices, biases and norms of a layer, each of which is gathered alone to be published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is planned: a policy, its searches' simulator, a step, and what computes.

    Attributes:
        policy: The shape of the policy.
        simulator: The shape of the simulator.
        run: What a step plays and learns.
        hardware: Each GPU.
        assumptions: How well it computes.
        numbers: What a cluster adds.
        given: Names of numbers that were given by hand, whatever they were taken for before.
    """

    policy: ModelShape
    simulator: ModelShape
    run: RunShape
    hardware: Hardware
    assumptions: Assumptions
    numbers: ClusterNumbers
    given: frozenset[str] = frozenset()

    @property
    def most_searches(self) -> float:
        """Searches of an episode that takes all turns."""
        return max(self.run.num_actions / self.assumptions.actions_share - 1, self.run.num_searches)

    @property
    def most_tokens(self) -> float:
        """Policy tokens of an episode that takes all turns and writes all it may."""
        return max((self.most_searches + 1) * self.run.max_new_tokens, self.run.policy_tokens)

    def sampler(self, num_gpus: int, *, shared_gb: float = 0.0) -> Server:
        """The policy on the GPUs of a sampler, of which others take so much."""
        run, assumptions = self.run, self.assumptions
        longest = min(run.max_episode_tokens, run.prompt_before(round(run.num_actions) - 1) + run.max_new_tokens)
        eager = run.sampler == "transformers"
        if eager:
            assumptions = replace(assumptions, layer_overhead_us=self.numbers.eager_layer_us)
        return make_server(
            self.policy,
            run.precision,
            self.hardware,
            assumptions,
            self.numbers,
            num_gpus=num_gpus,
            longest=run.max_episode_tokens,
            mean=run.episode_tokens,
            shared_gb=shared_gb,
            most_rows=max(run.max_batch_tokens / longest, 1.0) if eager else math.inf,
        )

    def searcher(self, num_gpus: int, *, shared_gb: float = 0.0) -> Server:
        """The simulator on the GPUs of a server, in bfloat16."""
        tokens = self.numbers.simulator_prompt_tokens + self.run.document_tokens
        assumptions = replace(self.assumptions, layer_overhead_us=min(self.assumptions.layer_overhead_us, 20.0))
        return make_server(
            self.simulator,
            Precision.of("bfloat16"),
            self.hardware,
            assumptions,
            self.numbers,
            num_gpus=num_gpus,
            longest=tokens,
            mean=tokens,
            shared_gb=shared_gb,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Who gets which GPUs.

    Attributes:
        learners: Learners, a GPU each.
        samplers: Samplers; 0 where the one learner's GPU plays, too (`--executor local`).
        gpus_per_sampler: GPUs of each.
        simulators: Simulator servers; 0 where the simulator lies on that same GPU.
        gpus_per_simulator: GPUs of each.
    """

    learners: int
    samplers: int
    gpus_per_sampler: int = 1
    simulators: int = 1
    gpus_per_simulator: int = 1

    @property
    def num_gpus(self) -> int:
        """GPUs in all."""
        return self.learners + self.samplers * self.gpus_per_sampler + self.simulators * self.gpus_per_simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds of a step.

    Attributes:
        rollout: Samplers at work: reading, and writing until the longest episode is done.
        search: What searches add to it, because nothing else was to be done meanwhile.
        update: Learners at work: log-probs, forward and backward passes, the optimizer.
        exchange: What weights and gradients on their way between learners add to it.
        publish: From the learners' shards to whole weights in the object store.
        fetch: From there to the samplers.
        driver: Calls, and what the driver does for each episode.
    """

    rollout: float
    search: float
    update: float
    exchange: float
    publish: float
    fetch: float
    driver: float

    @property
    def playing(self) -> float:
        """From newer weights in the object store to episodes."""
        return self.fetch + self.rollout + self.search + self.driver

    @property
    def learning(self) -> float:
        """From episodes to newer weights in the object store."""
        return self.update + self.exchange + self.publish

    def step(self, *, asynchronous: bool = False) -> float:
        """A step: one after the other; or playing and learning at once, as long as the slower of them takes."""
        return max(self.playing, self.learning) if asynchronous else self.playing + self.learning

    def bottleneck(self, *, asynchronous: bool = False) -> str:
        """The phase of `PHASES` that takes most of the step; what is hidden behind other work isn't asked."""
        seen = set(PHASES)
        if asynchronous:
            learning = {"update", "exchange", "publish"}
            seen = seen - learning if self.playing >= self.learning else learning
        return max((name for name in PHASES if name in seen), key=lambda name: float(getattr(self, name)))


def rollout_seconds(
    cluster: Cluster, sampler: Server, samplers: int, searcher: Server, simulators: int
) -> tuple[float, float]:
    """Seconds of samplers at work in a step, and what searches add.

    The step ends with its longest episode. A sampler has E/S episodes, whole groups of them, so that no more samplers
    than questions have something to do. As lengths are drawn, the fullest has some more tokens than others; it makes a
    pass for each token of its longest, or, where its cache doesn't hold all at once, for each token of the work divided
    by what it holds and then for the rest of an episode that began late.

    An episode computes and searches in turns, so with P the samplers' seconds and W those in which a mean episode
    waits, E·W/(P + W) searches are under way at once (Little's law), on which W depends in turn: found by bisection.
    The longest episode searches more often than a mean one, and that at the end, when simulators have little to do.

    Args:
        cluster: What is planned.
        sampler: One of the samplers.
        samplers: How many.
        searcher: One of the simulators.
        simulators: How many; 0 where the sampler's GPU answers searches, too.
    """
    run, spread = cluster.run, cluster.numbers.spread
    num_episodes, mean = run.num_episodes, run.policy_tokens
    busy = min(samplers, run.questions)
    longest = min(mean * longest_of(num_episodes, spread), cluster.most_tokens)
    rows = num_episodes / busy
    load = min(mean * (rows + spread * math.sqrt(2 * rows * math.log(busy))), rows * longest)
    passes = longest if rows <= sampler.rows else max(longest, load / sampler.rows + longest - mean)
    before = (run.num_actions - 1) / 2 * (run.action_tokens + run.document_tokens)
    context = min(run.prompt_tokens + before + run.action_tokens / 2, run.max_episode_tokens)
    writing = passes * sampler.pass_seconds(load / passes, context)
    new = run.prompt_tokens / run.group_size + run.num_searches * run.document_tokens
    reading = prefill_seconds(
        cluster.policy,
        sampler.hardware,
        sampler.assumptions,
        rows=rows,
        prompt=new,
        kept=max(context - new / 2, 0),
        passes=run.num_actions,
    )
    playing = reading + writing

    def waiting(under_way: float) -> float:
        return run.num_searches * search_seconds(cluster, searcher, under_way / max(simulators, 1))

    low = high = float(num_episodes)
    if simulators:  # else the GPU that writes answers searches, too, and does one after the other
        low = 0.0
    for _ in range(16):
        middle = (low + high) / 2
        waits = waiting(middle)
        low, high = (middle, high) if num_episodes * waits > middle * (playing + waits) else (low, middle)
    more = min(run.num_searches * longest_of(num_episodes, spread), cluster.most_searches) - run.num_searches
    return playing, waiting(high) + more * search_seconds(cluster, searcher, 1.0)


def search_seconds(cluster: Cluster, searcher: Server, under_way: float) -> float:
    """Seconds until a search is answered by a simulator that has so many under way; those it can't hold wait."""
    asked = max(math.ceil(under_way), 1)
    rows = min(asked, max(int(searcher.rows), 1))
    tokens, prompt = cluster.run.document_tokens, cluster.numbers.simulator_prompt_tokens
    return asked / rows * searcher.answer_seconds(rows, prompt=prompt, tokens=tokens)


@dataclass(frozen=True, slots=True)
class Update:
    """Seconds of the learners.

    Attributes:
        computing: At work.
        waiting: For weights and gradients of each other, beyond what is hidden behind work.
    """

    computing: float
    waiting: float


def update_phase(cluster: Cluster, learners: int, *, micro_batch_tokens: float) -> Update:
    """Seconds in which so many learners make a step's updates.

    Each computes its share of the episodes, at least one. For each micro-batch FSDP2 gathers the weights before the
    forward pass and again before the backward pass, and scatters the gradients; a pass without gradients (reference,
    old log-probs) gathers once. A share `overlap` of the computing hides as many seconds of that.

    Args:
        cluster: What is planned.
        learners: How many.
        micro_batch_tokens: Tokens of a micro-batch.
    """
    run, numbers = cluster.run, cluster.numbers
    sharing = replace(cluster.hardware, num_devices=min(learners, run.num_episodes))
    time = plan_time(cluster.policy, run, sharing, cluster.assumptions)
    computing = time.update + time.reference + time.old_logprobs + time.critic
    tokens = run.num_episodes * run.episode_tokens / learners
    batches = max(math.ceil(tokens / micro_batch_tokens), run.num_updates)
    gathers = batches * (2 * run.num_epochs + run.has_reference + (run.old_logprobs == "recomputed"))
    parameters, layers = cluster.policy.num_parameters, cluster.policy.num_layers
    gather = exchange_seconds(parameters * run.precision.weight, learners, numbers, messages=layers + 1)
    scatter = exchange_seconds(parameters * run.precision.gradient, learners, numbers, messages=layers + 1)
    travel = gathers * gather + batches * run.num_epochs * scatter
    return Update(computing, max(travel - numbers.overlap * computing, 0.0))


def publish_seconds(cluster: Cluster, learners: int) -> float:
    """Seconds from the learners' shards to whole weights in Ray's object store, of which the first learner takes care.

    All gather one weight after the other; the first copies it to its machine's memory, and from there into the store.
    """
    numbers = cluster.numbers
    num_bytes = cluster.policy.num_parameters * cluster.run.precision.weight
    messages = _WEIGHTS_PER_LAYER * cluster.policy.num_layers
    gather = exchange_seconds(num_bytes, learners, numbers, messages=messages)
    return gather + num_bytes / 1e9 * (1 / numbers.pcie_gb_s + 1 / numbers.put_gb_s)


def fetch_seconds(cluster: Cluster, split: Split) -> float:
    """Seconds from there to the samplers' GPUs, each of which is given its part.

    Each machine that has samplers fetches the weights once, and those that have them pass them on, so that with each
    round twice as many have them. Samplers on the first learner's machine read its store itself.
    """
    numbers = cluster.numbers
    gigabytes = cluster.policy.num_parameters * cluster.run.precision.weight / 1e9
    end = split.learners + split.samplers * split.gpus_per_sampler
    first = max(split.learners // numbers.gpus_per_node, 1)  # machines full of learners; else the first has both
    machines = max(math.ceil(end / numbers.gpus_per_node) - first, 0)
    rounds = math.ceil(math.log2(machines + 1))
    return gigabytes * (rounds / numbers.transfer_gb_s + 1 / split.gpus_per_sampler / numbers.pcie_gb_s)
