from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.leaderboard.records import read_records
from benchmarks.leaderboard.submitting import wrong_with
from tests.benchmarks.leaderboard.helpers import record_in, run, timeless, write_policy
from tests.zs_env.engines.fault_server import FaultServer, say


def test_the_bounds_are_played_once_and_need_no_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--agent", "oracle", "random", "--limit", 20, "--engine", "template", "--engine", "bm25") == 0
    told = capsys.readouterr()
    rows = {record.content["row"]["policy"]: record for record in read_records(tmp_path)}
    assert sorted(rows) == ["oracle", "random"]
    assert rows["oracle"].content["macro"]["em"]["value"] == 1.0
    assert rows["oracle"].content["row"]["eval_engine"] == "closed-book"
    assert "oracle never searches, so it is played once, closed-book" in told.err
    assert "| oracle" in told.out
    assert "| oracle" not in told.err
    assert [wrong_with(record.folder) for record in rows.values()] == [[], []]


def test_a_bound_bears_no_policy_s_name(tmp_path: Path) -> None:
    assert run(tmp_path, "--agent", "oracle", "--limit", 4, "--policy-name", "mine", "--train-engine", "bm25") == 0
    row = record_in(tmp_path).content["row"]
    assert (row["policy"], row["train_engine"], row["model"]) == ("oracle", "none", None)


def test_a_callable_on_three_engines_leaves_three_valid_records(tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    out, json_file = tmp_path / "out", tmp_path / "all.json"
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 12, "--json", json_file]
    assert run(out, *flags, "--engine", "closed-book", "--engine", "template", "--engine", "bm25") == 0
    records = {record.content["engine"]["kind"]: record for record in read_records(out)}
    assert sorted(records) == ["closed-book", "real", "simulated"]
    assert [wrong_with(record.folder) for record in records.values()] == [[]] * 3
    assert records["simulated"].content["macro"]["searches"] == 1.0
    assert records["real"].content["engine"]["fingerprint"]
    assert not list(out.glob("*/.episodes.jsonl"))
    assert sorted(row["slug"] for row in json.loads(json_file.read_text())["records"]) == sorted(
        record.slug for record in records.values()
    )


def test_equal_seeds_give_equal_episodes_however_many_are_side_by_side(tmp_path: Path) -> None:
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 15, "--noise-probability", 0.5]
    assert run(tmp_path / "a", *flags, "--concurrency", 1) == 0
    assert run(tmp_path / "b", *flags, "--concurrency", 8) == 0
    assert run(tmp_path / "c", *flags, "--seed", 1) == 0
    a, b, c = (record_in(tmp_path / name) for name in "abc")
    assert a.slug == b.slug != c.slug
    assert timeless(a.episodes()) == timeless(b.episodes())
    assert timeless(a.episodes()) != timeless(c.episodes())


def test_a_temperature_of_zero_is_greedy(tmp_path: Path) -> None:
    assert run(tmp_path / "a", "--agent", "oracle", "--limit", 3, "--temperature", 0) == 0
    assert run(tmp_path / "b", "--agent", "oracle", "--limit", 3) == 0
    assert record_in(tmp_path / "a").slug == record_in(tmp_path / "b").slug


def test_files_of_questions_are_sets_and_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, city in (("one", "Nairobi"), ("two", "Lima")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": f"Is it {city}?", "golden_answers": [city]}))
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    assert run(tmp_path / "out", "--agent", "oracle", "--questions", *files) == 0
    record = record_in(tmp_path / "out")
    assert [each["name"] for each in record.content["sets"]] == ["one", "two"]
    assert "EM two" in capsys.readouterr().out
    assert str(tmp_path) not in (record.folder / "record.json").read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--agent", "zerosearch"], "needs a model"),
        (["--agent", "oracle", "--suite", "nosuch"], "There is no suite 'nosuch'"),
        (["--agent", "oracle", "--sets", "nq"], "has no set 'nq': it has atlas"),
        (["--agent", "oracle", "--split", "test"], "--split is for files"),
        (["--agent", "oracle", "--from", "nq"], "--from is SET=FILE"),
        (["--agent", "oracle", "--limit", "0"], "--limit"),
        (["--agent", "oracle", "--seed", "-1"], "--seed"),
        (["--agent", "oracle", "--concurrency", "0"], "--concurrency"),
        (["--agent", "oracle", "--temperature", "-1"], "--temperature is a number that isn't negative"),
        (["--agent", "oracle", "--noise-probability", "2"], "--noise-probability"),
        (["--agent", "oracle", "--price-in", "1"], "give both --price-in and --price-out"),
        (["--agent", "oracle", "--replay-only"], "--replay-only needs --replay"),
        (["--agent", "oracle", "--engine", "bm25", "--engine", "bm25"], "Two engines are called 'bm25'"),
    ],
)
def test_what_can_t_be_run_is_refused_with_the_way_out(
    tmp_path: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "out", *flags) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_questions_without_an_engine_of_their_own_need_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps({"question": "Who?", "golden_answers": ["I"]}))
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--questions", file]
    assert run(tmp_path, *flags) == 2
    assert "give --engine" in capsys.readouterr().err
    assert run(tmp_path, *flags, "--engine", "bm25") == 2
    assert "give --corpus FILE" in capsys.readouterr().err


