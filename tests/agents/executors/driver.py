"""`python -m tests.agents.executors.driver …`: the command `python -m agents …`, with a reward for random models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from tests.agents.executors.scaled import LIMIT_S, title_of, until, with_mark


class Driver:
    """The command in a process of its own, whose environment has a mark that all that it starts inherits.

    Args:
        folder: Where its settings and what it says go.
        arguments: Of the command.
        settings: Section to key to value, given by --config.
        environment: What its environment has beside the mark.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        settings: dict[str, dict[str, Any]] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.mark = f"ZEROSEARCH_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self._said = folder / f"said-{value}"
        given = list(arguments)
        if settings is not None:
            (folder / "settings.toml").write_text(as_toml(settings))
            given += ["--config", str(folder / "settings.toml")]
        root = str(Path(__file__).parents[3])
        paths = os.pathsep.join([root, *(environment or {}).get("PYTHONPATH", "").split(os.pathsep)])
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.agents.executors.driver", *given],
                stdout=said,
                stderr=said,
                cwd=root,
                start_new_session=True,  # a group of its own, as in a terminal
                env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}) | {name: value, "PYTHONPATH": paths},
            )

    @property
    def said(self) -> str:
        """All that it has said yet."""
        return self._said.read_text(errors="replace")

    @property
    def processes(self) -> list[int]:
        """Itself, and what it has started."""
        return with_mark(self.mark)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Its exit code."""
        return self.process.wait(limit_s)

    def until_all_ended(self, limit_s: float = 240.0) -> None:
        """Nothing that it started is left: soon but for Ray's agents, which look for a killed head for a minute."""
        agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
        others = lambda: [pid for pid in self.processes if title_of(pid) not in ("", *agents)]  # noqa: E731
        until(lambda: not others(), "no process of the run is left but Ray's agents", limit_s=60.0)
        deadline = time.monotonic() + limit_s
        while left := self.processes:
            assert time.monotonic() < deadline, [title_of(pid) for pid in left]
            time.sleep(0.1)

    def close(self) -> None:
        """End it with everything that it started."""
        for pid in (self.process.pid, *self.processes):
            if pid != self.process.pid or self.process.poll() is None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()


def until_step(run: Path, step: int, driver: Driver) -> None:
    """Wait until a run has come so far."""

    def has_come() -> bool:
        assert driver.process.poll() is None, driver.said
        path = run / "metrics.jsonl"
        return path.exists() and len(path.read_text().splitlines()) > step

    until(has_come, f"step {step} is done", every_s=0.01)


def as_toml(settings: dict[str, dict[str, Any]]) -> str:
    """Settings of plain values as a TOML file has them."""
    lines = []
    for section, values in settings.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from agents.cli import main
    from tests.agents.doubles import first_letters
    from zs_env.rewards import REWARDS

    REWARDS["letters"] = first_letters  # type: ignore[index]
    sys.exit(main(sys.argv[1:]))
