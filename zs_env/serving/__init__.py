"""Simulator servers: started, waited for, watched, and never left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from zs_env.errors import ServerError
from zs_env.serving.backends import prepare
from zs_env.serving.launch import Launch
from zs_env.serving.server import Server, WatchSettings
from zs_env.serving.settings import Backend, ServeSettings

__all__ = ["Launch", "ServeSettings", "Server", "ServerError", "WatchSettings", "serve"]


def serve(
    backend: Backend,
    model: str | os.PathLike[str],
    *,
    watch: WatchSettings | None = None,
    say: Callable[[str], None] | None = None,
    on_health: Callable[[Server], None] | None = None,
    **settings: Any,
) -> Server:
    """A simulator server, checked and ready to be entered or started.

        with serve("llamacpp", "smollm2", port=0) as server:
            env = gym.make("ZeroSearch-v0", search_mode="simulate_prompt", base_url=server.base_url)

    `async with` does the same without holding up an event loop; `start` and `stop` without a block.

    Args:
        backend: "sglang", "vllm" or "llamacpp".
        model: What it serves.
        watch: How it is waited for and watched.
        say: Gets a line for whatever happens. Left out, the log of `zs_env.serving.server` gets it.
        on_health: Is called each time that the server is up.
        **settings: The rest of `ServeSettings`.

    Raises:
        ZeroSearchError: A package, the model, a key or GPUs are missing; the message says the way out.
    """
    import logging

    told = logging.getLogger("zs_env.serving.server").warning if say is None else say
    launch = prepare(ServeSettings(backend=backend, model=model, **settings), told)
    return Server(launch, watch, say=say, on_health=on_health)
