import json
import os

import pytest

from tests.zs_env.questions.asking import Asking
from tests.zs_env.questions.small_hub import SmallHub
from zs_env.errors import ConfigError
from zs_env.questions import load_questions
from zs_env.questions.hub import HubPlace, token_from
from zs_env.questions.hub_errors import clear_errors, hide_token

datasets = pytest.importorskip("datasets", reason="the hub's data sets are read by datasets")
pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")

TOKEN = "hf_readsEverything"
CARD = """---
license: cc-by-sa-4.0
configs:
- config_name: nq
  data_files:
  - {split: train, path: nq/train.jsonl}
  - {split: test, path: nq/test.jsonl}
- config_name: bamboogle
  data_files:
  - {split: test, path: bamboogle/test.jsonl}
---
# A collection
"""
ONE_CARD = CARD.replace("nq/test", "nq/train").replace("bamboogle/test", "nq/train")


def lines(*texts, split="test"):
    """Rows as FlashRAG writes them."""
    rows = [
        {"id": f"{split}_{at}", "question": text, "golden_answers": [f"answer {at}"], "metadata": {"type": "bridge"}}
        for at, text in enumerate(texts)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(tmp_path):
    """Rows as ZeroSearch and Search-R1 write them."""
    row = {
        "id": "train_0",
        "question": "who wrote Emma?",
        "golden_answers": ["Jane Austen"],
        "data_source": "nq",
        "prompt": [{"role": "user", "content": "Answer the given question. Question: who wrote Emma?"}],
        "reward_model": {"style": "rule", "ground_truth": {"target": ["Jane Austen"]}},
    }
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist([row, {**row, "id": "train_1", "question": "who wrote Persuasion?"}]), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with SmallHub() as small:
        files = {"README.md": CARD, "nq/train.jsonl": lines("who?", "when?", split="train")}
        files |= {"nq/test.jsonl": lines("where?"), "bamboogle/test.jsonl": lines("why?", "how?")}
        small.add("owner/collection", files)
        small.add("owner/parquets", {"train.parquet": parquet(tmp_path_factory.mktemp("parquet"))})
        gated = {"README.md": ONE_CARD, "nq/train.jsonl": files["nq/train.jsonl"]}
        small.add("owner/gated", gated, token=TOKEN, gated=True)
        small.add("owner/private", gated, token=TOKEN)
        small.add("owner/program", {"program.py": "import datasets\n"})
        small.add("owner/empty", {"README.md": "# Nothing\n"})
        small.add("owner/broken", {"train.jsonl": '{"question": "who?", "answer": "x"}\n{"question": \n'})
        small.moved["old/collection"] = "owner/collection"
        small.tokens = {TOKEN, "hf_stranger"}
        yield small


@pytest.fixture(scope="module")
def asking(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with Asking(
        {**hub.environment(home), "MY_TOKEN": TOKEN, "STRANGER": "hf_stranger", "STALE": "hf_stale"}
    ) as process:
        yield process


def test_a_place_is_read():
    assert HubPlace.parse("hf:a/b") == HubPlace(identifier="a/b")
    assert HubPlace.parse("hf:a/b:c@d/e") == HubPlace(identifier="a/b", config="c", revision="d/e")
    assert str(HubPlace.parse("hf:a/b:c@d/e")) == "hf:a/b:c@d/e"
    with pytest.raises(ConfigError, match="names no data set"):
        HubPlace.parse("hf::nq")


def test_questions_are_loaded_from_the_hub(asking):
    status, out, _ = asking.load("hf:owner/collection:nq", "train")
    name, split, fingerprint, ids = json.loads(out)
    assert (status, name, split, ids) == (0, "hf:owner/collection:nq", "train", ["train_0", "train_1"])
    again = json.loads(asking.load("hf:owner/collection:nq@main", "train").out)
    assert again[2] == fingerprint
    assert json.loads(asking.load("hf:old/collection:bamboogle", "test").out)[3] == ["test_0", "test_1"]
    assert json.loads(asking.load("hf:owner/parquets", "train").out)[3] == ["train_0", "train_1"]


@pytest.mark.parametrize(
    ("source", "split", "told"),
    [
        ("hf:owner/collection", "test", "needs a configuration; it has 'nq', 'bamboogle'"),
        ("hf:owner/collection:musique", "test", "has no configuration 'musique'; it has 'nq', 'bamboogle'"),
        ("hf:owner/collection:nq", "dev", "has no split 'dev'; it has 'train', 'test'"),
        ("hf:owner/collection:nq", None, "needs a split; it has 'train', 'test'"),
        ("hf:owner/collection:nq@v2", "test", "has no revision 'v2'"),
        ("hf:owner/nothing", "test", "There is no data set 'owner/nothing'"),
        ("hf:owner/private:nq", "train", "or it is private"),
        ("hf:owner/gated:nq", "train", "is gated, and no token was given that the hub knows"),
        ("hf:owner/program", "train", "refs/convert/parquet"),
        ("hf:owner/empty", "train", "holds no data files"),
        ("hf:a b/c", "train", "no id of a data set"),
    ],
)
def test_what_is_wrong_is_said(asking, source, split, told):
    status, _, err = asking.load(source, split)
    assert status == 2
    assert told in err
    assert err.startswith("ConfigError")


def test_a_token_is_taken_from_the_environment_and_told_to_nobody(asking, tmp_path):
    gated = ("--from", "hf:owner/gated:nq", "--split", "train")
    status, out, err = asking.prepare(*gated, "--token-env", "STRANGER", "--out", tmp_path / "out")
    assert status == 2
    assert "the token's account has no access to it (403)" in err
    assert "hf_stranger" not in out + err
    status, _, err = asking.prepare(*gated, "--token-env", "STALE", "--out", tmp_path / "out")
    assert (status, "doesn't accept the token" in err) == (2, True)
    status, _, err = asking.prepare(*gated, "--token-env", "NO_SUCH_VARIABLE", "--out", tmp_path / "out")
    assert (status, "NO_SUCH_VARIABLE that is to hold" in err) == (2, True)
    assert not (tmp_path / "out").exists()
    for streaming in ("--streaming", "--no-streaming"):
        out = tmp_path / streaming
        private = ("--from", "hf:owner/private:nq", "--split", "train")
        assert asking.prepare(*gated, *private, "--token-env", "MY_TOKEN", streaming, "--out", out).status == 0
        assert all(TOKEN not in path.read_text() for path in out.iterdir())


def test_broken_data_is_said(asking, tmp_path):
    status, _, err = asking.prepare("--from", "hf:owner/broken", "--out", tmp_path / "out")
    assert status == 2
    assert "The data of hf:owner/broken can't be read" in err


def test_a_hub_that_fails_or_is_silent_is_given_up(hub, asking, tmp_path):
    arguments = ("--from", "hf:owner/collection:nq", "--split", "train", "--timeout", "0.5", "--out", tmp_path / "out")
    hub.fail["/api/datasets/owner/collection"] = 503
    try:
        status, _, err = asking.prepare(*arguments)
    finally:
        hub.fail.clear()
    assert (status, "failed while hf:owner/collection:nq was read (503)" in err) == (2, True)
    for part in ("/api/datasets/owner/collection", "train.jsonl"):
        hub.hang = part
        hub.requests.clear()
        try:
            status, _, err = asking.prepare(*arguments)
        finally:
            hub.hang = ""
        assert (status, "didn't answer in time" in err) == (2, True)
        assert len(hub.requests) < 20
    assert not (tmp_path / "out").exists()


def test_a_hub_that_goes_away_in_between_leaves_nothing(hub, asking, tmp_path):
    rows = lines(*(f"what is number {at}?" for at in range(20)), split="train")
    hub.add("owner/fading", {"train.jsonl": rows})
    hub.fail["train.jsonl"] = 404
    status, _, err = asking.prepare("--from", "hf:owner/fading", "--timeout", "0.5", "--out", tmp_path / "out")
    hub.fail.clear()
    assert status == 2
    assert "hf:owner/fading" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE keeps"), ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "can't be reached")],
)
def test_without_a_network(hub, tmp_path, more, told):
    with Asking({**hub.environment(tmp_path / "home"), **more}) as offline:
        for answer in (
            offline.load("hf:owner/collection:nq", "test"),
            offline.prepare("--from", "hf:owner/collection:nq", "--out", tmp_path / "out"),
            offline.prepare("--from", "hf:owner/collection:nq", "--no-streaming", "--out", tmp_path / "out"),
        ):
            assert answer.status == 2
            assert told in answer.err
            assert "give that folder instead" in answer.err


def test_what_was_loaded_before_is_loaded_again_without_a_network(hub, asking, tmp_path):
    with Asking(hub.environment(tmp_path / "home")) as online:
        before = online.load("hf:owner/collection:nq", "train")
    with Asking({**hub.environment(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}) as offline:
        assert offline.load("hf:owner/collection:nq", "train").out == before.out
        status, _, err = offline.load("hf:owner/collection:nq@main", "train")
    assert (status, "HF_HUB_OFFLINE" in err) == (2, True)


def test_a_folder_shaped_like_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "collection"
    (folder / "nq").mkdir(parents=True)
    (folder / "README.md").write_text(ONE_CARD)
    (folder / "nq" / "train.jsonl").write_text(lines("who?", "when?", split="train"))
    questions = load_questions(f"hf:{folder}:nq", "train")
    assert (questions.name, len(questions)) == ("hf:collection:nq", 2)
    with pytest.raises(ConfigError, match="has no configuration 'musique'; it has 'nq', 'bamboogle'"):
        load_questions(f"hf:{folder}:musique", "train")
    with pytest.raises(ConfigError, match="it has no revisions"):
        load_questions(f"hf:{folder}:nq@main", "train")


def test_no_message_holds_a_token(monkeypatch):
    monkeypatch.setitem(os.environ, "HF_TOKEN", "hf_inherited")
    assert hide_token("hf_given hf_inherited", "hf_given") == "*** ***"
    with (
        pytest.raises(ConfigError) as raised,
        clear_errors(HubPlace.parse("hf:a/b"), "hf_given"),
    ):
        raise ValueError("hf_given was refused")
    assert "hf_given" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_other_errors_pass():
    with pytest.raises(KeyError, match="ours"), clear_errors(HubPlace.parse("hf:a/b"), None):
        raise KeyError("ours")


def test_a_token_needs_its_variable(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", " hf_x\n")
    assert (token_from("SOME_TOKEN"), token_from(None)) == ("hf_x", None)
    monkeypatch.setenv("SOME_TOKEN", " ")
    with pytest.raises(ConfigError, match="SOME_TOKEN"):
        token_from("SOME_TOKEN")
