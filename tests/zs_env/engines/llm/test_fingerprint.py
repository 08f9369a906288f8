"""A cache or a record tells simulated engines apart by more than their name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.engines.around.doubles import good, request
from zs_env.engines import SimulatedEngine, make_engine
from zs_env.engines.around import CachedEngine


def engine(**changes: Any) -> SimulatedEngine:
    given = {"simulation_llm": "small", "base_url": "http://localhost:1"} | changes
    made = make_engine("simulate_prompt", **given)
    assert isinstance(made, SimulatedEngine)
    return made


@pytest.mark.parametrize("change", [{"simulation_llm": "large"}, {"temperature": 0.1}, {"persona": "Wikipedia"}])
def test_another_model_or_way_to_play_is_another_engine(change: dict[str, Any]) -> None:
    assert engine().fingerprint == engine().fingerprint
    assert engine(**change).fingerprint != engine().fingerprint
    # Where a model is served, and with which key, changes nothing of what it says.
    assert engine(base_url="http://localhost:2").fingerprint == engine().fingerprint


def test_a_cache_never_gives_the_answers_of_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def search(self: SimulatedEngine, requests: Any) -> Any:
        asked.append(self.client_settings.model)
        return [good("x") for _ in requests]

    monkeypatch.setattr(SimulatedEngine, "search", search)
    for model in ("small", "large", "small", "large"):
        asyncio.run(CachedEngine(engine(simulation_llm=model), tmp_path / "cache.sqlite").search([request()]))
    assert asked == ["small", "large"]
