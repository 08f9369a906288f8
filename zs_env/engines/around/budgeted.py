"""No more searches than the budget allows: in requests, tokens and money."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from zs_env.curriculum import check_whole
from zs_env.engines.around.base import Steps, Wrapper, failed
from zs_env.engines.around.ledger import Ledger, Spent
from zs_env.errors import BudgetError, ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["Budget", "BudgetedEngine", "tokens_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What searches may use up; what is None isn't limited.

    Attributes:
        requests: Searches, failed ones included.
        tokens: Tokens that engines report; see `tokens_of`.
        cost: Money that engines report (`SearchResult.cost`), in the unit of their price tables.
        path: A file in which the counters survive a restart, and which several processes and runs may share; None
            counts anew.
        on_spent: What happens once it is used up: "error" (searches fail, and say so) or "stop" (`BudgetError` is
            raised, which ends the run).
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    path: str | None = None
    on_spent: Literal["error", "stop"] = "error"

    def __post_init__(self) -> None:
        for name in ("requests", "tokens"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=0)
        if self.cost is not None and not (isinstance(self.cost, (int, float)) and 0 <= self.cost < float("inf")):
            raise ConfigError(f"cost of a budget is a number that isn't negative; got {self.cost!r}.")
        if self.requests is None and self.tokens is None and self.cost is None:
            raise ConfigError("A budget limits requests, tokens or cost: give at least one of them.")
        if self.on_spent not in ("error", "stop"):
            raise ConfigError(f"on_spent must be 'error' or 'stop'; got {self.on_spent!r}.")

    @classmethod
    def of(cls, given: Budget | Mapping[str, Any]) -> Budget:
        """A budget, also from a mapping of plain values.

        Raises:
            ConfigError: A key is unknown or a value is wrong.
        """
        if isinstance(given, Budget):
            return given
        known = [item.name for item in fields(cls)]
        if not isinstance(given, Mapping) or set(given) - set(known):
            raise ConfigError(f"A budget is a mapping with some of {', '.join(known)}; got {given!r}.")
        return cls(**given)


def tokens_of(result: SearchResult) -> int:
    """The tokens that a result's metadata report.

    They are in `input_tokens` and `output_tokens`, in `usage` as OpenAI's API gives it, or in `tokens`; else 0.
    """
    metadata = result.metadata or {}
    usage = metadata.get("usage")
    places = [metadata, usage] if isinstance(usage, Mapping) else [metadata]
    for names in (
        ("total_tokens",),
        ("input_tokens", "output_tokens"),
        ("prompt_tokens", "completion_tokens"),
        ("tokens",),
    ):
        for place in places:
            counts = [int(place[name]) for name in names if _is_count(place.get(name))]
            if counts:
                return sum(counts)
    return 0


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _price_of(engine: Any) -> float:
    """What a search costs, where the engine, or the one that it is around, knows before; else 0."""
    while engine is not None:
        price = getattr(engine, "price_per_search", None)
        if price is not None and _is_count(price):
            return float(price)
        engine = getattr(engine, "engine", None)
    return 0.0


class BudgetedEngine(Wrapper):
    """Counts what searches use up, and asks no more once the budget is.

    What a search will use is put aside before it is asked: one request, and as many tokens and as much money as the
    dearest search so far; for the first ones, the price that the engine tells (`price_per_search`), if it does. So
    callers at the same time can't overspend by more than what is under way beyond that. What
    was put aside for a search that is cancelled, or that a kill took, stays counted.

    Args:
        engine: What is asked. Its cached results count nothing.
        budget: The limits, as a `Budget` or a mapping of its fields.
        ledger: Counters to share with other engines, for example replicas; left out: its own, in `budget.path`.

    Raises:
        ConfigError: The budget is wrong, or its file can't be used.
    """

    def __init__(
        self, engine: SearchEngine, budget: Budget | Mapping[str, Any], *, ledger: Ledger | None = None
    ) -> None:
        super().__init__(engine)
        self._budget = Budget.of(budget)
        self._ledger = ledger or Ledger(self._budget.path)
        self._lock = threading.Lock()
        self._dearest = Spent(1, 0, _price_of(engine))

    @property
    def spent(self) -> Spent:
        """What was used up so far, with what is put aside for searches under way."""
        return self._ledger.spent()

    def _steps(self, requests: list[SearchRequest]) -> Steps:
        if not requests:
            return []
        budget, aside = self._budget, self._dearest
        limits = (budget.requests, budget.tokens, budget.cost)
        stops = budget.on_spent == "stop"
        try:
            admitted, spent = self._ledger.reserve(len(requests), aside, limits, all_or_nothing=stops)
        except (sqlite3.Error, ConfigError) as error:
            broken = f"Nothing is searched, for the budget's file can't be written: {error}."
            return [failed(self.name, broken, "unwritten")] * len(requests)
        if admitted < len(requests) and stops:
            raise BudgetError(self._explain(spent))
        results = (yield requests[:admitted]) if admitted else []
        self._settle(results, aside)
        return results + [failed(self.name, self._explain(spent), "budget")] * (len(requests) - admitted)

    def _settle(self, results: Sequence[SearchResult], aside: Spent) -> None:
        used = [
            Spent(0, 0, 0.0) if result.cached else Spent(1, tokens_of(result), float(result.cost)) for result in results
        ]
        if not used:
            return
        with self._lock:
            self._dearest = Spent(
                1,
                max(self._dearest.tokens, *(one.tokens for one in used)),
                max(self._dearest.cost, *(one.cost for one in used)),
            )
        try:
            self._ledger.add(
                Spent(
                    sum(one.requests for one in used) - len(used) * aside.requests,
                    sum(one.tokens for one in used) - len(used) * aside.tokens,
                    sum(one.cost for one in used) - len(used) * aside.cost,
                )
            )
        except (sqlite3.Error, ConfigError) as error:
            warnings.warn(f"The budget's file can't be written: {error}.", RuntimeWarning, stacklevel=2)

    def _explain(self, spent: Spent) -> str:
        limits = {"requests": self._budget.requests, "tokens": self._budget.tokens, "cost": self._budget.cost}
        parts = [
            f"{round(getattr(spent, name), 6)} of {limit} {name}" for name, limit in limits.items() if limit is not None
        ]
        return (
            f"The budget for searches is used up: {', '.join(parts)}, with what is put aside for searches under way. "
            "Give a larger one to go on."
        )
