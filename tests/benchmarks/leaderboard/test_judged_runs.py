from pathlib import Path

import pytest

from benchmarks.leaderboard.submitting import wrong_with
from tests.benchmarks.leaderboard.helpers import record_in, run
from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, say


def test_a_judge_s_verdicts_are_kept_and_asked_for_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    def judge(seen: Seen) -> Do:
        return say("right" if seen.number % 2 else "wrong")

    with FaultServer(judge) as server:
        flags = ["--agent", "oracle", "--limit", 6]
        asked = ["--judge-url", server.base_url, "--judge-model", "judge"]
        assert run(out, *flags, *asked) == 0
        record = record_in(out)
        assert len(server.chats) == 6
        assert record.content["macro"]["judged"]["value"] == 0.5
        assert record.content["judging"] == {
            "n": 6,
            "agree": 0.5,
            "judge_only": 0,
            "exact_only": 3,
            "no_verdict": 0,
        }
        assert record.content["settings"]["judge"]["name"] == "judge"
        assert str(server.port) not in (record.folder / "record.json").read_text()
        assert run(out, *flags, *asked) == 0
        assert run(out, *flags) == 0  # without a judge, what was judged stays
        assert len(server.chats) == 6
    assert record_in(out).content == record.content
    assert wrong_with(record.folder) == []
    assert "a judge reads 6 answers" in capsys.readouterr().err


def test_a_judge_comes_to_a_record_that_was_made_without_one(tmp_path: Path) -> None:
    assert run(tmp_path, "--agent", "oracle", "--limit", 4) == 0
    assert record_in(tmp_path).content["macro"]["judged"] is None
    with FaultServer(say("Right.")) as server:
        flags = ["--judge-url", server.base_url, "--judge-model", "judge"]
        assert run(tmp_path, "--agent", "oracle", "--limit", 4, *flags) == 0
    record = record_in(tmp_path)
    assert record.content["macro"]["judged"]["value"] == 1.0
    assert wrong_with(record.folder) == []


def test_a_judge_that_is_gone_costs_verdicts_and_no_record(tmp_path: Path) -> None:
    with FaultServer(say("x")) as server:
        url = server.base_url
    flags = ["--judge-url", url, "--judge-model", "judge", "--judge-option", "max_retries=0"]
    assert run(tmp_path, "--agent", "oracle", "--limit", 3, *flags) == 0
    record = record_in(tmp_path)
    assert record.is_complete
    assert record.content["judging"]["no_verdict"] == 3
