"""Which change of the settings makes a run fit, tried out one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agents.plan.hardware import Hardware
from agents.plan.memory import plan_memory
from agents.plan.settings import Assumptions, RunShape
from agents.plan.shapes import ModelShape

__all__ = ["Change", "changes_that_fit"]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of settings.

    Attributes:
        text: What is set, for example "[learner] micro_batch_tokens = 2048".
        effect: What it changes beside memory.
        run: The settings with it.
        hardware: The hardware with it.
        most: Bytes at the height of the run with it, on each device.
        fits: Whether there is as much.
    """

    text: str
    effect: str
    run: RunShape
    hardware: Hardware
    most: float
    fits: bool


def changes_that_fit(
    shape: ModelShape, run: RunShape, hardware: Hardware, assumptions: Assumptions
) -> tuple[list[Change], list[Change]]:
    """Changes that make a run fit.

    Returns:
        Those each of which does alone, from the one that changes least; and if there is none but more GPUs, those that
        do together: always the one that saves most, until it fits (empty if nothing does).
    """

    def tried(run: RunShape, hardware: Hardware) -> list[Change]:
        return [
            Change(text, effect, changed, devices, plan.most, plan.fits)
            for text, effect, changed, devices in _known_changes(run, hardware)
            for plan in [plan_memory(shape, changed, devices, assumptions)]
        ]

    alone = _first_of_each_kind([change for change in tried(run, hardware) if change.fits])
    if any(change.hardware is hardware for change in alone):
        return alone, []
    for with_gpus in (False, True):  # settings cost nothing, so they come first
        if with_gpus and alone:
            return alone, []
        together: list[Change] = []
        changed, devices, most = run, hardware, plan_memory(shape, run, hardware, assumptions).most
        while not (together and together[-1].fits):
            found = [one for one in tried(changed, devices) if with_gpus or one.hardware is devices]
            best = min(found, key=lambda change: change.most, default=None)
            if best is None or best.most >= most:
                break
            together.append(best)
            changed, devices, most = best.run, best.hardware, best.most
        else:
            return [], together
    return [], []


def _first_of_each_kind(changes: list[Change]) -> list[Change]:
    """Of several sizes of the same thing, the one that comes first."""
    found: dict[str, Change] = {}
    for change in changes:
        found.setdefault(re.sub(r"[\d.]+", "", change.text), change)
    return list(found.values())


def _known_changes(run: RunShape, hardware: Hardware) -> Iterator[tuple[str, str, RunShape, Hardware]]:
    """What may be changed: text, effect, and the settings with it; from those that change least."""

    def changed(text: str, effect: str, **values: object) -> tuple[str, str, RunShape, Hardware]:
        return text, effect, replace(run, **values), hardware  # type: ignore[arg-type]

    for micro_batch in _halves(run.micro_batch_tokens, run.max_episode_tokens):
        yield changed(
            f"[learner] micro_batch_tokens = {micro_batch}", "the same result, slower", micro_batch_tokens=micro_batch
        )
    for batch in _halves(run.max_batch_tokens, run.max_episode_tokens):
        yield changed(f"[sampling] max_batch_tokens = {batch}", "the same result, slower", max_batch_tokens=batch)
    if run.sampler == "vllm":
        for share in (0.3, 0.2, 0.1):
            if share < run.vllm_share:
                text = f"[sampling] vllm_options = {{gpu_memory_utilization = {share}}}"
                yield changed(text, "vLLM writes fewer episodes at a time", vllm_share=share)
    for cached in _halves(run.max_cached_tokens, run.max_cached_tokens // 8):
        yield changed(
            f"[sampling] max_cached_tokens = {cached}",
            "the same result, read anew more often",
            max_cached_tokens=cached,
        )
    if run.workers > 1:
        yield changed("[run] workers = 1", "the same result, perhaps slower", workers=1)
    if not run.gradient_checkpointing:
        yield changed(
            "[learner] gradient_checkpointing = true",
            "the same result, about a third more time to update",
            gradient_checkpointing=True,
        )
    for longest in _halves(run.max_episode_tokens, round(2 * run.episode_tokens)):
        micro_batch = min(run.micro_batch_tokens, longest)
        yield changed(
            f"[rollout] max_episode_tokens = {longest} and [learner] micro_batch_tokens = {micro_batch}",
            "longer episodes are cut",
            max_episode_tokens=longest,
            micro_batch_tokens=micro_batch,
        )
    if run.dtype == "float32":
        yield changed('[model] dtype = "bfloat16"', "rounds activations; weights keep float32 copies", dtype="bfloat16")
    rounded = "no float32 copies: updates are rounded at random"
    if run.dtype == "bfloat16" and not run.lora_rank:
        if run.masters == "float32":
            yield changed('[optimizer] masters = "none"', rounded, masters="none")
        if run.has_critic and run.critic_masters == "float32":
            yield changed('[critic] masters = "none"', rounded, critic_masters="none")
    if run.has_critic and run.critic_optimizer != "adafactor":
        yield changed('[critic] kind = "adafactor"', "another optimizer of the critic", critic_optimizer="adafactor")
    if run.optimizer != "adafactor":
        yield changed('[optimizer] kind = "adafactor"', "another optimizer", optimizer="adafactor")
    if not run.lora_rank:
        yield changed("[lora] rank = 32", "trains adapters instead of all weights", lora_rank=32)
    if run.has_reference:
        yield changed("[training] kl_coef = 0", "nothing holds the policy near its first weights", has_reference=False)
    if run.has_critic:
        yield changed('[run] algorithm = "grpo"', "another algorithm, without a critic", has_critic=False)
    if hardware.is_gpu:
        for num_devices in (2, 4, 8):
            if num_devices > hardware.num_devices:
                devices = replace(hardware, num_devices=num_devices)
                text = f'[scale] num_learners = {num_devices}, with executor = "ray", on {num_devices} GPUs'
                yield text, "shards the states; the same result", run, devices


def _halves(value: int, least: int) -> Iterator[int]:
    """Half of a value, half of that, and so on, down to `least`, once."""
    while value > least:
        value = max(value // 2, least)
        yield value
