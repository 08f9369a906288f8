"""A Ray that is started for somebody listens on this machine alone, also where ray was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os
os.environ.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)
import ray
from agents.loopback import check_loopback, stay_on_loopback
stay_on_loopback()
ray.init(address="local", num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
         object_store_memory=100_000_000)
try:
    check_loopback(ray)
finally:
    ray.shutdown()
print("loopback")
"""


def test_also_a_ray_that_was_imported_before_stays_on_loopback() -> None:
    pytest.importorskip("ray")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout == "loopback\n", done.stderr
