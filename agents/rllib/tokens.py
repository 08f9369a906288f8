"""`FixedLengthTokens`: text observations as a fixed number of token ids, for policies whose spaces must be fixed."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError, require

__all__ = ["PADDING", "SEPARATOR", "FixedLengthTokens", "hash_bytes", "hash_words"]

PADDING, SEPARATOR = 0, 1
"""The ids that stand for nothing, and between the question and what came after it."""

_FIRST = 2
_PIECE = re.compile(r"\w+|[^\w\s]")

Cut = Literal["oldest", "newest"]
Tokenize = Callable[[str], Sequence[int]]


def hash_words(text: str, vocab_size: int) -> list[int]:
    """Words and signs, without case, by their hash: ids in [0, vocab_size); two words may share one.

    Examples:
        >>> hash_words("Paris, paris", 100) == [hash_words("paris", 100)[0], hash_words(",", 100)[0]] + [
        ...     hash_words("PARIS", 100)[0]
        ... ]
        True
    """
    return [zlib.crc32(piece.encode()) % vocab_size for piece in _PIECE.findall(text.casefold())]


def hash_bytes(text: str) -> list[int]:
    """The text's UTF-8 bytes: nothing is lost, and everything is long."""
    return list(text.encode())


class FixedLengthTokens(gym.ObservationWrapper[Any, str, str], gym.utils.RecordConstructorArgs):
    """Turns text observations into `length` token ids: the question, a separator, what came after it, padding.

    The question is always there, whole. What came after the prompt (actions and documents) is cut where it doesn't
    fit: the oldest of it goes, or with `cut="newest"` what doesn't fit any more. The prompt's instructions are left
    out; they are the same in every episode.

    RLlib's own networks run on them, and take ids for quantities: they learn next to nothing. A module that makes
    something of ids begins with an embedding, as `agents.rllib.modules.TokenModule` does.

    Args:
        env: A `ZeroSearch-v0`, wrapped or not, whose observations are text.
        length: How many ids.
        tokenizer: "words" (hashed), "bytes", "hf:" and a folder or hub id of a transformers tokenizer; or an object: a
            transformers tokenizer, or a callable from text to ids, with `vocab_size`.
        vocab_size: How many ids the tokenizer gives; of "words" how many it hashes to (4,096). Left out of others that
            know it themselves.
        cut: "oldest" or "newest".
        space: "box", or "multi_discrete", which RLlib would turn into one number for each id and position.
        dtype: "int32"; or, of a box, "float32", since RLlib's own networks multiply observations as they are.

    Attributes:
        vocab_size: How many different ids the observation may hold: the tokenizer's, padding and separator. The
            tokenizer's are moved up by two.
    """

    def __init__(
        self,
        env: gym.Env[str, Any],
        *,
        length: int = 512,
        tokenizer: str | Tokenize | Any = "words",
        vocab_size: int | None = None,
        cut: Cut = "oldest",
        space: Literal["box", "multi_discrete"] = "box",
        dtype: Literal["int32", "float32"] = "int32",
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, length=length, tokenizer=tokenizer, vocab_size=vocab_size, cut=cut, space=space, dtype=dtype
        )
        gym.ObservationWrapper.__init__(self, env)
        if not isinstance(env.observation_space, spaces.Text):
            raise ConfigError(f"Tokens are made of text observations; got {env.observation_space}.")
        self.length = check_whole("length", length, least=2)
        if cut not in get_args(Cut):
            raise ConfigError(f"cut must be 'oldest' or 'newest', of the text that doesn't fit; got {cut!r}.")
        if space not in ("box", "multi_discrete"):
            raise ConfigError(f"space must be 'box' or 'multi_discrete'; got {space!r}.")
        if dtype not in ("int32", "float32") or (dtype == "float32" and space != "box"):
            raise ConfigError(f"dtype must be 'int32' or, of space 'box', 'float32'; got {dtype!r} of space {space!r}.")
        self.cut, self._dtype = cut, np.dtype(dtype)
        self._tokenize, self._num_ids = _make_tokenizer(tokenizer, vocab_size)
        self.vocab_size = self._num_ids + _FIRST
        self._prompt = ""
        self._question: list[int] = []
        self.observation_space = (
            spaces.Box(0, self.vocab_size - 1, (length,), self._dtype.type)
            if space == "box"
            else spaces.MultiDiscrete(np.full(length, self.vocab_size), dtype=np.int32)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Begin an episode, with the question alone.

        Raises:
            ConfigError: The question doesn't fit.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        self._prompt, self._question = info["new_text"], self._ids(info["question"])
        if len(self._question) >= self.length:
            raise ConfigError(
                f"The question {info['question']!r:.100} is {len(self._question)} tokens long, and the question is "
                f"never cut: length={self.length} must be at least {len(self._question) + 1}."
            )
        return self.observation(observation), info

    def observation(self, observation: str) -> npt.NDArray[Any]:
        """The ids of what is observed now."""
        said = self._ids(observation.removeprefix(self._prompt))
        room = self.length - len(self._question) - 1
        said = said[max(len(said) - room, 0) :] if self.cut == "oldest" else said[:room]
        ids = np.full(self.length, PADDING, self._dtype)
        kept = [*self._question, SEPARATOR, *said]
        ids[: len(kept)] = kept
        return ids

    def _ids(self, text: str) -> list[int]:
        ids = [int(number) for number in self._tokenize(text)]
        wrong = next((number for number in ids if not 0 <= number < self._num_ids), None)
        if wrong is not None:
            raise ConfigError(
                f"The tokenizer gave the id {wrong}, and vocab_size={self._num_ids} has 0 to the one below."
            )
        return [number + _FIRST for number in ids]


def _make_tokenizer(tokenizer: Any, vocab_size: int | None) -> tuple[Tokenize, int]:
    """The function that makes ids, and how many there are."""
    if vocab_size is not None:
        check_whole("vocab_size", vocab_size, least=1)
    if tokenizer == "words":
        size = 4096 if vocab_size is None else vocab_size
        return lambda text: hash_words(text, size), size
    if tokenizer == "bytes":
        if vocab_size not in (None, 256):
            raise ConfigError(f"The tokenizer 'bytes' has vocab_size 256: leave it out; got {vocab_size}.")
        return hash_bytes, 256
    if isinstance(tokenizer, str) and tokenizer.startswith("hf:"):
        transformers = require(
            "transformers", needed_for="A tokenizer of transformers", install='pip install "transformers>=5.20,<6"'
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer.removeprefix("hf:"))
    if not isinstance(tokenizer, str) and hasattr(tokenizer, "encode") and hasattr(tokenizer, "__len__"):
        if vocab_size is not None:
            raise ConfigError(f"A tokenizer that has a length knows its vocab_size: leave it out; got {vocab_size}.")
        return lambda text: tokenizer.encode(text, add_special_tokens=False), len(tokenizer)
    if callable(tokenizer):
        if vocab_size is None:
            raise ConfigError("A callable tokenizer needs vocab_size: how many different ids it may give.")
        return tokenizer, vocab_size
    raise ConfigError(
        "tokenizer must be 'words', 'bytes', 'hf:' and a folder or hub id, a transformers tokenizer, or a callable "
        f"from text to ids; got {tokenizer!r:.100}."
    )
