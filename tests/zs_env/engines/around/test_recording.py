import json
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zs_env.engines.around.doubles import bad, good, in_turn, request, texts
from zs_env.engines import ScriptedEngine
from zs_env.engines.around import RecordingEngine, ReplayEngine
from zs_env.engines.around.keys import without_secrets
from zs_env.errors import ConfigError
from zs_env.types import Document, SearchResult

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)
metadata = st.none() | st.dictionaries(st.text(), plain, max_size=3)
results = st.builds(
    SearchResult,
    documents=st.lists(st.builds(Document, st.text(), st.none() | st.text(), metadata), max_size=3).map(tuple),
    engine=st.text(min_size=1),
    supports_query=st.none() | st.booleans(),
    latency_s=st.floats(0, 1e6),
    cost=st.floats(0, 1e6),
    cached=st.booleans(),
    metadata=metadata,
)


@settings(max_examples=15, deadline=None)
@given(answers=st.lists(results, min_size=1, max_size=3), order=st.randoms(use_true_random=False))
def test_a_replay_gives_exactly_what_was_recorded_in_any_order(
    answers: list[SearchResult], order: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("records") / "searches.jsonl"
    requests = [request(f"query {n}", seed=n) for n in range(len(answers))]
    recording = RecordingEngine(ScriptedEngine(lambda asked: answers[asked.seed]), path)
    assert recording.search_now(requests) == answers
    order.shuffle(requests)
    assert ReplayEngine(path).search_now(requests) == [answers[asked.seed] for asked in requests]


def test_failed_searches_are_replayed_too(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorded = RecordingEngine(ScriptedEngine(in_turn(bad("down"))), path).search_now([request()])
    assert ReplayEngine(path).search_now([request()]) == recorded


def test_a_search_that_was_answered_differently_each_time_is_replayed_so(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recording = RecordingEngine(ScriptedEngine(["one", "two"]), path)
    recording.search_now([request(), request()])
    replay = ReplayEngine(path)
    assert [texts(replay.search_now([request()]))[0] for _ in range(3)] == ["one", "two", "two"]


def test_what_is_missing_is_said_and_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    RecordingEngine(ScriptedEngine("text", name="mine"), path).search_now([request()])
    [known, missing] = ReplayEngine(path).search_now([request(), request("another", seed=7)])
    assert known.error is None
    assert missing.metadata == {"failure": "missing"}
    assert missing.error is not None
    for part in ("'r.jsonl'", "'another'", "question '1'", "seed 7", "topk 5", "1 searches of engine 'mine'"):
        assert part in missing.error
    assert str(tmp_path) not in missing.error


def test_a_record_is_added_to_and_knows_its_engine(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for query in "ab":
        recording = RecordingEngine(ScriptedEngine(query), path)
        recording.search_now([request(query)])
        recording.close()
    assert texts(ReplayEngine(path).search_now([request("b"), request("a")])) == ["b", "a"]
    with pytest.raises(ConfigError, match=r"holds searches of engine 'scripted'.*these are of engine 'other'"):
        RecordingEngine(ScriptedEngine(name="other"), path)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_that_was_cut_off_costs_only_itself(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    RecordingEngine(ScriptedEngine("text"), path).search_now([request("a"), request("b")])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut * 20])
    assert texts(ReplayEngine(path).search_now([request("a")])) == ["text"]
    [torn] = ReplayEngine(path).search_now([request("b")])
    assert "1 lines that can't be read" in str(torn.error)
    RecordingEngine(ScriptedEngine("again"), path).search_now([request("b")])
    assert texts(ReplayEngine(path).search_now([request("a"), request("b")])) == ["text", "again"]


def test_a_search_that_cannot_be_recorded_fails_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    recording = RecordingEngine(ScriptedEngine(lambda asked: good("x", metadata={"odd": object()})), path)
    [result] = recording.search_now([request()])
    assert "can't be recorded: TypeError" in str(result.error)
    recording = RecordingEngine(ScriptedEngine("text"), path)
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", _once(write, recording._writer._file))
        [result] = recording.search_now([request("a")])
    assert "No space left on device" in str(result.error)
    recording.search_now([request("b")])
    assert texts(ReplayEngine(path).search_now([request("b")])) == ["text"]


def _once(write: Any, record: int) -> Any:
    """Writes half of what comes to the record, and then no more."""
    calls: list[int] = []

    def half(file: int, data: bytes) -> int:
        if file != record:
            return int(write(file, data))
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return int(write(file, data[: len(data) // 2]))

    return half


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    engines = [RecordingEngine(ScriptedEngine(lambda asked: asked.query * 500), path) for _ in range(2)]

    def play(number: int) -> None:
        for n in range(20):
            engines[number % 2].search_now([request(f"{number} {n}"), request(f"{number} {n} too")])

    threads = [threading.Thread(target=play, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 1 + 4 * 20 * 2
    assert lines[0] == {"schema": "zerosearch.searches/1", "engine": "scripted", "fingerprint": None, "draw": True}


def test_no_golden_answers_and_no_secrets_are_in_a_record(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    said = (
        "401 for https://me:pw123@host/s?api_key=abc123&q=x: Authorization: Bearer abc.def token='t0p' sk-abcdefgh1234"
    )
    recording = RecordingEngine(ScriptedEngine(in_turn(bad(said))), path)
    [result] = recording.search_now([request("query")])
    record = path.read_text()
    for secret in ("pw123", "abc123", "abc.def", "t0p", "sk-abc", "Paris"):
        assert secret not in record
        assert secret not in str(result.error)
    assert ReplayEngine(path).search_now([request("query")]) == [result]
    assert without_secrets("the key question is open") == "the key question is open"


def test_what_is_no_record_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"a": 1}\n')
    for make in (ReplayEngine, lambda path: RecordingEngine(ScriptedEngine(), path)):
        with pytest.raises(ConfigError, match="no record of searches"):
            make(path)
        with pytest.raises(ConfigError, match=r"no record of searches|can't be written"):
            make(tmp_path)
    assert path.read_text() == '{"a": 1}\n'
    with pytest.raises(ConfigError, match="no record of searches that can be read"):
        ReplayEngine(tmp_path / "none.jsonl")
    path.write_text('{"schema": "zerosearch.searches/9"}\n')
    with pytest.raises(ConfigError, match=r"of this version \(zerosearch.searches/1\)"):
        ReplayEngine(path)
