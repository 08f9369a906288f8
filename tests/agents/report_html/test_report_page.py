import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agents.cli import main
from agents.evaluate import measure
from agents.metrics import METRICS
from agents.report_html import write_report
from agents.report_html.folder import MAX_EPISODES_PER_STEP, MAX_STEPS_SHOWN
from agents.trajectory import SearchRecord, TokenSegment, Trajectory, write_trajectories
from zs_env.errors import ConfigError

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'\x00\u2028\u202e"
CONFIG = {"run": {"algorithm": "grpo", "seed": 3}, "grpo": {"total_steps": 4, "group_size": 2}}
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of it: elements, texts and scripts; unbalanced tags fail."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.code: dict[str, str] = {}
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.code[self.open[-1]] = data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]

    def with_class(self, name: str) -> int:
        return sum(name in found.get("class", "").split() for _, found in self.tags)


def episode(question: str = "Where is Fribourg?", **changes: Any) -> Trajectory:
    segments = [
        TokenSegment("prompt", (1, 2), f"Question: {question}\n"),
        TokenSegment("policy", (3, 4), "<search> country of Fribourg</search>", (-0.5, -1.5)),
        TokenSegment("environment", (5,), "\n<information>\nDoc 1: Fribourg is in Switzerland.\n</information>\n"),
        TokenSegment("policy", (6,), "<think> so </think><answer> Switzerland</answer>", (-0.25,)),
    ]
    values: dict[str, Any] = {
        "question_id": "q1",
        "question": question,
        "golden_answers": ("Switzerland", "Swiss Confederation"),
        "group": 0,
        "noise_probability": 0.25,
        "segments": segments,
        "actions": ["search", "answer"],
        "searches": [search()],
        "reward": 1.0,
        "status": "answered",
        "answer": "Switzerland",
        "exact_match": 1.0,
    }
    return Trajectory(**values | changes)


def search(**changes: Any) -> SearchRecord:
    values: dict[str, Any] = {
        "turn": 1,
        "query": "country of Fribourg",
        "quality": "noisy",
        "noise_probability": 0.25,
        "seed": 7,
        "supports_query": None,
        "contains_golden": True,
        "engine": "template",
        "num_documents": 1,
        "cut": False,
        "cached": False,
        "latency_s": 0.1,
        "cost": 0.0,
        "error": None,
    }
    return SearchRecord(**values | changes)


EVENTS = [
    {"step": 2, "kind": "sampler_replaced", "message": "Sampler 1 died"},
    {"step": None, "kind": "sampler_replaced", "message": "Sampler 0 never came"},
]
WORKERS = [
    {"role": "driver", "rank": 0, "pid": 11},
    {"role": "learner", "rank": 0, "pid": 12, "gpus": "3", "threads": 1},
    {"role": "sampler", "rank": 1, "pid": 13, "gpus": None, "threads": 2},
]


def add_events(folder: Path, *events: Any) -> None:
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def add_to_summary(folder: Path, **values: Any) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def add_metrics(folder: Path, *rows: dict[str, float], end: str = "\n") -> None:
    lines = [json.dumps({"step": step, "metrics": row}) for step, row in enumerate(rows)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + end)


