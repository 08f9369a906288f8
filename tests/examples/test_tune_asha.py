from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray.tune")

EXAMPLE = Path(__file__).parents[2] / "examples" / "tune_asha.py"


@pytest.mark.slow
def test_it_sweeps_from_another_folder_and_has_nothing_left_to_do_then(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLE), "--num-samples", "2", "--steps", "2"]
    for flags in ([], ["--resume"]):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        assert "trial_00000" in done.stdout
    record = json.loads((tmp_path / "runs" / "tune_asha" / "results.json").read_text())
    assert [set(trial["settings"]) for trial in record["trials"]] == [
        {"optimizer.learning_rate", "training.clip_high"}
    ] * 2
