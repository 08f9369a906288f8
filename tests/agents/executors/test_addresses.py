"""The address of a cluster: what it may be, and that a record doesn't hold it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.config import load_config
from agents.executors.settings import ScaleSettings
from agents.resume import resume_command, resumed_sections
from agents.runs import RunFolder
from tests.agents.resuming import sections
from zs_env.errors import ConfigError


def a_run(tmp_path: Path) -> RunFolder:
    """A run on a cluster, as its record says."""
    config = load_config(
        sections(tmp_path, run={"executor": "ray"}, scale={"address": "10.0.0.1:6379"}, episode={"reward": "em"})
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text(json.dumps(config.record()))
    (tmp_path / "one" / "start.json").write_text("{}")
    run = RunFolder("one", root=tmp_path, resume=True)
    assert "--address 10.0.0.1:6379" in resume_command(run, config, model=False)
    return run


def test_a_record_holds_no_address_so_it_is_asked_for_again(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert "10.0.0.1" not in (run.path / "config.json").read_text()
    with pytest.raises(ConfigError, match=r"whose address is not in its record.*--address local"):
        resumed_sections(run, {})
    again = load_config(resumed_sections(run, {"scale": {"address": "10.0.0.2:6379"}}))
    assert again.scale.address == "10.0.0.2:6379"
    assert load_config(resumed_sections(run, {"scale": {"address": "local"}})).scale.address is None


@pytest.mark.parametrize("address", ["ray://10.0.0.1:10001", " "])
def test_what_no_driver_can_join_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        ScaleSettings(address=address)
