import contextlib
import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.checkpoints import Checkpoints, generator_states, read_state, restore_generators
from agents.errors import CheckpointError
from agents.policy import Policy, load_policy
from agents.runs import read_checkpoint_settings
from zs_env import files
from zs_env.files import exchange, point_to, write_folder, write_json

SETTINGS = {"schema": "zerosearch.checkpoint/1", "episode": {"max_turns": 3}}


def state(step: int) -> dict[str, Any]:
    return {"step": step, "kept": {"x": torch.full((4000,), float(step))}}


@pytest.fixture
def checkpoints(tiny_policy: Policy, tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path)
    made.save(tiny_policy, state(3), settings=SETTINGS)
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_can_be_played_and_gone_on_from(
    checkpoints: Checkpoints, tiny_policy: Policy, tmp_path: Path
) -> None:
    assert os.readlink(tmp_path / "checkpoint") == "checkpoints/step-000003"
    assert load_policy(tmp_path / "checkpoint").fingerprints() == tiny_policy.fingerprints()
    read = read_state(tmp_path / "checkpoint")
    assert read["weights"] == tiny_policy.fingerprints()["model"]
    assert torch.equal(read["kept"]["x"], state(3)["kept"]["x"])
    assert read_checkpoint_settings(tmp_path / "checkpoint")["episode"] == {"max_turns": 3}
    copy = shutil.copytree(tmp_path / "checkpoint", tmp_path / "elsewhere" / "mine")
    assert read_checkpoint_settings(copy)["episode"] == {"max_turns": 3}


def test_only_the_newest_are_kept(checkpoints: Checkpoints, tiny_policy: Policy, tmp_path: Path) -> None:
    keeping = Checkpoints(tmp_path, keep=2)
    for step in (10, 9_999_999):
        keeping.save(tiny_policy, state(step), settings=SETTINGS)
    assert [path.name for path in keeping.all()] == ["step-9999999", "step-000010"]
    checkpoints.save(tiny_policy, state(10_000_000), settings=SETTINGS, prune=False)
    assert len(checkpoints.all()) == 3
    checkpoints.prune()
    assert [path.name for path in checkpoints.all()] == ["step-10000000"]
    assert os.listdir(checkpoints.folder) == ["step-10000000"]


def test_what_killed_runs_left_is_tidied(checkpoints: Checkpoints, tmp_path: Path) -> None:
    (checkpoints.folder / ".step-000004-abc").mkdir()
    (checkpoints.folder / ".old-step-000002").mkdir()
    (tmp_path / "checkpoint").unlink()
    checkpoints.tidy()
    assert os.listdir(checkpoints.folder) == ["step-000003"]
    assert (tmp_path / "checkpoint" / "config.json").is_file()


def test_a_full_disk_leaves_the_last_checkpoint(checkpoints: Checkpoints, tiny_policy: Policy, tmp_path: Path) -> None:
    """Whichever write finds no room. A limit on the size of files makes real writes fail, those of libraries too."""
    before = content(tmp_path)
    sizes = sorted({len(data) for data in before.values()})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sizes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, limits[1]))
        try:
            with pytest.raises(CheckpointError, match=r"step 4 can't be written.*the last good one is .*step-000003"):
                checkpoints.save(tiny_policy, state(4), settings=SETTINGS)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert content(tmp_path) == before
        assert os.listdir(checkpoints.folder) == ["step-000003"]
    checkpoints.save(tiny_policy, state(4), settings=SETTINGS)
    assert read_state(tmp_path / "checkpoint")["step"] == 4


def test_a_failure_at_any_change_leaves_a_checkpoint(tiny_policy: Policy, tmp_path: Path) -> None:
    """No room at the n-th change of the file system, for each n."""
    for number in range(1, 100):
        root = tmp_path / str(number)
        root.mkdir()
        checkpoints = Checkpoints(root)
        checkpoints.save(tiny_policy, state(3), settings=SETTINGS)
        with pytest.MonkeyPatch.context() as patch:
            count = fail_at(number, patch)
            with contextlib.suppress(CheckpointError, OSError):
                checkpoints.save(tiny_policy, state(4), settings=SETTINGS)
        checkpoints.tidy()
        assert read_state(root / "checkpoint")["step"] in (3, 4)
        assert all(load_policy(path) for path in checkpoints.all())
        if count() < number:
            assert number > 10
            return
        shutil.rmtree(root)
    raise AssertionError("A checkpoint takes more changes than were tried.")


