"""The bare model: forward and backward of the same tokens, as anyone would write it first. No rollout, no optimizer."""

from __future__ import annotations

import random
import time
from typing import Any

import torch
from torch import Tensor

from agents.codec import TextCodec
from benchmarks.training.memory import memory_mb, wait
from benchmarks.training.steps import Job, Step, Turns
from benchmarks.training.workload import Lengths, Workload

__all__ = ["make_batch", "take_steps"]


def make_batch(workload: Workload, vocabulary_size: int) -> tuple[Tensor, Tensor]:
    """Episodes of the workload's lengths, with random tokens where a policy would sample.

    Returns:
        Ids [B, T], and labels [B, T]: the ids where the policy wrote them, -100 elsewhere.
    """
    scenario, rng = workload.scenario, random.Random(workload.seed)
    rows, labels = [], []
    for episode in range(scenario.episodes):
        group = episode // scenario.group_size
        ids = list(workload.prompts[group])
        wanted = [-100] * len(ids)
        for turn in range(1, scenario.turns + 1):
            sampled = [rng.randrange(vocabulary_size) for _ in range(scenario.policy_tokens)]
            added = workload.environment_ids(group, turn) if turn < scenario.turns else []
            ids += sampled + added
            wanted += sampled + [-100] * len(added)
        rows.append(ids)
        labels.append(wanted)
    return torch.tensor(rows), torch.tensor(labels)


def take_steps(job: Job, settings: dict[str, Any], turns: Turns) -> None:
    """Differentiate, a step at a time; see `steps.TakeSteps`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = getattr(torch, settings.get("dtype", "float32"))
    num_rows = settings.get("rows", 8)
    model: Any = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype, attn_implementation="sdpa")
    model.to(job.device)
    codec = TextCodec(AutoTokenizer.from_pretrained(job.model))
    ids, labels = make_batch(Workload(job.scenario, codec, seed=job.seed), model.get_input_embeddings().num_embeddings)
    policy_tokens = int((labels >= 0).sum())
    lengths = Lengths(episodes=len(ids), tokens=ids.numel(), policy_tokens=policy_tokens, trained_tokens=policy_tokens)
    ids, labels = ids.to(job.device), labels.to(job.device)
    while turns.begin():
        began = time.perf_counter()
        for part in range(0, len(ids), num_rows):
            rows = slice(part, part + num_rows)
            output = model(input_ids=ids[rows], labels=labels[rows], num_items_in_batch=policy_tokens, use_cache=False)
            output.loss.backward()
            del output
        model.zero_grad(set_to_none=True)
        wait(job.device)
        seconds = time.perf_counter() - began
        peak = memory_mb(job.device)["peak"]
        turns.report(Step(rollout_s=0.0, update_s=seconds, step_s=seconds, lengths=lengths, update_peak_mb=peak))
