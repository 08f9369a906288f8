"""Sets from a hub on this machine: `HF_ENDPOINT` is read at import, so they are loaded in a process of its own."""

import hashlib
import json
import subprocess
import sys

import pytest

from tests.zs_env.questions.small_hub import SmallHub

pytest.importorskip("datasets", reason="the hub's data sets are read by datasets")

CARD = """---
configs:
- config_name: nq
  data_files:
  - {split: test, path: nq/test.jsonl}
---
"""
OTHER = "0" * 40

CODE = """
import json, sys
from benchmarks.leaderboard.suites import SetPin, Suite, load_set, pin_suite
from zs_env.errors import ZeroSearchError

for line in sys.stdin:
    call = json.loads(line)
    pin, limit, offline = SetPin(**call["pin"]), call.get("limit"), call.get("offline", False)
    try:
        loaded = load_set(pin, limit=limit, offline=offline)
        print(json.dumps({**loaded.record(), "ids": [question.id for question in loaded.questions]}), flush=True)
    except ZeroSearchError as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
"""


def lines(*texts):
    rows = [
        {"id": f"test_{at}", "question": text, "golden_answers": ["x"], "metadata": {"deep": {"er": [at]}}}
        for at, text in enumerate(texts)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


class Loading:
    """The process."""

    def __init__(self, hub, home):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=hub.environment(home),
        )

    def __call__(self, pin, **more):
        self.process.stdin.write(json.dumps({"pin": pin, **more}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def hub():
    with SmallHub() as small:
        small.first = small.add("owner/qa", {"README.md": CARD, "nq/test.jsonl": lines("who?", "where?", "why?")})
        small.second = small.add("owner/qa", {"README.md": CARD, "nq/test.jsonl": lines("who?", "where?", "how?")})
        yield small


@pytest.fixture(scope="module")
def load(hub, tmp_path_factory):
    loading = Loading(hub, tmp_path_factory.mktemp("home"))
    yield loading
    loading.close()


def pin(**given):
    return {"name": "nq", "place": "hf:owner/qa:nq", "split": "test"} | given


SHA256 = hashlib.sha256(lines("who?", "where?", "why?").encode()).hexdigest()


def test_the_newest_commit_is_found_where_none_is_pinned(hub, load):
    told = load(pin())
    assert (told["revision"], told["size"], told["ids"]) == (hub.second, 3, ["test_0", "test_1", "test_2"])
    assert told["source"] == "hf:owner/qa:nq"


def test_a_pinned_commit_stays_what_it_was(hub, load):
    newest, pinned = load(pin()), load(pin(revision=hub.first))
    assert pinned["revision"] == hub.first
    assert pinned["source_fingerprint"] != newest["source_fingerprint"]
    assert load(pin(revision=hub.first, fingerprint=pinned["fingerprint"], size=3))["n"] == 3
    assert "has no revision '0000" in load(pin(revision=OTHER))["error"]
    told = load(pin(revision=hub.second, fingerprint=pinned["fingerprint"]))["error"]
    assert told.startswith("SuiteError: The set 'nq' (hf:owner/qa:nq, split 'test') isn't what its suite pins")
    assert f"fingerprint {pinned['fingerprint']} was pinned, and {newest['fingerprint']} was found" in told


def test_a_pinned_file_is_held_against_its_hash(hub, load):
    through_datasets = load(pin(revision=hub.first))
    file = pin(revision=hub.first, file="nq/test.jsonl", sha256=SHA256)
    assert load(file) == through_datasets  # the same questions either way
    told = load(file | {"revision": hub.second})["error"]
    assert f"SHA-256 of nq/test.jsonl {SHA256} was pinned" in told
    assert "has no file 'nq/none.jsonl'" in load(file | {"file": "nq/none.jsonl"})["error"]
    assert "size 4 questions was pinned, and 3 was found" in load(file | {"size": 4})["error"]


def test_what_was_loaded_once_needs_no_hub(hub, tmp_path):
    file = pin(revision=hub.first, file="nq/test.jsonl", sha256=SHA256)
    loading = Loading(hub, tmp_path)
    try:
        assert "isn't in the hub's cache" in loading(file, offline=True)["error"]
        with_hub = loading(file)
        asked = len(hub.requests)
        assert loading(file, offline=True) == with_hub
        assert len(hub.requests) == asked
        assert "pins neither a file at a revision nor a fingerprint" in loading(pin(), offline=True)["error"]
    finally:
        loading.close()


def test_a_sample_is_the_same_in_every_run(hub, load):
    first, again = load(pin(), limit=2), load(pin(), limit=2)
    assert first == again
    assert (first["n"], first["size"], first["limit"]) == (2, 3, 2)


def test_a_folder_shaped_like_the_hub_serves_too(load, tmp_path):
    (tmp_path / "nq").mkdir()
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "nq" / "test.jsonl").write_text(lines("who?", "where?", "why?"))
    place = f"hf:{tmp_path}:nq"
    through_datasets = load(pin(place=place))
    assert through_datasets["revision"] is None
    assert str(tmp_path) not in json.dumps(through_datasets)
    assert load(pin(place=place, file="nq/test.jsonl", sha256=SHA256)) == through_datasets
