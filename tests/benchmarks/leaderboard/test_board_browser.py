"""The board's page in a real browser, where one and playwright are installed."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.leaderboard.building import build_board
from benchmarks.leaderboard.published import load_published
from tests.benchmarks.leaderboard.made_records import HOSTILE, made_record

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]

SETS = {"one": 40, "two": 30}
PAIR = """(slugs) => {
    const group = chosenGroup(readState());
    return pairOf(group, ...slugs.map((slug) => rowOf(group, slug))).macro;
}"""
BEST, SECOND = "able model, zerosearch", "able model, rag"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of two suites: good and bad rows, bounds, a partial one, and one whose every text is hostile."""
    root = tmp_path_factory.mktemp("board")
    records = root / "records"
    for engine, skill in (("closed-book", 0.1), ("template", 0.95), ("bm25", 0.85)):
        made_record(records, policy=BEST, eval_engine=engine, sets=SETS, skill=skill, searches=2, price=0.01)
    made_record(records, policy=SECOND, agent="rag", eval_engine="bm25", sets=SETS, skill=0.25, price=0.002)
    made_record(
        records,
        policy="weak model, cot",
        agent="cot",
        eval_engine="closed-book",
        sets=SETS,
        skill=0.0,
        searches=0,
        price=0.001,
    )
    made_record(records, policy="oracle", agent="oracle", eval_engine="closed-book", sets=SETS, skill=2, searches=0)
    made_record(
        records,
        policy="cut off, r1",
        agent="r1",
        eval_engine="closed-book",
        sets=SETS,
        searches=0,
        state="partial",
        failed=5,
    )
    hostile: dict[str, Any] = {
        "agent": HOSTILE,
        "train_engine": HOSTILE,
        "text": HOSTILE,
        "settings": {"judge": {HOSTILE: HOSTILE}},
    }
    for engine in ("bm25", HOSTILE):
        made_record(
            records,
            policy=HOSTILE,
            eval_engine=engine,
            suite="</script><b>hostile",
            sets={HOSTILE: 6, "__proto__": 3},
            state="partial",
            failed=2,
            **hostile,
        )
    made_record(
        records,
        policy=HOSTILE + "again",
        eval_engine="bm25",
        suite="</script><b>hostile",
        sets={HOSTILE: 6, "__proto__": 3},
        **hostile,
    )
    strange = replace(
        load_published()[0],
        method=HOSTILE,
        model=HOSTILE,
        source=HOSTILE,
        note=HOSTILE,
        about=HOSTILE,
        table=HOSTILE,
        url="javascript:alert(1)",
        sets={HOSTILE: 0.5},
    )
    build_board(records, root / "table.md", root / "page", published=[*load_published(), strange])
    return root / "page" / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as run:
        started = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[1280, 375])
