import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.checkpoints import read_state
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_lfm2
from tests.agents.resuming import VARIANTS, Forks, assert_equal_runs
from zs_env.files import remove


@pytest.fixture(scope="module")
def forks() -> Any:
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Policy(tiny_lfm2(), byte_tokenizer()).save(folder)
    return folder


@pytest.fixture(scope="module")
def whole(forks: Forks, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a run that nothing stops, once for each variant."""
    root, made = tmp_path_factory.mktemp("whole"), set[str]()

    def run_of(variant: str) -> Path:
        if variant not in made:
            assert forks.run(root, model, variant) == 0
            made.add(variant)
        return root / variant

    return run_of


def test_training_moves_what_is_compared(whole: Any) -> None:
    for variant in VARIANTS:
        state = read_state(whole(variant) / "checkpoint")
        moments = state["executor"]["learner"]["optimizer"]["state"]
        assert all(float(values["exp_avg"].abs().sum()) > 0 for values in moments.values())
        if "ppo" in variant:
            assert float(state["executor"]["critic"]["critic"]["head.weight"].abs().sum()) > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_is_killed_anywhere_ends_as_if_it_was_not(
    variant: str, forks: Forks, whole: Any, model: Path, tmp_path: Path
) -> None:
    reference = whole(variant)
    draw, codes = random.Random(variant), []
    for steps in (0, 1, 2, 4, 5):
        ready = later(tmp_path / variant / "metrics.jsonl", steps, draw.uniform(0.0, 0.2))
        codes.append(forks.run(tmp_path, model, variant, kill_when=ready))
    assert set(codes) <= {-9, 0}
    assert codes.count(-9) >= 2
    assert forks.run(tmp_path, model, variant) == 0
    assert_equal_runs(reference, tmp_path / variant)


def later(log: Path, num_lines: int, pause_s: float) -> Callable[[], bool]:
    """Whether a log has had so many lines for so long."""
    since: list[float] = []

    def ready() -> bool:
        if not since and (num_lines == 0 or (log.exists() and log.read_text().count("\n") >= num_lines)):
            since.append(time.monotonic())
        return bool(since) and time.monotonic() > since[0] + pause_s

    return ready


def kill_at_each(numbers: range, forks: Forks, whole: Any, model: Path, root: Path) -> None:
    """Killed before its n-th change of a file, and again before the n-th when it goes on; then gone on with."""
    reference = whole("grpo-kl")
    for number in numbers:
        codes = [forks.run(root, model, "grpo-kl", kill_at=number) for _ in range(2)]
        assert forks.run(root, model, "grpo-kl") == 0
        assert_equal_runs(reference, root / "grpo-kl")
        remove(root / "grpo-kl")
        if codes == [0, 0]:
            return
    raise AssertionError(f"A run makes more than {numbers.stop} changes.")


def test_a_kill_at_a_change_of_a_file_costs_nothing(forks: Forks, whole: Any, model: Path, tmp_path: Path) -> None:
    kill_at_each(range(2, 400, 61), forks, whole, model, tmp_path)


@pytest.mark.slow
def test_a_kill_at_many_changes_of_files_costs_nothing(forks: Forks, whole: Any, model: Path, tmp_path: Path) -> None:
    kill_at_each(range(1, 400, 3), forks, whole, model, tmp_path)


def command(run: Path, *more: str) -> list[str]:
    """The real thing: a small model that ships and has rewards, a few steps of it."""
    settings = run.parent / "settings.toml"
    settings.write_text("[training]\nkl_coef = 0.05\n[evaluation]\nlimit = 2\nnoise = [0.5]\n")
    flags = (
        f"train --preset quickstart --config {settings} --runs {run.parent} --run-name {run.name} --total-steps 3 "
        "--questions-per-step 2 --group-size 4 --checkpoint-every 1"
    )
    return [sys.executable, "-m", "agents", *flags.split(), *more]


def kill_when(process: subprocess.Popen[str], ready: Callable[[], object]) -> bool:
    """Kill -9 a process as soon as something is so; whether it was still running."""
    for _ in range(60_000):
        if process.poll() is not None:
            return False
        if ready():
            process.kill()
            process.wait()
            return True
        time.sleep(0.001)
    raise AssertionError("Nothing happened.")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("algorithm", "num_kills"), [("grpo", 1), pytest.param("grpo", 4, marks=SLOW), pytest.param("ppo", 4, marks=SLOW)]
)
def test_the_command_goes_on_after_kill_9(algorithm: str, num_kills: int, tmp_path: Path) -> None:
    """With a KL penalty and two workers: killed as it saves a checkpoint, then at random times, then left alone."""
    reference, run = tmp_path / "whole", tmp_path / "killed"
    options: dict[str, Any] = {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True}

    def start(folder: Path, *flags: str) -> subprocess.Popen[str]:
        arguments = command(folder, "--algorithm", algorithm, *flags)
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)

    unkilled = start(reference)
    assert kill_when(start(run), lambda: list((run / "checkpoints").glob(".step-000002*")))
    draw = random.Random(algorithm)
    for _ in range(num_kills - 1):
        going_on, seconds = time.monotonic(), draw.uniform(3, 12)
        kill_when(start(run, "--resume"), lambda: time.monotonic() > going_on + seconds)  # noqa: B023
    last = start(run, "--resume")
    shown = last.communicate()[0]
    assert last.returncode == 0, shown
    assert num_kills > 1 or "Going on after 1 of 3 training steps" in shown
    unkilled.communicate()
    assert_equal_runs(reference, run)
