from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers import installing
from benchmarks.peers.installing import PeersError, default_folder, install_peers, interpreter_of


def make_fake_python(folder: Path, *, pip: str = "exit 0") -> str:
    """An interpreter whose environments' interpreter writes down what it was asked, and then does `pip`."""
    inside = folder / "inside"
    inside.write_text(f'#!/bin/sh\necho "$*" >> {folder}/log\n{pip}\n')
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nmkdir -p "$3/bin" && cp {inside} "$3/bin/python" && chmod +x "$3/bin/python"\n')
    python.chmod(0o755)
    return str(python)


def calls(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_it_is_made_once_and_taken_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = make_fake_python(tmp_path)
    venv = tmp_path / "deep" / "peers"
    assert install_peers(venv, python=python) == interpreter_of(venv)
    assert "from PyPI" in capsys.readouterr().out
    assert install_peers(venv, python="/no/such/python") == interpreter_of(venv)
    assert len(calls(tmp_path)) == 1
    assert "pip install" in calls(tmp_path)[0]
    assert calls(tmp_path)[0].endswith("benchmarks/peers/requirements.txt")


def test_other_pins_are_installed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_fake_python(tmp_path)
    install_peers(tmp_path / "peers", python=python)
    before = default_folder()
    other = tmp_path / "other.txt"
    other.write_text("gem-llm==9.9.9\n")
    monkeypatch.setattr(installing, "REQUIREMENTS", other)
    assert default_folder() != before
    install_peers(tmp_path / "peers", python=python)
    assert len(calls(tmp_path)) == 2


def test_without_pypi_it_says_so_and_the_next_run_tries_again(tmp_path: Path) -> None:
    python = make_fake_python(tmp_path, pip="echo 'ERROR: No matching distribution found for gem-llm' >&2; exit 1")
    for _ in range(2):
        with pytest.raises(PeersError, match=r"PyPI out of reach[\s\S]*--peers none[\s\S]*No matching distribution"):
            install_peers(tmp_path / "peers", python=python)
    assert len(calls(tmp_path)) == 2


def test_the_environment_that_this_runs_in_is_left_alone() -> None:
    with pytest.raises(PeersError, match="that this runs in"):
        install_peers(Path(sys.prefix))


def test_a_folder_that_it_did_not_make_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(PeersError, match="didn't make"):
        install_peers(tmp_path, python=make_fake_python(tmp_path))
    assert not (tmp_path / "log").exists()


def test_a_python_that_makes_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(PeersError, match="--peers-python names another"):
        install_peers(tmp_path / "peers", python="/no/such/python")


def test_without_a_fitting_python_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "PYTHON", (3, 99))
    with pytest.raises(PeersError, match=r"install on Python 3\.99.*--peers-python"):
        install_peers(tmp_path / "peers")


def test_the_default_folder_is_one_that_git_ignores() -> None:
    assert default_folder().parent.name == ".cache"
    assert ".cache/" in (installing.ROOT / ".gitignore").read_text().splitlines()
