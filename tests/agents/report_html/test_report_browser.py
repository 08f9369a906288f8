"""The page in a real browser, where one and playwright are installed."""

import json
import shutil
from pathlib import Path

import pytest

from agents.evaluate import measure
from agents.metrics import METRICS
from agents.report_html import write_report
from agents.trajectory import TokenSegment, Trajectory, write_trajectories

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]

LONG = "<script>document.title = 'broken into'</script>" + "x" * 2000


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"run": {"algorithm": "grpo"}, LONG: {LONG: LONG}}))
    rows = [{"step": step, "metrics": dict.fromkeys([*METRICS, LONG], step / 7)} for step in range(30)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trajectories = [
        Trajectory(
            question_id=LONG,
            question=LONG,
            golden_answers=(LONG,),
            group=0,
            segments=[TokenSegment("prompt", (1,), LONG), TokenSegment("policy", (2,), LONG, (-1.0,))],
            exact_match=match,
            status="answered",
        )
        for match in (1.0, 0.0, 0.0)
    ]
    write_trajectories(tmp_path / "trajectories.jsonl", trajectories, step=0)
    event = {"step": 3, "kind": LONG, "message": LONG}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    worker = dict.fromkeys(["role", "rank", "pid", "gpus", "threads"], LONG)
    (tmp_path / "summary.json").write_text(json.dumps({"workers": [worker] * 40}))
    (tmp_path / "before.json").write_text(json.dumps({"noise_0": measure(trajectories, None)}))
    return write_report(tmp_path)


@pytest.mark.parametrize("width", [375, 1280])
def test_it_fits_the_screen_fetches_nothing_and_answers_to_keys_and_touch(page_file: Path, width: int) -> None:
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 812}, has_touch=True)
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        assert "broken" not in page.title()
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width

        page.locator("figure.curve svg").first.tap(position={"x": 60, "y": 60})
        told = page.locator("#reader output").inner_text()
        assert told != "step 29"
        page.locator("#reader input").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#reader output").inner_text() == f"step {int(told.split()[1]) + 1}"

        page.locator("#only-wrong").check()
        assert page.locator(".episode:visible").count() == 2
        page.locator("#only-noisy").check()
        assert page.locator(".none").is_visible()
        assert complaints == []
        assert requests == [page_file.as_uri()]
        browser.close()
