"""Spaces for text of any script (`gymnasium.spaces.Text` wants every character in a finite set)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils.shared_memory import create_shared_memory

__all__ = ["PolicyText", "UnicodeText"]

_SAMPLE_WORDS = (
    "capital",
    "country",
    "of",
    "the",
    "river",
    "Ångström",
    "北京",
    "who",
    "1984",
    "<think>",
    "</search>",
    "🙂",
)


class UnicodeText(spaces.Text):
    """Any text that can be encoded as UTF-8, up to a length.

    Args:
        max_length: The most characters that a member may have.
        seed: The seed of the space's own generator.
    """

    def __init__(self, max_length: int = 2**31 - 1, *, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(max_length, min_length=0, seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is such a text."""
        if not isinstance(x, str) or len(x) > self.max_length:
            return False
        return x.isascii() or not any("\ud800" <= char <= "\udfff" for char in x)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random text; masks mean nothing here and are refused."""
        if mask is not None or probability is not None:
            raise ValueError(
                f"{type(self).__name__} takes neither mask nor probability; got {mask!r}, {probability!r}."
            )
        count = int(self.np_random.integers(1, 6))
        return " ".join(str(word) for word in self.np_random.choice(_SAMPLE_WORDS, size=count))[: self.max_length]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_length={self.max_length})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.max_length == other.max_length

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.max_length))


@create_shared_memory.register(UnicodeText)
def _no_shared_memory(space: UnicodeText, n: int = 1, ctx: Any = None) -> Any:
    raise CustomSpaceError(
        "Text of any length and script doesn't fit into shared memory. Leave vectorization_mode out (the environment's "
        "own vector env needs no processes), or give vector_kwargs={'shared_memory': False}."
    )


class PolicyText(UnicodeText):
    """What a policy may write: any text. Samples are searches, answers and nonsense, so that random play reaches all
    of it.
    """

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A search half of the time, else an answer or a text that is no action."""
        text = super().sample(mask, probability)
        words = text.replace("<think>", "").replace("</search>", "") or "nothing"
        draw = self.np_random.random()
        return f"<search> {words} </search>" if draw < 0.5 else f"<answer> {words} </answer>" if draw < 0.75 else text
