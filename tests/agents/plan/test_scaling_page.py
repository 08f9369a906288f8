"""The page's tables are what its commands print, and its check is what the benchmark's record says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from agents.cli import main
from benchmarks.scaling.tables import render

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "SCALING.md").read_text(encoding="utf-8")
RECORD = ROOT / "benchmarks" / "results" / "scaling" / "quickstart.json"
BLOCKS = re.findall(r"<!-- (python -m agents plan scale[^\n]*) -->\n\n(.*?)\n\n<!-- end -->", PAGE, re.DOTALL)


def test_the_page_has_all_its_tables() -> None:
    assert len(BLOCKS) == 7


@pytest.mark.parametrize(
    ("command", "table"),
    [
        pytest.param(*block, id=str(number), marks=pytest.mark.slow if number in (2, 3, 4) else ())
        for number, block in enumerate(BLOCKS)
    ],
)
def test_a_table_is_what_its_command_prints(command: str, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[3:]) == 0
    assert capsys.readouterr().out.strip() == table


def test_the_check_is_what_the_record_says() -> None:
    found = re.findall(r"<!-- scaling-record -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert len(found) == 1
    if RECORD.is_file():
        assert found[0].strip() == render(json.loads(RECORD.read_text(encoding="utf-8")))
    else:
        assert "Not measured yet" in found[0]