def read(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has begun."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def finished(run: Path) -> Path:
    """A run that has everything."""
    record = {"noise_0": measure([episode(hops=1)], None), "noise_0.5": measure([episode(), episode()], None)}
    (run / "before.json").write_text(json.dumps(record))
    summary = {"seed": 3, "before": record, "after": record, "settings": CONFIG, "seconds": {"total": 12.34}}
    summary |= {"fingerprints": {"questions": {"training": "abc"}, "model": "def"}, "machine": {"cpus": 2}}
    (run / "summary.json").write_text(json.dumps(summary))
    add_metrics(run, *(dict.fromkeys(METRICS, 0.25 * step) for step in range(4)))
    write_trajectories(run / "trajectories.jsonl", [episode(), episode(exact_match=0.0, searches=[])], step=0)
    write_trajectories(run / "trajectories.jsonl", [episode(status="failed", error="boom")], step=3)
    (run / "alarms.jsonl").write_text('{"step": 2, "kind": "entropy", "message": "it fell below 0.1"}\n')
    return run


def test_a_finished_run_has_all_parts(finished: Path) -> None:
    page = read(finished)
    assert [place["id"] for place in page.all("section") if "id" in place] == [
        "results",
        "curves",
        "episodes",
        "settings",
    ]
    assert "finished, 4 steps" in page.text
    assert "Not there yet" not in page.text
    assert "it fell below 0.1" in page.text
    for shown in ("No noise", "Noise 0.5", "· 1 hop (n = 1)", "searches again after noisy", "0.207 to 1.000"):
        assert shown in page.text
    for shown in ("group_size", "questions.training", "abc", "cpus"):
        assert shown in page.text
    assert page.with_class("episode") == 3
    assert [page.with_class(name) for name in ("right", "wrong", "failed")] == [2, 2, 2]  # an episode and its badge
    assert page.with_class("warning") == 0


def test_every_logged_metric_is_drawn_with_its_definition_and_its_numbers(finished: Path) -> None:
    page = read(finished)
    figures = [found["aria-label"].partition(",")[0] for found in page.all("svg") if "steps" in found["aria-label"]]
    assert sorted(figures) == sorted(METRICS)
    for definition in METRICS.values():
        assert definition in page.text
    assert page.with_class("alarm") == len(METRICS)
    assert page.text.count("step 3: 0.75") == len(METRICS)  # the readings that need no script
    heads = page.all("th", scope="col")
    assert len(heads) >= len(METRICS)


def test_a_metric_that_nobody_knows_and_a_critics_are_drawn_too(run: Path) -> None:
    add_metrics(run, {"value_loss": 1.0, "mine": 2.0}, {"mine": 3.0})
    page = read(run)
    names = [found["aria-label"] for found in page.all("svg")]
    assert names == ["value_loss, steps 0 to 1: from 1 to 1, last 1", "mine, steps 0 to 1: from 2 to 3, last 3"]
    assert "no definition" in page.text
    assert [found["id"] for found in page.all("h3") if "id" in found] == ["group-critic", "group-more"]


def test_provenance_and_draws_are_told_in_words_too(finished: Path) -> None:
    page = read(finished)
    for writer, count in (("prompt", 3), ("policy", 6), ("environment", 3)):
        assert page.with_class(writer) == count + 1  # and its key
    assert "mean log-prob −1.000 (probability 0.37 a token)" in page.text
    assert page.with_class("draw") == 2
    for shown in ("search 1 · noisy", "drawn with p(noisy) = 0.25", "supports the query: not known"):
        assert shown in page.text
    assert "contains a golden answer: yes" in page.text
    assert "Swiss Confederation" in page.text


def test_a_run_that_has_just_begun_says_what_is_missing(run: Path) -> None:
    page = read(run)
    for name in ("metrics.jsonl", "trajectories.jsonl", "before.json", "summary.json"):
        assert f"{name} isn't there" in page.text
    assert "no step yet, of 4" in page.text
    assert "No alarm" in page.text


def test_a_run_in_training_tells_its_step_and_what_was_measured(run: Path) -> None:
    add_metrics(run, {"loss": 1.0}, {"loss": 0.5})
    (run / "before.json").write_text(json.dumps({"noise_0": measure([episode()], None)}))
    page = read(run)
    assert "2 of 4 steps" in page.text
    assert "Not measured after training yet." in page.text


@pytest.mark.parametrize("torn", ['{"step": 1, "metr', '{"step": 1, "metrics": {"loss": 0.', "\0\0\0"])
def test_a_torn_last_line_is_ignored(run: Path, torn: str) -> None:
    add_metrics(run, {"loss": 1.0}, end="\n" + torn)
    (run / "trajectories.jsonl").write_text(json.dumps(episode().to_json()) + '\n{"context": {"st')
    (run / "alarms.jsonl").write_text('{"step": 0, "kind"')
    page = read(run)
    assert "1 of 4 steps" in page.text
    assert page.with_class("episode") == 1
    assert "No alarm" in page.text


def test_a_character_torn_in_its_middle_is_ignored_too(run: Path) -> None:
    (run / "metrics.jsonl").write_bytes(b'{"step": 0, "metrics": {"loss": 1}}\n{"step": 1, "metrics": {"\xc3')
    assert "1 of 4 steps" in read(run).text


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("metrics.jsonl", '{"step": 0, "metrics": {}}\n{"torn\n', "metrics.jsonl', line 2"),
        ("metrics.jsonl", '{"step": -1, "metrics": {}}\n', "line 1: wants"),
        ("metrics.jsonl", '{"step": 0, "metrics": {"loss": "low"}}\n', "'loss' wants a number; got 'low'"),
        ("metrics.jsonl", "[" * 100_000 + "\n", "line 1: no JSON"),
        ("trajectories.jsonl", '{"question_id": "q"}\n', "trajectories.jsonl', line 1"),
        ("trajectories.jsonl", "7\n", "trajectories.jsonl', line 1"),
        ("alarms.jsonl", '{"step": 0}\n', "alarms.jsonl', line 1"),
        ("events.jsonl", '{"step": 0}\n', "events.jsonl', line 1"),
        ("summary.json", '{"events": [3]}', "summary.json, 'events': wants"),
        ("summary.json", '{"workers": [3]}', "summary.json, 'workers': wants"),
        ("summary.json", '{"workers": "many"}', "summary.json, 'workers': wants"),
        ("before.json", "[]", "before.json' holds list"),
        ("summary.json", '{"before": {"noise_0": 3}}', "no mapping of noise levels"),
    ],
)
def test_what_is_broken_is_an_error_that_names_file_and_line(run: Path, name: str, content: str, told: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(ConfigError, match=re.escape(told)):
        write_report(run)
    assert [path.name for path in run.glob("*report.html*")] == []


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="isn't a run's folder"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        write_report(tmp_path / "nowhere")


def test_no_text_of_a_file_becomes_markup(tmp_path: Path) -> None:
    folder = tmp_path / "<img src=x onerror=alert(0)>"
    folder.mkdir()
    evil_config = CONFIG | {EVIL: {EVIL: EVIL}, "run": {"algorithm": EVIL, "seed": EVIL}}
    (folder / "config.json").write_text(json.dumps(evil_config))
    add_metrics(folder, {EVIL: 1.0, "value" + EVIL: 1.0})
    segments = [
        TokenSegment("prompt", (1,), EVIL),
        TokenSegment("policy", (2,), f"<search>{EVIL}</search>\ud800", (-1.0,)),
        TokenSegment("environment", (3,), EVIL),
        TokenSegment(EVIL, (3,), EVIL),  # type: ignore[arg-type]
    ]
    evil_search = search(query=EVIL, engine=EVIL, error=EVIL, quality=EVIL, noise_probability=EVIL, num_documents=EVIL)
    trajectory = episode(
        EVIL, question_id=EVIL, golden_answers=(EVIL,), segments=segments, searches=[evil_search], status=EVIL
    )
    trajectory.answer = trajectory.error = EVIL
    trajectory.reward = trajectory.hops = EVIL  # type: ignore[assignment]
    write_trajectories(folder / "trajectories.jsonl", [trajectory], step=0)
    (folder / "alarms.jsonl").write_text(json.dumps({"step": 0, "kind": EVIL, "message": EVIL}) + "\n")
    add_events(folder, {"step": 0, "kind": EVIL, "message": EVIL})
    record = measure([episode()], None) | {"n": EVIL, "em_greedy": EVIL, "em_greedy_by_hops": {EVIL: {"em": EVIL}}}
    (folder / "before.json").write_text(json.dumps({EVIL: record}))
    summary = {"before": {EVIL: record}, "seconds": {EVIL: EVIL}, "machine": {EVIL: {EVIL: [EVIL]}}}
    summary["workers"] = [dict.fromkeys(["role", "rank", "pid", "gpus", "threads", EVIL], EVIL)]
    (folder / "summary.json").write_text(json.dumps(summary))

    page = read(folder)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    attributes = {key for _, found in page.tags for key in found}
    assert not any(key.startswith("on") for key in attributes)
    assert page.text.count("alert(1)") > 20
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]", source)


