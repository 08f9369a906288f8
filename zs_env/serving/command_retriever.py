"""`python -m zs_env serve retriever`: the command line of a retrieval server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from ipaddress import ip_address
from typing import Any

from zs_env.command_options import add_search_option, lay_options
from zs_env.engines import make_engine
from zs_env.serving.retriever import Retriever, RetrieverSettings

__all__ = ["add_parser", "run"]


def add_parser(backends: Any) -> None:
    """Add `retriever` to what `serve` serves."""
    text = "a real search engine, such as bm25 over a corpus, for clients of Search-R1 and of ZeroSearch"
    parser = backends.add_parser(
        "retriever",
        help=text,
        description=f"Serve {text}, on /retrieve. One line of JSON on standard output says that it is up; all else "
        "goes to standard error. Ctrl-C ends it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = RetrieverSettings()
    add = parser.add_argument
    add("--engine", default="bm25", help="the search mode that answers: bm25, dense, google, or another real one")
    add("--corpus", help="the passages that bm25 or dense search, as .jsonl or .tsv, also with .gz behind")
    add_search_option(add)
    add("--host", default=defaults.host, help="where it listens; 0.0.0.0 lets other machines in, all of them")
    add("--port", type=int, default=defaults.port, help="where it listens; 0 takes any port that is free")
    add("--topk", type=int, default=defaults.topk, help="documents for a query that doesn't say how many")
    add("--max-topk", type=int, default=defaults.max_topk, help="the most documents of a query")
    add("--max-queries", type=int, default=defaults.max_queries, help="the most queries of a request")
    add("--max-request-bytes", type=int, default=defaults.max_request_bytes, help="the longest request that is read")
    add("--num-threads", type=int, help="searches at the same time; as many as there are processors where left out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until told to end; returns the exit status.

    Raises:
        ZeroSearchError: The engine can't be made or can't be served, or (`ServerError`) the port is taken.
    """
    settings = RetrieverSettings(
        host=options.host,
        port=options.port,
        topk=options.topk,
        max_topk=options.max_topk,
        max_queries=options.max_queries,
        max_request_bytes=options.max_request_bytes,
        num_threads=options.num_threads,
    )
    given = lay_options({}, options.search_option or {})
    if options.corpus is not None:
        given["corpus"] = options.corpus
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Retriever(make_engine(options.engine, **given), settings)))
    _say("stopped")
    return 0


async def _serve(retriever: Retriever) -> None:
    told_to_end = asyncio.Event()
    for name in ("SIGTERM", "SIGHUP"):  # Ctrl-C cancels this task
        with contextlib.suppress(AttributeError, NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), told_to_end.set)
    async with retriever:
        if not _is_loopback(retriever.settings.host):
            _say(f"warning: {retriever.base_url} asks for no key: whoever reaches this machine may search.")
        told = {"event": "ready", "base_url": retriever.base_url, "engine": retriever.engine.name}
        print(json.dumps(told), flush=True)
        await told_to_end.wait()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
