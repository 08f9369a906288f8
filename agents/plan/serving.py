"""A model that writes on one or a few GPUs of a machine, and what crosses between GPUs: the parts of `scaling`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from agents.plan.cluster import ClusterNumbers
from agents.plan.hardware import Hardware
from agents.plan.memory import cache_bytes_per_token
from agents.plan.settings import Assumptions, Precision
from agents.plan.shapes import ModelShape
from agents.plan.timing import pass_seconds, prefill_seconds

__all__ = ["Server", "exchange_seconds", "longest_of", "make_server"]


def longest_of(count: float, spread: float) -> float:
    """About how long the longest of so many is, as a multiple of the mean: 1 + spread·√(2·ln count).

    Naively, the expected largest of as many draws of a normal distribution, of which this is an upper bound: for ten
    draws two fifths too far above the mean, for a thousand a seventh.

    Args:
        count: Draws, at least 1.
        spread: Their standard deviation, as a share of the mean.

    Examples:
        >>> longest_of(1, 0.5), round(longest_of(320, 0.5), 2)
        (1.0, 2.7)
    """
    return 1 + spread * math.sqrt(2 * math.log(max(count, 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A model that writes, spread over some GPUs of one machine (tensor parallel).

    Attributes:
        shape: The model.
        precision: Of its weights.
        hardware: Its GPUs, taken as one that is as many times faster and larger.
        assumptions: How well it computes; what the GPUs tell each other is among a layer's overhead.
        rows: How many texts it has room for at once; below 1 it doesn't fit.
        missing_gb: Memory that it lacks on each GPU to hold the longest text; 0 where it fits.
    """

    shape: ModelShape
    precision: Precision
    hardware: Hardware
    assumptions: Assumptions
    rows: float
    missing_gb: float
    _answers: dict[tuple[int, float, float], float] = field(default_factory=dict, compare=False, repr=False)

    @property
    def fits(self) -> bool:
        """Whether there is memory for the weights and one text of the longest kind."""
        return not self.missing_gb

    def pass_seconds(self, rows: float, context: float) -> float:
        """A pass that writes a token in each row, of which each looks at so many tokens."""
        return pass_seconds(self.shape, self.precision, self.hardware, self.assumptions, rows=rows, context=context)

    def answer_seconds(self, rows: int, *, prompt: float, tokens: float) -> float:
        """Reading so many prompts and writing as many answers of one length, side by side."""
        key = (rows, prompt, tokens)
        if key not in self._answers:
            reading = prefill_seconds(self.shape, self.hardware, self.assumptions, rows=rows, prompt=prompt)
            self._answers[key] = reading + tokens * self.pass_seconds(rows, prompt + tokens / 2)
        return self._answers[key]


def make_server(
    shape: ModelShape,
    precision: Precision,
    hardware: Hardware,
    assumptions: Assumptions,
    numbers: ClusterNumbers,
    *,
    num_gpus: int,
    longest: float,
    mean: float,
    shared_gb: float = 0.0,
    most_rows: float = math.inf,
) -> Server:
    """A model on some GPUs of one machine.

    A share `memory_share` of each GPU holds its part of the weights and what Python takes; the rest is for keys and
    values, of which there is room for texts of mean length, and must be for one of the longest.

    Args:
        shape: The model.
        precision: Of its weights.
        hardware: Each GPU.
        assumptions: How well it computes.
        numbers: What a cluster adds.
        num_gpus: How many GPUs; more than the model has key heads would hold some of them twice.
        longest: Tokens of the longest text.
        mean: Tokens of a mean text when it is done.
        shared_gb: What others take of each GPU.
        most_rows: The most texts at once, however much memory there is.
    """
    weights = shape.num_parameters * precision.weight / num_gpus
    cache = cache_bytes_per_token(shape, precision) / num_gpus
    whole = (hardware.memory_gb - shared_gb) * 1e9 * numbers.memory_share
    room = whole - weights - assumptions.runtime_gb * 1e9
    if num_gpus > 1:
        assumptions = replace(assumptions, layer_overhead_us=assumptions.layer_overhead_us + 2 * numbers.allreduce_us)
    joined = replace(
        hardware,
        peak_tflops=hardware.peak_tflops * num_gpus,
        bandwidth_gb_s=hardware.bandwidth_gb_s * num_gpus,
        memory_gb=hardware.memory_gb * num_gpus,
    )
    return Server(
        shape=shape,
        precision=precision,
        hardware=joined,
        assumptions=assumptions,
        rows=min(max(room, 0.0) / (mean * cache), most_rows),
        missing_gb=max(longest * cache - room, 0.0) / 1e9,
    )


def exchange_seconds(num_bytes: float, num_gpus: int, numbers: ClusterNumbers, *, messages: int = 1) -> float:
    """Seconds in which each of so many GPUs is given all that they hold together, or the sum of what each has of it.

    A ring, as NCCL makes it (its naive equivalent: everybody sends its part to everybody): each GPU takes in what the
    others hold, within a machine over NVLink; each machine what the other machines hold, over the network. The slower
    of the two counts, and a hop for each other GPU and message.

    Args:
        num_bytes: All of it.
        num_gpus: Who share it; 1 has it already.
        numbers: What the links do.
        messages: In how many parts it goes.
    """
    if num_gpus <= 1:
        return 0.0
    machines = math.ceil(num_gpus / numbers.gpus_per_node)
    within = num_bytes * (1 - 1 / num_gpus) / numbers.nvlink_gb_s
    across = num_bytes * (1 - 1 / machines) / numbers.network_gb_s
    hops = messages * (num_gpus - 1) * numbers.hop_us * 1e-6
    return max(within, across) / 1e9 / numbers.link_share + hops
