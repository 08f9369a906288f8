from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.simulator.table import PAGE_HEAD, render_table
from benchmarks.simulator.table_sources import Sources, read_published, read_sources
from tests.benchmarks.simulator.helpers import write_questions
from tests.zs_env.measuring.test_facts import write_gguf
from tests.zs_env.tuning.gating.simulators import held_out_cases, leaking, measured_by, well
from zs_env.engines import make_engine
from zs_env.errors import ConfigError
from zs_env.measuring.facts import engine_facts
from zs_env.tuning.gating.report import make_report
from zs_env.tuning.gating.rules import GateRules

ROOT = Path(__file__).parents[3]
RESULTS = [ROOT / "benchmarks" / "results" / name for name in ("simulator", "tuning")]
URL = "http://127.0.0.1:1/v1"


def gate_report(folder: Path) -> dict[str, object]:
    one, other = measured_by(held_out_cases(folder), well, leaking)
    size = {"parameters": 134_515_008, "bytes": 270_000_000, "quantisation": "f16"}
    return make_report(
        {"candidate": one, "reference": other},
        rules=GateRules(),
        about={
            "candidate": {"title": "mine", "tuned": True, "mode": "sft", **size},
            "reference": {"title": "smollm2", "tuned": False, "mode": "prompt", **size, "quantisation": "q4_1"},
        },
        questions={"source": "held_out.jsonl", "num_asked": 24, "held_out": {"num_trained": 3, "left_out": {}}},
        settings={},
        command="tune gate",
    )


def test_the_published_page_is_what_its_records_give() -> None:
    # Another one? python -m benchmarks simulator table benchmarks/results/simulator benchmarks/results/tuning \
    #     --page docs/simulator_table.md
    there = [folder for folder in RESULTS if folder.is_dir()]
    page = PAGE_HEAD + render_table(read_sources(there), read_published()) + "\n"
    assert page == (ROOT / "docs" / "simulator_table.md").read_text(encoding="utf-8")


def test_published_averages_are_those_of_their_rows() -> None:
    (table,) = read_published()
    assert "arXiv 2505.04588" in table["source"]
    for row in table["row"]:
        *values, average = row["values"]
        assert sum(values) / len(values) == pytest.approx(average, abs=0.006)


def test_figures_without_a_source_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.toml"
    path.write_text('[[table]]\ntitle = "Mine"\ncolumns = ["NQ"]\n[[table.row]]\nname = "A"\nvalues = [1.0]\n')
    with pytest.raises(ConfigError, match="says no source"):
        read_published(path)
    path.write_text('[[table]]\nsource = "S"\ncolumns = ["NQ"]\n[[table.row]]\nname = "A"\nvalues = []\n')
    with pytest.raises(ConfigError, match="0 values for 1 columns"):
        read_published(path)


def test_records_gates_and_trainings_in_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, page = tmp_path / "records" / "mine.json", tmp_path / "page.md"
    record.parent.mkdir()
    assert main(f"simulator --questions {write_questions(tmp_path)} --name mine --json {record}".split()) == 0
    (tmp_path / "records" / "gate.json").write_text(json.dumps(gate_report(tmp_path)))
    (tmp_path / "records" / "other.json").write_text('{"schema": "other/1"}')
    run = ROOT / "benchmarks" / "results" / "smollm2" / "summary.json"
    capsys.readouterr()
    assert main(f"simulator table {record.parent} {run} --page {page}".split()) == 0
    shown = capsys.readouterr().out
    assert page.read_text() == PAGE_HEAD + shown
    assert "| mine | template | – | – | – | 6 of one hop (capitals.jsonl) | 100.0 % [61.0, 100.0] (6/6) |" in shown
    assert "| mine | fine-tuned, unchecked | 135M | 270 MB | f16 | 24 held out (held_out.jsonl) |" in shown
    assert "| smollm2 | prompted, unchecked | 135M | 270 MB | q4_1 |" in shown
    assert "|  | accepted |" in shown
    assert "| seconds a search: p50 | gain in separation over it | verdict |" in shown
    assert "| smollm2 | smollm2 | template | 0.5 | 100 | 21.0 % [14.2, 30.0] | 45.0 % [35.6, 54.8] |" in shown
    # What others published stands apart, behind what was measured, with its source.
    measured, published = shown.split("## Published, not measured here")
    assert "SFT-14B" not in measured
    assert "| SFT-14B | fine-tuned | 14B | 43.00 |" in published
    assert "mine" not in published


def test_what_isnt_a_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "simulator.json"
    path.write_text('{"schema": "zerosearch.tuned_simulator/1", "persona": "Bing"}')  # a tuned simulator's own
    assert main(f"simulator table {path}".split()) == 2
    assert "is no record that this table takes" in capsys.readouterr().err
    assert main(f"simulator table {tmp_path}".split()) == 2
    assert "There are no records" in capsys.readouterr().err
    assert main(f"simulator report {path}".split()) == 2
    assert "isn't a record of schema" in capsys.readouterr().err
    assert render_table(Sources(), []) == ""


def test_what_a_record_says_of_a_simulators_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    write_gguf(file)
    served = make_engine("simulate_sft", base_url=URL)
    size = {"parameters": 24, "bytes": file.stat().st_size, "quantisation": "q4_k_m"}
    assert engine_facts(served, file=file) == {**size, "tuned": None, "mode": "sft"}
    assert engine_facts(served, file=file, tuned=True) == {**size, "tuned": True, "mode": "sft"}
    (tmp_path / "mine.gguf.json").write_text('{"schema": "zerosearch.tuned_simulator/1"}')
    assert engine_facts(served, file=file) == {**size, "tuned": True, "mode": "sft"}
    unknown = {"parameters": None, "bytes": None, "quantisation": None}
    assert engine_facts(make_engine("simulate_prompt", base_url=URL)) == {**unknown, "tuned": False, "mode": "prompt"}
    assert engine_facts(make_engine("template")) is None
