"""A budget is one of the whole run, whoever searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.config import load_config
from tests.agents.executors.scaled import scaled, unscaled
from zs_env.errors import ConfigError


@pytest.mark.parametrize(
    ("search", "limits"),
    [
        ({"budget_cost": 2.5}, "budget_cost=2.5 would"),
        ({"budget_requests": 10, "budget_tokens": 20}, "budget_requests=10 and budget_tokens=20 would"),
    ],
)
def test_a_budget_needs_a_file_that_samplers_share(search: dict[str, Any], limits: str, tmp_path: Path) -> None:
    made = scaled(tmp_path, search=search)
    with pytest.raises(ConfigError, match=f"{limits} be a budget of each sampler's own.*--budget-file"):
        load_config(made)
    made["search"]["budget_file"] = str(tmp_path / "spent.json")
    load_config(made)
    load_config(unscaled(scaled(tmp_path, search=search)))


def test_the_budget_of_a_hybrids_real_side_needs_one_too(tmp_path: Path) -> None:
    made = scaled(tmp_path, search={"mode": "hybrid", "options": {"real_budget": {"requests": 3}}})
    with pytest.raises(ConfigError, match=r"real_budget=\{'requests': 3\} would be.*real_budget.path=FILE"):
        load_config(made)
    made["search"]["options"]["real_budget"]["path"] = str(tmp_path / "spent.json")
    load_config(made)
