"""Evaluations that are killed, stopped or failed, and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.leaderboard.keeping import KEPT
from benchmarks.leaderboard.submitting import wrong_with
from tests.benchmarks.leaderboard.helpers import record_in, run, timeless, write_policy
from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, as_json, say
from zs_env.engines import SEARCH_MODES, ScriptedEngine
from zs_env.types import SearchRequest

ROOT = Path(__file__).parents[3]


def started(out: Path, *flags: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks", "leaderboard", "run", "--out", str(out), *map(str, flags)]
    given = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(command, cwd=ROOT, env=given, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for_rows(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many episodes are kept."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        found = list(out.glob(f"*/{KEPT}"))
        if found and found[0].read_text().count("\n") > count:
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"no {count} episodes were kept: {process.communicate()[1]}")


@pytest.fixture
def flags(tmp_path: Path) -> list[object]:
    return ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 12, "--noise-probability", 0.5]


def test_what_was_played_before_a_kill_isn_t_played_again(
    tmp_path: Path, flags: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", tmp_path / "calls"
    process = started(out, *flags, "--concurrency", 2, PAUSE_S="0.1")
    wait_for_rows(out, 3, process)
    process.kill()
    process.communicate()
    (kept,) = out.glob(f"*/{KEPT}")
    num_kept = kept.read_text().count("\n") - 1
    assert 3 <= num_kept < 12
    assert not (kept.parent / "record.json").exists()
    with kept.open("a") as file:
        file.write('{"part": 0, "at_s": 1.0, "epis')  # as if the kill had come in the middle of a line

    monkeypatch.setenv("CALLS", str(calls))
    assert run(out, *flags) == 0
    assert calls.read_text().count("call") == 2 * (12 - num_kept)  # a search and an answer each
    record = record_in(out)
    assert record.is_complete
    assert not kept.exists()
    assert wrong_with(record.folder) == []

    assert run(tmp_path / "whole", *flags) == 0
    assert timeless(record_in(tmp_path / "whole").episodes()) == timeless(record.episodes())


def test_a_signal_doesn_t_wait_for_what_takes_long(tmp_path: Path, flags: list[object]) -> None:
    """The policy thinks for ten minutes, as a large model may over a batch; the command ends all the same."""
    out = tmp_path / "out"
    process = started(out, *flags, "--concurrency", 1, CALLS=str(tmp_path / "calls"), SLOW_AT="6", SLOW_S="600")
    wait_for_rows(out, 2, process)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 143
    assert "The same command goes on" in told
    assert "Traceback" not in told
    assert len(record_in(out).episodes()) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_partial_record(
    tmp_path: Path,
    flags: list[object],
    number: signal.Signals,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    for name, value in (("CALLS", str(tmp_path / "calls")), ("SIGNAL_AT", "8"), ("SIGNAL", str(int(number)))):
        monkeypatch.setenv(name, value)
    assert run(out, *flags, "--engine", "template", "--engine", "closed-book", "--concurrency", 1) == status
    told = capsys.readouterr().err
    record = record_in(out)
    assert record.content["state"] == "partial"
    assert record.content["why_partial"] == "3 of 12 questions are played; then a signal stopped it."
    assert wrong_with(record.folder) == []
    assert "The same command goes on" in told
    assert run(out, *flags) == 0
    assert record_in(out).is_complete


def test_a_complete_record_isn_t_played_again(
    tmp_path: Path, flags: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", *flags) == 0
    before = (record_in(tmp_path / "out").folder / "record.json").read_bytes()
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    assert run(tmp_path / "out", *flags) == 0
    assert not (tmp_path / "calls").exists()
    assert "is complete, so nothing is played" in capsys.readouterr().err
    assert (record_in(tmp_path / "out").folder / "record.json").read_bytes() == before
    assert run(tmp_path / "out", *flags, "--price-per-1000-searches", 5) == 0
    record = record_in(tmp_path / "out")
    assert record.content["macro"]["cost"]["value"] == pytest.approx(0.005)  # one search a question
    assert wrong_with(record.folder) == []
    assert not (tmp_path / "calls").exists()


@pytest.fixture
def flaky() -> Iterator[Callable[[int | None], None]]:
    """A search mode that works for so many searches, then fails; None for ever."""
    left: list[int | None] = [None]

    def fails(_: SearchRequest) -> bool:
        if left[0] is None:
            return False
        left[0] -= 1
        return left[0] < 0

    def make() -> ScriptedEngine:
        return ScriptedEngine(
            "It is Nairobi.", fail=fails, error="http://10.1.2.3:80/ said 500 (api_key=abcdefgh12345)", name="flaky"
        )

    def set_left(number: int | None) -> None:
        left[0] = number

    SEARCH_MODES["flaky"] = make
    yield set_left
    del SEARCH_MODES["flaky"]


def test_a_failing_engine_leaves_a_partial_record_that_says_so_and_can_go_on(
    tmp_path: Path, flags: list[object], flaky: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flaky(2)
    assert run(out, *flags, "--engine", "flaky", "--concurrency", 1) == 1
    told = capsys.readouterr()
    record = record_in(out)
    why = record.content["why_partial"]
    assert record.content["state"] == "partial"
    assert "2 of 12 questions are played" in why
    assert "failed" in why
    assert "RolloutError" in why
    assert record.content["num_failed"] >= 3
    assert "partial" in told.out
    assert why in told.err
    text = (record.folder / "record.json").read_text() + json.dumps([e.to_json() for e in record.episodes()])
    assert "10.1.2.3" not in text
    assert "abcdefgh12345" not in text
    assert "said 500" in text
    assert wrong_with(record.folder) == []

    flaky(None)
    assert run(out, *flags, "--engine", "flaky") == 0
    whole = record_in(out)
    assert whole.is_complete
    assert whole.slug == record.slug
    assert whole.content["num_failed"] == 0
    assert whole.content["macro"]["n"] == 12
    assert whole.content["seconds"] > record.content["seconds"]
    played = {e.index: e for e in record.episodes() if not e.failed}
    assert {e.index: e for e in whole.episodes() if e.index in played} == played  # not played again, times and all


def test_one_question_that_failed_makes_a_record_partial_and_is_asked_again(
    tmp_path: Path, flags: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fails(request: SearchRequest) -> bool:
        asked.append(request.question.id)
        return len(asked) == 1

    monkeypatch.setitem(SEARCH_MODES, "once", lambda: ScriptedEngine("It is Lima.", fail=fails, error="busy"))
    assert run(tmp_path / "out", *flags, "--engine", "once") == 1
    record = record_in(tmp_path / "out")
    assert record.content["why_partial"].startswith("11 of 12 questions are played, 1 failed. The first (atlas ")
    assert "busy" in record.content["why_partial"]
    assert record.content["macro"]["n"] == 11
    assert run(tmp_path / "out", *flags, "--engine", "once") == 0
    assert record_in(tmp_path / "out").content["macro"]["n"] == 12
    assert asked[12:] == asked[:1]


def test_one_engine_that_fails_doesn_t_keep_others_from_being_played(
    tmp_path: Path, flags: list[object], flaky: Callable[[int | None], None]
) -> None:
    flaky(0)
    assert run(tmp_path / "out", *flags, "--engine", "flaky", "--engine", "template") == 1
    states = {
        path.name.split("--")[3]: json.loads((path / "record.json").read_text())["state"]
        for path in (tmp_path / "out").iterdir()
    }
    assert states == {"flaky": "partial", "template": "complete"}


def test_a_partial_record_alone_can_go_on(
    tmp_path: Path, flags: list[object], flaky: Callable[[int | None], None]
) -> None:
    """As after copying a record to another machine, without the file that a stopped run leaves beside it."""
    out = tmp_path / "out"
    flaky(3)
    assert run(out, *flags, "--engine", "flaky", "--concurrency", 1) == 1
    record = record_in(out)
    (record.folder / KEPT).unlink()
    flaky(None)
    assert run(out, *flags, "--engine", "flaky") == 0
    whole = record_in(out)
    assert whole.is_complete
    assert whole.content["seconds"] > record.content["seconds"]
    assert whole.episodes()[0] == record.episodes()[0]


def test_a_failing_policy_server_leaves_a_partial_record_that_a_working_one_completes(tmp_path: Path) -> None:
    out, down = tmp_path / "out", [False]

    def answer(seen: Seen) -> Do:
        if down[0] or seen.number >= 6:
            down[0] = True
            return as_json({"error": "out of memory"}, status=400)
        return reply(seen)

    def reply(seen: Seen) -> Do:
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        return say("<answer>Nairobi" if len(seen.body["messages"]) > 1 else "<search>Kenya", usage=usage)

    flags = ["--agent", "zerosearch", "--sampler", "openai", "--model", "gpt-9", "--limit", 10, "--concurrency", 1]
    with FaultServer(answer) as server:
        port = server.port
        assert run(out, *flags, "--policy-url", server.base_url, "--policy-timeout-s", 5) == 1
    record = record_in(out)
    assert record.content["state"] == "partial"
    assert "HTTP 400" in record.content["why_partial"]
    assert wrong_with(record.folder) == []
    text = (record.folder / "record.json").read_text()
    assert str(port) not in text
    assert "127.0.0.1" not in text
    with FaultServer(reply) as server:
        assert run(out, *flags, "--policy-url", server.base_url) == 0
        assert len(server.chats) == 2 * 7  # three of ten were played
    whole = record_in(out)
    assert whole.is_complete
    assert wrong_with(whole.folder) == []
    assert whole.content["macro"]["prompt_tokens"] == 14
    assert whole.content["settings"]["tokens"] == "server"


def test_a_policy_server_that_isn_t_there_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer(say("x")) as server:
        url = server.base_url
    assert run(tmp_path / "out", "--agent", "direct", "--policy-url", url, "--model", "m", "--limit", 2) == 1
    assert "SERVER" in record_in(tmp_path / "out").content["why_partial"]
    assert "Traceback" not in capsys.readouterr().err


def test_other_settings_are_refused_with_what_differs(
    tmp_path: Path, flags: list[object], flaky: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    flaky(2)
    flags = [*flags, "--engine", "flaky"]
    assert run(out, *flags, "--concurrency", 1) == 1
    flaky(None)
    capsys.readouterr()
    assert run(out, *flags, "--topk", 3, "--seed", 4) == 1
    told = capsys.readouterr().err
    assert "settings.topk is 5 there and 3 here" in told
    assert "settings.seed is 0 there and 4 here" in told
    assert "--new" in told
    assert len(list(out.iterdir())) == 1
    assert run(out, *flags, "--topk", 3, "--seed", 4, "--new") == 0
    assert len(list(out.iterdir())) == 2
    assert run(out, *flags) == 0  # the stopped one goes on all the same


def test_a_record_that_another_version_made_is_refused(
    tmp_path: Path, flags: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(out, *flags) == 0
    path = record_in(out).folder / "record.json"
    path.write_text(path.read_text().replace('"version": "0', '"version": "9'))
    assert run(out, *flags) == 1
    assert "version is '9" in capsys.readouterr().err
