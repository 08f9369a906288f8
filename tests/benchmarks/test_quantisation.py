"""Formats of a simulator side by side; what has no server is listed as not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from tests.zs_env.tuning.tiny_models import save_model
from zs_env.tuning.quantising import QuantiseSettings, quantise

pytest.importorskip("gguf")
pytest.importorskip("transformers")
pytest.importorskip("xllamacpp")
pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("made") / "model", "Llama", "smollm", max_position_embeddings=4096)


@pytest.mark.slow
def test_files_are_served_and_asked_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [str(tmp_path / f"{kind}.gguf") for kind in ("f16", "q8_0")]
    for file in files:
        quantise(folder, file, QuantiseSettings(to=f"gguf:{Path(file).stem}"))
    command = ["quantisation", "--model", *files, str(folder), "--limit", "1", "--topk", "1"]
    assert main([*command, "--json", "record.json", "--page", "page.md"]) == 0
    rows = json.loads(Path("record.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["f16.gguf", "q8_0.gguf", "model"]
    assert [row["made"] for row in rows] == ["gguf:f16", "gguf:q8_0", None]
    assert rows[0]["bytes"] > rows[1]["bytes"]
    assert [row.get("searches") for row in rows] == [2, 2, None]
    assert rows[2]["not_run"]
    assert "Not given, so not run: fp8, gptq, awq" in Path("page.md").read_text()


def test_nothing_but_folders_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["quantisation", "--model", str(folder), "--limit", "1"]) == 1
    assert "not run: needs a server" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "none.gguf"], "There is no model at 'none.gguf'"),
        (["--model", "{folder}", "{folder}"], "'model' is there twice"),
        (["--model", "{folder}", "--server", "model"], "takes NAME=URL"),
    ],
)
def test_what_cannot_be_compared(given: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantisation", *(each.format(folder=folder) for each in given)]) == 2
    assert said in capsys.readouterr().err