def places_in(record: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    keys = record if isinstance(record, dict) else range(len(record[:2])) if isinstance(record, list) else ()
    for key in keys:
        yield from places_in(record[key], (*place, key))


@pytest.mark.parametrize("odd", [None, EVIL, 10**400, [[{}]], {"a": [1]}], ids=lambda odd: str(odd)[:8])
def test_any_odd_value_is_shown_or_refused_and_nothing_else(run: Path, odd: Any) -> None:
    record = json.loads(json.dumps({"context": {"step": 1}} | episode(hops=1).to_json()))
    for *parents, last in (place for place in places_in(record) if place):
        changed = copy.deepcopy(record)
        holder = changed
        for key in parents:
            holder = holder[key]
        holder[last] = odd
        (run / "trajectories.jsonl").write_text(json.dumps(changed) + "\n")
        refused = ""
        try:
            page = read(run)
        except ConfigError as error:
            refused = str(error)
        assert "trajectories.jsonl', line 1" in refused or (not refused and page.with_class("episode") == 1)


def test_nothing_is_fetched_and_the_policy_lets_only_our_own_code_run(finished: Path) -> None:
    question = "See https://example.org/a and http://example.org for more?"
    write_trajectories(finished / "trajectories.jsonl", [episode(question)], step=3)
    source = write_report(finished).read_text(encoding="utf-8")
    assert not re.search(r"https?://|\bsrc=|url\(|@import|<link|<base|<iframe|<object|<form [^>]*action", source)
    page = Page(source)
    assert question in page.text
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed.pop("script-src") == _quoted_hash(page.code["script"])
    assert allowed.pop("style-src") == _quoted_hash(page.code["style"])
    assert allowed == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    assert not any("style" in found or key.startswith("on") for _, found in page.tags for key in found)


def _quoted_hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def test_values_that_are_not_finite_are_told_and_the_rest_is_drawn(run: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    add_metrics(
        run, {"loss": 1.0, "kl": nan}, {"loss": nan, "kl": infinity}, {"loss": 2.0, "kl": -infinity}, {"loss": 1e308}
    )
    page = read(run)
    labels = [found["aria-label"] for found in page.all("svg")]
    assert labels[0] == "loss, steps 0 to 3: from 1 to 2, last 1e308"
    assert labels[1] == "kl, steps 0 to 3: no finite value, last −∞"
    assert "2 values not drawn" in page.text
    assert "3 values not drawn" in page.text
    assert page.with_class("bad") == 5
    places = " ".join(" ".join(found.get(key, "") for key in ("d", "x", "y", "data-y")) for _, found in page.tags)
    assert "nan" not in places
    assert "inf" not in places


def test_a_huge_run_makes_a_page_of_bounded_size_that_says_what_it_left_out(run: Path) -> None:
    add_metrics(run, *({name: float(step % 17) for name in METRICS} for step in range(5000)))
    long = episode("x" * 1_000_000, segments=[TokenSegment("environment", (1,), "<" * 1_000_000)] * 20)
    with (run / "trajectories.jsonl").open("w") as file:
        for step in range(20):
            for _ in range(10):
                file.write(json.dumps({"context": {"step": step}} | episode().to_json()) + "\n")
        file.write(json.dumps({"context": {"step": 20}} | long.to_json()) + "\n")
    for name in ("alarms", "events"):
        (run / f"{name}.jsonl").write_text('{"step": 1, "kind": "k", "message": "m"}\n' * 1000)
    (run / "summary.json").write_text(json.dumps({"workers": [WORKERS[1]] * 1000}))
    page = read(run)
    assert (run / "report.html").stat().st_size < 3_000_000
    assert f"Episodes of {MAX_STEPS_SHOWN} of the 21 steps that have some" in page.text
    assert page.with_class("episode") == (MAX_STEPS_SHOWN - 1) * MAX_EPISODES_PER_STEP + 1
    for told in ("2 more are in trajectories.jsonl", "996,000 more characters", "999,700 more characters"):
        assert told in page.text
    for told in (
        "17 more parts of 17,000,000 characters left out",
        "950 more are in alarms.jsonl",
        "950 more are in events.jsonl",
        "744 more are in summary.json",
        "250 of 5,000 steps",
    ):
        assert told in page.text


def test_a_step_taken_again_replaces_what_it_was_and_null_is_no_value(run: Path) -> None:
    rows = [(0, 1.0), (1, 2.0), (1, 9.0), (2, None)]
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": step, "metrics": {"loss": value}}) + "\n" for step, value in rows)
    )
    assert read(run).all("svg")[0]["aria-label"] == "loss, steps 0 to 2: from 1 to 9, last 9"


def test_alarms_of_the_summary_serve_where_their_file_is_gone(finished: Path) -> None:
    (finished / "alarms.jsonl").unlink()
    summary = json.loads((finished / "summary.json").read_text())
    summary["alarms"] = [{"step": 1, "kind": "kl", "message": "it is 9"}]
    (finished / "summary.json").write_text(json.dumps(summary))
    assert "step 1, kl: it is 9" in read(finished).text


def test_what_happened_to_processes_is_told_and_marked_at_its_step(finished: Path) -> None:
    add_events(finished, *EVENTS)
    page = read(finished)
    assert "2 events of processes" in page.text
    told = ["sampler replaced: Sampler 0 never came", "step 2, sampler replaced: Sampler 1 died"]
    assert [item for item in told if item in page.text] == told
    assert page.text.index(told[0]) < page.text.index(told[1])
    assert page.with_class("event") == page.with_class("alarm") == len(METRICS)  # the one without a step has no mark
    assert page.text.count("event, step 2: Sampler 1 died") == len(METRICS)


def test_a_run_in_training_tells_what_happened_to_processes_so_far(run: Path) -> None:
    add_metrics(run, {"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25})
    add_events(run, *EVENTS)
    with (run / "events.jsonl").open("a") as file:
        file.write('{"step": 2, "kind": "learn')
    page = read(run)
    assert "3 of 4 steps" in page.text
    assert "2 events of processes" in page.text
    assert page.with_class("event") == 1


def test_events_of_the_summary_serve_where_their_file_is_gone(finished: Path) -> None:
    add_to_summary(finished, events=EVENTS[:1])
    assert "1 event of processes" in read(finished).text


def test_processes_are_listed_with_what_each_had(finished: Path) -> None:
    add_to_summary(finished, workers=WORKERS, events=[])
    page = read(finished)
    row = page.text.partition("role")[2]
    assert row.startswith("numberprocessGPUsthreads" + "driver011––" + "learner01231" + "sampler113–2")


def test_a_run_of_one_process_has_neither_events_nor_processes(finished: Path) -> None:
    page = read(finished)
    assert page.with_class("events") == page.with_class("event") == 0
    assert not page.all("div", **{"aria-label": "processes"})


def test_the_page_replaces_the_old_one_whole(finished: Path) -> None:
    first = write_report(finished)
    again = first.read_bytes()
    assert write_report(finished) == first == finished / "report.html"
    assert first.read_bytes() == again
    assert [path.name for path in finished.iterdir() if "report" in path.name] == ["report.html"]


def test_the_command_writes_the_page(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(finished)]) == 0
    assert f"The report is in {finished / 'report.html'}." in capsys.readouterr().out
    assert main(["report", str(finished / "nowhere")]) == 2
    assert "error:" in capsys.readouterr().err
