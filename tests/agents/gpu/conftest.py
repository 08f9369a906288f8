"""A GPU computes what a CPU does: `pytest -m gpu tests/agents/gpu`.

Without a GPU these are skipped; with TEST_DEVICE=cpu they compare the CPU with itself, to try out the tests.
"""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture
def device() -> torch.device:
    """What is compared with the CPU."""
    found = torch.device(os.environ.get("TEST_DEVICE", "cuda"))
    if found.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    return found
