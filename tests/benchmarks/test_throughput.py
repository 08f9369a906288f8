from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.peers.installing import ROOT
from benchmarks.peers.tables import MARKS, record_lines
from benchmarks.throughput import _bytes_per_env

FAKE = Path(__file__).parent / "peers" / "fake_program.py"
QUICK = [
    "throughput",
    "--num-envs",
    "512",
    "--repeats",
    "1",
    "--num-steps",
    "2",
    "--episodes",
    "4",
    "--latency-ms",
    "20",
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The record of a run of ours alone, and what it printed."""
    file = tmp_path_factory.mktemp("throughput") / "deep" / "record.json"
    with redirect_stdout(StringIO()) as out:
        assert main([*QUICK, "--peers", "none", "--json", str(file)]) == 0
    return file, out.getvalue()


def test_the_command_prints_tables_and_writes_a_record(alone: tuple[Path, str]) -> None:
    file, out = alone
    assert "| 512 |" in out
    assert "| ours | vector env |" in out
    assert "| 4 | cold | ours | rollouts |" in out
    record = json.loads(file.read_text())
    assert record["schema"] == "zerosearch.throughput/2"
    assert record["rows"][0]["num_envs"] == 512
    assert record["rows"][0]["step_us"] > 0
    assert {row["side"] for row in record["steps"] + record["turns"]} == set(record["libraries"]) == {"ours"}
    assert all(row["as_it_should"] for row in record["turns"])
    assert str(Path.home()) not in file.read_text()


def test_peers_play_beside_ours_from_an_environment_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python, venv, file = tmp_path / "python", tmp_path / "peers", tmp_path / "record.json"
    inside = f'#!/bin/sh\\ncase "$2" in pip) exit 0;; *) exec {sys.executable} {FAKE};; esac\\n'
    python.write_text(
        f'#!/bin/sh\nmkdir -p "$3/bin"; printf \'{inside}\' > "$3/bin/python"; chmod +x "$3/bin/python"\n'
    )
    python.chmod(0o755)
    options = ["--num-envs", "--peers-venv", str(venv), "--peers-python", str(python), "--json", str(file)]
    assert main([*QUICK, *options]) == 0
    out = capsys.readouterr().out
    assert "make_vec" not in out
    assert "| gem | still |" in out
    assert "| 4 | warm | skyrl | once |" in out
    assert "Not one request and its documents an episode: gem, twice" in out
    record = json.loads(file.read_text())
    assert list(record["libraries"]) == ["ours", "gem", "skyrl"]
    assert record["libraries"]["gem"]["packages"] == {"fake": "1.0"}
    assert {row["way"]: row["as_it_should"] for row in record["turns"] if row["side"] == "gem"} == {
        "once": True,
        "twice": False,
        "another's": False,
    }


def test_a_record_is_shown_and_written_into_a_document(
    alone: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, document = alone[0], tmp_path / "page.md"
    document.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    for _ in range(2):
        assert main(["throughput", "--show", str(file), "--into", str(document)]) == 0
    shown = capsys.readouterr().out
    assert document.read_text() == f"before\n{MARKS[0]}\n{shown[: len(shown) // 2]}{MARKS[1]}\nafter\n"
    assert "| library | way | connections | 4 episodes |" in shown
    assert "| ours | rollouts | cold | " in shown
    document.write_text("no marks")
    assert main(["throughput", "--show", str(file), "--into", str(document)]) == 2
    assert "doesn't hold the marks" in capsys.readouterr().err
    assert main(["throughput", "--into", str(document)]) == 2
    assert main(["throughput", "--show", str(tmp_path / "none.json")]) == 2
    assert "can't be read as a record" in capsys.readouterr().err
    document.write_text('{"schema": "zerosearch.throughput/1"}')
    assert main(["throughput", "--show", str(document)]) == 2
    assert "zerosearch.throughput/1" in capsys.readouterr().err


def test_the_tables_in_the_documents_are_those_of_the_record() -> None:
    record = ROOT / "benchmarks" / "results" / "throughput" / "peers.json"
    text = (ROOT / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8")
    between = text.partition(MARKS[0])[2].partition(MARKS[1])[0].strip()
    shown = "\n".join(record_lines(json.loads(record.read_text(encoding="utf-8")))) if record.is_file() else ""
    assert MARKS[0] in text
    assert between == shown


@pytest.mark.parametrize("wrong", [["--repeats", "0"], ["--num-steps", "0"], ["--episodes", "8", "0"]])
def test_numbers_below_one_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["throughput", "--peers", "none", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err


def test_none_is_named_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--peers", "none", "gem"]) == 2
    assert "none alone" in capsys.readouterr().err


def test_without_pypi_the_way_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--peers-venv", str(tmp_path / "peers"), "--peers-python", "/no/such/python"]) == 2
    assert "--peers none" in capsys.readouterr().err


def test_an_environment_costs_little_memory_beyond_its_text() -> None:
    # The questions' facts and the engine's tables are shared, so a thousand environments spread what is left of them.
    assert _bytes_per_env(1024, seed=0) <= 10_000


@pytest.mark.slow
@pytest.mark.network
def test_gem_and_skyrl_gym_from_pypi_play_as_they_should(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    assert main([*QUICK, "--latency-ms", "100", "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert record["libraries"]["gem"]["packages"]["gem-llm"] == "0.1.0"
    assert record["libraries"]["skyrl"]["packages"]["skyrl-gym"] == "0.4.0"
    assert {row["side"] for row in record["steps"]} == {"ours", "gem", "skyrl"}
    assert all(row["step_us"] > 0 and row["characters"] > 100 for row in record["steps"])
    for row in record["turns"]:
        assert row["as_it_should"], row
        assert row["median_s"] >= 0.1
