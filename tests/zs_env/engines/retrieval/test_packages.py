"""bm25s makes jax sort something while it is imported, and jax then takes most of a GPU's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SEARCH = """
import sys
from zs_env.engines.retrieval.analysis import Analyzer
{first}
Analyzer("english").terms("rivers of Kenya")
assert "bm25s" in sys.modules
print("jax" in sys.modules, getattr(sys.modules.get("jax"), "SORTED", None))
"""
_JAX = "SORTED = False\n"
_LAX = "import jax\n\n\ndef top_k(values, k):\n    jax.SORTED = True\n"


@pytest.mark.parametrize(("first", "told"), [("", "False None"), ("import jax", "True False")])
def test_bm25_leaves_jax_alone_whether_it_is_there_already_or_not(tmp_path: Path, first: str, told: str) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text(_JAX)
    (tmp_path / "jax" / "lax.py").write_text(_LAX)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", _SEARCH.format(first=first)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == told
