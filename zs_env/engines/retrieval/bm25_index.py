"""BM25 over a corpus, by the library bm25s: an index of any size built in bounded memory, and searched from disk.

bm25s holds a whole tokenised corpus in memory to index it. Here the same index is written block by block: one pass
over the passages counts terms and sets them aside on disk, a second one over what was set aside computes scores with
the counts of the whole corpus and puts them where they belong. What remains in memory is the vocabulary and one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from zs_env.engines.retrieval.analysis import Analyzer
from zs_env.engines.retrieval.corpus import Passages
from zs_env.engines.retrieval.packages import require_bm25s
from zs_env.engines.retrieval.progress import Progress, Say

__all__ = ["BM25Index", "build_bm25", "top"]

MAX_QUERY_TERMS = 128
BLOCK_PASSAGES = 10_000
_SET_ASIDE = "counted.tmp"

Hits = list[tuple[int, float]]
"""Positions of passages and their scores, best first."""


class BM25Index:
    """An index on disk, memory-mapped; safe to search from several threads and forked processes.

    Args:
        folder: Where it is.
        language: The language that it was built for.
    """

    block = 1
    """How many requests are answered together."""

    def __init__(self, folder: Path, language: str) -> None:
        bm25s = require_bm25s("BM25")
        self._analyzer = Analyzer(language)
        self._index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        self._ids: dict[str, int] = self._index.vocab_dict

    def search(self, queries: Sequence[str], topk: Sequence[int]) -> list[Hits]:
        """The passages that share terms with each query, best first; of equal scores the earlier passage."""
        return [self._search(query, k) for query, k in zip(queries, topk, strict=True)]

    def _search(self, query: str, k: int) -> Hits:
        ids = self._ids
        known = [ids[term] for term in self._analyzer.terms(query) if term in ids][:MAX_QUERY_TERMS]
        return top(self._index.get_scores_from_ids(known), k) if known else []


def top(scores: NDArray[Any], k: int) -> Hits:
    """The k highest scores over 0 and their positions; of equal scores the earlier one."""
    positions = np.flatnonzero(scores > 0)
    found = scores[positions]
    if len(found) > k:
        kept = found >= np.partition(found, len(found) - k)[len(found) - k]
        positions, found = positions[kept], found[kept]
    order = np.lexsort((positions, -found))[:k]
    return [(int(positions[i]), float(found[i])) for i in order]


def build_bm25(
    folder: Path,
    passages: Passages,
    say: Say,
    *,
    language: str,
    k1: float,
    b: float,
    block_passages: int = BLOCK_PASSAGES,
) -> dict[str, str]:
    """Build an index of passages in a folder, in the files that bm25s loads.

    A passage's score for a term is Lucene's BM25: ln(1 + (N - n + 0.5) / (n + 0.5)) · f / (f + k1 · (1 - b + b · l/m)),
    with N passages, n of which have the term, this one f times; it is l terms long, and the mean is m.

    Returns:
        The version of the library.
    """
    bm25s = require_bm25s("BM25")
    vocabulary: dict[str, int] = {}
    with (folder / _SET_ASIDE).open("w+b") as aside:
        counts, lengths = _count(aside, passages, Analyzer(language), vocabulary, say, block_passages)
        if not vocabulary:  # nothing can be found, but nothing is wrong
            vocabulary[""], counts = 0, np.ones(1, dtype=np.int64)
        aside.seek(0)
        index = bm25s.BM25(k1=k1, b=b, method="lucene")
        index.vocab_dict = vocabulary
        index.scores = _scores(folder, aside, counts, lengths, k1, b, say)
        index.nonoccurrence_array = None
        index.save(folder, show_progress=False)
    del index.scores
    for name in (_SET_ASIDE, "data.tmp", "indices.tmp"):
        (folder / name).unlink()
    return {"bm25s": bm25s.__version__}


def _count(
    aside: IO[bytes],
    passages: Passages,
    analyzer: Analyzer,
    vocabulary: dict[str, int],
    say: Say,
    block_passages: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set aside (term, passage, how often) block by block, sorted; gives passages a term and terms a passage."""
    progress = Progress("counting terms", len(passages), say)
    counts = np.zeros(0, dtype=np.int64)
    lengths = np.zeros(len(passages), dtype=np.int64)
    for start in range(0, len(passages), block_passages):
        end = min(start + block_passages, len(passages))
        ids: list[int] = []
        for position in range(start, end):
            terms = analyzer.terms(passages[position].full_text)
            lengths[position] = len(terms)
            ids.extend(vocabulary.setdefault(term, len(vocabulary)) for term in terms)
            progress.add()
        places = np.repeat(np.arange(end - start, dtype=np.int64), lengths[start:end])
        pairs, often = np.unique(np.asarray(ids, dtype=np.int64) << 32 | places, return_counts=True)
        terms_of_pairs = pairs >> 32
        block = np.stack([terms_of_pairs, (pairs & 0xFFFFFFFF) + start, often]).astype(np.int32)
        np.save(aside, block, allow_pickle=False)
        seen = np.bincount(terms_of_pairs, minlength=len(vocabulary))
        seen[: len(counts)] += counts
        counts = seen
    return counts, lengths


def _scores(
    folder: Path,
    aside: IO[bytes],
    counts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    k1: float,
    b: float,
    say: Say,
) -> dict[str, Any]:
    """Score what was set aside, term by term in two files of their final size."""
    number = len(lengths)
    idf = np.log1p((number - counts + 0.5) / (counts + 0.5))
    norm = k1 * (1 - b + b * lengths / max(float(lengths.mean()), 1e-9))
    begins = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=begins[1:])
    size = (int(begins[-1]),)
    data: NDArray[np.float32] = np.memmap(folder / "data.tmp", dtype=np.float32, mode="w+", shape=size)
    indices: NDArray[np.int32] = np.memmap(folder / "indices.tmp", dtype=np.int32, mode="w+", shape=size)
    heads = begins[:-1].copy()
    progress = Progress("computing scores", number, say)
    for terms, places, often in _blocks(aside):
        terms64 = terms.astype(np.int64)
        distinct, first, size_of = np.unique(terms64, return_index=True, return_counts=True)
        at = heads[terms64] + np.arange(len(terms64)) - np.repeat(first, size_of)
        data[at] = idf[terms64] * (often / (often + norm[places]))
        indices[at] = places
        heads[distinct] += size_of
        if len(places):
            progress.add(int(places.max()) + 1 - progress.done)
    return {"data": data, "indices": indices, "indptr": begins, "num_docs": number}


def _blocks(aside: IO[bytes]) -> Iterator[NDArray[np.int32]]:
    end = aside.seek(0, 2)
    aside.seek(0)
    while aside.tell() < end:
        yield np.load(aside, allow_pickle=False)