def page(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Iterator[Any]:
    """The page from its file, on a desktop and on a phone; nothing may be fetched, complained of or broken out of."""
    opened = browser.new_page(viewport={"width": request.param, "height": 812}, has_touch=request.param < 700)
    complaints: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(page_file.as_uri())
    go_to_made(opened, page_file)
    yield opened
    assert opened.title() == "ZeroSearch leaderboard"
    assert complaints == []
    folder = page_file.parent.as_uri()
    assert all(url.startswith(folder) for url in requests), requests
    opened.close()


def go_to_made(page: Any, page_file: Path, **state: str) -> None:
    made = page.evaluate("BOARD.groups.find((group) => group.title === 'made').id")
    page.evaluate("(told) => { location.hash = new URLSearchParams(told).toString(); }", {"suite": made, **state})
    page.locator("[aria-current]", has_text="made").wait_for()


def width_fits(page: Any) -> bool:
    wide = (
        "[document.documentElement, document.getElementById('sheet')].every((part) => part.scrollWidth <= innerWidth)"
    )
    return bool(page.evaluate(wide))


def names(page: Any) -> list[str]:
    return [name.strip() for name in page.locator("tbody .name a").all_inner_texts()]


def sort_by(page: Any, label: str) -> None:
    if page.viewport_size["width"] < 700:
        page.locator("select[name=sort]").select_option(label=label)
    else:
        page.get_by_role("button", name=label, exact=False).first.click()


def slug_of(page: Any, name: str, engine: str) -> str:
    return str(page.locator("tr[data-slug]", has_text=name).filter(has_text=engine).get_attribute("data-slug"))


def test_rows_are_ranked_sorted_and_filtered_and_a_link_shows_the_same(page: Any) -> None:
    ranks = page.locator("tbody .rank").all_inner_texts()
    assert [rank[0] for rank in ranks] == ["–", "1", "2", "–", "3", "4", "5"]  # an oracle above all, and a partial row
    assert names(page)[1:3] == [BEST, BEST]
    assert width_fits(page)
    sort_by(page, "F1")
    if page.viewport_size["width"] > 700:
        assert page.locator("[aria-sort=descending]").inner_text().startswith("F1")
        page.locator("[data-sort=f1]").press("Enter")
        assert page.locator("[aria-sort=ascending]").inner_text().startswith("F1")
        assert page.evaluate("document.activeElement.dataset.sort") == "f1"
        figures = [float(text) for text in page.locator("tbody td.sorted").all_inner_texts()]
        assert figures == sorted(figures)
    page.locator("select[name=engine]").select_option("real")
    assert sorted(names(page)) == sorted([BEST, SECOND])
    page.locator("input[name=find]").fill("rag able")
    assert names(page) == [SECOND]
    assert page.locator("#board-count").inner_text() == "1 of 7 rows"
    shown = page.locator("#table").inner_html()
    page.reload()
    assert page.locator("#table").inner_html() == shown
    page.locator("input[name=find]").fill("nobody")
    assert "No row is like that" in page.locator("#board-count").inner_text()


def test_every_view_fits_and_is_told(page: Any) -> None:
    for view, column in (
        ("Behaviour and cost", "Searches"),
        ("Simulated to real", "Search adds"),
        ("Settings", "Seed"),
        ("Everything", "F1"),
    ):
        page.get_by_role("button", name=view).click()
        assert page.locator(f"button[aria-pressed=true]:has-text('{view}')").count() == 1
        assert page.locator(f"td[data-label='{column}']").count() == 7
        assert width_fits(page)


def test_two_rows_are_compared_and_the_questions_that_tell_them_apart_are_listed(page: Any, page_file: Path) -> None:
    for name, engine in ((BEST, "bm25"), (SECOND, "bm25")):
        page.get_by_label(f"Compare {name} on {engine}").check()
    page.get_by_role("link", name="Compare", exact=True).click()
    sheet = page.locator("#sheet")
    assert "is right more often" in sheet.locator(".verdict").inner_text()
    sheet.get_by_text("Only A is right (").wait_for()
    slugs = [slug_of(page, name, "bm25") for name in (BEST, SECOND)]
    tested = page.evaluate(PAIR, slugs)
    assert sheet.get_by_text(f"Only A is right ({tested['only_first']})").count() == 1
    assert sheet.get_by_text(f"Only B is right ({tested['only_second']})").count() == 1
    assert tested["difference"] > 0
    assert sheet.locator("table.numbers").first.locator("tbody tr").count() == 3  # the mean and both sets
    assert width_fits(page)

    sheet.locator("table.list a").first.click()
    sheet.locator(".transcript").nth(1).wait_for()
    assert sheet.locator(".transcript .badge.right").count() == 1
    assert width_fits(page)
    sheet.get_by_role("link", name="Back to the comparison").click()
    sheet.get_by_text("Only A is right (").wait_for()

    # The other way round, every sign is turned.
    turned = page.evaluate(PAIR, slugs[::-1])
    assert (turned["only_first"], turned["only_second"], turned["difference"]) == (
        tested["only_second"],
        tested["only_first"],
        -tested["difference"],
    )
    page.keyboard.press("Escape")
    page.locator("#sheet").wait_for(state="hidden")
    # A partial row is compared with nothing.
    go_to_made(
        page, page_file, compare=f"{slug_of(page, 'cut off', 'closed')},{slug_of(page, SECOND, 'bm25')}", row="compare"
    )
    sheet.get_by_text("can't be compared").wait_for()


def test_a_trajectory_opens_from_its_row_with_who_wrote_what_and_what_was_drawn(page: Any) -> None:
    slug = slug_of(page, BEST, "template")
    link = page.locator(f"tr[data-slug='{slug}'] .name a")
    link.focus()
    page.keyboard.press("Enter")
    sheet = page.locator("#sheet")
    sheet.get_by_text("The episodes are those that the record was made with").wait_for()
    assert sheet.get_by_text("It searches").count() + sheet.get_by_text("it searches").count() >= 1
    sheet.locator("select[name=outcome]").select_option("wrong")
    sheet.locator("table.list a").first.click()
    sheet.locator(".segment.policy").first.wait_for()
    colours = [
        sheet.locator(f".segment.{writer}").first.evaluate("(part) => getComputedStyle(part).backgroundColor")
        for writer in ("prompt", "policy", "environment")
    ]
    assert len(set(colours)) == 3
    assert sheet.locator(".segment.environment").count() == sheet.locator(".search-card").count() == 2
    assert sheet.locator(".search-card").first.inner_text().startswith("Search 1 drawn: ")
    assert sheet.locator(".badge.wrong").count() == 1
    assert width_fits(page)
    asked = sheet.locator(".asked").inner_text()
    sheet.get_by_role("link", name="Next question").click()
    sheet.locator(".asked", has_not_text=asked).wait_for()
    page.reload()  # a link to a question shows it again
    sheet.locator(".segment.policy").first.wait_for()
    page.go_back()
    page.keyboard.press("Escape")
    page.locator("#sheet").wait_for(state="hidden")


def test_both_plots_show_every_row_and_answer_to_keys(page: Any) -> None:
    for plot in ("#plot-cost", "#plot-searches"):
        marks = page.locator(f"{plot} a.point")
        assert marks.count() == (5 if plot == "#plot-cost" else 6)  # no bound; and the partial row has no price
        assert page.locator(f"{plot} a.point[tabindex='0']").count() == 1
        marks.first.focus()
        told = page.locator(f"{plot} .readout").inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator(f"{plot} .readout").inner_text() != told
        assert "EM" in told
    page.locator("#plot-cost select").select_option("seconds")
    assert page.locator("#plot-cost a.point").count() == 6
    page.keyboard.press("Tab")
    page.locator("#plot-cost a.point[tabindex='0']").focus()
    page.keyboard.press("Enter")
    page.locator("#sheet[open]").wait_for()


def test_what_others_published_stands_apart_with_its_source(page: Any) -> None:
    place = page.locator("#published")
    place.locator("summary").first.click()
    assert place.locator("a[href^='https://arxiv.org/']").first.is_visible()
    assert place.get_by_text("ranked with nothing").count() == 1
    assert width_fits(page)
    assert page.locator("a[href^='javascript']").count() == 0


def test_hostile_texts_stay_texts_wherever_they_are_shown(page: Any) -> None:
    group = page.evaluate("BOARD.groups.find((group) => group.title !== 'made').id")
    rows = page.evaluate("BOARD.groups.find((group) => group.title !== 'made').rows.map((row) => row.slug)")
    places = [
        {},
        {"view": "all"},
        {"row": rows[0]},
        {"row": rows[1]},
        {"compare": ",".join(rows[:2]), "row": "compare"},
        {"row": rows[0], "question": f"{rows[0]},{rows[1]}/{HOSTILE.encode('utf-8', 'replace').decode()}/1"},
        {"question": f"{rows[0]}/__proto__/1"},
    ]
    for state in places:
        page.evaluate("(told) => { location.hash = new URLSearchParams(told).toString(); }", {"suite": group, **state})
        page.get_by_text("Reading the episodes").wait_for(state="detached")
        for part in page.locator("#sheet summary").all():
            part.click()
        assert page.evaluate("document.querySelectorAll('x-in, img, body script script').length") == 0
        assert width_fits(page), state
        assert "broken" not in page.title()
    assert page.locator(".segment.environment").count() > 0
    assert page.locator("#sheet").get_by_text("<x-in><script>document.title").count() > 0


@pytest.mark.parametrize(
    "tries", ["fetch('https://example.com/').catch(() => 0)", "new Image().src = 'https://example.com/x.png'"]
)
def test_its_policy_forbids_the_network(browser: Any, page_file: Path, tries: str) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    broken = page.evaluate(
        f"""() => new Promise((resolve) => {{
            addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
            {tries};
        }})"""
    )
    assert broken in ("connect-src", "img-src")
    page.close()


def test_it_is_dark_where_that_is_preferred(browser: Any, page_file: Path) -> None:
    brightness = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(page_file.as_uri())
        told = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness.append(sum(map(int, told.removeprefix("rgb(").rstrip(")").split(","))))
        page.close()
    assert brightness[0] > 600 > 150 > brightness[1]


def test_it_says_what_is_wrong_with_episodes_that_are_missing_or_others(
    browser: Any, page_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(page_file.parent, tmp_path / "page")
    page = browser.new_page()
    page.goto((tmp_path / "page" / "index.html").as_uri())
    go_to_made(page, page_file)
    slugs = [slug_of(page, BEST, "bm25"), slug_of(page, SECOND, "bm25")]
    first, second = (tmp_path / "page" / "episodes" / f"{slug}.js" for slug in slugs)
    first.write_text(second.read_text().replace(slugs[1], slugs[0]))
    second.unlink()
    for slug, says in zip(slugs, ("not those that the record was made with", "couldn't be read"), strict=True):
        page.evaluate("(slug) => go({ row: slug })", slug)
        page.locator("#sheet [role=alert]", has_text=says).wait_for()
    page.close()


def test_it_says_so_where_a_browser_cannot_unpack(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto(page_file.as_uri())
    go_to_made(page, page_file)
    page.evaluate("(slug) => go({ row: slug })", slug_of(page, BEST, "bm25"))
    page.locator("#sheet [role=alert]", has_text="DecompressionStream").wait_for()
    page.close()
