"""Two engines behind one: simulated by default, and real with a probability, up to a budget, or by rule."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from zs_env.curriculum import check_probability
from zs_env.engines.around.base import ask, ask_now, failed, kind_of, name_of, together, with_metadata
from zs_env.engines.around.budgeted import Budget, BudgetedEngine
from zs_env.engines.around.compose import around
from zs_env.engines.around.keys import uses_draw
from zs_env.engines.around.ledger import Spent
from zs_env.engines.draws import Draws
from zs_env.engines.freshness import check_since_year, find_freshness
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine, SearchRequest, SearchResult

__all__ = ["Fallback", "HybridEngine", "Route", "RouteReason", "Rule", "hybrid"]

T = TypeVar("T")

Route = Literal["simulated", "real"]
"""Which side answered."""

RouteReason = Literal["default", "probability", "rule", "fallback", "budget"]
"""Why it was that side.

- `default`: nothing sent the search to the real side.
- `probability`: the draw did.
- `rule`: the rule did; `route_rule` says by what.
- `fallback`: the other side was asked first and failed; `route_error` says how.
- `budget`: the real side was to answer, but its budget is used up.
"""

Fallback = Literal["simulated", "real", "both"]
"""Which side stands in for the other when that one fails."""

Rule = Callable[[SearchRequest], object]
"""Whether a search goes to the real side: anything that counts as true, best a text that says why."""

_DRAWN = 1_000_000
_Chain = Generator[tuple[Route, list[SearchRequest]], list[SearchResult], list[SearchResult]]


class HybridEngine:
    """Sends each search to a simulated or to a real engine, and says in the result which one answered.

    Where a search goes is decided by the search alone, so that equal requests take equal routes as long as the budget
    lasts: to the real side if the rule says so, else with `real_probability`, drawn from the request's seed, else to
    the simulated one. A batch is split, both parts are asked at the same time, and results stand in order.

    A result is its engine's own, with this metadata added: `route`, `route_reason`, `quality_applied` (whether the
    drawn quality meant anything to who answered: real engines give what they find), and, as far as they apply,
    `route_rule`, `route_first` (the reason for the side that was asked first) and `route_error` (how that one failed).
    An error never becomes a document.

    Args:
        simulated: The engine that simulates.
        real: The real one.
        real_probability: The chance that a search goes to the real side, in [0, 1].
        real_budget: What the real side may use up: a `Budget` or a mapping of its fields. It is put aside before a
            request is sent. Once it is used up, searches go to the simulated side, whatever `fallback` says; with
            `on_spent="stop"` the run ends instead.
        rule: "freshness" (questions and queries about now, see `freshness`), or a function of the request.
        since_year: Of the rule "freshness": a year from this one on counts as now. Best the first year that the
            simulator's model can't have read about.
        fallback: Who stands in for the other when that one fails: "simulated" for the real side, "real" for the
            simulated one, "both" for each other; None: a failed search stays failed.

    Raises:
        ConfigError: A value is wrong.

    Examples:
        >>> from zs_env.engines import ScriptedEngine, TemplateEngine
        >>> engine = HybridEngine(TemplateEngine(), ScriptedEngine("From the web.", name="web"), rule="freshness")
        >>> engine.route_of("Who is the current president of Kenya?"), engine.route_of("the capital of Kenya")
        (('real', 'rule', 'current'), ('simulated', 'default', None))
    """

    search_now: Callable[[Sequence[SearchRequest]], list[SearchResult]]

    def __init__(
        self,
        simulated: SearchEngine,
        real: SearchEngine,
        *,
        real_probability: float = 0.0,
        real_budget: Budget | Mapping[str, Any] | None = None,
        rule: Literal["freshness"] | Rule | None = None,
        since_year: int | None = None,
        fallback: Fallback | None = "simulated",
    ) -> None:
        self.real_probability = check_probability("real_probability", real_probability)
        self.fallback = _checked_fallback(fallback)
        self._since_year = check_since_year(since_year)
        if rule is not None and rule != "freshness" and not callable(rule):
            raise ConfigError(f"rule is 'freshness', a function of the request, or None; got {rule!r}.")
        if since_year is not None and rule != "freshness":
            raise ConfigError(f"since_year (got {since_year!r}) belongs to the rule 'freshness'; got rule={rule!r}.")
        if not real_probability and rule is None and fallback in (None, "simulated"):
            raise ConfigError(
                "Nothing would ever go to the real engine: give real_probability over 0, rule='freshness', or "
                f"fallback='real' or 'both' (got {fallback!r})."
            )
        for side, engine in (("simulated", simulated), ("real", real)):
            if not callable(getattr(engine, "search", None)):
                raise ConfigError(f"{side} must be an engine with an async search(requests) method; got {engine!r}.")
        self.rule = rule
        self.budgeted = None if real_budget is None else BudgetedEngine(real, real_budget)
        self._engines: dict[Route, SearchEngine] = {"simulated": simulated, "real": self.budgeted or real}
        self._inner = (simulated, real)
        if all(callable(getattr(engine, "search_now", None)) for engine in self._inner):
            self.search_now = self._search_now

    @property
    def name(self) -> str:
        """The engine's name in records; a result has the name of who answered."""
        return "hybrid"

    @property
    def spent(self) -> Spent | None:
        """What the real side used up of its budget; None without one."""
        return None if self.budgeted is None else self.budgeted.spent

    @property
    def fingerprint(self) -> str:
        """What tells it from others: both engines and how searches are shared between them, but for the budget."""
        told: list[Any] = [[name_of(engine), getattr(engine, "fingerprint", None)] for engine in self._inner]
        rule = self.rule
        told += [self.real_probability, self.fallback, self._since_year]
        told += [getattr(rule, "__qualname__", type(rule).__name__) if callable(rule) else rule]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    @property
    def uses_draw(self) -> bool:
        """Whether answers depend on the draw: those of either side may, and so may the way there."""
        return self.rule is not None or 0 < self.real_probability < 1 or any(map(uses_draw, self._inner))

    def route_of(
        self, query: str, *, question: str = "", seed: int | None = None
    ) -> tuple[Route, RouteReason, str | None]:
        """Where a search would go first, why, and by what words.

        Args:
            query: The query.
            question: The question's text, which the rule "freshness" reads too.
            seed: The draw; None leaves the probability out.
        """
        if self.rule == "freshness":
            for text in (query, question):
                if found := find_freshness(text, since_year=self._since_year):
                    return "real", "rule", found
        if seed is not None and Draws(seed * 3 + 4).below(_DRAWN) < self.real_probability * _DRAWN:
            return "real", "probability", None
        return "simulated", "default", None

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request; both sides are asked at the same time."""
        order, chains = self._split(requests)
        return _joined(order, await together(*map(self._drive, chains)))

    def _search_now(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        order, chains = self._split(requests)
        return _joined(order, list(map(self._drive_now, chains)))

    def _split(self, requests: Sequence[SearchRequest]) -> tuple[list[list[int]], list[_Chain]]:
        """For each side that is asked first, the places of its requests and what is to be done with them."""
        places: dict[Route, list[int]] = {"simulated": [], "real": []}
        told: list[dict[str, Any]] = []
        broken: dict[int, SearchResult] = {}
        for place, request in enumerate(requests):
            notes: dict[str, Any] = {}
            try:
                route, notes = self._decide(request)
            except Exception as error:  # a rule of the user's own
                broken[place] = failed(self.name, f"The rule raised {type(error).__name__}: {error}", "raised")
            else:
                places[route].append(place)
            told.append(notes)
        order: list[list[int]] = []
        chains: list[_Chain] = []
        for side, some in places.items():
            if some:
                order.append(some)
                chains.append(self._chain(side, [requests[place] for place in some], [told[place] for place in some]))
        if broken:
            order.append(list(broken))
            chains.append(_finished(list(broken.values())))
        return order, chains

    def _decide(self, request: SearchRequest) -> tuple[Route, dict[str, Any]]:
        if callable(self.rule) and (found := self.rule(request)):
            said = {"route_rule": found} if isinstance(found, str) else {}
            return "real", {"route_reason": "rule", **said}
        route, reason, words = self.route_of(request.query, question=request.question.question, seed=request.seed)
        return route, {"route_reason": reason} | ({} if words is None else {"route_rule": words})

    def _chain(self, first: Route, requests: list[SearchRequest], told: list[dict[str, Any]]) -> _Chain:
        """Ask one side, then the other for what failed there, as far as that is wanted."""
        second: Route = "simulated" if first == "real" else "real"
        results = yield first, requests
        again = [place for place, result in enumerate(results) if self._goes_on(second, result)]
        stand_ins = (yield second, [requests[place] for place in again]) if again else []
        by_place = dict(zip(again, stand_ins, strict=True))
        return [
            self._told(first, second, result, by_place.get(place), notes)
            for place, (result, notes) in enumerate(zip(results, told, strict=True))
        ]

    def _goes_on(self, second: Route, result: SearchResult) -> bool:
        if result.error is None:
            return False
        return self.fallback in (second, "both") or (second == "simulated" and self._is_spent(result))

    def _is_spent(self, result: SearchResult) -> bool:
        return self.budgeted is not None and kind_of(result) == "budget"

    def _told(
        self,
        first: Route,
        second: Route,
        result: SearchResult,
        stand_in: SearchResult | None,
        notes: Mapping[str, Any],
    ) -> SearchResult:
        """The result to give, with all that there is to say of its way."""
        if stand_in is None:
            return with_metadata(result, route=first, quality_applied=first == "simulated", **notes)
        if stand_in.error is not None and second == "real" and self._is_spent(stand_in):
            return with_metadata(result, route=first, quality_applied=True, **notes, route_fallback="budget")
        more = {**notes, "route_first": notes.get("route_reason"), "route_error": result.error}
        more["route_reason"] = "budget" if self._is_spent(result) else "fallback"
        if stand_in.error is not None:
            both = f"{stand_in.error} (and before that the {first} engine: {result.error})"
            stand_in = replace(stand_in, error=both)
        paid = replace(stand_in, cost=result.cost + stand_in.cost, latency_s=result.latency_s + stand_in.latency_s)
        return with_metadata(paid, route=second, quality_applied=second == "simulated", **more)

    async def _drive(self, chain: _Chain) -> list[SearchResult]:
        try:
            side, requests = next(chain)
            while True:
                side, requests = chain.send(await ask(self._engines[side], requests))
        except StopIteration as stop:
            return _results_of(stop)
        finally:
            chain.close()

    def _drive_now(self, chain: _Chain) -> list[SearchResult]:
        try:
            side, requests = next(chain)
            while True:
                side, requests = chain.send(ask_now(self._engines[side], requests))
        except StopIteration as stop:
            return _results_of(stop)
        finally:
            chain.close()

    def close(self) -> None:
        """Close both engines, as far as they can be."""
        for engine in self._inner:
            if callable(close := getattr(engine, "close", None)):
                close()

    async def aclose(self) -> None:
        """Close both engines on their event loop, as far as they can be."""
        for engine in self._inner:
            if callable(aclose := getattr(engine, "aclose", None)):
                await aclose()
            elif callable(close := getattr(engine, "close", None)):
                close()

    def __copy__(self) -> HybridEngine:
        return self

    def __deepcopy__(self, memo: object) -> HybridEngine:
        return self


def _results_of(stop: StopIteration) -> list[SearchResult]:
    results: list[SearchResult] = stop.value
    return results


def _finished(results: list[SearchResult]) -> _Chain:
    yield from ()
    return results


def _joined(order: Sequence[Sequence[int]], parts: Sequence[Sequence[SearchResult]]) -> list[SearchResult]:
    found = {
        place: result
        for places, results in zip(order, parts, strict=True)
        for place, result in zip(places, results, strict=True)
    }
    return [found[place] for place in range(len(found))]


def _checked_fallback(fallback: Any) -> Fallback | None:
    if fallback not in ("simulated", "real", "both", None):
        raise ConfigError(f"fallback is 'simulated', 'real', 'both' or None; got {fallback!r}.")
    checked: Fallback | None = fallback
    return checked


def hybrid(
    *,
    real: str | Mapping[str, Any] | SearchEngine,
    simulated: str | Mapping[str, Any] | SearchEngine = "template",
    real_probability: float = 0.0,
    real_budget: Budget | Mapping[str, Any] | None = None,
    rule: Literal["freshness"] | Rule | None = None,
    since_year: int | None = None,
    fallback: Fallback | None = "simulated",
    simulation_llm: str | None = None,
    base_url: str | Sequence[str] | None = None,
    check: bool | None = None,
) -> HybridEngine:
    """The engine of `search_mode="hybrid"`.

    Args:
        real: The real side: a search mode, an engine, or a mapping with `search_mode`, that mode's options and, if
            wanted, `around`: a mapping of what `zs_env.engines.around.around` is to put around it, such as
            `{"cache": "web.sqlite", "tries": 3}`.
        simulated: The simulated side, in the same ways; "template" if left out, or "simulate_prompt" if
            `simulation_llm` or `base_url` is given.
        real_probability: See `HybridEngine`, as for all until `fallback`.
        real_budget: What the real side may use up. A cached result uses nothing.
        rule: Which searches go to the real side whatever is drawn.
        since_year: A year from this one on counts as now.
        fallback: Who stands in for the other when that one fails.
        simulation_llm: Of the simulated side.
        base_url: Of the simulated side.
        check: Of the simulated side.

    Raises:
        ConfigError: A value is wrong, or a side's mode is unknown or doesn't take an option.
    """
    llm = {"simulation_llm": simulation_llm, "base_url": base_url, "check": check}
    given = {name: value for name, value in llm.items() if value is not None}
    if given and simulated == "template":
        simulated = "simulate_prompt"
    return HybridEngine(
        _side("simulated", simulated, given),
        _side("real", real, {}),
        real_probability=real_probability,
        real_budget=real_budget,
        rule=rule,
        since_year=since_year,
        fallback=fallback,
    )


def _side(side: Route, told: Any, given: Mapping[str, Any]) -> SearchEngine:
    """The engine of one side, from whatever names it."""
    from zs_env.engines import make_engine

    if isinstance(told, str):
        told = {"search_mode": told}
    if not isinstance(told, Mapping):
        if given:
            raise ConfigError(f"{side} is an engine: leave out {', '.join(given)}, or name a search mode instead.")
        engine: SearchEngine = told
        return engine
    options = dict(told)
    mode, wrappers = options.pop("search_mode", None), options.pop("around", {})
    if not isinstance(mode, str) or mode == "hybrid":
        raise ConfigError(
            f"{side} names a search mode other than 'hybrid', as in {{'search_mode': 'bm25', 'corpus': …}}; "
            f"got {dict(told)!r:.200}."
        )
    twice = sorted(set(options) & set(given))
    if twice:
        raise ConfigError(f"{', '.join(twice)} is given twice, for the engine and in {side}: leave one of them out.")
    if not isinstance(wrappers, Mapping):
        raise ConfigError(f"around of {side} is a mapping, such as {{'cache': 'web.sqlite'}}; got {wrappers!r:.100}.")
    known = [name for name in inspect.signature(around).parameters if name != "engine"]
    if unknown := [name for name in wrappers if name not in known]:
        raise ConfigError(
            f"around of {side} doesn't take {', '.join(map(repr, unknown))}; it takes {', '.join(known)}."
        )
    return around(lambda: make_engine(mode, **options, **given), **wrappers)
