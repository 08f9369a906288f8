"""The published picture and table of a run are what its record gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.curve import draw, read_run, table

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "smollm2"
DOCS = Path(__file__).parents[2] / "docs"


def test_the_published_run_of_smollm2_is_what_its_record_gives() -> None:
    metrics, summary = read_run(RECORD)
    assert draw(metrics) == (DOCS / "smollm2.svg").read_text()
    assert table(summary) in (DOCS / "PERFORMANCE.md").read_text()


def test_the_command_writes_the_picture_and_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curve", str(RECORD), "--out", str(tmp_path / "run.svg")]) == 0
    assert (tmp_path / "run.svg").read_text().count("<polyline") == 4  # in each of two panels one seed, and the mean
    assert "| exact match, noise 0 | 0.41 [0.32, 0.51] | 0.93 [0.86, 0.97] |" in capsys.readouterr().out


def test_a_run_that_has_not_finished_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", str(tmp_path), "--out", str(tmp_path / "run.svg")]) == 2
    assert "is no finished run" in capsys.readouterr().err
