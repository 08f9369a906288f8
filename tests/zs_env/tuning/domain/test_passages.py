from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.tuning.domain.library import write_library
from zs_env.__main__ import main
from zs_env.engines import make_engine
from zs_env.errors import ConfigError
from zs_env.tuning.domain.chunking import ChunkSettings
from zs_env.tuning.domain.corpus import read_corpus
from zs_env.tuning.domain.files import read_bytes
from zs_env.tuning.domain.passages import PassageSettings, make_passages

SMALL = PassageSettings(chunks=ChunkSettings(max_words=60, min_words=4))


def test_a_folder_becomes_a_corpus_and_each_file_is_accounted_for(tmp_path: Path) -> None:
    folder, out = write_library(tmp_path / "library"), tmp_path / "out"
    report = make_passages(folder, out, SMALL)
    passages = read_corpus(out / "corpus.jsonl")
    assert {passage.source for passage in passages} == {"guides/lamp.md", "peaks.HTML", "hut.rst", "notes.txt"}
    assert "The lamp – Flags" in {passage.title for passage in passages}
    assert len({passage.id for passage in passages}) == len(passages) == report["num_passages"]
    assert report["num_files"] == {"read": 4, "skipped": 7}
    assert report["files"]["notes.txt"]["passages"] == 1
    assert "isn't utf-8" in report["files"]["latin.txt"]["why"]
    assert report["num_code_blocks_left_out"] == 3
    everything = (out / "corpus.jsonl").read_text() + (out / "passages.json").read_text()
    assert "nobody may search for" not in everything
    assert str(tmp_path) not in everything
    assert len(make_engine("bm25", corpus=str(out / "corpus.jsonl"))) == len(passages)  # type: ignore[arg-type]


def test_a_second_run_does_nothing_and_other_settings_are_refused(tmp_path: Path) -> None:
    folder, out = write_library(tmp_path / "library"), tmp_path / "out"
    first = make_passages(folder, out, SMALL)
    before = (out / "corpus.jsonl").stat().st_mtime_ns
    assert make_passages(folder, out, SMALL) == {**first, "is_new": False}
    assert (out / "corpus.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"chunks was .*--again"):
        make_passages(folder, out, PassageSettings())
    (folder / "new.txt").write_text("A new file tells of the bridge over the river below the hut.")
    with pytest.raises(ConfigError, match="files was"):
        make_passages(folder, out, SMALL)
    assert make_passages(folder, out, SMALL, again=True)["num_files"]["read"] == 5


def test_a_stopped_run_goes_on_with_the_files_that_it_has_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_library(tmp_path / "library"), tmp_path / "out"
    read: list[str] = []

    def reading(name: str, data: bytes, **options: Any) -> Any:
        read.append(name)
        if len(read) == 3:
            raise KeyboardInterrupt
        return read_bytes(name, data, **options)

    monkeypatch.setattr("zs_env.tuning.domain.passages.read_bytes", reading)
    given = ["tune", "domain", "passages", str(folder), "--out", str(out), "--max-words", "60", "--min-words", "4"]
    assert main(given) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (out / "corpus.jsonl").exists()
    assert main(given) == 0
    assert sorted(read) == sorted(
        ["binary.txt", "hut.rst", "lamp.md", "latin.txt", "latin.txt", "notes.txt", "peaks.HTML"]
    )
    assert "from 4 files, 7 not read" in capsys.readouterr().out
    whole = (out / "corpus.jsonl").read_bytes()
    make_passages(folder, tmp_path / "at once", SMALL)
    assert (tmp_path / "at once" / "corpus.jsonl").read_bytes() == whole
    assert main([*given, "--with-code"]) == 2
    assert "with_code was False and is True" in capsys.readouterr().err
    assert main([*given, "--with-code", "--again"]) == 0
    assert "lamp --power 3" in (out / "corpus.jsonl").read_text()


def test_repeated_and_shared_text_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    for number in range(4):
        text = (
            f"All of these pages are under the same licence.\n\nPage {number} tells of peak {number} by itself alone."
        )
        (folder / f"{number}.txt").write_text(text)
    story = "Once a climber came to the hut in the night and found that nobody had lit the lamp for years."
    (folder / "a.txt").write_text(story)
    (folder / "b.txt").write_text(story.replace("Once", "Then"))
    report = make_passages(folder, tmp_path / "out", SMALL)
    texts = [passage.text for passage in read_corpus(tmp_path / "out" / "corpus.jsonl")]
    assert not any("licence" in text for text in texts)
    assert sum("nobody had lit" in text for text in texts) == 1
    assert report["num_boilerplate_blocks"] == 1
    assert report["num_dropped"] == {"nearly the same as an earlier one": 1}
    assert report["dropped_examples"]["nearly the same as an earlier one"][0].startswith("b.txt: Then a climber")


def test_other_languages_are_counted_and_dropped_only_if_asked(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "de.txt").write_text("Die Hütte steht auf einem Berg zwischen zwei Tälern und hat nur zwei Zimmer.")
    (folder / "en.txt").write_text("The hut stands on a ridge between two valleys and it has two rooms.")
    assert make_passages(folder, tmp_path / "all", SMALL)["num_not_english"] == 1
    only = PassageSettings(chunks=SMALL.chunks, english_only=True)
    assert make_passages(folder, tmp_path / "some", only)["num_dropped"] == {"not English": 1}


def test_a_folder_without_text_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ConfigError, match=r"No file of .*a\.csv: its ending"):
        make_passages(tmp_path, tmp_path / "out", SMALL)


def test_a_corpus_of_others_is_read_with_ids_and_sources(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"title": "A", "text": "one"}) + "\n" + json.dumps({"contents": '"B"\ntwo'}) + "\n")
    assert [(one.id, one.title, one.text, one.source) for one in read_corpus(path)] == [
        ("0", "A", "one", "A"),
        ("1", "B", "two", "B"),
    ]
    path.write_text(json.dumps({"id": "0", "text": "one"}) + "\n" + json.dumps({"id": "0", "text": "two"}) + "\n")
    with pytest.raises(ConfigError, match="the id '0' twice"):
        read_corpus(path)
