"""Learners that meet: a store to find each other by, and the process group that they compute in.

Whatever is opened for others listens on the address that was asked for, and on no other: for 127.0.0.1, nobody outside
this machine can reach it.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

__all__ = ["connect_store", "join", "leave", "make_store"]


def make_store(host: str, port: int = 0, *, timeout_s: float = 300.0) -> TCPStore:
    """The store that a group's learners meet at; made by one process, which keeps it.

    Left to itself, torch binds a store to all addresses of the machine.

    Args:
        host: The address, IPv4 or IPv6, that it listens on.
        port: Of that address; 0 for a free one, which the store's `port` then says.
        timeout_s: How long whoever asks for a key waits until it is there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        return TCPStore(
            host,
            listener.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=timeout_s),
            master_listen_fd=listener.detach(),  # the store closes it
        )


def connect_store(host: str, port: int, *, timeout_s: float = 300.0) -> TCPStore:
    """A store that another process made; see `make_store`."""
    return TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout_s))


def join(rank: int, world_size: int, store: Store, *, device: torch.device, timeout_s: float) -> DeviceMesh:
    """Enter the group of learners; returns when all are there.

    Args:
        rank: This process' place, from 0.
        world_size: How many there are.
        store: From `make_store` or `connect_store`. One at a loopback address keeps the group's own connections on the
            loopback interface, too, unless GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME name another.
        device: What this rank computes on; "cpu" takes gloo, "cuda" NCCL.
        timeout_s: After how long without an answer from the others a rank gives up.
    """
    if _is_loopback(store):
        name = "lo0" if sys.platform == "darwin" else "lo"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
    options: dict[str, Any] = {}
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
        options["device_id"] = device
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout_s),
        **options,
    )
    return init_device_mesh(device.type, (world_size,))


def leave() -> None:
    """Leave the group; without one, nothing happens."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _is_loopback(store: Any) -> bool:
    while hasattr(store, "underlying_store"):
        store = store.underlying_store
    host = getattr(store, "host", "")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
