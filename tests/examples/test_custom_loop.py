from __future__ import annotations

import importlib.util
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_loop.py"


def test_the_loop_learns() -> None:
    spec = importlib.util.spec_from_file_location("custom_loop", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before, after = module.main(steps=100, seed=0)
    assert after > before + 0.05
