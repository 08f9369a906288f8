"""The documents say what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from agents.executors.settings import ScaleSettings
from agents.flags import FLAGS
from agents.metrics import METRICS

ROOT = Path(__file__).parents[1]


def test_every_logged_metric_is_defined_in_the_documents() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = page.partition("## What an evaluation records")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)) == METRICS


def test_every_setting_of_scale_is_in_the_documents_with_its_flag_and_its_default() -> None:
    page = (ROOT / "docs" / "scaleout.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| (\S*) ?\| (\S*) ?\| .+ \|$", page, re.MULTILINE)
    flags = {key: f"`--{flag.replace('_', '-')}`" for flag, (section, key) in FLAGS.items() if section == "scale"}
    assert table == [
        (setting.name, flags.get(setting.name, ""), _shown(setting.default)) for setting in fields(ScaleSettings)
    ]


def _shown(default: object) -> str:
    if default is None:
        return ""
    return f'"{default}"' if isinstance(default, str) else f"{default:g}"


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_project_speaks_of_itself_alone() -> None:
    # Put together from halves, so that this file doesn't hold what it forbids.
    forbidden = re.compile("/wo" r"rk/|\bissue #?\d|py" r"pi\.org/simple|TO" "DO|FIX" "ME")
    for suffix in ("*.py", "*.md", "*.toml", "*.yml", "*.cff"):
        for file in ROOT.rglob(suffix):
            if not {".venv", ".cache", "build", "site", "runs", ".git"} & set(file.relative_to(ROOT).parts):
                found = forbidden.search(file.read_text(encoding="utf-8"))
                assert found is None, f"{file.relative_to(ROOT)}: {found.group() if found else ''}"
