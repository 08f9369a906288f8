import json
from dataclasses import replace

import pytest

from benchmarks.leaderboard.errors import SuiteError
from benchmarks.leaderboard.suites import (
    SUITES,
    SetPin,
    Suite,
    load_set,
    load_suite,
    pin_suite,
    questions_suite,
    write_suite,
)
from zs_env.errors import ConfigError
from zs_env.questions.prepare.presets import FLASHRAG, HOPS


def test_the_seven_sets_are_pinned_in_full():
    suite = load_suite("zerosearch")
    assert {pin.name: pin.split for pin in suite.sets} == dict(FLASHRAG)
    assert {pin.name: pin.hops for pin in suite.sets if pin.hops} == dict(HOPS)
    assert {pin.name: pin.size for pin in suite.sets} == {
        "nq": 3_610,
        "triviaqa": 11_313,
        "popqa": 14_267,
        "hotpotqa": 7_405,
        "2wikimultihopqa": 12_576,
        "musique": 2_417,
        "bamboogle": 125,
    }
    assert suite.unknown == {}
    assert len({pin.sha256 for pin in suite.sets}) == 7
    assert all(pin.place == f"hf:RUC-NLPIR/FlashRAG_datasets:{pin.name}" for pin in suite.sets)
    assert all(pin.file == f"{pin.name}/{pin.split}.jsonl" for pin in suite.sets)


def test_the_atlas_is_what_its_suite_pins():
    (pin,) = load_suite("atlas").sets
    assert pin.unknown == ()
    loaded = load_set(pin)
    assert (
        (len(loaded.questions), loaded.source_fingerprint) == (pin.size, pin.fingerprint) == (1_870, "3574b3409c74fa59")
    )
    assert loaded.fingerprint == loaded.source_fingerprint
    assert {question.metadata["hops"] for question in loaded.questions} == {1, 2}


def test_all_suites_can_be_loaded_and_written(tmp_path):
    for name in SUITES:
        suite = load_suite(name)
        assert suite.name == name
        write_suite(tmp_path / "suite.toml", suite)
        assert load_suite(tmp_path / "suite.toml") == suite
        assert load_suite(str(tmp_path / "suite.toml")) == suite


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "is no TOML"),
        ('name = "x"\nversion = 1', r"no tables \[\[set\]\]"),
        ('name = "x"\nversion = 1\nset = [3]', r"no tables \[\[set\]\]"),
        ('name = "x"\nversion = 1\nsets = 3', "says 'sets', which is unknown; it may say name, version, set"),
        ('name = "x"\nversion = 1\n[[set]]\nname = "a"', "a set has no place"),
        ('name = "x"\nversion = 1\n[[set]]\nname = "a"\nplace = "b"\nhash = "c"', "set a says 'hash'"),
        ('name = "X Y"\nversion = 1\n[[set]]\nname = "a"\nplace = "b"', "can't be called 'X Y'"),
        ('name = "x"\n[[set]]\nname = "a"\nplace = "b"', "version is a whole number of at least 1; got 0"),
        (
            'name = "x"\nversion = 1\n' + '[[set]]\nname = "a"\nplace = "b"\n' * 2,
            "Two sets of the suite 'x' are called 'a'",
        ),
    ],
)
def test_a_malformed_suite_is_told(tmp_path, text, told):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SuiteError, match=told):
        load_suite(path)


