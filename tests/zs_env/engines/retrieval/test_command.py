from __future__ import annotations

import pytest

from tests.zs_env.engines.retrieval.corpora import write
from zs_env.__main__ import main, parser, play


@pytest.fixture
def corpus(tmp_path):
    return str(write(tmp_path / "c.jsonl"))


def test_an_index_is_built_looked_at_and_searched(corpus, capsys):
    assert main(["index", "build", corpus, "--search-option", "language=none"]) == 0
    out, err = capsys.readouterr()
    assert "4 passages, ready in" in out
    assert "Building the bm25 index" in err
    assert main(["index", "info", corpus]) == 0
    assert "bm25 of c.jsonl, 4 passages" in (told := capsys.readouterr().out)
    assert "language=none" in told
    assert (
        main(["index", "search", corpus, "capitals", "Ecuador", "--topk", "1", "--search-option", "language=none"]) == 0
    )
    out, err = capsys.readouterr()
    assert "capitals: 1 found" in out
    assert "[b] Peru: Peru is a country" in out
    assert "[c] Quito" in out
    assert not err


def test_an_index_may_lie_elsewhere_and_be_built_anew(corpus, tmp_path, capsys):
    flags = [corpus, "--engine", "dense", "--index", str(tmp_path / "there")]
    assert main(["index", "build", *flags]) == 0
    assert "Building" in capsys.readouterr().err
    assert main(["index", "build", *flags]) == 0
    assert "Building" not in capsys.readouterr().err
    assert main(["index", "build", *flags, "--rebuild"]) == 0
    assert "to be built anew. Building" in capsys.readouterr().err
    [folder] = [path for path in (tmp_path / "there").iterdir() if path.is_dir()]
    (folder / "manifest.json").write_text("{}")
    assert main(["index", "info", str(tmp_path / "there")]) == 0
    assert "broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "nothing.jsonl"], "There is no corpus"),
        (["info", "nothing"], "There is no index in"),
        (["build", "CORPUS", "--search-option", "size=3"], "doesn't take 'size'"),
        (["search", "CORPUS", "x", "--topk", "0"], "--topk is at least 1"),
    ],
)
def test_what_is_wrong_is_said(corpus, capsys, arguments, says):
    assert main(["index", *(corpus if one == "CORPUS" else one for one in arguments)]) != 0
    assert says in capsys.readouterr().err


def test_a_person_plays_against_a_corpus(corpus, capsys):
    lines = iter(["capital of Ecuador", "q"])
    options = parser().parse_args(["play", "--search-mode", "bm25", "--search-option", f"corpus={corpus}"])
    play(options, read=lambda prompt: next(lines))
    assert "Quito is the capital of Ecuador." in capsys.readouterr().out
