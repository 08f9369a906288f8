from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, say
from tests.zs_env.tuning.helpers import CAPITALS, country_of, write_capitals, write_corpus
from zs_env.__main__ import main
from zs_env.tuning.records import COLLECTED, LABELLED, read_header, read_records


@pytest.fixture
def world(tmp_path: Path) -> list[str]:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    questions = write_capitals(tmp_path / "capitals.jsonl")
    return ["tune", "collect", "--questions", str(questions), "--engine", "bm25", "--search-option", f"corpus={corpus}"]


def label(tmp_path: Path, *more: str) -> int:
    return main(["tune", "label", f"{tmp_path}/c.jsonl", "--out", f"{tmp_path}/l.jsonl", *more])


def test_collect_and_label(world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*world, "--topk", "2", "--out", f"{tmp_path}/c.jsonl", "--json", f"{tmp_path}/c.json"]
    assert main(given) == 0
    assert "8 of 8 episodes, 8 searches with 16 documents" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["counts"]["num_kept"] == 8
    assert str(tmp_path) not in (tmp_path / "c.jsonl").read_text()
    assert main(given) == 0
    assert "8 of 8 episodes are kept from before" in capsys.readouterr().err

    assert label(tmp_path, "--json", f"{tmp_path}/l.json") == 0
    out = capsys.readouterr().out
    assert "8 searches: 8 (100.0%) with a useful document" in out
    assert "16 documents: 8 (50.0%) useful, 8 (50.0%) noisy" in out
    labelled = list(read_records(tmp_path / "l.jsonl", LABELLED))
    assert [one.search for one in labelled] == list(read_records(tmp_path / "c.jsonl", COLLECTED))
    assert sorted(one.labels[0].quality == "useful" for one in labelled).count(True) >= 4
    first = (tmp_path / "l.jsonl").read_bytes()
    assert label(tmp_path) == 0
    assert (tmp_path / "l.jsonl").read_bytes() == first
    assert read_header(tmp_path / "l.jsonl", LABELLED)["collected"]["policy"] == {"name": "first-hop"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--policy", "nope"], "Unknown policy 'nope'"),
        (["--policy", "question", "--policy-model", "m"], "not both"),
        (["--policy-model", "m"], "--policy-url must be the address"),
        (
            ["--policy-model", "m", "--policy-url", "http://127.0.0.1:1", "--policy-option", "seed=3"],
            "can't set 'seed'",
        ),
        (["--search-around", "retries=3"], "search_around doesn't take 'retries'"),
        (["--attempts", "2"], "leave attempts at 1"),
        (["--max-turns", "1"], "max_turns must be at least 2"),
        (["--limit", "0"], "limit"),
        (["--max-failures", "2"], "max_failures"),
    ],
)
def test_wrong_options_of_collect(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main([*world, "--out", f"{tmp_path}/c.jsonl", *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "c.jsonl").exists()


def test_simulators_are_refused_unless_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["tune", "collect", "--questions", "atlas", "--limit", "3", "--engine", "template"]
    given += ["--out", f"{tmp_path}/c.jsonl"]
    record = f"{tmp_path}/record.jsonl"
    assert main(given) == 2
    assert "makes its documents up" in capsys.readouterr().err
    assert main([*given, "--allow-simulator", "--search-around", f"record={record}"]) == 0
    replayed = ["tune", "collect", "--questions", "atlas", "--limit", "3", "--engine", "google"]
    replayed += ["--search-around", f"replay={record}", "--out", f"{tmp_path}/r.jsonl"]
    assert main(replayed) == 2
    assert "'template' makes its documents up" in capsys.readouterr().err
    assert main([*replayed, "--allow-simulator"]) == 0
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "c.jsonl").read_bytes()


def playing(seen: Seen) -> Do:
    """Searches, then answers right at the first attempt that it sees of a country and wrong at others."""
    country = country_of(seen.prompt if len(seen.body["messages"]) == 1 else seen.body["messages"][0]["content"])
    if len(seen.body["messages"]) == 1:
        return say(f"<think>I don't know.</think><search>capital of {country}")
    right = seen.body["seed"] % 2
    return say(f"<answer>{CAPITALS[country] if right else 'Atlantis'}")


def test_a_model_plays(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYER_KEY", "a-secret-key")
    given = [*world, "--out", f"{tmp_path}/c.jsonl", "--attempts", "4", "--policy-model", "player"]
    with FaultServer(playing) as server:
        given += ["--policy-url", server.base_url, "--policy-key-env", "PLAYER_KEY", "--policy-option", "top_p=0.9"]
        assert main(given) == 0
        assert len(server.chats) == 2 * 4 * 8
        assert main(given) == 0
        assert len(server.chats) == 2 * 4 * 8
    first, second = server.chats[0], max(server.chats, key=lambda chat: len(chat.body["messages"]))
    assert first.headers["authorization"] == "Bearer a-secret-key"
    assert first.body["stop"] == ["</search>", "</answer>"]
    assert (first.body["top_p"], first.body["temperature"], first.body["max_tokens"]) == (0.9, 1.0, 500)
    assert [message["role"] for message in second.body["messages"]] == ["user", "assistant", "user"]
    assert second.body["messages"][1]["content"].endswith("</search>")
    assert second.prompt.startswith("\n<information>\nDoc 1: ")
    searches = list(read_records(tmp_path / "c.jsonl", COLLECTED))
    assert len(searches) == 32
    assert {search.exact_match for search in searches} == {True, False}
    for file in tmp_path.glob("c.*"):
        assert "a-secret-key" not in file.read_text()
        assert "127.0.0.1" not in file.read_text()
    assert "episodes with a right answer" in capsys.readouterr().out


def test_a_model_that_isnt_there_ends_the_run(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultServer(Do("close")) as server:
        given = ["--policy-model", "player", "--policy-url", server.base_url, "--policy-option", "max_retries=0"]
        assert main([*world, "--out", f"{tmp_path}/c.jsonl", *given]) == 2
    assert "episodes failed" in capsys.readouterr().err


def sensible(seen: Seen) -> Do:
    document = seen.body["messages"][0]["content"].split('"""')[1]
    return say("Noisy" if "parks" in document else "Useful")


def test_labels_by_both_and_how_far_they_agree(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*world, "--topk", "2", "--out", f"{tmp_path}/c.jsonl"]) == 0
    with FaultServer(sensible) as server:
        asked = ["--judge-url", server.base_url, "--judge-model", "judge", "--json", f"{tmp_path}/l.json"]
        assert label(tmp_path, "--by", "both", *asked) == 0
        out = capsys.readouterr().out
        assert "agreement on 16 documents: 100.0%" in out
        assert "kappa 1.00, which says: almost perfect" in out
        assert len(server.chats) == 16
        record = json.loads((tmp_path / "l.json").read_text())
        assert record["agreement"]["both_useful"] == record["agreement"]["both_noisy"] == 8
        assert record["counts"]["documents_useful"] == 8

        assert label(tmp_path, "--by", "both", "--prefer", "judge", *asked) == 2
        assert "prefer is None there and 'judge' here" in capsys.readouterr().err
        (tmp_path / "l.jsonl").unlink()
        assert label(tmp_path, "--by", "judge", *asked) == 0
        assert len(server.chats) == 16  # what was judged is known
    assert all(one.labels[0].by_answer is not None for one in read_records(tmp_path / "l.jsonl", LABELLED))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--judge-model", "m"], "--judge-model say who judges, and --by answer asks nobody"),
        (["--prefer", "judge"], "--prefer judge is for --by both"),
        (["--by", "judge"], "--judge-url must be the address"),
        (["--out", "{c}"], "must be another file"),
    ],
)
def test_wrong_options_of_label(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main([*world, "--limit", "1", "--out", f"{tmp_path}/c.jsonl"]) == 0
    assert label(tmp_path, *[word.replace("{c}", f"{tmp_path}/c.jsonl") for word in more]) == 2
    assert said in capsys.readouterr().err


def test_label_wants_a_file_of_searches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(tmp_path) == 2
    assert "can't be read as a file of zerosearch.collected/1" in capsys.readouterr().err
    (tmp_path / "c.jsonl").write_text(json.dumps({"schema": COLLECTED}) + "\n")
    assert label(tmp_path) == 2
    assert "holds no searches" in capsys.readouterr().err


def test_a_stopped_judge_goes_on(
    world: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    assert main([*world, "--topk", "2", "--out", f"{tmp_path}/c.jsonl"]) == 0

    def interrupting(seen: Seen) -> Any:
        if seen.number == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return sensible(seen)

    asked = ["--by", "judge", "--judge-model", "judge", "--concurrency", "1"]
    with FaultServer(interrupting) as server:
        asked += ["--judge-url", server.base_url]
        assert label(tmp_path, *asked) == 130
        assert "the same command goes on" in capsys.readouterr().err
        assert not (tmp_path / "l.jsonl").exists()
        kept = len((tmp_path / "l.verdicts.jsonl").read_text().splitlines()) - 1
        before = len(server.chats)
        assert label(tmp_path, *asked) == 0
        assert len(server.chats) - before == 16 - kept
    assert 5 <= kept <= 7