def test_there_is_no_other_suite(tmp_path):
    with pytest.raises(SuiteError, match=r"no suite 'nq': the suites are atlas, zerosearch.*--questions"):
        load_suite("nq")
    with pytest.raises(SuiteError, match=r"'gone\.toml' can't be read"):
        load_suite(tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "a b"}, "can't be called 'a b'"),
        ({"place": " "}, "needs a place"),
        ({"place": "hf:a/b@main"}, "write the revision as revision"),
        ({"size": 0}, "size is a whole number of at least 1; got 0"),
        ({"hops": True}, "hops is a whole number"),
        ({"fingerprint": "xyz"}, "16 hexadecimal digits"),
        ({"sha256": "xyz"}, "sha256 is 64 hexadecimal digits"),
        ({"place": "hf:a/b", "revision": "main"}, "40 hexadecimal digits"),
        ({"place": "atlas", "revision": "a" * 40}, "commit of a hub data set"),
        ({"place": "atlas", "file": "x.jsonl"}, "file inside a hub data set"),
        ({"place": "hf:a/b", "file": "../x.jsonl"}, "file inside a hub data set"),
    ],
)
def test_a_pin_that_makes_no_sense_is_told(given, told):
    with pytest.raises(SuiteError, match=told):
        SetPin(**{"name": "a", "place": "b"} | given)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "My Questions.jsonl"
    rows = [{"id": f"q{at}", "question": f"who is {at}?", "answer": f"person {at}", "split": "test"} for at in range(9)]
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {"question": "?!", "answer": "x", "split": "dev"}])
    )
    return path


def test_files_are_sets_called_by_their_names(file):
    suite = questions_suite([str(file), f"mine={file}"], "test")
    assert [pin.name for pin in suite.sets] == ["my-questions", "mine"]
    loaded = load_set(suite.sets[1], limit=4)
    assert loaded.record() == {
        "name": "mine",
        "source": "My Questions.jsonl",  # and not this machine's folder
        "split": "test",
        "revision": None,
        "size": 9,
        "limit": 4,
        "n": 4,
        "source_fingerprint": loaded.source_fingerprint,
        "fingerprint": loaded.fingerprint,
    }
    assert loaded.fingerprint != loaded.source_fingerprint
    assert load_set(suite.sets[0], limit=4).fingerprint == loaded.fingerprint
    assert len(load_set(questions_suite([file]).sets[0]).questions) == 10
    with pytest.raises(SuiteError, match="Two sets of the suite 'questions' are called 'my-questions'"):
        questions_suite([file, file])
    with pytest.raises(ConfigError, match="no such file"):
        load_set(questions_suite(["gone"]).sets[0])


def test_a_pinned_file_is_refused_once_it_changes(file, tmp_path):
    suite = pin_suite(replace(questions_suite([f"mine={file}"], "test"), name="ours"))
    assert suite.unknown == {}
    (pin,) = suite.sets
    assert (pin.size, pin.fingerprint) == (9, load_set(pin).source_fingerprint)
    file.write_text(file.read_text().replace("person 3", "person three"))
    with pytest.raises(SuiteError) as told:
        load_set(pin)
    assert pin.fingerprint in str(told.value)
    assert load_set(replace(pin, fingerprint="")).source_fingerprint in str(told.value)
    file.write_text(file.read_text().replace('"test"', '"dev"', 1))
    with pytest.raises(SuiteError, match="size 9 questions was pinned, and 8 was found"):
        load_set(pin)
    with pytest.raises(ConfigError, match="has no split 'train'"):
        load_set(replace(pin, split="train"))


def test_a_file_may_stand_in_for_the_hub_where_it_is_the_same(file, tmp_path):
    sha256 = "0" * 64
    pin = SetPin(name="a", place="hf:owner/qa:a", split="test", revision="a" * 40, file="a/test.jsonl", sha256=sha256)
    with pytest.raises(SuiteError, match=f"SHA-256 of a/test.jsonl {sha256} was pinned"):
        load_set(pin, place=str(file))
    same = SetPin(name="a", place=str(file))
    known = replace(pin, fingerprint=load_set(same).source_fingerprint)
    assert load_set(known, place=str(file)).record()["revision"] == "a" * 40  # the same questions, in other bytes
    nothing_known = replace(pin, sha256="", fingerprint="")
    assert load_set(nothing_known, place=str(file)).record()["revision"] is None
    assert nothing_known.unknown == ("size", "hash")


def test_hops_are_told_where_questions_dont_say(file):
    pin = replace(questions_suite([file]).sets[0], hops=2)
    assert {question.metadata["hops"] for question in load_set(pin).questions} == {2}
    assert load_set(pin).fingerprint == load_set(replace(pin, hops=None)).fingerprint


def test_a_suite_needs_sets():
    with pytest.raises(SuiteError, match="has no sets"):
        Suite(name="a", version=1, sets=())
