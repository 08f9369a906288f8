"""Dense retrieval: vectors of passages in one file, searched exactly and in blocks, so that memory stays bounded.

The library gives the vectors. They are scaled to length one and written as they come; a search multiplies block after
block of the memory-mapped file with the vectors of the queries. It keeps whatever may belong to the best by those
products, and settles their order by products of the candidates alone: so what a query finds depends neither on
which other queries it came with nor on how a processor rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from zs_env.engines.retrieval.corpus import Passages
from zs_env.engines.retrieval.embedders import Embedder
from zs_env.engines.retrieval.progress import Progress, Say
from zs_env.errors import ConfigError

__all__ = ["DenseIndex", "build_dense"]

VECTORS = "vectors.npy"
BLOCK_ROWS = 16_384
BATCH_PASSAGES = 512
MAX_QUERY_CHARS = 10_000
_SLACK = 1e-4
"""More than products of vectors of length one differ by rounding."""

Hits = list[tuple[int, float]]


class DenseIndex:
    """An index on disk, memory-mapped; safe to search from several threads and forked processes.

    Args:
        folder: Where it is.
        embedder: What its vectors were made by.
        block_rows: How many vectors are looked at together.
    """

    block = 64

    def __init__(self, folder: Path, embedder: Embedder, *, block_rows: int = BLOCK_ROWS) -> None:
        self._vectors: NDArray[Any] = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        self._embedder = embedder
        self._block_rows = block_rows

    def search(self, queries: Sequence[str], topk: Sequence[int]) -> list[Hits]:
        """The passages whose vectors have the highest cosine with each query's; of equal ones the earlier.

        A query whose vector is zero, such as one without a known token, finds nothing.
        """
        asked = _unit(self._embedder.embed_queries([query[:MAX_QUERY_CHARS] for query in queries]))
        best = [_Best(min(k, len(self._vectors))) for k in topk]
        for start in range(0, len(self._vectors), self._block_rows):
            rows = np.asarray(self._vectors[start : start + self._block_rows], dtype=np.float32)
            for one, products in zip(best, asked @ rows.T, strict=True):
                one.see(products, start)
        return [self._settle(vector, one) if vector.any() else [] for vector, one in zip(asked, best, strict=True)]

    def _settle(self, vector: NDArray[np.float32], best: _Best) -> Hits:
        positions = best.candidates()
        rows = np.asarray(self._vectors[positions], dtype=np.float64)
        cosines = np.add.reduce(rows * vector.astype(np.float64), axis=1)
        order = np.lexsort((positions, -cosines))[: best.k]
        return [(int(positions[i]), float(cosines[i])) for i in order]


class _Best:
    """All rows that may be among the k best of what was seen."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._scores: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._positions: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._bound = -np.inf

    def see(self, scores: NDArray[np.float32], start: int) -> None:
        """Look at more rows, which begin at this position."""
        if len(scores) > self.k:
            self._bound = max(self._bound, float(np.partition(scores, len(scores) - self.k)[len(scores) - self.k]))
        kept = np.flatnonzero(scores >= self._bound - _SLACK)
        if not len(kept):
            return
        self._scores = np.concatenate([self._scores, scores[kept]])
        self._positions = np.concatenate([self._positions, kept + start])
        number = len(self._scores)
        if number > self.k:
            self._bound = max(self._bound, float(np.partition(self._scores, number - self.k)[number - self.k]))
            still = self._scores >= self._bound - _SLACK
            self._scores, self._positions = self._scores[still], self._positions[still]

    def candidates(self) -> NDArray[np.int64]:
        """Their positions, in order."""
        return self._positions


def build_dense(folder: Path, passages: Passages, say: Say, *, embedder: Embedder, dtype: str) -> None:
    """Write the vectors of passages into a folder."""
    shape = (len(passages), embedder.dimension)
    vectors = open_memmap(folder / VECTORS, mode="w+", dtype=np.dtype(dtype), shape=shape)
    progress = Progress("embedding", len(passages), say)
    for start in range(0, len(passages), BATCH_PASSAGES):
        end = min(start + BATCH_PASSAGES, len(passages))
        texts = [passages[position].full_text for position in range(start, end)]
        vectors[start:end] = _unit(embedder.embed_passages(texts))
        progress.add(end - start)
    vectors.flush()


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of length one; zeros stay.

    Raises:
        ConfigError: An embedder gave something else than finite numbers.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ConfigError(f"An embedder gives a row of finite numbers a text; got the shape {vectors.shape}.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)
