"""The compose file is well formed, opens nothing, and its commands are ones that are understood. It isn't run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.cli import parser
from agents.config import load_config
from agents.flags import sections_of
from zs_env.serving.backends import command
from zs_env.serving.settings import ServeSettings


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((Path(__file__).parents[2] / "examples" / "compose.yaml").read_text(encoding="utf-8"))


def with_defaults(words: list[str]) -> list[str]:
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words]


def test_nothing_is_published(compose: Any) -> None:
    assert compose["networks"] == {"inside": {"internal": True}}
    for name, service in compose["services"].items():
        assert "ports" not in service
        assert service.get("network_mode") is None
        assert service.get("networks") == (None if name == "download" else ["inside"])


def test_both_are_on_the_same_gpu_and_the_simulator_is_first(compose: Any) -> None:
    services = compose["services"]
    assert services["simulator"]["deploy"] == services["trainer"]["deploy"]
    assert services["trainer"]["depends_on"] == {"simulator": {"condition": "service_healthy"}}


def test_the_simulators_command_is_ours(compose: Any) -> None:
    settings = ServeSettings(
        backend="sglang",
        model="Qwen/Qwen2.5-3B-Instruct",
        host="0.0.0.0",
        memory_fraction=0.33,
        context_tokens=4096,
        parallel=32,
        python="python3",
    )
    assert with_defaults(compose["services"]["simulator"]["command"]) == command(settings)


def test_the_trainers_command_is_understood(compose: Any) -> None:
    words = with_defaults(compose["services"]["trainer"]["command"])
    assert words[:3] == ["python", "-m", "agents"]
    config = load_config(sections_of(parser().parse_args(words[3:])))
    assert config.search.base_url == "http://simulator:6001/v1"
