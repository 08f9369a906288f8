from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.leaderboard.published import PUBLISHED, load_published
from zs_env.errors import ConfigError
from zs_env.questions.prepare.presets import FLASHRAG

TABLE = """
[[table]]
title = "A table"
source = "Somebody, Something, Table 1"
url = "https://example.org"
metric = "exact match"
unit = "percent"
decimals = 2
engine = "bm25"
columns = ["nq", "popqa", "average"]
note = "Of a sample."

[[table.row]]
method = "RAG"
model = "Some-1B"
values = [10.00, 21.00, 15.50]
"""


def table(folder: Path, text: str) -> Path:
    path = folder / "published.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_papers_table_is_whole() -> None:
    rows = [row for row in load_published() if row.table.startswith("ZeroSearch")]
    methods = ["Direct Answer", "CoT", "RAG", "RA-Agent", "Search-o1", "R1", "R1"]
    methods += ["Search-R1", "Search-R1", "ZeroSearch", "ZeroSearch"]
    assert [row.method for row in rows] == methods * 3
    families = {(row.model.removesuffix("-Base").removesuffix("-Instruct")) for row in rows}
    assert families == {"Qwen-2.5-7B", "Qwen-2.5-3B", "LLaMA-3.2-3B"}
    trained = {row.model for row in rows if row.method == "ZeroSearch"}
    assert trained == {f"{family}-{kind}" for family in families for kind in ("Base", "Instruct")}
    assert {row.model for row in rows if row.method == "RAG"} == {f"{family}-Instruct" for family in families}


def test_rows_have_the_suites_sets_and_a_source() -> None:
    for row in load_published():
        assert list(row.sets) == list(FLASHRAG)
        assert row.source
        assert row.about
        assert row.url.startswith("https://arxiv.org/abs/")
        assert all(0 <= value <= 1 for value in row.sets.values())


def test_figures_are_shares_and_have_the_decimals_of_their_source(tmp_path: Path) -> None:
    (row,) = load_published(table(tmp_path, TABLE))
    assert (row.sets, row.average, row.decimals) == ({"nq": 0.1, "popqa": 0.21}, 0.155, 4)
    assert (row.engine, row.train_engine, row.about, row.note) == ("bm25", None, "Of a sample.", "")


def test_a_row_may_say_its_own_engine_and_note(tmp_path: Path) -> None:
    (row,) = load_published(table(tmp_path, TABLE + 'engine = "none"\ntrain_engine = "google"\nnote = "Odd."\n'))
    assert (row.engine, row.train_engine, row.note) == ("none", "google", "Odd.")


def test_an_average_that_is_not_the_mean_is_refused_unless_the_row_says_so(tmp_path: Path) -> None:
    off = TABLE.replace("15.50]", "15.60]")
    with pytest.raises(ConfigError, match=r"average 15.60 is not the mean of its values, 15.50.*mean = 15.50"):
        load_published(table(tmp_path, off))
    (row,) = load_published(table(tmp_path, off + "mean = 15.50\n"))
    assert row.average == 0.156
    assert "prints 15.60 as the average of values whose mean is 15.50" in row.note
    with pytest.raises(ConfigError, match="leave `mean` out"):
        load_published(table(tmp_path, TABLE + "mean = 15.50\n"))


def test_a_slip_in_any_leading_digit_of_what_is_shipped_is_seen(tmp_path: Path) -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("values")]
    for line in (lines[0], lines[-1]):
        for value in line.partition("[")[2].rstrip("]").split(", "):
            wrong = Decimal(value) + (1 if Decimal(value) > 1 else Decimal("0.1"))
            with pytest.raises(ConfigError, match="is not the mean of its values"):
                load_published(table(tmp_path, text.replace(line, line.replace(value, str(wrong), 1))))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('source = "Somebody, Something, Table 1"\n', "", "lacks source"),
        ('unit = "percent"', 'unit = "points"', "unit must be one of percent, fraction; got 'points'"),
        ('["nq", "popqa", "average"]', '["nq", "nq", "average"]', "columns must be different sets"),
        ("10.00, 21.00, 15.50", "10.00, 15.50", "must have 3 values from 0 to 100"),
        ("10.00, 21.00, 15.50", "10.00, 121.00, 65.50", "from 0 to 100"),
        ("10.00", "10.001", "10.001 has more than the table's 2 decimals"),
        ('method = "RAG"', 'methd = "RAG"', "a row has method, model and values"),
        ("[[table]]", "[[table]", "can't be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_published(table(tmp_path, TABLE.replace(old, new, 1)))


def test_a_row_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands there twice"):
        load_published(table(tmp_path, TABLE + TABLE[TABLE.index("[[table.row]]") :]))
