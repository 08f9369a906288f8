from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from tests.zs_env.engines.retrieval.corpora import CITIES, Said, ids, request, write
from zs_env.engines.retrieval import bm25
from zs_env.engines.retrieval.folder import MANIFEST, index_folder
from zs_env.errors import ConfigError


def opened(corpus: Path, said: Said, **options):
    return bm25(corpus=corpus, say=said, **options)


def only_index(corpus: Path) -> Path:
    [folder] = [path for path in corpus.with_name(f"{corpus.name}.index").iterdir() if path.is_dir()]
    return folder


def age(corpus: Path) -> None:
    """Make a corpus look as if it was written a minute ago, as most are."""
    before = corpus.stat().st_mtime_ns - 60 * 10**9
    os.utime(corpus, ns=(before, before))


def test_an_index_is_built_once_and_then_found(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    first = ids(opened(corpus, said).search_now([request("capital")])[0])
    second = ids(opened(corpus, said).search_now([request("capital")])[0])
    assert said.num_builds == 1
    assert first == second == ["c", "a", "b"]
    assert {path.name for path in tmp_path.iterdir()} == {"c.jsonl", "c.jsonl.index"}


def test_equal_engines_of_a_process_are_one(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    one = opened(corpus, said)
    assert opened(corpus, said) is one
    assert opened(corpus, said, k1=1.2) is not one
    assert opened(corpus, said, rebuild=True) is not one


def test_settings_have_indexes_of_their_own(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    fingerprints = {opened(corpus, said, language=language).fingerprint for language in ("english", "none", "german")}
    assert len(fingerprints) == 3
    for language in ("english", "none", "german"):
        opened(corpus, said, language=language)
    assert said.num_builds == 3


def test_a_changed_corpus_is_indexed_anew_and_said_so(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    before = opened(corpus, said)
    write(corpus, [*CITIES, {"id": "e", "text": "Capital letters."}])
    after = opened(corpus, said)
    assert "it has changed since it was indexed" in said[-2]
    assert before.fingerprint != after.fingerprint
    assert "e" in ids(after.search_now([request("capital letters")])[0])


def test_a_change_that_keeps_size_and_time_of_a_fresh_corpus_is_seen(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    opened(corpus, said)
    status = corpus.stat()
    corpus.write_bytes(corpus.read_bytes().replace(b"Ecuador", b"Uruguay"))
    os.utime(corpus, ns=(status.st_atime_ns, status.st_mtime_ns))
    engine = opened(corpus, said)
    assert said.num_builds == 2
    assert ids(engine.search_now([request("Uruguay")])[0]) == ["c"]


def test_a_corpus_that_was_only_touched_is_not_indexed_anew(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    opened(corpus, said)
    age(corpus)
    opened(corpus, said)
    assert said.num_builds == 1
    kept = json.loads((only_index(corpus) / MANIFEST).read_text())
    assert kept["corpus_mtime_ns"] == corpus.stat().st_mtime_ns  # so that it needn't be read again


def cut_scores(folder: Path) -> None:
    (folder / "data.csc.index.npy").write_bytes((folder / "data.csc.index.npy").read_bytes()[:-4])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / MANIFEST).write_text("{"), "broken"),
        (lambda folder: (folder / MANIFEST).write_text("[1]"), "broken"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 1}'), "broken"),
        (lambda folder: (folder / MANIFEST).unlink(), "incomplete"),
        (lambda folder: (folder / "vocab.index.json").unlink(), "incomplete"),
        (cut_scores, "hasn't the size"),
        (lambda folder: shutil.rmtree(folder), "no index yet"),
    ],
)
def test_a_broken_index_is_built_anew(tmp_path, harm, says):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    opened(corpus, said)
    harm(only_index(corpus))
    engine = opened(corpus, said)
    assert says in said[-2]
    assert ids(engine.search_now([request("Ecuador")])[0]) == ["c"]
    assert sorted(path.name.rpartition(".")[2] for path in only_index(corpus).parent.iterdir())[0].startswith("bm25")


def test_a_build_that_fails_leaves_nothing_and_keeps_the_index_there_was(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    opened(corpus, said)
    good = corpus.read_bytes()
    write(corpus, [*CITIES, "{broken"])
    with pytest.raises(ConfigError, match="line 5: this isn't JSON"):
        opened(corpus, said)
    corpus.write_bytes(good)
    opened(corpus, said)
    assert said.num_builds == 2  # the good one and the try
    assert not list(only_index(corpus).parent.glob("*.building-*"))


def test_what_a_killed_build_left_is_cleared_away(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl"), Said()
    opened(corpus, said)
    folder = only_index(corpus)
    left = folder.with_name(f"{folder.name}.building-99999")
    shutil.copytree(folder, left)
    shutil.rmtree(folder)
    opened(corpus, said)
    assert not left.exists()
    assert folder.exists()


def test_a_corpus_without_passages_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no passages"):
        opened(write(tmp_path / "c.jsonl", ["", '{"text": " "}']), Said())


def test_rows_without_text_are_left_out_and_counted(tmp_path):
    corpus, said = write(tmp_path / "c.jsonl", [CITIES[0], {"id": "z", "text": ""}, CITIES[1]]), Said()
    assert len(opened(corpus, said)) == 2
    assert any("1 rows with neither text nor title" in line for line in said)
    table = write(tmp_path / "c.tsv", ["id\ttext", "1\tLima"])
    opened(table, said := Said())
    assert not any("left out" in line for line in said)


def test_where_an_index_goes(tmp_path, monkeypatch):
    corpus = write(tmp_path / "c.jsonl")
    monkeypatch.delenv("ZS_CACHE", raising=False)
    assert index_folder(corpus, "bm25", {}).parent == tmp_path / "c.jsonl.index"
    assert index_folder(corpus, "bm25", {}, tmp_path / "mine").parent == tmp_path / "mine"
    monkeypatch.setenv("ZS_CACHE", str(tmp_path / "cache"))
    assert index_folder(corpus, "bm25", {}).parent.parent == tmp_path / "cache" / "indexes"
    assert index_folder(corpus, "bm25", {}) != index_folder(corpus, "bm25", {"k1": 1})
    monkeypatch.delenv("ZS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as where data are shared and read-only
    assert index_folder(corpus, "bm25", {}).parent.parent == tmp_path / "home" / "zs_env" / "indexes"


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can.t be written to .*index="):
        opened(write(tmp_path / "c.jsonl"), Said(), index=tmp_path / "file")


def test_a_corpus_that_changes_while_it_is_indexed_is_said(tmp_path, monkeypatch):
    corpus = write(tmp_path / "c.jsonl")
    from zs_env.engines.retrieval import folder

    read = folder.scan_corpus

    def meddle(*given):
        found = read(*given)
        write(corpus, [*CITIES, CITIES[0]])
        return found

    monkeypatch.setattr(folder, "scan_corpus", meddle)
    with pytest.raises(ConfigError, match="was changed while it was being indexed"):
        opened(corpus, Said())


def _build_in_a_process(corpus: str, barrier, told) -> None:
    said = Said()
    barrier.wait(timeout=60)
    engine = bm25(corpus=corpus, say=said)
    told.put((said.num_builds, ids(engine.search_now([request("Ecuador")])[0])))


def test_processes_that_begin_at_once_build_one_index(tmp_path):
    corpus = write(tmp_path / "c.jsonl", [{"text": f"passage {i} of many"} for i in range(3_000)] + [CITIES[2]])
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_build_in_a_process, args=(str(corpus), barrier, told), daemon=True) for _ in range(3)
    ]
    for process in processes:
        process.start()
    outcomes = [told.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    assert sorted(builds for builds, _ in outcomes) == [0, 0, 1]
    assert all(found == ["c"] for _, found in outcomes)
