"""What turns texts into vectors for dense retrieval: models of libraries, behind one small protocol."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from zs_env.engines.retrieval.packages import INSTALL
from zs_env.errors import ConfigError, MissingPackageError, require

__all__ = ["Embedder", "SentenceTransformerEmbedder", "WordLlamaEmbedder", "make_embedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors; bring one of your own as `embedder=`.

    Its name stands for its vectors: an index is built anew for an embedder of another name.
    """

    @property
    def name(self) -> str:
        """What tells its vectors from those of others."""

    @property
    def dimension(self) -> int:
        """How long its vectors are."""

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of passages [N, D]; their lengths don't matter."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of queries [N, D]."""


def make_embedder(model: str, *, device: str | None = None) -> Embedder:
    """The embedder of a model; a model is in memory once, however many engines use it.

    Args:
        model: `"wordllama"`, or a model of sentence-transformers: a folder, or a name on the hub.
        device: Where a model of sentence-transformers runs; it chooses where left out.
    """
    if model == "wordllama":
        return _wordllama()
    with _loading:
        embedder = _loaded.get((model, device))
        if embedder is None:
            embedder = _loaded[model, device] = SentenceTransformerEmbedder(model, device=device)
        return embedder


@lru_cache(maxsize=1)
def _wordllama() -> WordLlamaEmbedder:
    return WordLlamaEmbedder()


class WordLlamaEmbedder:
    """The static word embeddings that the package `wordllama` carries: small, quick, without a download.

    A text's vector is the mean of those of its tokens, as the library has it. It is computed here from the library's
    two files, text by text: the library pads the texts of a batch to the longest, which costs gigabytes for one long
    passage, and importing it sets up the program's logging.

    Raises:
        MissingPackageError: The package isn't installed.
    """

    name = "wordllama-l2-supercat-256"
    _MAX_CHARS = 20_000

    def __init__(self) -> None:
        found = find_spec("wordllama")
        if found is None or found.origin is None:
            raise MissingPackageError(
                f"Dense retrieval with model='wordllama' needs the package 'wordllama'. Install it with: {INSTALL}"
            )
        numpy_files = require("safetensors.numpy", needed_for="Dense retrieval with wordllama", install=INSTALL)
        tokenizers = require("tokenizers", needed_for="Dense retrieval with wordllama", install=INSTALL)
        folder = Path(found.origin).parent
        files = (
            folder / "weights" / "l2_supercat_256.safetensors",
            folder / "tokenizers" / ("l2_supercat_tokenizer_config.json"),
        )
        for file in files:
            if not file.is_file():
                raise ConfigError(f"The package wordllama has no {file.name}; install the tested release: {INSTALL}")
        table = numpy_files.load_file(files[0])["embedding.weight"]
        self._table: NDArray[np.float32] = np.ascontiguousarray(table, dtype=np.float32)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(files[1]))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.dimension = int(self._table.shape[1])

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The mean vector of each text's tokens; zeros for a text without any."""
        cut = [text[: self._MAX_CHARS] for text in texts]
        vectors = np.zeros((len(cut), self.dimension), dtype=np.float32)
        for row, encoded in enumerate(self._tokenizer.encode_batch_fast(cut, add_special_tokens=False)):
            if encoded.ids:
                vectors[row] = self._table[np.asarray(encoded.ids)].mean(axis=0)
        return vectors

    embed_queries = embed_passages


class SentenceTransformerEmbedder:
    """A model of the library sentence-transformers, with the prompts that its own settings name.

    E5 models, which name none, get the prefixes `query: ` and `passage: ` that they were trained with.

    Raises:
        MissingPackageError: The package isn't installed.
        ConfigError: The model can't be loaded.
    """

    def __init__(self, model: str, *, device: str | None = None) -> None:
        library: Any = require(
            "sentence_transformers",
            needed_for=f"Dense retrieval with model={model!r}",
            install="pip install sentence-transformers",
        )
        try:
            self._model = library.SentenceTransformer(model, device=device)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"The model {model!r} can't be loaded: {error}. Give 'wordllama', or a folder or the name of a model "
                "of sentence-transformers."
            ) from error
        self.name = f"sentence-transformers:{model}"
        self.dimension = int(self._model.encode(["x"], show_progress_bar=False).shape[1])
        is_e5 = "e5" in os.path.basename(model.rstrip("/")).casefold().replace("_", "-").split("-")
        own = {name: prompt for name, prompt in (self._model.prompts or {}).items() if prompt}
        self._query = own.get("query", "query: " if is_e5 and not own else "")
        self._passage = own.get("passage", own.get("document", "passage: " if is_e5 and not own else ""))

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of passages."""
        return self._embed(texts, self._passage)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of queries, each computed by itself, so that it doesn't depend on its mates."""
        return np.concatenate([self._embed([text], self._query) for text in texts])

    def _embed(self, texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
        given = [prefix + text for text in texts]
        return np.asarray(self._model.encode(given, prompt="", show_progress_bar=False), dtype=np.float32)


_loaded: WeakValueDictionary[tuple[str, str | None], SentenceTransformerEmbedder] = WeakValueDictionary()
_loading = threading.Lock()
