import json
from pathlib import Path

import pytest

from benchmarks.leaderboard.replaying import Replay
from benchmarks.leaderboard.submitting import wrong_with
from tests.benchmarks.leaderboard.helpers import record_in, run, timeless
from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, say
from zs_env.engines import SEARCH_MODES, ScriptedEngine
from zs_env.errors import ConfigError, ServiceError
from zs_env.types import Question, SearchRequest


def request(query: str, seed: int = 0) -> SearchRequest:
    question = Question(id="1", question="Who?", golden_answers=("I",))
    return SearchRequest(query=query, question=question, quality="useful", noise_probability=0.0, seed=seed, topk=5)


def test_a_run_again_makes_no_call_at_all_and_gives_equal_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[ScriptedEngine] = []

    def make() -> ScriptedEngine:
        made.append(ScriptedEngine(lambda r: f"Document {r.seed % 7} for {r.query}.", name="numbered"))
        return made[-1]

    monkeypatch.setitem(SEARCH_MODES, "numbered", make)

    def answer(seen: Seen) -> Do:
        turns = len(seen.body["messages"])
        usage = {"prompt_tokens": 7 * turns, "completion_tokens": 3}
        told = seen.prompt.partition("Document ")[2][:1]
        return say(f"<answer>{told or seen.number}" if turns > 1 else "<search>Kenya", usage=usage)

    flags = ["--agent", "zerosearch", "--model", "gpt-9", "--limit", 6, "--engine", "numbered", "--temperature", 0.7]
    flags += ["--replay", tmp_path / "replay"]
    with FaultServer(answer) as server:
        assert run(tmp_path / "first", *flags, "--policy-url", server.base_url) == 0
        assert len(server.chats) == 12
        assert "0 replies and 0 searches were there; 12 and 6 were asked for" in capsys.readouterr().err
        assert run(tmp_path / "second", *flags, "--policy-url", server.base_url) == 0
        assert len(server.chats) == 12
        url = server.base_url
    assert [len(engine.requests) for engine in made] == [6, 0]
    assert "12 replies and 6 searches were there; 0 and 0 were asked for" in capsys.readouterr().err
    first, second = record_in(tmp_path / "first"), record_in(tmp_path / "second")
    assert first.slug == second.slug
    assert timeless(first.episodes()) == timeless(second.episodes())
    assert first.content["replayed"] == {"replies": 0, "searches": 0}
    assert second.content["replayed"] == {"replies": 12, "searches": 6}
    assert wrong_with(second.folder) == []

    assert run(tmp_path / "third", *flags, "--policy-url", url, "--replay-only") == 0  # nobody listens any more
    assert timeless(record_in(tmp_path / "third").episodes()) == timeless(first.episodes())
    assert run(tmp_path / "other", *flags, "--policy-url", url, "--replay-only", "--seed", 1) == 1
    assert "--replay-only asks no one" in record_in(tmp_path / "other").content["why_partial"]


def test_a_policy_s_own_replies_are_replayed_token_by_token(tmp_path: Path) -> None:
    flags = ["--agent", "zerosearch", "--model", "preset:quickstart_warmstart", "--limit", 3, "--max-new-tokens", 40]
    flags += ["--replay", tmp_path / "replay"]
    assert run(tmp_path / "first", *flags) == 0
    assert run(tmp_path / "second", *flags, "--replay-only") == 0
    first, second = record_in(tmp_path / "first"), record_in(tmp_path / "second")
    assert second.content["replayed"]["replies"] >= 3
    assert timeless(first.episodes()) == timeless(second.episodes())


def test_failed_searches_are_asked_again_and_others_aren_t(tmp_path: Path) -> None:
    engine = ScriptedEngine("found", fail=["b"])
    replay = Replay(tmp_path)
    around = replay.part("rag", engine, {}).engine
    assert [result.error is None for result in around.search_now([request("a"), request("b"), request("a")])] == [
        True,
        False,
        True,
    ]
    assert [each.query for each in engine.requests] == ["a", "b"]
    again = ScriptedEngine("other")
    replay.close()
    replay = Replay(tmp_path)
    around = replay.part("rag", again, {}).engine
    found = around.search_now([request("a"), request("b"), request("a", seed=1)])
    assert [result.documents[0].text for result in found] == ["found", "other", "other"]
    assert [(each.query, each.seed) for each in again.requests] == [("b", 0), ("a", 1)]
    assert (around.num_found, around.num_asked) == (1, 2)
    replay.close()


def test_agents_and_engines_don_t_share_what_they_waited_for(tmp_path: Path) -> None:
    replay = Replay(tmp_path)
    engine, other = ScriptedEngine(name="one"), ScriptedEngine(name="two")
    replay.part("rag", engine, {}).store("key", {"text": "x"})
    assert replay.part("rag", engine, {}).lookup("key") == {"text": "x"}
    assert replay.part("direct", engine, {}).lookup("key") is None
    assert replay.part("rag", other, {}).lookup("key") is None
    assert replay.part("rag", engine, {"k1": 2}).lookup("key") is None
    replay.close()


def test_one_command_at_a_time_writes_a_replay(tmp_path: Path) -> None:
    replay = Replay(tmp_path)
    with pytest.raises(ConfigError, match="being written by another command"):
        Replay(tmp_path)
    replay.close()
    Replay(tmp_path).close()


def test_what_only_replays_asks_nobody(tmp_path: Path) -> None:
    replay = Replay(tmp_path, only=True)
    engine = ScriptedEngine("found")
    part = replay.part("rag", engine, {})
    with pytest.raises(ServiceError, match="--replay-only asks no one"):
        part.lookup("key")
    (result,) = part.engine.search_now([request("a")])
    assert result.error is not None
    assert "--replay-only sends none" in result.error
    assert engine.requests == []
    replay.close()


def test_a_line_that_a_kill_cut_off_is_passed_over(tmp_path: Path) -> None:
    replay = Replay(tmp_path)
    replay.part("rag", ScriptedEngine(), {}).store("key", {"text": "x"})
    replay.close()
    with (tmp_path / "replies.jsonl").open("a") as file:
        file.write(json.dumps({"key": "other", "reply": {"text": "y"}})[:-5])
    replay = Replay(tmp_path)
    part = replay.part("rag", ScriptedEngine(), {})
    assert part.lookup("key") == {"text": "x"}
    assert part.lookup("other") is None
    replay.close()
