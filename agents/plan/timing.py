"""Time, from operations and bytes: a pass takes what computing takes, or what reading takes, whichever is longer.

Symbols as in `shapes`. A matrix of R × C costs 2·R·C operations a token, and a backward pass two forward ones (Kaplan
et al., arXiv 2001.08361, appendix B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agents.plan.hardware import Hardware
from agents.plan.layout import LearnerLayout, keeps_cache
from agents.plan.memory import SMALL_VOCABULARY, cache_bytes_per_token, trained_parameters
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import ModelShape

__all__ = [
    "TimePlan",
    "decode_seconds",
    "forward_flops",
    "pass_seconds",
    "plan_time",
    "prefill_seconds",
    "update_seconds",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePlan:
    """Seconds of a step, by what they go into, and of the run.

    Attributes:
        prefill: Reading prompts, anew at each turn or once, as the sampler does.
        decode: Writing actions.
        search: Waiting for searches.
        reference: The reference's log-probs.
        old_logprobs: The policy's own before the first update, where they are recomputed.
        critic: The critic's values and its update.
        update: The policy's forward and backward passes and optimizer steps.
        total_steps: Of the run.
        evaluation: Measuring before and after, in all.
    """

    prefill: float
    decode: float
    search: float
    reference: float
    old_logprobs: float
    critic: float
    update: float
    total_steps: int
    evaluation: float

    @property
    def rollout(self) -> float:
        """Playing the episodes of a step."""
        return self.prefill + self.decode + self.search

    @property
    def step(self) -> float:
        """A training step."""
        return self.rollout + self.reference + self.old_logprobs + self.critic + self.update

    @property
    def run(self) -> float:
        """The whole run."""
        return self.step * self.total_steps + self.evaluation


def forward_flops(shape: ModelShape, tokens: float, *, context: float, head_tokens: float) -> float:
    """Operations of a forward pass.

    Args:
        shape: The model.
        tokens: Tokens that go through the trunk.
        context: Tokens that one of them looks at, on average.
        head_tokens: Tokens that logits are wanted of.
    """
    attention = shape.num_attention_layers * 4 * shape.query_width * context
    return tokens * (2 * shape.layer_parameters + attention) + head_tokens * 2 * shape.embedding_parameters


def _pass_overhead(shape: ModelShape, assumptions: Assumptions) -> float:
    return (shape.num_layers * assumptions.layer_overhead_us + assumptions.pass_overhead_us) * 1e-6


def prefill_seconds(
    shape: ModelShape,
    hardware: Hardware,
    assumptions: Assumptions,
    *,
    rows: float,
    prompt: float,
    kept: float = 0,
    passes: float = 1,
) -> float:
    """Reading prompts of so many rows, behind what is kept of them, in so many batches, on one device."""
    flops = forward_flops(shape, rows * prompt, context=kept + prompt / 2, head_tokens=rows)
    return flops / (hardware.peak_tflops * 1e12 * assumptions.mfu) + passes * _pass_overhead(shape, assumptions)


def decode_seconds(
    shape: ModelShape,
    run: RunShape,
    hardware: Hardware,
    assumptions: Assumptions,
    *,
    rows: float,
    prompt: float,
    mean_tokens: float,
    longest_tokens: float,
) -> float:
    """Writing one action in each row of a batch, until the longest is done; rows that are done leave it.

    Each pass reads all weights once, and the keys and values of the rows that are left.
    """
    live = rows * mean_tokens / longest_tokens  # on average
    context = prompt + mean_tokens / 2
    one = pass_seconds(shape, run.precision, hardware, assumptions, rows=live, context=context)
    return longest_tokens * one


def pass_seconds(
    shape: ModelShape,
    precision: Precision,
    hardware: Hardware,
    assumptions: Assumptions,
    *,
    rows: float,
    context: float,
) -> float:
    """A pass that writes a token in each row, of which each looks at so many tokens."""
    rate = hardware.peak_tflops * 1e12 * assumptions.decode_mfu
    read = hardware.bandwidth_gb_s * 1e9 * assumptions.bandwidth_share
    compute = forward_flops(shape, rows, context=context, head_tokens=rows) / rate
    weights = (shape.layer_parameters + shape.embedding_parameters) * precision.weight
    cache = rows * context * cache_bytes_per_token(shape, precision)
    return max(compute, (weights + cache) / read) + _pass_overhead(shape, assumptions)


def update_seconds(
    shape: ModelShape,
    hardware: Hardware,
    assumptions: Assumptions,
    *,
    tokens: float,
    policy_tokens: float,
    context: float,
    micro_batches: int,
    backward: bool = True,
    head: bool = True,
    in_blocks: bool = True,
    checkpointing: bool = False,
    lora: bool = False,
) -> float:
    """A pass over so many tokens of the learner, with its loss, without the optimizer's step.

    Args:
        shape: The model.
        hardware: What computes.
        assumptions: How well.
        tokens: Padding included.
        policy_tokens: Those that have logits.
        context: Tokens that one looks at, on average.
        micro_batches: In how many parts.
        backward: Whether gradients are wanted.
        head: Whether logits are wanted; a critic has none.
        in_blocks: Whether logits are computed in blocks, and so again in the backward pass.
        checkpointing: Whether the layers' forward pass is made again.
        lora: Whether only adapters have a gradient: a backward pass then costs one forward pass, not two.
    """
    back = (1.0 if lora else 2.0) if backward else 0.0
    passes = 1.0 + back + (1.0 if checkpointing and backward else 0.0)
    flops = passes * forward_flops(shape, tokens, context=context, head_tokens=0)
    if head:
        of_head = 1.0 + back + (1.0 if in_blocks and backward else 0.0)
        flops += of_head * forward_flops(shape, 0, context=0, head_tokens=policy_tokens)
    compute = flops / (hardware.peak_tflops * 1e12 * assumptions.mfu)
    through = policy_tokens * shape.vocabulary * 4 * assumptions.logit_passes * (1.0 if backward else 0.5) * head
    memory = through / (hardware.bandwidth_gb_s * 1e9 * assumptions.bandwidth_share)
    return compute + memory + micro_batches * passes * _pass_overhead(shape, assumptions)


def _optimizer_seconds(parameters: float, hardware: Hardware, assumptions: Assumptions) -> float:
    """An optimizer step, bound by memory: weights, gradient (clipped, too) and two moments are read and written."""
    num_bytes = parameters * 4 * 10
    return num_bytes / (hardware.bandwidth_gb_s * 1e9 * assumptions.bandwidth_share)


def _rollout_seconds(
    shape: ModelShape, run: RunShape, hardware: Hardware, assumptions: Assumptions, episodes: float
) -> tuple[float, float]:
    """Seconds of reading and of writing, for so many episodes on one device."""
    prefill = decode = 0.0
    longest = min(run.action_tokens * assumptions.longest_action, run.max_new_tokens)
    for action in range(math.ceil(run.num_actions)):
        share = min(run.num_actions - action, 1.0)  # the last of 3.5 actions is taken by half of the episodes
        prompt, rows = run.prompt_before(action), episodes * share
        batch = max(run.max_batch_tokens // (prompt + run.max_new_tokens), 1)
        if run.sampler == "vllm":
            batch = rows  # it admits what its cache has room for
        num_batches = max(math.ceil(rows / batch), 1)
        # What is kept is not read again: the prompt is once a group, later turns are what is new.
        known = 0.0
        if run.sampler == "vllm":
            known = 1.0
        elif keeps_cache(shape, run):
            known = 1.0 if action == 0 else min(run.max_cached_tokens / (rows * prompt), 1.0)
        first = prompt / run.group_size if action == 0 else run.document_tokens
        for part, read in ((known, first), (1.0 - known, prompt)):
            if part:
                kept = prompt - read if action else 0.0
                prefill += prefill_seconds(
                    shape, hardware, assumptions, rows=rows * part, prompt=read, kept=kept, passes=num_batches * part
                )
        decode += num_batches * decode_seconds(
            shape,
            run,
            hardware,
            assumptions,
            rows=rows / num_batches,
            prompt=prompt,
            mean_tokens=run.action_tokens,
            longest_tokens=longest,
        )
    return prefill, decode


def plan_time(shape: ModelShape, run: RunShape, hardware: Hardware, assumptions: Assumptions) -> TimePlan:
    """Seconds of a step and of the run; of several devices, each has its share of the episodes."""
    episodes = run.num_episodes / hardware.num_devices
    prefill, decode = _rollout_seconds(shape, run, hardware, assumptions, episodes)
    layout = LearnerLayout.of(shape, run)
    tokens = episodes * layout.episode_tokens * (1.0 if layout.packed else assumptions.padding)
    policy_tokens, context = episodes * min(run.policy_tokens, run.episode_tokens), run.episode_tokens / 2
    lora = bool(run.lora_rank)

    def learn(*, backward: bool, head: bool = True) -> float:
        return update_seconds(
            shape,
            hardware,
            assumptions,
            tokens=tokens,
            policy_tokens=policy_tokens,
            context=context,
            micro_batches=math.ceil(tokens / layout.at_once),
            backward=backward,
            head=head,
            in_blocks=layout.packed or shape.vocabulary > SMALL_VOCABULARY,
            checkpointing=run.gradient_checkpointing,
            lora=lora,
        )

    trained = trained_parameters(shape, run.lora_rank) / hardware.num_devices
    optimizer = run.num_updates * _optimizer_seconds(trained, hardware, assumptions)
    critic = 0.0
    if run.has_critic:
        own = trained if lora else shape.trunk_parameters / hardware.num_devices
        steps = _optimizer_seconds(own, hardware, assumptions)
        critic = learn(backward=False, head=False) + run.num_updates * run.num_epochs * steps
        critic += run.num_epochs * learn(backward=True, head=False)
    wait = run.num_searches * assumptions.search_latency_s / assumptions.search_overlap
    per_episode = (prefill + decode) / episodes if episodes else 0.0
    evaluation = per_episode * run.evaluation_episodes / hardware.num_devices
    return TimePlan(
        prefill=prefill,
        decode=decode,
        search=wait,
        reference=learn(backward=False) if run.has_reference else 0.0,
        old_logprobs=learn(backward=False) if run.old_logprobs == "recomputed" else 0.0,
        critic=critic,
        update=run.num_epochs * (learn(backward=True) + optimizer),
        total_steps=run.total_steps,
        evaluation=evaluation,
    )
