from __future__ import annotations

import json
from pathlib import Path

import pytest

from zs_env.engines.llm.prompts import load_prompts
from zs_env.errors import ConfigError
from zs_env.tuning import gguf_files
from zs_env.tuning.gating.simulators import Contender, as_loadable, note_verdict, own_prompts, weights_fingerprint


def model_folder(folder: Path, weights: bytes = b"w" * 3_000_000) -> Path:
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(weights)
    return model


def test_a_folder_is_written_as_gguf_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write_gguf(folder: Path, out: Path, kind: str) -> None:
        assert kind == "f16"
        out.write_bytes(b"GGUF")
        written.append(out)

    monkeypatch.setattr(gguf_files, "write_gguf", write_gguf)
    model = model_folder(tmp_path)
    out = tmp_path / "gate"
    out.mkdir()
    name, file = as_loadable(str(model), out, "candidate")
    assert (name, file) == (str(out / "candidate.f16.gguf"), out / "candidate.f16.gguf")
    as_loadable(str(model), out, "candidate")
    assert written == [file]
    model_folder(tmp_path, b"v" * 3_000_000)  # tuned anew: of the same size, in the same place
    as_loadable(str(model), out, "candidate")
    assert written == [file, file]


def test_a_folder_with_one_gguf_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    assert as_loadable(str(tmp_path), tmp_path, "candidate")[1] == tmp_path / "small.gguf"


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    first = weights_fingerprint(model_folder(tmp_path))
    assert weights_fingerprint(model_folder(tmp_path)) == first
    assert weights_fingerprint(model_folder(tmp_path, b"w" * 2_999_999 + b"v")) != first
    assert weights_fingerprint(tmp_path / "model" / "model.safetensors") != first


def test_prompts_that_ship_need_no_folder(tmp_path: Path) -> None:
    assert own_prompts({}, tmp_path / "prompts") == {}
    assert own_prompts({"prompts": dict(load_prompts("sft"))}, tmp_path / "prompts") == {}
    assert not (tmp_path / "prompts").exists()
    with pytest.raises(ConfigError, match="must be of sft_useful, sft_noisy"):
        own_prompts({"prompts": {"prompt_noisy": "x"}}, tmp_path / "prompts")


def test_a_verdict_stands_beside_a_gguf_file_too(tmp_path: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 20)
    assert note_verdict(file, {"accepted": True}) is None  # not made here
    beside = tmp_path / "small.gguf.json"
    beside.write_text(json.dumps({"schema": "zerosearch.tuned_simulator/1", "persona": "Bing"}))
    assert note_verdict(file, {"accepted": True}) == beside
    assert json.loads(beside.read_text())["gate"] == {"accepted": True}
    assert note_verdict(file, None) == beside
    assert json.loads(beside.read_text()) == {"schema": "zerosearch.tuned_simulator/1", "persona": "Bing"}
    assert note_verdict(file, None) is None


def test_what_tables_call_it() -> None:
    tuned = Contender(role="candidate", mode="sft", model="/a/b.gguf", tuned=True)
    assert tuned.title == "b.gguf, tuned"
    converted = Contender(role="candidate", mode="sft", model="/out/candidate.f16.gguf", given="/a/model", tuned=True)
    assert converted.title == "model, tuned"
    assert Contender(role="reference", mode="prompt", model=None).title == "a server's model, prompted"
    assert tuned.facts() == {"parameters": None, "bytes": None, "quantisation": None, "tuned": True, "mode": "sft"}