def fail_at(number: int, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    count = 0

    def failing(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*given: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return change(*given, **options)

        return changed

    for name in ("fsync", "rename", "replace", "symlink", "mkdir", "chmod"):
        patch.setattr(os, name, failing(getattr(os, name)))
    return lambda: count


FULL_DISK = """
import os, sys
from pathlib import Path
from agents.checkpoints import Checkpoints, read_state
from agents.errors import CheckpointError
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_lfm2
import torch
root = Path(sys.argv[1])
policy, checkpoints = Policy(tiny_lfm2(), byte_tokenizer()), Checkpoints(root)
state = lambda step: {"step": step, "executor": {"x": torch.zeros(20_000)}}
checkpoints.save(policy, state(1), settings={})
free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
failed = 0
for room in range(0, 400_000, 80_000):
    (root / "filler").write_bytes(b"x" * (free - room))
    try:
        checkpoints.save(policy, state(2), settings={})
        break
    except CheckpointError as error:
        assert "No space left" in str(error) or "os error 28" in str(error), error
        failed += 1
    assert read_state(root / "checkpoint")["step"] == 1 and os.listdir(root / "checkpoints") == ["step-000001"]
    (root / "filler").unlink()
assert failed > 1 and read_state(root / "checkpoint")["step"] == 2, failed
print("kept")
"""


def test_a_disk_that_is_really_full_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    disk = f"mount -t tmpfs -o size=2m none {tmp_path}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", disk], capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    command = ["unshare", "-Urm", "sh", "-c", f'{disk} && exec "$0" -c "$1" {tmp_path}', sys.executable, FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "kept", done.stderr


@pytest.mark.parametrize("broken", ["no such file", "torn", "code", "version"])
def test_a_state_that_can_not_be_read_is_said(broken: str, checkpoints: Checkpoints) -> None:
    path = checkpoints.folder / "step-000003" / "training_state.pt"
    if broken == "no such file":
        path.unlink()
    elif broken == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif broken == "code":
        torch.save({"schema": "zerosearch.training_state/1", "x": Path("runs")}, path)
    else:
        torch.save({"schema": "zerosearch.training_state/9"}, path)
    with pytest.raises(CheckpointError, match=r"training_state\.pt"):
        read_state(path.parent)


def test_generators_go_on_where_they_were() -> None:
    before = generator_states()
    drawn = (torch.rand(3), np.random.rand(3), random.random())
    path_through_a_file = torch.load(saved(before), weights_only=True)
    restore_generators(path_through_a_file)
    again = (torch.rand(3), np.random.rand(3), random.random())
    assert torch.equal(drawn[0], again[0])
    assert np.array_equal(drawn[1], again[1])
    assert drawn[2] == again[2]


def saved(record: Any) -> Any:
    import io

    file = io.BytesIO()
    torch.save(record, file)
    file.seek(0)
    return file


def write(text: str) -> Callable[[Path], None]:
    def into(folder: Path) -> None:
        (folder / "weights").write_text(text)

    return into


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced(can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "exchange", lambda *_: False)
    for text in ("first", "second"):
        write_folder(tmp_path / "policy", write(text))
        assert (tmp_path / "policy" / "weights").read_text() == text
    point_to(tmp_path / "link", tmp_path / "policy")
    write_folder(tmp_path / "link", write("third"))
    assert (tmp_path / "link" / "weights").read_text() == "third"
    assert (tmp_path / "policy" / "weights").read_text() == "second"
    assert sorted(os.listdir(tmp_path)) == ["link", "policy"]


def test_a_folder_that_a_kill_left_aside_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "policy", write("first"))
    (tmp_path / "policy").rename(tmp_path / ".policy-abc-old")

    def fails(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        write_folder(tmp_path / "policy", fails)
    assert (tmp_path / "policy" / "weights").read_text() == "first"


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux does it")
def test_two_folders_change_places(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert os.listdir(tmp_path / "a") == ["b"]
    assert os.listdir(tmp_path / "b") == ["a"]
    assert not exchange(tmp_path / "a", tmp_path / "missing")


def test_a_link_where_there_are_none_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "policy", write("first"))

    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError("no links here")

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", no_links)
        for _ in range(2):
            point_to(tmp_path / "checkpoint", tmp_path / "policy")
            assert (tmp_path / "checkpoint" / "weights").read_text() == "first"
    point_to(tmp_path / "checkpoint", tmp_path / "policy")
    assert (tmp_path / "checkpoint").is_symlink()


def test_half_a_json_file_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"n": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 1}
    assert os.listdir(tmp_path) == ["a.json"]
