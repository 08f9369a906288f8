from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.transfer import _paired, engines_of, paired_difference


def test_differences_of_pairs() -> None:
    """Half the questions gain 1, the others nothing: mean 0.5, standard error √(0.25 / 100) = 0.05."""
    found = paired_difference([1.0] * 100, [0.0, 1.0] * 50)
    assert found["value"] == 0.5
    low, high = found["ci"]
    assert low == pytest.approx(0.402, abs=0.02)
    assert high == pytest.approx(0.598, abs=0.02)
    assert paired_difference([], []) == {"value": None, "ci": None, "n": 0}


def test_pairs_have_tighter_intervals_than_two_samples() -> None:
    """What both do alike on a question cancels out: 90 of 100 are equal, 10 gain."""
    found = paired_difference([0.0, 1.0] * 45 + [1.0] * 10, [0.0, 1.0] * 45 + [0.0] * 10)
    assert found["value"] == pytest.approx(0.1)
    assert found["ci"][0] > 0.03


def test_an_episode_that_failed_is_no_pair() -> None:
    assert _paired([1.0, math.nan, 0.0], [1.0, 1.0, math.nan]) == ([1.0], [1.0])


def test_the_command_plays_the_shipped_policy_on_all_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bm25s")
    file, corpus = tmp_path / "transfer.json", tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"text": "The capital of Kenya is Nairobi."}\n{"text": "The currency of Kenya is the shilling."}\n'
    )
    flags = ["--limit", "2", "--corpus", str(corpus), "--real", "bm25", "--json", str(file)]
    assert main(["transfer", *flags]) == 0
    record = json.loads(file.read_text())
    assert [row["engine"] for row in record["rows"]] == ["closed-book", "template", "bm25"]
    assert [row["n"] for row in record["rows"]] == [2] * 3
    assert record["rows"][0]["contains_golden_share"] in (None, 0.0)
    assert [(row["of"], row["minus"]) for row in record["differences"]] == [
        ("template", "closed-book"),
        ("bm25", "closed-book"),
        ("bm25", "template"),
    ]
    assert "quickstart_warmstart, 2 questions of atlas" in capsys.readouterr().out


def test_of_the_atlas_its_own_facts_are_the_passages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZS_CACHE", str(tmp_path))
    options = argparse.Namespace(simulated="template", real=[], corpus=None, questions="atlas")
    (kind, simulated), *real = engines_of(options)
    assert (kind, simulated.search_mode) == ("simulated", "template")
    assert [(kind, spec.name, spec.search_mode) for kind, spec in real] == [
        ("real", "bm25, facts", "bm25"),
        ("real", "bm25, entities", "bm25"),
    ]
    assert all(Path(spec.options["corpus"]).is_file() for _, spec in real)


def test_other_questions_need_passages(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "who?", "golden_answers": ["I"]}\n')
    assert main(["transfer", "--questions", str(file)]) == 2
