"""What each question cost, by the prices that a run was told.

    machine = price of an hour × hours that the evaluation took, shared out by the questions' own seconds
    model   = prompt tokens × price of a million + completion tokens × price of a million
    search  = searches × price of 1,000; without such a price, what the engine itself says that they cost

Without any price nothing is claimed. Prices are in one currency, whichever; it isn't converted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.leaderboard.episodes import PlayedEpisode
from zs_env.errors import ConfigError

__all__ = ["Prices", "costs_of", "costs_of_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What things cost; None where it isn't known, and then not counted.

    Attributes:
        per_hour: Of the machine that plays.
        per_million_in: Of a million tokens that a model reads.
        per_million_out: Of a million tokens that it writes.
        per_1000_searches: Of 1,000 searches.

    Raises:
        ConfigError: One isn't a price, or of the two prices of tokens one is missing, or tokens are paid twice.
    """

    per_hour: float | None = None
    per_million_in: float | None = None
    per_million_out: float | None = None
    per_1000_searches: float | None = None

    def __post_init__(self) -> None:
        for name, price in asdict(self).items():
            if price is not None and not (math.isfinite(price) and price >= 0):
                raise ConfigError(f"The price {name} is a number that isn't negative; got {price!r}.")
        if (self.per_million_in is None) != (self.per_million_out is None):
            raise ConfigError("Tokens have two prices: give both --price-in and --price-out (0 if one is free).")
        if self.per_hour is not None and self.per_million_in is not None:
            raise ConfigError(
                "--price-per-hour is for a model on a machine that is paid by the hour, --price-in and --price-out "
                "are for one that is paid by tokens: give one kind."
            )

    @property
    def any_told(self) -> bool:
        """Whether there is a price."""
        return any(price is not None for price in asdict(self).values())

    def on(self, kind: str) -> Prices:
        """They where an engine of this kind answers: what a closed book answers to searches is nothing, and free."""
        if kind != "closed-book" or self.per_1000_searches is None:
            return self
        return replace(self, per_1000_searches=0.0)

    def record(self) -> dict[str, Any]:
        """Them in plain JSON types."""
        return asdict(self)


def costs_of(
    episodes: Sequence[PlayedEpisode], prices: Prices, *, seconds: float
) -> Mapping[tuple[str, int], float] | None:
    """What each question cost, failed ones included; None where nothing is known.

    Args:
        episodes: What was played.
        prices: What things cost.
        seconds: How long the evaluation took. Questions are played side by side, so their own seconds sum to more.
    """
    if not prices.any_told and not any(episode.search_cost for episode in episodes):
        return None
    together_s = math.fsum(episode.seconds for episode in episodes)
    machine = 0.0 if prices.per_hour is None else prices.per_hour * seconds / 3600
    return {
        (episode.set, episode.index): _search_cost(episode, prices)
        + _token_cost(episode, prices)
        + (machine * (episode.seconds / together_s) if together_s > 0 else machine / len(episodes))
        for episode in episodes
    }


def costs_of_record(
    content: Mapping[str, Any], episodes: Sequence[PlayedEpisode]
) -> Mapping[tuple[str, int], float] | None:
    """What each question of a record cost, by the prices that it names.

    Raises:
        ConfigError: It names none that can be read.
    """
    told = content["settings"].get("prices")
    try:
        prices = Prices(**(told or {}))
    except TypeError as error:
        raise ConfigError(f"A record's prices are {sorted(asdict(Prices()))}; got {told!r:.200}.") from error
    return costs_of(episodes, prices.on(content["engine"]["kind"]), seconds=float(content["seconds"]))


def _search_cost(episode: PlayedEpisode, prices: Prices) -> float:
    if prices.per_1000_searches is None:
        return episode.search_cost
    return episode.num_searches * prices.per_1000_searches / 1000


def _token_cost(episode: PlayedEpisode, prices: Prices) -> float:
    read, written = prices.per_million_in or 0.0, prices.per_million_out or 0.0
    return (episode.prompt_tokens * read + episode.completion_tokens * written) / 1e6
