"""Making the small policy that the quickstart starts from, out of nothing but the atlas' training split.

A policy that can't write a query or copy a name out of a document earns no reward, and reinforcement learning has
nothing to begin with. A warm start teaches that much and no more: the tags, queries, reading a document, and copying.
Its demonstrations are deliberately weak. They seldom ask the second question of two, and seldom search again when the
documents don't help, so a policy that has only imitated them rarely does either, and whatever it does of that later,
reinforcement learning has taught it.

Nothing of the validation or test split is in it: not the tokenizer, not the demonstrations, not the invented names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.warmstart.training import WarmStartSettings, warm_start

__all__ = ["WarmStartSettings", "warm_start"]


def __getattr__(name: str) -> Any:
    """Load torch only once something is used, so that the command line's `--help` is quick."""
    if name in __all__:
        from agents.warmstart import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
