"""Rounds in which every library plays the same, in turns, and what they come to."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.fanout_server import FanoutServer
from benchmarks.peers.program import Program

__all__ = ["Arm", "StepCost", "TurnCost", "arms_of", "measure_steps", "measure_turns"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to play of one library.

    Attributes:
        program: Its program.
        way: The way's name.
        drives: Which functions of the library the program calls.
    """

    program: Program
    way: str
    drives: str


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What a step of one environment costs, its search free and resets included.

    Attributes:
        side: The library.
        way: How it plays.
        drives: Which of its functions are called.
        num_envs: How many environments are played at the same time.
        step_us: Microseconds a step, the median of the rounds.
        step_us_range: The least and the most.
        cpu_us: Microseconds of the process's processor time a step, the median.
        ratio: The time over that of ours in the same round, the median; above 1 is slower than ours.
        ratio_range: The least and the most.
        characters: How much the loop read a step.
    """

    side: str
    way: str
    drives: str
    num_envs: int
    step_us: float
    step_us_range: tuple[float, float]
    cpu_us: float
    ratio: float
    ratio_range: tuple[float, float]
    characters: float


@dataclass(frozen=True, kw_only=True)
class TurnCost:
    """What one search turn of many episodes costs.

    Attributes:
        episodes: How many search.
        connections: "warm" (right after a turn that isn't timed) or "cold" (none is open).
        side: The library.
        way: How it plays.
        drives: Which of its functions are called.
        median_s: Seconds a turn, the median of the rounds.
        range_s: The least and the most.
        cpu_ms: Milliseconds of the process's processor time a turn, the median.
        latencies: The median as a multiple of the server's latency.
        ratio: The time over that of ours in the same round, the median; above 1 is slower than ours.
        ratio_range: The least and the most.
        requests: Requests that the server saw in a turn, the fewest and the most.
        distinct: How many of them were different, the fewest.
        peak_in_flight: The most that were there together in a turn, the fewest over the rounds.
        connections_opened: New connections of a turn, the most.
        read: Episodes that read the documents which answer their own question, the fewest.
        said: What one that didn't read them read instead; None if all did.
    """

    episodes: int
    connections: str
    side: str
    way: str
    drives: str
    median_s: float
    range_s: tuple[float, float]
    cpu_ms: float
    latencies: float
    ratio: float
    ratio_range: tuple[float, float]
    requests: tuple[int, int]
    distinct: int
    peak_in_flight: int
    connections_opened: int
    read: int
    said: str | None

    @property
    def as_it_should(self) -> bool:
        """Whether every turn was one request an episode, and every episode read what its request found."""
        return self.requests == (self.episodes, self.episodes) and self.distinct == self.read == self.episodes


def arms_of(programs: Sequence[Program], kind: str, described: Mapping[str, Mapping[str, Any]]) -> list[Arm]:
    """Every way of every library, ours first.

    Args:
        programs: The programs.
        kind: "steps" or "turns".
        described: What each program said of itself, by name.
    """
    return [
        Arm(program=program, way=way, drives=drives)
        for program in programs
        for way, drives in described[program.name][kind].items()
    ]


def measure_steps(arms: Sequence[Arm], *, num_envs: int, num_steps: int, repeats: int) -> list[StepCost]:
    """Time steps whose searches cost nothing.

    Args:
        arms: The ways to play; the first is the one that all are compared to.
        num_envs: How many environments each way plays at the same time.
        num_steps: Steps of each environment in a round.
        repeats: How many rounds, after one that isn't counted.
    """

    def play(arm: Arm) -> dict[str, Any]:
        return arm.program.ask("step", way=arm.way, num_envs=num_envs, num_steps=num_steps)

    rounds = _in_turns(arms, play, repeats)
    steps = num_envs * num_steps
    rows = []
    for arm, answers in zip(arms, rounds, strict=True):
        micros = [answer["seconds"] / steps * 1e6 for answer in answers]
        ratio, ratio_range = _ratio(answers, rounds[0])
        rows.append(
            StepCost(
                side=arm.program.name,
                way=arm.way,
                drives=arm.drives,
                num_envs=num_envs,
                step_us=statistics.median(micros),
                step_us_range=(min(micros), max(micros)),
                cpu_us=statistics.median(answer["cpu_s"] for answer in answers) / steps * 1e6,
                ratio=ratio,
                ratio_range=ratio_range,
                characters=statistics.median(answer["characters"] for answer in answers) / steps,
            )
        )
    return rows


def measure_turns(
    arms: Sequence[Arm], server: FanoutServer, *, episodes: int, latency_s: float, repeats: int
) -> list[TurnCost]:
    """Time search turns of one number of episodes, first with warm and then with cold connections.

    Args:
        arms: The ways to play; the first is the one that all are compared to.
        server: The server.
        episodes: How many search in a turn.
        latency_s: The server's latency.
        repeats: How many rounds, after one that isn't counted.
    """
    rows = []
    for cold in (False, True):

        def play(arm: Arm, cold: bool = cold) -> dict[str, Any]:
            given = {"way": arm.way, "episodes": episodes, "url": server.root_url, "cold": cold}
            if not cold:
                arm.program.ask("turn", **given)
            server.counts()
            return arm.program.ask("turn", **given) | server.counts()

        rounds = _in_turns(arms, play, repeats)
        for arm, answers in zip(arms, rounds, strict=True):
            seconds = [answer["seconds"] for answer in answers]
            requests = [answer["requests"] for answer in answers]
            ratio, ratio_range = _ratio(answers, rounds[0])
            rows.append(
                TurnCost(
                    episodes=episodes,
                    connections="cold" if cold else "warm",
                    side=arm.program.name,
                    way=arm.way,
                    drives=arm.drives,
                    median_s=statistics.median(seconds),
                    range_s=(min(seconds), max(seconds)),
                    cpu_ms=statistics.median(answer["cpu_s"] for answer in answers) * 1000,
                    latencies=statistics.median(seconds) / latency_s,
                    ratio=ratio,
                    ratio_range=ratio_range,
                    requests=(min(requests), max(requests)),
                    distinct=min(answer["distinct"] for answer in answers),
                    peak_in_flight=min(answer["peak_in_flight"] for answer in answers),
                    connections_opened=max(answer["connections_opened"] for answer in answers),
                    read=min(answer["read"] for answer in answers),
                    said=next((answer["said"] for answer in answers if answer["said"]), None),
                )
            )
    for program in {id(arm.program): arm.program for arm in arms}.values():
        program.ask("close")
    return rows


def _in_turns(arms: Sequence[Arm], play: Callable[[Arm], dict[str, Any]], repeats: int) -> list[list[dict[str, Any]]]:
    rounds: list[list[dict[str, Any]]] = [[] for _ in arms]
    for repeat in range(-1, repeats):
        for place in range(len(arms)):
            which = (place + max(repeat, 0)) % len(arms)
            answer = play(arms[which])
            if repeat >= 0:
                rounds[which].append(answer)
    return rounds


def _ratio(answers: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]) -> tuple[float, tuple[float, float]]:
    ratios = [answer["seconds"] / own["seconds"] for answer, own in zip(answers, ours, strict=True)]
    return statistics.median(ratios), (min(ratios), max(ratios))
