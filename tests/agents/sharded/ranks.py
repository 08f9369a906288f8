"""Starting a group of processes that run scenarios together, and taking what they found."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from agents.sharded import connect_store, join, leave, make_store
from tests.agents.sharded.scenarios import SCENARIOS

TIMEOUT_S = 240.0


def run_ranks(world_size: int, names: Sequence[str], folder: Path, device: str = "cpu") -> list[dict[str, Any]]:
    """What each rank found, by scenario.

    Processes are forked from a server that has imported torch and transformers, and computed nothing: one import for
    all groups of a test run.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    store = make_store("127.0.0.1", timeout_s=120)
    given = (store.port, list(names), str(folder), device)
    processes = [
        context.Process(target=_rank, args=(rank, world_size, *given), daemon=True) for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0.1))
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
    said = "\n".join(path.read_text() for path in sorted(folder.glob(f"{world_size}-*.txt")))
    assert codes == [0] * world_size, f"ranks ended with {codes} (None: they hung)\n{said}"
    return [
        torch.load(folder / f"{world_size}-{rank}.pt", map_location="cpu", weights_only=True)
        for rank in range(world_size)
    ]


def _rank(rank: int, world_size: int, port: int, names: list[str], folder: str, device: str) -> None:
    where = Path(folder)
    try:
        torch.set_num_threads(1)
        store = connect_store("127.0.0.1", port, timeout_s=120)
        mesh = join(rank, world_size, store, device=torch.device(device), timeout_s=120)
        torch.save({name: SCENARIOS[name](mesh, where) for name in names}, where / f"{world_size}-{rank}.pt")
        leave()
    except BaseException:
        (where / f"{world_size}-{rank}.txt").write_text(f"rank {rank} of {world_size}\n{traceback.format_exc()}")
        raise SystemExit(1) from None
