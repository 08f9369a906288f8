"""Similarity of meaning, by the small word embeddings that the package `wordllama` carries.

A text is the mean of its tokens' embeddings, as in that package; only its files are read (its own loader looks for the
tokenizer in a folder of another name than the wheel has, and then on the network).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zs_env.errors import ConfigError, require

__all__ = ["Meaning", "find_meaning"]

_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = "weights/l2_supercat_256.safetensors"


class Meaning:
    """The cosine of texts' mean embeddings.

    Args:
        folder: Where the tokenizer and the embeddings are.

    Raises:
        ConfigError: The files aren't there.
        MissingPackageError: `tokenizers` or `safetensors` isn't installed.
    """

    def __init__(self, folder: Path) -> None:
        for name in (_TOKENIZER, _WEIGHTS):
            if not (folder / name).is_file():
                raise ConfigError(
                    f"The package wordllama has no {name}: install a release that was tested, pip install -e "
                    "'.[quality]', or measure with --no-meaning."
                )
        install = "pip install -e '.[quality]'"
        tokenizers: Any = require("tokenizers", needed_for="similarity of meaning", install=install)
        safetensors: Any = require("safetensors.numpy", needed_for="similarity of meaning", install=install)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / _TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        (table,) = safetensors.load_file(str(folder / _WEIGHTS)).values()
        self._table: NDArray[np.float32] = table.astype(np.float32)  # [V, D]

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """How near each text is to the query, in [-1, 1]."""
        one, *others = (self._embed(encoded.ids) for encoded in self._encode([query, *texts]))
        return [float(one @ other) for other in others]

    def _encode(self, texts: Sequence[str]) -> Sequence[Any]:
        encoded: Sequence[Any] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return encoded

    def _embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        if not ids:
            return np.zeros(self._table.shape[1], dtype=np.float32)
        mean = self._table[np.asarray(ids)].mean(axis=0)
        length = float(np.linalg.norm(mean))
        vector: NDArray[np.float32] = mean / length if length else mean
        return vector


def find_meaning() -> Meaning | None:
    """The embeddings of the package `wordllama`; None if it isn't installed."""
    found = find_spec("wordllama")
    return None if found is None or found.origin is None else Meaning(Path(found.origin).parent)