def test_some_sets_of_a_suite_are_a_suite_of_another_name(tmp_path: Path) -> None:
    suite = tmp_path / "two.toml"
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": f"{name}?", "golden_answers": [name]}))
    rows = "".join(f'[[set]]\nname = "{name}"\nplace = "{tmp_path}/{name}.jsonl"\n' for name in ("one", "two"))
    suite.write_text(f'name = "pair"\nversion = 1\n{rows}')
    assert run(tmp_path / "out", "--agent", "oracle", "--suite", suite, "--sets", "two") == 0
    content = record_in(tmp_path / "out").content
    assert content["suite"] == {"name": "pair-two", "version": 1}
    assert [each["name"] for each in content["sets"]] == ["two"]


def test_help_says_what_to_do_first(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["leaderboard", "--help"], ["leaderboard", "run", "--help"], ["leaderboard", "compare", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(flags)
        assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "a first row, without a download or a server" in told
    assert "--suite atlas" in told


def test_another_prompt_is_another_evaluation(tmp_path: Path) -> None:
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 4]
    for prompt in ("default", "short", "Mine. Question: {question}", "Mine! Question: {question}"):
        assert run(tmp_path / "out", *flags, "--prompt", prompt) == 0
    assert run(tmp_path / "out", *flags) == 0
    records = read_records(tmp_path / "out")
    told = sorted(record.content["settings"]["prompt"] for record in records)
    assert told[:2] == ["default", "sha256:" + told[1][7:]]
    assert (told[3], len(set(told)), len(records)) == ("short", 4, 4)
    started = {record.content["settings"]["prompt"]: record.episodes()[0].segments[0].text for record in records}
    assert started["short"].startswith("Question: ")
    assert [wrong_with(record.folder) for record in records] == [[]] * 4


def test_a_prompt_means_nothing_to_an_agent_with_one_of_its_own(tmp_path: Path) -> None:
    assert run(tmp_path, "--agent", "random", "--limit", 3, "--prompt", "short") == 0
    assert run(tmp_path, "--agent", "random", "--limit", 3) == 0
    assert record_in(tmp_path).content["settings"]["prompt"] == "default"


def test_no_engine_but_a_simulated_one_is_asked_for_noise(tmp_path: Path) -> None:
    flags = ["--agent", "zerosearch", "--callable", write_policy(tmp_path), "--limit", 6, "--noise-probability", 1]
    assert run(tmp_path / "out", *flags, "--engine", "closed-book", "--engine", "template") == 0
    rows = {record.content["engine"]["kind"]: record.content for record in read_records(tmp_path / "out")}
    assert [rows[kind]["settings"]["noise_probability"] for kind in ("closed-book", "simulated")] == [0.0, 1.0]
    assert [rows[kind]["macro"]["noisy_share"] for kind in ("closed-book", "simulated")] == [0.0, 1.0]


def test_a_server_s_model_has_its_name_so_that_two_are_never_one_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--agent", "direct", "--limit", 3]
    for models in (("/folder/of/first",), ("second",)):
        with FaultServer(say("Nairobi\n"), models=models) as server:
            assert run(tmp_path / "out", *flags, "--policy-url", server.base_url) == 0
    assert [record.content["row"]["model"] for record in read_records(tmp_path / "out")] == ["first", "second"]
    with FaultServer(say("Nairobi\n"), models=("one", "two")) as server:
        assert run(tmp_path / "other", *flags, "--policy-url", server.base_url) == 2
    told = capsys.readouterr().err
    assert "serves 2 models (one, two), so that one must be named: give --model" in told
