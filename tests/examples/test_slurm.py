"""The SLURM script isn't run here; its command is one that `train` understands, and asks for GPUs that the job has."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from agents.cli import parser
from agents.config import load_config
from agents.flags import sections_of

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm_train.sh"


def test_its_command_fits_the_job() -> None:
    dry = {"PATH": "/usr/bin:/bin", "DRY_RUN": "1", "SLURM_JOB_ID": "7"}
    done = subprocess.run(
        ["bash", str(SCRIPT), "--total-steps", "5"], env=dry, capture_output=True, text=True, check=True
    )
    words = shlex.split(done.stdout)
    assert words[:4] == ["python", "-m", "agents", "train"]
    options = parser().parse_args([*words[3:], "--address", "10.0.0.1:6379"])
    config = load_config(sections_of(options))
    scale = config.scale
    assert (config.run.executor, config.training.total_steps, options.run_name) == ("ray", 5, "slurm-7")
    wanted = scale.num_learners + scale.num_samplers + scale.num_simulators * scale.gpus_per_simulator
    text = SCRIPT.read_text(encoding="utf-8")
    nodes, each = (
        int(re.findall(rf"^#SBATCH --{name}=(\d+)$", text, re.MULTILINE)[0]) for name in ("nodes", "gpus-per-node")
    )
    assert wanted <= nodes * each


def test_it_says_that_it_was_not_run_and_opens_nothing_without_a_token() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert "# NOT RUN" in text
    assert "RAY_AUTH_MODE=token" in text
    assert "0.0.0.0" not in text
    assert "--include-dashboard=false" in text
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_its_steps_have_the_jobs_cores_and_its_machines_are_its_own() -> None:
    """Else srun gives Ray one core of each, and `ray stop` ends another job's Ray."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert text.index("export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK") < text.index("srun --overlap")
    assert "\n#SBATCH --exclusive\n" in text
