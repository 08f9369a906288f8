"""`python -m zs_env index`: build, look at and try the indexes of corpora."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from zs_env.command_options import search_option
from zs_env.engines import make_engine
from zs_env.engines.retrieval.engine import RetrievalEngine
from zs_env.engines.retrieval.folder import MANIFEST
from zs_env.errors import ConfigError
from zs_env.types import Question, SearchRequest

__all__ = ["add_parser", "build", "info", "search"]

_MODES = ("bm25", "dense")


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    top = commands.add_parser("index", help="build, look at and try the search index of a corpus of passages")
    actions = top.add_subparsers(dest="action", required=True)
    made = actions.add_parser("build", help="index a corpus, or see that its index fits")
    _add_corpus(made)
    made.add_argument("--rebuild", action="store_true", help="build it anew in any case")
    made.set_defaults(run=build)
    tried = actions.add_parser("search", help="search a corpus; it is indexed first if it isn't yet")
    _add_corpus(tried)
    tried.add_argument("query", nargs="+", help="what to search for; several queries, each in quotes")
    tried.add_argument("--topk", type=int, default=5, help="documents a search")
    tried.set_defaults(run=search)
    shown = actions.add_parser("info", help="say what the indexes in a folder were built from")
    shown.add_argument("folder", type=Path, help="a folder of indexes, or a corpus with its indexes beside it")
    shown.set_defaults(run=info)


def _add_corpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", help="a .jsonl or .tsv file with a passage a line; also with .gz behind")
    parser.add_argument("--search-mode", "--engine", choices=_MODES, default="bm25", help="what to build (bm25)")
    parser.add_argument("--index", help="a folder for indexes, instead of the place beside the corpus")
    parser.add_argument(
        "--search-option",
        action="append",
        default=[],
        type=search_option,
        metavar="NAME=VALUE",
        help="what else the search mode takes, for example language=german; may be given several times",
    )


def _engine(options: argparse.Namespace, **more: Any) -> RetrievalEngine:
    given = {**dict(options.search_option), **more}
    if options.index is not None:
        given["index"] = options.index
    engine = make_engine(options.search_mode, corpus=options.corpus, **given)
    assert isinstance(engine, RetrievalEngine)
    return engine


def build(options: argparse.Namespace) -> None:
    """Build an index, and say how long that took and how much memory."""
    began, used = time.perf_counter(), time.process_time()
    engine = _engine(options, **({"rebuild": True} if options.rebuild else {}))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - used
    print(f"{len(engine):,} passages, ready in {seconds:,.1f} s ({cpu_s:,.1f} s of processor time){_memory()}")
    print(f"fingerprint {engine.fingerprint}")


def search(options: argparse.Namespace) -> None:
    """Search, and show what is found."""
    if options.topk < 1:
        raise ConfigError(f"--topk is at least 1; got {options.topk}.")
    engine = _engine(options)
    for query in options.query:
        question = Question(id="typed", question=query if query.strip() else "?", golden_answers=("?",))
        request = SearchRequest(
            query=query, question=question, quality="useful", noise_probability=0.0, seed=0, topk=options.topk
        )
        [result] = engine.search_now([request])
        if result.error is not None:
            raise ConfigError(result.error)
        print(f"{query}: {len(result.documents)} found in {result.latency_s * 1000:.1f} ms")
        for document in result.documents:
            told = document.metadata or {}
            text = " ".join(document.text.split())
            print(f"  {told['score']:.3f}  [{told['id']}] {document.title or ''}: {text[:160]}")


def info(options: argparse.Namespace) -> None:
    """Show the manifests of the indexes in a folder."""
    beside = options.folder.with_name(f"{options.folder.name}.index")
    folder = options.folder if options.folder.is_dir() else beside
    manifests = sorted([*folder.glob(MANIFEST), *folder.glob(f"*/{MANIFEST}")])
    if not manifests:
        raise ConfigError(f"There is no index in {folder}. `python -m zs_env index build CORPUS` makes one.")
    for path in manifests:
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            size = sum(told["files"].values())
            settings = ", ".join(f"{name}={value}" for name, value in told["settings"].items())
            print(f"{path.parent}: {told['kind']} of {told['corpus']}, {told['num_passages']:,} passages")
            print(f"  {size / 2**20:,.1f} MiB, built in {told['seconds']:,.1f} s; {settings}")
            print(f"  corpus {told['fingerprint']}, {told['corpus_bytes'] / 2**20:,.1f} MiB")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"{path.parent}: broken ({error}); it is built anew when it is used")


def _memory() -> str:
    try:
        import resource
    except ImportError:
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f", at most {peak / 2**20:,.0f} MiB of memory, mapped files included"
