"""Files of a group's state that come from elsewhere."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from agents.errors import CheckpointError
from agents.sharded.state import load_state


class Runs:
    """Pickled, it makes a folder where it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_an_index_that_would_run_code_is_refused_unread(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Runs(harm)))
    with pytest.raises(CheckpointError, match=r"names (posix|nt)\.mkdir, which no index is made of"):
        load_state(tmp_path, {})
    assert not harm.exists()


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps({"step": 3}))
    with pytest.raises(CheckpointError, match="the index is a dict"):
        load_state(tmp_path, {})
    with pytest.raises(CheckpointError, match="No such file"):
        load_state(tmp_path / "nowhere", {})
