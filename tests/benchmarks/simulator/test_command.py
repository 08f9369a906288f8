from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import main
from benchmarks.simulator.page import write_page
from benchmarks.simulator.record import read_records
from benchmarks.simulator.tables import share_text
from tests.benchmarks.simulator.helpers import Writing, write_questions
from zs_env.engines import SEARCH_MODES, TemplateEngine, make_engine
from zs_env.engines.around import CachedEngine
from zs_env.measuring.describing import prompt_texts

ROOT = Path(__file__).parents[3]
RECORDS = ROOT / "benchmarks" / "results" / "simulator"


def test_the_template_engine_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions, out = write_questions(tmp_path), tmp_path / "out"
    arguments = f"simulator --questions {questions} --out {out} --examples 1 --name mine --concurrency 2".split()
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "| useful: holds an answer, of delivered | 100.0 % [61.0, 100.0] (6/6) |" in shown
    record = json.loads((out / "record.json").read_text())
    assert (record["schema"], record["name"], record["seed"]) == ("zerosearch.simulator/1", "mine", 0)
    assert list(record["figures"]) == ["all", "single_hop"]
    assert record["figures"]["single_hop"]["noisy"]["free"]["value"] == 1.0
    assert [example["quality"] for example in record["examples"]] == ["useful", "noisy"]
    assert len(record["examples"][0]["documents"]) == 5
    assert str(tmp_path) not in (out / "record.json").read_text()
    assert "--questions capitals.jsonl" in record["command"]
    assert len((out / "searches.jsonl").read_text().splitlines()) == 1 + 12
    # Again: nothing is asked, and the figures are the same.
    assert main(arguments) == 0
    assert "12 of 12 searches are kept" in capsys.readouterr().err
    assert json.loads((out / "record.json").read_text())["figures"] == record["figures"]


def test_bars_give_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The atlas's noise is about others than the query's entity, so it misses the bar of similarity.
    assert main(["simulator", "--limit", "12"]) == 0
    assert main(["simulator", "--limit", "12", "--bars"]) == 1
    assert "**missed**" in capsys.readouterr().out
    # Questions of several hops have no bars: there is none to meet.
    assert main(f"simulator --questions {write_questions(tmp_path)} --multi-hop --bars".split()) == 0


def test_a_stopped_measurement_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(request: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(SEARCH_MODES, "stopping", lambda: Writing(stop))
    arguments = ["simulator", "--questions", str(write_questions(tmp_path)), "--engine", "stopping"]
    assert main(arguments) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 130
    assert "goes on where it stopped" in capsys.readouterr().err


def test_records_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions, page = write_questions(tmp_path), tmp_path / "page.md"
    for name in ("one", "two"):
        assert main(f"simulator --questions {questions} --name {name} --json {tmp_path / name}.json".split()) == 0
    capsys.readouterr()
    assert main(f"simulator report {tmp_path / 'one.json'} {tmp_path / 'two.json'} --page {page}".split()) == 0
    shown = capsys.readouterr().out
    assert "|  | one | two |" in shown
    assert shown.strip() in page.read_text()
    picture = ElementTree.fromstring((tmp_path / "page.svg").read_text())
    assert picture.tag.endswith("svg")
    assert main(f"simulator report {tmp_path / 'one.json'} {tmp_path / 'one.json'}".split()) == 2
    assert "called 'one'" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text('{"schema": "other/1"}')
    assert main(f"simulator report {tmp_path / 'broken.json'}".split()) == 2
    assert "zerosearch.simulator/1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--limit 0", "--limit"),
        ("--engine gogle", "Unknown search mode 'gogle'"),
        ("--max-tries 3", "doesn't take 'max_tries'"),
        ("--search-option depth", "NAME=VALUE"),
        ("--questions nowhere.jsonl", "nowhere.jsonl"),
    ],
)
def test_what_cant_be_measured_is_said(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulator", *arguments.split()]) == 2
    assert message in capsys.readouterr().err


def test_the_prompts_of_a_simulated_engine_are_known(tmp_path: Path) -> None:
    engine = make_engine("simulate_prompt", base_url="http://127.0.0.1:1/v1")
    texts = prompt_texts(engine)
    assert texts
    assert not any("{query}" in text for text in texts)
    assert prompt_texts(CachedEngine(engine, tmp_path / "cache.sqlite")) == texts
    assert prompt_texts(TemplateEngine()) == []


def test_shares_of_nothing_are_a_dash() -> None:
    assert share_text({"value": None, "hits": 0, "n": 0, "ci": None}) == "–"


def test_the_published_page_is_what_its_records_give(tmp_path: Path) -> None:
    # Another one? python -m benchmarks simulator report benchmarks/results/simulator --page docs/simulators.md
    write_page(read_records([RECORDS]), tmp_path / "simulators.md")
    for name in ("simulators.md", "simulators.svg"):
        assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()
