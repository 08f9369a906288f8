"""All wrappers around an engine, in the one right order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.engines.around.breaker import BreakerEngine
from zs_env.engines.around.budgeted import Budget, BudgetedEngine
from zs_env.engines.around.cached import CachedEngine
from zs_env.engines.around.ledger import Ledger
from zs_env.engines.around.limited import LimitedEngine
from zs_env.engines.around.recording import RecordingEngine
from zs_env.engines.around.replay import ReplayEngine
from zs_env.engines.around.replicated import ReplicatedEngine
from zs_env.engines.around.retrying import RetryingEngine
from zs_env.engines.around.timeout import TimeoutEngine
from zs_env.errors import ConfigError
from zs_env.types import SearchEngine

__all__ = ["around"]


def around(
    engine: SearchEngine | Sequence[SearchEngine] | Callable[[], SearchEngine],
    *,
    cache: str | Path | None = None,
    record: str | Path | None = None,
    replay: str | Path | None = None,
    tries: int = 1,
    deadline_s: float | None = None,
    timeout_s: float | None = None,
    max_in_flight: int | None = None,
    breaker: int | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
) -> SearchEngine:
    """Put what is asked for around an engine, each in its place.

    From the outside:

    1. **record**: holds what the caller saw, so that a replay needs neither cache nor engine.
    2. **cache**: what it knows costs no try, no place in the queue and no money.
    3. **tries**, `deadline_s`: outside of what follows, so that each try has its own time, its own place and its own
       costs, and nobody holds a place while pausing.
    4. **max_in_flight**: outside of the time-out, so that waiting for a place isn't held against the engine; outside of
       the breaker, so that those who queued before it opened are turned away when their turn comes.
    5. **replicas**, where several engines are given: what follows is around each of them.
    6. **breaker**: sees time-outs and what the engine raises, and turns away before anything is paid.
    7. **budget**: pays for what really goes to the engine, each try and each replica alike; one budget for all.
    8. **timeout_s**: right around the engine.

    Args:
        engine: What answers; several of them are replicas; a function makes it, and isn't called for a replay.
        cache: The file of `CachedEngine`.
        record: The file of `RecordingEngine`.
        replay: A record to answer from, instead of the engine. All others have nothing to do then, and are left out.
        tries: The most tries of a search; see `RetryingEngine`.
        deadline_s: The most seconds of a call with all its tries, pauses and waiting for a place.
        timeout_s: The most seconds of one try; see `TimeoutEngine`.
        max_in_flight: The most searches at the same time; see `LimitedEngine`.
        breaker: After how many failed searches in a row an engine gets a rest; see `BreakerEngine`. Replicas have one
            in any case.
        budget: What may be used up; see `Budget`.

    Raises:
        ConfigError: A value is wrong, or `record` and `replay` are both given.
    """
    if replay is not None:
        if record is not None:
            raise ConfigError(f"Give either record ({str(record)!r}) or replay ({str(replay)!r}), not both.")
        return ReplayEngine(replay)
    if not isinstance(engine, Sequence) and not callable(getattr(engine, "search", None)) and callable(engine):
        engine = engine()
    limits = None if budget is None else Budget.of(budget)
    ledger = None if limits is None else Ledger(limits.path)

    def guarded(one: SearchEngine) -> SearchEngine:
        if timeout_s is not None:
            one = TimeoutEngine(one, timeout_s)
        if limits is not None:
            one = BudgetedEngine(one, limits, ledger=ledger)
        return one if breaker is None else BreakerEngine(one, failures=breaker)

    made: SearchEngine
    if isinstance(engine, Sequence):
        made = ReplicatedEngine([guarded(one) for one in engine])
    else:
        made = guarded(engine)  # type: ignore[arg-type]
    if max_in_flight is not None:
        made = LimitedEngine(made, max_in_flight)
    if tries != 1 or deadline_s is not None:
        made = RetryingEngine(made, tries=tries, deadline_s=deadline_s)
    if cache is not None:
        made = CachedEngine(made, cache)
    return made if record is None else RecordingEngine(made, record)
