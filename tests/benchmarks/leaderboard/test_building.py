"""The board is what its records say, byte for byte, wherever it is built."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import markdown
import pytest

from benchmarks.leaderboard.building import build_board, check_board
from benchmarks.leaderboard.errors import RecordError
from benchmarks.leaderboard.markdown import render_markdown
from benchmarks.leaderboard.page import render_episodes, render_page
from benchmarks.leaderboard.published import load_published
from benchmarks.leaderboard.records import EPISODES, read_records
from benchmarks.leaderboard.standing import group_records
from benchmarks.leaderboard.submitting import wrong_with
from tests.benchmarks.leaderboard.made_records import HOSTILE, made_record

ROOT = Path(__file__).parents[3]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    for engine, skill in (("closed-book", 0.1), ("template", 0.8), ("bm25", 0.6)):
        made_record(tmp_path / "records", eval_engine=engine, skill=skill)
    made_record(tmp_path / "records", policy="cut | off", state="partial", failed=2)
    return tmp_path / "records"


def built(records: Path, place: Path) -> dict[str, bytes]:
    build_board(records, place / "table.md", place / "page")
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_equal_records_give_equal_bytes_whatever_the_order_of_files(records: Path, tmp_path: Path) -> None:
    first = built(records, tmp_path / "first")
    for number, folder in enumerate(sorted(records.iterdir(), reverse=True)):
        shutil.copytree(folder, tmp_path / "again" / folder.name)
        assert number < 4
    assert built(tmp_path / "again", tmp_path / "second") == first
    slugs = sorted(folder.name for folder in records.iterdir())
    assert sorted(first) == sorted(["table.md", "page/index.html", *(f"page/episodes/{slug}.js" for slug in slugs)])


def test_an_episodes_file_carries_the_records_own_bytes(records: Path, tmp_path: Path) -> None:
    files = built(records, tmp_path / "board")
    for folder in records.iterdir():
        script = files[f"page/episodes/{folder.name}.js"].decode("ascii")
        found = re.fullmatch(r'boardEpisodes\("([\w.-]+)","([\w+/=]+)"\);\n', script)
        assert found is not None
        assert found[1] == folder.name
        assert base64.b64decode(found[2]) == (folder / EPISODES).read_bytes()


def test_the_check_names_what_is_stale_missing_or_left_over(records: Path, tmp_path: Path) -> None:
    table, page = tmp_path / "board" / "table.md", tmp_path / "board" / "page"
    build_board(records, table, page)
    assert check_board(records, table, page) == []

    table.write_text(table.read_text(encoding="utf-8") + "one more line\n", encoding="utf-8")
    (page / "episodes" / "gone.js").write_text("left over", encoding="utf-8")
    (page / "index.html").unlink()
    faults = "\n".join(check_board(records, table, page))
    assert faults.count("\n") == 2
    assert f"{table} isn't what the records say" in faults
    assert f"{page / 'episodes' / 'gone.js'} is of no record any more" in faults
    assert f"{page / 'index.html'} is missing" in faults


def test_a_broken_record_is_named_and_leaves_the_board_as_it_was(records: Path, tmp_path: Path) -> None:
    before = built(records, tmp_path / "board")
    broken = next(records.iterdir())
    (broken / EPISODES).write_bytes(b"no gzip")
    with pytest.raises(RecordError, match=re.escape(broken.name)):
        built(records, tmp_path / "board")
    assert {name: (tmp_path / "board" / name).read_bytes() for name in before} == before


def test_no_text_of_a_record_becomes_markup(tmp_path: Path) -> None:
    made_record(tmp_path, policy=HOSTILE, agent=HOSTILE, eval_engine=HOSTILE, sets={HOSTILE: 4, "two": 3}, text="")
    groups = group_records(read_records(tmp_path))
    row = replace(load_published()[0], method=HOSTILE, source=HOSTILE, note=HOSTILE, about=HOSTILE, table=HOSTILE)
    page = render_page(groups, [row])
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert "\u2028" not in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert data is not None
    assert json.loads(data[1])["groups"][0]["rows"][0]["record"]["row"]["policy"] == HOSTILE
    assert "</script>" not in render_episodes(HOSTILE, b"")


def test_no_text_of_a_record_becomes_markdown(tmp_path: Path) -> None:
    made_record(tmp_path, policy=HOSTILE, agent=HOSTILE, eval_engine=HOSTILE, sets={HOSTILE: 4, "a|b": 3})
    row = replace(load_published()[0], method=HOSTILE, source=HOSTILE, note=HOSTILE, about=HOSTILE, table=HOSTILE)
    text = render_markdown(group_records(read_records(tmp_path)), [row])
    html = markdown.markdown(text, extensions=["tables", "attr_list", "toc", "pymdownx.superfences"])
    _, _, after = html.partition("<h2")
    assert not re.search(r"<(?!/?(?:h2|h3|p|a|ul|li|strong|table|thead|tbody|tr|th|td)\b)", after)
    assert "\\" not in after
    assert re.findall(r'href="([^"]+)"', html) == ["board/index.html", row.url]
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        heads, cells, rows = (table.count(tag) for tag in ("<th", "<td", "<tr"))
        assert cells == (heads - 1) * (rows - 1)  # <thead> counts among the heads


def test_the_page_lets_nothing_in_but_what_is_shipped(records: Path, tmp_path: Path) -> None:
    page = built(records, tmp_path / "board")["page/index.html"].decode("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    assert "http" not in policy[1]
    assert not re.search(r"\bon\w+=|\bstyle=|javascript:", page.partition("<script")[0].partition("</style>")[2])


def test_the_table_says_rank_interval_gap_and_state(records: Path) -> None:
    table = render_markdown(group_records(read_records(records)), [])
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [re.split(r"(?<!\\)\|", row)[1].strip()[:1] for row in rows[1:]] == ["1", "2", "3", "–"]
    assert "cut \\| off" in rows[-1]
    assert rows[-1].endswith("| partial, 2 failed |")
    assert re.search(r"\*\*\d+\.\d\*\* \(\d+\.\d–\d+\.\d\)", rows[1])
    assert re.search(r"[+−]\d+\.\d \([+−]\d+\.\d to [+−]\d+\.\d\)", rows[1])
    assert "Published" not in table


def test_the_table_tells_a_rows_engine_its_kind_its_noise_and_its_cost(tmp_path: Path) -> None:
    for noise in (0.0, 0.5):
        settings = {"noise_probability": noise}
        made_record(tmp_path, policy="mine", eval_engine="template", price=0.01, settings=settings)
    made_record(tmp_path, policy="mine, zerosearch", eval_engine="closed-book")
    table = render_markdown(group_records(read_records(tmp_path)), [])
    head, _, *rows = (line for line in table.splitlines() if line.startswith("|"))
    place = {name.strip(): at for at, name in enumerate(head.split("|"))}
    cells = {cell[place["engine"]]: cell for row in rows for cell in [[each.strip() for each in row.split("|")]]}
    by_noise = [f"template (simulated), noise probability {noise}" for noise in (0.0, 0.5)]
    assert sorted(cells) == ["closed-book", *by_noise]
    assert {cells[name][place["policy"]] for name in by_noise} == {"mine, zerosearch"}
    assert cells["closed-book"][place["policy"]] == "mine, zerosearch"  # the agent isn't told twice
    assert {cells[name][place["cost"]] for name in by_noise} == {"0.02"}
    assert cells["closed-book"][place["cost"]] == "–"


def test_without_records_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    files = built(tmp_path / "nothing", tmp_path / "board")
    assert sorted(files) == ["page/index.html", "table.md"]
    assert "There is no record yet." in files["table.md"].decode("utf-8")
    assert "Published by others" in files["table.md"].decode("utf-8")


def test_the_committed_board_is_what_the_committed_records_say() -> None:
    # To write it: python -m benchmarks leaderboard build
    records = ROOT / "benchmarks" / "results" / "leaderboard"
    assert [why for record in read_records(records) for why in wrong_with(record.folder)] == []
    assert check_board(records, ROOT / "docs" / "leaderboard_table.md", ROOT / "docs" / "board") == []
