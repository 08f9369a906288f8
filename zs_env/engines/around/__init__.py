"""What can be put around any search engine; each is a search engine itself.

`around(engine, cache=…, tries=…, …)` puts several of them on in the right order, and says why it is that one.
"""

from zs_env.engines.around.base import Wrapper
from zs_env.engines.around.breaker import BreakerEngine
from zs_env.engines.around.budgeted import Budget, BudgetedEngine
from zs_env.engines.around.cached import CachedEngine
from zs_env.engines.around.compose import around
from zs_env.engines.around.ledger import Ledger
from zs_env.engines.around.limited import LimitedEngine
from zs_env.engines.around.recording import RecordingEngine
from zs_env.engines.around.replay import ReplayEngine
from zs_env.engines.around.replicated import ReplicatedEngine
from zs_env.engines.around.retrying import RetryingEngine, is_worth_retrying
from zs_env.engines.around.timeout import TimeoutEngine

__all__ = [
    "BreakerEngine",
    "Budget",
    "BudgetedEngine",
    "CachedEngine",
    "Ledger",
    "LimitedEngine",
    "RecordingEngine",
    "ReplayEngine",
    "ReplicatedEngine",
    "RetryingEngine",
    "TimeoutEngine",
    "Wrapper",
    "around",
    "is_worth_retrying",
]
