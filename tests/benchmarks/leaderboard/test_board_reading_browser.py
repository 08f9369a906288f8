"""What the page says of its figures, and whether it can be read: long names, phones, large screens, paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.leaderboard.building import build_board
from tests.benchmarks.leaderboard.made_records import made_record

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]

LONG = "organisation-with-a-long-name/" + "M" * 170
SETS = {f"set_{number}": 12 for number in range(7)}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of seven sets with one very long name, a suite on one engine alone, and one of few questions."""
    root = tmp_path_factory.mktemp("board")
    for engine, skill in (("closed-book", 0.1), ("template", 0.9), ("bm25", 0.5)):
        made_record(root / "records", policy="a model, zerosearch", eval_engine=engine, sets=SETS, skill=skill)
    made_record(root / "records", policy=LONG, eval_engine="bm25", sets=SETS, skill=0.6, price=0.01)
    made_record(root / "records", policy="alone", eval_engine="bm25", suite="other")
    build_board(root / "records", root / "table.md", root / "page")
    return root / "page" / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as run:
        started = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(page_file.as_uri())
    yield opened
    assert complaints == []
    opened.close()


def slug_of(page: Any, engine: str, name: str = "a model") -> str:
    told = "([name, engine]) => BOARD.groups.flatMap((group) => group.rows)"
    return str(
        page.evaluate(told + ".find((row) => row.name.startsWith(name) && row.eval === engine).slug", [name, engine])
    )


@pytest.mark.parametrize("width", [768, 1280])
def test_a_long_name_leaves_the_figures_in_sight(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for figure in page.locator("td.key b").all():
        box = figure.bounding_box()
        assert box["x"] + box["width"] < width
    assert page.locator("tbody .name").first.bounding_box()["width"] < width / 2


def test_both_plots_share_a_large_screen(page: Any) -> None:
    page.set_viewport_size({"width": 1920, "height": 1080})
    boxes = [plot.bounding_box() for plot in page.locator(".plot").all()]
    table = page.locator("#table").bounding_box()
    assert [round(box["y"]) for box in boxes] == [round(boxes[0]["y"])] * 2
    assert boxes[1]["x"] + boxes[1]["width"] == pytest.approx(table["x"] + table["width"], abs=2)
    page.locator("#plot-cost select").select_option("tokens")
    assert page.locator("#plot-cost h3").inner_text() == "Accuracy against tokens"


def test_a_question_has_the_whole_width_of_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 375, "height": 800})
    page.evaluate("(slug) => go({ row: slug })", slug_of(page, "bm25"))
    head = page.locator("#sheet .list tbody th").first
    head.wait_for()
    assert head.bounding_box()["width"] > 300


def test_it_says_that_ranks_mix_policy_and_engine_where_they_do(page: Any) -> None:
    notes = page.locator("#board-notes")
    assert "filter to one engine" in notes.inner_text()
    page.locator("#suites a", has_text="other").click()
    page.locator("[aria-current]", has_text="other").wait_for()
    assert notes.inner_text() == ""


def test_a_link_to_rows_of_two_tables_says_why_nothing_is_compared(page: Any) -> None:
    slugs = [slug_of(page, "bm25"), slug_of(page, "bm25", "alone")]
    page.evaluate("(slugs) => { location.hash = 'row=compare&compare=' + slugs; }", ",".join(slugs))
    alert = page.locator("#board-notes [role=alert]")
    alert.wait_for()
    assert slugs[1] in alert.inner_text()
    assert slugs[0] not in alert.inner_text()
    assert not page.locator("#sheet").is_visible()
    page.evaluate("location.hash = 'row=gone'")
    page.locator("#board-notes [role=alert]", has_text="gone").wait_for()
    page.evaluate("location.hash = ''")
    alert.wait_for(state="detached")


def test_a_question_leads_back_to_the_list_as_it_was_left(page: Any) -> None:
    page.evaluate("(slug) => go({ row: slug })", slug_of(page, "bm25"))
    sheet = page.locator("#sheet")
    sheet.locator("select[name=outcome]").select_option("right")
    shown = sheet.locator(".list a").all_inner_texts()
    sheet.locator(".list a").nth(20).click()
    sheet.locator(".transcript").wait_for()
    page.go_back()
    sheet.locator(".list a:focus").wait_for()
    assert sheet.locator("select[name=outcome]").input_value() == "right"
    assert sheet.locator(".list a").all_inner_texts() == shown
    assert page.evaluate("document.activeElement.textContent") == shown[20]
    assert sheet.locator(".list a").nth(20).bounding_box()["y"] < 900


def test_two_rows_are_compared_by_keys_from_where_they_are_chosen(page: Any) -> None:
    boxes = page.locator("tbody input[type=checkbox]")
    boxes.nth(0).press("Enter")
    assert not page.locator("#sheet").is_visible()
    for place in (0, 1):
        boxes.nth(place).press("Space")
    assert "Enter compares" in page.locator("#told").inner_text()
    boxes.nth(1).press("Enter")
    page.locator("#sheet .verdict").wait_for()


def test_what_was_drawn_is_told_of_simulated_searches_alone(page: Any) -> None:
    for engine, drawn in (("template", True), ("bm25", False), ("closed-book", False)):
        slug = slug_of(page, engine)
        page.evaluate("(key) => go({ row: '', question: key })", f"{slug}/set_0/0")
        page.locator(".transcript", has_text=engine).locator(".search-card").first.wait_for()
        assert ("drawn:" in page.locator(".search-card").first.inner_text()) is drawn
        assert ("p(noisy)" in page.locator(".search-card").first.inner_text()) is drawn


def test_words_follow_the_test_as_ranks_do(page: Any) -> None:
    """Of few questions, an interval can leave out 0 where the test sees nothing: four questions to none, p = 0.125."""
    few = {"difference": 0.2, "ci": [0.05, 0.45], "p": 0.125, "n": 20, "only_first": 4, "only_second": 0}
    rows = [slug_of(page, engine) for engine in ("template", "bm25")]
    row = "(slug) => rowOf(BOARD.groups[0], slug)"
    told = f"([test, slugs]) => make('p', null, verdict(test, ...slugs.map({row}))).textContent"
    said = page.evaluate(told, [few, rows])
    assert said.startswith("These questions do not tell the two apart")
    assert "p = 0.125" in said
    said = page.evaluate(told, [{**few, "p": 0.01}, rows])
    assert said.startswith("A, a model, zerosearch on template, is right more often, by 20.0 points")
    said = page.evaluate("(test) => gapSentence(test, 'more', 'less', 'neither').textContent", {**few, "value": 0.2})
    assert said.startswith("neither")


def test_an_open_record_is_printed_whole_and_alone(page: Any) -> None:
    page.set_viewport_size({"width": 794, "height": 1123})
    page.evaluate("(slug) => go({ row: slug })", slug_of(page, "bm25"))
    page.locator("#sheet .list").wait_for()
    page.emulate_media(media="print")
    assert not page.locator("#main").is_visible()
    inside, shown = page.evaluate("(({ scrollHeight, clientHeight }) => [scrollHeight, clientHeight])(byId('sheet'))")
    assert inside == shown > 1123
