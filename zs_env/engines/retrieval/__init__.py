"""Real search over a corpus of passages: BM25 and dense retrieval, on indexes that are built once and kept on disk."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from zs_env.engines.retrieval.corpus import Passage, Passages, read_passages
from zs_env.engines.retrieval.embedders import Embedder, make_embedder
from zs_env.engines.retrieval.engine import Index, RetrievalEngine
from zs_env.engines.retrieval.folder import Build, Manifest, ensure_index, index_folder, open_passages
from zs_env.engines.retrieval.packages import require_bm25s
from zs_env.engines.retrieval.progress import Say, say_to_stderr
from zs_env.errors import ConfigError, ZeroSearchError

__all__ = [
    "Embedder",
    "Manifest",
    "Passage",
    "Passages",
    "RetrievalEngine",
    "bm25",
    "dense",
    "read_passages",
]

_open: WeakValueDictionary[tuple[Any, ...], RetrievalEngine] = WeakValueDictionary()
_opening = threading.Lock()


def bm25(
    *,
    corpus: str | Path,
    index: str | Path | None = None,
    language: str = "english",
    k1: float = 0.9,
    b: float = 0.4,
    rebuild: bool = False,
    say: Say = say_to_stderr,
) -> RetrievalEngine:
    """BM25 over a corpus. Its index is built if there is none that fits, which may take a while, and opened.

    Args:
        corpus: The file of passages.
        index: A folder for indexes, instead of `$ZS_CACHE` or the place beside the corpus.
        language: Whose word endings and stop words are taken off; `"none"` keeps all words as they are.
        k1: How much a repeated term adds, at least 0.
        b: How much long passages are held back, 0 to 1.
        rebuild: Build the index anew in any case.
        say: Takes lines about the progress of building.

    Raises:
        ConfigError: The corpus, or an option, is wrong.
        MissingPackageError: bm25s isn't installed.
    """
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (k1, b))
    if not numbers or not 0 <= k1 < math.inf or not 0 <= b <= 1:
        raise ConfigError(f"k1 is at least 0, and b between 0 and 1; got k1={k1!r} and b={b!r}.")
    library = require_bm25s("search mode 'bm25'")
    layout = ".".join(library.__version__.split(".")[:2])
    settings = {"language": language, "k1": float(k1), "b": float(b), "bm25s": layout}

    from zs_env.engines.retrieval.analysis import Analyzer
    from zs_env.engines.retrieval.bm25_index import BM25Index, build_bm25

    Analyzer(language)  # an unknown language is said before anything is read

    def build(folder: Path, passages: Passages, say: Say) -> Mapping[str, str]:
        return build_bm25(folder, passages, say, language=language, k1=float(k1), b=float(b))

    place = _Place(corpus, index, rebuild, say)
    more = {"language": language, "k1": k1, "b": b}
    return place.engine("bm25", settings, build, lambda at: BM25Index(at, language), (bm25, more))


def dense(
    *,
    corpus: str | Path,
    index: str | Path | None = None,
    model: str = "wordllama",
    embedder: Embedder | None = None,
    device: str | None = None,
    dtype: str = "float16",
    rebuild: bool = False,
    say: Say = say_to_stderr,
) -> RetrievalEngine:
    """Dense retrieval over a corpus. Its index is built if there is none that fits, which may take long, and opened.

    Args:
        corpus: The file of passages.
        index: A folder for indexes, instead of `$ZS_CACHE` or the place beside the corpus.
        model: `"wordllama"`, or a model of sentence-transformers: a folder, or a name on the hub.
        embedder: An embedder of your own, instead of a model; from Python only.
        device: Where a model of sentence-transformers runs; it chooses where left out.
        dtype: What vectors are stored as: `"float16"`, or `"float32"`, twice as large.
        rebuild: Build the index anew in any case.
        say: Takes lines about the progress of building.

    Raises:
        ConfigError: The corpus, or an option, is wrong.
        MissingPackageError: The model's package isn't installed.
    """
    if dtype not in ("float16", "float32"):
        raise ConfigError(f"dtype is 'float16' or 'float32'; got {dtype!r}.")
    if embedder is not None and (model != "wordllama" or device is not None):
        raise ConfigError(f"Give either embedder or model (got {model!r}) and device (got {device!r}).")

    from zs_env.engines.retrieval.dense_index import DenseIndex, build_dense

    used = make_embedder(model, device=device) if embedder is None else embedder
    settings = {"embedder": used.name, "dtype": dtype}

    def build(folder: Path, passages: Passages, say: Say) -> Mapping[str, str]:
        build_dense(folder, passages, say, embedder=used, dtype=dtype)
        return {}

    place = _Place(corpus, index, rebuild, say)
    more = {"model": model, "embedder": embedder, "device": device, "dtype": dtype}
    return place.engine("dense", settings, build, lambda at: DenseIndex(at, used), (dense, more))


class _Place:
    """A corpus, where its indexes go, and whether they are to be built anew."""

    def __init__(self, corpus: str | Path, index: str | Path | None, rebuild: bool, say: Say) -> None:
        if not isinstance(corpus, (str, Path)) or not str(corpus):
            raise ConfigError(f"corpus is the path of a file of passages; got {corpus!r}.")
        self._corpus = Path(corpus).expanduser().absolute()
        self._index = None if index is None else Path(index).expanduser().absolute()
        self._rebuild = rebuild
        self._say = say

    def engine(
        self,
        kind: str,
        settings: Mapping[str, Any],
        build: Build,
        load: Callable[[Path], Index],
        remake: tuple[Callable[..., RetrievalEngine], Mapping[str, Any]],
    ) -> RetrievalEngine:
        """Open an index, built if need be; equal ones are opened once in a process."""
        folder = index_folder(self._corpus, kind, settings, self._index)
        with _opening:
            manifest = ensure_index(folder, self._corpus, kind, settings, build, self._say, rebuild=self._rebuild)
            key = (folder, self._corpus, manifest.fingerprint)
            engine = None if self._rebuild else _open.get(key)
            if engine is None:
                told = "-".join([manifest.fingerprint, *(f"{name}={settings[name]}" for name in sorted(settings))])
                make, more = remake
                again = {"corpus": str(self._corpus), "index": self._index and str(self._index), **more}
                passages = open_passages(folder, self._corpus)
                try:
                    loaded = load(folder)
                except (ValueError, KeyError, TypeError, EOFError) as error:
                    if isinstance(error, ZeroSearchError):
                        raise
                    self._say(f"{self._corpus.name}: its index can't be read ({error!s:.100})")
                    ensure_index(folder, self._corpus, kind, settings, build, self._say, rebuild=True)
                    passages, loaded = open_passages(folder, self._corpus), load(folder)
                engine = RetrievalEngine(kind, loaded, passages, fingerprint=told, remake=(make, again))
                _open[key] = engine
            return engine
