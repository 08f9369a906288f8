"""Invented names, so that what is learned is to copy and not to remember.

The atlas' training split has some thousand names; a policy can memorise them. In most demonstrations each of their
words is therefore replaced by an invented one, the same word in the same way throughout. Invented words are made of the
tokenizer's pieces, so every piece is trained, or of two halves of training names. A word that chances to be one of a
held-out name is thrown away and drawn again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from typing import Any

from agents.warmstart.tokenizer import WORD

__all__ = ["Inventor"]

_CALLING_CODE = re.compile(r"\+\d+")
_DOMAIN = re.compile(r"(?<=\s)\.[a-z]{2}\b")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Inventor:
    """Invents words that look like names.

    Args:
        names: The names of the training split.
        words: Words of the templates, which are left alone.
        tokenizer: The tokenizer, for its pieces.
        held_out: Names of the other splits, none of whose words may be invented (those that training names have too
            aside).
    """

    def __init__(
        self, names: Iterable[str], words: frozenset[str], tokenizer: Any, held_out: Iterable[str] = ()
    ) -> None:
        self._words: list[str] = sorted({word for name in names for word in WORD.findall(name)} - words)
        self._replaced = frozenset(self._words)
        others = {word.casefold() for name in held_out for word in WORD.findall(name)}
        self._forbidden = others - {word.casefold() for word in self._words}
        spelled: list[str] = [tokenizer.convert_tokens_to_string([piece]).strip() for piece in tokenizer.get_vocab()]
        pieces = sorted({piece for piece in spelled if WORD.fullmatch(piece) and piece not in words})
        self._heads = [piece for piece in pieces if piece[0].isupper()]
        self._tails = [piece for piece in pieces if piece.islower()]

    def word(self, rng: random.Random) -> str:
        """One invented word, capitalised."""
        while (word := self._draw(rng)).casefold() in self._forbidden:
            pass
        return word

    def _draw(self, rng: random.Random) -> str:
        if rng.random() < 0.5:
            count = rng.choice((0, 1, 1, 2, 2, 3, 4))
            return rng.choice(self._heads) + "".join(rng.choice(self._tails) for _ in range(count))
        first, second = rng.choice(self._words), rng.choice(self._words)
        start = first[: rng.randint(1, max(1, len(first) - 1))]
        end = second[rng.randint(1, max(1, len(second) - 1)) :]
        return start + end.lower()

    def name(self, rng: random.Random) -> str:
        """An invented name of one word, or sometimes of two."""
        return self.word(rng) + (f" {self.word(rng)}" if rng.random() < 0.25 else "")

    def renamer(self, rng: random.Random) -> Callable[[str], str]:
        """A function that replaces names, calling codes and domains in texts, alike in all texts that it is given."""
        chosen: dict[str, str] = {}

        def once(invent: Callable[[], str]) -> Callable[[re.Match[str]], str]:
            return lambda match: chosen.setdefault(match.group(), invent())

        def replace_word(match: re.Match[str]) -> str:
            found = match.group()
            return chosen.setdefault(found, self.word(rng)) if found in self._replaced else found

        code = once(lambda: "+" + "".join(rng.choice("0123456789") for _ in range(rng.choice((1, 2, 3, 3, 4)))))
        domain = once(lambda: f".{rng.choice(_LETTERS)}{rng.choice(_LETTERS)}")

        def rename(text: str) -> str:
            return WORD.sub(replace_word, _DOMAIN.sub(domain, _CALLING_CODE.sub(code, text)))

        return rename
