"""Finding stop strings in tokens as they come, without decoding every token of every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["StopMatcher"]


class StopMatcher:
    """Tells whether a stop string is complete in what was sampled.

    Only a token that could hold a stop string's last character makes it look, which is decided for all rows at once
    from a table; then the row's new tokens are decoded together, so a stop string may span tokens, end inside one, or
    hold a character that is split between two.

    Args:
        tokenizer: A transformers tokenizer.
        decode: How ids become text.
        stop_strings: What to look for.
        vocabulary_size: The number of logits, which may exceed the tokenizer's own vocabulary.
    """

    def __init__(
        self,
        tokenizer: Any,
        decode: Callable[[Sequence[int]], str],
        stop_strings: Sequence[str],
        vocabulary_size: int,
    ) -> None:
        self.stop_strings = tuple(stop_strings)
        self._decode = decode
        last = {stop[-1] for stop in self.stop_strings}
        # A token with only a part of a character decodes to U+FFFD by itself; it may complete a character that is not
        # ASCII.
        if any(not char.isascii() for char in last):
            last.add("\N{REPLACEMENT CHARACTER}")
        texts = tokenizer.batch_decode(
            [[token] for token in range(min(len(tokenizer), vocabulary_size))],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        self._may_complete = torch.zeros(vocabulary_size, dtype=torch.bool)
        if last:
            hits = [token for token, text in enumerate(texts) if not last.isdisjoint(text)]
            self._may_complete[hits] = True

    def may_complete(self, tokens: Tensor) -> Tensor:
        """[B], bool: whether each of these newest tokens ([B], ids) could complete a stop string."""
        return self._may_complete[tokens]

    def completes(self, ids: Sequence[int]) -> bool:
        """Whether the text of the ids holds a stop string."""
        text = self._decode(ids)
        return any(stop in text for stop in self.stop_strings)
